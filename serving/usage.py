"""Who used how much of the team, day by day, and whether it is more than they may: `metier usage`.

A day of a user is a record beside what they asked over HTTP, so that it is exported and erased with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..core.types import Value
from .options import AsJson, TeamFolder, blueprint_of, print_json

if TYPE_CHECKING:
    from ..agents.cards import LimitsCard
    from ..memory.records import Records
    from ..memory.store import Owner

_KIND = "usage"
_MOST_KNOWN = 10_000


class DayOfUse(Value):
    """What one user had of the team on one day."""

    day: str
    """ISO 8601; it begins at midnight UTC."""
    user: str | None
    tenant: str | None = None
    runs: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    """That the team worked for them."""

    @property
    def tokens(self) -> int:
        """In and out together."""
        return self.input_tokens + self.output_tokens


class UsageBook:
    """Adds up what is used, and says whose day is over. Safe to use from several threads.

    Args:
        records: Where the days are kept.
        limits: What the team's card says at present.
    """

    def __init__(self, records: Records, limits: Callable[[], LimitsCard]) -> None:
        self._records, self._limits, self._lock = records, limits, threading.Lock()

    def today(self, owner: Owner) -> DayOfUse:
        """What somebody used since midnight UTC."""
        day = datetime.now(UTC).date().isoformat()
        record = self._records.get(_KIND, _name(owner, day))
        return DayOfUse(day=day, user=owner.user, tenant=owner.tenant, **(record.body if record else {}))

    def add(
        self, owner: Owner, *, runs: int = 0, input_tokens: int = 0, output_tokens: int = 0, seconds: float = 0.0
    ) -> None:
        """Something more was used."""
        with self._lock:
            so_far = self.today(owner)
            body = {
                "runs": so_far.runs + runs,
                "input_tokens": so_far.input_tokens + input_tokens,
                "output_tokens": so_far.output_tokens + output_tokens,
                "seconds": round(so_far.seconds + seconds, 3),
            }
            self._records.put(_KIND, _name(owner, so_far.day), owner, body)

    def over(self, owner: Owner) -> tuple[str, int] | None:
        """What of somebody's day is used up, in words, and the seconds until the next; None while there is some left.

        What is still being worked on counts when it is done.
        """
        limits = self._limits()
        if limits.tokens_per_day is None and limits.seconds_per_day is None:
            return None
        today = self.today(owner)
        for spent, most, what in (
            (today.tokens, limits.tokens_per_day, "tokens"),
            (today.seconds, limits.seconds_per_day, "seconds"),
        ):
            if most is not None and spent >= most:
                return f"{spent:.0f} of {most:.0f} {what} of today are used up", seconds_left()
        return None


def seconds_left() -> int:
    """Seconds until the next day begins, at midnight UTC."""
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((midnight - now).total_seconds()) + 1


def _name(owner: Owner, day: str) -> str:
    return f"{owner.namespace()}\n{day}"


# The command.


def usage(
    team: TeamFolder = Path(),
    user: Annotated[str | None, typer.Option("--user", "-u", help="Only of this user.")] = None,
    days: Annotated[int, typer.Option(min=1, help="Of the last days; today is one of them.")] = 30,
    json: AsJson = False,
) -> None:
    """Who used how much of the served team, in tokens and seconds."""
    from ..memory.open import open_records

    plan = blueprint_of(team)
    first = (datetime.now(UTC).date() - timedelta(days=days - 1)).isoformat()
    with closing(open_records(plan.card.memory.checkpoints, plan.state)) as records:
        kept = [
            DayOfUse(
                day=record.id.rpartition("\n")[2], user=record.owner.user, tenant=record.owner.tenant, **record.body
            )
            for record in records.list(_KIND)
        ]
    shown = [one for one in kept if one.day >= first and user in (None, one.user)]
    shown.sort(key=lambda one: (one.day, one.tenant or "", one.user or ""), reverse=True)
    if json:
        print_json(shown)
        return
    table = Table("day", "user", "tenant", "runs", "tokens in", "tokens out", "seconds", box=None)
    for one in shown:
        figures = (one.runs, one.input_tokens, one.output_tokens)
        table.add_row(one.day, one.user or "", one.tenant or "", *(f"{n:,}" for n in figures), f"{one.seconds:,.1f}")
    Console().print(table if shown else "nobody used it; only users of a server are counted: metier users add NAME")


class RateLimit:
    """Lets each one do so many things a minute, all of them at once if they like (a token bucket). For one thread.

    Args:
        clock: Gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def wait(self, who: str, per_minute: float) -> int:
        """Takes one of theirs and gives 0; where none is left, the seconds until the next."""
        now = self._clock()
        if len(self._left) > _MOST_KNOWN:  # of who did nothing for a minute nothing needs to be known
            self._left = {name: (left, at) for name, (left, at) in self._left.items() if now - at < 60}
        left, at = self._left.get(who, (per_minute, now))
        left = min(per_minute, left + (now - at) * per_minute / 60)
        self._left[who] = (left - 1 if left >= 1 else left, now)
        return 0 if left >= 1 else int((1 - left) * 60 / per_minute) + 1
