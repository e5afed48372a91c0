"""Engines in turn: who is open, who has to go, who waits; and what memory is expected of a base."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import BaseMessage

from metier.core.errors import EngineError, UnknownAdapter
from metier.core.models import ModelStore
from metier.core.models.gguf import read_header
from metier.specialists.adapters.choose import find_skill
from metier.specialists.engines.engine import Engine, Json, OneOf, Sampling
from metier.specialists.engines.memory import engine_memory
from metier.specialists.engines.pool import EnginePool, Opener
from metier.specialists.engines.scripted import ScriptedEngine

MINUTE = 60.0
"""Longer than anything here takes, however busy the machine."""


class House:
    """Engines by name, each of size 1, and which of them are open."""

    def __init__(self, names: str, room: int, say: Callable[[str], str] = lambda name: f"from {name}") -> None:
        self.open: list[str] = []
        self.opened: list[str] = []
        self._say = say
        openers = {name: Opener(lambda name=name: self._make(name), 1, ("skill",)) for name in names}
        self.pool = EnginePool(openers, room)
        self.engines: dict[str, Engine] = dict(self.pool.engines)

    def _make(self, name: str) -> Engine:
        house = self

        class One(ScriptedEngine):
            def close(self) -> None:
                super().close()
                house.open.remove(name)

        self.open.append(name)
        self.opened.append(name)

        def script(messages: list[BaseMessage]) -> str:
            assert name in self.open
            return self._say(name)

        return One(script, ["skill"])

    def ask(self, name: str) -> str:
        return self.engines[name].chat().invoke("hello").text


def test_what_was_not_used_for_longest_is_closed_for_another() -> None:
    house = House("abc", room=2)
    assert house.open == [], "nothing is opened before it is needed"
    assert [house.ask(name) for name in "abacab"] == [f"from {name}" for name in "abacab"]
    assert house.opened == ["a", "b", "c", "b"], "c took the place of b, then b that of c"
    assert house.open == ["a", "b"]
    house.pool.close()
    assert house.open == []
    with pytest.raises(EngineError, match="closed"):
        house.ask("a")


def test_chats_outlive_the_engine_that_they_were_made_for() -> None:
    house = House("ab", room=1)
    chats = {
        name: engine.chat(Sampling(max_tokens=5), adapter="skill", slot="s") for name, engine in house.engines.items()
    }
    for name in "abab":
        assert chats[name].invoke("hello").text == f"from {name}"
        assert "".join(str(chunk.content) for chunk in chats[name].stream("hello")) == f"from {name}"
    assert house.opened == ["a", "b", "a", "b"]
    with pytest.raises(UnknownAdapter, match="did you mean 'skill'"):
        house.engines["a"].chat(adapter="skil")
    assert house.opened == ["a", "b", "a", "b"], "a wrong name opens nothing"
    house.pool.close()


def test_the_other_methods_are_those_of_the_engine() -> None:
    house = House("a", room=1, say=lambda name: "yes")
    engine = house.engines["a"]
    assert (engine.name, engine.context, engine.adapters) == ("scripted", 4096, ("skill",))
    assert engine.count("three little words") == 3
    assert engine.constrain(Json({})) == {"constraint": Json({})}
    assert engine.chat().invoke("hello", **engine.constrain(OneOf(["yes", "no"]))).text == "yes"
    assert engine.chat().invoke("hello", options=["yes", "no"]).text == "yes"
    assert isinstance(engine, Engine)
    house.pool.close()


def test_what_writes_is_not_closed_and_who_needs_its_place_waits() -> None:
    writing, go_on, told = threading.Event(), threading.Event(), list[str]()

    def say(name: str) -> str:
        if name == "a":
            writing.set()
            assert go_on.wait(MINUTE)
        return f"from {name}"

    house = House("ab", room=1, say=say)
    people = [threading.Thread(target=lambda name=name: told.append(house.ask(name))) for name in "ab"]
    people[0].start()
    assert writing.wait(MINUTE)
    people[1].start()
    assert house.open == ["a"]
    assert told == []
    go_on.set()
    for person in people:
        person.join(MINUTE)
    assert sorted(told) == ["from a", "from b"]
    assert house.opened == ["a", "b"]
    house.pool.close()


def test_many_at_once_never_take_more_than_the_room() -> None:
    most, lock = [0], threading.Lock()

    def say(name: str) -> str:
        with lock:
            most[0] = max(most[0], len(house.open))
        return f"from {name}"

    house, told = House("abcd", room=2, say=say), list[tuple[str, str]]()

    def work(names: str) -> None:
        for name in names:
            told.append((name, house.ask(name)))

    people = [threading.Thread(target=work, args=(order * 5,)) for order in ("abcd", "dcba", "bdac", "cacb")]
    for person in people:
        person.start()
    for person in people:
        person.join(MINUTE)
    assert len(told) == 80
    assert all(text == f"from {name}" for name, text in told)
    assert most == [2]
    house.pool.close()


def test_an_answer_that_nobody_reads_to_its_end_lets_go() -> None:
    house = House("ab", room=1)
    stream = house.engines["a"].chat().stream("hello")
    next(stream)
    assert isinstance(stream, Iterator)
    stream.close()  # type: ignore[attr-defined]
    assert house.ask("b") == "from b"
    house.pool.close()


def test_one_that_cannot_be_opened_says_why_and_may_be_tried_again() -> None:
    tries = list[int]()

    def opener() -> Engine:
        tries.append(1)
        if len(tries) == 1:
            raise EngineError("no such model file")
        return ScriptedEngine(["at last"])

    pool = EnginePool({"a": Opener(opener, 1)}, 1)
    chat = pool.engines["a"].chat()
    with pytest.raises(EngineError, match="no such model file"):
        chat.invoke("hello")
    assert chat.invoke("hello").text == "at last"
    pool.close()


class Foreign(ScriptedEngine):
    """An engine of somebody's own, whose chat models are none of ours."""

    def chat(self, *args: Any, **kwargs: Any) -> Any:
        return FakeListChatModel(responses=["hello"])


