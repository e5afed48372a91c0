"""Has what somebody told about a day to come passed since? English rules.

"I'm on holiday next week." is wrong a month later. What happened ("I was in Rome in May 2020.") and what comes again
("My birthday is on 3 March.", "I work from home on Fridays.") does not pass.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta

_DAYS: tuple[str, ...] = tuple("monday tuesday wednesday thursday friday saturday sunday".split())
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = rf"(?P<month>{'|'.join(f'{name[:3]}(?:{name[3:]})?' for name in _MONTHS)}|sept)\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "ten": 10}
_HAPPENED = re.compile(
    r"\b(?:was|were|had|did|ago|since|last|yesterday|earlier|born|went|got|bought|made|took|came|began|met|saw|left|lost|"
    r"found|broke|built|sold|paid|sent|told|said|used to|moved|joined|started|worked|lived|changed|graduated)\b",
    re.IGNORECASE,
)
_RETURNS = re.compile(
    rf"\b(?:birthday|anniversary|every|each|always|usually|daily|weekly|monthly|yearly|(?:{'|'.join(_DAYS)})s)\b",
    re.IGNORECASE,
)
_SINCE_THEN = re.compile(
    rf"\b(?:today|tonight|tomorrow|yesterday|now|currently|at the moment|ago|this (?:morning|afternoon|evening)|"
    rf"(?:this|next|last|coming|past) (?:week(?:end)?|month|year|quarter|spring|summer|autumn|fall|winter|"
    rf"{'|'.join(_DAYS)})|in \w+ (?:days?|weeks?|months?|years?)|"
    rf"(?:on|by|until|till) (?:{'|'.join(_DAYS)}))\b",
    re.IGNORECASE,
)


def relative(text: str) -> bool:
    """Does a text only make sense with the day on which it was said?

    >>> relative("I'm away next week."), relative("I'm away on 3 May 2026.")
    (True, False)
    """
    return bool(_SINCE_THEN.search(text))


def gone_by(text: str, said: date, today: date) -> bool:
    """Is all that a text tells about days to come over?

    >>> gone_by("I'm away next week.", date(2026, 3, 2), date(2026, 3, 20))
    True
    >>> gone_by("My birthday is on 3 March.", date(2026, 3, 2), date(2026, 3, 20))
    False
    """
    if _HAPPENED.search(text) or _RETURNS.search(text):
        return False
    days = [*_last_days(text, said)]
    return bool(days) and max(days) < today


def _last_days(text: str, said: date) -> Iterator[date]:
    """The last day of each time that a text names, as it was meant on the day it was said."""
    for pattern, day in _TIMES:
        for found in pattern.finditer(text):
            try:
                yield day(found, said)
            except (ValueError, OverflowError):
                continue  # 31 February, or a year that no calendar has


def _month_end(year: int, month: int) -> date:
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    return date(year, month, calendar.monthrange(year, month)[1])


def _named_month(found: re.Match[str]) -> int:
    return next(i for i, name in enumerate(_MONTHS, 1) if name[:3] == found["month"][:3].lower())


def _on_a_date(found: re.Match[str], said: date) -> date:
    year = found.groupdict().get("year")
    day = date(int(year or said.year), _named_month(found), int(found["day"]))
    # Without a year the next one is meant, seen from then; a few days back it was that one.
    return day if year or day >= said - timedelta(days=7) else day.replace(year=day.year + 1)


def _in_a_month(found: re.Match[str], said: date) -> date:
    year, month = int(found["year"] or said.year), _named_month(found)
    end = _month_end(year, month)
    return end if found["year"] or end >= said else _month_end(year + 1, month)


def _weekday(found: re.Match[str], said: date) -> date:
    ahead = (_DAYS.index(found["weekday"].lower()) - said.weekday()) % 7
    return said + timedelta(days=ahead or 7 * bool(found["next"]))


def _later(found: re.Match[str], said: date) -> date:
    word = found["count"].lower()
    count, unit = int(word) if word.isdigit() else _NUMBERS.get(word, 3), found["unit"].lower()
    if unit.startswith(("day", "week")):
        return said + timedelta(days=count * (7 if unit.startswith("week") else 1))
    return _month_end(said.year, said.month + count * (12 if unit.startswith("year") else 1))


def _span(found: re.Match[str], said: date) -> date:
    ahead = int(found["which"].lower() in ("next", "coming"))
    match found["unit"].lower():
        case "week" | "weekend":
            return said + timedelta(days=6 - said.weekday() + 7 * ahead * (found["unit"].lower() == "week"))
        case "month":
            return _month_end(said.year, said.month + ahead)
        case _:
            return date(said.year + ahead, 12, 31)


def _numeric(found: re.Match[str], said: date) -> date:
    """Day first or month first: the later one, so that nothing is called over too early."""
    one, two, year = int(found["one"]), int(found["two"]), int(found["year"])
    year += 2000 if year < 100 else 0
    readings = [date(year, month, day) for day, month in ((one, two), (two, one)) if month <= 12 and day <= 31]
    return max(readings)


_TIMES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], date], date]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), day)
    for pattern, day in (
        (r"\b(?:today|tonight|this (?:morning|afternoon|evening))\b", lambda found, said: said),
        (r"(?<!day after )\btomorrow\b", lambda found, said: said + timedelta(days=1)),
        (r"\bday after tomorrow\b", lambda found, said: said + timedelta(days=2)),
        (r"\b(?:in|within)\s(?:about\s)?(?P<count>\d+|an?|\w+)\s(?P<unit>days?|weeks?|months?|years?)\b", _later),
        (r"\b(?P<which>this|next|the|coming)\s(?P<unit>week(?:end)?|month|year)\b(?! of)", _span),
        (rf"(?:\b(?P<next>next)\s|\b(?:on|this|by|until|till|coming)\s|^)(?P<weekday>{'|'.join(_DAYS)})\b", _weekday),
        (rf"\b{_DAY}\s(?:of\s)?{_MONTH}(?:,?\s(?P<year>\d{{4}}))?\b", _on_a_date),
        (rf"\b{_MONTH}\s{_DAY}\b(?:,?\s(?P<year>\d{{4}}))?\b", _on_a_date),
        (rf"\b(?:in|until|till|by|through|from)\s{_MONTH}(?:\s(?P<year>\d{{4}}))?\b(?!\s\d)", _in_a_month),
        (r"\b(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)\b", lambda f, said: date(int(f["y"]), int(f["m"]), int(f["d"]))),
        (r"\b(?P<one>\d{1,2})[./](?P<two>\d{1,2})[./](?P<year>\d{4}|\d\d)\b", _numeric),
        (r"\b(?:in|until|till|by)\s(?P<year>20\d\d)\b", lambda found, said: date(int(found["year"]), 12, 31)),
    )
)
