"""The days that a task names, as dates: `tomorrow`, `next Friday`, `8 December`, `the last 2 weeks`. English."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import NamedTuple

_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = rf"(?P<month>{'|'.join(rf'{name[:3]}(?:{name[3:]})?' for name in _MONTHS)}|sept)\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,?\s+(?P<year>\d{4}))?"
_COUNTS = {"a": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "ten": 10}
_COUNT = rf"(?P<count>\d+|{'|'.join(_COUNTS)})"
_BACK = {"past", "last", "since"}


class Day(NamedTuple):
    """A day that a text names, and where."""

    start: int
    end: int
    day: date


def days_in(text: str, today: date) -> list[Day]:
    """All days that a text names, in its order. A day without a year is the one nearest to today.

    Args:
        today: The day on which it was said.

    >>> [str(found.day) for found in days_in("from 24 Nov to next Friday, or tomorrow", date(2026, 11, 27))]
    ['2026-11-24', '2026-12-04', '2026-11-28']
    """
    found = list[Day]()
    for pattern, read in _FORMS:
        for match in pattern.finditer(text):
            day = _read(read, match, today)
            if day and not any(match.start() < other.end and other.start < match.end() for other in found):
                found.append(Day(match.start(), match.end(), day))
    return sorted(found)


def without_days(text: str, today: date) -> str:
    """The text with blanks where it names days, so that their numbers count for nothing else."""
    for found in days_in(text, today):
        text = text[: found.start] + " " * (found.end - found.start) + text[found.end :]
    return text


def _read(read: Callable[[re.Match[str], date], date], match: re.Match[str], today: date) -> date | None:
    try:
        return read(match, today)
    except (ValueError, OverflowError):  # 31 February
        return None


def _iso(match: re.Match[str], today: date) -> date:
    return date.fromisoformat(match[0])


def _dotted(match: re.Match[str], today: date) -> date:
    return date(int(match["year"]), int(match["number"]), int(match["day"]))


def _named(match: re.Match[str], today: date) -> date:
    month = next(number for number, name in enumerate(_MONTHS, 1) if name[:3] == match["month"][:3].lower())
    years = [int(match["year"])] if match["year"] else list(range(today.year - 4, today.year + 5))
    return min(_in_years(years, month, int(match["day"])), key=lambda day: abs(day - today))


def _in_years(years: list[int], month: int, day: int) -> Iterator[date]:
    for year in years:
        if (month, day) != (2, 29) or calendar.isleap(year):
            yield date(year, month, day)


def _weekday(match: re.Match[str], today: date) -> date:
    """`Friday` is the next one, `next Friday` that of next week, `last` and `since Friday` the one that has been."""
    wanted, which = [*_DAYS].index(match["weekday"].lower()), (match["which"] or "").lower()
    if which in _BACK:
        return today - timedelta(days=(today.weekday() - wanted) % 7 or 7)
    if which == "next":
        return today + timedelta(days=7 - today.weekday() + wanted)
    return today + timedelta(days=(wanted - today.weekday()) % 7)


def _word(match: re.Match[str], today: date) -> date:
    return today + timedelta(days={"yesterday": -1, "today": 0, "tomorrow": 1}[match[0].lower()])


def _span(match: re.Match[str], today: date) -> date:
    count = _COUNTS.get(match["count"].lower()) or int(match["count"])
    days = count * {"d": 1, "w": 7, "m": 30, "y": 365}[match["unit"][0].lower()]
    back = match[0].lower().startswith(("last", "past")) or match[0].lower().endswith("ago")
    return today + timedelta(days=-days if back else days)


_UNIT = r"(?P<unit>days?|weeks?|months?|years?)"
_FORMS: list[tuple[re.Pattern[str], Callable[[re.Match[str], date], date]]] = [
    (re.compile(pattern, re.IGNORECASE), read)
    for pattern, read in [
        (r"\b\d{4}-\d\d-\d\d\b", _iso),
        (r"\b(?P<day>\d{1,2})\.\s?(?P<number>\d{1,2})\.\s?(?P<year>\d{4})\b", _dotted),
        (rf"\b{_MONTH}\s+{_DAY}\b{_YEAR}", _named),
        (rf"\b{_DAY}(?:\s+of)?\s+{_MONTH}(?![a-z]){_YEAR}", _named),
        (rf"\b(?:(?P<which>next|last|past|since|this|on|by)\s+)?(?P<weekday>{'|'.join(_DAYS)})\b", _weekday),
        (r"\b(?:today|tomorrow|yesterday)\b", _word),
        (rf"\b(?:last|past|in|next)\s+{_COUNT}\s+{_UNIT}\b", _span),
        (rf"\b{_COUNT}\s+{_UNIT}\s+ago\b", _span),
    ]
]
