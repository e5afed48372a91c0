"""`metier ask`, and `metier approve` for the calls of a task that a person must decide about."""

from __future__ import annotations

import json as jsonlib
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from ..core.errors import InputError
from ..core.types import Answer
from .options import (
    ME,
    AsJson,
    TeamFolder,
    User,
    blueprint_of,
    command_line,
    print_json,
    progress_bars,
    specialist_names,
)
from .running import NotForUs, RunningTeam, find_running

if TYPE_CHECKING:
    from ..agents.team import Team
    from ..core.run import Event
    from ..core.types import Citation, Passage
    from ..tools.policy import Action, ApprovalRequest, Decision

_NOBODY = 5
"""Exit code: the team had no answer."""
WAITING = 6
"""Exit code: a person must decide first."""

_MOST_BYTES = 4_000_000
"""Standard input is read up to here; a task is never that long."""

FORMS = "approve · reject · reject:why · respond:result · edit:{…}"
"""The words of a decision."""

_STATUS = {
    "route": "choosing who works on this …",
    "retrieve": "{who} is reading {source} …",
    "handoff": "{who} asks {to} …",
}
"""What the live line says at an event."""

ConversationName = Annotated[str | None, typer.Option("--thread", help="Conversation to go on with.")]


# The commands.


def ask(
    task: Annotated[str | None, typer.Argument(help="The task; left out or '-': read from standard input.")] = None,
    team: TeamFolder = Path(),
    thread: ConversationName = None,
    specialist: Annotated[
        str | None,
        typer.Option("--specialist", "-s", help="Skip the router, ask this one.", autocompletion=specialist_names),
    ] = None,
    user: User = ME,
    json: AsJson = False,
) -> None:
    """Ask the team one thing."""
    text = _stdin() if task in (None, "-") else task
    if not text.strip():
        raise InputError("there is no task", hint='metier ask "How often is the filler greased?"')
    asked = {"text": text, "thread": thread, "specialist": specialist, "user": user, "json": json}
    if user == ME and (running := find_running(team)):
        with suppress(NotForUs):
            end_with(_asked(running, **asked), json=json)
    with open_team(team, quiet=json) as opened:
        answer = _asked(opened, **asked)
    end_with(answer, json=json)


# A team at work.


def open_team(folder: Path, *, quiet: bool = False) -> Team:
    """The team in that folder; built first when it never was, with a word when its files have changed since."""
    from ..agents.build import build, changed_since_build
    from ..agents.team import Team

    blueprint = blueprint_of(folder)
    console = Console(stderr=True, quiet=quiet)
    changed = changed_since_build(blueprint)
    if changed is None:
        with progress_bars(console, quiet=quiet) as progress:
            build(blueprint, progress=progress)
    elif changed:
        mend = escape(command_line("build", team=folder))
        console.print(f"[yellow]changed since the build: {escape(', '.join(changed[:3]))}[/] → {mend}", highlight=False)
    with console.status("loading the team …", spinner="line"):
        return Team.load(blueprint)


def _asked(
    team: Team | RunningTeam, text: str, thread: str | None, specialist: str | None, user: str, json: bool
) -> Answer:
    answer = work_on(team, text, thread, specialist, user, quiet=json)
    return answer if json else decided(team, answer)


def work_on(
    team: Team | RunningTeam,
    text: str,
    thread: str | None,
    specialist: str | None,
    user: str,
    *,
    quiet: bool = False,
) -> Answer:
    """Ask with a live line that says what is going on."""
    with Console(stderr=True, quiet=quiet).status("reading the task …", spinner="line") as status:

        def follow(event: Event) -> None:
            if event.name in _STATUS:
                passages = event.data.get("passages") or [{"source": "its documents"}]
                names = {"who": event.specialist or "", "source": passages[0]["source"], "to": event.data.get("to", "")}
                status.update(_STATUS[event.name].format(**names))

        with _until_interrupted():
            return team.ask(text, thread_id=thread, specialist=specialist, user=user, emit=follow)


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ctrl-C ends what the team is doing at its next word, not only the waiting for it."""
    from ..core.run import cancellable

    stop = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        stop.set()
        raise KeyboardInterrupt

    with cancellable(stop.is_set):
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread hears of Ctrl-C
            return
        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def decided(team: Team | RunningTeam, answer: Answer) -> Answer:
    """The answer after a person at the terminal has decided what it waits for; as it is when nobody sits there."""
    from ..tools.policy import ApprovalRequest

    while answer.kind == "waiting" and sys.stdin.isatty():
        made = ask_decisions(Console(), ApprovalRequest.model_validate(answer.data))
        if made is None:
            break
        answer = team.resume(answer.thread_id, made)
    return answer


def _stdin() -> str:
    if sys.stdin.isatty():
        return ""
    data = sys.stdin.buffer.read(_MOST_BYTES)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"standard input is not text: byte {data[error.start]:#04x} at {error.start}", hint="pass UTF-8 text"
        ) from error


# Answers for people: text, who said it, how sure, and where it stands.


def end_with(answer: Answer, *, json: bool) -> NoReturn:
    """Print an answer and leave, with the exit code that says what kind of answer it is."""
    if json:
        print_json(answer)
    else:
        show_answer(Console(), answer)
    raise typer.Exit({"answer": 0, "waiting": WAITING}.get(answer.kind, _NOBODY))


def show_answer(console: Console, answer: Answer) -> None:
    """Print an answer with its specialist, citations, confidence and seconds; of what waits, what exactly."""
    from ..tools.policy import ApprovalRequest

    style = "bold" if answer.kind == "answer" else "yellow"
    console.print(f"[{style}]{_still(answer.text)}[/]", highlight=False)
    for citation in answer.citations:
        console.print(f"  [green]“{_still(shorten(citation.context or citation.quote))}”[/]", highlight=False)
        console.print(f"  [cyan]{_still(place(citation))}[/]", highlight=False)
    for citation in answer.evidence:
        console.print(f"  [cyan]{_still(place(citation))}[/]", highlight=False)
        console.print(f"    {_marked(citation)}", highlight=False)
    if answer.kind == "waiting":
        for action in ApprovalRequest.model_validate(answer.data).action_requests:
            show_arguments(console, action)
    console.print(f"  [dim]{escape(_signature(answer))}[/]", highlight=False)


_MOVES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys instead of showing it: escape sequences, and marks that turn the text around."""


