"""The conversations of whoever asks, as LangGraph's server shows them: metadata, status, and the state of the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from pydantic_core import to_jsonable_python

from ...agents.team import StateSnapshot, Team
from ...agents.threads import SINGLE
from ...memory.records import Record
from .caller import Caller
from .errors import ServingError
from .run import Run
from .runs import RunService

_NO_CONVERSATION = (SINGLE, "once-")
"""How names of threads begin that belong to a single task, now and before."""
_SHOWN = ("messages", "answer", "route")
"""Fields of the graph's state that are shown; the others are the stations' own."""


class ThreadIndex:
    """Finds and names the conversations of a team."""

    def __init__(self, runs: RunService) -> None:
        self._runs, self._team, self._records = runs, runs.team, runs.records

    def create(
        self, who: Caller, thread_id: str | None, metadata: Mapping[str, Any], *, if_exists: str = "raise"
    ) -> dict[str, Any]:
        """Begin a conversation in which nothing was said yet.

        Raises:
            ServingError: 409, there is one of that name.
        """
        name = thread_id or str(uuid4())
        if self._exists(name):
            if if_exists == "do_nothing":
                return self.get(who, name)
            raise ServingError(409, f"there is a thread '{name}' already", code="thread_exists", param="thread_id")
        self._records.put("thread", name, who.owner, {"metadata": dict(metadata), "at": _now()}, thread_id=name)
        return self.get(who, name)

    def admit(self, who: Caller, thread_id: str, metadata: Mapping[str, Any], *, create: bool) -> None:
        """Take a run into a conversation, and note what it is about.

        Raises:
            ServingError: 404, there is none and it is not to be made.
        """
        if not self._exists(thread_id) and not create:
            raise _none(thread_id)
        if self._exists(thread_id):
            self.update(who, thread_id, metadata)
        else:
            self.create(who, thread_id, metadata)

    def get(self, who: Caller, thread_id: str) -> dict[str, Any]:
        """A conversation of this caller.

        Raises:
            ServingError: 404, there is none; another's is as if it did not exist.
        """
        record, owners = self._records.get("thread", thread_id), self._team.threads.holders(thread_id)
        if record is not None:
            owners.add(record.owner)  # of a team that saves no threads, they are not in its own records
        if not owners or not all(who.owns(owner) for owner in owners):
            raise _none(thread_id)
        return self._view(who, thread_id, record)

    def update(self, who: Caller, thread_id: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Add to what is noted of a conversation: its title, say."""
        self.get(who, thread_id)
        record = self._records.get("thread", thread_id)
        body = {"metadata": {**(record.body["metadata"] if record else {}), **metadata}, "at": _now()}
        self._records.put("thread", thread_id, who.owner, body, thread_id=thread_id)
        return self.get(who, thread_id)

    def delete(self, who: Caller, thread_id: str) -> None:
        """Forget a conversation, what its tasks did, and its runs."""
        self.get(who, thread_id)
        if self._team.threads.owner(thread_id) is not None:
            self._team.threads.delete(thread_id)
        self._records.erase(None, thread_id)

    def copy(self, who: Caller, thread_id: str) -> dict[str, Any]:
        """The whole conversation once more, under another name."""
        metadata = self.get(who, thread_id)["metadata"]
        name = str(uuid4())
        if self._team.threads.owner(thread_id) is not None:
            self._team.threads.copy(thread_id, name)
        self._records.put("thread", name, who.owner, {"metadata": metadata, "at": _now()}, thread_id=name)
        return self.get(who, name)

    def search(
        self,
        who: Caller,
        *,
        metadata: Mapping[str, Any] | None = None,
        ids: Sequence[str] | None = None,
        status: str | None = None,
        limit: int = 10,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        """The conversations of this caller, the latest first."""
        records = {record.id: record for record in self._records.list("thread", who.owner)}
        saver = self._team.threads.saver
        for name in saver.thread_ids() if saver else ():
            if (
                name not in records
                and not name.startswith(_NO_CONVERSATION)
                and self._team.threads.owner(name) == who.owner
            ):
                records[name] = Record(name, who.owner, name, False, 0.0, {"metadata": {}, "at": ""})
        found = [r for r in records.values() if ids is None or r.id in ids]
        found = [r for r in found if (metadata or {}).items() <= r.body["metadata"].items()]
        found.sort(key=lambda record: record.body["at"], reverse=True)
        if status is None:
            return [self._view(who, record.id, record) for record in found[offset : offset + limit]]
        views = [self._view(who, record.id, record) for record in found]
        return [view for view in views if view["status"] == status][offset : offset + limit]

    def moments(self, who: Caller, thread_id: str, most: int) -> list[dict[str, Any]]:
        """The states of a conversation, the latest first; one that is empty where nothing was said yet."""
        self.get(who, thread_id)
        saved = [state_of(moment) for moment in self._team.moments(thread_id, most)]
        return saved or [_nothing_yet(thread_id)]

    def _exists(self, thread_id: str) -> bool:
        return bool(self._team.threads.holders(thread_id)) or self._records.get("thread", thread_id) is not None

    def _view(self, who: Caller, thread_id: str, record: Record | None) -> dict[str, Any]:
        saved = self._team.moments(thread_id)
        state = state_of(saved[0]) if saved else _nothing_yet(thread_id)
        runs = self._runs.at_work(thread_id)
        status = "busy" if runs else "interrupted" if state["interrupts"] else "idle"
        begun = datetime.fromtimestamp(record.at, UTC).isoformat() if record and record.at else state["created_at"]
        return {
            "thread_id": thread_id,
            "created_at": begun or _now(),
            "updated_at": state["created_at"] or (record.body["at"] if record else "") or _now(),
            "metadata": record.body["metadata"] if record else {},
            "status": status,
            "values": state["values"],
            "interrupts": {task["id"]: task["interrupts"] for task in state["tasks"] if task["interrupts"]},
        }


def _none(thread_id: str) -> ServingError:
    return ServingError(404, f"there is no thread '{thread_id}'", code="thread_not_found")


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _nothing_yet(thread_id: str) -> dict[str, Any]:
    return {
        "values": {},
        "next": [],
        "checkpoint": {"thread_id": thread_id, "checkpoint_ns": "", "checkpoint_id": None, "checkpoint_map": None},
        "metadata": {},
        "created_at": None,
        "parent_checkpoint": None,
        "tasks": [],
        "interrupts": [],
    }


def message_of(message: BaseMessage) -> dict[str, Any]:
    """A message as LangChain's clients in every language read it."""
    return to_jsonable_python(message.model_dump(), fallback=str)


def values_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of the graph's state."""
    shown = {name: values[name] for name in _SHOWN if name in values}
    return {**shown, "messages": [message_of(message) for message in values.get("messages", [])]}


def state_of(moment: StateSnapshot) -> dict[str, Any]:
    """A saved state of the graph, as LangGraph's clients read it."""
    tasks = [
        {
            "id": task.id,
            "name": task.name,
            "error": str(task.error) if task.error else None,
            "interrupts": [{"id": i.id, "value": i.value} for i in task.interrupts],
            "checkpoint": None,
            "state": None,
            "result": None,
        }
        for task in moment.tasks
    ]
    return {
        "values": values_of(moment.values),
        "next": list(moment.next),
        "checkpoint": _checkpoint(moment.config),
        "metadata": to_jsonable_python(moment.metadata or {}, fallback=str),
        "created_at": moment.created_at,
        "parent_checkpoint": _checkpoint(moment.parent_config) if moment.parent_config else None,
        "tasks": tasks,
        "interrupts": [interrupt for task in tasks for interrupt in task["interrupts"]],
    }


def _checkpoint(config: Any) -> dict[str, Any]:
    place = config["configurable"]
    return {
        "thread_id": place["thread_id"],
        "checkpoint_ns": place.get("checkpoint_ns", ""),
        "checkpoint_id": place.get("checkpoint_id"),
        "checkpoint_map": None,
    }


def last_values(team: Team, run: Run) -> dict[str, Any]:
    """What the conversation of a run holds now; of a single task, which leaves none behind, its question and answer."""
    saved = team.moments(run.thread_id)
    if saved:
        return values_of(saved[0].values)
    said: list[BaseMessage] = [HumanMessage(run.asked.task, id=run.id)]
    if run.answer:
        said.append(AIMessage(run.answer.text, id=f"run--{run.id}", name="metier"))
    answer = {"answer": run.answer.model_dump(mode="json")} if run.answer else {}
    return {"messages": [message_of(message) for message in said], **answer}
