"""The documents are true: their commands and Python examples run and print what they say, and the site builds.

A fenced block with a title is a file. A `console` block holds commands (`$ …`) and what they print, a `text` block that
follows a `python` block what that prints; `…` stands for anything. `<!-- not run: why -->` above a block leaves it out.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from langchain_core.messages import BaseMessage

import metier
from metier import ScriptedEngine, Team, build
from metier.serving.project import init_team
from metier.specialists.functions import NO_CALL, write_call
from metier.tests.conftest import Run
from metier.tests.desk import served
from metier.tests.house import ROOT
from metier.tests.patience import PATIENCE

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FIRST_STEPS = ROOT / "docs" / "first-steps.md"
_FENCE = re.compile(
    r"^(<!-- not run: .+ -->\n)?```(\w*)(?: title=\"([^\"\n]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
_PORT = "http://127.0.0.1:8321"


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    title: str | None
    text: str
    line: int
    left_out: bool


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [Block(m[2], m[3], m[4], text.count("\n", 0, m.start()) + 2, bool(m[1])) for m in _FENCE.finditer(text)]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def same(printed: str, told: str) -> bool:
    """Is that what was told? `…` in it stands for anything, also for lines."""
    pattern = ".*".join(map(re.escape, told.strip().split("…")))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


# The team that the examples speak of is the one that `metier init office` writes.

ANSWERS = {
    "VPN": "eight hours",
    "hotel room": "120 euros",
    "password": "once a year",
    "guests": "office-guest",
    "toner": "TK-1150",
    "accounting": "Accounting is in room 3.07.",
}


def script(messages: list[BaseMessage]) -> str:
    """The model: it finds what the documents say, and opens tickets."""
    prompt = messages[-1].text
    task = prompt.rpartition("Question:")[2]
    if "ticket" in task:
        return (
            NO_CALL if ") gave: " in prompt else write_call("open_ticket", {"title": task.partition(": ")[2].strip()})
        )
    return next((answer for word, answer in ANSWERS.items() if word in task), "not found")


def scripted(base: object, adapters: Mapping[str, Path], **options: Any) -> ScriptedEngine:
    """The engine of that team."""
    return ScriptedEngine(script, list(adapters))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, models: Any) -> Path:
    folder = tmp_path_factory.mktemp("manual") / "office"
    init_team(folder)
    card = folder / "team.yaml"
    card.write_text(f"{card.read_text()}\nengine: metier.tests.test_docs:scripted\n")
    build(folder)
    return folder


@pytest.fixture
def place(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with that team and some papers."""
    shutil.copytree(built, tmp_path / "office")
    (tmp_path / "papers" / "leases").mkdir(parents=True)
    (tmp_path / "papers" / "leases" / "depot.md").write_text(
        "# Depot\n\nThe lease of the depot ends on 31 March 2031.\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def write_files(page: Path, folder: Path) -> None:
    for block in blocks(page):
        if block.title:
            file = folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)


# Python.


def holds(page: Path, language: str) -> bool:
    """Has it blocks of this language that are run?"""
    return any(block.language == language and not block.left_out for block in blocks(page))


def python_pages() -> Iterator[Path]:
    yield from (page for page in PAGES if page != FIRST_STEPS and holds(page, "python"))


@pytest.mark.parametrize("page", python_pages(), ids=named)
def test_examples_run_and_print_what_they_say(page: Path, place: Path) -> None:
    write_files(page, place)
    with ExitStack() as stack:
        run_python(page, stack)


def run_python(page: Path, stack: ExitStack) -> None:
    """Run the examples of a page one after the other, as one program."""
    parts = [block for block in blocks(page) if not block.title]
    whole = "".join(block.text for block in parts if block.language == "python" and not block.left_out)
    names: dict[str, Any] = {"__name__": "__main__", "engine": ScriptedEngine(script)}
    if "team." in whole and not re.search(r"(team = |as team)", whole):
        names["team"] = stack.enter_context(Team.load("office"))
    address = _PORT
    if _PORT in whole:
        address = stack.enter_context(served(stack.enter_context(Team.load("office"))))
    for number, block in enumerate(parts):
        if block.language != "python" or block.left_out:
            continue
        # Lines of the page, so that an error says where.
        code = "\n" * block.line + block.text.replace(_PORT, address)
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(code, page, "exec"), names)
        told = parts[number + 1] if number + 1 < len(parts) else None
        if told and told.language == "text":
            assert same(printed.getvalue(), told.text), f"{named(page)}:{told.line} but printed:\n{printed.getvalue()}"


