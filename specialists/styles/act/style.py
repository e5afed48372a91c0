"""Style `act`: calls of the specialist's tools, one after the other; what they give is the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ....core.run import Event, timing
from ....core.types import ToolCall, Usage
from ...engines.engine import Json
from ...functions import NO_CALL, Function, call_or_none, call_schema, called, read_call
from ...prompt import NOT_FOUND
from ...work import Draft, Reply, Work
from .arguments import invented, mend
from .decision import log_odds
from .shown_tools import Fitting


def act(work: Work) -> Draft:
    """Call → result → the next call, until nothing is left to call or to spend, or the model repeats itself.

    A call that failed is mended once, with the error in view. The results are the answer, not the model's words: a
    small model that retells a number may change it.
    """
    if work.hands is None:
        return Draft(text=NOT_FOUND, found=False, reason="it has no tools")
    fitting = work.selection.fitting(work.brief.task, work.hands.functions)
    run, calls = work.hands.begin(untrusted=bool(work.passages)), list[ToolCall]()
    reply, sure = _first(work, fitting)
    certainty = reply.certainty
    while (call := _call(work, fitting, reply, calls)) and not _made(call, calls):
        done = call if call.error else _do(work, run, call)
        if done in calls:
            break  # handed back: a person had changed this call, and the changed one was made
        calls.append(done)
        if _hopeless(calls) or work.meter.rest().steps < 1:
            break
        given = " ".join(c.result for c in calls)
        fitting = work.selection.fitting(work.brief.task, work.hands.functions, given)
        reply = _ask(work, fitting, calls)
    results = [c.result for c in calls if c.error is None]
    found = bool(results) and calls[-1].error is None
    return Draft(
        text="\n".join(results) if found else NOT_FOUND,
        found=found,
        certainty=certainty,
        probability=sure if found else None,
        tool_calls=tuple(calls),
        reason=f"{calls[-1].name} failed: {calls[-1].error}" if calls else "none of its tools fits this",
    )


def _first(work: Work, fitting: Fitting) -> tuple[Reply, float | None]:
    """The first call or none, and how probable it is that a function fits (None: not known, the model decides)."""
    reply = _ask(work, fitting)
    if work.decision is None or fitting.similarity is None or "first_logprob" not in reply.certainty:
        return reply, None
    calls = reply.text != NO_CALL
    sure = work.decision.probability(log_odds(reply.certainty["first_logprob"], called=calls), fitting.similarity)
    if sure >= 0.5 and not calls:
        reply = _ask(work, fitting, forced=True)
    return reply if sure >= 0.5 and not _made_up(work, fitting, reply) else replace(reply, text=NO_CALL), sure


def _made_up(work: Work, fitting: Fitting, reply: Reply) -> bool:
    """Whether the call's texts stand neither in the task nor in anything that is known about it."""
    call = _read(reply.text)
    function = _function(fitting, call)
    return call is not None and function is not None and invented(call, function, f"{work.brief.task} {_known(work)}")


def _call(work: Work, fitting: Fitting, reply: Reply, calls: Sequence[ToolCall]) -> ToolCall | None:
    """The model's call, its optional arguments mended: by the task for the first, later ones have more to go by."""
    call = _read(reply.text)
    function = _function(fitting, call)
    if call is None or function is None:
        return call
    if not calls:
        return mend(call, function, work.brief.task, _known(work))
    return mend(call, function, "", " ".join([work.brief.task, _known(work), *map(called, calls)]))


def _function(fitting: Fitting, call: ToolCall | None) -> Function | None:
    return next((f for f in fitting.functions if call and f["name"] == call.name), None)


def _known(work: Work) -> str:
    """What the model is shown beside the task."""
    return " ".join((work.card.instructions, *work.brief.facts, *(t.text for t in work.brief.window), *work.texts))


def _ask(work: Work, fitting: Fitting, calls: Sequence[ToolCall] = (), *, forced: bool = False) -> Reply:
    """The model's next call, or none unless it is forced; the calls that were made are known to it."""
    messages = work.prompt("call", functions=fitting.functions, more=[called(c) for c in calls])
    schema = call_schema(fitting.functions) if forced else call_or_none(fitting.functions)
    # A tool of somebody else may say more in its schema than a grammar can: the tool itself checks that.
    return work.ask(messages, Json(schema, lenient=True))


def _do(work: Work, run: Callable[[ToolCall], ToolCall], call: ToolCall) -> ToolCall:
    with timing("tool"):
        done = run(call)
    work.meter.spend(Usage())
    seen = {"name": done.name, "arguments": done.arguments, "error": done.error}
    work.emit(Event(name="tool", specialist=work.card.name, data=seen))
    return done


def _read(text: str) -> ToolCall | None:
    """The call; one with an error for what is none (an answer that was cut off); None for "nothing to call"."""
    try:
        return read_call(text)
    except ValueError as error:
        return ToolCall(name="invalid", error=str(error))


def _made(call: ToolCall, calls: Sequence[ToolCall]) -> bool:
    return any((c.name, c.arguments) == (call.name, call.arguments) for c in calls) and call.error is None


def _hopeless(calls: Sequence[ToolCall]) -> bool:
    """Two failures in a row: the error in view did not help."""
    return len(calls) > 1 and all(c.error is not None for c in calls[-2:])
