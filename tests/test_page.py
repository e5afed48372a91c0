"""The page in a real Chromium: its story from an empty folder to an answer, and what holds on all of it.

`METIER_PICTURES=docs/pictures` also writes the pictures that the documents show.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")

from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from PIL import Image  # noqa: E402

from metier.core.models import ModelStore  # noqa: E402
from metier.memory.store import Owner  # noqa: E402
from metier.tests.bakery import (  # noqa: E402
    BUY,
    CARE,
    CARE_QUOTE,
    GEAR,
    GEAR_QUOTE,
    GREASE,
    GREASE_QUOTE,
    LEASE,
    LEASE_FILE,
    LEASE_QUOTE,
    open_bakery,
    papers,
    script,
)
from metier.tests.desk import served  # noqa: E402
from metier.tests.gates import PASSWORD, accounts_of  # noqa: E402
from metier.tests.patience import PATIENCE  # noqa: E402
from metier.tests.patience import until as wait_until  # noqa: E402
from metier.tests.shop import lines  # noqa: E402
from metier.tests.workflow_team import open_office  # noqa: E402

WEB = Path(__file__).parent.parent / "serving" / "http" / "web"
CHROMIUM = os.environ.get("METIER_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
_PATIENCE = 1000 * PATIENCE
"""Milliseconds."""
_AT_REST = """Promise.allSettled(document.getAnimations()
    .filter(one => one.effect.getComputedTiming().endTime < Infinity).map(one => one.finished))"""
"""In the browser: nothing moves or fades any more, but for what turns as long as something is loaded."""
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PICTURES = os.environ.get("METIER_PICTURES")
SHOWN = (
    *("answer", "pdf", "doubt", "approval", "review", "german-dark", "start-phone-light", "answer-phone-light"),
    *("workflow-waits", "team-home-desktop-light", "team-router-desktop-light", "team-documents-desktop-light"),
)
"""The pictures that the documents show."""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NO CHROMIUM: the page is not tested (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright.expect.set_options(timeout=_PATIENCE)
    with playwright.sync_playwright() as run:
        opened = run.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def bakery(tmp_path_factory: pytest.TempPathFactory, models: ModelStore) -> Iterator[str]:
    """A bakery that the tests of this module share; its address."""
    with open_bakery(tmp_path_factory.mktemp("bakery"), pause=0.01) as team, served(team) as address:
        yield address


class Visitor:
    """A page of a browser, watched: what it asked for, and what went wrong on it."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.address = address
        options = {"viewport": DESKTOP, "locale": "en-GB", "reduced_motion": "reduce", **context}
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(_PATIENCE)
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type == "error" else None)

    def go(self, place: str = "") -> Any:
        self.page.goto(f"{self.address}/{place}")
        self.page.wait_for_selector("#task, .panel > *:not([hidden])")
        return self.page

    def ask(self, task: str, until: str = ".acts") -> Any:
        """Type a question, and wait for the turn's end; gives the turn."""
        place = self.page.locator(".turn").count()
        self.page.fill("#task", task)
        self.page.press("#task", "Enter")
        turn = self.page.locator(".turn").nth(place)
        turn.locator(until).first.wait_for()
        self.page.locator(".go").and_(self.page.get_by_role("button", name=re.compile("Send|Senden"))).wait_for()
        return turn

    def accessible(self) -> list[str]:
        """What axe finds wrong, a line each."""
        self.page.evaluate(_AT_REST)
        found = Axe().run(self.page, options={"resultTypes": ["violations"]}).response["violations"]
        return [f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in found for node in one["nodes"]]

    def picture(self, name: str) -> None:
        """For the documents, when they are asked for: small, and without the focus that a test needs."""
        if PICTURES and name in SHOWN:
            self.page.evaluate(_AT_REST)
            self.page.wait_for_timeout(400)
            shot = Image.open(io.BytesIO(self.page.screenshot()))
            Path(PICTURES).mkdir(parents=True, exist_ok=True)
            shot.convert("RGB").quantize(160).save(Path(PICTURES, f"{name}.png"), optimize=True)

    def end(self) -> None:
        """Nothing went wrong, and nothing was asked of anybody else."""
        self.context.close()
        assert self.wrong == []
        assert [url for url in self.asked if not url.startswith((self.address, f"blob:{self.address}"))] == []


