"""What training learns from: a prompt as the renderer makes it, and the answer that should follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from ..renderer import Message


@dataclass(frozen=True)
class TrainingExample:
    """One prompt and its answer. `messages` come from `renderer.render`, never from elsewhere.

    Answers of earlier turns among them are learnt as well: several questions about one thing cost its reading once.
    """

    messages: list[Message]
    answer: str


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt and answers together, and where the answers are: `(start, end)` of each."""

    ids: list[int]
    answers: tuple[tuple[int, int], ...]

    @property
    def start(self) -> int:
        """Where the last answer begins."""
        return self.answers[-1][0]


def encode(
    examples: Sequence[TrainingExample], tokenizer: PreTrainedTokenizerFast, longest: int
) -> tuple[list[Encoded], int]:
    """Token ids of `examples`, and how many were left out because they are longer than `longest` tokens.

    Prompts and answers are tokenised apart, as at inference: a token never spans both.
    """
    encoded = [_encode(example, tokenizer) for example in examples]
    kept = [e for e in encoded if len(e.ids) <= longest]
    return kept, len(encoded) - len(kept)


def _encode(example: TrainingExample, tokenizer: PreTrainedTokenizerFast) -> Encoded:
    turns = [*example.messages, {"role": "assistant", "content": example.answer}]
    ids, answers, said = list[int](), list[tuple[int, int]](), 0
    for number, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        prompt = str(tokenizer.apply_chat_template(turns[:number], add_generation_prompt=True, tokenize=False))
        whole = str(tokenizer.apply_chat_template(turns[: number + 1], tokenize=False))
        # What the template writes after an answer: the end-of-turn token, and white space that nobody generates.
        answer = whole[len(prompt) :].rstrip()
        ids += tokenizer(prompt[said:], add_special_tokens=False)["input_ids"]
        start = len(ids)
        ids += tokenizer(answer, add_special_tokens=False)["input_ids"]
        answers.append((start, len(ids)))
        said = len(prompt) + len(answer)
    return Encoded(ids, tuple(answers))
