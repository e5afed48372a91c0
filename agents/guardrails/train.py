"""Fits the heads that the guardrails ship with. Needs the task data; nothing here is loaded when a team runs.

python -m metier.agents.guardrails.train DATA
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ...core.files import write_atomic
from ...core.onnx_embedder import load_embedder
from ..blueprint import read_rows
from .evidence import NAMES, evidence
from .fitting import LOSSES, benign_texts, document_passages, errands, fit_injection, fit_orders, orders
from .grounded import HEAD as GROUNDED_HEAD
from .grounded import GroundedHead
from .injection import HEADS
from .tagger import BUCKETS as TAG_BUCKETS
from .tagger import HEAD as NAMES_HEAD
from .tagger import KINDS, Tagger, history, token_features, tokens_of

SUPPORTED = "Fully attributable"
BENIGN = 600
"""Harmless tasks of each set that the injection head is fitted on."""
PASSAGES = 600
"""Passages of each set of documents that the heads for orders are fitted on."""


def fit_grounded(rows: Sequence[dict[str, Any]]) -> GroundedHead:
    """The head that tells supported answers from others, on rows of `context`, `response` and `answer`."""
    found = np.array([evidence(r["response"], r["context"]) for r in rows])
    scaler: Any = StandardScaler().fit(found)
    model: Any = LogisticRegression(C=0.3, class_weight="balanced", max_iter=2000)
    model.fit(scaler.transform(found), [r["answer"] == SUPPORTED for r in rows])
    weights = model.coef_[0] / scaler.scale_
    return GroundedHead(
        weights=dict(zip(NAMES, map(float, weights), strict=True)),
        bias=float(model.intercept_[0] - weights @ scaler.mean_),
    )


def fit_tagger(rows: Sequence[dict[str, Any]], *, epochs: int = 10, seed: int = 0) -> Tagger:
    """The tagger of names, on rows of `input` and `answer` ([[start, end, kind], …]).

    An averaged perceptron (Collins, 2002) that meets its own earlier decisions in training, as it will later.
    """
    cases = [_tagged(row) for row in rows]
    weights = np.zeros((TAG_BUCKETS, len(KINDS)), np.float32)
    sums = np.zeros_like(weights)
    step = 1
    for epoch in range(epochs):
        random.Random(seed + epoch).shuffle(cases)
        for described, wanted in cases:
            seen: list[int] = []
            for found, kind in zip(described, wanted, strict=True):
                used = found + history(seen, found)
                guess = int(weights[used].sum(axis=0).argmax())
                if guess != kind:
                    for table, size in ((weights, 1), (sums, step)):
                        table[used, kind] += size
                        table[used, guess] -= size
                seen.append(guess)
                step += 1
    return Tagger((weights - sums / step).astype(np.float32))


def _tagged(row: dict[str, Any]) -> tuple[list[list[int]], list[int]]:
    """Features and kind of each token."""
    tokens = tokens_of(row["input"])
    kinds = [0] * len(tokens)
    for start, end, kind in row["answer"]:
        if kind in KINDS:
            inside = [i for i, (first, last, _) in enumerate(tokens) if start <= first and last <= end]
            kinds = [KINDS.index(kind) if i in inside else k for i, k in enumerate(kinds)]
    return [*token_features([w for _, _, w in tokens])], kinds


def main(folder: Path) -> None:
    """Fit and write every head."""
    embedder = load_embedder()
    attacks = [r["input"] for r in read_rows(folder / "safety_injection.jsonl")]
    benign = [text for texts in benign_texts(folder, BENIGN).values() for text in texts]
    fit_injection(attacks, benign, embedder).save(HEADS / "injection.safetensors")
    inserted = read_rows(folder / "safety_bipia_email.jsonl")
    passages = [text for texts in document_passages(folder, PASSAGES).values() for text in texts]
    mails = sorted({row["context"] for row in inserted})
    fit_orders(orders(inserted), passages, embedder).save(HEADS / "orders.safetensors")
    fit_orders(errands(inserted), passages + mails, embedder, false_alarms=LOSSES).save(HEADS / "errands.safetensors")
    fit_tagger(read_rows(folder / "safety_pii.jsonl")).save(NAMES_HEAD)
    head = fit_grounded(read_rows(folder / "faith_begin.jsonl"))
    write_atomic(GROUNDED_HEAD, head.model_dump_json(indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
