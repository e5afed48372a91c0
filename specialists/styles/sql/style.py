"""Style `sql`: one SELECT over the specialist's database; the rows that it gives are the answer."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from ....core.errors import BudgetExceeded, MetierError, ToolError
from ....core.metrics import exact_match
from ....core.run import Event, timing
from ....core.types import Answer, Citation, ToolCall
from ....tools.builtin.sql import connect
from ....tools.database import Database, QueryResult, same_rows, show_value
from ....tools.sql_meaning import as_meant
from ....tools.tool import ToolContext
from ...engines.engine import Select
from ...evaluation.measures import Ground, Scores, Scoring
from ...evaluation.questions import Question
from ...prompt import NOT_FOUND, TrainingExample
from ...work import Draft, Reply, Work
from ..style import Examples, Learner, Opening, Style
from .prompt import INSTRUCTION, Solved, alike, prompt
from .questions.lessons import in_turn, made_up
from .repair import distinct, objections, repair
from .schema import Catalogue
from .short import expand, shorten_sql

ATTEMPTS = 5
"""Queries at most: the likeliest one, and others while something speaks against those before."""

_TEMPERATURE = 0.7
"""Of the others; their seeds are fixed."""

_FAILED = 9
"""Doubts about a query that fails or finds nothing."""

_DOUBTED = 0.3
"""What remains of the probability of a query that something speaks against."""

SHOWN_ROWS = 20
"""Rows that an answer holds at most."""


class SqlSource:
    """Where questions to one database are answered.

    Args:
        source: The database's name, for citations.
        database: Answers one SELECT at a time and can do nothing else.
        examples: Questions with the SQL that answers them.
    """

    def __init__(self, source: str, database: Database, examples: Iterable[tuple[str, str]] = ()) -> None:
        self.source, self.database = source, database
        self._examples = tuple(examples)

    @cached_property
    def catalogue(self) -> Catalogue:
        """Read when the first question comes."""
        return Catalogue.of(self.database)

    @cached_property
    def solved(self) -> Sequence[Solved]:
        """The examples, in the short form that the model writes."""
        examples = ((task, shorten_sql(sql, self.catalogue, self.database)) for task, sql in self._examples)
        return [Solved(task, short) for task, short in examples if short]

    def run(self, task: str, short: str) -> tuple[str, QueryResult, int]:
        """The SQL that a short query stands for once it is mended, the rows that it gives, and what speaks against it.

        Raises:
            MetierError: it is no SQL, names what is not there, does more than read, or takes too long.
        """
        repaired = repair(short, task, self.catalogue)
        try:
            query = expand(repaired, self.catalogue)
        except ToolError:
            # What was moved to another table may stand where nothing joins it.
            repaired, query = short, expand(short, self.catalogue)
        query, remarks = as_meant(query, self.catalogue.dialect, self.catalogue)
        result = self.database.query(query, rows=SHOWN_ROWS)
        repeated = len(result.rows) > 1 and all(row == result.rows[0] for row in result.rows)
        if repeated and (once := distinct(query, self.catalogue.dialect)):
            single = self.database.query(once, rows=SHOWN_ROWS)
            query, result = (once, single) if len(single.rows) == 1 else (query, result)
        return query, result, objections(repaired, task, self.catalogue) + len(remarks)

    def remarks(self, query: str) -> list[str]:
        """What remains in doubt of a query that gave rows, in words."""
        return as_meant(query, self.catalogue.dialect, self.catalogue)[1]

    def cite(self, query: str, result: QueryResult) -> Citation:
        """The rows as a quote from the database; the query that gives them is its context."""
        rows = [" | ".join(map(show_value, row)) for row in result.rows]
        quote = "\n".join([" | ".join(result.columns), *rows])
        return Citation(source=self.source, quote=quote, start=0, end=len(quote), context=query)


class Try(NamedTuple):
    """A query and what came of it."""

    reply: Reply
    call: ToolCall
    found: QueryResult | None
    """None where it failed or found nothing."""
    doubts: int


def answer_by_query(work: Work) -> Draft:
    """Let the model write short SQL over the tables that fit, run it read-only, and answer with the rows.

    A query that `objections` has nothing against is taken as it is; among several, the one with the fewest doubts.
    """
    source: SqlSource | None = work.resources
    if source is None:
        return Draft(text=NOT_FOUND, found=False)
    tries: list[Try] = []
    while len(tries) < ATTEMPTS and (not tries or tries[-1].doubts):
        try:
            tries.append(_try(work, source, tries))
        except BudgetExceeded:
            if not tries:
                raise
            break
    best = min(tries, key=lambda t: (t.doubts, 1 - (_sure(t, work) or 0.0)))
    calls = (*(t.call for t in tries if t is not best), best.call)
    if best.found is None:
        return Draft(text=NOT_FOUND, found=False, tool_calls=calls)
    citation = source.cite(best.call.arguments["query"], best.found)
    rows = [dict(zip(best.found.columns, row, strict=True)) for row in best.found.rows]
    remarks = [f"({remark})" for remark in source.remarks(best.call.arguments["query"])]
    text = "\n".join([_text(best.found), *remarks])
    return Draft(text, True, (citation,), rows, best.reply.certainty, _sure(best, work), calls)


def _try(work: Work, source: SqlSource, before: Sequence[Try]) -> Try:
    """One more query: with the errors in view where all before failed, else another one of the same model."""
    failed = [t for t in before if t.found is None]
    errors = failed if len(failed) == len(before) else []
    shots = alike(work.brief.task, source.solved) if not errors else []
    facts = [*work.brief.facts, *(f"{t.call.arguments['query']} failed: {t.call.error};" for t in errors[:1])]
    instructions = work.card.instructions
    messages, linked = prompt(work.brief.task, source.catalogue, shots, instructions=instructions, facts=facts)
    sampling = {"temperature": _TEMPERATURE, "seed": len(before)} if len(before) > len(errors[:1]) else {}
    reply = work.ask(messages, Select([column.path for column in linked.columns]), **sampling)
    return _run(work, source, reply)


def _run(work: Work, source: SqlSource, reply: Reply) -> Try:
    """What came of a query."""
    query, found, doubts, error = reply.text, None, _FAILED, "no rows"
    with timing("tool", "query_database") as note:
        try:
            query, rows, signs = source.run(work.brief.task, reply.text)
            if any(value is not None for row in rows.rows for value in row):
                found, doubts = rows, signs
        except MetierError as failed:
            error = failed.message
        note(error=found is None)
    result = _text(found) if found else ""
    call = ToolCall(name="query_database", arguments={"query": query}, result=result, error=None if found else error)
    seen = {"name": call.name, "arguments": call.arguments, "error": call.error}
    work.emit(Event(name="tool", specialist=work.card.name, data=seen))
    return Try(reply, call, found, doubts)


def _text(found: QueryResult) -> str:
    """One value as it is, one column as a list, more columns row by row."""
    rows = [" | ".join(map(show_value, row)) for row in found.rows]
    more = "" if found.complete else " …"
    return (", " if len(found.columns) == 1 else "\n").join(rows) + more


def _sure(one: Try, work: Work) -> float | None:
    """Probability of the whole query, as the model sees it; less where something speaks against it."""
    if "logprob" not in one.reply.certainty:
        return None
    likely = math.exp(one.reply.certainty["logprob"] * max(1, work.engine.count(one.reply.text)))
    return likely * (_DOUBTED if one.doubts else 1.0)


def open_source(opening: Opening) -> SqlSource:
    """The database that the card names, with its solved examples.

    Raises:
        ConfigError: an example file is wrong, or the environment variable holds no address.
        ToolError: there is no such database, or it is outside the team's folder.
    """
    named = opening.card.database or ""
    solved = [(row["input"], row["sql"]) for row in opening.rows() if isinstance(row.get("sql"), str)]
    place = named if named.startswith("env:") else os.path.relpath(opening.folder / named, opening.root)
    return SqlSource(place, connect(ToolContext(opening.root), place), solved)


def sql_lessons(learner: Learner, examples: Examples) -> Iterator[TrainingExample]:
    """Each question behind others like it, as at work, and alone, as if it were the first; and made-up ones."""
    source: SqlSource | None = learner.resources
    if source is None:
        return
    wanted = {row["input"] for row in examples.rows}
    seen = [one for one in source.solved if one.task in wanted]
    for one in seen:
        others = [other for other in seen if other.sql != one.sql]
        for shots in (alike(one.task, others), []):
            messages, _ = prompt(one.task, source.catalogue, shots, instructions=learner.card.instructions)
            yield TrainingExample(messages, one.sql)
    if seen:
        made = made_up(seen, source.catalogue, source.database, examples.dice)
        repeats = examples.repeats([one.task for one in made])
        kept = [one for place, one in enumerate(made) if place not in repeats]
        yield from in_turn(kept, source.catalogue, learner.card.instructions)


_STATEMENT = re.compile(r"\s*(select|with)\b", re.IGNORECASE)


def sql_scores(question: Question, answer: Answer, ground: Ground) -> Scores:
    """Whether the statement gives the rows of a right one (execution match: Zhong et al., EMNLP 2020)."""
    ran = [call.arguments.get("query", "") for call in answer.tool_calls if call.error is None]
    database = ground.resources.database if ground.resources else None
    right = [question.sql] if question.sql else question.texts
    good = ran and any(_same_rows(str(ran[-1]), wanted, answer, database) for wanted in right)
    return {"execution_match": float(bool(good))}


def _same_rows(query: str, wanted: str, answer: Answer, database: Database | None) -> bool:
    """A right answer that is no statement is compared as text."""
    if database is None or not _STATEMENT.match(wanted):
        return bool(exact_match(answer.text, [wanted]))
    try:
        ordered = "order by" in wanted.lower()
        return same_rows(database.query(query), database.query(wanted), ordered=ordered)
    except MetierError:
        return False


SQL = Style(
    "sql",
    answer_by_query,
    instruction=INSTRUCTION,
    lessons=sql_lessons,
    scoring=Scoring(sql_scores, "execution_match", ("execution_match",)),
    needs=("database",),
    open=open_source,
    touches=("sensitive",),
)
