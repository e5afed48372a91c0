"""Writing a GGUF again: some of its tensors in another format, or with other values.

llama.cpp has fast matrix kernels for Q8_0 and Q4_0 and none for Q4_1, the format that the default base is published
in, so that base is re-quantised once after the download. Only numpy and gguf-py are needed, so the base install can do
it. All metadata and all tensors of other types stay as they are.

Q8_0 is what the catalogue asks for: 8 bits hold the 16 levels of a Q4_1 block to within half a percent, so nothing is
lost. Q4_0 is faster still, but rounds weights that were rounded to another grid before, and that costs: see
docs/models.md for both (`benchmarks/models.py` measures them).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from contextlib import closing
from math import prod
from pathlib import Path

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
