"""What a program sees of the calls that a task asks for: its own words in them, and where they end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ....core.text import STOPWORDS
from ....core.types import ToolCall
from ...functions import Function
from .arguments import Utterance, leaves, same_language, spelled, stems, unless_null
from .shown_tools import needs, takes

# Texts that were said word for word, such as the title of a ticket: a small model shortens and retells them.

_QUOTED = re.compile(r"[\"“”„«»]([^\"“”„«»]+)[\"“”„«»]|(?<!\w)['‘]([^'‘’]+)['’](?!\w)")
_PHRASES = frozenset(
    "title subject summary headline name label text message note comment description body content problem issue reason "
    "topic".split()
)
"""Last words of the names of arguments that hold a phrase; others, such as `room`, hold a word or a code."""
_INTRODUCED = r"\b(?:called|named|titled|entitled|saying|(?:with |under )?(?:the |a )?{}(?: is| of| as)?:?)\s+"
_PHRASE_END = re.compile(r"[;.!?](?:\s|$)|,\s|\s(?:with|and|for|under|to|at|by|as|which|that)\s|$")

_SURE_END = re.compile(r"[;.!?](?:\s|$)|,\s|\s(?:with|and|under)\s|$")


def as_said(call: ToolCall, function: Function, task: str) -> ToolCall:
    """The call whose phrases stand as the task has them: quoted ones whole, and others in its spelling.

    Only where it is clear: the one quotation of the task, or a phrase that it introduces (`titled …`) and that the
    model has begun or spelled in another way.
    """
    properties: Mapping[str, Any] = (function.get("parameters") or {}).get("properties", {})
    free = [n for n, v in call.arguments.items() if isinstance(v, str) and _is_phrase(n, properties.get(n, {}))]
    quotations = [next(filter(None, groups)).strip() for groups in _QUOTED.findall(task)]
    said: dict[str, str] = {}
    for name in free:
        value: str = call.arguments[name]
        if value in quotations:
            continue
        if len(quotations) == 1:
            taken = quotations[0] in call.arguments.values()
            alike = len(free) == 1 or bool(stems(quotations[0]) & stems(value))
            said |= {name: quotations[0]} if alike and not taken else {}
        elif text := _introduced(name, value, task) or _spelled_as(value, task):
            said[name] = text
    return call.model_copy(update={"arguments": {**call.arguments, **said}}) if said else call


def _is_phrase(name: str, schema: Mapping[str, Any]) -> bool:
    schema = unless_null(schema)
    restricted = {"enum", "const", "format", "pattern"} & schema.keys()
    return schema.get("type") == "string" and not restricted and bool(_PHRASES & {*spelled(name).split()[-1:]})


def _introduced(name: str, value: str, task: str) -> str:
    """The phrase behind `titled`, `called` or the argument's own name, where the value is a part of it."""
    match = re.search(_INTRODUCED.format(re.escape(spelled(name) or name)), task, re.IGNORECASE)
    if not match or not value.strip():
        return ""
    rest = task[match.end() :]
    begun = rest.lower().startswith(value.lower())
    if not begun and not stems(rest) & stems(value):
        return ""
    end = (_PHRASE_END if begun else _SURE_END).search(rest, len(value) if begun else 0)
    return rest[: end.start() if end else len(rest)].strip()


def _spelled_as(value: str, task: str) -> str:
    """The value as the task spells it; nothing where it does not stand there."""
    at = task.lower().find(value.lower()) if len(value.split()) > 1 else -1
    return task[at : at + len(value)] if at >= 0 else ""


# Is a further call asked for? A small model that has done its task sometimes goes on.

_SEVERAL = re.compile(
    r"\b(and|then|also|afterwards|next|finally|plus|both|each|every|all|as well|und|dann|auch|et|puis|luego)\b"
    r"|[;,.?!]\s+(?=\w)|\n",
    re.IGNORECASE,
)


INVALID = "invalid"
"""Name of what was no call at all."""
_SMALL = stems(" ".join(STOPWORDS))


def is_asked_for(call: ToolCall, function: Function, task: str, calls: Sequence[ToolCall]) -> bool:
    """Whether a later call is: it goes on from what they gave, or is spoken of in a task of several parts.

    After a failure it may be another try with the same function, or with one that the task speaks of.
    """
    last = calls[-1]
    if last.error is not None and last.name in (call.name, INVALID):
        return True
    given = " ".join(c.result for c in calls)
    said, several = Utterance(task), bool(_SEVERAL.search(task)) or last.error is not None
    about = stems(f"{spelled(function['name'])} {function.get('description') or ''}")
    spoken = any(len(word) > 2 for word in (about & said.stems) - _SMALL)
    new = [leaf for leaf in leaves(call.arguments) if len(leaf) > 1 and leaf in given and leaf not in task]
    if new and (spoken or needs(function) or takes(function, given)):
        return True
    return several and (spoken or not same_language(said, function))
