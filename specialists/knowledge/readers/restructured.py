"""reStructuredText by way of docutils; what Sphinx adds to it is passed through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import Directive, directives, roles
from docutils.parsers.rst.languages import en

from ..documents import Document, Outline
from .tables import TableCell, add_table
from .text import decode, title_of

_DIRECTIVE = re.compile(r"^[ \t]*\.\.[ \t]+(?:\|[^|\n]+\|[ \t]+)?([\w:+.-]+)::", re.MULTILINE)
_ROLE = re.compile(r":([\w:+.-]+):`|`:([\w:+.-]+):")
_TARGET = re.compile(r"\s*<[^<>]*>\s*\Z")
_NOT_TEXT = ("toctree", "index", "contents", "sectnum", "meta", "highlight", "currentmodule", "tabularcolumns")
_SKIPPED = (
    nodes.comment,
    nodes.target,
    nodes.substitution_definition,
    nodes.system_message,
    nodes.raw,
    nodes.pending,
    nodes.docinfo,
    nodes.problematic,
)
_SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,
    "halt_level": 5,
    "doctitle_xform": False,
    "docinfo_xform": False,
    "syntax_highlight": "none",
    "smart_quotes": False,
    "line_length_limit": 1_000_000,
    "_disable_config": True,
}
_MOST_NAMES = 200


def read_rst(path: Path, source: str) -> Document:
    """reStructuredText: headings, paragraphs, lists, tables, code. Comments and what is not text are left out."""
    text = decode(path.read_bytes())
    _pass_unknown_names(text)
    outline = Outline()
    _Writer(outline).add(publish_doctree(text, settings_overrides=_SETTINGS), 0)
    return outline.document(source, outline.main_title or title_of(source))


# Names that docutils does not know, those of Sphinx for instance, would cost the text below them.


class _Passed(Directive):
    """A directive of somebody else's: its argument and content are text."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        if self.name in _NOT_TEXT:
            return []
        box = nodes.container()
        if self.content:
            self.state.nested_parse(self.content, self.content_offset, box)
        argument = " ".join(" ".join(self.arguments).split())
        return [*([nodes.paragraph(argument, argument)] if argument else []), *box.children]


def _passed_role(_name: str, raw: str, text: str, *_: Any, **__: Any) -> tuple[list[nodes.Node], list[nodes.Node]]:
    shown = _TARGET.sub("", nodes.unescape(text)) or text
    return [nodes.inline(raw, shown.lstrip("~!"))], []


def _pass_unknown_names(text: str) -> None:
    for name in sorted({name.lower() for name in _DIRECTIVE.findall(text)} - en.directives.keys())[:_MOST_NAMES]:
        directives.register_directive(name, _Passed)
    named = {(before or after).lower() for before, after in _ROLE.findall(text)}
    register: Any = roles.register_local_role  # its type asks for less than every role of docutils gives
    for name in sorted(named - en.roles.keys())[:_MOST_NAMES]:
        register(name, _passed_role)


# From docutils' tree to an outline.


class _Writer:
    def __init__(self, outline: Outline) -> None:
        self._outline = outline

    def add(self, node: Any, level: int, prefix: str = "", listed: bool = False) -> None:
        """What is below a node; `prefix` stands before the first paragraph, and `listed` text belongs to a list."""
        for child in node.children:
            if isinstance(child, _SKIPPED):
                continue
            if isinstance(child, nodes.section):
                self.add(child, level + 1)
            elif isinstance(child, (nodes.title, nodes.rubric)) and isinstance(node, (nodes.section, nodes.document)):
                self._outline.heading(max(1, level + isinstance(child, nodes.rubric)), _text(child))
            elif isinstance(child, (nodes.bullet_list, nodes.enumerated_list)):
                self._list(child, level)
            elif isinstance(child, nodes.table):
                self._table(child)
            elif isinstance(child, (nodes.definition_list_item, nodes.field, nodes.option_list_item)):
                self._pair(child, level)
            elif _is_text(child):
                self._outline.paragraph(prefix + _text(child), joined=listed or bool(prefix))
                prefix = ""
            else:
                self.add(child, level, prefix, listed)
                prefix = ""

    def _list(self, node: Any, level: int) -> None:
        number = node.get("start", 1)
        for item in node.children:
            self.add(item, level, f"{number}. " if isinstance(node, nodes.enumerated_list) else "- ", listed=True)
            number += 1

    def _pair(self, node: Any, level: int) -> None:
        """A term or a name, and what is said about it, in one paragraph where that is one."""
        *names, said = node.children
        name = ", ".join(filter(None, map(_text, names)))
        if len(said.children) == 1 and _is_text(said.children[0]):
            self._outline.paragraph(f"{name}: {_text(said)}", joined=True)
        else:
            self._outline.paragraph(f"{name}:" if name else "", joined=True)
            self.add(said, level, listed=True)

    def _table(self, node: Any) -> None:
        title = next(iter(node.findall(nodes.title)), None)
        rows = []
        for row in node.findall(nodes.row):
            head = isinstance(row.parent, nodes.thead)
            rows.append([_cell(entry, head) for entry in row.children])
        add_table(self._outline, rows, _text(title) if title is not None else "")


def _cell(entry: Any, head: bool) -> TableCell:
    parts = [_text(node) for node in entry.findall(_is_text)]
    return TableCell(" ".join(filter(None, parts)), head, entry.get("morecols", 0) + 1, entry.get("morerows", 0) + 1)


def _is_text(node: Any) -> bool:
    """Whether a node holds words, and no blocks."""
    return isinstance(node, (nodes.TextElement, nodes.image)) and not isinstance(node.parent, nodes.TextElement)


def _text(node: Any) -> str:
    if isinstance(node, (nodes.literal_block, nodes.doctest_block, nodes.line_block)):
        return node.astext()
    return "".join(_pieces(node)).strip()


def _pieces(node: Any) -> Iterator[str]:
    if isinstance(node, nodes.Text):
        yield re.sub(r"\s*\n\s*", "\n", node.astext())
    elif isinstance(node, nodes.image):
        yield node.get("alt", "")
    elif not isinstance(node, _SKIPPED):
        for child in node.children:
            yield from _pieces(child)
        target = node.get("refuri", "") if isinstance(node, nodes.reference) else ""
        if target and target not in node.astext() and re.match(r"(?:https?://|mailto:)", target):
            yield f" ({target.removeprefix('mailto:')})"
