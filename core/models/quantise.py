"""Re-quantising a GGUF into a format that runs faster on a CPU.

llama.cpp has fast matrix kernels for Q8_0 and Q4_0 and none for Q4_1, the format that the built-in base is published
in. Only numpy and gguf-py are needed, so the base install can do it, once, after the download. All metadata and all
tensors of other types stay as they are.

Q8_0 is what the catalogue asks for: 8 bits hold the 16 levels of a Q4_1 block to within half a percent, so nothing is
lost. Q4_0 is faster still, but rounds weights that were rounded to another grid before, and that costs: see
docs/models.md for both (`benchmarks/models.py` measures them).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quantize

RECIPES = {
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
"""What a catalogue entry may ask for, and what Q4_1 tensors then become."""
VERSION = 1
"""Raised whenever the output for the same input would change; the cache then prepares again."""

_SET_BY_WRITER = {"general.architecture", "general.file_type"}


def requantise(source: Path, target: Path, recipe: str, report: Callable[[int, int], None]) -> None:
    """Write `source` to `target` with every Q4_1 tensor in the recipe's format; reports tensors done and in all."""
    wanted, file_type = RECIPES[recipe]
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    writer.add_file_type(file_type)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in _SET_BY_WRITER:
            items = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=items)
    for done, tensor in enumerate(reader.tensors, start=1):
        data, kind = tensor.data, tensor.tensor_type
        if kind == GGMLQuantizationType.Q4_1:
            data, kind = quantize(dequantize(data, kind), wanted), wanted
        writer.add_tensor(tensor.name, np.ascontiguousarray(data), raw_dtype=kind)
        report(done, len(reader.tensors))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
