"""Routing: does each task reach the right specialist, and does the router know when nobody should answer?

`python benchmarks/routing.py DATA [--only SET] [--limit N] [--seed S] [--json OUT] [--train DIR]`, and
`[--llm N]`, `[--peers PYTHON]` for the dearer comparisons.

Sets: `route_clinc` (10 domains), `route_clinc_intents` (its 150 intents), `intent_banking77`, `intent_banking77_5`
(5 examples a label), `route_assetops`. Everything is fitted on the training rows alone, thresholds too; rows of DATA
that are also training rows are taken out of training, and when nothing is left the set is cross-validated.

Metrics: accuracy (all rows; refusing a foreign task is right), in_scope_accuracy (most probable specialist, refused or
not), oos_recall, false_refusal, ece, coverage and set_size (conformal sets), fit_s, p50_s and p99_s of one text after
another (encoder included), certain_share and certain_p50_s (texts that needed no encoder), repeat_p50_s (asked again).
`several_recall` and `split_wrongly`: tasks glued together from two rows, and single rows that were taken apart.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from harness import Report, parser, progress, quantile, read_set, read_training, sample, say, wanted
from routing_peers import PEERS, Guess, llm_choice
from sklearn.model_selection import StratifiedKFold

from metier.core.embedding import Embedder
from metier.core.metrics import expected_calibration_error
from metier.core.onnx_embedder import load_embedder
from metier.core.types import Choice, Route
from metier.router.features import Example
from metier.router.report import Scored, score
from metier.router.router import Router

FOREIGN = "oos"
FOLDS = 7
FALSE_REFUSAL = 0.04
"""Where the training rows know foreign tasks; where they do not, nothing may be refused."""
GLUED = 200
"""So many tasks are glued together."""


class Fold(NamedTuple):
    train: list[Example]
    test: list[Example]


class Variant(NamedTuple):
    """A set as it is scored."""

    file: str
    intents: bool = False
    per_label: int | None = None


SETS = {
    "route_clinc": Variant("route_clinc"),
    "route_clinc_intents": Variant("route_clinc", intents=True),
    "intent_banking77": Variant("intent_banking77"),
    "intent_banking77_5": Variant("intent_banking77", per_label=5),
    "route_assetops": Variant("route_assetops"),
}


def examples(rows: Sequence[dict[str, Any]], variant: Variant) -> list[Example]:
    labels = [row["meta"]["intent"] if variant.intents else row["answer"] for row in rows]
    pairs = zip(rows, labels, strict=True)
    return [Example(text=row["input"], label=None if label == FOREIGN else label) for row, label in pairs]


def folds(args: Namespace, variant: Variant) -> list[Fold]:
    """Training rows and scored rows that have nothing in common."""
    scored = read_set(args, variant.file)
    ids = {row["id"] for row in scored}
    training = [row for row in read_training(args, variant.file) if row["id"] not in ids]
    if training:
        return [Fold(_few(examples(training, variant), variant, args.seed), examples(scored, variant))]
    say(f"{variant.file}: DATA holds the training rows themselves, cross-validated in {FOLDS} folds")
    everything = np.array(examples(scored, variant), dtype=object)
    labels = [e.label or FOREIGN for e in everything]
    cuts = StratifiedKFold(FOLDS, shuffle=True, random_state=args.seed).split(everything, labels)
    return [Fold(_few(list(everything[train]), variant, args.seed), list(everything[test])) for train, test in cuts]


def _few(found: list[Example], variant: Variant, seed: int) -> list[Example]:
    if variant.per_label is None:
        return found
    by_label: dict[str | None, list[dict[str, Any]]] = {}
    for e in found:
        by_label.setdefault(e.label, []).append({"example": e})
    return [row["example"] for rows in by_label.values() for row in sample(rows, variant.per_label, seed)]


def metier(report: Report, name: str, fold: Fold, embedder: Embedder) -> tuple[Router, list[tuple[float, Route]]]:
    """Fit, then route one text after the other, as a user would send them."""
    start = perf_counter()
    foreign = any(e.label is None for e in fold.train)
    router = Router.fit(fold.train, embedder=embedder, false_refusal=FALSE_REFUSAL if foreign else 0.0)
    report.add_value(name, "metier", "fit_s", perf_counter() - start, len(fold.train))
    router.route("how is the very first task, which pays for everything that is loaded late?")
    timed: list[tuple[float, Route]] = []
    for example in progress(fold.test, name):
        start = perf_counter()
        route = router.route(example.text)
        timed.append((perf_counter() - start, route))
    return router, timed


def add_scores(report: Report, name: str, system: str, scored: Sequence[Scored]) -> None:
    own = [s for s in scored if s.own]
    foreign = [s for s in scored if not s.own]
    report.add(name, system, "accuracy", [s.right for s in scored])
    if own:
        report.add(name, system, "in_scope_accuracy", [s.best == s.truth for s in own])
        report.add(name, system, "false_refusal", [s.decision == "abstain" for s in own])
    if foreign:
        report.add(name, system, "oos_recall", [s.right for s in foreign])


def add_calibration(report: Report, name: str, scored: Sequence[Scored]) -> None:
    own = [s for s in scored if s.own]
    pairs = np.array([[s.confidence, s.right] for s in scored], dtype=float)
    report.add(name, "metier", "ece", pairs, lambda p: expected_calibration_error(p[:, 0], p[:, 1]))
    if own:
        report.add(name, "metier", "coverage", [s.in_set for s in own])
        report.add(name, "metier", "set_size", [s.set_size for s in own])
    report.add(name, "metier", "clarify_share", [s.decision == "clarify" for s in scored])
    report.add(name, "metier", "split_wrongly", [s.decision == "several" for s in scored])


def add_times(
    report: Report, name: str, timed: Sequence[tuple[float, Route]], router: Router, texts: list[str]
) -> None:
    seconds = [s for s, _ in timed]
    report.add(name, "metier", "p50_s", seconds, quantile(0.5))
    report.add(name, "metier", "p99_s", seconds, quantile(0.99))
    certain = ["top" not in route.signals for _, route in timed]
    report.add(name, "metier", "certain_share", certain)
    if any(certain):
        report.add(
            name, "metier", "certain_p50_s", [s for s, c in zip(seconds, certain, strict=True) if c], quantile(0.5)
        )
    again = []
    for text in texts[-100:]:
        start = perf_counter()
        router.route(text)
        again.append(perf_counter() - start)
    report.add(name, "metier", "repeat_p50_s", again, quantile(0.5))


def add_glued(report: Report, name: str, router: Router, test: Sequence[Example], seed: int) -> None:
    """Two tasks of different specialists in one sentence: does each get its part?"""
    dice = np.random.default_rng(seed)
    own = [e for e in test if e.label is not None]
    found = []
    for _ in range(GLUED):
        one, two = (own[i] for i in dice.choice(len(own), 2, replace=False))
        if one.label != two.label:
            route = router.route(f"{one.text.rstrip('.?!')} and {two.text}")
            found.append({p.specialist for p in route.parts} == {one.label, two.label})
    if found:
        report.add(name, "metier", "several_recall", found)


def as_scored(guesses: Sequence[Guess], test: Sequence[Example]) -> list[Scored]:
    """A peer's answers in the form of ours."""
    found = []
    for guess, e in zip(guesses, test, strict=True):
        decision = "abstain" if guess.refused else "one"
        route = Route(decision=decision, choices=(Choice(name=guess.label, probability=1.0),), confidence=1.0)
        found.append(score(e, route))
    return found


