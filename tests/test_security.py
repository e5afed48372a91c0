"""What nobody can do to a server with users: see what is another's, come in without a key, put a script on the page,
reach a file, use it from a page of somebody else's.
"""

from __future__ import annotations

import json
import logging
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.core.models import ModelStore
from metier.tests.gates import Asked, Door, Got, behind
from metier.tests.tenants import (
    CODE_WORD,
    LOCKER,
    MCP,
    PLAN,
    SCRIPT_FILE,
    SECRETS,
    House,
    all_routes,
    filled,
    rpc,
)
from metier.tests.vault import MERGER_QUESTION, MERGER_QUOTE, OPEN_QUESTION, PAY_QUESTION, PAY_QUOTE, open_vault

WEB = Path(__file__).parent.parent / "serving" / "http" / "web"
GUESSES = 100
"""At a time; as many times."""

# Nobody sees what is another's: 10,000 guesses.

_POOL = {
    "specialist": ["people", "secrets", "house", "peopel", "*"],
    "source": [
        "people/salaries/managers.md", "secrets/larch.md", "PEOPLE/SALARIES/MANAGERS.MD", "attached/word.md",
        "people//salaries/managers.md", "people/./salaries/managers.md", "people/rules.md", "*",
    ],
    "name": ["word.md", "managers.md", "x.md"],
    "model": ["metier", "metier/secrets", "metier/people", "secrets"],
    "assistant_id": ["metier", "metier/secrets", "agent", "secrets"],
    "note_id": ["0", "1"],
    "batch_id": ["batch_0"],
    "q": ["plant manager", "cost of the fusion", "yard word", "locker", "title", "euros a year", "*", "%"],
}  # fmt: skip
_QUESTIONS = [
    "What does the plant manager earn?", "What does the fusion cost?", "What is the word of the yard?",
    "Which number has the locker?", "Who is the plant manager?", "Show me everything.",
]  # fmt: skip


class Guesser:
    """Draws requests that somebody might try, for any route that the app has."""

    def __init__(self, house: House, rng: random.Random) -> None:
        self._house, self._rng = house, rng
        self._routes = [
            (method, path) for method, path in all_routes(house.door) if path not in ("/mcp", "/openapi.json")
        ]

    def draw(self, key: str) -> Asked:
        method, path = self._rng.choice(self._routes)
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: quote(self._value(found[1]), safe="/"), path)
        query = "&".join(f"{name}={quote(self._value(kind))}" for name, kind in self._queries())
        return Asked(method, f"{path}?{query}" if query else path, key, self._body(path) if method != "GET" else None)

    def _queries(self) -> list[tuple[str, str]]:
        all_of_them = [("source", "source"), ("thread", "thread_id"), ("q", "q"), ("specialist", "specialist")]
        return self._rng.sample([*all_of_them, ("search", "q"), ("k", "k"), ("start", "k")], self._rng.randint(0, 4))

    def _value(self, kind: str) -> str:
        if kind == "k":
            return str(self._rng.choice([0, 1, 50, -1]))
        pool = [*self._house.theirs.get(kind, ()), *_POOL.get(kind, ())] or ["x"]
        return self._rng.choice(pool)

    def _body(self, path: str) -> Any:
        draw, task = self._rng.choice, self._rng.choice(_QUESTIONS)
        thread, run = draw(self._house.theirs["thread_id"]), draw(self._house.theirs["run_id"])
        message = {"role": "user", "content": task}
        decisions = {"decisions": [{"type": "approve"}]}
        for sign, bodies in {
            "/v1/runs": [{"task": task, "thread_id": thread, "wait": True}, {"task": task, "specialist": "secrets"}],
            "/v1/chat": [{"messages": [message], "metadata": {"thread_id": thread}}, {"model": "metier/secrets",
                         "messages": [message]}],
            "/v1/responses": [{"input": task, "previous_response_id": draw(self._house.theirs["response_id"])}],
            "/v1/feedback": [{"run_id": run, "thread_id": thread, "verdict": "good"},
                             {"run_id": run, "verdict": "bad"}],
            "/v1/batches": [{"input_file_id": draw(self._house.theirs["file_id"]), "endpoint": "/v1/runs"}],
            "/runs": [{"input": {"messages": [message]}, "assistant_id": "metier/secrets"}, {"command": {"resume":
                      decisions}}, {"input": {"messages": [message]}, "if_not_exists": "create"}],
            "/threads": [{"thread_id": thread, "if_exists": "do_nothing"}, {"metadata": {"x": 1}, "ids": [thread]},
                         {"ids": [thread], "limit": 50}, {"title": "mine"}],
            "/api/memory": [{"text": task}],
            "/api/route": [{"text": task}],
            "/agui": [{"threadId": thread, "runId": "r", "state": {}, "tools": [], "context": [], "forwardedProps":
                       {"specialist": "secrets"}, "messages": [], "resume": [{"interruptId": f"{run}/0", "status":
                       "resolved", "payload": {"type": "approve"}}]}],
        }.items():  # fmt: skip
            if sign in path:
                return draw(bodies)
        return draw([{}, decisions, {"text": task}, {"title": "mine"}])


