"""OpenVINO in this process: one GGUF base, LoRA adapters per request, prompts remembered apart; no torch."""

from __future__ import annotations

import codecs
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from ...core.errors import ContextOverflow, EngineError
from ...core.models.gguf import is_model
from ...core.run import check_cancelled
from ...core.settings import settings
from .chat_model import ChatModel, gathered
from .choose import choose
from .engine import GREEDY, Constraint, Json, OneOf, Sampling, Select, certainty, check_adapter, safe_messages
from .grammar import json_grammar, quote_grammar, select_grammar
from .openvino_model import OpenVinoModel, Reading
from .turns import Turns

_Scores = NDArray[np.float32]

_PART, _TWICE = 512, 400
"""Tokens of a prompt that are read in one turn while others are at work: about a second on two cores. Behind so many
that were read before, a token takes twice as long (attention over what is remembered has a slower product), and so on.
"""
_LITTLE = 64
"""Tokens that are read about as soon as a few are written."""


class Written(NamedTuple):
    """One token of an answer."""

    token: int
    logprobs: _Scores
    """(vocabulary) The model's own, of this position: no constraint, no temperature."""
    cached: int
    """Tokens of the prompt that had been read before."""


class OpenVinoEngine:
    """One base and its adapters in this process. An `Engine`.

    Prompts are remembered for each adapter by itself: a request goes on with the memory that begins as its own prompt
    does, whoever asked before, so that `slot` needs not be told.

    Several requests are written side by side, a token of each in turn (`turns.py`), and a long prompt is read in parts
    between them. They are not computed as one batch: each has its own cache, as long as what it has read.

    Args:
        gguf: The base; converted once, in the cache of models.
        adapters: Name to LoRA in GGUF form, or to a base with its LoRA merged in, which then runs by itself. Where all
            are merged, the base itself is only loaded when somebody asks for it.
        context: Window of one request in tokens; the model's own window is the upper limit.
        slots: Prompts that are remembered, of the base and of each merged model; more requests may be at work.
        threads: CPU threads; None means `settings().threads`.
        cache: Where converted bases are kept.

    Raises:
        EngineError: A file is missing or is not what OpenVINO can load.
        ConfigError: An adapter is no plain LoRA, or one for another base.
    """

    name = "openvino"

    def __init__(
        self,
        gguf: Path,
        adapters: Mapping[str, Path] | None = None,
        *,
        context: int = 4096,
        slots: int = 4,
        threads: int | None = None,
        cache: Path | None = None,
    ) -> None:
        adapters = adapters or {}
        self._adapters, self.base = tuple(adapters), gguf.stem
        merged = {name: path for name, path in adapters.items() if is_model(path)}
        loras = {name: path for name, path in adapters.items() if name not in merged}
        load = partial(OpenVinoModel, threads=threads or settings().threads, cache=cache)
        self._merged = {name: _Desk(load(path, {}), slots) for name, path in merged.items()}
        self._load_base = lambda: _Desk(load(gguf, loras), slots)
        self._base = None if merged and not loras else self._load_base()
        self._opening, self._closed, self._turns = threading.Lock(), False, Turns()
        self._spoken = model = next(iter(self._desks)).model
        self._window = min(context, model.context)
        self._guidance = LLTokenizer(TokenizerWrapper(_Vocabulary(model)))
        self._end = model.tokens[model.end].decode()

    @property
    def context(self) -> int:
        return self._window

    @property
    def adapters(self) -> tuple[str, ...]:
        return self._adapters

    def chat(self, sampling: Sampling = GREEDY, *, adapter: str | None = None, slot: str | None = None) -> OpenVinoChat:
        check_adapter(adapter, self.adapters)
        return OpenVinoChat(engine=self, adapter=adapter, model_name=adapter or self.base, sampling=sampling)

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        """`options` for a choice, `grammar` for the rest.

        Raises:
            EngineError: LLGuidance cannot enforce this JSON Schema.
        """
        if isinstance(constraint, OneOf):
            return {"options": list(constraint.options)}
        if isinstance(constraint, Json):
            rule = json_grammar(constraint.schema, lenient=constraint.lenient)
            if fault := LLMatcher.validate_grammar(rule, self._guidance):
                raise EngineError(f"LLGuidance cannot enforce this JSON Schema: {fault}")
            return {"grammar": rule}
        if isinstance(constraint, Select):
            return {"grammar": select_grammar(constraint.columns, self._end)}
        return {"grammar": quote_grammar(constraint, self._end)}

    def count(self, text: str) -> int:
        return len(self.model.ids(text))

    def close(self) -> None:
        with self._opening:
            self._closed = True
            for desk in self._desks:
                desk.close()
            self._base, self._spoken = None, None
            self._merged.clear()

    @property
    def model(self) -> OpenVinoModel:
        """A model with the base's vocabulary; raises EngineError after `close`."""
        if self._spoken is None:
            raise _closed()
        return self._spoken

    @property
    def _desks(self) -> list[_Desk]:
        return [*self._merged.values(), *([self._base] if self._base else [])]

    def _desk(self, adapter: str | None) -> _Desk:
        """Where an adapter's requests are written; the base is loaded when it is asked for."""
        with self._opening:
            if self._closed:
                raise _closed()
            if adapter in self._merged:
                return self._merged[adapter]
            self._base = self._base or self._load_base()
            return self._base

    def write(
        self, adapter: str | None, ids: Sequence[int], sampling: Sampling, rule: str | None, *, cache: bool = True
    ) -> Iterator[Written]:
        """The answer's tokens as they are written, the end of the turn included.

        Args:
            ids: The prompt.
            rule: A grammar for LLGuidance.
            cache: Whether what was read before may be used.

        Raises:
            ContextOverflow: The prompt leaves no room.
            EngineError: The engine is closed, or the grammar is not understood.
            Cancelled: The run was called off; asked before each step.
        """
        end, room = self.model.end, self._window - len(ids)
        if room <= 0:
            asked = f"the prompt has {len(ids)} tokens, the window {self._window}"
            more = f"shorten it by at least {1 - room} tokens, or open the engine with a larger context"
            raise ContextOverflow(asked, hint=more)
        matcher = self._matcher(rule) if rule is not None else None
        chance = np.random.default_rng(sampling.seed)
        desk = self._desk(adapter)
        adapter = None if adapter in self._merged else adapter
        with desk.reading(adapter, ids) as reading:
            # A prompt read in two parts gives slightly other scores than in one, and chance would answer otherwise.
            cached = reading.start(adapter, ids, fresh=not cache or sampling.temperature > 0)
            unread = list(ids[cached:])
            for _ in range(min(sampling.max_tokens, room)):
                scores = self._read(reading, unread, whole=sampling.temperature > 0)
                token = _pick(_allowed(scores, matcher), sampling.temperature, chance)
                yield Written(token, _log_softmax(scores), cached)
                if token == end:
                    return
                if matcher is not None:
                    matcher.consume_token(token)
                unread = [token]

    def _read(self, reading: Reading, ids: Sequence[int], *, whole: bool) -> _Scores:
        """As `Reading.read`, in turn with the others; in parts while there are any, unless `whole`.

        Nobody has a turn while it waits for its caller, so that one who is slow, or gone, keeps nobody waiting.
        """
        at = 0
        while True:
            with self._turns.turn(long=len(ids) - at > _LITTLE):
                check_cancelled()
                alone = sum(desk.at_work for desk in self._desks) <= 1
                part = len(ids) if whole or alone else max(1, int(_PART / (1 + len(reading.tokens) / _TWICE)))
                scores = reading.read(ids[at : at + part])
            at += part
            if at >= len(ids):
                return scores

    def _matcher(self, rule: str) -> Any:
        matcher = LLMatcher(self._guidance, rule)
        if matcher.is_error():
            raise EngineError(f"LLGuidance cannot enforce this grammar: {matcher.get_error()}")
        return matcher


