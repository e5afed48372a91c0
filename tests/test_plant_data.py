"""The example plant: cards load, answers stand in their sources, the papers agree with each other."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from metier.agents.cards import TeamCard
from metier.core.yaml import load_yaml
from metier.specialists.card import SpecialistCard
from metier.specialists.knowledge.readers import READERS, read
from metier.tools.database import show_value

PLANT = Path(__file__).parents[1] / "examples" / "plant"
NAMES = ("maintenance", "safety", "contracts", "stock", "figures")
DOCUMENTS = sorted(path for path in PLANT.glob("*/documents/*") if path.is_file())
MANUALS, PROCEDURES, CONTRACTS = r"\bMM-\d\d\b", r"\bSP-\d\d\b", r"\bCT-\d\d\b(?!/)"


def plain(text: str) -> str:
    return " ".join(text.split())


@cache
def text_of(path: Path) -> str:
    """What the knowledge sees of a document."""
    return plain(read(path, path.name).text)


@cache
def lines(name: str) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(line) for line in (PLANT / name).read_text(encoding="utf-8").splitlines())


def turns(name: str) -> Iterator[dict[str, Any]]:
    for line in lines(name):
        yield from line.get("turns", [line])


def asked(*names: str) -> list[str]:
    return [plain(line["input"]).lower() for name in names for line in lines(name)]


def same(cell: Any) -> float | str:
    """A cell of a CSV file or of the database, comparable."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return cell or ""


def query(sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(PLANT / "stock" / "documents" / "stock.sqlite")) as database:
        return database.execute(sql).fetchall()


def numbered(prefix: str) -> set[str]:
    """Numbers of the documents that exist, from their file names."""
    found = (re.match(rf"{prefix}-\d\d", path.name) for path in DOCUMENTS)
    return {match.group().upper() for match in found if match}


def mentioned(pattern: str) -> dict[str, str]:
    """Each number found in a document, with one document that names it."""
    return {number: path.name for path in DOCUMENTS for number in re.findall(pattern, text_of(path))}


def test_cards_are_valid_and_point_at_files_that_exist() -> None:
    team = load_yaml(PLANT / "team.yaml", TeamCard)
    assert tuple(team.specialists) == NAMES
    assert all((PLANT / name).is_file() for name in team.router.outside)
    for name in NAMES:
        card = load_yaml(PLANT / name / "specialist.yaml", SpecialistCard)
        assert card.name == name
        assert (card.knowledge is None) == (card.database is not None)
        assert card.evaluation is not None
        sources = card.knowledge.sources if card.knowledge else [str(card.database)]
        for file in [*sources, *card.examples, card.evaluation]:
            assert (PLANT / name / file).exists(), file
        assert {handoff.to for handoff in card.handoffs} <= set(NAMES) - {name}


def test_documents_are_as_many_and_as_varied_as_promised() -> None:
    assert all(path.suffix in READERS and path.stat().st_size < 300_000 for path in DOCUMENTS)
    assert {path.suffix for path in DOCUMENTS} == {".md", ".html", ".pdf", ".docx", ".csv", ".sqlite"}
    prose = " ".join(text_of(path) for path in DOCUMENTS if path.suffix != ".sqlite")
    assert len(re.findall(r"[^\W_]+(?:[.,'-]\w+)*", prose)) >= 14_000  # 40 pages of 350 words
    assert query("SELECT count(*) FROM parts")[0][0] >= 80
    assert query("SELECT count(*) FROM work_orders")[0][0] >= 120


@pytest.mark.parametrize("name", NAMES)
def test_questions_are_as_many_as_promised_and_none_is_learnt(name: str) -> None:
    examples, evaluation = f"{name}/examples.jsonl", f"{name}/evaluation.jsonl"
    assert len(lines(examples)) >= 40
    assert len(lines(evaluation)) >= 16
    assert all(line["specialist"] == name for line in lines(evaluation))
    if name != "stock":  # its answers are numbers, and 2 is the answer to many questions
        learnt = {(line.get("answer"), line.get("source")) for line in lines(examples)}
        # Two rows of a table may hold the same value, so single figures do not count.
        known = [line["answer"] for line in lines(evaluation) if (line["answer"], line["source"]) in learnt]
        assert [answer for answer in known if len(answer) > 2] == []


def test_inputs_are_unique_and_evaluation_is_kept_apart() -> None:
    learnt = asked("outside.jsonl", *(f"{name}/examples.jsonl" for name in NAMES))
    judged = asked("evaluation_outside.jsonl", *(f"{name}/evaluation.jsonl" for name in NAMES))
    judged += [plain(turn["input"]).lower() for name in ("conversations.jsonl", "demo.jsonl") for turn in turns(name)]
    assert len(set(learnt)) == len(learnt)
    assert len(set(judged)) == len(judged)
    assert not set(learnt) & set(judged)
    assert len(lines("outside.jsonl")) >= 60
    kinds = [line["kind"] for line in lines("evaluation_outside.jsonl")]
    assert len(kinds) >= 25
    assert min(kinds.count("near"), kinds.count("far")) >= 10


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["examples", "evaluation"])
def test_answers_stand_word_for_word_in_their_source(name: str, kind: str) -> None:
    wrong = [
        (line["input"], answer)
        for line in lines(f"{name}/{kind}.jsonl")
        if "answer" in line and "sql" not in line
        for answer in {line["answer"], *line.get("answers", [])}
        if plain(answer) not in text_of(PLANT / name / line["source"])
    ]
    assert wrong == []


