"""llama.cpp's server inside this process, with errors of ours instead of silence and error objects.

Requests and answers are the dicts of its OpenAI-like API (tools/server/README.md of llama.cpp).
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import xllamacpp

from ...core.errors import ContextOverflow, EngineError

Body = dict[str, Any]
Receive = Callable[[Body], None]
"""Takes one streamed part; whatever it raises ends the request."""

_native: Any = xllamacpp
_QUIET, _LOUD = -1, 3


class LlamaServer:
    """One loaded base with its adapters. Thread-safe; other Python threads run while it works.

    It also listens on a loopback port of its own choosing (`address`), closed to whoever does not have the random
    `key` of this object.

    Raises:
        EngineError: A file is missing or is not what llama.cpp can load.
    """

    def __init__(self, gguf: Path, adapters: Sequence[Path], *, context: int, slots: int, threads: int) -> None:
        for path in (gguf, *adapters):
            if not path.is_file():
                raise EngineError(f"no such model file: {path}")
        self.key = secrets.token_hex(16)
        params = _params(gguf, adapters, context=context, slots=slots, threads=threads)
        params.api_keys = [self.key]
        try:
            self._native: Any = _native.Server(params)
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"llama.cpp cannot load {gguf}: {error}", hint="METIER_LOG=1 shows its log") from error
        self.address: str = self._native.listening_address
        # Its loop begins in a thread of its own; a server that is freed before that never ends. One task says it runs.
        self._native.handle_completions({"prompt": "1", "max_tokens": 0})

    def complete(self, body: Body) -> Body:
        """One chat completion.

        Raises:
            ContextOverflow: The prompt is longer than the window of a slot.
            EngineError: llama.cpp refused the request, or the server is closed.
        """
        return _checked(_guarded(self._alive().handle_chat_completions, body))

    def stream(self, body: Body, receive: Receive) -> None:
        """One chat completion in parts; returns after the last one. Raises what `complete` and `receive` raise."""
        failed: list[BaseException] = []

        def take(part: Body) -> bool:
            try:
                receive(_checked(part))
            except BaseException as error:
                failed.append(error)
            return bool(failed)

        _guarded(self._alive().handle_chat_completions, {**body, "stream": True}, take)
        if failed:
            raise failed[0]

    def accepts(self, rule: str) -> bool:
        """Whether a grammar compiles. llama.cpp only logs that one does not, and goes on without it.

        The test: a grammar that demands a sign before the rule yields that sign, whatever the model would say.
        """
        sign = "~"
        head, _, rest = rule.partition("start: ")
        probe = f'{head}start: "{sign}" probed\nprobed: {rest}'
        answer = self._alive().handle_completions({"prompt": "1", "max_tokens": 1, "grammar": probe})
        return _checked(answer)["choices"][0]["text"] == sign

    def get(self, path: str) -> Body:
        """One of the server's own pages, such as `/props`."""
        return self._http("GET", path, None)

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, as it stands inside a message."""
        return self.post("/tokenize", {"content": text})["tokens"]

    def post(self, path: str, body: Body) -> Body:
        """One of the server's own functions, such as `/tokenize`."""
        return self._http("POST", path, json.dumps(body))

    def close(self) -> None:
        """Free it. Calls under way hold their own reference: llama.cpp stops when the last of them has ended."""
        self._native = None

    def _http(self, method: str, path: str, body: str | None) -> Body:
        self._alive()
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            connection.request(method, path, body and body.encode(), headers)
            return _checked(json.loads(connection.getresponse().read()))
        finally:
            connection.close()

    def _alive(self) -> Any:
        native = self._native
        if native is None:
            raise EngineError("this engine is closed", hint="open a new one")
        return native


def _params(gguf: Path, adapters: Sequence[Path], *, context: int, slots: int, threads: int) -> Any:
    params = _native.CommonParams()
    params.model.path, params.model_alias = str(gguf), {gguf.stem}
    # At scale 0: llama.cpp would otherwise apply all adapters to every request that names none.
    params.lora_adapters = [_native.CommonAdapterLoraInfo(str(path), 0.0) for path in adapters]
    params.n_ctx, params.n_parallel = context * slots, slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    # Its RAM prompt cache is keyed by tokens only and would hand one adapter's state to another.
    params.cache_ram_mib = 0
    # No speculative decoding: n-gram drafts quote 1.3 times faster, but llama.cpp reports probability 1 for each
    # accepted token, and confidence is made of these probabilities.
    params.ui, params.endpoint_slots, params.n_threads_http = False, False, 2
    params.verbosity = _LOUD if os.environ.get("METIER_LOG") else _QUIET
    return params


def _guarded(call: Callable[..., Body], *args: Any) -> Body:
    try:
        return call(*args)
    except (RuntimeError, ValueError) as error:
        raise EngineError(f"llama.cpp refused the request: {error}") from error


def _checked(answer: Body) -> Body:
    error = answer.get("error")
    if not error:
        return answer
    if error.get("type") == "exceed_context_size_error":
        asked, window = error["n_prompt_tokens"], error["n_ctx"]
        raise ContextOverflow(
            f"the prompt has {asked} tokens, the window {window}",
            hint=f"shorten it by at least {asked - window + 1} tokens, or open the engine with a larger context",
        )
    raise EngineError(f"llama.cpp: {error.get('message', error)}")
