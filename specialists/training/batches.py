"""Batches by token budget: rows of like length together, so that little is padding."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .example import Encoded


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
