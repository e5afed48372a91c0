"""The style `quote`: what is quoted, and what is no answer although it stands in a passage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from metier.core.models import ModelStore
from metier.core.run import Meter, ignore
from metier.core.types import Brief, Budget, Passage
from metier.specialists.adapters.choose import find_skill
from metier.specialists.adapters.convert import gguf_adapter
from metier.specialists.card import SpecialistCard
from metier.specialists.engines import Engine, Sampling
from metier.specialists.engines.llama import LlamaEngine
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.styles.quote import QUOTE
from metier.specialists.work import Draft, Work

CARD = SpecialistCard(name="porter", description="Knows the gates.", style="quote")
TEXT = "Gate 3 must not be opened at night. The notice is not less than 30 days. A tool that was not found is reported."


@pytest.fixture(scope="module")
def skilled(models: ModelStore) -> Iterator[LlamaEngine]:
    """The real model with the skill."""
    gguf = models.find("smollm2-135m").files["gguf"]
    engine = LlamaEngine(gguf, {"quote": gguf_adapter(find_skill("quote"), gguf)}, context=1024, slots=1)
    yield engine
    engine.close()


def draft(engine: Engine, task: str, adapter: str | None = None) -> Draft:
    passage = Passage(id="1", source="gates.md", text=TEXT, start=0, end=len(TEXT), score=1.0)
    brief = Brief(task=task, budget=Budget())
    chat = engine.chat(Sampling(max_tokens=24), adapter=adapter)
    meter = Meter(brief.budget)
    return QUOTE.answer(Work(CARD, brief, [passage], engine, chat, meter, ignore, instruction=QUOTE.instruction))


@pytest.mark.parametrize("said", ["not", "The", "at", "be", "Not found", "not found", "is not"])
def test_words_without_meaning_are_no_answer(said: str) -> None:
    found = draft(ScriptedEngine([said]), "Who paints the gate?")
    assert (found.found, found.citations) == (False, ())


@pytest.mark.parametrize("said", ["not less than 30 days", "30", "night", "not be opened"])
def test_words_with_meaning_are(said: str) -> None:
    found = draft(ScriptedEngine([said]), "What about it?")
    assert (found.found, found.text) == (True, said)
    assert TEXT[found.citations[0].start : found.citations[0].end] == said


def test_a_not_found_that_the_grammar_cuts_short_is_no_answer(skilled: LlamaEngine) -> None:
    """The model wants to say "not found" and is sure of it; the passages hold a "not"."""
    found = draft(skilled, "What is the phone number of the dentist?", "quote")
    assert not found.found
    assert draft(skilled, "When must gate 3 stay closed?", "quote").found
