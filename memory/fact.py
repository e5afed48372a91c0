"""A fact about a user, or about everybody on the team, and where it came from."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, unquote

from ..core.types import Value
from .extract import How
from .matching import Namespace

ROOT = "facts"
_NONE = "_"
"""Label of 'no tenant', 'everybody' and 'every specialist'."""


class Fact(Value):
    """What is remembered."""

    id: str
    text: str
    about: str = ""
    """Attributes that it gives the values of, such as `name`; empty for most."""
    how: How
    when: str
    """ISO 8601, UTC: when it was said last."""
    user: str | None = None
    """None: it holds for everybody on the team."""
    specialist: str | None = None
    """None: for every specialist."""
    thread_id: str = ""
    turn: str = ""
    """The user's whole turn in which it was said."""


class Recalled(NamedTuple):
    """A fact that matters for a question."""

    fact: Fact
    relevance: float
    """About 0 to 1."""


class Owner(NamedTuple):
    """Whose facts."""

    user: str | None
    """None: everybody's."""
    tenant: str | None = None

    def namespace(self, specialist: str | None = None, *, below: bool = False) -> Namespace:
        """Where they are in a store: of one specialist (None: of every one), or `below`: all of the owner's."""
        labels = (ROOT, _label(self.tenant), _label(self.user))
        return labels if below else (*labels, _label(specialist))

    @classmethod
    def of(cls, namespace: Namespace) -> tuple[Owner, str | None]:
        """The owner and specialist of a namespace."""
        _, tenant, user, specialist = namespace
        return cls(_name(user), _name(tenant)), _name(specialist)


def _label(name: str | None) -> str:
    """LangGraph's labels are not empty and hold no period; `_` alone stands for nobody in particular."""
    if name is None:
        return _NONE
    label = quote(name, safe="@ ", errors="replace").replace(".", "%2E")
    return {"": "%", _NONE: "%5F"}.get(label, label)


def _name(label: str) -> str | None:
    return None if label == _NONE else "" if label == "%" else unquote(label)
