"""The remote engine against the embedded engine's own HTTP server, and against a scripted one that acts like vLLM."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from metier.agents.build import build
from metier.agents.cards import Blueprint, TeamCard
from metier.agents.evaluate import compare, open_evaluation
from metier.core.errors import ContextOverflow, EngineError, MissingExtra, UnknownAdapter, install_line
from metier.core.models import ModelStore
from metier.core.run import no_progress
from metier.specialists.card import ModelCard, SpecialistCard
from metier.specialists.engines import Engine, Sampling, open_engine
from metier.specialists.engines.engine import Json, OneOf, Quote
from metier.specialists.engines.grammar import one_of
from metier.specialists.engines.llama import LlamaEngine
from metier.specialists.engines.remote import RemoteEngine
from metier.tests.engine_parts import FRANCE, random_lora


@pytest.fixture(scope="module")
def served(models: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaEngine]:
    lora = random_lora(tmp_path_factory.mktemp("lora") / "red.gguf", seed=3)
    engine = LlamaEngine(models.find("smollm2-135m").files["gguf"], {"red": lora}, context=512, slots=2, threads=1)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def remote(served: LlamaEngine) -> Iterator[RemoteEngine]:
    engine = RemoteEngine(f"{served.server.address}/v1", api_key=served.server.key, context=512)
    yield engine
    engine.close()


def test_it_fits_the_protocol_and_finds_what_is_served(remote: RemoteEngine) -> None:
    assert isinstance(remote, Engine)
    assert (remote.adapters, remote.context) == (("red",), 512)
    assert remote.count("hello") >= 1


def test_answers_like_the_engine_behind_it(served: LlamaEngine, remote: RemoteEngine) -> None:
    here, there = served.chat(Sampling(max_tokens=5)).invoke(FRANCE), remote.chat(Sampling(max_tokens=5)).invoke(FRANCE)
    assert there.content == here.content
    assert there.usage_metadata
    assert there.usage_metadata["output_tokens"] == 5
    assert there.response_metadata["finish_reason"] == "length"
    assert there.response_metadata["logprob"] == pytest.approx(here.response_metadata["logprob"], abs=0.1)
    assert "logprobs" not in there.response_metadata


def test_streams_and_async(remote: RemoteEngine) -> None:
    chat = remote.chat(Sampling(max_tokens=5))
    first, *rest = chat.stream(FRANCE)
    whole = first
    for part in rest:
        whole += part
    assert whole.content == chat.invoke(FRANCE).content == asyncio.run(chat.ainvoke(FRANCE)).content
    assert whole.response_metadata["logprob"] < 0
    assert whole.usage_metadata
    assert whole.usage_metadata["output_tokens"] == 5


def test_adapters_of_llama_server_work_per_request(served: LlamaEngine, remote: RemoteEngine) -> None:
    """Asked for a word that does not fit, base and adapter differ; each is the same here and there."""
    force = one_of(["Zebra"])

    def here(adapter: str | None) -> float:
        return (
            served.chat(Sampling(max_tokens=2), adapter=adapter)
            .invoke(FRANCE, grammar=force)
            .response_metadata["logprob"]
        )

    def there(adapter: str | None) -> float:
        chat = remote.chat(Sampling(max_tokens=2), adapter=adapter)
        forced = {**(chat.extra_body or {}), "grammar": force}
        return chat.invoke(FRANCE, extra_body=forced).response_metadata["logprob"]

    assert abs(here("red") - here(None)) > 1
    for adapter in ("red", None, "red"):
        assert there(adapter) == pytest.approx(here(adapter), abs=0.4)
    with pytest.raises(UnknownAdapter, match="unknown adapter 'rad'; available: red"):
        remote.chat(adapter="rad")


def test_options_come_back_unwrapped(remote: RemoteEngine) -> None:
    options = ["a label", 'with "quotes"', "Größe"]
    chosen = remote.constrain(OneOf(options))
    chat = remote.chat(Sampling(max_tokens=2))
    assert chat.invoke(FRANCE, **chosen).content in options
    assert "".join(str(part.content) for part in chat.stream(FRANCE, **chosen)) in options


def test_json_fits_and_cut_off_json_says_so(remote: RemoteEngine) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}, "required": ["n"]}
    constraint = remote.constrain(Json(schema | {"additionalProperties": False}))
    said = remote.chat(Sampling(max_tokens=60)).invoke(FRANCE, **constraint)
    assert set(json.loads(str(said.content))) == {"n"}
    cut = remote.chat(Sampling(max_tokens=2)).invoke(FRANCE, **constraint)
    assert cut.response_metadata["finish_reason"] == "length"


def test_quotes_are_left_free(remote: RemoteEngine) -> None:
    assert remote.constrain(Quote(["some text"])) == {}


def test_errors_are_metiers(served: LlamaEngine, remote: RemoteEngine) -> None:
    with pytest.raises(ContextOverflow, match="exceeds the available context size"):
        remote.chat().invoke([("user", "hi " * 1000)])
    with pytest.raises(ContextOverflow):
        list(remote.chat().stream([("user", "hi " * 1000)]))
    with pytest.raises(EngineError, match="Invalid API Key"):
        open_engine(f"{served.server.address}/v1", "smollm2", api_key="wrong")
    with pytest.raises(EngineError, match=r"no model server at http://127\.0\.0\.1:9/v1"):
        open_engine("http://127.0.0.1:9/v1", "smollm2")


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "metier.specialists.engines.remote", raising=False)
    monkeypatch.setitem(sys.modules, "langchain_openai", None)
    with pytest.raises(MissingExtra, match=re.escape(install_line("remote"))):
        importlib.import_module("metier.specialists.engines.remote")


class ActsLikeVllm(BaseHTTPRequestHandler):
    """Lists a base and an adapter; answers with the body that it got."""

    def do_GET(self) -> None:
        listed = [{"id": "org/base", "object": "model"}, {"id": "law", "object": "model", "parent": "org/base"}]
        self._send(200 if self.path == "/v1/models" else 404, {"object": "list", "data": listed})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": json.dumps(body)}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        self._send(200, {"id": "1", "object": "chat.completion", "created": 0, "choices": [choice], "usage": usage})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server for an engine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def address() -> Iterator[str]:
    with listening(ActsLikeVllm) as found:
        yield found


class PassesOn(BaseHTTPRequestHandler):
    """llama-server without a key: everything goes on to the embedded engine's own server."""

    behind: LlamaEngine

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {"Authorization": f"Bearer {self.behind.server.key}", "Content-Type": "application/json"}
        try:
            asked = Request(f"{self.behind.server.address}{self.path}", body or None, headers)
            status, data = 200, urlopen(asked).read()
        except HTTPError as error:
            status, data = error.code, error.read()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def test_a_team_on_a_server_is_evaluated(served: LlamaEngine, tmp_path: Path, models: ModelStore) -> None:
    """The base and the adapter on the card, each asked there; without an adapter only the base."""
    rows = [{"input": "a red rose", "answer": "red"}, {"input": "a blue sky", "answer": "blue"}]
    (tmp_path / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common: dict[str, Any] = {"style": "label", "labels": ["red", "blue"], "evaluation": "held_out.jsonl"}
    cards = [
        SpecialistCard(name="sorter", description="Sorts by colour.", model=ModelCard(adapter="red"), **common),
        SpecialistCard(name="plain", description="Sorts by colour too.", **common),
    ]
    PassesOn.behind = served
    with listening(PassesOn) as address:
        card = TeamCard(name="sorters", engine=address, specialists=[c.name for c in cards])
        plan = Blueprint.of(card, cards, tmp_path)
        build(plan, store=models)
        with open_evaluation(plan, no_progress, store=models) as bench:
            report = compare(bench, ["sorter", "plain"])
    systems = {s.specialist: [system.system for system in s.systems] for s in report.specialists}
    assert systems == {"sorter": ["base", "adapter"], "plain": ["base"]}
    base, adapter = report.specialists[0].systems
    assert base.version != adapter.version
    results = [*base.results, *adapter.results]
    assert all(r.text in ("red", "blue") and r.output_tokens for r in results)
    assert len(results) == 4


def test_adapters_that_are_models_are_named_as_model(address: str) -> None:
    engine = open_engine(address, "smollm2-135m")
    assert engine.adapters == ("law",)

    def sent(adapter: str | None, **more: Any) -> dict[str, Any]:
        return json.loads(str(engine.chat(Sampling(seed=5), adapter=adapter).invoke("hello", **more).content))

    assert (sent("law")["model"], sent(None)["model"]) == ("law", "org/base")
    body = sent("law", **engine.constrain(Json({"type": "object"})))
    assert (body["seed"], body["temperature"], body["max_completion_tokens"]) == (5, 0.0, 96)
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    with pytest.raises(EngineError, match="did not keep to the options"):
        engine.chat().invoke("hello", **engine.constrain(OneOf(["a", "b"])))
    engine.close()
