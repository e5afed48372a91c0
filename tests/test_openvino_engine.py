"""What is the OpenVINO engine's own: prompts kept apart by adapter, conversion, LoRA on every matrix, merged models."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from gguf import GGMLQuantizationType, GGUFReader

from metier.core.models import LocalModel, ModelStore
from metier.core.models.gguf import rewrite
from metier.core.run import Cancelled, cancellable
from metier.specialists.adapters.choose import find_skill, loadable
from metier.specialists.adapters.merge import merged_gguf
from metier.specialists.engines import Sampling
from metier.specialists.engines.engine import OneOf, Quote
from metier.specialists.styles.quote import QUOTE
from metier.tests.engine_parts import FRANCE, local_engine, random_lora
from metier.tests.patience import PATIENCE

PASSAGES = [
    "Staff use the network office-staff, whose password is changed every month.",
    "Guests use the network office-guest; its password hangs in the hall.",
]


@pytest.fixture(scope="module")
def base(models: ModelStore) -> LocalModel:
    return models.find("smollm2-135m")


@pytest.fixture(scope="module")
def gguf(base: LocalModel) -> Path:
    return base.files["gguf"]


@pytest.fixture(scope="module")
def skill(base: LocalModel) -> Path:
    """A trained LoRA on all seven matrices of each layer."""
    path = loadable(find_skill("quote"), base)
    assert path
    return path


@pytest.fixture(scope="module")
def engine(gguf: Path, skill: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    red = random_lora(tmp_path_factory.mktemp("loras") / "red.gguf", 0)
    engine = local_engine("openvino", gguf, {"quote": skill, "red": red}, context=1024, slots=2)
    yield engine
    engine.close()


def asked(task: str) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in QUOTE.prompt(task, PASSAGES)]


def read(chat: Any, task: str) -> int:
    """Tokens of the prompt that had been read before."""
    return chat.invoke(asked(task)).usage_metadata["input_token_details"]["cache_read"]


def test_what_one_adapter_has_read_is_nothing_to_another(engine: Any) -> None:
    """The very same prompt, asked through each adapter in turn: whoever comes first reads all of it."""
    quote, red, bare = (engine.chat(Sampling(max_tokens=1), adapter=name) for name in ("quote", "red", None))
    assert read(quote, "Which network do guests use?") == 0
    assert read(red, "Which network do guests use?") == 0
    # Two prompts are remembered: that of `quote` is given up for the third.
    assert read(red, "Which network do guests use?") > 50
    assert read(bare, "Which network do guests use?") == 0
    assert read(quote, "Which network do guests use?") == 0
    assert read(bare, "Which network do guests use?") > 50


def test_a_second_question_over_the_same_passages_reads_only_itself(engine: Any) -> None:
    chat = engine.chat(Sampling(max_tokens=4), adapter="quote")
    questions = ["Which network do guests use?", "Where does the password hang?", "What is changed every month?"]
    afresh = [chat.invoke(asked(task), cache_prompt=False) for task in questions]
    for task, before in zip(questions, afresh, strict=True):
        again = chat.invoke(asked(task))
        usage = again.usage_metadata
        assert usage["input_tokens"] - usage["input_token_details"]["cache_read"] < 20
        assert again.content == before.content
        assert again.response_metadata["logprob"] == pytest.approx(before.response_metadata["logprob"], abs=0.3)


def test_eight_chats_share_the_engine(engine: Any, record_property: Callable[[str, object], None]) -> None:
    """Two prompts are remembered, and eight chats write at once: each has its first word before any has its last."""

    def write(number: int) -> tuple[float, list[float]]:
        chat, prompt = (
            engine.chat(Sampling(max_tokens=40)),
            [*PASSAGES, f"Tell a long story about the {number}th lamp."],
        )
        asked_at = time.monotonic()
        return asked_at, [time.monotonic() for _ in chat.stream("\n".join(prompt))]

    with ThreadPoolExecutor(8) as pool:
        chats = list(pool.map(write, range(8)))
    first, gap = (
        max(seen[0] - at for at, seen in chats),
        max(b - a for _, seen in chats for a, b in pairwise(seen)),
    )
    record_property("longest_to_first_token_s", round(first, 2))
    record_property("longest_gap_s", round(gap, 2))
    assert max(seen[0] for _, seen in chats) < min(seen[-1] for _, seen in chats)
    assert gap < PATIENCE, "one alone takes a hundredth of a second"


def test_who_writes_goes_on_while_a_long_prompt_is_read(engine: Any) -> None:
    written, begun, done = list[float](), threading.Event(), threading.Event()

    def write() -> None:
        for _ in engine.chat(Sampling(max_tokens=900)).stream("Tell me a very long story about a lamp."):
            written.append(time.monotonic())
            begun.set()
            if done.is_set():
                return

    long = " ".join(f"Lamp {number} burns." for number in range(150))
    alone = engine.chat(Sampling(max_tokens=1)).invoke(long, cache_prompt=False)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            assert begun.wait(PATIENCE)
            start = time.monotonic()
            beside = engine.chat(Sampling(max_tokens=1)).invoke(long, cache_prompt=False)
            end = time.monotonic()
        finally:
            done.set()
        writing.result()
    assert beside.usage_metadata["input_tokens"] > 700, "two parts"
    assert sum(start < at < end for at in written) >= 4, "words between them"
    assert beside.content == alone.content
    assert beside.response_metadata["logprob"] == pytest.approx(alone.response_metadata["logprob"], abs=0.3)


def test_whoever_is_slow_or_gone_keeps_nobody_waiting(engine: Any) -> None:
    """One who reads no further has no turn; one who was called off takes none, not even for a prompt half read."""
    idle = engine.chat(Sampling(max_tokens=20)).stream("Tell me a story about a lamp.")
    next(idle)
    try:
        assert engine.chat(Sampling(max_tokens=4)).invoke("Which lamp?").content
        with cancellable(lambda: True), pytest.raises(Cancelled):
            engine.chat().invoke("Tell me a story about another lamp.")
        assert engine.chat(Sampling(max_tokens=4)).invoke("Which lamp?").content
    finally:
        idle.close()
    assert engine.chat(Sampling(max_tokens=4)).invoke("Which lamp?").content


def test_a_trained_adapter_says_what_it_says_under_llama(engine: Any, gguf: Path, skill: Path) -> None:
    other = local_engine("llama", gguf, {"quote": skill}, context=1024, slots=1)
    try:
        for task in ("Which network do guests use?", "How often does the password change?", "Who?"):
            one, two = (
                e.chat(adapter="quote").invoke(asked(task), **e.constrain(Quote(PASSAGES, ["not found"])))
                for e in (engine, other)
            )
            assert one.content == two.content
            assert one.response_metadata["logprob"] == pytest.approx(two.response_metadata["logprob"], abs=0.2)
        bare = engine.chat().invoke(asked("Who?"), **engine.constrain(Quote(PASSAGES, ["not found"])))
        assert (bare.content != "not found", one.content) == (True, "not found")
    finally:
        other.close()


def test_formats_that_openvino_does_not_read_are_read_here(gguf: Path, tmp_path: Path) -> None:
    reader = GGUFReader(gguf)
    odd = {f"blk.{n}.ffn_down.weight": GGMLQuantizationType.Q5_0 for n in range(30)}
    rewrite(reader, tmp_path / "odd.gguf", odd, {})
    engine = local_engine("openvino", tmp_path / "odd.gguf", context=256, slots=1, cache=tmp_path / "cache")
    try:
        assert engine.chat().invoke(FRANCE, **engine.constrain(OneOf(["Paris", "London"]))).content == "Paris"
        (folder,) = (tmp_path / "cache").iterdir()
        assert not list(folder.glob("*.gguf"))
    finally:
        engine.close()


def test_a_merged_model_answers_without_its_base(engine: Any, gguf: Path, skill: Path) -> None:
    """It says what base and adapter say side by side, and the base is loaded when somebody asks for it."""
    merged = merged_gguf(skill, gguf)
    alone = local_engine("openvino", gguf, {"quote": merged}, context=512, slots=1)
    try:
        asking = alone.constrain(Quote(PASSAGES, ["not found"]))
        for task in ("Which network do guests use?", "Who?"):
            one, two = (e.chat(adapter="quote").invoke(asked(task), **asking) for e in (alone, engine))
            assert one.content == two.content
            assert one.response_metadata["logprob"] == pytest.approx(two.response_metadata["logprob"], abs=0.3)
        before = memory()
        assert alone.chat().invoke(asked("Who?"), **asking).content != "not found"
        assert memory() > before + 50e6, "only now"
    finally:
        alone.close()


def memory() -> float:
    """Bytes that this process holds."""
    return psutil.Process().memory_info().rss
