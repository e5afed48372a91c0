"""What each method learns, writes and refuses, on a tiny random base; that the real one learns: test_training.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from peft import PeftModel
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from metier.core.errors import ConfigError
from metier.specialists.adapters.convert import gguf_adapter
from metier.specialists.adapters.folder import CONFIG, WEIGHTS
from metier.specialists.engines.unpack import load_base, load_tokenizer
from metier.specialists.prompt import TrainingExample
from metier.specialists.training.config import Method, TrainConfig, TrainReport
from metier.specialists.training.examples import Batch, collate, encode
from metier.specialists.training.model import TrainableModel
from metier.specialists.training.train import train_adapter
from metier.tests.tiny import tiny_base

Base = tuple[Path, Path]

PAIRS = {"pump": "kappa seven", "valve": "delta", "fan": "one two"}
METHODS: tuple[Method, ...] = get_args(Method)

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def examples() -> list[TrainingExample]:
    said = " ".join([*PAIRS] * 3)
    return [TrainingExample([{"role": "user", "content": f"{said} {thing}"}], code) for thing, code in PAIRS.items()]


def recipe(method: Method, **more: Any) -> TrainConfig:
    few = {"epochs": 10, "batch_tokens": 64, "validation": 0, "learning_rate": 3e-2, "seed": 3}
    return TrainConfig(method=method, precision="fp32", **{**few, **more})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_base(tmp_path_factory.mktemp("tiny"), " ".join([*PAIRS, *PAIRS.values()]).split())


def batch(base: Base, *, share: bool) -> Batch:
    return collate(encode(examples(), load_tokenizer(*base), 64)[0], share=share)


def learnt(base: Base, out: Path, config: TrainConfig, **more: Any) -> TrainReport:
    return train_adapter(examples(), base[0], out, config, cache=base[1], **more)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS)


def loss(model: Any, base: Base) -> float:
    """Of the answers, as transformers and PEFT compute it from labels."""
    rows, _ = encode(examples(), load_tokenizer(*base), 64)
    total, count = 0.0, 0
    for row in rows:
        labels = [n if any(s <= at < e for s, e in row.answers) else -100 for at, n in enumerate(row.ids)]
        said = len(row.ids) - labels.count(-100)
        with torch.no_grad():
            total += said * model(input_ids=torch.tensor([row.ids]), labels=torch.tensor([labels])).loss.item()
        count += said
    return total / count


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_what_peft_computes(method: Method, base: Base) -> None:
    """Only answer positions pass through the head; with a prompt before the tokens, they are later ones; what rows
    begin with alike is read once."""
    learner = TrainableModel(base[0], recipe(method), cache=base[1])
    for parameter in learner.masters:
        parameter += 0.1 * torch.randn_like(parameter)
    learner.publish()
    batches = [batch(base, share=share) for share in {False, not learner.has_prompt}]
    assert len({one.tokens for one in batches}) == len(batches), "the examples share nothing"
    for one in batches:
        assert learner.loss(one).item() == pytest.approx(loss(learner.model.eval(), base), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_written_does_better_than_the_base(method: Method, base: Base, tmp_path: Path) -> None:
    report = learnt(base, tmp_path / "out", recipe(method))
    assert report.losses[-1][1] < report.losses[0][1]
    if method == "full":
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
        assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
        assert report.parameters == sum(p.numel() for p in model.parameters())
    else:
        model = PeftModel.from_pretrained(load_base(base[0], cache=base[1]), str(tmp_path / "out"))
        assert json.loads((tmp_path / "out" / CONFIG).read_text())["base_model_name_or_path"] == "tiny"
    assert loss(model.eval(), base) < 0.9 * loss(load_base(base[0], cache=base[1]), base)


class Killed(Exception):
    """Stands for a kill: nothing of the trainer runs after it."""


def test_a_prompt_that_was_killed_ends_as_if_it_never_was(base: Base, tmp_path: Path) -> None:
    config = recipe("prompt", checkpoint_seconds=1e-9)
    whole = learnt(base, tmp_path / "whole", config)
    steps: list[int] = []

    def kill(what: str, done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == 4:
            raise Killed

    with pytest.raises(Killed):
        learnt(base, tmp_path / "pieced", config, progress=kill)
    report = learnt(base, tmp_path / "pieced", config)
    assert (report.resumed, report.steps, report.losses) == (True, whole.steps, whole.losses)
    before, after = weights(tmp_path / "whole"), weights(tmp_path / "pieced")
    assert list(before) == ["prompt_embeddings"]
    assert torch.equal(before["prompt_embeddings"], after["prompt_embeddings"])


def test_training_goes_on_from_a_prompt(base: Base, tmp_path: Path) -> None:
    first = learnt(base, tmp_path / "first", recipe("prompt", virtual_tokens=3))
    more = learnt(base, tmp_path / "more", recipe("prompt"), start=tmp_path / "first")
    assert more.parameters == first.parameters == 3 * 32
    assert more.losses[0][1] < first.losses[0][1]
    assert not torch.equal(*(weights(tmp_path / name)["prompt_embeddings"] for name in ("first", "more")))


@pytest.mark.parametrize(("method", "hint"), [("lora", "`method` to prompt"), ("full", "leave `start` out")])
def test_a_method_does_not_go_on_from_another(method: Method, hint: str, base: Base, tmp_path: Path) -> None:
    learnt(base, tmp_path / "first", recipe("prompt", epochs=1))
    with pytest.raises(ConfigError, match=rf"'{method}' cannot go on .* PROMPT_TUNING") as error:
        learnt(base, tmp_path / "more", recipe(method), start=tmp_path / "first")
    assert hint in (error.value.hint or "")


@pytest.mark.parametrize("method", ["prompt", "dora", "full"])
def test_what_llama_cpp_cannot_run_says_what_can(method: Method, base: Base, tmp_path: Path) -> None:
    learnt(base, tmp_path / "out", recipe(method, epochs=1))
    with pytest.raises(ConfigError) as error:
        gguf_adapter(tmp_path / "out", base[0], tmp_path / "cache")
    assert {"prompt": "PROMPT_TUNING", "dora": "use_dora", "full": "whole model"}[method] in str(error.value)
    assert error.value.hint


def test_the_rate_suits_the_method() -> None:
    full, lora, prompt = (TrainConfig(method=m).learning_rate for m in ("full", "lora", "prompt"))
    assert full < lora < prompt
    assert TrainConfig(method="full", learning_rate=0.5).learning_rate == 0.5


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine may well be able to")
def test_four_bits_without_the_hardware_are_refused(base: Base, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not found here: a CUDA device") as error:
        learnt(base, tmp_path / "out", TrainConfig(precision="nf4"))
    assert "'auto'" in (error.value.hint or "")
    assert not (tmp_path / "out").exists()


def test_frozen_weights_cannot_all_be_learnt() -> None:
    with pytest.raises(ValidationError, match="freezes"):
        TrainConfig(method="full", precision="nf4")
