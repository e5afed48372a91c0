"""The smaller built-in tools, and how cards name them."""

from __future__ import annotations

import math
import os
import re
from datetime import date, timedelta
from pathlib import Path

import pint
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from langchain_core.tools import StructuredTool

from metier.core.errors import ConfigError, ToolError
from metier.core.plugins import load
from metier.core.types import Passage
from metier.tools.builtin.calculator import calculate, calculate_value
from metier.tools.builtin.clock import add_to_date, days_between
from metier.tools.builtin.plot import draw
from metier.tools.builtin.python import execute
from metier.tools.database import QueryResult, show_rows
from metier.tools.policy import Effects
from metier.tools.registry import BUILT_IN, build_tools
from metier.tools.tool import ToolContext, declare, effects_of, shorten_text, tool

numbers = st.one_of(
    st.integers(-1000, 1000).map(str), st.floats(0.001, 1e6).map(lambda x: f"{x:.6f}"), st.sampled_from(["2e3", ".5"])
)


def expressions(depth: int = 3) -> st.SearchStrategy[str]:
    inner = numbers if depth == 0 else st.deferred(lambda: expressions(depth - 1))
    return st.one_of(
        numbers,
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.tuples(inner, st.integers(0, 4)).map(lambda t: f"({t[0]}) ** {t[1]}"),
        inner.map(lambda e: f"-({e})"),
        inner.map(lambda e: f"abs({e})"),
    )


@settings(max_examples=400)
@given(expressions())
def test_the_calculator_equals_python(expression: str) -> None:
    assume(len(expression) <= 500)
    try:
        expected = eval(expression)  # our own expression, made above
        assume(not isinstance(expected, float) or math.isfinite(expected))
    except (ZeroDivisionError, OverflowError):
        with pytest.raises(ToolError):
            calculate_value(expression)
        return
    assert calculate_value(expression) == expected


@settings(max_examples=100)
@given(st.text(max_size=60))
def test_any_text_gives_a_number_or_a_tool_error(text: str) -> None:
    try:
        value = calculate_value(text)
    except ToolError:
        return
    assert isinstance(value, int | float | pint.Quantity)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("15% of 80", "12"),
        ("3 ft + 20 cm in m", "1.1144 meter"),
        ("5 km / 20 min in km/h", "15 kilometer / hour"),
        ("20 degC to degF", "68 degree_Fahrenheit"),
        ("1,234.5 * 2", "2469"),
        ("$5 + $7.50", "12.5"),
        ("2 ^ 10", "1024"),
        ("0.1 + 0.2", "0.3"),
        ("12 in in cm", "30.48 centimeter"),
        ("max(1, 234) + sqrt(16) =", "238"),
        ("10 m/s^2 * 3 s", "30 meter / second"),
    ],
)
def test_the_calculator_reads_what_people_write(expression: str, result: str) -> None:
    assert calculate.invoke({"expression": expression}) == result


@pytest.mark.parametrize(
    "expression",
    ["__import__('os').system('x')", "(1).__class__", "[1]*9", "lambda: 1", "'a'*9", "x := 1", "9**9**9", "1e400",
     "factorial(99999)", "10 m + 3 s", "1/0", "True", "(" * 200 + ")" * 200, "open('x')", "max", "5 apples + 1", ""],
)  # fmt: skip
def test_the_calculator_refuses_everything_else(expression: str) -> None:
    with pytest.raises(ToolError):
        calculate.invoke({"expression": expression})


@given(st.dates(date(1900, 1, 1), date(2200, 1, 1)), st.integers(-5000, 5000))
def test_days_there_and_back(start: date, days: int) -> None:
    later = add_to_date.invoke({"start": start.isoformat(), "amount": days, "unit": "days"})
    assert later.split()[0] == (start + timedelta(days=days)).isoformat()
    assert days_between.invoke({"start": start.isoformat(), "end": later.split()[0]}) == str(days)


