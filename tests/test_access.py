"""Users, keys, sessions, scopes, limits and the audit log of a server, kept in files and in PostgreSQL."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.agents.cards import Blueprint, LimitsCard, MemoryCard
from metier.agents.erasure import Scope, erase, export
from metier.agents.team import Team
from metier.core.errors import InputError, StateError
from metier.core.models import ModelStore
from metier.memory.store import Owner
from metier.serving.accounts import SCOPES, Accounts
from metier.serving.audit import AUDIT_FILE, AuditLog, open_audit
from metier.serving.http.access import scopes_for
from metier.serving.serve import _check_host  # pyright: ignore[reportPrivateUsage]
from metier.serving.usage import RateLimit
from metier.tests.conftest import Run
from metier.tests.gates import PASSWORD, Asked, Door, accounts_of, behind
from metier.tests.patience import until
from metier.tests.postgres import Postgres
from metier.tests.vault import OPEN_QUESTION, OPEN_QUOTE, PAY_QUESTION, PAY_QUOTE, open_vault

NewStore = Callable[[], MemoryCard]
"""Gives a team's memory, which keeps its users, audit log and usage, too."""


@pytest.fixture(scope="module", params=["files", "postgresql"])
def store(request: pytest.FixtureRequest) -> NewStore:
    if request.param == "files":
        return lambda: MemoryCard(facts="none")
    server: Postgres = request.getfixturevalue("postgres")
    return lambda: MemoryCard(checkpoints=server.database(), facts="none")


def at_rest(team: Team) -> Iterator[bytes]:
    """All that is kept of it."""
    for path in team.blueprint.state.rglob("*"):
        if path.is_file():
            yield path.read_bytes()
    place = team.card.memory.checkpoints
    if place != "sqlite":
        with psycopg.connect(place) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            for (table,) in tables:
                yield str(connection.execute(f"SELECT t::text FROM {table} t".encode()).fetchall()).encode()


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, models: ModelStore, store: NewStore) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("vault")
    with open_vault(folder, limits=LimitsCard(body_mb=0.2), memory=store()) as team:
        yield team


@pytest.fixture(scope="module")
def accounts(team: Team) -> Iterator[Accounts]:
    with accounts_of(team) as accounts:
        accounts.add("ann", PASSWORD, groups=["board"], scopes=SCOPES)
        yield accounts


@pytest.fixture(scope="module")
def door(team: Team, accounts: Accounts) -> Iterator[Door]:
    with behind(team) as door:
        yield door


# Passwords and sessions.


def signed_in(door: Door, user: str = "ann", password: str = PASSWORD) -> str:
    got = door.ask("POST", "/api/login", body={"user": user, "password": password})
    assert got.status == 204, got.text
    cookie = got.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    return cookie.partition(";")[0]


OURS = {"origin": "http://127.0.0.1:8321"}


def test_a_password_opens_a_session_which_ends(door: Door) -> None:
    cookie = signed_in(door)
    told = door.ask("GET", "/api/team", cookie=cookie).json
    assert (told["user"], told["signed_in"]) == ("ann", True)
    assert door.ask("POST", "/api/logout", cookie=cookie, **OURS).status == 204
    assert door.ask("GET", "/api/team", cookie=cookie).status == 401


def test_a_wrong_password_and_an_unknown_name_look_the_same(door: Door) -> None:
    wrong = door.ask("POST", "/api/login", body={"user": "ann", "password": "not the right one"})
    nobody = door.ask("POST", "/api/login", body={"user": "nobody", "password": PASSWORD})
    assert (wrong.status, wrong.body) == (nobody.status, nobody.body) == (401, wrong.body)


def test_guessing_passwords_ends_soon(door: Door) -> None:
    guesses = [Asked("POST", "/api/login", body={"user": "eve", "password": f"guess {n}"}) for n in range(14)]
    tries = door.send_all(guesses, at_once=14)
    refused = [got for got in tries if got.status == 429]
    assert len(refused) >= 3
    assert int(refused[0].headers["retry-after"]) >= 1
    assert signed_in(door), "others are not kept out by it"


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "http://evil.example"}, {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"},
     {"origin": "null"}, {"origin": "http://127.0.0.1:9"}],
)  # fmt: skip
def test_a_session_alone_changes_nothing_from_another_page(door: Door, headers: dict[str, str]) -> None:
    cookie = signed_in(door)
    body = {"task": OPEN_QUESTION, "wait": True}
    assert door.ask("POST", "/v1/runs", body=body, cookie=cookie, **headers).status == 403
    assert door.ask("DELETE", "/api/memory", cookie=cookie, **headers).status == 403
    assert door.ask("POST", "/v1/runs", body=body, cookie=cookie, sec_fetch_site="same-origin").status == 200


