"""Word documents (docx): headings by style, paragraphs, lists, tables. Read as they stand with all changes accepted.

Walked by hand, because python-docx shows neither content controls, tracked insertions, text boxes nor nested tables.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import docx
from docx.document import Document as WordFile
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.exceptions import PackageNotFoundError
from docx.oxml.ns import qn
from docx.text.paragraph import Paragraph
from lxml.etree import LxmlError

from ....core.errors import UnreadableDocument
from ..documents import Document, Outline
from .tables import TableCell, add_table
from .text import link_target, raised, title_of

MAX_UNPACKED = 200_000_000
"""Bytes that the parts of a document may have when unpacked: a zip bomb is refused before it is opened."""

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_GONE = {
    *(f"{_W}{name}" for name in ("del", "moveFrom", "instrText", "delText", "pPr", "rPr", "sectPr", "tblPr", "trPr")),
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",  # the same again, for old programs
}
"""What is not text, or is struck out."""
_NUMBERS = ("decimal", "decimalZero", "upperLetter", "upperRoman", "lowerRoman", "lowerLetter")
_PICTURE = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}docPr"
_HIDING = ("vanish", "strike", "dstrike")
_LETTERS = {
    **dict.fromkeys((f"{_W}tab", f"{_W}ptab"), " "),
    **dict.fromkeys((f"{_W}br", f"{_W}cr"), "\n"),
    f"{_W}noBreakHyphen": "-",
}


def read_docx(path: Path, source: str) -> Document:
    """A Word document; headers, footers, comments, hidden text and deleted text are left out."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_UNPACKED:
            raise UnreadableDocument(f"it unpacks to {unpacked / 1e6:.0f} MB (limit {MAX_UNPACKED / 1e6:.0f} MB)")
        file = docx.Document(str(path))
    except (zipfile.BadZipFile, PackageNotFoundError, KeyError, ValueError, LxmlError) as error:
        raise UnreadableDocument(f"it is not a Word document: {error}") from error
    outline = Outline()
    _add_blocks(file.element.body, _Word(file), outline)
    title = file.core_properties.title.strip()
    return outline.document(source, title or outline.main_title or title_of(source))


class _Word:
    """What the paragraphs of a file refer to."""

    def __init__(self, file: WordFile) -> None:
        self.body = file._body
        styles = {style.get(f"{_W}styleId"): style for style in file.styles.element.findall(f"{_W}style")}
        self.hidden = {name for name in styles if self._is_hidden(name, styles)}
        """Styles of paragraphs and letters that hide what they are given to, or strike it out."""
        self.targets = {name: relation.target_ref for name, relation in file.part.rels.items() if relation.is_external}
        """Where links lead, by the names that the file has for that."""
        self._styles = styles
        self._formats = dict(_number_formats(file))
        self._counts: Counter[tuple[str, int]] = Counter()

    @staticmethod
    def _is_hidden(name: Any, styles: dict[Any, Any]) -> bool:
        seen = set()
        while name in styles and name not in seen:
            seen.add(name)
            marks = [mark for mark in map(styles[name].find, (f"{_W}rPr/{_W}{kind}" for kind in _HIDING))]
            if any(mark is not None for mark in marks):
                return any(map(_is_on, marks))
            based = styles[name].find(f"{_W}basedOn")
            name = based.get(f"{_W}val") if based is not None else None
        return False

    def mark(self, paragraph: Any) -> str:
        """What stands before an item of a list: its number, or a dash; empty for other paragraphs."""
        numbering = paragraph.find(f"{_W}pPr/{_W}numPr")
        style, seen = paragraph.find(f"{_W}pPr/{_W}pStyle"), set()
        while numbering is None and style is not None and style.get(f"{_W}val") not in seen:
            seen.add(style.get(f"{_W}val"))
            found = self._styles.get(style.get(f"{_W}val"))
            numbering = found.find(f"{_W}pPr/{_W}numPr") if found is not None else None
            style = found.find(f"{_W}basedOn") if found is not None else None
        if numbering is None:
            return ""
        which = numbering.find(f"{_W}numId")
        name = which.get(f"{_W}val", "") if which is not None else ""
        level = _number(numbering.find(f"{_W}ilvl"), 0)
        kind, start = self._formats.get((name, level), ("bullet", 1))
        for deeper in [key for key in self._counts if key[0] == name and key[1] > level]:
            del self._counts[deeper]
        self._counts[name, level] += 1
        number = start + self._counts[name, level] - 1
        if kind == "lowerLetter" and 1 <= number <= len(ascii_lowercase):
            return f"{ascii_lowercase[number - 1]}. "
        return f"{number}. " if kind in _NUMBERS else "- "

    def is_shown(self, node: Any) -> bool:
        """Whether the text below a node is: a run may be hidden by itself, by its style, or be white on white."""
        if not isinstance(node.tag, str) or node.tag in _GONE or node.tag == f"{_W}txbxContent":
            return False
        marks = node.find(f"{_W}rPr") if node.tag == f"{_W}r" else None
        if marks is None:
            return True
        own = [marks.find(f"{_W}{name}") for name in _HIDING]
        if any(mark is not None for mark in own):
            return not any(map(_is_on, own))
        style = marks.find(f"{_W}rStyle")
        return not (style is not None and style.get(f"{_W}val") in self.hidden) and not _is_white(node, marks)