def test_months_end_where_calendars_end() -> None:
    assert add_to_date.invoke({"start": "2024-01-31", "amount": 1, "unit": "months"}) == "2024-02-29 Thursday"
    assert add_to_date.invoke({"start": "2024-02-29", "amount": -1, "unit": "years"}) == "2023-02-28 Tuesday"
    with pytest.raises(ToolError, match="outside the calendar"):
        add_to_date.invoke({"start": "2024-01-31", "amount": 10**6, "unit": "years"})
    with pytest.raises(ToolError, match="not a date"):
        days_between.invoke({"start": "soon", "end": "2024-01-01"})


def test_the_clock_can_stand_still(tmp_path: Path) -> None:
    now, *_ = build_tools([{"use": "clock", "now": "2023-11-30 00:00:00"}], ToolContext(root=tmp_path))
    assert now.invoke({}) == "2023-11-30 Thursday 00:00:00"
    running, *_ = build_tools(["clock"], ToolContext(root=tmp_path))
    shown = running.invoke({"timezone": "Europe/Vienna"})
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \w+day \d\d:\d\d:\d\d CES?T", shown)
    with pytest.raises(ToolError, match="unknown time zone"):
        running.invoke({"timezone": "Mars/Olympus"})


def test_files_stay_inside_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (root / "a.txt").write_text("hello")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "up").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    (root / "inside.txt").symlink_to(root / "a.txt")
    (tmp_path / "root-evil").mkdir()
    (tmp_path / "root-evil" / "x.txt").write_text("secret")
    listing, read, write = build_tools([{"use": "files", "write": True}], ToolContext(root=root))
    assert read.invoke({"path": "a.txt"}) == read.invoke({"path": "sub/../inside.txt"}) == "hello"
    assert "a.txt" in listing.invoke({})
    escapes = [
        "../secret.txt", "link.txt", "up/secret.txt", str(tmp_path / "secret.txt"), "sub/../../secret.txt", "..",
        "/etc/passwd", "../root-evil/x.txt", "loop", "a.txt\0", "a" * 5000, "~/x", "sub/../..", "\udcff", "file:///etc/passwd",
    ]  # fmt: skip
    for path in escapes:
        with pytest.raises(ToolError):
            read.invoke({"path": path})
    for path in ("../new.txt", "link.txt", "up/new.txt", str(tmp_path / "new.txt"), ".", "sub", "loop/x"):
        with pytest.raises(ToolError):
            write.invoke({"path": path, "text": "evil"})
    with pytest.raises(ToolError):
        listing.invoke({"folder": "up"})
    assert (tmp_path / "secret.txt").read_text() == "secret"
    assert not (tmp_path / "new.txt").exists()
    write.invoke({"path": "sub/new.txt", "text": "fine"})
    assert (root / "sub" / "new.txt").read_text() == "fine"


def test_files_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff\xfe")
    (tmp_path / "big.txt").write_bytes(b"x" * 1_000_001)
    (tmp_path / "zero.txt").write_bytes(b"a\0b")
    os.mkfifo(tmp_path / "pipe")
    _, read = build_tools(["files"], ToolContext(root=tmp_path))
    for name in ("image.png", "big.txt", "zero.txt", "pipe", "missing", "."):
        with pytest.raises(ToolError):
            read.invoke({"path": name})


@pytest.mark.parametrize(
    "code",
    ["open('/etc/passwd').read()", "import socket", "import subprocess", "__import__('os')", "while True: pass",
     "x = [0] * 10**9", "import os; os.listdir('/')", "().__class__.__bases__", "def f(): return f()\nf()", "1/0",
     "x =", "import os; os.system('x')", "from pathlib import Path; Path('/etc/passwd').read_text()"],
)  # fmt: skip
def test_python_runs_nowhere_near_the_machine(code: str) -> None:
    with pytest.raises(ToolError, match="the code failed"):
        execute(code, seconds=0.3)


def test_python_gives_prints_and_the_last_value() -> None:
    assert execute("print('squares')\n[x ** 2 for x in range(4)]") == "squares\n[0, 1, 4, 9]"
    assert execute("x = 1") == "(no output)"