def leaks(got: Got) -> list[str]:
    """The secrets in a response."""
    return [secret for secret in SECRETS if secret in got.text]


@settings(max_examples=GUESSES, derandomize=True, database=None)
@given(seed=st.integers(0, 2**32))
def test_ten_thousand_guesses_find_nothing(house: House, seed: int) -> None:
    rng = random.Random(seed)
    guesser = Guesser(house, rng)
    asked = [guesser.draw(house.keys[rng.choice(["al", "gil"])]) for _ in range(GUESSES)]
    ours = {name for names in house.theirs.values() for name in names}
    for each, got in zip(asked, house.door.send_all(asked), strict=True):
        assert leaks(got) == [], f"{each}: {got.text[:2000]}"
        assert got.status < 500, f"{each}: {got.text[:2000]}"
        named = set(map(str, each.path.partition("?")[0].split("/"))) & ours
        assert not named or got.status >= 400, f"{each} reached {named}: {got.status}"


def test_after_all_guesses_everything_is_there(house: House) -> None:
    """Reads after the guesses (tests run in their order): nothing of Ann's was changed, and she still sees it."""
    door, key = house.door, house.keys["ann"]
    assert PAY_QUOTE in door.ask("GET", "/api/threads/ann-pay", key).text
    assert door.ask("GET", "/threads/ann-plan", key).json["metadata"]["title"] == PLAN
    assert LOCKER in door.ask("GET", "/api/memory", key).text
    assert PLAN in door.ask("GET", f"/v1/files/{house.theirs['file_id'][0]}/content", key).text
    for run in house.theirs["run_id"]:
        assert PAY_QUOTE in door.ask("GET", f"/v1/runs/{run}", key).text
    found = door.run("What is the code word of the yard?", key, thread_id="ann-files")
    assert CODE_WORD in json.dumps(found), "the file of her conversation is still read in it"


def test_what_one_kind_of_caller_found_is_not_kept_for_another(house: House) -> None:
    """Caches: the same question, by turns, by those who may and those who may not see what answers it."""
    for _ in range(3):
        for question, quote_of in ((PAY_QUESTION, PAY_QUOTE), (MERGER_QUESTION, MERGER_QUOTE)):
            assert quote_of in house.door.run(question, house.keys["ann"])["answer"]["text"]
            for other in ("al", "gil", "ops"):
                assert quote_of not in json.dumps(house.door.run(question, house.keys[other])), other


def test_workflows_and_what_they_keep_know_who_asks(house: House) -> None:
    for _ in range(2):
        for user, sees in (("ann", True), ("al", False), ("gil", False)):
            run = house.door.ask("POST", "/v1/runs", house.keys[user], {"workflow": "pay", "wait": True})
            assert (PAY_QUOTE in run.text) == sees, (user, run.text)
            names = {one["name"] for one in house.door.ask("GET", "/v1/workflows", house.keys[user]).json}
            assert names == ({"pay", "deal"} if sees else {"pay"})
    hidden = house.door.ask("POST", "/v1/workflows/deal", house.keys["al"], {})
    assert (hidden.status, "secrets" in hidden.text, MERGER_QUOTE in hidden.text) == (404, False, False)


