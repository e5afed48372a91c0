"""What the page asks its server: whose conversations and files are whose, documents in pieces, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import Request
from hypothesis import given, strategies
from PIL import Image

from metier.agents.attachments import Attachments
from metier.agents.erasure import Scope, erase, export
from metier.agents.team import Team
from metier.core.models import ModelStore
from metier.core.types import Passage
from metier.memory.store import Owner
from metier.serving.http.caller import Caller
from metier.serving.http.papers import blocks_of, draw_page, window
from metier.tests.bakery import (
    BUY,
    CARE,
    CARE_QUOTE,
    GEAR,
    GEAR_QUOTE,
    LEASE,
    LEASE_FILE,
    LEASE_QUOTE,
    LEAVE,
    mixer,
    open_bakery,
)  # fmt: skip
from metier.tests.desk import served
from metier.tests.patience import PATIENCE


def by_header(request: Request) -> Caller:
    """Whoever the header says; a guest may ask and read."""
    name = request.headers.get("x-user", "ann")
    scopes = ("ask", "read") if name == "guest" else ("ask", "read", "write", "admin")
    return Caller(user=name, scopes=scopes)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, models: ModelStore) -> Iterator[Team]:
    with open_bakery(tmp_path_factory.mktemp("bakery")) as opened:
        yield opened


@contextmanager
def client_of(address: str, user: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, headers={"x-user": user}, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="module")
def address(team: Team) -> Iterator[str]:
    with served(team, identify=by_header) as address:
        yield address


@pytest.fixture
def ann(address: str) -> Iterator[httpx.Client]:
    with client_of(address, "ann") as client:
        yield client


@pytest.fixture
def bob(address: str) -> Iterator[httpx.Client]:
    with client_of(address, "bob") as client:
        yield client


def ask(client: httpx.Client, task: str, thread: str) -> dict:
    run = client.post("/v1/runs", json={"task": task, "thread_id": thread, "wait": True}).json()
    assert run["status"] in ("completed", "requires_action"), run
    return run["answer"]


def test_nobody_sees_or_touches_the_conversations_of_others(ann: httpx.Client, bob: httpx.Client) -> None:
    answer = ask(ann, CARE, "anns")
    assert "anns" in [t["id"] for t in ann.get("/api/threads").json()]
    assert bob.get("/api/threads").json() == []
    rating = {"verdict": "good", "thread_id": "anns", "run_id": answer["run_id"]}
    for method, path, body in [
        ("GET", "/api/threads/anns", None),
        ("PATCH", "/api/threads/anns", {"title": "mine"}),
        ("GET", "/api/threads/anns/export", None),
        ("DELETE", "/api/threads/anns", None),
        ("POST", "/v1/feedback", rating),
        ("PUT", "/api/threads/anns/files/x.md", {"text": "x"}),
    ]:
        told = bob.request(method, path, json=body)
        assert (told.status_code, told.json()["error"]["code"]) == (404, "thread_not_found"), path
    assert ann.get("/api/threads/anns").json()["turns"][0]["answer"]["text"] == CARE_QUOTE


def test_a_guest_changes_nothing(address: str) -> None:
    with client_of(address, "guest") as guest:
        for method, path, body in [
            ("POST", "/api/build", {}),
            ("PUT", "/api/documents/ovens/x.md", {}),
            ("DELETE", "/api/documents/ovens/ovens/deck-oven.md", None),
            ("GET", "/api/review", None),
            ("POST", "/api/review/ovens/0123", {"accept": "x"}),
            ("PATCH", "/api/threads/none", {"title": "x"}),
        ]:
            told = guest.request(method, path, json=body)
            assert (told.status_code, told.json()["error"]["code"]) == (403, "missing_scope"), path


def test_a_conversation_has_a_title_and_all_its_turns(ann: httpx.Client, team: Team) -> None:
    for task in [CARE, GEAR, LEAVE, *(f"{CARE} ({n})" for n in range(7))]:
        ask(ann, task, "long")
    shown = ann.get("/api/threads/long").json()
    assert shown["title"] == CARE
    assert len(shown["turns"]) == 10, "those that have left the window, too"
    assert shown["turns"][1]["answer"]["citations"][0]["page"] == 2
    assert shown["turns"][0]["answer"]["route"]["choices"], "with the route"
    assert ann.patch("/api/threads/long", json={"title": "  Oven \n care "}).status_code == 204
    (found,) = ann.get("/api/threads", params={"search": "oven CARE"}).json()
    assert (found["id"], found["title"]) == ("long", "Oven care")
    assert [t["id"] for t in ann.get("/api/threads", params={"search": "leave week"}).json()] == ["long"]
    told = ann.get("/api/threads/long/export", params={"format": "md"})
    assert told.headers["content-type"].startswith("text/markdown")
    assert told.text.startswith("# Oven care\n")
    assert f"> {GEAR_QUOTE}\n>\n> ovens/spiral-mixer.pdf, page 2 › Kneading" in told.text
    team.threads.prune("long")
    assert len(ann.get("/api/threads/long").json()["turns"]) == 10, "in short, where they were pruned"
    assert ann.delete("/api/threads/long").status_code == 204
    assert ann.get("/api/threads/long").status_code == 404


def test_an_older_answer_can_be_rated(ann: httpx.Client, team: Team) -> None:
    first = ask(ann, CARE, "rated")
    ask(ann, GEAR, "rated")
    body = {"thread_id": "rated", "run_id": first["run_id"], "verdict": "correction", "correction": "each 250 h"}
    note = ann.post("/v1/feedback", json=body).json()
    assert (note["task"], note["answer"], note["correction"]) == (CARE, CARE_QUOTE, "each 250 h")
    assert ann.get("/api/threads/rated").json()["turns"][0]["rated"] == "correction"
    assert ann.post("/v1/feedback", json={**body, "run_id": "another"}).status_code == 409
    assert ann.post("/v1/feedback", json={**body, "verdict": "good"}).status_code == 400
    (proposal,) = [p for p in ann.get("/api/review").json() if p["note"]["id"] == note["id"]]
    assert "among the examples already" in proposal["refused"]
    assert ann.post(f"/api/review/ovens/{note['id']}", json={"accept": "x"}).status_code == 400
    assert ann.post(f"/api/review/ovens/{note['id']}", json={}).status_code == 204
    assert ann.post(f"/api/review/ovens/{note['id']}", json={}).status_code == 404


def test_what_waits_goes_on_after_a_restart(tmp_path: Path, models: ModelStore) -> None:
    with open_bakery(tmp_path) as team, served(team) as address, client_of(address, "") as client:
        assert ask(client, BUY, "buy")["kind"] == "waiting"
    with open_bakery(tmp_path) as team, served(team) as address, client_of(address, "") as client:
        shown = client.get("/api/threads/buy").json()
        assert shown["waiting"]["data"]["action_requests"][0]["name"] == "order"
        body = {"decisions": [{"type": "approve"}], "wait": True}
        done = client.post(f"/v1/runs/{shown['run_id']}/resume", json=body).json()
        assert done["status"] == "completed"
    assert (tmp_path / "ordered.txt").read_text() == "20 kg rye flour\n"


# Files of one conversation.


def test_attached_files_are_read_in_their_conversation_alone(ann: httpx.Client, bob: httpx.Client, team: Team) -> None:
    put = ann.put("/api/threads/shop/files/lease.md", content=LEASE_FILE.encode())
    assert put.json() == [{"name": "lease.md", "title": "Lease", "passages": 1}]
    assert bob.put("/api/threads/shop/files/b.md", content=b"x").status_code == 404, "hers before it has begun"
    answer = ask(ann, LEASE, "shop")
    assert (answer["text"], answer["citations"][0]["source"]) == (LEASE_QUOTE, "attached/lease.md")
    assert "untrusted" in answer["touched"]
    place = {"source": "attached/lease.md", "thread": "shop"}
    assert ann.get("/api/document", params=place).json()["title"] == "Lease"
    assert ann.get("/api/document/original", params=place).content == LEASE_FILE.encode()
    assert bob.get("/api/document", params=place).status_code == 404
    assert ask(ann, CARE, "shop")["text"] == CARE_QUOTE, "other questions go where they belong"
    assert LEASE_QUOTE not in ask(ann, LEASE, "another")["text"]
    assert LEASE_QUOTE not in ask(bob, LEASE, "bobs")["text"]
    kept = export(team.blueprint, Scope(Owner("ann")))
    assert kept.files == {"shop": ("lease.md",)}
    assert ann.delete("/api/threads/shop/files/lease.md").json() == []
    assert ann.delete("/api/threads/shop/files/lease.md").status_code == 404
    assert LEASE_QUOTE not in ask(ann, LEASE, "shop")["text"]


def test_attached_files_go_with_their_conversation(team: Team) -> None:
    team.attachments.add("gone", Owner("ann"), "lease.md", LEASE_FILE.encode())
    team.ask(LEASE, thread_id="gone", user="ann")
    team.threads.delete("gone")
    assert team.attachments.names("gone") == []
    team.attachments.add("never asked", Owner("cid"), "lease.md", LEASE_FILE.encode())
    folder = team.blueprint.state / "attachments"
    assert any(b"Mill Street" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert erase(team.blueprint, Scope(Owner("cid"))).files == 1
    assert not any(b"Mill Street" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert list(Attachments(team.blueprint).threads()) == []


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("..%2Fteam.yaml", b"x", "no name for a document"),
        (".hidden.md", b"x", "no name for a document"),
        ("a%5Cb.md", b"x", "no name for a document"),
        ("a%00.md", b"x", "no name for a document"),
        ("a" * 150 + ".md", b"x", "too large"),
        ("program.exe", b"MZ", "no reader for"),
        ("empty.md", b"", "the file is empty"),
        ("broken.pdf", b"%PDF-1.4 nothing", "cannot be read"),
    ],
)
def test_what_is_no_document_is_refused_and_leaves_nothing(
    ann: httpx.Client, team: Team, name: str, data: bytes, why: str
) -> None:
    before = sorted(p for p in team.blueprint.root.rglob("*") if "sqlite" not in p.name)
    for place in ("/api/documents/ovens", "/api/threads/new/files"):
        told = ann.put(f"{place}/{name}", content=data)
        assert told.status_code in (400, 404, 405), told.text
        if told.status_code == 400:
            assert why in told.json()["error"]["message"]
    assert sorted(p for p in team.blueprint.root.rglob("*") if "sqlite" not in p.name) == before


# Documents.


def test_a_document_comes_in_pieces(ann: httpx.Client) -> None:
    paper = ann.get("/api/document", params={"source": "ovens/deck-oven.md"}).json()
    headings = [(b["level"], b["text"]) for b in paper["blocks"] if b["kind"] == "heading"]
    assert headings == [(1, "Deck oven DO-4"), (2, "Daily care"), (2, "Steam system"), (2, "Faults")]
    table = ann.get("/api/document", params={"source": "ovens/lubrication.csv"}).json()["blocks"][1]
    assert table["columns"] == ["machine", "part", "lubricant", "interval", "amount"]
    assert [c["text"] for c in table["rows"][3]["cells"]] == [
        "Divider DV-3", "piston guides", "food-grade oil", "50 h", "2 ml",
    ]  # fmt: skip
    pdf = ann.get("/api/document", params={"source": "ovens/spiral-mixer.pdf"}).json()
    assert pdf["pages"] == 3
    assert [b["number"] for b in pdf["blocks"] if b["kind"] == "page"] == [1, 2, 3]


@pytest.mark.parametrize(
    "source", ["../secret.md", "/etc/passwd", "team.yaml", "ovens", "attached/lease.md", "ovens.jsonl"]
)
def test_only_documents_of_the_index_are_shown(ann: httpx.Client, source: str) -> None:
    for path in ("/api/document", "/api/document/page", "/api/document/original"):
        assert ann.get(path, params={"source": source}).status_code == 404
    assert ann.delete(f"/api/documents/ovens/{source}").status_code in (404, 405)


def test_a_document_is_put_in_and_taken_out(tmp_path: Path, models: ModelStore) -> None:
    with open_bakery(tmp_path) as team, served(team) as address, client_of(address, "") as client:
        assert client.put("/api/documents/ovens/lease.md", content=LEASE_FILE.encode()).status_code == 204
        assert client.get("/api/build").json()["changed"] == ["ovens/lease.md"]
        built = client.post("/api/build").text
        assert "event: progress" in built
        assert "event: report" in built
        version = team.specialists["ovens"].version
        assert "ovens/lease.md" in [d["source"] for d in client.get("/api/documents/ovens").json()]
        assert ask(client, f"{LEASE} ovens", "t")["citations"][0]["source"] == "ovens/lease.md"
        assert client.delete("/api/documents/ovens/ovens/lease.md").status_code == 204
        assert "event: report" in client.post("/api/build").text
        assert team.specialists["ovens"].version != version
        assert "ovens/lease.md" not in [d["source"] for d in client.get("/api/documents/ovens").json()]


@given(
    strategies.lists(
        strategies.sampled_from(["Pump: P1; Bar: 2", "a; b", "words: more", "x\n\ny", "\f", "\n\n", "Title"])
    ),
    strategies.integers(0, 40),
)
def test_every_piece_stands_where_it_says(parts: list[str], first: int) -> None:
    text = "\n".join(parts)
    heading = Passage(id="d#0", text="", source="d", heading=("Title",))
    for piece in blocks_of(text, [heading], min(first, len(text))):
        said = [(piece.text, piece.start)] if piece.kind in ("heading", "paragraph") else []
        said += [(c.text, c.start) for row in piece.rows for c in row.cells if c]
        for words, start in said:
            assert text[start : start + len(words)] == words
    shown = "".join(p.text for p in blocks_of(text, [heading]) if p.kind != "table")
    assert "Title" not in text or "Title" in shown or "Title" in str(blocks_of(text, [heading]))


@given(strategies.integers(0, 400_000))
def test_of_a_long_document_the_part_around_the_quote_is_shown(start: int) -> None:
    text = "A sentence of some words.\n\n" * 15_000
    first, last = window(text, start)
    assert 0 <= first <= min(start, len(text)) <= last + 2 <= len(text) + 2
    assert last - first <= 160_000


def test_a_quote_is_marked_on_the_picture_of_its_page(tmp_path: Path) -> None:
    mixer(tmp_path / "m.pdf")
    plain, marked = (
        np.asarray(Image.open(io.BytesIO(draw_page(tmp_path / "m.pdf", 2, quote))).convert("RGB")).astype(int)
        for quote in ("", GEAR_QUOTE)
    )
    yellow = (marked[..., 0] > 240) & (marked[..., 2] < 160)
    assert not ((plain[..., 0] > 240) & (plain[..., 2] < 160)).any()
    rows, columns = np.where(yellow)
    assert 20 < rows.max() - rows.min() < 60, "one line"
    assert columns.max() - columns.min() > 200


# Memory, the router, the team.


def test_memory_is_ones_own(ann: httpx.Client, bob: httpx.Client) -> None:
    fact = ann.post("/api/memory", json={"text": "My oven is number four."}).json()
    assert [f["text"] for f in ann.get("/api/memory").json()] == ["My oven is number four."]
    assert bob.get("/api/memory").json() == []
    assert bob.delete(f"/api/memory/{fact['id']}").status_code == 404
    assert bob.patch(f"/api/memory/{fact['id']}", json={"text": "x"}).status_code == 404
    assert "number four" not in bob.get("/api/memory/export").text
    changed = ann.patch(f"/api/memory/{fact['id']}", json={"text": "My oven is number five."}).json()
    assert [f["text"] for f in ann.get("/api/memory").json()] == ["My oven is number five."]
    assert ann.delete(f"/api/memory/{changed['id']}").status_code == 204
    assert ann.get("/api/memory").json() == []


def test_the_team_shows_itself(ann: httpx.Client) -> None:
    team = ann.get("/api/team").json()
    assert [s["name"] for s in team["specialists"]] == ["ovens", "people", "orders"]
    assert (team["specialists"][0]["documents"], team["specialists"][2]["tools"]) == (3, ["stock", "order"])
    assert {"from": "route", "to": "ovens", "kind": "send"} in team["graph"]["edges"]
    explained = ann.post("/api/route", json={"text": "How often is the mixer greased?"}).json()
    assert explained["route"]["parts"][0]["specialist"] == "ovens"
    report = ann.get("/api/router").json()
    assert sum(map(sum, report["matrix"])) == report["tasks"]
    assert report["risk"][-1] == [1.0, pytest.approx(1 - report["accuracy"])]
    found = ann.get("/api/search", params={"q": "When is the boiler descaled?"}).json()
    assert found[0]["source"] == "ovens/deck-oven.md"
    assert "descaled" in found[0]["quote"]
    assert ann.get("/api/search", params={"q": "x", "specialist": "ovns"}).status_code == 404
