"""PEFT adapters as llama.cpp reads them. Needs only gguf, safetensors and numpy: the base install loads skills."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import MODEL_ARCH_NAMES, GGUFReader, GGUFWriter, get_tensor_name_map
from numpy.typing import NDArray
from safetensors.numpy import load_file

from ...core.errors import ConfigError
from ...core.files import replace_folder, sha256
from ...core.settings import settings
from .folder import CONFIG, AdapterFolder, open_adapter

_VERSION = 1
"""Part of the cache key; raised whenever the written file would change."""

_LORA = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight$")

_Array = NDArray[Any]


def gguf_adapter(peft_folder: Path, base_gguf: Path, cache: Path | None = None) -> Path:
    """The GGUF form of a LoRA for one base; written on the first call, found in the cache later.

    Args:
        peft_folder: `adapter_config.json` and `adapter_model.safetensors`.
        base_gguf: The base that it is for; gives the architecture and the shapes that must fit.
        cache: Where converted adapters are kept; None means a folder in `settings().home`.

    Raises:
        ConfigError: not a plain LoRA, or one for another base.
        IntegrityError: pickled weights, or a file that was changed.
    """
    adapter = open_adapter(peft_folder)
    home = cache or settings().home / "adapters"
    key = f"{_VERSION} {sha256(adapter.weights)} {sha256(peft_folder / CONFIG)} {base_hash(base_gguf)}"
    folder = home / hashlib.sha256(key.encode()).hexdigest()[:24]
    target = folder / "adapter.gguf"
    if not target.is_file():
        with replace_folder(folder) as fresh:
            convert(adapter, base_gguf, fresh / target.name)
    return target


def convert(adapter: AdapterFolder, base_gguf: Path, target: Path) -> None:
    """Write `adapter` to `target` as a GGUF LoRA for `base_gguf`, in f16. Raises as `gguf_adapter` does."""
    pairs = _pairs(adapter)
    reader = GGUFReader(base_gguf)
    architecture = str(_value(reader, "general.architecture"))
    names = _names(reader, architecture, pairs, adapter)
    writer = GGUFWriter(target, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", _alpha(adapter))
    for module, (a, b) in sorted(pairs.items()):
        if architecture == "llama" and module.endswith(("q_proj", "k_proj")):
            kv = "_kv" if module.endswith("k_proj") else ""
            b = _permute(b, int(_value(reader, f"llama.attention.head_count{kv}")))
        writer.add_tensor(f"{names[module]}.weight.lora_a", np.ascontiguousarray(a, dtype=np.float16))
        writer.add_tensor(f"{names[module]}.weight.lora_b", np.ascontiguousarray(b, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _pairs(adapter: AdapterFolder) -> dict[str, tuple[_Array, _Array]]:
    """Module name to its A (rank x in) and B (out x rank)."""
    config, file = adapter.config, adapter.path / CONFIG
    method = config.get("peft_type")
    odd = [k for k in ("use_dora", "alora_invocation_tokens", "modules_to_save", "fan_in_fan_out") if config.get(k)]
    if method != "LORA" or odd:
        raise ConfigError(
            f"llama.cpp runs plain LoRA; this adapter is {method}{' with ' + ', '.join(odd) if odd else ''}",
            file=file,
            hint="use `engine: transformers` in team.yaml, or train with the method lora or rslora",
        )
    sides: dict[str, dict[str, _Array]] = {}
    for name, tensor in load_file(adapter.weights).items():
        match = _LORA.match(name)
        if match is None:
            raise ConfigError(f"tensor '{name}' is not part of a plain LoRA", file=adapter.weights)
        sides.setdefault(match["module"], {})[match["side"]] = tensor
    pairs = {module: (s["A"], s["B"]) for module, s in sides.items() if len(s) == 2}
    if not pairs or len(pairs) != len(sides):
        raise ConfigError("some LoRA matrices have no partner", file=adapter.weights)
    scaled = bool(config.get("rank_pattern") or config.get("alpha_pattern"))
    return {m: (a, b * _factor(config, m, a.shape[0])) if scaled else (a, b) for m, (a, b) in pairs.items()}


def _alpha(adapter: AdapterFolder) -> float:
    """llama.cpp scales by alpha / rank; rsLoRA scales by alpha / sqrt(rank) (arXiv 2312.03732)."""
    config = adapter.config
    alpha, rank = float(config["lora_alpha"]), int(config["r"])
    return alpha * rank**0.5 if config.get("use_rslora") else alpha


def _factor(config: Mapping[str, Any], module: str, rank: int) -> float:
    """What B must be multiplied by where rank or alpha differ from the adapter's own."""

    def pick(pattern: str, default: float) -> float:
        values = config.get(pattern) or {}
        return next((float(v) for k, v in values.items() if re.match(rf"(.*\.)?({k})$", module)), default)

    alpha, common = pick("alpha_pattern", float(config["lora_alpha"])), float(config["lora_alpha"])
    if config.get("use_rslora"):
        return alpha / rank**0.5 / (common * float(config["r"]) ** 0.5 / rank)
    return alpha / common


def _names(
    reader: GGUFReader, architecture: str, pairs: Mapping[str, tuple[_Array, _Array]], adapter: AdapterFolder
) -> dict[str, str]:
    """Module name to GGUF tensor name, checked against the base's shapes."""
    kinds = {name: arch for arch, name in MODEL_ARCH_NAMES.items()}
    table = get_tensor_name_map(kinds[architecture], int(_value(reader, f"{architecture}.block_count")))
    shapes = {t.name: tuple(int(n) for n in t.shape) for t in reader.tensors}
    names: dict[str, str] = {}
    for module, (a, b) in pairs.items():
        name = table.get_name(module)
        held, needed = shapes.get(f"{name}.weight"), (a.shape[1], b.shape[0])
        if name is None or held != needed:
            raise ConfigError(
                f"'{module}' needs a matrix of {needed[0]} x {needed[1]}; the base has {held or 'none'}",
                file=adapter.path,
                hint=f"this adapter was made for {adapter.config.get('base_model_name_or_path') or 'another base'}",
            )
        names[module] = name
    return names


def _permute(b: _Array, heads: int) -> _Array:
    """llama.cpp interleaves the two halves of each head's rotary dimensions (convert_hf_to_gguf.py does the same)."""
    rows, rank = b.shape
    return b.reshape(heads, 2, rows // heads // 2, rank).swapaxes(1, 2).reshape(rows, rank)


def base_hash(gguf: Path) -> str:
    """SHA-256 of a large file that several adapters share; read again when size or time of change differ."""
    stat = gguf.stat()
    return _hash(gguf, stat.st_size, stat.st_mtime_ns)


@functools.cache
def _hash(path: Path, size: int, changed: int) -> str:
    return sha256(path)


def _value(reader: GGUFReader, key: str) -> Any:
    field = reader.fields.get(key)
    if field is None:
        raise ConfigError(f"the base's GGUF has no '{key}'")
    return field.contents()
