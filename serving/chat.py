"""`metier chat`: a conversation on the terminal, with the lines of earlier ones at hand."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from rich.console import Console
from rich.markup import escape

from ..core.errors import InputError, MetierError, StateError, unknown
from .ask import ConversationName, decided, open_team, show_answer, work_on
from .options import ME, TeamFolder, User, command_line

if TYPE_CHECKING:
    from ..agents.team import Team

_PROMPT = "› "
_LINES = 500
"""Lines of earlier conversations that the arrow keys bring back."""
_LINE = "line"
"""The kind of record that a typed line is: it belongs to its user and is erased with everything else of them."""


class _Command(NamedTuple):
    """What can be typed beside questions."""

    does: str
    run: Callable[[_Chat, str], None]


def chat(team: TeamFolder = Path(), thread: ConversationName = None, user: User = ME) -> None:
    """Talk with the team; it remembers what was said before. End with Ctrl-D or /quit; Ctrl-C drops a question."""
    console = Console()
    with open_team(team) as opened, _lines(opened, user) as keep:
        talk = _Chat(opened, console, thread or _new_thread(), user, keep)
        people = ", ".join(opened.specialists)
        console.print(f"[bold]{opened.card.name}[/] · {people} · thread {talk.thread}", highlight=False)
        console.print("[dim]@name asks one of them directly, /help says what else there is[/]", highlight=False)
        while talk.goes_on:
            with suppress(KeyboardInterrupt):  # once more, while the first is being answered
                talk.turn()
    later = command_line("chat", "--thread", talk.thread, team=team)
    console.print(f"[dim]go on later: {escape(later)}[/]", highlight=False, soft_wrap=True)


def _new_thread() -> str:
    return f"chat-{uuid4().hex[:8]}"


class _Chat:
    """One conversation after another, until it is ended."""

    def __init__(self, team: Team, console: Console, thread: str, user: str, keep: Callable[[str, str], None]) -> None:
        self.team, self.console, self.thread, self.user = team, console, thread, user
        self.goes_on = True
        self._keep = keep

    def turn(self) -> None:
        """Read a line and do what it says."""
        try:
            line = _read(self.console)
            if line is None:
                self.goes_on = False
            elif line.startswith("/"):
                self._command(line)
            elif line:
                self._ask(line)
        except KeyboardInterrupt:
            self.console.print("\n[dim]dropped; /quit ends the chat[/]", highlight=False)
        except MetierError as error:
            self.console.print(f"[red]{escape(str(error))}[/]", highlight=False, soft_wrap=True)

    def _command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        command = _COMMANDS.get(name)
        if command is None:
            raise InputError(unknown("command", name, _COMMANDS), hint="/help")
        command.run(self, rest.strip())

    def _ask(self, line: str) -> None:
        self._keep(line, self.thread)
        try:
            answer = decided(self.team, work_on(self.team, line, self.thread, None, self.user))
        except KeyboardInterrupt:
            self.team.threads.drop(self.thread)
            raise
        show_answer(self.console, answer)

    def say(self, text: str) -> None:
        """A quiet line of ours."""
        self.console.print(f"[dim]{escape(text)}[/]", highlight=False, soft_wrap=True)

    def help(self, rest: str) -> None:
        """`/help`."""
        width = max(map(len, _COMMANDS))
        for name, command in _COMMANDS.items():
            self.say(f"{name:{width}}  {command.does}")
        self.say(f"{'@name':{width}}  asks that specialist: @{next(iter(self.team.specialists))} …")
        self.say("Ctrl-C drops a question, Ctrl-D ends; the arrow keys bring back earlier lines, Tab completes")

    def who(self, rest: str) -> None:
        """`/who`."""
        for name, person in self.team.specialists.items():
            self.console.print(
                f"[bold]{escape(name)}[/]  {escape(person.card.description)}", highlight=False, soft_wrap=True
            )

    def new(self, rest: str) -> None:
        """`/new`."""
        self.thread = _new_thread()
        self.say(f"new thread {self.thread}")

    def quit(self, rest: str) -> None:
        """`/quit`."""
        self.goes_on = False


_COMMANDS = {
    "/help": _Command("what can be typed here", _Chat.help),
    "/who": _Command("who is on the team, and for what", _Chat.who),
    "/new": _Command("begin afresh: nothing of before is referred to", _Chat.new),
    "/quit": _Command("end the chat", _Chat.quit),
}


def _read(console: Console) -> str | None:
    """A line; None when there are no more."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return line.strip() if line else None
    # Only with `input` itself does line editing know how long the prompt is; what shows nothing is put in brackets.
    colour = console.color_system is not None and not _is_libedit()
    try:
        return input(f"\001\033[1;36m\002{_PROMPT}\001\033[0m\002" if colour else _PROMPT).strip()
    except EOFError:
        return None


# Editing, completion, and the lines of before.


def _readline() -> Any:
    try:
        import readline
    except ImportError:  # Windows: its terminals edit lines by themselves
        return None
    return readline


def _is_libedit() -> bool:
    return "libedit" in (getattr(_readline(), "__doc__", None) or "")


@contextmanager
def _lines(team: Team, user: str) -> Iterator[Callable[[str, str], None]]:
    """Line editing with the user's earlier lines; gives what keeps a new one, with the thread that it belongs to."""
    editor = _readline() if sys.stdin.isatty() else None
    if editor is None:
        yield lambda line, thread: None
        return
    _completes(editor, [*_COMMANDS, *(f"@{name}" for name in team.specialists)])
    with _kept(team, user, editor) as keep:
        yield keep


@contextmanager
def _kept(team: Team, user: str, editor: Any) -> Iterator[Callable[[str, str], None]]:
    from ..memory.open import open_records
    from ..memory.store import Owner

    try:
        kept = team.card.memory.checkpoints
        records = open_records("sqlite" if kept == "none" else kept, team.blueprint.state)
    except (StateError, OSError):  # a disk that cannot be written: the lines are there for this chat
        yield lambda line, thread: None
        return
    owner = Owner(user)
    with closing(records):
        old = records.list(_LINE, owner)
        for record in reversed(old[:_LINES]):
            editor.add_history(record.body["text"])
        for record in old[_LINES:]:
            records.delete(_LINE, record.id)

        def keep_line(line: str, thread: str) -> None:
            records.put(_LINE, uuid4().hex, owner, {"text": line}, thread_id=thread)

        yield keep_line


def _completes(editor: Any, words: list[str]) -> None:
    """Tab completes a command or a name at the beginning of a line."""

    def complete(text: str, number: int) -> str | None:
        begun = editor.get_line_buffer().lstrip()
        fitting = [f"{word} " for word in words if word.startswith(begun)] if begun == text else []
        return fitting[number] if number < len(fitting) else None

    editor.set_completer(complete)
    editor.set_completer_delims(" \t\n")
    editor.parse_and_bind("bind ^I rl_complete" if _is_libedit() else "tab: complete")
    atexit.register(editor.set_completer, None)
