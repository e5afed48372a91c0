"""JSON and JSON Lines: every record becomes a section of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ....core.errors import UnreadableDocument
from ..document import Document, Outline
from .markup import add_markdown
from .text import add_paragraphs, decode, title_of

_BODY = ("text", "content", "body", "passage", "abstract")
"""Fields that hold running text; the first one present is the record's body."""
_TITLE = ("title", "name", "heading", "subject", "question", "id")
"""Fields that name a record, best first."""
_MARKDOWN = re.compile(r"^#{1,6} \S", re.MULTILINE)


def read_jsonl(path: Path, source: str) -> Document:
    """One JSON value a line."""
    outline = Outline()
    for number, line in enumerate(decode(path.read_bytes()).split("\n"), 1):
        if line.strip():
            _add_record(outline, _load(line, f"line {number}: "), f"record {number}")
    return outline.document(source, title_of(source))


def read_json(path: Path, source: str) -> Document:
    """A JSON file: a list of records, or an object whose values are records or lists of them."""
    value, outline = _load(decode(path.read_bytes()), ""), Outline()
    if isinstance(value, list):
        for number, record in enumerate(value, 1):
            _add_record(outline, record, f"record {number}")
    elif isinstance(value, dict) and not any(key in value for key in _BODY):
        _add_object(outline, value)
    else:
        _add_record(outline, value, title_of(source))
    return outline.document(source, title_of(source))


def _load(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableDocument(f"not readable as JSON: {place}{error}") from error


def _add_object(outline: Outline, value: dict[str, Any]) -> None:
    scalars = {key: item for key, item in value.items() if not isinstance(item, (list, dict))}
    if scalars:
        outline.row(list(scalars), [_scalar(item) for item in scalars.values()])
    for key, item in value.items():
        if isinstance(item, (list, dict)) and item:
            outline.heading(1, key)
            records = item.items() if isinstance(item, dict) else enumerate(item, 1)
            for name, record in records:
                _add_record(outline, record, str(name) if isinstance(item, dict) else f"record {name}", level=2)


def _add_record(outline: Outline, record: Any, label: str, level: int = 1) -> None:
    if not isinstance(record, dict):
        record = {"": record}
    flat = {key: text for key, text in _flatten(record, "") if text.strip()}
    title = next((flat[key] for key in _TITLE if key in flat and len(flat[key]) <= 200), label)
    body = next((key for key in _BODY if key in flat), None)
    outline.heading(level, title)
    rest = {key: text for key, text in flat.items() if key != body and text != title}
    if rest:
        outline.row(list(rest), list(rest.values()))
    if body is not None:
        add = add_markdown if _MARKDOWN.search(flat[body]) else add_paragraphs
        with outline.below(level):
            add(outline, flat[body])


def _flatten(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for number, item in enumerate(value, 1):
            yield from _flatten(item, f"{path}.{number}")
    else:
        yield path, ", ".join(map(_scalar, value)) if isinstance(value, list) else _scalar(value)


def _scalar(value: Any) -> str:
    return "" if value is None else str(value) if not isinstance(value, bool) else str(value).lower()
