"""llama.cpp inside this process: one GGUF base, LoRA adapters per request, merged models beside it; no torch."""

from __future__ import annotations

import atexit
import http.client
import json
import os
import queue
import secrets
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import xllamacpp
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata

from ...core.errors import ContextOverflow, EngineError
from ...core.models.gguf import is_model
from ...core.settings import settings
from .chat_model import ChatModel
from .choose import Body, choose
from .engine import GREEDY, Constraint, Json, OneOf, Sampling, Select, certainty, check_adapter, safe_messages
from .grammar import json_grammar, quote_grammar, select_grammar

# llama.cpp's server inside this process, with errors of ours instead of silence and error objects.


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
        props = self.get("/props")
        self.context: int = props["default_generation_settings"]["n_ctx"]
        """Window of a slot, in tokens."""
        self.end: str = props["eos_token"]
        """The token that ends a turn, by its name."""

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


_ASK: Body = {"logprobs": True, "top_logprobs": 1}


class LlamaEngine:
    """One base and its adapters in this process. An `Engine`.

    Args:
        gguf: The base.
        adapters: Name to LoRA in GGUF form, or to a base with its LoRA merged in, which then runs by itself. The set is
            fixed for the life of the engine.
        context: Window of one request in tokens; the model's own window is the upper limit.
        slots: Requests that run side by side, each with memory for a whole window. A merged model has one slot.
        threads: CPU threads; None means `settings().threads`.

    Raises:
        EngineError: A file is missing or is not what llama.cpp can load.
    """

    name = "llama"

    def __init__(
        self,
        gguf: Path,
        adapters: Mapping[str, Path] | None = None,
        *,
        context: int = 4096,
        slots: int = 4,
        threads: int | None = None,
    ) -> None:
        adapters = adapters or {}
        merged = {name: path for name, path in adapters.items() if is_model(path)}
        loras = {name: path for name, path in adapters.items() if name not in merged}
        self._ids = {name: number for number, name in enumerate(loras)}
        self._base = gguf.stem
        self._slots = _Slots(slots)
        self._accepted: set[str] = set()
        serve = partial(LlamaServer, context=context, threads=threads or settings().threads)
        self.server = serve(gguf, [*loras.values()], slots=slots)
        self._merged = {name: serve(path, [], slots=1) for name, path in merged.items()}
        for server in self._servers:
            _close_at_exit(server)

    @property
    def context(self) -> int:
        return self.server.context

    @property
    def adapters(self) -> tuple[str, ...]:
        return (*self._ids, *self._merged)

    def chat(self, sampling: Sampling = GREEDY, *, adapter: str | None = None, slot: str | None = None) -> LlamaChat:
        # llama.cpp answers with the base when it does not know an adapter: refuse here.
        check_adapter(adapter, self.adapters)
        made = partial(LlamaChat, adapter=adapter, sampling=sampling, model_name=adapter or self._base)
        if adapter in self._merged:
            return made(server=self._merged[adapter], body={})
        body: Body = {"lora": [{"id": i, "scale": float(name == adapter)} for name, i in self._ids.items()]}
        return made(server=self.server, body=body, owner=slot, slots=self._slots)

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        """`options` for a choice, `grammar` for the rest.

        Raises:
            EngineError: llama.cpp cannot enforce this JSON Schema.
        """
        if isinstance(constraint, OneOf):
            return {"options": list(constraint.options)}
        if isinstance(constraint, Json):
            return {"grammar": self._schema_grammar(constraint)}
        if isinstance(constraint, Select):
            return {"grammar": select_grammar(constraint.columns, self.server.end)}
        return {"grammar": quote_grammar(constraint, self.server.end)}

    def count(self, text: str) -> int:
        return len(self.server.tokenize(text))

    def close(self) -> None:
        for server in self._servers:
            server.close()

    @property
    def _servers(self) -> tuple[LlamaServer, ...]:
        return (self.server, *self._merged.values())

    def _schema_grammar(self, constraint: Json) -> str:
        rule = json_grammar(constraint.schema, lenient=constraint.lenient)
        if rule not in self._accepted:
            # llama.cpp would say nothing and answer without any constraint.
            if not self.server.accepts(rule):
                raise EngineError(
                    "llama.cpp cannot enforce this JSON Schema",
                    hint="leave out what LLGuidance does not know (not, uniqueItems …); METIER_LOG=1 shows the reason",
                )
            self._accepted.add(rule)
        return rule


class _Slots:
    """Which of llama.cpp's slots a request runs in: the one that knows its owner's last prompt, unless that is at work.
    llama.cpp computes all that are at work together.
    """

    def __init__(self, count: int) -> None:
        # The one that was not used for the longest time stands first.
        self._owners: OrderedDict[int, str | None] = OrderedDict.fromkeys(range(count))
        self._at_work, self._lock = Counter[int](), threading.Lock()

    @contextmanager
    def taken(self, owner: str) -> Iterator[Body]:
        """A slot for a request of this owner, as the request names it. Where all are at work it waits in llama.cpp."""
        with self._lock:
            free = [slot for slot in self._owners if not self._at_work[slot]] or [*self._owners]
            known = next((slot for whose in (owner, None) for slot in free if self._owners[slot] == whose), free[0])
            self._owners[known] = owner
            self._owners.move_to_end(known)
            self._at_work[known] += 1
        try:
            yield {"id_slot": known}
        finally:
            with self._lock:
                self._at_work[known] -= 1


