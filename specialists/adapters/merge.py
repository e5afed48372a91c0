"""An adapter merged into its base: one GGUF that runs by itself, at the base's own speed. No torch.

W + s·B·A is what llama.cpp computes for each token from base and LoRA (arXiv 2106.09685); here it is added up once.
The sum is as exact as the format that it is written in. Q8_0 is the default, whatever the base is: Q4 steps are so
coarse that they would round an adapter away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType as Format
from gguf import GGUFReader, LlamaFileType, ReaderTensor
from numpy.typing import NDArray

from ...core.errors import ConfigError, IntegrityError
from ...core.files import replace_file
from ...core.models.gguf import FILE_TYPE, rewrite, weights
from ...core.run import Progress, no_progress, part_of
from ...core.settings import settings
from .convert import base_hash, gguf_adapter
from .folder import WEIGHTS, hashes

_VERSION = 1
"""Part of the cache key; raised whenever the written file would change."""

_PLAIN = (Format.F32, Format.F16, Format.BF16)

_Matrix = NDArray[np.float32]


def merged_gguf(adapter: Path, base_gguf: Path, progress: Progress = no_progress, cache: Path | None = None) -> Path:
    """Base and adapter as one GGUF; written on the first call (seconds), found in the cache later.

    Args:
        adapter: A PEFT folder, or a LoRA in GGUF form.
        base_gguf: The base that it is for.
        progress: Told of the tensors.
        cache: Where merged models are kept, each as large as the base; None means a folder in `settings().home`.

    Raises:
        ConfigError: not a plain LoRA, or one for another base.
        IntegrityError: pickled weights, or a file that was changed.
    """
    key = f"{_VERSION} {sorted(hashes(adapter).items())} {base_hash(base_gguf)}"
    target = (cache or settings().home / "merged") / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.gguf"
    if not target.is_file():
        with replace_file(target) as fresh:
            merge(adapter, base_gguf, fresh, progress)
    return target


def merge(
    adapter: Path,
    base_gguf: Path,
    target: Path,
    progress: Progress = no_progress,
    quantised: Format = Format.Q8_0,
) -> None:
    """Write base and adapter to `target` as one model, with all that the base's file says, and what it was made of.

    Args:
        quantised: Format of the matrices that the adapter changes and that are quantised in the base.

    Raises as `merged_gguf` does.
    """
    lora = adapter if adapter.is_file() else gguf_adapter(adapter, base_gguf)
    base = GGUFReader(base_gguf)
    pairs = lora_pairs(lora, {t.name: tuple(int(n) for n in t.shape) for t in base.tensors})
    formats = {t.name: t.tensor_type if t.tensor_type in _PLAIN else quantised for t in base.tensors if t.name in pairs}
    made_of = hashes(adapter)
    said: dict[str, str | int] = {
        "general.type": "model",
        "general.name": f"{_field(base, 'general.name', 'base')} + {(made_of.get('gguf') or made_of[WEIGHTS])[:12]}",
        "metier.base.sha256": base_hash(base_gguf),
        **{f"metier.adapter.{part}.sha256": digest for part, digest in made_of.items()},
    }
    if Format.Q8_0 in formats.values():
        said[FILE_TYPE] = LlamaFileType.MOSTLY_Q8_0

    def added_up(tensor: ReaderTensor) -> _Matrix:
        a, b = pairs[tensor.name]
        return (weights(tensor) + b @ a).astype(np.float32, copy=False)

    rewrite(base, target, formats, said, part_of(progress, "merging adapter and base"), added_up)


def lora_pairs(lora: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[_Matrix, _Matrix]]:
    """Tensor of the base to A (rank x in) and B (out x rank), the scale in B, of a LoRA in GGUF form.

    Args:
        shapes: Of the base's tensors, (in, out).

    Raises:
        ConfigError: not a plain LoRA, or one for another base.
        IntegrityError: values that are no numbers.
    """
    alpha, halves = _halves(lora)
    pairs: dict[str, tuple[_Matrix, _Matrix]] = {}
    for name in sorted({name.rpartition(".lora_")[0] for name in halves}):
        a, b = halves.get(f"{name}.lora_a"), halves.get(f"{name}.lora_b")
        if a is None or b is None or not a.ndim == b.ndim == 2:
            raise ConfigError(f"tensor '{name}' is not part of a plain LoRA", file=lora)
        if shapes.get(name) != (a.shape[-1], b.shape[0]):
            raise ConfigError(
                f"'{name}' needs a matrix of {a.shape[-1]} x {b.shape[0]}; the base has {shapes.get(name, 'none')}",
                file=lora,
                hint="this adapter was made for another base",
            )
        # As llama.cpp does: without an alpha, B·A is taken as it is.
        pairs[name] = a, b * (alpha / b.shape[1] if alpha else 1.0)
    return pairs


def checked_gguf(lora: Path) -> Path:
    """The LoRA in GGUF form itself, if it is whole: llama.cpp ends the process over some that are not.

    Raises:
        ConfigError: cannot be read, or not a plain LoRA.
        IntegrityError: values that are no numbers.
    """
    _halves(lora)
    return lora


def _halves(lora: Path) -> tuple[float, dict[str, _Matrix]]:
    """Alpha, and the matrices by name."""
    reader = _read(lora)
    halves = {t.name: weights(t) for t in reader.tensors}
    bad = next((name for name, values in halves.items() if not np.isfinite(values).all()), None)
    if bad:
        raise IntegrityError(f"{lora}: '{bad}' holds values that are not finite numbers", hint="train it again")
    return float(_field(reader, "adapter.lora.alpha", 0.0)), halves


def _read(lora: Path) -> GGUFReader:
    try:
        reader = GGUFReader(lora)
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read as GGUF, or only a part of it is there: {error}", file=lora) from error
    kind = _field(reader, "adapter.type", "none")
    if kind != "lora" or "adapter.alora.invocation_tokens" in reader.fields:
        raise ConfigError(f"no plain LoRA (adapter.type: {kind})", file=lora)
    return reader


def _field(reader: GGUFReader, key: str, default: Any) -> Any:
    field = reader.fields.get(key)
    return default if field is None else field.contents()
