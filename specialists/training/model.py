"""The model that is trained: base plus method, in the fastest precision, with fp32 copies of what is learnt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from ..engines.unpack import load_base
from .batches import Batch
from .config import TrainConfig
from .kernels import ATTENTION, quicken
from .methods import load_quantised, with_method


def fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(flags & {"amx_bf16", "avx512_bf16", "bf16"})


KERNELS = 128
"""Compiled matrix multiplications that are kept, twice: more than one step needs."""


def keep_few_kernels() -> None:
    """Bound what oneDNN keeps for each shape of a batch: 17 MB here, for the last 1,024 multiplications by default.

    Batches of many lengths make gigabytes of it. Read at the first multiplication in a process; set values stay.
    """
    for capacity in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(capacity, str(KERNELS))


class Learner:
    """A base with something to learn in it.

    In bf16 every weight is bf16 and the optimiser works on fp32 copies (`masters`). Autocast would instead convert
    frozen weights and activations again in each layer.
    """

    def __init__(self, gguf: Path, config: TrainConfig, start: Path | None = None, cache: Path | None = None) -> None:
        keep_few_kernels()
        fast = "bf16" if fast_bf16() else "fp32"
        self.precision = fast if config.precision == "auto" else config.precision
        packed = self.precision == "nf4"
        torch.manual_seed(config.seed)
        base = load_quantised(gguf, cache) if packed else load_base(gguf, torch.float32, cache)
        self.model: PreTrainedModel | PeftModel = with_method(base, config, start)
        # PEFT puts its layers into `base` itself.
        self._core = base
        if not packed:
            base.set_attn_implementation(ATTENTION)
            quicken(self.model)
        self._head = cast(nn.Module, base.get_output_embeddings())
        learnt = [p for p in self.model.parameters() if p.requires_grad]
        self.masters = [p.detach().clone() for p in learnt]
        if self.precision != "fp32":
            nn.Module.to(self.model, torch.bfloat16)
        self._learnt = learnt
        self.model.train()

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.masters)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy of the answer tokens; only they pass through the output head (49k wide)."""
        device = self._core.device
        hidden = self._hidden(batch.ids.to(device)).flatten(0, 1)
        logits = self._head(hidden[batch.positions.to(device)])
        return nn.functional.cross_entropy(logits.float(), batch.targets.to(device))

    def _hidden(self, ids: torch.Tensor) -> torch.Tensor:
        """(rows, tokens, width) last hidden states. A learnt prompt is read before the tokens, and cut off."""
        if not (isinstance(self.model, PeftModel) and self.model.active_peft_config.is_prompt_learning):
            return self._core.base_model(input_ids=ids, use_cache=False).last_hidden_state
        prompt = self.model.get_prompt(len(ids))
        embedded = torch.cat((prompt, self._core.get_input_embeddings()(ids)), dim=1)
        return self._core.base_model(inputs_embeds=embedded, use_cache=False).last_hidden_state[:, prompt.shape[1] :]

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
