"""One turn of a team: its run of the graph, what of it is told as it happens, and the answer that it ends with."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs

from ..core.errors import StateError
from ..core.files import saying_full
from ..core.run import Emit, Event
from ..core.types import Answer
from ..memory.store import Owner
from .graph import RECURSION_LIMIT
from .journal import EMIT
from .loaded import LoadedTeam
from .threads import SINGLE, Threads
from .turn_memory import configured


class TurnPlace(NamedTuple):
    """Where a turn belongs. Names that are None are still to be found."""

    thread: str | None
    run: str | None
    owner: Owner
    config: RunnableConfig = RunnableConfig()
    """The caller's."""

    @property
    def name(self) -> str:
        """The thread's name, which is known by now."""
        assert self.thread is not None
        return self.thread


class TeamTurn(NamedTuple):
    """A turn for which everything is ready."""

    threads: Threads
    loaded: LoadedTeam
    given: Any
    """What the graph begins with."""
    place: TurnPlace
    task: str

    def answer(self, emit: Emit) -> Answer:
        """Take it in this thread, its events told as they happen: a stream between would cost a third more."""
        start, last = perf_counter(), Event(name="token")

        def hear(event: Event) -> None:
            nonlocal last
            last = self._signed(event, start)
            if event.name != "answer":  # told once its last step was saved: whoever heard it finds it in the thread
                emit(last)

        with saying_full("this turn could not be saved"):
            saved: Any = self.loaded.saved
            config, more = self._config(hear)
            saved.invoke(self.given, config, stream_mode=(), **more)  # the stations tell all that is wanted
            if last.name != "answer":
                last = self._signed(self._ending(perf_counter() - start), start)
            answer = Answer.model_validate(last.data)
            emit(last)
            if last.name == "answer":  # who keeps it has it before its thread goes
                self._settle(answer)
        return answer

    def stream(self) -> Iterator[Event]:
        """Take it as a stream of its events, the last of which holds the answer."""
        with saying_full("this turn could not be saved"):
            event = None
            for event in self._events():
                if event.name != "answer":
                    yield event
            if event and event.name == "answer":  # see `answer`
                self._settle(Answer.model_validate(event.data))
                yield event

    def _events(self) -> Iterator[Event]:
        start, event = perf_counter(), None
        saved: Any = self.loaded.saved
        config, more = self._config(None)
        for event in saved.stream(self.given, config, stream_mode="custom", **more):
            assert isinstance(event, Event)  # the stations send nothing else into this stream
            yield self._signed(event, start)
        if event is None or event.name != "answer":
            yield self._ending(perf_counter() - start)

    def _config(self, emit: Emit | None) -> tuple[RunnableConfig, dict[str, Any]]:
        """What the graph is run with: its configuration and options."""
        card, place = self.loaded.plan.card, self.place
        own: RunnableConfig = {
            "configurable": {"thread_id": place.thread, EMIT: emit, **configured(place.owner)},
            "recursion_limit": RECURSION_LIMIT,
            "run_name": card.name,
            "metadata": {"run_id": place.run},
        }
        durability = card.memory.durability if self.threads.saver else None
        return merge_configs(place.config, own), {"durability": durability}

    def _ending(self, seconds: float) -> Event:
        """The last event of a run that gave no answer by itself: it waits, or its last station had been saved."""
        thread = self.place.name
        if answer := self.threads.answer(thread):
            return Event(name="answer", specialist=answer.specialist, data=answer.model_dump(mode="json"))
        left = self.threads.unfinished(thread)
        if left is None or not left.questions:
            raise StateError("the graph ended without an answer")
        return Event(name="waiting", data=left.waiting(thread, seconds).model_dump(mode="json"))

    def _signed(self, event: Event, start: float) -> Event:
        """The event; an answer says how long it took, and where it belongs."""
        if event.name != "answer":
            return event
        timings = {**event.data["timings"], "total": perf_counter() - start}
        signed = {**event.data, "timings": timings, "thread_id": self.place.thread, "run_id": self.place.run}
        return event.model_copy(update={"data": signed})

    def _settle(self, answer: Answer) -> None:
        """A task that belongs to no conversation leaves none behind."""
        if self.place.name.startswith(SINGLE):
            self.threads.settle_single(self.place.name, self.task, answer, self.place.owner)
