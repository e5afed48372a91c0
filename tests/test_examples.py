"""The examples work as they are: cards, answers in their documents, workflows with real tools and scripted answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from docx import Document

from metier.agents.build import build, check_names
from metier.agents.cards import Blueprint
from metier.agents.team import Team
from metier.agents.workflows.execute import Workflow
from metier.agents.workflows.files import read_plans
from metier.agents.workflows.perform import known_of
from metier.agents.workflows.results import File, Items, Table
from metier.agents.workflows.runs import WorkflowRun
from metier.core.files import read_jsonl
from metier.core.models import ModelStore
from metier.serving.project import Template, init_team
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.knowledge.readers import read
from metier.tests.conftest import Run
from metier.tests.shop import ByName, NoMeaning
from metier.tools.policy import Action, Approve, Edit, Reject, Respond

FIELDS = ("clinic", "bank", "act")
"""Templates whose examples are all looked at here; the plant's are in `test_plant_data.py`."""
NOTE = """{"supplier": "Alder Bearings", "note": "AB-2250", "date": "2026-11-24",
"parts": [{"part_number": "K-102", "quantity": 4}]}"""


def plain(text: str) -> str:
    return " ".join(text.split())


def test_every_template_is_looked_at() -> None:
    assert set(get_args(Template)) == {"office", "plant", *FIELDS}


@pytest.fixture(params=FIELDS)
def field(request: pytest.FixtureRequest, tmp_path: Path) -> Blueprint:
    init_team(tmp_path / request.param, request.param)
    return Blueprint.read(tmp_path / request.param)


def test_a_field_has_what_a_team_needs(field: Blueprint) -> None:
    assert len(field.outside()) >= 10
    assert len(field.specialists) in (2, 3)
    for name, card in field.specialists.items():
        examples = read_jsonl(field.folders[name] / "examples.jsonl")
        questions = read_jsonl(field.folders[name] / "evaluation.jsonl")
        assert len(examples) >= 8
        assert len(questions) >= 3
        assert card.evaluation == "evaluation.jsonl"
        assert {row["input"] for row in examples}.isdisjoint(row["input"] for row in questions)
        if card.labels:
            assert {row["answer"] for row in [*examples, *questions]} == set(card.labels)


def test_a_field_can_be_built(field: Blueprint) -> None:
    """What every build asks first: a workflow that was called like a specialist made one of them unbuildable."""
    check_names(field)


@pytest.mark.parametrize("name", ["clinic", "bank"])
def test_every_reference_answer_stands_in_a_document(name: str, tmp_path: Path) -> None:
    init_team(tmp_path / name, name)  # pyright: ignore[reportArgumentType]
    plan = Blueprint.read(tmp_path / name)
    documents = 0
    for one, folder in plan.folders.items():
        files = sorted((folder / "documents").iterdir())
        documents += len(files)
        text = " ".join(plain(read(file, file.name).text) for file in files)
        rows = [*read_jsonl(folder / "examples.jsonl"), *read_jsonl(folder / "evaluation.jsonl")]
        assert [row for row in rows if row["answer"] not in text] == [], one
    assert 6 <= documents <= 10


def test_a_template_names_the_new_folder(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("init", tmp_path / "mine", "--from", "act")
    assert code == 0
    assert f'metier ask -t {tmp_path / "mine"} "how many V-belts are in the store?"' in out
    assert f"metier workflow list -t {tmp_path / 'mine'}" in out
    for path in (tmp_path / "mine").rglob("*"):
        if path.suffix in (".yaml", ".md"):
            assert "examples/workshop" not in path.read_text(encoding="utf-8")
    assert not (tmp_path / "mine" / ".metier").exists()


def test_a_template_that_is_none(run: Run, tmp_path: Path) -> None:
    code, _, err = run("init", tmp_path / "mine", "--from", "school")
    assert code == 2
    assert "clinic" in err
    assert not (tmp_path / "mine").exists()


# The workshop: real tools, a policy that asks, a model that follows a script.


def planned(messages: Any) -> str:
    """What the workshop's specialists would say."""
    text = messages[-1].text
    return NOTE if "AB-2250" in text else "soon"


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Team]:
    init_team(tmp_path / "workshop", "act")
    plan = Blueprint.read(tmp_path / "workshop")
    router = ByName(plan.card.specialists, lambda what: None)
    with Team.load(plan, engine=ScriptedEngine(planned), embedder=NoMeaning(), router=router) as opened:
        yield opened


def workflow(team: Team, name: str, output: Path | None = None) -> Workflow:
    plans = read_plans(team.blueprint.root)
    assert [fault for fault in plans[name].check(known_of(team, plans)) if fault.blocking] == []
    return Workflow(plans[name], team, folder=output)


def orders(team: Team) -> list[tuple[Any, ...]]:
    book = team.blueprint.root / "store" / "orders.sqlite"
    if not book.exists():
        return []
    with closing(sqlite3.connect(book)) as opened:
        return opened.execute("SELECT part_number, quantity, supplier, total_gbp FROM orders").fetchall()


LOUD = {"what": "the fan bearing gets louder every day", "part": "K-102"}


def words_of(run: WorkflowRun, step: str = "report") -> str:
    """All text of a report, its tables too."""
    made = run.results[step]
    assert isinstance(made, File), made
    document = Document(made.path)
    cells = [cell.text for table in document.tables for row in table.rows for cell in row.cells]
    return "\n".join([*(paragraph.text for paragraph in document.paragraphs), *cells])


