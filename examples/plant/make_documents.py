"""Make the plant's PDF, DOCX and SQLite documents from their sources: `python examples/plant/make_documents.py`.

The sources are Markdown and CSV files in `sources/`, so that the documents can be read, compared and changed as text.
Needs the dev extra (fpdf2). Made again from unchanged sources, only the times inside the DOCX files differ.
"""

from __future__ import annotations

import csv
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from docx import Document
from fpdf import FPDF

PLANT = Path(__file__).parent
SOURCES = PLANT / "sources"
ISSUED = datetime(2026, 11, 20, tzinfo=UTC)
"""Stands in the files instead of today, so that making them twice gives the same."""
INTEGERS = {"on_hand", "minimum", "lead_time_days", "shelves", "priority", "quantity"}
REALS = {"price_gbp", "total_gbp", "hours"}
KEYS = {
    "parts": "part_number",
    "suppliers": "supplier",
    "locations": "location",
    "work_orders": "work_order",
    "purchase_orders": "purchase_order",
}


def blocks(text: str) -> list[str]:
    """The paragraphs, headings and tables of a Markdown source."""
    return [block.strip() for block in text.split("\n\n") if block.strip()]


def rows(block: str) -> list[list[str]]:
    """The cells of a Markdown table, without the line under its head."""
    lines = [line for line in block.splitlines() if not set(line) <= set("|-: ")]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]


def make_pdf(source: Path, target: Path) -> None:
    pdf = FPDF(format="A4")
    pdf.set_creation_date(ISSUED)
    pdf.set_title(source.stem)
    pdf.add_page()
    for block in blocks(source.read_text(encoding="utf-8")):
        pdf.set_font("Helvetica", size=10)
        if block.startswith("#"):
            pdf.set_font("Helvetica", style="B", size=13)
            pdf.multi_cell(0, 8, block.lstrip("# "), align="L", new_x="LMARGIN", new_y="NEXT")
        elif block.startswith("|"):
            with pdf.table(line_height=5, text_align="LEFT") as table:
                for cells in rows(block):
                    table.row(cells)
        else:
            pdf.multi_cell(0, 5.5, block, align="L", new_x="LMARGIN", new_y="NEXT")
        pdf.ln(2)
    pdf.output(str(target))


def make_docx(source: Path, target: Path) -> None:
    document = Document()
    document.core_properties.created = document.core_properties.modified = ISSUED
    for block in blocks(source.read_text(encoding="utf-8")):
        if block.startswith("#"):
            level = len(block) - len(block.lstrip("#"))
            document.add_heading(block.lstrip("# "), level=level)
        elif block.startswith("|"):
            cells = rows(block)
            table = document.add_table(rows=0, cols=len(cells[0]), style="Table Grid")
            for row in cells:
                for cell, text in zip(table.add_row().cells, row, strict=True):
                    cell.text = text
        else:
            document.add_paragraph(block)
    document.save(str(target))


def make_database(sources: Path, target: Path) -> None:
    """One table for each CSV file; an empty cell is NULL."""
    target.unlink(missing_ok=True)
    with sqlite3.connect(target) as database:
        for name, key in KEYS.items():
            with (sources / f"{name}.csv").open(encoding="utf-8", newline="") as file:
                head, *lines = csv.reader(file)
            kinds = ["INTEGER" if c in INTEGERS else "REAL" if c in REALS else "TEXT" for c in head]
            columns = [f"{c} {kind}{' PRIMARY KEY' if c == key else ''}" for c, kind in zip(head, kinds, strict=True)]
            database.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
            marks = ", ".join("?" * len(head))
            database.executemany(f"INSERT INTO {name} VALUES ({marks})", [[c or None for c in r] for r in lines])
    database.close()


def main() -> None:
    for source in sorted(SOURCES.glob("*/*.pdf.md")):
        make_pdf(source, PLANT / source.parent.name / "documents" / source.name.removesuffix(".md"))
    for source in sorted(SOURCES.glob("*/*.docx.md")):
        make_docx(source, PLANT / source.parent.name / "documents" / source.name.removesuffix(".md"))
    make_database(SOURCES / "stock", PLANT / "stock" / "documents" / "stock.sqlite")


if __name__ == "__main__":
    main()
