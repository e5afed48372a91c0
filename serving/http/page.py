"""What the page at `/` asks beside the runs: conversations, documents, the team and those who look after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from ...agents.build import build, changed_since_build
from ...agents.drawing import draw_team
from ...agents.erasure import Scope, export
from ...agents.evaluate import measured
from ...agents.feedback import Note, Proposal, Rating, accept, open_inbox, proposals, reject
from ...agents.loaded import LoadedTeam
from ...agents.team import Team
from ...agents.threads import Thread, ThreadTurn
from ...core.errors import InputError, MetierError, unknown
from ...core.metrics import risk_coverage
from ...core.types import Answer, Value
from ...memory.facts import Facts
from ...memory.store import Fact
from ...router.report import Explanation, reliability, report, score
from ...router.router import Router
from ...specialists.evaluation.report import Summary
from ...specialists.grounding import supporting_sentence
from ...specialists.knowledge.store import DocumentInfo
from . import papers
from .caller import Caller, Whoever
from .errors import ServingError
from .run_routes import service_of
from .stream import sse, stream_response

router = APIRouter(prefix="/api", tags=["page"])

ThreadId = Annotated[str, Path(max_length=200)]
Name = Annotated[str, Path(max_length=200)]
Source = Annotated[str, Query(max_length=1000)]

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}


class Page(StaticFiles):
    """The files of the page. No script runs that is not one of them, and nothing is asked of anybody else."""

    def __init__(self) -> None:
        super().__init__(directory=FilePath(__file__).parent / "web", html=True)

    def file_response(self, *args: Any, **more: Any) -> Response:
        """As for any static file, with the rules that the browser keeps."""
        response = super().file_response(*args, **more)
        response.headers.update(_HEADERS)
        return response


def team_of(request: Request) -> Team:
    """The team of the server that got the request."""
    return request.app.state.team


def _may(who: Caller, scope: str) -> None:
    if scope not in who.scopes:
        raise ServingError(403, f"this takes the scope '{scope}'", code="missing_scope")


# The team.


class Person(Value):
    """A specialist, as the team page shows it."""

    name: str
    description: str
    version: str
    style: str
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


@router.get("/team")
def show_team(request: Request, who: Whoever) -> TeamView:
    """Who is on the team, and the way of a task through it."""
    with team_of(request).present() as loaded:
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
            files=False,
            scopes=who.scopes,
            user=who.user,
        )


def _person(loaded: LoadedTeam, name: str) -> Person:
    specialist = loaded.specialists[name]
    known = specialist.knowledge.documents() if specialist.knowledge else []
    return Person(
        name=name,
        description=specialist.card.description,
        version=specialist.version,
        style=specialist.card.style,
        documents=len(known),
        passages=sum(document.passages for document in known),
        has_documents=specialist.card.knowledge is not None,
        tools=tuple(function["name"] for function in specialist.functions),
        handoffs=tuple(dict.fromkeys(handoff.to for handoff in specialist.card.handoffs)),
        abstain_below=specialist.abstain_below,
        tries=tuple(loaded.plan.tasks(name)[:3]),
    )


# Conversations.


class RatedTurn(ThreadTurn):
    """A turn, and what was said of its answer."""

    rated: Rating | None = None


class ThreadView(Value):
    """A whole conversation."""

    id: str
    title: str
    turns: tuple[RatedTurn, ...]
    waiting: Answer | None = None
    """Of the last task, when it waits for a person."""
    run_id: str | None = None
    """Of what waits."""
    files: tuple[dict[str, Any], ...] = ()


class NewTitle(Value):
    """What a conversation is called."""

    title: str = Field(max_length=200)


@router.get("/threads")
def show_threads(request: Request, who: Whoever, search: Annotated[str, Query(max_length=200)] = "") -> list[Thread]:
    """The caller's conversations, the latest first; one-off tasks are none."""
    threads = team_of(request).threads
    if threads.saver is None:
        return []
    return [thread for thread in threads.list(who.owner, search) if not thread.id.startswith("once-")][:500]


@router.get("/threads/{thread_id}")
async def show_thread(thread_id: ThreadId, request: Request, who: Whoever) -> ThreadView:
    """A conversation with all answers that are kept, and what it waits for."""
    team = team_of(request)
    await run_in_threadpool(_own, team, thread_id, who)
    run = service_of(request).waiting(who, thread_id)
    return ThreadView(
        id=thread_id,
        title=team.threads.title(thread_id),
        turns=tuple(await run_in_threadpool(_rated_turns, team, thread_id)),
        waiting=run.answer if run else None,
        run_id=run.id if run else None,
    )


