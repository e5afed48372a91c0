"""Examples as training reads them: token ids of prompt and answer, in batches of like length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from ..prompt import TrainingExample


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
    ids, answers, read = list[int](), list[tuple[int, int]](), 0
    for number, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        prompt = str(tokenizer.apply_chat_template(turns[:number], add_generation_prompt=True, tokenize=False))
        whole = str(tokenizer.apply_chat_template(turns[: number + 1], tokenize=False))
        # What the template writes after an answer: the end-of-turn token, and white space that nobody generates.
        answer = whole[len(prompt) :].rstrip()
        ids += tokenizer(prompt[read:], add_special_tokens=False)["input_ids"]
        start = len(ids)
        ids += tokenizer(answer, add_special_tokens=False)["input_ids"]
        answers.append((start, len(ids)))
        read = len(prompt) + len(answer)
    return Encoded(ids, tuple(answers))


# Batches by token budget: rows of like length together, so that little is padding.


@dataclass(frozen=True)
class Batch:
    """Rows padded on the right. No attention mask: causal attention never looks at what comes later."""

    ids: torch.Tensor
    """(rows, longest) token ids."""
    positions: torch.Tensor
    """(answer tokens,) indices into the flattened rows from which an answer token is predicted."""
    targets: torch.Tensor
    """(answer tokens,) the tokens to predict there."""
    tokens: int
    """Tokens that are not padding."""


def order(rows: Sequence[Encoded], budget: int, seed: int, epoch: int) -> list[list[int]]:
    """One epoch as lists of row numbers, each at most `budget` tokens with padding (or a single longer row).

    Rows are shuffled, sorted by length within large groups, cut into batches, and the batches shuffled: the same
    `seed` and `epoch` give the same order.
    """
    shuffle = random.Random(f"{seed}/{epoch}")
    numbers = list(range(len(rows)))
    shuffle.shuffle(numbers)
    group = 64
    batches: list[list[int]] = []
    for start in range(0, len(numbers), group):
        batch: list[int] = []
        for number in sorted(numbers[start : start + group], key=lambda n: len(rows[n].ids)):
            if batch and len(rows[number].ids) * (len(batch) + 1) > budget:
                batches.append(batch)
                batch = []
            batch.append(number)
        batches.append(batch)
    shuffle.shuffle(batches)
    return batches


def collate(rows: Sequence[Encoded]) -> Batch:
    """Rows as one batch."""
    width = max(len(row.ids) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    positions: list[int] = []
    targets: list[int] = []
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = torch.tensor(row.ids)
        for start, end in row.answers:
            positions += [number * width + p for p in range(start - 1, end - 1)]
            targets += row.ids[start:end]
    return Batch(ids, torch.tensor(positions), torch.tensor(targets), sum(len(row.ids) for row in rows))
