"""Plain text, and the decoding that the other text formats share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lxml import html as lxml_html
from lxml.etree import LxmlError, iterwalk
from markdown_it import MarkdownIt

from ....core.errors import UnreadableDocument
from ..documents import Document, Outline, clean

_PARAGRAPH = re.compile(r"\n[ \t]*\n+")


def decode(data: bytes) -> str:
    """Bytes to text: UTF-8, UTF-16 with its byte order mark, else Windows' cp1252.

    Raises `UnreadableDocument` for binary data.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return clean(data.decode("utf-16", errors="replace"))
    if b"\0" in data[:8192]:
        raise UnreadableDocument("it is a binary file, not text")
    try:
        return clean(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return clean(data.decode("cp1252", errors="replace"))


def title_of(source: str) -> str:
    """A readable title from a file name.

    >>> title_of("guides/pump_care-v2.md")
    'pump care v2'
    """
    return re.sub(r"[-_\s]+", " ", Path(source).stem).strip()


def add_paragraphs(outline: Outline, text: str) -> None:
    """Running text, cut at blank lines."""
    for paragraph in _PARAGRAPH.split(text):
        outline.paragraph(paragraph)


def read_text_file(path: Path, source: str) -> Document:
    """A text file; paragraphs are separated by blank lines."""
    outline = Outline()
    add_paragraphs(outline, decode(path.read_bytes()))
    return outline.document(source, title_of(source))


# HTML, and Markdown by way of HTML: headings, paragraphs, lists, tables, code.


_SKIPPED = {"script", "style", "template", "noscript", "svg", "head", "iframe", "object", "select", "button", "nav"}


_INLINE = {
    *("a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img", "input"),
    *("ins", "kbd", "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time"),
    *("tt", "u", "var", "wbr", "br"),
}


_HEADINGS = {f"h{level}": level for level in range(1, 7)}


_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n(?:---|\.\.\.)\n", re.DOTALL)


_XML_HEADER = re.compile(r"\A\s*<\?xml[^>]*\?>")


_MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def read_html(path: Path, source: str) -> Document:
    """A web page. Scripts, styles and navigation are left out."""
    return _html_document(decode(path.read_bytes()), source, Outline())


def read_markdown(path: Path, source: str) -> Document:
    """Markdown (CommonMark and tables). Front matter is left out, except its `title`."""
    text = decode(path.read_bytes())
    front = _FRONT_MATTER.match(text)
    title = re.search(r"^title:\s*[\"']?(.+?)[\"']?\s*$", front[1], re.MULTILINE) if front else None
    outline = Outline()
    add_markdown(outline, text[front.end() :] if front else text)
    return outline.document(source, title[1] if title else outline.main_title or title_of(source))


def add_markdown(outline: Outline, text: str) -> None:
    """Put Markdown text into the outline."""
    _walk(_parse(_MARKDOWN.render(text)), outline)


def _html_document(text: str, source: str, outline: Outline) -> Document:
    tree = _parse(text)
    _walk(tree, outline)
    found = tree.find(".//title")
    title = " ".join(found.text_content().split()) if found is not None else ""
    return outline.document(source, title or outline.main_title or title_of(source))


def _parse(text: str) -> Any:
    if not text.strip():
        raise UnreadableDocument("there is no text in it")
    try:
        parser = lxml_html.HTMLParser(encoding="utf-8", huge_tree=True)
        return lxml_html.document_fromstring(_XML_HEADER.sub("", text).encode(), parser=parser)
    except LxmlError as error:
        raise UnreadableDocument(f"not readable as HTML: {error}") from error


class _Buffer:
    """Inline text up to the next block."""

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self.parts: list[str] = []
        self.prefix = ""
        self.verbatim = 0
        self.level = 0
        self.lists: list[int] = []
        """Next number of each open list, innermost last; 0 in lists without numbers."""

    def flush(self) -> None:
        text = "".join(self.parts)
        self.parts = []
        if not self.verbatim:
            text = "\n".join(" ".join(line.split()) for line in text.split("\n")).strip()
        if not text.strip():
            return
        if self.level:
            self.outline.heading(self.level, text)
        else:
            self.outline.paragraph(self.prefix + text, joined=bool(self.prefix))
            self.prefix = ""

    def write(self, text: str | None) -> None:
        if text:
            self.parts.append(text if self.verbatim else re.sub(r"\s+", " ", text))


def _walk(tree: Any, outline: Outline) -> None:
    """Visit the tree without recursion, so that deep nesting cannot break it."""
    buffer = _Buffer(outline)
    walker = iterwalk(tree, events=("start", "end", "comment", "pi"))
    for event, node in walker:
        name = node.tag if isinstance(node.tag, str) else ""
        if event == "start":
            if name in _SKIPPED or name == "table":
                walker.skip_subtree()
                if name == "table":
                    buffer.flush()
                    _add_table(node, outline)
                continue
            _open(name, node, buffer)
        else:
            _close(name, node, buffer)
    buffer.flush()


def _open(name: str, node: Any, buffer: _Buffer) -> None:
    if name == "br":
        buffer.parts.append("\n")
    elif name not in _INLINE:
        buffer.flush()
        buffer.level = _HEADINGS.get(name, 0)
        buffer.verbatim += name == "pre"
        _open_list(name, node, buffer)
    buffer.write(node.text)


def _open_list(name: str, node: Any, buffer: _Buffer) -> None:
    if name in ("ol", "ul"):
        start = node.get("start", "1")
        buffer.lists.append(0 if name == "ul" else int(start) if start.isascii() and start.isdigit() else 1)
    elif name == "li":
        number = buffer.lists[-1] if buffer.lists else 0
        buffer.prefix = f"{number}. " if number else "- "
        if number:
            buffer.lists[-1] += 1


def _close(name: str, node: Any, buffer: _Buffer) -> None:
    if name and name not in _INLINE and name not in _SKIPPED and name != "table":
        buffer.flush()
        buffer.level = 0
        buffer.verbatim -= name == "pre"
        buffer.prefix = "" if name == "li" else buffer.prefix
        if name in ("ol", "ul") and buffer.lists:
            buffer.lists.pop()
    buffer.write(node.tail)


def _add_table(table: Any, outline: Outline) -> None:
    """Rows under the names of the first row; tables of one column are layout, not data."""
    rows = [r for r in table.iter("tr") if next(r.iterancestors("table"), None) is table]
    cells = [[(c.tag == "th", " ".join(c.text_content().split())) for c in r.iter("td", "th")] for r in rows]
    cells = [row for row in cells if any(text for _, text in row)]
    if all(len(row) == 1 for row in cells):
        for row in cells:
            outline.paragraph(row[0][1])
        return
    heads = [all(head for head, _ in row) for row in cells]
    side = not any(heads) and all(row[0][0] for row in cells)
    columns = [text for _, text in cells[0]] if not side else []
    if len(cells) == 1 or side:
        for row in cells:
            names = [text for head, text in row if head]
            outline.row(names, [text for head, text in row if not head] or names)
        return
    for row in cells[1:]:
        outline.row(columns, [text for _, text in row])
