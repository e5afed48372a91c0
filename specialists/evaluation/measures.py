"""How good one answer is, by the style that gave it: the measures that the field uses. One table, at the end."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ...core.errors import MetierError
from ...core.types import Answer
from ..metrics import exact_match, token_f1
from ..sql.database import Database
from ..sql.match import same_rows
from ..support import content_words, coverage
from .calls import calls_match, objects_match
from .question import Question

_STATEMENT = re.compile(r"\s*(select|with)\b", re.IGNORECASE)

Scores = dict[str, float]
"""Metric to value, 0 to 1. What does not apply to a question or answer is left out."""


@dataclass(frozen=True)
class Ground:
    """What answers are checked against."""

    text: Callable[[str], str] | None = None
    """Text of a document by its source; None for a specialist without documents."""
    database: Database | None = None
    """Of a specialist that has one."""


Measure = Callable[[Question, Answer, Ground], Scores]


@dataclass(frozen=True)
class Style:
    """How the answers of one style are measured."""

    measure: Measure
    main: str
    """The one of `measure` that says most."""
    names: tuple[str, ...]
    """All of `measure`; a refusal scores 0 where there is an answer, and 1 where nobody should answer."""
    decides: str = ""
    """The metric that the gate goes by; left out: `main`."""

    @property
    def gate(self) -> str:
        return self.decides or self.main


def text_scores(question: Question, answer: Answer, ground: Ground) -> Scores:
    """Exact match and word F1 (SQuAD)."""
    return {"em": exact_match(answer.text, question.texts), "f1": token_f1(answer.text, question.texts)}


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


def sql_scores(question: Question, answer: Answer, ground: Ground) -> Scores:
    """Whether the statement gives the rows of a right one (execution match: Zhong et al., EMNLP 2020)."""
    ran = [call.arguments.get("query", "") for call in answer.tool_calls if call.error is None]
    right = [question.sql] if question.sql else question.texts
    good = ran and any(_same_rows(str(ran[-1]), wanted, answer, ground.database) for wanted in right)
    return {"execution_match": float(bool(good))}


def _same_rows(said: str, wanted: str, answer: Answer, database: Database | None) -> bool:
    """A right answer that is no statement is compared as text."""
    if database is None or not _STATEMENT.match(wanted):
        return bool(exact_match(answer.text, [wanted]))
    try:
        ordered = "order by" in wanted.lower()
        return same_rows(database.query(said), database.query(wanted), ordered=ordered)
    except MetierError:
        return False


STYLES: dict[str, Style] = {
    "quote": Style(text_scores, "f1", ("em", "f1")),
    "free": Style(text_scores, "f1", ("em", "f1")),
    "label": Style(label_scores, "accuracy", ("accuracy",)),
    "json": Style(json_scores, "fields", ("object_match", "fields")),
    "act": Style(call_scores, "ast_match", ("ast_match",), decides="overall"),
    "sql": Style(sql_scores, "execution_match", ("execution_match",)),
}
"""Style to its measures; a style of somebody's own is measured as text."""


def style_of(name: str) -> Style:
    """The measures of a style."""
    return STYLES.get(name, STYLES["free"])


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
