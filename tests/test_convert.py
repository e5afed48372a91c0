"""PEFT → GGUF: names, permutation, scales, and what is refused. That llama.cpp then agrees: test_training.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from metier.core.errors import ConfigError, IntegrityError
from metier.specialists.adapters.choose import find_skill, skill_names
from metier.specialists.adapters.convert import _permute, gguf_adapter
from metier.specialists.adapters.folder import CONFIG, WEIGHTS, open_adapter
from metier.specialists.training.train import write_record

HIDDEN, RANK = 576, 4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer with the shapes of the default base: reading the whole of that takes a second each time."""
    path = tmp_path_factory.mktemp("base") / "base.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_head_count(9)
    writer.add_head_count_kv(3)
    shapes = {"attn_q": (576, 576), "attn_v": (192, 576), "ffn_up": (1536, 576), "ffn_down": (576, 1536)}
    for name, shape in shapes.items():
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_peft(folder: Path, tensors: dict[str, np.ndarray], **config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    known = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "base_model_name_or_path": "smollm2-135m"}
    (folder / CONFIG).write_text(json.dumps({**known, **config}))
    save_file(tensors, folder / WEIGHTS)
    return folder


def pair(module: str, rows: int, columns: int = HIDDEN, rank: int = RANK) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(0)
    prefix = f"base_model.model.model.layers.0.{module}"
    return {
        f"{prefix}.lora_A.weight": noise.normal(size=(rank, columns)).astype(np.float32),
        f"{prefix}.lora_B.weight": noise.normal(size=(rows, rank)).astype(np.float32),
    }


def scale_of(path: Path) -> float:
    """What llama.cpp multiplies B·A with."""
    reader = GGUFReader(path)
    alpha = float(reader.fields["adapter.lora.alpha"].contents())
    rank = next(int(t.shape[1]) for t in reader.tensors if t.name.endswith("lora_a"))
    return alpha / rank


def test_names_shapes_and_values_survive(base: Path, tmp_path: Path) -> None:
    tensors = pair("mlp.down_proj", HIDDEN, 1536)
    written = GGUFReader(gguf_adapter(write_peft(tmp_path / "a", tensors), base, tmp_path / "cache"))
    found = {t.name: t.data for t in written.tensors}
    assert set(found) == {"blk.0.ffn_down.weight.lora_a", "blk.0.ffn_down.weight.lora_b"}
    for name, side in (("lora_a", "A"), ("lora_b", "B")):
        original = tensors[f"base_model.model.model.layers.0.mlp.down_proj.lora_{side}.weight"]
        np.testing.assert_allclose(found[f"blk.0.ffn_down.weight.{name}"], original, rtol=1e-3, atol=1e-4)


@given(heads=st.integers(1, 9), half=st.integers(1, 16), rank=st.integers(1, 4))
@settings(max_examples=25)
def test_permuting_interleaves_the_halves_of_each_head(heads: int, half: int, rank: int) -> None:
    rows = heads * half * 2
    b = np.arange(rows * rank).reshape(rows, rank)
    there = _permute(b, heads).reshape(heads, half, 2, rank)
    split = b.reshape(heads, 2, half, rank)
    assert (there[:, :, 0] == split[:, 0]).all()
    assert (there[:, :, 1] == split[:, 1]).all()


def test_only_q_and_k_are_permuted(base: Path, tmp_path: Path) -> None:
    tensors = pair("self_attn.q_proj", HIDDEN) | pair("self_attn.v_proj", 192)
    written = GGUFReader(gguf_adapter(write_peft(tmp_path / "a", tensors), base, tmp_path / "cache"))
    found = {t.name: t.data for t in written.tensors}
    b = {m: tensors[f"base_model.model.model.layers.0.self_attn.{m}.lora_B.weight"] for m in ("q_proj", "v_proj")}
    np.testing.assert_allclose(found["blk.0.attn_q.weight.lora_b"], _permute(b["q_proj"], 9), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["blk.0.attn_v.weight.lora_b"], b["v_proj"], rtol=1e-3, atol=1e-4)


