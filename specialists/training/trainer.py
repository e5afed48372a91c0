"""Training an adapter on a CPU: one function, a time budget, and a run that survives being killed."""

from __future__ import annotations

import random
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ...core.errors import InputError
from ...core.files import replace_folder, sha256
from ...core.models import LocalModel
from ...core.settings import settings
from ..adapters.folder import WEIGHTS
from ..engines.unpack import load_tokenizer
from .config import TrainConfig, TrainReport
from .example import TrainingExample, encode
from .model import Learner
from .publish import write_folder
from .run import Report, Run, Stopped


def silent(line: str, done: float, left: float) -> None:
    """The `Report` of those who do not watch."""


def train(
    examples: Sequence[TrainingExample],
    base: Path | LocalModel,
    out: Path,
    config: TrainConfig | None = None,
    *,
    start: Path | None = None,
    validation: Sequence[TrainingExample] = (),
    report: Report = silent,
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
        report, cache: Told about each step; where unpacked bases are kept.

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
    stopped = run.go(report)
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
) -> tuple[Run, int]:
    """A run that is ready to go, and how many examples were too long for it."""
    tokenizer = load_tokenizer(gguf, cache)
    rows, too_long = encode(examples, tokenizer, config.longest)
    aside, _ = encode(validation, tokenizer, config.longest)
    if not rows:
        raise InputError(f"nothing to train on: {len(examples)} examples, {too_long} of them too long")
    learner = Learner(gguf, config, start, cache)
    origin = sha256(gguf) + (sha256(start / WEIGHTS) if start else "")
    checkpoint = out.parent / f".{out.name}.checkpoint"
    return Run(learner, rows, aside, config, checkpoint, origin), too_long


def _split(
    examples: Sequence[TrainingExample], config: TrainConfig
) -> tuple[list[TrainingExample], list[TrainingExample]]:
    """Keep a share of the prompts aside; examples with the same prompt stay on one side."""
    prompts = sorted({repr(e.messages) for e in examples})
    aside = set(random.Random(config.seed).sample(prompts, int(len(prompts) * config.validation)))
    return [e for e in examples if repr(e.messages) not in aside], [e for e in examples if repr(e.messages) in aside]


def _summary(run: Run, too_long: int, stopped: Stopped, resumed: bool) -> TrainReport:
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
