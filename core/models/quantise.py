"""Re-quantising a GGUF into a format that runs faster on a CPU.

llama.cpp has fast matrix kernels for Q8_0 and Q4_0, not for Q4_1. Only numpy and gguf-py are needed, so the base
install can do it. All metadata and all tensors of other types stay as they are.

Q4_1: blocks of 32 weights, w = d * q + m with q in 0..15; Q8_0: w = d * q with q in -127..127 (ggml's block formats).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quantize

_SET_BY_WRITER = {"general.architecture", "general.file_type"}


def to_q8_0(source: Path, target: Path, report: Callable[[int, int], None]) -> None:
    """Write `source` to `target` with every Q4_1 tensor as Q8_0."""
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    _copy_metadata(reader, writer)
    for done, tensor in enumerate(reader.tensors, start=1):
        data, kind = tensor.data, tensor.tensor_type
        if kind == GGMLQuantizationType.Q4_1:
            kind = GGMLQuantizationType.Q8_0
            data = quantize(dequantize(data, tensor.tensor_type), kind)
        writer.add_tensor(tensor.name, np.ascontiguousarray(data), raw_dtype=kind)
        report(done, len(reader.tensors))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_metadata(reader: GGUFReader, writer: GGUFWriter) -> None:
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in _SET_BY_WRITER:
            continue
        items = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=items)


Recipe = Callable[[Path, Path, Callable[[int, int], None]], None]

RECIPES: dict[str, tuple[str, Recipe]] = {"q8_0": ("q8_0/1", to_q8_0)}
"""What a catalogue entry may ask for: the recipe's versioned name (changes whenever its output would) and its code."""
