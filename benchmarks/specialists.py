"""What specialists gain from being trained: base → skill → adapter for the set, and heads without a language model.

`python benchmarks/specialists.py DATA [--only SET] [--limit N] [--seed S] [--json OUT] [--train DIR] [--minutes M]`

`base` is untrained, `metier skill` the skill that is shipped for this base and way of working, `metier adapter` goes on
from it on the set's rows in `--train` for at most M minutes (0, the default, leaves it out). Adapters are kept by the
hash of all that they are made of, so that a second run only evaluates. Where DATA is the training folder, documents,
assets, templates and databases are scored that nothing was trained on. `adapter_bytes` is the size of one more
specialist's weights, `switch_s` what a
request waits when the request before it had another adapter, both prompts being known (99th percentile; `switch_p50_s`:
median).
"""

from __future__ import annotations

import hashlib
import json
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import Report, parser, quantile, say, wanted
from trades import label, quote, sql
from trades.trade import System, Trade, opened, skill_for

from metier.agents.cards import TeamCard
from metier.benchmarks.skills.skill import TRAINING
from metier.core.files import sha256
from metier.core.models import LocalModel, ModelStore
from metier.core.settings import settings
from metier.specialists.adapters.folder import RECORD, WEIGHTS
from metier.specialists.engines import Engine, Sampling
from metier.specialists.training.config import TrainConfig
from metier.specialists.training.train import train_adapter

TRADES: tuple[Any, ...] = (quote, label, sql)
"""Modules, each a `Trade`."""

SWITCHES = 200
SLOTS = 3
"""One for each system, so that all keep what they have read."""


def trained(trade: Trade, args: Namespace, name: str, skill: Path, base: LocalModel) -> Path | None:
    """The adapter of a set; trained only when there is none yet of this data, skill and recipe."""
    if not args.minutes:
        return None
    examples = trade.lessons(args, name)
    config = TrainConfig(minutes=args.minutes, epochs=3, seed=args.seed, learning_rate=5e-4)
    parts = (repr(examples), sha256(skill / WEIGHTS), repr(config), base.sha256("gguf"))
    made_of = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    folder = settings().home / "bench" / "specialists" / f"{name}-{made_of[:16]}"
    if not (folder / WEIGHTS).is_file():
        say(f"{name}: training on {len(examples)} prompts, at most {args.minutes:g} minutes")
        folder.parent.mkdir(parents=True, exist_ok=True)
        last = 0.0

        def tell(what: str, done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last > 15:
                last = time.monotonic()
                say(f"{name}: {what}, step {done} of {total}")

        train_adapter(examples, base, folder, config, start=skill, progress=tell)
    return folder


def measure(report: Report, args: Namespace, trade: Trade, name: str, base: LocalModel) -> None:
    """All systems on one set."""
    asked = trade.rows(args, name)
    skill = args.skill or skill_for(trade.SKILL, base.name)
    own = trained(trade, args, name, skill, base) if skill else None
    engine = opened(base, {"skill": skill, "own": own}, slots=SLOTS)
    systems = [] if args.trained_only else [System("base", engine, None)]
    systems += [System("metier skill", engine, "skill")] if skill else []
    systems += [System("metier adapter", engine, "own", trained=True)] if own else []
    for system in systems:
        trade.score(report, args, name, system, asked)
    trade.others(report, args, name, asked)
    if own:
        report.add_value(name, "metier adapter", "adapter_bytes", (own / WEIGHTS).stat().st_size)
        waits = switches(engine)
        report.add(name, "metier adapter", "switch_p50_s", waits, quantile(0.5))
        report.add(name, "metier adapter", "switch_s", waits, quantile(0.99))
    engine.close()


def switches(engine: Engine) -> Sequence[float]:
    """Seconds that a change of adapter adds to a request for one token whose prompt was read before."""
    chats = [engine.chat(Sampling(max_tokens=1), adapter=name, slot=name) for name in ("skill", "own")]
    prompt: list[Any] = [("user", "Which of the pumps was greased last?")]

    def seconds(number: int) -> float:
        start = time.perf_counter()
        chats[number].invoke(prompt)
        return time.perf_counter() - start

    for number in (0, 1, 0, 1):
        seconds(number)
    stay = float(np.median([seconds(0) for _ in range(SWITCHES)]))
    return [max(0.0, seconds(turn % 2) - stay) for turn in range(SWITCHES)]


def _made_for(folder: Path) -> Sequence[str]:
    """The ways of working that an adapter learnt: its sealed record says so, or that of its training."""
    files = [folder / name for name in (RECORD, TRAINING) if (folder / name).is_file()]
    record = json.loads(files[0].read_text(encoding="utf-8")) if files else {}
    return record.get("styles", [record["skill"]] if "skill" in record else ())


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--minutes", type=float, default=0.0, metavar="M", help="training time for each set")
    arguments.add_argument("--skill", type=Path, help="a PEFT folder in place of a shipped skill; its sets")
    arguments.add_argument("--all", action="store_true", help="score seen documents too (for a set that was left out)")
    arguments.add_argument(
        "--trained-only", action="store_true", help="without the base, which writes until it is cut off"
    )
    arguments.add_argument("--base", default=TeamCard.model_fields["base"].default)
    args = arguments.parse_args()
    base, report = ModelStore().find(args.base), Report(args)
    made_for = _made_for(args.skill) if args.skill else ()
    trades = [trade for trade in TRADES if not made_for or trade.SKILL in made_for]
    names = wanted(args, [name for trade in trades for name in trade.SETS])
    for trade in trades:
        for name in names:
            if name in trade.SETS:
                measure(report, args, trade, name, base)
    report.finish()


if __name__ == "__main__":
    main()
