"""The journal of a run in LangGraph: steps are its tasks, questions to a person its interrupts.

When a run goes on, after a crash or with a person's decision, its station begins again from its first line. Steps that
were done give their noted results then, and questions that were answered their answers, in the same order as before.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from langchain_core.runnables.config import var_child_runnable_config
from langgraph.config import get_config, get_stream_writer
from langgraph.func import task
from langgraph.types import interrupt

from ..core.run import Emit, Event, Plain, check_cancelled
from ..core.types import ToolCall
from ..tools.policy import ApprovalRequest, ApprovalResponse, Decision, DecisionName, Reject
from ..tools.session import ResultCheck
from .guardrails import Guard
from .threads import ledger_prefix


class GraphJournal:
    """The `core.run.Journal` of whatever station runs in this thread; outside of a graph nothing is kept."""

    def once(self, step: Callable[[], Plain]) -> Plain:
        """Do the step as a task of the station; its result is saved with the thread."""
        return _step(step).result() if graph_place() else step()

    def key(self) -> str:
        """Thread and task: the same whenever the station begins again. Without a thread nothing can begin again."""
        at = graph_place()
        return f"{ledger_prefix(at['thread_id'])}{at['checkpoint_ns']}" if "thread_id" in at else uuid4().hex


@task(name="step")
def _step(step: Callable[[], Plain]) -> Plain:
    return step()


def graph_place() -> Plain:
    """Thread and task that this code runs in; empty outside of a graph."""
    config = var_child_runnable_config.get() or {}
    configurable = config.get("configurable", {})
    return configurable if "checkpoint_ns" in configurable else {}


def ask_person(call: ToolCall, why: str, allowed: tuple[DecisionName, ...] | None = None) -> Decision:
    """Stop the run until a person has decided about the call.

    Args:
        allowed: What may be decided; left out: everything.
    """
    if not graph_place():
        return Reject(message=f"{why}; nobody can be asked here")
    request = ApprovalRequest.of((call, why))
    if allowed:
        reviews = tuple(review.model_copy(update={"allowed_decisions": allowed}) for review in request.review_configs)
        request = request.model_copy(update={"review_configs": reviews})

    decisions = wait_for_decisions(request)
    return decisions[0] if decisions else Reject(message=f"{_ABOUT_ANOTHER}: the team was changed since; ask again")


_ABOUT_ANOTHER = "the person decided about another call"


def wait_for_decisions(request: ApprovalRequest) -> tuple[Decision, ...]:
    """Stop the run until a person has decided; empty where the decision was about something else."""

    def wait() -> Plain:
        question = request.model_dump(mode="json")
        return interrupt(question, response_schema=ApprovalResponse).model_dump(mode="json")

    # A step of its own: the decision is noted before anything is done with it.
    response = ApprovalResponse.model_validate(_step(wait).result())
    return response.decisions if response.about in (None, request.action_requests) else ()


def between(guard: Guard) -> ResultCheck:
    """The guard of what a model is about to read, for the results of tools."""

    def check(call: ToolCall) -> ToolCall:
        field = "result" if call.error is None else "error"
        verdict = guard(getattr(call, field), message=True)
        for name, did in verdict.acted.items():
            if graph_place():
                emit(Event(name="guard", data={"guard": name, "did": did, "side": "between"}))
        left = {"result": "", "error": verdict.reason} if verdict.refusal else {field: verdict.text}
        return call.model_copy(update={**left, "guards": verdict.acted})

    return check


# How those who listen hear of a run.


EMIT = "__metier_emit"
"""Of LangGraph's `configurable`: who is told of events. Where nobody is named, they go into LangGraph's stream."""


def emit(event: Event) -> None:
    """Tell an event of the run that this code is part of.

    Raises:
        Cancelled: the run was called off.
    """
    check_cancelled()
    listener()(event)


def listener() -> Emit:
    """Who is told of the events of the run that this code is part of."""
    return get_config().get("configurable", {}).get(EMIT) or get_stream_writer()
