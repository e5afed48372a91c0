"""The catalogue and the cache of models, with the real built-in models and with small files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quantize
from hypothesis import given
from hypothesis import strategies as st

from metier.core.errors import ConfigError, IntegrityError, ModelNotPulled, PullFailed, UnknownModel
from metier.core.files import sha256
from metier.core.models import ModelStore, StoredFile, read_catalogue
from metier.core.models.catalogue import FileSource, HubSource, PypiSource, parse_source
from metier.core.models.gguf import requantise
from metier.tests.conftest import Run

OWN_BASE = """
my-base:
  kind: base
  licence: MIT
  files: {gguf: "file:weights.gguf"}
"""


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A home with a base of the user's own, from a file beside the catalogue."""
    (tmp_path / "models.yaml").write_text(OWN_BASE)
    (tmp_path / "weights.gguf").write_bytes(b"GGUF" + bytes(1000))
    return ModelStore(tmp_path)


def left_over(store: ModelStore) -> list[str]:
    """Everything that a pull may have written."""
    folders = ("models", "blobs", "downloads")
    return [path.name for folder in folders for path in (store.home / folder).glob("*")]


def test_built_in_models_are_here_with_licence_and_hash(models: ModelStore) -> None:
    base, embedder = models.find("smollm2-135m"), models.find("minilm")
    assert (base.kind, base.licence, set(base.files)) == ("base", "Apache-2.0", {"gguf", "original"})
    assert (embedder.kind, embedder.licence, set(embedder.files)) == ("embedder", "Apache-2.0", {"onnx", "tokenizer"})
    for model in (base, embedder):
        for role, path in model.files.items():
            assert sha256(path) == model.sha256(role) == path.stem


def test_every_built_in_entry_promises_its_hashes_or_comes_from_the_hub(tmp_path: Path) -> None:
    for name, (entry, _) in read_catalogue(tmp_path).items():
        for spec in entry.files.values():
            assert (spec.sha256 and spec.size) or spec.source.startswith("hf:"), name
        assert entry.licence
        assert (entry.tier is None) == (entry.kind == "embedder"), name


def test_the_default_base_was_prepared_from_the_published_file(models: ModelStore) -> None:
    model, [info] = models.find("smollm2-135m"), [info for info in models.list() if info.name == "smollm2-135m"]
    made = info.files["gguf"]
    assert isinstance(made, StoredFile)
    assert (made.source, made.trust) == (f"q8_0/1 of {model.sha256('original')}", "derived")