@pytest.fixture
def visit(browser: Any, bakery: str) -> Iterator[Any]:
    """`visit()` opens a visitor of the shared bakery; all are checked at the end."""
    opened: list[Visitor] = []

    def open_one(**context: Any) -> Visitor:
        opened.append(Visitor(browser, bakery, **context))
        return opened[-1]

    yield open_one
    for visitor in opened:
        visitor.end()


def test_from_an_empty_folder_to_an_answer(browser: Any, models: ModelStore, tmp_path: Path) -> None:
    files = papers(tmp_path / "desk")
    with open_bakery(tmp_path / "team", empty=True) as team, served(team) as address:
        visitor = Visitor(browser, address)
        page = visitor.go("#/team/documents/ovens")
        page.get_by_text("No documents yet.").wait_for()
        page.set_input_files("input[type=file]", files)
        page.get_by_text("Ready. New answers use what was built.").first.wait_for()
        titles = ["Deck oven DO-4", "lubrication", "Spiral mixer SM-2"]
        playwright.expect(page.locator("tbody tr b")).to_have_text(titles)

        page.get_by_role("link", name="New conversation").click()
        task = "When must the boiler of the deck oven be descaled?"
        turn = visitor.ask(task)
        assert turn.locator(".said").inner_text() == CARE_QUOTE
        assert turn.locator(".by b").inner_text() == "ovens"
        turn.locator(".source").click()
        page.locator("#paper mark").wait_for()
        assert page.locator("#paper mark").inner_text() == CARE_QUOTE
        assert page.locator("#paper mark").is_visible()
        assert "Steam system" in page.locator("#paper h4").all_inner_texts()
        visitor.picture("answer")
        page.keyboard.press("Escape")
        playwright.expect(page.locator("#paper")).to_be_hidden()

        turn.get_by_role("button", name="Correct this answer").click()
        turn.get_by_label("What is the right answer?").fill("every 250 hours")
        turn.get_by_role("button", name="Send correction").click()
        turn.get_by_text("waits for review").wait_for()

        turn = visitor.ask(BUY, ".approval")
        assert turn.locator(".args dd").all_inner_texts() == ["rye flour", "20"]
        assert not (tmp_path / "team" / "ordered.txt").exists(), "nothing is done before somebody agrees"
        visitor.picture("approval")
        turn.get_by_text("Edit", exact=True).click()
        turn.get_by_label("kilos").fill("15")
        turn.get_by_role("button", name="Continue").click()
        turn.locator(".acts").wait_for()
        assert (tmp_path / "team" / "ordered.txt").read_text() == "15 kg rye flour\n"

        page.get_by_role("link", name="The team").click()
        page.get_by_role("link", name="Feedback").click()
        note = page.locator(".note")
        assert note.locator("h2").inner_text() == task
        assert note.get_by_label("The right answer").input_value() == "every 250 hours"
        note.get_by_label("The right answer").fill("after 250 hours of steam")
        visitor.picture("review")
        note.get_by_role("button", name="Accept as example").click()
        page.get_by_text("Nothing waits for review.").wait_for()
        examples = (tmp_path / "team" / "ovens.jsonl").read_text().splitlines()
        assert json.loads(examples[-1]) == {"input": task, "answer": "after 250 hours of steam"}
        visitor.end()


def test_a_pdf_opens_at_its_page_and_a_table_at_its_row(visit: Any) -> None:
    visitor = visit()
    page = visitor.go()
    turn = visitor.ask(GEAR)
    assert "page 2" in turn.locator(".place").inner_text()
    turn.locator(".source").click()
    image = page.locator("#paper img")
    image.wait_for()
    assert image.get_attribute("alt") == "Page 2 of Spiral mixer SM-2"
    assert image.evaluate("async i => { await i.decode(); return i.naturalWidth }") > 800
    visitor.picture("pdf")
    page.get_by_role("button", name="Text", exact=True).click()
    assert page.locator("#paper mark").inner_text() == GEAR_QUOTE
    turn = visitor.ask(GREASE)
    turn.locator(".source").click()
    row = page.locator("#paper tr.here")
    row.wait_for()
    assert row.locator("td").all_inner_texts() == ["Divider DV-3", "piston guides", "food-grade oil", "50 h", "2 ml"]
    assert row.locator("mark").inner_text() == GREASE_QUOTE


