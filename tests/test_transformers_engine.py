"""The engine on transformers and PEFT: a tiny base for its ways, the real one for grammars."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    get_peft_model,
)
from torch.nn.modules.module import register_module_forward_pre_hook

from metier.core.errors import ConfigError, ContextOverflow, EngineError, UnknownAdapter
from metier.core.models import ModelStore
from metier.specialists.engines import Engine, Sampling, open_engine
from metier.specialists.engines.engine import Json, OneOf, Quote
from metier.specialists.engines.grammar import LARK
from metier.specialists.engines.transformers import TransformersEngine
from metier.specialists.engines.unpack import load_base
from metier.specialists.prompt import TrainingExample
from metier.specialists.training.config import Method, TrainConfig
from metier.specialists.training.train import train_adapter
from metier.tests.tiny import tiny_base

CODES = {"pump": "kappa seven", "valve": "delta two", "fan": "one"}
METHODS: tuple[Method, ...] = ("lora", "dora", "prompt")
OTHERS: dict[str, PeftConfig] = {
    "ia3": IA3Config(task_type="CAUSAL_LM"),
    "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "p-tuning": PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=8),
}
WORDS = " ".join([*CODES, *CODES.values()]).split()
RULE = LARK + 'start: word word word <end>\nword: "fan" | "one" | "pump" | "seven" | "two"\n'
PUMP = [("user", "pump")]

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`past_key_values`:FutureWarning"),  # PEFT, of a learnt prefix
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return tiny_base(tmp_path_factory.mktemp("tiny"), WORDS)


@pytest.fixture(scope="module")
def folders(base: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An adapter of each kind, trained until what it says is its own."""
    lessons = [TrainingExample([{"role": "user", "content": thing}], code) for thing, code in CODES.items()]
    out = tmp_path_factory.mktemp("adapters")
    for method in METHODS:
        config = TrainConfig(method=method, precision="fp32", epochs=40, learning_rate=0.05, validation=0)
        train_adapter(lessons, base[0], out / method, config, cache=base[1])
    return {method: out / method for method in METHODS}


@pytest.fixture(scope="module")
def engine(base: tuple[Path, Path], folders: dict[str, Path]) -> Iterator[TransformersEngine]:
    engine = TransformersEngine(base[0], folders, context=64, cache=base[1])
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same base, ready for grammars."""
    return tiny_base(tmp_path_factory.mktemp("plain"), WORDS, spaced=False)


@pytest.fixture(scope="module")
def every_kind(
    plain: tuple[Path, Path], folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The trained adapters, and one with random weights of each kind that metier does not train."""
    out = tmp_path_factory.mktemp("random")
    torch.manual_seed(5)
    for name, config in OTHERS.items():
        model = get_peft_model(load_base(plain[0], cache=plain[1]), config)
        for weights in model.parameters():
            if weights.requires_grad:
                torch.nn.init.normal_(weights)
        model.save_pretrained(str(out / name))
    return folders | {name: out / name for name in OTHERS}


@pytest.fixture(scope="module")
def every_engine(plain: tuple[Path, Path], every_kind: dict[str, Path]) -> Iterator[TransformersEngine]:
    engine = TransformersEngine(plain[0], every_kind, context=64, cache=plain[1])
    yield engine
    engine.close()


@pytest.mark.parametrize("rule", [None, RULE], ids=["free", "ruled"])
@pytest.mark.parametrize("name", [*METHODS, *OTHERS])
def test_each_token_is_as_probable_as_peft_says(
    name: str,
    rule: str | None,
    plain: tuple[Path, Path],
    every_kind: dict[str, Path],
    every_engine: TransformersEngine,
) -> None:
    """The reference is PEFT's forward pass over prompt and answer at once, without a cache."""
    model = PeftModel.from_pretrained(load_base(plain[0], cache=plain[1]), str(every_kind[name])).eval()
    ids = every_engine.read([{"role": "user", "content": "pump"}])
    for seed, temperature in enumerate((0.0, 3.0, 3.0)):
        tokens, logprobs = every_engine.write(name, ids, rule, Sampling(8, temperature, seed))
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([ids + tokens]), use_cache=False).logits[0, -len(tokens) - 1 : -1]
        written = torch.tensor(tokens)[:, None]
        assert logprobs == pytest.approx(scores.log_softmax(-1).gather(-1, written)[:, 0].tolist(), abs=1e-3)
        if rule:
            assert re.fullmatch("(fan|one|pump|seven|two){3}", every_engine.text(tokens))
        elif not temperature:  # of two tokens that are as good as equal, either may be written
            assert scores.gather(-1, written)[:, 0].tolist() == pytest.approx(scores.max(-1)[0].tolist(), abs=1e-3)


