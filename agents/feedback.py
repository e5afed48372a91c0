"""From what people say about answers to examples: notes wait in an inbox, and reviewed ones join the example files.

An inbox is one plain JSONL file a specialist:

inbox/maintenance.jsonl     {"verdict": "correction", "task": "…", "answer": "…", "correction": "45 Nm", …}

Rows with answers are evaluation sets, and examples to learn from, among which no evaluation question may be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from filelock import FileLock
from pydantic import ConfigDict, Field

from ..core.embedding import Embedder
from ..core.errors import ConfigError, InputError, StateError, unknown
from ..core.files import read_jsonl, write_atomic
from ..core.metrics import normalise_answer
from ..core.types import Answer, Value
from ..specialists.evaluation.questions import Question, leaked
from .answer_log import log_records
from .canary import Trials
from .cards import Blueprint
from .threads import Threads

Rating = Literal["good", "bad", "correction"]


class Note(Value):
    """What somebody said about one answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str = Field(default_factory=lambda: uuid4().hex[:12])
    at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    """UTC, ISO 8601."""
    specialist: str
    verdict: Rating
    task: str
    answer: str
    """What the specialist said."""
    correction: str | None = None
    """What it should have said."""
    source: str | None = None
    """The document that it cited first."""
    version: str | None = None
    """Of the specialist."""
    thread_id: str = ""
    run_id: str = ""


