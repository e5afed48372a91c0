"""The figures of passages: a number with its unit, the column that it stands in, and what it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ....core.cells import CURRENCY_CODES, MONTHS
from ....core.text import STOPWORDS

IN_A_YEAR = {"year": 1, "month": 12, "quarter": 4, "week": 52}
"""How often each period comes in a year."""
OFTEN = {
    "annual": "year",
    "annually": "year",
    "yearly": "year",
    "monthly": "month",
    "quarterly": "quarter",
    "weekly": "week",
}
"""The period that a word of a fee names."""
_SAME_NOUN = {"km": "kilometre", "h": "hour"}
CURRENCY = rf"{CURRENCY_CODES}|[£$€]"
_GAP = r"(?:[ \u00a0]|\n(?=[a-zäöü%€]))?"
_FIGURE = re.compile(
    rf"(?P<before>(?:{CURRENCY})\s?)?(?<![\w.,:/#−-])(?P<digits>[-−]?\d+(?:[.,’]\d{{3}})*(?:[.,]\d+)?)(?![\d:]|[.,]\d|-\w)"
    rf"(?P<scale>\s(?:thousand|million|billion|Mio\.?|Mrd\.?)\b)?"
    rf"(?P<after>{_GAP}(?:(?:{CURRENCY})(?!\w)|%|°\s?[CF]\b|per\s?cent\b|percentage\spoints\b|[^\W\d_]+(?:\([A-Z]\))?))?"
)
_MONTHS = "|".join(MONTHS)
_MONTH = re.compile(rf"(?:{_MONTHS})\b", re.IGNORECASE)
_YEAR = re.compile(rf"\b(?:{_MONTHS}|in|since|until|of|year|seit|bis),?\s(?:19|20)\d\d$", re.IGNORECASE)
"""A year; "2000 hours" is none."""
_COLUMN = re.compile(r"(?:^|[;\n]\s*)(?P<name>[^:;\n]+):\s*$")
_UNIT_OF_COLUMN = re.compile(
    r"\((?P<bracket>[^()]+)\)\s*$|_(?P<tail>gbp|eur|usd|percent|kg|g|mm|cm|m|h|hours|days)$", re.IGNORECASE
)
_RATE = re.compile(r"\s*(?:/|per|an?|(?:for\s+)?(?:each|every))\s+(?:full\s+)?(?P<noun>[^\W\d_]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Quantity:
    """A number of a passage with its unit."""

    quote: str
    digits: str
    scale: str
    """`million` …"""
    unit: str
    """As it stands there; of a table what its column says."""
    column: str
    """Of a row that gives nothing but the number."""
    rate: str
    """What it is for: `night`; empty where nothing says so."""
    start: int
    end: int
    before: bool
    """The unit stands before the number."""

    @property
    def kind(self) -> str:
        """What may be added to it."""
        unit = (self.unit or self.column).lower().replace(" ", "").removesuffix(".")
        same = {"%": "percent", "percent": "percent", "£": "gbp", "€": "eur", "euros": "eur", "euro": "eur", "$": "usd"}
        return f"{self.scale} {same.get(unit, unit[:-1] if len(unit) > 2 and unit.endswith('s') else unit)}"


def figures_of(text: str) -> Iterator[Quantity]:
    """The amounts of a text; dates, times, codes and the numbers of list items are none."""
    for match in _FIGURE.finditer(text):
        after = (match["after"] or "").strip()
        if _MONTH.match(after) or _YEAR.search(text, max(0, match.start() - 12), match.end("digits")):
            continue
        if _LISTED.match(text, match.end("digits")) and _begins_line(text, match.start()):
            continue
        number_ends = match.end("scale") if match["scale"] else match.end("digits")
        if after and (match["before"] or after.lower() in STOPWORDS) and not re.fullmatch(CURRENCY, after):
            after = ""
        unit, end = (match["before"] or after).strip(), match.end() if after else number_ends
        column = "" if unit else _column(text, match.start())
        named = _UNIT_OF_COLUMN.search(column)
        if named:
            unit = (named["bracket"] or named["tail"]).split(" per ")[0]
        rate = _RATE.match(text, end)
        yield Quantity(
            quote=text[match.start() : end].strip(),
            digits=match["digits"],
            scale=(match["scale"] or "").strip(),
            unit=unit.upper() if re.fullmatch(CURRENCY, unit.upper()) else unit,
            column=column,
            rate=singular(rate["noun"]) if rate else "",
            start=match.start(),
            end=end,
            before=bool(match["before"]),
        )


def _column(text: str, place: int) -> str:
    """The name of the column, where a table's row has nothing but a number there."""
    found = _COLUMN.search(text, max(0, text.rfind("\n", 0, place)), place)
    return found["name"].strip() if found else ""


_LISTED = re.compile(r"[.)]?\s+[A-ZÄÖÜ(]")
"""Behind the number of a list item or a clause, with which a line begins."""


def _begins_line(text: str, place: int) -> bool:
    return not text[text.rfind("\n", 0, place) + 1 : place].strip()


def singular(word: str) -> str:
    """A noun in lower case as one of it is called.

    >>> singular("Nights"), singular("copies"), singular("km")
    ('night', 'copy', 'kilometre')
    """
    word = word.lower()
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return _SAME_NOUN.get(word) or (word[:-1] if word.endswith("s") and not word.endswith("ss") else word)


def period_of(figure: Quantity, text: str) -> str:
    """For what an amount is paid once: `month` of "GBP 4 a month" and of "the monthly fee is GBP 4"; else nothing."""
    if figure.rate in IN_A_YEAR:
        return figure.rate
    often = [word for word in re.findall(r"\w+", _before(figure, text)) if word in OFTEN]
    return OFTEN[often[-1]] if often and not figure.rate else ""


def costs_one(figure: Quantity, noun: str, text: str) -> bool:
    """ "A transfer abroad costs GBP 6.00", or a row of a price list for that thing."""
    before = _before(figure, text)
    if figure.rate:
        return False
    row = re.search(r";?[^;]*(?:price|fee|cost|preis)[^;:]*:\s*$", before)
    words = {singular(word) for word in re.findall(r"[^\W\d_]+", before)}
    return bool(row and noun in words) or bool(
        re.search(rf"(?:^|\s)(?:an?|one|each|every|ein|eine)\s+{re.escape(noun)}\b", before)
    )


def _before(figure: Quantity, text: str) -> str:
    """What stands before a figure in its sentence or row, in lower case."""
    start = max(text.rfind(". ", 0, figure.start), text.rfind("\n\n", 0, figure.start))
    line = text[start + 1 : figure.start].lower()
    return line.rpartition("\n")[2] if ": " in line else line