def test_an_answer_comes_while_it_is_written_and_can_be_stopped(browser, models, tmp_path) -> None:
    endless, talks = CARE_QUOTE + " and so on" * 30_000, threading.Event()
    talks.set()
    says = lambda messages: endless if talks.is_set() else script(messages)  # noqa: E731
    with open_bakery(tmp_path, says=says, pause=0.1) as team, served(team) as address:
        visitor = Visitor(browser, address)
        page = visitor.go()
        page.fill("#task", CARE)
        page.press("#task", "Enter")
        page.locator(".said.draft").wait_for()
        assert endless.startswith(page.locator(".said.draft").inner_text().strip())
        assert page.locator(".reply").get_attribute("aria-busy") == "true"
        page.keyboard.press("Escape")
        page.get_by_text("Stopped.").first.wait_for()
        talks.clear()
        page.get_by_role("button", name="Ask again").click()
        page.locator(".acts").wait_for()
        assert page.locator(".turn").count() == 1
        assert page.locator(".said").inner_text() == CARE_QUOTE
        visitor.end()


def test_conversations_are_found_renamed_saved_and_deleted(visit: Any) -> None:
    visitor = visit()
    page = visitor.go()
    visitor.ask("How long is rye dough kneaded in winter?")
    item = page.locator(".threads li.here")
    item.wait_for()
    item.get_by_role("button").click()
    page.get_by_role("menuitem", name="Rename").click()
    page.get_by_label("New title").fill("Rye in winter")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Rye in winter").wait_for()
    page.fill("#find", "kneaded winter")
    playwright.expect(page.locator(".threads li a")).to_have_text(["Rye in winter"])
    page.fill("#find", "nowhere to be found")
    page.get_by_text("Nothing found.").wait_for()
    page.fill("#find", "")
    for kind in ("Markdown", "JSON"):
        page.locator(".threads li.here").get_by_role("button").click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name=kind).click()
        text = Path(download.value.path()).read_text()
        assert GEAR_QUOTE in text
        assert "Rye in winter" in text
    page.reload()
    page.locator(".turn .acts").wait_for()
    assert page.locator(".said").inner_text() == GEAR_QUOTE, "it is there again"
    assert page.locator(".bars").first.is_hidden()
    page.locator(".why summary").first.click()
    assert "ovens" in page.locator(".bars").first.inner_text()
    page.locator(".threads li.here").get_by_role("button").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_text("What would you like to know?").wait_for()
    playwright.expect(page.get_by_role("link", name="Rye in winter")).to_have_count(0)


def test_a_decision_can_be_made_after_the_server_was_started_again(browser, models, tmp_path) -> None:
    with open_bakery(tmp_path) as team, served(team) as address:
        visitor = Visitor(browser, address)
        visitor.go()
        visitor.ask(BUY, ".approval")
        place = visitor.page.url.partition("#")[2]
        visitor.end()
    with open_bakery(tmp_path) as team, served(team) as address:
        visitor = Visitor(browser, address)
        page = visitor.go(f"#{place}")
        playwright.expect(page.locator("#task")).to_be_disabled()
        page.get_by_text("Reject", exact=True).click()
        page.get_by_label("Why not?").fill("we have enough")
        page.get_by_role("button", name="Continue").click()
        page.locator(".acts").wait_for()
        assert not (tmp_path / "ordered.txt").exists()
        visitor.end()


def test_thumbs_and_copy(visit: Any) -> None:
    visitor = visit(permissions=["clipboard-read", "clipboard-write"])
    page = visitor.go()
    turn = visitor.ask(CARE)
    turn.get_by_role("button", name="Copy").click()
    turn.get_by_text("Copied.").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(CARE_QUOTE)
    assert "deck-oven.md › Deck oven DO-4 › Steam system" in copied
    turn.get_by_role("button", name="Good answer").click()
    turn.get_by_text("Thank you.").wait_for()
    page.reload()
    page.locator(".acts").wait_for()
    good = page.get_by_role("button", name="Good answer")
    playwright.expect(good).to_have_attribute("aria-pressed", "true")


