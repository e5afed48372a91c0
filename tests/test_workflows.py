"""Workflows at work: order, parallel steps, policies for failures, people, crashes, loops, sub-workflows, replays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from metier.agents.team import Team
from metier.agents.workflows.execute import Workflow
from metier.agents.workflows.plan import (
    AskStep,
    CalculateStep,
    EachStep,
    JoinStep,
    Parameter,
    PersonStep,
    Plan,
)
from metier.agents.workflows.results import Failed, Items, Number, Skipped, Table, Text
from metier.agents.workflows.runs import WorkflowRun, compare_runs, runs
from metier.core.errors import ConfigError, InputError, StateError
from metier.core.run import Cancelled, Emit, Event, cancellable
from metier.core.types import Answer, Brief, Citation
from metier.memory.store import Owner
from metier.tests.shop import lines
from metier.tests.workflow_team import ROWS, open_office, week
from metier.tools.policy import Approve, Reject, Respond

WHOLE = week(
    steps={
        "text": {
            "join": "{{ hours }}: {% for one in advice.items %}{{ one.row.machine }} {{ one.quote }}; {% endfor %}"
        }
    }
)


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    with open_office(tmp_path) as opened:
        yield opened


def plan(**steps: Any) -> Plan:
    return Plan.model_validate({"name": "made", "parameters": steps.pop("parameters", {}), "steps": steps})


def asked(folder: Path) -> list[str]:
    return lines(folder / "asked.txt")


def test_a_week_at_the_plant(team: Team, tmp_path: Path) -> None:
    heard: list[Event] = []
    run = Workflow(Plan.model_validate(WHOLE), team).run({"site": "North"}, emit=heard.append)
    assert run.status == "done"
    assert isinstance(run.results["downtime"], Table)
    assert run.results["downtime"].rows == tuple(ROWS)
    assert run.results["hours"] == Number(value=8.5, unit="h")
    assert str(run.result) == (
        "8.5 h: filler about How often is the filler serviced?; labeller about How often is the labeller serviced?; "
    )
    assert run.result is not None
    assert [one.quote for one in run.result.citations] == [
        "about How often is the filler serviced?",
        "about How often is the labeller serviced?",
    ]
    assert run.answer.text == str(run.result)
    assert run.answer.citations == run.result.citations
    assert sorted(asked(tmp_path)) == [
        "How often is the filler serviced?",
        "How often is the labeller serviced?",
        "What stood still at North?",
    ]
    told = [(event.data["step"], event.data["state"]) for event in heard if event.name == "step"]
    assert told[:2] == [("downtime", "begun"), ("downtime", "done")]
    assert told.count(("advice.quote", "done")) == 2
    assert heard[-1].name == "answer"
    assert runs(team.threads.records)[0] == run  # pyright: ignore[reportArgumentType]
    assert team.threads.list() == []


def test_steps_that_do_not_need_each_other_run_at_the_same_time(team: Team) -> None:
    """Each waits for all others to have begun."""
    several = {f"s{n}": {"ask": "manuals", "task": f"meet 4, {n}"} for n in range(4)}
    run = Workflow(plan(**several, all={"join": "{{ s0 }}{{ s1 }}{{ s2 }}{{ s3 }}"}), team).run()
    assert str(run.result) == "about meet 4, 0about meet 4, 1about meet 4, 2about meet 4, 3"


def test_facts_and_their_citations_travel_to_the_second_hop(team: Team) -> None:
    hops = plan(
        first={"ask": "manuals", "task": "Who makes it?"},
        second={"ask": "manuals", "task": "Where is that?", "facts": ["{{ first }}"]},
    )
    run = Workflow(hops, team).run()
    assert str(run.result) == "about Where is that? (about Who makes it?)"
    assert run.result is not None
    assert [one.quote for one in run.result.citations] == [str(run.result), "about Who makes it?"]


def test_the_router_chooses_where_the_team_is_asked(team: Team) -> None:
    run = Workflow(plan(one={"ask": "team", "task": "manuals: how often?"}), team).run()
    assert isinstance(run.result, Text)
    assert run.result.by == "manuals"


FAILING: dict[str, Any] = {
    "good": {"ask": "manuals", "task": "one"},
    "bad": {"ask": "manuals", "task": "fail"},
    "beside": {"ask": "manuals", "task": "slow beside"},
    "uses": {"ask": "manuals", "task": "again {{ bad }}"},
    "later": {"ask": "manuals", "task": "later {{ good }}"},
    "text": {"join": "{{ good }} {{ uses }} {{ later }}"},
}


def test_a_failure_ends_the_run_and_nothing_that_was_begun_is_lost(team: Team) -> None:
    run = Workflow(plan(**FAILING), team).run()
    assert run.status == "failed"
    assert list(run.results) == ["good", "bad", "beside"]
    assert isinstance(run.results["bad"], Failed)
    assert run.result is None
    assert [(one.step, "no engine" in one.reason) for one in run.trouble] == [("bad", True)]
    assert run.answer.kind == "abstain"
    assert "no engine" in run.answer.text


def test_a_step_may_be_left_out_with_all_that_is_made_of_it(team: Team, tmp_path: Path) -> None:
    steps = {**FAILING, "bad": {**FAILING["bad"], "on_failure": "skip"}}
    run = Workflow(plan(**steps), team).run()
    assert run.status == "done"
    assert str(run.result).startswith("about one (left out: 'bad' was left out: ")
    assert str(run.result).endswith("about later about one")
    assert [one.step for one in run.trouble] == ["bad", "uses"]
    assert not any("again" in line for line in asked(tmp_path))


def test_nobody_had_an_answer_is_a_failure(team: Team) -> None:
    run = Workflow(plan(one={"ask": "manuals", "task": "nobody knows"}), team).run()
    assert (run.status, run.trouble[0].reason) == ("failed", "nothing in its documents answers this")


def test_what_fails_for_a_while_is_tried_again(team: Team, tmp_path: Path) -> None:
    twice = {"ask": "manuals", "task": "fail 2"}
    assert Workflow(plan(one={**twice, "attempts": 3}), team).run().status == "done"
    assert len(asked(tmp_path)) == 3
    failed = Workflow(plan(one={"ask": "manuals", "task": "fail 9", "attempts": 2}), team).run()
    assert "(2 attempts)" in failed.trouble[0].reason


def test_a_step_has_its_time(team: Team) -> None:
    late = {"ask": "manuals", "task": "slow", "seconds": 0.1}
    run = Workflow(plan(one={**late, "on_failure": "skip"}, two={"join": "{{ one }}"}), team).run()
    assert "longer than 0.1 s" in str(run.result)


def test_a_run_is_called_off_and_goes_on_later(team: Team, tmp_path: Path) -> None:
    seen: list[str] = []

    def hear(event: Event) -> None:
        if event.name == "step" and event.data["state"] == "done":
            seen.append(event.data["step"])

    three = plan(
        **{f"s{n}": {"ask": "manuals", "task": f"task {n}", "after": [f"s{n - 1}"] if n else []} for n in range(3)}
    )
    workflow = Workflow(three, team)
    with cancellable(lambda: "s0" in seen), pytest.raises(Cancelled):
        workflow.run(run_id="r", emit=hear)
    assert workflow.find("r").status == "running"
    assert workflow.resume("r").status == "done"
    assert asked(tmp_path) == ["task 0", "task 1", "task 2"]
    with pytest.raises(StateError, match="is over"):
        workflow.resume("r")


BOOK: dict[str, Any] = {
    "before": {"ask": "manuals", "task": "before"},
    "book": {"tool": "book", "arguments": {"order": "{{ before.by }}"}},
    "after": {"join": "{{ book }}!"},
}


def test_a_tool_waits_for_a_person_and_acts_once(tmp_path: Path) -> None:
    with open_office(tmp_path, policy={"ask": ["book"]}) as team:
        run = Workflow(plan(**BOOK), team).run(run_id="r")
        assert run.status == "waiting"
        assert run.waiting is not None
        assert run.waiting.action_requests[0].args == {"order": "manuals"}
        assert run.answer.kind == "waiting"
        assert lines(tmp_path / "done.txt") == []
        assert runs(team.threads.records)[0].status == "waiting"  # pyright: ignore[reportArgumentType]
    with open_office(tmp_path, policy={"ask": ["book"]}) as team:  # another process
        workflow = Workflow(plan(**BOOK), team)
        with pytest.raises(InputError, match="0 decisions for 1"):
            workflow.resume("r")
        done = workflow.resume("r", [Approve()])
        assert (done.status, str(done.result)) == ("done", "did book manuals!")
        assert lines(tmp_path / "done.txt") == ["book manuals"]
        assert asked(tmp_path) == ["before"]


def test_a_rejected_tool_is_a_failure(tmp_path: Path) -> None:
    with open_office(tmp_path, policy={"ask": ["book"]}) as team:
        workflow = Workflow(plan(**BOOK), team)
        workflow.run(run_id="r")
        run = workflow.resume("r", [Reject(message="not today")])
        assert (run.status, run.trouble[0].reason) == ("failed", "book: not today")


def test_what_strangers_wrote_needs_a_person_before_a_tool_acts_on_it(team: Team) -> None:
    acts = plan(
        mail={"tool": "mail", "arguments": {"order": "7"}},
        book={"tool": "book", "arguments": {"order": "{{ mail.text | length }}"}},
    )
    run = Workflow(acts, team).run()
    assert run.status == "waiting"
    assert run.waiting is not None
    assert "outside" in run.waiting.action_requests[0].description


ASK: dict[str, Any] = {
    "who": {"ask_person": "Send it?", "choices": ["send", "hold"]},
    "many": {"ask_person": "How many?", "type": "integer"},
    "sent": {"when": "{{ who.text == 'send' }}", "join": "sent {{ many.value + 1 }}"},
}


def test_a_person_sees_where_the_question_got_its_words(team: Team) -> None:
    """ "15 minutes under the shower" may be said of something else: only its sentence and its place tell."""
    run = Workflow(SERVICE, team).run({"machine": "filler"})
    assert run.waiting is not None
    (asked_for,) = run.waiting.action_requests
    assert asked_for.args["question"] == "about filler 1?"
    assert asked_for.args["sources"] == ["“about filler 1” — manuals.pdf, page 2"]


class Unsure:
    """A team in which nobody is sure, but something came near."""

    def __init__(self, team: Team) -> None:
        self._team = team

    def __getattr__(self, name: str) -> Any:
        return getattr(self._team, name)

    def take(self, brief: Brief, specialist: str | None = None, *, emit: Emit) -> Answer:
        near = Citation(source="first-aid.md", quote="Press on a deep cut.", start=0, end=20, context="… all around …")
        return Answer(
            text="I am not sure.", kind="abstain", specialist="manuals", version="1", reason="only 45% sure",
            evidence=(near,), touched=("untrusted",),
        )  # fmt: skip


def test_what_came_near_is_told_where_nobody_was_sure(team: Team) -> None:
    steps = plan(
        first={"ask": "manuals", "task": "a cut hand", "on_failure": "skip"},
        bad={"ask_person": "Do first: {{ first }}", "choices": ["yes", "no"]},
        said={"join": "{{ first }}"},
    )
    workflow = Workflow(steps, cast(Team, Unsure(team)))
    run = workflow.run(run_id="r")
    assert run.waiting is not None
    near = "only 45% sure; not confirmed, but nearest: “Press on a deep cut.” — first-aid.md"
    assert run.waiting.action_requests[0].args["question"] == f"Do first: (left out: {near})"
    done = workflow.resume("r", [Approve()])
    assert done.result is not None
    assert (str(done.result), done.result.touched) == (f"(left out: {near})", ("untrusted",))
    asks = plan(first={"ask": "manuals", "task": "a cut hand", "on_failure": "ask"})
    told = Workflow(asks, cast(Team, Unsure(team))).run().waiting
    assert told is not None
    assert "first-aid.md" in told.action_requests[0].description


def test_a_run_keeps_the_folder_that_was_named_when_it_began(team: Team, tmp_path: Path) -> None:
    steps = plan(sure={"ask_person": "Write it?", "choices": ["yes", "no"]},
                 report={"report": "out.md", "template": "{{ sure }}"})  # fmt: skip
    Workflow(steps, team, folder=tmp_path / "mine").run(run_id="r")
    Workflow(steps, team).resume("r", [Approve()])
    assert (tmp_path / "mine" / "out.md").read_text() == "yes\n"


def test_people_are_asked_side_by_side_and_answer_in_their_order(team: Team) -> None:
    workflow = Workflow(plan(**ASK), team)
    run = workflow.run(run_id="r")
    assert run.waiting is not None
    assert [one.args["question"] for one in run.waiting.action_requests] == ["Send it?", "How many?"]
    assert [one.allowed_decisions for one in run.waiting.review_configs] == [
        ("approve", "reject", "respond"),
        ("respond",),
    ]
    done = workflow.resume("r", [Approve(), Respond(message="2")])
    assert str(done.result) == "sent 3"


def test_an_answer_that_does_not_fit_is_asked_for_again(team: Team) -> None:
    workflow = Workflow(plan(**ASK), team)
    workflow.run(run_id="r")
    run = workflow.resume("r", [Respond(message="perhaps"), Respond(message="2")])
    assert run.waiting is not None
    assert "available: hold, send" in run.waiting.action_requests[0].description
    done = workflow.resume("r", [Reject()])
    assert isinstance(done.result, Skipped)
    assert done.trouble == ()


@pytest.mark.parametrize(
    ("decision", "text"),
    [(Approve(), "about fail 1"), (Respond(message="by hand"), "by hand"), (Reject(), "(left out: ")],
)
def test_a_person_decides_about_a_failure(team: Team, decision: Any, text: str) -> None:
    one = {"ask": "manuals", "task": "fail 1", "on_failure": "ask"}
    workflow = Workflow(plan(one=one, two={"join": "{{ one }}"}), team)
    run = workflow.run(run_id="r")
    assert run.waiting is not None
    assert run.waiting.action_requests[0].args["step"] == "one"
    done = workflow.resume("r", [decision])
    assert str(done.result).startswith(text)


def test_a_loop_is_bounded_and_its_failures_stay_inside(team: Team) -> None:
    loop = {
        "for_each": "{{ names }}",
        "as": "name",
        "at_most": 3,
        "on_failure": "skip",
        "steps": {"quote": {"ask": "manuals", "task": "{{ name }}"}, "mark": {"join": "{{ quote }}!"}},
    }
    run = Workflow(plan(parameters={"names": {"type": "array"}}, each=loop), team).run({"names": "a,fail,c,d"})
    assert run.status == "done"
    assert isinstance(run.result, Items)
    assert [str(item.get("mark", "")) for item in run.result.items] == ["about a!", "", "about c!"]
    assert isinstance(run.result.items[1]["quote"], Skipped)
    assert [one.step for one in run.trouble] == ["each", "each[1].quote"]
    strict = {**loop, "on_failure": "fail"}
    failed = Workflow(plan(parameters={"names": {"type": "array"}}, each=strict), team).run({"names": "a,fail"})
    assert (failed.status, "no engine for: fail" in failed.trouble[0].reason) == ("failed", True)


def test_a_loop_over_nothing_gives_nothing(team: Team) -> None:
    run = Workflow(plan(each={"for_each": "{{ [] }}", "at_most": 3, "steps": {"x": {"join": "x"}}}), team).run()
    assert run.result == Items(items=())


def test_people_inside_a_loop_are_asked_for_each_item(team: Team) -> None:
    loop = {
        "for_each": "{{ [1, 2] }}",
        "at_most": 2,
        "steps": {"ok": {"ask_person": "{{ item }}?", "choices": ["y", "n"]}},
    }
    workflow = Workflow(plan(each=loop, text={"join": "{% for one in each.items %}{{ one.ok }}{% endfor %}"}), team)
    run = workflow.run(run_id="r")
    assert run.waiting is not None
    assert [one.args["question"] for one in run.waiting.action_requests] == ["1?", "2?"]
    assert str(workflow.resume("r", [Approve(), Reject()]).result) == "yn"


SERVICE = Plan.of(
    "service",
    parameters={"machine": Parameter(), "often": Parameter(type="integer", default=1)},
    quote=AskStep(ask="manuals", task="{{ machine }} {{ often }}"),
    sure=PersonStep(ask_person="{{ quote }}?", choices=("y", "n")),
    said=JoinStep(join="{{ quote }}: {{ sure }}"),
)


def test_a_workflow_in_a_workflow(team: Team, tmp_path: Path) -> None:
    outer = plan(
        rows={"ask": "figures", "task": "rows"},
        each={
            "for_each": "{{ rows }}",
            "at_most": 2,
            "steps": {"sub": {"workflow": "service", "arguments": {"machine": "{{ item.machine }}", "often": 2}}},
        },
        text={"join": "{% for one in each.items %}{{ one.sub }} {% endfor %}"},
    )
    workflow = Workflow(outer, team, workflows={"service": SERVICE})
    assert workflow.run(run_id="r").status == "waiting"
    run = workflow.resume("r", [Approve(), Reject()])
    assert str(run.result) == "about filler 2: y about labeller 2: n "
    assert len(run.answer.citations) == 2
    assert len(asked(tmp_path)) == 3
    assert run.timings["each.sub.quote"] > 0


def test_what_cannot_be_answered_is_planned_anew_once(team: Team) -> None:
    seen: list[Any] = []

    def replan(step: AskStep, task: str, answer: Any) -> Plan | None:
        seen.append((step.ask, task, answer.kind))
        parts = {f"p{n}": AskStep(ask="manuals", task=f"{part}?") for n, part in enumerate(task.split(" and nobody "))}
        text = JoinStep(join=" ".join(f"{{{{ {name} }}}}" for name in parts))
        return Plan(name="anew", steps={**parts, "all": text})

    one = {"ask": "manuals", "task": "this and nobody that", "on_failure": "replan"}
    run = Workflow(plan(one=one), team, replan=replan).run()
    assert str(run.result) == "about this? about that?"
    assert run.result is not None
    assert len(run.result.citations) == 2
    assert seen == [("manuals", "this and nobody that", "abstain")]
    without = Workflow(plan(one=one, two={"join": "{{ one }}"}), team).run()
    assert "nothing in its documents" in str(without.result)


def test_a_cached_step_is_not_asked_again(team: Team, tmp_path: Path) -> None:
    workflow = Workflow(plan(parameters={"x": {}}, one={"ask": "manuals", "task": "{{ x }}", "cache": True}), team)
    first, second, other = (workflow.run({"x": x}) for x in ("a", "a", "b"))
    assert first.result == second.result != other.result
    assert asked(tmp_path) == ["a", "b"]


def test_a_run_is_replayed_from_a_step(team: Team, tmp_path: Path) -> None:
    steps: dict[str, Any] = {
        "a": {"ask": "manuals", "task": "a"},
        "b": {"ask": "manuals", "task": "b {{ a.by }}"},
        "c": {"ask": "manuals", "task": "c"},
        "d": {"join": "{{ b }} {{ c }}"},
    }
    first = Workflow(plan(**steps), team).run(run_id="first")
    changed = Workflow(plan(**{**steps, "c": {"ask": "manuals", "task": "other"}}), team)
    again = changed.replay("first", "b", to="second")
    assert str(again.result) == "about b manuals about other"
    assert sorted(asked(tmp_path)) == ["a", "b manuals", "b manuals", "c", "other"]
    assert [one.step for one in compare_runs(first, again)] == ["c", "d"]
    with pytest.raises(InputError, match="unknown step 'x'"):
        changed.replay("first", "x")
    with pytest.raises(StateError, match="unknown run"):
        changed.replay("third", "a")


def test_a_dry_run_shows_what_would_happen_and_does_nothing(team: Team, tmp_path: Path) -> None:
    book = {"tool": "book", "arguments": {"order": "{{ hours }}"}}
    plan = {**WHOLE, "steps": {**WHOLE["steps"], "book": book}}
    shown = Workflow(Plan.model_validate(plan), team).dry_run({"site": "South"})
    assert [one.step for one in shown] == ["downtime", "any", "advice", "advice.quote", "hours", "text", "book"]
    assert shown[0].does == "ask: figures; task: What stood still at South?"
    assert (shown[3].at_most, shown[6].effect) == (5, "write")
    assert asked(tmp_path) == []


def test_a_plan_that_cannot_run_is_refused_with_all_its_faults(team: Team) -> None:
    with pytest.raises(ConfigError, match=r"(?s)steps.a.ask.*steps.b.join"):
        Workflow(plan(a={"ask": "nobody", "task": "x"}, b={"join": "{{ x }}"}), team)
    with pytest.raises(InputError, match="'site' is missing"):
        Workflow(Plan.model_validate(WHOLE), team).run()


def test_the_budget_of_a_run_ends_it(team: Team) -> None:
    steps = {
        "a": {"ask": "manuals", "task": "slow a"},
        "b": {"ask": "manuals", "task": "b {{ a }}", "on_failure": "skip"},
    }
    budget = {"seconds": 0.3}
    run = Workflow(Plan.model_validate({"name": "made", "steps": steps, "budget": budget}), team).run()
    assert (run.status, "are used up" in run.trouble[0].reason) == ("failed", True)


def test_a_team_that_keeps_nothing_runs_workflows_too(tmp_path: Path) -> None:
    with open_office(tmp_path, checkpoints="none") as team:
        run = Workflow(Plan.model_validate(WHOLE), team).run({"site": "North"})
        assert run.status == "done"
        with pytest.raises(ConfigError, match="keeps no runs"):
            Workflow(plan(**ASK), team)


def test_runs_belong_to_who_asked(team: Team) -> None:
    workflow = Workflow(plan(a=JoinStep(join="x")), team)
    workflow.run(user="ann")
    mine = workflow.run(user="bob")
    assert team.threads.records
    assert runs(team.threads.records, Owner("bob")) == [mine]
    assert team.threads.owner(mine.thread_id) == Owner("bob")


def test_ten_lines_of_python_without_a_team() -> None:
    made = Plan.of(
        "sum",
        parameters={"n": Parameter(type="integer")},
        hours=CalculateStep(calculate="{{ n }} * 90 min", unit="h"),
        long=EachStep(for_each="{{ range(n) | list }}", name="i", at_most=9, steps={"x": JoinStep(join="{{ i }}")}),
    )
    run = Workflow(made).run({"n": 3})
    assert run.results["hours"] == Number(value=4.5, unit="h")
    assert isinstance(run.result, Items)
    assert [str(item["x"]) for item in run.result.items] == ["0", "1", "2"]
    assert WorkflowRun.model_validate_json(run.model_dump_json()) == run
