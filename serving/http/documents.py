"""The documents behind citations: as JSON, and as a page on which the quote is marked. Their text comes out of the
index, so no path of a request ever reaches a file.
"""

from __future__ import annotations

from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse

from ...agents.team import Team
from ...core.errors import KnowledgeError
from .caller import Caller, Whoever
from .errors import ServingError

document_routes = APIRouter(tags=["documents"])

_Holder = Annotated[str, Path(max_length=200)]
_Source = Annotated[str, Path(max_length=2_000)]
_Offset = Annotated[int, Query(ge=0)]

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""The page holds what strangers may have written: nothing in it runs, nothing is loaded."""

_PAGE = """<!doctype html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0 auto; max-width: 46rem; padding: 1.5rem; font: 1rem/1.6 system-ui, sans-serif; }}
h1 {{ font-size: 1.1rem; overflow-wrap: anywhere; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; }}
mark {{ background: #ffe38a; color: #1b1b1b; scroll-margin-top: 30vh; border-radius: .2rem; padding: 0 .1rem; }}
hr {{ border: 0; border-top: 1px solid; opacity: .3; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<pre>{text}</pre>
</main>
</body>
</html>
"""


def document_text(team: Team, specialist: str, source: str) -> str | None:
    """The text of a specialist's document; None when there is no such specialist or document."""
    knowledge = team.specialists[specialist].knowledge if specialist in team.specialists else None
    try:
        return knowledge.text(source) if knowledge else None
    except KnowledgeError:
        return None


def _text(request: Request, who: Caller, specialist: str, source: str) -> str:
    text = document_text(request.app.state.runs.team_for(who), specialist, source)
    if text is None:
        raise ServingError(404, f"'{specialist}' has no document '{source}'", code="document_not_found")
    return text


@document_routes.get("/v1/documents")
async def list_documents(request: Request, who: Whoever) -> dict[str, Any]:
    """The documents of each specialist."""
    team: Team = request.app.state.runs.team_for(who)
    held = {name: s.knowledge.documents() for name, s in team.specialists.items() if s.knowledge}
    data = [
        {
            "object": "document",
            "specialist": name,
            "source": document.source,
            "title": document.title,
            "passages": document.passages,
            "characters": document.characters,
            "sha256": document.sha256,
        }
        for name, documents in held.items()
        for document in documents
    ]
    return {"object": "list", "data": data}


@document_routes.get("/v1/documents/{specialist}/{source:path}")
async def read_document(specialist: _Holder, source: _Source, request: Request, who: Whoever) -> dict[str, Any]:
    """The text of a document: what the offsets of citations point into. A form feed ends a page."""
    return {
        "object": "document",
        "specialist": specialist,
        "source": source,
        "text": _text(request, who, specialist, source),
    }


@document_routes.get("/documents/{specialist}/{source:path}", response_class=HTMLResponse)
async def show_document(
    specialist: _Holder, source: _Source, request: Request, who: Whoever, start: _Offset = 0, end: _Offset = 0
) -> HTMLResponse:
    """The document as a page; the characters from `start` to `end` are marked, and `#quote` leads there."""
    text = _text(request, who, specialist, source)
    start, end = min(start, len(text)), min(max(start, end), len(text))
    before, quote, after = (_shown(part) for part in (text[:start], text[start:end], text[end:]))
    marked = f'{before}<mark id="quote">{quote}</mark>{after}' if quote else before + after
    return HTMLResponse(_PAGE.format(title=escape(source), text=marked), headers=_HEADERS)


def _shown(text: str) -> str:
    return escape(text).replace("\f", "<hr>")
