"""What a style is: how a specialist answers, how it learns to, how its answers are measured. One object says it all.

The styles that metier has stand in `table.py`; a card may name an object of somebody else's: `package.module:STYLE`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ...core.embedding import Embedder
from ...core.types import Passage, Touch
from ..card import SpecialistCard
from ..evaluation.measures import TEXT, Scoring
from ..functions import Function
from ..grounding import as_read, in_view
from ..knowledge.citation import cite
from ..knowledge.knowledge import Knowledge
from ..prompt import NOT_FOUND, Message, TrainingExample, render
from ..work import Draft, Work

Row = Mapping[str, Any]
"""A line of an example file: `input`, and for lessons `answer` or `sql`."""

ABSENT = 0.15
"""Share of lessons whose answer is taken away, so that the model learns to say so."""


@dataclass(frozen=True)
class Opening:
    """What a style may use to open what a specialist works with beside its documents and tools."""

    card: SpecialistCard
    root: Path
    """The team's folder: nothing outside it is opened."""
    folder: Path
    """Where the paths of the card start."""
    embedder: Embedder
    adapter: Path | str | None = None
    """As published: a PEFT folder, or a name on a server; None is the base alone."""
    classifier: Path | None = None
    """A trained classifier that the build found to do better than the model."""
    rows: Callable[[], Sequence[Row]] = tuple
    """Reads the example rows."""


@dataclass(frozen=True)
class Examples:
    """What lessons are made of."""

    rows: Sequence[Row]
    """The specialist's example rows, none of which repeats an evaluation question."""
    dice: random.Random
    repeats: Callable[[Sequence[str]], Container[int]] = field(default=lambda tasks: ())
    """Which of some tasks repeat an evaluation question; made-up ones must not either."""

    def answered(self) -> Iterator[tuple[str, Any]]:
        """Input and answer of the rows that have one."""
        yield from ((row["input"], row["answer"]) for row in self.rows if row.get("answer"))


class Learner(Protocol):
    """A specialist as lessons see it: opened as for work, but for the engine."""

    @property
    def card(self) -> SpecialistCard: ...
    @property
    def style(self) -> Style: ...
    @property
    def knowledge(self) -> Knowledge | None: ...
    @property
    def functions(self) -> Sequence[Function]: ...
    @property
    def resources(self) -> Any: ...


@dataclass(frozen=True)
class Style:
    """A way of working."""

    name: str
    """As cards say it."""
    answer: Callable[[Work], Draft]
    """Answers one brief."""
    instruction: str = ""
    """First line of its prompts."""
    lessons: Callable[[Learner, Examples], Iterator[TrainingExample]] | None = None
    """Makes prompts with their right answers out of examples; None: it cannot be trained."""
    scoring: Scoring = TEXT
    """How its answers are measured."""
    skill: str = ""
    """Name of the adapter that metier ships for it; left out: the style's name."""
    needs: tuple[str, ...] = ()
    """Fields of the card that it cannot do without, and that do nothing for styles that do not list them."""
    open: Callable[[Opening], Any] | None = None
    """Opens what its specialists work with: `Work.resources`."""
    touches: tuple[Touch, ...] = ()
    """What every answer of it has been in touch with, whatever it used."""
    headings: bool = False
    """Its passages are read below the headings of their sections."""
    abstain_below: float = 0.3
    """Confidence under which its answers are not given, unless the card or the team say otherwise."""

    def prompt(self, task: str, passages: Sequence[str] = (), **parts: Any) -> list[Message]:
        """The messages for one model call; `parts` as `specialists.prompt.render` takes them."""
        return render(self.instruction, task, passages, **parts)


def lesson_prompt(learner: Learner, task: str, passages: Sequence[str] = (), **parts: Any) -> list[Message]:
    """The prompt that this specialist would be asked with."""
    return learner.style.prompt(task, passages, instructions=learner.card.instructions, **parts)


def passage_texts(learner: Learner, task: str) -> list[str]:
    """The passages that a search would put into the prompt."""
    if learner.knowledge is None or learner.card.knowledge is None:
        return []
    return _read(learner, task, learner.knowledge.search(task, k=learner.card.knowledge.top_k))


def _read(learner: Learner, task: str, passages: Sequence[Passage]) -> list[str]:
    return as_read(in_view(task, passages), headings=learner.style.headings)


class FoundAnswer(NamedTuple):
    """An example row whose answer a search looked for."""

    task: str
    answer: str
    read: Sequence[Passage]
    """What the specialist reads, best first."""
    right: Sequence[Passage]
    """Of these and three more, those that hold the answer."""
    wrong: Sequence[Passage]
    """The others."""


def found_answers(learner: Learner, examples: Examples) -> Iterator[FoundAnswer]:
    """The rows that have an answer, with what a search finds for them; none of a specialist without documents."""
    if learner.knowledge is None or learner.card.knowledge is None:
        return
    top_k = learner.card.knowledge.top_k
    for task, answer in examples.answered():
        passages = learner.knowledge.search(task, k=top_k + 3)
        right = [passage for passage in passages if cite(answer, [passage])]
        wrong = [passage for passage in passages if passage not in right]
        yield FoundAnswer(task, answer, passages[:top_k], right, wrong)


def quoting_lesson(learner: Learner, row: FoundAnswer, shown: Sequence[Passage]) -> Iterator[TrainingExample]:
    """A lesson with these passages, if the model sees the answer in one of them: others would teach to guess."""
    citation = cite(row.answer, shown)
    if citation and any(citation.quote in passage.text for passage in in_view(row.task, shown)):
        yield TrainingExample(lesson_prompt(learner, row.task, _read(learner, row.task, shown)), citation.quote)


def absent_lesson(learner: Learner, row: FoundAnswer, dice: random.Random) -> TrainingExample:
    """A lesson with one or two passages that do not hold the answer."""
    texts = _read(learner, row.task, row.wrong[: dice.randint(1, 2)])
    return TrainingExample(lesson_prompt(learner, row.task, texts), NOT_FOUND)
