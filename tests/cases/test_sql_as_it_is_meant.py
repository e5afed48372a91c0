"""Kinds of questions to a database whose query did what nobody means: each test is one kind."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from metier.core.types import Brief
from metier.specialists.card import SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.specialist import Specialist
from metier.specialists.styles.sql.schema import Catalogue, quoted
from metier.specialists.styles.sql.short import expand
from metier.specialists.styles.sql.style import SqlSource
from metier.tools.database import SqliteDatabase, open_database, quote_name


@pytest.fixture
def source(tmp_path: Path) -> SqlSource:
    with closing(sqlite3.connect(tmp_path / "works.sqlite")) as connection:
        connection.executescript(
            """CREATE TABLE job (id INTEGER, done INTEGER, planned INTEGER, state TEXT, day TEXT, maker INTEGER,
                                 cost TEXT, due TEXT);
            INSERT INTO job VALUES (1, 3, 4, 'closed', '28.02.2025', 7, '9,50', '03/04/2025'),
                (2, 1, 8, NULL, '01.12.2024', NULL, '10,25', '05/06/2025'),
                (3, 0, 2, 'open', '15.01.2025', 8, '100,00', '07/08/2025');
            CREATE TABLE maker (id INTEGER, name TEXT);
            INSERT INTO maker VALUES (7, 'Berg'), (8, 'Tal'), (9, 'See');"""
        )
        connection.commit()
    return SqlSource("works.sqlite", SqliteDatabase(tmp_path / "works.sqlite"))


@pytest.mark.parametrize(
    ("task", "short", "rows"),
    [
        ("What share of job 1 is done?", "SELECT job.done / job.planned WHERE job.id = 1", [(0.75,)]),
        ("What part of all jobs has a state?", "SELECT COUNT(job.state) / COUNT(*) FROM job", [(2 / 3,)]),
        ("Jobs by tens of planned hours", "SELECT job.planned / 10, COUNT(job.*) GROUP BY job.planned / 10", [(0, 3)]),
        ("How many jobs are not closed?", "SELECT COUNT(job.*) WHERE job.state <> 'closed'", [(2,)]),
        ("How many jobs are not closed?", "SELECT COUNT(job.*) WHERE NOT job.state = 'closed'", [(2,)]),
        ("How many jobs are neither closed nor open?", "SELECT COUNT(*) FROM job WHERE state NOT IN ('closed', 'open')",
         [(1,)]),
        ("Which makers have no job?", "SELECT maker.name WHERE maker.id NOT IN (SELECT job.maker)", [("See",)]),
        ("Which job is the latest?", "SELECT job.id ORDER BY job.day DESC LIMIT 1", [(1,)]),
        ("Which job is the first?", "SELECT job.id WHERE job.day = MIN(job.day)", [(2,)]),
        ("Which jobs were after 2024-12-31?", "SELECT job.id WHERE job.day > '2024-12-31'", [(1,), (3,)]),
        ("Which job was on 2025-01-15?", "SELECT job.id WHERE job.day = '2025-01-15'", [(3,)]),
        ("Which job costs the most?", "SELECT job.id WHERE job.cost = MAX(job.cost)", [(3,)]),
        ("What is the average cost?", "SELECT AVG(job.cost)", [(pytest.approx(119.75 / 3),)]),
    ],
)  # fmt: skip
def test_right_rows(task, short, rows, source):
    _, found, _ = source.run(task, short)
    assert [*found.rows] == rows


def test_doubt_is_counted_and_said(source: SqlSource) -> None:
    short = "SELECT job.id ORDER BY job.due DESC LIMIT 1"
    query, _, doubts = source.run("Which job is due last?", short)
    assert doubts > 0
    assert source.remarks(query)[0].startswith("job.due is compared as text: its dates may have the day or the month")
    card = SpecialistCard(name="works", description="Jobs of the works.", style="sql", database="works.sqlite")
    specialist = Specialist(card, ScriptedEngine(lambda messages: short), resources=source, abstain_below=0.0)
    assert "job.due is compared as text" in specialist.run(Brief(task="Which job is due last?")).text  # type: ignore


NAMES = [
    "add",
    "cast",
    "check",
    "inner",
    "for",
    "current_date",
    "two words",
    "3rd",
    "a.b",
    'so "called"',
    "Maß",
    "it's",
]
"""Words that SQL has for itself, and names that need quotes."""


def test_odd_names_can_be_asked(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "odd.sqlite")) as connection:
        for name in NAMES:
            table = quote_name(name)
            connection.execute(f"CREATE TABLE {table} ({table} TEXT, {quote_name(name + ' id')} INTEGER)")
            connection.execute(f"INSERT INTO {table} VALUES ('plum', 1), ('fig', 2)")
        connection.commit()
    catalogue = Catalogue.of(open_database(tmp_path / "odd.sqlite"))
    for name in NAMES:
        column = catalogue.tables[name][name]
        assert column.values == ("fig", "plum")
        for short in (f"SELECT {column.path} WHERE {column.path} = 'fig'", f"SELECT MIN({column.path})"):
            query = expand(short, catalogue)
            assert open_database(tmp_path / "odd.sqlite").query(query).rows == (("fig",),)


def test_examples_with_odd_names_are_learnt_from(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "odd.sqlite")) as connection:
        connection.executescript(
            """CREATE TABLE "order" (id INTEGER, "unit price" REAL, buyer INTEGER);
            INSERT INTO "order" VALUES (1, 2.5, 3);
            CREATE TABLE "the buyers" (id INTEGER, name TEXT); INSERT INTO "the buyers" VALUES (3, 'Ada'), (4, 'Bo');"""
        )
        connection.commit()
    gold = (
        'SELECT b.name FROM "the buyers" AS b JOIN "order" AS o ON o.buyer = b.id WHERE o."unit price" > 2 AND o.id = 1'
    )
    source = SqlSource("odd.sqlite", open_database(tmp_path / "odd.sqlite"), [("Who bought for more than 2?", gold)])
    (solved,) = source.solved
    assert source.run("Who bought for more than 2?", solved.sql)[1].rows == (("Ada",),)


def test_names_in_capitals_are_quoted_for_postgresql() -> None:
    assert quoted("orderId", "postgres") == '"orderId"'
    assert quoted("orderId") == "orderId"
