"""Training an adapter, on a CPU or a CUDA device: one function, a time budget, and a run that survives being killed."""

from __future__ import annotations

import hashlib
import json
import random
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ...core.errors import InputError
from ...core.files import replace_folder, sha256, write_atomic
from ...core.models import LocalModel
from ...core.run import Progress, no_progress
from ...core.settings import settings
from ...core.types import Value
from ..adapters.folder import CONFIG, README, RECORD, WEIGHTS, hashes
from ..engines.unpack import load_tokenizer
from ..prompt import TrainingExample
from .config import TrainConfig, TrainReport
from .examples import Batch, Encoded, collate, encode, order
from .model import TrainableModel


def train_adapter(
    examples: Sequence[TrainingExample],
    base: Path | LocalModel,
    out: Path,
    config: TrainConfig | None = None,
    *,
    start: Path | None = None,
    validation: Sequence[TrainingExample] = (),
    progress: Progress = no_progress,
    cache: Path | None = None,
) -> TrainReport:
    """Train an adapter on `examples` and write it to `out` in PEFT's layout (for `full`: a transformers folder).

    A run that was killed goes on from its last checkpoint when it is called again with the same arguments.

    Args:
        examples: Prompts (from the renderer) with answers.
        base: The GGUF that will be served with this adapter; a `LocalModel` also gives the adapter its base's name.
        out: The adapter's folder; replaced only when training ends well.
        start: An adapter (a PEFT folder) to go on from, such as a skill. Its rank, kind or length stay.
        validation: For early stopping; left out, `config.validation` of the examples is kept aside.
        progress: Told of the steps; how many there will be is a guess where the time is what ends them.
        cache: Where unpacked bases are kept.

    Raises:
        InputError: no examples, or all are longer than `config.longest`.
        ConfigError, IntegrityError: `start` may not be trusted or is of another method; this machine has no `nf4`.
        ModelError: the base cannot be unpacked.
    """
    config = config or TrainConfig()
    torch.set_num_threads(settings().threads)
    gguf, name = (base, base.stem) if isinstance(base, Path) else (base.files["gguf"], base.name)
    if not validation:
        examples, validation = _split(examples, config)
    run, too_long = _prepare(examples, validation, gguf, out, config, start, cache)
    resumed = run.resume()
    stopped = run.go(progress)
    with replace_folder(out) as fresh:
        write_folder(fresh, run.learner.finished(), name, load_tokenizer(gguf, cache))
    run.file.unlink(missing_ok=True)
    return _summary(run, too_long, stopped, resumed)


def _prepare(
    examples: Sequence[TrainingExample],
    validation: Sequence[TrainingExample],
    gguf: Path,
    out: Path,
    config: TrainConfig,
    start: Path | None,
    cache: Path | None,
) -> tuple[TrainingRun, int]:
    """A run that is ready to go, and how many examples were too long for it."""
    tokenizer = load_tokenizer(gguf, cache)
    rows, too_long = encode(examples, tokenizer, config.longest)
    aside, _ = encode(validation, tokenizer, config.longest)
    if not rows:
        raise InputError(f"nothing to train on: {len(examples)} examples, {too_long} of them too long")
    learner = TrainableModel(gguf, config, start, cache)
    origin = sha256(gguf) + (sha256(start / WEIGHTS) if start else "")
    checkpoint = out.parent / f".{out.name}.checkpoint"
    return TrainingRun(learner, rows, aside, config, checkpoint, origin), too_long


def _split(
    examples: Sequence[TrainingExample], config: TrainConfig
) -> tuple[list[TrainingExample], list[TrainingExample]]:
    """Keep a share of the prompts aside; examples with the same prompt stay on one side."""
    prompts = sorted({repr(e.messages) for e in examples})
    aside = set(random.Random(config.seed).sample(prompts, int(len(prompts) * config.validation)))
    return [e for e in examples if repr(e.messages) not in aside], [e for e in examples if repr(e.messages) in aside]


def _summary(run: TrainingRun, too_long: int, stopped: Stopped, resumed: bool) -> TrainReport:
    at = run.at
    return TrainReport(
        examples=len(run.rows),
        too_long=too_long,
        steps=at.step,
        epochs=at.step / run.per_epoch,
        tokens=at.tokens,
        seconds=at.seconds,
        tokens_per_second=at.tokens / max(at.seconds, 1e-9),
        losses=at.losses,
        validation=at.validation,
        best_step=at.best[0] or at.step,
        stopped=stopped,
        parameters=run.learner.parameters,
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        precision=run.learner.precision,
        resumed=resumed,
    )


