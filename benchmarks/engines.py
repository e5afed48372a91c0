"""The engines in this process, side by side with one base and its skill: speed, adapters, company.

    python benchmarks/engines.py DATA [--quick] [--base NAME] [--skill NAME] [--only PART …] [--limit N] [--json OUT]

DATA is not read. Each round runs the engines in turn, so that other work on the machine hits all alike; the figures
per second of processor time hold on a busy machine, too, with METIER_THREADS=1. `speed`: tokens read (a prompt of about
1,000) and written, with the base alone and with the skill beside it. `again`: seconds to the first token of a second
question over the same passages, and of the same question through another adapter. `switch`: how much longer the first
token of a short prompt takes where the request before it had another adapter (two, of the same weights, and one memory
for both). `company`: seconds of an answer (600 tokens read, 20 written) alone, and beside two loops that do nothing but
run, and how many times longer that is. Ask for it on a machine that has nothing else to do.

`ratios`: the figures that there are aims for, each round against itself, and whether they are met. `--quick` measures
what these need and nothing else, in under five minutes on two quiet cores.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from harness import Report, Statistic, parser, progress, quantile, say

from metier.core.models import LocalModel, ModelStore
from metier.core.settings import settings
from metier.specialists.adapters.choose import find_skill, loadable
from metier.specialists.engines import Engine, Sampling, open_engine
from metier.specialists.engines.speed import LOCAL

SENTENCE = "The carousel bearing of line {} is greased every {} hours with lithium grease by the fitter on shift. "
LOOP = "while True: pass"


def main() -> None:
    arguments = parser("The engines in this process, side by side.")
    arguments.add_argument("--base", default="qwen2.5-coder-0.5b")
    arguments.add_argument("--skill", default="general", help="the adapter, a shipped skill for that base")
    arguments.add_argument("--quick", action="store_true", help="only what the aims are about, few rounds")
    args = arguments.parse_args()
    report = Report(args)
    base = ModelStore().find(args.base)
    skill = loadable(find_skill(args.skill), base)
    assert skill
    for what, rounds in QUICK.items() if args.quick else dict.fromkeys(PARTS, ROUNDS).items():
        if not args.only or what in args.only:
            # One memory for both adapters, so that it must switch.
            slots = 1 if what == "switch" else 2
            engines = ["openvino"] if args.quick and what == "switch" else [*LOCAL]
            measure(what, base, {"skill": skill, "same": skill}, engines, slots, args.limit or rounds)
    report.add_value("all", "metier", "threads", settings().threads)
    for (what, system, metric), values in FOUND.items():
        report.add(what, system, metric, values, quantile(0.5))
    for metric, aim, ratio, statistic in ratios():
        report.add("ratios", "openvino", metric, ratio, statistic)
        met = "met" if met_by(aim, statistic(np.asarray(ratio))) else "not met"
        say(f"{metric}: {statistic(np.asarray(ratio)):.4g}, aim {aim}: {met}")
    report.finish()


ROUNDS = 5

QUICK = {"speed": 3, "company": 2, "switch": 1}
"""What `--quick` measures, and how many rounds of each."""

SWITCHES = 100
"""Requests of a round that are answered with the adapter of the one before, and as many with the other."""


def measure(what: str, base: LocalModel, adapters: dict[str, Path], names: list[str], slots: int, rounds: int) -> None:
    """Run all rounds of one part, every engine in each."""
    with ExitStack() as stack:
        engines = {
            name: stack.enter_context(closing(open_engine(name, base, adapters, context=2048, slots=slots)))
            for name in names
        }
        for number in progress(range(rounds), what):
            for name, engine in engines.items():
                PARTS[what](name, engine, number)


def ratios() -> Iterator[tuple[str, str, list[float], Statistic]]:
    """Metric, aim, values and what is taken of them, as far as they were measured."""
    median, first = quantile(0.5), ("speed", "openvino base", "read_tokens_per_s")
    if first in FOUND:
        llama = FOUND["speed", "llama base", "read_tokens_per_s"]
        yield "read_against_llama", ">= 3.5", divided(FOUND[first], llama), median
        ours = FOUND["speed", "openvino skill", "read_tokens_per_s"]
        theirs = FOUND["speed", "llama skill", "read_tokens_per_s"]
        yield "read_with_lora_against_llama_with_it", ">= 2.3", divided(ours, theirs), median
        yield "read_with_lora_against_llama_without", ">= 2.3", divided(ours, llama), median
    if ("switch", "openvino", "switch_s") in FOUND:
        yield "switch_p99_s", "<= 0.005", FOUND["switch", "openvino", "switch_s"], quantile(0.99)
    if ("company", "openvino", "times") in FOUND:
        yield "beside_two_loops_times", "<= 3", FOUND["company", "openvino", "times"], median


def divided(ours: list[float], theirs: list[float]) -> list[float]:
    """Of the same rounds."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def met_by(aim: str, value: float) -> bool:
    sign, bound = aim.split()
    return value >= float(bound) if sign == ">=" else value <= float(bound)


