"""PEFT adapters as llama.cpp reads them. Needs only gguf, safetensors and numpy: the base install loads skills."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from gguf import MODEL_ARCH_NAMES, GGUFReader, GGUFWriter, get_tensor_name_map
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PositiveInt, ValidationError

from ...core.errors import ConfigError
from ...core.files import replace_folder, sha256
from ...core.settings import settings
from .folder import CONFIG, AdapterFolder, open_adapter, read_weights

_VERSION = 1
"""Part of the cache key; raised whenever the written file would change."""

_LORA = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight$")

_Array = NDArray[Any]
_Strength = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NOT_PLAIN = (
    "use_dora", "use_qalora", "alora_invocation_tokens", "modules_to_save", "fan_in_fan_out", "lora_bias",
    "layer_replication", "target_parameters", "trainable_token_indices",
)  # fmt: skip
"""What an `adapter_config.json` may ask for that llama.cpp does not do."""
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq")
"""Ways of initialising that change the base's own weights: alone, the adapter is wrong on the published base."""


class _Lora(BaseModel):
    """What of an `adapter_config.json` the strength of a LoRA depends on."""

    r: PositiveInt
    lora_alpha: _Strength
    use_rslora: bool | None = None
    rank_pattern: dict[str, PositiveInt] | None = None
    alpha_pattern: dict[str, _Strength] | None = None
    init_lora_weights: Any = None

    def of(self, module: str) -> tuple[int, float]:
        """Rank and alpha of a module; the first pattern that fits counts, as in PEFT."""
        found = [_first(pattern, module) for pattern in (self.rank_pattern, self.alpha_pattern)]
        return int(found[0] or self.r), float(found[1] or self.lora_alpha)

    def scale(self, rank: int, alpha: float) -> float:
        """rsLoRA scales by alpha / sqrt(rank) (arXiv 2312.03732)."""
        return alpha / rank**0.5 if self.use_rslora else alpha / rank


def _first(pattern: Mapping[str, float] | None, module: str) -> float | None:
    return next((v for k, v in (pattern or {}).items() if re.match(rf"(.*\.)?({k})$", module)), None)


