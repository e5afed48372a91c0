"""Trains the skill `call`: `python -m metier.specialists.training.call DATA OUT [--minutes 30]`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...core.types import ToolCall
from ..functions import NO_CALL, called, write_call
from ..renderer import render
from ..selection import SHOWN
from .call_data import SET, Asked, learnable, part, read_asked
from .call_vary import Variations
from .example import TrainingExample
from .skill import Lesson, Skill, Source, main

_RESULTS = (
    "done",
    "success",
    "{'status': 'ok'}",
    "42",
    "17.5",
    "3 rows",
    "true",
    "['a', 'b']",
    "0 rows",
    "id 00000318",
)
"""What a call may have given; the skill learns that it was made, not what it means."""


def lesson(folder: Path, sets: Sequence[str], seed: int, rounds: int) -> Lesson:
    """Prompts of functions that were not kept aside, each round varied anew."""
    asked = read_asked(folder) if SET in sets else []
    rows = list(learnable(asked))
    vary = Variations(rows, random.Random(seed))
    examples = [e for number in range(rounds) for row in rows for e in _examples(row, vary, number)]
    checks = [prompt(vary.among(a, SHOWN)) for a in asked if part(a) == "check"]
    return Lesson(examples, checks)


def prompt(asked: Asked, facts: Sequence[str] = ()) -> TrainingExample:
    """What the model sees, and the call or `NO_CALL`."""
    answer = write_call(asked.name, asked.arguments) if asked.name else NO_CALL
    return TrainingExample(render("call", asked.task, functions=asked.functions, facts=facts), answer)


def _examples(row: Asked, vary: Variations, number: int) -> Iterator[TrainingExample]:
    dice = vary.dice
    if not row.name:
        if number % 2 == 0:
            yield prompt(vary.among(row, SHOWN))
        return
    changed = vary.other_values(row) if number else row
    if dice.random() < 0.3:
        changed = vary.other_names(changed)
    yield prompt(vary.among(changed, SHOWN))
    if dice.random() < 0.15:
        yield prompt(vary.without(row, SHOWN))
    if dice.random() < 0.08:
        yield from _two(changed, vary.dice.choice([r for r in vary.rows if r.name]), dice)


def _two(first: Asked, second: Asked, dice: random.Random) -> Iterator[TrainingExample]:
    """Two requests in one task, one call after the other, and then none: calls that were made are known."""
    if first.name in {f["name"] for f in second.functions}:
        return
    functions = [first.function, second.function]
    dice.shuffle(functions)
    join = dice.choice((" Then: ", " Also, ", " And "))
    both = Asked(first.id, first.group, first.task + join + second.task, tuple(functions))
    facts: list[str] = []
    for one in (first, second):
        step = Asked(both.id, both.group, both.task, both.functions, one.name, one.accepted)
        yield prompt(step, facts)
        facts.append(called(ToolCall(name=one.name, arguments=step.arguments, result=dice.choice(_RESULTS))))
    yield prompt(both, facts)


SKILL = Skill(
    name="call",
    title="one call of the functions in the prompt, or none",
    prompt="The prompt is made by metier's renderer (`call`, at most three functions); at inference a grammar keeps "
    "the answer to a call that fits the functions' schemas, or to `[]`.",
    preparation="Rows were selected, functions renamed, shuffled, mixed with those of other rows or left out (then no "
    "call is right), numbers and names in requests replaced, and two requests joined. By a hash of the function that "
    "is asked for, 15 % of the rows were kept aside for figures and 10 % for early stopping and for the decision "
    "between a call and none; no prompt that was learnt shows a function that those rows ask for.",
    limits="English mostly. It writes what the request says into the arguments; it does not compute, and it does not "
    "plan more than the next call.",
    tags=("function-calling", "tool-use"),
    sources={
        SET: Source("Berkeley Function Calling Leaderboard (Patil et al., ICML 2025)", "Apache-2.0"),
    },
    lessons=lesson,
)


if __name__ == "__main__":
    main(SKILL)
