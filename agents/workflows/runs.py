"""Runs of workflows as they are kept: found, listed, compared; and how far one is that is still at work."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import Field

from ...core.types import Answer, Usage, Value
from ...memory.records import Record, Records
from ...memory.store import Owner
from ...tools.policy import ApprovalRequest
from ..threads import WORKFLOW, Threads
from .plan import Plan
from .results import StepResult, all_citations, read_result

WorkflowStatus = Literal["running", "done", "failed", "waiting"]

KIND = "workflow"
"""The kind of the records that hold runs."""


class Trouble(Value):
    """Something that did not go as planned; the run may have gone on without it."""

    step: str
    reason: str


class WorkflowRun(Value):
    """One run of a workflow."""

    run_id: str
    workflow: str
    status: WorkflowStatus
    """`failed`: a step that must not fail did. `running`: it was broken off and can go on."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    results: dict[str, StepResult] = Field(default_factory=dict)
    """By step, in the order of the plan; those that were not begun are missing."""
    result: StepResult | None = None
    """What the whole gave; None while there is none."""
    trouble: tuple[Trouble, ...] = ()
    """Steps that were left out or failed, and lists that were cut."""
    waiting: ApprovalRequest | None = None
    """What a person must decide before it goes on."""
    usage: Usage = Usage()
    within: str = ""
    """The conversation of whose turn it is a part: what it asks people is asked there. Empty for a run by itself."""
    folder: str = ""
    """Where its files go, if a folder was named when it began."""
    timings: dict[str, float] = Field(default_factory=dict)
    """Seconds by step, all turns of a loop together; `total` is the time since it began or went on."""

    @property
    def thread_id(self) -> str:
        """Under which it is saved."""
        return f"{WORKFLOW}{self.run_id}"

    @property
    def states(self) -> dict[str, str]:
        """How each step stands: `done`, `skipped`, `failed`, `waiting`; others have not begun."""
        known = {"skipped": "skipped", "failed": "failed"}
        states = {name: known.get(result.kind, "done") for name, result in self.results.items()}
        asked = [action.args.get("step") for action in self.waiting.action_requests] if self.waiting else []
        return states | {str(name): "waiting" for name in asked if name}

    @property
    def answer(self) -> Answer:
        """The run as an answer, for those who know only tasks and answers."""
        kept: dict[str, Any] = {
            "specialist": self.workflow,
            "thread_id": self.thread_id,
            "run_id": self.run_id,
            "usage": self.usage,
            "timings": self.timings,
            "reason": "; ".join(f"{one.step}: {one.reason}" for one in self.trouble),
        }
        if self.waiting:
            why = "; ".join(action.description for action in self.waiting.action_requests)
            data = self.waiting.model_dump(mode="json")
            return Answer(**{**kept, "reason": why}, text=f"Waiting for a decision: {why}.", kind="waiting", data=data)
        if self.status != "done" or self.result is None:
            return Answer(**kept, text=f"The workflow '{self.workflow}' failed. {kept['reason']}", kind="abstain")
        data = self.result.model_dump(mode="json")
        citations = tuple(dict.fromkeys(all_citations(self.result)))
        return Answer(
            **kept, text=str(self.result), citations=citations, confidence=1.0, data=data, touched=self.result.touched
        )


class KeptRun(NamedTuple):
    """A run, and what is noted of it."""

    run: WorkflowRun
    plan: Plan
    """With which it began."""
    owner: Owner
    at: float
    """When it began, seconds since 1970."""


def kept_run(threads: Threads, run_id: str) -> KeptRun | None:
    """A run as it stands; None where there is none. Of one that is still at work, with the results so far."""
    record = threads.records.get(KIND, run_id) if threads.records else None
    if record is None:
        return None
    kept = _kept(record)
    if kept.run.status != "running":
        return kept
    results = {name: read_result(value) for name, value in threads.written(kept.run.thread_id, "results").items()}
    so_far = {name: results[name] for name in kept.plan.steps if name in results}
    return kept._replace(run=kept.run.model_copy(update={"results": {**kept.run.results, **so_far}}))


def kept_runs(records: Records, owner: Owner | None = None) -> list[KeptRun]:
    """All runs, the latest first.

    Args:
        owner: Only this one's.
    """
    return [_kept(record) for record in records.list(KIND, owner)]


def _kept(record: Record) -> KeptRun:
    run, plan = WorkflowRun.model_validate(record.body["run"]), Plan.model_validate(record.body["plan"])
    return KeptRun(run, plan, record.owner, record.at)


def runs(records: Records, owner: Owner | None = None) -> list[WorkflowRun]:
    """The runs that are kept, the latest first."""
    return [WorkflowRun.model_validate(record.body["run"]) for record in records.list(KIND, owner)]


class StepDifference(Value):
    """A step that two runs did not do alike."""

    step: str
    before: str
    after: str
    seconds_before: float = 0.0
    seconds_after: float = 0.0


def compare_runs(before: WorkflowRun, after: WorkflowRun) -> list[StepDifference]:
    """The steps whose results differ, in the order of the earlier run."""
    names = dict.fromkeys([*before.results, *after.results])
    shown = {name: tuple(str(run.results.get(name, "(not begun)")) for run in (before, after)) for name in names}
    return [
        StepDifference(
            step=name,
            before=one,
            after=other,
            seconds_before=before.timings.get(name, 0.0),
            seconds_after=after.timings.get(name, 0.0),
        )
        for name, (one, other) in shown.items()
        if one != other
    ]
