"""The `metier` command, also as `python -m metier`. Says in words what a half-finished installation lacks."""

from __future__ import annotations

import gc
import sys

_OBJECTS = 100_000
"""New objects between two looks for garbage: loading libraries makes a million that stay, and looking at them again and
again takes a quarter of the time that a command needs to start."""


def main() -> None:
    """Run the command line; exit code 3 when one of its own libraries is missing or broken."""
    gc.set_threshold(_OBJECTS, 50, 50)
    try:
        from .serving.cli import run_command
    except ImportError as error:
        sys.exit(_broken(error))
    run_command()


def _broken(error: ImportError) -> int:
    where = "" if error.name is None else f" ({error.name})"
    print(f"error: a library of metier cannot be loaded{where}: {error}", file=sys.stderr)
    print("→ pip install --force-reinstall metier", file=sys.stderr)
    return 3


if __name__ == "__main__":
    main()
