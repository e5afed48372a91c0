"""Personal data: span F1 (exact and overlapping) and recall per type. Part of `safety.py`, which runs it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from harness import Report, quantile, read_set, read_training, say
from numpy.typing import NDArray

from metier.agents.guardrails.pii import SURE_KINDS, PiiSpan, personal_data, recognise
from metier.benchmarks.skills.guard_heads import fit_tagger

Finder = Callable[[str], list[PiiSpan]]


def score_pii(args: Any, report: Report, folds: Callable[..., Any]) -> None:
    """Forms alone, forms with the tagger of names, and presidio's pattern recognisers where they are installed."""
    train, test = read_training(args, "safety_pii"), read_set(args, "safety_pii")
    results: dict[str, list[tuple[list[PiiSpan], list[PiiSpan]]]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    presidio = _presidio()
    for fit_on, rows in folds(args, train, test, lambda r: str(r["meta"]["template_id"])):
        tagger = fit_tagger(fit_on)
        systems: dict[str, Finder] = {
            "metier": lambda t, tag=tagger: personal_data(t, tagger=tag),
            "metier forms": recognise,
        }
        if presidio:
            systems["presidio patterns"] = presidio
        for name, find in systems.items():
            for row in rows:
                start = time.perf_counter()
                found = find(row["input"])
                seconds[name].append(time.perf_counter() - start)
                results[name].append(([PiiSpan(*s) for s in row["answer"]], found))
    for name, pairs in results.items():
        _report(report, name, pairs)
        report.add("safety_pii", name, "seconds_p95", seconds[name], quantile(0.95))


def _report(report: Report, name: str, pairs: list[tuple[list[PiiSpan], list[PiiSpan]]]) -> None:
    exact = [_counts(gold, found, exact=True) for gold, found in pairs]
    overlap = [_counts(gold, found, exact=False) for gold, found in pairs]
    report.add("safety_pii", name, "f1_exact", exact, _f1)
    report.add("safety_pii", name, "f1_overlap", overlap, _f1)
    sure = [
        _counts([g for g in gold if g.kind in SURE_KINDS], [f for f in found if f.kind in SURE_KINDS], exact=True)
        for gold, found in pairs
    ]
    report.add("safety_pii", name, "f1_exact_sure_kinds", sure, _f1)
    kinds = sorted({g.kind for gold, _ in pairs for g in gold})
    for kind in kinds:
        hits = [any(_meet(g, f) for f in found) for gold, found in pairs for g in gold if g.kind == kind]
        report.add("safety_pii", name, f"recall_{kind}", hits)


def _counts(gold: list[PiiSpan], found: list[PiiSpan], *, exact: bool) -> tuple[int, int, int, int]:
    """Gold spans found, gold spans, found spans that are right, found spans. Kinds must agree."""

    def same(a: PiiSpan, b: PiiSpan) -> bool:
        return a == b if exact else a.kind == b.kind and _meet(a, b)

    return (
        sum(any(same(g, f) for f in found) for g in gold), len(gold),
        sum(any(same(g, f) for g in gold) for f in found), len(found),
    )  # fmt: skip


def _meet(a: PiiSpan, b: PiiSpan) -> bool:
    """They share a character, whatever the kind: it would have been redacted."""
    return a.start < b.end and b.start < a.end


def _f1(rows: NDArray[Any]) -> float:
    hit, gold, right, found = rows.sum(axis=0)
    recall, precision = hit / max(gold, 1), right / max(found, 1)
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def _presidio() -> Finder | None:
    """presidio-analyzer without a language model, if it is installed: a peer, not a part of metier."""
    try:
        from presidio_analyzer import AnalyzerEngine  # type: ignore[import-not-found]
        from presidio_analyzer.nlp_engine import NoOpNlpEngine  # type: ignore[import-not-found]
    except ImportError:
        say("presidio-analyzer is not installed, no comparison")
        return None
    engine = AnalyzerEngine(nlp_engine=NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "no_op"}]))
    kinds = {"URL": "DOMAIN_NAME", "LOCATION": "GPE"}

    def find(text: str) -> list[PiiSpan]:
        found = engine.analyze(text, language="en")
        spans: list[PiiSpan] = []
        for one in sorted(found, key=lambda r: -r.score):
            span = PiiSpan(one.start, one.end, kinds.get(one.entity_type, one.entity_type))  # type: ignore[arg-type]
            if not any(_meet(span, other) for other in spans):
                spans.append(span)
        return spans

    return find
