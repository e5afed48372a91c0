"""What is mended in a query before it runs, and what speaks against one that ran."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from metier.specialists.styles.sql.prompt import link, value_hints
from metier.specialists.styles.sql.repair import SIGNS, distinct, objections, repair
from metier.specialists.styles.sql.schema import Catalogue
from metier.specialists.styles.sql.style import SqlSource
from metier.tools.database import SqliteDatabase, open_database

SCRIPT = """
CREATE TABLE canton (name TEXT, chief_town TEXT, people INTEGER);
CREATE TABLE summit (canton TEXT, highest_peak TEXT, peak_height INTEGER);
CREATE TABLE stream (stream_name TEXT, crosses TEXT, length INTEGER, nation TEXT);
INSERT INTO canton VALUES ('Uri', 'Altdorf', 36), ('Bern', 'Bern', 1040), ('Vaud', 'Lausanne', 800);
INSERT INTO summit VALUES ('Uri', 'Dammastock', 3630), ('Bern', 'Finsteraarhorn', 4274), ('Vaud', 'Diablerets', 3210);
INSERT INTO stream VALUES ('Reuss', 'Uri', 164, 'ch'), ('Aare', 'Bern', 288, 'ch'), ('Uri', 'Bern', 12, 'ch'),
    ('Aare', 'Uri', 288, 'ch');
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> SqliteDatabase:
    path = tmp_path_factory.mktemp("mend") / "land.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCRIPT)
    return open_database(path)


@pytest.fixture(scope="module")
def catalogue(database: SqliteDatabase) -> Catalogue:
    return Catalogue.of(database)


@pytest.mark.parametrize(
    ("task", "short", "then"),
    [
        # Left out: what the task says nothing of.
        ("how many people per canton", "SELECT canton.people WHERE canton.name = 'Uri'", "SELECT canton.people"),
        ("people of uri", "SELECT canton.people WHERE canton.name LIKE '%Uri%'", None),
        (
            "peaks",
            "SELECT summit.peak_height WHERE summit.peak_height = MAX(summit.peak_height)",
            "SELECT summit.peak_height",
        ),
        ("the highest", "SELECT summit.peak_height WHERE summit.peak_height = MAX(summit.peak_height)", None),
        (
            "cantons sorted by people",
            "SELECT canton.name ORDER BY canton.people DESC LIMIT 1",
            "SELECT canton.name ORDER BY canton.people DESC",
        ),
        ("3 cantons sorted by people", "SELECT canton.name ORDER BY canton.people DESC LIMIT 3", None),
        ("the fullest canton", "SELECT canton.name ORDER BY canton.people DESC LIMIT 1", None),
        ("longer than 100", "SELECT stream.length WHERE stream.length > 100", None),
        ("anything", "SELECT (", None),
        # Moved: a text stands in another column, or is spelt in another way.
        (
            "streams in vaud",
            "SELECT stream.stream_name WHERE stream.nation LIKE '%Vaud%'",
            "SELECT stream.stream_name WHERE canton.name LIKE '%Vaud%'",
        ),
        (
            "length of the reuss",
            "SELECT stream.length WHERE stream.nation = 'reuss'",
            "SELECT stream.length WHERE stream.stream_name = 'Reuss'",
        ),
        (
            "peak of uri",
            "SELECT summit.highest_peak WHERE summit.canton = 'uri'",
            "SELECT summit.highest_peak WHERE summit.canton = 'Uri'",
        ),
        (
            "where is the damma peak",
            "SELECT summit.canton WHERE summit.highest_peak = 'Damma'",
            "SELECT summit.canton WHERE summit.highest_peak LIKE '%Damma%'",
        ),
        (
            "height of the damma peak",
            "SELECT summit.peak_height WHERE summit.peak_height LIKE '%damma%'",
            "SELECT summit.peak_height WHERE summit.highest_peak LIKE '%damma%'",
        ),
        (
            "people of the canton zug",
            "SELECT canton.people WHERE canton.people = 'zug'",
            "SELECT canton.people WHERE canton.name = 'zug'",
        ),
        # Added: what the task names, to the table that is asked.
        (
            "what is the highest peak in uri",
            "SELECT summit.highest_peak WHERE summit.peak_height = MAX(summit.peak_height)",
            "SELECT summit.highest_peak WHERE summit.peak_height = MAX(summit.peak_height) AND summit.canton = 'Uri'",
        ),
        (
            "streams of cantons whose chief town is altdorf",
            "SELECT stream.stream_name WHERE stream.crosses IN (SELECT canton.name)",
            "SELECT stream.stream_name "
            "WHERE stream.crosses IN (SELECT canton.name WHERE canton.chief_town = 'Altdorf')",
        ),
        ("the canton bern", "SELECT canton.name", "SELECT canton.name WHERE canton.chief_town = 'Bern'"),
    ],
)
def test_mended(task: str, short: str, then: str | None, catalogue: Catalogue) -> None:
    assert repair(short, task, catalogue) == (then or short)