def test_an_order_waits_for_a_person_and_is_written_once(workshop: Team, tmp_path: Path) -> None:
    repair = workflow(workshop, "repair", tmp_path / "out")
    run = repair.run({**LOUD, "quantity": "2"})
    assert run.status == "waiting"
    assert run.waiting is not None
    assert [action.args for action in run.waiting.action_requests] == [{"part_number": "K-102", "quantity": 2}]
    assert orders(workshop) == []
    done = repair.resume(run.run_id, [Approve()])
    assert done.status == "done"
    assert orders(workshop) == [("K-102", 2, "Alder Bearings", 39.6)]
    assert "Ordered: number 1, 2 × deep groove bearing 40 mm from Alder Bearings, GBP 39.6." in words_of(done)
    assert "Urgency: soon" in words_of(done)


def test_a_person_may_refuse_an_order_or_change_it(workshop: Team, tmp_path: Path) -> None:
    repair = workflow(workshop, "repair", tmp_path / "out")
    run = repair.run({**LOUD, "quantity": "2"})
    refused = repair.resume(run.run_id, [Reject(message="we have one in the van")])
    assert refused.status == "done"
    assert orders(workshop) == []
    assert "we have one in the van" in words_of(refused)
    run = repair.run({**LOUD, "quantity": "2"})
    repair.resume(
        run.run_id, [Edit(edited_action=Action(name="order_part", args={"part_number": "K-102", "quantity": 5}))]
    )
    assert orders(workshop) == [("K-102", 5, "Alder Bearings", 99.0)]


def test_what_is_on_the_shelf_is_not_ordered(workshop: Team, tmp_path: Path) -> None:
    run = workflow(workshop, "repair", tmp_path / "out").run({"what": "a seal leaks", "part": "K-103"})
    assert run.status == "done"
    assert orders(workshop) == []
    assert "13 are left: nothing need be ordered." in words_of(run)


def test_a_delivery_note_is_read_and_looked_up(workshop: Team) -> None:
    run = workflow(workshop, "delivery").run({"note": "Alder Bearings, note AB-2250: 4 x K-102"})
    assert str(run.result).splitlines() == [
        "Alder Bearings, note AB-2250:",
        "4 × K-102, deep groove bearing 40 mm, on hand before: 3",
    ]


# The plant: its own database, folder and tools; what its specialists would say is in `workflow_team`.


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Team]:
    init_team(tmp_path / "plant", "plant")
    plan = Blueprint.read(tmp_path / "plant")
    scripted = {
        "style": "metier.tests.workflow_team:RULE", "instructions": str(tmp_path), "knowledge": None, "database": None,
    }  # fmt: skip
    cards = {name: card.model_copy(update=scripted) for name, card in plan.specialists.items()}
    router = ByName(plan.card.specialists, lambda what: None)
    replaced = replace(plan, specialists=cards, card=plan.card.model_copy(update={"abstain_below": 0.1}))
    with Team.load(replaced, engine=ScriptedEngine(planned), embedder=NoMeaning(), router=router) as opened:
        yield opened


def test_the_weekly_report(plant: Team, tmp_path: Path) -> None:
    run = workflow(plant, "weekly", tmp_path / "out").run({})
    assert run.status == "done"
    assert isinstance(stops := run.results["stops"], Table)
    assert stops.column("work_order") == ["WO-26-0405", "WO-26-0407", "WO-26-0404"]
    assert str(run.results["hours"]) == "3.75 h"
    text = words_of(run)
    assert "3 breakdowns took 3.75 h of work." in text
    assert "CS-1, Replace leaking valve seat (S-605). about remedy for alarm S-605 of CS-1" in text
    assert "WO-26-0404" in text
    assert len(Document(str(tmp_path / "out" / "weekly.docx")).inline_shapes) == 1, "the chart"
    assert (tmp_path / "out" / "weekly.pdf").read_bytes().startswith(b"%PDF")


def test_a_week_in_which_nothing_broke_down(plant: Team, tmp_path: Path) -> None:
    run = workflow(plant, "weekly", tmp_path / "out").run({"monday": "2026-08-24"})
    assert run.status == "done"
    assert "Nothing broke down." in words_of(run)


def test_the_contracts_of_a_folder(plant: Team, tmp_path: Path) -> None:
    run = workflow(plant, "terms", tmp_path / "out").run({})
    assert isinstance(terms := run.results["terms"], Items)
    assert [str(one["name"])[:5] for one in terms.items[:10]] == [f"ct-{n:02d}" for n in range(1, 11)]
    table = Document(str(tmp_path / "out" / "contracts.docx")).tables[0]
    assert len(table.rows) == 11
    assert [cell.text for cell in table.rows[3].cells][:1] == ["CT-03"]
    assert "about What is the end date of contract CT-03?" in table.rows[3].cells[2].text


def test_an_incident_is_judged_by_a_person(plant: Team, tmp_path: Path) -> None:
    incident = workflow(plant, "incident", tmp_path / "out")
    run = incident.run({"what": "a cut at the glass", "machine": "FL-2"})
    assert run.status == "waiting"
    assert not (tmp_path / "out" / "incident.docx").exists()
    done = incident.resume(run.run_id, [Respond(message="near miss")])
    assert done.status == "done"
    assert "Judged by a person: near miss" in words_of(done)
    assert "about How many padlocks does FL-2 need?" in words_of(done)


def test_the_clinic_answers_its_first_question(models: ModelStore, tmp_path: Path) -> None:
    """With the real model."""
    init_team(tmp_path / "clinic", "clinic")
    plan = Blueprint.read(tmp_path / "clinic")
    build(plan, store=models)
    with Team.load(plan, store=models) as opened:
        answer = opened.ask("how many hours before a blood test may I not eat?")
    assert (answer.kind, answer.specialist) == ("answer", "care")
    assert answer.text.split()[0] == "10"
    assert [citation.source for citation in answer.citations] == ["care/documents/blood-test.md"]
