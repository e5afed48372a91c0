"""How the two weights in specialists/knowledge/knowledge.py were found: leave one set out, look at the others.

    python benchmarks/retrieval_weights.py TRAIN [--limit N] [--seed S] [--json OUT]

For every set the index gives its candidates with their signals once; then all pairs of weights are tried on them.
A pair is as good as its mean reciprocal rank, relative to the best pair of that set, averaged over the sets.
`metier` is the pair that all sets choose, `metier-others` the pair that the sets other than the scored one choose.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from itertools import product
from pathlib import Path

import numpy as np
from harness import Report, parser, progress, read_set, say, wanted
from numpy.typing import NDArray
from retrieval import TASKS, Remembering, Task, index

from metier.agents.cards import TeamCard
from metier.core.files import read_jsonl
from metier.core.onnx_embedder import load_embedder

WEIGHTS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)
HALVES = (3.0, 5.0, 8.0, 12.0)
CANDIDATES = 200

Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]
"""Cosines, BM25 scores and rightness of the candidates of one question."""


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
            dense = np.array([passage.signals["dense"] for passage in passages], dtype=np.float32)
            bm25 = np.array([passage.signals["bm25"] for passage in passages], dtype=np.float32)
            found.append((dense, bm25, np.array([text == gold for text in texts])))
        knowledge.close()
    return found


def reciprocal(found: Found, words: float, half: float) -> float:
    dense, bm25, right = found
    scores = dense + words * bm25 / (bm25 + half)
    return float(1 / (1 + np.sum(scores > scores[right].max()))) if right.any() else 0.0


def main() -> None:
    args = parser(__doc__.splitlines()[0] if __doc__ else "").parse_args()
    report, embedder = Report(args), Remembering(load_embedder(TeamCard.model_fields["embedder"].default))
    tasks = {**TASKS, "grounded_mtragun": grounded_mtragun}
    pairs = list(product(WEIGHTS, HALVES))
    ranks: dict[str, NDArray[np.float64]] = {}
    """Shape (pairs, questions)."""
    for name in wanted(args, tasks):
        found = candidates(tasks[name](args), embedder)
        ranks[name] = np.array([[reciprocal(one, *pair) for one in found] for pair in pairs])
    means = {name: tried.mean(axis=1) for name, tried in ranks.items()}

    def choice(names: list[str]) -> int:
        return int(np.argmax(np.mean([means[name] / means[name].max() for name in names], axis=0)))

    best = choice(list(ranks))
    say(f"all sets choose words {pairs[best][0]}, half {pairs[best][1]}")
    for name in ranks:
        others = choice([other for other in ranks if other != name]) if len(ranks) > 1 else best
        say(f"{name}: the other sets choose words {pairs[others][0]}, half {pairs[others][1]}")
        report.add(name, "metier-others", "mrr", ranks[name][others])
        report.add(name, "metier", "mrr", ranks[name][best])
    report.finish()


if __name__ == "__main__":
    main()
