"""The model that is trained: base plus method, in the fastest precision, with fp32 copies of what is learnt."""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PromptTuningConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from ...core.errors import ConfigError
from ..adapters.folder import CONFIG, AdapterFolder, open_adapter
from ..engines.unpack import load_base, unpacked
from .config import Method, TrainConfig
from .examples import Batch
from .kernels import ATTENTION, quicken

_CACHED_KERNELS = 128
"""Compiled matrix multiplications that are kept, twice: more than one step needs."""

PEFT_TYPES = {"lora": "LORA", "rslora": "LORA", "dora": "LORA", "prompt": "PROMPT_TUNING"}
"""Method to PEFT's name for what it makes."""


class TrainableModel:
    """A base with something to learn in it.

    In bf16 every weight is bf16 and the optimiser works on fp32 copies (`masters`). Autocast would instead convert
    frozen weights and activations again in each layer.
    """

    def __init__(self, gguf: Path, config: TrainConfig, start: Path | None = None, cache: Path | None = None) -> None:
        keep_few_kernels()
        cuda = torch.cuda.is_available()
        fast = "bf16" if cuda or fast_bf16() else "fp32"
        self.precision = fast if config.precision == "auto" else config.precision
        packed = self.precision == "nf4"
        torch.manual_seed(config.seed)
        base = load_quantised(gguf, cache) if packed else load_base(gguf, torch.float32, cache)
        self.model: PreTrainedModel | PeftModel = with_method(base, config, start)
        # PEFT puts its layers into `base` itself.
        self._core = base
        if cuda and not packed:
            nn.Module.to(self.model, "cuda")
        elif not packed:
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
        hidden = self._hidden(batch).flatten(0, 1)
        logits = self._head(hidden[batch.positions.to(device)])
        return nn.functional.cross_entropy(logits.float(), batch.targets.to(device))

    def _hidden(self, batch: Batch) -> torch.Tensor:
        """(rows, tokens, width) last hidden states. A learnt prompt is read before the tokens, and cut off."""
        device = self._core.device
        ids = batch.ids.to(device)
        if not self.has_prompt:
            mask, places = batch.mask(self._core.dtype), batch.places
            more = (
                {}
                if mask is None or places is None
                else {"attention_mask": mask.to(device), "position_ids": places.to(device)}
            )
            return self._core.base_model(input_ids=ids, use_cache=False, **more).last_hidden_state
        prompt = cast(PeftModel, self.model).get_prompt(len(ids))
        embedded = torch.cat((prompt, self._core.get_input_embeddings()(ids)), dim=1)
        return self._core.base_model(inputs_embeds=embedded, use_cache=False).last_hidden_state[:, prompt.shape[1] :]

    @property
    def has_prompt(self) -> bool:
        """Whether embeddings before the first token are what is learnt: rows of a batch cannot be trees then."""
        return isinstance(self.model, PeftModel) and self.model.active_peft_config.is_prompt_learning

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


# The base, with a method's weights in it: new ones, or those of an adapter.


def with_method(base: PreTrainedModel, config: TrainConfig, start: Path | None) -> PreTrainedModel | PeftModel:
    """`base` with what `config.method` learns; all else in it is frozen.

    Args:
        start: An adapter (a PEFT folder) to go on from.

    Raises:
        ConfigError: `start` is not an adapter, or another method's.
        IntegrityError: `start` may not be trusted.
    """
    if start is None and config.method == "full":
        return base
    adapter = _start(start, config.method) if start else None
    with warnings.catch_warnings():
        # PEFT asks transformers for an attribute that has a new name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return _continued(base, adapter) if adapter else get_peft_model(base, _new(config))  # type: ignore[return-value]


def load_quantised(gguf: Path, cache: Path | None = None) -> PreTrainedModel:
    """The base in 4 bits (NF4, twice quantised) on the CUDA device, as QLoRA trains on it (arXiv 2305.14314).

    Raises:
        ConfigError: no CUDA device, or no bitsandbytes.
        ModelError: the base cannot be unpacked.
    """
    there = {"a CUDA device": torch.cuda.is_available(), "bitsandbytes": bool(importlib.util.find_spec("bitsandbytes"))}
    if missing := [name for name, found in there.items() if not found]:
        raise ConfigError(
            f"precision 'nf4' needs {' and '.join(there)}; not found here: {', '.join(missing)}",
            hint="set precision to 'auto', or train where there is a CUDA device, after pip install bitsandbytes",
        )
    return AutoModelForCausalLM.from_pretrained(
        unpacked(gguf, cache), quantization_config=_nf4(), dtype=torch.bfloat16, device_map="cuda"
    )


def _nf4() -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _start(folder: Path, method: Method) -> AdapterFolder:
    adapter = open_adapter(folder)
    kind = adapter.config.get("peft_type")
    fitting = [name for name, peft in PEFT_TYPES.items() if peft == kind]
    if method not in fitting:
        raise ConfigError(
            f"method '{method}' cannot go on from an adapter of the kind {kind}",
            file=folder / CONFIG,
            hint=f"leave `start` out{', or set `method` to ' + ' or '.join(fitting) if fitting else ''}",
        )
    return adapter


def _continued(base: PreTrainedModel, adapter: AdapterFolder) -> PeftModel:
    if adapter.config["peft_type"] == "LORA":
        return PeftModel.from_pretrained(base, str(adapter.path), is_trainable=True)
    # PEFT does not go on from a prompt; it does load weights into a new one.
    config = PeftConfig.from_pretrained(str(adapter.path))
    config.inference_mode, config.base_model_name_or_path = False, None
    model = get_peft_model(base, config)
    set_peft_model_state_dict(model, load_file(adapter.weights))
    return model  # type: ignore[return-value]


def _new(config: TrainConfig) -> PeftConfig:
    if config.method == "prompt":
        # The embeddings of real tokens are a better start than noise (Lester et al., figure 3).
        return PromptTuningConfig(
            num_virtual_tokens=config.virtual_tokens, prompt_tuning_init="SAMPLE_VOCAB", task_type="CAUSAL_LM"
        )
    options: dict[str, Any] = {"lora_alpha": config.alpha, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    return LoraConfig(r=config.rank, use_rslora=config.method == "rslora", use_dora=config.method == "dora", **options)


# What this machine can do.


def fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(flags & {"amx_bf16", "avx512_bf16", "bf16"})


def keep_few_kernels() -> None:
    """Bound what oneDNN keeps for each shape of a batch: 17 MB here, for the last 1,024 multiplications by default.

    Batches of many lengths make gigabytes of it. Read at the first multiplication in a process; set values stay.
    """
    for capacity in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(capacity, str(_CACHED_KERNELS))
