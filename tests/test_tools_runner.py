"""Running calls: time, retries, breaker, effects done once. And tools of a real MCP server."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.tools import BaseTool, InjectedToolArg

from metier.core.errors import ConfigError, ToolError, ToolUnreachable
from metier.core.types import ToolCall
from metier.tests.patience import PATIENCE
from metier.tools.mcp import Connection, tools_of
from metier.tools.registry import build_tools
from metier.tools.runner import Breaker, Ledger, ToolRunner
from metier.tools.tool import ToolContext, effects_of, tool

SERVER = '''
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("weather")


@server.tool()
def forecast(city: str, days: int = 1) -> str:
    """The forecast for a city."""
    return f"{city}: sun for {days} days"


@server.tool()
def broken() -> str:
    """Always fails."""
    raise ToolError("out of order")


if __name__ == "__main__":
    server.run("stdio")
'''


def reader(function: object) -> BaseTool:
    return tool(effect="read")(function)  # type: ignore[arg-type]


def test_results_errors_and_times() -> None:
    @reader
    def half(number: int) -> float:
        """Half a number."""
        if number < 0:
            raise ToolError("too small", hint="use a positive one")
        return number / 2

    run = ToolRunner([half]).run
    good = run(ToolCall(name="half", arguments={"number": 5}))
    assert (good.result, good.error) == ("2.5", None)
    assert 0 < good.seconds < PATIENCE
    assert run(ToolCall(name="half", arguments={"number": -1})).error == "too small\n  → use a positive one"
    assert "valid integer" in (run(ToolCall(name="half", arguments={"number": "x"})).error or "")
    assert "did you mean 'half'" in (run(ToolCall(name="halve")).error or "")


def test_long_results_are_shortened() -> None:
    @reader
    def talk() -> str:
        """Talks."""
        return "word " * 10_000

    assert len(ToolRunner([talk]).run(ToolCall(name="talk")).result) < 2100


def test_passing_troubles_are_tried_again_and_others_not() -> None:
    calls: list[str] = []

    @reader
    def flaky(kind: str) -> str:
        """Fails at first."""
        calls.append(kind)
        if calls.count(kind) < 3:
            raise ConnectionError("lost") if kind == "network" else ValueError("wrong")
        return "ok"

    run = ToolRunner([flaky], attempts=3).run
    assert run(ToolCall(name="flaky", arguments={"kind": "network"})).result == "ok"
    assert run(ToolCall(name="flaky", arguments={"kind": "bug"})).error == "ValueError: wrong"
    assert (calls.count("network"), calls.count("bug")) == (3, 1)


def test_a_late_tool_is_left_behind() -> None:
    release = threading.Event()

    @reader
    def slow() -> str:
        """Waits."""
        release.wait(PATIENCE)
        return "late"

    began = time.monotonic()
    done = ToolRunner([slow], seconds=0.1, attempts=1).run(ToolCall(name="slow"))
    release.set()
    assert "longer than 0.1 s" in (done.error or "")
    assert time.monotonic() - began < PATIENCE / 2, "nobody waited for it"


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 20)), max_size=40))
def test_the_breaker_follows_its_rule(events: list[tuple[bool, float]]) -> None:
    """Against the rule in words: after 3 failures in a row nothing passes for 10 seconds, then one may try."""
    now = 0.0
    breaker = Breaker(failures=3, rest=10, clock=lambda: now)
    failed, last = 0, 0.0
    for ok, passed in events:
        now += passed
        is_open = failed >= 3 and now < last + 10
        assert (breaker.wait() > 0) == is_open
        if not is_open:
            breaker.record(ok)
            failed, last = (0, last) if ok else (failed + 1, now)


def test_only_one_caller_tries_a_resting_tool() -> None:
    now = 0.0
    breaker = Breaker(failures=1, rest=10, clock=lambda: now)
    breaker.record(ok=False)
    now = 11.0
    assert breaker.wait() == 0
    assert breaker.wait() > 0


def test_a_failing_tool_rests_and_wrong_arguments_do_not_count() -> None:
    @reader
    def down(number: int) -> str:
        """Is down."""
        raise ConnectionError("down")

    run = ToolRunner([down], attempts=1, breaker=lambda: Breaker(failures=2, rest=60)).run
    for _ in range(5):
        run(ToolCall(name="down", arguments={"number": "not one"}))
    assert run(ToolCall(name="down", arguments={"number": 1})).error == "ConnectionError: down"
    run(ToolCall(name="down", arguments={"number": 2}))
    assert "rests for" in (run(ToolCall(name="down", arguments={"number": 3})).error or "")


def test_an_effect_happens_once_per_step(tmp_path: Path) -> None:
    sent: list[str] = []

    @tool(effect="external")
    def send(to: str) -> str:
        """Send something."""
        if to == "nobody":
            raise ToolError("no such person")
        sent.append(to)
        if to == "lost":
            raise RuntimeError("connection lost while sending")
        return f"sent to {to}"

    file = tmp_path / "effects.sqlite"
    first = ToolRunner([send], ledger=Ledger(file))
    call = ToolCall(name="send", arguments={"to": "eva"})
    assert first.run(call, key="run-1 step-1").result == "sent to eva"
    after_restart = ToolRunner([send], ledger=Ledger(file))
    assert after_restart.run(call, key="run-1 step-1").result == "sent to eva"
    assert sent == ["eva"]
    assert after_restart.run(call, key="run-1 step-2").result == "sent to eva"
    assert sent == ["eva", "eva"]
    lost = ToolCall(name="send", arguments={"to": "lost"})
    assert "RuntimeError" in (first.run(lost, key="a").error or "")
    assert "may or may not have happened" in (first.run(lost, key="a").error or "")
    assert sent.count("lost") == 1
    nobody = ToolCall(name="send", arguments={"to": "nobody"})
    assert first.run(nobody, key="b").error == first.run(nobody, key="b").error == "no such person"


def test_a_tool_that_takes_a_key_may_be_tried_again() -> None:
    keys: list[str] = []

    @tool(effect="external")
    def pay(amount: int, idempotency_key: Annotated[str, InjectedToolArg]) -> str:
        """Pay."""
        keys.append(idempotency_key)
        if len(keys) == 1:
            raise ConnectionError("lost")
        return "paid"

    assert "idempotency_key" not in pay.tool_call_schema.model_json_schema()["properties"]  # type: ignore[union-attr]
    assert ToolRunner([pay]).run(ToolCall(name="pay", arguments={"amount": 1}), key="k").result == "paid"
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_two_threads_with_one_key_make_one_effect(tmp_path: Path) -> None:
    sent: list[int] = []

    @tool(effect="write")
    def book(room: int) -> str:
        """Book a room."""
        time.sleep(0.01)
        sent.append(room)
        return "booked"

    runners = [ToolRunner([book], ledger=Ledger(tmp_path / "e.sqlite")) for _ in range(4)]
    threads = [
        threading.Thread(target=r.run, args=(ToolCall(name="book", arguments={"room": n % 5}),), kwargs={"key": "k"})
        for r in runners
        for n in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sent) == [0, 1, 2, 3, 4]


def test_effects_can_be_erased(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "e.sqlite")
    for key in ("thread-1 a", "thread-1 b", "thread-2 a", "thread_1"):
        ledger.begin(key)
        ledger.finish(key, "secret")
    assert ledger.erase("thread-1 ") == 2
    assert ledger.begin("thread-1 a") is None
    assert ledger.begin("thread_1") is not None
    ledger.close()


def test_an_mcp_servers_tools_by_four_lines(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    card = {
        "use": "mcp",
        "server": f"{sys.executable} server.py",
        "allow": ["forecast", "broken"],
        "effects": {"effect": "read"},
    }
    forecast, broken = build_tools([card], ToolContext(root=tmp_path))
    assert effects_of(forecast).effect == "read"
    assert forecast.args["city"]["type"] == "string"
    run = ToolRunner([forecast, broken], attempts=1).run
    assert run(ToolCall(name="forecast", arguments={"city": "Graz"})).result == "Graz: sun for 1 days"
    assert "out of order" in (run(ToolCall(name="broken")).error or "")
    assert "Field required" in (run(ToolCall(name="forecast")).error or "")
    with pytest.raises(ConfigError, match="did you mean 'forecast'"):
        build_tools([{**card, "allow": ["forcast"]}], ToolContext(root=tmp_path))


def test_an_mcp_server_in_this_process_is_not_trusted_unasked() -> None:
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("numbers")

    @server.tool()
    def numbers(count: int) -> list[int]:
        """Some numbers."""
        return list(range(count))

    connection = Connection(server)
    [made] = tools_of(connection, prefix="my_")
    assert made.name == "my_numbers"
    assert effects_of(made).effect == "external"
    assert "2" in made.invoke({"count": 3})
    connection.close()


@pytest.mark.parametrize("server", ["no-such-command-anywhere", f"{sys.executable} -c pass", "http://127.0.0.1:9/mcp"])
def test_an_mcp_server_that_is_not_there(server: str, tmp_path: Path) -> None:
    with pytest.raises(ToolUnreachable, match="cannot reach the MCP server"):
        build_tools([{"use": "mcp", "server": server}], ToolContext(root=tmp_path))
