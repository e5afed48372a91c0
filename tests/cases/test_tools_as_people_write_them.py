"""Kinds of tools that broke a team, or whose calls came out wrong, once: each test is one kind."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from enum import Enum
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import pytest
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as langchain_tool
from pydantic import BaseModel

from metier import tool
from metier.core.errors import ToolUnreachable
from metier.core.types import Answer, Brief, ToolCall
from metier.specialists.card import SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.functions import NO_CALL, write_call
from metier.specialists.specialist import Specialist
from metier.specialists.styles.act.said import as_said, is_asked_for
from metier.tests.shop import open_shop
from metier.tools.builtin.calculator import calculator, plain_arithmetic
from metier.tools.registry import build_tools
from metier.tools.runner import Ledger, ToolRunner
from metier.tools.session import SpecialistTools
from metier.tools.tool import ToolContext

READ: dict[str, Any] = {"effect": "read", "untrusted_output": False, "sensitive": False}
CARD = SpecialistCard(name="desk", description="Works at the desk.", style="act", tools=["ours:TOOLS"])


def gives(function: Callable[[], Any], **options: Any) -> ToolCall:
    """What becomes of a result."""

    @tool(name="give", **{**READ, **options})
    def give() -> Any:
        """Give it."""
        return function()

    return ToolRunner([give], seconds=5, attempts=1).run(ToolCall(name="give"))


def act(task: str, script: list[str], tools: list[BaseTool]) -> Answer:
    specialist = Specialist(CARD, ScriptedEngine(script), tools=SpecialistTools(tools))
    outcome = specialist.run(Brief(task=task))
    assert isinstance(outcome, Answer)
    return outcome


# Asynchronous tools

RANG: list[str] = []


@tool(effect="external", untrusted_output=False, sensitive=False)
async def ring(who: str) -> str:
    """Ring somebody up."""
    await asyncio.sleep(0.01)
    RANG.append(who)
    return f"rang {who}"


@langchain_tool
async def find(what: str) -> str:
    """Find something; this has no synchronous form."""
    return f"found {what}"


class Asking(BaseTool):
    """As libraries write them."""

    name: str = "ask"
    description: str = "Ask somebody."

    def _run(self, who: str) -> str:
        raise NotImplementedError("only asynchronous")

    async def _arun(self, who: str) -> str:
        return f"asked {who}"


@tool(**READ)
async def parts(count: int) -> AsyncIterator[int]:  # pyright: ignore[reportInvalidReturnType]
    """Parts one after the other."""

    async def each() -> AsyncIterator[int]:
        for number in range(count):
            yield number

    return each()  # pyright: ignore[reportReturnType]


@tool(**READ)
def later(text: str) -> Any:
    """A promise."""

    async def promise() -> str:
        return text

    return promise()


def test_asynchronous_tools_are_awaited(tmp_path: Path) -> None:
    RANG.clear()
    runner = ToolRunner([ring, find, Asking(), parts, later], ledger=Ledger(tmp_path / "effects.sqlite"))
    calls = [
        ("ring", {"who": "Ada"}, "rang Ada"),
        ("find", {"what": "it"}, "found it"),
        ("ask", {"who": "Bo"}, "asked Bo"),
        ("parts", {"count": 3}, "[0, 1, 2]"),
        ("later", {"text": "soon"}, "soon"),
    ]
    for name, arguments, result in calls:
        done = runner.run(ToolCall(name=name, arguments=arguments), key="k")
        assert (done.result, done.error) == (result, None)
    assert runner.run(ToolCall(name="ring", arguments={"who": "Ada"}), key="k").result == "rang Ada"
    assert RANG == ["Ada"]


def test_an_asynchronous_tool_has_a_time_limit_and_is_cancelled() -> None:
    ended: list[str] = []

    @tool(**READ)
    async def wait() -> str:
        """Wait too long."""
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "never"

    started = monotonic()
    done = ToolRunner([wait], seconds=0.2, attempts=1).run(ToolCall(name="wait"))
    assert "took longer than 0.2 s" in (done.error or "")
    while not ended and monotonic() - started < 5:
        pass
    assert ended == ["cancelled"]


# Tools that would end the process


@pytest.mark.parametrize("end", [SystemExit(2), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
def test_a_tool_cannot_end_the_team(end: BaseException, tmp_path: Path) -> None:
    def fail() -> str:
        raise end

    assert f"tried to end the program: {type(end).__name__}" in (gives(fail).error or "")

    ledger = Ledger(tmp_path / "effects.sqlite")

    @tool(effect="write", untrusted_output=False, sensitive=False)
    def write() -> str:
        """Write, perhaps."""
        raise end

    runner = ToolRunner([write], ledger=ledger)
    assert "tried to end the program" in (runner.run(ToolCall(name="write"), key="k").error or "")
    assert runner.unsettled(ToolCall(name="write"), "k")  # it may have written before


# What tools give


class Colour(Enum):
    red = "red"


class Pair(BaseModel):
    left: int
    right: Colour | None = None


@dataclasses.dataclass
class Box:
    size: int
    made: datetime.date


class Thing:
    def __init__(self) -> None:
        self.weight = 3


def endless() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "no result"),
        ("  ", "no result"),
        ({"part_id": 4, "new": True, "left": None}, '{"part_id": 4, "new": true, "left": null}'),
        ([Pair(left=1, right=Colour.red)], '[{"left": 1, "right": "red"}]'),
        (Box(2, datetime.date(2025, 6, 5)), '{"size": 2, "made": "2025-06-05"}'),
        ({"at": datetime.datetime(2025, 6, 5, 7, 8), "price": decimal.Decimal("2.50")},
         '{"at": "2025-06-05T07:08:00", "price": "2.50"}'),
        ("Öl".encode(), "Öl"),
        ("Öl".encode("cp1252"), "Öl"),
        (b"\x00\x01\x02\xff", "(4 bytes that are no text)"),
        ((n for n in (1, 2)), "[1, 2]"),
        (Thing(), '{"weight": 3}'),
        ({1, }, "[1]"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        (Path("a/b"), "a/b"),
        (decimal.Decimal("3.10"), "3.10"),
        (Colour.red, "red"),
        ("caf\ud83d", "caf\ufffd"),
        ("\ud83d\ude00\0", "😀\ufffd"),
        (0, "0"),
        (False, "False"),
    ],
)  # fmt: skip
def test_results_in_words(given, text):
    done = gives(lambda: given)
    assert (done.result, done.error) == (text, None)
    done.model_dump_json()


def test_results_that_never_end_or_are_huge() -> None:
    assert gives(endless).result.startswith("[0, 1, 2, 3")
    assert len(gives(lambda: "long " * 1_000_000).result) < 2100
    assert gives(lambda: None, effect="write").result == "done"
    assert "at 0x" not in gives(lambda: print).result + gives(lambda: [object()]).result
    around: list[Any] = []
    around.append(around)
    assert gives(lambda: around).error is None

    def fail() -> str:
        raise RuntimeError("long \ud800 " * 100_000)

    failed = gives(fail)
    assert len(failed.error or "") < 2100
    failed.model_dump_json()


# What tools take


class Item(BaseModel):
    name: str
    pieces: int = 1


GOT: list[Any] = []


@tool(**READ)
def order(
    items: list[Item],
    speed: Literal["fast", "slow"] = "slow",
    to: Item | None = None,
    ref: int | str = 0,
    colour: Colour = Colour.red,
    extra: dict[str, int] | None = None,
    day: datetime.date | None = None,
) -> str:
    """Order some items."""
    GOT[:] = [items, speed, to, ref, colour, extra, day]
    return "ordered"


@pytest.mark.parametrize(
    ("arguments", "got"),
    [
        ({"items": [{"name": "nut", "pieces": 3}]},
         [[Item(name="nut", pieces=3)], "slow", None, 0, Colour.red, None, None]),
        ({"items": [], "speed": "fast", "to": {"name": "Bo"}, "ref": "r7", "colour": "red", "extra": {"k": 1},
          "day": "2025-06-05"},
         [[], "fast", Item(name="Bo"), "r7", Colour.red, {"k": 1}, datetime.date(2025, 6, 5)]),
    ],
)  # fmt: skip
def test_nested_arguments(arguments, got):
    answer = act("Order it.", [write_call("order", arguments), NO_CALL], [order])
    assert (answer.text, GOT) == ("ordered", got)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"items": [{"pieces": 2}]}, "items.0.name: Field required"),
        ({"items": "nut"}, "items: Input should be a valid list"),
        ({"items": [], "speed": "warp"}, "speed: Input should be 'fast' or 'slow'"),
    ],
)
def test_nested_arguments_that_are_wrong_are_told(arguments, error):
    assert error in (ToolRunner([order]).run(ToolCall(name="order", arguments=arguments)).error or "")


# Several calls


@tool(effect="write", untrusted_output=False, sensitive=False)
def note(text: str) -> str:
    """Note something on the board."""
    if "fail" in text:
        raise ValueError("the board is full")
    return f"noted {text}"


@tool(**READ)
def look(order: str) -> str:
    """Look an order up."""
    return f"order {order} is open"


LOOK, FAIL = write_call("look", {"order": "7"}), write_call("note", {"text": "fail 7"})


def test_a_second_call_that_fails_leaves_the_first_result() -> None:
    answer = act("Look order 7 up, then note it.", [LOOK, FAIL, NO_CALL], [look, note])
    assert answer.kind == "answer"
    assert answer.text == "order 7 is open\nnote failed: ValueError: the board is full"


def test_a_first_result_stays_when_nothing_more_can_be_asked_for() -> None:
    task = "Look order 7 up, then note it."
    assert act(task, [LOOK], [look, note]).text == "order 7 is open"  # the model itself fails at the second call


def test_no_further_call_is_made_that_nobody_asked_for() -> None:
    assert act("Is order 7 open?", [LOOK, write_call("note", {"text": "order 7"}), NO_CALL], [look, note]).text == (
        "order 7 is open"
    )
    both = act("Look order 7 up and note it.", [LOOK, write_call("note", {"text": "7"}), NO_CALL], [look, note])
    assert both.text == "order 7 is open\nnoted 7"


FUNCTIONS = {f["name"]: f for f in SpecialistTools([look, note, *calculator(ToolContext(root=Path()))]).functions}


@pytest.mark.parametrize(
    ("task", "call", "before", "asked"),
    [
        ("Which orders are open?", {"name": "note", "arguments": {"text": "open"}}, "3 and 4", False),
        ("How warm is it?", {"name": "calculate", "arguments": {"expression": "21.5"}}, "21.5 °C", False),
        ("Look up 3 and 4.", {"name": "look", "arguments": {"order": "4"}}, "order 3 is open", True),
        ("Look up Ada's order; calculate half of it.", {"name": "calculate", "arguments": {"expression": "80 / 2"}},
         "80", True),
        ("Note Ada's order number", {"name": "note", "arguments": {"text": "order 815"}}, "order 815", True),
    ],
)  # fmt: skip
def test_whether_a_further_call_is_asked_for(task, call, before, asked):
    done = ToolCall(name="look", arguments={"order": "Ada"}, result=before)
    assert is_asked_for(ToolCall(**call), FUNCTIONS[call["name"]], task, [done]) is asked


@tool(effect="write", untrusted_output=False, sensitive=False)
def open_case(title: str, room: str, priority: Literal["low", "high"] = "low") -> str:
    """Open a case.

    Args:
        title: what is wrong.
    """
    return f"case: {title}"


@pytest.mark.parametrize(
    ("task", "model", "title"),
    [
        ('Open a case "Tap drips again" for K4', "Drip", "Tap drips again"),
        ("Open a case titled “Lamp of hall 2 is dark” for K4", "Lamp is dark", "Lamp of hall 2 is dark"),
        (
            "Open a case called Broken chair on the stairs with high priority",
            "Broken chair",
            "Broken chair on the stairs",
        ),
        ("Open a case with the title Cold radiator by the window, please", "Radiator", "Cold radiator by the window"),
        ("Open a case for K4: the DOOR squeaks", "The door squeaks", "the DOOR squeaks"),
        ("Open a case about the noise", "Noise in the hall", "Noise in the hall"),
    ],
)
def test_a_title_stands_as_it_was_said(task, model, title):
    (function,) = SpecialistTools([open_case]).functions
    call = as_said(ToolCall(name="open_case", arguments={"title": model, "room": "K4"}), function, task)
    assert call.arguments == {"title": title, "room": "K4"}


@pytest.mark.parametrize(
    ("task", "result"),
    [("What is 12.5 * 16?", "200"), ("how much is 30% of 250", "75"), ("Compute (7 + 5) / 4.", "3"), ("6 x 7 =", "42"),
     ("what's 5 plus 3 times 2?", "11"), ("What is 1,250.50 - 0.5?", "1250")],
)  # fmt: skip
def test_a_sum_is_computed_without_asking_a_model(task, result):
    answer = act(task, [], calculator(ToolContext(root=Path())))
    assert (answer.kind, answer.text) == ("answer", result)


@pytest.mark.parametrize(
    "task", ["Call 555-1234", "What is 2025-06-05?", "How warm is room B12?", "What is 5?", "What is 10.0.0.1?", "7 8",
             "What is 3 / 0?", "Who was born in 1900 or 1901?", "(" * 400, "1+" * 240]
)  # fmt: skip
def test_what_is_no_sum_is_left_to_the_model(task):
    assert plain_arithmetic(task) is None


# MCP servers that die

SERVER = """
import os, sys
from mcp.server.mcpserver import MCPServer

