"""Is it text at all, and of a size that can be worked on? Invisible and control characters are taken out."""

from __future__ import annotations

import re

from .verdict import GuardContext, Verdict, passed, redacted, refused

MAX_CHARACTERS = 32_000
"""About 8,000 tokens: the largest budget of a run."""
MAX_BROKEN = 0.05
"""Share of characters that cannot be text, above which the input counts as binary."""

_BROKEN = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd\ud800-\udfff]")
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters, direction overrides, zero-width spaces and tag characters, which hide text from people's eyes.
Joiners (U+200C, U+200D) stay: Persian, Hindi and emoji need them."""


def length(text: str, context: GuardContext) -> Verdict:
    """Refuse what is empty, too long or binary; take out characters that nobody can see."""
    if not text.strip():
        return refused(text, "the text is empty")
    if len(text) > MAX_CHARACTERS:
        return refused(text, f"the text has {len(text)} characters, at most {MAX_CHARACTERS} are read")
    broken = len(_BROKEN.findall(text))
    if broken > MAX_BROKEN * len(text):
        return refused(text, "this is not text")
    clean, removed = _INVISIBLE.subn("", text)
    if not removed:
        return passed(text)
    if not clean.strip():
        return refused(text, "the text is empty")
    return redacted(clean, f"removed {removed} invisible or control character{'s' if removed > 1 else ''}")
