"""Made-up functions for the skill `call`: requests say what the calls have, and calls fit what is shown."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from datetime import date, datetime
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from llguidance import LLMatcher, LLTokenizer

from metier.benchmarks.skills.call_worlds import Context, Prompt, kind, read_worlds, synthetic
from metier.specialists.engines.grammar import json_grammar
from metier.specialists.functions import NO_CALL, call_or_none, read_call
from metier.specialists.prompt import TrainingExample

POOLS, WORLDS = read_worlds()


def prompts(seed: int) -> Iterator[Prompt]:
    dice = random.Random(seed)
    return (Prompt(dice, POOLS, WORLDS, world) for world in WORLDS)


def turns(example: TrainingExample) -> list[tuple[str, str]]:
    """Question and answer of each turn."""
    contents = [m["content"] for m in example.messages[1:]] + [example.answer]
    return [*zip(contents[::2], contents[1::2], strict=True)]


def test_the_worlds_are_whole() -> None:
    functions = [made for world in WORLDS for made in world.functions]
    assert len(functions) > 100
    assert len({made.name for made in functions}) == len(functions)
    for made in functions:
        needed = {a.name for a in made.arguments if not a.optional}
        for wording in made.requests:
            slots = re.compile(r"\{(\w+)")
            assert needed <= {*slots.findall(re.sub(r"\[[^]]*\]", "", wording))}, wording
            assert {*slots.findall(wording)} <= {a.name for a in made.arguments}, wording
    for world in WORLDS:
        assert world.none
        for chain in world.chains:
            assert len(chain.steps) > 1
            for step in chain.steps:
                assert {*step.arguments} <= {a.name for a in world.function(step.function).arguments}


@settings(max_examples=5)
@given(st.integers(0, 10**6))
def test_every_call_fits_the_functions_that_are_shown(seed: int) -> None:
    for prompt in prompts(seed):
        schema = call_or_none([staged.spec for staged in prompt.staged])
        said = [*prompt.single(), *prompt.none(), *prompt.chain()]
        for shot in said:
            Draft202012Validator(schema).validate(json.loads(shot.answer))
            assert not set("{}[]<>|") & set(re.sub(r"\[[\d., -]*\]", "", shot.task)), shot.task


def test_the_grammar_accepts_every_call() -> None:
    tokenizer = LLTokenizer("byte")
    for prompt in prompts(3):
        grammar = json_grammar(call_or_none([staged.spec for staged in prompt.staged]), lenient=True)
        for shot in [*prompt.single(), *prompt.none(), *prompt.chain()]:
            matcher = LLMatcher(tokenizer, grammar)
            assert matcher.consume_tokens(tokenizer.tokenize_str(shot.answer)), shot.answer
            assert matcher.is_accepting(), shot.answer


def test_chains_use_what_earlier_calls_gave() -> None:
    used = ended = 0
    for seed in range(6):
        for prompt in prompts(seed):
            shots = [*prompt.chain()]
            if not shots:
                continue
            *steps, last = shots
            assert last.answer == NO_CALL
            assert len(last.facts) == len(steps)
            ended += 1
            for shot in steps[1:]:
                call = read_call(shot.answer)
                assert call
                ids = [str(v) for k, v in call.arguments.items() if k.lower().endswith(("id", "recipient"))]
                assert all(value in " ".join(shot.facts) for value in ids)
                used += bool(ids)
    assert ended > 20
    assert used >= ended


def test_the_same_seed_gives_the_same_prompts() -> None:
    first, again = ([*islice(synthetic(random.Random(seed)), 30)] for seed in (4, 4))
    assert first == again
    assert first != [*islice(synthetic(random.Random(5)), 30)]
    answers = [answer for example in first for _, answer in turns(example)]
    assert 0.1 < sum(answer == NO_CALL for answer in answers) / len(answers) < 0.6


@pytest.mark.parametrize(
    ("spec", "check"),
    [
        ("int 2-9", lambda said: 2 <= said.value <= 9),
        ("num 1-5", lambda said: str(said.value) == said.text),
        ("code AB-##@", lambda said: re.fullmatch(r"AB-\d\d[A-Z]", said.value) and said.text == said.value),
        ("list int 1-9", lambda said: isinstance(said.value, list) and len(said.value) < 5),
        ("object a:int 1-9; b:city", lambda said: set(said.value) == {"a", "b"} and said.value["b"] in said.text),
        ("point", lambda said: len(said.value) == 2 and f"{abs(said.value[0])}" in said.text),
        ("percent", lambda said: said.value in (float(re.findall(r"[\d.]+", said.text)[0]) / d for d in (1, 100))),
        ("email", lambda said: re.fullmatch(r"[\w.]+@[\w.]+", said.value)),
        ("pair song artist", lambda said: len(said.value) > len(said.text) - 6),
        ("city_state", lambda said: said.text.split(",")[0] in said.value),
    ],
)
def test_kinds_say_what_they_mean(spec: str, check: Any) -> None:
    for seed in range(30):
        said = kind(spec, Context(random.Random(seed), POOLS, None)).draw()
        assert check(said), said


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(KeyError):
        kind("no such pool", Context(random.Random(1), POOLS, None))


@given(st.integers(0, 10**6))
def test_dates_are_written_as_the_description_says(seed: int) -> None:
    made = kind("date", Context(random.Random(seed), POOLS, None))
    said = made.draw()
    year = re.search(r"\d{4}", said.text)
    assert year
    assert year[0] in said.value
    if "YYYY-MM-DD" in made.note:
        assert date.fromisoformat(said.value).strftime("%Y") == year[0]
    clock = kind("time", Context(random.Random(seed), POOLS, None))
    said = clock.draw()
    shape = "%I:%M %p" if "AM/PM" in clock.note else "%H:%M"
    assert datetime.strptime(said.value, shape)
    if digits := re.fullmatch(r"(\d+):(\d\d)", said.text):
        assert datetime.strptime(said.value, shape).minute == int(digits[2])


def test_relative_days_follow_the_day_of_the_request() -> None:
    today = date(2024, 5, 6)
    said = [kind("date", Context(random.Random(seed), POOLS, today)).draw() for seed in range(40)]
    assert {"today", "tomorrow"} <= {one.text for one in said}
    assert all("2024" in one.value for one in said)
