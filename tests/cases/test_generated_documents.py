"""What is written into a table, list or page of a generated file comes back once, under its header, on its page."""

from __future__ import annotations

import csv
import html
import io
import json
import string
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