@pytest.mark.parametrize(("recipe", "error"), [("q8_0", 0.01), ("q4_0", 0.1)])
def test_preparing_keeps_weights_and_metadata(tmp_path: Path, recipe: str, error: float) -> None:
    """The relative error allowed is about that of the format itself on evenly spread weights."""
    weights = np.random.default_rng(0).normal(size=(64, 96)).astype(np.float32)
    packed = quantize(weights, GGMLQuantizationType.Q4_1)
    writer = GGUFWriter(tmp_path / "published.gguf", "llama")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    writer.add_string("tokenizer.chat_template", "{{ messages }}")
    writer.add_file_type(LlamaFileType.MOSTLY_Q4_1)
    writer.add_tensor("blk.0.ffn_up.weight", packed, raw_dtype=GGMLQuantizationType.Q4_1)
    writer.add_tensor("blk.0.ffn_norm.weight", weights[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    steps = []
    requantise(tmp_path / "published.gguf", tmp_path / "ready.gguf", recipe, lambda *step: steps.append(step))
    assert steps == [(f"preparing {recipe}: tensors", done, 2) for done in (1, 2)]
    before, after = GGUFReader(tmp_path / "published.gguf"), GGUFReader(tmp_path / "ready.gguf")
    changed = {name for name in before.fields if before.fields[name].contents() != after.fields[name].contents()}
    assert changed == {"general.file_type"}
    large, norm = after.tensors
    assert (large.tensor_type.name, norm.tensor_type.name) == (recipe.upper(), "F32")
    assert np.array_equal(norm.data, weights[0])
    published = dequantize(packed, GGMLQuantizationType.Q4_1)
    off = dequantize(large.data, large.tensor_type) - published
    assert np.linalg.norm(off) < error * np.linalg.norm(published)


def test_a_base_of_ones_own_takes_four_lines(store: ModelStore) -> None:
    with pytest.raises(ModelNotPulled) as refused:
        store.find("my-base")
    assert refused.value.hint == "metier models pull my-base"
    model = store.pull("my-base")
    assert (model.licence, model.files["gguf"].read_bytes()[:4]) == ("MIT", b"GGUF")
    assert store.find("my-base") == model
    [info] = [info for info in store.list() if info.pulled]
    file = info.files["gguf"]
    assert isinstance(file, StoredFile)
    assert (info.name, info.size, file.trust) == ("my-base", 1004, "first-use")


def test_a_cache_of_the_first_version_is_still_valid(store: ModelStore) -> None:
    blob = b"GGUF as it was pulled then"
    digest = hashlib.sha256(blob).hexdigest()
    file = {"sha256": digest, "size": len(blob), "source": "file:weights.gguf", "trust": "first-use"}
    record = {"name": "my-base", "kind": "base", "licence": "MIT", "pulled": "2026-11-27T02:14:39+00:00"}
    for folder in ("models", "blobs"):
        (store.home / folder).mkdir()
    (store.home / "blobs" / f"{digest}.gguf").write_bytes(blob)
    (store.home / "models" / "my-base.json").write_text(json.dumps({**record, "files": {"gguf": file}}))
    (store.home / "weights.gguf").unlink()
    assert store.find("my-base").files["gguf"].read_bytes() == blob
    assert store.pull("my-base") == store.find("my-base"), "and needs no download"
    assert json.loads((store.home / "models" / "my-base.json").read_text())["pulled"] == record["pulled"]


def test_a_path_is_a_name(store: ModelStore) -> None:
    path = store.home / "weights.gguf"
    model = store.find(str(path))
    assert (model.name, model.files, model.sha256("gguf")) == ("weights", {"gguf": path}, sha256(path))
    with pytest.raises(UnknownModel, match="there is no file"):
        store.find(str(store.home / "other.gguf"))


def test_unknown_names_say_what_was_probably_meant(store: ModelStore) -> None:
    for action in (store.find, store.pull, store.remove):
        with pytest.raises(UnknownModel, match="did you mean 'minilm'"):
            action("minillm")


def test_the_hash_of_the_first_pull_holds_until_removal(store: ModelStore) -> None:
    first = store.pull("my-base").files["gguf"]
    first.unlink()
    (store.home / "weights.gguf").write_bytes(b"GGUF other")
    with pytest.raises(IntegrityError, match="missing or cut short"):
        store.find("my-base")
    with pytest.raises(IntegrityError, match="not the promised file"):
        store.pull("my-base")
    store.remove("my-base")
    assert store.pull("my-base").files["gguf"].read_bytes() == b"GGUF other"


def test_a_damaged_file_is_mended(store: ModelStore) -> None:
    path = store.pull("my-base").files["gguf"]
    good = path.read_bytes()
    path.write_bytes(bytes(len(good)))
    assert store.pull("my-base").files["gguf"].read_bytes() == good


def test_a_promised_hash_is_kept_or_nothing_stays(store: ModelStore) -> None:
    (store.home / "models.yaml").write_text(
        f"own: {{kind: base, licence: MIT, files: {{gguf: {{source: 'file:weights.gguf', sha256: '{'0' * 64}'}}}}}}"
    )
    with pytest.raises(IntegrityError, match=f"expected {'0' * 64}"):
        store.pull("own")
    assert left_over(store) == []


def test_a_file_that_is_not_there(store: ModelStore) -> None:
    (store.home / "weights.gguf").unlink()
    with pytest.raises(PullFailed, match="there is no file"):
        store.pull("my-base")
    assert left_over(store) == []


def test_a_shared_file_outlives_one_of_its_models(store: ModelStore) -> None:
    with (store.home / "models.yaml").open("a") as file:
        file.write(OWN_BASE.replace("my-base", "twin"))
    assert store.pull("my-base").files == store.pull("twin").files
    assert store.remove("my-base") == 0
    assert store.find("twin")
    assert store.remove("twin") == 1004
    assert left_over(store) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a:\n  kind: base\n  licence: MIT\n  files: {gguf: 'ftp:x'}\n", 4, "not a model source"),
        ("a:\n  kind: base\n  licence: MIT\n  files: {gguf: 'pypi:a{1..2}==1/{1..3}'}\n", 4, "ranges of"),
        ("a:\n  kind: base\n  licence: MIT\n  files: {onnx: 'file:x'}\n", 1, "needs exactly these files: gguf"),
        ("a:\n  kind: basis\n  licence: MIT\n  files: {gguf: 'file:x'}\n", 2, "kind"),
        ("a:\n  kind: base\n  license: MIT\n  files: {gguf: 'file:x'}\n", 1, "licence"),
        ("../a:\n  kind: base\n  licence: MIT\n  files: {gguf: 'file:x'}\n", 1, "a"),
        ("a: [", 1, "not YAML"),
    ],
)
def test_a_wrong_catalogue_is_told_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    (tmp_path / "models.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)) as refused:
        ModelStore(tmp_path).list()
    assert str(refused.value).startswith(f"{tmp_path / 'models.yaml'}:{line}: ")


@given(st.text(max_size=60) | st.from_regex(r"\A(pypi|hf|file):[a-z/=@.0-9]{0,30}\Z"))
def test_a_source_is_read_or_refused(text: str) -> None:
    try:
        sources = parse_source(text, Path("/"))
    except ConfigError:
        return
    assert sources
    for source in sources:
        match source:
            case PypiSource(_, _, end) | HubSource(_, _, end):
                assert text.endswith(end)
            case FileSource(path):
                assert path.name in text


def test_ranges_name_the_parts_of_a_file() -> None:
    assert parse_source("pypi:x-part{9..11}==1.0/x_part{9..11}/part{08..10}.bin") == [
        PypiSource("x-part9", "1.0", "x_part9/part08.bin"),
        PypiSource("x-part10", "1.0", "x_part10/part09.bin"),
        PypiSource("x-part11", "1.0", "x_part11/part10.bin"),
    ]
    assert parse_source("hf:owner/repo/{a..b}.gguf") == [HubSource("owner/repo", "main", "{a..b}.gguf")]
    for text in ("pypi:x{1..2}==1.0/x{1..3}.bin", "pypi:x{2..1}==1.0/x.bin"):
        with pytest.raises(ConfigError, match="differ in length, or one is empty"):
            parse_source(text)


def test_a_full_disk_is_told_and_nothing_half_stays(store: ModelStore) -> None:
    """The limit on file sizes stands in for the disk: writing fails at the same place."""
    (store.home / "weights.gguf").write_bytes(bytes(300_000))
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from metier.core.errors import PullFailed; from metier.core.models import ModelStore\n"
        "try: ModelStore().pull('my-base')\n"
        "except PullFailed as error: print(error)"
    )
    environment = {**os.environ, "METIER_HOME": str(store.home)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("no room to write in")
    assert left_over(store) == []


def test_the_commands(run: Run, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METIER_HOME", str(store.home))
    rows = {row["name"]: row for row in json.loads(run("models", "list", "--json").out)}
    assert rows["minilm"]["pulled"] is False
    assert rows["minilm"]["files"]["onnx"]["source"].startswith("pypi:")
    assert "trusted on first use" in run("models", "pull", "my-base").err
    shown = json.loads(run("models", "show", "my-base", "--json").out)
    assert Path(shown["paths"]["gguf"]).is_file()
    assert shown["licence"] == "MIT"
    assert "next: metier models remove my-base" in run("models", "show", "my-base").out
    assert "my-base" in run("models", "list").out
    assert "removed" in run("models", "remove", "my-base").out
    for command in ("pull", "show", "remove"):
        assert run("models", command, "nobody").code == 3, command
