"""Writing a GGUF again with some of its tensors in another format, or with other values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from math import prod
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, ReaderTensor, quant_shape_to_byte_shape
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

FILE_TYPE = "general.file_type"


def weights(tensor: ReaderTensor) -> NDArray[np.float32]:
    """A tensor's values, (rows, columns) in numpy's order of axes."""
    return dequantize(tensor.data, tensor.tensor_type)


def rewrite(
    reader: GGUFReader,
    target: Path,
    formats: Mapping[str, GGMLQuantizationType],
    said: Mapping[str, str | int],
    report: Callable[[int, int], None],
    values: Callable[[ReaderTensor], NDArray[np.float32]] = weights,
) -> None:
    """Write what `reader` reads to `target`; one tensor at a time is in memory.

    Args:
        formats: Tensor to the format that it is written in. The others stay as they are, byte by byte.
        said: Metadata that takes the place of the source's or is new: texts, and `FILE_TYPE`. All else is copied.
        report: Told of the tensors done and in all.
        values: What is written of the tensors in `formats`.
    """
    architecture = "general.architecture"
    writer = GGUFWriter(target, reader.fields[architecture].contents())
    for key, value in said.items():
        writer.add_key_value(key, value, GGUFValueType.STRING if isinstance(value, str) else GGUFValueType.UINT32)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in {architecture, *said}:
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
            data = tensor.data if kind is None else quantize(values(tensor), kind)
            writer.write_tensor_data(np.ascontiguousarray(data))
            report(done, len(reader.tensors))