def _still(text: str) -> str:
    """Text from documents for the console: it neither styles nor moves anything."""
    return escape(_MOVES.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def _marked(citation: Citation) -> str:
    """The words around a likely sentence, and the sentence marked."""
    before, quote, after = citation.context.partition(citation.quote)
    near = (_still(" ".join(before.split())[-80:]), _still(shorten(quote)), _still(" ".join(after.split())[:80]))
    return "…{} [yellow]»{}«[/] {}…".format(*near)


def place(found: Citation | Passage) -> str:
    """File, page and section of a citation or a passage.

    >>> from metier.core.types import Citation
    >>> place(Citation(source="filler.pdf", quote="x", start=0, end=1, page=3, heading=("Filler", "Lubrication")))
    'filler.pdf, page 3 › Filler › Lubrication'
    """
    page = f", page {found.page}" if found.page else ""
    return " › ".join((f"{found.source}{page}", *found.heading))


def _signature(answer: Answer) -> str:
    """One line: who, how sure, how long, and what happened on the way."""
    parts = []
    if answer.specialist and answer.kind == "answer":
        path = " → ".join(answer.handoffs) if answer.handoffs else answer.specialist
        parts.append(f"{path}@{answer.version}" if answer.version else path)
        parts.append(f"{answer.confidence:.0%} sure")
    elif answer.kind == "waiting":
        parts.append(command_line("approve", answer.thread_id))
    elif answer.reason:
        parts.append(answer.reason)
    parts += [f"{name}: {did}" for name, did in answer.guards.items()]
    if "total" in answer.timings:
        parts.append(f"{answer.timings['total']:.2f} s")
    return " · ".join(parts)


def shorten(text: str, most: int = 220) -> str:
    """One line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def visible(text: str) -> str:
    """The text with everything that does not show itself written out.

    >>> visible("pay" + chr(27) + "[2J")
    'pay\\\\u001b[2J'
    """
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


# Calls that wait for a person: shown, asked about on a terminal, decided in words.


def show_request(console: Console, request: ApprovalRequest) -> None:
    """Print what waits, and why. Nothing in the arguments can move the cursor or turn the text around."""
    for number, action in enumerate(request.action_requests, 1):
        console.print(f"[bold]{number}. {escape(visible(action.name))}[/]", highlight=False)
        show_arguments(console, action)
        console.print(f"   [dim]{escape(visible(action.description))}[/]", highlight=False)


def show_arguments(console: Console, action: Action) -> None:
    """Print what a call would be made with, a line for each argument."""
    for name, value in action.args.items():
        shown = jsonlib.dumps(value, ensure_ascii=False)
        console.print(f"     {escape(visible(name))}: {escape(visible(shown))}", highlight=False, soft_wrap=True)


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
                made.append(_read_one(text, action))
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
    return [_read_one(text, action) for text, action in zip(words, actions, strict=True)]


def _read_one(text: str, action: Action) -> Decision:
    """`approve`, `reject`, `reject:why`, `respond:result`, or `edit:` with the call's arguments as JSON."""
    from ..tools.policy import decision

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


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = jsonlib.loads(text)
    except jsonlib.JSONDecodeError as error:
        raise InputError(f"the arguments are not JSON: {error}", hint='edit:{"order": "8"}') from None
    if not isinstance(arguments, dict):
        raise InputError("the arguments are not an object", hint='edit:{"order": "8"}')
    return arguments
