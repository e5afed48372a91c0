"""Examples as training reads them: token ids of prompt and answer, in batches in which what is alike is read once."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
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


# Batches by token budget: rows that begin alike together, so that they are read once, then rows of like length, so that
# little is padding.

_ALIKE = 0.5
"""Rows share their beginning when it is at least this part of the longer one."""


@dataclass(frozen=True)
class Batch:
    """Rows padded on the right. Without branches there is no mask: causal attention never looks at what comes later.

    A row may be a tree: what several examples begin with, then what each goes on with. Every branch sees the trunk and
    itself, at the places that it would have alone.
    """

    ids: torch.Tensor
    """(rows, longest) token ids."""
    positions: torch.Tensor
    """(answer tokens,) indices into the flattened rows from which an answer token is predicted."""
    targets: torch.Tensor
    """(answer tokens,) the tokens to predict there."""
    tokens: int
    """Tokens that are not padding; a trunk counts once."""
    places: torch.Tensor | None = None
    """(rows, longest) place of each token in its example; None where no row has branches."""
    branches: torch.Tensor | None = None
    """(rows, longest) number of the branch that a token is in, from 1; 0 is the trunk."""

    def mask(self, dtype: torch.dtype) -> torch.Tensor | None:
        """(rows, 1, longest, longest): 0 where a token sees another, -inf elsewhere; None: causal."""
        if self.branches is None:
            return None
        seen, sees = self.branches[:, None, :], self.branches[:, :, None]
        blind = ((seen != 0) & (seen != sees)) | torch.ones(self.ids.shape[1], self.ids.shape[1]).triu(1).bool()
        return torch.zeros(blind.shape, dtype=dtype).masked_fill_(blind, float("-inf"))[:, None]


def order(rows: Sequence[Encoded], budget: int, seed: int, epoch: int) -> list[list[int]]:
    """One epoch as lists of row numbers, each at most `budget` tokens with padding (or a single longer row).

    Rows that begin alike stay together. Such bunches are shuffled, sorted by length within large groups, cut into
    batches, and the batches shuffled: the same `seed` and `epoch` give the same order. What rows share is counted for
    each of them: it makes a step quicker, and its size is as it would be.
    """
    shuffle = random.Random(f"{seed}/{epoch}")
    bunches = [bunch for family in _families(rows) for bunch in _bunches(family, rows, budget, shuffle)]
    shuffle.shuffle(bunches)
    batches: list[list[int]] = []
    for group in _groups(bunches, 64):
        batch, width = list[int](), 0
        for bunch in sorted(group, key=lambda bunch: _read([rows[n] for n in bunch])):
            wider = max(width, *(len(rows[n].ids) for n in bunch))
            if batch and wider * (len(batch) + len(bunch)) > budget:
                batches.append(batch)
                batch, wider = [], max(len(rows[n].ids) for n in bunch)
            batch, width = batch + bunch, wider
        batches.append(batch)
    shuffle.shuffle(batches)
    return batches


def _families(rows: Sequence[Encoded]) -> list[list[int]]:
    """Numbers of rows that begin alike; a row by itself is a family, too."""
    families: list[list[int]] = []
    for number in sorted(range(len(rows)), key=lambda n: (rows[n].ids, n)):
        if families and _trunk([rows[families[-1][0]], rows[number]]):
            families[-1].append(number)
        else:
            families.append([number])
    return sorted(families)


def _bunches(family: list[int], rows: Sequence[Encoded], budget: int, shuffle: random.Random) -> list[list[int]]:
    """A family in any order, cut into pieces that a step can take."""
    members = list(family)
    shuffle.shuffle(members)
    bunches: list[list[int]] = [[]]
    for number in members:
        if bunches[-1] and len(rows[number].ids) + sum(len(rows[n].ids) for n in bunches[-1]) > budget:
            bunches.append([])
        bunches[-1].append(number)
    return bunches


def _groups(bunches: Sequence[list[int]], size: int) -> Iterator[list[list[int]]]:
    """Bunches with about `size` rows together."""
    group: list[list[int]] = []
    for bunch in bunches:
        group.append(bunch)
        if sum(map(len, group)) >= size:
            yield group
            group = []
    if group:
        yield group


def _trunk(rows: Sequence[Encoded]) -> int:
    """How many tokens the rows have in common before anything is to be answered; 0 where it is too little to share."""
    shortest = min(row.answers[0][0] - 1 for row in rows)
    first = rows[0].ids
    common = 0
    while common < shortest and all(row.ids[common] == first[common] for row in rows):
        common += 1
    return common if common >= _ALIKE * max(len(row.ids) for row in rows) else 0


def _read(rows: Sequence[Encoded]) -> int:
    """Tokens of rows that begin alike."""
    trunk = _trunk(rows) if len(rows) > 1 else 0
    return trunk + sum(len(row.ids) - trunk for row in rows)


def collate(rows: Sequence[Encoded], *, share: bool = True) -> Batch:
    """Rows as one batch; neighbours that begin alike as one row of it, where `share` allows."""
    trees: list[list[Encoded]] = []
    for row in rows:
        if share and trees and _trunk([*trees[-1], row]):
            trees[-1].append(row)
        else:
            trees.append([row])
    trunks = [_trunk(tree) if len(tree) > 1 else 0 for tree in trees]
    sizes = [_read(tree) for tree in trees]
    width = max(sizes)
    ids, places, branches = (torch.zeros((len(trees), width), dtype=torch.long) for _ in range(3))
    positions: list[int] = []
    targets: list[int] = []
    for number, (tree, trunk) in enumerate(zip(trees, trunks, strict=True)):
        ids[number, :trunk] = torch.tensor(tree[0].ids[:trunk])
        places[number, :trunk] = torch.arange(trunk)
        at = trunk
        for branch, row in enumerate(tree, start=1):
            length = len(row.ids) - trunk
            ids[number, at : at + length] = torch.tensor(row.ids[trunk:])
            places[number, at : at + length] = torch.arange(trunk, len(row.ids))
            branches[number, at : at + length] = branch
            for start, end in row.answers:
                positions += [number * width + at - trunk + p for p in range(start - 1, end - 1)]
                targets += row.ids[start:end]
            at += length
    tree_like = any(trunks)
    return Batch(
        ids,
        torch.tensor(positions),
        torch.tensor(targets),
        sum(sizes),
        places if tree_like else None,
        branches if tree_like else None,
    )