# One run: steps, learning rate, checks on kept-aside rows, checkpoints.

Stopped = Literal["epochs", "time", "no improvement"]


class TrainingRun:
    """The state of a run. The same rows, recipe and base give the same steps."""

    def __init__(
        self,
        learner: TrainableModel,
        rows: Sequence[Encoded],
        aside: Sequence[Encoded],
        config: TrainConfig,
        file: Path,
        base_hash: str,
    ) -> None:
        self.learner, self.rows, self.config, self.file = learner, rows, config, file
        self.fingerprint = hashlib.sha256(f"{config!r} {base_hash} {rows!r} {aside!r}".encode()).hexdigest()
        self.optimizer = torch.optim.AdamW(learner.masters, lr=1.0, betas=(0.9, 0.99), weight_decay=0.0)
        self.best = [m.clone() for m in learner.masters]
        self.at = RunState()
        self._due, self._tokens = False, 0
        self.plan: list[list[int]] = []
        self.per_epoch = len(order(rows, config.batch_tokens, config.seed, 0))
        self.total = max(1, round(self.per_epoch * config.epochs))
        for epoch in range(int(config.epochs) + 2):
            self.plan += order(rows, config.batch_tokens, config.seed, epoch)
        self.total = min(self.total, len(self.plan))
        self._aside = [[aside[n] for n in batch] for batch in order(aside, 2 * config.batch_tokens, 0, 0)]

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one of this very run."""
        checkpoint = load_checkpoint(self.file, self.fingerprint)
        if checkpoint is None:
            return False
        self.at, tensors = checkpoint
        for number, master in enumerate(self.learner.masters):
            self.optimizer.state[master] = {
                "step": torch.tensor(float(self.at.step)),
                "exp_avg": tensors[f"mean.{number}"].to(master.device),
                "exp_avg_sq": tensors[f"square.{number}"].to(master.device),
            }
            self.best[number] = tensors[f"best.{number}"]
        self.learner.restore([tensors[f"weight.{n}"] for n in range(len(self.learner.masters))])
        return True

    def go(self, progress: Progress) -> Stopped:
        """Train to the end. The learner then holds the best weights, or the last ones when nothing was kept aside."""
        before, started = self.at.seconds, time.monotonic()
        saved, recent = started, list[float]()
        while self.done < 1:
            recent.append(self._step())
            self._advance(seconds=before + time.monotonic() - started)
            if self._due:
                self._check(recent)
                recent = []
                if self._tired():
                    break
            if time.monotonic() - saved > self.config.checkpoint_seconds:
                self.save()
                saved = time.monotonic()
            progress(self._line(recent), self.at.step, round(self.at.step / self.done))
        if self._aside:
            self.learner.restore(self.best)
        if self.done < 1:
            return "no improvement"
        return "epochs" if self.at.step >= self.total else "time"

    @property
    def done(self) -> float:
        """Share of the run that is over: of the steps, or of the time where that is what binds.

        The first tenth of the time does not count: its steps are slow (files are read, memory is claimed), and a run
        that ends by its steps must not depend on the clock.
        """
        by_steps = self.at.step / self.total
        limit = 60 * self.config.minutes if self.config.minutes else float("inf")
        by_time = self.at.seconds / limit
        return min(1.0, max(by_steps, by_time if by_time > 0.1 else 0.0))

    def save(self) -> None:
        """Write the checkpoint."""
        tensors: dict[str, torch.Tensor] = {}
        for number, master in enumerate(self.learner.masters):
            state = self.optimizer.state[master]
            tensors[f"weight.{number}"] = master
            tensors[f"mean.{number}"], tensors[f"square.{number}"] = state["exp_avg"], state["exp_avg_sq"]
            tensors[f"best.{number}"] = self.best[number]
        save_checkpoint(self.file, self.fingerprint, self.at, tensors)

    def _step(self) -> float:
        warmup, done = self.config.warmup, self.done
        share = done / warmup if done < warmup else (1 - done) / (1 - warmup)
        self.optimizer.param_groups[0]["lr"] = self.config.learning_rate * max(share, 1 / self.total)
        batch = self._batch([self.rows[n] for n in self.plan[self.at.step]])
        self._tokens = batch.tokens
        loss = self.learner.backward(batch)
        torch.nn.utils.clip_grad_norm_(self.learner.masters, 1.0)
        self.optimizer.step()
        self.learner.publish()
        return loss

    def _batch(self, rows: Sequence[Encoded]) -> Batch:
        return collate(rows, share=not self.learner.has_prompt)

    def _advance(self, seconds: float) -> None:
        tokens = self.at.tokens + self._tokens
        checked_at = int(self.done * self.config.checks)
        self.at = self.at.model_copy(update={"step": self.at.step + 1, "tokens": tokens, "seconds": seconds})
        self._due = int(self.done * self.config.checks) > checked_at

    @torch.no_grad()
    def _check(self, recent: list[float]) -> None:
        losses = [*self.at.losses, (self.at.step, sum(recent) / max(1, len(recent)))]
        self.at = self.at.model_copy(update={"losses": losses})
        if not self._aside:
            return
        batches = [self._batch(rows) for rows in self._aside]
        total = sum(self.learner.loss(b).item() * len(b.targets) for b in batches)
        loss = total / sum(len(b.targets) for b in batches)
        if loss < self.at.best[1]:
            self.best = [m.clone() for m in self.learner.masters]
        self.at = self.at.model_copy(update={"validation": [*self.at.validation, (self.at.step, loss)]})

    def _tired(self) -> bool:
        """No better for `patience` checks."""
        steps = [step for step, _ in self.at.validation]
        return bool(steps) and len(steps) - 1 - steps.index(self.at.best[0]) >= self.config.patience

    def _line(self, recent: Sequence[float]) -> str:
        loss = sum(recent[-20:]) / len(recent[-20:]) if recent else self.at.losses[-1][1]
        aside = f", kept aside {self.at.validation[-1][1]:.3f}" if self.at.validation else ""
        speed = self.at.tokens / max(self.at.seconds, 1e-9)
        return f"loss {loss:.3f}{aside}, {speed:.0f} tokens/s"


# Its state on disk, so that a killed run goes on where it was. Safetensors and JSON, no pickles.


class RunState(Value):
    """Where a run is."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    losses: list[tuple[int, float]] = Field(default_factory=list)
    validation: list[tuple[int, float]] = Field(default_factory=list)

    @property
    def best(self) -> tuple[int, float]:
        """Step and loss of the best check; (0, inf) before the first."""
        return min(self.validation, key=lambda entry: entry[1], default=(0, float("inf")))


