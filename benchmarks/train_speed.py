"""How fast adapters are trained on this CPU: metier against TRL's SFTTrainer, on the same base, prompts and steps.

`python benchmarks/train_speed.py DATA [--minutes M] [--seed S] [--json OUT] [--train DIR]`

Both learn the prompts of the skill `quote` from `--train` (DATA is not read) for M minutes of training, with a LoRA
of rank 8 on all linear layers, batches of the same number of rows, the loss on the answers only, and the same peak
learning rate. TRL runs with what its documentation says for CPUs: `use_cpu`, `bf16`, no gradient checkpointing.
`tokens_per_second` counts prompt and answer, without padding; `loss` is the answers' mean cross-entropy on the same
kept-aside prompts afterwards, each measured by the same code. TRL is not part of any extra: `pip install trl`.
"""

from __future__ import annotations

import random
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from harness import Report, parser, say

from metier.benchmarks.skills.quote import lesson
from metier.core.errors import MetierError
from metier.core.models import LocalModel, ModelStore
from metier.core.settings import settings
from metier.specialists.engines.unpack import load_base, load_tokenizer
from metier.specialists.prompt import TrainingExample
from metier.specialists.training.config import TrainConfig
from metier.specialists.training.examples import Encoded, collate, encode, order
from metier.specialists.training.model import TrainableModel
from metier.specialists.training.train import train

SETS = ("finance_tatqa_span", "agri_agxqa", "law_cuad_qa")
RATE = 1e-3
LONGEST = 512
ROWS = 4
"""Rows in one of TRL's batches: as many as fill one of ours on the average."""

DOCUMENTED = {
    **{"use_cpu": True, "bf16": True, "gradient_checkpointing": False, "max_length": LONGEST, "warmup_steps": 5},
    **{"completion_only_loss": True, "report_to": "none", "save_strategy": "no", "logging_strategy": "no"},
    "disable_tqdm": True,
    "dataset_kwargs": {"skip_prepare_dataset": True},
}
"""TRL's settings for a CPU."""


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--minutes", type=float, default=2.0, metavar="M")
    args = arguments.parse_args()
    base, report = ModelStore().find("smollm2-135m"), Report(args)
    torch.set_num_threads(settings().threads)
    examples, aside = prompts(args, base)
    with tempfile.TemporaryDirectory() as folder:
        for name, run in (("metier", by_metier), ("trl SFTTrainer", by_trl)):
            speed, adapter, tokens = run(examples, base, Path(folder) / name.split()[0], args)
            report.add_value("training", name, "tokens_per_second", speed, tokens)
            report.add_value("training", name, "loss", loss(base, adapter, aside), len(aside))
    report.finish()


def prompts(args: Namespace, base: LocalModel) -> tuple[list[TrainingExample], list[Encoded]]:
    """What is learnt, and what the loss is measured on: none longer than `LONGEST` tokens."""
    made = lesson(args.train, SETS, args.seed, 1)
    tokenizer = load_tokenizer(base.files["gguf"])
    fitting = [e for e in made.examples if encode([e], tokenizer, LONGEST)[0]]
    random.Random(args.seed).shuffle(fitting)
    return fitting, encode(made.aside, tokenizer, LONGEST)[0]


def by_metier(examples: list[TrainingExample], base: LocalModel, out: Path, args: Namespace) -> tuple[float, Path, int]:
    """Tokens a second, the adapter, tokens."""
    config = TrainConfig(minutes=args.minutes, epochs=1, validation=0, learning_rate=RATE, seed=args.seed)
    report = train(examples, base, out, config)
    return report.tokens_per_second, out, report.tokens


def by_trl(examples: list[TrainingExample], base: LocalModel, out: Path, args: Namespace) -> tuple[float, Path, int]:
    """As `by_metier`."""
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]
        from datasets import Dataset  # pyright: ignore[reportMissingImports]
        from peft import LoraConfig
        from transformers import TrainerCallback
        from trl import SFTConfig, SFTTrainer  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MetierError(f"nothing to compare with: {error}", hint="pip install trl") from error

    class Clock(TrainerCallback):
        def on_train_begin(self, *given: Any, **more: Any) -> None:
            self.start = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.seconds, self.steps = time.monotonic() - self.start, state.global_step
            control.should_training_stop = self.seconds > limit

    limit, clock = 60 * args.minutes, Clock()
    tokenizer = load_tokenizer(base.files["gguf"])
    # Already as tokens and with a name: TRL's preparation pickles what it hashes, which fails with newer pyarrow.
    encoded, _ = encode(examples, tokenizer, LONGEST)
    rows = [{"input_ids": e.ids, "labels": [-100] * e.start + e.ids[e.start :]} for e in encoded]
    config = SFTConfig(
        output_dir=str(out), learning_rate=RATE, per_device_train_batch_size=ROWS, num_train_epochs=1, seed=args.seed,
        **DOCUMENTED,
    )  # fmt: skip
    lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(
        load_base(base.files["gguf"]), config, train_dataset=Dataset(pa.Table.from_pylist(rows), fingerprint="prompts"),
        peft_config=lora,
        callbacks=[clock], processing_class=tokenizer,
    )  # fmt: skip
    sampled = [int(n) for n in trainer._get_train_sampler() or range(len(rows))]
    trainer.train()
    trainer.save_model(str(out))
    tokens = sum(len(encoded[n].ids) for n in sampled[: clock.steps * ROWS])
    say(f"trl: {clock.steps} steps in {clock.seconds:.0f} s")
    return tokens / clock.seconds, out, tokens


@torch.no_grad()
def loss(base: LocalModel, adapter: Path, aside: list[Encoded]) -> float:
    """Mean cross-entropy of the kept-aside answers, in bf16 where the CPU is fast at it."""
    learner = TrainableModel(base.files["gguf"], TrainConfig(), adapter)
    learner.model.eval()
    batches = [collate([aside[n] for n in batch]) for batch in order(aside, 1024, 0, 0)]
    total = sum(learner.loss(batch).item() * len(batch.targets) for batch in batches)
    return total / sum(len(batch.targets) for batch in batches)


if __name__ == "__main__":
    main()
