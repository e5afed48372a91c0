"""Reports: what stands in them, in every form; citations stay, and documents cannot mark them up."""

from __future__ import annotations

import io
from pathlib import Path

import docx
import pypdf
import pytest

from metier.agents.workflows.draw import draw_plan, layers, plan_picture
from metier.agents.workflows.execute import Workflow
from metier.agents.workflows.plan import Plan
from metier.agents.workflows.report import WrittenReport, write_report
from metier.agents.workflows.results import File, Items, Number, Skipped, Table, Text
from metier.core.types import Citation
from metier.tests.workflow_team import open_office
from metier.tools.builtin.plot import draw as draw_chart

WEEKLY = Citation(source="manual.pdf", quote="Grease it every week.", start=0, end=21, page=3, heading=("Filler",))
DAILY = Citation(source="daily.md", quote="Clean it | daily *now*.", start=0, end=23)
TEMPLATE = """# Week at {{ site }}

**{{ hours }}** in all, {{ gone }}.

{{ downtime }}
{% for one in advice %}
- {{ one.row }}: {{ one.quote }}
{% endfor %}

1. again: {{ weekly.text }}

{{ chart }}
"""


def scope(chart: Path) -> dict[str, object]:
    weekly, daily = (
        Text(text="every week", citations=(WEEKLY,)),
        Text(text="<b>daily</b> [x](y)", citations=(DAILY, WEEKLY)),
    )
    return {
        "site": "Zürich – Süd",
        "hours": Number(value=8.5, unit="h"),
        "gone": Skipped(reason="nobody knows"),
        "downtime": Table(columns=("machine", "hours"), rows=({"machine": "filler|A", "hours": 6}, {"machine": "B"})),
        "advice": Items(items=({"row": Text(text="filler"), "quote": weekly}, {"row": Text(text="B"), "quote": daily})),
        "weekly": weekly,
        "chart": File(path=str(chart), media="image/png"),
    }


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_chart(tmp_path_factory.mktemp("a chart"), "bar", ["a", "b"], [1, 2])


@pytest.fixture(scope="module")
def written(chart: Path) -> WrittenReport:
    return WrittenReport.of(TEMPLATE, scope(chart))


def test_marks_point_at_the_citations_in_their_order(written: WrittenReport) -> None:
    assert written.citations == (WEEKLY, DAILY)
    assert "- filler: every week[^1]" in written.text
    assert "[^2][^1]" in written.text
    assert "again: every week[^1]" in written.text


def test_markdown(written: WrittenReport, tmp_path: Path) -> None:
    assert write_report(tmp_path / "r.md", *written) == "text/markdown"
    text = (tmp_path / "r.md").read_text()
    assert "| machine | hours |" in text
    assert "filler\\|A" in text
    assert "[^1]: “Grease it every week.” — manual.pdf, page 3 › Filler" in text
    assert "(left out: nobody knows)" in text


def test_lines_of_values_stay_lines_and_table_rows_stay_rows() -> None:
    """Steps stand below each other; what only the width of a page parted is one line, and so is a cell."""
    steps, names = "1. Close it.\n2. Drain it.", "Kelling Ltd and Greyfield plc, Terminal Way,\nGreyfield"
    quoted = {
        name: Text(text=text, citations=(Citation(source="a.pdf", quote=text, start=0, end=len(text)),))
        for name, text in (("steps", steps), ("names", names))
    }
    rows = Table(columns=("work_order", "hours"), rows=({"work_order": "WO-1", "hours": 1.5},))
    template = "{{ steps }}\n\n{{ names }}\n\n| A | B |\n|---|---|\n| {{ steps }} | {{ names }} |\n\n{{ rows }}"
    text = WrittenReport.of(template, {**quoted, "rows": rows}).text
    assert text.startswith(
        "1\\. Close it.\\\n2\\. Drain it.[^1]\n\nKelling Ltd and Greyfield plc, Terminal Way, Greyfield[^2]"
    )
    assert "| 1\\. Close it. 2\\. Drain it.[^1] | Kelling Ltd and Greyfield plc, Terminal Way, Greyfield[^2] |" in text
    assert "| work order | hours |\n| --- | ---: |\n| WO-1 | 1.5 |" in text


