"""The saved conversations of a team: look at them, copy them, go back in them, forget them. Loads no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from langchain_core.messages import AnyMessage
from langgraph.checkpoint.base import WRITES_IDX_MAP, CheckpointTuple
from langgraph.graph.message import add_messages
from pydantic import Field, ValidationError

from ..core.errors import InputError, StateError, unknown
from ..core.files import writable, write_atomic
from ..core.text import savable
from ..core.types import Answer, Value
from ..memory.open import open_checkpoints, open_records, open_tables
from ..memory.records import Records
from ..memory.store import Owner
from ..memory.threads import ThreadSaver
from ..tools.policy import ApprovalRequest, ApprovalResponse, Decision
from ..tools.runner import EFFECTS_SCHEMA, Ledger
from .attachments import Attachments
from .cards import Blueprint
from .turn_memory import owner_of

_LONGEST_NAME = 500

Standing = Literal["answered", "waiting", "unfinished"]
"""`waiting` for a person's decision; `unfinished` when the process ended in the middle of a task."""


_TITLES = "thread"
"""The kind of the records that hold what is noted of conversations: `{metadata: {title: …}, at: …}`."""


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
    title: str = ""
    """What somebody called it; else its first task that is still known."""


class ThreadTurn(Value):
    """A task of a conversation, and what came of it."""

    task: str
    answer: Answer | None = None
    """None while there is none. Of turns that only a summary is kept of, the text alone."""


class Unfinished(Value):
    """A task that can go on."""

    run_id: str
    task: str = ""
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
            by_id[name] = _savable(response.model_dump())
        return by_id


class SingleTask(Value):
    """A task outside of conversations. The last one is kept, for what may be said about its answer."""

    at: str
    """When it was answered, ISO 8601."""
    task: str
    answer: Answer
    user: str | None = None
    tenant: str | None = None


SINGLE = "single-"
"""How the names begin under which tasks run that belong to no conversation."""
WORKFLOW = "workflow-"
"""How the names begin under which runs of workflows are saved; they are no conversations."""
TURN_SECONDS = 60.0
"""How long a task waits for the one before it in its conversation."""


