"""The team as an MCP server: tools `ask`, `search` and one for each specialist, passages and documents as resources, a
prompt for each specialist. How it is spoken to (stdio, HTTP) and who asks is the business of whoever makes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote
from uuid import uuid4

from mcp import MCPError
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.types import (
    INVALID_PARAMS,
    CallToolResult,
    GetPromptResult,
    InputRequiredResult,
    TextContent,
    ToolAnnotations,
)
from pydantic import BaseModel, Field, WithJsonSchema, create_model

from .._version import __version__
from ..agents.team import Team
from ..core.errors import KnowledgeError, MetierError, unknown
from ..core.run import Event
from ..core.types import Answer, Citation, Passage
from ..specialists.knowledge.knowledge import merged
from ..specialists.specialist import Specialist

Place = Context[Any, Any]
"""Where a request comes from, as MCP tells it."""


class McpQuestion(NamedTuple):
    """What a tool is called with."""

    task: str
    specialist: str | None
    thread_id: str | None


AskTeam = Callable[[McpQuestion, Place], Awaitable[Answer]]
"""Has the team answer; errors are `MetierError`s."""


class McpSource(BaseModel):
    """Where a part of the answer stands, word for word."""

    source: str
    quote: str
    page: int | None = None
    heading: list[str] = Field(default_factory=list)
    uri: str | None = None
    """The passage, as a resource of this server."""


class McpReply(BaseModel):
    """What the team says."""

    text: str
    kind: Literal["answer", "abstain", "clarify", "waiting"]
    """`abstain`: nobody knows; `clarify`: say more; `waiting`: a person must decide about the calls in `data`."""
    specialist: str | None
    confidence: float
    reason: str
    sources: list[McpSource]
    data: Any = None
    thread_id: str
    run_id: str


_Question = Annotated[
    str, Field(description="A whole question or task, in words that can be understood by themselves.", min_length=1)
]
_Thread = Annotated[str | None, Field(description="A conversation to go on with: the thread_id of an earlier reply.")]
_STAGES = {
    "route": "choosing who works on this",
    "retrieve": "reading documents",
    "tool": "using a tool",
    "handoff": "asking a colleague",
}
_MOST_FOUND = 20


def mcp_server(team: Team, ask: AskTeam | None, *, reads: bool = True) -> MCPServer[Any]:
    """The server for the specialists that the team has now.

    Args:
        team: Who answers, and whose passages are read.
        ask: How a question gets to it; None: it is not asked.
        reads: Documents and passages may be searched and read.
    """
    able = "\n".join(f"- {name}: {person.card.description}" for name, person in team.specialists.items())
    about = team.card.description or f"The team '{team.card.name}' of specialists."
    server = _Server(
        team.card.name,
        description=about,
        instructions=f"{about} Ask it about:\n{able}",
        version=__version__,
        log_level="WARNING",
    )
    if ask:
        _add_asking(server, team, ask, f"{about} It finds out by itself who of these answers:\n{able}")
    if reads:
        _add_search(server, team)
        _add_resources(server, team)
    return server


class _Server(MCPServer[Any]):
    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Place | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """What its own one takes for a fault of the server is the client's: no such prompt, no such argument."""
        try:
            return await super().get_prompt(name, arguments, context)
        except ValueError as error:
            raise MCPError(INVALID_PARAMS, str(error)) from error


def _add_asking(server: MCPServer[Any], team: Team, ask: AskTeam, about: str) -> None:
    _add_tool(server, ask, None, "ask", about, McpReply)
    for name, person in team.specialists.items():
        tool = f"ask_{name}" if name in ("ask", "search") else name
        _add_tool(server, ask, name, tool, person.card.description, _reply_of(person))
        _add_prompt(server, name, tool, person)


def _add_tool(
    server: MCPServer[Any], ask: AskTeam, specialist: str | None, name: str, about: str, reply: type[McpReply]
) -> None:
    async def call(question: str, ctx: Place, thread_id: str | None = None) -> CallToolResult:
        try:
            answer = await ask(McpQuestion(question, specialist, thread_id), ctx)
        except MetierError as error:
            raise ToolError(f"{error.message} → {error.hint}" if error.hint else error.message) from error
        said = reply_to(answer)
        plain = said.model_dump(mode="json")
        return CallToolResult(content=[TextContent(type="text", text=_read_out(said))], structured_content=plain)

    # Types that only exist here cannot stand in the text of the signature.
    call.__annotations__ |= {"question": _Question, "ctx": Place, "thread_id": _Thread}
    call.__annotations__["return"] = Annotated[CallToolResult, reply]
    # What a specialist does with its tools is bound by the team's policy; a host should ask in any case.
    server.add_tool(call, name, description=about, annotations=ToolAnnotations(open_world_hint=False))


def _reply_of(person: Specialist) -> type[McpReply]:
    """A reply whose `data` has the schema that the specialist's card promises."""
    card = person.card
    promised = card.output_schema or ({"enum": list(card.labels)} if card.labels else None)
    if promised is None:
        return McpReply
    data = Annotated[Any, WithJsonSchema({"anyOf": [promised, {"type": "object"}, {"type": "null"}]})]
    return create_model(f"McpReply_{card.name}", __base__=McpReply, data=(data, None))