def _number_formats(file: WordFile) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    """List and level to the kind of its numbers and the first of them."""
    part: Any = next(
        (rel.target_part for rel in file.part.rels.values() if rel.reltype == RELATIONSHIP_TYPE.NUMBERING), None
    )
    root = getattr(part, "element", None)
    if root is None:
        return
    kinds = {kind.get(f"{_W}abstractNumId"): kind for kind in root.findall(f"{_W}abstractNum")}
    for number in root.findall(f"{_W}num"):
        abstract = number.find(f"{_W}abstractNumId")
        kind = kinds.get(abstract.get(f"{_W}val")) if abstract is not None else None
        for level in kind.findall(f"{_W}lvl") if kind is not None else ():
            form, at = level.find(f"{_W}numFmt"), level.get(f"{_W}ilvl", "0")
            if form is not None and at.isascii() and at.isdigit():
                key = number.get(f"{_W}numId", ""), int(at)
                yield key, (form.get(f"{_W}val", ""), _number(level.find(f"{_W}start"), 1))


def _is_white(run: Any, marks: Any) -> bool:
    """White letters where nothing has a colour: tables and boxes have styles of their own, with dark grounds."""
    colour = marks.find(f"{_W}color")
    if colour is None or colour.get(f"{_W}val", "").upper() != "FFFFFF":
        return False
    inside = {f"{_W}tc", f"{_W}txbxContent"}
    above = list(run.iterancestors())
    shaded = any(node.find(f"{_W}{kind}/{_W}shd") is not None for node in (run, *above) for kind in ("rPr", "pPr"))
    return not shaded and marks.find(f"{_W}highlight") is None and not any(node.tag in inside for node in above)


def _add_blocks(parent: Any, file: _Word, outline: Outline) -> None:
    for block in _blocks(parent):
        if block.tag == f"{_W}tbl":
            rows = [list(_children(row, f"{_W}tc")) for row in _children(block, f"{_W}tr")]
            if any(len(row) > 1 for row in rows):
                add_table(outline, _rows(block, file))
            else:  # one column puts text in its place, and is no table of values
                for cell in chain.from_iterable(rows):
                    _add_blocks(cell, file, outline)
        else:
            _add_paragraph(block, file, outline)
            for box in _boxes(block):
                _add_blocks(box, file, outline)


def _blocks(parent: Any) -> Iterator[Any]:
    """Paragraphs and tables, also those inside content controls and tracked insertions."""
    for child in parent:
        if child.tag in (f"{_W}p", f"{_W}tbl"):
            yield child
        elif isinstance(child.tag, str) and child.tag not in _GONE and child.tag != f"{_W}tc":
            yield from _blocks(child)


def _add_paragraph(element: Any, file: _Word, outline: Outline) -> None:
    text = _text(element, file)
    style = Paragraph(element, file.body).style
    name = (style.name if style is not None else None) or ""
    if name == "Title":
        outline.heading(1, text)
    elif name.startswith("Heading "):
        level = name.removeprefix("Heading ")
        outline.heading(int(level) + 1 if level.isdigit() else 2, text)
    elif text.strip() and (mark := file.mark(element) or "- " * name.startswith("List")):
        outline.paragraph(mark + text.strip(), joined=True)
    else:
        outline.paragraph(text)


