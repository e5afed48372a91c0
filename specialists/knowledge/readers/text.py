"""Plain text, and the decoding that the other text formats share."""

from __future__ import annotations

import re
from pathlib import Path

from ....core.errors import UnreadableDocument
from ..document import Document, Outline, clean

_PARAGRAPH = re.compile(r"\n[ \t]*\n+")


def decode(data: bytes) -> str:
    """Bytes to text: UTF-8, UTF-16 with its byte order mark, else Windows' cp1252.

    Raises `UnreadableDocument` for binary data.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return clean(data.decode("utf-16", errors="replace"))
    if b"\0" in data[:8192]:
        raise UnreadableDocument("it is a binary file, not text")
    try:
        return clean(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return clean(data.decode("cp1252", errors="replace"))


def title_of(source: str) -> str:
    """A readable title from a file name.

    >>> title_of("guides/pump_care-v2.md")
    'pump care v2'
    """
    return re.sub(r"[-_\s]+", " ", Path(source).stem).strip()


def add_paragraphs(outline: Outline, text: str) -> None:
    """Running text, cut at blank lines."""
    for paragraph in _PARAGRAPH.split(text):
        outline.paragraph(paragraph)


def read_text(path: Path, source: str) -> Document:
    """A text file; paragraphs are separated by blank lines."""
    outline = Outline()
    add_paragraphs(outline, decode(path.read_bytes()))
    return outline.document(source, title_of(source))
