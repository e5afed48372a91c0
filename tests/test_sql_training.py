"""What the skill `sql` and adapters for one database learn from: made-up questions, and questions made of others."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.benchmarks.skills.sql import Asked, Taught, lessons, own, varied
from metier.specialists.styles.sql.prompt import Solved
from metier.specialists.styles.sql.questions.lessons import other_column, other_extreme, other_value
from metier.specialists.styles.sql.questions.own import Own, answered, own_questions
from metier.specialists.styles.sql.questions.patterns import synthetic
from metier.specialists.styles.sql.questions.vocabulary import Feature, extremes, measure, worlds
from metier.specialists.styles.sql.schema import Catalogue
from metier.specialists.styles.sql.short import expand
from metier.tools.database import SqliteDatabase

SCRIPT = """
CREATE TABLE canton (name TEXT, capital TEXT, people INTEGER, area REAL);
CREATE TABLE extremes (canton TEXT, highest_peak TEXT, lowest_peak TEXT, highest_altitude INT, lowest_altitude INT);
CREATE TABLE streams (stream_name TEXT, canton TEXT, length INTEGER);
INSERT INTO canton VALUES ('Uri', 'Altdorf', 36, 1077), ('Bern', 'Bern', 1040, 5959), ('Vaud', 'Lausanne', 800, 3212);
INSERT INTO extremes VALUES ('Uri', 'Dammastock', 'Gitschen', 3630, 2513), ('Bern', 'Eiger', 'Gurten', 3967, 858),
    ('Vaud', 'Diablerets', 'Jorat', 3210, 930);
INSERT INTO streams VALUES ('Reuss', 'Uri', 164), ('Aare', 'Bern', 288), ('Venoge', 'Vaud', 44), ('Emme', 'Bern', 80);
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "land.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCRIPT)
    return path


@pytest.fixture(scope="module")
def database(file: Path) -> SqliteDatabase:
    return SqliteDatabase(file)


@pytest.fixture(scope="module")
def catalogue(database: SqliteDatabase) -> Catalogue:
    return Catalogue.of(database)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_made_up_sql_stands_for_sql_over_made_up_tables(seed: int) -> None:
    catalogue, pairs = next(synthetic(random.Random(seed)))
    with closing(sqlite3.connect(":memory:")) as connection:
        for table, columns in catalogue.tables.items():
            connection.execute(f'CREATE TABLE "{table}" ({", ".join(f"{c.name!r}" for c in columns.values())})')
        for question, short in pairs:
            connection.execute(expand(short, catalogue))
            assert question.strip()
            assert "{" not in question
            assert sqlglot.parse_one(short, read="sqlite").sql("sqlite") == short


def test_worlds_point_to_tables_that_are_there() -> None:
    for world in worlds():
        for thing in world.values():
            assert all(feature.name in world for feature in thing.of(">"))
            assert all(feature.values for feature in thing.of("c"))


def test_people_ask_for_amounts_in_other_words() -> None:
    found = measure(Feature("population", "n"))
    assert found is not None
    assert "how many people live in {}" in found.asks
    assert measure(Feature("total_area", "n")) != found
    assert measure(Feature("area", "c")) is None
    assert extremes(Feature("built", "y")) == (("newest", "latest", "most recent"), ("oldest", "earliest", "first"))


@pytest.mark.parametrize(
    ("task", "sql", "other", "then"),
    [
        (
            "what is the lowest peak of uri",
            "SELECT extremes.lowest_peak WHERE extremes.canton = 'Uri'",
            "what is the highest peak of uri",
            "SELECT extremes.highest_peak WHERE extremes.canton = 'Uri'",
        ),
        (
            "which is the longest stream",
            "SELECT streams.stream_name WHERE streams.length = MAX(streams.length)",
            "which is the shortest stream",
            "SELECT streams.stream_name WHERE streams.length = MIN(streams.length)",
        ),
        (
            "which canton has the most streams",
            "SELECT streams.canton GROUP BY streams.canton ORDER BY COUNT(streams.*) DESC LIMIT 1",
            "which canton has the fewest streams",
            "SELECT streams.canton GROUP BY streams.canton ORDER BY COUNT(streams.*) LIMIT 1",
        ),
    ],
)
def test_the_other_extreme(task: str, sql: str, other: str, then: str, catalogue: Catalogue) -> None:
    assert other_extreme(Solved(task, sql), catalogue, random.Random(0)) == Solved(other, then)


