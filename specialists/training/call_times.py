"""Dates, times and durations of made-up requests: as people say them, and as a function wants them written."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

Draw = Callable[[], tuple[str, Any]]
"""Gives a value as it is said, and as it is written."""

Maker = Callable[[random.Random, date | None], tuple[str, Draw]]
"""Chance, and the day of the request (None: not known) → what the description says of the format, and `Draw`."""

_DATES = {
    "YYYY-MM-DD": "%Y-%m-%d",
    "DD/MM/YYYY": "%d/%m/%Y",
    "MM/DD/YYYY": "%m/%d/%Y",
    "DD.MM.YYYY": "%d.%m.%Y",
    "Month D, YYYY": "%B {day}, %Y",
}
_MONTHS = {"MM-YYYY": "%m-%Y", "YYYY-MM": "%Y-%m", "Month YYYY": "%B %Y"}
_CLOCKS = ("HH:MM in 24-hour format", "HH:MM", "H:MM AM/PM")


def dates(dice: random.Random, today: date | None) -> tuple[str, Draw]:
    """Days: `April 2nd, 2024`, `tomorrow`."""
    shape = dice.choices([*_DATES], (6, 1, 1, 1, 1))[0]

    def draw() -> tuple[str, str]:
        text, day = _day(dice, today)
        return text, _written(day, _DATES[shape])

    return _format(dice, shape, _written(_any_day(dice), _DATES[shape])), draw


def months(dice: random.Random, today: date | None) -> tuple[str, Draw]:
    """Months: `April 2024`."""
    shape = dice.choice([*_MONTHS])

    def draw() -> tuple[str, str]:
        day = _any_day(dice)
        return day.strftime(dice.choice(("%B %Y", "%b %Y", "%m/%Y"))), day.strftime(_MONTHS[shape])

    return _format(dice, shape, _any_day(dice).strftime(_MONTHS[shape])), draw


def clock(dice: random.Random, today: date | None) -> tuple[str, Draw]:
    """Times of day: `half past four in the afternoon`."""
    shape = dice.choice(_CLOCKS)

    def draw() -> tuple[str, str]:
        hour, minute = dice.randrange(7, 22), dice.choice((0, 0, 0, 15, 30, 30, 45, dice.randrange(60)))
        text = _spoken(hour, minute, dice)
        return text, _clock(hour, minute) if shape.endswith("PM") else f"{hour:02}:{minute:02}"

    return f"in {shape}" if "format" in shape else f"in the format {shape}", draw


def moments(dice: random.Random, today: date | None) -> tuple[str, Draw]:
    """Day and time together: `May 3rd, 2024 at 4 pm`."""
    seconds = dice.choice((":00", ""))
    between = dice.choice((" ", " ", "T"))

    def draw() -> tuple[str, str]:
        text, day = _day(dice, today)
        hour, minute = dice.randrange(7, 22), dice.choice((0, 0, 15, 30, 45))
        return f"{text} at {_spoken(hour, minute, dice)}", f"{day}{between}{hour:02}:{minute:02}{seconds}"

    return f"in the format YYYY-MM-DD{between}HH:MM{':SS' if seconds else ''}", draw


def minutes(dice: random.Random, today: date | None) -> tuple[str, Draw]:
    """Durations, in the unit that the description names: `an hour and a half`."""
    unit, size = dice.choice((("minutes", 1), ("minutes", 1), ("seconds", 60), ("hours", 0)))
    said = {15: "a quarter of an hour", 30: "half an hour", 60: "an hour", 90: "an hour and a half", 120: "two hours"}

    def draw() -> tuple[str, int]:
        if not size:
            hours = dice.randrange(2, 13)
            return f"{hours} hours", hours
        number = dice.choice([*said, dice.randrange(5, 60), dice.randrange(5, 60)])
        return said[number] if number in said and dice.random() < 0.5 else f"{number} minutes", number * size

    return f"in {unit}", draw


def _format(dice: random.Random, shape: str, sample: str) -> str:
    return f"in the format {shape}" + (f", such as '{sample}'" if dice.random() < 0.5 else "")


def _any_day(dice: random.Random) -> date:
    return date(dice.randrange(2019, 2027), 1, 1) + timedelta(days=dice.randrange(365))


def _day(dice: random.Random, today: date | None) -> tuple[str, date]:
    """A day as it is said. The year is left out only where today's is known."""
    if today is None:
        day = _any_day(dice)
        shape = dice.choice(("{month} {nth}, {year}", "{nth} of {month} {year}", "{month} {day} {year}", "%Y-%m-%d"))
        return _written(day, shape), day
    ahead = dice.choice((0, 1, 1, dice.randrange(2, 25)))
    day = today + timedelta(days=ahead)
    if day.year != today.year:
        return _written(day, "{month} {nth}, {year}"), day
    names = {0: "today", 1: "tomorrow"}
    shape = names.get(ahead) or dice.choice(("{month} {nth}", "the {nth} of {month}", "{month} {day}"))
    return _written(day, shape), day


def _written(day: date, shape: str) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10 if day.day not in (11, 12, 13) else 0, "th")
    parts = {"day": day.day, "nth": f"{day.day}{suffix}", "month": day.strftime("%B"), "year": day.year}
    return day.strftime(shape.format(**parts))


def _clock(hour: int, minute: int) -> str:
    return f"{hour % 12 or 12}:{minute:02} {'AM' if hour < 12 else 'PM'}"


_HOURS = "twelve one two three four five six seven eight nine ten eleven".split()


def _spoken(hour: int, minute: int, dice: random.Random) -> str:
    part = "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "in the evening"
    words = {0: f"{_HOURS[hour % 12]} o'clock", 15: f"quarter past {_HOURS[hour % 12]}"}
    words |= {30: f"half past {_HOURS[hour % 12]}", 45: f"quarter to {_HOURS[(hour + 1) % 12]}"}
    if minute in words and dice.random() < 0.3 and not (hour in (11, 17) and minute == 45):
        return f"{words[minute]} {part}"
    short = f"{hour % 12 or 12}{'' if minute == 0 else f':{minute:02}'}{'am' if hour < 12 else 'pm'}"
    return dice.choice((short, short.replace("am", " am").replace("pm", " pm"), f"{hour:02}:{minute:02}"))
