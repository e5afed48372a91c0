"""Styles `quote` and `answer`: what is said are words of the documents, each verified and cited, whoever the engine is.

`quote` gives one run of words, or 'not found'. `answer` gives what a colleague would say: a short span, the steps, or
Yes or No and why; each line is a citation of its own, and what is pointed at with a bare Yes or No is given as the
whole sentence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...core.language import say
from ...core.text import terms
from ...core.types import Citation, Passage
from ..engines.engine import OneOf, Quote
from ..knowledge.citation import cite
from ..prompt import NOT_FOUND, Message, TrainingExample, render
from ..work import DECLINED, VERDICT, Draft, Reply, Work
from .calculation.compute import calculated
from .style import ABSENT, Examples, Learner, Style, absent_lesson, found_answers, quoting_lesson


def quote(work: Work) -> Draft:
    """Let the model point at the answer; what it says is verified against the passages, whoever the engine is."""
    if not work.passages:
        return Draft(text=NOT_FOUND, found=False)
    reply = work.ask(work.prompt(), Quote(texts=work.texts))
    citation = None if _declines(reply.text) else work.cite(reply.text)
    if citation is None:
        return Draft(text=reply.text or NOT_FOUND, found=False, certainty=reply.certainty)
    return Draft(text=citation.quote, found=True, citations=(citation,), certainty=reply.certainty)


def quote_lessons(learner: Learner, examples: Examples) -> Iterator[TrainingExample]:
    """Each question twice: with the passages that a search finds, and with the right passage among fewer others.

    Rows whose answer stands in none of the passages found are left out: they would teach to guess.
    """
    dice = examples.dice
    for row in found_answers(learner, examples):
        if not row.right or not row.wrong:
            continue
        few = [row.right[0], *dice.sample(row.wrong, k=dice.randint(0, 1))]
        dice.shuffle(few)
        for shown in (row.read, few):
            yield from quoting_lesson(learner, row, shown)
        if dice.random() < 2 * ABSENT:
            yield absent_lesson(learner, row, dice)


def _declines(text: str) -> bool:
    """Whether a quote is "not found", or holds no word that carries meaning.

    The grammar allows runs of the passages' words only: of a "not found" that the model is sure of, it lets the "not"
    through wherever a passage has one.
    """
    return not terms(text) or text.lower() == NOT_FOUND


QUOTE = Style(
    "quote",
    quote,
    instruction=f"Answer with the exact words from the passages. If they do not say it, answer: {NOT_FOUND}",
    lessons=quote_lessons,
)


# Style `answer`.

_YES, _NO = _OPENINGS = ("Yes.", "No.")

_WEIGH = "According to the statement, is the answer to the question Yes or No?"
"""A second, short look: which of the two it is, a small model tells better from the one sentence than from passages."""

_MOST = 6
"""Quotes in one answer: the steps of a procedure, the items of a list."""


def answer(work: Work) -> Draft:
    """Let the model point at what answers; if it declines, at what comes nearest: how sure to be of that is then asked
    with `declined` among the signs."""
    if not work.passages:
        return Draft(text=NOT_FOUND, found=False)
    if computed := calculated(work):
        return computed
    prompt = work.prompt()
    shape = Quote(work.texts, [NOT_FOUND], openings=_OPENINGS, most=_MOST)
    draft = _draft(work, work.ask(prompt, shape))
    if draft.found:
        return draft
    # It would say "not" once more, wherever a passage has that word.
    pointing = replace(shape, alternatives=(), barred=NOT_FOUND.split()[:1])
    nearest = _draft(work, work.ask(prompt, pointing, aloud=False))
    return replace(nearest, certainty={**nearest.certainty, DECLINED: 1.0})


def _draft(work: Work, reply: Reply) -> Draft:
    lines = [line.strip() for line in reply.text.split("\n") if line.strip()]
    whether = bool(lines) and lines[0] in _OPENINGS
    citations = tuple(_citations(lines[1:] if whether else lines, work, whole=whether))
    if not citations:
        return Draft(text=reply.text or NOT_FOUND, found=False, certainty=reply.certainty)
    text = "\n".join(dict.fromkeys(citation.quote for citation in citations))
    certainty = reply.certainty
    if whether:
        verdict = work.ask(weighing(work.brief.task, text), OneOf(_OPENINGS), aloud=False)
        text = f"{say('no' if verdict.text == _NO else 'yes', work.brief.task)} {text}"
        certainty = {**certainty, VERDICT: math.log(verdict.options.get(verdict.text, 1.0))}
    return Draft(text, found=True, citations=citations, certainty=certainty)


def weighing(task: str, statement: str) -> list[Message]:
    """The messages that ask whether a statement says yes or no to the task; a rule of its own for its lessons."""
    return render(_WEIGH, task, [" ".join(statement.split())])


def _citations(lines: Sequence[str], work: Work, *, whole: bool) -> Iterator[Citation]:
    """The lines' places, in order. Lines that follow each other in a passage are one quote; what stands nowhere is left
    out."""
    while lines:
        together = (lines[:count] for count in range(len(lines), 0, -1))
        sayings = ((run, "\n".join(run)) for run in together if terms(" ".join(run)))
        found = ((run, work.cite(said)) for run, said in sayings)
        run, citation = next(((run, c) for run, c in found if c), (lines[:1], None))
        if citation:
            yield _sentence(citation, work.passages) if whole else citation
        lines = lines[len(run) :]


def _sentence(citation: Citation, passages: Sequence[Passage]) -> Citation:
    """The citation, widened to the sentence that it stands in."""
    return cite(citation.context, [p for p in passages if p.id == citation.passage]) or citation


def answer_lessons(learner: Learner, examples: Examples) -> Iterator[TrainingExample]:
    """Each question with the passages that a search finds; some again with passages that do not answer.

    Rows whose answer stands in none of the passages found are left out: they would teach to guess.
    """
    for row in found_answers(learner, examples):
        yield from quoting_lesson(learner, row, row.read)
        if row.right and row.wrong and examples.dice.random() < 2 * ABSENT:
            yield absent_lesson(learner, row, examples.dice)


ANSWER = Style(
    "answer",
    answer,
    instruction="Answer with the exact words from the passages, one quote a line; where it is asked whether, first say "
    f"Yes or No. If they do not say it, answer: {NOT_FOUND}",
    lessons=answer_lessons,
    headings=True,
    # Said is what is more likely right than not.
    abstain_below=0.5,
)
