"""`metier serve`: the team over HTTP, until it is told to end."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..core.errors import InputError, MissingExtra
from .accounts import may_have_users, open_accounts
from .ask import open_team
from .options import ME, TeamFolder, User, blueprint_of, command_line
from .running import announced

_DRAIN = 30.0
"""Seconds that tasks may go on when the server is told to end."""


def serve(
    team: TeamFolder = Path(),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 8321,
    workers: Annotated[int, typer.Option(min=1, help="Tasks that are worked on at the same time.")] = 8,
    queue: Annotated[int, typer.Option(min=0, help="Tasks that may wait; more are sent away (429).")] = 64,
    webhook_host: Annotated[
        list[str] | None, typer.Option(help="Host of the local network that webhooks may reach; again for more.")
    ] = None,
) -> None:
    """Serve the team: a chat page, an OpenAI-compatible API and more, until Ctrl-C."""
    try:
        import uvicorn

        from .http.app import create_app
    except ImportError as error:
        raise MissingExtra(error.name or "fastapi", "serve") from None
    _check_host(host, team)
    with _listen(host, port) as listening, open_team(team) as opened:
        app = create_app(opened, workers=workers, queue=queue, drain_seconds=_DRAIN, webhook_hosts=webhook_host or ())
        url = f"http://{_shown(host)}:{listening.getsockname()[1]}"
        console = Console(stderr=True)
        console.print(f"[bold]{opened.card.name}[/] at {url}/ · API {url}/v1 · Ctrl-C ends", highlight=False)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=int(_DRAIN) + 10)
        # uvicorn ends in its own time and raises the signal once more then: that must still close the team.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
        listening.listen()  # who finds the server now waits for it, and is not refused
        with announced(opened.blueprint.root, url) as app.state.instance:
            uvicorn.Server(config).run(sockets=[listening])


def _check_host(host: str, team: Path) -> None:
    """A server that others can reach needs to know them.

    Raises:
        InputError: nobody was added.
    """
    from .http.access import is_loopback

    if is_loopback(host):
        return
    plan = blueprint_of(team)
    if may_have_users(plan):
        with closing(open_accounts(plan)) as accounts:
            if accounts:
                return
    raise InputError(
        f"others could reach {host}, and this team has no users: whoever came would be let in",
        hint=f"{command_line('users', 'add', 'NAME', team=team)}; or leave --host out, for this machine alone",
    )


def mcp(team: TeamFolder = Path(), user: User = ME) -> None:
    """Serve the team as an MCP server on standard input and output, for a host that starts it."""
    try:
        from .mcp_server import ask_directly, mcp_server
    except ImportError as error:
        raise MissingExtra(error.name or "mcp", "mcp") from None
    with open_team(team, quiet=True) as opened:
        mcp_server(opened, lambda question, ctx: ask_directly(opened, question, ctx, user)).run("stdio")


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """The socket, bound before the team is loaded: a port that is taken is said at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise InputError(
                f"cannot listen on {host}:{port}: {error.strerror}", hint="--port 0 takes a free one"
            ) from error
        yield listening


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
