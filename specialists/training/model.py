"""The model that is trained: base plus method, in the fastest precision, with fp32 copies of what is learnt."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from .base import load_base
from .batches import Batch
from .config import TrainConfig
from .kernels import ATTENTION, quicken
from .repository import open_adapter


def fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(flags & {"amx_bf16", "avx512_bf16", "bf16"})


class Learner:
    """A base with something to learn in it.

    In bf16 every weight is bf16 and the optimiser works on fp32 copies (`masters`). Autocast would instead convert
    frozen weights and activations again in each layer.
    """

    def __init__(self, gguf: Path, config: TrainConfig, start: Path | None = None, cache: Path | None = None) -> None:
        bf16 = config.precision == "bf16" or (config.precision == "auto" and fast_bf16())
        self.precision = "bf16" if bf16 else "fp32"
        torch.manual_seed(config.seed)
        base = load_base(gguf, torch.float32, cache)
        self.model: PreTrainedModel | PeftModel = _with_method(base, config, start)
        # PEFT puts its layers into `base` itself.
        self._core = base
        base.set_attn_implementation(ATTENTION)
        quicken(self.model)
        self._head = cast(nn.Module, base.get_output_embeddings())
        learnt = [p for p in self.model.parameters() if p.requires_grad]
        self.masters = [p.detach().clone() for p in learnt]
        if bf16:
            nn.Module.to(self.model, torch.bfloat16)
        self._learnt = learnt
        self.model.train()

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.masters)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy of the answer tokens; only they pass through the output head (49k wide)."""
        hidden = self._core.base_model(input_ids=batch.ids, use_cache=False).last_hidden_state
        logits = self._head(hidden.flatten(0, 1)[batch.positions])
        return nn.functional.cross_entropy(logits.float(), batch.targets)

    def backward(self, batch: Batch) -> float:
        """Gradients of `batch` on the masters; returns the loss."""
        loss = self.loss(batch)
        loss.backward()
        for parameter, master in zip(self._learnt, self.masters, strict=True):
            if parameter.grad is not None:
                master.grad = parameter.grad.float()
                parameter.grad = None
        return loss.item()

    @torch.no_grad()
    def publish(self) -> None:
        """Copy the masters into the model."""
        for parameter, master in zip(self._learnt, self.masters, strict=True):
            parameter.copy_(master)

    def finished(self) -> PreTrainedModel | PeftModel:
        """The model in fp32, with the masters in their full precision."""
        nn.Module.to(self.model, torch.float32)
        self._core.set_attn_implementation("sdpa")
        self.publish()
        return self.model

    @torch.no_grad()
    def restore(self, values: list[torch.Tensor]) -> None:
        """Set the masters to `values`."""
        for master, value in zip(self.masters, values, strict=True):
            master.copy_(value)
        self.publish()


def _with_method(base: PreTrainedModel, config: TrainConfig, start: Path | None) -> PreTrainedModel | PeftModel:
    with warnings.catch_warnings():
        # PEFT asks transformers for an attribute that has a new name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        if start is not None:
            return PeftModel.from_pretrained(base, str(open_adapter(start).path), is_trainable=True)
        return base if config.method == "full" else get_peft_model(base, _lora(config))  # type: ignore[return-value]


def _lora(config: TrainConfig) -> LoraConfig:
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        target_modules="all-linear",
        use_rslora=config.method == "rslora",
        use_dora=config.method == "dora",
        task_type="CAUSAL_LM",
    )
