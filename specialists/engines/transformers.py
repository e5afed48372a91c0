"""transformers and PEFT in this process: every kind of adapter, and what other engines are checked against."""

from __future__ import annotations

import copy
import math
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata

from ...core.errors import ContextOverflow, EngineError, MissingExtra
from ...core.settings import settings
from ..adapters.folder import AdapterFolder, open_adapter
from ..prompt import Message
from .chat_model import ChatModel
from .engine import GREEDY, Constraint, Json, OneOf, Sampling, Select, certainty, check_adapter, safe_messages
from .grammar import json_grammar, quote_grammar, select_grammar

try:
    import llguidance.hf
    import torch
    from llguidance import LLMatcher, LLTokenizer
    from peft import PeftModel
    from transformers import (
        GenerationConfig,
        LogitsProcessor,
        LogitsProcessorList,
        PreTrainedModel,
        StoppingCriteria,
        StoppingCriteriaList,
    )

    from .unpack import load_base, load_tokenizer
except ImportError as error:
    raise MissingExtra(f"the engine 'transformers' ({error.name})", "train") from error


_PLAIN_BASE = "__base__"
"""PEFT's name for a row of a batch that wants no adapter."""
_MOST_TOGETHER = 16
"""Answers that are written together."""


class TransformersEngine:
    """One base and its adapters, of whatever kind PEFT reads. An `Engine`, on CUDA where there is a device.

    Weights are fp32, and each prompt is read from its beginning: llama.cpp is several times faster where it can be
    used. Requests that wait are answered together, whichever plain LoRAs they want (or none); those for adapters of
    other kinds, and those that leave something to chance, one by one.

    Args:
        gguf: The base; unpacked as for training.
        adapters: Name to PEFT folder. They share the base's weights.
        context: Window of one request in tokens; the model's own window is the upper limit.
        threads: CPU threads; None means `settings().threads`.
        cache: Where unpacked bases are kept.

    Raises:
        ConfigError, IntegrityError: a folder is no adapter that may be trusted.
        EngineError: an adapter is for another base.
        ModelError: transformers cannot read the base.
    """

    name = "transformers"

    def __init__(
        self,
        gguf: Path,
        adapters: Mapping[str, Path] | None = None,
        *,
        context: int = 4096,
        threads: int | None = None,
        cache: Path | None = None,
    ) -> None:
        torch.set_num_threads(threads or settings().threads)
        self._tokenizer = load_tokenizer(gguf, cache)
        self._end: int = self._tokenizer.eos_token_id  # type: ignore[assignment]
        base = load_base(gguf, cache=cache).eval()
        base.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]
        self._models: dict[str | None, PreTrainedModel | PeftModel] = {None: base}
        self._mixed: dict[str | None, str] = {None: _PLAIN_BASE}
        """Adapter to its name in the one model that all plain LoRAs share; the base has one there, too."""
        for name, folder in (adapters or {}).items():
            self._add(name, open_adapter(folder), base)
        self._base = gguf.stem
        self._window = min(context, base.config.max_position_embeddings)
        self._lock, self._waiting = threading.Lock(), list[_Request]()

    def _add(self, name: str, adapter: AdapterFolder, base: PreTrainedModel) -> None:
        if not _is_plain(adapter.config):
            self._models[name] = _adapted(base, adapter.path)
            return
        own = f"a{len(self._mixed)}"  # PEFT takes no period in a name
        first = next(filter(None, self._mixed), None)
        if first is None:
            self._models[name] = _adapted(base, adapter.path, own)
        else:
            shared: Any = self._models[first]
            with _peft_errors(adapter.path):
                shared.load_adapter(str(adapter.path), adapter_name=own)
                _read(shared, torch.zeros((1, 1), dtype=torch.long, device=base.device), adapter_names=[own])
            self._models[name] = shared.eval()
        self._mixed[name] = own

    @property
    def context(self) -> int:
        return self._window

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(name for name in self._models if name)

    def chat(
        self, sampling: Sampling = GREEDY, *, adapter: str | None = None, slot: str | None = None
    ) -> TransformersChat:
        check_adapter(adapter, self.adapters)
        return TransformersChat(engine=self, adapter=adapter, model_name=adapter or self._base, sampling=sampling)

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        """`options` for a choice, `grammar` for the rest. A schema that cannot be enforced is refused by the call."""
        if isinstance(constraint, OneOf):
            return {"options": list(constraint.options)}
        if isinstance(constraint, Json):
            return {"grammar": json_grammar(constraint.schema, lenient=constraint.lenient)}
        end = str(self._tokenizer.eos_token)
        if isinstance(constraint, Select):
            return {"grammar": select_grammar(constraint.columns, end)}
        return {"grammar": quote_grammar(constraint, end)}

    def count(self, text: str) -> int:
        return len(self._ids(text))

    def close(self) -> None:
        self._models.clear()

    def read(self, messages: list[Message]) -> list[int]:
        """The prompt's token ids, as in training."""
        return self._ids(str(self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)))

    def text(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    def ended(self, tokens: list[int]) -> bool:
        """Whether the model came to the end of its turn."""
        return bool(tokens) and tokens[-1] == self._end

    def write(
        self, adapter: str | None, ids: list[int], rule: str | None, sampling: Sampling
    ) -> tuple[list[int], list[float]]:
        """The answer's tokens and the model's own log-probability of each.

        Raises:
            ContextOverflow: the prompt leaves no room.
            EngineError: the engine is closed, or the grammar is not understood.
        """
        room = self._room(self._model(adapter), ids)
        limit = min(sampling.max_tokens, room)
        request = _Request(adapter, ids, Guide(self._guidance, rule, 0) if rule else None, sampling, limit)
        self._waiting.append(request)
        with self._lock:
            if request in self._waiting:  # else somebody has answered it together with theirs
                self._answer(self._together(request))
        if request.error is not None:
            raise request.error
        return request.tokens, request.logprobs

    def _together(self, first: _Request) -> list[_Request]:
        """The requests that are answered now: this one, and those that wait and can be answered with it."""
        others = [r for r in self._waiting if r is not first and self._mixes(r)] if self._mixes(first) else []
        chosen = [first, *others[: _MOST_TOGETHER - 1]]
        for request in chosen:
            self._waiting.remove(request)
        return chosen

    def _mixes(self, request: _Request) -> bool:
        return request.adapter in self._mixed and request.sampling.temperature == 0

    def _answer(self, requests: list[_Request]) -> None:
        """Write the answers of requests that go together."""
        try:
            adapters = (request.adapter for request in requests if request.adapter)
            with torch.no_grad():
                self._write(self._model(next(adapters, None)), requests, requests[0].sampling)
        except BaseException as error:
            for request in requests:
                request.error = error
            if not isinstance(error, Exception):
                raise

    def _write(self, model: Any, requests: list[_Request], sampling: Sampling) -> None:
        chance = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0}
        plan = GenerationConfig(
            max_new_tokens=max(request.limit for request in requests),
            **(chance if sampling.temperature > 0 else {"do_sample": False}),
            eos_token_id=self._end,
            pad_token_id=self._end,
            output_logits=True,
            return_dict_in_generate=True,
        )
        torch.manual_seed(sampling.seed)
        longest = max(len(request.ids) for request in requests)
        rows = [[self._end] * (longest - len(request.ids)) + request.ids for request in requests]
        mask = [[0] * (longest - len(request.ids)) + [1] * len(request.ids) for request in requests]
        ids, seen = torch.tensor(rows, device=model.device), torch.tensor(mask, device=model.device)
        writer, given = _begun(model, ids, seen)
        if isinstance(model, PeftModel) and requests[0].adapter in self._mixed:
            given["adapter_names"] = [self._mixed[request.adapter] for request in requests]
        read = given["input_ids"].shape[1]
        ruled = LogitsProcessorList([_Rules(requests, read, self._end)] if any(r.guide for r in requests) else [])
        stops = StoppingCriteriaList([_Limits(requests, read)])
        written: Any = writer.generate(**given, generation_config=plan, logits_processor=ruled, stopping_criteria=stops)
        logits = torch.stack(written.logits, dim=1)
        for number, request in enumerate(requests):
            tokens = self._own(written.sequences[number, read:], request.limit)
            request.tokens, request.logprobs = tokens.tolist(), _logprobs(logits[number, : len(tokens)], tokens)

    def _own(self, tokens: torch.Tensor, limit: int) -> torch.Tensor:
        """A row without what was written for the others."""
        ends = (tokens[:limit] == self._end).nonzero()
        return tokens[: int(ends[0, 0]) + 1 if len(ends) else limit]

    def weigh(self, adapter: str | None, ids: list[int], option: str) -> list[float]:
        """Log-probability of each token of `option` as the whole answer, the end of the turn included.

        Raises as `write` does.
        """
        answer = torch.tensor([*self._ids(option), self._end])
        model = self._model(adapter)
        self._room(model, ids)
        with self._lock, torch.no_grad():
            whole = torch.cat((torch.tensor(ids), answer))[None].to(model.device)
            mixed = {"adapter_names": [self._mixed[adapter]]} if adapter and adapter in self._mixed else {}
            logits = _read(model, whole, logits_to_keep=len(answer) + 1, **mixed).logits[0, :-1]
        return _logprobs(logits, answer.to(logits.device))

    @cached_property
    def _guidance(self) -> Any:
        return llguidance.hf.from_tokenizer(self._tokenizer, n_vocab=self._model(None).config.vocab_size)

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _model(self, adapter: str | None) -> Any:
        if not self._models:
            raise EngineError("this engine is closed", hint="open a new one")
        return self._models[adapter]

    def _room(self, model: Any, ids: list[int]) -> int:
        read = _learnt_tokens(model) + len(ids)
        if read >= self._window:
            raise ContextOverflow(f"the prompt has {read} tokens, the window {self._window}", hint="shorten the prompt")
        return self._window - read


