"""The saved conversations of a team: look at them, copy them, go back in them, forget them. Loads no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from uuid import uuid4

from langgraph.checkpoint.base import WRITES_IDX_MAP, CheckpointTuple
from langgraph.graph.message import add_messages
from pydantic import Field

from ..core.errors import InputError, StateError, unknown
from ..core.types import Answer, Value
from ..memory.open import open_checkpoints
from ..memory.store import Owner
from ..memory.threads import ThreadSaver
from ..tools.policy import ApprovalRequest, ApprovalResponse, Decision
from ..tools.runner import Ledger
from .cards import Blueprint
from .turn_memory import owner_of

Standing = Literal["answered", "waiting", "unfinished"]
"""`waiting` for a person's decision; `unfinished` when the process ended in the middle of a task."""


class Thread(Value):
    """A conversation at one moment."""

    id: str
    checkpoint: str
    """Identifies the moment; see `Threads.fork`."""
    at: str
    """When it was saved, ISO 8601."""
    turns: int
    """Tasks that are still known."""
    standing: Standing
    task: str
    """The last task."""
    text: str
    """The last answer; empty while there is none."""


class Unfinished(Value):
    """A task that can go on."""

    run_id: str
    questions: dict[str, ApprovalRequest] = Field(default_factory=dict)
    """Interrupts that wait for a person, by their id."""

    @property
    def request(self) -> ApprovalRequest:
        """All calls that wait, as one request."""
        questions = self.questions.values()
        return ApprovalRequest(
            action_requests=tuple(action for question in questions for action in question.action_requests),
            review_configs=tuple(config for question in questions for config in question.review_configs),
        )

    def waiting(self, thread_id: str, seconds: float) -> Answer:
        """The answer of a task that waits for a person, `seconds` after it began or went on."""
        why = "; ".join(action.description for action in self.request.action_requests)
        data = self.request.model_dump(mode="json")
        return Answer(
            text=f"Waiting for a decision: {why}.", kind="waiting", reason=why, data=data, thread_id=thread_id,
            run_id=self.run_id, timings={"total": seconds},
        )  # fmt: skip

    def resume(self, decisions: Sequence[Decision]) -> dict[str, Any]:
        """The decisions by interrupt, as LangGraph takes them.

        Raises:
            InputError: there is not one decision for each call.
        """
        waiting = len(self.request.action_requests)
        if len(decisions) != waiting:
            names = ", ".join(a.name for a in self.request.action_requests) or "none"
            raise InputError(f"{len(decisions)} decisions for {waiting} calls that wait: {names}")
        left, by_id = iter(decisions), {}
        for name, question in self.questions.items():
            own = tuple(next(left) for _ in question.action_requests)
            response = ApprovalResponse(decisions=own, about=question.action_requests)
            by_id[name] = response.model_dump(mode="json")
        return by_id


