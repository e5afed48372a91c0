"""The sum: the model points at each figure, under a grammar that allows nothing but figures of the passages, and the
calculator computes. Where anything is in doubt nothing is computed: a wrong sum is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ....core.cells import numbers
from ....core.errors import ToolError
from ....core.text import content_stems
from ....core.types import Citation, Passage, ToolCall
from ....tools.builtin.calculator import calculate
from ...engines.engine import Quote
from ...grounding import best_place
from ...knowledge.citation import places_of
from ...prompt import NOT_FOUND
from ...work import CERTAINTY, Draft, Work
from .asked import Derived, derived
from .figures import CURRENCY, IN_A_YEAR, Quantity, costs_one, figures_of, period_of

_UNSURE = -2.5
"""Log-probability of the first token below which the model would rather have said something else than this figure."""


def calculated(work: Work) -> Draft | None:
    """The answer, computed from figures of the passages; None where nothing is to be computed or anything is in doubt.

    Raises:
        BudgetExceeded: as `Work.ask`.
    """
    asked = derived(work.brief.task)
    if asked is None or not _may_hold(asked, work.passages):
        return None
    found: list[_Found] = []
    for lookup in asked.lookups:
        figure = _look_up(work, lookup, asked, [one.figure for one in found])
        if figure is None:
            return None
        found.append(figure)
    if not _told_apart(asked.lookups, found):
        return None
    return _computed(asked, found)


@dataclass(frozen=True)
class _Found:
    """A figure that the model pointed at."""

    figure: Quantity
    citation: Citation
    """With its context."""
    period: str
    """How often it is paid; empty where nothing says so."""
    certainty: dict[str, float]


def _may_hold(asked: Derived, passages: Sequence[Passage]) -> bool:
    """Do the passages hold figures of which it could be computed? Asked before any model is."""
    kinds: dict[str, set[str]] = {}
    for passage in passages:
        for figure in figures_of(passage.text):
            other = not asked.period or period_of(figure, passage.text) != asked.period
            if other and _is_for(figure, asked, passage):
                kinds.setdefault(figure.kind, set()).add(figure.digits)
    needed = 1 if len(asked.lookups) == 1 else 2
    return any(len(digits) >= needed for digits in kinds.values())


def _is_for(figure: Quantity, asked: Derived, passage: Passage) -> bool:
    """Is a figure what one thing costs, or a period?"""
    if asked.period:
        return period_of(figure, passage.text) in IN_A_YEAR
    return not asked.rate or figure.rate == asked.rate or costs_one(figure, asked.rate, passage.text)


def _look_up(work: Work, lookup: str, asked: Derived, taken: Sequence[Quantity]) -> _Found | None:
    """Let the model point at the figure that answers a question."""
    part = replace(work, brief=work.brief.model_copy(update={"task": lookup, "query": ""}))
    kinds, given = {figure.kind for figure in taken}, {figure.quote for figure in taken}

    def figures(passages: Sequence[Passage]) -> list[tuple[Passage, Quantity]]:
        every = [(passage, figure) for passage in passages for figure in figures_of(passage.text)]
        fitting = [(p, f) for p, f in every if _is_for(f, asked, p) and f.quote not in given]
        return [(p, f) for p, f in fitting if not kinds or f.kind in kinds]

    options = list(dict.fromkeys(figure.quote for _, figure in figures(part.seen)))
    if not options:
        return None
    reply = part.ask(part.prompt(), Quote(options, [NOT_FOUND]), aloud=False)
    if reply.certainty.get("first_logprob", 0.0) < _UNSURE:
        return None
    standing = {
        (passage.id, passage.start + figure.start): (passage, figure)
        for passage, figure in figures(work.passages)
        if figure.digits in reply.text and reply.text in figure.quote
    }
    quotes = dict.fromkeys(figure.quote for _, figure in standing.values())
    places = (place for quote in quotes for place in places_of(quote, work.passages))
    citation = best_place((at for at in places if (at.passage, at.start) in standing), lookup, work.passages)
    if citation is None:
        return None
    passage, figure = standing[citation.passage, citation.start]
    return _Found(figure, citation, period_of(figure, passage.text), reply.certainty)


def _told_apart(lookups: Sequence[str], found: Sequence[_Found]) -> bool:
    """Are the figures different places, each where the words are that only its own question has?"""
    if len({(one.citation.passage, one.citation.start) for one in found}) < len(found):
        return False
    asked = [content_stems(lookup) for lookup in lookups]
    for place, one in enumerate(found):
        others = [n for n in range(len(found)) if n != place]
        own = asked[place] - set[str]().union(*(asked[n] for n in others))
        held = len(own & content_stems(one.citation.context))
        if any(held < len(own & content_stems(found[n].citation.context)) for n in others):
            return False
    return True


def _computed(asked: Derived, found: Sequence[_Found]) -> Draft | None:
    figures = [one.figure for one in found]
    if len({figure.kind for figure in figures}) > 1 or len({figure.rate for figure in figures} - {""}) > 1:
        return None
    written = [figure.digits.replace("−", "-") for figure in figures]
    read = numbers(written)
    values = [value for digits in written if read and (value := read.read(digits)) is not None]
    if len(values) < len(written):
        return None
    formula = _conversion(found[0].period, asked.period) if asked.period else asked.formula
    if not formula:
        return None
    expression = formula.format(*(f"({value})" if value < 0 else f"{value}" for value in values))
    try:
        result = calculate.invoke({"expression": expression})
    except ToolError:
        return None
    if result.startswith("-"):
        return None
    said = _with_unit(_grouped(result, written), figures[0], asked.unit)
    text = f"{said}\n{_shown(formula, figures, expression)} = {said}"
    return Draft(
        text,
        found=True,
        citations=tuple(one.citation for one in found),
        certainty={name: min(one.certainty.get(name, 0.0) for one in found) for name in CERTAINTY},
        tool_calls=(ToolCall(name="calculate", arguments={"expression": expression}, result=result),),
    )


def _conversion(have: str, wanted: str) -> str:
    """The formula from an amount for one period to that for another; empty where there is nothing to convert.

    >>> _conversion("month", "year"), _conversion("year", "quarter"), _conversion("year", "year")
    ('{0} * 12', '{0} / 4', '')
    """
    if have == wanted or have not in IN_A_YEAR:
        return ""
    one, other = IN_A_YEAR[have], IN_A_YEAR[wanted]
    if one % other and other % one:  # months and weeks do not fit
        return ""
    return f"{{0}} * {one // other}" if one > other else f"{{0}} / {other // one}"


def _shown(formula: str, figures: Sequence[Quantity], expression: str) -> str:
    """The formula as people read it, with the figures as they are quoted."""
    quotes = [f"({figure.quote})" if figure.digits[0] in "-−" else figure.quote for figure in figures]
    if formula.startswith("abs("):
        formula = formula.removeprefix("abs(").removesuffix(")")
        inner = calculate.invoke({"expression": expression.removeprefix("abs(").removesuffix(")")})
        quotes = quotes[::-1] if inner.startswith("-") else quotes
    return formula.replace("-", "−").replace("*", "×").format(*quotes)


def _with_unit(number: str, figure: Quantity, unit: str) -> str:
    number = f"{number} {figure.scale}" if figure.scale and not unit else number
    unit = unit or figure.unit
    if (figure.before and unit == figure.unit) or re.fullmatch(CURRENCY, unit):
        return f"{unit} {number}" if unit.isalpha() else f"{unit}{number}"
    return f"{number}{unit}" if unit == "%" else f"{number} {unit}".strip()


def _grouped(number: str, written: Sequence[str]) -> str:
    """Written as the figures are: as many decimals as they have, thousands apart where theirs are."""
    decimals = [len(digits.rpartition(".")[2]) for digits in written if re.search(r"\.\d+$", digits)]
    apart = any(re.search(r"\d,\d{3}", digits) for digits in written)
    try:
        value = float(number)
    except ValueError:
        return number
    fixed = len(decimals) == len(written) and len(set(decimals)) == 1 and round(value, decimals[0]) == value
    places = decimals[0] if fixed else len(number.partition(".")[2])
    places = min(places, 2) if not fixed and places > 4 else places
    return f"{value:{',' if apart else ''}.{places}f}"
