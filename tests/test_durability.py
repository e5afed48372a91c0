"""Nothing lost, nothing wrong, nothing twice: processes killed in the middle of runs, a database that is restarted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from metier.core.types import Answer
from metier.tests.house import ROOT
from metier.tests.killed import kind
from metier.tests.patience import PATIENCE
from metier.tests.postgres import Postgres
from metier.tests.shop import lines, open_shop

RUNS = 200
EFFECTS = {
    "two effects": ["pay", "book"],
    "outside": ["book", "send"],
    "approval": ["pay"],
    "hand-off": ["pay", "book"],
    "parallel": ["pay", "pay"],
}
"""What a run of each kind does, once each."""
TEXTS = {
    "two effects": "order {0} is open\ndid pay {0}\ndid book {0}",
    "outside": "did book {0}\ndid send {0}",
    "approval": "order {0} is open\nAbout {0}. [left out: it gives orders] Thank you.\ndid pay {0}",
    "hand-off": "did pay {0}\ndid book {0}",
    "parallel": "Clerk and helper: pay({0}): did pay {0}\nClerk and helper: pay({0}): did pay {0}",
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left of all runs."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "metier.tests.killed", str(folder), str(RUNS), "7"]
    subprocess.run(command, check=True, timeout=4 * PATIENCE, cwd=ROOT)
    assert lines(folder / "errors.txt") == []
    return folder


def answers(folder: Path) -> dict[int, list[Answer]]:
    """All that was said in each run: a killed process may have answered before it died."""
    said: dict[int, list[Answer]] = {}
    for line in map(json.loads, lines(folder / "answers.jsonl")):
        said.setdefault(line["run"], []).append(Answer.model_validate(line["answer"]))
    return said


def test_processes_were_really_killed_in_the_middle(killed: Path) -> None:
    kills = Counter(map(int, lines(killed / "kills.txt")))
    assert sum(kills.values()) >= RUNS * 0.7
    again = sum("specialist" in what for n in kills for what in lines(killed / "starts" / str(n))) - RUNS
    assert again > RUNS / 10, "too few were killed while a specialist worked"


def test_every_run_is_answered_and_right(killed: Path) -> None:
    said = answers(killed)
    assert sorted(said) == list(range(RUNS))
    for number, given in said.items():
        assert {(a.kind, _plain(a.text)) for a in given} == {("answer", TEXTS[kind(number)].format(f"o{number}"))}
        assert len({a.run_id for a in given}) == 1


def test_no_effect_is_lost_or_happens_twice(killed: Path) -> None:
    happened = Counter(" ".join(line.split()[:2]) for line in lines(killed / "done.txt"))
    assert happened == Counter(f"{what} o{number}" for number in range(RUNS) for what in EFFECTS[kind(number)])


def test_at_most_one_station_is_run_again_for_each_kill(killed: Path) -> None:
    kills = Counter(map(int, lines(killed / "kills.txt")))
    for number in range(RUNS):
        starts = Counter(what.split()[0] for what in lines(killed / "starts" / str(number)))
        width = 2 if kind(number) in ("parallel", "hand-off") else 1
        again = {
            "guard_in": starts["guard_in"] - 1,
            "route": starts["route"] - 1,
            "guard_out": starts["guard_out"] - 1,
            # A decision lets the station go on from its first line; what it did before is not done again.
            "specialist": starts["specialist"] - width - starts["decided"] * width,
        }
        together = width if kind(number) == "parallel" else 1  # two stations may be at work when the process dies
        assert sum(max(0, extra) for extra in again.values()) <= kills[number] * together, (number, starts)


def test_what_was_read_before_an_approval_is_not_read_again(killed: Path) -> None:
    kills = Counter(map(int, lines(killed / "kills.txt")))
    looked = Counter(lines(killed / "looked.txt"))
    assert all(looked[f"o{n}"] <= 1 + kills[n] for n in range(RUNS))


def _plain(text: str) -> str:
    """Without the keys that the bank was given."""
    return re.sub(r" [0-9a-f]{32}", "", text)


def test_a_database_that_is_restarted_costs_nothing(postgres: Postgres, tmp_path: Path) -> None:
    """500 runs on four threads; the server is stopped, or crashes, ten times meanwhile."""
    team, runs, restarts = open_shop(tmp_path, checkpoints=postgres.database()), 500, 10
    asked = iter(range(runs))
    said: dict[int, Answer] = {}

    def work() -> None:
        for number in asked:
            said[number] = team.ask(f"clerk: look(o{number}) then pay(o{number})", thread_id=f"run-{number}")

    with ThreadPoolExecutor(4) as pool, closing(team):
        workers = [pool.submit(work) for _ in range(4)]
        for restart in range(restarts):
            while len(said) < (restart + 0.5) * runs / restarts:
                assert not any(w.done() for w in workers)
                time.sleep(0.01)
            postgres.restart("immediate" if restart % 2 else "fast")
        for worker in workers:
            worker.result()
        assert sorted(t.standing for t in team.threads.list()) == ["answered"] * runs
    expected = {n: ("answer", f"order o{n} is open\ndid pay o{n}") for n in range(runs)}
    assert {n: (a.kind, _plain(a.text)) for n, a in said.items()} == expected
    assert Counter(" ".join(line.split()[:2]) for line in lines(tmp_path / "done.txt")) == Counter(
        f"pay o{n}" for n in range(runs)
    )