def _rated_turns(team: Team, thread_id: str) -> list[RatedTurn]:
    notes = {n.run_id: n.verdict for name in team.specialists for n in open_inbox(team.blueprint).notes(name)}
    return [
        RatedTurn(task=turn.task, answer=turn.answer, rated=notes.get(turn.answer.run_id) if turn.answer else None)
        for turn in team.threads.turns(thread_id)
    ]


@router.patch("/threads/{thread_id}", status_code=204)
def rename_thread(thread_id: ThreadId, new: NewTitle, request: Request, who: Whoever) -> None:
    """Give a conversation a title."""
    _may(who, "write")
    _own(team_of(request), thread_id, who)
    team_of(request).threads.rename(thread_id, new.title)


@router.delete("/threads/{thread_id}", status_code=204)
def delete_thread(thread_id: ThreadId, request: Request, who: Whoever) -> None:
    """Forget a conversation."""
    _may(who, "write")
    _own(team_of(request), thread_id, who)
    team_of(request).threads.delete(thread_id)


@router.get("/threads/{thread_id}/export")
def export_thread(
    thread_id: ThreadId, request: Request, who: Whoever, format: Literal["md", "json"] = "md"
) -> Response:
    """A conversation as a file: Markdown for people, JSON for programs."""
    team = team_of(request)
    _own(team, thread_id, who)
    turns, title = team.threads.turns(thread_id), team.threads.title(thread_id)
    if format == "json":
        return JSONResponse({"id": thread_id, "title": title, "turns": [t.model_dump(mode="json") for t in turns]})
    return Response(_markdown(title, turns), media_type="text/markdown; charset=utf-8")


def _markdown(title: str, turns: list[ThreadTurn]) -> str:
    parts = [f"# {title}"]
    for turn in turns:
        parts.append(f"**{turn.task}**")
        if turn.answer:
            answer = turn.answer
            parts.append(answer.text)
            parts += [f"> {c.quote}\n>\n> {_place(c.source, c.page, c.heading)}" for c in answer.citations]
            if answer.specialist:
                parts.append(f"*{answer.specialist}@{answer.version}, {answer.confidence:.0%} sure*")
    return "\n\n".join(parts) + "\n"


def _place(source: str, page: int | None, heading: tuple[str, ...]) -> str:
    """Where a quote stands, in words."""
    return " › ".join([f"{source}, page {page}" if page else source, *heading])


def _own(team: Team, thread_id: str, who: Caller) -> None:
    """Raises 404 unless it is the caller's conversation: another's is as if it did not exist."""
    if team.threads.saver is None or team.threads.owner(thread_id) != who.owner:
        raise ServingError(404, f"there is no conversation '{thread_id}'", code="thread_not_found")


# Feedback, and its review.


class AnswerRating(Value):
    """What somebody says about an answer."""

    verdict: Rating
    thread_id: str = Field(max_length=200)
    run_id: str = Field(max_length=100)
    specialist: str | None = Field(default=None, max_length=200)
    correction: str | None = Field(default=None, max_length=20_000)


class Reviewed(Value):
    """What becomes of a note: an example with this answer, or nothing."""

    accept: str | None = Field(default=None, max_length=20_000)


@router.post("/feedback", status_code=201)
def rate(given: AnswerRating, request: Request, who: Whoever) -> Note:
    """Say what an answer was worth, or what would have been right; it waits for review."""
    _may(who, "write")
    team = team_of(request)
    _own(team, given.thread_id, who)
    named = given.specialist if given.specialist in team.specialists else None
    more = {"thread_id": given.thread_id, "run_id": given.run_id, "specialist": named}
    return team.feedback(given.verdict, given.correction, **more)


@router.get("/review")
def list_review(request: Request, who: Whoever) -> list[Proposal]:
    """Notes about answers as the examples that they could become, the latest first."""
    _may(who, "admin")
    with team_of(request).present() as loaded:
        found = [p for name in loaded.specialists for p in proposals(loaded.plan, name, loaded.router.embedder)]
    return sorted(found, key=lambda proposal: proposal.note.at, reverse=True)


@router.post("/review/{specialist}/{note_id}", status_code=204)
def settle_review(specialist: Name, note_id: Name, what: Reviewed, request: Request, who: Whoever) -> None:
    """Take a note as an example, or take it out."""
    _may(who, "admin")
    with team_of(request).present() as loaded:
        _on_team(loaded, specialist)
        waiting = proposals(loaded.plan, specialist, loaded.router.embedder)
        proposal = next((p for p in waiting if p.note.id == note_id), None)
        if proposal is None:
            raise ServingError(404, f"there is no note '{note_id}' about '{specialist}'", code="note_not_found")
        if what.accept is None:
            reject(loaded.plan, proposal.note)
        else:
            accept(loaded.plan, proposal, what.accept)


