"""What steps give, typed: text with its citations, a number with its unit, a table, a file …

Results are saved with a run, so they are plain values. Templates read them by their fields: `{{ downtime.rows }}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter

from ...core.types import Answer, Citation, ToolCall, Touch, Value

FILE_KINDS = {
    ".md": "text/markdown",
    ".html": "text/html",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".svg": "image/svg+xml",
    ".csv": "text/csv",
    ".json": "application/json",
    ".txt": "text/plain",
}
"""Suffixes of files that steps make, and their media types."""


class ResultValue(Value):
    """What every result has."""

    shown: ClassVar[tuple[str, ...]] = ()
    """What templates may read beside the fields."""
    citations: tuple[Citation, ...] = ()
    touched: tuple[Touch, ...] = ()
    """What it was made of; decides which tools may act on it."""


class Text(ResultValue):
    """Words, and where they stand."""

    kind: Literal["text"] = "text"
    text: str
    confidence: float = 1.0
    by: str = ""
    """The specialist who said it."""

    def __str__(self) -> str:
        return self.text

    def __len__(self) -> int:
        return len(self.text)


class Number(ResultValue):
    """A number with its unit, which may be empty."""

    shown = ("text",)
    kind: Literal["number"] = "number"
    value: int | float
    unit: str = ""

    @property
    def text(self) -> str:
        """As people write it: no more than 12 digits, and the unit."""
        whole = float(self.value).is_integer() and abs(self.value) < 1e15
        return f"{int(self.value) if whole else format(self.value, '.12g')} {self.unit}".strip()

    def __str__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        return self.value != 0


class Table(ResultValue):
    """Rows by the names of their columns."""

    shown = ("column", "text")
    kind: Literal["table"] = "table"
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]

    def column(self, name: str) -> list[Any]:
        """The values of a column, row by row.

        Raises:
            KeyError: there is no such column.
        """
        if name not in self.columns:
            raise KeyError(f"there is no column '{name}'; available: {', '.join(self.columns)}")
        return [row.get(name) for row in self.rows]

    @property
    def text(self) -> str:
        """A line for each row."""
        return "\n".join(" | ".join(_shown(row.get(name)) for name in self.columns) for row in self.rows)

    def __str__(self) -> str:
        return self.text

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return iter(self.rows)


class Truth(ResultValue):
    """Yes or no."""

    kind: Literal["truth"] = "truth"
    value: bool

    def __str__(self) -> str:
        return "yes" if self.value else "no"

    def __bool__(self) -> bool:
        return self.value


class Data(ResultValue):
    """What JSON can say; templates read its own fields: `{{ delivery.supplier }}`."""

    shown = ("text", "rows")
    kind: Literal["data"] = "data"
    value: Any

    @property
    def text(self) -> str:
        """A text as it is, anything else as JSON."""
        return _shown(self.value)

    @property
    def rows(self) -> list[Any]:
        """The items of a list: a table without rows is an empty list."""
        return self.value if isinstance(self.value, list) else []

    def __str__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        return bool(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return iter(self.value)


class File(ResultValue):
    """A file that a step wrote."""

    shown = ("name",)
    kind: Literal["file"] = "file"
    path: str
    media: str
    """Its media type, such as `image/png`."""

    @property
    def name(self) -> str:
        """Without its folder."""
        return Path(self.path).name

    def __str__(self) -> str:
        return self.path


class Items(ResultValue):
    """What a loop gave: for each item its results by the names of the steps, and the item itself by the loop's name."""

    kind: Literal["items"] = "items"
    items: tuple[dict[str, StepResult], ...]
    more: int = 0
    """Items of the list that the loop's bound left out."""

    def __str__(self) -> str:
        return "\n".join(", ".join(f"{name}: {result}" for name, result in item.items()) for item in self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[dict[str, StepResult]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return iter(self.items)


class Skipped(ResultValue):
    """Nothing, and why. In templates it is false, empty, and says so where it is printed."""

    kind: Literal["skipped"] = "skipped"
    reason: str
    nearest: tuple[Citation, ...] = ()
    """What came nearest to an answer, where nobody was sure of it: people may look there."""

    def __str__(self) -> str:
        return f"(left out: {self.reason}{unconfirmed(self.nearest)})"

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return iter(())


class Failed(ResultValue):
    """The step could not be done, and the run ends with it."""

    kind: Literal["failed"] = "failed"
    reason: str

    def __str__(self) -> str:
        return f"(failed: {self.reason})"

    def __bool__(self) -> bool:
        return False


StepResult = Annotated[
    Text | Number | Table | Truth | Data | File | Items | Skipped | Failed, Field(discriminator="kind")
]
"""What a step gives."""

Items.model_rebuild()

KINDS: dict[str, type[ResultValue]] = {
    "text": Text, "number": Number, "table": Table, "truth": Truth, "data": Data, "file": File, "items": Items,
}  # fmt: skip
"""The kinds of results that a step can be meant to give."""

read_result = TypeAdapter[StepResult](StepResult).validate_python
"""A result as it was saved → the value."""


_LONGEST_QUOTE = 300
"""Characters of a quote where a source is named."""


def source_line(citation: Citation) -> str:
    """What a source says, and where: the whole sentence or row, since "15 minutes" alone may be said of anything."""
    around = " ".join(citation.context.split())
    quote = around if 0 < len(around) <= _LONGEST_QUOTE else " ".join(citation.quote.split())
    quote = quote if len(quote) <= _LONGEST_QUOTE else f"{quote[: _LONGEST_QUOTE - 1]}…"
    page = f", page {citation.page}" if citation.page else ""
    return f"“{quote}” — {' › '.join((f'{citation.source}{page}', *citation.heading))}"


def unconfirmed(nearest: Sequence[Citation]) -> str:
    """What came nearest to an answer that was not given, for behind the reason; empty where there is nothing."""
    # Of such a citation the quote is the likely sentence, and the context all that stands around it.
    lines = (source_line(one.model_copy(update={"context": ""})) for one in nearest[:_NEAREST])
    return f"; not confirmed, but nearest: {'; '.join(lines)}" if nearest else ""


_NEAREST = 2


def all_citations(result: ResultValue) -> list[Citation]:
    """Of a result, and of all results inside it."""
    inner = [one for item in getattr(result, "items", ()) for part in item.values() for one in all_citations(part)]
    return [*result.citations, *inner]


def all_files(result: ResultValue) -> list[File]:
    """The files in a result."""
    inner = [one for item in getattr(result, "items", ()) for part in item.values() for one in all_files(part)]
    return [result, *inner] if isinstance(result, File) else inner


def of_answer(answer: Answer) -> StepResult:
    """What a specialist's answer is: rows are a table, other data is data, all else is text."""
    kept: dict[str, Any] = {"citations": answer.citations, "touched": answer.touched}
    if answer.data is None or isinstance(answer.data, str):
        return Text(text=answer.text, confidence=answer.confidence, by=answer.specialist or "", **kept)
    return of_value(answer.data, **kept)


def of_call(call: ToolCall, touched: Sequence[Touch] = ()) -> StepResult:
    """What a tool's result is: JSON as the data that it is, the path of a file that is there as a file, else text."""
    try:
        return of_value(json.loads(call.result), touched=touched)
    except ValueError:
        pass
    path = Path(call.result) if len(call.result) < 1000 and "\n" not in call.result else Path()
    if path.suffix in FILE_KINDS and path.is_absolute() and path.is_file():
        return File(path=call.result, media=FILE_KINDS[path.suffix], touched=tuple(touched))
    return Text(text=call.result, touched=tuple(touched))


def of_value(value: Any, **kept: Any) -> StepResult:
    """The result that a plain value is.

    Args:
        kept: `citations` and `touched`.
    """
    match value:
        case ResultValue():
            return value  # pyright: ignore[reportReturnType]
        case bool():
            return Truth(value=value, **kept)
        case int() | float():
            return Number(value=value, **kept)
        case str():
            return Text(text=value, **kept)
        case [Mapping(), *_] if all(isinstance(row, Mapping) for row in value):
            columns = tuple(dict.fromkeys(name for row in value for name in row))
            return Table(columns=columns, rows=tuple(value), **kept)
    return Data(value=value, **kept)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float):
        return str(Number(value=value))
    return json.dumps(value, ensure_ascii=False, default=str)
