"""File readers of llama-index, for kinds of files that metier does not read itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llama_index.core.readers.base import BaseReader

from ....core.errors import UnreadableDocument
from ..document import Document, Outline
from .text import add_paragraphs, title_of


def reader(reader_class: type[BaseReader]) -> Callable[[Path, str], Document]:
    """A reader that asks `reader_class().load_data(file)`. Several documents count as the pages of one."""

    def read(path: Path, source: str) -> Document:
        try:
            parts = [document.text for document in reader_class().load_data(path)]
        except Exception as error:  # a reader may raise anything; one bad file must not stop a build
            raise UnreadableDocument(f"{reader_class.__name__} cannot read it: {error}") from error
        outline, pages = Outline(), []
        for part in parts:
            pages.append(outline.length)
            add_paragraphs(outline, part)
        return outline.document(source, title_of(source), pages if len(parts) > 1 else ())

    return read