def test_mcp_and_a2a_know_who_asks(house: House) -> None:
    for user, sees in (("ann", True), ("al", False), ("gil", False)):
        told = [
            rpc(house, "/mcp", user, "tools/list"),
            rpc(house, "/mcp", user, "prompts/list"),
            rpc(house, "/mcp", user, "resources/read", uri="metier://documents"),
            house.door.ask("GET", "/.well-known/agent-card.json", house.keys[user]).text,
        ]
        assert all(("secrets" in each) == sees for each in told), (user, told)
        read = rpc(house, "/mcp", user, "resources/read", uri="metier://documents/people/people/salaries/managers.md")
        called = rpc(house, "/mcp", user, "tools/call", name="search", arguments={"query": "plant manager"})
        asked = rpc(house, "/mcp", user, "tools/call", name="ask", arguments={"question": PAY_QUESTION})
        assert [PAY_QUOTE in each for each in (read, called, asked)] == [sees] * 3, user
        message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": PAY_QUESTION}]}
        assert (PAY_QUOTE in rpc(house, "/a2a", user, "SendMessage", message=message)) == sees


def test_a_key_opens_in_mcp_only_what_its_scopes_say(house: House) -> None:
    _, reader = house.accounts.add_key("ann", scopes=["read"])
    _, asker = house.accounts.add_key("ann", scopes=["ask"])
    for key, there, gone in ((reader, "search", '"ask"'), (asker, '"ask"', '"search"')):
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        told = house.door.ask("POST", "/mcp", key, body, **MCP).text
        assert there in told
        assert gone not in told
        body |= {"method": "resources/read", "params": {"uri": "metier://documents"}}
        assert ("managers.md" in house.door.ask("POST", "/mcp", key, body, **MCP).text) == (key is reader)


# No route without a key.

_OPEN = {"/health", "/ready", "/ok", "/api/login"}
_NEITHER = {"/api/logout", "/mcp"}
_READ_BY_POST = {
    "/assistants/search",
    "/threads/search",
    "/threads/count",
    "/threads/{thread_id}/history",
    "/api/route",
}


def test_no_route_without_a_key(house: House) -> None:
    routes = all_routes(house.door)
    assert len(routes) > 90
    assert {"/v1/runs", "/mcp", "/a2a", "/agui", "/threads", "/api/team", "/openapi.json"} <= {
        path for _, path in routes
    }
    for key in (None, "metier_00000000_" + "x" * 43):
        for method, path in routes:
            got = house.door.ask(method, filled(path), key)
            if path in _OPEN and (path != "/api/login" or method == "POST"):
                assert got.status != 401 or path == "/api/login", path
            else:
                assert got.status in (401, 429), (method, path, got.status)
            assert not leaks(got)
    for path in ("/", "/app.js", "/style.css", "/index.html"):
        assert house.door.ask("GET", path).status == 200, "the page asks who is there"
    for path in ("/nothing", "/app.js/x", "//app.js", "/web/app.js", "/.metier/access.sqlite", "/docs", "/redoc"):
        assert house.door.ask("GET", path).status in (401, 429), path


def test_a_key_that_reads_changes_nothing_and_one_that_asks_reads_nothing(house: House) -> None:
    _, reader = house.accounts.add_key("ann", scopes=["read"])
    _, asker = house.accounts.add_key("ann", scopes=["ask"])
    for method, path in all_routes(house.door):
        if path in _OPEN | _NEITHER:
            continue
        if method not in ("GET", "OPTIONS") and path not in _READ_BY_POST:
            got = house.door.ask(method, filled(path), reader, {})
            assert (got.status, got.json["error"]["code"]) == (403, "missing_scope"), (method, path)
    for path in ("/api/threads", "/v1/documents", "/api/memory", "/api/memory/export", "/threads/ann-pay/state",
                 "/api/search?q=x", "/documents/people/people/rules.md", "/openapi.json"):  # fmt: skip
        assert house.door.ask("GET", path, asker).json["error"]["code"] == "missing_scope", path


# Scripts, paths, hosts, headers.


