"""HTML, and Markdown by way of HTML: headings, paragraphs, lists, tables, code. What nobody is shown is not read."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from bs4.dammit import EncodingDetector
from lxml import html as lxml_html
from lxml.etree import LxmlError, iterwalk
from markdown_it import MarkdownIt
from ruamel.yaml import YAML, YAMLError

from ....core.errors import UnreadableDocument
from ..documents import Document, Outline, clean
from .tables import TableCell, add_table
from .text import decode, link_target, raised, title_of

_SKIPPED = {
    *("script", "style", "template", "noscript", "svg", "head", "iframe", "object", "select", "button", "nav"),
    *("del", "s", "strike", "caption"),
}


_INLINE = {
    *("a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img", "input"),
    *("ins", "kbd", "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time"),
    *("tt", "u", "var", "wbr", "br"),
}


_LISTS = ("ol", "ul", "dl")


_HEADINGS = {f"h{level}": level for level in range(1, 7)}


_UNSEEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|(?:font-size|opacity)\s*:\s*0(?![.\d]*[1-9])|line-through"
    r"|(?<![-\w])(?:left|top|right|text-indent|margin-left|margin-top)\s*:\s*-\d{4,}|(?<![-\w])color\s*:\s*transparent"
    r"|clip\s*:\s*rect\(\s*(?:0|1)(?:px)?\b|clip-path\s*:\s*inset\(\s*(?:50|100)%|scale\(\s*0\s*\)",
    re.IGNORECASE,
)
"""A style that hides text, moves it off the page, or strikes it out."""
_CLOSED_BOX = re.compile(r"(?<![-\w])(?:width|height|max-width|max-height)\s*:\s*[01](?:px)?\s*(?:;|\Z)", re.IGNORECASE)
_CUT_OFF = re.compile(r"overflow\s*:\s*(?:hidden|clip)", re.IGNORECASE)
_WHITE = re.compile(
    r"(?<![-\w])color\s*:\s*(?:white|#fff(?:fff)?\b|rgb\(\s*255\s*,\s*255\s*,\s*255\s*\))", re.IGNORECASE
)
_GROUND = re.compile(r"background|bgcolor", re.IGNORECASE)
_CSS_RULE = re.compile(r"([^{}@;]+)\{([^{}]*)\}")
_CSS_CONDITION = re.compile(r"@[^{};]+\{(?:[^{}]+|\{[^{}]*\})*\}")
_CSS_NAME = re.compile(r"[a-zA-Z]*([.#][\w-]+)")
_MOST_CSS = 100_000


_XML_HEADER = re.compile(r"\A\s*<\?xml[^>]*\?>")


_MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?)^(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


_FOOTNOTE = re.compile(r"^\[\^([^\]\n]+)\]:", re.MULTILINE)


def read_html(path: Path, source: str) -> Document:
    """A web page. Scripts, styles, navigation and what is hidden or struck out are left out."""
    outline = Outline()
    tree = _parse(_decode_html(path.read_bytes()))
    _walk(tree, outline, _hidden_names(tree))
    found = tree.find(".//title")
    title = " ".join(found.text_content().split()) if found is not None else ""
    return outline.document(source, title or outline.main_title or title_of(source))


def read_markdown(path: Path, source: str) -> Document:
    """Markdown (CommonMark and tables). Front matter is left out, except its `title`."""
    title, text = _front_matter(decode(path.read_bytes()))
    outline = Outline()
    add_markdown(outline, text)
    return outline.document(source, title or outline.main_title or title_of(source))


def add_markdown(outline: Outline, text: str) -> None:
    """Put Markdown text into the outline."""
    _walk(_parse(_MARKDOWN.render(_FOOTNOTE.sub(r"\\[^\1]:", text))), outline, frozenset())


def _front_matter(text: str) -> tuple[str, str]:
    """Its title, and the text below it. What stands between two rules and is neither YAML nor TOML is text."""
    front = _FRONT_MATTER.match(text)
    if front is None:
        return "", text
    try:
        fields = YAML(typ="safe").load(StringIO(front[2])) if front[1] == "---" else tomllib.loads(front[2])
    except (YAMLError, tomllib.TOMLDecodeError, ValueError):
        fields = None
    if isinstance(fields, dict):
        return str(fields.get("title") or ""), text[front.end() :]
    # without an empty line above it, the second rule would make a heading of the text
    return "", f"{front[1]}\n\n{front[2]}\n\n{front[1]}\n\n{text[front.end() :]}"


def _decode_html(data: bytes) -> str:
    """UTF-8 where it is valid, else what the page declares, else as any text."""
    try:
        return clean(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        declared = EncodingDetector.find_declared_encoding(data[:4096], is_html=True)
    if declared and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        name = "cp1252" if declared.lower() in ("iso-8859-1", "latin1", "ascii", "us-ascii") else declared
        try:
            return clean(data.decode(name, errors="replace"))
        except LookupError:
            pass
    return decode(data)


def _parse(text: str) -> Any:
    if not text.strip():
        raise UnreadableDocument("there is no text in it")
    try:
        parser = lxml_html.HTMLParser(encoding="utf-8", huge_tree=True)
        return lxml_html.document_fromstring(_XML_HEADER.sub("", text).encode(), parser=parser)
    except LxmlError as error:
        raise UnreadableDocument(f"not readable as HTML: {error}") from error


# What a browser shows


def _hidden_names(tree: Any) -> frozenset[str]:
    """Classes (`.name`) and ids (`#name`) that the page's own style sheets hide."""
    css = " ".join(style.text or "" for style in tree.iter("style"))[:_MOST_CSS]
    rules = _CSS_RULE.findall(_CSS_CONDITION.sub("", css))
    selectors = (part.strip() for names, style in rules if _hides(style) for part in names.split(","))
    return frozenset(name[1] for name in map(_CSS_NAME.fullmatch, selectors) if name)


