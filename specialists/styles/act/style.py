"""Style `act`: calls of the specialist's tools, one after the other; what they give is the answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from pathlib import Path

from ....core.dates import days_in
from ....core.errors import ConfigError, MetierError, unknown
from ....core.run import Event, timing
from ....core.types import ToolCall, Usage, Value, sigmoid
from ...adapters.folder import DECISION
from ...engines.engine import Json
from ...evaluation.measures import Scoring, call_columns, call_scores
from ...functions import NO_CALL, Function, call_or_none, call_schema, called, read_call, signature, write_call
from ...prompt import NOT_FOUND, Shot, TrainingExample
from ...work import Draft, Reply, Work
from ..shots import ExampleShots, copied, open_shots
from ..style import ABSENT, Examples, Learner, Opening, Row, Style, lesson_prompt, passage_texts
from .arguments import invented, mend
from .records import do_records, is_change
from .said import INVALID, as_said, is_asked_for
from .shown_tools import Fitting, ToolShortlist

_PLAIN = 0.99
"""Probability of a call that the tool itself reads out of the task."""
_SUREST = 8.0
"""Log-odds are cut there: beyond it a language model's probabilities say nothing more."""


class CallDecision(Value):
    """Call or not? The model's own first token and the nearest function's similarity, weighed by a logistic model.

    Its weights are named as in the file that lies beside an adapter.
    """

    bias: float
    odds: float
    similarity: float

    def probability(self, odds: float, similarity: float) -> float:
        """Probability (0 to 1) that a function fits the task. Arguments as `log_odds` and `Fitting` give them."""
        return sigmoid(self.bias + self.odds * odds + self.similarity * similarity)


def log_odds(first_logprob: float, *, called: bool) -> float:
    """The model's log-odds of calling, from the log-probability of the first token that it said.

    A call and "none" begin with different tokens, and a trained model begins with nothing else.
    """
    probability = min(max(math.exp(first_logprob), 1e-9), 1 - 1e-9)
    odds = math.log(probability / (1 - probability))
    return min(max(odds if called else -odds, -_SUREST), _SUREST)


def read_decision(adapter: Path | str | None) -> CallDecision | None:
    """The decision that was fitted for an adapter (a PEFT folder); None where there is none, as on a server."""
    file = adapter / DECISION if isinstance(adapter, Path) else None
    return CallDecision.model_validate_json(file.read_bytes()) if file and file.is_file() else None


@dataclass(frozen=True)
class Calling:
    """How a specialist comes to a call."""

    shortlist: ToolShortlist
    """Which of the tools' functions the model is shown."""
    decision: CallDecision | None = None
    """Whether to call one; None leaves it to the model."""
    reads: bool = True
    """Tasks about records are read without the model where that is possible (`records`)."""
    examples: ExampleShots | None = None
    """The specialist's own, some of which the model is shown."""

    def shots(self, task: str, done: int, shown: Sequence[Function], *, besides: str = "") -> list[Shot]:
        """Examples like a task, as they stood after so many calls; those that call what is not shown are left out."""
        rows = self.examples.nearest(task, besides=besides) if self.examples else []
        names = {function["name"] for function in shown}
        return [shot for row in rows if (shot := _shot(row, done, names))]


def act(work: Work) -> Draft:
    """Call → result → the next call, until nothing is left to call or to spend, or the model repeats itself.

    A call that failed is mended once, with the error in view. The results are the answer, not the model's words: a
    small model that retells a number may change it.
    """
    if work.tools is None:
        return Draft(text=NOT_FOUND, found=False, reason="it has no tools")
    if plain := work.tools.recognised(work.brief.task):
        return _draft([_do(work, work.tools.begin(untrusted=bool(work.passages)), plain)], {}, _PLAIN)
    calling = _calling(work)
    if calling.reads and (calls := _by_program(work, calling.shortlist)):
        return _draft(calls, {}, _PLAIN)
    fitting = calling.shortlist.fitting(work.brief.task, work.tools.functions)
    run, calls = work.tools.begin(untrusted=bool(work.passages)), list[ToolCall]()
    reply, sure = _first(work, calling.decision, fitting)
    certainty = reply.certainty
    while (call := _call(work, fitting, reply, calls)) and not _made(call, calls):
        done = call if call.error else _do(work, run, call)
        if done in calls:
            break  # handed back: a person had changed this call, and the changed one was made
        calls.append(done)
        if _hopeless(calls) or work.meter.rest().steps < 1:
            break
        given = " ".join(c.result for c in calls)
        fitting = calling.shortlist.fitting(work.brief.task, work.tools.functions, given)
        try:
            reply = _ask(work, fitting, calls)
        except MetierError:
            if all(c.error is not None for c in calls):
                raise
            break  # what the calls gave is there, although no further one can be asked for
    return _draft(calls, certainty, sure)


