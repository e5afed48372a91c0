"""What training learns from: a prompt as the renderer makes it, and the answer that should follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from ..renderer import Message


@dataclass(frozen=True)
class TrainingExample:
    """One prompt and its answer. `messages` come from `renderer.render`, never from elsewhere."""

    messages: list[Message]
    answer: str


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt and answer together; `start` is where the answer begins."""

    ids: list[int]
    start: int


def encode(
    examples: Sequence[TrainingExample], tokenizer: PreTrainedTokenizerFast, longest: int
) -> tuple[list[Encoded], int]:
    """Token ids of `examples`, and how many were left out because they are longer than `longest` tokens.

    Prompt and answer are tokenised apart, as at inference: a token never spans both.
    """
    encoded = [_encode(example, tokenizer) for example in examples]
    kept = [e for e in encoded if len(e.ids) <= longest]
    return kept, len(encoded) - len(kept)


def _encode(example: TrainingExample, tokenizer: PreTrainedTokenizerFast) -> Encoded:
    messages = example.messages
    prompt = str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
    turn = [*messages, {"role": "assistant", "content": example.answer}]
    whole = str(tokenizer.apply_chat_template(turn, tokenize=False))
    # What the template writes after an answer: the end-of-turn token, and white space that nobody generates.
    answer = whole[len(prompt) :].rstrip()
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return Encoded(ids + tokenizer(answer, add_special_tokens=False)["input_ids"], len(ids))