def _hides(style: str) -> bool:
    return bool(_UNSEEN.search(style) or (_CUT_OFF.search(style) and _CLOSED_BOX.search(style)))


def _is_white_on_white(node: Any, style: str) -> bool:
    """White letters, where neither the element, nor what it stands in, nor a style sheet speaks of a background."""
    if not _WHITE.search(style):
        return False
    around = (f"{above.get('style') or ''} {' '.join(above.keys())}" for above in (node, *node.iterancestors()))
    sheets = (sheet.text or "" for sheet in node.getroottree().iter("style"))
    linked = node.getroottree().find(".//link[@rel='stylesheet']") is not None
    return not linked and not any(_GROUND.search(text) for text in (*around, *sheets))


def _is_unseen(node: Any, hidden: frozenset[str]) -> bool:
    get = node.get
    style = get("style") or ""
    return (
        node.tag in _SKIPPED
        or get("hidden") is not None
        or get("aria-hidden") == "true"
        or (node.tag == "dialog" and get("open") is None)
        or (bool(style) and (_hides(style) or _is_white_on_white(node, style)))
        or (bool(hidden) and not hidden.isdisjoint([f"#{get('id')}", *(f".{c}" for c in (get("class") or "").split())]))
    )


# The tree, without recursion, so that deep nesting cannot break it


@dataclass
class _CellText:
    """Takes what an `Outline` takes, and keeps it as the text of one cell."""

    parts: list[str] = field(default_factory=list)
    tables: list[list[list[TableCell]]] = field(default_factory=list)

    def heading(self, level: int, text: str) -> None:
        self.parts.append(text)

    def paragraph(self, text: str, *, joined: bool = False) -> None:
        self.parts.append(text.removeprefix("- ") if joined else text)


@dataclass
class _Buffer:
    """Inline text up to the next block."""

    sink: Outline | _CellText
    parts: list[str] = field(default_factory=list)
    prefix: str = ""
    verbatim: int = 0
    level: int = 0
    lists: list[int] = field(default_factory=list)
    """Next number of each open list, innermost last; 0 in lists without numbers."""

    def flush(self) -> None:
        text = "".join(self.parts)
        self.parts = []
        if not self.verbatim:
            text = "\n".join(" ".join(line.split()) for line in text.split("\n")).strip()
        if not text.strip():
            return
        if self.level:
            self.sink.heading(self.level, text)
        else:
            self.sink.paragraph(self.prefix + text, joined=bool(self.prefix or self.lists))
            self.prefix = ""

    def write(self, text: str | None) -> None:
        if text:
            self.parts.append(text if self.verbatim else re.sub(r"\s+", " ", text))


