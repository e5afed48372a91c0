"""Runs of the shop whose process is killed again and again: `python -m metier.tests.killed FOLDER RUNS SEED`.

Everything is loaded once; each attempt at a run is a fork of this process. It says through a pipe when its team is
open and when a station begins, and SIGKILL comes at a random moment after one of those. Then the run goes on in the
next fork.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from metier.agents.team import Team
from metier.agents.threads import Unfinished
from metier.core.types import Answer
from metier.tests.shop import lines, note, open_shop
from metier.tools.policy import Approve, Decision, Respond

TASKS = {
    "two effects": "clerk: look({0}) then pay({0}) then book({0})",
    "outside": "clerk: book({0}) then send({0})",
    "approval": "clerk: look({0}) then mail({0}) then pay({0})",
    "hand-off": "porter: pay({0}) then book({0})",
    "parallel": "clerk and helper: pay({0})",
}
"""Kinds of runs, in turn; `{0}` is the order."""
LONGEST = 0.1
"""Seconds that a run takes, until it is known better; on a busy machine it is killed sooner than it could."""
AGAIN = 0.5
"""Share of killed runs that are killed once more, and so on."""


def kind(number: int) -> str:
    """Of a run."""
    return [*TASKS][number % len(TASKS)]


def work(folder: Path, number: int, begins: Callable[[], object]) -> None:
    """Begin a run or go on with it, to its end; writes down what begins, what is decided and the answer."""
    starts = folder / "starts" / str(number)
    os.environ["METIER_TEST_STARTS"] = str(starts)

    def seen(what: str) -> None:
        note(starts, what)
        begins()

    team = open_shop(folder, seen=seen)
    begins()
    thread = f"run-{number}"
    known = thread in {t.id for t in team.threads.list()}
    answer = (
        team.threads.answer(thread) if known else team.ask(TASKS[kind(number)].format(f"o{number}"), thread_id=thread)
    )
    while answer is None or answer.kind == "waiting":
        answer = _go_on(team, thread, folder, starts)
    note(folder / "answers.jsonl", json.dumps({"run": number, "answer": answer.model_dump(mode="json")}))
    team.close()


def _go_on(team: Team, thread: str, folder: Path, starts: Path) -> Answer:
    left = team.threads.unfinished(thread)
    assert left is not None
    decisions = _decide(left, folder)
    if decisions:
        note(starts, "decided")
    return team.resume(thread, decisions)


def _decide(left: Unfinished, folder: Path) -> list[Decision]:
    """The person: approves everything, and looks whether it has happened where nobody knows."""
    happened = lines(folder / "done.txt")
    decisions: list[Decision] = []
    for action in left.request.action_requests:
        line = f"{action.name} {action.args['order']}"
        doubt = "nobody knows" in action.description
        decisions.append(Respond(message=f"did {line}") if doubt and line in happened else Approve())
    return decisions


def attempt(folder: Path, number: int, moment: tuple[int, float] | None) -> float | None:
    """One fork, killed unless `moment` is None: so many seconds after so many stations have begun. How long it worked;
    None when it did not get to its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(folder, number, lambda: os.write(writing, b"."))
            os._exit(0)
        except BaseException as error:
            note(folder / "errors.txt", f"{number}: {type(error).__name__}: {error}")
            os._exit(1)
    os.close(writing)
    os.read(reading, 1)  # or nothing, when the child has ended
    start = time.monotonic()
    if moment is not None:
        stations, delay = moment
        for _ in range(stations):
            os.read(reading, 1)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    return time.monotonic() - start if os.waitstatus_to_exitcode(status) == 0 else None


def main(folder: Path, runs: int, seed: int) -> None:
    """All runs, one after the other."""
    dice, longest = random.Random(seed), LONGEST
    (folder / "starts").mkdir()
    open_shop(folder).close()
    gc.freeze()  # what is loaded stays shared with the forks
    for number in range(runs):
        moment = _moment(dice, longest)
        while (seconds := attempt(folder, number, moment)) is None:
            if moment is None:
                return  # not killed and yet not at its end: errors.txt says why
            note(folder / "kills.txt", str(number))
            moment = _moment(dice, longest) if dice.random() < AGAIN else None
        if moment is None:
            longest = min(LONGEST, (longest + seconds) / 2)


def _moment(dice: random.Random, longest: float) -> tuple[int, float] | None:
    """Each run routes and has a specialist at work: it is killed before, between or after these have begun."""
    return dice.randrange(3), dice.uniform(0, longest / 2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