def _closed() -> EngineError:
    return EngineError("this engine is closed", hint="open a new one")


class _Desk:
    """A loaded model and what its requests have read."""

    def __init__(self, model: OpenVinoModel, slots: int) -> None:
        self.model, self._slots = model, slots
        # The one that was not used for the longest time stands first.
        self._free: list[Reading] | None = [Reading(model) for _ in range(slots)]
        self._lock, self.at_work = threading.Lock(), 0

    @contextmanager
    def reading(self, adapter: str | None, ids: Sequence[int]) -> Iterator[Reading]:
        """The free memory that knows most of this prompt, else the one that was not used for the longest time; where
        none is free a new one, so that nobody waits for it."""
        with self._lock:
            if self._free is None:
                raise _closed()
            reading = max(self._free, key=lambda one: one.common(adapter, ids), default=None)
            if reading is None:
                reading = Reading(self.model)
            else:
                self._free.remove(reading)
            self.at_work += 1
        try:
            yield reading
        finally:
            with self._lock:
                self.at_work -= 1
                if self._free is not None:
                    self._free = [*self._free, reading][-self._slots :]

    def close(self) -> None:
        """Free the memory of what is not being written; the rest goes when it is written."""
        with self._lock:
            self._free = None


class _Vocabulary:
    """A base's tokens, as LLGuidance asks for them."""

    bos_token_id = None

    def __init__(self, model: OpenVinoModel) -> None:
        self.eos_token_id, self.special_token_ids = model.end, sorted(model.special)
        self.tokens = model.tokens
        self._ids = model.ids

    def __call__(self, text: bytes) -> list[int]:
        return self._ids(text.decode())