def test_counted_answers_are_what_their_sql_says() -> None:
    counted = [line for line in lines("figures/evaluation.jsonl") if line.get("needs") == "sql"]
    assert len(counted) >= 16
    for line in counted:
        assert [line["answer"]] == [show_value(value) for value in query(line["sql"])[0]], line["input"]
    assert all(query(line["sql"]) for line in lines("figures/examples.jsonl"))


def test_threads_and_demo_expect_what_the_documents_say() -> None:
    kinds = [turn["kind"] for turn in turns("conversations.jsonl")]
    assert len(lines("conversations.jsonl")) >= 8
    assert {"answer", "follow-up", "hand-off", "two-part", "refusal"} == set(kinds)
    for turn in [*turns("conversations.jsonl"), *turns("demo.jsonl")]:
        assert len(turn["expected"]) == {"refusal": 0, "two-part": 2}.get(turn["kind"], 1), turn["input"]
        assert ("handoff" in turn) == (turn["kind"] == "hand-off"), turn["input"]
        for wanted in turn["expected"]:
            if "sql" in wanted:
                assert [wanted["answer"]] == [show_value(value) for value in query(wanted["sql"])[0]], turn["input"]
                continue
            assert wanted["source"].startswith(wanted["specialist"] + "/")
            assert plain(wanted["answer"]) in text_of(PLANT / wanted["source"]), turn["input"]


def test_demo_shows_all_five_a_handoff_a_follow_up_and_a_refusal() -> None:
    demo = list(turns("demo.jsonl"))
    answered = [wanted["specialist"] for turn in demo for wanted in turn["expected"]]
    assert len(answered) >= 6
    assert set(answered) == set(NAMES)
    assert {"hand-off", "follow-up", "refusal"} <= {turn["kind"] for turn in demo}


@pytest.mark.parametrize(
    ("pattern", "prefix"), [(MANUALS, "mm"), (PROCEDURES, "sp"), (CONTRACTS, "ct")], ids=["MM", "SP", "CT"]
)
def test_numbers_of_papers_exist(pattern: str, prefix: str) -> None:
    unknown = {number: where for number, where in mentioned(pattern).items() if number not in numbered(prefix)}
    assert unknown == {}


def test_isolation_sheets_named_in_manuals_are_in_the_procedure() -> None:
    sheets = text_of(PLANT / "safety" / "documents" / "sp-03-isolation-sheets.md")
    assert {number for number in mentioned(r"SP-03, sheet (\d+)") if f"Sheet {number}:" not in sheets} == set()


def test_part_numbers_exist_everywhere_they_are_named() -> None:
    parts = {number for (number,) in query("SELECT part_number FROM parts")}
    assert {number: where for number, where in mentioned(r"\bP-\d{4}\b").items() if number not in parts} == {}


def test_prices_in_contracts_are_those_of_the_stores() -> None:
    prices = {
        number: (price, days)
        for number, price, days in query("SELECT part_number, price_gbp, lead_time_days FROM parts")
    }
    table = r"Part: (P-\d{4})(?:; Description: [^;]+)?; Price \(GBP\): ([\d,.]+)(?:; Delivery time: (\d+) days)?"
    found = 0
    for path in PLANT.glob("contracts/documents/*.*"):
        for number, price, days in re.findall(table, text_of(path)):
            found += 1
            assert float(price.replace(",", "")) == prices[number][0], (path.name, number)
            assert not days or int(days) == prices[number][1], (path.name, number)
    assert found >= 35


def test_stock_tables_refer_to_each_other() -> None:
    assert query("SELECT part_number FROM parts WHERE supplier NOT IN (SELECT supplier FROM suppliers)") == []
    stray = "SELECT part_number FROM {} WHERE part_number NOT IN (SELECT part_number FROM parts)"
    assert query(stray.format("work_orders")) == []
    assert query(stray.format("purchase_orders")) == []
    joined = "SELECT purchase_order FROM purchase_orders o JOIN parts p USING (part_number) WHERE {}"
    assert query(joined.format("abs(o.total_gbp - o.quantity * p.price_gbp) > 0.005")) == []
    assert query(joined.format("o.supplier <> p.supplier")) == []
    assert query("SELECT work_order FROM work_orders WHERE (status = 'closed') <> (closed IS NOT NULL)") == []


def test_made_documents_are_as_fresh_as_their_sources() -> None:
    for source in (PLANT / "sources").glob("*/*.md"):
        made = PLANT / source.parent.name / "documents" / source.stem
        assert set(re.findall(r"\w+", text_of(made))) == set(re.findall(r"\w+", source.read_text("utf-8"))), made.name
    for source in (PLANT / "sources" / "stock").glob("*.csv"):
        _, *rows = csv.reader(source.read_text("utf-8").splitlines())
        stored = query(f"SELECT * FROM {source.stem}")
        assert [[same(cell) for cell in row] for row in stored] == [[same(cell) for cell in row] for row in rows]


def test_contracts_of_suppliers_exist() -> None:
    named = {number for (number,) in query("SELECT contract FROM suppliers WHERE contract <> 'none'")}
    assert named == numbered("ct")
