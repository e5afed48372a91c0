"""The questions of an evaluation: what is right, what a specialist answered, and which of them examples repeat."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import ConfigDict, Field

from ...core.embedding import Embedder
from ...core.errors import ConfigError
from ...core.metrics import normalise_answer
from ...core.types import Answer, Citation, ToolCall, Value


class Question(Value):
    """A row of an evaluation set."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    """Hash of the row: another row, or a changed one, is another question."""
    input: str
    answers: tuple[Any, ...]
    """Right answers, any of which will do: texts, or what the style gives (a call, an object). Empty: nobody should
    answer this."""
    sql: str | None = None
    """A statement that gives the answer."""
    source: str | None = None
    """The document that holds the answer, as far as the row says."""

    @classmethod
    def of(cls, row: dict[str, Any]) -> Question:
        """The question in a row `{"input": …, "answer": …}`; `answers` may list several, and `sql` a statement.

        Raises:
            ConfigError: there is no `input`, or none of `answer`, `answers` and `sql`.
        """
        if not isinstance(row.get("input"), str) or not row["input"].strip():
            raise ConfigError("row without an 'input' text")
        if not {"answer", "answers", "sql"} & set(row):
            raise ConfigError("row without an 'answer'", hint='"answer": null says that nobody should answer it')
        answers = row.get("answers") or [row.get("sql") if row.get("answer") is None else row["answer"]]
        if not isinstance(answers, list):
            raise ConfigError(f"'answers' should be a list, found {type(answers).__name__}")
        text = json.dumps(row, sort_keys=True, ensure_ascii=False)
        return cls(
            id=hashlib.sha256(text.encode()).hexdigest()[:12],
            input=row["input"],
            answers=tuple(a for a in answers if a is not None and a not in ("", [], {})),
            sql=_text(row.get("sql")),
            source=_text(row.get("source")),
        )

    @property
    def answerable(self) -> bool:
        return bool(self.answers)

    @property
    def texts(self) -> list[str]:
        """The right answers as texts."""
        return [a if isinstance(a, str) else json.dumps(a, ensure_ascii=False) for a in self.answers]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


class Result(Value):
    """A question, answered: a line of `results.jsonl`.

    The draft is kept whatever its confidence; whether it is refused is a threshold's matter, which comes later.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    input: str
    answers: tuple[str, ...]
    """The right ones, as texts."""
    text: str
    found: bool
    """False: there was no draft at all."""
    confidence: float
    measures: dict[str, float]
    """What the confidence was made of (`specialists/confidence.py`), so that it can be made again after a new fit;
    empty where the answer brought it along."""
    reason: str = ""
    citations: tuple[Citation, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    scores: dict[str, float] = Field(default_factory=dict)
    """Of the draft; see `measures`."""
    seconds: float
    input_tokens: int
    output_tokens: int

    @classmethod
    def of(
        cls,
        question: Question,
        answer: Answer,
        scores: dict[str, float],
        seconds: float,
        measures: Mapping[str, float] | None = None,
    ) -> Result:
        return cls(
            id=question.id,
            input=question.input,
            answers=tuple(question.texts),
            text=answer.text,
            found=answer.kind == "answer",
            confidence=answer.confidence,
            measures=dict(measures or {}),
            reason=answer.reason,
            citations=answer.citations,
            calls=answer.tool_calls,
            scores=scores,
            seconds=seconds,
            input_tokens=answer.usage.input_tokens,
            output_tokens=answer.usage.output_tokens,
        )

    @property
    def answerable(self) -> bool:
        return bool(self.answers)

    def refused(self, threshold: float) -> bool:
        """Whether a specialist that abstains below `threshold` says that it does not know."""
        return not self.found or self.confidence < threshold


# Evaluation questions that slipped in among examples: the same words, or nearly the same meaning.

_SAME = 0.9
"""Cosine from which two questions are the same. Among the plant's 341 examples and 157 evaluation questions, which
were written apart, the highest is 0.87; a question in another order of words has 0.96. True paraphrases in other words
can lie below: nothing finds them all."""

_NUMBER = re.compile(r"[^\W_]*\d[^\W_]*")


def leaked(tasks: Sequence[str], held_out: Sequence[str], embedder: Embedder) -> dict[int, str]:
    """Place of a task to the evaluation question that it repeats; empty when none does.

    Questions that name other numbers or codes are not the same, however alike they are: "shelf of P-1011" and "shelf of
    P-1012" have different answers.
    """
    if not tasks or not held_out:
        return {}
    plain = {normalise_answer(question): question for question in held_out}
    repeated = {n: plain[text] for n, task in enumerate(tasks) if (text := normalise_answer(task)) in plain}
    near = embedder.embed(tasks) @ embedder.embed(held_out).T
    for place, other in np.argwhere(near >= _SAME).tolist():
        if _numbers(tasks[place]) == _numbers(held_out[other]):
            repeated.setdefault(place, held_out[other])
    return dict(sorted(repeated.items()))


def _numbers(text: str) -> set[str]:
    return {word.lower() for word in _NUMBER.findall(text)}