class OpenVinoChat(ChatModel):
    """Made by `OpenVinoEngine.chat`. With `cache_prompt=False` the whole prompt is read again."""

    engine: OpenVinoEngine

    def _complete(self, messages: list[BaseMessage], stop: Sequence[str], sampling: Sampling, **how: Any) -> AIMessage:
        return gathered(self._write(messages, stop, sampling, **how))

    def _write(
        self,
        messages: list[BaseMessage],
        stop: Sequence[str],
        sampling: Sampling,
        *,
        grammar: str | None = None,
        cache_prompt: bool = True,
        **how: Any,
    ) -> Iterator[AIMessageChunk]:
        model, ids, text, finish = self.engine.model, self._ids(messages), _Text(stop), "length"
        cached, logprobs = 0, []
        for written in self.engine.write(self.adapter, ids, sampling, grammar, cache=cache_prompt):
            token, cached = written.token, written.cached
            logprobs.append(float(written.logprobs[token]))
            if part := text.add(b"" if token in model.special else model.tokens[token]):
                yield AIMessageChunk(content=part)
            if token == model.end or text.stopped:
                finish = "stop"
                break
        if part := text.rest():
            yield AIMessageChunk(content=part)
        yield AIMessageChunk(
            content="",
            response_metadata=self._metadata(finish, logprobs),
            usage_metadata=_usage(len(ids), len(logprobs), cached),
            chunk_position="last",
        )

    def _choose(self, messages: list[BaseMessage], options: Sequence[str]) -> AIMessage:
        ids = self._ids(messages)
        choice = choose(lambda body: self._told(ids, body), self.engine.model.ids, {}, options)
        written = sum(len(answer["choices"][0]["logprobs"]["content"]) for answer in choice.answers)
        return AIMessage(
            choice.option,
            response_metadata=self._metadata("stop", [choice.logprob]) | {"probabilities": choice.probabilities},
            usage_metadata=_usage(len(ids), written, choice.answers[0]["cached"]),
        )

    def _told(self, ids: list[int], body: Mapping[str, Any]) -> dict[str, Any]:
        """What `choose` asks for, in the form of llama.cpp's server."""
        model, content, cached = self.engine.model, [], 0

        def one(token: int, scores: _Scores) -> dict[str, Any]:
            piece = b"" if token in model.special else model.tokens[token]
            return {"id": token, "bytes": list(piece), "logprob": float(scores[token])}

        sampling, watched = Sampling(max_tokens=body["max_tokens"]), body["top_logprobs"]
        for written in self.engine.write(self.adapter, ids, sampling, body["grammar"]):
            scores, cached = written.logprobs, written.cached
            best = np.argpartition(-scores, watched)[:watched]
            content.append(one(written.token, scores) | {"top_logprobs": [one(int(other), scores) for other in best]})
        return {"choices": [{"logprobs": {"content": content}}], "cached": cached}

    def _ids(self, messages: list[BaseMessage]) -> list[int]:
        model = self.engine.model
        return model.ids(model.tokenizer.apply_chat_template(safe_messages(messages), add_generation_prompt=True))

    def _metadata(self, finish: str, logprobs: list[float]) -> dict[str, Any]:
        return {"model_name": self.model_name, "finish_reason": finish} | certainty(logprobs)


class _Text:
    """An answer's bytes as text, given on as soon as no more of it can belong to a character or a stop word."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop, self._held = stop, ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.stopped = False

    def add(self, piece: bytes) -> str:
        """What can be shown now."""
        self._held += self._decoder.decode(piece)
        if ends := [at for word in self._stop if (at := self._held.find(word)) >= 0]:
            self.stopped, self._held = True, self._held[: min(ends)]
        longest = max(map(len, self._stop), default=1) - 1
        return self._give(len(self._held) - (0 if self.stopped else longest))

    def rest(self) -> str:
        """What is left at the end."""
        if not self.stopped:
            self._held += self._decoder.decode(b"", final=True)
        return self._give(len(self._held))

    def _give(self, length: int) -> str:
        cut = max(0, length)
        given, self._held = self._held[:cut], self._held[cut:]
        return given


def _allowed(scores: _Scores, matcher: Any) -> _Scores:
    """The scores, minus infinity where the grammar forbids a token."""
    if matcher is None:
        return scores
    allowed = np.frombuffer(matcher.compute_logit_bias(), np.uint8).astype(bool)
    masked = np.full_like(scores, -np.inf)
    masked[: len(allowed)][allowed] = scores[: len(allowed)][allowed]
    return masked


def _pick(scores: _Scores, temperature: float, chance: np.random.Generator) -> int:
    if temperature <= 0:
        return int(scores.argmax())
    # The Gumbel-max trick draws from softmax(scores / temperature).
    return int((scores / temperature + chance.gumbel(size=len(scores))).argmax())


def _log_softmax(scores: _Scores) -> _Scores:
    top = scores.max()
    return scores - top - np.log(np.exp(scores - top).sum())


def _usage(read: int, written: int, cached: int) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=read,
        output_tokens=written,
        total_tokens=read + written,
        input_token_details=InputTokenDetails(cache_read=cached),
    )