def test_a_new_password_ends_all_sessions(team: Team, door: Door, accounts: Accounts) -> None:
    accounts.add("kim", PASSWORD)
    cookie = signed_in(door, "kim")
    accounts.set_password("kim", "another horse battery")
    assert door.ask("GET", "/api/team", cookie=cookie).status == 401
    assert door.ask("POST", "/api/login", body={"user": "kim", "password": PASSWORD}).status == 401
    assert signed_in(door, "kim", "another horse battery")


def test_sessions_grow_old(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = accounts.sign_in(accounts.add("old"))
    assert accounts.by_session(secret)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 13 * 3600)
    assert accounts.by_session(secret) is None


# Keys and scopes.


def test_what_is_changed_about_a_user_counts_at_once(door: Door, accounts: Accounts) -> None:
    accounts.add("bob", groups=["board"])
    known, key = accounts.add_key("bob", scopes=["ask", "read"])
    assert PAY_QUOTE in door.run(PAY_QUESTION, key)["answer"]["text"]
    accounts.change("bob", groups=[])
    assert PAY_QUOTE not in json.dumps(door.run(PAY_QUESTION, key))
    accounts.change("bob", scopes=["read"])
    assert door.ask("POST", "/v1/runs", key, {"task": "x"}).json["error"]["code"] == "missing_scope"
    assert door.ask("GET", "/api/threads", key).status == 200
    accounts.revoke(known.id)
    assert door.ask("GET", "/api/threads", key).status == 401
    _, other = accounts.add_key("bob", scopes=["read"])
    accounts.remove("bob")
    assert door.ask("GET", "/api/threads", other).status == 401


def test_a_key_ends_on_its_day_and_cannot_do_more_than_its_user(accounts: Accounts, door: Door) -> None:
    accounts.add("cem", scopes=["read"])
    _, ended = accounts.add_key("cem", scopes=["read"], days=0)
    assert door.ask("GET", "/api/threads", ended).status == 401
    with pytest.raises(InputError, match="has not the scope 'ask'"):
        accounts.add_key("cem", scopes=["ask"])


def test_a_key_comes_as_clients_send_it(accounts: Accounts, door: Door) -> None:
    _, key = accounts.add_key("ann")
    assert door.ask("GET", "/v1/models", x_api_key=key).status == 200
    assert door.ask("GET", "/v1/models", authorization=f"bearer {key}").status == 200
    for wrong in (f"Basic {key}", key, f"Bearer {key}x", "Bearer", "Bearer " + "x" * 5000):
        assert door.ask("GET", "/v1/models", authorization=wrong).status == 401
    missing = door.ask("GET", "/v1/models")
    assert missing.headers["www-authenticate"] == "Bearer"


def test_scopes_open_what_they_say() -> None:
    table = {
        "ask": ["POST /v1/chat/completions", "POST /threads/x/runs/stream", "POST /a2a", "PUT /api/threads/x/files/y"],
        "read": ["GET /api/threads", "GET /v1/documents", "POST /threads/search", "GET /openapi.json"],
        "write": ["POST /v1/feedback", "DELETE /api/memory", "PATCH /threads/x", "POST /anything/new"],
        "admin": ["POST /api/build", "PUT /api/documents/x/y", "GET /api/review", "GET /metrics"],
    }
    for scope, requests in table.items():
        for request in requests:
            assert scopes_for(*request.split()) == (scope,), request
    assert scopes_for("GET", "/v1/runs/7") == ("ask", "read")


def test_at_rest_there_are_only_hashes(team: Team, accounts: Accounts, door: Door) -> None:
    _, key = accounts.add_key("ann")
    cookie = signed_in(door).partition("=")[2]
    assert door.run(OPEN_QUESTION, key)["status"] == "completed"
    kept = b"".join(at_rest(team))
    assert b"argon2id" in kept
    for secret in (key, key.rpartition("_")[2], PASSWORD, cookie):
        assert secret.encode() not in kept