def _close_at_exit(server: LlamaServer) -> None:
    """Stop llama.cpp's threads before the interpreter goes, without keeping the server alive until then."""
    reference = weakref.ref(server)

    def close() -> None:
        if (alive := reference()) is not None:
            alive.close()

    atexit.register(close)


class LlamaChat(ChatModel):
    """Made by `LlamaEngine.chat`."""

    server: LlamaServer
    body: Body
    """What every request of this model has beside its sampling: the adapter."""
    owner: str | None = None
    slots: Any = None

    def _in_slot(self) -> AbstractContextManager[Body]:
        """What a request says of its slot; nothing where nobody is named."""
        return nullcontext({}) if self.owner is None else self.slots.taken(self.owner)

    def _complete(self, messages: list[BaseMessage], stop: Sequence[str], sampling: Sampling, **how: Any) -> AIMessage:
        with self._in_slot() as slot:
            answer = self.server.complete(self._request(messages, stop, sampling, how) | slot)
        choice = answer["choices"][0]
        return AIMessage(
            choice["message"].get("content") or "",
            response_metadata=self._metadata(choice["finish_reason"], _logprobs(choice), answer.get("timings")),
            usage_metadata=_usage(answer["usage"]),
        )

    def _choose(self, messages: list[BaseMessage], options: Sequence[str]) -> AIMessage:
        request = self._request(messages, (), self.sampling, {})
        with self._in_slot() as slot:
            choice = choose(self.server.complete, self.server.tokenize, request | slot, options, self.server.end)
        first, written = choice.answers[0], sum(a["usage"]["completion_tokens"] for a in choice.answers)
        read = first["usage"]["prompt_tokens"]
        usage = first["usage"] | {"completion_tokens": written, "total_tokens": read + written}
        metadata = self._metadata("stop", [choice.logprob], first.get("timings"))
        return AIMessage(
            choice.option,
            response_metadata=metadata | {"probabilities": choice.probabilities},
            usage_metadata=_usage(usage),
        )

    def _write(
        self, messages: list[BaseMessage], stop: Sequence[str], sampling: Sampling, **how: Any
    ) -> Iterator[AIMessageChunk]:
        request = {**self._request(messages, stop, sampling, how), "stream_options": {"include_usage": True}}
        with self._in_slot() as slot:
            yield from self._chunks(_parts(self.server, request | slot))

    def _chunks(self, parts: Iterator[Body]) -> Iterator[AIMessageChunk]:
        logprobs: list[float] = []
        finish = None
        for part in parts:
            choice = (part.get("choices") or [{}])[0]
            logprobs += _logprobs(choice)
            finish = choice.get("finish_reason") or finish
            if text := choice.get("delta", {}).get("content"):
                yield AIMessageChunk(content=text)
            if usage := part.get("usage"):
                metadata = self._metadata(finish, logprobs, part.get("timings"))
                last = AIMessageChunk(content="", response_metadata=metadata, usage_metadata=_usage(usage))
                last.chunk_position = "last"
                yield last

    def _request(
        self, messages: list[BaseMessage], stop: Sequence[str], sampling: Sampling, how: Mapping[str, Any]
    ) -> Body:
        told = {"messages": safe_messages(messages), "stop": list(stop), **asdict(sampling)}
        return {**_ASK, **self.body, **told, **how}

    def _metadata(self, finish: str | None, logprobs: list[float], timings: Body | None) -> Body:
        found = {"model_name": self.model_name, "finish_reason": finish, "timings": timings or {}}
        return found | certainty(logprobs)


def _parts(server: LlamaServer, body: Body) -> Iterator[Body]:
    """The parts of one streamed request. llama.cpp pushes them from inside its call, so that call gets a thread."""
    parts: queue.SimpleQueue[Body | BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def receive(part: Body) -> None:
        parts.put(part)
        # At the end of the program too: Python waits for this thread.
        if stopped.is_set() or not threading.main_thread().is_alive():
            raise GeneratorExit

    def run() -> None:
        try:
            server.stream(body, receive)
            parts.put(None)
        except BaseException as error:
            parts.put(error)

    threading.Thread(target=run, name="metier-stream").start()
    try:
        while (part := parts.get()) is not None:
            if isinstance(part, BaseException):
                raise part
            yield part
    finally:
        stopped.set()


def _logprobs(choice: Mapping[str, Any]) -> list[float]:
    return [token["logprob"] for token in (choice.get("logprobs") or {}).get("content") or []]


def _usage(usage: Mapping[str, Any]) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        total_tokens=usage["total_tokens"],
        input_token_details=InputTokenDetails(cache_read=usage["prompt_tokens_details"]["cached_tokens"]),
    )
