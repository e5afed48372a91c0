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
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.shared import Cm, Emu
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ...core.errors import MissingExtra
from ...core.files import write_atomic
from ...core.types import Citation
from .results import FILE_KINDS, File, Items, ResultValue, Table, source_line
from .template import Quoted, TemplateScope, fill_text, show

_MARK = re.compile(r"\[\^(\d+)\]")
_BREAK = "\ue000"
"""Where a line of a value ends, until it is known whether it stands in a table, whose rows are one line."""
_ENDED = re.compile(r"[.!?:;…][\"'”’)\]]*\Z")
_ITEM = re.compile(r"\s*(?:[-*•]|\d+[.)]|[a-z]\))\s")
_WIDE = 40
"""Letters of a cell that widen its column; longer ones are wrapped."""
_ACTIVE = re.compile(r"([\\`*_\[\]<>#|~])")
_FONTS = {"": "DejaVuSans", "B": "DejaVuSans-Bold", "I": "DejaVuSans-Oblique", "BI": "DejaVuSans-BoldOblique"}
"""Matplotlib brings them; they know the letters of most languages."""
_WORD_WIDTH = 15
"""Centimetres between the margins of a Word document."""
_INK = "#222"
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
        filled = fill_text(template, scope, lambda value: _marked(value, seen))
        return cls("\n".join(map(_with_breaks, filled.split("\n"))), tuple(seen))


def _with_breaks(line: str) -> str:
    return line.replace(_BREAK, " " if line.lstrip().startswith("|") else "\\\n")


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
    quotes = [citation.quote for citation in value.citations] if isinstance(value, ResultValue | Quoted) else []
    return f"{_BREAK.join(escape_markdown(line) for line in _whole_lines(show(value), quotes))}{marks}"


def _whole_lines(text: str, quotes: Sequence[str]) -> list[str]:
    """The lines of a text; those that only the width of a page parts, inside a quote of it, are one."""
    lines = list[str]()
    for line in text.split("\n"):
        before = lines[-1] if lines else None
        wrapped = before and line.strip() and not _ENDED.search(before) and not _ITEM.match(line)
        last = (before or "").rpartition("\n")[2]
        if before and wrapped and any(f"{last}\n{line}" in quote for quote in quotes):
            lines[-1] = f"{before}\n{line}"
        else:
            lines.append(line)
    return [" ".join(line.split("\n")) for line in lines]


def escape_markdown(text: str) -> str:
    """Text that stands in Markdown as it is."""
    plain = re.sub(r"(?m)^(\s*)([-+=])", r"\1\\\2", _ACTIVE.sub(r"\\\1", text))
    return re.sub(r"(?m)^(\s*)(\d+)([.)])(?=\s|$)", r"\1\2\\\3", plain)


def _markdown_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    head = [escape_markdown(name.replace("_", " ")) for name in table.columns]
    rows = [[_cell(row.get(name)) for name in table.columns] for row in table.rows]
    kinds = ["---:" if _is_numbers(table.column(name)) else "---" for name in table.columns]
    return "\n".join(["", line(head), line(kinds), *map(line, rows), ""])


def _is_numbers(column: Sequence[Any]) -> bool:
    return any(value is not None for value in column) and all(isinstance(one, int | float | None) for one in column)


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