def gguf_adapter(peft_folder: Path, base_gguf: Path, cache: Path | None = None) -> Path:
    """The GGUF form of a LoRA for one base; written on the first call, found in the cache later.

    Args:
        peft_folder: `adapter_config.json` and `adapter_model.safetensors`.
        base_gguf: The base that it is for; gives the architecture and the shapes that must fit.
        cache: Where converted adapters are kept; None means a folder in `settings().home`.

    Raises:
        ConfigError: not a plain LoRA, or one for another base.
        IntegrityError: weights that are pickled, damaged or no numbers, or a file that was changed.
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
    lora = _plain(adapter)
    pairs = _pairs(adapter, lora)
    reader = GGUFReader(base_gguf)
    architecture = str(_value(reader, "general.architecture"))
    names = _names(reader, architecture, pairs, adapter)
    writer = GGUFWriter(target, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    # llama.cpp scales each pair by alpha / its own rank.
    writer.add_float32("adapter.lora.alpha", lora.scale(lora.r, lora.lora_alpha) * lora.r)
    for module, (a, b) in sorted(pairs.items()):
        if architecture == "llama" and module.endswith(("q_proj", "k_proj")):
            kv = "_kv" if module.endswith("k_proj") else ""
            b = _permute(b, int(_value(reader, f"llama.attention.head_count{kv}")))
        writer.add_tensor(f"{names[module]}.weight.lora_a", _half(a, module, adapter))
        writer.add_tensor(f"{names[module]}.weight.lora_b", _half(b, module, adapter))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _plain(adapter: AdapterFolder) -> _Lora:
    """The configuration, if it is one that llama.cpp runs."""
    config, file = adapter.config, adapter.path / CONFIG
    method = config.get("peft_type")
    odd = [option for option in _NOT_PLAIN if config.get(option)]
    hint = "use `engine: transformers` in team.yaml, or train with the method lora or rslora"
    if method != "LORA" or odd:
        kind = f"{method}{' with ' + ', '.join(odd) if odd else ''}"
        raise ConfigError(f"llama.cpp runs plain LoRA; this adapter is {kind}", file=file, hint=hint)
    try:
        lora = _Lora.model_validate(config)
        for key in (*(lora.rank_pattern or ()), *(lora.alpha_pattern or ())):
            re.compile(key)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{first['msg']}, found {config.get(field)!r}", file=file, field=field) from error
    except re.error as error:
        raise ConfigError(f"a pattern is not a regular expression: {error}", file=file) from error
    start = str(lora.init_lora_weights).lower()
    if start.startswith(_CHANGES_BASE):
        raise ConfigError(
            f"init_lora_weights '{start}' changed the base too, and this adapter is wrong on the published one",
            file=file,
            hint="save it with PEFT's path_initial_model_for_weight_conversion, which makes a plain LoRA of it",
        )
    return lora


def _pairs(adapter: AdapterFolder, lora: _Lora) -> dict[str, tuple[_Array, _Array]]:
    """Module name to its A (rank x in) and B (out x rank), the module's own strength in B."""
    sides: dict[str, dict[str, _Array]] = {}
    for name, tensor in read_weights(adapter.weights).items():
        match = _LORA.match(name)
        if match is None or tensor.ndim != 2:
            of = f" of {tensor.ndim} dimensions" if match else ""
            raise ConfigError(
                f"tensor '{name}'{of} is not part of a plain LoRA",
                file=adapter.weights,
                hint="its tensors are called base_model.model.….lora_A.weight, as PEFT's save_pretrained writes them",
            )
        sides.setdefault(match["module"], {})[match["side"]] = tensor
    pairs = {module: (s["A"], s["B"]) for module, s in sides.items() if len(s) == 2}
    if not pairs or len(pairs) != len(sides):
        raise ConfigError("some LoRA matrices have no partner", file=adapter.weights)
    common = lora.scale(lora.r, lora.lora_alpha) * lora.r
    scaled: dict[str, tuple[_Array, _Array]] = {}
    for module, (a, b) in pairs.items():
        rank, alpha = lora.of(module)
        if not a.shape[0] == b.shape[1] == rank:
            raise ConfigError(
                f"'{module}' has matrices of rank {a.shape[0]} and {b.shape[1]}, {CONFIG} says {rank}",
                file=adapter.weights,
            )
        own = lora.scale(rank, alpha) * rank
        scaled[module] = a, b if own == common else b * (own / common)
    return scaled


def _half(matrix: _Array, module: str, adapter: AdapterFolder) -> _Array:
    """As the file holds it: in f16."""
    with np.errstate(over="ignore"):
        halved = np.ascontiguousarray(matrix, dtype=np.float16)
    if not np.isfinite(halved).all():
        raise ConfigError(
            f"'{module}' holds values up to {np.abs(matrix).max():.3g}, more than half precision has",
            file=adapter.weights,
            hint="its training went wrong, or its alpha is far too large",
        )
    return halved


def _names(
    reader: GGUFReader, architecture: str, pairs: Mapping[str, tuple[_Array, _Array]], adapter: AdapterFolder
) -> dict[str, str]:
    """Module name to GGUF tensor name, checked against the base's shapes."""
    kinds = {name: arch for arch, name in MODEL_ARCH_NAMES.items()}
    if architecture not in kinds:
        raise ConfigError(f"the base's architecture '{architecture}' is not one that adapters are converted for")
    table = get_tensor_name_map(kinds[architecture], int(_value(reader, f"{architecture}.block_count")))
    shapes = {t.name: tuple(int(n) for n in t.shape) for t in reader.tensors}
    names: dict[str, str] = {}
    for module, (a, b) in pairs.items():
        name = table.get_name(module)
        held, needed = shapes.get(f"{name}.weight"), (a.shape[1], b.shape[0])
        if held is None and module == "lm_head":
            raise ConfigError(
                "the base has no 'lm_head' of its own (it is tied to the embedding), so that no LoRA can change it",
                file=adapter.path,
                hint="train without lm_head in target_modules",
            )
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
    """SHA-256 of a large file that several adapters share; read again when size or time of change differ.

    A model in the cache bears it as its name, and was checked when it was pulled: reading it at each start takes longer
    than all else that a start does with it.
    """
    if gguf.parent == settings().home / "blobs" and re.fullmatch("[0-9a-f]{64}", gguf.stem):
        return gguf.stem
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