# Commands.


def run_commands(page: Path, run: Run) -> None:
    """Run the commands of a page, in this process."""
    code = 0
    for block in blocks(page):
        if block.language != "console" or block.left_out:
            continue
        commands = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE)
        assert commands, f"{named(page)}:{block.line} holds no command"
        for command, told in commands:
            if command == "echo $?":
                printed = str(code)
            else:
                program, *words = shlex.split(command, comments=True)
                assert program == "metier"
                code, printed, failed = run(*words)
                assert code in (0, 5, 6), failed
            assert same(printed, told), f"{named(page)}:{block.line} {command}\nbut printed:\n{printed}"


def test_the_first_steps_lead_to_an_answer(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    """With the real model, as a newcomer would take them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    write_files(FIRST_STEPS, tmp_path)
    run_commands(FIRST_STEPS, run)
    with ExitStack() as stack:
        run_python(FIRST_STEPS, stack)


def test_commands_of_the_how_tos_print_what_they_say(place: Path, run: Run) -> None:
    pages = [page for page in PAGES if page != FIRST_STEPS and holds(page, "console")]
    for page in pages:
        write_files(page, place)
        run_commands(page, run)
    assert pages


def test_every_block_is_closed_and_few_are_left_out() -> None:
    for page in PAGES:
        fences = re.findall(r"^\s*```", page.read_text(), re.MULTILINE)
        assert len(fences) % 2 == 0, named(page)
    left_out = [(named(page), block.line) for page in PAGES for block in blocks(page) if block.left_out]
    assert len(left_out) <= 6, left_out


def test_links_of_the_pages_outside_the_site_lead_somewhere() -> None:
    """mkdocs looks at all others."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
        assert links or page.name == "CONTRIBUTING.md"
        assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


# The site.


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, built strictly, as `make docs` does."""
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Fetched(HTMLParser):
    """Addresses that a browser fetches by itself to show a page; links that one clicks on are not among them."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self._in_style = tag == "style"
        if tag == "link" and held.get("rel") in ("canonical", "next", "prev"):
            return
        keys = ("src", "srcset", "poster", "data") if tag != "link" else ("href",)
        self.addresses += [value for key in keys if (value := held.get(key))]
        self.texts.append(held.get("style") or "")

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.texts.append(data)


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    foreign: list[str] = []
    for page in site.rglob("*.html"):
        read = Fetched()
        read.feed(page.read_text())
        styled = re.findall(r"url\(['\"]?([^)'\"]+)", " ".join(read.texts))
        foreign += [f"{page.name}: {a}" for a in (*read.addresses, *styled) if re.match(r"(\w+:)?//", a)]
    for sheet in site.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import\s*)['\"]?((?:https?:)?//[^)'\"]+)", sheet.read_text())
        foreign += [f"{sheet.name}: {address}" for address in found]
    assert foreign == []


def test_the_site_holds_the_reference(site: Path) -> None:
    python = (site / "reference" / "python.html").read_text()
    assert [name for name in metier.__all__ if name != "__version__" and f"metier.{name}" not in _ids(python)] == []
    assert "Raises" in python
    team = (site / "reference" / "team-card.html").read_text()
    fields = {*metier.TeamCard.model_fields, "checkpoints", "false_refusal"}
    assert [field for field in fields if f"<code>{field}</code>" not in team] == []
    assert "metier registry rollback" in (site / "reference" / "commands.html").read_text()
    assert "Unreleased" in (site / "changelog.html").read_text()


def _ids(html: str) -> set[str]:
    found = set(re.findall(r'id="([\w.]+)"', html))
    return found | {f"metier.{name.rpartition('.')[2]}" for name in found if name.startswith("metier.")}


def test_a_browser_asks_nobody_else(site: Path) -> None:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("NO CHROMIUM: the site is not looked at (apt-get install chromium)")
    asked: list[str] = []
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        for name in ("index", "first-steps", "reference/python"):
            page.goto((site / f"{name}.html").as_uri(), wait_until="load", timeout=PATIENCE * 1000)
        page.keyboard.press("/")
        page.keyboard.type("toner")
        page.locator(".md-search-result__link").first.wait_for(timeout=PATIENCE * 1000)
        browser.close()
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
