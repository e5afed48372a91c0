"""Any OpenAI-compatible server: vLLM, SGLang, LoRAX, llama-server, or a hosted service."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ...core.errors import EngineError, MissingExtra
from ..constraint import Constraint, Json, OneOf
from .engine import check_adapter

try:
    import openai

    from .remote_chat import WRAPPED, RemoteChat
except ImportError as error:
    raise MissingExtra("langchain-openai", "remote") from error


class RemoteEngine:
    """One base and its adapters on a server. An `Engine`.

    Adapters are those that the server tells of: as models of their own (vLLM, SGLang: the adapter's name is the
    request's `model`), or as llama-server's numbered adapters (sent as `lora` with each request).

    Args:
        base_url: The server's address, up to and with `/v1`.
        model: Name of the base there; when the server does not list it, the first model that is no adapter.
        api_key: For servers that ask for one.
        context: Window in tokens; the API does not tell.
        timeout: Seconds for one request.

    Raises:
        EngineError: The server cannot be reached or refuses.
    """

    name = "remote"

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        context: int = 4096,
        timeout: float = 60.0,
    ) -> None:
        self._client = openai.OpenAI(base_url=base_url, api_key=api_key or "none", timeout=timeout, max_retries=1)
        self._settings = {"base_url": base_url, "api_key": api_key or "none", "timeout": timeout, "max_retries": 1}
        self._context = context
        self._root = urlunsplit(urlsplit(base_url)._replace(path=""))
        try:
            served = {m.id: (m.model_extra or {}).get("parent") for m in self._client.models.list()}
        except openai.OpenAIError as error:
            raise EngineError(f"no model server at {base_url}: {error}", hint="is it running, with /v1?") from error
        bases = [name for name, parent in served.items() if not parent]
        self._base = model if model in bases else bases[0] if bases else model or "default"
        self._numbers = self._numbered()
        self._adapters = tuple(self._numbers) or tuple(name for name in served if name != self._base)

    @property
    def context(self) -> int:
        return self._context

    @property
    def adapters(self) -> tuple[str, ...]:
        return self._adapters

    def chat(
        self,
        *,
        adapter: str | None = None,
        slot: str | None = None,
        max_tokens: int = 96,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> RemoteChat:
        check_adapter(adapter, self._adapters)
        extra = {}
        if self._numbers:
            extra["lora"] = [{"id": n, "scale": float(name == adapter)} for name, n in self._numbers.items()]
        return RemoteChat(
            model=adapter if adapter and not self._numbers else self._base,
            max_completion_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
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
            wrapped = {"type": "object", "properties": {WRAPPED: {"enum": list(constraint.options)}}}
            closed = wrapped | {"required": [WRAPPED], "additionalProperties": False}
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
