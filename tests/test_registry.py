"""The registry: versions that nobody changes unseen, aliases that survive a kill, adapters to and from PEFT."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import save_file

from metier.core.errors import ConfigError, InputError, IntegrityError, StateError
from metier.core.models import LocalModel, ModelStore
from metier.specialists.adapters.choose import adapter_version
from metier.specialists.adapters.exchange import export_version, import_adapter
from metier.specialists.adapters.folder import CONFIG, DECISION, RECORD, WEIGHTS
from metier.specialists.adapters.registry import Registry, Version
from metier.specialists.engines.unpack import load_base

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

RECORD_OF = {"specialist": "stock", "licence": "Apache-2.0", "base": {"name": "smollm2-135m"}}


def peft_folder(folder: Path, value: int) -> Path:
    """A PEFT folder as small as can be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 1}))
    save_file({"base_model.model.x.lora_A.weight": np.full((1, 2), value, np.float16)}, folder / WEIGHTS)
    return folder


def add(registry: Registry, value: int, name: str = "stock") -> Version:
    with tempfile.TemporaryDirectory() as place:
        return registry.add(name, peft_folder(Path(place) / "a", value), RECORD_OF, "test")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


def test_versions_of_an_older_metier_are_what_they_were(tmp_path: Path) -> None:
    """tests/data/old/README.md says what is in this registry, and how it was made."""
    old = Registry(Path(shutil.copytree(Path(__file__).parent / "data/old/registry", tmp_path / "registry")))
    assert [old.find("stock", alias).id for alias in ("champion", "challenger")] == ["5e336f88aa11", "8111830e2ee6"]
    assert [(event.did, event.version) for event in old.state("stock").events] == [
        ("added", "5e336f88aa11"),
        ("promoted", "5e336f88aa11"),
        ("added", "8111830e2ee6"),
    ]
    assert add(old, 2).id == "8111830e2ee6", "the same content is still the same version"
    assert old.promote("stock").id == "8111830e2ee6"
    assert old.rollback("stock") == "5e336f88aa11"


def test_the_same_content_is_the_same_version_and_other_content_another(registry: Registry) -> None:
    one, again, other = add(registry, 1), add(registry, 1), add(registry, 2)
    assert one.id == again.id != other.id
    assert registry.versions("stock") == [other.id, one.id]
    assert registry.state("stock").challenger == other.id
    assert registry.champion("stock") is None


def test_versions_are_found_by_alias_id_and_beginning(registry: Registry) -> None:
    version = add(registry, 1)
    for ref in ("challenger", version.id, version.id[:4]):
        assert registry.find("stock", ref) == version
    for ref in ("champion", "zzz", ""):
        with pytest.raises(InputError):
            registry.find("stock", ref)


@pytest.mark.parametrize("file", [WEIGHTS, CONFIG, RECORD])
def test_a_changed_file_is_refused(registry: Registry, file: str) -> None:
    version = add(registry, 1)
    registry.promote("stock")
    path = version.path / file
    path.write_bytes(path.read_bytes().replace(b"LORA", b"LoRA").replace(b"Apache", b"apache") + b" ")
    with pytest.raises(IntegrityError):
        registry.champion("stock")


def test_a_record_rewritten_to_fit_changed_weights_is_refused(registry: Registry, tmp_path: Path) -> None:
    """Somebody who swaps the weights can mend the hash in the record, but not the name of the version."""
    version, other = add(registry, 1), add(registry, 2)
    for file in (WEIGHTS, RECORD):
        shutil.copyfile(other.path / file, version.path / file)
    with pytest.raises(IntegrityError, match=version.id):
        registry.find("stock", version.id)


def test_a_call_decision_is_a_part_of_its_version(registry: Registry, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "a", 1)
    plain = registry.add("stock", folder, RECORD_OF, "test")
    (folder / DECISION).write_text('{"bias": 0, "odds": 1, "similarity": 1}')
    decided = registry.add("stock", folder, RECORD_OF, "test")
    assert decided.id != plain.id
    assert adapter_version(decided.path) != adapter_version(plain.path)
    again = Registry(tmp_path / "again").add("stock", export_version(decided, tmp_path / "out"), decided.record, "test")
    assert again.id == decided.id
    (decided.path / DECISION).write_text('{"bias": 9, "odds": 1, "similarity": 1}')
    with pytest.raises(IntegrityError, match=DECISION):
        registry.find("stock", decided.id)
    shutil.copyfile(decided.path / DECISION, plain.path / DECISION)
    with pytest.raises(IntegrityError, match=DECISION):
        registry.find("stock", plain.id)