def test_scales_of_lora_and_rslora(base: Path, tmp_path: Path) -> None:
    tensors = pair("mlp.up_proj", 1536)
    plain = gguf_adapter(write_peft(tmp_path / "a", tensors), base, tmp_path / "cache")
    stable = gguf_adapter(write_peft(tmp_path / "b", tensors, use_rslora=True), base, tmp_path / "cache")
    assert scale_of(plain) == pytest.approx(8 / RANK)
    assert scale_of(stable) == pytest.approx(8 / RANK**0.5)


@pytest.mark.parametrize("stable", [False, True])
def test_a_rank_of_its_own_keeps_its_strength(base: Path, tmp_path: Path, stable: bool) -> None:
    """One matrix has rank 2 and alpha 6: llama.cpp knows one alpha only, so B must carry the difference."""
    tensors = pair("mlp.up_proj", 1536, rank=2)
    patterns = {"rank_pattern": {"up_proj": 2}, "alpha_pattern": {"up_proj": 6}}
    path = gguf_adapter(write_peft(tmp_path / "a", tensors, use_rslora=stable, **patterns), base, tmp_path / "cache")
    reader = GGUFReader(path)
    a, b = (np.asarray(t.data, dtype=np.float32) for t in sorted(reader.tensors, key=lambda t: t.name))
    gold_a, gold_b = tensors.values()
    expected = (6 / 2**0.5 if stable else 6 / 2) * (gold_b @ gold_a)
    np.testing.assert_allclose(scale_of(path) * (b @ a), expected, rtol=2e-2, atol=3e-2)


def test_converted_once(base: Path, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "a", pair("mlp.up_proj", 1536))
    first = gguf_adapter(folder, base, tmp_path / "cache")
    written = first.stat().st_mtime_ns
    assert gguf_adapter(folder, base, tmp_path / "cache") == first
    assert first.stat().st_mtime_ns == written
    write_peft(folder, pair("mlp.up_proj", 1536), lora_alpha=9)
    assert gguf_adapter(folder, base, tmp_path / "cache") != first


def test_an_adapter_for_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "a", pair("mlp.up_proj", 2048), base_model_name_or_path="some-360m")
    with pytest.raises(ConfigError, match=r"576 x 2048.*\(576, 1536\)") as error:
        gguf_adapter(folder, base, tmp_path / "cache")
    assert "some-360m" in (error.value.hint or "")


@pytest.mark.parametrize("config", [{"use_dora": True}, {"peft_type": "PROMPT_TUNING"}, {"modules_to_save": ["x"]}])
def test_what_llama_cpp_cannot_run_is_refused(base: Path, tmp_path: Path, config: dict[str, object]) -> None:
    folder = write_peft(tmp_path / "a", pair("mlp.up_proj", 1536), **config)
    with pytest.raises(ConfigError, match="plain LoRA"):
        gguf_adapter(folder, base, tmp_path / "cache")


def test_pickled_weights_are_refused(base: Path, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "a", pair("mlp.up_proj", 1536))
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(IntegrityError, match="pickle"):
        gguf_adapter(folder, base, tmp_path / "cache")


def test_changed_weights_are_refused(base: Path, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "a", pair("mlp.up_proj", 1536))
    write_record(folder, {}, "card")
    gguf_adapter(folder, base, tmp_path / "cache")
    save_file({name: tensor * 2 for name, tensor in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)
    with pytest.raises(IntegrityError, match="not the file that"):
        gguf_adapter(folder, base, tmp_path / "cache")


def test_a_folder_without_an_adapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"adapter_model\.safetensors"):
        open_adapter(tmp_path)


def test_skills_are_listed_and_unknown_ones_refused() -> None:
    for name in skill_names():
        assert open_adapter(find_skill(name)).record["files"]
    with pytest.raises(ConfigError, match="unknown skill 'qote'"):
        find_skill("qote")
