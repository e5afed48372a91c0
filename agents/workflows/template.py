"""`{{ }}`: how steps use parameters and earlier results. Jinja in its sandbox, without files, imports or chance.

A template that is one `{{ }}` and nothing else gives the value itself (a list, a number); any other gives text. What
stands in values is never a template: only the plan's author writes those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ...core.errors import InputError, unknown
from ...core.types import Citation
from .results import Data, Failed, Items, ResultValue, Skipped, Table

TemplateScope = Mapping[str, Any]
"""What templates may use, by name: parameters as plain values, results of steps."""

_LONGEST = 1_000_000
"""Characters or items that `*` may make."""
_SHOW = "_show"
"""The name under which a scope holds what turns values into text."""
_TAKEN = "today loop true false none and or not in is if else elif for set namespace range dict".split()

RESERVED = frozenset(_TAKEN)
"""Names that no step and no parameter can have."""


class Quoted(str):
    """Text of a result, with where it stands."""

    citations: tuple[Citation, ...] = ()

    @classmethod
    def of(cls, text: str, citations: tuple[Citation, ...]) -> Quoted:
        """The text with its citations."""
        quoted = cls(text)
        quoted.citations = citations
        return quoted


class _Nothing(Undefined):
    """A part of a result that was left out: empty in every way."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key: Any) -> Any:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self


