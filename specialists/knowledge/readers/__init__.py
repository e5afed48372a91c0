"""Files to documents: one reader per format, chosen by the file's suffix."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from ....core.errors import UnreadableDocument
from ....core.plugins import load
from ..documents import Document
from .asciidoc import read_asciidoc
from .markup import read_html, read_markdown
from .pdf import read_pdf
from .records import read_csv, read_json, read_json_lines, read_sqlite
from .restructured import read_rst
from .text import read_text_file
from .word import read_docx

__all__ = ["MAX_DOCUMENT_BYTES", "READERS", "READING", "Reader", "read", "with_readers"]

Reader = Callable[[Path, str], Document]
"""Takes the file and its source name; raises `UnreadableDocument` with a reason for people."""

READING = 4
"""Raised when readers, splitter or terms give something else: the next build then reads all documents again. Until then
an index that is there still opens."""

MAX_DOCUMENT_BYTES = 50_000_000
"""A larger file is refused: it would fill the memory of a small machine."""

_TWICE_ENCODED = re.compile("[ÃÂâ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]+")

READERS: dict[str, Reader] = {
    **dict.fromkeys((".md", ".markdown"), read_markdown),
    **dict.fromkeys((".txt", ".text", ".log"), read_text_file),
    ".rst": read_rst,
    **dict.fromkeys((".adoc", ".asciidoc"), read_asciidoc),
    **dict.fromkeys((".html", ".htm", ".xhtml"), read_html),
    ".pdf": read_pdf,
    ".docx": read_docx,
    **dict.fromkeys((".csv", ".tsv"), read_csv),
    ".json": read_json,
    **dict.fromkeys((".jsonl", ".ndjson"), read_json_lines),
    **dict.fromkeys((".sqlite", ".sqlite3", ".db"), read_sqlite),
}


def with_readers(named: Mapping[str, str], folders: Sequence[Path] = ()) -> dict[str, Reader]:
    """The built-in readers and those of llama-index, given as suffix to `module:Class`, installed or in `folders`.

    Raises:
        ConfigError: there is no such class.
    """
    if not named:
        return READERS
    # llama-index takes more than a second to import, which only those who use its readers should wait for
    llama = import_module("..llama_index", __package__)
    more: dict[str, Reader] = {}
    for suffix, name in named.items():
        reader_class = load(name, "reader", field="knowledge.readers", folders=folders)
        more[suffix.lower()] = llama.document_reader(reader_class)
    return {**READERS, **more}


def read(path: Path, source: str, readers: Mapping[str, Reader] = READERS) -> Document:
    """The file's text and structure. `source` is the name that citations will carry.

    Raises:
        UnreadableDocument: unknown kind, too large, empty, damaged, encrypted, or without any text.
    """
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UnreadableDocument(f"no reader for '{path.suffix or path.name}' files (known: {' '.join(readers)})")
    try:
        size = path.stat().st_size
        if size > MAX_DOCUMENT_BYTES:
            raise UnreadableDocument(f"{size / 1e6:.0f} MB is more than the limit of {MAX_DOCUMENT_BYTES / 1e6:.0f} MB")
        if size == 0:
            raise UnreadableDocument("the file is empty")
        document = reader(path, source)
    except UnreadableDocument:
        raise
    except RecursionError as error:
        raise UnreadableDocument("it is nested too deeply") from error
    except OSError as error:
        raise UnreadableDocument(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # parsers meet broken files with whatever they run into; one file never stops a build
        raise UnreadableDocument(f"it is damaged: {error or type(error).__name__}") from error
    if not document.blocks:
        raise UnreadableDocument("there is no text in it")
    return replace(document, notes=(*document.notes, *_doubts(document.text)))


def _doubts(text: str) -> list[str]:
    """What looks wrong in a text that could be read."""
    doubts = []
    if found := _TWICE_ENCODED.search(text):
        doubts.append(f"letters look encoded twice ({found[0]!r}): save it again as UTF-8")
    if lost := text.count("\ufffd"):
        doubts.append(f"{lost} letter{'s'[: lost > 1]} could not be read")
    return doubts
