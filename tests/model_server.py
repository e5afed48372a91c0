"""A model server after the documentation of vLLM (`serving/openai_compatible_server`, `features/lora`) and SGLang
(`advanced_features/lora`): what it lists, loads, refuses and caches; a script takes the place of the model.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, NamedTuple

BASE = "org/base"

Says = Callable[["Asked"], str]


class Asked(NamedTuple):
    """One request that reached the model."""

    adapter: str | None
    weights: str
    """SHA-256 of the adapter's weights; empty for the base."""
    prompt: str
    body: dict[str, Any]


class Refused(Exception):
    """Status, message and type of an error."""


def obedient(asked: Asked) -> str:
    """An answer that tells who wrote it; fits the schema that was asked for."""
    schema = schema_of(asked.body)
    if schema is None:
        return f"{asked.adapter or 'base'} {asked.weights[:6]}".strip()
    found = {name: _value(part) for name, part in schema.get("properties", {}).items()}
    return json.dumps(found)


def schema_of(body: dict[str, Any]) -> dict[str, Any] | None:
    """The schema that an answer must fit, in whichever form it was asked for."""
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        return form["json_schema"]["schema"]
    return (body.get("structured_outputs") or {}).get("json") or body.get("guided_json")


def _value(part: dict[str, Any]) -> Any:
    if "enum" in part:
        return part["enum"][-1]
    return {"string": "text", "integer": 1, "number": 1.0, "boolean": True}.get(part.get("type", ""))


