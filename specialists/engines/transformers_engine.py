"""transformers and PEFT in this process: every kind of adapter, and what other engines are checked against."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ...core.errors import ContextOverflow, EngineError, MissingExtra
from ...core.settings import settings
from ..constraint import Constraint, Json, OneOf, Select
from ..renderer import Message
from ..training.repository import open_adapter
from . import grammar
from .engine import check_adapter

try:
    import llguidance.hf
    import torch
    from peft import PeftModel
    from transformers import GenerationConfig, PreTrainedModel

    from ..training.base import load_base, load_tokenizer
    from .guide import Guide
    from .transformers_chat import TransformersChat
except ImportError as error:
    raise MissingExtra(f"the engine 'transformers' ({error.name})", "train") from error


class TransformersEngine:
    """One base and its adapters, of whatever kind PEFT reads. An `Engine`, on CUDA where there is a device.

    Weights are fp32, requests wait for each other, and each prompt is read from its beginning: llama.cpp is several
    times faster where it can be used.

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
        for name, folder in (adapters or {}).items():
            self._models[name] = _adapted(base, folder)
        self._base = gguf.stem
        self._window = min(context, base.config.max_position_embeddings)
        self._lock = threading.Lock()

    @property
    def context(self) -> int:
        return self._window

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(name for name in self._models if name)

    def chat(
        self,
        *,
        adapter: str | None = None,
        slot: str | None = None,
        max_tokens: int = 96,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> TransformersChat:
        check_adapter(adapter, self.adapters)
        sampling = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        return TransformersChat(engine=self, adapter=adapter, model_name=adapter or self._base, sampling=sampling)

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        """`options` for a choice, `grammar` for the rest. A schema that cannot be enforced is refused by the call."""
        if isinstance(constraint, OneOf):
            return {"options": list(constraint.options)}
        if isinstance(constraint, Json):
            return {"grammar": grammar.fits(constraint.schema, lenient=constraint.lenient)}
        end = str(self._tokenizer.eos_token)
        if isinstance(constraint, Select):
            return {"grammar": grammar.select(constraint.columns, end)}
        return {"grammar": grammar.quote(constraint.texts, constraint.alternatives, end)}

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
        self, adapter: str | None, ids: list[int], rule: str | None, max_tokens: int, temperature: float, seed: int
    ) -> tuple[list[int], list[float]]:
        """The answer's tokens and the model's own log-probability of each.

        Raises:
            ContextOverflow: the prompt leaves no room.
            EngineError: the engine is closed, or the grammar is not understood.
        """
        plan = GenerationConfig(
            max_new_tokens=min(max_tokens, self._room(ids)),
            do_sample=temperature > 0,
            **({"temperature": temperature, "top_k": 0} if temperature > 0 else {}),
            eos_token_id=self._end,
            pad_token_id=self._end,
            output_logits=True,
            return_dict_in_generate=True,
        )
        guides = [Guide(self._guidance, rule, len(ids))] if rule else []
        model = self._model(adapter)
        with self._lock, torch.no_grad(), warnings.catch_warnings():
            # With a learnt prompt PEFT leaves positions to the model, and says so each time.
            warnings.filterwarnings("ignore", "Position ids are not supported", UserWarning)
            torch.manual_seed(seed)
            given = torch.tensor([ids], device=model.device)
            made: Any = model.generate(  # type: ignore[operator]
                input_ids=given, attention_mask=torch.ones_like(given), generation_config=plan, logits_processor=guides
            )
        tokens = made.sequences[0, len(ids) :]
        return tokens.tolist(), _logprobs(torch.cat(made.logits), tokens)

    def weigh(self, adapter: str | None, ids: list[int], option: str) -> list[float]:
        """Log-probability of each token of `option` as the whole answer, the end of the turn included.

        Raises as `write` does.
        """
        answer = torch.tensor([*self._ids(option), self._end])
        self._room(ids)
        model = self._model(adapter)
        with self._lock, torch.no_grad():
            whole = torch.cat((torch.tensor(ids), answer))[None].to(model.device)
            logits = model(input_ids=whole, logits_to_keep=len(answer) + 1).logits[0, :-1]
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

    def _room(self, ids: list[int]) -> int:
        if len(ids) >= self._window:
            raise ContextOverflow(
                f"the prompt has {len(ids)} tokens, the window {self._window}", hint="shorten the prompt"
            )
        return self._window - len(ids)


def _adapted(base: PreTrainedModel, folder: Path) -> PeftModel:
    """A model of its own for each adapter, for PEFT does not mix kinds; the base's weights are shared, not copied."""
    shared = {id(tensor): tensor for tensor in (*base.parameters(), *base.buffers())}
    path = open_adapter(folder).path
    try:
        model = PeftModel.from_pretrained(copy.deepcopy(base, shared), str(path)).eval()
        # PEFT does not compare a prompt's width with the base's: reading one token does.
        with torch.no_grad():
            model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=base.device))
        return model  # type: ignore[return-value]
    except (RuntimeError, ValueError, KeyError) as error:
        raise EngineError(f"PEFT cannot put {folder} on this base: {error}", hint="is it for another base?") from error


def _logprobs(logits: torch.Tensor, tokens: torch.Tensor) -> list[float]:
    """(tokens, vocabulary) scores to the log-probability of each token."""
    return torch.log_softmax(logits.float(), -1).gather(-1, tokens[:, None])[:, 0].tolist()
