"""The guardrails: attacks found and harmless tasks refused, orders in mails, personal data, faithfulness.

    python benchmarks/safety.py DATA [--only SET] [--limit N] [--seed S] [--json OUT] [--train DIR]

Heads are fitted on --train and score DATA. Where both are the same folder, they are fitted on the rest each time: other
attack variants, other sentence templates, other source texts.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from metier.core.files import read_jsonl

sys.path.insert(0, str(Path(__file__).parent))

from harness import Report, parser, quantile, read_set, read_training, wanted
from safety_pii import score_pii
from sklearn.metrics import balanced_accuracy_score, f1_score

from metier.agents.guardrails import GUARDS_EMBEDDER, build_guards
from metier.agents.guardrails.classifier import NgramClassifier
from metier.agents.guardrails.grounded import claim_evidence, support
from metier.agents.guardrails.injection import attack_in, brings_dialogue, broken_rule, orders_in
from metier.benchmarks.skills.guard_heads import (
    GENERAL,
    LOSSES,
    SUPPORTED,
    benign_texts,
    document_passages,
    errands,
    fit_grounded,
    fit_injection,
    fit_orders,
    orders,
)
from metier.core.embedding import Embedder
from metier.core.onnx_embedder import load_embedder
from metier.specialists.card import KnowledgeCard
from metier.specialists.knowledge.documents import split
from metier.specialists.knowledge.readers import READERS, read

SETS = ("safety_injection", "safety_bipia_email", "safety_pii", "faith_begin")
FOLDS = 5
BENIGN_ROWS = 400
"""Harmless tasks, or passages, of each set that are scored, and about as many that are fitted on."""
PLANT = Path(__file__).parents[1] / "examples" / "plant"


def folds(
    args: Any, train: list[dict[str, Any]], test: list[dict[str, Any]], group: Callable[[Any], str]
) -> Iterator[Any]:
    """(rows to fit on, rows to score): one pair, or one per fold of groups when DATA is the training folder."""
    if args.data.resolve() != args.train.resolve():
        yield train, test
        return
    groups = sorted({group(r) for r in train})
    for fold in range(min(FOLDS, len(groups))):
        left_out = set(groups[fold::FOLDS])
        yield [r for r in train if group(r) not in left_out], [r for r in test if group(r) in left_out]


class Remembered:
    """An embedder that reads each text once, for as long as it lives."""

    def __init__(self, embedder: Embedder) -> None:
        self.name, self.dimension, self._embedder = embedder.name, embedder.dimension, embedder
        self._vectors: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the embedder does."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self._embedder.embed(new), strict=True))
        return np.stack([self._vectors[text] for text in texts])


EMBEDDER = Remembered(load_embedder(GUARDS_EMBEDDER))
"""Folds are fitted on much the same texts."""


def halves(args: Any, found: Callable[[Path, int], dict[str, list[str]]]) -> tuple[list[str], dict[str, list[str]]]:
    """(texts to fit on, set → texts to score); halves by hash when DATA is the training folder."""
    known, asked = (found(folder, 2 * BENIGN_ROWS) for folder in (args.train, args.data))
    if args.data.resolve() != args.train.resolve():
        return [t for texts in known.values() for t in texts], {n: t[:BENIGN_ROWS] for n, t in asked.items()}
    fitted = [t for texts in known.values() for t in texts if crc32(t.encode()) % 2]
    return fitted, {n: kept for n, t in asked.items() if (kept := [x for x in t if crc32(x.encode()) % 2 == 0])}


def injection(args: Any, report: Report) -> None:
    """Recall on attacks, and the share of harmless tasks refused, in each set of DATA."""
    train, test = read_training(args, "safety_injection"), read_set(args, "safety_injection")
    fitted, scored = halves(args, benign_texts)
    caught: dict[str, list[bool]] = defaultdict(list)
    alone: dict[str, list[bool]] = defaultdict(list)
    for fit_on, rows in folds(args, train, test, lambda r: r["meta"]["variant"]):
        head = fit_injection([r["input"] for r in fit_on], fitted, EMBEDDER)
        for row in rows:
            caught[row["meta"].get("type", "attack")].append(attack_in(row["input"], EMBEDDER, head)[0] is not None)
            alone["metier head alone"].append(head.score(row["input"], EMBEDDER) >= 0.5)
            alone["metier head without embedder"].append(head.score(row["input"]) >= 0.5)
            alone["metier rules alone"].append((broken_rule(row["input"]) or brings_dialogue(row["input"])) is not None)
    report.add("safety_injection", "metier", "recall", [hit for hits in caught.values() for hit in hits])
    for kind, hits in sorted(caught.items()):
        report.add("safety_injection", "metier", f"recall_{kind}", hits)
    for system, hits in alone.items():
        report.add("safety_injection", system, "recall", hits)
    head = fit_injection([r["input"] for r in train], fitted, EMBEDDER)
    refused = {n: [attack_in(t, EMBEDDER, head)[0] is not None for t in texts] for n, texts in scored.items()}
    report.add("safety_injection", "metier", "false_refusals", [hit for hits in refused.values() for hit in hits])
    worst = max(refused, key=lambda n: float(np.mean(refused[n])))
    report.add("safety_injection", "metier", f"false_refusals_worst ({worst})", refused[worst])
    for name, texts in plain_questions().items():
        hits = [attack_in(t, EMBEDDER, head)[0] is not None for t in texts]
        report.add("safety_injection", "metier", f"false_refusals_{name}", hits)
    _languages(report, head)
    short = [t for group in scored.values() for t in group[:12] if len(t) < 200]
    embedder = load_embedder(GUARDS_EMBEDDER)
    report.add(
        "safety_injection", "MiniLM", "seconds_p95", _seconds(lambda t: embedder.embed([t]), short), quantile(0.95)
    )
    # The embedder keeps its latest texts: what is left is the guard's own work.
    guard = build_guards(["length", "injection"], "in", embedder)
    report.add("safety_injection", "metier", "seconds_p95", _seconds(guard, short), quantile(0.95))


def _languages(report: Report, head: NgramClassifier) -> None:
    """Harmless tasks refused and attacks found, by language, on texts of ours that no head is fitted on."""
    languages = json.loads((Path(__file__).parent / "guard_languages.json").read_text(encoding="utf-8"))
    for kind, metric in (("harmless", "false_refusals"), ("attacks", "recall")):
        hits = {code: [attack_in(t, EMBEDDER, head)[0] is not None for t in g[kind]] for code, g in languages.items()}
        report.add("guard_languages", "metier", metric, [hit for found in hits.values() for hit in found])
        for code, found in sorted(hits.items()):
            report.add("guard_languages", "metier", f"{metric}_{code}", found)


def plain_questions() -> dict[str, list[str]]:
    """Questions that no head was fitted on: those about passwords and codes, and all of the plant's."""
    rows = [row for path in PLANT.glob("**/*.jsonl") for row in read_jsonl(path)]
    asked = {turn["input"] for row in rows for turn in row.get("turns", [row]) if "input" in turn}
    passwords = json.loads((Path(__file__).parent / "plain_questions.json").read_text(encoding="utf-8"))
    return {"passwords": passwords, "plant": sorted(asked)}


