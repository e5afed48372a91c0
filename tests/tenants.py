"""A house that tenants share: the vault behind its server, Ann with much to hide, and others who are curious."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from starlette.routing import Route

from metier.agents.cards import LimitsCard, MemoryCard
from metier.agents.team import Team
from metier.serving.accounts import SCOPES, Accounts
from metier.tests.gates import Door, accounts_of, behind
from metier.tests.vault import MERGER_QUESTION, MERGER_QUOTE, PAY_QUESTION, PAY_QUOTE, open_vault

LOCKER, CODE_WORD, PLAN, RIGHT = "4711-Q", "Wolkenkuckuck", "Geheimplan", "Kellerschluessel"
SECRETS = ("88,000", "Quillfeather", "31 million", "Larch", "closes in May", LOCKER, CODE_WORD, PLAN, RIGHT)
"""Each stands somewhere that only Ann may see."""
SCRIPT_FILE = "<img src=x onerror=alert(1)>.txt"
SCRIPT_TEXT = (
    "# <script>alert(2)</script>\n\nThe gate <b onclick=alert(3)>code</b> is </pre><script>alert(4)</script>12.\n"
)


class House(NamedTuple):
    """A served team and those who use it."""

    team: Team
    door: Door
    accounts: Accounts
    keys: dict[str, str]
    theirs: dict[str, list[str]]
    """Names of Ann's things: thread, run, file …"""


@contextmanager
def open_house(folder: Path) -> Iterator[House]:
    """Open the vault, let everybody in, and let Ann work with it."""
    (folder / "people").mkdir()
    (folder / "people" / SCRIPT_FILE).write_text(SCRIPT_TEXT)
    (folder / "workflows").mkdir()
    for name, who, task in (("pay", "people", PAY_QUESTION), ("deal", "secrets", MERGER_QUESTION)):
        step = {"ask": who, "task": task, "cache": True}
        plan = {"description": f"Finds out about {name}.", "steps": {"found": step}}
        (folder / "workflows" / f"{name}.yaml").write_text(json.dumps(plan))
    limits = LimitsCard(requests_per_minute=None)
    with (
        open_vault(folder, memory=MemoryCard(), limits=limits, embedder="minilm") as team,
        accounts_of(team) as accounts,
        behind(team, queue=200) as door,
    ):
        people = {"ann": ("acme", ["board", "merger"]), "al": ("acme", []), "gil": ("globex", [])}
        for name, (tenant, groups) in people.items():
            accounts.add(name, tenant=tenant, groups=groups)
        accounts.add("ops", scopes=SCOPES)
        keys = {name: accounts.add_key(name, scopes=["ask", "read", "write"])[1] for name in people}
        keys["ops"] = accounts.add_key("ops", scopes=SCOPES)[1]
        yield House(team, door, accounts, keys, move_in(door, keys["ann"]))


def move_in(door: Door, key: str) -> dict[str, list[str]]:
    """Ann works with the team: everything that it may keep of somebody."""
    pay = door.run(PAY_QUESTION, key, thread_id="ann-pay")
    assert PAY_QUOTE in pay["answer"]["text"]
    assert MERGER_QUOTE in door.run(MERGER_QUESTION, key, thread_id="ann-merger")["answer"]["text"]
    single = door.run(PAY_QUESTION, key)
    fact = door.ask("POST", "/api/memory", key, {"text": f"The number of my locker is {LOCKER}."}).json
    note = {"run_id": pay["id"], "thread_id": "ann-pay", "verdict": "correction", "correction": RIGHT}
    assert door.ask("POST", "/v1/feedback", key, note).status == 201
    file = f"# Word\n\nThe code word of the yard is {CODE_WORD}.\n".encode()
    assert door.ask("PUT", "/api/threads/ann-files/files/word.md", key, file).status == 200
    assert door.ask("POST", "/threads", key, {"thread_id": "ann-plan", "metadata": {"title": PLAN}}).status == 200
    form = (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x\r\nContent-Disposition: form-data;'
        b' name="file"; filename="f.jsonl"\r\n\r\n' + PLAN.encode() + b"\r\n--x--\r\n"
    )
    kept = door.ask("POST", "/v1/files", key, form, content_type="multipart/form-data; boundary=x").json
    response = door.ask("POST", "/v1/responses", key, {"input": PAY_QUESTION}).json
    return {
        "thread_id": ["ann-pay", "ann-merger", "ann-files", "ann-plan"],
        "run_id": [pay["id"], single["id"], pay["answer"]["run_id"]],
        "response_id": [response["id"], f"resp_{pay['id']}"],
        "file_id": [kept["id"]],
        "fact_id": [fact["id"]],
    }


MCP = {"accept": "application/json, text/event-stream"}


def rpc(house: House, path: str, user: str, method: str, **params: Any) -> str:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return house.door.ask("POST", path, house.keys[user], body, **MCP, a2a_version="1.0").text


def all_routes(door: Door) -> list[tuple[str, str]]:
    """Method and path of everything that the app answers, whoever added it."""
    found, left = list[tuple[str, str]](), [*door.app.routes]
    while left:
        route = left.pop(0)
        left += getattr(getattr(route, "original_router", None), "routes", [])  # as FastAPI keeps what it includes
        if isinstance(route, Route):
            found += [(m, route.path) for m in sorted(route.methods or {"GET", "POST", "DELETE"}) if m != "HEAD"]
    return found


def filled(path: str) -> str:
    return re.sub(r"\{\w+(?::\w+)?\}", "x", path)
