"""What all benchmarks share: their arguments, reading the sets, progress, intervals, the table and the JSON file.

A benchmark is a script `python benchmarks/NAME.py DATA [--only SET] [--limit N] [--seed S] [--json OUT] [--train DIR]`:

    def main() -> None:
        args = parser("What is measured.").parse_args()
        report = Report(args)
        for row in progress(read_set(args, "my_set"), "my_set"):
            ...
        report.add("my_set", "metier", "accuracy", scores)
        report.finish()

DATA is only ever scored. Whatever is trained, tuned or thresholded reads `args.train` (`read_training`).
Values are fractions (0–1) or SI units.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.console import Console
from rich.table import Table

from metier.core.files import read_jsonl

TRAIN = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Where training and tuning read, unless `--train` says otherwise."""

PACKAGES = ("metier", "numpy", "scikit-learn", "openvino", "tokenizers", "xllamacpp", "langgraph", "langchain-core")

Item = TypeVar("Item")

Statistic = Callable[[NDArray[Any]], float]


class Row(NamedTuple):
    """One figure. `low` and `high` bound the 95 % bootstrap interval; `n` is the number of scored items."""

    set: str
    system: str
    metric: str
    value: float
    n: int
    low: float
    high: float


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments of every benchmark; add your own to what this returns."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("data", type=Path, metavar="DATA", help="folder of the sets that are scored")
    made.add_argument("--only", action="append", metavar="SET", help="only this set (may be given again)")
    made.add_argument("--limit", type=int, metavar="N", help="at most N rows of each set, drawn with the seed")
    made.add_argument("--seed", type=int, default=0, metavar="S")
    made.add_argument("--json", type=Path, metavar="OUT", help="write the figures there")
    made.add_argument("--train", type=Path, default=TRAIN, metavar="DIR", help="what training and thresholds read")
    return made


def wanted(args: argparse.Namespace, sets: Iterable[str]) -> list[str]:
    """Those of `sets` that were asked for and that DATA holds; says aloud which are absent."""
    found: list[str] = []
    for name in sets:
        if args.only and name not in args.only:
            continue
        if (args.data / f"{name}.jsonl").is_file():
            found.append(name)
        else:
            say(f"{name}: not in {args.data}, skipped")
    return found


def read_set(args: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    """The rows of DATA/name.jsonl that are scored: all, or `--limit` of them drawn with the seed, in file order."""
    return sample(read_jsonl(args.data / f"{name}.jsonl"), args.limit, args.seed)


def read_training(args: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    """The rows of TRAIN/name.jsonl; empty where there is no such file."""
    path = args.train / f"{name}.jsonl"
    return read_jsonl(path) if path.is_file() else []


def sample(rows: list[Item], limit: int | None, seed: int) -> list[Item]:
    """At most `limit` rows, drawn without replacement, in their old order."""
    if limit is None or limit >= len(rows):
        return rows
    return [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), limit))]


def mean(scores: NDArray[Any]) -> float:
    return float(np.mean(scores))


def quantile(q: float) -> Statistic:
    """A statistic for latencies: `report.add(…, "p99_s", seconds, quantile(0.99))`."""
    return lambda scores: float(np.quantile(scores, q))


def auroc(scores: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Probability that a right answer (`y` is 1) scores higher than a wrong one (0)."""
    right, wrong = scores[y == 1], scores[y == 0]
    return float(np.mean((right[:, None] > wrong).astype(float) + 0.5 * (right[:, None] == wrong)))


def bootstrap(
    scores: ArrayLike, statistic: Statistic = mean, *, seed: int = 0, resamples: int = 1000
) -> tuple[float, float]:
    """The 95 % percentile interval of `statistic` over the rows of `scores` (Efron, 1979).

    `scores` has one row an item; several columns are resampled together, so that a statistic may compare them.
    """
    array = np.asarray(scores)
    generator = np.random.default_rng(seed)
    draws = [statistic(array[generator.integers(0, len(array), len(array))]) for _ in range(resamples)]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return float(low), float(high)


class Report:
    """Collects figures; `finish` prints the table and writes `--json`."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.rows: list[Row] = []
        self._args = args
        self._start = time.perf_counter()

    def add(self, set: str, system: str, metric: str, scores: ArrayLike, statistic: Statistic = mean) -> Row:
        """Scores of single items (0/1, F1, seconds …) become one figure with its interval."""
        array = np.asarray(scores, dtype=float)
        if not len(array):
            raise ValueError(f"{set}, {system}, {metric}: nothing was scored")
        low, high = bootstrap(array, statistic, seed=self._args.seed)
        return self._keep(Row(set, system, metric, statistic(array), len(array), low, high))

    def add_value(self, set: str, system: str, metric: str, value: float, n: int = 1) -> Row:
        """A figure that was measured once (a training time, a file size): its interval is the value itself."""
        return self._keep(Row(set, system, metric, float(value), n, float(value), float(value)))

    def _keep(self, row: Row) -> Row:
        self.rows.append(row)
        say(f"{row.set} · {row.system} · {row.metric} = {figure(row.value)} [{figure(row.low)}, {figure(row.high)}]")
        return row

    def as_dict(self) -> dict[str, Any]:
        return {
            "machine": machine(),
            "versions": versions(),
            "seconds": time.perf_counter() - self._start,
            "rows": [row._asdict() for row in self.rows],
        }

    def finish(self) -> None:
        table = Table("set", "system", "metric", "value", "95 % interval", "n")
        for row in self.rows:
            interval = f"{figure(row.low)} – {figure(row.high)}"
            table.add_row(row.set, row.system, row.metric, figure(row.value), interval, str(row.n))
        Console(width=None if sys.stdout.isatty() else 120).print(table)
        self.write()

    def write(self) -> None:
        """The JSON file, when it was asked for; `finish` does it, too."""
        if self._args.json:
            self._args.json.parent.mkdir(parents=True, exist_ok=True)
            self._args.json.write_text(json.dumps(self.as_dict(), indent=1, ensure_ascii=False), encoding="utf-8")
            say(f"written: {self._args.json}")


def figure(value: float) -> str:
    """Four significant digits where they matter: fractions and milliseconds stay readable."""
    return f"{value:.4f}" if 0.01 <= abs(value) < 100 or value == 0 else f"{value:.4g}"


def machine() -> dict[str, Any]:
    """What the figures were measured on, without anything that names its owner."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"system": platform.system(), "cpu": _cpu(), "cores": cores, "python": platform.python_version()}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of the packages that the figures depend on; absent ones are left out."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def progress(items: Collection[Any], label: str, every: float = 5.0) -> Iterator[Any]:
    """Walk over `items`; on stderr say how far it is and how long it will take, every few seconds."""
    start = last = time.perf_counter()
    for done, item in enumerate(items):
        now = time.perf_counter()
        if done and now - last >= every:
            last, left = now, (now - start) / done * (len(items) - done)
            say(f"{label}: {done}/{len(items)}, about {left:.0f} s left")
        yield item


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout holds the table alone."""
    print(text, file=sys.stderr, flush=True)