class Threads:
    """All conversations of one team.

    Args:
        saver: Where they are saved; None when the team keeps none.
        ledger: The effects of their tasks.
        records: Where their titles are; None when nobody may name them.
        attachments: Their files.
        single: The file in which the last task outside of them is noted; None to note none.
    """

    def __init__(
        self,
        saver: ThreadSaver | None,
        ledger: Ledger,
        records: Records | None = None,
        attachments: Attachments | None = None,
        single: Path | None = None,
    ) -> None:
        self.saver, self.ledger, self._records, self._attachments = saver, ledger, records, attachments
        self._single = single

    @property
    def records(self) -> Records | None:
        """What is noted beside the conversations; None where the team keeps none."""
        return self._records

    @contextmanager
    def turn(self, thread_id: str) -> Iterator[None]:
        """A turn in a conversation: others wait, and are told when it takes too long.

        Raises:
            StateError: the turn before goes on.
        """
        if self.saver is None:
            yield
            return
        with self.saver.turn(thread_id, TURN_SECONDS):
            yield

    def last_single(self) -> SingleTask | None:
        """The last task outside of conversations; None while there is none."""
        try:
            return SingleTask.model_validate_json(self._single.read_bytes()) if self._single else None
        except (OSError, ValidationError):
            return None

    def settle_single(self, thread_id: str, task: str, answer: Answer, owner: Owner) -> None:
        """A task outside of conversations was answered: it leaves no thread, only a note of itself until the next."""
        if self.saver is None:
            return
        self.saver.delete_thread(thread_id)
        self.ledger.erase(ledger_prefix(thread_id))
        at = datetime.now(UTC).isoformat()
        single = SingleTask(at=at, task=task, answer=answer, user=owner.user, tenant=owner.tenant)
        if self._single and writable(self._single.parent):
            write_atomic(self._single, single.model_dump_json(), lasting=False)

    def forget_single(self) -> None:
        """Forget the last task outside of conversations."""
        if self._single:
            self._single.unlink(missing_ok=True)

    def list(self, owner: Owner | None = None, search: str = "") -> list[Thread]:
        """Every conversation as it stands, the latest first.

        Args:
            owner: Only of this one.
            search: Only those that have these words in their title or in a turn that they still hold.
        """
        names = [name for name in self._kept().thread_ids() if not name.startswith(WORKFLOW)]
        latest = [moment for name in names if _begun(moment := self._last(name))]
        mine = [moment for moment in latest if owner in (None, owner_of(moment.metadata))]
        titles = self._named()
        shown = [(moment, _titled(_thread(moment), titles)) for moment in mine]
        found = [thread for moment, thread in shown if _holds(search, thread.title, moment)]
        return sorted(found, key=lambda thread: thread.at, reverse=True)

    def title(self, thread_id: str) -> str:
        """What somebody called a conversation; else its first task that is still known.

        Raises:
            StateError: there is no such thread.
        """
        return _titled(_thread(self._last(thread_id)), self._named()).title

    def rename(self, thread_id: str, title: str) -> None:
        """Give a conversation a title; without one it has its first task again.

        Raises:
            StateError: there is no such thread, or nobody may name them.
        """
        self._last(thread_id)
        if self._records is None:
            raise StateError("the conversations of this team have no titles")
        known = self._records.get(_TITLES, thread_id)
        metadata = {**(known.body["metadata"] if known else {}), "title": " ".join(title.split())}
        body = {"metadata": metadata, "at": datetime.now(UTC).isoformat()}
        self._records.put(_TITLES, thread_id, self.owner(thread_id) or Owner(None), body, thread_id=thread_id)

    def turns(self, thread_id: str) -> list[ThreadTurn]:
        """The whole conversation, oldest turn first, as far as it is kept.

        Raises:
            StateError: there is no such thread.
        """
        moments = list(self._kept().list(_place(thread_id)))[::-1]
        if not moments:  # or no longer: a task without a conversation is forgotten once it is answered
            raise self._unknown(thread_id)
        said = dict[str, AnyMessage]()
        answers = dict[str, Answer]()
        for moment in moments:
            # A task that has just arrived has no name yet: only the last moment's is of no other moment.
            last = moment is moments[-1]
            messages = _messages(moment) if last else moment.checkpoint["channel_values"].get("messages", [])
            said |= {str(message.id): message for message in messages}
            if messages and messages[-1].type == "ai" and "answer" in moment.checkpoint["channel_values"]:
                # Where the next task has arrived, the run is another already.
                answers.setdefault(str(messages[-1].id), _answer(moment, thread_id))
        short = moments[0].checkpoint["channel_values"].get("earlier", [])
        return _paired([(turn["role"] == "user", Answer(text=turn["text"])) for turn in short]) + _paired(
            [(m.type == "human", answers.get(str(m.id)) or _of_message(m)) for m in said.values()]
        )

    def find(self, thread_id: str) -> Thread | None:
        """A conversation as it stands; None when there is none of that name."""
        last = self._get(thread_id)
        return _thread(last) if last and _begun(last) else None

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
        return _answer(last, thread_id) if _thread(last).standing == "answered" else None

    def questions(self, thread_id: str) -> dict[str, ApprovalRequest]:
        """What waits for a person in a conversation or a run of a workflow, by the interrupts' ids."""
        last = self._get(thread_id)
        return _questions(last) if last else {}

    def written(self, thread_id: str, field: str) -> dict[str, Any]:
        """A field of the saved state, with what was written to it since by steps that are done while others go on."""
        last = self._get(thread_id)
        if last is None:
            return {}
        values = dict(last.checkpoint["channel_values"].get(field, {}))
        for _, name, value in last.pending_writes or ():
            if name == field:
                values.update(value)
        return values

    def unfinished(self, thread_id: str) -> Unfinished | None:
        """What can go on in a conversation; None when its last task was answered, or there is no such conversation."""
        last = self._get(thread_id)
        if last is None or thread_id.startswith(WORKFLOW) or not _begun(last) or _thread(last).standing == "answered":
            return None
        return Unfinished(run_id=last.metadata.get("run_id", ""), task=_thread(last).task, questions=_questions(last))

    def owner(self, thread_id: str) -> Owner | None:
        """Whose conversation it is; None when there is none of that name."""
        last = self._get(thread_id)
        return owner_of(last.metadata) if last else None

    def holders(self, thread_id: str) -> set[Owner]:
        """Whoever has something in a conversation: what was said, files, a title. Empty where there is nothing yet."""
        record = self._records.get(_TITLES, thread_id) if self._records else None
        files = self._attachments.owner(thread_id) if self._attachments else None
        found = (self.owner(thread_id), record.owner if record else None, files)
        return {owner for owner in found if owner is not None}

    def admit(self, thread_id: str, owner: Owner) -> None:
        """May this owner's next task join the conversation?

        Raises:
            StateError: it is another user's, or waits for a decision about its last task.
        """
        if not self.holders(thread_id) <= {Owner(None), owner}:
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
        with self.turn(thread_id):
            self._kept().delete_thread(thread_id)
            self.ledger.erase(ledger_prefix(thread_id))
            if self._records:
                self._records.erase(None, thread_id)
            if self._attachments:
                self._attachments.erase(thread_id)

    def drop(self, thread_id: str) -> None:
        """Forget the last task of a conversation, if it has no answer: it is then as it was before."""
        last = self._get(thread_id)
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
        if self._records:
            self._records.close()

    def _named(self) -> dict[str, str]:
        """Thread to title, of those that somebody named."""
        records = self._records.list(_TITLES) if self._records else []
        return {record.id: title for record in records if (title := record.body["metadata"].get("title"))}

    def _get(self, thread_id: str) -> CheckpointTuple | None:
        check_name("thread", thread_id)
        return self.saver.get_tuple(_place(thread_id)) if self.saver else None

    def _kept(self) -> ThreadSaver:
        if self.saver is None:
            raise StateError("this team keeps no threads", hint="memory: {checkpoints: sqlite} in team.yaml")
        return self.saver

    def _last(self, thread_id: str) -> CheckpointTuple:
        self._kept()
        last = self._get(thread_id)
        if last is None:
            raise self._unknown(thread_id)
        return last

    def _unknown(self, thread_id: str) -> StateError:
        return StateError(unknown("thread", thread_id, self._kept().thread_ids()), hint="metier threads list")

    def _copy(self, source: str, to: str, checkpoint: str | None) -> str:
        if self._get(to):
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
    where = plan.card.memory.checkpoints
    records = open_records(where, plan.state) if saver else None
    ledger = Ledger(open_tables(where, plan.state / "effects.sqlite", [EFFECTS_SCHEMA], ["effects"]))
    return Threads(saver, ledger, records, Attachments(plan), plan.state / "single.json")