@pytest.mark.parametrize(
    "task", ["the longest stream of the smallest canton", "all streams", "the nearest stream", "at least 3 streams"]
)
def test_what_has_no_clear_opposite_stays(task: str, catalogue: Catalogue) -> None:
    sql = "SELECT streams.stream_name WHERE streams.length > 3"
    assert other_extreme(Solved(task, sql), catalogue, random.Random(0)) is None


def test_another_value_in_question_and_sql(catalogue: Catalogue) -> None:
    solved = Solved("streams of bern", "SELECT streams.stream_name WHERE streams.canton = 'Bern'")
    seen = {other_value(solved, catalogue, random.Random(seed)) for seed in range(20)}
    assert seen == {
        Solved(f"streams of {c.lower()}", f"SELECT streams.stream_name WHERE streams.canton = '{c}'")
        for c in ("Uri", "Vaud")
    }
    assert other_value(solved._replace(task="streams of the capital"), catalogue, random.Random(0)) is None


def test_another_column_in_question_and_sql(catalogue: Catalogue) -> None:
    solved = Solved("what is the area of uri", "SELECT canton.area WHERE canton.name = 'Uri'")
    other = Solved("what is the people of uri", "SELECT canton.people WHERE canton.name = 'Uri'")
    assert other_column(solved, catalogue, random.Random(0)) == other
    solved = Solved(
        "what is the highest altitude of uri", "SELECT extremes.highest_altitude WHERE extremes.canton = 'Uri'"
    )
    assert other_column(solved._replace(task="what is the height of uri"), catalogue, random.Random(0)) is None


def test_a_database_is_seen_as_things_with_features(catalogue: Catalogue, database: SqliteDatabase) -> None:
    found = {thing.noun: thing for thing in Own(catalogue, database, random.Random(0)).tables}
    assert {noun: thing.plural for noun, thing in found.items()} == {
        "canton": "cantons",
        "extreme": "extremes",
        "stream": "streams",
    }
    assert [(f.name, f.kind) for f in found["stream"].features] == [("name", "name"), ("canton", ">"), ("length", "n")]


def test_questions_about_a_database_have_answers(catalogue: Catalogue, database: SqliteDatabase) -> None:
    made = [*islice(own_questions(catalogue, database, random.Random(1)), 60)]
    assert len({solved.task for solved in made}) > 40
    assert all(answered(solved.sql, catalogue, database) for solved in made)
    assert not answered("SELECT canton.name WHERE canton.name = 'Zug'", catalogue, database)
    assert not answered("SELECT nothing.here", catalogue, database)


def test_nothing_can_be_asked_of_an_empty_database(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "empty.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE machine (id INTEGER, note TEXT)")
    empty = SqliteDatabase(tmp_path / "empty.sqlite")
    assert list(own_questions(Catalogue.of(empty), empty, random.Random(0))) == []


def test_lessons_hold_no_other_question_of_the_group_and_recombined_ones_come_last(file: Path) -> None:
    def taught(group: str, task: str, sql: str) -> Taught:
        return Taught(Asked(group, task, (), file), sql)

    found = [
        taught("a", "how long is the reuss", "SELECT streams.length WHERE streams.stream_name = 'Reuss'"),
        taught("a", "how long is the emme", "SELECT streams.length WHERE streams.stream_name = 'Emme'"),
        taught("b", "the longest stream", "SELECT streams.stream_name WHERE streams.length = MAX(streams.length)"),
        taught("c", "how many streams", "SELECT COUNT(streams.*)"),
    ]
    more = varied(found, 0)
    assert {m.asked.group for m in more} == {"a", "b"}
    tasks, made = {m.asked.task for m in more}, lessons(found, 0, 2, more)
    assert len(made) == 2 * len(found) + len(more)
    for lesson in made:
        *before, last = [m["content"].rpartition("Question: ")[2] for m in lesson.messages if m["role"] == "user"]
        assert not tasks & set(before)
        assert not ("how long" in last and any("how long" in text for text in before))


def test_lessons_of_a_database_without_examples(file: Path) -> None:
    made = own(file, 0, 3)
    assert len(made) == 3
    assert made == own(file, 0, 3)
    assert all(len([m for m in lesson.messages if m["role"] == "user"]) == 5 for lesson in made)