@pytest.mark.parametrize("name", [*METHODS, *OTHERS])
def test_an_option_is_as_probable_as_when_it_is_written(name: str, every_engine: TransformersEngine) -> None:
    ids = every_engine.read([{"role": "user", "content": "pump"}])
    tokens, logprobs = every_engine.write(name, ids, LARK + 'start: "seven" <end>\n', Sampling(8))
    assert every_engine.text(tokens) == "seven"
    assert every_engine.weigh(name, ids, "seven") == pytest.approx(logprobs, abs=1e-3)


@pytest.fixture(scope="module")
def mixing(plain: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransformersEngine]:
    """Three LoRAs with random weights, of two ranks."""
    out, folders = tmp_path_factory.mktemp("mixing"), {}
    torch.manual_seed(6)
    for number, name in enumerate(["red.v1", "green.v1", "blue.v1"]):
        config = LoraConfig(
            task_type="CAUSAL_LM", r=4 * (1 + number % 2), target_modules=["q_proj", "v_proj", "up_proj"]
        )
        model = get_peft_model(load_base(plain[0], cache=plain[1]), config)
        for weights in model.parameters():
            if weights.requires_grad:
                torch.nn.init.normal_(weights, std=0.5)
        model.save_pretrained(str(out / name))
        folders[name] = out / name
    engine = TransformersEngine(plain[0], folders, context=64, cache=plain[1])
    yield engine
    engine.close()


def test_several_adapters_answer_in_one_batch_as_each_does_alone(mixing: TransformersEngine) -> None:
    """Prompts and answers of several lengths, with and without a grammar, the base among them."""
    asked = [
        (adapter, mixing.read([{"role": "user", "content": text}]), rule, Sampling(length))
        for adapter in (*mixing.adapters, None)
        for text, rule, length in (("pump", None, 8), ("fan valve pump fan", RULE, 8), ("valve fan", None, 3))
    ]
    alone = [mixing.write(*one) for one in asked]
    assert len({tuple(tokens) for tokens, _ in alone}) > 4, "they say different things"
    with WidestBatch() as seen, ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda one: mixing.write(*one), asked))
    assert seen.widest > 1
    for (tokens, logprobs), (expected, own) in zip(together, alone, strict=True):
        assert tokens == expected
        assert logprobs == pytest.approx(own, abs=1e-3)


def test_a_wrong_grammar_is_the_trouble_of_who_sent_it(mixing: TransformersEngine) -> None:
    ids = mixing.read([{"role": "user", "content": "pump"}])
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(mixing.write, name, ids, rule, Sampling(4)) for name in mixing.adapters for rule in (None, "?(")
        ]
        errors = [future.exception() for future in asked]
    assert [type(error) for error in errors] == [type(None), EngineError] * 3


class WidestBatch:
    """How many answers were written at once, as torch itself tells."""

    def __enter__(self) -> WidestBatch:
        self.widest = 0
        self._hook = register_module_forward_pre_hook(self._look)
        return self

    def __exit__(self, *about: object) -> None:
        self._hook.remove()

    def _look(self, module: torch.nn.Module, given: tuple[object, ...]) -> None:
        if isinstance(module, torch.nn.Embedding) and isinstance(given[0], torch.Tensor):
            self.widest = max(self.widest, given[0].shape[0])


def test_a_learnt_prompt_takes_room(folders: dict[str, Path], base: tuple[Path, Path]) -> None:
    engine = TransformersEngine(base[0], folders, context=24, cache=base[1])
    assert engine.chat(Sampling(max_tokens=1), adapter="lora").invoke(PUMP).usage_metadata is not None
    with pytest.raises(ContextOverflow, match="has 24 tokens, the window 24"):
        engine.chat(Sampling(max_tokens=1), adapter="prompt").invoke(PUMP)


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_has_its_certainty_and_its_costs(method: Method, engine: TransformersEngine) -> None:
    ids = engine.read([{"role": "user", "content": "pump"}])
    tokens, logprobs = engine.write(method, ids, None, Sampling(3))
    said = engine.chat(Sampling(max_tokens=3), adapter=method).invoke(PUMP)
    assert said.text == engine.text(tokens)
    assert said.response_metadata["logprob"] == pytest.approx(sum(logprobs) / len(logprobs))
    assert said.usage_metadata is not None
    assert (said.usage_metadata["input_tokens"], said.usage_metadata["output_tokens"]) == (len(ids), len(tokens))


def test_a_learnt_adapter_comes_to_its_end(engine: TransformersEngine) -> None:
    assert isinstance(engine, Engine)
    assert (engine.adapters, engine.context) == (METHODS, 64)
    said = engine.chat(adapter="lora").invoke(PUMP)
    assert (said.text, said.response_metadata["finish_reason"]) == ("kappa seven", "stop")
    assert "".join(str(chunk.content) for chunk in engine.chat(adapter="lora").stream(PUMP)) == "kappa seven"
    cut = engine.chat(Sampling(max_tokens=1), adapter="lora").invoke(PUMP)
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
    said = [engine.chat(Sampling(temperature=5.0, max_tokens=20, seed=seed)).invoke(PUMP).text for seed in (1, 1, 2)]
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
