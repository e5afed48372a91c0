"""`metier chat`: piped, and on a terminal as a person types into it."""

from __future__ import annotations

import codecs
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from metier.agents.cards import Blueprint
from metier.agents.erasure import Scope, erase
from metier.memory.records import RECORDS_FILE, Records
from metier.memory.store import Owner
from metier.serving.options import ME
from metier.tests.conftest import Run
from metier.tests.patience import PATIENCE


def test_it_remembers_and_ends_with_the_input(run: Run, office: Path) -> None:
    asked = b"@helpdesk Which network do guests use?\n/new\n\n/help\n/who\n/nwe\n"
    code, out, _ = run("chat", "-t", office, stdin=asked)
    assert code == 0
    assert "helpdesk@" in out
    assert "new thread" in out
    assert "/quit  end the chat" in out
    assert "did you mean '/new'" in out
    assert "travel  " in out
    assert "go on later: metier chat --thread chat-" in out
    assert "\x1b" not in out
    assert "› " not in [line[:2] for line in out.splitlines()], "a pipe needs no prompt"


class Terminal:
    """A person at a pseudo-terminal."""

    def __init__(self, master: int, chat: subprocess.Popen[bytes]) -> None:
        self.master, self.chat, self.seen = master, chat, ""
        # What is typed is echoed byte by byte: a character may come in two readings.
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def comes(self, text: str, seconds: float = PATIENCE) -> bool:
        """Read on until the text is there; False when it does not come in that time."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            if not select.select([self.master], [], [], max(0.0, end - time.monotonic()))[0]:
                return False
            self.seen += self.decoder.decode(os.read(self.master, 65536))
        return True

    def until(self, text: str) -> str:
        """Read on until the text is there; gives what came before it."""
        assert self.comes(text), f"{text!r} does not come, only {self.seen!r}"
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C until it is seen."""
        self.press(lambda: self.chat.send_signal(signal.SIGINT), "dropped")

    def end(self) -> None:
        """Press Ctrl-D at the prompt until it is seen."""
        self.until("›")
        self.press(lambda: self.type("\x04"), "go on later")

    def press(self, key: Callable[[], object], answer: str) -> None:
        """Press a key again and again until it is answered: CPython shows the prompt a moment before it listens."""
        for seconds in (3, 10, 30, 90):
            time.sleep(0.3)
            key()
            if self.comes(answer, seconds):
                break
        self.until(answer)


def _interruptible() -> None:
    # What starts the tests in the background may have taught them to ignore Ctrl-C, which children inherit.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def terminal(*words: object) -> Iterator[Terminal]:
    import pty

    command = [sys.executable, "-m", "metier", *map(str, words)]
    master, slave = pty.openpty()
    there = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=there,
        start_new_session=True,
        preexec_fn=_interruptible,
    ) as chat:
        os.close(slave)
        try:
            yield Terminal(master, chat)
        except BaseException:
            chat.kill()  # otherwise it would be waited for
            raise
    os.close(master)


UP, TAB, LEFT = "\x1b[A", "\t", "\x1b[D"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_ctrl_c_drops_the_question_and_keys_edit_lines(copy: Path) -> None:
    with terminal("chat", "-t", copy, "--thread", "mine") as person:
        person.until("›")
        person.interrupt()
        person.type("@helpdesk Which network do guests use?\n")
        person.until("helpdesk@")
        person.until("›")
        person.type("After how many hours does the VPN disconnect?\n")
        person.until("reading")
        person.interrupt()
        person.until("›")
        person.type(f"/hel{TAB}\n")
        person.until("what can be typed here")
        person.until("›")
        person.type(f"@hel{TAB}Which network do gests use?{LEFT * 9}u\n")
        person.until("helpdesk@")
        person.until("›")
        person.type(f"{UP}{UP}{UP}\n")  # past the line before and /help, to the question that was dropped
        person.until("After how many hours does the VPN disconnect?")
        person.until("›")
        person.type("/quit\n")
        person.until("go on later")
    assert person.chat.returncode == 0
    plan = Blueprint.read(copy)
    records = Records(plan.state / RECORDS_FILE)
    typed = [record.body["text"] for record in reversed(records.list("line", Owner(ME)))]
    records.close()
    guests, vpn = "@helpdesk Which network do guests use?", "After how many hours does the VPN disconnect?"
    assert typed == [guests, vpn, guests, vpn]
    with terminal("chat", "-t", copy) as person:
        person.until("›")
        person.type(UP)
        person.until("After how many hours does the VPN disconnect?")
        person.interrupt()
        person.end()
    assert person.chat.returncode == 0
    erase(plan, Scope(Owner(ME)))
    with closing(Records(plan.state / RECORDS_FILE)) as left:
        assert left.list("line", Owner(ME)) == [], "what was typed belongs to whoever typed it"


def test_a_dropped_question_leaves_the_conversation_as_it_was(tmp_path: Path) -> None:
    from metier.tests.shop import open_shop

    with open_shop(tmp_path) as team:
        team.ask("clerk: please look(1) for me", thread_id="t")
        team.ask("clerk: mail(7) then pay(7)", thread_id="t")
        assert team.threads.unfinished("t") is not None
        team.threads.drop("t")
        [left] = team.threads.list()
        assert (left.id, left.standing, left.turns, left.task) == ("t", "answered", 1, "clerk: please look(1) for me")
        team.threads.drop("t")
        assert team.threads.list() == [left], "an answered one stays"
        team.ask("clerk: mail(7) then pay(7)", thread_id="u")
        team.threads.drop("u")
        assert [thread.id for thread in team.threads.list()] == ["t"]
        assert team.ask("clerk: look(2)", thread_id="t").kind == "answer"


def test_documents_cannot_move_the_cursor(run: Run) -> None:
    from rich.console import Console

    from metier.core.types import Answer, Citation
    from metier.serving.ask import show_answer

    quote = "pay\x1b[2Jnow\u202e"
    answer = Answer(text=f"[red]{quote}", citations=(Citation(source="a\x07.md", quote=quote, start=0, end=1),))
    with Console(force_terminal=True, color_system=None).capture() as captured:
        show_answer(captured._console, answer)  # pyright: ignore[reportPrivateUsage]
    shown = captured.get()
    assert not re.search("[\x1b\x07\u202e]", shown)
    assert "[red]pay\\u001b[2Jnow" in shown
