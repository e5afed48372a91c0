"""Takes a task apart over the team at hand, where one question to one specialist is known to be worse.

What can be seen in the words is decided by rules: two questions in one, something asked of each of a list, a
comparison, something looked up and then used. What no rule sees, the base may write as steps under a grammar; that is
only done where somebody asks for it (`Planner(write=…)`), for it does not win (docs/planning.md has the figures).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...core.text import content_stems
from ...core.types import Answer, Route
from ...router.decision import segments
from ...specialists.engines.engine import Engine, Json, Sampling
from .plan import Plan, PlanBudget
from .steps import AskStep, JoinStep

MOST_STEPS = 6
"""Questions that a task is taken apart into at most."""


class SubTask(NamedTuple):
    """One piece of a task."""

    task: str
    ask: str = "team"
    """A specialist; `team`: the router chooses when it is asked."""
    label: str = ""
    """What its answer is called in the whole: the item of a list, a side of a comparison."""
    uses: tuple[int, ...] = ()
    """Pieces, by place, whose answers it needs."""


class Decomposition(NamedTuple):
    """A task in pieces, each after those that it uses."""

    why: str
    """For people: which rule saw it."""
    pieces: tuple[SubTask, ...]

    @property
    def chained(self) -> bool:
        """Whether the last piece answers the whole: it uses what the others found."""
        return bool(self.pieces[-1].uses)


Write = Callable[[str], Sequence[SubTask]]
"""Asks a language model for the pieces of a task; fewer than two: it is one."""


class Planner:
    """Decomposes tasks for one team.

    Args:
        route: The team's router: a piece that nobody would take is no piece.
        write: Asked where no rule fits; left out: nobody.
        most: Pieces at most.
    """

    def __init__(
        self, route: Callable[[str], Route] | None = None, *, write: Write | None = None, most: int = MOST_STEPS
    ) -> None:
        self._route, self._write, self._most = route, write, most

    def decompose(self, task: str) -> Decomposition | None:
        """The pieces of a task; None where it is one question to one specialist."""
        for rule in (each_of, compared, one_after_another, questions):
            found = rule(" ".join(task.split()))
            if found and 2 <= len(found.pieces) <= self._most and self._fits(found):
                return found
        pieces = tuple(self._write(task))[: self._most] if self._write else ()
        return Decomposition("written by the base", pieces) if len(pieces) > 1 else None

    def plan(self, task: str) -> Plan | None:
        """The task as a plan that asks for each piece; None where it is one question to one specialist."""
        found = self.decompose(task)
        return as_plan(found, task) if found else None

    def replan(self, step: AskStep, task: str, answer: Answer | None = None) -> Plan | None:
        """What is done once more about a question that came back unsure: its pieces, else a second search that uses
        what the first found; None where that was tried, or where the question failed for another reason.

        Args:
            step: As the plan has it.
            task: What it asked, its templates filled in.
            answer: The answer that was none; None after an error.
        """
        found = self.decompose(task)
        if found:
            return as_plan(found, task)
        if step.hops > 1 or answer is None:
            return None
        again = AskStep(ask=step.ask, task=_literal(task), hops=2)
        return Plan.of("second-search", again=again, description="a second search that uses what the first found")

    def _fits(self, found: Decomposition) -> bool:
        """Pieces that follow each other are a plan only where different specialists do them: one alone goes on by
        itself. And none of them may be nobody's."""
        if self._route is None:
            return True
        routes = [self._route(piece.task) for piece in found.pieces]
        if any(route.decision == "abstain" for route in routes):
            return False
        return not found.chained or len({route.choice for route in routes}) > 1


def as_plan(found: Decomposition, task: str) -> Plan:
    """Pieces as a plan: side by side unless one uses another; what comes back unsure is taken apart once more."""
    steps = dict[str, Any]()
    for place, piece in enumerate(found.pieces):
        facts = tuple(f"{_literal(found.pieces[used].task)} {{{{ part_{used + 1} }}}}" for used in piece.uses)
        failing = "fail" if found.chained and place == len(found.pieces) - 1 else "replan"
        steps[f"part_{place + 1}"] = AskStep(ask=piece.ask, task=_literal(piece.task), facts=facts, on_failure=failing)
    if not found.chained:
        lines = [
            f"{_literal(piece.label or piece.task)}: {{{{ part_{place} }}}}"
            for place, piece in enumerate(found.pieces, 1)
        ]
        steps["answer"] = JoinStep(join="\n".join(lines))
    budget = PlanBudget(steps=4 * len(steps))
    return Plan(
        name="plan", description=found.why, examples=(task,), steps=steps, result=list(steps)[-1], budget=budget
    )