def _by_program(work: Work, shortlist: ToolShortlist) -> list[ToolCall]:
    """The calls that change something, of a task about records that is understood without the model; else none."""
    assert work.tools
    run, changes = work.tools.begin(untrusted=bool(work.passages)), list[ToolCall]()
    said = days_in(work.card.instructions, date.today())
    now = datetime.combine(said[0].day, time()) if said else datetime.now()
    reading = do_records(work.brief.task, work.tools.functions, shortlist, now)
    done: ToolCall | None = None
    while True:
        try:
            call = next(reading) if done is None else reading.send(done)
        except StopIteration:
            return changes
        done = _do(work, run, call)
        if is_change(call):
            changes.append(done)


def _draft(calls: Sequence[ToolCall], certainty: dict[str, float], sure: float | None) -> Draft:
    """What the calls came to. A failure that no later call made good is told beside what the others gave."""
    found = any(c.error is None for c in calls)
    mended = [c.error is not None and any(d.error is None for d in calls[place:]) for place, c in enumerate(calls)]
    lines = [c.result if c.error is None else f"{c.name} failed: {c.error}" for c in calls]
    text = "\n".join(line for line, gone in zip(lines, mended, strict=True) if not gone)
    return Draft(
        text=text if found else NOT_FOUND,
        found=found,
        certainty=certainty,
        probability=sure if found else None,
        tool_calls=tuple(calls),
        reason=f"{calls[-1].name} failed: {calls[-1].error}" if calls else "none of its tools fits this",
    )


def _first(work: Work, decision: CallDecision | None, fitting: Fitting) -> tuple[Reply, float | None]:
    """The first call or none, and how probable it is that a function fits (None: not known, the model decides)."""
    shots = _calling(work).shots(work.brief.task, 0, fitting.functions)
    reply = _ask(work, fitting, shots=shots)
    if copied(reply.text, shots, f"{work.brief.task} {_known(work)}"):
        reply = _ask(work, fitting, shots=())
    if decision is None or fitting.similarity is None or "first_logprob" not in reply.certainty:
        return reply, None
    calls = reply.text != NO_CALL
    sure = decision.probability(log_odds(reply.certainty["first_logprob"], called=calls), fitting.similarity)
    if sure < 0.5:
        return replace(reply, text=NO_CALL), sure
    if not calls:
        reply = _ask(work, fitting, forced=True)
    if not _wrong(work, fitting, reply):
        return reply, sure
    call = _read(reply.text)
    others = fitting.without(call.name) if call and fitting.far(call.name) else replace(fitting, functions=[])
    if others.functions:
        reply = replace(_ask(work, others, forced=True), certainty=reply.certainty)
    wrong = not others.functions or _wrong(work, fitting, reply)
    return (replace(reply, text=NO_CALL) if wrong else reply), sure


def _wrong(work: Work, fitting: Fitting, reply: Reply) -> bool:
    """Whether the call's texts stand in nothing that is known, or another function is far nearer to the task."""
    call = _read(reply.text)
    function = _function(fitting, call)
    if call is None or function is None:
        return False
    return fitting.far(call.name) or invented(call, function, f"{work.brief.task} {_known(work)}")


def _call(work: Work, fitting: Fitting, reply: Reply, calls: Sequence[ToolCall]) -> ToolCall | None:
    """The model's call as it was said, its optional arguments mended; none that nobody asked for."""
    call, task = _read(reply.text), work.brief.task
    function = _function(fitting, call)
    if call is None or function is None:
        return call
    if not calls:
        return as_said(mend(call, function, task, _known(work)), function, task)
    if not is_asked_for(call, function, task, calls):
        return None
    # The task alone tells the first call's arguments: later ones have more to go by.
    return as_said(mend(call, function, "", " ".join([task, _known(work), *map(called, calls)])), function, task)


def _calling(work: Work) -> Calling:
    return work.resources or Calling(ToolShortlist())


def _function(fitting: Fitting, call: ToolCall | None) -> Function | None:
    return next((f for f in fitting.functions if call and f["name"] == call.name), None)


def _known(work: Work) -> str:
    """What the model is shown beside the task."""
    return " ".join((work.card.instructions, *work.brief.facts, *(t.text for t in work.brief.window), *work.texts))


