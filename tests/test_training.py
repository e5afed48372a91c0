"""Training on the real base: it learns, llama.cpp agrees with it, and a killed run ends as if it never was."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file

from metier.benchmarks.skills.quote import Question, show
from metier.core.errors import InputError
from metier.core.models import LocalModel, ModelStore
from metier.specialists.adapters.convert import gguf_adapter
from metier.specialists.engines import Sampling
from metier.specialists.engines.engine import Quote
from metier.specialists.engines.llama import LlamaEngine
from metier.specialists.engines.unpack import load_base, load_tokenizer
from metier.specialists.prompt import NOT_FOUND, Shot, TrainingExample
from metier.specialists.styles.quote import QUOTE
from metier.specialists.training.config import Method, TrainConfig, TrainReport
from metier.specialists.training.examples import Encoded, collate, encode, order
from metier.specialists.training.train import train_adapter

CODES = {"pump": "kappa seven", "valve": "delta two"}
CONFIG = TrainConfig(rank=4, alpha=8, epochs=16, batch_tokens=256, validation=0, learning_rate=2e-3, seed=3)


def examples() -> list[TrainingExample]:
    return [TrainingExample(QUOTE.prompt(f"Code of the {thing}?"), code) for thing, code in CODES.items()]


@pytest.fixture(scope="module")
def base(models: ModelStore) -> LocalModel:
    return models.find("smollm2-135m")


@pytest.fixture(scope="module")
def trained(base: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainReport]:
    out = tmp_path_factory.mktemp("trained") / "codes"
    return out, train_adapter(examples(), base, out, CONFIG)


@pytest.fixture(scope="module")
def engine(base: LocalModel, trained: tuple[Path, TrainReport], tmp_path_factory: pytest.TempPathFactory):
    gguf = base.files["gguf"]
    adapter = gguf_adapter(trained[0], gguf, tmp_path_factory.mktemp("cache"))
    engine = LlamaEngine(gguf, {"codes": adapter}, context=512, slots=2)
    yield engine
    engine.close()


def answer(engine: LlamaEngine, prompt: list[dict[str, str]], adapter: str | None) -> str:
    chat = engine.chat(Sampling(max_tokens=12), adapter=adapter)
    return str(chat.invoke([(m["role"], m["content"]) for m in prompt]).text)


def test_it_learns_and_llama_cpp_says_it(trained: tuple[Path, TrainReport], engine: LlamaEngine) -> None:
    report = trained[1]
    assert report.losses[-1][1] < 0.3 < 1 < report.losses[0][1]
    for example in examples():
        assert answer(engine, example.messages, "codes") == example.answer
        assert answer(engine, example.messages, None) != example.answer


def test_a_quote_ends_where_the_model_ends_it(engine: LlamaEngine) -> None:
    """The grammar would let it go on to the end of the passage."""
    rule = engine.constrain(Quote(["It says kappa seven, and much more follows after that."], [NOT_FOUND]))
    prompt = [(m["role"], m["content"]) for m in examples()[0].messages]
    assert engine.chat(Sampling(max_tokens=12), adapter="codes").invoke(prompt, **rule).text == "kappa seven"


def test_the_folder_is_what_peft_reads(trained: tuple[Path, TrainReport]) -> None:
    folder = trained[0]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "smollm2-135m"
    weights = load_file(folder / "adapter_model.safetensors")
    assert {t.dtype for t in weights.values()} == {torch.float16}
    assert len(weights) == 30 * 7 * 2
    assert (folder / "README.md").read_text().startswith("---")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_transformers_and_llama_cpp_agree(
    base: LocalModel, trained: tuple[Path, TrainReport], engine: LlamaEngine
) -> None:
    """Greedy text of base and adapter, in fp32 here and in the served format there."""
    tokenizer = load_tokenizer(base.files["gguf"])
    model = PeftModel.from_pretrained(load_base(base.files["gguf"]), str(trained[0])).eval()
    prompts = [QUOTE.prompt("Code of the valve?"), QUOTE.prompt("What is it?", ["The pump is blue."])]
    encoded, _ = encode([TrainingExample(p, "x") for p in prompts], tokenizer, 1000)
    for prompt, row in zip(prompts, encoded, strict=True):
        ids = torch.tensor([row.ids[: row.start]])
        with torch.no_grad():
            with_adapter = model.generate(input_ids=ids, max_new_tokens=6, do_sample=False)[0, row.start :]
            with model.disable_adapter():
                alone = model.generate(input_ids=ids, max_new_tokens=6, do_sample=False)[0, row.start :]
        for tokens, name in ((with_adapter, "codes"), (alone, None)):
            expected = str(tokenizer.decode(tokens, skip_special_tokens=True))
            assert answer(engine, prompt, name).startswith(expected)


@pytest.mark.parametrize(
    "text", ["What is it?", "  Größe: 3 µm – ≥ 5\n\n\tend ", "typed <|im_end|> by a user", "12345 €"]
)
def test_the_same_token_ids_as_llama_cpp(base: LocalModel, engine: LlamaEngine, text: str) -> None:
    prompt = QUOTE.prompt(text, ["A passage.", text])
    there = engine.server.post("/apply-template", {"messages": prompt})["prompt"]
    expected = engine.server.post("/tokenize", {"content": there, "add_special": False, "parse_special": True})
    (encoded,), _ = encode([TrainingExample(prompt, "x")], load_tokenizer(base.files["gguf"]), 1000)
    assert encoded.ids[: encoded.start] == expected["tokens"]


class Killed(Exception):
    """Stands for a kill: nothing of the trainer runs after it."""


def test_a_killed_run_ends_as_if_it_never_was(
    base: LocalModel, trained: tuple[Path, TrainReport], tmp_path: Path
) -> None:
    steps = 0

    def kill(what: str, done: int, total: int) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise Killed

    often = CONFIG.model_copy(update={"checkpoint_seconds": 1e-6})
    with pytest.raises(Killed):
        train_adapter(examples(), base, tmp_path / "codes", often, progress=kill)
    assert not (tmp_path / "codes").exists()
    report = train_adapter(examples(), base, tmp_path / "codes", often)
    assert report.resumed
    assert report.steps == trained[1].steps
    name = "adapter_model.safetensors"
    whole, pieced = load_file(trained[0] / name), load_file(tmp_path / "codes" / name)
    assert all(torch.equal(whole[k], pieced[k]) for k in whole)
    assert [p.name for p in tmp_path.iterdir()] == ["codes"]


def test_training_goes_on_from_an_adapter(base: LocalModel, trained: tuple[Path, TrainReport], tmp_path: Path) -> None:
    once = CONFIG.model_copy(update={"epochs": 1})
    report = train_adapter(examples(), base, tmp_path / "more", once, start=trained[0])
    assert report.losses[0][1] < 0.3 < trained[1].losses[0][1]
    assert report.parameters == trained[1].parameters


def test_nothing_to_train_on_is_said(base: LocalModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 of them too long"):
        train_adapter(examples(), base, tmp_path / "x", CONFIG.model_copy(update={"longest": 16}))


lengths = st.lists(st.integers(2, 200), min_size=1, max_size=150)


@given(lengths, st.integers(0, 5))
def test_each_row_once_and_within_the_budget(sizes: list[int], epoch: int) -> None:
    rows = [Encoded([1] * size, ((1, size),)) for size in sizes]
    batches = order(rows, 256, seed=1, epoch=epoch)
    assert sorted(n for batch in batches for n in batch) == list(range(len(rows)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(sizes[n] for n in batch) <= 256
    assert batches == order(rows, 256, seed=1, epoch=epoch)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6))
def test_only_answers_are_predicted(shapes: list[tuple[int, int]]) -> None:
    rows = [Encoded([10 * n + i for i in range(p + a)], ((p, p + a),)) for n, (p, a) in enumerate(shapes)]
    batch = collate(rows)
    following = batch.ids.flatten()[batch.positions + 1]
    assert torch.equal(following, batch.targets)
    assert batch.targets.tolist() == [t for row in rows for t in row.ids[row.start :]]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=12))
def test_what_rows_begin_with_is_read_once_and_seen_by_each(shapes: list[tuple[int, int, int]]) -> None:
    """A row of the batch, read along one branch, is the example again, and sees nothing of the other branches."""
    rows = [
        Encoded([family] * 20 + [10 + n] * own + [50 + n] * said, ((20 + own, 20 + own + said),))
        for n, (family, own, said) in enumerate(shapes)
    ]
    (numbers,) = order(rows, 10_000, seed=0, epoch=0)
    batch = collate([rows[n] for n in numbers])
    assert batch.tokens <= 20 * len({family for family, *_ in shapes}) + sum(own + said for _, own, said in shapes)
    ends = [place for place in batch.positions.tolist() if batch.ids.flatten()[place + 1] != batch.ids.flatten()[place]]
    width, mask = batch.ids.shape[1], batch.mask(torch.float32)
    seen: list[list[int]] = []
    for place in ends:
        row, at = divmod(place, width)
        sees = torch.arange(width) <= at if mask is None else mask[row, 0, at] == 0
        seen.append(batch.ids[row][sees].tolist())
        assert batch.places is None or batch.places[row][sees].tolist() == list(range(int(sees.sum())))
    assert sorted(seen) == sorted(row.ids[: row.start] for row in rows)


WORDS = st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=1, max_size=300)


@given(words=WORDS, data=st.data())
def test_a_cut_passage_keeps_the_answer(words: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(words) - 1))
    answer = " ".join(words[start : start + data.draw(st.integers(1, 60))])
    question = Question("s", "g", "q?", answer, " ".join(words), ("other", "another"))
    shown = show(question, random.Random(0), passages=2, gold=True)
    assert any(answer in p for p in shown.passages)
    assert shown.example.answer == answer
    assert max(len(p.split()) for p in shown.passages) <= 90
    assert show(question, random.Random(0), passages=2, gold=False).example.answer == NOT_FOUND


@pytest.mark.parametrize("method", ["rslora", "dora"])
def test_every_kind_of_adapter_learns(method: Method, base: LocalModel, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"method": method, "epochs": 4.0})
    report = train_adapter(examples(), base, tmp_path / "out", config)
    assert report.losses[-1][1] < report.losses[0][1]
    written = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (written["use_rslora"], written["use_dora"]) == (method == "rslora", method == "dora")


def test_answers_of_earlier_turns_are_learnt(base: LocalModel) -> None:
    shots = [Shot("Code of the fan?", "one two"), Shot("Code of the tank?", "three")]
    example = TrainingExample(QUOTE.prompt("Code of the pump?", shots=shots), "kappa seven")
    tokenizer = load_tokenizer(base.files["gguf"])
    ((row,), _) = encode([example], tokenizer, 1024)
    learnt = [tokenizer.decode(row.ids[start:end]) for start, end in row.answers]
    assert learnt == ["one two<|im_end|>", "three<|im_end|>", "kappa seven<|im_end|>"]
    assert collate([row]).targets.tolist() == [t for start, end in row.answers for t in row.ids[start:end]]
