"""Arithmetic with units. Expressions are parsed with `ast` and walked over a list of allowed nodes, never eval'd."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pint
from langchain_core.tools import BaseTool

from ...core.cells import is_date
from ...core.errors import ToolError
from ..tool import RecognisingTool, ToolContext, tool

_MAX_CHARACTERS = 500
_MAX_BITS = 20_000
"""Numbers longer than this (about 6,000 digits) are refused, so that `9**9**9` cannot hang the machine."""

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_CONSTANTS = {"pi": math.pi, "tau": math.tau, "e": math.e}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(math, name) for name in ("exp", "log", "log10", "log2", "sin", "cos", "tan", "floor", "ceil")},
    **{name: getattr(math, name) for name in ("asin", "acos", "atan", "radians", "degrees", "gcd", "lcm", "hypot")},
    "abs": abs,
    "min": min,
    "max": max,
    "round": round,
    "sqrt": lambda x: x**0.5 if isinstance(x, pint.Quantity) else math.sqrt(x),
    "sum": lambda *values: sum(values[1:], start=values[0]),
    "mean": lambda *values: sum(values[1:], start=values[0]) / len(values),
    "factorial": lambda n: math.factorial(n) if n <= 500 else _refuse("factorial of more than 500"),
}


def calculator(context: ToolContext) -> list[BaseTool]:
    """The tool `calculate`. The context is not used."""
    return [RecognisingTool.of(calculate, plain_arithmetic)]


@tool(effect="read", untrusted_output=False, sensitive=False)
def calculate(expression: str) -> str:
    """Compute an arithmetic expression, also with units: '3 * (4 + 5)', '15% of 80', '3 ft + 20 cm in m'.

    Args:
        expression: what to compute.
    """
    return show_number(calculate_value(expression))


_ASKED = re.compile(
    r"(?:please\s+)?(?:(?:what(?:['’]s|\s+is|\s+are)|how\s+much\s+(?:is|are)|calculate|compute|work\s+out|evaluate|solve|"
    r"was\s+(?:ist|ergibt)|wie\s*viel\s+(?:ist|sind)|berechne|combien\s+font|calcule)\s*:?\s+)?(?P<sum>.+?)\s*[=?.!\s]*",
    re.IGNORECASE | re.DOTALL,
)
_SAID = (
    (r"\bmultiplied\s+by\b|\btimes\b", "*"),
    (r"\bdivided\s+by\b", "/"),
    (r"\bplus\b", "+"),
    (r"\bminus\b", "-"),
    (r"(?<=\d)\s*[x×]\s*(?=\d)", " * "),
    (r"\bper\s?cent\b", "%"),
)
_SUM = re.compile(r"(?:[\d.,\s()+*/^%−×÷·-]|\bof\b)+")
_NO_SUM = re.compile(r"\d+(?:-\d+)+")
"""Such as `555-1234`, a telephone number."""


def plain_arithmetic(task: str) -> dict[str, Any] | None:
    """The arguments of `calculate` for a task that is a sum and nothing else; None for any other.

    >>> plain_arithmetic("What is 12 times (3 + 4)?")
    {'expression': '12 * (3 + 4)'}
    """
    match = _ASKED.fullmatch(task.strip())
    if not match or len(task) > _MAX_CHARACTERS:
        return None
    expression = match["sum"]
    for pattern, sign in _SAID:
        expression = re.sub(pattern, sign, expression, flags=re.IGNORECASE)
    numbers = re.findall(r"\d[\d.,]*", expression)
    if len(numbers) < 2 or not _SUM.fullmatch(expression) or _NO_SUM.fullmatch(expression) or is_date(expression):
        return None
    try:
        calculate_value(expression)
    except ToolError:
        return None
    return {"expression": expression}


def calculate_value(expression: str, most: int = _MAX_CHARACTERS) -> Any:
    """The value of an expression: int, float, or a pint Quantity when units occur.

    Args:
        most: Characters that it may have.

    Raises:
        ToolError: it is not arithmetic, mixes units that do not fit, divides by zero, or is too large.
    """
    if len(expression) > most:
        raise ToolError(f"the expression has {len(expression)} characters; at most {most} are read")
    body, target = _split_target(expression.strip().rstrip("=? "))
    try:
        value = _walk(ast.parse(_normalise(body), mode="eval").body)
        if target:
            unit = _walk(ast.parse(_normalise(target), mode="eval").body)
            value = value.to(getattr(unit, "units", unit))
        return 1 * value if isinstance(value, pint.Unit) else value
    except ToolError:
        raise
    except ZeroDivisionError:
        raise ToolError(f"'{expression}' divides by zero") from None
    except (SyntaxError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError, RecursionError) as error:
        raise ToolError(f"cannot compute '{expression}': {error}", hint="write it as in 2 * (3 + 4)") from None


def show_number(value: Any) -> str:
    """12 significant digits, no trailing zeros; units written out."""
    if isinstance(value, pint.Quantity):
        return f"{show_number(value.magnitude)} {value.units}".strip()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else format(value, ".12g")
    return str(value)


def _walk(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return _bounded(node.value)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_walk(operand))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_walk(left), _walk(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _bounded(_BINARY[type(op)](_walk(left), _walk(right)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_FUNCTIONS[name](*map(_walk, arguments)))
        case ast.Name(id=name):
            return _CONSTANTS[name] if name in _CONSTANTS else _unit(name)
    raise ToolError(
        f"'{ast.unparse(node)}' is not arithmetic",
        hint=f"numbers, units, + - * / // % ^ and {', '.join(sorted(_FUNCTIONS))}",
    )


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > _MAX_BITS:
        _refuse("a number this long")
    result = base**exponent
    return _refuse("a root of a negative number") if isinstance(result, complex) else _bounded(result)


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        _refuse("a number this long")
    return _refuse("a number this large") if isinstance(value, float) and not math.isfinite(value) else value


def _refuse(what: str) -> Any:
    raise ToolError(f"the calculator does not compute {what}")


@lru_cache(maxsize=1)
def _units() -> pint.UnitRegistry[Any]:
    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)


def _unit(name: str) -> Any:
    try:
        return _units().Unit(name)
    except (pint.UndefinedUnitError, ValueError):
        raise ToolError(f"'{name}' is neither a unit, a constant nor a function the calculator knows") from None


def _split_target(expression: str) -> tuple[str, str]:
    """`3 ft in cm` → (`3 ft`, `cm`). Only a unit may follow, so that `3 in * 2` stays whole."""
    match = re.fullmatch(r"(.+)\s+(?:in|to|as)\s+([A-Za-zµ°Å][\w°/*^ ]*)", expression, re.DOTALL)
    return (match[1], match[2]) if match else (expression, "")


_SPELLINGS = (
    (r"[$€£]", ""),
    (r"[×·]", "*"),
    (r"÷", "/"),
    (r"−", "-"),
    (r"\^", "**"),
    (r"°\s*([CF])\b", r"deg\1"),
    (r"\bin\b", "inch"),
    (r"(\d)\s*%\s*of\b", r"\1/100*"),
    (r"(\d)%(?!\s*[\w.(])", r"\1/100"),
    (r"(\d)\s+%\s*(?=$|\))", r"\1/100"),
)

_NUMBER_UNIT = re.compile(
    r"(?<![A-Za-z_\d.])(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)\s*((?![eE][+-]?\d)[A-Za-zµ]\w*(?:\*\*-?\d+)?)(\s*\()?"
)
"""A number and its unit belong together: `5 km / 20 min` is (5 km) / (20 min)."""


def _normalise(expression: str) -> str:
    """How people write arithmetic → how Python does: 1,234 · 15% · 3 ft · ^."""
    text = expression
    if not re.search(r"[A-Za-z]\s*\(", text):
        text = re.sub(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])", lambda m: m[0].replace(",", ""), text)
    for pattern, replacement in _SPELLINGS:
        text = re.sub(pattern, replacement, text)
    return _NUMBER_UNIT.sub(lambda m: f"{m[1]}*{m[2]}(" if m[3] else f"({m[1]}*{m[2]})", text)
