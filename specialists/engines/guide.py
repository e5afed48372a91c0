"""A grammar of `grammar.py` in force while transformers writes."""

from __future__ import annotations

import torch
from llguidance import LLMatcher, LLTokenizer
from transformers import LogitsProcessor

from ...core.errors import EngineError


class Guide(LogitsProcessor):
    """Lets pass what LLGuidance allows next: for one answer, written from `read` tokens on.

    Raises:
        EngineError: LLGuidance does not understand the grammar.
    """

    def __init__(self, tokenizer: LLTokenizer, grammar: str, read: int) -> None:
        self._matcher = LLMatcher(tokenizer, grammar)
        self._seen = read
        if self._matcher.is_error():
            raise EngineError(f"LLGuidance cannot enforce this grammar: {self._matcher.get_error()}")

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores` (1, vocabulary), minus infinity where the grammar forbids a token."""
        self._matcher.consume_tokens(input_ids[0, self._seen :].tolist())
        self._seen = input_ids.shape[1]
        allowed = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8).bool()
        return scores.masked_fill(~allowed.to(scores.device), float("-inf"))