def _ask(
    work: Work,
    fitting: Fitting,
    calls: Sequence[ToolCall] = (),
    *,
    forced: bool = False,
    shots: Sequence[Shot] | None = None,
) -> Reply:
    """The model's next call, or none unless it is forced; the calls that were made are known to it.

    Args:
        shots: Examples that are shown; left out, those that are most like the task.
    """
    if shots is None:
        shots = _calling(work).shots(work.brief.task, len(calls), fitting.functions)
    messages = work.prompt(system=shown_functions(fitting.functions), more=[called(c) for c in calls], shots=shots)
    schema = call_schema(fitting.functions) if forced else call_or_none(fitting.functions)
    # A tool of somebody else may say more in its schema than a grammar can: the tool itself checks that.
    return work.ask(messages, Json(schema, lenient=True))


def _do(work: Work, run: Callable[[ToolCall], ToolCall], call: ToolCall) -> ToolCall:
    with timing("tool", call.name) as note:
        done = run(call)
        note(error=done.error is not None)
    work.meter.spend(Usage())
    seen = {"name": done.name, "arguments": done.arguments, "error": done.error}
    work.emit(Event(name="tool", specialist=work.card.name, data=seen))
    return done


def _read(text: str) -> ToolCall | None:
    """The call; one with an error for what is none (an answer that was cut off); None for "nothing to call"."""
    try:
        return read_call(text)
    except ValueError as error:
        return ToolCall(name=INVALID, error=str(error))


def _made(call: ToolCall, calls: Sequence[ToolCall]) -> bool:
    return any((c.name, c.arguments) == (call.name, call.arguments) for c in calls) and call.error is None


def _hopeless(calls: Sequence[ToolCall]) -> bool:
    """Two failures in a row: the error in view did not help."""
    return len(calls) > 1 and all(c.error is not None for c in calls[-2:])


def shown_functions(functions: Sequence[Function]) -> list[str]:
    """The lines of the prompt that say what can be called."""
    return [signature(function) for function in functions]


def open_calling(opening: Opening) -> Calling:
    """The shortlist, the decision that was fitted for the adapter, and the specialist's examples."""
    return Calling(ToolShortlist(opening.embedder), read_decision(opening.adapter), examples=open_shots(opening))


def act_lessons(learner: Learner, examples: Examples) -> Iterator[TrainingExample]:
    """Call after call and then none; at times without the function that is needed, so that none is right.

    Raises:
        ConfigError: an answer is no call of its tools.
    """
    calling: Calling = learner.resources
    shortlist, names = calling.shortlist, [f["name"] for f in learner.functions]
    for row in (row for row in examples.rows if "answer" in row):
        task, calls = row["input"], _calls(row)
        texts = passage_texts(learner, task)
        for call in calls:
            if call.name not in names:
                raise ConfigError(unknown("function", call.name, names))
        shown = shortlist.fitting(task, learner.functions).functions
        if {call.name for call in calls} - {f["name"] for f in shown}:
            continue
        for done in range(len(calls) + 1):
            facts = [called(call) for call in calls[:done]]
            shots, system = calling.shots(task, done, shown, besides=task), shown_functions(shown)
            messages = lesson_prompt(learner, task, texts, system=system, facts=facts, shots=shots)
            yield TrainingExample(messages, _next(calls, done))
        if calls and examples.dice.random() < ABSENT:
            rest = shortlist.fitting(task, [f for f in learner.functions if f["name"] != calls[0].name]).functions
            yield TrainingExample(lesson_prompt(learner, task, texts, system=shown_functions(rest)), NO_CALL)


def _shot(row: Row, done: int, names: Container[str]) -> Shot | None:
    """An example after so many of its calls; None where it calls something else, or is no example of calls."""
    try:
        calls = _calls(row)
    except ConfigError:
        return None
    if not all(call.name in names for call in calls):
        return None
    return Shot(row["input"], _next(calls, done), [called(call) for call in calls[:done]])


def _next(calls: Sequence[ToolCall], done: int) -> str:
    return write_call(calls[done].name, calls[done].arguments) if done < len(calls) else NO_CALL


def _calls(row: Row) -> list[ToolCall]:
    answer = row["answer"] or []
    try:
        calls = [{"result": "done", **call} for call in (answer if isinstance(answer, list) else [answer])]
        return [ToolCall(name=c["name"], arguments=c["arguments"], result=str(c["result"])) for c in calls]
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigError(
            f"the answer to {row['input']!r} is no call",
            hint='{"name": …, "arguments": {…}}, a list of them, or null',
        ) from error


ACT = Style(
    "act",
    act,
    instruction="Answer with one function call as JSON, or [] if no function fits.",
    lessons=act_lessons,
    scoring=Scoring(call_scores, "ast_match", ("ast_match",), decides="overall", columns=call_columns),
    skill="call",
    needs=("tools",),
    open=open_calling,
)