def _on_team(loaded: LoadedTeam, specialist: str) -> None:
    if specialist not in loaded.specialists:
        message = unknown("specialist", specialist, loaded.specialists)
        raise ServingError(404, message, code="specialist_not_found")


# Documents.


@router.get("/document")
def show_document(
    request: Request, who: Whoever, source: Source, start: int = 0, end: int = 0, thread: str | None = None
) -> papers.Paper:
    """A document's text in pieces, around an offset when it is long."""
    with team_of(request).present() as loaded:
        specialist, info = _holder(loaded, source)
        knowledge = loaded.specialists[specialist].knowledge
        assert knowledge is not None
        text = knowledge.text(source)
        first, last = papers.window(text, max(0, start))
        blocks = papers.blocks_of(text, knowledge.passages(source), first, last)
        path = papers.original(loaded.plan, source, [specialist])
    drawn = papers.count_pages(path) if path and path.suffix.lower() == ".pdf" else 0
    return papers.Paper(
        source=source,
        title=info.title or source.rsplit("/", 1)[-1],
        specialist=specialist,
        paged=drawn > 0,
        pages=drawn,
        original=path is not None,
        before=first > 0,
        after=last < len(text),
        blocks=tuple(blocks),
    )


@router.get("/document/page", response_class=Response)
def show_page(
    request: Request, who: Whoever, source: Source, page: int = 1, quote: Annotated[str, Query(max_length=5000)] = ""
) -> Response:
    """A page of a PDF document as it looks, with the quote marked."""
    return Response(papers.draw_page(_file(request, source), page, quote), media_type="image/png")


@router.get("/document/original", response_class=Response)
def get_original(request: Request, who: Whoever, source: Source) -> Response:
    """The file itself, to be saved and never to be run."""
    data = _file(request, source).read_bytes()
    return Response(data, media_type="application/octet-stream", headers={"Content-Disposition": "attachment"})


def _file(request: Request, source: str) -> FilePath:
    with team_of(request).present() as loaded:
        specialist, _ = _holder(loaded, source)
        path = papers.original(loaded.plan, source, [specialist])
    if path is None:
        raise ServingError(404, f"the file of '{source}' is gone", code="document_not_found")
    return path


def _holder(loaded: LoadedTeam, source: str) -> tuple[str, DocumentInfo]:
    """The specialist that has a document."""
    for name, specialist in loaded.specialists.items():
        known = specialist.knowledge.documents() if specialist.knowledge else []
        info = next((document for document in known if document.source == source), None)
        if info is not None:
            return name, info
    raise ServingError(404, f"nobody has a document '{source}'", code="document_not_found")


@router.get("/documents/{specialist}")
def show_documents(specialist: Name, request: Request, who: Whoever) -> list[DocumentInfo]:
    """The documents in a specialist's index."""
    with team_of(request).present() as loaded:
        _on_team(loaded, specialist)
        knowledge = loaded.specialists[specialist].knowledge
        return knowledge.documents() if knowledge else []


@router.put("/documents/{specialist}/{name}", status_code=204)
async def add_document(specialist: Name, name: Name, request: Request, who: Whoever) -> None:
    """Put a document into a specialist's folder; `POST /api/build` then indexes it."""
    _may(who, "admin")
    team = team_of(request)
    with team.present() as loaded:
        _on_team(loaded, specialist)
    data = await request.body()
    await run_in_threadpool(papers.keep, team.blueprint, specialist, name, data)


@router.delete("/documents/{specialist}/{source:path}", status_code=204)
def remove_document(specialist: Name, source: str, request: Request, who: Whoever) -> None:
    """Delete a document of a specialist; `POST /api/build` then takes it out of the index."""
    _may(who, "admin")
    with team_of(request).present() as loaded:
        _on_team(loaded, specialist)
        papers.discard(loaded.plan, specialist, source)


@router.get("/build")
def show_changes(request: Request, who: Whoever) -> dict[str, list[str] | None]:
    """What is newer than the last build."""
    return {"changed": changed_since_build(team_of(request).blueprint)}


@router.post("/build", response_class=EventSourceResponse)
async def build_team(request: Request, who: Whoever) -> Response:
    """Build the team and take over what is new; `progress` events, then `report` or `error`."""
    _may(who, "admin")
    return stream_response(_building(team_of(request)))


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