def save_checkpoint(path: Path, fingerprint: str, state: RunState, tensors: dict[str, torch.Tensor]) -> None:
    """Replace the checkpoint at `path` in one step."""
    metadata = {"fingerprint": fingerprint, "progress": state.model_dump_json()}
    write_atomic(path, save({k: v.contiguous() for k, v in tensors.items()}, metadata=metadata))


def load_checkpoint(path: Path, fingerprint: str) -> tuple[RunState, dict[str, torch.Tensor]] | None:
    """The run's state; None where there is none, or one of another run (other data, base or recipe)."""
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, Any] = file.metadata() or {}
        if metadata.get("fingerprint") != fingerprint:
            return None
        state = RunState.model_validate_json(metadata["progress"])
        return state, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


# What was learnt, in PEFT's repository layout, and the record of where it comes from.


def write_folder(
    folder: Path, model: PeftModel | PreTrainedModel, base: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Write an adapter (or, for a fully trained model, the model with its tokenizer) to `folder`, its weights in f16.

    PEFT records the local path of the base, which means nothing elsewhere: `base` takes its place.
    """
    if not isinstance(model, PeftModel):
        model.half().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return
    # Left to itself, PEFT asks the hub whether the base has a larger vocabulary.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    tensors = {name: tensor.to(torch.float16).contiguous() for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base
    if "target_modules" in config:
        config["target_modules"] = sorted(config["target_modules"])
    write_atomic(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    kind = config["peft_type"].lower()
    head = f"base_model: {base}\nlibrary_name: peft\ntags: [{kind}, metier]"
    write_atomic(folder / README, f"---\n{head}\n---\n\nAn adapter ({kind}) trained by metier.\n")


def write_record(folder: Path, record: Mapping[str, Any], card: str) -> None:
    """Add the model card and `metier.json`: `record` and the SHA-256 of the files that must not change."""
    write_atomic(folder / RECORD, json.dumps({**record, "files": hashes(folder)}, indent=2) + "\n")
    write_atomic(folder / README, card)
