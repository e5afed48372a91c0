"""What is written into a table, list or page of a generated file comes back once, under its header, on its page."""

from __future__ import annotations

import csv
import html
import io
import json
import sqlite3
import string
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import docx
import pytest
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.specialists.knowledge.build import passages_of
from metier.specialists.knowledge.documents import Document
from metier.specialists.knowledge.readers import read

WORD = st.text("abcdefghijklmnopqrstuvwxyzäöüß", min_size=2, max_size=9)
LETTERS = st.text(string.ascii_lowercase, min_size=2, max_size=9)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    """Names of columns, and cells that are all different: a word of the column's own and its place."""
    columns = draw(st.lists(WORD.map(str.title), min_size=3, max_size=5, unique=True))
    cells = [
        [f"{draw(WORD)} r{row}c{place}" for place in range(len(columns))] for row in range(draw(st.integers(2, 6)))
    ]
    return columns, cells


def rows_of(document: Document) -> list[str]:
    return [document.text[block.start : block.end] for block in document.blocks]


def expected(columns: list[str], cells: list[list[str]]) -> list[str]:
    return ["; ".join(f"{name}: {cell}" for name, cell in zip(columns, row, strict=True)) for row in cells]


def check(document: Document, columns: list[str], cells: list[list[str]]) -> None:
    assert rows_of(document) == expected(columns, cells)
    passages = " ".join(entry.text for entry in passages_of(document, 30))
    assert all(passages.count(cell) == 1 for row in cells for cell in row)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generated")


@given(tables())
def test_html_table(folder, table):
    columns, cells = table
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
    path = folder / "a.html"
    path.write_text(f"<table><tr>{''.join(f'<th>{name}</th>' for name in columns)}</tr>{lines}</table>")
    check(read(path, "a.html"), columns, cells)


@given(tables(), st.data())
def test_html_cells_that_span_rows_belong_to_each_of_them(folder, table, data):
    columns, cells = table
    first = data.draw(st.integers(0, len(cells) - 2))
    height = data.draw(st.integers(2, len(cells) - first))
    place = data.draw(st.integers(0, len(columns) - 1))
    lines = []
    for number, row in enumerate(cells):
        spanned = first < number < first + height
        mark = f' rowspan="{height}"' if number == first else ""
        written = [f"<td{mark if n == place else ''}>{c}</td>" for n, c in enumerate(row) if not spanned or n != place]
        lines.append(f"<tr>{''.join(written)}</tr>")
        if spanned:
            row[place] = cells[first][place]
    path = folder / "b.html"
    path.write_text(f"<table><tr>{''.join(f'<th>{name}</th>' for name in columns)}</tr>{''.join(lines)}</table>")
    assert rows_of(read(path, "b.html")) == expected(columns, cells)


@given(tables())
def test_markdown_table(folder, table):
    columns, cells = table
    lines = [columns, ["---"] * len(columns), *cells]
    path = folder / "a.md"
    path.write_text("\n".join(f"| {' | '.join(line)} |" for line in lines))
    check(read(path, "a.md"), columns, cells)


@settings(max_examples=25)
@given(tables())
def test_docx_table(folder, table):
    columns, cells = table
    file = docx.Document()
    written = file.add_table(rows=0, cols=len(columns))
    for line in (columns, *cells):
        for cell, text in zip(written.add_row().cells, line, strict=True):
            cell.text = text
    path = folder / "a.docx"
    file.save(str(path))
    check(read(path, "a.docx"), columns, cells)


@given(tables(), st.sampled_from(",;\t|"), st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]), st.booleans())
def test_csv_table(folder, table, separator, encoding, quoted):
    columns, cells = table
    cells = [[f"{cell}, 1{separator}5" if place == 1 else cell for place, cell in enumerate(row)] for row in cells]
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerows([columns, *cells])
    path = folder / "a.csv"
    path.write_bytes(file.getvalue().encode(encoding))
    assert rows_of(read(path, "a.csv")) == [" ".join(row.split()) for row in expected(columns, cells)]


