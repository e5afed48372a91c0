"""How good answers are: what a style says of the measuring (`Scoring`), and the measures that the field uses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.metrics import exact_match, expected_calibration_error, normalise_answer, risk_coverage, token_f1
from ...core.text import content_words, coverage
from ...core.types import Answer, ToolCall
from .questions import Question, Result

Refused = NDArray[np.bool_]
"""Of each question, whether it was refused."""

Scores = dict[str, float]
"""Metric to value, 0 to 1. What does not apply to a question or answer is left out."""


@dataclass(frozen=True)
class Ground:
    """What answers are checked against."""

    text: Callable[[str], str] | None = None
    """Text of a document by its source; None for a specialist without documents."""
    resources: Any = None
    """What the specialist's style opened: its database, say."""


@dataclass(frozen=True)
class Scoring:
    """How the answers of one style are measured."""

    score: Callable[[Question, Answer, Ground], Scores]
    """Of one answer."""
    main: str
    """The metric of `score` that says most."""
    names: tuple[str, ...]
    """All of `score`; a refusal scores 0 where there is an answer, and 1 where nobody should answer."""
    decides: str = ""
    """The metric that the gate goes by; left out: `main`."""
    columns: Callable[[Sequence[Result], Refused], dict[str, MeasureColumn]] | None = None
    """Metrics that are made of all answers together; those of the same name as one of `names` take its place."""

    @property
    def gate(self) -> str:
        return self.decides or self.main


def text_scores(question: Question, answer: Answer, ground: Ground) -> Scores:
    """Exact match and word F1 (SQuAD); `holds`: a right answer stands in it, word for word."""
    said, right = normalise_answer(answer.text), [normalise_answer(text) for text in question.texts]
    holds = any(text and f" {text} " in f" {said} " for text in right)
    return {
        "em": exact_match(answer.text, question.texts),
        "f1": token_f1(answer.text, question.texts),
        "holds": float(holds),
    }


def label_scores(question: Question, answer: Answer, ground: Ground) -> Scores:
    """The label itself; macro-F1 is made of all answers together, in `columns`."""
    return {"accuracy": float(answer.text in question.texts)}


def json_scores(question: Question, answer: Answer, ground: Ground) -> Scores:
    """The whole object, and the share of its fields."""
    pairs = [objects_match(answer.text, wanted) for wanted in question.answers]
    return {"object_match": float(any(p[0] for p in pairs)), "fields": max((p[1] for p in pairs), default=0.0)}


def call_scores(question: Question, answer: Answer, ground: Ground) -> Scores:
    """The calls that were made, part by part (BFCL). A failed call that was tried again does not count."""
    made = [call for call in answer.tool_calls if call.error is None]
    return {"ast_match": float(any(calls_match(made, wanted) for wanted in question.answers))}


TEXT = Scoring(text_scores, "f1", ("em", "f1"))
"""Of answers that are text; also of the styles that users bring."""


def is_right(result: Result, scoring: Scoring) -> bool:
    """Whether what was said is right, which is what a confidence is about: the main metric is 0.5 or more, or a right
    answer stands in it (a sentence around two wanted words has a low F1)."""
    return result.answerable and max(result.scores.get(scoring.main, 0.0), result.scores.get("holds", 0.0)) >= 0.5


def grounding(question: Question, answer: Answer, ground: Ground) -> Scores:
    """What holds for every style with documents.

    `citation_precision`: share of the citations whose quote stands at its place in its document, and where the
    question names the document, in that one (after ALCE: Gao et al., EMNLP 2023). `faithfulness`: share of the
    answer's content words in the sentences that it cites (K-Precision: Adlakha et al., TACL 2024).
    """
    if ground.text is None or answer.kind != "answer":
        return {}
    good = [_stands(c.source, c.quote, c.start, c.end, question, ground.text) for c in answer.citations]
    cited = " ".join(part for c in answer.citations for part in (c.quote, c.context))
    return {
        "citation_precision": sum(good) / len(good) if good else 0.0,
        "faithfulness": coverage(content_words(answer.text), cited) if cited else 0.0,
    }


def _stands(source: str, quote: str, start: int, end: int, question: Question, text: Callable[[str], str]) -> bool:
    named = question.source is None or source.endswith(question.source)
    return named and text(source)[start:end] == quote


