"""Reports: Markdown with marks for its citations → Markdown, HTML, DOCX or PDF, the citations at the end."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import docx
from docx.document import Document as WordDocument
from docx.shared import Cm
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ...core.errors import MissingExtra
from ...core.files import write_atomic
from ...core.types import Citation
from .results import FILE_KINDS, File, Items, ResultValue, Table
from .template import Quoted, TemplateScope, fill_text, show

_MARK = re.compile(r"\[\^(\d+)\]")
_ACTIVE = re.compile(r"([\\`*_\[\]<>#|~])")
_LONGEST_QUOTE = 300
"""Characters of a quote in the list of sources."""
_FONTS = {"": "DejaVuSans", "B": "DejaVuSans-Bold", "I": "DejaVuSans-Oblique", "BI": "DejaVuSans-BoldOblique"}
"""Matplotlib brings them; they know the letters of most languages."""
_PICTURE_POINTS = 430
"""Width of a picture in a PDF, in points: it fits between the margins of A4, and its height follows."""
_STYLE = """body{font-family:system-ui,sans-serif;max-width:46em;margin:2em auto;padding:0 1em;line-height:1.5}
table{border-collapse:collapse;margin:1em 0}th,td{border:1px solid #bbb;padding:.3em .6em;text-align:left}
th{background:#f2f2f2}img{max-width:100%}.sources{font-size:.9em;color:#444}"""


def cited(seen: list[Citation]) -> Callable[[Any], str]:
    """How values stand in text whose citations are gathered in `seen`, in the order in which they come."""

    def shown(value: Any) -> str:
        _gather(value, seen)
        return show(value)

    return shown


def _gather(value: Any, seen: list[Citation]) -> list[int]:
    """The numbers of a value's citations; new ones join those that were seen."""
    numbers = list[int]()
    for citation in value.citations if isinstance(value, ResultValue | Quoted) else ():
        if citation not in seen:
            seen.append(citation)
        numbers.append(seen.index(citation) + 1)
    return numbers


class WrittenReport(NamedTuple):
    """A report in Markdown: marks such as `[^2]` point at its citations."""

    text: str
    citations: tuple[Citation, ...]

    @classmethod
    def of(cls, template: str, scope: TemplateScope) -> WrittenReport:
        """The report that a template gives.

        Raises:
            InputError: something is not there, or cannot be computed.
        """
        seen = list[Citation]()
        return cls(fill_text(template, scope, lambda value: _marked(value, seen)), tuple(seen))


def _marked(value: Any, seen: list[Citation]) -> str:
    """A value in Markdown, with marks for its citations. What came from documents means nothing to Markdown."""
    if isinstance(value, File):
        path = value.path.replace(" ", "%20")
        return f"![{value.name}]({path})" if value.media.startswith("image/") else f"`{value.name}`"
    if isinstance(value, Items):
        lines = (", ".join(_marked(part, seen) for part in item.values()) for item in value.items)
        return "\n".join(f"- {line}" for line in lines)
    marks = "".join(f"[^{number}]" for number in _gather(value, seen))
    if isinstance(value, Table):
        return f"{_markdown_table(value)}{f'{chr(10)}{marks}{chr(10)}' if marks else ''}"
    return f"{escape_markdown(show(value))}{marks}"


def escape_markdown(text: str) -> str:
    """Text that stands in Markdown as it is."""
    plain = re.sub(r"(?m)^(\s*)([-+=])", r"\1\\\2", _ACTIVE.sub(r"\\\1", text))
    return re.sub(r"(?m)^(\s*)(\d+)([.)])", r"\1\2\\\3", plain)


def _markdown_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    head = [escape_markdown(name) for name in table.columns]
    rows = [[_cell(row.get(name)) for name in table.columns] for row in table.rows]
    return "\n".join(["", line(head), line(["---"] * len(head)), *map(line, rows), ""])


def _cell(value: Any) -> str:
    return escape_markdown(" ".join(show(value).split()))


def write_report(path: Path, text: str, citations: Sequence[Citation]) -> str:
    """Write a report in the form that its name says; gives its media type.

    Args:
        path: `.md`, `.html`, `.docx` or `.pdf`.
        text: Markdown with marks.
        citations: What the marks point at; those without a mark are listed as well.

    Raises:
        MissingExtra: a PDF, and what writes it is not installed.
    """
    write = {".md": _as_markdown, ".html": _as_html, ".docx": _as_word, ".pdf": _as_pdf}[path.suffix]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, write(text, citations))
    return FILE_KINDS[path.suffix]


def _source(citation: Citation) -> str:
    page = f", page {citation.page}" if citation.page else ""
    return " › ".join((f"{citation.source}{page}", *citation.heading))


def _quote(citation: Citation) -> str:
    quote = " ".join(citation.quote.split())
    return quote if len(quote) <= _LONGEST_QUOTE else f"{quote[: _LONGEST_QUOTE - 1]}…"


def _as_markdown(text: str, citations: Sequence[Citation]) -> bytes:
    notes = [
        f"[^{number}]: “{escape_markdown(_quote(one))}” — {escape_markdown(_source(one))}"
        for number, one in enumerate(citations, 1)
    ]
    return ("\n\n".join([text.strip(), "\n".join(notes)]).strip() + "\n").encode()


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _html_body(text: str, citations: Sequence[Citation], *, inline: bool) -> str:
    """The report as HTML.

    Args:
        inline: Pictures are inside it, and not files beside it.
    """
    parser = _parser()
    tokens = parser.parse(text)
    for token in _images(tokens):
        source = str(token.attrs.get("src", ""))
        if data := _picture(source):
            whole = f"data:image/png;base64,{base64.b64encode(data).decode()}"
            token.attrs["src"] = whole if inline else source.replace("%20", " ")
    body = parser.renderer.render(tokens, parser.options, {})
    body = _MARK.sub(r'<sup><a href="#source-\1" id="mark-\1">\1</a></sup>', body)
    if not citations:
        return body
    notes = "".join(
        f'<li id="source-{number}">“{html.escape(_quote(one))}” — {html.escape(_source(one))}</li>'
        for number, one in enumerate(citations, 1)
    )
    return f'{body}<h2>Sources</h2><ol class="sources">{notes}</ol>'


def _images(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        if token.type == "image":
            yield token
        yield from _images(token.children or ())


def _picture(source: str) -> bytes | None:
    path = Path(source.replace("%20", " "))
    return path.read_bytes() if path.suffix in (".png", ".jpg") and path.is_file() else None


def _as_html(text: str, citations: Sequence[Citation]) -> bytes:
    body = _html_body(text, citations, inline=True)
    title = next((line.lstrip("# ").strip() for line in text.splitlines() if line.strip()), "Report")
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body>{body}</body></html>\n".encode()


def _as_word(text: str, citations: Sequence[Citation]) -> bytes:
    document = docx.Document()
    _Word(document).write(_parser().parse(text))
    if citations:
        document.add_heading("Sources", 2)
        for number, one in enumerate(citations, 1):
            document.add_paragraph(f"{number}. “{_quote(one)}” — {_source(one)}")
    data = io.BytesIO()
    document.save(data)
    return data.getvalue()


class _Word:
    """Markdown's tokens as the parts of a Word document."""

    def __init__(self, document: WordDocument) -> None:
        self._document = document
        self._styles: list[str] = []
        self._paragraph: Any = None
        self._cells: list[list[Token]] = []
        self._rows: list[list[list[Token]]] = []
        self._in_table = False

    def write(self, tokens: Sequence[Token]) -> None:
        """Add them to the document."""
        for before, token in pairwise([Token("start", "", 0), *tokens]):
            self._block(token, before)

    def _block(self, token: Token, before: Token) -> None:
        match token.type:
            case "bullet_list_open":
                self._styles.append("List Bullet")
            case "ordered_list_open":
                self._styles.append("List Number")
            case "blockquote_open":
                self._styles.append("Quote")
            case "bullet_list_close" | "ordered_list_close" | "blockquote_close":
                self._styles.pop()
            case "fence" | "code_block":
                self._document.add_paragraph(token.content.rstrip("\n"), "No Spacing")
            case "hr":
                self._document.add_paragraph("—" * 20)
            case "inline" if self._in_table:
                self._cells.append(token.children or [])
            case "inline":
                self._text(token, before)
            case _:
                self._table(token)

    def _text(self, token: Token, before: Token) -> None:
        if before.type == "heading_open":
            paragraph = self._document.add_heading("", int(before.tag[1:]))
        else:
            paragraph = self._document.add_paragraph("", self._styles[-1] if self._styles else None)
        self._runs(paragraph, token.children or [])

    def _table(self, token: Token) -> None:
        if token.type == "table_open":
            self._in_table, self._rows = True, []
        elif token.type == "tr_open":
            self._cells = []
        elif token.type == "tr_close":
            self._rows.append(self._cells)
        elif token.type == "table_close":
            self._in_table = False
            table = self._document.add_table(len(self._rows), len(self._rows[0]), "Table Grid")
            for row, cells in zip(table.rows, self._rows, strict=True):
                for cell, children in zip(row.cells, cells, strict=True):
                    self._runs(cell.paragraphs[0], children, bold=cells is self._rows[0])

    def _runs(self, paragraph: Any, tokens: Sequence[Token], *, bold: bool = False) -> None:
        italic = False
        for token in tokens:
            match token.type:
                case "strong_open" | "strong_close":
                    bold = token.type == "strong_open"
                case "em_open" | "em_close":
                    italic = token.type == "em_open"
                case "image":
                    if data := _picture(str(token.attrs.get("src", ""))):
                        paragraph.add_run().add_picture(io.BytesIO(data), width=Cm(15))
                case "softbreak" | "hardbreak":
                    paragraph.add_run("\n" if token.type == "hardbreak" else " ")
                case _:
                    self._run(paragraph, token.content, bold, italic)

    def _run(self, paragraph: Any, text: str, bold: bool, italic: bool) -> None:
        for number, part in enumerate(_MARK.split(text)):
            if part:
                run = paragraph.add_run(part)
                run.bold, run.italic = bold, italic
                run.font.superscript = number % 2 == 1


def _as_pdf(text: str, citations: Sequence[Citation]) -> bytes:
    try:
        import matplotlib
        from fpdf import FPDF
        from fpdf.fonts import FontFace
    except ImportError as error:
        raise MissingExtra("what writes PDF files", "report") from error
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    pdf = FPDF(format="A4")
    for style, name in _FONTS.items():
        pdf.add_font("DejaVu", style, str(fonts / f"{name}.ttf"))
    pdf.add_font("Mono", "", str(fonts / "DejaVuSansMono.ttf"))
    pdf.set_font("DejaVu", size=10)
    pdf.add_page()
    body = _html_body(text, citations, inline=False)
    body = re.sub(r'<sup><a href="[^"]*" id="[^"]*">(\d+)</a></sup>', r"<sup>\1</sup>", body)
    body = re.sub(r'<li id="[^"]*">', "<li>", re.sub("</?(?:thead|tbody)>", "", body))
    body = body.replace("<img ", f'<img width="{_PICTURE_POINTS}" ')
    face = FontFace(family="Mono")
    pdf.write_html(body, tag_styles={"code": face, "pre": face})
    return bytes(pdf.output())