@given(st.text(max_size=40), st.text(max_size=60))
def test_any_text_can_be_mended(task: str, short: str) -> None:
    """It stays what it is, or becomes SQL that can be read."""
    catalogue = Catalogue({})
    then = repair(short, task, catalogue)
    assert then == short or sqlglot.parse_one(then, read="sqlite")
    assert 0 <= objections(then, task, catalogue) <= len(SIGNS)


@pytest.mark.parametrize(
    ("task", "value"),
    [
        ("how long is the uri stream", "stream.stream_name"),
        ("how long is the stream Uri?", "stream.stream_name"),
        ("the canton named 'uri'", "canton.name"),
        ("what is the highest peak in uri", "summit.canton"),
        ("where is uri.*", "canton.name"),
    ],
)
def test_the_noun_beside_a_value_tells_its_column(task: str, value: str, catalogue: Catalogue) -> None:
    linked = link(task, catalogue)
    assert value_hints(task, catalogue, linked.columns)[0].startswith(f"'Uri' = {value}")


@pytest.mark.parametrize(
    ("task", "short", "against"),
    [
        ("where is uri", "SELECT canton.name WHERE canton.name = 'Uri'", 1),
        ("where is uri", "SELECT canton.chief_town WHERE canton.name = 'Uri'", 0),
        ("where is the longest stream", "SELECT stream.length ORDER BY stream.length DESC LIMIT 1", 1),
        ("how many streams are there", "SELECT stream.length", 1),
        ("how many streams are there", "SELECT COUNT(stream.*)", 0),
        ("how many people live in uri", "SELECT canton.people WHERE canton.name = 'Uri'", 0),
        ("which is the longest stream", "SELECT stream.stream_name", 1),
        ("which is the longest stream", "SELECT stream.stream_name ORDER BY stream.length DESC LIMIT 1", 0),
        ("what is the highest peak of uri", "SELECT summit.highest_peak WHERE summit.canton = 'Uri'", 0),
        ("what is the highest peak of uri", "SELECT MAX(canton.chief_town) WHERE canton.name = 'Uri'", 2),
        ("average length of streams", "SELECT stream.length", 1),
        ("average length of streams", "SELECT AVG(stream.length)", 0),
        ("total length of streams", "SELECT stream.length", 1),
        ("cantons that are not in the west", "SELECT canton.name", 1),
        ("cantons without streams", "SELECT canton.name WHERE NOT canton.name IN (SELECT stream.crosses)", 0),
        ("no more than 3 people", "SELECT canton.name WHERE canton.people <= 3", 0),
        ("(", "(", len(SIGNS)),
    ],
)
def test_doubts(task: str, short: str, against: int, catalogue: Catalogue) -> None:
    assert objections(short, task, catalogue) == against


@pytest.mark.parametrize(
    ("task", "short", "rows"),
    [
        ("how long is the aare", "SELECT stream.length WHERE stream.stream_name = 'Aare'", [(288,)]),
        ("nation of bern", "SELECT stream.nation, stream.crosses WHERE stream.crosses = 'Bern'", [("ch", "Bern")]),
        ("lengths", "SELECT stream.length", [(164,), (288,), (12,), (288,)]),
        ("streams per nation", "SELECT COUNT(stream.*) GROUP BY stream.stream_name", [(2,), (1,), (1,)]),
    ],
)
def test_one_row_again_and_again_is_one_row(
    task: str, short: str, rows: list[tuple[object, ...]], database: SqliteDatabase
) -> None:
    _, found, _ = SqlSource("land", database).run(task, short)
    assert list(found.rows) == rows


def test_groups_and_counts_keep_equal_rows() -> None:
    assert distinct("SELECT a FROM t", "sqlite") == "SELECT DISTINCT a FROM t"
    assert distinct("SELECT COUNT(*) FROM t", "sqlite") is None
    assert distinct("SELECT a FROM t GROUP BY b", "sqlite") is None


def test_what_cannot_be_joined_is_not_moved(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "apart.sqlite")) as connection, connection:
        connection.executescript(
            "CREATE TABLE stream (stream_name TEXT, nation TEXT); CREATE TABLE canton (title TEXT, people INT);"
            "INSERT INTO stream VALUES ('Reuss', 'ch'); INSERT INTO canton VALUES ('Uri', 36);"
        )
    query, found, _ = SqlSource("apart", open_database(tmp_path / "apart.sqlite")).run(
        "how many streams has uri", "SELECT COUNT(stream.*) WHERE stream.nation = 'Uri'"
    )
    assert found.rows == ((0,),)
    assert "canton" not in query
