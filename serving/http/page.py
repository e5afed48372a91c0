"""The page at `/`, and what it asks beside the runs: conversations, documents, feedback, what is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from ...agents.attachments import ATTACHED
from ...agents.erasure import Scope, export
from ...agents.feedback import Rating, open_inbox
from ...agents.team import Team
from ...agents.threads import Thread, ThreadTurn
from ...core.types import Answer, Value
from ...memory.facts import Facts
from ...memory.store import Fact
from ...specialists.knowledge.knowledge import Knowledge
from ...specialists.knowledge.store import DocumentInfo
from . import papers
from .caller import Caller, Whoever
from .errors import ServingError
from .run_routes import service_of

page_routes = APIRouter(prefix="/api", tags=["page"])

ThreadId = Annotated[str, Path(max_length=200)]
Name = Annotated[str, Path(max_length=200)]
DocumentName = Annotated[str, Query(max_length=1000)]

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


def team_of(request: Request, who: Caller) -> Team:
    """The team of the server that got the request, as its caller may use it."""
    return service_of(request).team_for(who)


# Conversations.


class RatedTurn(ThreadTurn):
    """A turn, and what was said of its answer."""

    rated: Rating | None = None


class AttachedFile(Value):
    """A file of a conversation."""

    name: str
    title: str
    passages: int


class ThreadView(Value):
    """A whole conversation."""

    id: str
    title: str
    turns: tuple[RatedTurn, ...]
    waiting: Answer | None = None
    """Of the last task, when it waits for a person."""
    run_id: str | None = None
    """Of what waits."""
    files: tuple[AttachedFile, ...] = ()


class NewTitle(Value):
    """What a conversation is called."""

    title: str = Field(max_length=200)


@page_routes.get("/threads")
def show_threads(request: Request, who: Whoever, search: Annotated[str, Query(max_length=200)] = "") -> list[Thread]:
    """The caller's conversations, the latest first; one-off tasks are none."""
    threads = team_of(request, who).threads
    if threads.saver is None:
        return []
    return [thread for thread in threads.list(who.owner, search) if not thread.id.startswith("once-")][:500]


@page_routes.get("/threads/{thread_id}")
async def show_thread(thread_id: ThreadId, request: Request, who: Whoever) -> ThreadView:
    """A conversation with all answers that are kept, and what it waits for."""
    team = team_of(request, who)
    await run_in_threadpool(_own, team, thread_id, who)
    left = team.threads.unfinished(thread_id)
    run = service_of(request).waiting(who, thread_id) if left and left.questions else None
    return ThreadView(
        id=thread_id,
        title=team.threads.title(thread_id),
        turns=tuple(await run_in_threadpool(_rated_turns, team, thread_id)),
        waiting=run.answer if run else None,
        run_id=run.id if run else None,
        files=tuple(_files(team, thread_id)),
    )


def _rated_turns(team: Team, thread_id: str) -> list[RatedTurn]:
    inbox = open_inbox(team.blueprint)
    notes: dict[str, Rating] = {n.run_id: n.verdict for name in team.specialists for n in inbox.notes(name)}
    return [
        RatedTurn(task=turn.task, answer=turn.answer, rated=notes.get(turn.answer.run_id) if turn.answer else None)
        for turn in team.threads.turns(thread_id)
    ]


@page_routes.patch("/threads/{thread_id}", status_code=204)
def rename_thread(thread_id: ThreadId, new: NewTitle, request: Request, who: Whoever) -> None:
    """Give a conversation a title."""
    _own(team_of(request, who), thread_id, who)
    team_of(request, who).threads.rename(thread_id, new.title)


@page_routes.delete("/threads/{thread_id}", status_code=204)
def forget_thread(thread_id: ThreadId, request: Request, who: Whoever) -> None:
    """Forget a conversation."""
    _own(team_of(request, who), thread_id, who)
    team_of(request, who).threads.delete(thread_id)