@router.get("/search")
def search_documents(
    request: Request, who: Whoever, q: Annotated[str, Query(max_length=2000)], specialist: str = "", k: int = 8
) -> list[dict[str, Any]]:
    """The passages that specialists would read for a question, best first, with the sentence that comes nearest."""
    with team_of(request).present() as loaded:
        if specialist:
            _on_team(loaded, specialist)
        asked = [s for name, s in loaded.specialists.items() if s.knowledge and specialist in ("", name)]
        found = [
            {"specialist": s.card.name, **p.model_dump(mode="json"), "quote": _sentence(q, p)}
            for s in asked
            if s.knowledge
            for p in s.knowledge.search(q, max(1, min(k, 50)))
        ]
    return sorted(found, key=lambda passage: -passage["score"])[: max(1, min(k, 50))]


def _sentence(query: str, passage: Any) -> str:
    found = supporting_sentence(query, [passage], least=0.2)
    return found.quote if found else ""


# The router, and how good everybody is.


class RouteQuestion(Value):
    """A task to be looked at."""

    text: str = Field(min_length=1, max_length=20_000)


@router.post("/route")
def explain_route(asked: RouteQuestion, request: Request, who: Whoever) -> Explanation:
    """Who would get a task, and why; nothing is answered and nothing is kept."""
    return team_of(request).router.explain(asked.text)


@router.get("/router")
def show_router(request: Request, who: Whoever) -> dict[str, Any]:
    """How good the router is on its examples, each as if it had not been learnt."""
    return _router_report(team_of(request).router)


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


@router.get("/evaluation")
def show_evaluation(request: Request, who: Whoever) -> list[dict[str, Any]]:
    """What was measured of the specialists in use, with every question."""
    with team_of(request).present() as loaded:
        knowledge = {name: s.knowledge for name, s in loaded.specialists.items() if s.knowledge}
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


@router.get("/answers")
def list_answers(request: Request, who: Whoever) -> list[dict[str, Any]]:
    """The caller's last answers, with where their time went."""
    threads = team_of(request).threads
    if threads.saver is None:
        return []
    keep = ("specialist", "timings", "run_id", "thread_id", "confidence", "kind")
    shown = list[dict[str, Any]]()
    for thread in threads.list(who.owner)[:30]:
        for turn in threads.turns(thread.id)[::-1]:
            if turn.answer and turn.answer.timings:
                values = {name: getattr(turn.answer, name) for name in keep}
                shown.append({"task": turn.task, "at": thread.at, **values})
        if len(shown) >= 50:
            break
    return shown[:50]


# What is remembered of the caller.


class FactText(Value):
    """A fact in words."""

    text: str = Field(min_length=1, max_length=4000)


@router.get("/memory")
def list_facts(request: Request, who: Whoever) -> list[Fact]:
    """What is remembered of the caller, newest first."""
    facts = team_of(request).facts
    return facts.of(who.owner) if facts and who.user is not None else []


@router.post("/memory", status_code=201)
def add_fact(new: FactText, request: Request, who: Whoever) -> Fact:
    """Remember something."""
    return _facts(request, who).add(new.text, who.owner)


@router.patch("/memory/{fact_id}")
def correct_fact(fact_id: Name, new: FactText, request: Request, who: Whoever) -> Fact:
    """Replace a fact by the right one."""
    facts = _facts(request, who)
    old = _fact(facts, who, fact_id)
    facts.forget(who.owner, [old.id])
    return facts.add(new.text, who.owner, old.specialist)


@router.delete("/memory/{fact_id}", status_code=204)
def forget_fact(fact_id: Name, request: Request, who: Whoever) -> None:
    """Forget one fact."""
    facts = _facts(request, who)
    facts.forget(who.owner, [_fact(facts, who, fact_id).id])


@router.delete("/memory", status_code=204)
def forget_all(request: Request, who: Whoever) -> None:
    """Forget all facts of the caller, down to the bytes."""
    _facts(request, who).erase(who.owner)


@router.get("/memory/export")
def export_memory(request: Request, who: Whoever) -> Response:
    """Everything that is kept of the caller: facts, conversations, decisions, notes."""
    kept = export(team_of(request).blueprint, Scope(who.owner))
    return Response(kept.model_dump_json(indent=2), media_type="application/json")


def _facts(request: Request, who: Caller) -> Facts:
    facts = team_of(request).facts
    if facts is None or who.user is None:
        raise ServingError(409, "nothing is remembered of this caller", code="no_memory")
    return facts


def _fact(facts: Facts, who: Caller, fact_id: str) -> Fact:
    found = next((fact for fact in facts.of(who.owner) if fact.id == fact_id), None)
    if found is None:
        raise ServingError(404, f"there is no fact '{fact_id}'", code="fact_not_found")
    return found
