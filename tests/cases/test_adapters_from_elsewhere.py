"""Adapters as other trainers, broken downloads and failed trainings leave them: read, or refused in a sentence."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from metier.core.errors import ConfigError, IntegrityError, MetierError
from metier.core.models import LocalModel
from metier.specialists.adapters.choose import loadable
from metier.specialists.adapters.convert import gguf_adapter
from metier.specialists.adapters.exchange import import_adapter
from metier.specialists.adapters.folder import CONFIG, WEIGHTS, read_weights
from metier.specialists.adapters.registry import Registry

WIDTH, RANK = 64, 4
Tensors = dict[str, np.ndarray]
MODULE = "base_model.model.model.layers.0.mlp.up_proj"
PLAIN: dict[str, Any] = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "base_model_name_or_path": "someone/tiny"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    path = tmp_path_factory.mktemp("base") / "base.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_tensor("blk.0.ffn_up.weight", np.zeros((WIDTH, WIDTH), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return LocalModel(name="tiny", kind="base", licence="MIT", files={"gguf": path})


def matrices(module: str = MODULE, rank: int = RANK) -> Tensors:
    dice = np.random.default_rng(0)
    a, b = dice.normal(size=(rank, WIDTH)), dice.normal(size=(WIDTH, rank))
    return {f"{module}.lora_A.weight": a.astype("f4"), f"{module}.lora_B.weight": b.astype("f4")}


def adapter(folder: Path, tensors: Tensors | None = None, form: str = "F32", **config: Any) -> Path:
    """A PEFT folder; written by hand, since numpy knows no bfloat16."""
    head: dict[str, Any] = {}
    data = b""
    for name, values in (matrices() if tensors is None else tensors).items():
        if form == "BF16":
            raw = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            raw = values.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2", "I8": "i1"}[form]).tobytes()
        head[name] = {"dtype": form, "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / CONFIG).write_text(json.dumps(PLAIN | config))
    return folder


def converted(folder: Path, base: LocalModel) -> dict[str, np.ndarray]:
    reader = GGUFReader(gguf_adapter(folder, base.files["gguf"], folder.parent / "cache"))
    return {tensor.name: tensor.data.astype(np.float32) for tensor in reader.tensors}


@pytest.mark.parametrize("form", ["F64", "F32", "F16", "BF16"])
def test_weights_in_every_usual_format_mean_the_same(form: str, base: LocalModel, tmp_path: Path) -> None:
    found = converted(adapter(tmp_path / "a", form=form), base)
    wanted = matrices()
    step = 2**-7 if form == "BF16" else 2**-10
    for side in "AB":
        np.testing.assert_allclose(
            found[f"blk.0.ffn_up.weight.lora_{side.lower()}"], wanted[f"{MODULE}.lora_{side}.weight"], rtol=step
        )


@pytest.mark.parametrize("form", ["F32", "BF16"])
def test_what_most_trainers_save_becomes_the_challenger(form: str, base: LocalModel, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    version = import_adapter(registry, "stock", adapter(tmp_path / "a", form=form), base)
    assert registry.state("stock").challenger == version.id
    assert set(read_weights(version.path / WEIGHTS)) == set(matrices())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", ["F32", "F16", "BF16"])
def test_a_training_that_went_wrong_is_refused(value: float, form: str, base: LocalModel, tmp_path: Path) -> None:
    tensors = matrices()
    tensors[f"{MODULE}.lora_B.weight"][3, 2] = value
    broken = adapter(tmp_path / "a", tensors, form)
    with pytest.raises(IntegrityError, match="not finite numbers"):
        import_adapter(Registry(tmp_path / "registry"), "stock", broken, base)
    assert not Registry(tmp_path / "registry").versions("stock")


@pytest.mark.parametrize("kept", [0, 4, 60, 500, -1])
def test_a_cut_off_download_is_refused(kept: int, base: LocalModel, tmp_path: Path) -> None:
    broken = adapter(tmp_path / "a")
    content = (broken / WEIGHTS).read_bytes()
    (broken / WEIGHTS).write_bytes(content[:kept])
    with pytest.raises(IntegrityError, match="no safetensors file, or a part of one"):
        import_adapter(Registry(tmp_path / "registry"), "stock", broken, base)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"r": None}, "r: .*None"),
        ({"r": 0}, "r: .*0"),
        ({"r": "many"}, "r: .*many"),
        ({"lora_alpha": None}, "lora_alpha: .*None"),
        ({"lora_alpha": 0}, "lora_alpha: .*0"),
        ({"r": 8}, "rank 4 and 4, adapter_config.json says 8"),
        ({"rank_pattern": {"up_proj": 2}}, "says 2"),
        ({"rank_pattern": {"(": 2}}, "not a regular expression"),
        ({"rank_pattern": ["up_proj"]}, "rank_pattern"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"init_lora_weights": "pissa_niter_16"}, "changed the base too"),
        ({"peft_type": "IA3"}, "plain LoRA"),
        ({"peft_type": None}, "plain LoRA"),
    ],
)
def test_an_odd_configuration_is_refused_in_words(
    config: dict[str, Any], told: str, base: LocalModel, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        converted(adapter(tmp_path / "a", **config), base)


def test_what_does_not_change_the_meaning_is_read(base: LocalModel, tmp_path: Path) -> None:
    odd = {"target_modules": None, "rank_pattern": None, "alpha_pattern": {}, "init_lora_weights": "gaussian", "new": 1}
    assert set(converted(adapter(tmp_path / "a", **odd), base)) == {
        "blk.0.ffn_up.weight.lora_a",
        "blk.0.ffn_up.weight.lora_b",
    }


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({}, "no partner"),
        ({name: values.ravel() for name, values in matrices().items()}, "1 dimensions"),
        ({name.replace(".weight", ".default.weight"): v for name, v in matrices().items()}, "save_pretrained"),
        ({name.removeprefix("base_model.model."): v for name, v in matrices().items()}, "save_pretrained"),
        ({**matrices(), f"{MODULE}.lora_magnitude_vector": np.ones(WIDTH, "f4")}, "lora_magnitude_vector"),
        ({**matrices(), "base_model.model.model.embed_tokens.lora_embedding_A": np.ones((4, 9), "f4")}, "embed_tokens"),
        (matrices("base_model.model.lm_head"), "tied to the embedding"),
        (matrices("base_model.model.model.layers.0.self_attn.qkv_proj"), "the base has none"),
        (matrices("base_model.model.model.layers.9.mlp.up_proj"), "the base has none"),
        ({name: values * 1e9 for name, values in matrices().items()}, "half precision"),
    ],
)
def test_odd_tensors_are_refused_in_words(tensors: Tensors, told: str, base: LocalModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        converted(adapter(tmp_path / "a", tensors), base)


def test_quantised_weights_are_refused_by_their_format(base: LocalModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"I8; adapters are read in F64, F32, F16, BF16"):
        converted(adapter(tmp_path / "a", form="I8"), base)


@pytest.mark.parametrize("kept", [3, 40, 200, -40])
def test_a_cut_off_gguf_is_refused_before_the_engine_sees_it(kept: int, base: LocalModel, tmp_path: Path) -> None:
    whole = gguf_adapter(adapter(tmp_path / "a"), base.files["gguf"], tmp_path / "cache")
    assert loadable(whole, base) == whole
    part = tmp_path / "part.gguf"
    part.write_bytes(whole.read_bytes()[:kept])
    with pytest.raises(MetierError, match="only a part of it is there"):
        loadable(part, base)