def _text(paragraph: Any, file: _Word) -> str:
    """The paragraph's own text: without its text boxes, and without what is hidden, struck out or deleted."""
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    if style is not None and style.get(f"{_W}val") in file.hidden:
        return ""
    parts: list[str] = []
    waiting: list[Any] = list(reversed(paragraph))
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            parts.append(node)
        elif node.tag == f"{_W}t":
            parts.append(raised(node.text or "") if _is_raised(node) else node.text or "")
        elif node.tag in _LETTERS:
            parts.append(_LETTERS[node.tag])
        elif node.tag == _PICTURE:
            parts.append(node.get("descr", ""))
        elif file.is_shown(node):
            if node.tag == f"{_W}hyperlink":
                waiting.append(link_target(file.targets.get(node.get(qn("r:id")), ""), "".join(node.itertext())))
            waiting += reversed(node)
    return "".join(parts)


def _is_raised(letters: Any) -> bool:
    mark = letters.getparent().find(f"{_W}rPr/{_W}vertAlign")
    return mark is not None and mark.get(f"{_W}val") == "superscript"


def _is_on(mark: Any) -> bool:
    return mark is not None and mark.get(qn("w:val"), "true") not in ("0", "false", "off", "none")


def _boxes(paragraph: Any) -> Iterator[Any]:
    """Text boxes that hang on a paragraph, each once; those inside a box come with it."""
    waiting = list(reversed(paragraph))
    while waiting:
        node = waiting.pop()
        if node.tag == f"{_W}txbxContent":
            yield node
        elif isinstance(node.tag, str) and node.tag not in _GONE:
            waiting += reversed(node)


# Tables


def _rows(table: Any, file: _Word) -> list[list[TableCell]]:
    """Rows with their spans; a cell that goes on from above belongs to the cell where it began."""
    rows: list[list[TableCell]] = []
    open_cells: dict[int, tuple[int, int]] = {}
    for row in _children(table, f"{_W}tr"):
        marked = _is_on(row.find(f"{_W}trPr/{_W}tblHeader"))
        if row.find(f"{_W}trPr/{_W}del") is not None:
            continue
        cells: list[TableCell] = []
        place = _number(row.find(f"{_W}trPr/{_W}gridBefore"), 0)
        for element in _children(row, f"{_W}tc"):
            width = _number(element.find(f"{_W}tcPr/{_W}gridSpan"), 1)
            merged = element.find(f"{_W}tcPr/{_W}vMerge")
            if merged is not None and merged.get(qn("w:val"), "continue") == "continue" and place in open_cells:
                at = open_cells[place]
                rows[at[0]][at[1]] = _taller(rows[at[0]][at[1]])
            else:
                open_cells.pop(place, None)
                if merged is not None:
                    open_cells[place] = len(rows), len(cells)
                cells.append(_cell(element, file, marked, width))
            place += width
        rows.append(cells)
    return rows


def _taller(cell: TableCell) -> TableCell:
    return TableCell(cell.text, cell.head, cell.columns, cell.rows + 1, cell.tables)


def _children(parent: Any, tag: str) -> Iterator[Any]:
    """Rows or cells, also those inside content controls."""
    for child in parent:
        if child.tag == tag:
            yield child
        elif isinstance(child.tag, str) and child.tag not in (*_GONE, f"{_W}p", f"{_W}tbl"):
            yield from _children(child, tag)


def _cell(element: Any, file: _Word, marked: bool, width: int) -> TableCell:
    texts, tables, bold = [], [], True
    for block in _with_boxes(_blocks(element)):
        if block.tag == f"{_W}tbl":
            tables.append(_rows(block, file))
        else:
            texts.append(_text(block, file).strip())
            bold = bold and _is_bold(block)
    text = " ".join(filter(None, texts))
    return TableCell(text, marked or (bold and bool(text)), width, 1, tuple(tables))


def _with_boxes(blocks: Iterable[Any]) -> Iterator[Any]:
    for block in blocks:
        yield block
        if block.tag == f"{_W}p":
            for box in _boxes(block):
                yield from _with_boxes(_blocks(box))


def _is_bold(paragraph: Any) -> bool:
    """Whether all its words are: people mark the names in their tables so."""
    runs = [run for run in paragraph.iter(f"{_W}r") if any(text.text for text in run.iter(f"{_W}t"))]
    return all(_is_on(run.find(f"{_W}rPr/{_W}b")) for run in runs)


def _number(node: Any, default: int) -> int:
    value = node.get(qn("w:val"), "") if node is not None else ""
    return int(value[:4]) if value.isascii() and value.isdigit() else default
