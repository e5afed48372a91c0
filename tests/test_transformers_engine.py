"""The engine on transformers and PEFT: a tiny base for its ways, the real one for grammars."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from metier.core.errors import ConfigError, ContextOverflow, EngineError, UnknownAdapter
from metier.core.models import ModelStore
from metier.specialists.constraint import Json, OneOf, Quote
from metier.specialists.engines import Engine, open_engine
from metier.specialists.engines.transformers_engine import TransformersEngine
from metier.specialists.training.base import load_base, load_tokenizer
from metier.specialists.training.config import Method, TrainConfig
from metier.specialists.training.example import TrainingExample
from metier.specialists.training.trainer import train
from metier.tests.tiny import tiny_base

CODES = {"pump": "kappa seven", "valve": "delta two", "fan": "one"}
METHODS: tuple[Method, ...] = ("lora", "dora", "prompt")
PUMP = [("user", "pump")]

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return tiny_base(tmp_path_factory.mktemp("tiny"), " ".join([*CODES, *CODES.values()]).split())


@pytest.fixture(scope="module")
def folders(base: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An adapter of each kind, trained until what it says is its own."""
    lessons = [TrainingExample([{"role": "user", "content": thing}], code) for thing, code in CODES.items()]
    out = tmp_path_factory.mktemp("adapters")
    for method in METHODS:
        config = TrainConfig(method=method, precision="fp32", epochs=40, learning_rate=0.05, validation=0)
        train(lessons, base[0], out / method, config, cache=base[1])
    return {method: out / method for method in METHODS}


@pytest.fixture(scope="module")
def engine(base: tuple[Path, Path], folders: dict[str, Path]) -> Iterator[TransformersEngine]:
    engine = TransformersEngine(base[0], folders, context=64, cache=base[1])
    yield engine
    engine.close()


def greedy(model: PeftModel, ids: list[int], count: int) -> list[int]:
    """By PEFT's forward pass alone: everything read again for each token."""
    for _ in range(count):
        with torch.no_grad():
            ids = [*ids, int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())]
    return ids[-count:]


@pytest.mark.parametrize("method", METHODS)
def test_it_says_what_the_adapter_says(
    method: Method, base: tuple[Path, Path], folders: dict[str, Path], engine: TransformersEngine
) -> None:
    tokenizer = load_tokenizer(*base)
    model = PeftModel.from_pretrained(load_base(base[0], cache=base[1]), str(folders[method])).eval()
    ids = engine.read([{"role": "user", "content": "pump"}])
    expected = greedy(model, ids, 3)
    said = engine.chat(adapter=method, max_tokens=3).invoke(PUMP)
    end = expected.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in expected else 3
    assert said.text == tokenizer.decode(expected[:end])
    assert said.text != engine.chat(max_tokens=3).invoke(PUMP).text
    assert said.response_metadata["logprob"] < 0
    assert said.usage_metadata is not None
    assert (said.usage_metadata["input_tokens"], said.usage_metadata["output_tokens"]) == (len(ids), min(end + 1, 3))


def test_a_learnt_adapter_comes_to_its_end(engine: TransformersEngine) -> None:
    assert isinstance(engine, Engine)
    assert (engine.adapters, engine.context) == (METHODS, 64)
    said = engine.chat(adapter="lora").invoke(PUMP)
    assert (said.text, said.response_metadata["finish_reason"]) == ("kappa seven", "stop")
    assert "".join(str(chunk.content) for chunk in engine.chat(adapter="lora").stream(PUMP)) == "kappa seven"
    cut = engine.chat(adapter="lora", max_tokens=1).invoke(PUMP)
    assert (cut.text, cut.response_metadata["finish_reason"]) == ("kappa", "length")
    assert engine.chat(adapter="lora").invoke(PUMP, stop=["seven"]).text == "kappa "


@pytest.mark.parametrize("adapter", [None, *METHODS])
def test_the_most_probable_option_is_chosen(adapter: str | None, engine: TransformersEngine) -> None:
    options = [*CODES.values()]
    said = engine.chat(adapter=adapter).invoke(PUMP, **engine.constrain(OneOf(options)))
    chances = said.response_metadata["probabilities"]
    assert said.text == max(chances, key=chances.get)
    assert list(chances) == options
    assert sum(chances.values()) == pytest.approx(1)
    assert adapter != "lora" or chances["kappa seven"] > 0.9


def test_chance_comes_from_the_seed(engine: TransformersEngine) -> None:
    said = [engine.chat(temperature=5.0, max_tokens=20, seed=seed).invoke(PUMP).text for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


def test_what_cannot_be_done_is_said(base: tuple[Path, Path], tmp_path: Path) -> None:
    engine = TransformersEngine(base[0], context=8, cache=base[1])
    with pytest.raises(ContextOverflow, match="has 13 tokens, the window 8"):
        engine.chat().invoke([("user", "pump " * 10)])
    with pytest.raises(UnknownAdapter, match="lora"):
        engine.chat(adapter="lora")
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.chat().invoke(PUMP)
    (tmp_path / "adapter.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match=r"adapter_model\.safetensors"):
        TransformersEngine(base[0], {"x": tmp_path / "adapter.gguf"}, cache=base[1])


def test_an_adapter_of_another_base_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    gguf, cache = tiny_base(tmp_path, ["other"], width=16)
    for folder in folders.values():
        with pytest.raises(EngineError, match="cannot put"):
            TransformersEngine(gguf, {"x": folder}, cache=cache)


def test_grammars_hold_on_the_real_base(models: ModelStore) -> None:
    engine = open_engine("transformers", models.find("smollm2-135m"))
    asked = [("user", "What is the capital of France?")]
    quoted = engine.chat().invoke(asked, **engine.constrain(Quote(["The seat of the king, Paris, lies on the Seine."])))
    assert quoted.text in "The seat of the king, Paris, lies on the Seine."
    assert quoted.response_metadata["finish_reason"] == "stop"
    schema = {"type": "object", "properties": {"capital": {"enum": ["Paris", "Rome"]}}, "required": ["capital"]}
    assert engine.chat().invoke(asked, **engine.constrain(Json(schema))).text == '{"capital": "Paris"}'
    with pytest.raises(EngineError, match="LLGuidance"):
        engine.chat().invoke(asked, **engine.constrain(Json({"not": {"type": "string"}})))
    engine.close()