server = MCPServer("clock")

@server.tool()
def hour(place: str) -> str:
    "The hour somewhere."
    return f"noon in {place}, told by {os.getpid()}"

@server.tool()
def leave(place: str) -> str:
    "Leave for good."
    os._exit(1)

server.run()
"""


def test_a_dead_mcp_server_is_the_trouble_of_its_own_specialist(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dead = {"use": "mcp", "server": f"{sys.executable} server.py", "effects": {"effect": "read", "sensitive": False}}
    with pytest.raises(ToolUnreachable, match=r"tool 'mcp': cannot reach the MCP server .*server\.py"):
        build_tools([dead], ToolContext(root=tmp_path))
    team = open_shop(tmp_path, helper_tools=[dead])
    assert "specialist 'helper' cannot work" in caplog.text
    assert team.ask("clerk: look(7)").text == "order 7 is open"
    answer = team.ask("helper: hour(Rome)")
    assert answer.kind == "abstain"
    assert "cannot reach the MCP server" in answer.text
    team.close()


def test_a_server_that_comes_back_is_asked_again(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    spec = {"use": "mcp", "server": f"{sys.executable} server.py", "effects": {"effect": "read"}}
    tools = build_tools([spec], ToolContext(root=tmp_path))
    run = ToolRunner(tools, attempts=1).run
    hour = ToolCall(name="hour", arguments={"place": "Rome"})
    first = run(hour).result
    assert first.startswith("noon in Rome")
    left = run(ToolCall(name="leave", arguments={"place": "Rome"}))
    assert "the MCP server" in (left.error or "")
    again = run(hour)
    assert again.error is None
    assert again.result != first


# Modules of the team's own


@pytest.mark.parametrize("place", ["team", "card"])
def test_a_tool_module_beside_the_team_or_the_card_is_found(place, tmp_path):
    (tmp_path / "card").mkdir()
    folder = tmp_path if place == "team" else tmp_path / "card"
    (folder / f"beside_{place}.py").write_text(
        'def greet(name: str) -> str:\n    "Greet."\n    return f"hello {name}"\n'
    )
    (found,) = build_tools([f"beside_{place}:greet"], ToolContext(root=tmp_path / "card", team=tmp_path))
    assert found.invoke({"name": "Ada"}) == "hello Ada"
