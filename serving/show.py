"""Answers for people: text, who said it, how sure, and where it stands."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from ..core.types import Answer, Citation


def show_answer(console: Console, answer: Answer) -> None:
    """Print an answer with its specialist, citations, confidence and seconds."""
    style = "bold" if answer.kind == "answer" else "yellow"
    console.print(f"[{style}]{escape(answer.text)}[/]", highlight=False)
    for citation in answer.citations:
        console.print(f"  [green]“{escape(shorten(citation.context or citation.quote))}”[/]", highlight=False)
        console.print(f"  [cyan]{escape(place(citation))}[/]", highlight=False)
    console.print(f"  [dim]{escape(signature(answer))}[/]", highlight=False)


def place(citation: Citation) -> str:
    """File, page and section of a citation.

    >>> place(Citation(source="filler.pdf", quote="x", start=0, end=1, page=3, heading=("Filler", "Lubrication")))
    'filler.pdf, page 3 › Filler › Lubrication'
    """
    page = f", page {citation.page}" if citation.page else ""
    return f"{citation.source}{page}{''.join(f' › {h}' for h in citation.heading)}"


def signature(answer: Answer) -> str:
    """One line: who, how sure, how long, and what happened on the way."""
    parts = []
    if answer.specialist and answer.kind == "answer":
        path = " → ".join(answer.handoffs) if answer.handoffs else answer.specialist
        parts.append(f"{path}@{answer.version}" if answer.version else path)
        parts.append(f"{answer.confidence:.0%} sure")
    elif answer.kind == "waiting":
        parts.append(f"metier approve {answer.thread_id}")
    elif answer.reason:
        parts.append(answer.reason)
    parts += [f"{name}: {did}" for name, did in answer.guards.items()]
    if "total" in answer.timings:
        parts.append(f"{answer.timings['total']:.2f} s")
    return " · ".join(parts)


def shorten(text: str, most: int = 220) -> str:
    """One line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
