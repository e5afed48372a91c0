"""Files to documents: one reader per format, chosen by the file's suffix."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

from ....core.errors import UnreadableDocument
from ....core.plugins import load
from ..documents import Document

__all__ = ["MAX_DOCUMENT_BYTES", "READERS", "READING", "Reader", "read", "with_readers"]

Reader = Callable[[Path, str], Document]
"""Takes the file and its source name; raises `UnreadableDocument` with a reason for people."""

READING = 6
"""Raised when readers, splitter or terms give something else: the next build then reads all documents again. Until then
an index that is there still opens."""

MAX_DOCUMENT_BYTES = 50_000_000
"""A larger file is refused: it would fill the memory of a small machine."""

_TWICE_ENCODED = re.compile("[ÃÂâ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]+")


def _read_with(reader: str, path: Path, source: str) -> Document:
    """Read with `.module:function`, which is imported for the first such file: parsers take long to load, and whoever
    only asks reads no file."""
    module, _, name = reader.partition(":")
    return getattr(import_module(module, __package__), name)(path, source)


_FORMATS = {
    ".markup:read_markdown": (".md", ".markdown"),
    ".text:read_text_file": (".txt", ".text", ".log"),
    ".restructured:read_rst": (".rst",),
    ".asciidoc:read_asciidoc": (".adoc", ".asciidoc"),
    ".markup:read_html": (".html", ".htm", ".xhtml"),
    ".pdf:read_pdf": (".pdf",),
    ".word:read_docx": (".docx",),
    ".records:read_csv": (".csv", ".tsv"),
    ".records:read_json": (".json",),
    ".records:read_json_lines": (".jsonl", ".ndjson"),
    ".records:read_sqlite": (".sqlite", ".sqlite3", ".db"),
}
"""Reader → suffixes."""

READERS: dict[str, Reader] = {
    suffix: partial(_read_with, reader) for reader, suffixes in _FORMATS.items() for suffix in suffixes
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