def test_pickles_are_refused_whatever_they_are_called(registry: Registry, tmp_path: Path) -> None:
    plain = peft_folder(tmp_path / "theirs", 1)
    (plain / WEIGHTS).rename(plain / "adapter_model.bin")
    with pytest.raises(IntegrityError, match="pickle"):
        registry.add("stock", plain, RECORD_OF, "test")
    (plain / WEIGHTS).write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(IntegrityError, match="no safetensors"):
        registry.add("stock", plain, RECORD_OF, "test")
    assert registry.versions("stock") == []


def test_what_is_in_use_is_not_removed(registry: Registry) -> None:
    first, second = add(registry, 1), add(registry, 2)
    registry.promote("stock", first.id)
    for ref in (first.id, "champion"):
        with pytest.raises(StateError, match="in use"):
            registry.remove("stock", ref)
    registry.promote("stock", second.id)
    registry.remove("stock", first.id)
    assert registry.versions("stock") == [second.id]
    assert registry.rollback("stock") is None, "the removed version is skipped on the way back"


def test_a_challenger_can_be_given_up(registry: Registry) -> None:
    version = add(registry, 1)
    assert registry.remove("stock", "challenger") == version.id
    assert registry.state("stock").challenger is None
    assert registry.versions("stock") == []


def test_a_damaged_version_can_be_removed_and_not_rolled_back_to(registry: Registry) -> None:
    first, second = add(registry, 1), add(registry, 2)
    registry.promote("stock", first.id)
    registry.promote("stock", second.id)
    (first.path / WEIGHTS).write_bytes(b"x")
    with pytest.raises(IntegrityError):
        registry.rollback("stock")
    assert registry.state("stock").champion == second.id
    assert registry.remove("stock", first.id) == first.id


def test_why_a_challenger_was_kept_back_is_noted_once(registry: Registry) -> None:
    add(registry, 1)
    for why in ("worse", "worse", "too few questions"):
        registry.keep_back("stock", why)
    assert [e.why for e in registry.state("stock").events if e.did == "kept back"] == ["worse", "too few questions"]


def test_a_damaged_file_of_aliases_is_told(registry: Registry) -> None:
    add(registry, 1)
    (registry.folder / "stock" / "registry.json").write_text("{")
    with pytest.raises(StateError, match="damaged"):
        registry.state("stock")


CHILD = """
import sys
from pathlib import Path
from metier.specialists.adapters.registry import Registry
registry = Registry(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    registry.promote("stock", next(v for v in sys.argv[2:] if v != registry.state("stock").champion))
"""


def test_a_killed_promotion_leaves_one_champion_or_the_other(registry: Registry) -> None:
    ids = [add(registry, 1).id, add(registry, 2).id]
    registry.promote("stock", ids[0])
    for delay in (0.02, 0.05, 0.11):
        command = [sys.executable, "-c", CHILD, str(registry.folder), *ids]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(delay)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        champion = registry.find("stock", "champion").id
        registry.promote("stock", next(i for i in ids if i != champion))


