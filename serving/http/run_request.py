"""What is asked of the team over HTTP, in whatever protocol it comes."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError

from ...core.types import Turn, Value
from .errors import ServingError


class RunRequest(Value):
    """What is asked of the team."""

    task: str = Field(min_length=1, max_length=200_000)
    """In the user's words."""
    thread_id: str | None = Field(default=None, min_length=1, max_length=200)
    """The conversation that it belongs to; left out: none."""
    specialist: str | None = Field(default=None, max_length=200)
    """Skip the router and ask this one."""
    history: tuple[Turn, ...] = Field(default=(), max_length=1_000)
    """Earlier turns of a conversation that the caller keeps; for a task without `thread_id`."""


class WebhookTarget(Value):
    """Where to say that a run has ended or waits for a person."""

    url: str = Field(min_length=1, max_length=2_000)
    secret: str | None = Field(default=None, max_length=200, pattern=r"^whsec_[A-Za-z0-9+/=]{24,}$")
    """Signs the message; left out: the server's own, in `.metier/webhook.secret`."""


def run_request(**fields: Any) -> RunRequest:
    """What is asked by a protocol of others, which has bounds of its own.

    Raises:
        ServingError: 422, a field is too long or empty.
    """
    try:
        return RunRequest(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(map(str, first["loc"]))
        raise ServingError(422, f"{param}: {first['msg']}", code=first["type"], param=param) from None
