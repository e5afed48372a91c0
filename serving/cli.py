"""The command line. Commands live beside this file, one noun each; errors end here, as words and an exit code.

Exit codes: 0 done · 1 failed · 2 bad input or a wrong file · 3 something is missing on this machine ·
4 denied by policy · 5 nobody on the team had an answer · 6 a person must decide first (75 of a workflow) ·
130 interrupted.
"""

from __future__ import annotations

import codecs
import errno
import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .._version import __version__
from ..core.errors import MetierError
from . import (
    approve,
    ask,
    audit,
    chat,
    doctor,
    knowledge,
    learn,
    memory,
    models,
    operation,
    project,
    registry,
    route,
    serve,
    threads,
    usage,
    users,
    workflow,
)

app = typer.Typer(
    name="metier",
    help="Teams of small specialist agents on your own machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(project.init)
app.command("build")(learn.build)
app.command("ask")(ask.ask)
app.command("chat")(chat.chat)
app.command("approve")(approve.approve)
app.command("serve")(serve.serve)
app.command("mcp")(serve.mcp)
app.add_typer(users.users_app, name="users")
app.add_typer(users.keys_app, name="keys")
app.command("usage")(usage.usage)
app.add_typer(audit.app, name="audit")
app.add_typer(threads.app, name="threads")
app.command("run")(workflow.run)
app.add_typer(workflow.app, name="runs")
app.add_typer(workflow.plans, name="workflow")
app.add_typer(route.app, name="route")
app.command("train")(learn.train)
app.command("feedback")(learn.feedback)
app.add_typer(learn.app, name="examples")
app.command("eval")(learn.evaluate)
app.add_typer(registry.app, name="registry")
app.add_typer(operation.canary_app, name="canary")
app.command("watch")(operation.watch)
app.add_typer(operation.retention_app, name="retention")
app.command("graph")(project.graph)
app.add_typer(knowledge.app, name="knowledge")
app.add_typer(memory.app, name="memory")
app.add_typer(models.app, name="models")
app.command("schema")(project.schema)
app.command("doctor")(doctor.doctor)

_PLAIN = {
    "›": ">", "→": "->", "“": '"', "”": '"', "‘": "'", "’": "'", "·": "-", "–": "-", "—": "-", "…": "...",
    "✓": "+", "✗": "x", "●": "*", "○": "o", "█": "#", "━": "-",
}  # fmt: skip
"""What stands for the characters of our own output on a terminal or in a pipe that cannot say them."""


def run_command() -> None:
    """Run the command line; never shows a traceback unless METIER_DEBUG is set."""
    _say_what_can_be_said()
    if os.environ.get("METIER_DEBUG"):
        app(prog_name="metier")
        return
    try:
        app(prog_name="metier")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader (`| head`) has had enough; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MetierError as error:
        _say(error.message, error.hint)
        sys.exit(error.exit_code)
    except OSError as error:
        full = error.errno == errno.ENOSPC
        mend = "free some space; what was there before is untouched" if full else None
        _say(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", mend)
        sys.exit(1)
    except Exception as error:
        _say(f"unexpected {type(error).__name__}: {error}", "METIER_DEBUG=1 shows where; please report it")
        sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"metier {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _say(message: str, hint: str | None) -> None:
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"[bold red]error:[/] {escape(message)}")
    if hint:
        console.print(f"[dim]→[/] {escape(hint)}")


def _say_what_can_be_said() -> None:
    """A character that the output's encoding lacks becomes a plain one, and never an error."""
    codecs.register_error("metier.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="metier.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end