def _literal(text: str) -> str:
    """Text as a template that gives it: what a user types is never one."""
    return text.replace("{", "{{ '{' }}")


# What can be seen in the words. Each rule gives the pieces of a task that it knows, and None for others.

_AND = r"(?:,?\s+(?:and|or|und|oder|&)\s+|\s*,\s*)"
_ITEM = r"[^,:;?]+?"
_LIST = rf"(?P<list>{_ITEM}(?:{_AND}{_ITEM})+)"
_END = r"\s*[?.!]*$"
_EACH = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"^(?:for|of)\s+(?:each|every|both|all)\s+(?:of\s+)?{_LIST}\s*[,:–—]\s*(?P<rest>[^,]+.*?){_END}",
        rf"^(?P<rest>.+?)\s*,?\s+(?:for|of)\s+(?:each|every|both|all)\s+of\s+(?:these\s*:?\s*)?{_LIST}{_END}",
        rf"^(?P<rest>[^:]+?(?:these|each|following|both|all)[^:]*):\s*{_LIST}{_END}",
    )
]
_THING = r"[^,;:?]+?"
_SIDES = rf"(?P<a>{_THING})\s+(?:and|with|to|versus|vs\.?)\s+(?P<b>{_THING}){_END}"
_EITHER = rf"(?P<a>{_THING})\s*,?\s+or\s+(?P<b>{_THING})"
_DOES = r"(?:has|have|had|is|are|was|were|needs?|takes?|costs?|can|may|must|did|does)\b"
_COMPARED = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"^(?:please\s+)?compare\s+(?:(?P<about>{_THING})\s+(?:of|between|for|in|at)\s+)?{_SIDES}",
        r"^(?:what(?:'s| is| are)\s+|tell me\s+|explain\s+)?the\s+differences?\s+"
        rf"(?:in\s+(?P<about>{_THING})\s+)?between\s+{_SIDES}",
        rf"^(?P<rest>(?:which|who|what)\b[^,:?]+?)\s*[,:]\s*{_EITHER}{_END}",
        rf"^(?:which|who)(?:\s+one)?\s+of\s+(?P<a>{_THING})\s+(?:and|or)\s+(?P<b>{_THING})\s+(?P<does>{_DOES}.+?){_END}",
    )
]
_PRONOUN = re.compile(
    r"\b(?:it|its|they|them|their|that|those|this|these|one|ones|the\s+(?:result|answer|same|list|first|latter))\b",
    re.IGNORECASE,
)
_THEN = re.compile(
    r"\s*[,;.]?\s+(?:and\s+)?(?:then|after\s+that|afterwards|with\s+(?:that|this|the\s+result)|if\s+so,?"
    r"|based\s+on\s+(?:that|this),?)\s+",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"(?:and\s+|also\s+|please\s+)?(?:who|whose|whom|what|which|when|where|why|how|is|are|was|were|do|does|did|can|could|"
    r"may|must|should|has|have|will|tell\s+me|list|name|wer|was|wann|wo|wie|warum|welche\w*)\b",
    re.IGNORECASE,
)


def each_of(task: str) -> Decomposition | None:
    """Something is asked of each of a list.

    >>> [piece.task for piece in each_of("For each of FL-1, FL-2 and FL-3: how often is it greased?").pieces]
    ['how often is FL-1 greased?', 'how often is FL-2 greased?', 'how often is FL-3 greased?']
    """
    match = next(filter(None, (pattern.match(task) for pattern in _EACH)), None)
    items = _items(match["list"]) if match else []
    if match is None or len(items) < 2:
        return None
    rest = match["rest"].strip(" ,:.?!")
    return Decomposition(f"each of {len(items)}", tuple(SubTask(_about(rest, item), label=item) for item in items))


def compared(task: str) -> Decomposition | None:
    """Two things are compared: each is asked about by itself.

    >>> [piece.task for piece in compared("Compare the service interval of the filler and the labeller").pieces]
    ['What is the service interval of the filler?', 'What is the service interval of the labeller?']
    """
    match = next(filter(None, (pattern.match(task) for pattern in _COMPARED)), None)
    if match is None:
        return None
    said = match.groupdict()
    sides = [said["a"].strip(), said["b"].strip()]
    if about := said.get("about"):
        about = about if about.split()[0].lower() in _ARTICLES else f"the {about}"
        tasks = [f"What is {about} of {side}?" for side in sides]
    elif rest := said.get("rest") or said.get("does"):
        tasks = [f"{side}: {rest}?" for side in sides]
    else:
        tasks = [f"What is said about {side}?" for side in sides]
    return Decomposition("a comparison", tuple(SubTask(t, label=s) for t, s in zip(tasks, sides, strict=True)))


