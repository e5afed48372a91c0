"""SQL, tables and CSV: answers equal to SQLite's own, and nothing but reading gets through."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.core.errors import ConfigError, ToolDenied, ToolError
from metier.tools.builtin.table import Filter, TableQuery, run
from metier.tools.database import SqliteDatabase, check_select, open_database
from metier.tools.registry import build_tools
from metier.tools.tool import ToolContext

ROWS = [(1, "pump", 4.5, "north"), (2, "valve", 0.5, "south"), (3, "pump", 7.0, None), (4, "Motor", 12.25, "north")]

WRITES = [
    "DELETE FROM part",
    "UPDATE part SET name = 'x'",
    "INSERT INTO part VALUES (9, 'x', 1, 'x')",
    "REPLACE INTO part VALUES (1, 'x', 1, 'x')",
    "DROP TABLE part",
    "CREATE TABLE evil (a)",
    "CREATE TEMP TABLE evil AS SELECT * FROM part",
    "ALTER TABLE part ADD COLUMN evil",
    "SELECT 1; DELETE FROM part",
    "SELECT 1; SELECT 2",
    "SELECT 1 /* ; */; DROP TABLE part --",
    "WITH gone AS (DELETE FROM part RETURNING *) SELECT * FROM gone",
    "WITH made AS (INSERT INTO part VALUES (9, 'x', 1, 'x') RETURNING *) SELECT * FROM made",
    "WITH c AS (SELECT 1) DELETE FROM part",
    "WITH c AS (SELECT 1) INSERT INTO part SELECT 9, 'x', 1, 'x'",
    "EXPLAIN DELETE FROM part",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = 1",
    "SELECT * FROM pragma_table_info('part')",
    "ATTACH DATABASE 'evil.sqlite' AS evil",
    "DETACH DATABASE main",
    "VACUUM INTO 'evil.sqlite'",
    "REINDEX",
    "ANALYZE",
    "BEGIN; DELETE FROM part; COMMIT",
    "SELECT load_extension('evil')",
    "SELECT writefile('evil', 'x')",
    "SELECT readfile('/etc/passwd')",
    "SELECT * INTO evil FROM part",
    "SELECT * FROM part FOR UPDATE",
    "",
    ";",
    "-- nothing",
    "not sql at all (",
    "(" * 2000,
]
POSTGRES = [
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_sleep(100)",
    "SELECT set_config('default_transaction_read_only', 'off', false)",
    "SELECT dblink('host=x', 'DELETE FROM part')",
    "SELECT nextval('s')",
    "SELECT query_to_xml('DELETE FROM part', true, true, '')",
    "COPY part TO PROGRAM 'sh'",
    "DO $$ BEGIN DELETE FROM part; END $$",
    "CALL evil()",
    "SET ROLE admin",
    "TRUNCATE part",
    "GRANT ALL ON part TO public",
    "LISTEN x",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "stock.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE part (id INTEGER, name TEXT, weight REAL, site TEXT)")
        connection.executemany("INSERT INTO part VALUES (?, ?, ?, ?)", ROWS)
    connection.close()
    return path


@pytest.mark.parametrize("sql", WRITES)
def test_nothing_but_one_select_gets_through(file: Path, sql: str) -> None:
    before = file.read_bytes()
    with pytest.raises((ToolDenied, ToolError)):
        SqliteDatabase(file).query(sql)
    assert file.read_bytes() == before
    assert {p.name for p in file.parent.iterdir()} == {"stock.sqlite"}


@pytest.mark.parametrize("sql", POSTGRES + WRITES)
def test_the_parser_refuses_postgres_writes(sql: str) -> None:
    with pytest.raises((ToolDenied, ToolError)):
        check_select(sql, "postgres")


@pytest.mark.parametrize("sql", [w for w in WRITES if not w.startswith(("SELECT 1", "EXPLAIN", "not", "(", "-", ";"))])
def test_the_connection_refuses_on_its_own(file: Path, sql: str) -> None:
    """Should the parser ever be fooled, SQLite itself still says no."""
    before = file.read_bytes()
    database = SqliteDatabase(file)
    if sql and "FOR UPDATE" not in sql:
        with pytest.raises(ToolError):
            database.fetch(sql, check_select("SELECT 1"), (), 10)
    assert file.read_bytes() == before


def test_queries_that_only_read_pass(file: Path) -> None:
    database = SqliteDatabase(file)
    for sql in (
        "SELECT name, COUNT(*) FROM part GROUP BY name HAVING COUNT(*) > 1",
        "WITH heavy AS (SELECT * FROM part WHERE weight > 1) SELECT * FROM heavy",
        "SELECT 'DELETE FROM part; DROP TABLE part' AS text",
        "SELECT id FROM part UNION SELECT 7 ORDER BY 1;",
        "SELECT name, RANK() OVER (ORDER BY weight) FROM part",
        "-- a note\nSELECT strftime('%Y', '2020-01-01')",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 5) SELECT SUM(x) FROM n",
    ):
        with sqlite3.connect(file) as connection:
            expected = connection.execute(sql).fetchall()
        connection.close()
        assert list(database.query(sql).rows) == expected


@st.composite
def selects(draw: st.DrawFn) -> str:
    """Any SELECT of a small language over the table `part`."""
    columns = st.sampled_from(["id", "name", "weight", "site", "weight * 2", "upper(name)", "coalesce(site, '-')"])
    values = st.sampled_from(["3", "4.5", "'pump'", "NULL", "-1", "'%o%'", "name"])
    compare = st.sampled_from(["=", "<>", "<", ">=", "IS", "LIKE"])
    conditions = draw(st.lists(st.builds("{} {} {}".format, columns, compare, values), max_size=3))
    where = draw(st.sampled_from([" AND ", " OR "])).join(conditions)
    tail = f" WHERE {where}" if where else ""
    if draw(st.booleans()):
        key, function = (
            draw(columns),
            draw(st.sampled_from(["count(*)", "sum(weight)", "avg(id)", "max(name)", "min(site)"])),
        )
        return f"SELECT {key}, {function} FROM part{tail} GROUP BY 1 ORDER BY 1"
    shown = ", ".join(draw(st.lists(columns, min_size=1, max_size=3)))
    nested = draw(st.sampled_from(["part", "(SELECT * FROM part WHERE id > 1) AS part"]))
    return f"SELECT {shown} FROM {nested}{tail} ORDER BY id DESC LIMIT {draw(st.integers(0, 5))}"


@given(selects())
def test_any_select_gives_what_sqlite_gives(sql: str) -> None:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE part (id INTEGER, name TEXT, weight REAL, site TEXT)")
        connection.executemany("INSERT INTO part VALUES (?, ?, ?, ?)", ROWS)
        expected = connection.execute(sql).fetchall()
    connection.close()
    assert list(_parts().query(sql).rows) == expected


def test_time_rows_and_sizes_are_limited(file: Path) -> None:
    database = SqliteDatabase(file, seconds=0.2)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n"
    with pytest.raises(ToolError, match=r"took over 0\.2 s"):
        database.query(endless)
    many = database.query("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n", rows=50)
    assert (len(many.rows), many.complete) == (50, False)
    assert "50 or more rows, first 10 shown" in str(many)
    with pytest.raises(ToolError):
        database.query("SELECT replace(hex(randomblob(900000)), '0', 'xxxxxxxx')")


def test_a_table_in_memory_is_guarded_too(tmp_path: Path) -> None:
    (tmp_path / "part.csv").write_text("\ufeffid,name,name,code\n1,a,b,007\n2,,c,010\n", encoding="utf-8")
    database = open_database(tmp_path)
    assert database.schema() == {"part": {"id": "INTEGER", "name": "TEXT", "name_3": "TEXT", "code": "TEXT"}}
    assert database.query("SELECT code FROM part WHERE name IS NULL").rows == (("010",),)
    for sql in WRITES:
        with pytest.raises(ToolError):
            database.query(sql)
    assert len(database.query("SELECT * FROM part").rows) == 2


COLUMNS = ["id", "name", "weight", "site"]
CONDITIONS = st.builds(
    Filter,
    column=st.sampled_from(COLUMNS),
    operator=st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "contains", "is empty", "is not empty"]),
    value=st.one_of(
        st.integers(-5, 15), st.floats(-5, 15), st.sampled_from(["pump", "North", "o", "' OR 1=1 --", '"'])
    ),
)


@settings(max_examples=150)
@given(conditions=st.lists(CONDITIONS, max_size=2), function=st.sampled_from(["count", "sum", "avg", "min", "max"]))
def test_aggregates_equal_pythons(conditions: list[Filter], function: str) -> None:
    """Against the same question answered in plain Python over the rows."""
    database, query = _parts(), TableQuery(table="part", filters=conditions, function=function, of="weight")  # type: ignore
    if any(c.column in ("name", "site") and c.operator[0] in "<>" and not isinstance(c.value, str) for c in conditions):
        with pytest.raises(ToolError, match="is text and cannot be compared with the number"):
            run(database, query)
        return
    found = run(database, query)
    kept = [row[2] for row in ROWS if all(_holds(dict(zip(COLUMNS, row, strict=True)), c) for c in conditions)]
    expected = {
        "count": len(kept),
        "sum": sum(kept) if kept else None,
        "avg": sum(kept) / len(kept) if kept else None,
        "min": min(kept, default=None),
        "max": max(kept, default=None),
    }[function]
    assert found.rows == ((pytest.approx(expected) if expected is not None else None,),)


_shared: list[SqliteDatabase] = []


def _parts() -> SqliteDatabase:
    if not _shared:
        file = Path(tempfile.mkdtemp()) / "parts.sqlite"
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE part (id INTEGER, name TEXT, weight REAL, site TEXT)")
            connection.executemany("INSERT INTO part VALUES (?, ?, ?, ?)", ROWS)
            connection.commit()
        _shared.append(SqliteDatabase(file))
    return _shared[0]


def _holds(row: dict[str, object], c: Filter) -> bool:
    """SQLite's rules in Python: NULL is empty and not the text that is named; numbers sort before text."""
    cell, value = row[c.column], c.value
    if c.operator in ("is empty", "is not empty"):
        return (cell in (None, "")) == (c.operator == "is empty")
    if cell is None:
        return c.operator == "!=" and isinstance(value, str)
    if c.operator == "contains":
        return str(value).lower() in str(cell).lower()
    if c.operator in ("=", "!=") and isinstance(value, str):
        return (str(cell).lower() == value.lower()) == (c.operator == "=")
    left, right = _ordered(c.column, cell), _ordered(c.column, value)
    return {
        "=": left == right, "!=": left != right, "<": left < right, "<=": left <= right,
        ">": left > right, ">=": left >= right,
    }[c.operator]  # fmt: skip


