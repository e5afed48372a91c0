"""Trains the skill `call`: `python -m metier.specialists.training.call DATA OUT [--minutes 30]`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ...core.types import ToolCall
from ..functions import NO_CALL, called, write_call
from ..renderer import render
from ..selection import SHOWN
from .call_data import SET, Asked, learnable, part, read_asked
from .call_synthetic import RESULTS, synthetic
from .call_vary import Variations
from .example import TrainingExample
from .skill import Lesson, Skill, Source, main

MADE_UP = 900
"""Prompts with made-up functions for one round."""

TOGETHER = 3
"""Requests of the set that stand in one prompt, where several do."""


def lesson(folder: Path, sets: Sequence[str], seed: int, rounds: int) -> Lesson:
    """Made-up functions, and those of the set that were not kept aside, each round varied anew."""
    asked = read_asked(folder) if SET in sets else []
    rows = list(learnable(asked))
    dice = random.Random(seed)
    vary = Variations(rows, dice)
    examples = [e for number in range(rounds) for e in _round(rows, vary, number)]
    examples += islice(synthetic(dice), MADE_UP * rounds)
    dice.shuffle(examples)
    checks = [prompt(vary.among(a, SHOWN)) for a in asked if part(a) == "check"]
    return Lesson(examples, checks)


def prompt(asked: Asked, facts: Sequence[str] = ()) -> TrainingExample:
    """What the model sees, and the call or `NO_CALL`."""
    answer = write_call(asked.name, asked.arguments) if asked.name else NO_CALL
    return TrainingExample(render("call", asked.task, functions=asked.functions, facts=facts), answer)


def _round(rows: Sequence[Asked], vary: Variations, number: int) -> Iterator[TrainingExample]:
    """All rows once, half of them several to a prompt, and variations of some."""
    dice, alone, shared = vary.dice, list[Asked](), list[Asked]()
    for row in rows:
        changed = vary.other_values(row) if row.name and (number or dice.random() < 0.3) else row
        changed = vary.other_names(changed) if row.name and dice.random() < 0.3 else changed
        (alone if dice.random() < 0.5 else shared).append(changed)
        if row.name and dice.random() < 0.15:
            alone.append(vary.without(row, SHOWN))
        if row.name and dice.random() < 0.08:
            yield from _two(changed, dice.choice([r for r in rows if r.name]), dice)
    yield from (prompt(vary.among(row, SHOWN)) for row in alone)
    dice.shuffle(shared)
    for at in range(0, len(shared), TOGETHER):
        yield _together([vary.among(row, 1) for row in shared[at : at + TOGETHER]], dice)


def _together(some: Sequence[Asked], dice: random.Random) -> TrainingExample:
    """Several requests in one prompt, each with its own function among those of the others."""
    functions = list({f["name"]: f for one in some for f in one.functions}.values())
    dice.shuffle(functions)
    *shots, last = (prompt(replace(one, functions=tuple(functions))) for one in some)
    turns = [turn for shot in shots for turn in (shot.messages[1], {"role": "assistant", "content": shot.answer})]
    system, question = last.messages
    return TrainingExample([system, *turns, question], last.answer)


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
        facts.append(called(ToolCall(name=one.name, arguments=step.arguments, result=dice.choice(RESULTS))))
    yield prompt(both, facts)


SKILL = Skill(
    name="call",
    title="one call of the functions in the prompt, or none",
    prompt="The prompt is made by metier's renderer (`call`, at most three functions); at inference a grammar keeps "
    "the answer to a call that fits the functions' schemas, or to `[]`.",
    preparation="Two thirds of the calls are of made-up functions (`call_worlds.yaml`), some with the result of an "
    "earlier call, which they use. Of the set, rows were selected, functions renamed, shuffled, mixed with those of "
    "other rows or left out (then no call is right), numbers and names in requests replaced, and requests joined. By a "
    "hash of the function that is asked for, 15 % of the rows were kept aside for figures and 10 % for early stopping "
    "and for the decision between a call and none; no prompt that was learnt shows a function that those rows ask for.",
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
