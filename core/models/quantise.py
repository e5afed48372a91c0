"""Re-quantising a GGUF into the format that runs fastest on a CPU.

Q4_1 blocks (32 weights: scale, minimum, 4 bits each) become Q4_0 blocks (scale, 4 bits each), for which llama.cpp has
repacked matrix kernels. The recipe is numpy only (gguf-py), so the base install can run it. All other tensors and all
metadata stay as they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quantize

RECIPE = "q4_0/1"
"""Names what `to_q4_0` does; changes whenever its output would."""

_WRITTEN_BY_WRITER = {"general.architecture", "general.file_type"}


def to_q4_0(source: Path, target: Path) -> None:
    """Write `source` to `target` with every Q4_1 tensor as Q4_0."""
    reader = GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(target, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in _WRITTEN_BY_WRITER:
            continue
        is_array = field.types[0] == GGUFValueType.ARRAY
        writer.add_key_value(
            field.name, field.contents(), field.types[0], sub_type=field.types[-1] if is_array else None
        )
    writer.add_file_type(LlamaFileType.MOSTLY_Q4_0)
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if kind == GGMLQuantizationType.Q4_1:
            kind = GGMLQuantizationType.Q4_0
            data = quantize(dequantize(data, tensor.tensor_type), kind)
        writer.add_tensor(tensor.name, np.ascontiguousarray(data), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
