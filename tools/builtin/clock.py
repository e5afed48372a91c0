"""Dates and times: what day it is, and arithmetic on dates that a small model gets wrong."""

from __future__ import annotations

import calendar
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from langchain_core.tools import BaseTool

from ...core.errors import ToolError
from ..tool import ToolContext, tool

CalendarUnit = Literal["days", "weeks", "months", "years"]


def clock(
    context: ToolContext, *, now: datetime | None = None, read_clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> list[BaseTool]:
    """The tools `current_time`, `add_to_date` and `days_between`.

    Args:
        now: a fixed time (ISO 8601) instead of the machine's, for replays and tests.
    """

    @tool(effect="read", untrusted_output=False, sensitive=False)
    def current_time(timezone: str = "UTC") -> str:
        """The current date, weekday and time.

        Args:
            timezone: IANA name such as 'Europe/Vienna'.
        """
        try:
            zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ToolError(f"unknown time zone '{timezone}'", hint="use a name such as Europe/Vienna or UTC") from None
        moment = now or read_clock()
        return (
            (moment if moment.tzinfo is None else moment.astimezone(zone)).strftime("%Y-%m-%d %A %H:%M:%S %Z").strip()
        )

    return [current_time, add_to_date, days_between]


@tool(effect="read", untrusted_output=False, sensitive=False)
def add_to_date(start: str, amount: int, unit: CalendarUnit) -> str:
    """The date that lies some days, weeks, months or years after a date (before it, when the amount is negative).

    Args:
        start: the date as YYYY-MM-DD.
        amount: how many units later.
        unit: days, weeks, months or years.
    """
    day = _date(start)
    try:
        moved = day + timedelta(**{unit: amount}) if unit in ("days", "weeks") else _add_months(day, amount, unit)
    except (OverflowError, ValueError):
        raise ToolError(f"{amount} {unit} after {start} is outside the calendar") from None
    return moved.strftime("%Y-%m-%d %A")


@tool(effect="read", untrusted_output=False, sensitive=False)
def days_between(start: str, end: str) -> str:
    """How many days lie between two dates; negative when the second is the earlier one.

    Args:
        start: first date as YYYY-MM-DD.
        end: second date as YYYY-MM-DD.
    """
    return str((_date(end) - _date(start)).days)


def _add_months(day: date, amount: int, unit: CalendarUnit) -> date:
    """31 January and one month is the last of February."""
    months = day.year * 12 + day.month - 1 + amount * (12 if unit == "years" else 1)
    year, month = divmod(months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _date(text: str) -> date:
    try:
        return datetime.fromisoformat(text.strip()).date()
    except ValueError:
        raise ToolError(f"'{text}' is not a date", hint="write it as YYYY-MM-DD") from None
