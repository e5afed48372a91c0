"""What is learnt: the base with a method's weights in it, new or from an adapter."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PromptTuningConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from ...core.errors import ConfigError
from ..adapters.folder import CONFIG, AdapterFolder, open_adapter
from ..engines.unpack import unpacked
from .config import Method, TrainConfig

KINDS = {"lora": "LORA", "rslora": "LORA", "dora": "LORA", "prompt": "PROMPT_TUNING"}
"""Method to PEFT's name for what it makes."""


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
    fitting = [name for name, made in KINDS.items() if made == kind]
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
