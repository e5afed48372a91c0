"""Quotes that are checked: does it stand in a passage, and where exactly?"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

from ...core.types import Citation, Passage
from .documents import PAGE_BREAK

_SAME = {
    **dict.fromkeys("‘’‚‛′`´ʼ", "'"),
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    "…": "...",
    "\u00ad": "",
    "\u200b": "",
    "\ufeff": "",
}


def cite(quote: str, passages: Sequence[Passage]) -> Citation | None:
    """Find a quote in the first passage that holds it, and give its exact place in the document.

    White space, upper and lower case, typographic quotes, dashes and ligatures do not matter; every other character
    does, and the quote must begin and end at a word's edge. `Citation.quote` is the document's own wording. None when
    no passage holds the quote.
    """
    return next(places_of(quote, passages), None)


def places_of(quote: str, passages: Sequence[Passage]) -> Iterator[Citation]:
    """Every place where a quote stands, as `cite` finds it, passage by passage."""
    wanted, _ = _normal(unicodedata.normalize("NFC", quote))
    wanted = wanted.strip()
    if not any(map(str.isalnum, wanted)):
        return
    for passage in passages:
        text, places = _normal(passage.text)
        for at in _find(wanted, text):
            start, end = places[at], places[at + len(wanted) - 1] + 1
            yield Citation(
                source=passage.source,
                quote=passage.text[start:end],
                start=passage.start + start,
                end=passage.start + end,
                page=page_of(passage, start),
                heading=passage.heading,
                passage=passage.id,
            )


def page_of(passage: Passage, offset: int) -> int | None:
    """The page of a character of a passage, which may run over several; None where there are no pages."""
    return passage.page + passage.text[:offset].count(PAGE_BREAK) if passage.page else None


def _find(wanted: str, text: str) -> Iterator[int]:
    """The places where `wanted` stands between word edges."""
    at = text.find(wanted)
    while at >= 0:
        end = at + len(wanted)
        starts = at == 0 or not (text[at - 1].isalnum() and wanted[0].isalnum())
        ends = end == len(text) or not (text[end].isalnum() and wanted[-1].isalnum())
        if starts and ends:
            yield at
        at = text.find(wanted, at + 1)


@lru_cache(maxsize=512)
def _normal(text: str) -> tuple[str, tuple[int, ...]]:
    """The text in normal form, and for each of its characters the offset it came from."""
    letters: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text):
        if letter.isspace():
            normal = "" if letters and letters[-1] == " " else " "
        else:
            normal = _SAME.get(letter) if letter in _SAME else unicodedata.normalize("NFKC", letter).casefold()
        for one in normal or "":
            letters.append(one)
            places.append(place)
    return "".join(letters), tuple(places)