class Threads:
    """All conversations of one team.

    Args:
        saver: Where they are saved; None when the team keeps none.
        ledger: The effects of their tasks.
    """

    def __init__(self, saver: ThreadSaver | None, ledger: Ledger) -> None:
        self.saver, self.ledger = saver, ledger

    def list(self) -> list[Thread]:
        """Every conversation as it stands, the latest first."""
        latest = [self._last(name) for name in self._kept().thread_ids()]
        return sorted((_thread(moment) for moment in latest if _begun(moment)), key=lambda t: t.at, reverse=True)

    def history(self, thread_id: str) -> list[Thread]:
        """All saved moments of a conversation, the latest first.

        Raises:
            StateError: there is no such thread.
        """
        self._last(thread_id)
        moments = list(self._kept().list(_place(thread_id)))
        return [_thread(moment) for moment in moments if _begun(moment)]

    def answer(self, thread_id: str) -> Answer | None:
        """The answer to the last task; None while there is none.

        Raises:
            StateError: there is no such thread.
        """
        last = self._last(thread_id)
        if _thread(last).standing != "answered":
            return None
        values = last.checkpoint["channel_values"]
        run = {"timings": values["timings"], "thread_id": thread_id, "run_id": last.metadata.get("run_id", "")}
        return Answer.model_validate({**values["answer"], **run})

    def unfinished(self, thread_id: str) -> Unfinished | None:
        """What can go on in a conversation; None when its last task was answered, or there is no such conversation."""
        last = self.saver.get_tuple(_place(thread_id)) if self.saver else None
        if last is None or not _begun(last) or _thread(last).standing == "answered":
            return None
        return Unfinished(run_id=last.metadata.get("run_id", ""), questions=_questions(last))

    def owner(self, thread_id: str) -> Owner | None:
        """Whose conversation it is; None when there is none of that name."""
        last = self.saver.get_tuple(_place(thread_id)) if self.saver else None
        return owner_of(last.metadata) if last else None

    def admit(self, thread_id: str, owner: Owner) -> None:
        """May this owner's next task join the conversation?

        Raises:
            StateError: it is another user's, or waits for a decision about its last task.
        """
        if self.owner(thread_id) not in (None, Owner(None), owner):
            raise StateError(f"thread '{thread_id}' is another user's", hint="begin another thread")
        unfinished = self.unfinished(thread_id)
        if unfinished and unfinished.questions:
            raise StateError(
                f"thread '{thread_id}' waits for a decision about its last task", hint=f"metier approve {thread_id}"
            )

    def fork(self, thread_id: str, checkpoint: str, to: str | None = None) -> str:
        """A new conversation that is what this one was at a moment. Gives its name.

        Raises:
            StateError: there is no such thread or moment, or the new name is taken.
        """
        moments = {m.checkpoint: m for m in self.history(thread_id)}
        if checkpoint not in moments:
            raise StateError(unknown("moment", checkpoint, moments), hint=f"metier threads show {thread_id}")
        return self._copy(thread_id, to or f"{thread_id}-{uuid4().hex[:8]}", checkpoint)

    def copy(self, thread_id: str, to: str) -> str:
        """The whole conversation once more, under another name.

        Raises:
            StateError: there is no such thread, or the new name is taken.
        """
        self._last(thread_id)
        return self._copy(thread_id, to, None)

    def prune(self, *thread_ids: str) -> None:
        """Keep only the last moment of these conversations (left out: of all); nobody can go back in them then."""
        self._kept().prune(thread_ids or self._kept().thread_ids())

    def delete(self, thread_id: str) -> None:
        """Forget a conversation, with what its tasks did.

        Raises:
            StateError: there is no such thread.
        """
        self._last(thread_id)
        self._kept().delete_thread(thread_id)
        self.ledger.erase(ledger_prefix(thread_id))

    def drop(self, thread_id: str) -> None:
        """Forget the last task of a conversation, if it has no answer: it is then as it was before."""
        last = self.saver.get_tuple(_place(thread_id)) if self.saver else None
        if last is None or not _begun(last) or _thread(last).standing == "answered":
            return
        answered = next((m for m in self.history(thread_id) if m.standing == "answered"), None)
        if answered is None:
            self.delete(thread_id)
            return
        aside = self.fork(thread_id, answered.checkpoint)
        self._kept().delete_thread(thread_id)
        self.copy(aside, thread_id)
        self._kept().delete_thread(aside)

    def close(self) -> None:
        """Close the files and connections."""
        if self.saver:
            self.saver.close()
        self.ledger.close()

    def _kept(self) -> ThreadSaver:
        if self.saver is None:
            raise StateError("this team keeps no threads", hint="memory: {checkpoints: sqlite} in team.yaml")
        return self.saver

    def _last(self, thread_id: str) -> CheckpointTuple:
        last = self._kept().get_tuple(_place(thread_id))
        if last is None:
            raise StateError(unknown("thread", thread_id, self._kept().thread_ids()), hint="metier threads list")
        return last

    def _copy(self, source: str, to: str, checkpoint: str | None) -> str:
        if self._kept().get_tuple(_place(to)):
            raise StateError(f"there is a thread '{to}' already")
        self._kept().copy_thread(source, to, checkpoint)
        return to


def open_threads(plan: Blueprint) -> Threads:
    """The conversations of a team.

    Raises:
        ConfigError: `memory.checkpoints` names no store.
        StateError: the store cannot be opened.
    """
    saver = open_checkpoints(plan.card.memory.checkpoints, plan.state)
    return Threads(saver, Ledger(plan.state / "effects.sqlite"))


def ledger_prefix(thread_id: str) -> str:
    """How the keys of a thread's effects begin."""
    return f"{thread_id}\n"


def _place(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


def _begun(moment: CheckpointTuple) -> bool:
    """Is there a task? A thread that was copied before its first has none."""
    values = moment.checkpoint["channel_values"]
    return bool(values.get("messages") or values.get("__start__"))


def _thread(moment: CheckpointTuple) -> Thread:
    values = moment.checkpoint["channel_values"]
    given = values.get("__start__")  # a task that has arrived, and on which no station has begun
    messages: Any = add_messages(values.get("messages", []), given["messages"] if given else [])
    tasks = [m for m in messages if m.type == "human"]
    done = messages[-1].type == "ai"
    return Thread(
        id=moment.config["configurable"]["thread_id"],  # pyright: ignore[reportTypedDictNotRequiredAccess]
        checkpoint=moment.checkpoint["id"],
        at=moment.checkpoint["ts"],
        turns=len(tasks) + sum(turn["role"] == "user" for turn in values.get("earlier", [])),
        standing="answered" if done else "waiting" if _questions(moment) else "unfinished",
        task=str(tasks[-1].text) if tasks else "",
        text=str(messages[-1].text) if done else "",
    )


def _questions(moment: CheckpointTuple) -> dict[str, ApprovalRequest]:
    """Interrupts without an answer. A task that asked has finished when it has written anything else than control."""
    writes = moment.pending_writes or []
    finished = {task for task, channel, _ in writes if channel not in WRITES_IDX_MAP}
    interrupts = [(task, i) for task, channel, value in writes if channel == "__interrupt__" for i in value]
    answered = {i.id for task, i in interrupts if task in finished}
    return {i.id: ApprovalRequest.model_validate(i.value) for _, i in interrupts if i.id not in answered}