_ARTICLES = ("the", "a", "an", "his", "her", "its", "their", "our", "my", "your")


def one_after_another(task: str) -> Decomposition | None:
    """Something is looked up, then used: a piece that says `then`, or that speaks of `it`, needs what was found before.

    >>> [piece.uses for piece in one_after_another("Look up which seal the pump P-101 needs, then order it.").pieces]
    [(), (0,)]
    """
    cut = [piece.strip(" ,;.") for piece in _THEN.split(task) if piece.strip(" ,;.")]
    if len(cut) > 1:
        return _chain(cut)
    cut = segments(task)
    later = [bool(_PRONOUN.search(piece)) for piece in cut[1:]]
    return _chain(cut) if later and all(later) and not _QUESTION.match(cut[-1]) else None


def questions(task: str) -> Decomposition | None:
    """Several questions in one, each of which stands by itself.

    >>> [piece.task for piece in questions("How often is the filler greased, and who signs the permit?").pieces]
    ['How often is the filler greased', 'who signs the permit?']
    """
    cut = segments(task)
    asked = [bool(_QUESTION.match(piece)) and not _PRONOUN.search(piece) for piece in cut[1:]]
    if not asked or not all(asked) or not _QUESTION.match(cut[0]):
        return None
    return Decomposition(f"{len(cut)} questions", tuple(SubTask(piece) for piece in cut))


def _chain(cut: Sequence[str]) -> Decomposition:
    pieces = tuple(SubTask(piece, uses=tuple(range(place))) for place, piece in enumerate(cut))
    return Decomposition("one after the other", pieces)


def _items(said: str) -> list[str]:
    return [item for part in re.split(_AND, said) if (item := part.strip(" .?!"))]


def _about(rest: str, item: str) -> str:
    """A question about one item of the list: in place of the pronoun, else behind it."""
    said, count = re.subn(r"\b(?:it|they|them|each(?: of them)?|these|this)\b", lambda _: item, rest, count=1)
    return f"{said}?" if count else f"{rest} for {item}?"


# What the base writes: steps under a grammar whose names are the team's own.

_INSTRUCTION = (
    "Break the task into the steps that colleagues must do, in order. Each step: who, what to ask, and the numbers of "
    "the earlier steps whose results it needs. Use one step if one colleague can do it all. Colleagues:"
)


def plan_schema(names: Sequence[str], most: int = MOST_STEPS) -> dict[str, Any]:
    """JSON Schema of a plan: at most so many steps, each by one of the names."""
    step = {
        "type": "object",
        "properties": {
            "who": {"enum": list(names)},
            "task": {"type": "string", "maxLength": 160},
            "needs": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": most}, "maxItems": most},
        },
        "required": ["who", "task", "needs"],
        "additionalProperties": False,
    }
    steps = {"type": "array", "items": step, "minItems": 1, "maxItems": most}
    return {"type": "object", "properties": {"steps": steps}, "required": ["steps"], "additionalProperties": False}


def writer(
    engine: Engine, colleagues: Mapping[str, str], *, most: int = MOST_STEPS, adapter: str | None = None
) -> Write:
    """Has the base write the pieces of tasks.

    Args:
        engine: Runs the base.
        colleagues: The team: name to what each knows and does.
        most: Pieces at most.
        adapter: The engine's, for a base that was taught to plan.
    """
    schema = plan_schema(list(colleagues), most)
    system = "\n".join([_INSTRUCTION, *(f"- {name}: {about}" for name, about in colleagues.items())])

    def write(task: str) -> Sequence[SubTask]:
        chat = engine.chat(Sampling(max_tokens=80 * most), adapter=adapter, slot="planner")
        reply = chat.invoke([("system", system), ("user", f"Task: {task}")], **engine.constrain(Json(schema)))
        return list(read_pieces(str(reply.content), task))

    return write


def read_pieces(written: str, task: str) -> Iterator[SubTask]:
    """The steps that a model wrote, without those that have nothing to do with the task or say another again."""
    try:
        steps = json.loads(written)["steps"]
    except (ValueError, KeyError, TypeError):
        return  # cut off: no plan
    kept, asked = dict[int, int](), set[tuple[str, str]]()
    about = content_stems(task)
    for number, step in enumerate(steps, 1):
        said = (step["who"], step["task"].strip().lower())
        if said in asked or not content_stems(step["task"]) & about:
            continue
        asked.add(said)
        uses = tuple(sorted({kept[need] for need in step["needs"] if need in kept}))
        kept[number] = len(kept)
        yield SubTask(step["task"].strip(), ask=step["who"], uses=uses)