# From results to metrics: each a column with one row a question, and the statistic that makes it one number.

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MeasureColumn:
    """One metric."""

    values: Array
    """(questions, k); NaN where the metric does not apply."""
    statistic: Callable[[Array], float]
    """Of some of the rows; NaN when none of them applies."""

    @property
    def applies(self) -> int:
        """Questions to which the metric applies."""
        return int(np.isfinite(self.values).all(axis=1).sum())


def measure_columns(results: Sequence[Result], scoring: Scoring, threshold: float) -> dict[str, MeasureColumn]:
    """All metrics of a specialist that refuses below `threshold`, in the order in which they are shown.

    Refusals score 0 where there is an answer (and 1 where nobody should answer). `answered` is the share of answers,
    `…_answered` the main metric among them; `abstain_precision` the share of refusals that were due,
    `abstain_recall` the share of due refusals (both only where any is due); `aurc` the area under the risk-coverage
    curve, `ece` how far the confidence is from the share of right answers (`is_right`), in ten bins; of both, less is
    better.
    """
    refused = np.array([r.refused(threshold) for r in results])
    due = np.array([not r.answerable for r in results])
    columns, main = _style_columns(results, scoring, refused), _scores(results, scoring.main) * ~due
    right = [is_right(r, scoring) for r in results]
    columns |= {
        "answered": _mean(~refused),
        f"{scoring.main}_answered": _mean(np.where(refused, np.nan, main)),
        "abstain_precision": _mean(np.where(refused & due.any(), due, np.nan)),
        "abstain_recall": _mean(np.where(due, refused, np.nan)),
        "aurc": MeasureColumn(np.column_stack([_sureness(results), 1 - main]), _aurc),
        "ece": MeasureColumn(np.column_stack([[r.confidence * r.found for r in results], right]), _ece),
        **{name: _mean(_grounding(results, refused, name)) for name in ("citation_precision", "faithfulness")},
        "seconds_p50": MeasureColumn(_upright([r.seconds for r in results]), _quantile(0.5)),
        "seconds_p95": MeasureColumn(_upright([r.seconds for r in results]), _quantile(0.95)),
        "input_tokens": _mean([r.input_tokens for r in results]),
        "output_tokens": _mean([r.output_tokens for r in results]),
    }
    return {name: column for name, column in columns.items() if column.applies}


def _style_columns(results: Sequence[Result], scoring: Scoring, refused: Refused) -> dict[str, MeasureColumn]:
    """The metrics of the style: means of the single scores, and what is made of all answers together."""
    due = np.array([not r.answerable for r in results])
    columns: dict[str, MeasureColumn] = {}
    for name in scoring.names:
        columns[name] = _mean(np.where(due, refused, np.where(refused, 0.0, _scores(results, name))))
    return columns | (scoring.columns(results, refused) if scoring.columns else {})


def _scores(results: Sequence[Result], name: str) -> Array:
    """One of the single scores; 0 where there is none."""
    return np.array([r.scores.get(name, 0.0) for r in results])


def coverage_curve(results: Sequence[Result], main: str) -> list[tuple[float, float]]:
    """(share answered, mean `main` metric of what is answered) for every threshold, from few answers to all."""
    good = _scores(results, main) * np.array([r.answerable for r in results])
    answered, risk = risk_coverage(_sureness(results), 1 - good)
    return [*zip(answered.tolist(), (1 - risk).tolist(), strict=True)]


def _aurc(rows: Array) -> float:
    """Area under the risk-coverage curve; columns are confidence and risk."""
    return float(risk_coverage(rows[:, 0], rows[:, 1])[1].mean())


def _ece(rows: Array) -> float:
    return expected_calibration_error(rows[:, 0], rows[:, 1], bins=10)


def _sureness(results: Sequence[Result]) -> Array:
    """Confidence; less than any where there is no draft."""
    return np.array([r.confidence if r.found else -1.0 for r in results])


def _grounding(results: Sequence[Result], refused: Refused, name: str) -> Array:
    return np.where(refused, np.nan, [r.scores.get(name, np.nan) for r in results])


def label_columns(results: Sequence[Result], refused: Refused) -> dict[str, MeasureColumn]:
    """`macro_f1`: mean over the labels of their F1; where several labels are right, the one that was said counts."""
    said = ["" if no else r.text for r, no in zip(results, refused, strict=True)]
    right = [s if s in r.answers else next(iter(r.answers), "") for r, s in zip(results, said, strict=True)]
    number = {label: n for n, label in enumerate(dict.fromkeys([*right, *said]))}
    pairs = np.array([[number[a], number[b]] for a, b in zip(right, said, strict=True)], dtype=float)
    return {"macro_f1": MeasureColumn(pairs, _macro)}


