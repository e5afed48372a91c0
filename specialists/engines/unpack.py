"""The base as transformers trains it: the GGUF that is served, unpacked once."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from gguf import GGUFReader
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging

from ...core.errors import ModelError
from ...core.files import replace_folder, sha256
from ...core.settings import settings

logging.disable_progress_bar()

UNPACKING = 2
"""Part of the cache key; raised whenever the unpacked folder would differ."""


def unpacked(gguf: Path, cache: Path | None = None) -> Path:
    """A transformers folder with the weights of `gguf` in fp32 and its tokenizer and chat template.

    transformers can train on packed weights, but then unpacks them in every multiplication (about 20 times slower).
    The folder takes 4 bytes a weight: 540 MB for the default base.

    Args:
        gguf: The file that the engine serves, so that an adapter learns to mend the very errors it will meet.
        cache: Where unpacked bases are kept; None means a folder in `settings().home`.

    Raises:
        ModelError: transformers cannot read this GGUF.
    """
    target = (cache or settings().home / "unpacked") / f"{sha256(gguf)[:24]}-{UNPACKING}"
    if target.is_dir():
        return target
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"transformers cannot unpack {gguf.name}: {error}",
            hint="train on an architecture that transformers reads from GGUF, such as llama or qwen3",
        ) from error
    _split_digits(tokenizer, gguf)
    with replace_folder(target) as fresh:
        model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        (fresh / "source.json").write_text(json.dumps({"gguf_sha256": sha256(gguf)}), encoding="utf-8")
    return target


def _split_digits(tokenizer: PreTrainedTokenizerFast, gguf: Path) -> None:
    """Mend what transformers loses when it reads a tokenizer from GGUF: SmolLM's splits digits off before all else.

    Without it a blank line before a digit becomes two tokens in training and one in llama.cpp.
    """
    kind = GGUFReader(gguf).fields.get("tokenizer.ggml.pre")
    backend = tokenizer.backend_tokenizer
    if kind is not None and kind.contents() == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])


def load_base(gguf: Path, dtype: torch.dtype = torch.float32, cache: Path | None = None) -> PreTrainedModel:
    """The base as a transformers model in `dtype`. Raises as `unpacked` does."""
    return AutoModelForCausalLM.from_pretrained(unpacked(gguf, cache), dtype=dtype)


def load_tokenizer(gguf: Path, cache: Path | None = None) -> PreTrainedTokenizerFast:
    """The base's tokenizer, chat template included. Raises as `unpacked` does."""
    return AutoTokenizer.from_pretrained(unpacked(gguf, cache))
