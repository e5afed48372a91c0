"""semantic-router with the benchmark's own vectors: `python semantic_router_peer.py IN.npz OUT.json`.

Run by `routing.py --peers PYTHON`; needs `pip install "semantic-router>=1.1"` there. A fifth of the training rows is
kept out of the index: on it the library's own calibration is fitted, and the threshold for 4 % false refusals.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from semantic_router import Route  # pyright: ignore[reportMissingImports]
from semantic_router.encoders import DenseEncoder  # pyright: ignore[reportMissingImports]
from semantic_router.routers import IndexedRouter  # pyright: ignore[reportMissingImports]

NOBODY = "(nobody)"
FALSE_REFUSAL = 0.04
KEPT_OUT = 5
"""Each so many-th row of a label."""


class Known(DenseEncoder):
    """Looks up vectors that were computed before."""

    name: str = "known"
    table: dict[str, Any] = {}  # noqa: RUF012

    def __call__(self, docs: list[str]) -> list[list[float]]:
        return [self.table[text] for text in docs]


def main() -> None:
    data = np.load(sys.argv[1])
    train, labels, texts = (data[k].tolist() for k in ("train", "labels", "texts"))
    table = dict(zip(train, data["train_vectors"].tolist(), strict=True))
    table |= dict(zip(texts, data["vectors"].tolist(), strict=True))
    rows = sorted(zip(labels, train, strict=True))
    kept = [row for i, row in enumerate(rows) if i % KEPT_OUT == 0]
    names = sorted(set(labels) - {NOBODY})
    indexed = [row for i, row in enumerate(rows) if i % KEPT_OUT]
    routes = [Route(name=n, utterances=[t for label, t in indexed if label == n]) for n in names]
    router = IndexedRouter(encoder=Known(name="known", table=table), routes=routes)
    router.fit([t for _, t in kept], [None if label == NOBODY else label for label, _ in kept])
    sure = [router(t).confidence for label, t in kept if label != NOBODY]
    threshold = float(np.quantile(sure, FALSE_REFUSAL)) if NOBODY in labels else 0.0
    found = []
    for text in texts:
        chosen = router(text)
        found.append([chosen.name, bool(chosen.confidence < threshold)])
    Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
