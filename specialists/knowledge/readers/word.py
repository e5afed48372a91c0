"""Word documents (docx): headings by style, paragraphs, lists, tables."""

from __future__ import annotations

import zipfile
from pathlib import Path

import docx
from docx.opc.exceptions import PackageNotFoundError
from docx.table import Table
from docx.text.paragraph import Paragraph
from lxml.etree import LxmlError

from ....core.errors import UnreadableDocument
from ..documents import Document, Outline
from .text import title_of

MAX_UNPACKED = 200_000_000
"""Bytes that the parts of a document may have when unpacked: a zip bomb is refused before it is opened."""


def read_docx(path: Path, source: str) -> Document:
    """A Word document; headers, footers and comments are left out."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_UNPACKED:
            raise UnreadableDocument(f"it unpacks to {unpacked / 1e6:.0f} MB (limit {MAX_UNPACKED / 1e6:.0f} MB)")
        file = docx.Document(str(path))
    except (zipfile.BadZipFile, PackageNotFoundError, KeyError, ValueError, LxmlError) as error:
        raise UnreadableDocument(f"it is not a Word document: {error}") from error
    outline = Outline()
    for part in file.iter_inner_content():
        if isinstance(part, Table):
            _add_table(part, outline)
        else:
            _add_paragraph(part, outline)
    title = file.core_properties.title.strip()
    return outline.document(source, title or outline.main_title or title_of(source))


def _add_paragraph(part: Paragraph, outline: Outline) -> None:
    style = (part.style.name if part.style is not None else None) or ""
    if style == "Title":
        outline.heading(1, part.text)
    elif style.startswith("Heading "):
        level = style.removeprefix("Heading ")
        outline.heading(int(level) + 1 if level.isdigit() else 2, part.text)
    elif style.startswith("List") and part.text.strip():
        outline.paragraph(f"- {part.text.strip()}", joined=True)
    else:
        outline.paragraph(part.text)


def _add_table(table: Table, outline: Outline) -> None:
    rows = [[cell.text for cell in row.cells] for row in table.rows]
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if len(rows) == 1:
        outline.row([], rows[0])
    for row in rows[1:]:
        outline.row(rows[0], row)