class Inbox:
    """The notes in a folder. Safe for several processes.

    Args:
        folder: Where they are.
        heard: Told of each new one.
    """

    def __init__(self, folder: Path, heard: Callable[[Note], None] = lambda note: None) -> None:
        self.folder, self._heard = folder, heard

    def add(self, note: Note) -> None:
        """Keep a note."""
        self._change(note.specialist, lambda notes: [*notes, note])
        self._heard(note)

    def notes(self, specialist: str) -> list[Note]:
        """The notes about a specialist, oldest first.

        Raises:
            StateError: a line is no note; names the line.
        """
        path = self._path(specialist)
        try:
            return read_jsonl(path, Note.model_validate) if path.is_file() else []
        except ConfigError as error:
            raise StateError(error.message, hint="mend or delete the line") from error

    def settle(self, specialist: str, id: str) -> None:
        """Take a note out: it was decided upon."""
        self._change(specialist, lambda notes: [n for n in notes if n.id != id])

    def _change(self, specialist: str, how: Callable[[list[Note]], list[Note]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / f".{specialist}.lock"):
            notes = how(self.notes(specialist))
            write_atomic(self._path(specialist), "".join(f"{n.model_dump_json(exclude_none=True)}\n" for n in notes))

    def _path(self, specialist: str) -> Path:
        return self.folder / f"{specialist}.jsonl"


def open_inbox(blueprint: Blueprint) -> Inbox:
    """The notes about a team's answers; a trial of the specialist hears of them."""
    return Inbox(blueprint.state / "inbox", partial(_tell_trial, blueprint))


def _tell_trial(blueprint: Blueprint, note: Note) -> None:
    if records := log_records(blueprint):
        with closing(records):
            Trials(blueprint, records).hear(note.specialist, note.run_id, good=note.verdict == "good")


def note_of(
    threads: Threads,
    specialists: Collection[str],
    verdict: Rating,
    *,
    correction: str | None = None,
    thread_id: str | None = None,
    specialist: str | None = None,
    run_id: str | None = None,
) -> Note:
    """A note about an answer in a conversation.

    Args:
        specialists: Who is on the team.
        thread_id: Left out: what was asked last, in a conversation or outside of any.
        specialist: Whom it concerns; left out: who answered.
        run_id: The run that gave the answer; left out: the last one.

    Raises:
        InputError: the rating and the correction do not fit together, or it is not clear whom it concerns.
        StateError: there is no such conversation, or no such answer in it.
    """
    thread_id, task, answer = _meant(threads, thread_id, run_id)
    answer = answer.model_copy(update={"thread_id": thread_id})
    return note_about(task, answer, specialists, verdict, correction=correction, specialist=specialist)


def note_about(
    task: str,
    answer: Answer,
    specialists: Collection[str],
    verdict: Rating,
    *,
    correction: str | None = None,
    specialist: str | None = None,
) -> Note:
    """A note about an answer that is at hand. Arguments and errors: as `note_of`."""
    _check(verdict, correction)
    name = _concerned(answer, specialists, specialist)
    parts = {p.specialist: p.text for p in answer.route.parts} if answer.route and len(answer.route.parts) > 1 else {}
    return Note(
        specialist=name,
        verdict=verdict,
        task=parts.get(name, task),
        answer=answer.text,
        correction=correction,
        source=answer.citations[0].source if answer.citations else None,
        version=answer.version,
        thread_id=answer.thread_id,
        run_id=answer.run_id,
    )


def _rated(threads: Threads, thread_id: str, run_id: str | None) -> tuple[str, Answer]:
    """The answer that is meant, and its task."""
    if run_id is None:
        answer = threads.answer(thread_id)
        if answer is None:
            raise StateError(f"the last task of thread '{thread_id}' has no answer yet")
        return threads.history(thread_id)[0].task, answer
    given = [(turn.task, turn.answer) for turn in threads.turns(thread_id) if turn.answer]
    found = next(((task, answer) for task, answer in given if answer.run_id == run_id), None)
    if found is None:
        raise StateError(unknown("run", run_id, [answer.run_id for _, answer in given if answer.run_id]))
    return found


def _check(verdict: Rating, correction: str | None) -> None:
    if (verdict == "correction") != bool(correction and correction.strip()):
        raise InputError(
            "'correction' goes with the right answer, 'good' and 'bad' without",
            hint='metier feedback correction "45 Nm"',
        )


def _meant(threads: Threads, thread_id: str | None, run_id: str | None) -> tuple[str, str, Answer]:
    """Thread, task and answer: of that thread, or what was asked last, in a conversation or outside of any."""
    single, kept = threads.last_single(), threads.list() if thread_id is None else []
    if single and (thread_id == single.answer.thread_id or (thread_id is None and all(t.at < single.at for t in kept))):
        return single.answer.thread_id, single.task, single.answer
    if thread_id is None:
        if not kept:
            raise StateError("nobody has asked this team anything yet", hint='metier ask "…"')
        thread_id = kept[0].id
    return thread_id, *_rated(threads, thread_id, run_id)


def _concerned(answer: Answer, specialists: Collection[str], named: str | None) -> str:
    if named is not None:
        if named not in specialists:
            raise InputError(unknown("specialist", named, specialists))
        return named
    worked = [name for name in (answer.specialist or "").split(", ") if name in specialists]
    if len(worked) != 1:
        who = f"{' and '.join(worked)} worked on it" if worked else "nobody answered"
        raise InputError(f"{who}: say whom this concerns", hint="--specialist NAME")
    return worked[0]


class Proposal(Value):
    """A note as an example, before somebody has looked at it."""

    note: Note
    answer: str | None
    """What would be learnt; None when nobody has said what is right."""
    refused: str = ""
    """Why it can never be an example."""


def proposals(blueprint: Blueprint, name: str, embedder: Embedder) -> list[Proposal]:
    """The notes about a specialist as examples.

    Raises:
        ConfigError: an example or evaluation file is wrong.
        StateError: the inbox cannot be read.
    """
    notes = open_inbox(blueprint).notes(name)
    repeats = leaked([n.task for n in notes], held_out(blueprint), embedder)
    known = _known(blueprint, name)
    found = []
    for place, note in enumerate(notes):
        right = note.correction if note.verdict == "correction" else note.answer if note.verdict == "good" else None
        refused = ""
        if place in repeats:
            refused = f"it repeats the evaluation question '{repeats[place]}'"
        elif normalise_answer(note.task) in known:
            refused = "this task is among the examples already"
        found.append(Proposal(note=note, answer=right, refused=refused))
    return found


def accept(blueprint: Blueprint, proposal: Proposal, answer: str) -> Path:
    """Write a note into its specialist's example file, and take it out of the inbox.

    A task that is among the examples by now is not written again: another note may have brought it, or a kill may have
    come between the two steps.

    Returns:
        The example file.

    Raises:
        InputError: the proposal is refused, or the answer is empty.
        ConfigError: the card names no example file.
    """
    note = proposal.note
    if proposal.refused or not answer.strip():
        raise InputError(f"'{note.task}' cannot be an example: {proposal.refused or 'there is no answer'}")
    path = example_file(blueprint, note.specialist)
    if normalise_answer(note.task) not in _known(blueprint, note.specialist):
        row = json.dumps({"input": note.task, "answer": answer.strip()}, ensure_ascii=False)
        before = path.read_text(encoding="utf-8").rstrip("\n")
        write_atomic(path, f"{before}\n{row}\n".lstrip("\n"))
    reject(blueprint, note)
    return path


def reject(blueprint: Blueprint, note: Note) -> None:
    """Take a note out of the inbox."""
    open_inbox(blueprint).settle(note.specialist, note.id)


def _known(blueprint: Blueprint, name: str) -> set[str]:
    """The tasks of a specialist's examples, in normal form."""
    return {normalise_answer(task) for task in blueprint.tasks(name)}


def example_file(blueprint: Blueprint, name: str) -> Path:
    """The file that a specialist's new examples go to: the first that its card names.

    Raises:
        ConfigError: it names none.
    """
    files = example_files(blueprint, name)
    if not files:
        raise ConfigError(
            f"the card of '{name}' names no file of examples", field="examples", hint="examples: [examples.jsonl]"
        )
    return blueprint.folders[name] / files[0]


def example_files(blueprint: Blueprint, name: str) -> list[str]:
    """The `.jsonl` files among a specialist's examples, relative to its card."""
    return [entry for entry in blueprint.specialists[name].examples if entry.endswith(".jsonl")]


def answered_examples(blueprint: Blueprint, name: str, embedder: Embedder) -> list[dict[str, Any]]:
    """Those of a specialist's `own_examples` that have an answer."""
    return [row for row in own_examples(blueprint, name, embedder) if row.get("answer")]


def own_examples(blueprint: Blueprint, name: str, embedder: Embedder) -> list[dict[str, Any]]:
    """A specialist's examples, without those that repeat a question of any evaluation set of the team.

    Raises:
        ConfigError: an example or evaluation file is wrong.
    """
    blueprint.tasks(name)  # complains of a row without an input
    rows = blueprint.example_rows(name)
    repeats = leaked([row["input"] for row in rows], held_out(blueprint), embedder)
    return [row for place, row in enumerate(rows) if place not in repeats]


def read_questions(blueprint: Blueprint, name: str) -> list[Question]:
    """The evaluation set of a specialist; empty when its card names none.

    Raises:
        ConfigError: a row is no question; names file and line.
    """
    entry = blueprint.specialists[name].evaluation
    if entry is None:
        return []
    questions = read_jsonl(blueprint.folders[name] / entry, Question.of)
    return list({question.id: question for question in questions}.values())


def held_out(blueprint: Blueprint) -> list[str]:
    """The questions of all evaluation sets of the team: nobody on it may learn from them."""
    return [question.input for name in blueprint.specialists for question in read_questions(blueprint, name)]
