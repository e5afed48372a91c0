"""What the team page asks: who is on the team and how good they are, documents in and out, the router, the review of
feedback. Changing anything takes the scope `admin`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from ...agents.build import build, changed_since_build
from ...agents.canary import TrialStatus
from ...agents.drawing import draw_team
from ...agents.drift import Drift, watch
from ...agents.evaluate import measured
from ...agents.feedback import Proposal, accept, proposals, reject
from ...agents.loaded import LoadedTeam
from ...agents.team import Team
from ...agents.threads import ThreadTurn
from ...core.errors import InputError, MetierError, StateError, unknown
from ...core.metrics import risk_coverage
from ...core.types import Value
from ...router.report import Explanation, reliability, report, score
from ...router.router import Router
from ...specialists.evaluation.report import Summary
from ...specialists.grounding import supporting_sentence
from ...specialists.knowledge.store import DocumentInfo
from . import papers
from .caller import Whoever
from .errors import ServingError
from .page import Name, team_of
from .stream import SSE, sse, stream_response

team_routes = APIRouter(prefix="/api", tags=["team"])

# The team.


class Person(Value):
    """A specialist, as the team page shows it."""

    name: str
    description: str
    version: str
    style: str
    base: str
    documents: int
    passages: int
    has_documents: bool
    tools: tuple[str, ...]
    handoffs: tuple[str, ...]
    abstain_below: float
    tries: tuple[str, ...]
    """Some tasks that belong here."""


class TeamView(Value):
    """Who is on the team, and the way of a task through it."""

    name: str
    description: str
    base: str
    specialists: tuple[Person, ...]
    graph: dict[str, list[dict[str, Any]]]
    files: bool
    """Files can be added to a conversation."""
    scopes: tuple[str, ...]
    user: str | None
    signed_in: bool = False
    """They came with a session of the page, and can end it."""


@team_routes.get("/team")
def show_team(request: Request, who: Whoever) -> TeamView:
    """Who is on the team, and the way of a task through it."""
    with team_of(request, who).present() as loaded:
        graph = draw_team(loaded.plan)
        nodes = [{"name": n, "layer": data["layer"], "kind": data["kind"]} for n, data in graph.nodes(data=True)]
        edges = [{"from": a, "to": b, "kind": data["kind"]} for a, b, data in graph.edges(data=True)]
        card = loaded.plan.card
        return TeamView(
            name=card.name,
            description=card.description,
            base=card.base,
            specialists=tuple(_person(loaded, name) for name in loaded.specialists),
            graph={"nodes": nodes, "edges": edges},
            files=True,
            scopes=who.scopes,
            user=who.user,
            signed_in=who.key.startswith("session"),
        )


def _person(loaded: LoadedTeam, name: str) -> Person:
    specialist = loaded.specialists[name]
    known = specialist.knowledge.documents() if specialist.knowledge else []
    return Person(
        name=name,
        description=specialist.card.description,
        version=specialist.version,
        style=specialist.card.style,
        base=loaded.plan.base_of(name),
        documents=len(known),
        passages=sum(document.passages for document in known),
        has_documents=specialist.card.knowledge is not None,
        tools=tuple(function["name"] for function in specialist.functions),
        handoffs=tuple(dict.fromkeys(handoff.to for handoff in specialist.card.handoffs)),
        abstain_below=specialist.abstain_below,
        tries=tuple(loaded.plan.tasks(name)[:3]),
    )


# Documents.


@team_routes.get("/documents/{specialist}")
def show_documents(specialist: Name, request: Request, who: Whoever) -> list[DocumentInfo]:
    """The documents in a specialist's index."""
    with team_of(request, who).present() as loaded:
        _on_team(loaded, specialist)
        knowledge = loaded.specialists[specialist].knowledge
        return knowledge.documents() if knowledge else []


@team_routes.put("/documents/{specialist}/{name}", status_code=204)
async def add_document(specialist: Name, name: Name, request: Request, who: Whoever) -> None:
    """Put a document into a specialist's folder; `POST /api/build` then indexes it."""
    team = team_of(request, who)
    with team.present() as loaded:
        _on_team(loaded, specialist)
    data = await request.body()
    await run_in_threadpool(papers.keep, team.blueprint, specialist, name, data)