@pytest.mark.parametrize("name", ["", "two words", "a/b", "x" * 101, "a\nb", "<b>"])
def test_names_are_plain(accounts: Accounts, name: str) -> None:
    with pytest.raises(InputError):
        accounts.add(name)


def test_an_administrator_belongs_to_no_tenant(accounts: Accounts) -> None:
    with pytest.raises(InputError, match="nobody of one administers it"):
        accounts.add("tim", tenant="acme", scopes=["admin"])
    accounts.add("tim", tenant="acme")
    with pytest.raises(InputError):
        accounts.change("tim", scopes=["admin"])


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_text("this is no database, but a text that is long enough to look like one" * 20)
    with pytest.raises(StateError):
        Accounts(tmp_path / "a.sqlite")


# Who may come at all.


def test_without_users_the_server_is_for_this_machine(tmp_path: Path, models: ModelStore, store: NewStore) -> None:
    with open_vault(tmp_path, memory=store()) as team, behind(team) as door:
        assert door.ask("GET", "/api/team").json["user"] == "me"
        assert PAY_QUOTE in door.run(PAY_QUESTION)["answer"]["text"], "all of the team is theirs"
        assert door.ask("POST", "/api/login", body={"user": "a", "password": "b"}).json["error"]["code"] == "no_users"
        with accounts_of(team) as accounts:
            accounts.add("ann")
            if not accounts.near:  # a server far away is asked again after a while
                until(lambda: door.ask("GET", "/api/team").status == 401)
            assert door.ask("GET", "/api/team").status == 401, "the first user closes it"
            accounts.remove("ann")
            assert door.ask("GET", "/api/team").status == 401, "and it does not open again"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_a_public_address_needs_users(host: str, tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text("name: t\nspecialists: [a]\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "specialist.yaml").write_text("name: a\ndescription: Knows nothing at all.\n")
    with pytest.raises(InputError, match="no users") as told:
        _check_host(host, tmp_path)
    assert "metier users add NAME" in (told.value.hint or "")
    for local in ("127.0.0.1", "localhost", "::1"):
        _check_host(local, tmp_path)
    (tmp_path / ".metier").mkdir()
    with closing(Accounts(tmp_path / ".metier" / "access.sqlite")) as accounts:
        accounts.add("ann")
    _check_host(host, tmp_path)


# Limits.


def test_a_request_that_is_too_large_is_refused(door: Door, accounts: Accounts) -> None:
    _, key = accounts.add_key("ann", scopes=["ask", "write"])
    body = b'{"task": "' + b"x" * 250_000 + b'"}'
    assert door.ask("POST", "/v1/runs", key, body).status == 413
    assert door.ask("POST", "/v1/runs", key, body, content_length="5").status == 413, "whatever it says of itself"
    assert door.ask("PUT", "/api/threads/t/files/a.md", key, body, content_length="5").status == 413


@given(per_minute=st.integers(1, 100), tries=st.integers(1, 300))
def test_nobody_gets_more_than_a_minutes_worth_at_once(per_minute: int, tries: int) -> None:
    now = 0.0
    limit = RateLimit(lambda: now)
    waits = [limit.wait("ann", per_minute) for _ in range(tries)]
    assert waits.count(0) == min(tries, per_minute)
    assert all(1 <= wait <= 61 for wait in waits if wait)
    now = 60.0
    assert limit.wait("ann", per_minute) == 0
    assert limit.wait("bob", per_minute) == 0


def test_requests_of_one_key_are_counted(tmp_path: Path, models: ModelStore, store: NewStore) -> None:
    limits = LimitsCard(requests_per_minute=5)
    with open_vault(tmp_path, limits=limits, memory=store()) as team, accounts_of(team) as accounts:
        accounts.add("ann")
        (_, one), (_, other) = accounts.add_key("ann"), accounts.add_key("ann")
        with behind(team) as door:
            got = [door.ask("GET", "/v1/models", one) for _ in range(5)]
            assert [each.status for each in got] == [200] * 5
            more = (door.ask("GET", "/v1/models", one) for _ in range(100))
            refused = next(each for each in more if each.status == 429)
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert door.ask("GET", "/v1/models", other).status == 200


def test_a_day_ends_when_it_is_used_up_and_everybody_sees_by_whom(
    tmp_path: Path, models: ModelStore, store: NewStore, run: Run
) -> None:
    memory = store()
    with (
        open_vault(tmp_path, limits=LimitsCard(tokens_per_day=150), memory=memory) as team,
        accounts_of(team) as accounts,
    ):
        for name in ("ann", "bob"):
            accounts.add(name, tenant="acme")
        (_, ann), (_, bob) = accounts.add_key("ann"), accounts.add_key("bob")
        with behind(team) as door:
            spent = 0
            while spent < 150:
                usage = door.run(OPEN_QUESTION, ann)["answer"]["usage"]
                spent += usage["input_tokens"] + usage["output_tokens"]
            for path, body in [("/v1/runs", {"task": "x"}), ("/v1/embeddings", {"input": "x"})]:
                over = door.ask("POST", path, ann, body)
                assert (over.status, over.json["error"]["code"]) == (429, "budget_used_up")
                assert 1 <= int(over.headers["retry-after"]) <= 86_401
            assert OPEN_QUOTE in door.run(OPEN_QUESTION, bob)["answer"]["text"]
        card = {"name": "vault", "specialists": ["house"], "memory": memory.model_dump()}
        (tmp_path / "team.yaml").write_text(json.dumps(card))
        (tmp_path / "house" / "specialist.yaml").write_text("name: house\ndescription: Answers from the manuals.\n")
        told = json.loads(run("usage", "-t", tmp_path, "--json").out)
        by = {one["user"]: one for one in told}
        assert by["ann"]["input_tokens"] + by["ann"]["output_tokens"] == spent
        assert by["bob"]["runs"] == 1
        assert by["bob"]["seconds"] > 0
        owner = Owner("ann", "acme")
        assert any("input_tokens" in request for request in export(team.blueprint, Scope(owner)).requests)
        erase(team.blueprint, Scope(owner))
        assert {one["user"] for one in json.loads(run("usage", "-t", tmp_path, "--json").out)} == {"bob"}


def test_a_task_that_takes_too_long_is_ended(tmp_path: Path, models: ModelStore) -> None:
    from metier.tests.desk import ENDLESS, open_desk

    with open_desk(tmp_path, pause=0.05, limits=LimitsCard(seconds=0.5)) as team, behind(team) as door:
        id = door.ask("POST", "/v1/runs", body={"task": ENDLESS, "specialist": "writer"}).json["id"]
        until(lambda: door.ask("GET", f"/v1/runs/{id}").json["status"] not in ("queued", "in_progress"))
        told = door.ask("GET", f"/v1/runs/{id}").json
        assert (told["status"], told["error"]["code"]) == ("failed", "time_limit")


# The audit log.


def test_changes_and_refusals_are_kept(team: Team, door: Door, accounts: Accounts) -> None:
    known, key = accounts.add_key("ann", scopes=["ask", "read"])
    run = door.ask("POST", "/v1/runs", key, {"task": OPEN_QUESTION, "wait": True}).json
    door.ask("DELETE", "/api/memory", key)
    door.ask("GET", "/api/threads", "metier_unknown")
    with closing(open_audit(team.blueprint)) as log:
        asked, refused, unknown = log.entries(3)
        assert log.verify().broken is None
    assert (asked.action, asked.user, asked.key, asked.status) == ("POST /v1/runs", "ann", known.id, 200)
    assert asked.about["at"] == f"/v1/runs/{run['id']}"
    assert (refused.action, refused.status) == ("DELETE /api/memory", 403)
    assert (unknown.user, unknown.status) == (None, 401)
    told = "".join(entry.model_dump_json() for entry in (asked, refused, unknown))
    assert OPEN_QUESTION not in told
    assert key not in told


def plan_at(folder: Path, memory: MemoryCard) -> Blueprint:
    """A team that has nothing but a place."""
    folder.mkdir(exist_ok=True)
    (folder / "team.yaml").write_text(json.dumps({"name": "t", "specialists": ["a"], "memory": memory.model_dump()}))
    (folder / "a").mkdir(exist_ok=True)
    (folder / "a" / "specialist.yaml").write_text("name: a\ndescription: Knows nothing at all.\n")
    return Blueprint.read(folder)


def written(plan: Blueprint, entries: int = 6) -> AuditLog:
    log = open_audit(plan)
    for number in range(entries):
        log.add("did", user=f"user{number}", about={"what": str(number)})
    return log


def change_kept(plan: Blueprint, change: str) -> None:
    """What somebody does who has the database."""
    if plan.card.memory.checkpoints == "sqlite":
        with closing(sqlite3.connect(plan.state / AUDIT_FILE)) as database:
            database.execute(change)
            database.commit()
    else:
        with psycopg.connect(plan.card.memory.checkpoints) as connection:
            connection.execute(change.encode())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE audit_entries SET entry = replace(entry, 'user3', 'user9') WHERE number = 4", "entry 4 was changed"),
        ("DELETE FROM audit_entries WHERE number = 3", "entry 3 is gone"),
        ("DELETE FROM audit_entries WHERE number > 4", "the last entries are gone: there were 6, there are 4"),
        ("DELETE FROM audit_entries", "the last entries are gone: there were 6, there are 0"),
        ("UPDATE audit_entries SET hash = 'x' WHERE number = 6", "entry 6 was changed"),
        ("UPDATE audit_entries SET entry = 'x' WHERE number = 2", "entry 2 cannot be read"),
        ("UPDATE audit_entries SET number = number + 1 WHERE number = 6", "entry 6 is gone"),
        ("UPDATE audit_head SET hash = 'x'", "the last entry is another one"),
    ],
)
def test_whatever_is_done_to_the_log_is_seen(tmp_path: Path, store: NewStore, change: str, told: str) -> None:
    plan = plan_at(tmp_path, store())
    with closing(written(plan)) as log:
        assert log.verify().broken is None
        change_kept(plan, change)
        assert log.verify().broken == told


