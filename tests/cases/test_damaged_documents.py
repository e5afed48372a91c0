"""Truncated and mutated files: read or refused in words, within seconds, with offsets that hold."""

from __future__ import annotations

import random
import re
import sysconfig
import time
import zipfile
from pathlib import Path

import docx
import pytest
from fpdf import FPDF

from metier.core.errors import UnreadableDocument
from metier.specialists.knowledge.build import passages_of
from metier.specialists.knowledge.readers import read

EACH = 30
"""Mutants of each kind of file."""
LONGEST = 20.0
"""Seconds of the processor that a file may take, however busy the machine is."""


def seeds(folder: Path) -> dict[str, bytes]:
    """A small whole file of every kind that can be damaged in ways of its own."""
    pages = FPDF()
    pages.set_font("helvetica", size=11)
    for number in range(3):
        pages.add_page()
        pages.start_section(f"Part {number}")
        pages.multi_cell(80, text="The crane is checked by the smith before each shift. " * 9)
        with pages.table() as table:
            for row in (("Hook", "Load"), ("A", "2 t")):
                table.row(row)
    pages.output(str(folder / "seed.pdf"))
    file = docx.Document()
    file.add_heading("Crane", 1)
    file.add_paragraph("Checked daily.", style="List Bullet")
    cells = file.add_table(rows=2, cols=2)
    cells.cell(0, 0).merge(cells.cell(0, 1)).text = "Hook"
    cells.cell(1, 1).add_table(1, 1).cell(0, 0).text = "2 t"
    file.save(str(folder / "seed.docx"))
    return {
        ".pdf": (folder / "seed.pdf").read_bytes(),
        ".docx": (folder / "seed.docx").read_bytes(),
        ".html": b"<meta charset=koi8-r><style>.a{display:none}</style><h1>Crane</h1><table><caption>c</caption><tr>"
        b"<th colspan=2>Hook</th></tr><tr><td rowspan=3>A<table><tr><td>1</td><td>2</td></tr></table></td><td>2 t</td>"
        b"</tr></table><ol start=4><li>one<li><a href=http://x.example>two</a></ol><pre>x\n y</pre><p hidden>z</p>",
        ".md": b"---\ntitle: Crane\n---\n# A\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- x\n  1. y\n\n~~z~~ [l](http://x)\n",
        ".csv": b'sep=;\nStock;;\nname;"left; now";price\n"a ""b""";3;1,5\nc;4;2,5\n',
        ".json": b'{"parts": [{"name": "a", "text": "# T\\n\\nx"}, {"b": [1, {"c": null}]}], "n": 1.5}',
        ".jsonl": b'{"title": "a", "n": 1}\n[1, 2]\n"text"\n',
        ".rst": b"=====\nCrane\n=====\n\nText.\n\nHook\n----\n\n.. note:: x\n",
        ".adoc": b"= Crane\n\n== Hook\n\n----\n== code\n----\n",
        ".txt": "CRANE\n\nText\u00ad here.\n\n1.2 Hook\n\nMore\u200b.\n".encode(),
    }


def mutants(data: bytes, chance: random.Random, count: int = EACH) -> list[bytes]:
    """The file cut off, with bytes changed, with pieces taken out, doubled or moved."""
    changed = []
    for _ in range(count):
        one = bytearray(data)
        for _ in range(chance.choice((1, 1, 3, 20))):
            at, length = chance.randrange(len(one)), chance.randrange(1, 40)
            piece = bytes(one[at : at + length])
            match chance.randrange(5):
                case 0:
                    one[at] = chance.randrange(256)
                case 1:
                    del one[at : at + min(length, len(one) - 1)]
                case 2:
                    one[at:at] = piece * chance.choice((1, 3, 200))
                case 3:
                    there = chance.randrange(len(one))
                    one[there:there] = piece
                case _:
                    one[at : at + 1] = chance.choice((b"0", b"99999999999", b"-1", b"\0", b"<", b'"', b"\xff\xfe"))
            one = one or bytearray(b"x")
        changed.append(bytes(one[: chance.randrange(1, len(one) + 1)] if chance.random() < 0.2 else one))
    return changed