@team_routes.delete("/documents/{specialist}/{source:path}", status_code=204)
def remove_document(specialist: Name, source: str, request: Request, who: Whoever) -> None:
    """Delete a document of a specialist; `POST /api/build` then takes it out of the index."""
    with team_of(request, who).present() as loaded:
        _on_team(loaded, specialist)
        papers.discard(loaded.plan, specialist, source)


@team_routes.get("/build")
def show_changes(request: Request, who: Whoever) -> dict[str, Any]:
    """What is newer than the last build; `building` is how far a server is that follows its documents."""
    changed = changed_since_build(request.app.state.team.blueprint)
    follower = request.app.state.follower
    building = follower.progress if follower and "admin" in who.scopes else None
    return {"changed": changed if "admin" in who.scopes else changed and [], "building": building}


@team_routes.post("/build", responses=SSE)
async def build_team(request: Request, who: Whoever) -> Response:
    """Build the team and take over what is new; `progress` events, then `report` or `error`."""
    return stream_response(_building(request.app.state.team))  # the whole, whoever builds it


async def _building(team: Team) -> AsyncIterator[bytes]:
    loop, news = asyncio.get_running_loop(), asyncio.Queue[tuple[str, dict[str, Any]] | None]()
    last = 0.0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 0.1 or done == total:
            last = time.monotonic()
            loop.call_soon_threadsafe(news.put_nowait, ("progress", {"what": what, "done": done, "total": total}))

    def work() -> None:
        try:
            built = build(team.blueprint, progress=progress)
            team.refresh()
            skipped = {source: why for r in built.knowledge.values() for source, why in r.skipped.items()}
            end = ("report", {"lines": built.lines(), "skipped": skipped})
        except MetierError as error:
            end = ("error", {"message": f"{error.message} → {error.hint}" if error.hint else error.message})
        loop.call_soon_threadsafe(news.put_nowait, end)
        loop.call_soon_threadsafe(news.put_nowait, None)

    working = loop.run_in_executor(None, work)  # It goes on when nobody looks any more.
    while (event := await news.get()) is not None:
        yield sse(event[1], event=event[0])
    await working


@team_routes.get("/search")
def search_documents(
    request: Request, who: Whoever, q: Annotated[str, Query(max_length=2000)], specialist: str = "", k: int = 8
) -> list[dict[str, Any]]:
    """The passages that specialists would read for a question, best first, with the sentence that comes nearest."""
    with team_of(request, who).present() as loaded:
        if specialist:
            _on_team(loaded, specialist)
        asked = [s for name, s in loaded.specialists.items() if s.knowledge and specialist in ("", name)]
        found = [
            {"specialist": s.card.name, **p.model_dump(mode="json"), "quote": _sentence(q, p)}
            for s in asked
            if s.knowledge
            for p in s.knowledge.search(q, max(1, min(k, 50)), rerank=len(asked) == 1)
        ]
    ordered = found if len(asked) == 1 else sorted(found, key=lambda passage: -passage["score"])
    return ordered[: max(1, min(k, 50))]


def _sentence(query: str, passage: Any) -> str:
    found = supporting_sentence(query, [passage], least=0.2)
    return found.quote if found else ""


# The router, and how good everybody is.


class RouteQuestion(Value):
    """A task to be looked at."""

    text: str = Field(min_length=1, max_length=20_000)


@team_routes.post("/route")
def explain_route(asked: RouteQuestion, request: Request, who: Whoever) -> Explanation:
    """Who would get a task, and why; nothing is answered and nothing is kept."""
    return team_of(request, who).router.explain(asked.text)


@team_routes.get("/router")
def show_router(request: Request, who: Whoever) -> dict[str, Any]:
    """How good the router is on its examples, each as if it had not been learnt."""
    return _router_report(team_of(request, who).router)