@page_routes.get("/threads/{thread_id}/export")
def export_thread(
    thread_id: ThreadId, request: Request, who: Whoever, format: Literal["md", "json"] = "md"
) -> Response:
    """A conversation as a file: Markdown for people, JSON for programs."""
    team = team_of(request, who)
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


@page_routes.put("/threads/{thread_id}/files/{name}")
async def attach_file(thread_id: ThreadId, name: Name, request: Request, who: Whoever) -> list[AttachedFile]:
    """Add a file to a conversation, which may be one that begins with it. Only there it is read."""
    team, data = team_of(request, who), await request.body()
    await run_in_threadpool(_admit_files, team, thread_id, who)
    await run_in_threadpool(team.attachments.add, thread_id, who.owner, name, data)
    return await run_in_threadpool(_files, team, thread_id)


@page_routes.delete("/threads/{thread_id}/files/{name}")
def detach_file(thread_id: ThreadId, name: Name, request: Request, who: Whoever) -> list[AttachedFile]:
    """Take a file out of a conversation."""
    team = team_of(request, who)
    if team.attachments.owner(thread_id) != who.owner:
        raise ServingError(404, f"there is no conversation '{thread_id}' with files", code="thread_not_found")
    team.attachments.remove(thread_id, name)
    return _files(team, thread_id)


def _admit_files(team: Team, thread_id: str, who: Caller) -> None:
    """Raises 404 where the conversation, or files for one that has not begun, are another's."""
    holders = (team.threads.owner(thread_id), team.attachments.owner(thread_id))
    if any(holder not in (None, who.owner) for holder in holders):
        raise ServingError(404, f"there is no conversation '{thread_id}'", code="thread_not_found")


def _files(team: Team, thread_id: str) -> list[AttachedFile]:
    known = team.attachments.documents(thread_id)
    return [
        AttachedFile(name=one.source.removeprefix(f"{ATTACHED}/"), title=one.title, passages=one.passages)
        for one in known
    ]


def _own(team: Team, thread_id: str, who: Caller) -> None:
    """Raises 404 unless it is the caller's conversation: another's is as if it did not exist."""
    if team.threads.saver is None or team.threads.owner(thread_id) != who.owner:
        raise ServingError(404, f"there is no conversation '{thread_id}'", code="thread_not_found")


# Documents.


_InThread = Annotated[str | None, Query(max_length=200, description="Whose attached files are meant.")]


@page_routes.get("/document")
def show_paper(
    request: Request,
    who: Whoever,
    source: DocumentName,
    start: Annotated[int, Query(ge=0)] = 0,
    thread: _InThread = None,
) -> papers.Paper:
    """A document's text in pieces, around an offset when it is long."""
    with _held(request, who, source, thread) as (knowledge, info, specialist, path):
        text = knowledge.text(source)
        first, last = papers.window(text, start)
        blocks = papers.blocks_of(text, knowledge.passages(source), first, last)
    drawn = papers.count_pages(path) if path and path.suffix.lower() == ".pdf" else 0
    return papers.Paper(
        source=source,
        title=info.title or source.rsplit("/", 1)[-1],
        specialist=specialist,
        pages=drawn,
        original=path is not None,
        before=first > 0,
        after=last < len(text),
        blocks=tuple(blocks),
    )


@page_routes.get("/document/page", response_class=Response)
def show_page(
    request: Request,
    who: Whoever,
    source: DocumentName,
    page: int = 1,
    quote: Annotated[str, Query(max_length=5000)] = "",
    thread: _InThread = None,
) -> Response:
    """A page of a PDF document as it looks, with the quote marked."""
    path = _file(request, who, source, thread)
    if path.suffix.lower() != ".pdf":
        raise ServingError(404, f"'{source}' has no pages that could be drawn", code="page_not_found")
    return Response(papers.draw_page(path, page, quote), media_type="image/png")


