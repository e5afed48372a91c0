"""Writing a GGUF again: some of its tensors in another format, or with other values.

llama.cpp has fast matrix kernels for Q8_0 and Q4_0 and none for Q4_1, the format that the default base is published
in, so that base is re-quantised once after the download. Only numpy and gguf-py are needed, so the base install can do
it. All metadata and all tensors of other types stay as they are.

Q8_0 is what the catalogue asks for: 8 bits hold the 16 levels of a Q4_1 block to within half a percent, so nothing is
lost. Q4_0 is faster still, but rounds weights that were rounded to another grid before, and that costs: see
docs/models.md for both (`benchmarks/models.py` measures them).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Mapping
from contextlib import closing
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gguf import (
    GGMLQuantizationType,
    GGUFReader,
    GGUFValueType,
    GGUFWriter,
    LlamaFileType,
    ReaderTensor,
    quant_shape_to_byte_shape,
)
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

from ..run import Progress, no_progress, part_of

FILE_TYPE = "general.file_type"
"""The metadata key of the format that most tensors are in."""
_MODEL = b"general.type" + struct.pack("<IQ", 8, 5) + b"model"
"""How a whole model says what it is, at the beginning of its GGUF: the key, then a text (8) of five letters."""

RECIPES = {
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
"""What a catalogue entry may ask for, and what Q4_1 tensors then become."""
RECIPE_VERSION = 1
"""Raised whenever the output for the same input would change; the cache then prepares again."""


def requantise(source: Path, target: Path, recipe: str, progress: Progress = no_progress) -> None:
    """Write `source` to `target` with every Q4_1 tensor in the recipe's format."""
    wanted, file_type = RECIPES[recipe]
    reader = GGUFReader(source)
    formats = {t.name: wanted for t in reader.tensors if t.tensor_type == GGMLQuantizationType.Q4_1}
    rewrite(reader, target, formats, {FILE_TYPE: file_type}, part_of(progress, f"preparing {recipe}"))


def weights(tensor: ReaderTensor) -> NDArray[np.float32]:
    """A tensor's values, (rows, columns) in numpy's order of axes."""
    return dequantize(tensor.data, tensor.tensor_type)


def rewrite(
    reader: GGUFReader,
    target: Path,
    formats: Mapping[str, GGMLQuantizationType],
    metadata: Mapping[str, str | int],
    progress: Progress = no_progress,
    values: Callable[[ReaderTensor], NDArray[np.float32]] = weights,
    written: Callable[[ReaderTensor, tuple[int, ...]], NDArray[np.uint8]] | None = None,
) -> None:
    """Write what `reader` reads to `target`; one tensor at a time is in memory.

    Args:
        formats: Tensor to the format that it is written in. The others stay as they are, byte by byte.
        metadata: Takes the place of the source's or is new: texts, and `FILE_TYPE`. All else is copied.
        progress: Told of the tensors.
        values: What is written of the tensors in `formats`.
        written: Instead of `values`: the bytes of such a tensor, in the shape that its format has.
    """
    architecture = "general.architecture"
    writer = GGUFWriter(target, reader.fields[architecture].contents())
    for key, value in metadata.items():
        writer.add_key_value(key, value, GGUFValueType.STRING if isinstance(value, str) else GGUFValueType.UINT32)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in {architecture, *metadata}:
            items = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=items)
    for tensor in reader.tensors:
        kind = formats.get(tensor.name, tensor.tensor_type)
        shape = [int(n) for n in reversed(tensor.shape)]
        size = prod(quant_shape_to_byte_shape(shape, kind)) if tensor.name in formats else tensor.data.nbytes
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), size, raw_dtype=kind)
    with closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for done, tensor in enumerate(reader.tensors, start=1):
            kind = formats.get(tensor.name)
            if kind is None:
                data = tensor.data
            elif written is None:
                data = quantize(values(tensor), kind)
            else:
                shape = tuple(int(n) for n in reversed(tensor.shape))
                data = written(tensor, quant_shape_to_byte_shape(shape, kind))
            writer.write_tensor_data(np.ascontiguousarray(data))
            progress("tensors", done, len(reader.tensors))


def is_model(gguf: Path) -> bool:
    """Whether a file is a whole model and no adapter."""
    if not gguf.is_file():
        return False
    with gguf.open("rb") as file:
        return _MODEL in file.read(4096)


class Header(NamedTuple):
    """What a GGUF says of itself before its weights."""

    metadata: dict[str, Any]
    """Numbers, truth values and texts; lists, such as the vocabulary, are left out."""
    tensors: dict[str, int]
    """Tensor to the number of its weights."""


_PLAIN = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""GGUF's kinds of plain values, as `struct` names them."""
_TEXT, _LIST = 8, 9


def read_header(gguf: Path) -> Header:
    """The header alone: a tenth of a second, where gguf-py's reader takes seconds for the vocabulary.

    Raises:
        ValueError: it is no GGUF, or cut short.
    """
    with gguf.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _Header(data).read()
        except (struct.error, UnicodeDecodeError, KeyError) as error:
            raise ValueError(f"{gguf} is no GGUF, or cut short: {error}") from error


class _Header:
    """Goes through the bytes of a header."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 0

    def read(self) -> Header:
        if self._data[:4] != b"GGUF":
            raise ValueError("it does not begin as a GGUF does")
        _, _, tensors, values = self._take("IIQQ")
        metadata = {self._text(): self._value(self._take("I")[0]) for _ in range(values)}
        return Header(
            {key: value for key, value in metadata.items() if value is not None},
            dict(self._tensor() for _ in range(tensors)),
        )

    def _take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(f"<{form}")
        return found

    def _text(self) -> str:
        (length,) = self._take("Q")
        self._at += length
        return self._data[self._at - length : self._at].decode()

    def _value(self, kind: int) -> Any:
        """A plain value or a text; lists are passed over."""
        if kind == _TEXT:
            return self._text()
        if kind != _LIST:
            return self._take(_PLAIN[kind])[0]
        inner, count = self._take("IQ")
        if inner in _PLAIN:
            self._at += count * struct.calcsize(f"<{_PLAIN[inner]}")
            return None
        for _ in range(count):
            if inner == _TEXT:
                self._at += 8 + struct.unpack_from("<Q", self._data, self._at)[0]
            else:
                self._value(inner)
        return None

    def _tensor(self) -> tuple[str, int]:
        name = self._text()
        shape = self._take(f"{self._take('I')[0]}Q")
        self._take("IQ")
        return name, prod(shape)
