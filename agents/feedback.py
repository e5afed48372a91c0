"""From what people say about answers to examples: notes into the inbox, and reviewed notes into the example files."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from ..core.embedding import Embedder
from ..core.errors import ConfigError, InputError, StateError, unknown
from ..core.files import write_atomic
from ..core.types import Answer, Value
from ..memory.inbox import Inbox, Note, Verdict
from ..specialists.evaluation.leaks import leaked
from ..specialists.metrics import normalise
from .blueprint import Blueprint
from .examples import example_files, held_out
from .threads import Threads


def open_inbox(blueprint: Blueprint) -> Inbox:
    """The notes about a team's answers."""
    return Inbox(blueprint.state / "inbox")


def note_of(
    threads: Threads,
    specialists: Collection[str],
    verdict: Verdict,
    *,
    correction: str | None = None,
    thread_id: str | None = None,
    specialist: str | None = None,
) -> Note:
    """A note about the last answer in a conversation.

    Args:
        specialists: Who is on the team.
        thread_id: Left out: the latest conversation.
        specialist: Whom it concerns; left out: who answered.

    Raises:
        InputError: the verdict and the correction do not fit together, or it is not clear whom it concerns.
        StateError: there is no such conversation, or no answer in it.
    """
    _check(verdict, correction)
    thread_id = thread_id or _latest(threads)
    moment, answer = threads.history(thread_id)[0], threads.answer(thread_id)
    if answer is None:
        raise StateError(f"the last task of thread '{thread_id}' has no answer yet")
    name = _concerned(answer, specialists, specialist)
    parts = {p.specialist: p.text for p in answer.route.parts} if answer.route and len(answer.route.parts) > 1 else {}
    return Note(
        specialist=name,
        verdict=verdict,
        task=parts.get(name, moment.task),
        answer=answer.text,
        correction=correction,
        source=answer.citations[0].source if answer.citations else None,
        version=answer.version,
        thread_id=thread_id,
        run_id=answer.run_id,
    )


def _check(verdict: Verdict, correction: str | None) -> None:
    if (verdict == "correction") != bool(correction and correction.strip()):
        raise InputError(
            "'correction' goes with the right answer, 'good' and 'bad' without",
            hint='metier feedback correction "45 Nm"',
        )


def _latest(threads: Threads) -> str:
    kept = threads.list()
    if not kept:
        raise StateError("nobody has asked this team anything yet", hint='metier ask "…"')
    return kept[0].id


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
        elif normalise(note.task) in known:
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
    if normalise(note.task) not in _known(blueprint, note.specialist):
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
    return {normalise(task) for task in blueprint.tasks(name)}


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