@lru_cache(maxsize=2)
def _router_report(learnt: Router) -> dict[str, Any]:
    scored = [score(example, route) for example, route in learnt.held_out_routes()]
    if not scored:
        raise InputError("this router has learnt from no tasks")
    taken, risk = risk_coverage([s.confidence for s in scored], [not s.right for s in scored])
    step = max(1, len(taken) // 200)
    points = [*list(zip(taken, risk, strict=True))[::step], (taken[-1], risk[-1])]
    figures = report(scored).model_dump(mode="json")
    return {**figures, "reliability": reliability(scored), "risk": [(float(a), float(b)) for a, b in points]}


@team_routes.get("/evaluation")
def show_evaluation(request: Request, who: Whoever) -> list[dict[str, Any]]:
    """What was measured of the specialists in use, with every question."""
    with team_of(request, who).present() as loaded:
        held = {name: s for name, s in loaded.specialists.items() if name not in loaded.partial}
        knowledge = {name: s.knowledge for name, s in held.items() if s.knowledge}
        return [_measured(one) for one in measured(loaded.plan, knowledge, loaded.router.embedder)]


def _measured(one: Summary) -> dict[str, Any]:
    (system,) = one.systems
    questions = [
        {
            "input": r.input,
            "text": r.text,
            "refused": r.refused(one.threshold),
            "right": r.refused(one.threshold) if not r.answerable else r.scores.get(one.main, 0.0) >= 1.0,
        }
        for r in system.results
    ]
    figures = {name: figure.model_dump() for name, figure in system.metrics.items()}
    return {
        "specialist": one.specialist,
        "style": one.style,
        "version": system.version,
        "gate": one.gate,
        "metrics": figures,
        "questions": questions,
    }


@team_routes.get("/answers")
def list_answers(request: Request, who: Whoever) -> list[dict[str, Any]]:
    """The caller's last answers, with where their time went; of the latest every step is known."""
    threads, runs = team_of(request, who).threads, request.app.state.runs
    if threads.saver is None:
        return []
    keep = ("specialist", "timings", "run_id", "thread_id", "confidence", "kind")
    shown = list[dict[str, Any]]()
    for thread in threads.list(who.owner)[:30]:
        turns = list[ThreadTurn]()
        with suppress(StateError):  # forgotten since they were listed
            turns = threads.turns(thread.id)
        for turn in reversed(turns):
            if turn.answer and turn.answer.timings:
                values = {name: getattr(turn.answer, name) for name in keep}
                run = runs.find(turn.answer.run_id)
                steps = run.trace.shown() if run else []
                shown.append({"task": turn.task, "at": thread.at, "steps": steps, **values})
        if len(shown) >= 50:
            break
    return shown[:50]


# How it goes over time.


class OperationView(Value):
    """Trials and drift."""

    trials: tuple[TrialStatus, ...]
    drift: tuple[Drift, ...]


@team_routes.get("/operation")
def show_operation(request: Request, who: Whoever) -> OperationView:
    """The last trial of each specialist, and whether questions, answers and documents are as they were."""
    team = team_of(request, who)
    with team.present() as loaded:
        whole = [name for name in loaded.specialists if name not in loaded.partial]
        found = [status for name in whole if team.trials and (status := team.trials.status(name))]
        return OperationView(trials=tuple(found), drift=tuple(watch(loaded.plan, team.answers, loaded.router)))


# The review of feedback.


class Reviewed(Value):
    """What becomes of a note: an example with this answer, or nothing."""

    accept: str | None = Field(default=None, max_length=20_000)


@team_routes.get("/review")
def list_review(request: Request, who: Whoever) -> list[Proposal]:
    """Notes about answers as the examples that they could become, the latest first."""
    with team_of(request, who).present() as loaded:
        whole = [name for name in loaded.specialists if name not in loaded.partial]
        found = [p for name in whole for p in proposals(loaded.plan, name, loaded.router.embedder)]
    return sorted(found, key=lambda proposal: proposal.note.at, reverse=True)


@team_routes.post("/review/{specialist}/{note_id}", status_code=204)
def settle_review(specialist: Name, note_id: Name, what: Reviewed, request: Request, who: Whoever) -> None:
    """Take a note as an example, or take it out."""
    with team_of(request, who).present() as loaded:
        _on_team(loaded, specialist, whole=True)
        waiting = proposals(loaded.plan, specialist, loaded.router.embedder)
        proposal = next((p for p in waiting if p.note.id == note_id), None)
        if proposal is None:
            raise ServingError(404, f"there is no note '{note_id}' about '{specialist}'", code="note_not_found")
        if what.accept is None:
            reject(loaded.plan, proposal.note)
        else:
            accept(loaded.plan, proposal, what.accept)


def _on_team(loaded: LoadedTeam, specialist: str, *, whole: bool = False) -> None:
    """Raises `ServingError` (404) unless there is the specialist; `whole`: none of whose documents is hidden."""
    if specialist not in loaded.specialists or (whole and specialist in loaded.partial):
        message = unknown("specialist", specialist, loaded.specialists)
        raise ServingError(404, message, code="specialist_not_found")
