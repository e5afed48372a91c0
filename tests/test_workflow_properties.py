"""Random plans: order, steps at the same time, resume after a kill at any step, and results that do not depend on who
was faster. What a plan must give is computed beside it, by a few lines that know no graph.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metier.agents.cards import Blueprint, TeamCard
from metier.agents.threads import Threads
from metier.agents.workflows.execute import Workflow
from metier.agents.workflows.plan import Plan, PlanBudget
from metier.core.run import Emit, ignore
from metier.core.types import Answer, Brief, Route
from metier.memory.open import open_checkpoints
from metier.memory.records import Records
from metier.specialists.card import SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.specialist import Specialist
from metier.tests.patience import PATIENCE
from metier.tests.shop import lines, note
from metier.tools.runner import Ledger

ITEMS = ("x", "y")


class Killed(BaseException):
    """The process ends here."""


class Nobody:
    """A router that sends every task away."""

    def route(self, text: str, *, context: Sequence[str] = ()) -> Route:
        return Route(decision="abstain", confidence=1.0, reason="nobody")


class Hands:
    """A team that says what it was asked, and notes when it begins and ends. Its threads are real ones on a file."""

    def __init__(self, folder: Path, meanwhile: Callable[[str], None] = lambda task: None) -> None:
        card = SpecialistCard(name="one", description="Says what it was asked.")
        self.blueprint = Blueprint.of(TeamCard(name="hands", specialists=["one"]), [card], folder)
        self.specialists: Mapping[str, Specialist] = {"one": Specialist(card, ScriptedEngine([]))}
        self.threads = Threads(open_checkpoints("sqlite", folder), Ledger(), Records(folder / "records.sqlite"))
        self.meanwhile, self.log = meanwhile, list[tuple[str, str]]()
        self.router = Nobody()
        self._lock = threading.Lock()

    def take(self, brief: Brief, specialist: str | None = None, *, emit: Emit = ignore) -> Answer:
        name = brief.task.partition(":")[0]
        self._note("begin", name)
        self.meanwhile(name)
        self._note("end", name)
        return Answer(text=f"<{brief.task}>", specialist=specialist, confidence=1.0)

    def _note(self, what: str, name: str) -> None:
        with self._lock:
            self.log.append((what, name))


Shape = dict[str, tuple[str, list[str]]]
"""Step to its kind (`ask`, `join`, `each`, `maybe`) and to those that it uses."""


@st.composite
def shapes(draw: st.DrawFn, kinds: tuple[str, ...] = ("ask", "join", "each", "maybe")) -> Shape:
    """A plan whose steps stand in any order in it."""
    count = draw(st.integers(2, 7))
    names = [f"s{n}" for n in range(count)]
    shape: Shape = {}
    for number, name in enumerate(names):
        used = draw(st.lists(st.sampled_from(names[:number]), unique=True, max_size=3)) if number else []
        shape[name] = (draw(st.sampled_from(kinds)), sorted(used))
    return {name: shape[name] for name in draw(st.permutations(names))}


def plan_of(shape: Shape) -> Plan:
    steps: dict[str, Any] = {}
    for name, (kind, used) in shape.items():
        task = f"{name}: {' '.join(f'{{{{ {one} }}}}' for one in used)}"
        match kind:
            case "ask":
                steps[name] = {"ask": "one", "task": task}
            case "join":
                steps[name] = {"join": task}
            case "each":
                inner = {"ask": "one", "task": task.replace(":", ".{{ item }}:", 1)}
                steps[name] = {"for_each": f"{{{{ {[*ITEMS]} }}}}", "at_most": 2, "steps": {"said": inner}}
            case _:  # left out where what it uses is short
                condition = f"{{{{ ('' ~ {' ~ '.join(used)}) | length > 20 }}}}" if used else None
                steps[name] = {"join": task, "when": condition}
    return Plan.model_validate({"name": "random", "steps": steps})


def expected(shape: Shape) -> dict[str, str]:
    """What each step must say, computed without a graph."""
    said: dict[str, str] = {}

    def text(name: str) -> str:
        if name not in said:
            kind, used = shape[name]
            rest = " ".join(map(text, used))
            match kind:
                case "ask":
                    said[name] = f"<{name}: {rest}>" if not any(gone(one) for one in used) else left_out(used)
                case "join":
                    said[name] = f"{name}: {rest}"
                case "each":
                    turns = [f"item: {item}, said: {turn(name, item, used, rest)}" for item in ITEMS]
                    said[name] = "\n".join(turns)
                case _:
                    short = used and len("".join(map(text, used))) <= 20
                    condition = f"{{{{ ('' ~ {' ~ '.join(used)}) | length > 20 }}}}"
                    said[name] = f"(left out: {condition} is false)" if short else f"{name}: {rest}"
        return said[name]

    def gone(name: str) -> bool:
        return text(name).startswith("(left out")

    def left_out(used: list[str]) -> str:
        first = next(one for one in sorted(used) if gone(one))
        return f"(left out: '{first}' was left out: {text(first).removeprefix('(left out: ').removesuffix(')')})"

    def turn(name: str, item: str, used: list[str], rest: str) -> str:
        return left_out(used) if any(gone(one) for one in used) else f"<{name}.{item}: {rest}>"

    return {name: text(name) for name in shape}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new folder for each example."""

    def numbered() -> Iterator[Path]:
        while True:
            yield tmp_path_factory.mktemp("run")

    return numbered()  # pyright: ignore[reportReturnType]


