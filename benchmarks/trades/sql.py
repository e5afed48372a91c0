"""Questions to a database: `execution_match`, the rows of any accepted query, in order where that query orders them."""

from __future__ import annotations

import random
from argparse import Namespace
from collections.abc import Sequence

import sqlglot
from harness import Report, progress, sample

from metier.benchmarks.skills.skill import kept_aside
from metier.benchmarks.skills.sql import Asked, aside, own, questions, taught, varied
from metier.benchmarks.skills.sql import lessons as prompts
from metier.core.errors import MetierError
from metier.core.types import Answer, Brief
from metier.specialists.card import SpecialistCard
from metier.specialists.prompt import TrainingExample
from metier.specialists.specialist import Specialist
from metier.specialists.styles.sql.style import SqlSource
from metier.tools.database import open_database, same_rows
from trades.trade import System, same

SKILL = "sql"
SETS = ("sql_geoquery", "sql_defog")

OWN = 300
"""Prompts with made-up questions about a database that is learnt."""


def rows(args: Namespace, name: str) -> list[Asked]:
    found = questions(args.data, name)
    return sample([q for q in found if _kept(q)] if same(args) else found, args.limit, args.seed)


def lessons(args: Namespace, name: str) -> list[TrainingExample]:
    found = taught(_learnt(args, name))
    made = prompts(found, args.seed, 4, varied(found, args.seed))
    for file in sorted({t.asked.database for t in found}):
        made += own(file, args.seed, OWN)
    random.Random(args.seed).shuffle(made)
    return made


def score(report: Report, args: Namespace, name: str, system: System, asked: Sequence[Asked]) -> None:
    desks: dict[str, SqlSource] = {}
    # Only a database that was learnt from has solved questions to show.
    solved = [(q.task, q.gold[0]) for q in _learnt(args, name)] if system.trained and name == "sql_geoquery" else []
    right: list[bool] = []
    for one in progress(asked, f"{name} · {system.name}"):
        place = str(one.database)
        if place not in desks:
            desks[place] = SqlSource(one.database.name, open_database(one.database), solved)
        right.append(matches(_query(system, desks[place], one.task), one, desks[place]))
    report.add(name, system.name, "execution_match", right)


def others(report: Report, args: Namespace, name: str, asked: Sequence[Asked]) -> None:
    """None."""


def matches(query: str, one: Asked, desk: SqlSource) -> bool:
    """Whether a query gives the rows of an accepted one."""
    try:
        found = desk.database.query(query, rows=5000)
    except MetierError:
        return False
    for gold in one.gold:
        ordered = bool(sqlglot.parse_one(gold, read="sqlite").args.get("order"))
        if same_rows(found, desk.database.query(gold, rows=5000), ordered=ordered):
            return True
    return False


def _query(system: System, desk: SqlSource, task: str) -> str:
    """The query that a specialist answers with, or the last that it tried."""
    card = SpecialistCard(
        name=system.name.split()[-1], description="Asks the database.", style="sql", database=desk.source
    )
    specialist = Specialist(card, system.engine, resources=desk, adapter=system.adapter, abstain_below=0.0)
    answer = specialist.run(Brief(task=task))
    calls = answer.tool_calls if isinstance(answer, Answer) else ()
    return calls[-1].arguments["query"] if calls else ""


def _learnt(args: Namespace, name: str) -> list[Asked]:
    return [q for q in questions(args.train, name) if not (same(args) and _kept(q))]


def _kept(one: Asked) -> bool:
    """Databases that the skill never saw; of one database, a fifth of the query templates."""
    return aside(one) if one.group.startswith("sql_defog") else kept_aside(one.group, 0.2)
