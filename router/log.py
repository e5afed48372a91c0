"""Every decision on one line of a file, so that it can be replayed and corrected, and the corrections learnt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock
from pydantic import Field

from ..core.errors import ConfigError, StateError, unknown
from ..core.files import read_jsonl, write_atomic
from ..core.types import Route, Value
from .features import Example, normalise_example
from .router import Router


class LoggedDecision(Value):
    """A line of the log."""

    id: str
    time: str
    """ISO 8601, UTC."""
    text: str
    context: tuple[str, ...] = ()
    attachments: tuple[str, ...] = ()
    features: str
    """Hash of what the router saw of the text (`features_hash`)."""
    router: str
    """The router's fingerprint."""
    route: Route
    origin: dict[str, str] = Field(default_factory=dict)
    """Where the task came from, as far as it was told: `thread_id`, `user_id`, `tenant`."""


class Correction(Value):
    """A line that says who should have got the task of an earlier line; None: nobody."""

    corrects: str
    label: str | None


class ChangedRoute(Value):
    """A decision that another router takes otherwise."""

    id: str
    text: str
    before: str
    after: str
    same_features: bool
    """False: not only the router changed but the embedder, or how texts are read."""


class DecisionLog:
    """A file of decisions and corrections; it grows one whole line at a time. Safe for several processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))

    def add(
        self,
        router: Router,
        text: str,
        route: Route,
        *,
        context: Sequence[str] = (),
        attachments: Sequence[str] = (),
        origin: Mapping[str, str] | None = None,
    ) -> str:
        """Keep a decision; returns its id."""
        decision = LoggedDecision(
            id=uuid4().hex[:12],
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            text=text,
            context=tuple(context),
            attachments=tuple(attachments),
            features=features_hash(router, text),
            router=router.fingerprint,
            route=route,
            origin=dict(origin or {}),
        )
        self._append(decision)
        return decision.id

    def correct(self, decision_id: str, label: str | None) -> None:
        """Say who should have got the task.

        Raises:
            StateError: there is no such decision.
        """
        ids = [d.id for d in self.decisions()]
        if decision_id not in ids:
            raise StateError(unknown("decision", decision_id, ids[-5:]), hint=f"ids stand in {self.path}")
        self._append(Correction(corrects=decision_id, label=label))

    def decisions(self) -> Iterator[LoggedDecision]:
        """All decisions, oldest first."""
        return (line for line in self._lines() if isinstance(line, LoggedDecision))

    def corrections(self) -> list[Example]:
        """What `Router.corrected` learns: of two corrections of the same text the later one counts."""
        lines = self._lines()
        texts = {line.id: normalise_example(line.text) for line in lines if isinstance(line, LoggedDecision)}
        last = {texts[line.corrects]: line.label for line in lines if isinstance(line, Correction)}
        return [Example(text=text, label=label) for text, label in last.items()]

    def replay(self, router: Router) -> list[ChangedRoute]:
        """Decide everything again; what comes out otherwise."""
        changed = []
        for decision in self.decisions():
            route = router.route(decision.text, context=decision.context, attachments=decision.attachments)
            before, after = route_summary(decision.route), route_summary(route)
            if before != after:
                same = decision.features == features_hash(router, decision.text)
                changed.append(
                    ChangedRoute(id=decision.id, text=decision.text, before=before, after=after, same_features=same)
                )
        return changed

    def forget(self, forgotten: Callable[[LoggedDecision], bool]) -> tuple[int, int]:
        """Write the file anew without some decisions and what corrects them; how many of each there were."""
        if not self.path.is_file():
            return 0, 0
        with self._lock:
            lines = self._lines()
            gone = {line.id for line in lines if isinstance(line, LoggedDecision) and forgotten(line)}
            left = [
                line for line in lines if (line.id if isinstance(line, LoggedDecision) else line.corrects) not in gone
            ]
            if gone:
                write_atomic(self.path, "".join(line.model_dump_json() + "\n" for line in left))
        return len(gone), len(lines) - len(left) - len(gone)

    def _append(self, line: Value) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock, self.path.open("a", encoding="utf-8") as file:
                file.write(line.model_dump_json() + "\n")
        except OSError as error:
            raise StateError(f"the decision cannot be kept in {self.path}: {error.strerror}") from error

    def _lines(self) -> list[LoggedDecision | Correction]:
        try:
            return read_jsonl(self.path, _line) if self.path.is_file() else []
        except ConfigError as error:
            raise StateError(error.message, hint="delete that line") from error


def _line(row: dict[str, Any]) -> LoggedDecision | Correction:
    return (Correction if "corrects" in row else LoggedDecision).model_validate(row)


def route_summary(route: Route) -> str:
    """A route in a few words: `stock`, `safety + stock`, `clarify: safety, stock`, `nobody`."""
    if route.parts:
        return " + ".join(part.specialist for part in route.parts)
    return f"clarify: {', '.join(route.candidates)}" if route.decision == "clarify" else "nobody"


def features_hash(router: Router, text: str) -> str:
    """12 hex digits of the text's vector and words, rounded so that another machine finds the same ones."""
    clean = normalise_example(text)
    if not clean:
        return hashlib.sha256(b"").hexdigest()[:12]
    vector = (router.embedder.embed([clean])[0] * 20).round().astype("int8")
    columns, _ = router.model.features.words.row(clean)
    return hashlib.sha256(vector.tobytes() + repr(sorted(columns)).encode()).hexdigest()[:12]
