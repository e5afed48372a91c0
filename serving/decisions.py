"""A person's decisions about calls that wait: shown, asked for on a terminal, read from words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from ..core.errors import InputError

if TYPE_CHECKING:
    from ..tools.approval import Action, ApprovalRequest, Decision

WAITING = 6
"""Exit code when a run waits for a person."""
FORMS = "approve · reject · reject:why · respond:result · edit:{…}"
"""The words of a decision."""


def show_request(console: Console, request: ApprovalRequest) -> None:
    """Print what waits, and why. Nothing in the arguments can move the cursor or turn the text around."""
    for number, action in enumerate(request.action_requests, 1):
        console.print(f"[bold]{number}. {escape(visible(action.name))}[/]", highlight=False)
        for name, value in action.args.items():
            shown = json.dumps(value, ensure_ascii=False)
            console.print(f"     {escape(visible(name))}: {escape(visible(shown))}", highlight=False, soft_wrap=True)
        console.print(f"   [dim]{escape(visible(action.description))}[/]", highlight=False)


def ask_decisions(console: Console, request: ApprovalRequest) -> list[Decision] | None:
    """Ask a person about every call; None when the answer is `later`."""
    show_request(console, request)
    made: list[Decision] = []
    for number, action in enumerate(request.action_requests, 1):
        while len(made) < number:
            console.print(f"[dim]{escape(FORMS)} · later[/]", highlight=False)
            try:
                text = console.input(f"[bold cyan]{number}. {escape(visible(action.name))}?[/] ").strip()
            except EOFError:
                return None
            if text == "later":
                return None
            try:
                made.append(read_decision(text, action))
            except InputError as error:
                console.print(f"[red]{escape(error.message)}[/]", highlight=False)
    return made


def read_decisions(texts: Sequence[str], request: ApprovalRequest) -> list[Decision]:
    """One decision for each call, in order; a single `approve` or `reject` is for all of them.

    Raises:
        InputError: a decision cannot be read, or their number is another.
    """
    actions = request.action_requests
    words = list(texts) * len(actions) if len(texts) == 1 and ":" not in texts[0] else list(texts)
    if len(words) != len(actions):
        raise InputError(f"{len(words)} decisions for {len(actions)} calls that wait", hint=FORMS)
    return [read_decision(text, action) for text, action in zip(words, actions, strict=True)]


def read_decision(text: str, action: Action) -> Decision:
    """`approve`, `reject`, `reject:why`, `respond:result`, or `edit:` with the call's arguments as JSON.

    Raises:
        InputError: it is none of these.
    """
    from ..tools.approval import decision

    kind, _, rest = text.partition(":")
    value: dict[str, Any] = {"type": kind.strip()}
    if kind == "edit":
        value["edited_action"] = {"name": action.name, "args": _arguments(rest)}
    elif rest.strip():
        value["message"] = rest.strip()
    try:
        return decision.validate_python(value)
    except ValidationError:
        raise InputError(f"'{visible(text)}' is no decision", hint=FORMS) from None


def visible(text: str) -> str:
    """The text with everything that does not show itself written out.

    >>> visible("pay" + chr(27) + "[2J")
    'pay\\\\u001b[2J'
    """
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"the arguments are not JSON: {error}", hint='edit:{"order": "8"}') from None
    if not isinstance(arguments, dict):
        raise InputError("the arguments are not an object", hint='edit:{"order": "8"}')
    return arguments