def test_an_engine_of_another_kind_is_refused_in_words() -> None:
    pool = EnginePool({"a": Opener(lambda: Foreign([]), 1)}, 1)
    with pytest.raises(EngineError, match="this one a FakeListChatModel") as told:
        pool.engines["a"].chat().invoke("hello")
    assert "leave `ram` out" in (told.value.hint or "")
    pool.close()


# Memory.


def test_the_header_of_a_base_is_what_it_is(models: ModelStore) -> None:
    header = read_header(models.find("smollm2-135m").files["gguf"])
    assert header.metadata["general.architecture"] == "llama"
    assert header.metadata["llama.block_count"] == 30
    assert header.metadata["llama.attention.head_count_kv"] == 3
    assert "tokenizer.ggml.tokens" not in header.metadata
    assert sum(header.tensors.values()) == 134_515_008


def test_what_is_no_gguf_is_refused(tmp_path: Path, models: ModelStore) -> None:
    whole = models.find("smollm2-135m").files["gguf"]
    for content in (b"GGML and more", whole.open("rb").read(5000)):
        (tmp_path / "x.gguf").write_bytes(content)
        with pytest.raises(ValueError, match="GGUF"):
            read_header(tmp_path / "x.gguf")
    assert engine_memory("llama", tmp_path / "x.gguf") == round(1.3 * 5000), "an engine of one's own may read it"


def test_the_expected_memory_is_near_what_was_measured(models: ModelStore) -> None:
    """Measured (docs/models.md): resident bytes after four prompts of 1,200 tokens, windows of 4 x 4,096 tokens."""
    measured = {
        ("smollm2-135m", "openvino"): (490e6 * 1.05, 290e6),
        ("qwen2.5-coder-0.5b", "openvino"): (999e6 * 1.05, 155e6),
        ("smollm2-135m", "llama"): (556e6 * 1.05, 0),
        ("qwen2.5-coder-0.5b", "llama"): (829e6 * 1.05, 0),
    }
    for (base, engine), (seen, windows_left) in measured.items():
        skill = find_skill("quote" if base == "smollm2-135m" else "general")
        told = engine_memory(engine, models.find(base).files["gguf"], [skill])
        assert 0.9 < told / (seen + windows_left) < 1.15, (base, engine, told)


def test_adapters_and_merged_models_take_memory_too(models: ModelStore) -> None:
    base, skill = models.find("smollm2-135m").files["gguf"], find_skill("quote")
    alone, weights = engine_memory("llama", base), (skill / "adapter_model.safetensors").stat().st_size
    assert engine_memory("llama", base, [skill]) == alone + weights
    assert engine_memory("openvino", base, [skill]) == engine_memory("openvino", base) + 2 * weights
    assert engine_memory("transformers", base) > 4 * 134_000_000