FEW = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@FEW
@given(shape=shapes(), seconds=st.lists(st.sampled_from([0.0, 0.001, 0.01]), min_size=7, max_size=7))
def test_steps_keep_their_order_and_results_do_not_depend_on_time(
    folders: Iterator[Path], shape: Shape, seconds: list[float]
) -> None:
    plan = plan_of(shape)
    runs = []
    for pauses in (seconds, seconds[::-1]):
        hands = Hands(next(folders), lambda task, pauses=pauses: time.sleep(pauses[int(task[1])]))
        runs.append(Workflow(plan, hands).run())
        hands.threads.close()
        ended: set[str] = set()
        for what, name in hands.log:
            step = name.partition(".")[0]
            if what == "end":
                ended.add(name)
            else:
                asks = [one for one in nx.ancestors(plan.graph(), step) if shape[one][0] == "ask"]
                assert {one for one in asks if ("begin", one) in hands.log} <= ended
    first, second = runs
    assert {name: str(result) for name, result in first.results.items()} == expected(shape)
    assert (first.results, first.trouble, list(first.results)) == (second.results, second.trouble, list(shape))
    assert Workflow(plan, hands).run_row({}).results == first.results


@FEW
@given(shape=shapes(kinds=("ask",)))
def test_steps_that_do_not_need_each_other_work_at_the_same_time(folders: Iterator[Path], shape: Shape) -> None:
    plan = plan_of(shape).model_copy(update={"budget": PlanBudget(parallel=8)})
    levels = {name: [*level] for level in nx.topological_generations(plan.graph()) for name in level}
    meet = {name: threading.Barrier(len(level)) for level in levels.values() for name in level}
    for level in levels.values():
        meet.update(dict.fromkeys(level, meet[level[0]]))

    def together(task: str) -> None:
        meet[task].wait(PATIENCE)

    hands = Hands(next(folders), together)
    run = Workflow(plan, hands).run()
    hands.threads.close()
    assert {name: str(result) for name, result in run.results.items()} == expected(shape)


def test_so_many_work_at_once_loops_counted(folders: Iterator[Path]) -> None:
    """Four turns of three steps at two at once, which the steps of all turns share."""
    most, at_work, lock = 0, 0, threading.Lock()
    met = threading.Barrier(2)

    def count(task: str) -> None:
        nonlocal most, at_work
        with lock:
            at_work += 1
            most = max(most, at_work)
        met.wait(PATIENCE)  # nobody goes on alone: two are at work, always
        with lock:
            at_work -= 1

    inner = {name: {"ask": "one", "task": f"{name}.{{{{ item }}}}"} for name in "abc"}
    loop = {"for_each": "{{ [1, 2, 3, 4] }}", "at_most": 4, "steps": inner}
    plan = Plan.model_validate({"name": "wide", "budget": {"parallel": 2}, "steps": {"each": loop}})
    hands = Hands(next(folders), count)
    run = Workflow(plan, hands).run()
    hands.threads.close()
    assert (run.status, most, len(hands.log)) == ("done", 2, 24)


@FEW
@given(shape=shapes(), number=st.integers(0, 8))
def test_a_run_that_was_killed_goes_on_and_does_nothing_again(
    folders: Iterator[Path], shape: Shape, number: int
) -> None:
    plan, folder, seen = plan_of(shape), next(folders), list[str]()

    def die(task: str) -> None:
        seen.append(task)
        if len(seen) == number + 1:
            raise Killed(task)

    hands = Hands(folder, die)
    try:
        done = Workflow(plan, hands).run(run_id="r")
    except Killed:
        hands.threads.close()
        later = Hands(folder)
        assert Workflow(plan, later).find("r").status == "running"
        done = Workflow(plan, later).resume("r")
        graph, at = plan.graph(), seen[number].partition(".")[0]
        level = next(level for level in nx.topological_generations(graph) if at in level)
        before = nx.ancestors(graph, at)
        again = Counter(name for what, name in [*hands.log, *later.log] if what == "end")
        for name, times in again.items():
            step = name.partition(".")[0]
            assert times == 1 or step in level or step not in before
        assert not {name.partition(".")[0] for what, name in later.log} & before
        later.threads.close()
    assert {name: str(result) for name, result in done.results.items()} == expected(shape)


SCRIPT = """
import os, signal, sys
from pathlib import Path
from metier.agents.workflows.execute import Workflow
from metier.tests.shop import note
from metier.tests.test_workflow_properties import CHAIN, Hands, plan_of

folder, at, begin = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "begin"

def die(task):
    note(folder / "took.txt", task)
    if task == at:
        os.kill(os.getpid(), signal.SIGKILL)

workflow = Workflow(plan_of(CHAIN), Hands(folder, die))
workflow.run(run_id="r") if begin else workflow.resume("r")
"""
CHAIN: Shape = {"s0": ("ask", []), "s1": ("each", ["s0"]), "s2": ("ask", ["s1"]), "s3": ("ask", ["s2"])}


def test_sigkill_in_a_loop_and_after_it(tmp_path: Path) -> None:
    for at, how in (("s1.y", "begin"), ("s3", "go on")):
        ended = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path, at, how], check=False)
        assert ended.returncode == -signal.SIGKILL
    hands = Hands(tmp_path, lambda task: note(tmp_path / "took.txt", task))
    run = Workflow(plan_of(CHAIN), hands).resume("r")
    assert {name: str(result) for name, result in run.results.items()} == expected(CHAIN)
    took = Counter(lines(tmp_path / "took.txt"))
    assert (took["s0"], took["s2"], took["s3"]) == (1, 1, 2)
    assert took["s1.x"] <= 2
    hands.threads.close()
