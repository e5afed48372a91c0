"""Readers and the splitter: whatever comes in, offsets are right and nothing crashes."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import docx
import pytest
from fpdf import FPDF
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from metier.core.errors import UnreadableDocument
from metier.core.text import sentence_spans
from metier.specialists.knowledge.build import passages_of, scan
from metier.specialists.knowledge.documents import Document, Outline, count, render_row, split
from metier.specialists.knowledge.readers import MAX_DOCUMENT_BYTES, read
from metier.specialists.knowledge.readers.text import decode


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def reading(tmp_path: Path, name: str, content: str | bytes) -> Document:
    return read(write(tmp_path / name, content), name)


def blocks(document: Document) -> list[tuple[tuple[str, ...], str]]:
    return [(block.heading, document.text[block.start : block.end]) for block in document.blocks]


def pdf(path: Path, pages: list[str], *, bookmarks: dict[str, int] | None = None, password: str = "") -> Path:
    """A real PDF: one page for each text, one line of the page for each line of the text."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(612, 792)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n"))
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 72 720 Td {lines}ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
    for title, number in (bookmarks or {}).items():
        writer.add_outline_item(title=title, page_number=number)
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    with path.open("wb") as file:
        writer.write(file)
    return path


# Each format gives text, headings and rows


def test_markdown(tmp_path):
    text = "# Pump\n\nSome **bold** [link](http://x).\n\n## Oil\n\n1. Stop.\n2. Open.\n\n```\n# no heading\n```\n"
    document = reading(tmp_path, "pump.md", text)
    assert document.title == "Pump"
    assert blocks(document) == [
        (("Pump",), "Some bold link (http://x)."),
        (("Pump", "Oil"), "1. Stop."),
        (("Pump", "Oil"), "2. Open."),
        (("Pump", "Oil"), "# no heading"),
    ]


def test_markdown_tables_explain_each_row(tmp_path):
    document = reading(
        tmp_path, "t.md", "## Intervals\n\n| Pump | Every |\n|---|---|\n| P-101 | 500 h |\n| P-102 | |\n"
    )
    assert blocks(document) == [(("Intervals",), "Pump: P-101; Every: 500 h"), (("Intervals",), "Pump: P-102")]


def test_front_matter_gives_the_title(tmp_path):
    document = reading(tmp_path, "a.md", "---\ntitle: 'Real title'\ntags: [x]\n---\nText.\n")
    assert (document.title, document.text) == ("Real title", "Text.")


def test_html(tmp_path):
    page = """<html><head><title>Page</title><style>p {}</style></head><body><nav>Menu</nav><h1>Top</h1>
    <p>One<br>two <b>three</b><!-- no -->.</p><script>evil()</script>
    <ul><li>x<ul><li>inner</li></ul></li><li><p>y</p></li></ul><ol start="3"><li>third</li></ol>
    <table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>
    <table><tr><th>Weight</th><td>3 kg</td></tr><tr><th>Size</th><td>2 m</td></tr></table>
    <table><tr><td>layout</td></tr></table></body></html>"""
    document = reading(tmp_path, "p.html", page)
    assert document.title == "Page"
    texts = [text for _, text in blocks(document)]
    assert texts == [
        *("One\ntwo three.", "- x", "- inner", "- y", "3. third"),
        *("a: 1; b: 2", "Weight: 3 kg", "Size: 2 m", "layout"),
    ]


def test_html_nested_too_deep_for_recursion(tmp_path):
    document = reading(tmp_path, "deep.html", "<div>" * 1500 + "bottom" + "</div>" * 1500)
    assert "bottom" in document.text


def test_docx(tmp_path):
    file = docx.Document()
    file.add_heading("Manual", 0)
    file.add_heading("Oil", 1)
    file.add_paragraph("Change it.")
    file.add_paragraph("first", style="List Bullet")
    table = file.add_table(rows=2, cols=2)
    for cell, text in zip(
        [c for row in table.rows for c in row.cells], ["Pump", "Every", "P-101", "500 h"], strict=True
    ):
        cell.text = text
    file.save(str(tmp_path / "m.docx"))
    document = read(tmp_path / "m.docx", "m.docx")
    assert document.title == "Manual"
    path = ("Manual", "Oil")
    assert blocks(document) == [(path, "Change it."), (path, "- first"), (path, "Pump: P-101; Every: 500 h")]


