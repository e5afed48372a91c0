"""llama.cpp inside this process: one GGUF base, LoRA adapters per request, merged models beside it; no torch."""

from __future__ import annotations

import atexit
import struct
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...core.errors import EngineError
from ...core.settings import settings
from ..constraint import Constraint, Json, OneOf, Select
from . import grammar
from .engine import check_adapter
from .llama_chat import LlamaChat
from .llama_server import LlamaServer

_MODEL = b"general.type" + struct.pack("<IQ", 8, 5) + b"model"
"""How a whole model says what it is, at the beginning of its GGUF: the key, then a text (8) of five letters."""


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
        merged = {name: path for name, path in adapters.items() if _is_model(path)}
        loras = {name: path for name, path in adapters.items() if name not in merged}
        self._ids = {name: number for number, name in enumerate(loras)}
        self._base = gguf.stem
        self._owners: OrderedDict[str, int] = OrderedDict()
        self._free = list(range(slots))
        self._lock = threading.Lock()
        self._accepted: set[str] = set()
        serve = partial(LlamaServer, context=context, threads=threads or settings().threads)
        self.server = serve(gguf, [*loras.values()], slots=slots)
        self._merged = {name: serve(path, [], slots=1) for name, path in merged.items()}
        props = self.server.get("/props")
        self._context: int = props["default_generation_settings"]["n_ctx"]
        self._end: str = props["eos_token"]
        for server in self._servers:
            _close_at_exit(server)

    @property
    def context(self) -> int:
        return self._context

    @property
    def adapters(self) -> tuple[str, ...]:
        return (*self._ids, *self._merged)

    def chat(
        self,
        *,
        adapter: str | None = None,
        slot: str | None = None,
        max_tokens: int = 96,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> LlamaChat:
        # llama.cpp answers with the base when it does not know an adapter: refuse here.
        check_adapter(adapter, self.adapters)
        body: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        if adapter in self._merged:
            return LlamaChat(server=self._merged[adapter], model_name=adapter, body=body)
        body["lora"] = [{"id": i, "scale": 1.0 if name == adapter else 0.0} for name, i in self._ids.items()]
        if slot is not None:
            body["id_slot"] = self._slot(slot)
        return LlamaChat(server=self.server, model_name=adapter or self._base, body=body)

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
            return {"grammar": grammar.select(constraint.columns, self._end)}
        return {"grammar": grammar.quote(constraint.texts, constraint.alternatives, self._end)}

    def count(self, text: str) -> int:
        return len(self.server.tokenize(text))

    def close(self) -> None:
        for server in self._servers:
            server.close()

    @property
    def _servers(self) -> tuple[LlamaServer, ...]:
        return (self.server, *self._merged.values())

    def _schema_grammar(self, constraint: Json) -> str:
        rule = grammar.fits(constraint.schema, lenient=constraint.lenient)
        if rule not in self._accepted:
            # llama.cpp would say nothing and answer without any constraint.
            if not self.server.accepts(rule):
                raise EngineError(
                    "llama.cpp cannot enforce this JSON Schema",
                    hint="leave out what LLGuidance does not know (not, uniqueItems …); METIER_LOG=1 shows the reason",
                )
            self._accepted.add(rule)
        return rule

    def _slot(self, owner: str) -> int:
        """The owner's slot; when all are taken, the one whose owner was not seen for the longest time."""
        with self._lock:
            if owner not in self._owners:
                self._owners[owner] = self._free.pop(0) if self._free else self._owners.popitem(last=False)[1]
            self._owners.move_to_end(owner)
            return self._owners[owner]


def _is_model(gguf: Path) -> bool:
    """Whether a file is a whole model and no adapter."""
    if not gguf.is_file():
        return False
    with gguf.open("rb") as file:
        return _MODEL in file.read(4096)


def _close_at_exit(server: LlamaServer) -> None:
    """Stop llama.cpp's threads before the interpreter goes, without keeping the server alive until then."""
    reference = weakref.ref(server)

    def close() -> None:
        if (alive := reference()) is not None:
            alive.close()

    atexit.register(close)