def call_columns(results: Sequence[Result], refused: Refused) -> dict[str, MeasureColumn]:
    """As the BFCL leaderboard has it: apart for tasks with a call and for those without; `overall` is both."""
    due = np.array([not r.answerable for r in results])
    match = np.where(refused, due, np.where(due, 0.0, [r.scores.get("ast_match", 0.0) for r in results]))
    return {
        "overall": _mean(match),
        "ast_match": _mean(np.where(due, np.nan, match)),
        "irrelevance": _mean(np.where(due, [not r.calls for r in results], np.nan)),
    }


def _macro(pairs: Array) -> float:
    right, said = pairs[:, 0], pairs[:, 1]
    scores = [
        2 * np.sum((right == label) & (said == label)) / (np.sum(right == label) + np.sum(said == label))
        for label in np.unique(right)
    ]
    return float(np.mean(scores))


def _mean(values: Any) -> MeasureColumn:
    return MeasureColumn(_upright(values), lambda rows: float(_of_those_that_apply(rows[:, 0])))


def _of_those_that_apply(values: Array) -> float:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else float("nan")


def _quantile(share: float) -> Callable[[Array], float]:
    return lambda rows: float(np.quantile(rows[:, 0], share))


def _upright(values: Any) -> Array:
    return np.asarray(values, dtype=float).reshape(-1, 1)


# Is it the call, or the object, that was wanted? By its parts, as the Berkeley Function Calling Leaderboard compares.

_LOOSE = re.compile(r"[\s,./\-_*^'\"]")

_OMITTED = ""
"""Among the allowed values: the argument may be left out."""


def calls_match(made: Sequence[ToolCall], wanted: Any) -> bool:
    """Whether exactly the wanted calls were made, in any order.

    Args:
        wanted: One call or a list of them, each `{"name": …, "arguments": {…}}` with the values that are right, or
            `{NAME: {ARGUMENT: [right values]}}` as in the leaderboard's files, where "" means "may be left out".
    """
    left = list(made)
    for call in wanted if isinstance(wanted, list) else [wanted]:
        match = next((m for m in left if _same(m, call)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _same(made: ToolCall, wanted: Mapping[str, Any]) -> bool:
    if "arguments" in wanted and "name" in wanted:
        name, allowed = wanted["name"], {key: [value] for key, value in wanted["arguments"].items()}
    else:
        name, allowed = next(iter(wanted.items()))
    return made.name == name and _fits_all(made.arguments, allowed)


def _fits_all(given: Mapping[str, Any], allowed: Mapping[str, Any]) -> bool:
    """Nothing that was not asked for, and all that may not be left out."""
    if set(given) - set(allowed):
        return False
    return all(
        any(_fits(given[key], value) for value in values) if key in given else _OMITTED in values
        for key, values in ((k, v if isinstance(v, list) else [v]) for k, v in allowed.items())
    )


def _fits(given: Any, right: Any) -> bool:
    """Numbers by their value, texts without regard to case, space and punctuation, the rest by their parts."""
    if isinstance(given, bool) or isinstance(right, bool):
        return given is right
    if isinstance(given, int | float) and isinstance(right, int | float):
        return float(given) == float(right)
    if isinstance(given, str) and isinstance(right, str):
        return _LOOSE.sub("", given).lower() == _LOOSE.sub("", right).lower()
    if isinstance(given, list) and isinstance(right, list):
        return len(given) == len(right) and all(map(_fits, given, right))
    if isinstance(given, dict) and isinstance(right, dict):
        exact = set(given) == set(right) and all(_fits(given[k], right[k]) for k in given)
        return exact or _fits_all(given, right)
    return given == right


def objects_match(text: str, wanted: Any) -> tuple[bool, float]:
    """Whether a JSON text is the wanted object, and the share of the wanted object's fields that it has right."""
    try:
        given = json.loads(text)
        right = json.loads(wanted) if isinstance(wanted, str) else wanted
    except ValueError:
        return False, 0.0
    if not isinstance(given, dict) or not isinstance(right, dict) or not right:
        return given == right, float(given == right)
    fields = [key in given and _fits(given[key], value) for key, value in right.items()]
    return all(fields) and set(given) == set(right), sum(fields) / len(fields)
