"""Trains the reader's skill on a GPU, from token ids that `answer.py --pack` wrote, with torch, transformers, peft.

    python benchmarks/skills/reader_gpu.py BASE ROWS.npz OUT [--start PEFT] [--minutes 5]

BASE is the base as a transformers folder, or the GGUF that is served. One H200 read 82,000 tokens a second
beside another training. The adapter is written in parts of less than 15 MB: `--join OUT` makes one file of them.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedModel

PART = 15_000_000
"""Bytes of a file of the adapter."""
_SORTED = 4096
"""Rows among which those of like length come together."""
_WAITING = 8
"""Steps that are prepared ahead."""

Step = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Token ids (rows, longest); places in the flattened rows from which an answer token is predicted; these tokens."""


class Rows:
    """Lessons as token ids."""

    def __init__(self, file: Path) -> None:
        with np.load(file) as held:
            self._ids, self._begins = held["ids"], held["row"].astype(np.int64)
            self._learnt = np.unpackbits(held["answers"])[: len(self._ids)].astype(bool)
        self.lengths = np.diff(self._begins)

    def steps(self, budget: int, seed: int) -> list[list[int]]:
        """All rows once, in steps of at most `budget` tokens with padding."""
        dice = random.Random(seed)
        order = list(range(len(self.lengths)))
        dice.shuffle(order)
        found: list[list[int]] = []
        for at in range(0, len(order), _SORTED):
            step: list[int] = []
            for number in sorted(order[at : at + _SORTED], key=self.lengths.__getitem__):
                if step and self.lengths[number] * (len(step) + 1) > budget:
                    found.append(step)
                    step = []
                step.append(number)
            found.append(step)
        dice.shuffle(found)
        return found

    def tensors(self, step: list[int]) -> Step:
        """The rows of a step, padded on the right: causal attention never looks there."""
        width = -(-int(max(self.lengths[number] for number in step)) // 64) * 64
        ids = np.zeros((len(step), width), dtype=np.int64)
        places, targets = [], []
        for row, number in enumerate(step):
            some = slice(self._begins[number], self._begins[number + 1])
            tokens = self._ids[some].astype(np.int64)
            ids[row, : len(tokens)] = tokens
            learnt = np.flatnonzero(self._learnt[some])
            places.append(row * width + learnt - 1)
            targets.append(tokens[learnt])
        learnt, told = (torch.from_numpy(np.concatenate(some)) for some in (places, targets))
        return torch.from_numpy(ids), learnt, told


def opened(base: Path) -> PreTrainedModel:
    """The base in bf16."""
    if base.is_dir():
        return AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    how = GgufConfig(dequantize=True)
    return AutoModelForCausalLM.from_pretrained(
        base.parent, gguf_file=base.name, quantization_config=how, dtype=torch.bfloat16
    )


def with_adapter(base: PreTrainedModel, start: Path | None, rank: int) -> PeftModel:
    """A new LoRA on all linear layers, or one to go on from."""
    if start:
        return PeftModel.from_pretrained(base, str(start), is_trainable=True)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(base, config)  # type: ignore[return-value]


def prepared(rows: Rows, steps: list[list[int]]) -> Iterator[Step]:
    """Steps as tensors, some ahead of the one that is learnt."""
    with ThreadPoolExecutor(4) as pool:
        coming = [pool.submit(rows.tensors, step) for step in steps[:_WAITING]]
        for number in range(len(steps)):
            if number + _WAITING < len(steps):
                coming.append(pool.submit(rows.tensors, steps[number + _WAITING]))
            yield coming[number].result()
            coming[number] = None  # type: ignore[call-overload]  # its tensors are not needed any more


def train(model: PeftModel, rows: Rows, args: argparse.Namespace) -> list[torch.Tensor]:
    """Learn until the rows or the minutes are through; the weights in fp32, of which the model has bf16 copies."""
    learnt = [p for p in model.parameters() if p.requires_grad]
    masters = [nn.Parameter(p.detach().float().clone()) for p in learnt]
    for parameter in learnt:
        parameter.data = parameter.data.to(torch.bfloat16)
    fused = learnt[0].device.type == "cuda"
    optimiser = torch.optim.AdamW(masters, lr=args.rate, weight_decay=0.0, betas=(0.9, 0.98), fused=fused)
    steps = [step for epoch in range(args.epochs) for step in rows.steps(args.budget, args.seed + epoch)]
    warm, begin, read, mean = max(1, len(steps) // 20), time.monotonic(), 0, 0.0
    for number, step in enumerate(prepared(rows, steps)):
        done = max(number / len(steps), (time.monotonic() - begin) / (60 * args.minutes))
        if done >= 1:
            print(f"out of time at step {number + 1} of {len(steps)}, loss {mean:.4f}", flush=True)
            break
        for group in optimiser.param_groups:
            group["lr"] = args.rate * min(1.0, (number + 1) / warm) * max(0.03, 1 - done)
        loss = _loss(model, step) / len(step[2])
        loss.backward()
        for parameter, master in zip(learnt, masters, strict=True):
            assert parameter.grad is not None
            master.grad, parameter.grad = parameter.grad.float(), None
        torch.nn.utils.clip_grad_norm_(masters, 1.0)
        optimiser.step()
        with torch.no_grad():
            for parameter, master in zip(learnt, masters, strict=True):
                parameter.copy_(master)
        read += step[0].numel()
        if number % 20 == 0:
            mean = loss.item() if not number else 0.8 * mean + 0.2 * loss.item()
        if number % 100 == 0 or number + 1 == len(steps):
            seconds = time.monotonic() - begin
            print(f"step {number + 1} of {len(steps)}, {read} tokens, {seconds:.0f} s, loss {mean:.4f}", flush=True)
    return [master.data for master in masters]


def _loss(model: PeftModel, step: Step) -> torch.Tensor:
    """Sum of the answer tokens' cross-entropy; only they pass through the output head."""
    base = cast(Any, model.get_base_model())
    ids, places, targets = (tensor.to(base.device, non_blocking=True) for tensor in step)
    hidden = base.model(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)[places]
    return nn.functional.cross_entropy(base.lm_head(hidden).float(), targets, reduction="sum")


@torch.no_grad()
def loss_of(model: PeftModel, rows: Rows) -> float:
    """Mean loss of the answers' tokens of lessons that were not learnt."""
    steps = [rows.tensors(step) for step in rows.steps(32768, 0)]
    return sum(_loss(model, step).item() for step in steps) / sum(len(step[2]) for step in steps)


def save(model: PeftModel, weights: list[torch.Tensor], out: Path) -> None:
    """In f16, in parts."""
    names = [name.replace(".default", "") for name, p in model.named_parameters() if p.requires_grad]
    held = dict(zip(names, (weight.half().cpu().contiguous() for weight in weights), strict=True))
    out.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, torch.Tensor]] = [{}]
    for name in sorted(held):
        if sum(t.nbytes for t in parts[-1].values()) + held[name].nbytes > PART:
            parts.append({})
        parts[-1][name] = held[name]
    for number, part in enumerate(parts):
        save_file(part, out / f"part{number}.safetensors")


def join(out: Path) -> None:
    """Parts as one file."""
    parts = sorted(out.glob("part*.safetensors"))
    save_file(
        {k: v for part in parts for k, v in load_file(part).items()},
        out / "adapter_model.safetensors",
        {"format": "pt"},
    )
    for part in parts:
        part.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("rows", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--start", type=Path, default=None, help="an adapter (PEFT folder) to go on from")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--budget", type=int, default=32768, help="tokens of a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--aside", type=Path, nargs="*", default=[], help="rows whose loss is told before and after")
    parser.add_argument("--join", action="store_true", help="BASE is an adapter in parts")
    args = parser.parse_args()
    if args.join:
        join(args.base)
        return
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = with_adapter(opened(args.base), args.start, args.rank).to(device)
    model.train()
    asides = {file.stem: Rows(file) for file in args.aside}
    before = {name: loss_of(model, rows) for name, rows in asides.items()}
    weights = train(model, Rows(args.rows), args)
    for name, rows in asides.items():
        print(f"{name}: loss {before[name]:.4f} -> {loss_of(model, rows):.4f}", flush=True)
    save(model, weights, args.out)


if __name__ == "__main__":
    main()
