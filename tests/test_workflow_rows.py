"""Rows in and out: killed again and again, every row comes out once and is right; rows that act or ask are runs."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metier.agents.workflows.execute import Workflow
from metier.agents.workflows.files import write_plan
from metier.agents.workflows.plan import Plan
from metier.agents.workflows.rows import run_rows
from metier.core.errors import InputError, StateError
from metier.tests.conftest import Run
from metier.tests.patience import until
from metier.tests.shop import lines
from metier.tests.workflow_team import open_office
from metier.tools.policy import Approve


def chain(steps: int) -> Plan:
    """Adds 1 for each step; every other one is text, and one goes through a loop."""
    made: dict[str, Any] = {"s0": {"calculate": "{{ x }} + 1"}}
    for n in range(1, steps):
        made[f"s{n}"] = {"calculate": f"{{{{ s{n - 1} }}}} + 1"}
    inner = {"y": {"calculate": "{{ i }} * {{ s0.value }}"}}
    made["each"] = {"for_each": "{{ [1, 2] }}", "as": "i", "at_most": 2, "steps": inner}
    made["out"] = {"join": f"{{{{ s{steps - 1} }}}} {{% for one in each.items %}}{{{{ one.y }}}} {{% endfor %}}"}
    return Plan.model_validate({"name": "chain", "parameters": {"x": {"type": "integer"}}, "steps": made})


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


STEPS, ROWS = 20, 100


def right(x: int) -> str:
    return f"{x + STEPS} {x + 1} {2 * (x + 1)} "


def test_killed_three_times_every_row_comes_out_once(tmp_path: Path) -> None:
    write_plan(chain(STEPS), tmp_path / "chain.yaml")
    source = write_rows(tmp_path / "in.jsonl", [{"x": x} for x in range(ROWS)])
    target = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "metier", "run", str(tmp_path / "chain.yaml"), "-t", str(tmp_path), "--json"]
    command += ["--in", str(source), "--out", str(target), "--workers", "2"]
    dice = random.Random(3)
    goals = sorted(dice.sample(range(5, ROWS - 25), 3))

    def killed_at(goal: int) -> bool:
        """Killed when so many rows are there; False where it had all before that was seen."""
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            written = lambda: target.exists() and len(target.read_bytes().splitlines()) >= goal  # noqa: E731
            until(lambda: process.poll() is not None or written(), pause=0.002)
            process.kill()
        assert process.returncode in (0, -signal.SIGKILL)
        return process.returncode != 0

    while not all(killed_at(goal) for goal in goals):
        target.unlink()
    with target.open("ab") as file:
        file.write(b'{"row": 99, "key": "cut o')  # a line that a kill has cut
    last = subprocess.run(command, capture_output=True, text=True, check=True)
    done = json.loads(last.stdout)
    assert (done["rows"], done["done"], done["failed"]) == (ROWS, ROWS, 0)
    assert done["before"] >= goals[-1]
    rows = read(target)
    assert sorted(row["row"] for row in rows) == [*range(1, ROWS + 1)]
    assert all(row["text"] == right(row["row"] - 1) for row in rows)
    assert [path.name for path in tmp_path.glob("out*")] == ["out.jsonl"]


def test_rows_as_people_have_them(tmp_path: Path) -> None:
    rows = ['{"x": 1}', "", '{"x": "two"}', "no json", "[1]", '{"y": 1}', '{"x": "5"}']
    target = tmp_path / "out.jsonl"
    done = run_rows(Workflow(chain(2)), write_rows(tmp_path / "in.jsonl", rows), target)
    assert (done.rows, done.done, done.failed) == (6, 2, 4)
    found = read(target)
    assert [row["status"] for row in found] == ["done", "failed", "failed", "failed", "failed", "done"]
    assert "'two' is no integer" in found[1]["trouble"][0]["reason"]
    assert found[5]["text"] == "7 6 12 "
    assert run_rows(Workflow(chain(2)), tmp_path / "in.jsonl", target).before == 6
    again = run_rows(Workflow(chain(2)), tmp_path / "in.jsonl", target, retry=True)
    assert (again.before, again.failed, len(read(target))) == (2, 4, 6)


def test_results_of_other_rows_or_plans_are_left_alone(tmp_path: Path) -> None:
    source, target = write_rows(tmp_path / "in.jsonl", [{"x": 1}, {"x": 2}]), tmp_path / "out.jsonl"
    run_rows(Workflow(chain(2)), source, target)
    before = target.read_bytes()
    with pytest.raises(InputError, match="another plan"):
        run_rows(Workflow(chain(3)), source, target)
    with pytest.raises(InputError, match="another row"):
        run_rows(Workflow(chain(2)), write_rows(tmp_path / "other.jsonl", [{"x": 1}, {"x": 3}]), target)
    with pytest.raises(InputError, match="something else"):
        run_rows(Workflow(chain(2)), target, source)
    assert target.read_bytes() == before


def test_only_one_writes_a_file(tmp_path: Path) -> None:
    source, target = write_rows(tmp_path / "in.jsonl", [{"x": 1}]), tmp_path / "out.jsonl"

    def again(what: str, done: int, total: int) -> None:
        with pytest.raises(StateError, match="another process"):
            run_rows(Workflow(chain(2)), source, target)

    assert run_rows(Workflow(chain(2)), source, target, progress=again).done == 1


def test_rows_that_act_are_runs_and_go_on_where_they_stood(tmp_path: Path) -> None:
    steps = {
        "first": {"ask": "manuals", "task": "look at {{ order }}"},
        "book": {"tool": "book", "arguments": {"order": "{{ order }}"}},
    }
    acting = Plan.model_validate({"name": "acting", "parameters": {"order": {}}, "steps": steps})
    source, target = write_rows(tmp_path / "in.jsonl", [{"order": "a"}, {"order": "b"}]), tmp_path / "out.jsonl"
    with open_office(tmp_path, policy={"ask": ["book"]}) as team:
        workflow = Workflow(acting, team)
        done = run_rows(workflow, source, target)
        assert (done.waiting, done.done, read(target)) == (2, 0, [])
        assert run_rows(workflow, source, target).waiting == 2
        waiting = [run.run_id for run in workflow.runs()]
        workflow.resume(waiting[0], [Approve()])
        assert run_rows(workflow, source, target).waiting == 1
        workflow.resume(waiting[1], [Approve()])
        assert run_rows(workflow, source, target).done == 2
    assert sorted(lines(tmp_path / "asked.txt")) == ["look at a", "look at b"]
    assert sorted(lines(tmp_path / "done.txt")) == ["book a", "book b"]
    assert sorted(row["text"] for row in read(target)) == ["did book a", "did book b"]


def test_a_row_gives_what_a_run_gives(tmp_path: Path) -> None:
    quote = {"ask": "manuals", "task": "{{ item.machine }}"}
    with open_office(tmp_path) as team:
        steps = {
            "rows": {"ask": "figures", "task": "slow {{ x }}"},
            "bad": {"ask": "manuals", "task": "fail", "on_failure": "skip"},
            "each": {"for_each": "{{ rows }}", "at_most": 1, "steps": {"q": {**quote}}},
            "sub": {"workflow": "chain", "arguments": {"x": "{{ rows.rows | length }}"}},
            "gone": {"join": "x", "when": "{{ x > 3 }}"},
            "out": {"join": "{{ each }} {{ bad }} {{ sub }} {{ gone }}"},
        }
        made = Plan.model_validate({"name": "made", "parameters": {"x": {"type": "integer"}}, "steps": steps})
        workflow = Workflow(made, team, workflows={"chain": chain(3)})
        one, other = workflow.run({"x": 1}), workflow.run_row({"x": 1})
        assert one.results == other.results
        assert (one.trouble, one.status, one.answer.citations) == (other.trouble, "done", other.answer.citations)


def test_the_command_and_its_exit_codes(run: Run, tmp_path: Path) -> None:
    write_plan(chain(3), tmp_path / "chain.yaml")
    where = (tmp_path / "chain.yaml", "-t", tmp_path)
    good = run("run", *where, "-p", "x=4", "--json")
    assert (good.code, json.loads(good.out)["result"]["text"]) == (0, "7 5 10 ")
    assert "s2" in run("run", *where, "-p", "x=4").out
    dry = run("run", *where, "-p", "x=4", "--dry-run")
    assert "calculate: 4 + 1" in dry.out
    assert "at most 2 times" in dry.out
    wrong = run("run", *where, "-p", "x=four")
    assert (wrong.code, "'four' is no integer" in wrong.err) == (2, True)
    assert run("run", *where, "-p", "x").code == 2
    assert run("run", tmp_path / "none.yaml", "-t", tmp_path).code == 2
    assert run("run", *where, "--in", tmp_path / "x.jsonl").code == 2
    (tmp_path / "bad.yaml").write_text("steps: {a: {calculate: 1 / 0}}\n")
    bad = run("run", tmp_path / "bad.yaml", "-t", tmp_path)
    assert (bad.code, "divides by zero" in bad.out) == (1, True)
    assert "flowchart TD" in run("workflow", "draw", *where).out
    assert run("workflow", "draw", *where, "--to", tmp_path / "plan.png").code == 0
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


PEOPLE = """
description: Asks before it says something.
steps:
  sum: {calculate: "6 * 7"}
  sure: {ask_person: "Is it {{ sum }}?", choices: [certainly, no]}
  said: {join: "{{ sum }}: {{ sure }}"}
