"""AsciiDoc: headings, paragraphs, lists, tables, code. Comments, attributes and includes are left out."""

from __future__ import annotations

import re
from pathlib import Path

from ..documents import Document, Outline
from .tables import TableCell, add_table
from .text import decode, is_list_item, title_of

_HEADING = re.compile(r"(={1,6}|#{1,6})[ \t]+(\S.*)")
_DELIMITER = re.compile(r"(?:-{4,}|\.{4,}|={4,}|\*{4,}|_{4,}|\+{4,}|/{4,}|--|```.*)")
_VERBATIM = ("----", "....", "++++", "```")
_TABLE = re.compile(r"[|,:!]={3,}")
_CELL = re.compile(r"(?:(?<=\s)|\A)(?:(?P<columns>\d{1,2})\+)?[<^>.]*[aehlmsd]?\|")
_COLUMNS = re.compile(r"cols=\"?(?:(?P<times>\d{1,2})\*|(?P<list>[^\"\]]+))")
_NOT_TEXT = re.compile(
    r"//(?!/).*|:!?[\w-]+!?:(?:[ \t].*)?|\[[^\]\n]*\]|(?:include|ifdef|ifndef|ifeval|endif|toc)::.*|<<<|'{3}|\+"
)
_IMAGE = re.compile(r"image::?[^\s\[]+\[([^\],]*)[^\]]*\]")
_LINK = re.compile(r"(?:link:)?((?:https?://|mailto:)[^\s\[\]]+)\[([^\]]*)\]")
_REFERENCE = re.compile(r"<<[^,>\n]*,([^>\n]+)>>|xref:[^\s\[]+\[([^\]]+)\]")
_ITEM = re.compile(r"(?P<mark>\*{1,5}|\.{1,5}|-)[ \t]+(?=\S)")


def read_asciidoc(path: Path, source: str) -> Document:
    """AsciiDoc; what it includes from elsewhere is not read."""
    reader = _Reader(Outline())
    for line in decode(path.read_bytes()).split("\n"):
        reader.take(line.rstrip())
    reader.end_block()
    outline = reader.outline
    return outline.document(source, outline.main_title or title_of(source))


class _Reader:
    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self._lines: list[str] = []
        self._fence = ""
        """The delimiter that ends the present block; empty outside."""
        self._attributes = ""
        """Said in brackets about the next block."""
        self._title = ""
        self._number = 0
        """Of the last numbered item in the present list."""

    def take(self, line: str) -> None:
        """The next line."""
        if self._fence:
            self._inside(line)
        elif _TABLE.fullmatch(line) or _DELIMITER.fullmatch(line):
            self.end_block()
            self._fence = line if not line.startswith("```") else "```"
        elif found := _HEADING.fullmatch(line):
            self.end_block()
            self._number = 0
            self.outline.heading(len(found[1]), _plain(found[2]))
        elif not line.strip():
            self.end_block()
        elif re.fullmatch(r"\.[^\s.].*", line) and not self._lines:
            self._title = _plain(line[1:])
        elif _NOT_TEXT.fullmatch(line):
            self._attributes += line if line.startswith("[") else ""
        else:
            if _ITEM.match(line) or is_list_item(line):
                self.end_block()
            self._lines.append(line)

    def end_block(self) -> None:
        """What was collected becomes a paragraph, a list item or a table."""
        text, self._lines = "\n".join(self._lines), []
        if not text.strip():
            return
        if self._title:
            self.outline.paragraph(self._title)
            self._title = ""
        item = _ITEM.match(text)
        numbered = item is not None and item["mark"].startswith(".")
        self._number = self._number + 1 if numbered else 0
        if item:
            text = f"{self._number}. " * numbered + "- " * (not numbered) + text[item.end() :]
        self.outline.paragraph(_plain(text), joined=bool(item) or is_list_item(text))

    def _inside(self, line: str) -> None:
        if line != self._fence:
            self._lines.append(line)
            return
        fence, self._fence = self._fence, ""
        if _TABLE.fullmatch(fence):
            self._table(fence)
        elif fence.startswith(_VERBATIM):
            self.outline.paragraph("\n".join(self._lines))
        elif not fence.startswith("////"):
            inner, self._lines = self._lines, []
            for other in (*inner, ""):
                self.take(other)
        self._lines = []

    def _table(self, fence: str) -> None:
        lines, self._lines = self._lines, []
        caption, self._title = self._title, ""
        said, self._attributes = self._attributes, ""
        if fence[0] != "|":
            rows = [
                [TableCell(_plain(cell.strip())) for cell in line.split(fence[0])] for line in lines if line.strip()
            ]
        else:
            rows = _rows(lines, said)
        if rows and ("header" in said or (len(lines) > 1 and bool(lines[0].strip()) and not lines[1].strip())):
            rows[0] = [TableCell(cell.text, True, cell.columns) for cell in rows[0]]
        add_table(self.outline, rows, caption)


def _rows(lines: list[str], attributes: str) -> list[list[TableCell]]:
    """Cells begin at bars. The attributes, or else the first line, tell how many columns there are."""
    cells: list[TableCell] = []
    first = 0
    for line in lines:
        marks = list(_CELL.finditer(line))
        first = first or len(marks)
        if not marks and cells and line.strip():
            cells[-1] = TableCell(f"{cells[-1].text} {_plain(line.strip())}".strip(), False, cells[-1].columns)
        for mark, after in zip(marks, [*marks[1:], None][: len(marks)], strict=True):
            text = line[mark.end() : after.start() if after else None]
            cells.append(TableCell(_plain(text.strip().replace("\\|", "|")), False, int(mark["columns"] or 1)))
    said = _COLUMNS.search(attributes)
    width = (int(said["times"] or 0) or said["list"].count(",") + 1) if said else first
    rows: list[list[TableCell]] = []
    filled = width
    for cell in cells:
        if filled >= width:
            rows.append([])
            filled = 0
        rows[-1].append(cell)
        filled += cell.columns
    return rows


def _plain(text: str) -> str:
    """Without the marks of links and pictures."""
    text = _LINK.sub(lambda found: f"{found[2]} ({found[1]})" if found[2] else found[1], text)
    return _REFERENCE.sub(lambda found: found[1] or found[2], _IMAGE.sub(r"\1", text))
