"""Cards in YAML: read safely, checked by a pydantic class, every mistake told with its file, line and field.

The text becomes ruamel.yaml's node tree (nothing is ever constructed from a tag), the tree becomes plain JSON-like
values, and pydantic judges those. It does not know which cards exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from .errors import ConfigError, unknown

MAX_BYTES = 1_000_000
"""A card is written by a person; anything larger is some other file."""
MAX_VALUES = 100_000
"""Values after aliases are expanded: nine lines of aliases to aliases would otherwise fill the memory."""
MAX_DEPTH = 50

_Card = TypeVar("_Card", bound=BaseModel)
_Path = tuple[str | int, ...]
_TAG = "tag:yaml.org,2002:"
_TEXT = {"str", "timestamp", "value"}
"""Scalars that stay as they are written; a date is text, as it is in JSON."""


def load_yaml(path: Path, model: type[_Card], check: Callable[[_Card], None] | None = None) -> _Card:
    """Read `path` as one `model`.

    Args:
        check: Looks at what no model can know; its ConfigError names the field, and gets the line.

    YAML 1.2: `yes` and `on` are text, keys are text, no tags, no merge keys. Anchors and aliases work.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or does not fit `model`. All mistakes of the last kind
            are in the one error, each with its own line; `line` and `field` are those of the first.
    """
    card, place = load_with_lines(path, model)
    try:
        if check:
            check(card)
        return card
    except ConfigError as error:
        line = place(tuple(error.field.split(".")) if error.field else ())
        said = error.message.removeprefix(f"{error.field}: ")
        raise ConfigError(said, file=path, line=line, field=error.field, hint=error.hint) from error


def load_with_lines(path: Path, model: type[_Card]) -> tuple[_Card, Callable[[_Path], int]]:
    """`load_yaml`, with what tells the line of a field: `("steps", "greet", "task")` → 7.

    Raises:
        ConfigError: as in `load_yaml`.
    """
    tree = _Tree(path)
    data = tree.plain(_compose(_read(path), path))
    try:
        return model.model_validate(data), tree.line
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
    mistakes = [(_untagged(d["loc"]), _explain(d, model)) for d in details]
    raise mistakes_in(path, [(tree.line(at), _field(at), text) for at, text in mistakes])


def mistakes_in(path: Path, mistakes: Iterable[tuple[int, str, str]]) -> ConfigError:
    """The one error of all mistakes of a file.

    Args:
        mistakes: Line, field and what is wrong of each; at least one.
    """
    (line, where, message), *more = sorted(mistakes)
    others = [str(ConfigError(text, file=path, line=at, field=name)) for at, name, text in more]
    return ConfigError("\n".join([message, *others]), file=path, line=line, field=where or None)


def _read(path: Path) -> str:
    if path.is_dir():
        raise ConfigError("is a folder, not a file", file=path, hint=_nearby(path))
    if not path.exists():
        raise ConfigError("no such file", file=path, hint=_nearby(path.parent))
    if not path.is_file():
        raise ConfigError("is not a regular file", file=path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"is larger than {MAX_BYTES:,} bytes, which no card is", file=path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8 text", file=path, line=line) from error


def _nearby(folder: Path) -> str | None:
    """What else there is, for somebody who mistyped a path."""
    if not folder.is_dir():
        return f"the folder {folder} does not exist either"
    names = sorted(p.name for p in folder.iterdir() if p.suffix in (".yaml", ".yml"))[:10]
    return f"there is: {', '.join(names)}" if names else f"{folder} holds no .yaml file"


_BRACES = 'a value that holds {{ }} stands in quotes: task: "{{ what }}"'


def _mending(what: str, line: str) -> str | None:
    """What is probably meant where a line is no YAML."""
    if "'\\t'" in what:
        return "indent with spaces, not tabs"
    if "{{" in line:
        return _BRACES
    if "mapping values are not allowed" in what or "expected" in what:
        return "indent it like its neighbours; text that holds ': ', braces or commas in braces stands in quotes"
    return None


def _compose(text: str, path: Path) -> Node:
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        line = "".join(text.splitlines()[mark.line : mark.line + 1]) if mark else ""
        hint = _mending(what, line)
        raise ConfigError(f"is not YAML: {what}", file=path, line=mark and mark.line + 1, hint=hint) from error
    except RecursionError as error:
        raise ConfigError("is nested too deeply", file=path) from error
    except Exception as error:  # on odd input ruamel lets its own ValueError, KeyError … through
        raise ConfigError(f"is not YAML: {' '.join(str(error).split())}", file=path) from error
    if node is None:
        raise ConfigError("is empty", file=path, line=1)
    return node


@dataclass
class _Tree:
    """Turns nodes into plain values and remembers the line of every one."""

    file: Path
    lines: dict[_Path, int] = field(default_factory=dict)
    values: int = 0

    def plain(self, node: Node, at: _Path = (), line: int | None = None) -> Any:
        """dict, list, str, int, float, bool or None."""
        self.lines[at] = line or node.start_mark.line + 1
        self.values += 1
        if self.values > MAX_VALUES or len(at) > MAX_DEPTH:
            raise self._error(node, "has too many values or levels once its aliases are expanded")
        if isinstance(node, MappingNode):
            self._known(node, "map")
            return dict(self._items(node, at))
        if isinstance(node, SequenceNode):
            self._known(node, "seq")
            return [self.plain(item, (*at, i)) for i, item in enumerate(node.value)]
        return self._scalar(node)

    def line(self, location: _Path) -> int:
        """Where the value stands; for one that is missing, where its parent does."""
        while location not in self.lines:
            location = location[:-1]
        return self.lines[location]

    def _items(self, node: MappingNode, at: _Path) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode) or key.tag == f"{_TAG}merge":
                raise self._error(key, "a key must be plain text", _BRACES if isinstance(key, MappingNode) else None)
            if key.value in seen:
                raise self._error(key, f"'{key.value}' is already set in line {seen[key.value]}")
            seen[key.value] = line
            yield key.value, self.plain(value, (*at, key.value), line)

    def _scalar(self, node: Node) -> Any:
        kind = self._known(node, "null", "bool", "int", "float", *_TEXT)
        if kind in _TEXT:
            return node.value
        try:
            return YAML(typ="safe", pure=True).constructor.construct_object(node)
        except (ValueError, KeyError) as error:
            raise self._error(node, f"'{node.value[:40]}' is not a {kind}") from error

    def _known(self, node: Node, *kinds: str) -> str:
        kind = (node.tag or "").removeprefix(_TAG)
        if kind not in kinds:
            raise self._error(node, f"the tag '{kind}' is not allowed")
        return kind

    def _error(self, node: Node, message: str, hint: str | None = None) -> ConfigError:
        return ConfigError(message, file=self.file, line=node.start_mark.line + 1, hint=hint)


def _untagged(location: _Path) -> _Path:
    """Without the names of the classes that pydantic chose among: they stand in no file."""
    return tuple(part for part in location if not _is_tag(part))


def _is_tag(part: str | int) -> bool:
    return isinstance(part, str) and part.startswith("<")


def _field(location: _Path) -> str:
    """`("handoffs", 0, "to")` as people write it: `handoffs[0].to`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _explain(details: ErrorDetails, model: type[BaseModel]) -> str:
    """What pydantic found wrong, in the words of a card: what is expected, what is there, what is near."""
    *parent, name = details["loc"] or ("",)
    kind, value = details["type"], details["input"]
    fields = _fields(model, parent)
    if kind == "missing":
        meaning = fields.get(str(name))
        return f"is missing ({meaning})" if meaning else "is missing"
    if kind == "extra_forbidden":
        return unknown("field", str(name), fields)
    if kind == "value_error":
        return details["msg"].removeprefix("Value error, ")
    if kind == "model_type":
        return f"should be a mapping with the fields {', '.join(_fields(model, details['loc']))}, found {_show(value)}"
    should = re.sub(r"^\w+ (?=should)", "", details["msg"])
    should = _PLAIN.get(kind, should)
    if kind.endswith("_kind") and isinstance(value, dict):  # one of several kinds, told apart by their fields
        return f"{should}; found {', '.join(map(str, value)) or 'none'}"
    quotes = "; put it in quotes" if kind == "string_type" and isinstance(value, int | float) else ""
    return f"{should}, found {_show(value)}{quotes}"


_PLAIN = {
    "dict_type": "should be a mapping, as `name: …`",
    "tuple_type": "should be a list, as [a, b]",
    "string_type": "should be text",
}
"""Pydantic's words for Python's types, in YAML's."""


def _fields(model: type[BaseModel], location: list[str | int] | _Path) -> dict[str, str | None]:
    """The fields that may stand at `location`, with what they mean."""
    choice = [model]
    for part in location:
        if _is_tag(part):
            model = next((one for one in choice if f"<{one.__name__}>" == part), model)
            continue
        info = model.model_fields.get(str(part)) or model.model_fields.get("root")
        choice = list(_models(info.annotation)) if info else choice
        model = (choice or [model])[0] if info else model
    named = model.model_fields.items()
    return {info.alias or info.serialization_alias or name: info.description for name, info in named}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The card classes inside an annotation such as `list[HandoffCard] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = str(value)
    text = text if len(text) <= 60 else f"{text[:60]}…"
    return f"'{text}'" if isinstance(value, str) else f"the number {text}"
