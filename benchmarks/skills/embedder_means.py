"""The mean vectors that multilingual-e5-small's vectors lose; nothing here is loaded when a team runs.

    python benchmarks/skills/embedder_means.py CORPORA

CORPORA is the folder of public corpora for training skills; its part `quote` is read: questions that people ask, and
passages cut as knowledge cuts them, in English and German. The result is written to `core/e5_means.npy`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
from pathlib import Path

import numpy as np

from metier.core.e5_embedder import MEANS_FILE, E5Embedder
from metier.core.files import write_atomic
from metier.core.models import ModelStore
from metier.core.models.e5 import E5File
from metier.specialists.knowledge.documents import Outline, split
from metier.specialists.knowledge.readers.text import add_paragraphs

SETS = (
    "nq_open_oracle", "selqa", "integreat_en", "integreat_de", "fairytaleqa", "dstc9_faq", "timeqa", "expmrc_squad_dev",
)  # fmt: skip
EACH = 120
"""Rows of a set: the mean of a thousand texts is that of ten thousand to within one percent."""
PASSAGE = 160
"""Words and punctuation marks, as knowledge cuts passages."""


def passages(text: str) -> list[str]:
    outline = Outline()
    add_paragraphs(outline, text)
    document = outline.document("", "")
    return [document.text[span.start : span.end] for span in split(document, PASSAGE)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("corpora", type=Path)
    folder = parser.parse_args().corpora / "quote"
    chosen = random.Random(0)
    questions, texts = list[str](), list[str]()
    for name in SETS:
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = chosen.sample([json.loads(line) for line in file], EACH)
        questions += [row["question"] for row in rows]
        texts += [chosen.choice(passages(row["passage"])) for row in rows]
    file = E5File(ModelStore().find("multilingual-e5-small").files["e5"])
    embedder = E5Embedder(file, np.zeros((2, file.sizes.hidden), np.float32), "raw")
    means = np.stack([embedder.embed(questions).mean(axis=0), embedder.embed_passages(texts).mean(axis=0)])
    buffer = io.BytesIO()
    np.save(buffer, means.astype(np.float32))
    write_atomic(MEANS_FILE, buffer.getvalue())
    print(f"{MEANS_FILE}: {len(questions)} questions, {len(texts)} passages; lengths {np.linalg.norm(means, axis=1)}")


if __name__ == "__main__":
    main()