@page_routes.get("/document/original", response_class=Response)
def get_original(request: Request, who: Whoever, source: DocumentName, thread: _InThread = None) -> Response:
    """The file itself, to be saved and never to be run."""
    data = _file(request, who, source, thread).read_bytes()
    headers = {"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"}
    return Response(data, media_type="application/octet-stream", headers=headers)


def _file(request: Request, who: Caller, source: str, thread: str | None) -> FilePath:
    with _held(request, who, source, thread) as (_, _, _, path):
        if path is None:
            raise ServingError(404, f"the file of '{source}' is gone", code="document_not_found")
        return path


@contextmanager
def _held(
    request: Request, who: Caller, source: str, thread: str | None
) -> Iterator[tuple[Knowledge, DocumentInfo, str, FilePath | None]]:
    """The index that has a document, what it says of it, the specialist (none of an attached file), and the file."""
    team = team_of(request, who)
    with ExitStack() as stack:
        held: dict[str, Knowledge | None]
        if thread is not None and source.startswith(f"{ATTACHED}/"):
            _admit_files(team, thread, who)
            held = {"": stack.enter_context(team.attachments.knowledge(thread))}
        else:
            loaded = stack.enter_context(team.present())
            held = {name: specialist.knowledge for name, specialist in loaded.specialists.items()}
        for name, knowledge in held.items():
            info = next((d for d in (knowledge.documents() if knowledge else []) if d.source == source), None)
            if knowledge is not None and info is not None:
                of_thread = team.attachments.file(thread, source) if thread and not name else None
                yield knowledge, info, name, papers.original(team.blueprint, source, [name]) if name else of_thread
                return
    raise ServingError(404, f"nobody has a document '{source}'", code="document_not_found")


# What is remembered of the caller.


class FactText(Value):
    """A fact in words."""

    text: str = Field(min_length=1, max_length=4000)


@page_routes.get("/memory")
def list_facts(request: Request, who: Whoever) -> list[Fact]:
    """What is remembered of the caller, newest first."""
    facts = team_of(request, who).facts
    return facts.of(who.owner) if facts and who.user is not None else []


@page_routes.post("/memory", status_code=201)
def add_fact(new: FactText, request: Request, who: Whoever) -> Fact:
    """Remember something."""
    return _facts(request, who).add(new.text, who.owner)


@page_routes.patch("/memory/{fact_id}")
def correct_fact(fact_id: Name, new: FactText, request: Request, who: Whoever) -> Fact:
    """Replace a fact by the right one."""
    facts = _facts(request, who)
    old = _fact(facts, who, fact_id)
    facts.forget(who.owner, [old.id])
    return facts.add(new.text, who.owner, old.specialist)


@page_routes.delete("/memory/{fact_id}", status_code=204)
def forget_fact(fact_id: Name, request: Request, who: Whoever) -> None:
    """Forget one fact."""
    facts = _facts(request, who)
    facts.forget(who.owner, [_fact(facts, who, fact_id).id])


@page_routes.delete("/memory", status_code=204)
def forget_all(request: Request, who: Whoever) -> None:
    """Forget all facts of the caller, down to the bytes."""
    _facts(request, who).erase(who.owner)


@page_routes.get("/memory/export")
def export_memory(request: Request, who: Whoever) -> Response:
    """Everything that is kept of the caller: facts, conversations, decisions, notes."""
    kept = export(request.app.state.team.blueprint, Scope(who.owner))
    return Response(kept.model_dump_json(indent=2), media_type="application/json")


def _facts(request: Request, who: Caller) -> Facts:
    facts = team_of(request, who).facts
    if facts is None or who.user is None:
        raise ServingError(409, "nothing is remembered of this caller", code="no_memory")
    return facts


def _fact(facts: Facts, who: Caller, fact_id: str) -> Fact:
    found = next((fact for fact in facts.of(who.owner) if fact.id == fact_id), None)
    if found is None:
        raise ServingError(404, f"there is no fact '{fact_id}'", code="fact_not_found")
    return found