def test_pdf_pages_and_bookmarks(tmp_path):
    pages = ["Intro text.\nSafety\nWear gloves.", "Still safety, main-\ntenance too.\n2"]
    document = read(pdf(tmp_path / "m.pdf", pages, bookmarks={"Safety": 0}), "m.pdf")
    found = [(e.heading, e.page, e.text) for e in passages_of(document, 100)]
    assert found[0] == ((), 1, "Intro text.")
    assert found[1][:2] == (("Safety",), 1)
    assert "Wear gloves." in found[1][2]
    assert "maintenance" in document.text
    second = next(block for block in document.blocks if "Still" in document.text[block.start : block.end])
    assert document.page(second.start) == 2


ALARMS = [
    ["Code", "Cause", "Remedy"],
    ["B-803", "Electrode gap wrong, or sensor dirty", "Set the gap to 3.5 mm or replace the electrodes P-1703"],
    ["B-805", "Sudden stop", "Watch the burner go to low load; above 10 bar stop it and call the fitter"],
]


def test_pdf_rows_of_a_drawn_table_stay_whole(tmp_path):
    """Cells of several lines are read as cells, and the part on the next page has the names of the columns, too."""
    file = FPDF(format="letter")
    file.set_font("Helvetica", size=11)
    file.add_page()
    file.multi_cell(0, 6, "Alarms of the boiler.", new_x="LMARGIN", new_y="NEXT")
    with file.table(text_align="LEFT", line_height=6, repeat_headings=0) as table:
        for row in [*ALARMS, *([f"C-{n}", "Level", f"Fill {n} litres"] for n in range(60))]:
            table.row(row)
    file.multi_cell(0, 6, "End of the list.", new_x="LMARGIN", new_y="NEXT")
    file.output(str(tmp_path / "t.pdf"))
    document = read(tmp_path / "t.pdf", "t.pdf")
    texts = [text for _, text in blocks(document)]
    assert texts[0] == "Alarms of the boiler."
    assert texts[1:3] == [render_row(ALARMS[0], row) for row in ALARMS[1:]]
    assert texts[3:-1] == [f"Code: C-{n}; Cause: Level; Remedy: Fill {n} litres" for n in range(60)]
    assert texts[-1] == "End of the list."
    assert len(document.pages) > 1


def test_pdf_spanned_cells(tmp_path):
    file = FPDF()
    file.set_font("Helvetica", size=11)
    file.add_page()
    with file.table(text_align="LEFT", num_heading_rows=2) as table:
        head = table.row()
        head.cell("Pump", rowspan=2)
        head.cell("Torque", colspan=2)
        table.row(["cold", "warm"])
        table.row(["P-101", "25 Nm", "30 Nm"])
    file.output(str(tmp_path / "t.pdf"))
    assert blocks(read(tmp_path / "t.pdf", "t.pdf")) == [((), "Pump: P-101; Torque cold: 25 Nm; Torque warm: 30 Nm")]


def test_pdf_frames_and_charts_are_no_tables(tmp_path):
    file = FPDF()
    file.set_font("Helvetica", size=11)
    file.add_page()
    file.multi_cell(100, 6, "Keep away from the coupling.", border=1, new_x="LMARGIN", new_y="NEXT")
    for step in range(6):
        file.line(20, 50 + step * 10, 120, 50 + step * 10)
        file.line(20 + step * 20, 50, 20 + step * 20, 100)
    file.text(22, 58, "flow")
    file.text(102, 98, "pressure")
    file.output(str(tmp_path / "t.pdf"))
    assert read(tmp_path / "t.pdf", "t.pdf").text.split("\n") == ["Keep away from the coupling.", "flow", "pressure"]


def test_csv_rows_name_their_columns(tmp_path):
    document = reading(tmp_path, "codes.csv", '\ufeffcode;meaning\nE1;overheat\n\nE2;"low; oil"\n')
    assert blocks(document) == [
        (("codes", "row 1"), "code: E1; meaning: overheat"),
        (("codes", "row 2"), "code: E2; meaning: low; oil"),
    ]
    assert len(passages_of(document, 100)) == 2


def test_json_records(tmp_path):
    records = [{"title": "Fees", "content": "## Card\n\nNo fee.", "n": 1}, {"a": {"b": True}, "c": [1, 2], "d": None}]
    lines = "\n".join(map(json.dumps, records))
    expected = [(("Fees",), "n: 1"), (("Fees", "Card"), "No fee."), (("record 2",), "a.b: true; c: 1, 2")]
    assert blocks(reading(tmp_path, "r.jsonl", lines)) == expected
    assert blocks(reading(tmp_path, "r.json", json.dumps(records))) == expected


