"""Style `quote`: the answer is a run of words that stands in a passage, or 'not found'."""

from __future__ import annotations

from collections.abc import Iterator

from ...core.text import terms
from ..engines.engine import Quote
from ..grounding import in_view
from ..knowledge.citation import cite
from ..prompt import NOT_FOUND, TrainingExample
from ..work import Draft, Work
from .style import ABSENT, Examples, Learner, Style, lesson_prompt


def quote(work: Work) -> Draft:
    """Let the model point at the answer; what it says is verified against the passages, whoever the engine is."""
    if not work.passages:
        return Draft(text=NOT_FOUND, found=False)
    reply = work.ask(work.prompt(), Quote(texts=work.texts))
    citation = None if _declines(reply.text) else cite(reply.text, work.passages)
    if citation is None:
        return Draft(text=reply.text or NOT_FOUND, found=False, certainty=reply.certainty)
    return Draft(text=citation.quote, found=True, citations=(citation,), certainty=reply.certainty)


def quote_lessons(learner: Learner, examples: Examples) -> Iterator[TrainingExample]:
    """Each question twice: with the passages that a search finds, and with the right passage among fewer others.

    Rows whose answer stands in none of the passages found are left out: they would teach to guess.
    """
    if learner.knowledge is None or learner.card.knowledge is None:
        return
    top_k, dice = learner.card.knowledge.top_k, examples.dice
    for task, answer in examples.answered():
        passages = learner.knowledge.search(task, k=top_k + 3)
        right = [p for p in passages if cite(answer, [p])]
        wrong = [p for p in passages if p not in right]
        if not right or not wrong:
            continue
        few = [right[0], *dice.sample(wrong, k=dice.randint(0, 1))]
        dice.shuffle(few)
        for shown in (passages[:top_k], few):
            texts, citation = in_view(task, shown), cite(answer, shown)
            if citation and any(citation.quote in text for text in texts):
                yield TrainingExample(lesson_prompt(learner, task, texts), citation.quote)
        if dice.random() < 2 * ABSENT:
            texts = in_view(task, wrong[: dice.randint(1, 2)])
            yield TrainingExample(lesson_prompt(learner, task, texts), NOT_FOUND)


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