class TransformersChat(ChatModel):
    """Made by `TransformersEngine.chat`; an answer is streamed as one chunk."""

    engine: TransformersEngine

    def _complete(
        self,
        messages: list[BaseMessage],
        stop: Sequence[str],
        sampling: Sampling,
        *,
        grammar: str | None = None,
        **how: Any,
    ) -> AIMessage:
        engine = self.engine
        ids = engine.read(safe_messages(messages))
        tokens, logprobs = engine.write(self.adapter, ids, grammar, sampling)
        text, finish = engine.text(tokens), "stop" if engine.ended(tokens) else "length"
        for end in stop:
            text, found, _ = text.partition(end)
            finish = "stop" if found else finish
        return self._message(text, finish, len(ids), logprobs)

    def _choose(self, messages: list[BaseMessage], options: Sequence[str]) -> AIMessage:
        """Each option costs one reading of the prompt."""
        ids = self.engine.read(safe_messages(messages))
        weighed = {option: self.engine.weigh(self.adapter, ids, option) for option in options}
        if not weighed:
            raise ValueError("no options to choose from")
        best = max(weighed, key=lambda option: sum(weighed[option]))
        chances = {option: math.exp(sum(found) - sum(weighed[best])) for option, found in weighed.items()}
        total = sum(chances.values())
        message = self._message(best, "stop", len(ids), weighed[best])
        message.response_metadata["probabilities"] = {option: chance / total for option, chance in chances.items()}
        return message

    def _message(self, text: str, finish: str, read: int, logprobs: list[float]) -> AIMessage:
        written = len(logprobs)
        return AIMessage(
            text,
            response_metadata={"model_name": self.model_name, "finish_reason": finish, **certainty(logprobs)},
            usage_metadata=UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written),
        )


