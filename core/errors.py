"""Every error that metier raises on purpose.

    MetierError
    ├── InputError              the task itself: empty, too long, not text
    ├── ConfigError             a card or team file; names file, line and field
    ├── MissingExtra            an optional dependency; names the pip line
    ├── ModelError
    │   ├── UnknownModel        no such name in the catalogue
    │   ├── ModelNotPulled      known, but not in the cache
    │   ├── PullFailed          the source could not be read (retryable)
    │   └── IntegrityError      a file is not the one that was promised
    ├── EngineError
    │   ├── UnknownAdapter      llama.cpp would silently answer with the base: we refuse
    │   └── ContextOverflow     the prompt does not fit the window
    ├── KnowledgeError
    │   └── UnreadableDocument  a file that is not what its name says
    ├── RouterError             not fitted, or fitted for another team
    ├── ToolError
    │   ├── ToolDenied          the policy said no
    │   └── ToolUnreachable     a server that its tools come from does not answer (retryable)
    ├── BudgetExceeded          steps, tokens, seconds or hand-offs are used up
    └── StateError              a saved thread or build that cannot be read

A message says what was asked, what was found and what is available; `hint` says how to mend it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit


class MetierError(Exception):
    """Base of all. `hint` is the way out, `retryable` says whether the same call may work later."""

    exit_code = 1
    retryable = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message


class InputError(MetierError):
    """The task cannot be worked on as it is."""

    exit_code = 2


class ConfigError(MetierError):
    """A file of the team is wrong. `str(error)` begins with `file:line`."""

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        file: Path | str | None = None,
        line: int | None = None,
        field: str | None = None,
        hint: str | None = None,
    ) -> None:
        place = "" if file is None else f"{file}:{line}: " if line else f"{file}: "
        super().__init__(f"{place}{f'{field}: ' if field else ''}{message}", hint=hint)
        self.file, self.line, self.field = file, line, field


class MissingExtra(MetierError):
    """An optional part is not installed."""

    exit_code = 3

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed", hint=install_line(extra))


class ModelError(MetierError):
    """A model file cannot be had or used."""

    exit_code = 3


class UnknownModel(ModelError):
    """No such name in the catalogue."""


class ModelNotPulled(ModelError):
    """The catalogue knows it, the cache does not hold it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"model '{name}' is not on this machine", hint=f"metier models pull {name}")


class PullFailed(ModelError):
    """The source could not be read."""

    retryable = True


class IntegrityError(ModelError):
    """A file does not have the hash that was promised."""


class EngineError(MetierError):
    """The model's engine refused or failed."""


class UnknownAdapter(EngineError):
    """An adapter that this engine has not loaded."""


class ContextOverflow(EngineError):
    """The prompt is longer than the model's window."""


class KnowledgeError(MetierError):
    """A specialist's retrieval back-end cannot be built or read."""


class UnreadableDocument(KnowledgeError):
    """A document that its own parser refuses."""


class RouterError(MetierError):
    """The router is not fitted, or fitted for other specialists."""


class ToolError(MetierError):
    """A tool failed."""


class ToolDenied(ToolError):
    """The policy does not allow this call."""

    exit_code = 4


class ToolUnreachable(ToolError):
    """What a tool is made of does not answer now: its specialist cannot work, and the others can."""

    retryable = True


class BudgetExceeded(MetierError):
    """The run used up its steps, tokens, seconds or hand-offs."""


class StateError(MetierError):
    """Saved state that cannot be read."""


def unknown(kind: str, asked: str, available: Iterable[str]) -> str:
    """The message for a name that does not exist: what was asked, what there is, what was probably meant.

    >>> unknown("specialist", "saftey", ["safety", "stock"])
    "unknown specialist 'saftey'; available: safety, stock (did you mean 'safety'?)"
    """
    names = sorted(available)
    close = get_close_matches(asked, names, n=1)
    meant = f" (did you mean '{close[0]}'?)" if close else ""
    return f"unknown {kind} '{asked}'; available: {', '.join(names) or 'none'}{meant}"


def install_line(extra: str) -> str:
    """The line that installs an extra from where this metier came from: a checkout, or a wheel."""
    checkout = _checkout()
    if checkout is None:
        return f"pip install 'metier[{extra}]'"
    place = "." if checkout == Path.cwd() else str(checkout)
    return f"pip install -e {shlex.quote(f'{place}[{extra}]')}"


def _checkout() -> Path | None:
    """The folder that pip was told to install in place."""
    try:
        origin = json.loads(metadata.distribution("metier").read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:
        return None
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlsplit(origin["url"]).path))
