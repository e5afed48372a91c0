"""Fits the heads that the guardrails ship with. Needs the task data; nothing here is loaded when a team runs.

python -m metier.agents.guardrails.train DATA
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ...core.files import write_atomic
from ..blueprint import read_rows
from .evidence import NAMES, evidence
from .grounded import HEAD as GROUNDED_HEAD
from .grounded import GroundedHead
from .injection import HEAD as INJECTION_HEAD
from .linear import BUCKETS, LinearText, features
from .tagger import BUCKETS as TAG_BUCKETS
from .tagger import HEAD as NAMES_HEAD
from .tagger import KINDS, Tagger, history, token_features, tokens_of

ATTACKS = Path(__file__).parent / "heads" / "attacks.json"
"""Attacks written by hand for the known families, so that the head does not only know those of one data set."""
HARMLESS = Path(__file__).parent / "heads" / "harmless.json"
"""Tasks written by hand that use the same words and mean no harm."""
EMPHASIS = 20
"""How often each of the hand-written harmless tasks counts: there are few of them among thousands."""

SUPPORTED = "Fully attributable"
FALSE_ALARMS = 0.002
"""Share of other people's harmless tasks that the injection head may refuse."""


def fit_injection(attacks: Sequence[str], benign: Sequence[str], *, seed: int = 0) -> LinearText:
    """The head that tells attacks from tasks; its bias is set so that 0.5 lets `FALSE_ALARMS` of unseen tasks fail.

    Two thirds of the benign texts are fitted on, the rest sets the threshold.
    """
    texts = list(benign)
    random.Random(seed).shuffle(texts)
    cut = len(texts) * 2 // 3
    positive = [*attacks, *json.loads(ATTACKS.read_text(encoding="utf-8"))]
    negative = texts[:cut] + EMPHASIS * json.loads(HARMLESS.read_text(encoding="utf-8"))
    labels = [1] * len(positive) + [0] * len(negative)
    model: Any = LogisticRegression(C=3.0, class_weight="balanced", max_iter=200)
    model.fit(_matrix([*positive, *negative]), labels)
    weights = model.coef_[0].astype(np.float32)
    logits = _matrix(texts[cut:]) @ weights
    return LinearText(weights, -float(np.quantile(logits, 1 - FALSE_ALARMS)))


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


def benign_texts(folder: Path) -> list[str]:
    """The inputs of all sets but the attacks, at most 3,000 of each so that the large ones do not drown the small."""
    texts: list[str] = []
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem != "safety_injection":
            found = sorted({r["input"] for r in read_rows(path) if r.get("input")})
            texts += random.Random(0).sample(found, min(len(found), 3000))
    return texts


def _matrix(texts: Iterable[str]) -> csr_matrix:
    columns: list[int] = []
    values: list[float] = []
    ends = [0]
    for text in texts:
        found = features(text)
        columns += found
        values += [1 / np.sqrt(len(found) or 1)] * len(found)
        ends.append(len(columns))
    return csr_matrix((values, columns, ends), shape=(len(ends) - 1, BUCKETS), dtype=np.float32)


def main(folder: Path) -> None:
    """Fit and write every head."""
    attacks = [r["input"] for r in read_rows(folder / "safety_injection.jsonl")]
    fit_injection(attacks, benign_texts(folder)).save(INJECTION_HEAD)
    fit_tagger(read_rows(folder / "safety_pii.jsonl")).save(NAMES_HEAD)
    head = fit_grounded(read_rows(folder / "faith_begin.jsonl"))
    write_atomic(GROUNDED_HEAD, head.model_dump_json(indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