class Guide:
    """What LLGuidance allows next, for one answer.

    Raises:
        EngineError: LLGuidance does not understand the grammar.
    """

    def __init__(self, tokenizer: LLTokenizer, grammar: str, read: int) -> None:
        self._matcher = LLMatcher(tokenizer, grammar)
        self._seen = read
        if self._matcher.is_error():
            raise EngineError(f"LLGuidance cannot enforce this grammar: {self._matcher.get_error()}")

    def allowed(self, written: list[int]) -> torch.Tensor:
        """(vocabulary,) which tokens may follow those that were written so far."""
        self._matcher.consume_tokens(written[self._seen :])
        self._seen = len(written)
        return torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8).bool()


@dataclass(eq=False)
class _Request:
    """An answer that is wanted, and then what it is."""

    adapter: str | None
    ids: list[int]
    guide: Guide | None
    sampling: Sampling
    limit: int
    """Tokens."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    error: BaseException | None = None


class _Limits(StoppingCriteria):
    """Each answer ends at its own length."""

    def __init__(self, requests: Sequence[_Request], read: int) -> None:
        self._limits = torch.tensor([request.limit for request in requests])
        self._read = read

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:  # pyright: ignore
        return (input_ids.shape[1] - self._read >= self._limits).to(input_ids.device)


class _Rules(LogitsProcessor):
    """`scores` (answers, vocabulary), minus infinity where an answer's grammar forbids a token."""

    def __init__(self, requests: Sequence[_Request], read: int, end: int) -> None:
        self._requests, self._read, self._end = requests, read, end
        self._ended = [False] * len(requests)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        ruled = scores.clone()
        for number, request in enumerate(self._requests):
            written = input_ids[number, self._read :].tolist()
            # A row that has ended is filled up for the others, beside its grammar.
            self._ended[number] |= len(written) >= request.limit or self._end in written
            if request.guide and not self._ended[number]:
                allowed = request.guide.allowed(written).to(scores.device)
                ruled[number].masked_fill_(~allowed, float("-inf"))
        return ruled


