"""One workflow for each row of a JSONL file. It may be killed at any moment: every row comes out once.

The row is the unit: its result is one line, written in one piece. A row that was begun and not written is begun anew,
unless its workflow changes something or asks people: then it is a run of its own, which goes on where it stood.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ...core.errors import InputError, MetierError, StateError
from ...core.run import Plain, Progress, no_progress
from ...core.types import Value
from ..cards import fingerprint
from .execute import Workflow
from .plan import AskStep, PersonStep, Plan, SubStep, ToolStep
from .runs import WorkflowRun
from .steps import walk

_AHEAD = 4
"""Rows for each worker that are read ahead."""


class RowsDone(Value):
    """How a file of rows stands."""

    rows: int
    done: int
    failed: int
    waiting: int = 0
    """Rows that wait for a person."""
    before: int = 0
    """Of those done or failed: how many an earlier call had written."""


def run_rows(
    workflow: Workflow,
    source: Path,
    target: Path,
    *,
    workers: int = 1,
    retry: bool = False,
    progress: Progress = no_progress,
) -> RowsDone:
    """Run the workflow for each row; what an earlier call has written stays, and only the others are done.

    Args:
        source: A JSON object of parameters a line.
        target: Gets a line for each row as it is done: `{row, key, status, text, result, trouble}`. With one worker
            they are in the order of the rows.
        workers: Rows at the same time.
        retry: Do those anew that failed.
        progress: Told how far it is.

    Raises:
        InputError: the target holds results of other rows or of another plan.
        StateError: another process writes it.
    """
    with _alone(target):
        return _Rows(workflow, source, target).run(workers, retry, progress)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(f"{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StateError(f"another process writes {target}", hint="wait for it, or take another file") from None
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


class _Rows:
    """The rows of one file on their way into another."""

    def __init__(self, workflow: Workflow, source: Path, target: Path) -> None:
        self._workflow, self._source, self._target = workflow, source, target
        self._durable = acts(workflow.plan, workflow)
        self._plan = fingerprint(workflow.plan.model_dump(mode="json"))
        self._stop = threading.Event()

    def run(self, workers: int, retry: bool, progress: Progress) -> RowsDone:
        total = sum(1 for _ in self._lines())
        written = self._written(retry)
        states = [*written.values()]
        before = len(states)
        progress("rows", before, total)
        out = os.open(self._target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            for line in self._work(written, workers):
                if line["status"] != "waiting":
                    os.write(out, f"{json.dumps(line, ensure_ascii=False)}\n".encode())
                states.append(line["status"])
                progress("rows", len(states), total)
        finally:
            self._stop.set()
            os.close(out)
        count = {state: states.count(state) for state in ("done", "failed", "waiting")}
        return RowsDone(rows=total, **count, before=before)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """The rows with their numbers, from 1; empty lines are none."""
        try:
            with self._source.open(encoding="utf-8-sig") as file:
                yield from enumerate((line.strip() for line in file if line.strip()), 1)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self._source} cannot be read: {error}") from error

    def _key(self, line: str) -> str:
        return fingerprint(self._plan, line)

    def _written(self, retry: bool) -> dict[int, str]:
        """Row to status, of those that are in the target. A line that was cut off by a kill is taken out."""
        if not self._target.exists():
            return {}
        data = self._target.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        try:
            rows = [json.loads(line) for line in whole.splitlines()]
            found = {row["row"]: row for row in rows}
            keys = {number: self._key(line) for number, line in self._lines() if number in found}
            strange = next((n for n, row in found.items() if row["key"] != keys.get(n)), None)
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self._target} holds something else than results", hint="take another file") from None
        if strange is not None:
            what = f"row {strange} of {self._target} was made of another row or by another plan"
            raise InputError(what, hint="take another file")
        kept = [row for row in found.values() if not (retry and row["status"] == "failed")]
        if len(whole) < len(data) or len(kept) < len(rows):
            self._rewrite(kept)
        return {row["row"]: row["status"] for row in kept}

    def _rewrite(self, rows: list[Plain]) -> None:
        beside = self._target.with_name(f"{self._target.name}.new")
        beside.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
        beside.replace(self._target)

    def _work(self, written: Mapping[int, str], workers: int) -> Iterator[Plain]:
        left = ((number, line) for number, line in self._lines() if number not in written)
        if workers == 1:
            yield from (self._row(number, line) for number, line in left)
            return
        with ThreadPoolExecutor(workers, thread_name_prefix="metier-row") as pool:
            under_way = set[Future[Plain]]()
            for number, line in left:
                under_way.add(pool.submit(self._row, number, line))
                if len(under_way) >= workers * _AHEAD:
                    finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in finished)
            yield from (one.result() for one in under_way)

    def _row(self, number: int, line: str) -> Plain:
        """The line of a row."""
        key = self._key(line)
        told: Plain = {"row": number, "key": key}
        if self._stop.is_set():
            return {**told, "status": "waiting"}
        try:
            given = json.loads(line)
            if not isinstance(given, dict):
                raise InputError("the row is no JSON object")
            run = self._run(given, f"{self._workflow.plan.name}-{key}-{number}")
        except ValueError as error:
            return {**told, "status": "failed", "trouble": [{"step": "", "reason": f"the row is no JSON: {error}"}]}
        except MetierError as error:
            return {**told, "status": "failed", "trouble": [{"step": "", "reason": error.message}]}
        result = run.result.model_dump(mode="json", exclude_defaults=True) if run.result else None
        trouble = [one.model_dump() for one in run.trouble]
        text = str(run.result) if run.result is not None else ""
        return {**told, "status": run.status, "text": text, "result": result, "trouble": trouble}

    def _run(self, given: dict[str, Any], run_id: str) -> WorkflowRun:
        if not self._durable:
            return self._workflow.run_row(given)
        known = self._workflow.known_run(run_id)
        if known is None:
            return self._workflow.run(given, run_id)
        return known if known.status in ("done", "failed") or known.waiting else self._workflow.resume(run_id)


def acts(plan: Plan, workflow: Workflow) -> bool:
    """Does a plan change something, or ask people? Then each of its runs is saved step by step."""
    known = workflow.known
    for _, _, step in walk(plan.steps):
        if isinstance(step, PersonStep) or step.on_failure == "ask":
            return True
        if isinstance(step, AskStep):
            asked = known.specialists.values() if step.ask == "team" else [known.specialists[step.ask]]
            if any(person.acts for person in asked):
                return True
        if isinstance(step, ToolStep) and (found := known.tool(step.tool)) and found[1].effects.effect != "read":
            return True
        if isinstance(step, SubStep) and acts(workflow.workflows[step.workflow], workflow):
            return True
    return False
