"""`metier ask` and `metier chat`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBars

from ..core.errors import InputError, MetierError, StateError
from ..core.run import Event, Progress
from ..core.types import Answer, Citation

if TYPE_CHECKING:
    from ..agents.team import Team
    from ..agents.threads import Threads
    from ..tools.policy import Action, ApprovalRequest, Decision


# A person's decisions about calls that wait: shown, asked for on a terminal, read from words.


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


# Answers for people: text, who said it, how sure, and where it stands.


def show_answer(console: Console, answer: Answer) -> None:
    """Print an answer with its specialist, citations, confidence and seconds."""
    style = "bold" if answer.kind == "answer" else "yellow"
    console.print(f"[{style}]{escape(answer.text)}[/]", highlight=False)
    for citation in answer.citations:
        console.print(f"  [green]“{escape(shorten(citation.context or citation.quote))}”[/]", highlight=False)
        console.print(f"  [cyan]{escape(place(citation))}[/]", highlight=False)
    console.print(f"  [dim]{escape(signature(answer))}[/]", highlight=False)


def place(citation: Citation) -> str:
    """File, page and section of a citation.

    >>> place(Citation(source="filler.pdf", quote="x", start=0, end=1, page=3, heading=("Filler", "Lubrication")))
    'filler.pdf, page 3 › Filler › Lubrication'
    """
    page = f", page {citation.page}" if citation.page else ""
    return f"{citation.source}{page}{''.join(f' › {h}' for h in citation.heading)}"


def signature(answer: Answer) -> str:
    """One line: who, how sure, how long, and what happened on the way."""
    parts = []
    if answer.specialist and answer.kind == "answer":
        path = " → ".join(answer.handoffs) if answer.handoffs else answer.specialist
        parts.append(f"{path}@{answer.version}" if answer.version else path)
        parts.append(f"{answer.confidence:.0%} sure")
    elif answer.kind == "waiting":
        parts.append(f"metier approve {answer.thread_id}")
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


TeamFolder = Annotated[
    Path, typer.Option("--team", "-t", envvar="METIER_TEAM", help="Folder with team.yaml.", show_default=True)
]


User = Annotated[str, typer.Option("--user", "-u", envvar="METIER_USER", help="Whose memory is used.")]


ME = "me"
"""The user of a command line that names none: the one person at this machine."""


NOBODY = 5
"""Exit code when the team had no answer."""


MOST_BYTES = 4_000_000
"""Standard input is read up to here; a task is never that long."""


def ask(
    task: Annotated[str | None, typer.Argument(help="The task; left out or '-': read from standard input.")] = None,
    team: TeamFolder = Path(),
    thread: Annotated[str | None, typer.Option(help="Conversation to go on with.")] = None,
    specialist: Annotated[str | None, typer.Option("--specialist", "-s", help="Skip the router, ask this one.")] = None,
    user: User = ME,
    json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
) -> None:
    """Ask the team one thing."""
    text = _stdin() if task in (None, "-") else task
    if not text.strip():
        raise InputError("there is no task", hint='metier ask "How often is the filler greased?"')
    opened = open_team(team, quiet=json)
    with opened:
        answer = _work(opened, text, thread, specialist, user, quiet=json)
        if not json:
            answer = _decided(opened, answer)
    if json:
        print(answer.model_dump_json(indent=2))
    else:
        show_answer(Console(), answer)
    raise typer.Exit({"answer": 0, "waiting": WAITING}.get(answer.kind, NOBODY))


def chat(
    team: TeamFolder = Path(),
    thread: Annotated[str | None, typer.Option(help="Conversation to go on with.")] = None,
    user: User = ME,
) -> None:
    """Talk with the team; it remembers what was said before. End with Ctrl-D or /quit."""
    console = Console()
    name = thread or f"chat-{uuid4().hex[:8]}"
    with open_team(team) as opened:
        people = ", ".join(opened.specialists)
        console.print(f"[bold]{opened.card.name}[/] · {people} · thread {name}", highlight=False)
        console.print("[dim]@name asks one of them directly, /new starts afresh, /quit ends[/]")
        while (text := _prompt(console)) not in (None, "/quit", "/exit"):
            if text == "/new":
                name = f"chat-{uuid4().hex[:8]}"
                console.print(f"[dim]new thread {name}[/]")
            elif text:
                try:
                    show_answer(console, _decided(opened, _work(opened, text, name, None, user)))
                except MetierError as error:
                    console.print(f"[red]{error}[/]", highlight=False, markup=False)
    console.print(f"[dim]go on later: metier chat --thread {name}[/]")


def open_team(folder: Path, *, quiet: bool = False) -> Team:
    """The team in that folder; built first when it never was, with a word when its files have changed since."""
    from ..agents.build import build, changed_since_build
    from ..agents.cards import Blueprint
    from ..agents.team import Team

    pass

    blueprint = Blueprint.read(folder)
    words = Console(stderr=True)
    changed = changed_since_build(blueprint)
    if changed is None:
        with shown(words, quiet=quiet) as progress:
            build(blueprint, progress=progress)
    elif changed and not quiet:
        words.print(f"[yellow]changed since the build: {', '.join(changed[:3])}[/] → metier build -t {folder}")
    with words.status("loading the team …", spinner="dots"):
        return Team.load(blueprint)


def _work(
    team: Team, text: str, thread: str | None, specialist: str | None, user: str, *, quiet: bool = False
) -> Answer:
    """Ask with a live line that says what is going on."""
    words = Console(stderr=True, quiet=quiet)
    with words.status("reading the task …", spinner="dots") as status:

        def follow(event: Event) -> None:
            if event.name in _STATUS:
                status.update(_STATUS[event.name].format(who=event.specialist or "", **_first(event)))

        return team.ask(text, thread_id=thread, specialist=specialist, user=user, emit=follow)


def _decided(team: Team, answer: Answer) -> Answer:
    """The answer after a person at the terminal has decided what it waits for; as it is when nobody sits there."""
    from ..tools.policy import ApprovalRequest

    while answer.kind == "waiting" and sys.stdin.isatty():
        made = ask_decisions(Console(), ApprovalRequest.model_validate(answer.data))
        if made is None:
            break
        answer = team.resume(answer.thread_id, made)
    return answer


_STATUS = {
    "route": "choosing who works on this …",
    "retrieve": "{who} is reading {source} …",
    "handoff": "{who} asks {to} …",
}


def _first(event: Event) -> dict[str, str]:
    passages = event.data.get("passages") or [{"source": "its documents"}]
    return {"source": passages[0]["source"], "to": str(event.data.get("to", ""))}


def _stdin() -> str:
    if sys.stdin.isatty():
        return ""
    data = sys.stdin.buffer.read(MOST_BYTES)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"standard input is not text: byte {data[error.start]:#04x} at {error.start}", hint="pass UTF-8 text"
        ) from error


def _prompt(console: Console) -> str | None:
    try:
        return console.input("[bold cyan]›[/] ").strip()
    except EOFError:
        return None


# `metier approve`: decide about calls that wait for a person.


def approve(
    thread: Annotated[str | None, typer.Argument(help="The conversation; left out: list all that wait.")] = None,
    decisions: Annotated[
        list[str] | None, typer.Argument(metavar="[DECISION]...", help=f"One for each call: {FORMS}.")
    ] = None,
    team: TeamFolder = Path(),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Decide about calls that wait for a person, and let their run go on; without a thread, list them."""
    from ..agents.cards import Blueprint
    from ..agents.threads import open_threads

    threads = open_threads(Blueprint.read(team))
    try:
        if thread is None:
            _list(threads, team, json=json)
            return
        left = threads.unfinished(thread)
    finally:
        threads.close()
    if left is None or not left.questions:
        raise StateError(f"nothing waits in thread '{thread}'", hint=f"metier approve -t {team}")
    console = Console()
    if decisions:
        made = read_decisions(decisions, left.request)
    elif json or not sys.stdin.isatty():
        print(left.request.model_dump_json(indent=2)) if json else show_request(console, left.request)
        raise typer.Exit(WAITING)
    else:
        made = ask_decisions(console, left.request)
        if made is None:
            raise typer.Exit(WAITING)
    with open_team(team, quiet=json) as opened:
        answer = opened.resume(thread, made)
    print(answer.model_dump_json(indent=2)) if json else show_answer(console, answer)
    raise typer.Exit({"answer": 0, "waiting": WAITING}.get(answer.kind, NOBODY))


def _list(threads: Threads, team: Path, *, json: bool) -> None:
    left = {t: threads.unfinished(t.id) for t in threads.list() if t.standing == "waiting"}
    waiting = {t: u.request for t, u in left.items() if u}
    if json:
        rows = [{"thread": t.id, "task": t.task, **r.model_dump(mode="json")} for t, r in waiting.items()]
        print(dumps(rows, indent=2, ensure_ascii=False))
        return
    console = Console()
    for found, request in waiting.items():
        console.print(f"[bold]{escape(visible(found.id))}[/] · {escape(visible(found.task))}", highlight=False)
        show_request(console, request)
    if not waiting:
        console.print("nothing waits")
    else:
        console.print(f"[dim]metier approve -t {team} THREAD[/]", highlight=False)


# Progress bars with an ETA for everything that takes longer than a breath.


@contextmanager
def shown(console: Console, *, quiet: bool = False) -> Iterator[Progress]:
    """A `Progress` that draws one bar for each kind of work it is told of."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars: dict[str, TaskID] = {}
    with ProgressBars(*columns, console=console, disable=quiet, transient=False) as drawn:

        def progress(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = drawn.add_task(what, total=total or None)
            drawn.update(bars[what], completed=done, total=total or None)

        yield progress
