"""Asking a specialist its evaluation questions. Every answer is written down at once: a run that is killed goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from filelock import FileLock, Timeout

from ...core.errors import MetierError, StateError
from ...core.files import read_jsonl
from ...core.run import Event, Progress, no_progress
from ...core.types import Answer, Brief, Budget
from ..specialist import Specialist
from .measures import Ground, grounding
from .questions import Question, Result

FILE = "results.jsonl"


def ask_questions(
    specialist: Specialist,
    questions: Sequence[Question],
    folder: Path,
    ground: Ground,
    progress: Progress = no_progress,
    budget: Budget | None = None,
) -> list[Result]:
    """The results of `questions`, in their order; those that `folder` holds already are not asked again.

    The specialist is asked by itself, without router and colleagues. A question on which it fails counts as refused,
    and is asked again the next time.

    Args:
        specialist: With `abstain_below` 0, so that every draft is seen; refusals are made of confidences afterwards.
        folder: Of this very version of the specialist.
        progress: Told how many of the questions are answered.
        budget: For each question.

    Raises:
        StateError: another process evaluates the same version.
    """
    with _alone(folder):
        done = read_results(folder)
        progress("questions", len([q for q in questions if q.id in done]), len(questions))
        with (folder / FILE).open("a", encoding="utf-8") as file:
            for question in questions:
                if question.id in done:
                    continue
                try:
                    done[question.id] = _ask(specialist, question, ground, budget or Budget())
                    file.write(done[question.id].model_dump_json() + "\n")
                    file.flush()
                except MetierError as error:
                    done[question.id] = _failed(question, error)
                progress("questions", len([q for q in questions if q.id in done]), len(questions))
    return [done[q.id] for q in questions]


def read_results(folder: Path) -> dict[str, Result]:
    """Question's id to result. A line that was cut off by a kill, or that an older metier wrote, does not count."""
    path = folder / FILE
    results = read_jsonl(path, Result.model_validate, tolerant=True) if path.is_file() else []
    return {result.id: result for result in results}


def missing(questions: Sequence[Question], folder: Path) -> bool:
    """Whether there is anything left to ask."""
    return not {q.id for q in questions} <= set(read_results(folder))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            _end_line(folder / FILE)
            yield
    except Timeout as error:
        raise StateError(f"another process evaluates {folder.name}", hint="wait for it to end") from error


def _end_line(path: Path) -> None:
    """A kill may have cut the last line off in its middle: the next result must not be glued to it."""
    if path.is_file() and (data := path.read_bytes()) and not data.endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")


def _ask(specialist: Specialist, question: Question, ground: Ground, budget: Budget) -> Result:
    measures: dict[str, float] = {}

    def note(event: Event) -> None:
        if event.name == "check":
            measures.update(event.data["measures"])

    start = perf_counter()
    outcome = specialist.run(Brief(task=question.input, budget=budget), note)
    seconds = perf_counter() - start
    assert isinstance(outcome, Answer)  # without colleagues in the brief nobody can take over
    scores: Mapping[str, float] = {}
    if outcome.kind == "answer":
        scores = specialist.style.scoring.score(question, outcome, ground)
    return Result.of(question, outcome, {**scores, **grounding(question, outcome, ground)}, seconds, measures)


def _failed(question: Question, error: MetierError) -> Result:
    reason = f"{type(error).__name__}: {error.message}"
    return Result.of(question, Answer(text="", kind="abstain", reason=reason), {}, seconds=0.0)