def main() -> None:
    options = parser("Routing accuracy, abstention, calibration and latency, with peers.")
    options.add_argument("--llm", type=int, default=0, metavar="N", help="also ask the small model, on N rows a set")
    options.add_argument("--peers", metavar="PYTHON", help="interpreter that has semantic-router and setfit installed")
    args = options.parse_args()
    report, embedder = Report(args), load_embedder()
    files = wanted(Namespace(only=None, data=args.data), dict.fromkeys(v.file for v in SETS.values()))
    for name, variant in SETS.items():
        if variant.file in files and (not args.only or name in args.only):
            run_set(args, report, name, variant, embedder)
    report.finish()


def run_set(args: Namespace, report: Report, name: str, variant: Variant, embedder: Embedder) -> None:
    parts = folds(args, variant)
    ours: list[Scored] = []
    timed: list[tuple[float, Route]] = []
    peers: dict[str, list[Scored]] = {}
    routers = []
    for fold in parts:
        router, times = metier(report, name, fold, embedder)
        routers.append(router)
        timed += times
        ours += [score(e, route) for e, (_, route) in zip(fold.test, times, strict=True)]
        for peer, answer in PEERS.items():
            guesses = answer(fold.train, [e.text for e in fold.test], embedder, args)
            if guesses is not None:
                peers.setdefault(peer, []).extend(as_scored(guesses, fold.test))
    last, router = parts[-1], routers[-1]
    add_scores(report, name, "metier", ours)
    add_calibration(report, name, ours)
    add_times(report, name, timed, router, [e.text for e in last.test])
    add_glued(report, name, router, last.test, args.seed)
    for peer, scored in peers.items():
        add_scores(report, name, peer, scored)
    if args.llm:
        add_llm(report, name, router, last, args)


def add_llm(report: Report, name: str, router: Router, fold: Fold, args: Namespace) -> None:
    order = np.random.default_rng(args.seed).permutation(len(fold.test))
    some = [fold.test[i] for i in order[: args.llm]]
    seconds, guesses = llm_choice(fold.train, [e.text for e in some])
    add_scores(report, name, "llm choice (base)", as_scored(guesses, some))
    report.add(name, "llm choice (base)", "p50_s", seconds, quantile(0.5))
    add_scores(report, name, f"metier, same {len(some)} rows", [score(e, router.route(e.text)) for e in some])


if __name__ == "__main__":
    main()