class Aliases(RuleBasedStateMachine):
    """The registry on disk against a few plain variables."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.registry = Registry(Path(self.place.name))
        self.held: dict[int, str] = {}
        self.champion: int | None = None
        self.challenger: int | None = None
        self.line: list[int | None] = []

    def teardown(self) -> None:
        self.place.cleanup()

    @rule(value=st.integers(1, 4))
    def add(self, value: int) -> None:
        self.held[value] = add(self.registry, value).id
        if value != self.champion:
            self.challenger = value

    @rule(data=st.data())
    @precondition(lambda self: self.held)
    def promote(self, data: st.DataObject) -> None:
        value = data.draw(st.sampled_from(sorted(self.held)))
        if value == self.champion:
            with pytest.raises(StateError):
                self.registry.promote("stock", self.held[value])
            return
        self.registry.promote("stock", self.held[value])
        self.line.append(self.champion)
        self.champion = value
        self.challenger = None if self.challenger == value else self.challenger

    @rule()
    def rollback(self) -> None:
        if not self.line:
            with pytest.raises(StateError):
                self.registry.rollback("stock")
            return
        self.champion = self.line.pop()
        assert self.registry.rollback("stock") == (self.held[self.champion] if self.champion else None)
        self.challenger = None if self.challenger == self.champion else self.challenger

    @rule(data=st.data())
    @precondition(lambda self: self.held)
    def remove(self, data: st.DataObject) -> None:
        value = data.draw(st.sampled_from(sorted(self.held)))
        if value == self.champion:
            with pytest.raises(StateError):
                self.registry.remove("stock", self.held[value])
            return
        self.registry.remove("stock", self.held.pop(value))
        self.challenger = None if self.challenger == value else self.challenger
        whole = [v for v in [*self.line, self.champion] if v != value]
        self.line = [v for n, v in enumerate(whole[:-1]) if v != whole[n + 1]]

    @invariant()
    def disk_and_model_agree(self) -> None:
        state = self.registry.state("stock")
        names = {None: None, **self.held}
        assert (state.champion, state.challenger) == (names[self.champion], names[self.challenger])
        assert state.former == tuple(names[v] for v in self.line)
        assert set(self.registry.versions("stock")) == set(self.held.values())

    @invariant()
    def whatever_an_alias_says_can_be_used(self) -> None:
        state = self.registry.state("stock")
        for id in filter(None, {state.champion, state.challenger, *state.former}):
            assert self.registry.find("stock", id).id == id


TestAliases = Aliases.TestCase
TestAliases.settings = settings(max_examples=25, stateful_step_count=15)


@pytest.fixture(scope="module")
def base(models: ModelStore) -> LocalModel:
    return models.find("smollm2-135m")


@pytest.fixture(scope="module")
def theirs(base: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter as somebody with transformers and PEFT saves it, with the usual things lying beside it."""
    folder = tmp_path_factory.mktemp("theirs") / "repo"
    torch.manual_seed(0)
    recipe = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(load_base(base.files["gguf"]), recipe).save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").write_text("---\nlicense: mit\nbase_model: x\n---\n")
    (folder / "training_args.bin").write_bytes(pickle.dumps([1]))
    return folder


def logits(base: LocalModel, folder: Path) -> torch.Tensor:
    model = PeftModel.from_pretrained(load_base(base.files["gguf"]), str(folder)).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([[1, 2, 3, 4]])).logits


def test_their_adapter_comes_in_and_ours_goes_out_unchanged(
    base: LocalModel, theirs: Path, registry: Registry, tmp_path: Path
) -> None:
    version = import_adapter(registry, "stock", theirs, base)
    assert sorted(p.name for p in version.path.iterdir()) == ["README.md", CONFIG, WEIGHTS, RECORD]
    assert version.record["licence"] == "mit"
    out = export_version(version, tmp_path / "out", "| metric | value |")
    assert torch.equal(logits(base, theirs), logits(base, out))
    card = (out / "README.md").read_text()
    assert card.startswith("---\nbase_model: HuggingFaceTB/SmolLM2-135M-Instruct\nlibrary_name: peft\n")
    assert "| metric | value |" in card
    elsewhere = Registry(tmp_path / "elsewhere")
    assert import_adapter(elsewhere, "stock", out, base).id == version.id
    with pytest.raises(InputError, match="not empty"):
        export_version(version, out)


def test_what_does_not_fit_the_base_is_refused(
    base: LocalModel, theirs: Path, registry: Registry, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError):
        import_adapter(registry, "stock", peft_folder(tmp_path / "odd", 1), base)
    other = Path(shutil.copytree(theirs, tmp_path / "dora"))
    config = json.loads((other / CONFIG).read_text()) | {"use_dora": True}
    (other / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="plain LoRA"):
        import_adapter(registry, "stock", other, base)
    version = add(registry, 1)
    record = json.loads((version.path / RECORD).read_text()) | {"base": {"name": "gemma"}}
    (version.path / RECORD).write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="'gemma'"):
        import_adapter(registry, "stock", version.path, base)
