"""The style `sql`: short SQL, what it stands for, what the model is shown, and answers with rows as citations."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from operator import eq, gt, lt, ne
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from metier.core.errors import ConfigError, ToolError
from metier.core.models import ModelStore
from metier.core.types import Answer, Brief, Budget
from metier.specialists.card import SpecialistCard
from metier.specialists.engines import Sampling
from metier.specialists.engines.engine import Select
from metier.specialists.engines.llama import LlamaEngine
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.specialist import Specialist
from metier.specialists.styles.sql.prompt import Solved, alike, link, prompt, value_hints
from metier.specialists.styles.sql.schema import Catalogue
from metier.specialists.styles.sql.short import expand, shorten_sql
from metier.specialists.styles.sql.style import ATTEMPTS, SqlSource
from metier.specialists.styles.table import check_card
from metier.tools.database import SqliteDatabase, open_database, same_rows

PARTS = [
    ("P-1", "belt", 4, 10, "Norsk"),
    ("P-2", "seal", 9, 5, "Calder"),
    ("P-3", "motor", 1, 2, "Norsk"),
    ("P-4", "valve", 9, 3, "Polar"),
]
SUPPLIERS = [("Norsk", "Bergen"), ("Calder", "Leeds"), ("Polar", "Breda")]
ORDERS = [(1, "P-1", 40), (2, "P-1", 2), (3, "P-3", 1)]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> SqliteDatabase:
    path = tmp_path_factory.mktemp("sql") / "stock.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TABLE parts (part TEXT, description TEXT, on_hand INTEGER, minimum INT, supplier TEXT)"
        )
        connection.execute("CREATE TABLE suppliers (supplier TEXT PRIMARY KEY, town TEXT)")
        connection.execute('CREATE TABLE "order" (id INTEGER, part TEXT, pieces INTEGER)')
        connection.executemany("INSERT INTO parts VALUES (?, ?, ?, ?, ?)", PARTS)
        connection.executemany("INSERT INTO suppliers VALUES (?, ?)", SUPPLIERS)
        connection.executemany('INSERT INTO "order" VALUES (?, ?, ?)', ORDERS)
        connection.commit()
    return open_database(path)


@pytest.fixture(scope="module")
def catalogue(database: SqliteDatabase) -> Catalogue:
    return Catalogue.of(database)


@pytest.fixture(scope="module")
def engine(models: ModelStore) -> Iterator[LlamaEngine]:
    opened = LlamaEngine(models.find("smollm2-135m").files["gguf"], slots=1)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("short", "rows"),
    [
        ("SELECT parts.part WHERE suppliers.town = 'Bergen'", [("P-1",), ("P-3",)]),
        ("SELECT COUNT(parts.*)", [(4,)]),
        ("SELECT COUNT(parts.*) WHERE parts.on_hand < parts.minimum", [(2,)]),
        ("SELECT parts.part WHERE parts.on_hand = MAX(parts.on_hand)", [("P-2",), ("P-4",)]),
        ("SELECT parts.part WHERE parts.on_hand = MAX(parts.on_hand) AND suppliers.town = 'Bergen'", [("P-1",)]),
        ('SELECT suppliers.town, SUM("order".pieces) GROUP BY suppliers.town', [("Bergen", 43)]),
        ("SELECT parts.supplier GROUP BY parts.supplier HAVING COUNT(parts.*) = MAX(COUNT(parts.*))", [("Norsk",)]),
        ("SELECT suppliers.supplier WHERE NOT suppliers.supplier IN (SELECT parts.supplier)", []),
        ("SELECT part FROM parts WHERE minimum = 3", [("P-4",)]),
        ("SELECT 1.0 * COUNT(CASE WHEN parts.on_hand > 3 THEN 1 END) / COUNT(parts.*)", [(0.75,)]),
    ],
)
def test_short_sql_stands_for_these_rows(
    short: str, rows: list[tuple[object, ...]], catalogue: Catalogue, database: SqliteDatabase
) -> None:
    assert sorted(database.query(expand(short, catalogue)).rows) == rows


@pytest.mark.parametrize(
    "short", ["SELECT", "SELECT nowhere.part", "SELECT 1", "DROP TABLE parts", "SELECT parts.part; SELECT 1", "'"]
)
def test_what_is_no_query_is_refused(short: str, catalogue: Catalogue, database: SqliteDatabase) -> None:
    with pytest.raises(ToolError):
        database.query(expand(short, catalogue))


WORDS = 'SELECT WHERE AND = ( ) , * 1 MAX( COUNT( FROM parts parts.part suppliers.town "order".pieces'.split()


@given(
    st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=9).map(lambda words: " ".join(["SELECT", *words]))
)
def test_any_text_is_sql_or_an_error(catalogue: Catalogue, text: str) -> None:
    try:
        written = expand(text, catalogue)
    except ToolError:
        return
    assert sqlglot.parse_one(written, read="sqlite").sql("sqlite") == written


@given(
    st.lists(st.sampled_from(["part", "on_hand", "minimum", "supplier", "town"]), min_size=1, max_size=3, unique=True),
    st.sampled_from(["on_hand", "minimum"]),
    st.sampled_from([("<", lt), (">", gt), ("=", eq), ("<>", ne)]),
    st.integers(0, 11),
)
def test_any_columns_and_condition_give_their_rows(
    catalogue: Catalogue, database: SqliteDatabase, columns: list[str], measure: str, how: Any, bound: int
) -> None:
    sign, holds = how
    towns = dict(SUPPLIERS)
    names = ("part", "description", "on_hand", "minimum", "supplier", "town")
    every: list[dict[str, Any]] = [dict(zip(names, (*row, towns[row[-1]]), strict=True)) for row in PARTS]
    shown = ", ".join(f"{'suppliers' if column == 'town' else 'parts'}.{column}" for column in columns)
    rows = database.query(expand(f"SELECT {shown} WHERE parts.{measure} {sign} {bound}", catalogue)).rows
    assert sorted(rows) == sorted(
        tuple(row[column] for column in columns) for row in every if holds(row[measure], bound)
    )


@pytest.mark.parametrize(
    ("gold", "short"),
    [
        (
            "SELECT p.part FROM parts AS p JOIN suppliers AS s ON p.supplier = s.supplier WHERE s.town = 'Leeds'",
            "SELECT parts.part WHERE suppliers.town = 'Leeds'",
        ),
        (
            'SELECT a.part FROM parts a WHERE a.on_hand = (SELECT MAX(b.on_hand) FROM parts b) AND a.part <> "P-9"',
            "SELECT parts.part WHERE parts.on_hand = (SELECT MAX(parts.on_hand)) AND parts.part <> 'P-9'",
        ),
        ("SELECT count(*) AS n FROM parts ORDER BY n", "SELECT COUNT(parts.*) ORDER BY COUNT(parts.*)"),
        (
            "SELECT CAST(SUM(on_hand) AS REAL) / NULLIF(COUNT(*), 0) FROM parts",
            "SELECT 1.0 * SUM(parts.on_hand) / COUNT(parts.*)",
        ),
        (
            "SELECT part FROM parts WHERE LOWER(supplier) LIKE LOWER('NORSK')",
            "SELECT parts.part WHERE parts.supplier LIKE 'NORSK'",
        ),
        ("SELECT part FROM parts GROUP BY 1", "SELECT parts.part GROUP BY parts.part"),
    ],
)
def test_gold_sql_gets_short(gold: str, short: str, catalogue: Catalogue, database: SqliteDatabase) -> None:
    made = shorten_sql(gold, catalogue, database)
    assert made is not None
    assert same_rows(database.query(expand(made, catalogue)), database.query(gold), ordered=False)
    assert made == short


def test_amounts_are_no_keys(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "land.sqlite")) as connection, connection:
        connection.executescript(
            "CREATE TABLE lake (lake_name TEXT, area REAL, state_name TEXT);"
            "CREATE TABLE state (state_name TEXT, area REAL);"
            "INSERT INTO state VALUES ('ohio', 10), ('iowa', 20), ('utah', 30);"
            "INSERT INTO lake VALUES ('a', 1, 'ohio'), ('b', 2, 'iowa'), ('c', 3, 'iowa'), ('d', 4, 'utah');"
        )
    left, right = Catalogue.of(SqliteDatabase(tmp_path / "land.sqlite")).joins.edges["lake", "state"]["join"]
    assert left.name == right.name == "state_name"


def test_gold_sql_that_fails_has_no_short_form(catalogue: Catalogue, database: SqliteDatabase) -> None:
    assert shorten_sql("SELECT nothing FROM nowhere", catalogue, database) is None


def test_the_question_chooses_columns_and_values(catalogue: Catalogue) -> None:
    question = "Which parts come from bergen?"
    linked = link(question, catalogue)
    assert "parts(part, description, on_hand, minimum, supplier" in linked.schema
    assert value_hints(question, catalogue, linked.columns) == ["'Bergen' = suppliers.town;"]


def test_questions_alike_are_shown(catalogue: Catalogue) -> None:
    solved = [
        Solved(f"how many {thing} are there", f"SELECT {n}") for n, thing in enumerate(("belts", "seals", "motors"))
    ]
    assert [s.sql for s in alike("how many seals do we have", solved, 1)] == ["SELECT 1"]
    messages, _ = prompt("how many seals", catalogue, solved[:1])
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]


def specialist(engine: LlamaEngine | ScriptedEngine, database: SqliteDatabase) -> Specialist:
    card = SpecialistCard(name="stock", description="Asks the stock database.", style="sql", database="stock.sqlite")
    return Specialist(card, engine, resources=SqlSource("stock.sqlite", database), abstain_below=0.0)


def test_rows_are_answer_and_citation(database: SqliteDatabase) -> None:
    engine = ScriptedEngine(["SELECT SUM(parts.on_hand) WHERE suppliers.town = 'Bergen'"])
    answer = specialist(engine, database).run(Brief(task="how many pieces do we have from Bergen?"))
    assert isinstance(answer, Answer)
    assert (answer.kind, answer.text, answer.citations[0].source) == ("answer", "5", "stock.sqlite")
    assert database.query(answer.citations[0].context).rows == ((5,),)
    assert answer.touched == ("sensitive",)


def test_a_query_that_fails_is_mended_once_with_the_error_in_view(database: SqliteDatabase) -> None:
    engine = ScriptedEngine(["SELECT parts.price", "SELECT parts.on_hand WHERE parts.part = 'P-2'"])
    answer = specialist(engine, database).run(Brief(task="how many P-2?"))
    assert isinstance(answer, Answer)
    assert answer.text == "9"
    assert [c.error is None for c in answer.tool_calls] == [False, True]
    assert "no such column" in str(engine.calls[1].messages[-1].content)


def test_another_query_is_asked_for_when_something_speaks_against_the_first(database: SqliteDatabase) -> None:
    told = ["SELECT suppliers.supplier WHERE suppliers.supplier = 'Norsk'", "SELECT suppliers.town"]
    engine = ScriptedEngine([*told, "SELECT suppliers.town WHERE suppliers.supplier = 'Norsk'"])
    answer = specialist(engine, database).run(Brief(task="where is Norsk?"))
    assert isinstance(answer, Answer)
    assert answer.text == "Bergen"
    assert len(engine.calls) == 2
    assert answer.citations[0].context == answer.tool_calls[-1].arguments["query"]


def test_of_doubtful_queries_the_least_doubtful_answers(database: SqliteDatabase) -> None:
    worse, better = "SELECT parts.part WHERE parts.part = 'P-2'", "SELECT parts.part, parts.minimum"
    answer = specialist(ScriptedEngine([worse, better] + [worse] * 3), database).run(
        Brief(task="which parts do not have the highest minimum?")
    )
    assert isinstance(answer, Answer)
    assert len(answer.tool_calls) == ATTEMPTS
    assert "minimum" in answer.tool_calls[-1].arguments["query"]


def test_second_thoughts_end_with_the_budget(database: SqliteDatabase) -> None:
    engine = ScriptedEngine(["SELECT parts.part WHERE parts.part = 'P-2'"] * ATTEMPTS)
    answer = specialist(engine, database).run(Brief(task="where is P-2?", budget=Budget(steps=2)))
    assert isinstance(answer, Answer)
    assert (answer.text, len(engine.calls)) == ("P-2", 2)


def test_second_thoughts_are_not_shown(database: SqliteDatabase) -> None:
    shown: list[str] = []
    engine = ScriptedEngine(["SELECT parts.part WHERE parts.part = 'P-2'"] * ATTEMPTS)
    specialist(engine, database).run(
        Brief(task="where is P-2?"), lambda e: shown.append(e.data["text"]) if e.name == "token" else None
    )
    assert shown == ["SELECT parts.part WHERE parts.part = 'P-2'"]


def test_nothing_found_is_an_abstention(database: SqliteDatabase) -> None:
    engine = ScriptedEngine(["SELECT parts.part WHERE parts.part = 'P-8'"] * ATTEMPTS)
    answer = specialist(engine, database).run(Brief(task="where is P-8?"))
    assert isinstance(answer, Answer)
    assert answer.kind == "abstain"


def test_a_model_that_writes_is_refused(database: SqliteDatabase) -> None:
    engine = ScriptedEngine(["DELETE FROM parts"] * ATTEMPTS)
    answer = specialist(engine, database).run(Brief(task="forget all parts"))
    assert isinstance(answer, Answer)
    assert answer.kind == "abstain"
    assert database.query("SELECT COUNT(*) FROM parts").rows == ((4,),)


def test_an_untrained_base_names_real_columns(engine: LlamaEngine, catalogue: Catalogue) -> None:
    chat = engine.chat(Sampling(max_tokens=48))
    for question in ("How many parts are there?", "Which supplier is in Leeds?"):
        messages, linked = prompt(question, catalogue)
        rule = engine.constrain(Select([c.path for c in linked.columns]))
        text = chat.invoke([(m["role"], m["content"]) for m in messages], **rule).text
        assert text.startswith("SELECT ")
        said = re.findall(r"\b[a-z_]+\.[a-z_]+", re.sub(r"'[^']*'?", "", text))
        assert set(said) <= {column.path for column in linked.columns}


def test_a_card_with_style_sql_names_its_database(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="style 'sql' needs a database"):
        check_card(SpecialistCard(name="stock", description="Asks the stock database.", style="sql"))