def test_everything_is_done_with_keys(visit: Any) -> None:
    page = visit().go()
    page.locator("body").click(position={"x": 700, "y": 30})
    page.keyboard.press("/")
    page.keyboard.type(CARE)
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    page.locator(".acts").wait_for()
    page.keyboard.press("ArrowUp")
    playwright.expect(page.locator("#task")).to_have_value(CARE)
    page.locator(".source").focus()
    page.keyboard.press("Enter")
    page.locator("#paper mark").wait_for()
    page.keyboard.press("Escape")
    playwright.expect(page.locator(".source")).to_be_focused()  # the focus comes back
    page.keyboard.press("Control+k")
    playwright.expect(page.locator("#find")).to_be_focused()
    page.keyboard.press("Alt+n")
    page.locator(".greeting").wait_for()
    page.locator("main").focus()
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    playwright.expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_file_is_dropped_into_one_conversation_and_read_only_there(visit: Any) -> None:
    visitor = visit()
    page = visitor.go()
    drop = page.evaluate_handle(
        "text => { const d = new DataTransfer(); d.items.add(new File([text], 'lease.md')); return d }", LEASE_FILE
    )
    page.dispatch_event("main", "dragenter", {"dataTransfer": drop})
    page.locator(".dropping").wait_for()
    page.dispatch_event("main", "drop", {"dataTransfer": drop})
    page.get_by_role("button", name="Remove lease.md").wait_for()
    turn = visitor.ask(LEASE)
    assert turn.locator(".said").inner_text() == LEASE_QUOTE
    turn.locator(".source").click()
    page.locator("#paper mark").wait_for()
    assert page.locator("#paper mark").inner_text() == LEASE_QUOTE
    page.locator(".why summary").click()
    assert "the attached lease.md speaks of it" in page.locator(".why").inner_text()
    page.reload()
    page.get_by_role("button", name="Remove lease.md").click()
    playwright.expect(page.locator(".files li")).to_have_count(0)
    turn = visitor.ask(LEASE)
    assert LEASE_QUOTE not in turn.inner_text(), "what was taken out is not read any more"
    page.get_by_role("link", name="New conversation").click()
    page.locator(".greeting").wait_for()
    page.set_input_files(".write input[type=file]", {"name": "a.pdf", "mimeType": "", "buffer": b"no pdf at all"})
    visitor.ask("How long is rye dough kneaded?")
    page.get_by_text("cannot be read").first.wait_for()
    visitor.wrong = [w for w in visitor.wrong if "400" not in w]


TABS = ("", "workflows", "documents", "search", "router", "runs", "review", "evaluation", "memory")


