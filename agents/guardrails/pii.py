"""Personal data in a task or an answer: redact it, or refuse.

Three names for team.yaml: `pii` redacts what has a sure form (mail, card, account, telephone, network address, social
security number); `pii_strict` redacts names, places, addresses, dates and ages too, and takes some harmless words with
them; `pii_refuse` refuses where `pii` would redact.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from .recognise import SURE, Span, recognise
from .tagger import Tagger, shipped
from .verdict import Check, GuardContext, Verdict, passed, redacted, refused


def personal_data(text: str, tagger: Tagger | None) -> list[Span]:
    """Spans of personal data, in order, without overlaps.

    Args:
        text: where to look.
        tagger: looks for names, places, firms and addresses too. Forms win over names at the same place.
    """
    forms = recognise(text)
    if tagger is None:
        return forms
    free = [n for n in tagger.spans(text) if all(n.end <= f.start or n.start >= f.end for f in forms)]
    return sorted([*forms, *free])


def redact(text: str, spans: Iterable[Span]) -> str:
    """The text with each span replaced by its kind: `Call [PHONE_NUMBER]`. Spans must not overlap."""
    clean, last = [], 0
    for span in sorted(spans):
        clean += [text[last : span.start], f"[{span.kind}]"]
        last = span.end
    return "".join([*clean, text[last:]])


def pii(*, strict: bool = False, action: Literal["redact", "refuse"] = "redact") -> Check:
    """The guard."""

    def check(text: str, context: GuardContext) -> Verdict:
        spans = [s for s in personal_data(text, shipped() if strict else None) if strict or s.kind in SURE]
        if not spans:
            return passed(text)
        kinds = ", ".join(sorted({s.kind for s in spans}))
        if action == "refuse":
            return refused(text, f"it holds personal data ({kinds})")
        return redacted(redact(text, spans), f"{len(spans)} × {kinds}")

    return check
