"""Kinds of tables that were computed with wrongly once: each test is one kind."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from metier.core.cells import dates, numbers
from metier.core.csv_table import parse_csv
from metier.core.errors import ToolError
from metier.tools.builtin.sql import sql
from metier.tools.builtin.table import Filter, TableQuery, run
from metier.tools.database import SqliteDatabase, open_database
from metier.tools.tool import ToolContext


def column(*cells: str, separator: str = ";") -> list[Any]:
    table = parse_csv("\n".join(["name;value", *(f"n{number};{cell}" for number, cell in enumerate(cells))]), ";")
    assert [row[1] for row in table.rows] == [*cells]
    found = numbers(cells) or dates(cells)
    return [found.read(cell) for cell in cells] if found else [*cells]


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (("3.120,75", "15,00", "7"), [3120.75, 15.0, 7.0]),
        (("8'250.40", "12.00"), [8250.4, 12.0]),
        (("6 300,5", "41\u202f000,00"), [6300.5, 41000.0]),
        (("£12", "£1,040"), [12, 1040]),
        (("30,00 €", "5,- €"), [30.0, 5.0]),
        (("CHF 70.50", "CHF 5.–"), [70.5, 5.0]),
        (("45%", "7 %"), [45, 7]),
        (("(1,300)", "-20", "20-"), [-1300, -20, -20]),
        (("22", "n/a", "#DIV/0!", "–", "31"), [22, None, None, None, 31]),
        (("2.345.678", "12"), [2345678, 12]),
        (("700", "3.400", "15.250"), [700, 3400, 15250]),
        (("12,50,000", "900"), [1250000, 900]),
        (("0.125", "2.500"), [0.125, 2.5]),
        (("1e3", "2.5"), [1000.0, 2.5]),
    ],
)
def test_numbers(cells, read):
    assert column(*cells) == read


@pytest.mark.parametrize(
    "cells",
    [("$5", "€6"), ("7 %", "3"), ("0042", "17"), ("1,5", "1.5"), ("+41 44 123", "5"), ("B12", "7"), ("3 kg", "4 kg")],
)
def test_what_is_no_column_of_numbers_stays_as_it_is(cells):
    assert column(*cells) == [*cells]


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (("24.12.2025", "6.1.2026", "-"), ["2025-12-24", "2026-01-06", None]),
        (("05/06/2025", "25/06/2025"), ["2025-06-05", "2025-06-25"]),
        (("05/06/2025", "05/26/2025"), ["2025-05-06", "2025-05-26"]),
        (("2025/6/5", "2025-06-07"), ["2025-06-05", "2025-06-07"]),
        (("5 Jun 2025", "June 7th, 2025"), ["2025-06-05", "2025-06-07"]),
        (("24.12.25 07:05",), ["2025-12-24 07:05"]),
        (("1/30/25 1:05 PM", "1/31/25 12:10 AM"), ["2025-01-30 13:05", "2025-01-31 00:10"]),
    ],
)
def test_dates(cells, read):
    assert column(*cells) == read


@pytest.mark.parametrize(
    "cells", [("05/06/2025", "07/08/2025"), ("31.02.2025",), ("1.2.10",), ("25/06/2025", "6/25/2025")]
)
def test_dates_that_may_be_others_stay_as_they_are(cells):
    assert column(*cells) == [*cells]


def test_a_file_tells_what_its_columns_leave_open(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ware;price;left;since;sold\nnut;0,50;1.250;05/06/2025;25/06/2025\n")
    (tmp_path / "b.csv").write_text('ware,price,left,since\nnut,0.50,"1,250",05/06/2025\n')
    database = open_database(tmp_path)
    assert database.query("SELECT price, left, since FROM a").rows == ((0.5, 1250, "2025-06-05"),)
    assert database.query("SELECT price, left, since FROM b").rows == ((0.5, 1250, "05/06/2025"),)
    with pytest.raises(
        ToolError, match="'since' of b cannot be compared: its dates may have the day or the month first"
    ):
        run(database, TableQuery(table="b", order_by="since"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("mark", [";", ",", "\t", "|"])
def test_encodings_and_separators(tmp_path, mark, encoding):
    text = f"Stadt{mark}Umsatz\nKöln{mark}12\nFürth{mark}30\n"
    (tmp_path / "UMSATZ.CSV").write_bytes(text.encode(encoding))
    database = open_database(tmp_path / "UMSATZ.CSV")
    assert database.query("SELECT Stadt, Umsatz FROM UMSATZ ORDER BY Umsatz").rows == (("Köln", 12), ("Fürth", 30))


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("Stock;May\n\nware;left;price;place\nnut;4;1,5;A\nnail;5;2,5;B\n", ("ware", "left", "price", "place"), 2),
        ("2025-05-01,nut,4\n2025-05-02,nail,5\n", (), 2),
        ("nut,2024\nnail,2025\n", (), 2),
        ("place,2024,2025\nA,4,5\nB,6,7\n", ("place", "2024", "2025"), 2),
        ("hours,who\nN/A,ann\n-,bo\n8,cy\n", ("hours", "who"), 3),
        ('"a, b",n\n"x, y",1\n"z, w",2\n', ("a, b", "n"), 2),
    ],
)
def test_headers(text, columns, rows):
    table = parse_csv(text)
    assert (table.columns, len(table.rows)) == (columns, rows)


def test_files_of_one_name(tmp_path: Path) -> None:
    for place, content in (("north/sales.csv", "n\n1\n"), ("south/Sales.CSV", "n\n2\n"), ("stock.csv", "n\n3\n")):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(content)
    (tmp_path / "STOCK.tsv").write_text("n\tm\n4\t5\n")
    (tmp_path / "order.csv").write_text("n\n6\n")
    (tmp_path / "._order.csv").write_bytes(b"\0\1")
    database = open_database(tmp_path)
    assert set(database.schema()) == {"north_sales", "south_Sales", "STOCK", "stock_2", "order"}
    found = [database.query(f'SELECT n FROM "{table}"').rows[0][0] for table in ("north_sales", "south_Sales", "order")]
    assert found == [1, 2, 6]


def test_a_folder_without_tables_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="no CSV file in"):
        open_database(tmp_path)


@pytest.fixture
def stock(tmp_path: Path) -> SqliteDatabase:
    """Numbers and dates that a database keeps as text."""
    with closing(sqlite3.connect(tmp_path / "stock.sqlite")) as connection:
        connection.execute("CREATE TABLE item (name TEXT, price TEXT, count TEXT, seen TEXT, state TEXT, odd TEXT)")
        rows = [
            ("nut", "1.200,50 €", "9", "24.12.2025", "new", "9"),
            ("nail", "80,00 €", "10", "06.01.2026", None, "about ten"),
            ("bolt", "-", "100", "30.11.2025", "used", "11"),
        ]
        connection.executemany("INSERT INTO item VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
    return SqliteDatabase(tmp_path / "stock.sqlite")


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({"function": "sum", "of": "price"}, 1280.5),
        ({"function": "max", "of": "count"}, 100),
        ({"function": "max", "of": "seen"}, "2026-01-06"),
        ({"function": "count", "filters": [Filter(column="price", operator=">", value=100)]}, 1),
        ({"function": "count", "filters": [Filter(column="seen", operator=">=", value="24.12.2025")]}, 2),
        ({"function": "count", "filters": [Filter(column="seen", value="2025-12-24")]}, 1),
        ({"function": "count", "filters": [Filter(column="state", operator="!=", value="new")]}, 2),
        ({"columns": ["name"], "order_by": "seen", "descending": True}, "nail"),
    ],
)
def test_text_that_is_a_number_or_a_date(asked, answer, stock):
    assert run(stock, TableQuery(table="item", **asked)).rows[0][0] == answer


@pytest.mark.parametrize(("function", "of"), [("sum", "name"), ("avg", "odd"), ("max", "odd")])
def test_text_that_cannot_be_computed_with_is_told(function, of, stock):
    if function == "max":
        assert run(stock, TableQuery(table="item", function=function, of=of)).rows == (("about ten",),)
        return
    with pytest.raises(ToolError, match=f"'{of}' of item is text, not numbers"):
        run(stock, TableQuery(table="item", function=function, of=of))


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("SELECT name FROM item ORDER BY seen DESC LIMIT 1", "nail"),
        ("SELECT MAX(CAST(count AS INTEGER)) FROM item", "100"),
        ("SELECT SUM(price) FROM item", "1280.5"),
        ("SELECT COUNT(*) FROM item WHERE state <> 'new'", "2"),
        ("SELECT COUNT(*) / 2 FROM item", "1.5"),
        ("SELECT i.name FROM item AS i WHERE i.seen < '2025-12-01'", "bolt"),
    ],
)
def test_the_sql_tool_means_what_is_meant(query, answer, stock, tmp_path):
    query_database, _ = sql(ToolContext(root=tmp_path), database="stock.sqlite")
    assert query_database.invoke({"query": query}).splitlines()[1] == answer


def test_databases_with_what_other_programs_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(sqlite3.connect(tmp_path / "old.sqlite")) as connection:
        connection.executescript(
            """CREATE TABLE ware (n INTEGER, name TEXT, twice AS (n * 2), picture BLOB);
            CREATE TABLE gone (z); CREATE VIEW broken AS SELECT z FROM gone; DROP TABLE gone;
            CREATE VIEW "all wares" AS SELECT name AS "a name" FROM ware;
            INSERT INTO ware VALUES (4, CAST(X'4BF6726E6572' AS TEXT), X'FFD8');"""
        )
        connection.commit()
    database = open_database(tmp_path / "old.sqlite")
    assert "broken cannot be read" in caplog.text
    assert {name: [*columns] for name, columns in database.schema().items()} == {
        "ware": ["n", "name", "twice", "picture"],
        "all wares": ["a name"],
    }
    assert database.query("SELECT name, twice, picture FROM ware").rows == (("Körner", 8, "(2 bytes)"),)
    assert run(database, TableQuery(table="all wares", columns=["a name"])).rows == (("Körner",),)