def test_json_lines_end_at_newline_only(tmp_path):
    document = reading(tmp_path, "u.jsonl", json.dumps({"text": "one\u2028two"}, ensure_ascii=False))
    assert blocks(document) == [(("record 1",), "one\u2028two")]


def test_sqlite_tables(tmp_path):
    path = tmp_path / "plant.sqlite"
    with sqlite3.connect(path) as database:
        database.execute('CREATE TABLE "work ""orders" (id INTEGER, note TEXT, photo BLOB, cost REAL)')
        database.execute('INSERT INTO "work ""orders" VALUES (7, NULL, ?, 2.0)', (b"\0\1",))
        database.execute("CREATE TABLE empty (id INTEGER)")
    database.close()
    before = path.read_bytes()
    assert blocks(read(path, "plant.sqlite"))[0] == (('work "orders', "row 1"), "id: 7; cost: 2")
    assert path.read_bytes() == before


# Files that are not what they should be


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b" \n\n ", "no text"),
        ("a.md", b"\n", "no text"),
        ("a.html", b"  ", "no text"),
        ("a.html", b"<html><body><script>x</script></body></html>", "no text"),
        ("a.txt", b"\x7fELF\0\0\0\1", "binary"),
        ("a.pdf", b"%PDF-1.4\nrubbish", "damaged"),
        ("a.pdf", b"not a pdf at all", "not a PDF"),
        ("a.docx", b"PK\3\4 cut off", "not a Word document"),
        ("a.json", b"{'single': 1}", "not readable as JSON"),
        ("a.json", b"[" * 100_000, "JSON"),
        ("a.jsonl", b"nope\n{", "line 1"),
        ("a.sqlite", b"SQLite format 3\0 rubbish", "SQLite"),
        ("a.xyz", b"text", "no reader"),
    ],
)
def test_unreadable_files_say_why(tmp_path, name, content, reason):
    with pytest.raises(UnreadableDocument, match=reason):
        reading(tmp_path, name, content)


def test_truncated_pdf(tmp_path):
    whole = pdf(tmp_path / "w.pdf", ["Some text."]).read_bytes()
    for cut in range(10, len(whole) - 20, 97):
        with suppress(UnreadableDocument):
            assert reading(tmp_path, "cut.pdf", whole[:cut]).blocks


def test_encrypted_pdf_and_scan(tmp_path):
    with pytest.raises(UnreadableDocument, match="password"):
        read(pdf(tmp_path / "e.pdf", ["Secret."], password="pw"), "e.pdf")
    with pytest.raises(UnreadableDocument, match="no text on its 1 page"):
        read(pdf(tmp_path / "s.pdf", [""]), "s.pdf")


def test_zip_bomb(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("word/document.xml", "w", force_zip64=True) as part,
    ):
        for _ in range(210):
            part.write(b" " * 1_000_000)
    assert (tmp_path / "bomb.docx").stat().st_size < 1_000_000
    with pytest.raises(UnreadableDocument, match="unpacks to"):
        read(tmp_path / "bomb.docx", "bomb.docx")


def test_too_large(tmp_path):
    path = write(tmp_path / "big.txt", "x")
    with path.open("r+b") as file:
        file.truncate(MAX_DOCUMENT_BYTES + 1)
    with pytest.raises(UnreadableDocument, match="limit"):
        read(path, "big.txt")


def test_encodings():
    assert decode("Grüße – “x”".encode("cp1252")) == "Grüße – “x”"
    assert decode("Grüße".encode("utf-16")) == "Grüße"
    assert decode("\ufeffa\r\nb\rc".encode()) == "a\nb\nc"


def test_one_megabyte_on_one_line(tmp_path):
    document = reading(tmp_path, "long.txt", "word " * 200_000)
    entries = passages_of(document, 160)
    assert all(count(entry.text) <= 160 for entry in entries)
    endless = reading(tmp_path, "endless.txt", "x" * 1_000_000)
    assert all(len(entry.text) <= 160 * 30 for entry in passages_of(endless, 160))


# Which files are read


