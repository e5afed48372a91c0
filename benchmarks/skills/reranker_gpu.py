"""Trains the reranker on a GPU, from what `reranker_lessons.py` wrote. Needs torch and safetensors only.

    python benchmarks/skills/reranker_gpu.py LESSONS.npz OUT.safetensors [--minutes 2] [--questions-only]

A question and a passage go through multilingual-e5-small together, and a line through the first token's vector says
how well the passage answers. First the encoder itself looks up, for each question, the passages that it takes for the
nearest; the right one is learnt against those, and against the rest of its own document.

`--questions-only` trains an encoder of questions instead, whose vectors lie nearer to those of the passages that
answer; the passages' own stay as they are, so that no index has to be built anew.

Documents of the sets `aside …` are not learnt; how often their right passage is found is told before and after.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

PARTS = ("q", "k", "v", "ao", "fi", "fo")
AGAINST = 9
"""Passages that do not answer, beside the one that does."""
_NEAR = (2, 40)
"""Places in the order of nearness from which strange passages are drawn: the very nearest may answer, too."""
_STRANGE = 0.35
"""Share of passages from elsewhere."""
_FOUND = (1, 3, 12)
"""Places for which figures are told."""
_TEMPERATURE = 0.05
"""Of cosines, where questions learn which passage of a whole set is theirs."""
_REMOVED = 0.9
"""As in `core/e5_embedder.py`."""
_UNANSWERED = 0.3
"""Weight of each pair's own yes or no against the order of a question's passages."""


class Encoder(nn.Module):
    """multilingual-e5-small, its matrices frozen with a LoRA each; biases and norms are learnt."""

    def __init__(self, held: dict[str, np.ndarray], rank: int) -> None:
        super().__init__()
        self.hidden, self.layers, self.heads, _ = (int(n) for n in held["sizes"])
        self.epsilon = float(held["epsilon"])
        own = {name[3:]: values for name, values in held.items() if name.startswith("e5/")}
        places = own["emb.pos"].reshape(-1, self.hidden) + own["emb.type"][: self.hidden]
        self.register_buffer("places", torch.tensor(places))
        self.register_buffer("words", torch.tensor(floats(held["words"]).reshape(-1, self.hidden)))
        self.plain = nn.ParameterDict()
        self.low, self.high = nn.ParameterDict(), nn.ParameterDict()
        for name, values in own.items():
            key = name.replace(".", "_")
            if name.startswith("l") and name.split(".")[1] in PARTS and name.endswith(".w"):
                weight = torch.tensor(floats(values)).reshape(len(own[f"{name[:-1]}b"]), -1)
                self.register_buffer(key, weight)
                self.low[key] = nn.Parameter(torch.randn(rank, weight.shape[1]) / math.sqrt(weight.shape[1]))
                self.high[key] = nn.Parameter(torch.zeros(weight.shape[0], rank))
            elif not name.startswith(("emb.pos", "emb.type")):
                self.plain[key] = nn.Parameter(torch.tensor(values), requires_grad=not name.startswith("emb"))
        self.head = nn.Linear(self.hidden, 1)
        nn.init.zeros_(self.head.weight)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(texts, tokens) ids and mask to (texts, tokens, hidden)."""
        hidden = self._normed(self.words[ids] + self.places[: ids.shape[1]], "emb_ln")
        seen = mask[:, None, None, :]
        for number in range(self.layers):
            name = f"l{number}_"
            q, k, v = (self._heads(self._linear(hidden, f"{name}{part}")) for part in "qkv")
            mixed = scaled_dot_product_attention(q, k, v, seen).transpose(1, 2).flatten(2)
            hidden = self._normed(hidden + self._linear(mixed, f"{name}ao"), f"{name}aln")
            inner = gelu(self._linear(hidden, f"{name}fi"))
            hidden = self._normed(hidden + self._linear(inner, f"{name}fo"), f"{name}oln")
        return hidden

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _linear(self, states: torch.Tensor, name: str) -> torch.Tensor:
        key = f"{name}_w"
        weight = getattr(self, key) + self.high[key] @ self.low[key]
        return linear(states, weight.to(states.dtype), self.plain[f"{name}_b"].to(states.dtype))

    def _normed(self, states: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self.plain[f"{name}_w"], self.plain[f"{name}_b"]
        return layer_norm(states.float(), (self.hidden,), weight, bias, self.epsilon).to(torch.bfloat16)

    def learnt(self) -> dict[str, torch.Tensor]:
        """By the names that the product reads."""
        held = {"head.w": self.head.weight.data[0].float(), "head.b": self.head.bias.data.float()}
        for key in self.low:
            name = key.replace("_", ".")[:-2]
            held |= {f"{name}.a": self.low[key].data.half(), f"{name}.b": self.high[key].data.half()}
        for key, values in self.plain.items():
            layer, part, end = key.rsplit("_", 2) if key.count("_") == 2 else ("", "", "")
            if layer.startswith("l"):
                name = f"{layer}.{part}.bias" if part in PARTS else f"{layer}.{part}.{end}"
                held[name] = values.data.float()
        return {name: values.cpu().contiguous() for name, values in held.items()}


def floats(blocks: np.ndarray) -> np.ndarray:
    """GGML's Q4_0: (blocks, 18) bytes to numbers."""
    some = np.ascontiguousarray(blocks.reshape(-1, 18))
    scales = some[:, :2].copy().view(np.float16).astype(np.float32)
    four = np.concatenate([some[:, 2:] & 15, some[:, 2:] >> 4], axis=1).astype(np.float32) - 8
    return (four * scales).astype(np.float32)


class Lessons:
    """Questions and passages as token ids."""

    def __init__(self, held: dict[str, np.ndarray], device: torch.device) -> None:
        self.device = device
        self.texts, self.tasks, self.right = (_rows(held, name) for name in ("text", "task", "right"))
        self.of_text, self.of_task, self.alone = held["of_text"], held["of_task"], held["alone"]
        self.begin, self.end = (int(n) for n in held["ends"])
        self.near: dict[int, np.ndarray] = {}
        bounds = np.searchsorted(self.of_text[:, 1], np.arange(self.of_text[-1, 1] + 2))
        self.scopes = [*itertools.pairwise(bounds.tolist())]
        self.means = torch.tensor(held["means"], device=device)
        aside = np.array([name.startswith("aside") for name in held["names"]])[self.of_task[:, 0]]
        answered = np.array([len(right) > 0 for right in self.right])
        self.learnt, self.aside = np.flatnonzero(~aside).tolist(), np.flatnonzero(aside & answered).tolist()

    def batch(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids, padded, and what is no padding."""
        width = -(-max(map(len, rows)) // 16) * 16
        ids = np.zeros((len(rows), width), dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=bool)
        for number, row in enumerate(rows):
            ids[number, : len(row)], mask[number, : len(row)] = row, True
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)

    def pair(self, task: int, text: int) -> list[int]:
        """A question and a passage as one text."""
        return [self.begin, *self.tasks[task], self.end, *self.texts[text], self.end]

    def embedded(self, model: Encoder, rows: list[np.ndarray], passages: int) -> torch.Tensor:
        """(rows, hidden) unit vectors, as the search itself has them."""
        ids, mask = self.batch([[self.begin, *row, self.end] for row in rows])
        mean = (model(ids, mask).float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        unit = nn.functional.normalize(mean, dim=-1)
        return nn.functional.normalize(unit - _REMOVED * self.means[passages], dim=-1)

    @torch.no_grad()
    def vectors(self, model: Encoder, rows: list[np.ndarray], passages: int) -> torch.Tensor:
        """(rows, hidden) unit vectors of many texts."""
        found = torch.zeros(len(rows), model.hidden, device=self.device)
        order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
        for at in range(0, len(order), 1024):
            some = order[at : at + 1024]
            found[some] = self.embedded(model, [rows[n] for n in some], passages)
        return found

    def nearest(self, task: int, vector: torch.Tensor, texts: torch.Tensor, count: int) -> list[int]:
        """The passages of a question's set that come nearest to it."""
        there = np.flatnonzero(self.of_text[:, 0] == self.of_task[task, 0])
        order = (texts[there] @ vector).topk(min(count, len(there))).indices
        return there[order.cpu().numpy()].tolist()

    @torch.no_grad()
    def look_up(self, model: Encoder, texts: torch.Tensor) -> None:
        """For each question the nearest passages of its set that belong elsewhere."""
        tasks = self.vectors(model, self.tasks, 0)
        for kind in np.unique(self.of_task[:, 0]):
            asked = np.flatnonzero((self.of_task[:, 0] == kind) & ~self.alone)
            there = np.flatnonzero(self.of_text[:, 0] == kind)
            for at in range(0, len(asked), 1024):
                some = asked[at : at + 1024]
                likeness = tasks[some] @ texts[there].T
                nearest = likeness.topk(min(60, len(there)), dim=-1).indices.cpu().numpy()
                for task, places in zip(some, there[nearest], strict=True):
                    self.near[int(task)] = places[self.of_text[places, 1] != self.of_task[task, 1]]

    def against(self, task: int, dice: random.Random) -> list[int]:
        """Passages that do not answer a question."""
        begin, end = self.scopes[self.of_task[task, 1]]
        inside = [n for n in range(begin, end) if n not in set(self.right[task].tolist())]
        outside = [int(n) for n in self.near.get(task, np.array([], dtype=int))[slice(*_NEAR)]]
        far = min(len(outside), max(round(_STRANGE * AGAINST), AGAINST - len(inside)))
        chosen = dice.sample(outside, far)
        return [*chosen, *dice.sample(inside, min(len(inside), AGAINST - len(chosen)))]


def _rows(held: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    return np.split(held[name].astype(np.int64), held[f"{name}_row"][1:-1].astype(np.int64))


def scored(model: Encoder, lessons: Lessons, pairs: list[list[int]]) -> torch.Tensor:
    """(pairs,) logits; those of like length are read together. Where there is no pair: very low."""
    order = [n for n in sorted(range(len(pairs)), key=lambda n: len(pairs[n])) if pairs[n]]
    quarter = -(-len(order) // 4)
    logits = torch.full((len(pairs),), -1e4, device=lessons.device)
    for at in range(0, len(order), quarter):
        some = order[at : at + quarter]
        found = model.head(model(*lessons.batch([pairs[n] for n in some]))[:, 0].float())[:, 0]
        logits = logits.index_put((torch.tensor(some, device=lessons.device),), found)
    return logits


def train(model: Encoder, lessons: Lessons, args: argparse.Namespace) -> None:
    """Learn until the questions or the minutes are through."""
    dice = random.Random(args.seed)
    fast = [*model.low.parameters(), *model.high.parameters(), *model.head.parameters()]
    slow = [p for p in model.plain.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        [{"params": fast, "lr": args.rate}, {"params": slow, "lr": args.rate / 5}], weight_decay=0.01
    )
    order = [task for _ in range(args.epochs) for task in dice.sample(lessons.learnt, len(lessons.learnt))]
    steps = [order[at : at + args.questions] for at in range(0, len(order), args.questions)]
    begin, mean, hits, seen = time.monotonic(), 0.0, 0, 0
    rates = [group["lr"] for group in optimiser.param_groups]
    for number, step in enumerate(steps):
        done = max(number / len(steps), (time.monotonic() - begin) / (60 * args.minutes))
        if done >= 1:
            break
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (number + 1) / (0.05 * len(steps))) * max(0.03, 1 - done)
        pairs, answered, width = list[list[int]](), list[bool](), AGAINST + 1
        for task in step:
            against = lessons.against(task, dice)
            right = lessons.right[task]
            first = int(dice.choice(right)) if len(right) else against.pop() if against else int(lessons.scopes[0][0])
            answered.append(bool(len(right)))
            texts = [first, *against][:width]
            pairs += [lessons.pair(task, text) for text in texts] + [[]] * (width - len(texts))
        there = torch.tensor([bool(pair) for pair in pairs], device=lessons.device)
        logits = scored(model, lessons, pairs).view(-1, width)
        present = there.view(-1, width)
        has = torch.tensor(answered, device=lessons.device)
        gold = torch.zeros_like(logits)
        gold[:, 0] = has.float()
        ranked = nn.functional.cross_entropy(
            logits[has], torch.zeros(int(has.sum()), dtype=torch.long, device=lessons.device)
        )
        each = nn.functional.binary_cross_entropy_with_logits(logits, gold, reduction="none")[present].mean()
        loss = ranked + _UNANSWERED * each
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*fast, *slow], 1.0)
        optimiser.step()
        if number % 20 == 0:
            hits, seen = hits + int((logits[has].argmax(1) == 0).sum()), seen + int(has.sum())
            mean = loss.item() if not number else 0.8 * mean + 0.2 * loss.item()
        if number % 100 == 0 or number + 1 == len(steps):
            seconds = time.monotonic() - begin
            print(
                f"step {number + 1} of {len(steps)}, {seconds:.0f} s, loss {mean:.3f}, first {hits / seen:.3f}",
                flush=True,
            )
            hits, seen = 0, 1


def train_questions(model: Encoder, lessons: Lessons, texts: torch.Tensor, args: argparse.Namespace) -> None:
    """Learn to tell the passage of each question among all of its set, whose vectors are `texts`."""
    dice = random.Random(args.seed)
    learnt = [*model.low.parameters(), *model.high.parameters()]
    optimiser = torch.optim.AdamW(learnt, lr=args.rate, weight_decay=0.01)
    answered = [task for task in lessons.learnt if len(lessons.right[task])]
    order = [task for _ in range(args.epochs) for task in dice.sample(answered, len(answered))]
    steps = [order[at : at + args.questions] for at in range(0, len(order), args.questions)]
    kinds, scopes = (torch.tensor(lessons.of_text[:, n].copy(), device=lessons.device) for n in (0, 1))
    begin, mean = time.monotonic(), 0.0
    for number, step in enumerate(steps):
        done = max(number / len(steps), (time.monotonic() - begin) / (60 * args.minutes))
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = args.rate * min(1.0, (number + 1) / (0.05 * len(steps))) * max(0.03, 1 - done)
        kind, scope = (torch.tensor(lessons.of_task[step, n], device=lessons.device)[:, None] for n in (0, 1))
        alone = torch.tensor(lessons.alone[step], device=lessons.device)[:, None]
        candidates = torch.where(alone, scopes == scope, kinds == kind)
        gold = torch.zeros_like(candidates)
        for row, task in enumerate(step):
            gold[row, torch.tensor(lessons.right[task], device=lessons.device)] = True
        vectors = lessons.embedded(model, [lessons.tasks[task] for task in step], 0)
        likeness = (vectors @ texts.T / _TEMPERATURE).masked_fill(~candidates, float("-inf"))
        right = likeness.masked_fill(~gold, float("-inf")).logsumexp(1)
        loss = (likeness.logsumexp(1) - right).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        if number % 20 == 0:
            mean = loss.item() if not number else 0.8 * mean + 0.2 * loss.item()
        if number % 200 == 0 or number + 1 == len(steps):
            print(f"step {number + 1} of {len(steps)}, {time.monotonic() - begin:.0f} s, loss {mean:.3f}", flush=True)


def shares(lessons: Lessons, found: dict[int, list[int]]) -> str:
    """How often a right passage stands among the first."""
    hits = [[bool({*places[:most]} & {*lessons.right[task]}) for most in _FOUND] for task, places in found.items()]
    return ", ".join(f"{most}: {share:.3f}" for most, share in zip(_FOUND, np.mean(hits, axis=0), strict=True))


@torch.no_grad()
def told(name: str, model: Encoder, lessons: Lessons, texts: torch.Tensor) -> dict[int, list[int]]:
    """Say how often the passage of questions kept aside is found by their vectors; and what was found."""
    tasks = lessons.vectors(model, [lessons.tasks[task] for task in lessons.aside], 0)
    near = {task: lessons.nearest(task, vector, texts, 12) for task, vector in zip(lessons.aside, tasks, strict=True)}
    print(f"{name}: {len(near)} questions aside, among the first {shares(lessons, near)}", flush=True)
    return near


@torch.no_grad()
def reordered(model: Encoder, lessons: Lessons, near: dict[int, list[int]]) -> None:
    """Say how often it comes first in the reranker's order."""
    found = {}
    for task, places in near.items():
        logits = scored(model, lessons, [lessons.pair(task, text) for text in places]).tolist()
        found[task] = [place for _, place in sorted(zip(logits, places, strict=True), reverse=True)]
    print(f"reranked: among the first {shares(lessons, found)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lessons", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--questions-only", action="store_true", help="train an encoder of questions instead")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--questions", type=int, default=64, help="of a step")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load(args.lessons) as file:
        held = dict(file)
    model = Encoder(held, args.rank).to(device)
    lessons = Lessons(held, device)
    texts = lessons.vectors(model, lessons.texts, 1)
    near = told("before", model, lessons, texts)
    if args.questions_only:
        train_questions(model, lessons, texts, args)
        told("after", model, lessons, texts)
    else:
        lessons.look_up(model, texts)
        train(model, lessons, args)
        reordered(model, lessons, near)
    save_file(model.learnt(), args.out)


if __name__ == "__main__":
    main()
