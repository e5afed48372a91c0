"""A team's own examples as lessons for its specialists: the prompts that they would be asked, with the right answers.

`LESSONS` says how they are made for each style. What a row needs beside `input`: `answer` (for `act` a call, a list of
calls, or null for none; for `json` the object), or `sql` for the style `sql`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.embedding import Embedder
from ..core.errors import ConfigError, unknown
from ..core.types import ToolCall
from ..specialists.card import SpecialistCard
from ..specialists.functions import NO_CALL, Function, called, write_call
from ..specialists.grounding import in_view
from ..specialists.knowledge.citation import cite
from ..specialists.knowledge.knowledge import Knowledge
from ..specialists.prompt import NOT_FOUND, Shot, TrainingExample, render
from ..specialists.styles.act.shown_tools import ToolShortlist
from ..specialists.styles.label.style import TOGETHER
from ..specialists.styles.sql.prompt import alike
from ..specialists.styles.sql.prompt import prompt as sql_prompt
from ..specialists.styles.sql.questions.lessons import in_turn, made_up
from ..specialists.styles.sql.source import SqlSource

Row = dict[str, Any]

ABSENT = 0.15
"""Share of lessons whose answer is taken away, so that the model learns to say so."""


@dataclass(frozen=True)
class School:
    """What the lessons of one specialist are made with: what it has at work."""

    card: SpecialistCard
    rows: Sequence[Row]
    """Its examples, none of which repeats an evaluation question."""
    embedder: Embedder
    dice: random.Random
    knowledge: Knowledge | None = None
    desk: SqlSource | None = None
    functions: Sequence[Function] = ()
    repeats: Callable[[Sequence[str]], Container[int]] = lambda tasks: ()
    """Which of some tasks repeat an evaluation question; made-up ones must not either."""

    def answered(self) -> Iterator[tuple[str, Any]]:
        """Input and answer of the rows that have one."""
        yield from ((row["input"], row["answer"]) for row in self.rows if row.get("answer"))

    def prompt(self, style: str, task: str, passages: Sequence[str] = (), **parts: Any) -> list[dict[str, str]]:
        """As `render`, with the card's instructions."""
        return render(style, task, passages, instructions=self.card.instructions, **parts)

    def texts(self, task: str) -> list[str]:
        """The passages that a search would put into the prompt."""
        if self.knowledge is None or self.card.knowledge is None:
            return []
        return in_view(task, self.knowledge.search(task, k=self.card.knowledge.top_k))


def quote(school: School) -> Iterator[TrainingExample]:
    """Each question twice: with the passages that a search finds, and with the right passage among fewer others.

    Rows whose answer stands in none of the passages found are left out: they would teach to guess.
    """
    if school.knowledge is None or school.card.knowledge is None:
        return
    top_k, dice = school.card.knowledge.top_k, school.dice
    for task, answer in school.answered():
        found = school.knowledge.search(task, k=top_k + 3)
        right = [p for p in found if cite(answer, [p])]
        wrong = [p for p in found if p not in right]
        if not right or not wrong:
            continue
        few = [right[0], *dice.sample(wrong, k=dice.randint(0, 1))]
        dice.shuffle(few)
        for passages in (found[:top_k], few):
            shown = in_view(task, passages)
            citation = cite(answer, passages)
            if citation and any(citation.quote in text for text in shown):
                yield TrainingExample(school.prompt("quote", task, shown), citation.quote)
        if dice.random() < 2 * ABSENT:
            yield TrainingExample(school.prompt("quote", task, in_view(task, wrong[: dice.randint(1, 2)])), NOT_FOUND)


def label(school: School) -> Iterator[TrainingExample]:
    """Several texts in a prompt where no passages belong to them: the list of labels is read once."""
    pairs = [pair for pair in school.answered() if pair[1] in school.card.labels]
    school.dice.shuffle(pairs)
    size = 1 if school.knowledge else TOGETHER
    for at in range(0, len(pairs), size):
        *before, (task, answer) = pairs[at : at + size]
        shots = [Shot(*pair) for pair in before]
        messages = school.prompt("label", task, school.texts(task), labels=school.card.labels, shots=shots)
        yield TrainingExample(messages, answer)


def sql(school: School) -> Iterator[TrainingExample]:
    """Each question behind others like it, as at work, and alone, as if it were the first; and made-up ones."""
    if school.desk is None:
        return
    wanted, desk = {row["input"] for row in school.rows}, school.desk
    for one in (s for s in desk.solved if s.task in wanted):
        others = [s for s in desk.solved if s.sql != one.sql and s.task in wanted]
        for shots in (alike(one.task, others), []):
            messages, _ = sql_prompt(one.task, desk.catalogue, shots, instructions=school.card.instructions)
            yield TrainingExample(messages, one.sql)
    if seen := [s for s in desk.solved if s.task in wanted]:
        made = made_up(seen, desk.catalogue, desk.database, school.dice)
        repeats = school.repeats([s.task for s in made])
        kept = [s for place, s in enumerate(made) if place not in repeats]
        yield from in_turn(kept, desk.catalogue, school.card.instructions)


def act(school: School) -> Iterator[TrainingExample]:
    """Call after call and then none; at times without the function that is needed, so that none is right.

    Raises:
        ConfigError: an answer is no call of its tools.
    """
    selection, names = ToolShortlist(school.embedder), [f["name"] for f in school.functions]
    for row in (row for row in school.rows if "answer" in row):
        task, calls = row["input"], _calls(row)
        shown, texts, facts = selection.fitting(task, school.functions).functions, school.texts(row["input"]), []
        for call in calls:
            if call.name not in names:
                raise ConfigError(unknown("function", call.name, names))
        if {call.name for call in calls} - {f["name"] for f in shown}:
            continue
        for call in calls:
            messages = school.prompt("call", task, texts, functions=shown, facts=facts)
            yield TrainingExample(messages, write_call(call.name, call.arguments))
            facts = [*facts, called(call)]
        yield TrainingExample(school.prompt("call", task, texts, functions=shown, facts=facts), NO_CALL)
        if calls and school.dice.random() < ABSENT:
            rest = selection.fitting(task, [f for f in school.functions if f["name"] != calls[0].name]).functions
            yield TrainingExample(school.prompt("call", task, texts, functions=rest), NO_CALL)


def written(school: School) -> Iterator[TrainingExample]:
    """What the model should write, for the styles `json` and `free`."""
    for task, answer in school.answered():
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        schema = school.card.output_schema if school.card.style == "json" else None
        yield TrainingExample(school.prompt(school.card.style, task, school.texts(task), schema=schema), text)


LESSONS: dict[str, Callable[[School], Iterator[TrainingExample]]] = {
    "quote": quote,
    "label": label,
    "sql": sql,
    "act": act,
    "json": written,
    "free": written,
}
"""Style to how its lessons are made."""


def _calls(row: Row) -> list[ToolCall]:
    answer = row["answer"] or []
    try:
        found = [{"result": "done", **call} for call in (answer if isinstance(answer, list) else [answer])]
        return [ToolCall(name=c["name"], arguments=c["arguments"], result=str(c["result"])) for c in found]
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigError(
            f"the answer to {row['input']!r} is no call",
            hint='{"name": …, "arguments": {…}}, a list of them, or null',
        ) from error
