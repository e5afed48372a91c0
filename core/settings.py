"""Where things live and how much of the machine may be used. Read from the environment, once per call."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from .errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """Settings of this process; see `settings()`."""

    home: Path
    """Models and the user's catalogue (`METIER_HOME`)."""
    threads: int
    """The one thread budget: engine, embedder and trainer each stay within it (`METIER_THREADS`)."""


def settings() -> Settings:
    """The settings in force now.

    Raises:
        ConfigError: `METIER_THREADS` is not a positive whole number.
    """
    home = os.environ.get("METIER_HOME") or platformdirs.user_cache_dir("metier")
    asked = os.environ.get("METIER_THREADS")
    if asked is not None and (not asked.isdigit() or int(asked) < 1):
        raise ConfigError(f"METIER_THREADS is '{asked}', not a positive whole number", hint="export METIER_THREADS=2")
    return Settings(home=Path(home).expanduser(), threads=int(asked) if asked else available_cores())


def available_cores() -> int:
    """Cores this process may use (containers and `taskset` count)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> float | None:
    """Bytes that may be used: what the system has free, or what is left of the container's limit; None: unknown."""
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    path = Path("/proc/meminfo")
    if not path.is_file():
        return None
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    free = int(lines["MemAvailable"].split()[0]) * 1024.0
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


def secret_value(value: str, field: str = "") -> str:
    """A card's value, read from the variable where it says `env:NAME`: no password has to stand in a card.

    Raises:
        ConfigError: the variable is not set.
    """
    if not value.startswith("env:"):
        return value
    name = value.removeprefix("env:")
    if not os.environ.get(name):
        raise ConfigError(f"the variable {name} is not set", field=field, hint=f"export {name}=…")
    return os.environ[name]