def test_html_is_whole_and_safe(written: WrittenReport, tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", *written)
    page = (tmp_path / "r.html").read_text()
    assert "<title>Week at Zürich – Süd</title>" in page
    assert "<td>filler|A</td>" in page
    assert '<sup><a href="#source-1"' in page
    assert '<li id="source-2">“Clean it | daily *now*.” — daily.md</li>' in page
    assert "<b>daily" not in page
    assert 'href="y"' not in page
    assert "data:image/png;base64," in page


def test_word(written: WrittenReport, tmp_path: Path) -> None:
    write_report(tmp_path / "r.docx", *written)
    document = docx.Document(str(tmp_path / "r.docx"))
    texts = [paragraph.text for paragraph in document.paragraphs]
    assert texts[0] == "Week at Zürich – Süd"
    assert "filler: every week[1]" in texts
    assert "1. “Grease it every week.” — manual.pdf, page 3 › Filler" in texts
    table = document.tables[0]
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["machine", "hours"],
        ["filler|A", "6"],
        ["B", ""],
    ]
    marks = [run.text for paragraph in document.paragraphs for run in paragraph.runs if run.font.superscript]
    assert marks == ["[1]", "[2]", "[1]", "[1]"]
    assert any(run.bold for paragraph in document.paragraphs for run in paragraph.runs if run.text == "8.5 h")
    assert len(document.inline_shapes) == 1


def test_pdf(written: WrittenReport, tmp_path: Path) -> None:
    write_report(tmp_path / "r.pdf", *written)
    pdf = pypdf.PdfReader(io.BytesIO((tmp_path / "r.pdf").read_bytes()))
    text = " ".join(page.extract_text() for page in pdf.pages)
    assert "Week at Zürich – Süd" in text
    assert "filler|A" in text
    assert "manual.pdf, page 3 › Filler" in text
    assert sum(len(page.images) for page in pdf.pages) == 1


def test_a_step_writes_a_report_into_the_folder_of_its_run(tmp_path: Path) -> None:
    steps = {
        "quote": {"ask": "manuals", "task": "how often?"},
        "report": {"report": "{{ site }}.html", "template": "# {{ site }}\n\n{{ quote }}"},
    }
    plan = Plan.model_validate({"name": "made", "parameters": {"site": {}}, "steps": steps})
    with open_office(tmp_path) as team:
        run = Workflow(plan, team).run({"site": "North"})
        assert isinstance(run.result, File)
        path = Path(run.result.path)
        assert path == tmp_path / ".metier" / "output" / run.thread_id / "North.html"
        assert "manuals.pdf, page 2" in path.read_text()
        assert run.answer.citations[0].source == "manuals.pdf"
        elsewhere = Workflow(plan, team).run({"site": "../../x"})
        assert (elsewhere.status, "leads out" in elsewhere.trouble[0].reason) == ("failed", True)
        there = Workflow(plan, team, folder=tmp_path / "here").run({"site": "South"})
        assert (tmp_path / "here" / "South.html").exists()
        assert there.status == "done"


def test_a_plan_is_drawn(tmp_path: Path) -> None:
    steps = {
        "a": {"ask": "manuals", "task": "x"},
        "each": {
            "for_each": "{{ [1] }}",
            "at_most": 2,
            "steps": {"b": {"join": "{{ a }} {{ item }}"}, "c": {"join": "{{ b }}"}},
        },
        "last": {"join": "{{ each }}", "after": ["a"]},
    }
    plan = Plan.model_validate({"name": "made", "steps": steps})
    drawn = draw_plan(plan, {"a": "done", "each": "waiting"})
    assert "s_a --> s_each" in drawn
    assert "s_each__b --> s_each__c" in drawn
    assert "s_a -.-> s_last" in drawn
    assert "class s_a done" in drawn
    shown = layers(plan, {"a": "done"})
    assert [(node["name"], node["layer"], node["state"]) for node in shown["nodes"]] == [
        ("a", 0, "done"), ("each", 1, ""), ("last", 2, ""),
    ]  # fmt: skip
    plan_picture(plan, tmp_path / "plan.png", {"a": "done"})
    assert (tmp_path / "plan.png").stat().st_size > 5_000
