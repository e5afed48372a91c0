"""Lessons for the style `sql` out of public sets of questions with gold SQL, of which only the schema is at hand.

A database is made of each schema, with the texts that its gold queries compare with as values: a prompt shows values
of a column, and a question is linked to them. What has no short form is left out.

`python benchmarks/skills/sql_corpora.py CORPORA` counts them and shows some.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify

from metier.specialists.prompt import TrainingExample
from metier.specialists.styles.sql.prompt import Solved
from metier.specialists.styles.sql.questions.lessons import TOGETHER, together
from metier.specialists.styles.sql.schema import Catalogue
from metier.specialists.styles.sql.short import shorten_sql
from metier.tools.database import SqliteDatabase

SETS = ("spider_train", "spider_dev", "spider_dk", "spider_syn_train", "spider_syn_dev")
"""Questions that people wrote to databases of many fields; the others are of one database, or templates."""
_WIDEST = 60
"""Columns of a schema; wider ones do not fit a prompt."""
_MOST = 120
"""Questions about one database."""


def examples(folder: Path, dice: random.Random, share: float = 1.0) -> Iterator[TrainingExample]:
    """Prompts with one to `TOGETHER` questions about one database each.

    Args:
        share: Of the databases' questions, how many are told.
    """
    databases: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name in SETS:
        with gzip.open(folder / "sql" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                databases[row["schema"]].append(row)
    for schema, rows in sorted(databases.items()):
        dice.shuffle(rows)
        yield from _about(schema, rows, dice, round(_MOST * share))


def _about(schema: str, rows: Sequence[dict[str, Any]], dice: random.Random, most: int) -> Iterator[TrainingExample]:
    tables = _tables(schema)
    if sum(map(len, tables.values())) > _WIDEST:
        return
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "database.sqlite"
        with suppress(sqlite3.Error):
            _create(file, tables, schema, [row["answer"] for row in rows])
        database = SqliteDatabase(file)
        catalogue = Catalogue.of(database)
        solved = {
            row["question"]: Solved(row["question"], short)
            for row in rows
            if (short := shorten_sql(row["answer"], catalogue, database))
        }
        left = [*solved.values()][:most]
        while left:
            count = dice.choice((1, 1, 2, 3, TOGETHER))
            some, left = left[:count], left[count:]
            yield together(catalogue, some)


def _tables(schema: str) -> dict[str, dict[str, str]]:
    """Table to column to declared type."""
    found = re.findall(r"(?m)^(\w+)\((.*)\)$", schema)
    return {
        table: {
            parts[0]: "REAL" if "number" in parts[1:] else "TEXT"
            for column in columns.split(", ")
            if (parts := column.split())
        }
        for table, columns in found
    }


def _create(file: Path, tables: dict[str, dict[str, str]], schema: str, queries: Sequence[str]) -> None:
    keys = dict(re.findall(r"(?m)^FK (\w+\.\w+) = (\w+\.\w+)$", schema))
    primary = {
        f"{t}.{c}" for t, line in re.findall(r"(?m)^(\w+)\((.*)\)$", schema) for c in re.findall(r"(\w+) \w+ pk", line)
    }
    values = _values(tables, queries)
    with closing(sqlite3.connect(file)) as connection:
        for table, columns in tables.items():
            lines = [f'"{c}" {kind}{" UNIQUE" if f"{table}.{c}" in primary else ""}' for c, kind in columns.items()]
            for one, other in keys.items():
                if one.startswith(f"{table}."):
                    there, column = other.split(".")
                    lines.append(f'FOREIGN KEY ("{one.split(".")[1]}") REFERENCES "{there}" ("{column}")')
            connection.execute(f'CREATE TABLE "{table}" ({", ".join(lines)})')
            told = {c: sorted(values[table.lower(), c.lower()]) for c in columns}
            for number in range(max(3, *map(len, told.values()))):
                row = [_cell(told[c], number, kind, f"{table}.{c}" in primary) for c, kind in columns.items()]
                marks = ", ".join("?" * len(row))
                with suppress(sqlite3.IntegrityError):
                    connection.execute(f'INSERT INTO "{table}" VALUES ({marks})', row)
        connection.commit()


def _cell(told: Sequence[str], number: int, kind: str, unique: bool) -> str | float | None:
    if told and (not unique or number < len(told)):
        return told[number % len(told)]
    return float(number + 1) if kind == "REAL" else f"{number + 1}" if unique else None


def _values(tables: dict[str, dict[str, str]], queries: Sequence[str]) -> dict[tuple[str, str], set[str]]:
    """Table and column, in small letters, to the texts that queries compare it with."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    schema: dict[str, object] = {**tables}
    for query in queries:
        with suppress(SqlglotError, RecursionError):
            tree = qualify(
                sqlglot.parse_one(query, read="sqlite"), schema=schema, dialect="sqlite", quote_identifiers=False
            )
            names = {t.alias_or_name.lower(): t.name.lower() for t in tree.find_all(exp.Table)}
            for equal in tree.find_all(exp.EQ, exp.NEQ):
                column, literal = equal.this, equal.expression
                if isinstance(column, exp.Column) and isinstance(literal, exp.Literal) and literal.is_string:
                    found[names.get(column.table.lower(), ""), column.name.lower()].add(literal.name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpora", type=Path)
    args = parser.parse_args()
    made = list(examples(args.corpora, random.Random(0)))
    answers = sum(1 + sum(m["role"] == "assistant" for m in e.messages) for e in made)
    words = sum(len(m["content"].split()) for e in made for m in e.messages)
    print(f"{len(made)} prompts, {answers} answers, about {1.6 * words:.0f} tokens")
    for example in random.Random(1).sample(made, 6):
        print("-" * 40, *(f"{m['role']}: {m['content']}" for m in example.messages), f"→ {example.answer}", sep="\n")


if __name__ == "__main__":
    main()
