"""What is asked of the team over HTTP, in whatever protocol it comes, and how it stands."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from ...core.types import Answer, Turn, Value
from .errors import ServingError

RunStatus = Literal["queued", "in_progress", "requires_action", "completed", "failed", "cancelled"]
"""`requires_action`: a person must decide about the calls in `answer.data`; the run goes on with `resume`."""

ENDED: tuple[RunStatus, ...] = ("requires_action", "completed", "failed", "cancelled")
"""What is over, or stands still until somebody decides."""


class Replay(Value):
    """A workflow once more, from a step on: of the steps before, the earlier results count."""

    run: str = Field(min_length=1, max_length=100)
    """The earlier run; its parameters count."""
    from_step: str = Field(min_length=1, max_length=100)
    """The first step to do again."""


class RunRequest(Value):
    """What is asked of the team."""

    task: str = Field(min_length=1, max_length=200_000)
    """In the user's words; of a workflow, its name where it is left out."""
    workflow: str | None = Field(default=None, min_length=1, max_length=100)
    """Run this workflow, with these parameters."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    replay: Replay | None = None
    """Not anew with these parameters, but an earlier run of the workflow from a step on."""
    thread_id: str | None = Field(default=None, min_length=1, max_length=200)
    """The conversation that it belongs to; left out: none."""
    specialist: str | None = Field(default=None, max_length=200)
    """Skip the router and ask this one."""
    history: tuple[Turn, ...] = Field(default=(), max_length=1_000)
    """Earlier turns of a conversation that the caller keeps; for a task without `thread_id`."""

    @property
    def said(self) -> dict[str, Any]:
        """What tells one request from another; a request without fields that are new is what it always was."""
        return self.model_dump(mode="json", exclude=None if self.replay else {"replay"})

    @classmethod
    def of_workflow(cls, name: str, parameters: dict[str, Any]) -> RunRequest:
        """A workflow, with these parameters."""
        return cls(task=f"workflow {name}", workflow=name, parameters=parameters)

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_workflow(cls, given: Any) -> Any:
        named = isinstance(given, dict) and given.get("workflow") and not given.get("task")
        return {**given, "task": f"workflow {given['workflow']}"} if named else given

    @model_validator(mode="after")
    def _replays_a_workflow(self) -> RunRequest:
        if self.replay and not self.workflow:
            raise ValueError("replay: say which workflow")
        return self


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


class RunView(Value):
    """A run as it is shown."""

    id: str
    object: Literal["run"] = "run"
    status: RunStatus
    task: str
    thread_id: str
    specialist: str | None = None
    """Whom the caller named."""
    created_at: float
    """Seconds since 1970."""
    ended_at: float | None = None
    answer: Answer | None = None
    error: dict[str, Any] | None = None
    """As in `{"error": …}` of a response that failed."""
