"""PDF: text by page, headings from the bookmarks. Pictures of text (scans) are not read."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from pypdf import PdfReader
from pypdf.errors import DependencyError, PyPdfError

from ....core.errors import UnreadableDocument
from ..documents import Document, Outline, clean
from .text import title_of

# What is wrong with a file is said once, in the report, and not on standard error by the parser.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)

_HYPHEN = re.compile(r"(\w)[-\u2010\u00ad]\n(?=[a-z])")
_PAGE_NUMBER = re.compile(r"\A\s*(?:page\s+)?\d{1,4}\s*\n|\n\s*(?:page\s+)?\d{1,4}\s*\Z", re.IGNORECASE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n+")

Bookmark = tuple[int, int, str]
"""Page index, level from 1, title."""


def read_pdf(path: Path, source: str) -> Document:
    """A PDF file with a text layer. Every page is kept apart, so that a passage has one page number."""
    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableDocument("it is protected by a password")
        texts = [_tidy(page.extract_text()) for page in reader.pages]
        bookmarks = _bookmarks(reader, reader.outline, 1)
        title = str((reader.metadata and reader.metadata.title) or "")
    except DependencyError as error:
        raise UnreadableDocument(f"its encryption needs another package: {error}") from error
    except UnreadableDocument:
        raise
    except (PyPdfError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        # pypdf meets broken files with whatever exception its parser happens to run into
        raise UnreadableDocument(f"the PDF is damaged: {error or type(error).__name__}") from error
    if not any(texts):
        raise UnreadableDocument(f"no text on its {len(texts)} pages: a scan, which would need text recognition first")
    return _assemble(source, title, texts, bookmarks)


def _tidy(text: str) -> str:
    return _HYPHEN.sub(r"\1", _PAGE_NUMBER.sub("\n", clean(text))).strip()


def _bookmarks(reader: PdfReader, entries: Any, level: int) -> list[Bookmark]:
    found: list[Bookmark] = []
    for entry in entries:
        if isinstance(entry, list):
            found += _bookmarks(reader, entry, level + 1)
        else:
            page = reader.get_destination_page_number(entry)
            found += [(page, level, str(entry.title))] if page is not None and page >= 0 else []
    return found


def _assemble(source: str, title: str, texts: list[str], bookmarks: list[Bookmark]) -> Document:
    outline, pages = Outline(), []
    for index, text in enumerate(texts):
        pages.append(outline.length)
        for page, level, name in bookmarks:
            if page == index:
                before, text = _split_at(text, name)
                _add(outline, before)
                outline.heading(level, name)
        _add(outline, text)
    return outline.document(source, title.strip() or outline.main_title or title_of(source), pages)


def _split_at(text: str, title: str) -> tuple[str, str]:
    """The text before and after the line that is the title; all of it counts as after when there is none."""
    line = re.search(r"^\W*" + r"\s+".join(map(re.escape, title.split())) + r"\W*$", text, re.MULTILINE | re.IGNORECASE)
    return (text[: line.start()], text[line.end() :]) if line and title.strip() else ("", text)


def _add(outline: Outline, text: str) -> None:
    for paragraph in _PARAGRAPH.split(text):
        outline.paragraph(paragraph)