def check_name(what: str, name: str | None) -> None:
    """May a thread, a user or a tenant be called so?

    Raises:
        InputError: it has characters that no file and no database can hold, or is too long.
    """
    if name is None:
        return
    if savable(name) != name:
        raise InputError(f"the name of a {what} has characters that cannot be saved: {name!a:.80}")
    if len(name) > _LONGEST_NAME:
        raise InputError(f"the name of a {what} has {len(name)} characters; at most {_LONGEST_NAME} are allowed")


def _savable(value: Any) -> Any:
    """JSON-like data whose texts can be saved: a person's words may hold half an emoji."""
    if isinstance(value, dict):
        return {name: _savable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_savable(part) for part in value]
    return savable(value) if isinstance(value, str) else value


def ledger_prefix(thread_id: str) -> str:
    """How the keys of a thread's effects begin."""
    return f"{thread_id}\n"


def _place(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


def _begun(moment: CheckpointTuple) -> bool:
    """Is there a task? A thread that was copied before its first has none."""
    values = moment.checkpoint["channel_values"]
    return bool(values.get("messages") or values.get("__start__"))


def _messages(moment: CheckpointTuple) -> list[AnyMessage]:
    """The turns that the thread holds at that moment, with the task that has just arrived."""
    values = moment.checkpoint["channel_values"]
    given = values.get("__start__")  # a task that has arrived, and on which no station has begun
    return add_messages(values.get("messages", []), given["messages"] if given else [])  # pyright: ignore


def _thread(moment: CheckpointTuple) -> Thread:
    values, messages = moment.checkpoint["channel_values"], _messages(moment)
    earlier = [turn["text"] for turn in values.get("earlier", []) if turn["role"] == "user"]
    tasks = [str(m.text) for m in messages if m.type == "human"]
    done = messages[-1].type == "ai"
    return Thread(
        id=moment.config["configurable"]["thread_id"],  # pyright: ignore[reportTypedDictNotRequiredAccess]
        checkpoint=moment.checkpoint["id"],
        at=moment.checkpoint["ts"],
        turns=len(tasks) + len(earlier),
        standing="answered" if done else "waiting" if _questions(moment) else "unfinished",
        task=tasks[-1] if tasks else "",
        text=str(messages[-1].text) if done else "",
        title=next(iter([*earlier, *tasks]), ""),
    )


def _titled(thread: Thread, titles: dict[str, str]) -> Thread:
    return thread.model_copy(update={"title": titles[thread.id]}) if thread.id in titles else thread


def _holds(search: str, title: str, moment: CheckpointTuple) -> bool:
    """Does a conversation have each of the words somewhere?"""
    words = search.casefold().split()
    if not words:
        return True
    earlier = [turn["text"] for turn in moment.checkpoint["channel_values"].get("earlier", [])]
    text = "\n".join([title, *earlier, *(str(message.text) for message in _messages(moment))]).casefold()
    return all(word in text for word in words)


def _answer(moment: CheckpointTuple, thread_id: str) -> Answer:
    """The answer that a moment ends with."""
    values = moment.checkpoint["channel_values"]
    run = {"timings": values["timings"], "thread_id": thread_id, "run_id": moment.metadata.get("run_id", "")}
    return Answer.model_validate({**values["answer"], **run})


def _of_message(message: AnyMessage) -> Answer:
    """As much of an answer as its message keeps."""
    return Answer.model_validate({**message.response_metadata.get("metier", {}), "text": str(message.text)})


def _paired(said: Sequence[tuple[bool, Answer]]) -> list[ThreadTurn]:
    """Tasks (True) with the answers that follow them."""
    turns = list[ThreadTurn]()
    for asked, answer in said:
        if asked:
            turns.append(ThreadTurn(task=answer.text))
        elif turns:
            turns[-1] = turns[-1].model_copy(update={"answer": answer})
    return turns


def _questions(moment: CheckpointTuple) -> dict[str, ApprovalRequest]:
    """Interrupts without an answer. A task that asked has finished when it has written anything else than control."""
    writes = moment.pending_writes or []
    finished = {task for task, channel, _ in writes if channel not in WRITES_IDX_MAP}
    interrupts = [(task, i) for task, channel, value in writes if channel == "__interrupt__" for i in value]
    answered = {i.id for task, i in interrupts if task in finished}
    return {i.id: ApprovalRequest.model_validate(i.value) for _, i in interrupts if i.id not in answered}
