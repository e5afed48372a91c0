"""Style `answer`: what a colleague would say, made of quotes: a short span, the steps, or Yes or No and why.

The model points at words of the passages; each line that it writes is verified, whoever the engine is, and stands in
the answer as its own citation. What it points at with a bare Yes or No is given as the whole sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...core.text import terms
from ...core.types import Citation, Passage
from ..engines.engine import Quote
from ..grounding import in_view, with_context
from ..knowledge.citation import cite
from ..prompt import NOT_FOUND, TrainingExample
from ..work import DECLINED, Draft, Reply, Work
from .style import ABSENT, Examples, Learner, Style, lesson_prompt

_OPENINGS = ("Yes.", "No.")

_MOST = 6
"""Quotes in one answer: the steps of a procedure, the items of a list."""


def answer(work: Work) -> Draft:
    """Let the model point at what answers; if it declines, at what comes nearest: how sure to be of that is then asked
    with `declined` among the signs."""
    if not work.passages:
        return Draft(text=NOT_FOUND, found=False)
    prompt = work.prompt()
    shape = Quote(work.texts, [NOT_FOUND], openings=_OPENINGS, most=_MOST)
    draft = _draft(work.ask(prompt, shape), work.passages)
    if draft.found:
        return draft
    nearest = _draft(work.ask(prompt, replace(shape, alternatives=()), seed=0), work.passages)
    return replace(nearest, certainty={**nearest.certainty, DECLINED: 1.0})


def _draft(reply: Reply, passages: Sequence[Passage]) -> Draft:
    lines = [line.strip() for line in reply.text.split("\n") if line.strip()]
    opening = lines[0] if lines and lines[0] in _OPENINGS else ""
    citations = tuple(_citations(lines[1:] if opening else lines, passages, whole=bool(opening)))
    if not citations:
        return Draft(text=reply.text or NOT_FOUND, found=False, certainty=reply.certainty)
    text = "\n".join(dict.fromkeys(citation.quote for citation in citations))
    return Draft(f"{opening} {text}".strip(), found=True, citations=citations, certainty=reply.certainty)


def _citations(lines: Sequence[str], passages: Sequence[Passage], *, whole: bool) -> Iterator[Citation]:
    """The lines' places, in order. Lines that follow each other in a passage are one quote; what stands nowhere is left
    out."""
    while lines:
        together = (lines[:count] for count in range(len(lines), 0, -1))
        found = ((run, cite("\n".join(run), passages)) for run in together if terms(" ".join(run)))
        run, citation = next(((run, c) for run, c in found if c), (lines[:1], None))
        if citation:
            yield _sentence(citation, passages) if whole else citation
        lines = lines[len(run) :]


def _sentence(citation: Citation, passages: Sequence[Passage]) -> Citation:
    """The citation, widened to the sentence that it stands in."""
    return cite(with_context(citation, passages).context, [p for p in passages if p.id == citation.passage]) or citation


def answer_lessons(learner: Learner, examples: Examples) -> Iterator[TrainingExample]:
    """Each question with the passages that a search finds; some again with passages that do not answer.

    Rows whose answer stands in none of the passages found are left out: they would teach to guess.
    """
    if learner.knowledge is None or learner.card.knowledge is None:
        return
    top_k, dice = learner.card.knowledge.top_k, examples.dice
    for task, wanted in examples.answered():
        passages = learner.knowledge.search(task, k=top_k + 3)
        right = [p for p in passages if cite(wanted, [p])]
        wrong = [p for p in passages if p not in right]
        texts, citation = in_view(task, passages[:top_k]), cite(wanted, passages[:top_k])
        if citation and any(citation.quote in text for text in texts):
            yield TrainingExample(lesson_prompt(learner, task, texts), citation.quote)
        if right and wrong and dice.random() < 2 * ABSENT:
            shown = in_view(task, wrong[: dice.randint(1, 2)])
            yield TrainingExample(lesson_prompt(learner, task, shown), NOT_FOUND)


ANSWER = Style(
    "answer",
    answer,
    instruction="Answer with the exact words from the passages, one quote a line; where it is asked whether, first say "
    f"Yes or No. If they do not say it, answer: {NOT_FOUND}",
    lessons=answer_lessons,
    # On the tuning part of real documents 7 % of the answers given are wrong then (docs/log.md).
    abstain_below=0.6,
)
