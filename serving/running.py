"""A team that a server on this machine has open already: how it is found, and asked without loading anything.

While `metier serve` runs, `.metier/server.json` beside the team says where. Only the standard library talks with it, so
that a question costs its answer's time and little more.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from ..core.errors import InputError, MetierError, StateError
from ..core.files import write_atomic
from ..core.run import Emit, Event, ignore
from ..core.types import Answer

if TYPE_CHECKING:
    from ..tools.policy import Decision

_FILE = Path(".metier") / "server.json"
_SECONDS_TO_ANSWER = 10.0
"""A server that is gone refuses at once, and one that is busy is still quicker than loading a model beside it."""


@contextmanager
def announced(root: Path, url: str) -> Iterator[str]:
    """Say beside a team that it is served; gives the name of this server, which `/health` tells, too."""
    instance = uuid4().hex
    write_atomic(root / _FILE, json.dumps({"url": url, "pid": os.getpid(), "instance": instance}))
    try:
        yield instance
    finally:
        (root / _FILE).unlink(missing_ok=True)


def find_running(folder: Path) -> RunningTeam | None:
    """The server of the team in that folder; None where there is none, or it does not answer."""
    root = folder.parent if folder.is_file() else folder
    try:
        told = json.loads((root / _FILE).read_text(encoding="utf-8"))
        url, instance = urlsplit(told["url"]), told["instance"]
        host, port = url.hostname or "", url.port
        if port is None or not ipaddress.ip_address(host).is_loopback:
            return None
        with closing(HTTPConnection(host, port, timeout=_SECONDS_TO_ANSWER)) as connection:
            connection.request("GET", "/health")
            health = json.loads(connection.getresponse().read())
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None
    # Another program may have got the port of a server that was killed.
    return RunningTeam(host, port) if health.get("instance") == instance else None


class NotForUs(MetierError):
    """The server takes questions only from those whom it knows."""


class RunningTeam:
    """The team behind a server on this machine, with what `metier ask` needs of a `Team`."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._runs: dict[str, str] = {}

    def ask(
        self,
        task: str,
        *,
        thread_id: str | None = None,
        specialist: str | None = None,
        user: str | None = None,
        emit: Emit | None = None,
    ) -> Answer:
        """As `Team.ask`. Whoever may reach the server is the one person at this machine, so `user` must be that one.

        Raises:
            InputError: the server refuses the task.
            StateError: it failed, or cannot be reached any more.
            NotForUs: it has users.
        """
        asked = {"task": task, "thread_id": thread_id, "specialist": specialist, "stream": True}
        return self._follow("/v1/runs", asked, emit or ignore)

    def resume(self, thread_id: str, decisions: Sequence[Decision]) -> Answer:
        """As `Team.resume`, for a task that this object asked."""
        made = [decision.model_dump(mode="json") for decision in decisions]
        return self._follow(f"/v1/runs/{self._runs[thread_id]}/resume", {"decisions": made, "stream": True}, ignore)

    def _follow(self, path: str, body: dict[str, Any], emit: Emit) -> Answer:
        try:
            with closing(HTTPConnection(self._host, self._port)) as connection:
                connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
                response = connection.getresponse()
                if response.status >= 400:
                    raise _refused(response.status, json.loads(response.read())["error"])
                return self._answer(response, emit)
        except (OSError, HTTPException) as error:
            raise StateError(f"the server of this team cannot be reached any more: {error}") from error

    def _answer(self, response: HTTPResponse, emit: Emit) -> Answer:
        for name, data in _events(response):
            if name == "end":
                self._runs[data["thread_id"]] = data["id"]
                if data["answer"] is None:
                    raise _refused(409, data["error"] or {"message": f"the task was {data['status']}"})
                return Answer.model_validate(data["answer"])
            if name not in ("run", "token"):
                emit(Event.model_validate(data))
        raise StateError("the server of this team ended before it had answered")


def _events(response: HTTPResponse) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and data of each event of the stream."""
    name = ""
    for line in response:
        field, _, value = line.decode().rstrip("\r\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def _refused(status: int, error: dict[str, Any]) -> MetierError:
    if status in (401, 403):
        return NotForUs(error["message"])
    message, _, hint = error["message"].partition(" → ")
    return (InputError if status < 500 else StateError)(message, hint=hint or None)