@pytest.mark.parametrize(("scheme", "size"), [("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE)])
def test_axe_finds_nothing(visit: Any, scheme: str, size: dict[str, int]) -> None:
    visitor = visit(color_scheme=scheme, viewport=size)
    page, wrong = visitor.go(), {}
    name = f"{'phone' if size is PHONE else 'desktop'}-{scheme}"
    wrong["start"] = visitor.accessible()
    visitor.picture(f"start-{name}")
    turn = visitor.ask(CARE)
    page.locator(".why summary").first.click()
    wrong["answer"] = visitor.accessible()
    visitor.picture(f"answer-{name}")
    turn.locator(".source").click()
    page.locator("#paper mark").wait_for()
    wrong["document"] = visitor.accessible()
    page.keyboard.press("Escape")
    turn.get_by_role("button", name="Correct this answer").click()
    wrong["correction"] = visitor.accessible()
    visitor.ask(BUY, ".approval")
    wrong["approval"] = visitor.accessible()
    if size is PHONE:
        page.get_by_role("button", name="Conversations").click()
        wrong["side"] = visitor.accessible()
    for tab in TABS if (scheme, size) == ("light", DESKTOP) else ("", "documents", "router"):
        page.goto(f"{visitor.address}/#/team/{tab}")
        page.wait_for_load_state("networkidle")
        page.locator(".panel > *:not([hidden])").first.wait_for()
        wrong[tab or "team"] = visitor.accessible()
        visitor.picture(f"team-{tab or 'home'}-{name}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), tab
    assert {place: found for place, found in wrong.items() if found} == {}


def test_it_is_small_and_paints_at_once(visit: Any) -> None:
    assert sum(path.stat().st_size for path in WEB.rglob("*") if path.is_file()) <= 150_000
    visitor = visit()
    visitor.page.add_init_script(
        "window.paints = []; new PerformanceObserver(l => paints.push(...l.getEntries().map(e => e.startTime)))"
        ".observe({type: 'largest-contentful-paint', buffered: true})"
    )

    def painted() -> bool:
        """It paints within a second; where others need the processor, at one of many times."""
        visitor.go()
        visitor.page.locator(".tries button").first.wait_for()
        visitor.page.wait_for_function("paints.length > 0")
        return visitor.page.evaluate("Math.max(...paints)") <= 1000

    wait_until(painted)


HOSTILE = "<img src=x onerror=\"window.pwned='{}'\"><script>window.pwned='{}'</script>"


def hostile(where: str) -> str:
    return HOSTILE.replace("{}", where)


def test_nothing_from_people_or_documents_becomes_markup(browser, models, tmp_path) -> None:
    with open_bakery(tmp_path) as team, served(team) as address:
        (tmp_path / "ovens" / "<img src=x onerror=alert(1)>.md").write_text(
            f"# {hostile('title')}\n\nThe evil valve opens at {hostile('document')} every night.\n"
        )
        visitor = Visitor(browser, address)
        page = visitor.go("#/team/documents/ovens")
        page.get_by_role("button", name="Build again").click()
        page.get_by_text("Ready. New answers").first.wait_for()
        page.go_back()
        for tab in TABS:
            page.goto(f"{address}/#/team/{tab}")
            page.wait_for_load_state("networkidle")
        page.goto(f"{address}/#/team/search")
        page.get_by_label("Search the documents").fill("evil valve")
        page.keyboard.press("Enter")
        page.locator(".found .source").first.click()
        page.locator("#paper .sheet p").first.wait_for()
        assert "onerror" in page.locator("#paper").inner_text()
        page.goto(f"{address}/#/")
        page.locator(".greeting").wait_for()
        turn = visitor.ask(f"{hostile('task')} {CARE}")
        turn.get_by_role("button", name="Correct this answer").click()
        turn.get_by_label("What is the right answer?").fill(hostile("correction"))
        turn.get_by_role("button", name="Send correction").click()
        turn.get_by_text("waits for review").wait_for()
        turn = visitor.ask(f"Please order 3 kg of img src x onerror {hostile('argument')}", ".approval, .acts")
        for tab in ("review", "runs", "memory"):
            page.goto(f"{address}/#/team/{tab}")
            page.wait_for_load_state("networkidle")
        assert page.evaluate("window.pwned") is None
        assert page.evaluate("document.querySelectorAll('img[src=x], main script').length") == 0
        refused = page.evaluate(
            "(() => { try { document.body.innerHTML = '<b>x</b>'; return '' } catch (e) { return e.name } })()"
        )
        assert refused == "TypeError", "the browser itself refuses markup from strings"
        visitor.wrong = [w for w in visitor.wrong if "TrustedHTML" not in w and "trusted" not in w.lower()]
        visitor.end()


def test_what_nobody_is_sure_of_is_shown_as_unconfirmed(visit: Any) -> None:
    visitor = visit()
    page = visitor.go()
    turn = visitor.ask("Who is allowed to wear a wedding ring in the bakery?")
    assert "nobody is sure" in turn.locator(".by").inner_text()
    assert "nobody has confirmed it" in turn.locator(".nearest").inner_text()
    mark = turn.locator(".nearest mark.maybe").first
    assert mark.inner_text() == "Everybody in the bakery wears a cap, light trousers and closed shoes."
    visitor.picture("doubt")
    turn.locator(".nearest .source").first.click()
    page.locator("#paper mark.maybe").wait_for()
    assert page.locator("#paper mark").inner_text() == mark.inner_text()
    assert visitor.accessible() == []


def test_german_says_everything(visit: Any) -> None:
    table = (WEB / "german.js").read_text()
    german = dict(re.findall(r'^  ("(?:[^"\\]|\\.)*"): ("(?:[^"\\]|\\.)*"),$', table, re.MULTILINE))
    said = {word for path in WEB.glob("*.js") for word in re.findall(r'\bt\(("(?:[^"\\]|\\.)*")', path.read_text())}
    assert said - set(german) == set()
    assert set(german) - said == set(), "nothing is translated that nobody says"
    for english, translated in german.items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", translated)), english
    visitor = visit(locale="de-DE", color_scheme="dark")
    page = visitor.go()
    assert page.locator("html").get_attribute("lang") == "de"
    assert page.locator(".greeting").inner_text() == "Was möchten Sie wissen?"
    turn = visitor.ask(GEAR)
    assert "sicher" in turn.locator(".by").inner_text()
    assert "Seite 2" in turn.locator(".place").inner_text()
    visitor.picture("german-dark")
    page.get_by_role("button", name="English").click()
    page.get_by_text("New conversation").wait_for()
    page.reload()
    page.locator(".said").wait_for()
    assert page.locator("html").get_attribute("lang") == "en", "the choice is kept"


WEEK = """
description: What stood still, what the manuals say, and an order once somebody has agreed.
parameters:
  site: {enum: [North, South], description: Which site}
  most: {type: integer, default: 5, minimum: 1, description: How many machines}
  parts: {type: array, default: [seal, belt]}
  urgent: {type: boolean, default: false}
steps:
  stops: {ask: figures, task: "What stood still at {{ site }}?"}
  hours: {calculate: "sum({{ stops.column('hours') }})", unit: h}
  held: {ask: manuals, task: "gate {{ urgent }}"}
  nobody: {ask: manuals, task: "nobody knows", on_failure: skip}
  advice:
    for_each: "{{ stops.rows }}"
    as: row
    at_most: 3
    steps:
      quote: {ask: manuals, task: "service of {{ row.machine }}"}
  agreed: {ask_person: "Order {{ parts[0] }} for {{ hours }}?", choices: [order, wait, later], after: [held]}
  order: {tool: book, arguments: {order: "{{ agreed }}"}, when: "{{ agreed.text == 'order' }}"}
  report: {report: week.md, template: "{{ hours }} {{ held }} {{ advice }} {{ nobody }}", after: [order]}
"""
BROKEN = """
description: Two steps that wait for each other.
steps: {a: {join: "{{ b }}"}, b: {join: "{{ a }}"}}
"""


def _start(visitor: Visitor) -> Any:
    """Start the week at the site South; gives the page with its run."""
    page = visitor.go("#/team/workflows/week")
    page.get_by_label("site").select_option("South")
    page.get_by_role("button", name="Start").click()
    page.locator(".step").first.wait_for()
    return page


def _step(page: Any, name: str, state: str) -> None:
    page.locator(f".plan [aria-label='{name}: {state}']").wait_for()


def test_a_workflow_is_started_followed_decided_and_replayed(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "week.yaml").write_text(WEEK)
    (tmp_path / "workflows" / "broken.yaml").write_text(BROKEN)
    with open_office(tmp_path, policy={"ask": ["book"]}) as team, served(team) as address:
        visitor, wrong = Visitor(browser, address), dict[str, list[str]]()
        page = visitor.go("#/team/workflows")
        wrong["list"] = visitor.accessible()
        page.get_by_role("link", name="broken").click()
        page.get_by_text("a → b → a").wait_for()
        wrong["broken"] = visitor.accessible()
        page = visitor.go("#/team/workflows/week")
        wrong["form"] = visitor.accessible()
        page = _start(visitor)
        _step(page, "held", "at work")
        _step(page, "agreed", "not begun")
        page.locator("[data-step=stops] summary").click()
        playwright.expect(page.locator("[data-step=stops] tbody tr")).to_have_text(["filler6", "labeller2.5"])
        wrong["at work"] = visitor.accessible()
        (tmp_path / "open").touch()
        page.get_by_text("Order seal for 8.5 h?").wait_for()
        _step(page, "agreed", "waits for you")
        wrong["question"] = visitor.accessible()
        visitor.picture("workflow-waits")
        page.locator(".choose").get_by_text("order", exact=True).click()
        page.get_by_role("button", name="Continue").click()
        page.locator(".approval .name").get_by_text("book").wait_for()
        assert lines(tmp_path / "done.txt") == [], "nothing is done before somebody agrees"
        page.get_by_role("button", name="Continue").click()
        page.locator(".result").wait_for()
        assert lines(tmp_path / "done.txt") == ["book order"]
        assert page.locator("[data-step=hours] .brief").inner_text() == "8.5 h"
        _step(page, "nobody", "left out")
        page.get_by_role("button", name="advice: done").click()
        second = page.locator("[data-step=advice] .turns > li").nth(1)
        playwright.expect(second.locator(".source q")).to_have_text("about service of labeller")
        wrong["done"] = visitor.accessible()
        visitor.picture("workflow-done")
        with page.expect_download() as download:
            page.locator(".result").get_by_role("button", name="week.md").click()
        assert "h about gate no[^1]" in Path(download.value.path()).read_text()

        before = len(lines(tmp_path / "asked.txt"))
        page.get_by_role("button", name="advice: done").focus()
        page.keyboard.press("Enter")
        page.locator("[data-step=advice]").get_by_role("button", name="Replay from here").click()
        playwright.expect(page.locator(".done-steps [open]")).to_have_count(0)  # it is another run's page now
        page.locator(".result").wait_for()
        anew = lines(tmp_path / "asked.txt")[before:]
        assert sorted(anew) == ["service of filler", "service of labeller"], "of the steps before, the results count"
        assert lines(tmp_path / "done.txt") == ["book order"]
        page.get_by_role("link", name="‹ week").click()
        playwright.expect(page.locator(".earlier li")).to_have_count(2)

        (tmp_path / "open").unlink()
        page = _start(visitor)
        _step(page, "held", "at work")
        page.get_by_role("button", name="Stop", exact=True).click()
        page.locator(".row .pill").get_by_text("Stopped.").wait_for()
        done = page.url.rpartition("/")[0]
        visitor.end()
        for scheme, size in (("dark", DESKTOP), ("dark", PHONE), ("light", PHONE)):
            visitor = Visitor(browser, address, color_scheme=scheme, viewport=size, locale="de-DE")
            page = visitor.go(done.partition(f"{address}/")[2])
            page.locator(".earlier a").last.wait_for()
            wrong[f"form {scheme} {size['width']}"] = visitor.accessible()
            page.locator(".earlier a").last.click()
            page.get_by_text("Ergebnis").wait_for()
            page.locator("[data-step=advice] summary").click()
            wrong[f"run {scheme} {size['width']}"] = visitor.accessible()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            visitor.end()
        assert {place: found for place, found in wrong.items() if found} == {}


def test_memory_is_seen_corrected_and_erased(visit: Any) -> None:
    visitor = visit()
    page = visitor.go("#/team/memory")
    page.get_by_label("Something to remember").fill("My shift begins at four.")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("button", name="Correct: My shift begins at four.").click()
    page.get_by_label("The right words").fill("My shift begins at five.")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name="Forget: My shift begins at five.").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save everything kept of me").click()
    kept = json.loads(Path(download.value.path()).read_text())
    assert [fact["text"] for fact in kept["facts"]] == ["My shift begins at five."]
    page.get_by_role("button", name="Forget all of this").click()
    page.get_by_role("button", name="Yes, for good").click()
    page.get_by_text("Nothing is remembered of you.").wait_for()


def test_a_server_with_users_asks_who_is_there(browser, models, tmp_path) -> None:
    with open_bakery(tmp_path) as team, served(team) as address, accounts_of(team) as accounts:
        accounts.add("ali", PASSWORD)
        visitor = Visitor(browser, address)
        page = visitor.page
        page.goto(address)
        page.get_by_label("Your name").fill("ali")
        page.get_by_label("Your password").fill("close to the right one")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("Name or password is wrong.").wait_for()
        assert visitor.accessible() == []
        page.get_by_label("Your password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.locator(".tries button").first.wait_for()
        (cookie,) = visitor.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert page.evaluate("document.cookie") == "", "no script can read it"
        assert visitor.ask(CARE).locator(".said").inner_text() == CARE_QUOTE
        assert [t.id for t in team.threads.list(Owner("ali"))] == [page.url.rpartition("/")[2]]
        assert visitor.accessible() == []
        page.locator("#side").get_by_text("ali", exact=True).wait_for()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("Your name").wait_for()
        assert visitor.context.cookies() == []
        visitor.wrong = [w for w in visitor.wrong if "401" not in w]
        visitor.end()


def test_the_router_explains_itself(visit: Any) -> None:
    visitor = visit()
    page = visitor.go("#/team/router")
    page.get_by_label("A task").fill("How often is the mixer greased?")
    page.get_by_role("button", name="Explain").click()
    page.get_by_text("Examples that are like it").wait_for()
    assert page.locator(".bars .chosen.name").first.inner_text() == "ovens"
    page.locator(".matrix").wait_for()
    playwright.expect(page.locator(".plot")).to_have_count(2)