@given(tables())
def test_json_records(folder, table):
    columns, cells = table
    path = folder / "a.jsonl"
    path.write_text("\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in cells))
    check(read(path, "a.jsonl"), columns, cells)


@given(st.lists(WORD, min_size=1, max_size=8, unique=True), st.booleans())
def test_html_list(folder, items, numbered):
    kind = "ol" if numbered else "ul"
    path = folder / "c.html"
    path.write_text(f"<{kind}>{''.join(f'<li><p>{item}</p></li>' for item in items)}</{kind}>")
    marks = [f"{n}." if numbered else "-" for n in range(1, len(items) + 1)]
    assert rows_of(read(path, "c.html")) == [f"{mark} {item}" for mark, item in zip(marks, items, strict=True)]


@settings(max_examples=40)
@given(st.lists(st.lists(st.lists(LETTERS, min_size=3, max_size=7), min_size=1, max_size=6), min_size=1, max_size=5))
def test_pdf_words_have_their_page(folder, pages):
    file = FPDF()
    file.set_font("helvetica", size=11)
    for number, page in enumerate(pages, 1):
        file.add_page()
        for line, words in enumerate(page):
            words[0] += f"p{number}l{line}"
            file.text(20, 60 + 6 * line, " ".join(words))
    path = folder / "a.pdf"
    file.output(str(path))
    document = read(path, "a.pdf")
    assert document.text.split() == [word for page in pages for words in page for word in words]
    for number, page in enumerate(pages, 1):
        assert all(document.page(document.text.index(words[0])) == number for words in page)
    for entry in passages_of(document, 20):
        before = document.text[: entry.start].count("\f")
        assert entry.page == before + 1


@given(tables())
def test_rst_table(folder, table):
    columns, cells = table
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in (columns, *cells)]
    path = folder / "a.rst"
    path.write_text("\n".join([rule, lines[0], rule, *lines[1:], rule]), encoding="utf-8")
    check(read(path, "a.rst"), columns, cells)


@given(tables(), st.booleans())
def test_asciidoc_table(folder, table, one_line):
    columns, cells = table
    gap = " " if one_line else "\n"
    lines = [gap.join(f"|{cell}" for cell in row) for row in cells]
    path = folder / "a.adoc"
    head = f'[cols="{len(columns)}*"]\n|===\n{" ".join(f"|{name}" for name in columns)}\n\n'
    path.write_text(head + "\n".join(lines) + "\n|===\n", encoding="utf-8")
    check(read(path, "a.adoc"), columns, cells)


@settings(max_examples=25)
@given(tables())
def test_sqlite_table(folder, table):
    columns, cells = table
    path = folder / "a.sqlite"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE things ({})".format(", ".join(map('"{}"'.format, columns))))
        database.executemany(f"INSERT INTO things VALUES ({', '.join('?' * len(columns))})", cells)
        database.commit()
    document = read(path, "a.sqlite")
    check(document, columns, cells)
    assert [block.heading for block in document.blocks] == [("things", f"row {n}") for n in range(1, len(cells) + 1)]


@settings(max_examples=25)
@given(tables(), st.data())
def test_docx_cells_that_span_rows_belong_to_each_of_them(folder, table, data):
    columns, cells = table
    first = data.draw(st.integers(0, len(cells) - 2))
    last = data.draw(st.integers(first + 1, len(cells) - 1))
    place = data.draw(st.integers(0, len(columns) - 1))
    for row in cells[first + 1 : last + 1]:
        row[place] = ""
    file = docx.Document()
    written = file.add_table(rows=0, cols=len(columns))
    for line in (columns, *cells):
        for cell, text in zip(written.add_row().cells, line, strict=True):
            cell.text = text
    written.cell(first + 1, place).merge(written.cell(last + 1, place))
    path = folder / "b.docx"
    file.save(str(path))
    for row in cells[first + 1 : last + 1]:
        row[place] = cells[first][place]
    assert rows_of(read(path, "b.docx")) == expected(columns, cells)


# Paragraphs and lists below headings, in every format that has them.


Section = tuple[str, list[str], list[str]]
"""Title, paragraphs, items of a list."""

