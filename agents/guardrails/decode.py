"""Text that hides in base64, hexadecimal or binary, written out, so that the same checks can read it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/]{20,}={0,2}(?![A-Za-z0-9+/=])")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{2}[ ]?){12,}(?![0-9A-Za-z])")
_BINARY = re.compile(r"(?:[01]{8}\s*){6,}")
_READABLE = re.compile(r"(?:[A-Za-z]{2,}\W+){2,}[A-Za-z]{2,}")
MAX_RUNS = 20
"""Runs looked at in one text: a file full of keys must not cost seconds."""


def hidden_texts(text: str) -> Iterator[str]:
    """Each run of code in the text that turns out to be words."""
    for pattern, decode in ((_BASE64, _base64), (_HEX, _hex), (_BINARY, _binary)):
        for count, run in enumerate(pattern.finditer(text)):
            if count >= MAX_RUNS:
                break
            found = decode(run[0])
            if found and _READABLE.search(found):
                yield found


def _base64(run: str) -> str:
    body = run.rstrip("=")
    try:
        return _ascii(base64.b64decode(body + "=" * (-len(body) % 4), validate=True))
    except (binascii.Error, ValueError):
        return ""


def _hex(run: str) -> str:
    digits = run.replace(" ", "")
    return _ascii(bytes.fromhex(digits[: len(digits) // 2 * 2]))


def _binary(run: str) -> str:
    digits = "".join(run.split())
    return _ascii(bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits) // 8 * 8, 8)))


def _ascii(data: bytes) -> str:
    """The text, or nothing when it is not plain printable text."""
    text = data.decode("ascii", errors="replace")
    return text if sum(c.isprintable() or c.isspace() for c in text) > 0.9 * len(text) and "\ufffd" not in text else ""
