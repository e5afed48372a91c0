"""How the weights in specialists/knowledge/knowledge.py were found: leave one set out, look at the others.

    python benchmarks/retrieval_weights.py TRAIN [--limit N] [--seed S] [--json OUT]

For every set the index gives its candidates with their signals once; then all pairs of weights are tried on them.
A pair is as good as its mean reciprocal rank, relative to the best pair of that set, averaged over the sets.
`metier` is the pair that all sets choose, `metier-others` the pair that the sets other than the scored one choose.

Where the embedder reranks, the weight of that is chosen in the same way, on the scores in use: `metier-reranked`
and `metier-reranked-others`.
"""

from __future__ import annotations

import math
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from harness import Report, parser, progress, read_set, say, wanted
from numpy.typing import NDArray
from retrieval import TASKS, Remembering, Task, index, remembering

from metier.agents.cards import TeamCard
from metier.core.files import read_jsonl
from metier.core.onnx_embedder import load_embedder

WEIGHTS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)
HALVES = (3.0, 5.0, 8.0, 12.0)
RERANKED = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
CANDIDATES = 200


class Found(NamedTuple):
    """The candidates of one question."""

    dense: NDArray[np.float32]
    bm25: NDArray[np.float32]
    score: NDArray[np.float32]
    near: NDArray[np.float32]
    """NaN of those that were not compared word by word: they come after the others."""
    right: NDArray[np.bool_]


def grounded_mtragun(args: Namespace) -> Task:
    """Questions of conversations over all passages that any of them was given; each passage of its own is right."""
    rows = [row for row in read_jsonl(args.data / "grounded_mtragun.jsonl") if row["context"]]
    scored = [row for row in read_set(args, "grounded_mtragun") if row["context"]]
    passages = list(dict.fromkeys(text.strip() for row in rows for text in row["context"]))
    return Task("grounded_mtragun", passages, None, [(r["input"], r["context"][0].strip()) for r in scored])


def candidates(task: Task, embedder: Remembering) -> list[Found]:
    found: list[Found] = []
    with tempfile.TemporaryDirectory() as name:
        knowledge = index(Path(name), task.passages, None, embedder)
        for question, gold in progress(task.questions, task.name):
            passages = knowledge.search(question, CANDIDATES)
            texts = [task.passages[int(passage.source.split("/")[0])] for passage in passages]
            signals = [
                (p.signals["dense"], p.signals["bm25"], p.score, p.signals.get("rerank", math.nan)) for p in passages
            ]
            dense, bm25, score, near = np.array(signals, dtype=np.float32).reshape(-1, 4).T
            found.append(Found(dense, bm25, score, near, np.array([text == gold for text in texts])))
        knowledge.close()
    return found


def reciprocal(found: Found, words: float, half: float) -> float:
    return _reciprocal(found.dense + words * found.bm25 / (found.bm25 + half), found.right)


def reranked(found: Found, weight: float) -> float:
    near = np.where(np.isnan(found.near), np.float32(-1e6), weight * found.near)
    return _reciprocal(found.score + near, found.right)


def _reciprocal(scores: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    return float(1 / (1 + np.sum(scores > scores[right].max()))) if right.any() else 0.0


def compare(report: Report, tried: dict[str, NDArray[np.float64]], settings: Sequence[str], system: str) -> None:
    """What all sets choose, and what for each set the others choose; `tried` is (settings, questions) of each set."""
    means = {name: ranks.mean(axis=1) for name, ranks in tried.items()}

    def choice(names: list[str]) -> int:
        return int(np.argmax(np.mean([means[name] / means[name].max() for name in names], axis=0)))

    best = choice(list(tried))
    say(f"all sets choose {settings[best]}")
    for name, ranks in tried.items():
        others = choice([other for other in tried if other != name]) if len(tried) > 1 else best
        say(f"{name}: the other sets choose {settings[others]}")
        report.add(name, f"{system}-others", "mrr", ranks[others])
        report.add(name, system, "mrr", ranks[best])


def main() -> None:
    args = parser(__doc__.splitlines()[0] if __doc__ else "").parse_args()
    report, embedder = Report(args), remembering(load_embedder(TeamCard.model_fields["embedder"].default))
    tasks = {**TASKS, "grounded_mtragun": grounded_mtragun}
    pairs = list(product(WEIGHTS, HALVES))
    found = {name: candidates(tasks[name](args), embedder) for name in wanted(args, tasks)}
    hybrid = {
        name: np.array([[reciprocal(one, *pair) for one in some] for pair in pairs]) for name, some in found.items()
    }
    compare(report, hybrid, [f"words {words}, half {half}" for words, half in pairs], "metier")
    if any(not np.isnan(one.near).all() for some in found.values() for one in some):
        read = {name: np.array([[reranked(one, w) for one in some] for w in RERANKED]) for name, some in found.items()}
        compare(report, read, [f"rerank {weight}" for weight in RERANKED], "metier-reranked")
    report.finish()


if __name__ == "__main__":
    main()
