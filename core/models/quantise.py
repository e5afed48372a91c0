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

from gguf import GGMLQuantizationType, GGUFReader, LlamaFileType

from .rewrite import FILE_TYPE, rewrite

RECIPES = {
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
"""What a catalogue entry may ask for, and what Q4_1 tensors then become."""
VERSION = 1
"""Raised whenever the output for the same input would change; the cache then prepares again."""


def requantise(source: Path, target: Path, recipe: str, report: Callable[[int, int], None]) -> None:
    """Write `source` to `target` with every Q4_1 tensor in the recipe's format; reports tensors done and in all."""
    wanted, file_type = RECIPES[recipe]
    reader = GGUFReader(source)
    formats = {t.name: wanted for t in reader.tensors if t.tensor_type == GGMLQuantizationType.Q4_1}
    rewrite(reader, target, formats, {FILE_TYPE: file_type}, report)
