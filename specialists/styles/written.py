"""Styles `free` and `json`: what the model writes in its own words, or into the card's schema."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ..engines.engine import Json
from ..evaluation.measures import Scoring, json_scores
from ..grounding import supporting_sentence
from ..prompt import NOT_FOUND, TrainingExample
from ..work import Draft, Work
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
    """JSON that fits the card's schema. An answer that was cut off by `max_tokens` does not parse: not found."""
    schema = work.card.output_schema or {}
    reply = work.ask(work.prompt(system=[_compact(schema)]), Json(schema))
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
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        yield TrainingExample(lesson_prompt(learner, task, passage_texts(learner, task), system=system), text)


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
)