FOUND: dict[tuple[str, str, str], list[float]] = {}
"""Set, system and metric to the values of all rounds."""


def keep(what: str, system: str, metric: str, value: float) -> None:
    FOUND.setdefault((what, system, metric), []).append(value)


def passages(number: int, tokens: int) -> str:
    """A text of about so many tokens, another one for each number."""
    return "".join(SENTENCE.format(number * 1000 + n, 7 * n + number) for n in range(tokens // 22))


def answer(engine: Engine, adapter: str | None, text: str, tokens: int, **how: Any) -> tuple[float, float, int, int]:
    """Seconds, seconds of processor time, tokens read now, and tokens written."""
    chat = engine.chat(Sampling(max_tokens=tokens), adapter=adapter, slot=str(adapter))
    clock, cpu = time.perf_counter(), time.process_time()
    usage = chat.invoke(text, **how).usage_metadata
    spent = time.perf_counter() - clock, time.process_time() - cpu
    assert usage
    known = usage.get("input_token_details", {}).get("cache_read", 0)
    return *spent, usage["input_tokens"] - known, usage["output_tokens"]


def speed(name: str, engine: Engine, number: int) -> None:
    for form, adapter in (("base", None), ("skill", "skill")):
        text, system = passages(number, 1000), f"{name} {form}"
        seconds, cpu, read, _ = answer(engine, adapter, text, 1, cache_prompt=False)
        keep("speed", system, "read_tokens_per_s", read / seconds)
        keep("speed", system, "read_tokens_per_cpu_s", read / cpu)
        seconds, cpu, _, written = answer(engine, adapter, text, 24)
        keep("speed", system, "written_tokens_per_s", written / seconds)
        keep("speed", system, "written_tokens_per_cpu_s", written / cpu)


def again(name: str, engine: Engine, number: int) -> None:
    text = passages(100 + number, 500)
    for metric, adapter, question in (
        ("first_question_s", "skill", "When is line 3 greased?"),
        ("second_question_s", "skill", "Who greases line 5?"),
        ("other_adapter_s", None, "Who greases line 5?"),
    ):
        keep("again", name, metric, answer(engine, adapter, f"{text}\n{question}", 1)[0])


def switch(name: str, engine: Engine, number: int) -> None:
    text, seconds = f"Hello {number}", dict[bool, list[float]]({True: [], False: []})
    before = "skill"
    answer(engine, before, text, 1, cache_prompt=False)
    for turn in range(2 * SWITCHES):
        adapter = ("skill" if before == "same" else "same") if turn % 2 else before
        spent = answer(engine, adapter, text, 1, cache_prompt=False)[0]
        seconds[adapter != before].append(spent)
        before = adapter
    usual = statistics.median(seconds[False])
    keep("switch", name, "first_token_s", usual)
    for spent in seconds[True]:
        keep("switch", name, "switch_s", spent - usual)


def company(name: str, engine: Engine, number: int) -> None:
    text = passages(200 + number, 600)
    alone = answer(engine, "skill", text, 20, cache_prompt=False)[0]
    with busy_loops(2):
        beside = answer(engine, "skill", text, 20, cache_prompt=False)[0]
    keep("company", name, "alone_s", alone)
    keep("company", name, "beside_two_loops_s", beside)
    keep("company", name, "times", beside / alone)


PARTS = {"speed": speed, "again": again, "switch": switch, "company": company}


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(count)]
    try:
        time.sleep(0.3)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    main()