def _begun(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> tuple[Any, dict[str, Any]]:
    """The model that writes on after `ids` (answers, tokens), and what its `generate` is given. `mask` is 0 where a row
    is filled up. With a learnt prompt there is one row.

    A learnt prompt (prompt, prefix or P-tuning) stands before `ids`, and PEFT's own `generate` loses track of it: since
    transformers calls the cache `cache`, PEFT takes each token for the first and puts the whole learnt prompt before
    it once more. So PEFT's forward pass reads all but the last token, and the base goes on from that cache.
    """
    learnt = _learnt_tokens(model)
    if not learnt:
        return model, {"input_ids": ids, "attention_mask": mask}
    read = _read(model, ids[:, :-1], use_cache=True, logits_to_keep=1)
    # Whatever the cache is called in this transformers; `generate` knows it by the same name.
    cache = {name: value for name, value in read.items() if name != "logits"}
    # Any id stands for a learnt token: the cache has what was read of it.
    whole = torch.cat((ids.new_zeros((1, learnt)), ids), dim=1)
    return model.get_base_model(), {"input_ids": whole, "attention_mask": torch.ones_like(whole), **cache}


def _read(model: Any, ids: torch.Tensor, **options: Any) -> Any:
    """The forward pass."""
    with warnings.catch_warnings():
        # PEFT hands a learnt prefix over by the cache's former name.
        warnings.filterwarnings("ignore", ".*past_key_values", FutureWarning)
        return model(input_ids=ids, **options)


def _learnt_tokens(model: Any) -> int:
    """How many tokens a learnt prompt puts before what the model reads."""
    config = getattr(model, "active_peft_config", None)
    return config.num_virtual_tokens if config is not None and config.is_prompt_learning else 0


def _is_plain(config: Mapping[str, Any]) -> bool:
    """Whether an adapter is a LoRA that PEFT mixes with others in one batch."""
    more = ("use_dora", "modules_to_save", "trainable_token_indices", "alora_invocation_tokens")
    return config.get("peft_type") == "LORA" and config.get("bias", "none") == "none" and not any(map(config.get, more))


def _adapted(base: PreTrainedModel, folder: Path, name: str = "default") -> PeftModel:
    """A model of its own for an adapter, for PEFT does not mix kinds; the base's weights are shared, not copied."""
    shared = {id(tensor): tensor for tensor in (*base.parameters(), *base.buffers())}
    with _peft_errors(folder):
        model = PeftModel.from_pretrained(copy.deepcopy(base, shared), str(folder), adapter_name=name).eval()
        # PEFT does not compare a prompt's width with the base's: reading one token does.
        with torch.no_grad():
            _read(model, torch.zeros((1, 1), dtype=torch.long, device=base.device))
        return model  # type: ignore[return-value]


@contextmanager
def _peft_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, KeyError) as error:
        raise EngineError(f"PEFT cannot put {folder} on this base: {error}", hint="is it for another base?") from error


def _logprobs(logits: torch.Tensor, tokens: torch.Tensor) -> list[float]:
    """(tokens, vocabulary) scores to the log-probability of each token."""
    return torch.log_softmax(logits.float(), -1).gather(-1, tokens[:, None])[:, 0].tolist()
