"""Styles `free` and `json`: what the model writes in its own words, or into the card's schema."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ..engines.engine import Json
from ..evaluation.measures import Scoring, json_scores
from ..grounding import supporting_sentence
from ..prompt import NOT_FOUND, Shot, TrainingExample
from ..work import Draft, Work
from .shots import ExampleShots, open_shots
from .style import Examples, Learner, Style, lesson_prompt, passage_texts


def answer_freely(work: Work) -> Draft:
    """A short answer with the sentence that supports it as citation.

    Without knowledge the model answers by itself; with it, an answer without support counts as not found.
    """
    reply = work.ask(work.prompt())
    if not reply.text or reply.text.lower().startswith(NOT_FOUND):
        return Draft(text=NOT_FOUND, found=False, certainty=reply.certainty)
    if work.card.knowledge is None:
        return Draft(text=reply.text, found=True, certainty=reply.certainty)
    citation = supporting_sentence(reply.text, work.passages)
    citations = () if citation is None else (citation,)
    return Draft(text=reply.text, found=bool(citations), citations=citations, certainty=reply.certainty)


def fill_schema(work: Work) -> Draft:
    """JSON that fits the card's schema. An answer that was cut off by `max_tokens` does not parse: not found.

    The specialist's examples show what a field holds: how a date is written, what belongs to a number.
    """
    schema = work.card.output_schema or {}
    shots = _shots(work.resources, work.brief.task)
    reply = work.ask(work.prompt(system=[_compact(schema)], shots=shots), Json(schema))
    try:
        data = json.loads(reply.text)
    except json.JSONDecodeError:
        return Draft(text=reply.text, found=False, certainty=reply.certainty)
    return Draft(text=reply.text, found=True, data=data, certainty=reply.certainty)


def written_lessons(learner: Learner, examples: Examples) -> Iterator[TrainingExample]:
    """What the model should write."""
    schema = learner.card.output_schema
    system = [_compact(schema)] if schema and learner.style is JSON else []
    for task, answer in examples.answered():
        texts, shots = passage_texts(learner, task), _shots(learner.resources, task, besides=task)
        yield TrainingExample(lesson_prompt(learner, task, texts, system=system, shots=shots), _written(answer))


def _shots(examples: object, task: str, *, besides: str = "") -> list[Shot]:
    rows = examples.nearest(task, besides=besides) if isinstance(examples, ExampleShots) else []
    return [Shot(row["input"], _written(row["answer"])) for row in rows if row["answer"]]


def _written(answer: object) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def _compact(schema: object) -> str:
    return json.dumps(schema, separators=(",", ":"))


FREE = Style(
    "free",
    answer_freely,
    instruction=f"Answer briefly and only from the passages. If they do not say it, answer: {NOT_FOUND}",
    lessons=written_lessons,
)
JSON = Style(
    "json",
    fill_schema,
    instruction="Answer with JSON that fits the schema.",
    lessons=written_lessons,
    scoring=Scoring(json_scores, "fields", ("object_match", "fields")),
    needs=("output_schema",),
    open=open_shots,
)
