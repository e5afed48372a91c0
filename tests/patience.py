"""How long tests wait: nobody sleeps for a while and hopes, they look until it is so. A busy machine is no finding."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable
from typing import TypeVar

import httpx

_Found = TypeVar("_Found")

PATIENCE = 180.0
"""Seconds after which something that takes less than one on a quiet machine will not come any more."""


def until(found: Callable[[], _Found | None], *, pause: float = 0.02, seconds: float = PATIENCE) -> _Found:
    """Ask again and again until the answer is true; gives that answer.

    Args:
        found: What is asked.
        pause: Seconds between two times.
        seconds: When to give up.

    Raises:
        AssertionError: It did not become true.
    """
    end = time.monotonic() + seconds
    while True:
        late = time.monotonic() > end  # asked once more afterwards: the machine may have slept meanwhile
        if answer := found():
            return answer
        assert not late, f"not within {seconds:.0f} s: {answer!r}"
        time.sleep(pause)


def be_patient() -> None:
    """Let nobody's client give up after the 5 or 10 seconds that httpx and the Hub take where nothing else is said."""
    os.environ.update(dict.fromkeys(("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"), f"{PATIENCE:.0f}"))
    usual = inspect.signature(httpx.Client).parameters["timeout"].default
    usual.connect = usual.read = usual.write = usual.pool = PATIENCE