def test_documents_answers_and_file_names_are_text(house: House) -> None:
    key, source = house.keys["al"], f"people/{SCRIPT_FILE}"
    page = house.door.ask("GET", f"/documents/people/{quote(source)}?start=0&end=1", key)
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    html = page.body.decode()
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in html
    assert re.findall(r"<(?!/?(?:html|head|meta|title|style|body|main|h1|pre|mark|hr|!doctype)\b)\w+", html) == []
    told = [
        house.door.ask("GET", f"/api/document?source={quote(source)}", key),
        house.door.ask("GET", "/v1/documents", key),
        house.door.ask("GET", "/api/search?q=gate+code", key),
        house.door.ask("POST", "/v1/runs", key, {"task": "What is the gate code?", "wait": True}),
        house.door.ask("POST", "/v1/runs", key, {"task": "<script>alert(5)</script>", "wait": True}),
    ]
    for got in told:
        assert got.headers["content-type"] == "application/json"
        assert got.headers["x-content-type-options"] == "nosniff"
    file = house.door.ask("GET", f"/api/document/original?source={quote(source)}", key)
    assert (file.headers["content-type"], file.headers["content-disposition"]) == (
        "application/octet-stream", "attachment",
    )  # fmt: skip
    for path in (f"/documents/people/{quote(SCRIPT_FILE)}", "/v1/runs/<script>alert(6)</script>"):
        missing = house.door.ask("GET", path, key)
        assert (missing.status, missing.headers["content-type"]) == (404, "application/json")


def test_the_page_makes_no_markup_out_of_text(house: House) -> None:
    for path in WEB.glob("*.js"):
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path.read_text()
        )
        assert found == [], path
    rules = house.door.ask("GET", "/").headers["content-security-policy"]
    assert "script-src 'self'" in rules
    assert "require-trusted-types-for 'script'" in rules
    assert "unsafe" not in rules


_PLACES = [
    "../team.yaml", "..%2fteam.yaml", "%2e%2e/%2e%2e/team.yaml", "....//team.yaml", "/etc/passwd", "%2fetc%2fpasswd",
    "people/../../team.yaml", "people/%00rules.md", "..\\team.yaml", "%5c..%5cteam.yaml", "file:///etc/passwd",
    ".metier/access.sqlite", "people/..%252f..%252fteam.yaml", "x" * 5000, "~/.ssh/id_rsa", "people/rules.md/..",
]  # fmt: skip


@pytest.mark.parametrize("place", _PLACES)
def test_no_path_reaches_a_file(house: House, place: str) -> None:
    ops = house.keys["ops"]
    before = {path for path in house.team.blueprint.root.rglob("*") if ".metier" not in path.parts}
    asked = [
        Asked("GET", f"/{place}", ops),
        Asked("GET", f"/documents/people/{place}", ops),
        Asked("GET", f"/v1/documents/people/{place}", ops),
        Asked("GET", f"/api/document?source={place}", ops),
        Asked("GET", f"/api/document/original?source={place}", ops),
        Asked("GET", f"/api/document?source=attached/{place}&thread=x", ops),
        Asked("DELETE", f"/api/documents/people/{place}", ops),
        Asked("PUT", f"/api/documents/people/{place}", ops, b"text"),
        Asked("PUT", f"/api/threads/x/files/{place}", ops, b"text"),
    ]
    for each, got in zip(asked, house.door.send_all(asked), strict=True):
        assert 400 <= got.status < 500, (each.path, got.status)
        assert not any(
            sign in got.text for sign in ("root:", "specialists:", "SQLite format", "is asked for four weeks")
        )
    assert {path for path in house.team.blueprint.root.rglob("*") if ".metier" not in path.parts} == before