class _Missing(StrictUndefined):
    """A name or field that is not there."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Reads results by what they show, mappings by their keys first, and makes nothing endless."""

    intercepted_binops = frozenset({"*", "**"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, ResultValue):
            return self._part(obj, attribute)
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, ResultValue):
            if isinstance(argument, str):
                return self._part(obj, argument)
            inside = {Table: "rows", Items: "items", Data: "value"}.get(type(obj))
            return super().getitem(getattr(obj, inside), argument) if inside else self._no_part(obj, str(argument))
        return super().getitem(obj, argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and abs(right) > 64:
            raise SecurityError(f"a power of {right}")
        sizes = [len(side) for side in (left, right) if hasattr(side, "__len__")]
        counts = [side for side in (left, right) if isinstance(side, int)]
        if sizes and counts and sizes[0] * counts[0] > _LONGEST:
            raise SecurityError("text or a list this long")
        return super().call_binop(context, operator, left, right)

    def _part(self, result: ResultValue, name: str) -> Any:
        if isinstance(result, Skipped | Failed):
            return result.reason if name == "reason" else _Nothing(name=name)
        if name in readable(type(result)):
            value = getattr(result, name)
            return Quoted.of(value, result.citations) if isinstance(value, str) and result.citations else value
        if isinstance(result, Data) and isinstance(result.value, Mapping) and name in result.value:
            return result.value[name]
        return self._no_part(result, name)

    def _no_part(self, result: ResultValue, name: str) -> Undefined:
        kind = type(result).__name__.lower()
        return _Missing(unknown(f"field of a {kind}", name, readable(type(result))))


@pass_context
def _finalize(context: Context, value: Any) -> Any:
    return context.get(_SHOW, show)(value)


def _sandbox() -> _Sandbox:
    made = _Sandbox(undefined=_Missing, finalize=_finalize, autoescape=False, keep_trailing_newline=True)
    del made.globals["lipsum"]
    for name in ("random", "attr"):
        del made.filters[name]
    return made


def readable(kind: type[ResultValue]) -> tuple[str, ...]:
    """The fields that templates may read of a kind of result."""
    return (*(name for name in kind.model_fields if name != "kind"), *kind.shown)


def show(value: Any) -> str:
    """How a value stands in text: lists with commas, nothing as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(show, value))
    return str(value)


_ENVIRONMENT = _sandbox()


class Uses(NamedTuple):
    """What a template uses of its scope."""

    names: frozenset[str]
    fields: tuple[tuple[str, str], ...]
    """Names with the fields that are read of them."""
    whole: bool
    """It is one `{{ }}`, and gives the value itself."""
    value: tuple[str, str | None] | None
    """Of such a one that is only a name, or a field of it: both."""


_NOTHING_USED = Uses(frozenset(), (), False, None)


@lru_cache(maxsize=8192)
def uses(source: str) -> Uses:
    """What a template needs.

    Raises:
        InputError: it is no template, or uses what there is not: a filter, an import.
    """
    if "{" not in source:
        return _NOTHING_USED
    tree = _parsed(source)
    names = frozenset(find_undeclared_variables(tree)) - frozenset(_ENVIRONMENT.globals)
    fields = tuple((name, field) for name, field in _fields(tree) if name in names)
    single = _single(tree)
    value = None
    if isinstance(single, nodes.Name):
        value = (single.name, None)
    elif isinstance(single, nodes.Getattr) and isinstance(single.node, nodes.Name):
        value = (single.node.name, single.attr)
    return Uses(names, fields, single is not None, value)


def fill(source: str, scope: TemplateScope) -> Any:
    """What a template gives: of one `{{ }}` the value, of all else the text.

    Raises:
        InputError: something is not there, or cannot be computed.
    """
    if "{" not in source:
        return source
    expression = _expression(source.strip())
    if expression is None:
        return fill_text(source, scope)
    value = _told(source, lambda: expression(**scope))
    if isinstance(value, _Missing):
        _told(source, value._fail_with_undefined_error)
    return list[Any]() if isinstance(value, _Nothing) else value


def fill_text(source: str, scope: TemplateScope, shown: Callable[[Any], str] = show) -> str:
    """The text that a template gives.

    Args:
        shown: How values stand in it.

    Raises:
        InputError: something is not there, or cannot be computed.
    """
    if "{" not in source:
        return source
    template = _template(source)
    return _told(source, lambda: template.render({**scope, _SHOW: shown}))


def fill_all(value: Any, scope: TemplateScope) -> Any:
    """`fill` for every text in a JSON-like value."""
    if isinstance(value, str):
        return fill(value, scope)
    if isinstance(value, Mapping):
        return {name: fill_all(part, scope) for name, part in value.items()}
    return [fill_all(part, scope) for part in value] if isinstance(value, list | tuple) else value


def texts_in(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text in a JSON-like value, with its place."""
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from texts_in(part, (*at, name))
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from texts_in(part, (*at, number))


@lru_cache(maxsize=8192)
def _template(source: str) -> Any:
    _parsed(source)
    return _ENVIRONMENT.from_string(source)


@lru_cache(maxsize=8192)
def _expression(source: str) -> Callable[..., Any] | None:
    if _single(_parsed(source)) is None:
        return None
    return _ENVIRONMENT.compile_expression(source[2:-2].strip("-+ \n"), undefined_to_none=False)


def _parsed(source: str) -> nodes.Template:
    try:
        tree = _ENVIRONMENT.parse(source)
        _ENVIRONMENT.compile(_ENVIRONMENT.parse(source))  # knows which filters there are
    except TemplateSyntaxError as error:
        raise InputError(_words(source, error), hint=_hint(error)) from None
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise InputError(f"'{_short(source)}': {type(node).__name__.lower()} is not allowed in a plan")
    return tree


def _single(tree: nodes.Template) -> nodes.Node | None:
    """The expression that a template wholly is."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    parts = tree.body[0].nodes
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData) else None


def _fields(tree: nodes.Template) -> Iterator[tuple[str, str]]:
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        if not isinstance(node.node, nodes.Name):
            continue
        if isinstance(node, nodes.Getattr):
            yield node.node.name, node.attr
        elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            yield node.node.name, node.arg.value


def _told(source: str, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"'{_short(source)}' cannot be filled in: {_plain(error)}") from error


def _plain(error: Exception) -> str:
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _words(source: str, error: TemplateSyntaxError) -> str:
    return f"'{_short(source)}' is no template: {error.message}"


def _hint(error: TemplateSyntaxError) -> str | None:
    said = error.message or ""
    for kind, known in (("filter", _ENVIRONMENT.filters), ("test", _ENVIRONMENT.tests)):
        if said.startswith(f"No {kind} named '"):
            return unknown(kind, said.split("'")[1], [name for name in known if name.isidentifier()])
    return None


def _short(source: str) -> str:
    line = " ".join(source.split())
    return line if len(line) <= 80 else f"{line[:79]}…"