def test_a_rewritten_log_is_seen_by_a_noted_head(tmp_path: Path, store: NewStore) -> None:
    plans = [plan_at(tmp_path / name, store()) for name in "ab"]
    with closing(written(plans[0])) as one, closing(written(plans[1])) as other:
        head = one.verify().head
        one.add("did more")
        assert head in {entry.hash for entry in one.entries()}
        assert head not in {entry.hash for entry in other.entries()}


def test_many_write_into_one_log(tmp_path: Path, store: NewStore) -> None:
    plan = plan_at(tmp_path, store())
    with closing(written(plan, 0)) as one, closing(open_audit(plan)) as other:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: (one, other)[n % 2].add("did", about={"n": str(n)}), range(60)))
        assert one.verify() == other.verify()
        assert (one.verify().entries, one.verify().broken) == (60, None)


# The commands.


def test_users_and_keys_on_the_command_line(tmp_path: Path, store: NewStore, run: Run) -> None:
    plan = plan_at(tmp_path, store())
    at: list[Any] = ["-t", tmp_path]
    assert "for this machine alone" in run("users", "list", *at).out
    short = run("users", "add", "ann", *at, stdin="short\n")
    assert (short.code, "12 to 1000 characters" in short.err) == (2, True)
    added = run("users", "add", "ann", "-g", "board", "--json", *at, stdin=f"{PASSWORD}\n")
    assert json.loads(added.out)["scopes"] == ["ask", "read", "write"]
    assert "no card names the group 'board'" in added.err
    assert "did you mean 'admin'" in run("users", "change", "ann", "--scope", "admn", *at).err
    key = json.loads(run("keys", "add", "ann", "--scope", "ask", "--json", *at).out)
    assert key["key"].startswith(key["id"])
    listed = run("keys", "list", *at).out
    assert key["id"] in listed
    assert key["key"] not in listed
    assert run("users", "password", "ann", *at, stdin="a longer password\n").code == 0
    assert "did you mean 'ann'" in run("users", "password", "anne", *at, stdin="x\n").err
    assert json.loads(run("users", "change", "ann", "--no-groups", "--json", *at).out)["groups"] == []
    assert run("keys", "revoke", key["id"], *at).code == 0
    assert run("keys", "revoke", key["id"], *at).code == 2
    assert "for this machine alone" in run("users", "remove", "ann", "-y", *at).out
    shown = run("audit", "show", *at).out
    for done in ("users add", "keys add", "users password", "users change", "keys revoke", "users remove"):
        assert done in shown
    assert run("audit", "verify", *at).out.startswith("whole: 6 entries")
    change_kept(plan, "DELETE FROM audit_entries WHERE number = 2")
    broken = run("audit", "verify", *at)
    assert (broken.code, "entry 2 is gone" in broken.err) == (1, True)
