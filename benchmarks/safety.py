"""The guardrails: attacks found and harmless tasks refused, orders in mails, personal data, faithfulness.

    python benchmarks/safety.py DATA [--only SET] [--limit N] [--seed S] [--json OUT] [--train DIR]

Heads are fitted on --train and score DATA. Where both are the same folder, they are fitted on the rest each time: other
attack variants, other sentence templates, other source texts.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from harness import Report, parser, quantile, read_rows, read_set, read_training, sample, wanted
from safety_pii import score_pii
from sklearn.metrics import balanced_accuracy_score, f1_score

from metier.agents.guardrails.build import build_guards
from metier.agents.guardrails.evidence import evidence
from metier.agents.guardrails.grounded import support
from metier.agents.guardrails.injection import attack_in, order_to_model
from metier.agents.guardrails.orders import sentences
from metier.agents.guardrails.train import SUPPORTED, fit_grounded, fit_injection

SETS = ("safety_injection", "safety_bipia_email", "safety_pii", "faith_begin")
FOLDS = 5
BENIGN_ROWS = 600
"""Harmless rows of each set that are scored, and as many that are fitted on."""


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


def harmless(folder: Path, seed: int) -> dict[str, list[str]]:
    """Set → tasks, each once, in a random order that the seed decides."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem != "safety_injection":
            texts = sorted({r["input"] for r in read_rows(path) if r.get("input")})
            found[path.stem] = [r["t"] for r in sample([{"t": t} for t in texts], 2 * BENIGN_ROWS, seed)]
            np.random.default_rng(seed).shuffle(found[path.stem])
    return found


def injection(args: Any, report: Report) -> None:
    """Recall on attacks, and the share of harmless tasks refused, in each set of DATA."""
    train, test = read_training(args, "safety_injection"), read_set(args, "safety_injection")
    same = args.data.resolve() == args.train.resolve()
    fitted = {n: t[: len(t) // 2] if same else t for n, t in harmless(args.train, args.seed).items()}
    scored = {n: t[len(t) // 2 :] if same else t[:BENIGN_ROWS] for n, t in harmless(args.data, args.seed).items()}
    caught: dict[str, list[bool]] = defaultdict(list)
    by_head: list[bool] = []
    head = None
    for fit_on, rows in folds(args, train, test, lambda r: r["meta"]["variant"]):
        head = fit_injection([r["input"] for r in fit_on], [x for texts in fitted.values() for x in texts])
        for row in rows:
            reason, score = attack_in(row["input"], head)
            caught[row["meta"].get("type", "attack")].append(reason is not None)
            by_head.append(score >= 0.5)
    report.add("safety_injection", "metier", "recall", [hit for hits in caught.values() for hit in hits])
    for kind, hits in sorted(caught.items()):
        report.add("safety_injection", "metier", f"recall_{kind}", hits)
    report.add("safety_injection", "metier head alone", "recall", by_head)
    refused = {n: [attack_in(t, head)[0] is not None for t in texts] for n, texts in scored.items()}
    report.add("safety_injection", "metier", "false_refusals", [hit for hits in refused.values() for hit in hits])
    worst = max(refused, key=lambda n: float(np.mean(refused[n])))
    report.add("safety_injection", "metier", f"false_refusals_worst ({worst})", refused[worst])
    guard = build_guards(["length", "injection"], "in")
    report.add("safety_injection", "metier", "seconds_p95", list(_times(guard, scored)), quantile(0.95))


def _times(guard: Callable[[str], Any], texts: dict[str, list[str]]) -> Iterator[float]:
    """Seconds for short harmless tasks."""
    for text in [t for group in texts.values() for t in group if len(t) < 200][:500]:
        start = time.perf_counter()
        guard(text)
        yield time.perf_counter() - start


def bipia(args: Any, report: Report) -> None:
    """Mails with an attack at the start, in the middle or at the end: found? And the mails without: left alone?"""
    rows = read_set(args, "safety_bipia_email")
    found: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        for place, text in _with_attack(row["context"], row["attack"]).items():
            found[place].append(_gives_orders(text))
    for place, hits in found.items():
        report.add("safety_bipia_email", "metier", f"recall_{place}", hits)
    mails = sorted({r["context"] for r in rows})
    report.add("safety_bipia_email", "metier", "false_alarms", [_gives_orders(mail) for mail in mails])
    guard = build_guards(["injection"], "between")
    gone = [row["attack"] not in guard(f"{row['context']}\n{row['attack']}", message=True).text for row in rows]
    report.add("safety_bipia_email", "metier", "attacks_taken_out", gone)


def _with_attack(mail: str, attack: str) -> dict[str, str]:
    """The attack inserted between lines, as BIPIA does."""
    lines = mail.split("\n")
    half = len(lines) // 2
    return {
        "start": f"{attack}\n{mail}",
        "middle": "\n".join([*lines[:half], attack, *lines[half:]]),
        "end": f"{mail}\n{attack}",
    }


def _gives_orders(text: str) -> bool:
    return any(order_to_model(s, message=True) for s in sentences(text))


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
    overlap = [(r["answer"] == SUPPORTED, evidence(r["response"], r["context"])[0] >= 0.8) for r in test]
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