def must_hold(path: Path) -> bool:
    """Whether the file was read; a refusal in words is as good."""
    began = time.process_time()
    try:
        document = read(path, path.name)
    except UnreadableDocument:
        return False
    finally:
        assert time.process_time() - began < LONGEST, path
    for entry in passages_of(document, 40):
        assert document.text[entry.start : entry.end] == entry.text
        assert entry.page is None or 1 <= entry.page <= len(document.pages)
        entry.searchable.encode()
    return True


@pytest.mark.parametrize(
    "suffix", [".pdf", ".docx", ".html", ".md", ".csv", ".json", ".jsonl", ".rst", ".adoc", ".txt"]
)
def test_mutated_files(tmp_path, suffix):
    data = seeds(tmp_path)[suffix]
    path = tmp_path / f"whole{suffix}"
    path.write_bytes(data)
    assert must_hold(path)
    for number, mutant in enumerate(mutants(data, random.Random(suffix))):
        path = tmp_path / f"mutant-{number}{suffix}"
        path.write_bytes(mutant)
        must_hold(path)


@pytest.mark.parametrize("part", ["word/document.xml", "word/styles.xml"])
def test_mutated_parts_of_word_files(tmp_path, part):
    """A changed byte in the package is seen by its checksum; what it holds is not."""
    seeds(tmp_path)
    with zipfile.ZipFile(tmp_path / "seed.docx") as package:
        parts = {name: package.read(name) for name in package.namelist()}
    tags = re.findall(rb"<[^>]+>", parts[part])
    chance = random.Random(part)
    for number, mutant in enumerate(mutants(parts[part], chance)):
        tag = chance.choice(tags)
        path = tmp_path / f"mutant-{number}.docx"
        with zipfile.ZipFile(path, "w") as package:
            for name, data in parts.items():
                changed = mutant if number % 2 else data.replace(tag, chance.choice((b"", tag * 2, b"<w:p/>")), 1)
                package.writestr(name, changed if name == part else data)
        must_hold(path)


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".html", "<table><tr><td>x" * 400),
        (".html", "<table>" + "<tr><td colspan=99999 rowspan=99999>x</td><td>y</td></tr>" * 200 + "</table>"),
        (".html", "<style>" + "@a{" * 3000 + "{}" * 3000 + "</style><p>x</p>"),
        (".md", "[" * 5000 + "](" * 5000),
        (".md", "---\n" * 20_000),
        (".csv", '"' * 50_001 + "\n,;" * 20_000),
        (".json", "[" * 900 + "1" + "]" * 900),
        (".txt", ("-" * 2000 + "\n") * 500),
        (".rst", "==\n" * 5_000),
        (".adoc", "----\n= x\n" * 20_000),
    ],
)
def test_files_made_to_take_long(tmp_path, suffix, text):
    path = tmp_path / f"a{suffix}"
    path.write_text(text)
    assert must_hold(path) or not re.search(r"\w", text)


SHIPPED = (".pdf", ".docx", ".html", ".csv")
ALSO = (".md", ".rst", ".txt", ".json")


@pytest.fixture(scope="module")
def shipped() -> list[Path]:
    """Files of other projects, which come with the libraries of the tests: nothing in them is ours to choose."""
    place = Path(sysconfig.get_paths()["purelib"])
    files = sorted(file for file in place.rglob("*") if file.suffix in {*SHIPPED, *ALSO} and file.is_file())
    return [file for file in files if file.stat().st_size < 300_000]


def test_documents_that_the_test_libraries_ship(shipped):
    files = [file for file in shipped if file.suffix in SHIPPED]
    others = [file for file in shipped if file.suffix in ALSO]
    assert {file.suffix for file in files} == set(SHIPPED)
    files += random.Random(0).sample(others, min(40, len(others)))
    assert sum(map(must_hold, files)) > 0.8 * len(files), "only icons and empty pages hold no words"


def test_mutated_documents_of_other_projects(shipped, tmp_path):
    """500 of them, of every kind alike."""
    chance = random.Random(1)
    small = {kind: [f for f in shipped if f.suffix == kind and f.stat().st_size < 40_000] for kind in (*SHIPPED, *ALSO)}
    held = 0
    for number in range(500):
        kind = (*SHIPPED, *ALSO)[number % 8]
        path = tmp_path / f"mutant-{number}{kind}"
        path.write_bytes(mutants(chance.choice(small[kind]).read_bytes() or b"x", chance, 1)[0])
        held += must_hold(path)
    assert held > 250
