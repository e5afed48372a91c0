"""semantic-router with the benchmark's own vectors: `python semantic_router_peer.py IN.npz OUT.json`.

Run by `routing.py --peers PYTHON`; needs `pip install semantic-router` there. Thresholds are fitted by the library's
own `fit` on the training rows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from semantic_router import Route  # pyright: ignore[reportMissingImports]
from semantic_router.encoders import DenseEncoder  # pyright: ignore[reportMissingImports]
from semantic_router.routers import SemanticRouter  # pyright: ignore[reportMissingImports]

NOBODY = "(nobody)"


class Known(DenseEncoder):
    """Looks up vectors that were computed before."""

    name: str = "known"
    score_threshold: float = 0.3
    table: dict[str, Any] = {}  # noqa: RUF012

    def __call__(self, docs: list[str]) -> list[list[float]]:
        return [self.table[text] for text in docs]


def main() -> None:
    data = np.load(sys.argv[1])
    train, labels, texts = (data[k].tolist() for k in ("train", "labels", "texts"))
    table = dict(zip(train, data["train_vectors"].tolist(), strict=True))
    table |= dict(zip(texts, data["vectors"].tolist(), strict=True))
    own = [(text, label) for text, label in zip(train, labels, strict=True) if label != NOBODY]
    names = sorted({label for _, label in own})
    routes = [Route(name=n, utterances=[t for t, label in own if label == n], score_threshold=0.3) for n in names]
    router = SemanticRouter(encoder=Known(table=table), routes=routes, auto_sync="local")
    asked = [(t, None if label == NOBODY else label) for t, label in zip(train, labels, strict=True)]
    router.fit(X=[t for t, _ in asked], y=[label for _, label in asked], max_iter=50)
    found = []
    for text in texts:
        chosen = router(text).name
        found.append([chosen or names[0], chosen is None])
    Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