def _add_prompt(server: MCPServer[Any], name: str, tool: str, person: Specialist) -> None:
    def prompt(question: str) -> str:
        return f"Use the tool `{tool}` to answer this, and quote its sources with their places: {question}"

    server.prompt(name, title=f"Ask {name}", description=person.card.description)(prompt)


def _add_search(server: MCPServer[Any], team: Team) -> None:
    async def search(
        query: Annotated[str, Field(min_length=1)],
        specialist: Annotated[str | None, Field(description="Only in its documents.")] = None,
        most: Annotated[int, Field(ge=1, le=_MOST_FOUND)] = 5,
    ) -> list[Passage]:
        if specialist is not None and specialist not in team.specialists:
            raise ToolError(unknown("specialist", specialist, team.specialists))
        names = [specialist] if specialist else [*team.specialists]
        found = await asyncio.to_thread(_found, team, names, query, most)
        return found[:most]

    about = "Passages of the team's documents, best first; without an answer. " + ", ".join(team.specialists)
    annotations = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    server.add_tool(search, "search", description=about, annotations=annotations)


def _found(team: Team, names: list[str], query: str, most: int) -> list[Passage]:
    held = {name: knowledge for name in names if (knowledge := team.specialists[name].knowledge)}
    return merged(*(knowledge.search(query, k=most, rerank=len(held) == 1) for knowledge in held.values()))


def _add_resources(server: MCPServer[Any], team: Team) -> None:
    def knowledge(specialist: str) -> Any:
        person = team.specialists.get(specialist)
        if person is None or person.knowledge is None:
            raise ResourceNotFoundError(f"'{specialist}' has no documents")
        return person.knowledge

    @server.resource("metier://documents", name="documents", mime_type="application/json")
    def documents() -> list[dict[str, Any]]:
        """The documents of each specialist."""
        held = {name: person.knowledge for name, person in team.specialists.items() if person.knowledge}
        return [
            {"specialist": name, "source": d.source, "title": d.title, "uri": _uri("documents", name, d.source)}
            for name, index in held.items()
            for d in index.documents()
        ]

    @server.resource("metier://documents/{specialist}/{+source}", name="document", mime_type="text/plain")
    def document(specialist: str, source: str) -> str:
        """The text of a document: what the offsets of citations point into."""
        try:
            return knowledge(specialist).text(source)
        except KnowledgeError as error:
            raise ResourceNotFoundError(error.message) from error

    @server.resource("metier://passages/{specialist}/{id}", name="passage", mime_type="text/plain")
    def passage(specialist: str, id: str) -> str:
        """A passage that an answer quotes."""
        try:
            return knowledge(specialist).passage(id).text
        except KnowledgeError as error:
            raise ResourceNotFoundError(error.message) from error


def _uri(kind: str, specialist: str, name: str) -> str:
    return f"metier://{kind}/{quote(specialist, safe='')}/{quote(name, safe='/' if kind == 'documents' else '')}"


def reply_to(answer: Answer) -> McpReply:
    """An answer as the tools give it."""
    return McpReply(
        text=answer.text,
        kind=answer.kind,
        specialist=answer.specialist,
        confidence=answer.confidence,
        reason=answer.reason,
        sources=[_source(citation, answer.specialist) for citation in answer.citations or answer.evidence],
        data=answer.data,
        thread_id=answer.thread_id,
        run_id=answer.run_id,
    )


def _source(citation: Citation, specialist: str | None) -> McpSource:
    """Several specialists' citations have no passage to point to: nobody can tell whose it is."""
    known = specialist and citation.passage and "," not in specialist
    return McpSource(
        source=citation.source,
        quote=citation.quote,
        page=citation.page,
        heading=list(citation.heading),
        uri=_uri("passages", specialist, citation.passage) if known and specialist else None,
    )


def _read_out(said: McpReply) -> str:
    """For models that read text only."""
    places = [f"{s.source}, page {s.page}" if s.page else s.source for s in said.sources]
    sources = [f"“{s.quote}” ({place})" for s, place in zip(said.sources, places, strict=True)]
    return "\n".join([said.text, *dict.fromkeys(sources)])


async def tell(event: Event, number: int, ctx: Place) -> None:
    """Tell the host how far the work is, if it wants to know."""
    if event.name in _STAGES:
        who = f" ({event.specialist})" if event.specialist else ""
        await ctx.report_progress(number, message=f"{_STAGES[event.name]}{who}")


async def ask_directly(team: Team, question: McpQuestion, ctx: Place, user: str | None = None) -> Answer:
    """The `AskTeam` of a server that has the team to itself."""
    answer, number = None, 0
    task, specialist, thread = question
    # The reply names its conversation, with which the caller may go on.
    thread = thread or f"mcp-{uuid4().hex}"
    async for event in team.astream(task, specialist=specialist, thread_id=thread, user=user):
        number += 1
        await tell(event, number, ctx)
        if event.name in ("answer", "waiting"):
            answer = Answer.model_validate(event.data)
    assert answer is not None
    return answer
