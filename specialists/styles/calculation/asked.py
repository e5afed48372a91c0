"""Whether a question wants something computed, as far as its words say so: what has to be looked up, and the formula.

English, and German where one more word in a pattern is all it takes; who asks in another language is given the figures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .figures import OFTEN, singular


@dataclass(frozen=True)
class Derived:
    """What a question wants to be computed."""

    formula: str
    """Over `{0}`, `{1}` …, the figures in the order of the look-ups."""
    lookups: tuple[str, ...]
    """A question for each figure."""
    rate: str = ""
    """What the figure must be for: `night` of "120 euros a night"."""
    period: str = ""
    """What the amount is wanted for, where the figure may be for another: `year`."""
    unit: str = ""
    """Of the result; left out: that of the figures."""


def derived(task: str) -> Derived | None:
    """What a question wants to be computed out of several figures, as far as its words say so.

    >>> derived("How much more may a room cost in Paris than in Lyon?").lookups
    ('How much may a room cost in Paris?', 'How much may a room cost in Lyon?')
    >>> derived("What does it cost to park?")
    """
    text = re.sub(r"\s+", " ", task).strip().rstrip(" ?.!")
    return _compared(text) or _of_several(text) or _together(text) or _times(text) or _per_period(text)


# How much more is one than the other?

_COMPARATIVES = {
    word: (asks, formula)
    for asks, more, less in (
        ("", "more mehr", "less fewer weniger"),
        ("cost", "dearer costlier pricier teurer", "cheaper billiger günstiger"),
        ("long", "longer", "shorter"),
        ("high", "higher", "lower"),
        ("loud", "louder", "quieter"),
        ("heavy", "heavier", "lighter"),
        ("fast", "faster", "slower"),
        ("old", "older", "younger"),
        ("large", "larger bigger", "smaller"),
        ("wide", "wider", "narrower"),
        ("deep", "deeper", "shallower"),
        ("thick", "thicker", "thinner"),
        ("warm", "warmer hotter", "colder cooler"),
        ("far", "farther further", "nearer"),
        ("late", "later", "earlier"),
    )
    for words, formula in ((more, "{0} - {1}"), (less, "{1} - {0}"))
    for word in words.split()
}
"""With what is asked of each side ("How long …"; nothing: what the question says), and what the figures make."""
_ADJECTIVE = "|".join(word for word, (asks, _) in _COMPARATIVES.items() if asks)
_COMPARED = re.compile(
    r"^(?:by )?(?P<much>how (?:much|many)|what(?= percentage)|(?:um )?wie ?viele?)(?: (?P<noun>[\w()°%]+))?"
    rf"(?: (?P<first>(?:is|are|was|were) .+?) (?P<adjective>{_ADJECTIVE})|"
    rf" (?P<more>{'|'.join(_COMPARATIVES)})\b(?P<rest>.*?))"
    r" (?:than|als) (?P<other>(?!\d|one\b|once\b|ein\b).+)$",
    re.IGNORECASE,
)
_WHERE = r"(?:in|on|at|for|during|with|without|of|after|from|under|outside|inside|by)"


def _compared(text: str) -> Derived | None:
    if not (match := _COMPARED.search(text)):
        return None
    asks, formula = _COMPARATIVES[(match["more"] or match["adjective"]).lower()]
    rest, noun = match["rest"] or f" {match['first'] or ''}".rstrip(), match["noun"] or ""
    side = re.sub(r"^ (?:is|are|was|were|ist|sind) ", "", rest).strip()
    other = re.sub(r"\bones?$", side.rpartition(" ")[2], match["other"])
    percent = noun.lower() in ("percent", "percentage", "prozent")
    if asks == "cost":
        lookups = f"How much does {side} cost?", f"How much does {_said_of(side, other) or other} cost?"
    else:
        much = "How much" if percent else f"{match['much'].capitalize()} {noun}".rstrip()
        one = f"{much if noun or not asks else f'How {asks}'}{rest}"
        start = re.split(
            r" (?:is|are|was|were|does|do|did|may|can|must|will|would|kostet|ist|sind)\b", one, maxsplit=1
        )[0]
        lookups = f"{one}?", f"{_said_of(one, other) or f'{start} is {other}'}?"
    return Derived(f"({formula}) / {{1}} * 100", lookups, unit="%") if percent else Derived(formula, lookups)


def _said_of(text: str, other: str) -> str | None:
    """The text, said of the other side of a comparison; None where that side stands by itself.

    >>> _said_of("How much oil does the gearbox of BW-3 take", "that of FL-2")
    'How much oil does the gearbox of FL-2 take'
    >>> _said_of("How much may a room cost in Paris", "in Lyon")
    'How much may a room cost in Lyon'
    """
    if of := re.match(r"(?:that|those|the ones?) (?P<how>of|in|on|at|for|from|with) (?P<what>.+)", other):
        before, found, after = text.rpartition(f" {of['how']} ")
        rest = re.sub(r"^(?:the )?\S+", "", after)
        return f"{before}{found}{of['what']}{rest}" if found else None
    if re.match(rf"{_WHERE}\b", other):
        place = re.search(rf"^.*(?= {_WHERE} )", text)
        return f"{place[0] if place else text} {other}"
    return None


# The difference, the sum or the average of several.

_AND = re.compile(r",? (?:and|und) |, ", re.IGNORECASE)
_OF_SEVERAL = re.compile(
    r"^(?:what|how \w+)(?:['’]s| (?:is|are|was|were))? (?:the |on )?(?P<kind>[\w -]*?) ?\b"
    r"(?:(?P<apart>difference|gap)|(?P<average>average|mean)|total|sum)\b(?: in)?"
    r"(?P<about>(?: [\w-]+){0,3}?) (?:of|between|for) (?P<sides>.+ and .+)$",
    re.IGNORECASE,
)
_QUANTITY = frozenset(
    "price cost fee rate allowance amount limit level temperature pressure length width height weight mass distance "
    "time duration period number volume capacity speed power torque charge rent salary age size interest deposit value "
    "mileage quantity revenue income profit tax discount".split()
)
"""What is measured: other things differ in no figure."""
_MOST = 6
"""Figures in one sum."""


def _of_several(text: str) -> Derived | None:
    match = _OF_SEVERAL.search(text)
    if not match or not 2 <= len(sides := _AND.split(match["sides"])) <= (2 if match["apart"] else _MOST):
        return None
    if match["apart"] and not _words(text) & _QUANTITY:
        return None
    total = _total(sides)
    formula = "abs({0} - {1})" if match["apart"] else f"({total}) / {len(sides)}" if match["average"] else total
    about = " ".join(f"{match['kind']} {match['about']}".split())
    if not about and _words(sides[-1]) & _QUANTITY and not _words(sides[0]) & _QUANTITY:  # "the day and the night rate"
        sides = [*(f"{side} {sides[-1].split()[-1]}" for side in sides[:-1]), sides[-1]]
    said = (_said_of(sides[0], side) or side for side in sides[1:])  # "the fee for A and for B"
    what = f"What is the {about} of" if about else "What is"
    return Derived(formula, tuple(f"{what} {side}?" for side in (sides[0], *said)))


def _words(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {*words, *map(singular, words)}


def _total(sides: Sequence[str]) -> str:
    return " + ".join(f"{{{place}}}" for place in range(len(sides)))


_TOGETHER = re.compile(
    r",? \b(?:together|altogether|in total|in all|combined|zusammen|insgesamt)\b"
    r"(?=$|,| (?:for|in|of|on|at|per|costs?|is|are|does|do)\b)",
    re.IGNORECASE,
)
_JOINT = re.compile(
    r"^(?P<lead>(?:what|how \w+|was|wie ?\w+)(?: \w+)?? (?:do|does|did|is|are|was|were|will|can|may|must|kosten) |)"
    r"(?P<sides>.+?(?:,| and| und) .+?)"
    r"(?P<tail> (?:do|does|is|are|costs?|come|takes?|holds?|needs?|weigh|lasts?|make|amount|have|kosten|wiegen)\b.*|)$",
    re.IGNORECASE,
)
_DOER = re.compile(r"(?:i|we|you|they|he|she|it|ich|wir|man)\b", re.IGNORECASE)


def _together(text: str) -> Derived | None:
    plain, found = _TOGETHER.subn("", text, count=1)
    match = _JOINT.search(plain) if found else None
    if not match or len(sides := _AND.split(match["sides"])) > _MOST or any(map(_DOER.match, sides)):
        return None
    return Derived(_total(sides), tuple(f"{match['lead']}{side}{match['tail']}?" for side in sides))


# So many times a rate, and an amount for another period.

_ASKS_PRICE = re.compile(
    r"^(?:what|how much)\b.*\b(?:costs?|pay|paid|get|charged?|come to|spend|earn|fee|price|rent)\b", re.IGNORECASE
)
_NUMBERS = {
    word: number for number, word in enumerate("two three four five six seven eight nine ten eleven twelve".split(), 2)
}
_TIMES = re.compile(
    r"\b(?:(?P<before>(?:for|of|over|during) )|(?:do|does|did|are|is|pay|get|costs?) )"
    rf"(?P<count>(?!(?:19|20)\d\d\b)\d{{1,4}}|{'|'.join(_NUMBERS)}) "
    r"(?P<what>(?:[^\W\d_]+ ){0,2}?(?P<noun>(?!was\b|has\b|does\b|this\b|its\b)[^\W\d_]{2,}s|km|h))\b",
    re.IGNORECASE,
)
_PERIOD = re.compile(
    r" (?:(?:per|a|each|every|in a) (?P<noun>year|month|quarter|week)|"
    r"(?P<often>annually|yearly|monthly|quarterly|weekly))\b",
    re.IGNORECASE,
)


def _times(text: str) -> Derived | None:
    matches = [*_TIMES.finditer(text)]
    if len(matches) != 1 or not _ASKS_PRICE.search(text):
        return None
    match, count, noun = matches[0], matches[0]["count"].lower(), singular(matches[0]["noun"])
    if match["before"]:
        lookup = f"{text[: match.start('before')]}per {noun}{text[match.end() :]}"
    else:
        lookup = f"{text[: match.start('count')]}one {match['what'][: -len(match['noun'])]}{noun}{text[match.end() :]}"
    return Derived(f"{_NUMBERS.get(count, count)} * {{0}}", (f"{lookup}?",), rate=noun)


def _per_period(text: str) -> Derived | None:
    match = _PERIOD.search(text)
    if not match or not _ASKS_PRICE.search(text):
        return None
    noun, often = (match["noun"] or "").lower(), (match["often"] or "").lower()
    lookup = f"{text[: match.start()]}{text[match.end() :]}?"
    return Derived("{0}", (lookup,), period=noun or OFTEN[often])