SENTENCE = st.lists(LETTERS, min_size=3, max_size=9).map(lambda words: " ".join(words).capitalize() + ".")


@st.composite
def sections(draw: st.DrawFn) -> list[Section]:
    """Sections whose texts are all different: each ends with a number of its own."""
    found: list[Section] = []
    for place in range(draw(st.integers(1, 4))):
        said = [
            f"{text[:-1]} no{place}x{n}." for n, text in enumerate(draw(st.lists(SENTENCE, min_size=1, max_size=6)))
        ]
        cut = draw(st.integers(1, len(said)))
        found.append((f"{draw(LETTERS).title()} part{place}", said[:cut], said[cut:]))
    return found


def as_markdown(found: list[Section]) -> str:
    return "\n\n".join(
        "\n\n".join([f"## {title}", *said, "\n".join(f"* {item}" for item in items)]) for title, said, items in found
    )


def as_html(found: list[Section]) -> str:
    parts = []
    for title, said, items in found:
        parts += [f"<h2>{title}</h2>", *(f"<p>{text}</p>" for text in said)]
        parts += [f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"] * bool(items)
    return f"<html><body><div>{''.join(parts)}</div></body></html>"


def as_rst(found: list[Section]) -> str:
    return "\n\n".join(
        "\n\n".join([f"{title}\n{'=' * len(title)}", *said, "\n".join(f"- {item}" for item in items)])
        for title, said, items in found
    )


def as_asciidoc(found: list[Section]) -> str:
    return "\n\n".join(
        "\n\n".join([f"== {title}", *said, "\n".join(f"* {item}" for item in items)]) for title, said, items in found
    )


def as_text(found: list[Section]) -> str:
    return "\n\n".join(
        "\n\n".join([f"{title}\n{'-' * len(title)}", *said, *(f"- {item}" for item in items)])
        for title, said, items in found
    )


@pytest.mark.parametrize(
    ("suffix", "write"),
    [(".md", as_markdown), (".html", as_html), (".rst", as_rst), (".adoc", as_asciidoc), (".txt", as_text)],
)
@settings(max_examples=30)
@given(found=sections())
def test_paragraphs_and_lists_come_once_below_their_heading(folder, suffix, write: Callable[..., str], found):
    path = folder / f"text{suffix}"
    path.write_text(write(found), encoding="utf-8")
    check_sections(read(path, path.name), found)


@settings(max_examples=20)
@given(found=sections())
def test_docx_paragraphs_and_lists_come_once_below_their_heading(folder, found):
    file = docx.Document()
    for title, said, items in found:
        file.add_heading(title, 1)
        for text in said:
            file.add_paragraph(text)
        for item in items:
            file.add_paragraph(item, style="List Bullet")
    path = folder / "text.docx"
    file.save(str(path))
    check_sections(read(path, path.name), found)


def check_sections(document: Document, found: list[Section]) -> None:
    wanted = [((title,), text) for title, said, items in found for text in (*said, *(f"- {item}" for item in items))]
    assert [(block.heading, document.text[block.start : block.end]) for block in document.blocks] == wanted
    passages = passages_of(document, 40)
    for heading, text in wanted:
        holding = [entry for entry in passages if text in entry.text]
        assert [entry.heading for entry in holding] == [heading]


@settings(max_examples=20)
@given(found=sections())
def test_pdf_paragraphs_come_once_on_their_page(folder, found):
    """Each section is a page of its own, under a bookmark."""
    file = FPDF()
    file.set_font("helvetica", size=11)
    for title, said, items in found:
        file.add_page()
        file.set_y(60)
        file.start_section(title)
        for text in (title, *said, *items):
            file.multi_cell(170, 6, text=text, new_x="LMARGIN", new_y="NEXT")
            file.ln(8)
    path = folder / "text.pdf"
    file.output(str(path))
    document = read(path, "text.pdf")
    passages = passages_of(document, 40)
    for page, (title, said, items) in enumerate(found, 1):
        for text in (*said, *items):
            holding = [entry for entry in passages if text in " ".join(entry.text.split())]
            assert [(entry.heading, entry.page) for entry in holding] == [((title,), page)]