def _ordered(column: str, value: object) -> tuple[int, object]:
    if column in ("name", "site"):
        return (1, str(float(value)) if isinstance(value, float) else str(value))
    return (0, value) if isinstance(value, int | float) else (1, value)


def test_names_are_checked_and_never_become_sql(file: Path) -> None:
    database = SqliteDatabase(file)
    for query in (
        TableQuery(table="part; DROP TABLE part"),
        TableQuery(table="part", columns=["id, (SELECT 1)"]),
        TableQuery(table="part", order_by="id; DROP TABLE part"),
        TableQuery(table="part", filters=[Filter(column="1=1 OR id", value=1)]),
        TableQuery(table="part", function="sum"),
        TableQuery(table="part", group_by=["site"]),
    ):
        with pytest.raises(ToolError):
            run(database, query)


def test_the_table_tool_shows_real_names_to_the_model(file: Path) -> None:
    [tool] = build_tools([{"use": "table", "source": file.name}], ToolContext(root=file.parent))
    schema = tool.args_schema.model_json_schema()  # type: ignore[union-attr]
    assert schema["properties"]["table"]["const"] == "part"
    assert schema["$defs"]["Condition"]["properties"]["column"]["enum"] == sorted(COLUMNS)
    out = tool.invoke({"table": "part", "function": "sum", "of": "weight", "group_by": ["name"], "order_by": "result"})
    assert out == "name | result\nvalve | 0.5\npump | 11.5\nMotor | 12.25\n(3 rows)"


def test_the_sql_tool_describes_and_answers(file: Path) -> None:
    query, describe = build_tools([{"use": "sql", "database": file.name}], ToolContext(root=file.parent))
    assert describe.invoke({}) == "part(id INTEGER, name TEXT, weight REAL, site TEXT)"
    assert query.invoke({"query": "SELECT COUNT(*) AS n FROM part"}) == "n\n4\n(1 row)"


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_text("not a database, only text that is long enough to look like one")
    for source in ("missing.sqlite", "x.sqlite", "../outside.sqlite", "env:METIER_NO_SUCH_VARIABLE"):
        with pytest.raises(ConfigError):
            build_tools([{"use": "sql", "database": source}], ToolContext(root=tmp_path))