"""


def test_a_run_of_a_team_waits_and_goes_on(run: Run, copy: Path) -> None:
    (copy / "workflows").mkdir()
    (copy / "workflows" / "sure.yaml").write_text(PEOPLE)
    waits = run("run", "sure", "-t", copy, "--run", "r1", "--json")
    assert (waits.code, json.loads(waits.out)["status"]) == (75, "waiting")
    shown = run("runs", "resume", "r1", "-t", copy)
    assert (shown.code, "Is it 42?" in shown.out) == (75, True)
    assert "approve: certainly; reject: no" in shown.out
    assert f"metier approve r1 approve -t {copy}" in shown.err
    done = run("runs", "resume", "r1", "approve", "-t", copy, "--json")
    assert (done.code, json.loads(done.out)["result"]["text"]) == (0, "42: certainly")
    assert "42: certainly" in run("runs", "list", "-t", copy).out
    assert "certainly" in run("runs", "show", "r1", "-t", copy).out
    assert run("runs", "show", "r2", "-t", copy).code == 2
    assert run("run", "sure", "-t", copy, "--run", "r3").code == 75
    assert [one["run"] for one in json.loads(run("approve", "-t", copy, "--json").out)] == ["r3"]
    held = run("approve", "r3", "reject", "-t", copy, "--json")
    assert (held.code, json.loads(held.out)["result"]["text"]) == (0, "42: no")
    assert "nothing waits" in run("approve", "-t", copy).out
    again = run("runs", "replay", "r1", "--from", "sure", "-t", copy, "--json")
    assert again.code == 75
    other = json.loads(again.out)["run_id"]
    run("runs", "resume", other, "reject", "-t", copy)
    assert "+ 42: no" in run("runs", "compare", "r1", other, "-t", copy).out
    assert "class said" not in run("workflow", "draw", "sure", "-t", copy).out
    assert "class s_sum,s_sure,s_said done" in run("workflow", "draw", "sure", "-t", copy, "--run", "r1").out
    assert run("workflow", "check", "sure", "-t", copy).code == 0
    assert "sure" in run("workflow", "list", "-t", copy).out
    assert "did you mean 'sure'" in run("run", "shure", "-t", copy).err


def test_what_comes_next_names_what_may_be_said(run: Run, copy: Path) -> None:
    (copy / "workflows").mkdir()
    three = "steps:\n  how: {ask_person: How bad?, choices: [a bruise, a cut, none]}\n  said: {join: '{{ how }}'}\n"
    (copy / "workflows" / "bad.yaml").write_text(three)
    waits = run("run", "bad", "-t", copy, "--run", "r1")
    assert "a bruise, a cut, none" in waits.out
    for choice in ("a bruise", "a cut"):
        assert f"metier approve r1 'respond:{choice}'" in waits.err
    assert "choices: a bruise, a cut, none" in run("run", "bad", "-t", copy, "--dry-run").out
    done = run("runs", "resume", "r1", "respond:a cut", "-t", copy)
    assert (done.code, "a cut" in done.out) == (0, True)
    long = f"a-run-with-a-name-that-is-copied-{'x' * 30}"
    assert run("run", "bad", "-t", copy, "--run", long).code == 75
    assert long in run("runs", "list", "-t", copy).out


def test_a_call_that_waits_is_shown_with_what_it_would_do(run: Run, copy: Path) -> None:
    for name, line in (
        ("helpdesk/specialist.yaml", "tools: [calculator]"),
        ("team.yaml", "policy: {ask: [calculate]}"),
    ):
        card = copy / name
        card.write_text(f"{card.read_text()}\n{line}\n")
    (copy / "workflows").mkdir()
    (copy / "workflows" / "sum.yaml").write_text("steps: {sum: {tool: calculate, arguments: {expression: 6 * 7}}}\n")
    waits = run("run", "sum", "-t", copy, "--run", "r1")
    assert (waits.code, 'expression: "6 * 7"' in waits.out) == (75, True)
    assert "42" in run("approve", "r1", "approve", "-t", copy).out


def test_all_workflows_of_a_team_are_checked_at_once(run: Run, copy: Path) -> None:
    assert "has no workflows" in run("workflow", "check", "-t", copy).err
    (copy / "workflows").mkdir()
    (copy / "workflows" / "good.yaml").write_text("steps: {sum: {calculate: 6 * 7}}\n")
    assert run("workflow", "check", "-t", copy).code == 0
    (copy / "workflows" / "other.yaml").write_text("steps: {a: {join: '{{ sum }}'}}\n")
    both = run("workflow", "check", "-t", copy)
    assert both.code == 2
    assert "good.yaml: nothing is wrong" in both.out
    assert "other.yaml:1: steps.a.join: unknown step or parameter 'sum'" in both.out
    told = json.loads(run("workflow", "check", "-t", copy, "--json").out)
    assert [len(told[name]) for name in ("good.yaml", "other.yaml")] == [0, 1]


def test_programs_of_openssa_are_brought_to_a_team(run: Run, copy: Path) -> None:
    program = "margin:\n  task: Margin of {COMPANY}?\n  sub-htps:\n  - task: Sales of {COMPANY}?\n"
    (copy / "programs.yaml").write_text(program)
    brought = run("workflow", "import", copy / "programs.yaml", "-t", copy)
    assert (brought.code, brought.out.strip().endswith("margin.yaml")) == (0, True)
    assert run("workflow", "check", "margin", "-t", copy).code == 0
    assert run("workflow", "import", copy / "programs.yaml", "-t", copy).code == 2
    (copy / "workflows" / "margin.yaml").write_text("steps: {a: {ask: nobody, task: x}}\n")
    wrong = run("workflow", "check", "margin", "-t", copy)
    assert (wrong.code, "margin.yaml:1: steps.a.ask: unknown specialist" in wrong.out) == (2, True)