def _seconds(work: Callable[[str], Any], texts: Sequence[str]) -> list[float]:
    spent: list[float] = []
    for text in texts:
        start = time.perf_counter()
        work(text)
        spent.append(time.perf_counter() - start)
    return spent


def bipia(args: Any, report: Report) -> None:
    """Mails and documents with an attack in them, found? And those without, left alone?

    Other kinds of attack are scored than are fitted on, and other mails and passages.
    """
    train, test = read_training(args, "safety_bipia_email"), read_set(args, "safety_bipia_email")
    fitted, scored = halves(args, document_passages)
    found: dict[str, list[bool]] = defaultdict(list)
    mails: list[bool] = []
    for number, (fit_on, rows) in enumerate(folds(args, train, test, lambda r: r["meta"]["attack_kind"])):
        alone = fit_on is train  # DATA is another folder, and all of its mails are new
        ours = {r["context"] for r in test if alone or crc32(r["context"].encode()) % FOLDS == number}
        known = sorted({r["context"] for r in train} - ours)
        head = fit_orders(errands(fit_on), fitted + known, EMBEDDER, false_alarms=LOSSES)
        mails += [any(orders_in(mail, head, EMBEDDER)) for mail in sorted(ours)]
        strict = fit_orders(orders(fit_on), fitted, EMBEDDER)
        for row in rows:
            for place, text in _with_attack(row["context"], row["attack"]).items():
                taken = orders_in(text, head, EMBEDDER)
                found[f"recall_{place}"].append(any(sentence in row["attack"] for sentence in taken))
            if row["meta"]["attack_kind"] not in GENERAL:
                found["recall_document"].append(any(orders_in(row["attack"], strict, EMBEDDER)))
    for metric, hits in found.items():
        report.add("safety_bipia_email", "metier", metric, hits)
    report.add("safety_bipia_email", "metier", "false_alarms", mails)
    _passages(report, fit_orders(orders(train), fitted, EMBEDDER), {**scored, "plant": plant_passages()})