def test_charts_are_png_files(tmp_path: Path) -> None:
    first = draw(tmp_path, "bar", ["a$b", "c"], [1, 2], "Sales $")
    assert first.read_bytes().startswith(b"\x89PNG")
    assert draw(tmp_path, "bar", ["a$b", "c"], [1, 2], "Sales $") == first
    assert draw(tmp_path, "pie", ["a", "b"], [1, 2]) != first
    for kind, labels, values in (
        ("bar", ["a"], [1, 2]),
        ("line", [], []),
        ("scatter", ["x"], [1]),
        ("pie", ["a"], [-1]),
    ):
        with pytest.raises(ToolError):
            draw(tmp_path, kind, labels, values)  # type: ignore[arg-type]


def test_search_uses_what_it_is_given(tmp_path: Path) -> None:
    context = ToolContext(root=tmp_path, search=lambda q: [Passage(id="1", text=f"about {q}", source="a.md")])
    [found] = build_tools(["search"], context)
    assert found.invoke({"query": "pumps"}) == "[a.md] about pumps"
    with pytest.raises(ConfigError, match="needs knowledge"):
        build_tools(["search"], ToolContext(root=tmp_path))


def test_a_function_becomes_a_tool_and_a_foreign_tool_is_not_trusted() -> None:
    @tool(effect="read", untrusted_output=False, sensitive=False)
    def add(a: int, b: int = 2) -> int:
        """Add two numbers.

        Args:
            a: the first one.
        """
        return a + b

    assert add.invoke({"a": 1}) == 3
    assert add.args["a"] == {"description": "the first one.", "title": "A", "type": "integer"}
    assert effects_of(add) == Effects(effect="read", untrusted_output=False, sensitive=False)
    foreign = StructuredTool.from_function(lambda x: x, name="foreign", description="Not ours.")
    assert effects_of(foreign) == Effects(effect="external", untrusted_output=True, sensitive=True)
    ours = declare(foreign, Effects(effect="write"))
    assert effects_of(ours).effect == "write"
    assert effects_of(foreign).effect == "external"
    foreign.metadata = {"metier_effects": {"effect": "harmless"}}
    assert effects_of(foreign) == Effects()
    with pytest.raises(ToolError, match="no docstring"):
        tool(lambda x: x)


def test_cards_name_tools(tmp_path: Path) -> None:
    context = ToolContext(root=tmp_path)
    [basename] = build_tools([{"use": "posixpath:basename", "effects": {"effect": "read"}}], context)
    assert (basename.name, effects_of(basename).effect) == ("basename", "read")
    for spec, message in (
        ("calculatr", "did you mean 'calculator'"),
        ({"database": "x"}, "without 'use'"),
        ({"use": "sql", "databse": "x"}, "options: database, rows"),
        ({"use": "fetch"}, "hosts"),
        ({"use": "no_such_module_here:x"}, "cannot be loaded"),
        ({"use": "calculator", "effects": {"effect": "none"}}, "effects of 'calculator'"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_tools([spec], context)
    with pytest.raises(ConfigError, match="two tools are named calculate"):
        build_tools(["calculator", "calculator"], context)


def test_every_built_in_can_be_loaded() -> None:
    assert all(callable(load(name, "tool", BUILT_IN)) for name in BUILT_IN)


@given(st.text(max_size=500), st.integers(20, 200))
def test_shortened_text_is_a_beginning(text: str, limit: int) -> None:
    short = shorten_text(text, limit)
    assert short == text if len(text) <= limit else text.startswith(short.rsplit("\n…", 1)[0])
    assert len(short) <= limit + 30


def test_tables_are_shown_as_a_few_rows_and_a_count() -> None:
    table = QueryResult(columns=("n",), rows=tuple((i,) for i in range(30)))
    assert show_rows(table).splitlines()[-1] == "(30 rows, first 10 shown)"
    assert show_rows(QueryResult(columns=("n",), rows=())) == "0 rows"
    long = QueryResult(columns=("a", "b"), rows=((None, "x\ny" * 99),))
    assert show_rows(long).splitlines()[1].startswith("NULL | x yx y")