class ModelServer:
    """The server. Use `running`.

    Args:
        kind: Whose manners it has.
        says: The model.
        runtime_loading: vLLM: started with VLLM_ALLOW_RUNTIME_LORA_UPDATING.
        max_rank: vLLM's `--max-lora-rank`.
        unknown: Names of request fields that it refuses, as an older or another server does.
        key: What it asks for as API key.
        sees: What the machine of the server sees at a path; None: the same.
    """

    def __init__(
        self,
        kind: Literal["vllm", "sglang"] = "vllm",
        says: Says = obedient,
        *,
        runtime_loading: bool = True,
        max_rank: int = 16,
        unknown: tuple[str, ...] = (),
        key: str | None = None,
        sees: Callable[[str], str] = str,
    ) -> None:
        self.kind, self.says, self.key = kind, says, key
        self.runtime_loading, self.max_rank, self.unknown, self.sees = runtime_loading, max_rank, unknown, sees
        self.adapters: dict[str, str] = {}
        """Name to the folder from which it was loaded."""
        self.weights: dict[str, str] = {}
        self.prefixes: dict[tuple[str | None, str], str] = {}
        """The prefix cache: adapter's name and prompt to the weights that it was read with."""
        self.asked: list[Asked] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """Every request that told it to load or unload."""
        self.busy = 0
        """So many requests are sent away as one does that is overloaded."""

    def restart(self) -> None:
        """Started anew, it knows none of the adapters that were loaded while it ran."""
        self.adapters.clear()
        self.weights.clear()
        self.prefixes.clear()

    # What it knows.

    def models(self) -> dict[str, Any]:
        """`/v1/models`."""
        base = {"id": BASE, "parent": None, "max_model_len": 2048, "root": BASE}
        loaded = [{"id": name, "parent": BASE, "root": path} for name, path in self.adapters.items()]
        cards = [{"object": "model", "created": 0, "owned_by": self.kind, **card} for card in (base, *loaded)]
        return {"object": "list", "data": cards}

    def load(self, body: dict[str, Any]) -> Any:
        """`load_lora_adapter`."""
        name, path = body.get("lora_name"), body.get("lora_path")
        if not name or not path:
            raise Refused(400, "Both 'lora_name' and 'lora_path' must be provided.", "InvalidUserInput")
        if name in self.adapters and not body.get("load_inplace"):
            raise Refused(400, f"The lora adapter '{name}' has already been loaded.", "InvalidUserInput")
        folder = Path(self.sees(path))
        if not (folder / "adapter_config.json").is_file() or not (folder / "adapter_model.safetensors").is_file():
            raise Refused(404, f"Loading lora {name} failed: No adapter found for {path}", "NotFoundError")
        rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        if rank > self.max_rank:
            message = f"LoRA rank {rank} is greater than max_lora_rank {self.max_rank}."
            raise Refused(400, message, "BadRequestError")
        self.adapters[name] = path
        self.weights[name] = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
        if self.kind == "sglang":
            return {"success": True, "error_message": "", "loaded_adapters": self.adapters}
        return f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, body: dict[str, Any]) -> Any:
        """`unload_lora_adapter`."""
        name = body.get("lora_name") or ""
        if name not in self.adapters:
            raise Refused(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        del self.adapters[name], self.weights[name]
        return {"success": True} if self.kind == "sglang" else f"Success: LoRA adapter '{name}' removed successfully."

    def complete(self, body: dict[str, Any]) -> str:
        """`/v1/chat/completions`: the answer's text."""
        if self.busy:
            self.busy -= 1
            raise Refused(503, "overloaded", "ServiceUnavailable")
        for field in self.unknown:
            if field in body:
                raise Refused(400, f"Extra inputs are not permitted: {field}", "BadRequestError")
        if self.kind == "vllm":
            adapter = None if body["model"] == BASE else body["model"]
            if adapter and adapter not in self.adapters:
                raise Refused(404, f"The model `{adapter}` does not exist.", "NotFoundError")
        else:
            adapter = body.get("lora_path")
            if adapter and adapter not in self.adapters:
                raise Refused(
                    400, f"The following requested LoRA adapters are not loaded: {{'{adapter}'}}", "BadRequest"
                )
        prompt = json.dumps(body["messages"])
        # The trap: what was read under a name is not read again, whatever the weights are by now.
        weights = self.prefixes.setdefault((adapter, prompt), self.weights.get(adapter or "", ""))
        self.asked.append(Asked(adapter, weights, prompt, body))
        return self.says(self.asked[-1])


class _Handler(BaseHTTPRequestHandler):
    server_: ModelServer

    def do_GET(self) -> None:
        pages = {"/v1/models": self.server_.models}
        self._answer(pages.get(self.path, self._nothing))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        own, below = self.server_, "/v1" if self.server_.kind == "vllm" else ""
        if self.path == "/v1/chat/completions":
            self._complete(body)
            return
        pages = {f"{below}/load_lora_adapter": own.load, f"{below}/unload_lora_adapter": own.unload}
        if self.path not in pages or not own.runtime_loading:
            self._answer(self._nothing)
            return
        own.calls.append((self.path.rpartition("/")[2], body))
        self._answer(lambda: pages[self.path](body))

    def _complete(self, body: dict[str, Any]) -> None:
        def answer() -> dict[str, Any]:
            text = self.server_.complete(body)
            logprobs = {"content": [{"token": "t", "logprob": -0.5, "bytes": None, "top_logprobs": []}]}
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": logprobs}
            usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
            about = {"id": "c", "object": "chat.completion", "created": 0, "model": body["model"]}
            return {**about, "choices": [choice], "usage": usage}

        self._answer(answer, stream=bool(body.get("stream")))

    def _nothing(self) -> Any:
        raise Refused(404, None, None)

    def _answer(self, work: Callable[[], Any], *, stream: bool = False) -> None:
        own = self.server_
        try:
            if own.key and self.headers.get("Authorization") != f"Bearer {own.key}":
                raise Refused(401, "Unauthorized", "Unauthorized")
            found = work()
        except Refused as error:
            status, message, kind = error.args
            if message is None:
                self._send(status, {"detail": "Not Found"})
            elif own.kind == "sglang" and "lora_adapter" in self.path:
                self._send(400, {"success": False, "error_message": message, "loaded_adapters": own.adapters})
            else:
                told = {"message": message, "type": kind, "param": None, "code": status}
                self._send(status, {"error": told} if own.kind == "vllm" else {"object": "error", **told})
            return
        if stream:
            self._stream(found)
        else:
            self._send(200, found)

    def _stream(self, whole: dict[str, Any]) -> None:
        choice, parts = whole["choices"][0], []
        for word in choice["message"]["content"].split(" "):
            delta = {"role": "assistant", "content": f"{word} "}
            parts.append(
                {"choices": [{"index": 0, "delta": delta, "logprobs": choice["logprobs"], "finish_reason": None}]}
            )
        parts.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        parts.append({"choices": [], "usage": whole["usage"]})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for part in parts:
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": whole["model"], **part}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, status: int, body: Any) -> None:
        plain = isinstance(body, str)
        data = body.encode() if plain else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if plain else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def running(server: ModelServer, port: int = 0) -> Iterator[str]:
    """The address of the server, up to and with `/v1`."""
    handler = type("Handler", (_Handler,), {"server_": server})
    listening = ThreadingHTTPServer(("127.0.0.1", port), handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/v1"
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
