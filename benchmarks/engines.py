"""The engines in this process, side by side with one base and its skill: speed, adapters, company.

    python benchmarks/engines.py DATA [--base NAME] [--skill NAME] [--only speed …] [--limit ROUNDS] [--json OUT]

DATA is not read. Each round runs the engines in turn, so that other work on the machine hits all alike; the figures
per second of processor time hold on a busy machine, too, with METIER_THREADS=1. `speed`: tokens read (a prompt of about
1,000) and written, with the base alone and with the skill beside it. `again`: seconds to the first token of a second
question over the same passages, and of the same question through another adapter. `company`: seconds of an answer (600
tokens read, 20 written) alone, and beside two loops that do nothing but run, and how many times longer that is. Ask for
it on a machine that has nothing else to do.
"""

from __future__ import annotations

import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness import Report, parser, progress, quantile

from metier.core.models import ModelStore
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
    args = arguments.parse_args()
    report, rounds = Report(args), args.limit or 5
    base = ModelStore().find(args.base)
    skill = loadable(find_skill(args.skill), base)
    assert skill
    engines = {name: open_engine(name, base, {"skill": skill}, context=2048, slots=2) for name in LOCAL}
    for number in progress(range(rounds), "rounds"):
        for name, engine in engines.items():
            if asked(args, "speed"):
                speed(name, engine, number)
            if asked(args, "again"):
                again(name, engine, number)
            if asked(args, "company"):
                company(name, engine, number)
    report.add_value("all", "metier", "threads", settings().threads)
    for (what, system, metric), values in FOUND.items():
        report.add(what, system, metric, values, quantile(0.5))
    report.finish()


FOUND: dict[tuple[str, str, str], list[float]] = {}
"""Set, system and metric to the values of all rounds."""


def keep(what: str, system: str, metric: str, value: float) -> None:
    FOUND.setdefault((what, system, metric), []).append(value)


def asked(args: Namespace, name: str) -> bool:
    return not args.only or name in args.only


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


def company(name: str, engine: Engine, number: int) -> None:
    text = passages(200 + number, 600)
    alone = answer(engine, "skill", text, 20, cache_prompt=False)[0]
    with busy_loops(2):
        beside = answer(engine, "skill", text, 20, cache_prompt=False)[0]
    keep("company", name, "alone_s", alone)
    keep("company", name, "beside_two_loops_s", beside)
    keep("company", name, "times", beside / alone)


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
