# pyright: reportOptionalMemberAccess=false, reportReturnType=false
"""Workflows offered in a conversation: found by the router, their parameters asked for, kept from plans that worked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from metier import Answer, Route, Team
from metier.agents.cards import Blueprint
from metier.agents.threads import open_threads
from metier.agents.workflows.execute import Workflow
from metier.agents.workflows.files import read_plans
from metier.agents.workflows.plan import AskStep, Parameter, Plan, ToolStep
from metier.agents.workflows.runs import KIND, WorkflowRun
from metier.agents.workflows.store import OfferedWorkflow, PlanStore, generalise, guesser, keep_plan, router_examples
from metier.core.errors import ConfigError
from metier.core.run import ignore
from metier.core.types import Brief, Choice, Part
from metier.memory.store import Owner
from metier.serving.cli import app
from metier.specialists.engines.scripted import ScriptedEngine
from metier.tests.bakery import LEAVE, LEAVE_QUOTE, open_bakery
from metier.tools.policy import Approve, Reject

RESTOCK = """
description: Fill the store up with one article
examples: ["restock {article}", "please restock", "fill the store up with {article}", "restock {kilos} kg of {article}"]
parameters:
  article: {enum: [rye flour, wheat flour, salt], description: Which article}
  kilos: {type: integer, default: 20, minimum: 1, maximum: 100, description: How many kilos}
steps:
  before: {tool: stock, arguments: {article: "{{ article }}"}}
  buy: {tool: order, arguments: {article: "{{ article }}", kilos: "{{ kilos }}"}, after: [before]}
  told: {join: "{{ before }}; {{ buy }}"}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bakery")
    (folder / "workflows").mkdir()
    (folder / "workflows" / "restock.yaml").write_text(RESTOCK)
    return folder


@pytest.fixture(scope="module")
def team(folder: Path) -> Iterator[Team]:
    with open_bakery(folder, empty=True) as opened:
        yield opened


def ordered(folder: Path) -> list[str]:
    path = folder / "ordered.txt"
    return path.read_text().splitlines() if path.exists() else []


def test_a_workflow_is_found_filled_in_and_waits_for_the_approval_of_its_tool(team: Team, folder: Path) -> None:
    before = ordered(folder)
    answer = team.ask("restock 30 kg of salt", thread_id="one")
    assert answer.kind == "waiting", answer
    assert ordered(folder) == before
    done = team.resume("one", [Approve()])
    assert (done.kind, done.specialist) == ("answer", "restock")
    assert done.text == "salt: 6 kg in the store; ordered: 30 kg of salt"
    assert ordered(folder) == [*before, "30 kg salt"]


def test_what_is_missing_is_asked_for_and_the_reply_goes_on(team: Team, folder: Path) -> None:
    before = ordered(folder)
    question = team.ask("please restock", thread_id="two")
    assert question.kind == "clarify"
    assert "Which article (rye flour or wheat flour or salt)?" in question.text
    assert team.ask("the salt", thread_id="two").kind == "waiting"
    refused = team.resume("two", [Reject(message="we have enough")])
    assert refused.kind == "abstain"
    assert "we have enough" in refused.text
    assert ordered(folder) == before


def test_another_question_is_no_reply(team: Team) -> None:
    assert team.ask("please restock", thread_id="three").kind == "clarify"
    answer = team.ask(LEAVE, thread_id="three")
    assert (answer.specialist, answer.text) == ("people", LEAVE_QUOTE)


def test_a_plan_that_worked_is_kept_with_slots(team: Team, folder: Path) -> None:
    task = "Ask how early 12 days of leave are asked for"
    made = Plan.of("plan", leave=AskStep(ask="people", task=f"{LEAVE} It is 12 days."), examples=(task,))
    run = Workflow(made, team).run(run_id="made-once")
    assert run.status == "done"
    record = team.threads.records.get(KIND, "made-once")
    assert record
    kept = generalise(Plan.model_validate(record.body["plan"]), task, "leave")
    path = keep_plan(kept, folder)
    try:
        again = read_plans(folder)["leave"]
        assert again.examples[0] == "Ask how early {number} days of leave are asked for"
        assert again.parameters["number"].type == "integer"
        assert Workflow(again, team).run({"number": 12}).result == run.result
        with pytest.raises(ConfigError, match="already"):
            keep_plan(kept, folder)
    finally:
        path.unlink()


def test_names_codes_and_days_of_a_task_become_parameters_where_the_steps_use_them() -> None:
    task = "Tell Anna Berg by 3 December that P-101 is out of order"
    plan = Plan.of(
        "plan",
        found=ToolStep(tool="find", arguments={"name": "Anna Berg"}),
        send=ToolStep(
            tool="send", arguments={"to": "{{ found }}", "text": "P-101 is out of order", "by": "3 December"}
        ),
        examples=(task,),
    )
    kept = generalise(plan, task, "tell", today=date(2026, 11, 27))
    assert kept.examples == ("Tell {name} by {date} that {code} is out of order",)
    assert list(kept.parameters) == ["name", "date", "code"]
    send = kept.steps["send"]
    assert isinstance(send, ToolStep)
    assert send.arguments == {"to": "{{ found }}", "text": "{{ code }} is out of order", "by": "{{ date }}"}
    assert kept.check() == []