def test_scan_leaves_aside_and_says_why(tmp_path):
    write(tmp_path / "docs/sub/a.md", "x")
    write(tmp_path / "docs/.git/config.txt", "x")
    write(tmp_path / "docs/.hidden.md", "x")
    write(tmp_path / "docs/photo.png", "x")
    write(tmp_path / "secret.txt", "x")
    (tmp_path / "docs/link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "docs/loop").symlink_to(tmp_path / "docs")
    found = scan([tmp_path / "docs"], tmp_path)
    assert list(found.files) == ["docs/sub/a.md"]
    assert set(found.skipped) == {"docs/.git", "docs/.hidden.md", "docs/photo.png", "docs/link.txt", "docs/loop"}


def test_scan_keeps_equal_names_apart(tmp_path):
    write(tmp_path / "one/a.md", "x")
    write(tmp_path / "two/a.md", "y")
    assert set(scan([tmp_path / "one", tmp_path / "two"], tmp_path).files) == {"one/a.md", "two/a.md"}
    clash = scan([tmp_path / "one", tmp_path / "two"])
    assert len(clash.files) == 1
    assert len(clash.skipped) == 1


# Whatever the text

WORDS = st.text(st.characters(codec="utf-8"), min_size=0, max_size=60)
PARTS = st.lists(
    st.tuples(st.sampled_from(["heading", "paragraph", "item", "row", "labelled"]), st.integers(1, 4), WORDS),
    max_size=25,
)


def outlined(parts: list[tuple[str, int, str]]) -> Document:
    outline = Outline()
    for kind, number, text in parts:
        if kind == "heading":
            outline.heading(number, text)
        elif kind == "row":
            outline.row(["a", ""], [text, str(number)])
        elif kind == "labelled":
            outline.row(["a"], [text], label=f"row {number}")
        else:
            outline.paragraph(text * number, joined=kind == "item")
    return outline.document("s", "t")


@given(PARTS, st.integers(4, 40))
def test_passages_cover_all_blocks_in_order(parts, size):
    document = outlined(parts)
    entries = passages_of(document, size)
    for entry in entries:
        assert document.text[entry.start : entry.end] == entry.text
        assert entry.text.strip()
    assert [e.start for e in entries] == sorted(e.start for e in entries)
    assert all(a.end <= b.start for a, b in pairwise(entries))
    covered = "".join(entry.text for entry in entries)
    kept = "".join(document.text[block.start : block.end] for block in document.blocks)
    assert "".join(covered.split()) == "".join(kept.split())


@given(PARTS, st.integers(4, 40))
def test_rows_are_whole(parts, size):
    document = outlined(parts)
    spans = split(document, size)
    for block in document.blocks:
        if block.row and count(document.text[block.start : block.end]) <= 4 * size:
            assert any(span.start <= block.start and block.end <= span.end for span in spans)


@given(
    st.lists(st.sampled_from(["Stop the pump.", "Is it 3.5 bar?", "See Fig. 2 there.", "Dr. Hale knows!"]), max_size=30)
)
def test_sentences_are_never_cut(said):
    text = " ".join(said)
    assert [text[start:end] for start, end in sentence_spans(text)] == said


def test_sentences_stay_whole_in_passages(tmp_path):
    said = [f"Sentence number {n} says that pump {n} is fine." for n in range(60)]
    document = reading(tmp_path, "s.txt", " ".join(said))
    entries = passages_of(document, 50)
    assert len(entries) > 5
    assert all(e.text.startswith("Sentence") and e.text.endswith("fine.") for e in entries)
    lengths = [count(e.text) for e in entries]
    assert max(lengths) - min(lengths) <= 20


@given(st.text(max_size=300), st.sampled_from([".md", ".txt", ".html", ".csv", ".json", ".jsonl"]))
def test_any_text_is_read_or_refused(tmp_path_factory, text, suffix):
    path = write(tmp_path_factory.mktemp("any") / f"a{suffix}", text.encode("utf-8", errors="surrogatepass"))
    try:
        document = read(path, path.name)
    except UnreadableDocument:
        return
    for entry in passages_of(document, 20):
        assert document.text[entry.start : entry.end] == entry.text
        entry.searchable.encode()


@given(st.binary(max_size=200), st.sampled_from([".pdf", ".docx", ".sqlite", ".md", ".csv"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data, suffix):
    path = write(tmp_path_factory.mktemp("bytes") / f"a{suffix}", data)
    with suppress(UnreadableDocument):
        assert read(path, path.name).blocks