@pytest.mark.parametrize("thread", ["x\r\nSet-Cookie: a=b", "日本", "a/b", "a b", "\x00", "💬" * 50, "x\n\ny"])
def test_no_name_gets_into_a_header(house: House, thread: str) -> None:
    place = quote(thread, safe="")
    body = {"input": {"messages": [{"role": "user", "content": OPEN_QUESTION}]}, "if_not_exists": "create"}
    got = house.door.ask("POST", f"/threads/{place}/runs/wait", house.keys["al"], body)
    assert got.status < 500, got.text
    assert "set-cookie" not in got.headers
    assert not any(sign in value for value in got.headers.values() for sign in "\r\n\0")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8321", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.1@evil.example",
     "192.168.1.7:8321", "0.0.0.0:8321", "[::]:8321", "metier", "xn--lcalhost-abc"],
)  # fmt: skip
def test_no_name_that_was_bent_to_this_machine_is_answered(host: str, alone: Door) -> None:
    """DNS rebinding: a page of somebody else's whose name leads here has its own name in the request."""
    for method, path, body in [
        ("GET", "/api/team", None), ("GET", "/", None), ("POST", "/v1/runs", {"task": "x"}), ("POST", "/mcp", {}),
        ("GET", "/.well-known/agent-card.json", None), ("GET", "/health", None),
    ]:  # fmt: skip
        got = alone.send(Asked(method, path, None, body, (("x-forwarded-host", "localhost"),), host))
        assert got.status == 421, (method, path, got.status)


@pytest.mark.parametrize(
    "headers",
    [(("origin", "http://evil.example"),), (("origin", "null"),), (("sec-fetch-site", "cross-site"),),
     (("sec-fetch-site", "same-site"), ("origin", "http://127.0.0.1:9000")), (("origin", "http://127.0.0.1:9000"),)],
)  # fmt: skip
def test_another_page_cannot_use_a_server_without_users(headers: tuple[tuple[str, str], ...], alone: Door) -> None:
    for method, path, body in [
        ("POST", "/api/build", None), ("POST", "/v1/runs", {"task": "x"}), ("POST", "/mcp", {}), ("POST", "/a2a", {}),
        ("DELETE", "/api/memory", None), ("PUT", "/api/documents/house/x.md", b"text"),
    ]:  # fmt: skip
        got = alone.send(Asked(method, path, None, body, headers))
        assert (got.status, got.json["error"]["code"]) == (403, "cross_origin"), (method, path)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, models: ModelStore) -> Iterator[Door]:
    """A server without users."""
    with open_vault(tmp_path_factory.mktemp("alone"), embedder="minilm") as team, behind(team) as door:
        for host in ("127.0.0.1:8321", "localhost", "[::1]:8321"):
            assert door.send(Asked("GET", "/api/team", host=host)).status == 200
        yield door


def test_keys_and_passwords_are_in_no_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    known, key = house.accounts.add_key("al")
    for path in ("/api/team", "/nothing", "/v1/runs/none", "/threads/none"):
        house.door.ask("GET", path, key)
    house.door.ask("POST", "/v1/runs", key, {"task": OPEN_QUESTION, "wait": True})
    house.door.ask("POST", "/v1/runs", key, b"no json")
    house.door.ask("POST", "/api/login", body={"user": "al", "password": "a password to be seen"})
    wrong = house.door.ask("GET", "/api/team", key + "x")
    assert key not in wrong.text
    secret = key.removeprefix(f"{known.id}_")
    assert secret not in caplog.text
    assert "a password to be seen" not in caplog.text
    for path in house.team.blueprint.state.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert secret.encode() not in data, path
        assert b"a password to be seen" not in data, path


def test_a_batch_ends_with_the_key_that_began_it(house: House) -> None:
    house.accounts.add("bea")
    known, key = house.accounts.add_key("bea", scopes=["ask"])
    rows = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/runs", "body": {"task": f"{OPEN_QUESTION} {n}"}}
        for n in range(40)
    ]
    content = "\n".join(map(json.dumps, rows)).encode()
    form = (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x\r\nContent-Disposition: form-data;'
        b' name="file"; filename="f.jsonl"\r\n\r\n' + content + b"\r\n--x--\r\n"
    )
    file = house.door.ask("POST", "/v1/files", key, form, content_type="multipart/form-data; boundary=x").json
    batch = house.door.ask("POST", "/v1/batches", key, {"input_file_id": file["id"], "endpoint": "/v1/runs"}).json
    house.accounts.revoke(known.id)
    _, again = house.accounts.add_key("bea", scopes=["ask"])
    while batch["status"] == "in_progress":
        batch = house.door.ask("GET", f"/v1/batches/{batch['id']}", again).json
    errors = house.door.ask("GET", f"/v1/files/{batch['error_file_id']}/content", again).body.decode()
    codes = Counter(json.loads(row)["response"]["status_code"] for row in errors.splitlines())
    assert codes[401] >= 30