def test_the_router_learns_examples_with_their_values_written_out() -> None:
    plan = Plan.of(
        "report",
        parameters={"site": Parameter(enum=("North", "South"))},
        text=ToolStep(tool="x", arguments={"site": "{{ site }}"}),
        examples=("report for {site}", "the weekly report"),
    )
    assert router_examples({"report": plan}) == {
        "report": ["report for North", "report for South", "the weekly report"]
    }


def offered(**parameters: Parameter) -> OfferedWorkflow:
    steps = {name: ToolStep(tool="x", arguments={name: f"{{{{ {name} }}}}"}) for name in parameters}
    plan = Plan.of("weekly", parameters=parameters, **steps)
    return OfferedWorkflow(plan, lambda plan, values, brief, emit: Answer(text=json.dumps(dict(values))))


def test_a_short_reply_is_the_free_text_that_was_asked_for_and_a_question_is_none() -> None:
    workflow = offered(title=Parameter(description="Which title"))
    question = workflow.run(Brief(task="open a ticket"), ignore)
    assert question.data["missing"] == ["title"]
    assert workflow.replied(question.data, "leaking pump") == {"title": "leaking pump"}
    assert workflow.replied(question.data, "why do you ask?") is None
    number = offered(amount=Parameter(type="integer", maximum=9))
    asked = number.run(Brief(task="order some"), ignore)
    assert number.replied(asked.data, "four") == {"amount": 4}
    assert number.replied(asked.data, "40") is None


def test_a_workflow_is_never_tried_on_a_guess_nor_begun_by_its_own_steps() -> None:
    store = PlanStore({"weekly": offered(site=Parameter())})
    choices = tuple(Choice(name=n, probability=p) for n, p in (("weekly", 0.5), ("figures", 0.4)))
    both = tuple(Part(specialist=name, text="report") for name in ("weekly", "figures"))
    guess = Route(decision="surest", parts=both, choices=choices)
    assert store.only_when_sure("report", guess).decision == "clarify"
    other = store.only_when_sure("report", guess.model_copy(update={"parts": both[::-1]}))
    assert (other.decision, other.choice) == ("one", "figures")
    sure = Route(decision="one", parts=both[:1], choices=choices)
    assert store.only_when_sure("report", sure) == sure
    assert store.only_when_sure("report", sure, barred=True).choice == "figures"


def test_the_base_reads_what_no_rule_finds_under_a_grammar_and_may_leave_it_out() -> None:
    engine = ScriptedEngine(['{"colour": "light blue", "size": null}', "cut off {"])
    guess = guesser(engine)
    wanted = {"colour": Parameter(), "size": Parameter()}
    assert guess(wanted, "the light blue one") == {"colour": "light blue"}
    assert guess(wanted, "the light blue one") == {}
    constraint = engine.calls[0].constraint
    assert "light" not in str(constraint)
    assert "colour" in str(constraint)


def test_metier_workflow_keep(tmp_path: Path) -> None:
    (tmp_path / "fitter").mkdir()
    (tmp_path / "team.yaml").write_text("name: plant\nspecialists: [fitter]\n")
    (tmp_path / "fitter" / "specialist.yaml").write_text("name: fitter\ndescription: Knows the machines.\n")
    task = "Which seal fits P-101?"
    made = Plan.of("plan", seal=AskStep(ask="fitter", task=task), examples=(task,))
    done = WorkflowRun(run_id="good", workflow="plan", status="done")
    threads = open_threads(Blueprint.read(tmp_path))
    for run in (done, done.model_copy(update={"run_id": "bad", "status": "failed"})):
        body = {"run": run.model_dump(mode="json"), "plan": made.model_dump(mode="json")}
        threads.records.put(KIND, run.run_id, Owner(None), body)
    threads.close()

    def keep(*words: str) -> Result:
        return CliRunner().invoke(app, ["workflow", "keep", *words, "-t", str(tmp_path)])

    assert keep("good", "seals").exit_code == 0
    kept = read_plans(tmp_path)["seals"]
    assert kept.examples == ("Which seal fits {code}?",)
    step = kept.steps["seal"]
    assert isinstance(step, AskStep)
    assert step.task == "Which seal fits {{ code }}?"
    for words in (("good", "seals"), ("bad", "other"), ("none", "other"), ("good", "No Name")):
        assert keep(*words).exit_code != 0
    assert list(read_plans(tmp_path)) == ["seals"]
