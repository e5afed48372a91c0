"""A LoRA merged into its base: the sum, what is refused, that llama.cpp answers alike, and a team that runs it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Format
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize

from metier.agents.build import build
from metier.agents.cards import Blueprint
from metier.agents.team import Team
from metier.core.errors import ConfigError, EngineError, UnknownAdapter
from metier.core.files import sha256
from metier.core.models import ModelStore
from metier.specialists.adapters.choose import find_skill
from metier.specialists.adapters.convert import gguf_adapter
from metier.specialists.adapters.folder import WEIGHTS
from metier.specialists.adapters.merge import merge, merged_gguf
from metier.specialists.engines import Sampling, grammar
from metier.specialists.engines.engine import Quote
from metier.specialists.engines.llama import LlamaEngine
from metier.specialists.prompt import NOT_FOUND, Message
from metier.specialists.styles.quote import QUOTE
from metier.tests.test_convert import RANK, pair, write_peft

MACHINE = "The carousel bearing of the filler is greased every 200 operating hours with lithium grease of class two."
TASK, ANSWER = "How often is the carousel bearing greased?", "every 200 operating hours"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer with three kinds of weights, and one matrix that no adapter touches."""
    path = tmp_path_factory.mktemp("base") / "small.gguf"
    draw = np.random.default_rng(1)
    writer = GGUFWriter(path, "llama")
    writer.add_name("Small")
    writer.add_block_count(1)
    writer.add_head_count(9)
    writer.add_head_count_kv(3)
    writer.add_array("tokenizer.ggml.tokens", ["a", "ä"])
    formats = {"ffn_up": Format.Q8_0, "attn_v": Format.Q4_1, "ffn_down": Format.F16, "ffn_gate": Format.Q4_1}
    shapes = {"ffn_up": (1536, 576), "attn_v": (192, 576), "ffn_down": (576, 1536), "ffn_gate": (1536, 576)}
    for name, kind in formats.items():
        weights = draw.normal(0, 0.02, shapes[name]).astype(np.float32)
        writer.add_tensor(f"blk.0.{name}.weight", quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    touched = {"mlp.up_proj": (1536, 576), "self_attn.v_proj": (192, 576), "mlp.down_proj": (576, 1536)}
    tensors = {k: v * 0.05 for module, shape in touched.items() for k, v in pair(module, *shape).items()}
    return write_peft(tmp_path / "mine", tensors)


def tensors(path: Path) -> dict[str, tuple[Format, np.ndarray]]:
    return {t.name.split(".")[2]: (t.tensor_type, dequantize(t.data, t.tensor_type)) for t in GGUFReader(path).tensors}


def test_the_sum_is_written_and_the_rest_is_left_alone(small: Path, adapter: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    out = merged_gguf(adapter, small, lambda *step: steps.append(step), tmp_path / "cache")
    assert steps == [("merging adapter and base: tensors", done, 4) for done in (1, 2, 3, 4)]
    before, after = tensors(small), tensors(out)
    lora = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(gguf_adapter(adapter, small)).tensors}
    # Q8_0 has 127 steps to the largest weight of a block of 32: about 0.6 % of a typical weight.
    formats = {"ffn_up": (Format.Q8_0, 0.01), "attn_v": (Format.Q8_0, 0.01), "ffn_down": (Format.F16, 0.001)}
    for name, (kind, error) in formats.items():
        a, b = (lora[f"blk.0.{name}.weight.lora_{half}"] for half in "ab")
        expected = before[name][1] + 8 / RANK * (b @ a)
        assert after[name][0] == kind
        assert np.linalg.norm(after[name][1] - expected) < error * np.linalg.norm(expected)
        assert np.linalg.norm(after[name][1] - before[name][1]) > 0.1 * np.linalg.norm(expected)
    assert after["ffn_gate"][0] == Format.Q4_1
    assert np.array_equal(after["ffn_gate"][1], before["ffn_gate"][1])


def test_it_says_what_it_was_made_of(small: Path, adapter: Path, tmp_path: Path) -> None:
    said = {f.name: f.contents() for f in GGUFReader(merged_gguf(adapter, small, cache=tmp_path)).fields.values()}
    assert said["general.type"] == "model"
    assert said["general.name"] == f"Small + {sha256(adapter / WEIGHTS)[:12]}"
    assert said["metier.base.sha256"] == sha256(small)
    assert said[f"metier.adapter.{WEIGHTS}.sha256"] == sha256(adapter / WEIGHTS)
    assert said["tokenizer.ggml.tokens"] == ["a", "ä"]


def test_merged_once_and_from_either_form(small: Path, adapter: Path, tmp_path: Path) -> None:
    first = merged_gguf(adapter, small, cache=tmp_path)
    written = first.stat().st_mtime_ns
    assert merged_gguf(adapter, small, cache=tmp_path) == first
    assert first.stat().st_mtime_ns == written
    other = merged_gguf(gguf_adapter(adapter, small), small, cache=tmp_path)
    assert other != first
    for name, (kind, weights) in tensors(first).items():
        assert tensors(other)[name][0] == kind
        assert np.array_equal(tensors(other)[name][1], weights)


def test_a_merge_that_fails_leaves_nothing(small: Path, adapter: Path, tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merged_gguf(adapter, small, stop, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_cannot_be_merged_is_refused(small: Path, adapter: Path, tmp_path: Path) -> None:
    foreign = write_peft(tmp_path / "foreign", pair("mlp.up_proj", 2048))
    text = tmp_path / "text.gguf"
    text.write_text("no GGUF at all")
    lora = gguf_adapter(adapter, small)
    wide = tmp_path / "wide.gguf"
    writer = GGUFWriter(wide, "llama")
    writer.add_key_value("general.name", "Wide", GGUFReader(small).fields["general.name"].types[0])
    writer.add_tensor("blk.0.ffn_up.weight", np.zeros((64, 64), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for source, base, message in (
        (foreign, small, "576 x 2048"),
        (lora, wide, "the base has"),
        (small, small, "no plain LoRA"),
        (text, small, "cannot be read as GGUF"),
    ):
        with pytest.raises(ConfigError, match=message):
            merge(source, base, tmp_path / "out.gguf")


@pytest.fixture(scope="module")
def engine(models: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaEngine]:
    """The shipped skill `quote` in its three forms; `exact` is merged in f16."""
    base, skill = models.find("smollm2-135m").files["gguf"], find_skill("quote")
    exact = tmp_path_factory.mktemp("exact") / "exact.gguf"
    merge(skill, base, exact, quantised=Format.F16)
    forms = {"adapter": gguf_adapter(skill, base), "exact": exact, "merged": merged_gguf(skill, base)}
    engine = LlamaEngine(base, forms, context=512, slots=2, threads=1)
    yield engine
    engine.close()


def talk(prompt: list[Message]) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in prompt]


def test_adapter_and_merged_forms_agree(engine: LlamaEngine) -> None:
    """How probable each form finds an answer, in nats per token, and what it says by itself.

    Measured: adapter -2.283, merged in Q8_0 -2.300, in f16 -2.326, base alone -2.956. No form is exactly another:
    llama.cpp rounds activations to 8 bits before it multiplies them with Q8_0, and not before it does with f16. Without
    `every` the answer is about as good, so the form in f16 may leave it out.
    """
    prompt, said, sure = talk(QUOTE.prompt(TASK, [MACHINE])), {}, {}
    for form in (None, *engine.adapters):
        chat = engine.chat(Sampling(max_tokens=24), adapter=form)
        said[form] = chat.invoke(prompt).text
        sure[form] = chat.invoke(prompt, grammar=grammar.one_of([ANSWER])).response_metadata["logprob"]
    assert said["merged"] == said["adapter"] == ANSWER != said[None]
    assert said["exact"] in (ANSWER, ANSWER.removeprefix("every "))
    assert sure["merged"] == pytest.approx(sure["adapter"], abs=0.05)
    assert sure["exact"] == pytest.approx(sure["adapter"], abs=0.1)
    assert sure[None] < sure["adapter"] - 0.3


def test_an_engine_runs_merged_models_beside_its_base(engine: LlamaEngine) -> None:
    assert engine.adapters == ("adapter", "exact", "merged")
    prompt = talk(QUOTE.prompt(TASK, [MACHINE]))
    rule = engine.constrain(Quote([MACHINE], [NOT_FOUND]))
    chats = [
        engine.chat(Sampling(max_tokens=24), adapter=form, slot=f"s{n}") for n, form in enumerate(engine.adapters * 2)
    ]
    with ThreadPoolExecutor(len(chats)) as pool:
        answers = list(pool.map(lambda chat: chat.invoke(prompt, **rule), chats))
    assert all("200 operating hours" in answer.text for answer in answers)
    assert [a.response_metadata["model_name"] for a in answers] == [*engine.adapters * 2]
    assert "".join(part.text for part in chats[2].stream(prompt, **rule)) == answers[2].text
    with pytest.raises(UnknownAdapter, match="did you mean 'merged'"):
        engine.chat(adapter="merge")


def test_closing_the_engine_closes_its_merged_models(models: ModelStore) -> None:
    base = models.find("smollm2-135m").files["gguf"]
    engine = LlamaEngine(base, {"quote": merged_gguf(find_skill("quote"), base)}, context=256, slots=1, threads=1)
    chat = engine.chat(Sampling(max_tokens=1), adapter="quote")
    chat.invoke("Hello")
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        chat.invoke("Hello")


@pytest.fixture(scope="module")
def hot(first_office: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The office, one of whose specialists has a model of its own."""
    folder = Path(shutil.copytree(first_office, tmp_path_factory.mktemp("hot") / "office"))
    card = folder / "helpdesk" / "specialist.yaml"
    card.write_text(card.read_text() + "\nmodel:\n  merged: true\n")
    return folder


def test_a_specialist_runs_on_a_model_of_its_own(first_office: Path, hot: Path, models: ModelStore) -> None:
    build(Blueprint.read(hot), store=models)
    with Team.load(first_office, store=models) as before, Team.load(hot, store=models) as team:
        own = [Path(name) for name in team.engine.adapters if "merged" in Path(name).parts]
        assert own == [merged_gguf(find_skill("quote"), models.find("smollm2-135m").files["gguf"])]
        task = "How do I reset my password?"
        answer, other = (t.ask(task, specialist="helpdesk") for t in (team, before))
        assert (answer.text, answer.kind) == (other.text, other.kind)
        assert answer.version != other.version


@pytest.mark.parametrize("engine", ["transformers", "http://127.0.0.1:1/v1"])
def test_engines_that_cannot_are_refused_before_anything_is_loaded(hot: Path, tmp_path: Path, engine: str) -> None:
    folder = Path(shutil.copytree(hot, tmp_path / "office"))
    with (folder / "team.yaml").open("a") as file:
        file.write(f"\nengine: {engine}\n")
    with pytest.raises(ConfigError, match=r"helpdesk: model\.merged: merged models run on the engines auto") as error:
        Blueprint.read(folder)
    assert "metier registry merge" in (error.value.hint or "")


def test_the_command_writes_the_adapter_in_use(run, first_office: Path, models: ModelStore, tmp_path: Path) -> None:
    out = tmp_path / "helpdesk.gguf"
    code, printed, _ = run("registry", "merge", "helpdesk", "--out", out, "-t", first_office, "--json")
    assert code == 0
    assert json.loads(printed)["sha256"] == sha256(out)
    cached = merged_gguf(find_skill("quote"), models.find("smollm2-135m").files["gguf"])
    assert sha256(cached) == sha256(out), "the same form that the team runs"
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


def test_mistakes_with_the_command_are_told(run, first_office: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.gguf"
    there.touch()
    for words, message in (
        (["helpdeks", "--out", tmp_path / "x.gguf"], "did you mean 'helpdesk'"),
        (["helpdesk", "champion", "--out", tmp_path / "x.gguf"], "'helpdesk' has no champion"),
        (["helpdesk", "--out", there], "exists already"),
        (["helpdesk", "--out", tmp_path / "x.bin"], "does not end in .gguf"),
    ):
        code, _, err = run("registry", "merge", *words, "-t", first_office)
        assert code == 2
        assert message in " ".join(err.split())
    assert there.read_bytes() == b""