def _passages(report: Report, head: NgramClassifier, scored: dict[str, list[str]]) -> None:
    """Real passages that would be left out, and what looking at one costs."""
    dropped: dict[str, list[bool]] = {}
    seconds: list[float] = []
    embedder = load_embedder(GUARDS_EMBEDDER)
    for name, texts in scored.items():
        for text in texts:
            start = time.perf_counter()
            dropped.setdefault(name, []).append(any(orders_in(text, head, embedder)))
            seconds.append(time.perf_counter() - start)
    report.add("documents", "metier", "passages_dropped", [hit for hits in dropped.values() for hit in hits])
    for name, hits in dropped.items():
        report.add("documents", "metier", f"passages_dropped_{name}", hits)
    report.add("documents", "metier", "seconds_passage_mean", seconds)


def plant_passages() -> list[str]:
    """The passages of the example's documents, as its specialists find them."""
    files = [p for p in PLANT.glob("*/documents/*") if p.suffix in READERS and p.suffix != ".sqlite"]
    documents = [read(path, path.name) for path in sorted(files)]
    return [d.text[s.start : s.end] for d in documents for s in split(d, KnowledgeCard().passage_tokens)]


def _with_attack(mail: str, attack: str) -> dict[str, str]:
    """The attack inserted between lines, as BIPIA does."""
    lines = mail.split("\n")
    half = len(lines) // 2
    return {
        "start": f"{attack}\n{mail}",
        "middle": "\n".join([*lines[:half], attack, *lines[half:]]),
        "end": f"{mail}\n{attack}",
    }


def faith(args: Any, report: Report) -> None:
    """Is the response supported by the knowledge."""
    train, test = read_training(args, "faith_begin"), read_set(args, "faith_begin")
    pairs, seconds = [], []
    for fit_on, rows in folds(args, train, test, lambda r: r["context"]):
        head = fit_grounded(fit_on)
        for row in rows:
            start = time.perf_counter()
            pairs.append((row["answer"] == SUPPORTED, support(row["response"], row["context"], head) >= 0.5))
            seconds.append(time.perf_counter() - start)
    report.add("faith_begin", "metier", "balanced_accuracy", pairs, _pairwise(balanced_accuracy_score))
    report.add("faith_begin", "metier", "f1_supported", pairs, _pairwise(f1_score))
    report.add("faith_begin", "metier", "macro_f1", pairs, _pairwise(f1_score, average="macro"))
    report.add("faith_begin", "metier", "seconds_p95", seconds, quantile(0.95))
    overlap = [(r["answer"] == SUPPORTED, claim_evidence(r["response"], r["context"])["words"] >= 0.8) for r in test]
    report.add("faith_begin", "word overlap ≥ 0.8", "balanced_accuracy", overlap, _pairwise(balanced_accuracy_score))


def _pairwise(score: Callable[..., float], **options: Any) -> Callable[[NDArray[Any]], float]:
    """A statistic over rows of (true, said)."""
    return lambda rows: float(score(rows[:, 0] > 0.5, rows[:, 1] > 0.5, **options))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the sets that DATA holds."""
    args = parser("The guardrails: attacks, mails, personal data, faithfulness.").parse_args(argv)
    report = Report(args)
    measure = {
        "safety_injection": injection,
        "safety_bipia_email": bipia,
        "safety_pii": lambda a, r: score_pii(a, r, folds),
        "faith_begin": faith,
    }
    for name in wanted(args, SETS):
        measure[name](args, report)
    report.finish()


if __name__ == "__main__":
    main()
