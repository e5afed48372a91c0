"""Any OpenAI-compatible server: vLLM, SGLang, LoRAX, llama-server, or a hosted service."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit, urlunsplit

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import Field
from tenacity import AsyncRetrying, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from ...core.errors import ContextOverflow, EngineError, MissingExtra
from ..prompt import neutralise
from .engine import GREEDY, Constraint, Json, OneOf, Sampling, as_chunk, certainty, check_adapter

try:
    import openai
    from langchain_openai import ChatOpenAI
except ImportError as error:
    raise MissingExtra("langchain-openai", "remote") from error

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

_WRAPPED = "answer"
"""Schemas for the OpenAI API must be objects: an option travels as the value of this property."""


_FORMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "response_format": lambda schema: {
        "type": "json_schema",
        "json_schema": {"name": _WRAPPED, "schema": schema, "strict": True},
    },
    "structured_outputs": lambda schema: {"json": schema},  # vLLM from 0.12 on
    "guided_json": lambda schema: schema,  # vLLM before
}
"""How a schema may be asked for, the usual way first. The next one is tried when a server says that it does not know
that field."""


class _Loading(NamedTuple):
    """How a kind of server is told to load an adapter, and asked for it."""

    below_v1: bool
    """Whether it is told below `/v1`, or beside it."""
    start: str
    """How the server has to be started for that."""
    by_model: bool
    """Whether a request names the adapter as its model, and not as `lora_path`."""


_LOADING = {
    "vllm": _Loading(True, "vllm serve … --enable-lora, with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True", by_model=True),
    "sglang": _Loading(False, "sglang.launch_server … --enable-lora --max-lora-rank 64", by_model=False),
}
"""By `owned_by` of the models that the server lists."""


class RemoteEngine:
    """One base and its adapters on a server. An `Engine`.

    Adapters are those that the server tells of: as models of their own (vLLM: the adapter's name is the request's
    `model`), or as llama-server's numbered adapters (sent as `lora` with each request). vLLM and SGLang can also be
    given some: they are loaded when this opens, and again when the server turns out to have been started anew.

    Args:
        base_url: The server's address, up to and with `/v1`.
        model: Name of the base there; when the server does not list it, the first model that is no adapter.
        adapters: Name to PEFT folder, as the server sees it. A name always stands for the same weights: the server's
            cache of prompts goes by the name, and would answer with the old ones.
        api_key: For servers that ask for one.
        context: Window in tokens; left out, what the server tells, else 4096.
        timeout: Seconds for one request.
        patience: Seconds for which a request is tried again while the server is busy or away.

    Raises:
        EngineError: The server cannot be reached or refuses, or it does not load an adapter.
    """

    name = "remote"

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        adapters: Mapping[str, Path] | None = None,
        *,
        api_key: str | None = None,
        context: int | None = None,
        timeout: float = 60.0,
        patience: float = 10.0,
    ) -> None:
        self._settings = {"base_url": base_url, "api_key": api_key or "none", "timeout": timeout, "max_retries": 0}
        self._client = openai.OpenAI(**self._settings)
        self._root = urlunsplit(urlsplit(base_url)._replace(path=""))
        self.retrying: dict[str, Any] = {
            "retry": retry_if_exception(_passing),
            "stop": stop_after_delay(patience),
            "wait": wait_random_exponential(multiplier=0.2, max=5),
            "reraise": True,
        }
        self.forms = list(_FORMS)
        served = self._served(base_url)
        bases = [name for name, about in served.items() if not about.get("parent")]
        self._base = model if model in bases else bases[0] if bases else model or "default"
        about = served.get(self._base, {})
        self._context = context or about.get("max_model_len") or 4096
        self._loading = _LOADING.get(about.get("owned_by", ""))
        self._numbers = self._numbered()
        self._given = dict(adapters or {})
        known = tuple(self._numbers) or tuple(name for name in served if name != self._base)
        self._adapters = tuple(dict.fromkeys((*known, *self._given)))
        for name in self._given.keys() - known:
            self.load(name)

    def _served(self, base_url: str) -> dict[str, dict[str, Any]]:
        """The server's models, by name."""
        try:
            return {model.id: model.model_dump() for model in self._client.models.list()}
        except openai.OpenAIError as error:
            raise EngineError(f"no model server at {base_url}: {error}", hint="is it running, with /v1?") from error

    def load(self, name: str) -> None:
        """Have the server load one of the adapters that this engine was given; it may have it already.

        Raises:
            EngineError: It does not.
        """
        how = self._loading
        if how is None:
            told = " or ".join(_LOADING)
            raise EngineError(
                f"this server loads no adapters while it runs; {told} would", hint="`engine:` in team.yaml"
            )
        folder = self._given[name]
        try:
            self._tell(how, "load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        except openai.APIStatusError as error:
            if "already" in error.message and name in error.message:
                return
            unknown_page = isinstance(error, openai.NotFoundError) and str(folder) not in error.message
            hint = how.start if unknown_page else "does the server see that folder? `server.seen_as` in team.yaml"
            raise EngineError(
                f"the server does not load adapter '{name}' of {folder}: {_said(error)}", hint=hint
            ) from error
        except openai.OpenAIError as error:
            raise EngineError(f"the model server failed: {error}") from error
        _log.info("the server has loaded adapter %s", name)

    def unload(self, name: str) -> None:
        """Have the server forget an adapter; nothing happens when it does not have it, or cannot.

        Raises:
            EngineError: The server failed.
        """
        if self._loading is None:
            return
        try:
            self._tell(self._loading, "unload_lora_adapter", {"lora_name": name})
        except (openai.NotFoundError, openai.BadRequestError):
            return
        except openai.OpenAIError as error:
            raise EngineError(f"the model server failed: {error}") from error

    def _tell(self, how: _Loading, page: str, body: dict[str, Any]) -> None:
        root = str(self._client.base_url).rstrip("/")
        url = f"{root}/{page}" if how.below_v1 else f"{root.removesuffix('/v1')}/{page}"
        Retrying(**self.retrying)(self._client.post, url, cast_to=object, body=body)

    def reload(self, adapter: str | None, error: openai.APIStatusError) -> bool:
        """After a refusal: load the adapter once more, if the server has lost it. Says whether to ask again."""
        lost = isinstance(error, openai.NotFoundError | openai.BadRequestError) and adapter in self._given
        if not lost or adapter is None or adapter not in error.message:
            return False
        self.load(adapter)
        return True

    def reform(self, error: openai.APIStatusError) -> bool:
        """After a refusal: ask for a schema in the next form, if this one is not known. Says whether to ask again."""
        refused = next((form for form in _FORMS if form in str(error)), None)
        if error.status_code not in (400, 422) or refused is None:
            return False
        if refused == self.forms[0] and len(self.forms) > 1:
            self.forms.pop(0)
        return refused not in self.forms

    @property
    def context(self) -> int:
        return self._context

    @property
    def adapters(self) -> tuple[str, ...]:
        return self._adapters

    def chat(self, sampling: Sampling = GREEDY, *, adapter: str | None = None, slot: str | None = None) -> RemoteChat:
        check_adapter(adapter, self._adapters)
        extra: dict[str, Any] = {}
        if self._numbers:
            extra["lora"] = [{"id": n, "scale": float(name == adapter)} for name, n in self._numbers.items()]
        by_path = bool(adapter) and self._loading is not None and not self._loading.by_model
        if by_path:
            extra["lora_path"] = adapter
        return RemoteChat(
            engine=self,
            adapter=adapter,
            model=adapter if adapter and not self._numbers and not by_path else self._base,
            max_completion_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            seed=sampling.seed,
            logprobs=True,
            top_logprobs=1,
            stream_usage=True,
            use_responses_api=False,
            extra_body=extra or None,
            **self._settings,
        )

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        """A JSON Schema for `OneOf` and `Json`; a `Quote` is left free, its caller verifies it."""
        if isinstance(constraint, OneOf):
            wrapped = {"type": "object", "properties": {_WRAPPED: {"enum": list(constraint.options)}}}
            closed = wrapped | {"required": [_WRAPPED], "additionalProperties": False}
            # A server may print JSON wide; the schema ends the answer in any case.
            room = max(len(option.encode()) for option in constraint.options) + 32
            return {"schema": closed, "unwrap": True, "max_tokens": room}
        if isinstance(constraint, Json):
            return {"schema": dict(constraint.schema)}
        return {}

    def count(self, text: str) -> int:
        """An estimate, rather too high: the API has no way to ask. Three bytes of UTF-8 are one token here."""
        return len(text.encode()) // 3 + 1

    def close(self) -> None:
        self._client.close()

    def _numbered(self) -> dict[str, int]:
        """llama-server's adapters, by the name of their file; other servers have no such page."""
        try:
            found = self._client.get(f"{self._root}/lora-adapters", cast_to=object)
        except openai.OpenAIError:
            return {}
        listed = found if isinstance(found, list) else []
        return {PurePath(adapter["path"]).stem: adapter["id"] for adapter in listed}


class RemoteChat(ChatOpenAI):
    """Made by `RemoteEngine.chat`.

    A call takes `schema`, a JSON Schema for the answer, and `unwrap`: the answer is the value of its property
    `answer` alone.
    """

    engine: Any = Field(exclude=True, repr=False)
    adapter: str | None = None

    def _get_request_payload(
        self, input_: LanguageModelInput, *, schema: dict[str, Any] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload = super()._get_request_payload(input_, **kwargs)
        for message in payload["messages"]:
            if isinstance(message.get("content"), str):
                message["content"] = neutralise(message["content"])
        if schema is not None:
            # As extra body: the client raises on a cut-off answer when it knows of a response_format.
            form = self.engine.forms[0]
            payload["extra_body"] = {**(payload.get("extra_body") or {}), form: _FORMS[form](schema)}
        return payload

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        unwrap: bool = False,
        **kwargs: Any,
    ) -> ChatResult:
        own = super()._generate
        return _told(self._patiently(lambda: own(messages, stop, run_manager, **kwargs)), unwrap)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        unwrap: bool = False,
        **kwargs: Any,
    ) -> ChatResult:
        own = super()._agenerate

        async def ask() -> ChatResult:
            return await own(messages, stop, run_manager, **kwargs)

        return _told(await self._apatiently(ask), unwrap)

    def _stream(self, *args: Any, unwrap: bool = False, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        if unwrap:
            yield _as_stream(self._generate(*args, unwrap=True, **kwargs))
            return
        logprobs: list[float] = []
        own = super()._stream

        def begin() -> tuple[ChatGenerationChunk, Iterator[ChatGenerationChunk]]:
            chunks = own(*args, **kwargs)
            return next(chunks), chunks

        first, rest = self._patiently(begin)
        yield _with_certainty(first, logprobs)
        with _translated():
            for chunk in rest:
                yield _with_certainty(chunk, logprobs)

    async def _astream(self, *args: Any, unwrap: bool = False, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        if unwrap:
            yield _as_stream(await self._agenerate(*args, unwrap=True, **kwargs))
            return
        logprobs: list[float] = []
        own = super()._astream

        async def begin() -> tuple[ChatGenerationChunk, AsyncIterator[ChatGenerationChunk]]:
            chunks = own(*args, **kwargs)
            return await anext(chunks), chunks

        first, rest = await self._apatiently(begin)
        yield _with_certainty(first, logprobs)
        with _translated():
            async for chunk in rest:
                yield _with_certainty(chunk, logprobs)

    def _patiently(self, ask: Callable[[], _Result]) -> _Result:
        """What the server says; asked again while it is busy or away, and in another way where that mends a refusal."""
        reloaded = False
        with _translated():
            while True:
                try:
                    return Retrying(**self.engine.retrying)(ask)
                except openai.APIStatusError as error:
                    if self.engine.reform(error):
                        continue
                    if reloaded or not self.engine.reload(self.adapter, error):
                        raise
                    reloaded = True

    async def _apatiently(self, ask: Callable[[], Awaitable[_Result]]) -> _Result:
        """`_patiently` for asynchronous callers."""
        reloaded = False
        with _translated():
            while True:
                try:
                    return await AsyncRetrying(**self.engine.retrying)(ask)
                except openai.APIStatusError as error:
                    if self.engine.reform(error):
                        continue
                    if reloaded or not await asyncio.to_thread(self.engine.reload, self.adapter, error):
                        raise
                    reloaded = True


def _told(result: ChatResult, unwrap: bool) -> ChatResult:
    """The server's answer in the form that `Engine.chat` promises."""
    message, info = result.generations[0].message, result.generations[0].generation_info or {}
    message.response_metadata.pop("logprobs", None)
    message.response_metadata |= certainty(_logprobs(info.pop("logprobs", None)))
    if unwrap:
        message.content = _unwrapped(message.text)
    return result


def _as_stream(result: ChatResult) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=as_chunk(result.generations[0].message))


def _with_certainty(chunk: ChatGenerationChunk, logprobs: list[float]) -> ChatGenerationChunk:
    """The chunk, its probabilities moved to `logprobs`; the last one tells how sure the answer is."""
    logprobs += _logprobs((chunk.generation_info or {}).pop("logprobs", None))
    if isinstance(chunk.message, AIMessageChunk) and chunk.message.usage_metadata:
        chunk.message.response_metadata |= certainty(logprobs)
    return chunk


@contextmanager
def _translated() -> Iterator[None]:
    """The client's errors as metier's."""
    try:
        yield
    except openai.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        if "exceed_context_size_error" in str(body.get("type")) or "context_length" in str(body.get("code")):
            raise ContextOverflow(f"the server says: {error.message}", hint="shorten the prompt") from error
        raise EngineError(f"the server refused the request: {_said(error)}") from error
    except openai.OpenAIError as error:
        raise EngineError(f"the model server failed: {error}") from error


def _passing(error: BaseException) -> bool:
    """Whether the same request may work a moment later."""
    if isinstance(error, openai.APITimeoutError):
        return False  # it was waited for long enough
    busy = isinstance(error, openai.APIStatusError) and error.status_code in (408, 425, 429, 502, 503, 504)
    return busy or isinstance(error, openai.APIConnectionError)


def _said(error: openai.APIStatusError) -> str:
    """The server's own words: vLLM has them under `message`, SGLang under `error_message`."""
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or body.get("error_message") or error.message)


def _unwrapped(text: str) -> str:
    try:
        return str(json.loads(text)[_WRAPPED])
    except (ValueError, KeyError, TypeError) as error:
        hint = "does it support response_format with json_schema?"
        raise EngineError(f"the server did not keep to the options, it says: {text!r}", hint=hint) from error


def _logprobs(found: dict[str, Any] | None) -> list[float]:
    return [token["logprob"] for token in (found or {}).get("content") or []]