def _as_markdown(text: str, citations: Sequence[Citation]) -> bytes:
    notes = [f"[^{number}]: {escape_markdown(source_line(one))}" for number, one in enumerate(citations, 1)]
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
    body = _MARK.sub(r'<sup><a href="#source-\1" id="mark-\1">[\1]</a></sup>', body)
    if not citations:
        return body
    notes = "".join(
        f'<li id="source-{number}">{html.escape(source_line(one))}</li>' for number, one in enumerate(citations, 1)
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
            document.add_paragraph(f"{number}. {source_line(one)}")
    data = io.BytesIO()
    document.save(data)
    return data.getvalue()


class _Word:
    """Markdown's tokens as the parts of a Word document."""

    def __init__(self, document: WordDocument) -> None:
        self._document = document
        self._styles: list[str] = []
        self._paragraph: Any = None
        self._cells: list[tuple[list[Token], bool]] = []
        """What stands in each cell of a row, and whether on its right."""
        self._rows: list[list[tuple[list[Token], bool]]] = []
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
                self._cells.append((token.children or [], "right" in str(before.attrs.get("style", ""))))
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
            self._add_table()

    def _add_table(self) -> None:
        table = self._document.add_table(len(self._rows), len(self._rows[0]), "Table Grid")
        shares = _shares([["".join(token.content for token in tokens) for tokens, _ in cells] for cells in self._rows])
        for row, cells in zip(table.rows, self._rows, strict=True):
            for cell, share, (tokens, right) in zip(row.cells, shares, cells, strict=True):
                cell.width = Emu(round(share * Cm(_WORD_WIDTH)))
                self._runs(cell.paragraphs[0], tokens, bold=cells is self._rows[0])
                if right:
                    cell.paragraphs[0].alignment = WD_ALIGN_PARAGRAPH.RIGHT

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
                mark = number % 2 == 1
                run = paragraph.add_run(f"[{part}]" if mark else part)
                run.bold, run.italic = bold, italic
                run.font.superscript = mark


def _shares(rows: Sequence[Sequence[str]]) -> list[float]:
    """Which part of a table's width each of its columns gets: by its longest cell, as far as that is not wrapped."""
    needs = [max(min(len(text) + 4, _WIDE) for text in column) for column in zip(*rows, strict=True)]
    return [need / sum(needs) for need in needs]


def _as_pdf(text: str, citations: Sequence[Citation]) -> bytes:
    try:
        import matplotlib
        from fpdf import FPDF
        from fpdf.fonts import FontFace, TextStyle
    except ImportError as error:
        raise MissingExtra("what writes PDF files", "report") from error
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    pdf = FPDF(format="A4")
    for style, name in _FONTS.items():
        pdf.add_font("DejaVu", style, str(fonts / f"{name}.ttf"))
    pdf.add_font("Mono", "", str(fonts / "DejaVuSansMono.ttf"))
    pdf.set_font("DejaVu", size=10)
    pdf.add_page()
    plain = FontFace(family="Mono")
    styles = {"code": plain, "pre": plain, "p": TextStyle(t_margin=2)}
    for level in range(1, 7):
        styles[f"h{level}"] = TextStyle(color=_INK, font_style="B", font_size_pt=18 - 2 * level, t_margin=4, b_margin=1)
    body = _for_pdf(_html_body(text, citations, inline=False))
    pdf.write_html(body, tag_styles=styles, li_prefix_color=_INK, table_line_separators=True)
    return bytes(pdf.output())


def _for_pdf(body: str) -> str:
    """HTML as fpdf2 knows it: its cells hold text alone, and say on which side and how wide; its pictures' sizes."""
    body = re.sub(r'<a href="#[^"]*" id="[^"]*">([^<]*)</a>', r"\1", body)
    body = re.sub(r'<li id="[^"]*">', "<li>", re.sub("</?(?:thead|tbody)>", "", body))
    body = body.replace("<img ", f'<img width="{_PICTURE_POINTS}" ')
    body = re.sub("<(p|ul|ol)(?=[ >])", r'<\1 line-height="1.3"', body)
    return re.sub(r"<table>(.*?)</table>", _pdf_table, body, flags=re.DOTALL)


_CELL = re.compile(r"<(t[dh])([^>]*)>(.*?)</t[dh]>", re.DOTALL)


def _pdf_table(table: re.Match[str]) -> str:
    rows = [_CELL.findall(row) for row in re.findall(r"<tr>(.*?)</tr>", table[1], re.DOTALL)]
    texts = [[re.sub("<[^>]*>", "", inside) for _, _, inside in row] for row in rows]
    widths = [f' width="{share:.1%}"' for share in _shares([[html.unescape(text) for text in row] for row in texts])]
    lines = [
        "".join(
            f'<{kind} align="{"right" if "right" in how else "left"}"{width if row is rows[0] else ""}>{text}</{kind}>'
            for (kind, how, _), text, width in zip(row, some, widths, strict=True)
        )
        for row, some in zip(rows, texts, strict=True)
    ]
    return f'<table border="1" width="100%" cellpadding="1">{"".join(f"<tr>{line}</tr>" for line in lines)}</table><br>'
