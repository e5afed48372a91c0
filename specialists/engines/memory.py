"""How much memory an engine is going to take, told from its files before anything is loaded.

The factors are of measurements with the 135M and the 0.5B (docs/models.md); windows count as full, so that it is rather
too much.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...core.models.gguf import Header, is_model, read_header

_CONTEXT, _SLOTS = 4096, 4
"""Window in tokens and requests side by side, as engines open when nothing else is said."""

_STATE_BYTES = 2
"""Of a number in the memory of what was read (the KV cache): both engines keep it in half precision."""
_WORKSPACE = 160_000_000
"""Bytes that OpenVINO takes beside weights and windows."""
_REPACKED = 1.6
"""Bytes that OpenVINO takes for each weight of 8 bits: it packs them anew for the processor."""
_COMPUTED = 1.3
"""Bytes that llama.cpp takes for each byte of a model's file: its buffers grow with the model."""
_LORA_BYTES = 2
"""Bytes that OpenVINO takes for each byte of a LoRA's file, which holds halves: it computes with whole floats."""


def engine_memory(engine: str, gguf: Path, adapters: Iterable[Path] = ()) -> int:
    """Bytes that an engine is expected to take with a base and its adapters, all windows full.

    Args:
        engine: Its name (`ENGINES`); of one that is not known here it is taken as for llama.cpp.
        adapters: LoRAs, files or folders; or models of their own, the base merged in.
    """
    adapters = tuple(adapters)
    merged = [path for path in adapters if is_model(path)]
    loras = sum(_lora_size(path) for path in adapters if path not in merged)
    total = sum(_of_model(engine, path, 1 if engine == "llama" else _SLOTS) for path in merged)
    total += loras * (_LORA_BYTES if engine == "openvino" else 1)
    if engine == "openvino" and merged and not loras:  # it leaves a base alone that nobody asks for
        return total
    return total + _of_model(engine, gguf, _SLOTS)


def _of_model(engine: str, gguf: Path, slots: int) -> int:
    size = gguf.stat().st_size
    try:
        header = read_header(gguf)
    except ValueError:  # an engine of somebody's own may read other files
        return round(size * _COMPUTED)
    windows = _window_bytes(header) * _CONTEXT * slots
    if engine == "openvino":
        return round(_multiplied(header) * _REPACKED) + _WORKSPACE + windows
    if engine == "transformers":
        return 4 * sum(header.tensors.values()) + windows
    return round(size * _COMPUTED) + windows


def _window_bytes(header: Header) -> int:
    """Of one token that was read: a key and a value for each head of each layer."""
    kind = header.metadata.get("general.architecture", "")

    def fact(name: str, otherwise: int) -> int:
        return int(header.metadata.get(f"{kind}.{name}", otherwise))

    heads = fact("attention.head_count", 1)
    width = fact("embedding_length", 0) // heads
    each = fact("attention.key_length", width) + fact("attention.value_length", width)
    return fact("block_count", 0) * fact("attention.head_count_kv", heads) * each * _STATE_BYTES


def _multiplied(header: Header) -> int:
    """Weights that are multiplied with: all but the table of embeddings, which stays on the disk, unless it scores the
    next token as well."""
    table = header.tensors.get("token_embd.weight", 0) if "output.weight" in header.tensors else 0
    return sum(header.tensors.values()) - table


def _lora_size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.glob("*.safetensors")) if path.is_dir() else path.stat().st_size