def _walk(tree: Any, sink: Outline | _CellText, hidden: frozenset[str]) -> None:
    buffer = _Buffer(sink)
    walker = iterwalk(tree, events=("start", "end", "comment", "pi"))
    passed = None
    for event, node in walker:
        name = node.tag if isinstance(node.tag, str) else ""
        if event == "start":
            if _is_unseen(node, hidden) or (name == "table" and _table(node, buffer, hidden)):
                walker.skip_subtree()
                passed = node
            else:
                _open(name, node, buffer)
            continue
        if name and node is not passed:
            _close(name, node, buffer)
        if node is not tree:
            buffer.write(node.tail)
    buffer.flush()


def _open(name: str, node: Any, buffer: _Buffer) -> None:
    if name == "br":
        buffer.parts.append("\n")
    elif name == "img":
        buffer.write(f" {node.get('alt') or ''} ")
    elif name not in _INLINE:
        buffer.flush()
        buffer.level = _HEADINGS.get(name, 0)
        buffer.verbatim += name == "pre"
        _open_list(name, node, buffer)
    buffer.write(raised(node.text or "") if name == "sup" else node.text)


def _open_list(name: str, node: Any, buffer: _Buffer) -> None:
    if name in _LISTS:
        start = node.get("start", "1")
        buffer.lists.append(0 if name != "ol" else int(start) if start.isascii() and start.isdigit() else 1)
    elif name == "li":
        number = buffer.lists[-1] if buffer.lists else 0
        buffer.prefix = f"{number}. " if number else "- "
        if number:
            buffer.lists[-1] += 1


def _close(name: str, node: Any, buffer: _Buffer) -> None:
    if name == "a" and not buffer.level:
        buffer.write(link_target(node.get("href") or "", node.text_content()))
    if name not in _INLINE:
        buffer.flush()
        buffer.level = 0
        buffer.verbatim -= name == "pre"
        buffer.prefix = "" if name == "li" else buffer.prefix
        if name in _LISTS and buffer.lists:
            buffer.lists.pop()


# Tables


def _table(table: Any, buffer: _Buffer, hidden: frozenset[str]) -> bool:
    """Put a table into the sink; False when it has one column and is only there for the layout."""
    lines = [(row, row.getparent().tag == "thead") for row in _own_rows(table) if not _is_unseen(row, hidden)]
    if all(sum(cell.tag in ("td", "th") for cell in row) <= 1 for row, _ in lines):
        return False
    rows = [[_cell(cell, head, hidden) for cell in row if cell.tag in ("td", "th")] for row, head in lines]
    buffer.flush()
    if isinstance(buffer.sink, _CellText):
        buffer.sink.tables.append(rows)
    else:
        caption = table.find("caption")
        add_table(buffer.sink, rows, " ".join(caption.text_content().split()) if caption is not None else "")
    return True


def _own_rows(table: Any) -> list[Any]:
    rows: list[Any] = []
    for part in table.iterchildren("tr", "thead", "tbody", "tfoot"):
        rows += [part] if part.tag == "tr" else part.iterchildren("tr")
    return rows


def _cell(cell: Any, head: bool, hidden: frozenset[str]) -> TableCell:
    text = _CellText()
    if not _is_unseen(cell, hidden):
        _walk(cell, text, hidden)
    columns, rows = _span(cell.get("colspan")), _span(cell.get("rowspan"))
    return TableCell(" ".join(text.parts), head or cell.tag == "th", columns, rows, tuple(text.tables))


def _span(value: str | None) -> int:
    """A `rowspan` of 0 reaches to the end."""
    text = (value or "1").strip()
    return (int(text[:6]) or 100_000) if text.isascii() and text.isdigit() else 1
