"""One training run: steps, learning rate, checks on kept-aside rows, checkpoints."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch

from .batches import collate, order
from .checkpoint import Progress, load_checkpoint, save_checkpoint
from .config import TrainConfig
from .example import Encoded
from .model import Learner

Report = Callable[[str, float, float], None]
"""Called after each step with a line of text, the share that is done (0-1) and the seconds that are left."""

Stopped = Literal["epochs", "time", "no improvement"]


class Run:
    """The state of a run. The same rows, recipe and base give the same steps."""

    def __init__(
        self,
        learner: Learner,
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
        self.at = Progress()
        self._due = False
        self.plan: list[list[int]] = []
        self.per_epoch = len(order(rows, config.batch_tokens, config.seed, 0))
        self.total = max(1, round(self.per_epoch * config.epochs))
        for epoch in range(int(config.epochs) + 2):
            self.plan += order(rows, config.batch_tokens, config.seed, epoch)
        self.total = min(self.total, len(self.plan))
        self._aside = [[aside[n] for n in batch] for batch in order(aside, 2 * config.batch_tokens, 0, 0)]

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one of this very run."""
        found = load_checkpoint(self.file, self.fingerprint)
        if found is None:
            return False
        self.at, tensors = found
        for number, master in enumerate(self.learner.masters):
            self.optimizer.state[master] = {
                "step": torch.tensor(float(self.at.step)),
                "exp_avg": tensors[f"mean.{number}"].to(master.device),
                "exp_avg_sq": tensors[f"square.{number}"].to(master.device),
            }
            self.best[number] = tensors[f"best.{number}"]
        self.learner.restore([tensors[f"weight.{n}"] for n in range(len(self.learner.masters))])
        return True

    def go(self, report: Report) -> Stopped:
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
            report(self._line(recent), self.done, self.at.seconds * (1 / self.done - 1))
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
        loss = self.learner.backward(collate([self.rows[n] for n in self.plan[self.at.step]]))
        torch.nn.utils.clip_grad_norm_(self.learner.masters, 1.0)
        self.optimizer.step()
        self.learner.publish()
        return loss

    def _advance(self, seconds: float) -> None:
        tokens = self.at.tokens + sum(len(self.rows[n].ids) for n in self.plan[self.at.step])
        checked_at = int(self.done * self.config.checks)
        self.at = self.at.model_copy(update={"step": self.at.step + 1, "tokens": tokens, "seconds": seconds})
        self._due = int(self.done * self.config.checks) > checked_at

    @torch.no_grad()
    def _check(self, recent: list[float]) -> None:
        losses = [*self.at.losses, (self.at.step, sum(recent) / max(1, len(recent)))]
        self.at = self.at.model_copy(update={"losses": losses})
        if not self._aside:
            return
        batches = [collate(rows) for rows in self._aside]
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
        return f"step {self.at.step}, loss {loss:.3f}{aside}, {speed:.0f} tokens/s"
