"""Plain text: paragraphs below their headings; and what all text formats share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from ....core.csv_table import decode_text
from ....core.errors import UnreadableDocument
from ..documents import Document, Outline, clean

_PARAGRAPH = re.compile(r"\n[ \t]*\n+")
_OUTSIDE = re.compile(r"(?:https?://|mailto:|tel:)\S+", re.IGNORECASE)
"""Link targets that mean something outside the document."""
_POWER = re.compile(r"[-+−]?\d+")
_RAISED = str.maketrans("0123456789+-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")

_UNDERLINE = re.compile(r"([=\-~^\"'`#*+.:_<>])\1{2,}[ \t]*")
_NUMBERED = re.compile(r"(\d{1,3}(?:\.\d{1,3}){0,4})[.)]?[ \t]+(?=\S*[^\W\d_])\S.{0,78}(?<![.;,:!?])")
_LONG_TITLE = 120
_ITEM = re.compile(r"\s*(?:[-*+•–]|\(?(?:\d{1,3}|[a-z])[.)])[ \t]+\S")
"""The begin of a list's item."""


def decode(data: bytes) -> str:
    """Bytes to text: UTF-8, UTF-16, else Windows' cp1252.

    Raises `UnreadableDocument` for binary data.
    """
    try:
        return clean(decode_text(data))
    except ValueError as error:
        raise UnreadableDocument(str(error)) from error


def title_of(source: str) -> str:
    """A readable title from a file name.

    >>> title_of("guides/pump_care-v2.md")
    'pump care v2'
    """
    return re.sub(r"[-_\s]+", " ", Path(source).stem).strip()


def link_target(target: str, shown: str) -> str:
    """Where a link leads, in brackets behind it, when that is elsewhere and its text does not say so.

    >>> link_target("https://help.example", "the desk")
    ' (https://help.example)'
    """
    target, shown = target.strip(), " ".join(shown.split())
    if not _OUTSIDE.fullmatch(target) or not shown:
        return ""
    address = re.sub(r"\A(?:mailto|tel):", "", target, flags=re.IGNORECASE)
    return "" if shown.strip("/") in address.rstrip("/") and re.search(r"[.@\d]", shown) else f" ({address})"


def raised(text: str) -> str:
    """A number that is set higher, as letters that are: 10³ is not 103. Other text stays."""
    return text.translate(_RAISED) if _POWER.fullmatch(text) else text


def add_paragraphs(outline: Outline, text: str) -> None:
    """Running text, cut at blank lines."""
    for paragraph in _PARAGRAPH.split(text):
        outline.paragraph(paragraph)


def is_list_item(text: str) -> bool:
    """Whether a paragraph begins as an item of a list does.

    >>> [is_list_item(text) for text in ("- oil", "2. oil", "b) oil", "2026 was dry.")]
    [True, True, True, False]
    """
    return bool(_ITEM.match(text))


def read_text_file(path: Path, source: str) -> Document:
    """A text file; paragraphs are separated by blank lines. Headings are underlined, numbered or in capitals."""
    outline = Outline()
    _add_under_headings(outline, decode(path.read_bytes()))
    return outline.document(source, title_of(source))


def _add_under_headings(outline: Outline, text: str) -> None:
    """Paragraphs and headings. An underline's level is the order in which its kind first comes."""
    kinds: list[tuple[str, bool]] = []
    paragraphs = _PARAGRAPH.split(text)
    for paragraph, following in zip_longest(paragraphs, paragraphs[1:], fillvalue=""):
        lines = paragraph.strip("\n").split("\n")
        over = len(lines) > 2 and bool(_UNDERLINE.fullmatch(lines[0])) and lines[0].rstrip() == lines[2].rstrip()
        lines = lines[over:]
        if _is_underlined(lines):
            kind = lines[1][0], over
            kinds += [kind] if kind not in kinds else []
            outline.heading(kinds.index(kind) + 1, lines[0])
            outline.paragraph("\n".join(lines[2:]))
        elif (level := _plain_level(paragraph)) and level != _plain_level(following) and following.strip():
            outline.heading(level, paragraph)
        else:
            outline.paragraph(paragraph, joined=is_list_item(paragraph))


def _is_underlined(lines: Sequence[str]) -> bool:
    if len(lines) < 2 or not _UNDERLINE.fullmatch(lines[1]):
        return False
    title = lines[0].strip()
    return 0 < len(title) <= _LONG_TITLE and any(map(str.isalnum, title)) and len(lines[1].rstrip()) >= 0.8 * len(title)


def _plain_level(paragraph: str) -> int:
    """The level of a heading without an underline: a short numbered line, or one in capitals; 0 for any other text."""
    line = paragraph.strip()
    if "\n" in line or len(line) > _LONG_TITLE:
        return 0
    numbered = _NUMBERED.fullmatch(line)
    if numbered:
        return numbered[1].count(".") + 1
    capitals = line.isupper() and sum(map(str.isalpha, line)) >= 4 and line[-1] not in ".;,!?"
    return 1 if capitals and sum(map(str.isdigit, line)) < 4 else 0
