"""Personal data in a task or an answer: redact it, or refuse.

Three names for team.yaml: `pii` redacts what has a sure form (mail, card, account, telephone, network address, social
security number); `pii_strict` redacts names, places, addresses, dates and ages too, and takes some harmless words with
them; `pii_refuse` refuses where `pii` would redact.
"""

from __future__ import annotations

import ipaddress
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from ...core.files import write_atomic
from .guard import HEADS, Check, GuardContext, Verdict, passed, redacted, refused


class PiiSpan(NamedTuple):
    """Characters `start` to `end` of a text are of a `kind`."""

    start: int
    end: int
    kind: str


SURE_KINDS = ("EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS", "PHONE_NUMBER")
"""Kinds that are personal wherever they stand, and hardly ever anything else."""


def _luhn(text: str) -> bool:
    """ISO/IEC 7812: the check digit of payment cards."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [sum(divmod(2 * d, 10)) for d in digits[-2::-2]]
    return 12 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _mod97(text: str) -> bool:
    """ISO 13616: the check digits of bank accounts."""
    plain = re.sub(r"[\s-]", "", text).upper()
    number = "".join(str(int(c, 36)) for c in plain[4:] + plain[:4])
    return int(number) % 97 == 1


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _phone(text: str) -> bool:
    """Seven to fifteen digits (ITU-T E.164), with an extension up to eighteen, and not a date."""
    digits = sum(c.isdigit() for c in text)
    most = 18 if "x" in text else 15
    return 7 <= digits <= most and not _DATE_LIKE.fullmatch(text.strip())


def _always(text: str) -> bool:
    return True


_DATE_LIKE = re.compile(
    r"\d{4}[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./ ]\d{1,2}[-./ ](?:\d{4}|\d\d)|\d{4}\s?[-–]\s?\d{4}"
)


_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)\.?"
)


_PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("EMAIL_ADDRESS", re.compile(r"[\w.+%-]+@(?:[\w-]+\.)+[A-Za-z]{2,}"), _always),
    ("DOMAIN_NAME", re.compile(r"\b(?:https?://|www\.)[^\s<>\"')\]]*[^\s<>\"')\].,;:!?]"), _always),
    ("IBAN_CODE", re.compile(r"\b[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?\b"), _mod97),
    ("CREDIT_CARD", re.compile(r"(?<![\w.+-])\d(?:[ -]?\d){11,18}(?![\w-])"), _luhn),
    (
        "IP_ADDRESS",
        re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}(?!\.?\w)|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)"),
        _address,
    ),
    ("US_SSN", re.compile(r"(?<![\w-])(?!000|666)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])"), _always),
    (
        "DATE_TIME",
        re.compile(
            r"(?<![\w/-])(?:\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}(?::\d{2})?)?|\d{1,2}[/.]\d{1,2}[/.](?:19|20)\d{2}|"
            rf"\d{{1,2}}/\d{{1,2}}/\d{{2}}|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? (?:19|20)\d{{2}}|"
            rf"\d{{1,2}}(?:st|nd|rd|th)? (?:of )?{_MONTH},? (?:19|20)\d{{2}}|"
            rf"(?:(?<=in )|(?<=since )|(?<=of )|(?<=during )|(?<=by ))(?:19|20)\d{{2}})(?![\w/-])",
            re.IGNORECASE,
        ),
        _always,
    ),
    (
        "PHONE_NUMBER",
        re.compile(
            r"(?<![\w.,:$€£#/-])(?:\+\d{7,15}|(?:\+|00)?[(]?\d+[(). /-][\d(). /-]{3,20}\d)(?:x\d{1,5})?"
            r"(?!\w|[.,:/-]\d| (?-i:[A-ZÀ-ÞΑ-Ω]))|"
            r"(?:(?<=mobile: )|(?<=phone: )|(?<=phone number is )|(?<=fax: )|(?<=call me at )|(?<=tel: ))\d{7,13}\b",
            re.IGNORECASE,
        ),
        _phone,
    ),
    (
        "AGE",
        re.compile(
            r"\b(?<![.,])(?:1[01]\d|\d{1,2})(?= ?-?(?:years?|yrs?|y/?o)\b(?:[- ]?old)?)|"
            r"(?:(?<=turned )|(?<=turn )|(?<=turning )|(?<=aged )|(?<=age of )|(?<=he was )|(?<=she was )|(?<=age: ))"
            r"(?:1[01]\d|[1-9]\d?)\b(?![.,]\d| ?%)",
            re.IGNORECASE,
        ),
        _always,
    ),
    ("TITLE", re.compile(r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof)\b\.?(?= [A-Z])|\b(?:mr|mrs|ms|dr)\.(?= \w)"), _always),
    (
        "ZIP_CODE",
        re.compile(r"(?:(?<=zip code is )|(?<=zip: )|(?<=postcode is )|(?<=zip code ))[A-Z0-9][A-Z0-9 -]{2,8}\b"),
        _always,
    ),
)
"""Kind, where it may stand, and whether it really is one. Earlier ones win over later ones at the same place."""


def recognise(text: str) -> list[PiiSpan]:
    """What has a known form, in order, without overlaps: addresses of mail and web, card numbers, dates, ages …"""
    spans: list[PiiSpan] = []
    for span in _candidates(text):
        if all(span.end <= other.start or span.start >= other.end for other in spans):
            spans.append(span)
    return sorted(spans)


def _candidates(text: str) -> Iterator[PiiSpan]:
    for kind, pattern, check in _PATTERNS:
        for match in pattern.finditer(text):
            if check(match[0]):
                yield PiiSpan(match.start(), match.end(), kind)


NAMES_FILE = HEADS / "names.safetensors"
NAME_KINDS = ("", "PERSON", "GPE", "ORGANIZATION", "STREET_ADDRESS", "NRP", "ZIP_CODE")
"""What a token may be; the first means: nothing."""
TAG_BUCKETS = 1 << 14
_REACH = 3
"""Neighbours on each side that are looked at."""
_TOKEN = re.compile(r"\w+(?:['’.-]\w+)*|[^\w\s]|\n")


def tokens_of(text: str) -> list[tuple[int, int, str]]:
    """Start, end and text of each word, mark and line end."""
    return [(m.start(), m.end(), m[0]) for m in _TOKEN.finditer(text)]


def token_features(words: Sequence[str]) -> Iterator[list[int]]:
    """For each token the buckets of what is said of it and of its neighbours."""
    shapes = [_shape(w) for w in words]
    low = [w.lower() for w in words]
    for place in range(len(words)):
        yield [zlib.crc32(f.encode()) % TAG_BUCKETS for f in _describe(place, words, low, shapes)]


def history(kinds: Sequence[int], described: Sequence[int]) -> list[int]:
    """Features of what the tokens before were taken for, alone and together with the token's shape and word."""
    last, earlier = (kinds[-1] if kinds else -1), (kinds[-2] if len(kinds) > 1 else -1)
    base = 31 * (last + 2) + 997 * (earlier + 2)
    return [base % TAG_BUCKETS, *((d * 7 + 13 * (last + 2)) % TAG_BUCKETS for d in described[:2])]


def _describe(place: int, words: Sequence[str], low: Sequence[str], shapes: Sequence[str]) -> Iterator[str]:
    word = low[place]
    yield f"s={shapes[place]}"
    yield f"w={word}"
    yield "bias"
    for size in (2, 3, 4):
        yield f"p{size}={word[:size]}"
        yield f"e{size}={word[-size:]}"
    for step in range(-_REACH, _REACH + 1):
        near = place + step
        inside = 0 <= near < len(words)
        if step:
            yield f"{step}w={low[near] if inside else '-'}"
            yield f"{step}s={shapes[near] if inside else '-'}"
    before, after = (shapes[place - 1] if place else "-"), (shapes[place + 1] if place + 1 < len(words) else "-")
    yield f"around={before}{shapes[place]}{after}"
    yield f"line={'-'.join(shapes[max(0, place - 2) : place + 3])}"
    yield f"before={low[place - 1] if place else '-'}|{shapes[place]}"
    yield f"after={low[place + 1] if place + 1 < len(words) else '-'}|{shapes[place]}"


def _shape(word: str) -> str:
    """`Xx` for a name, `x` for a word, `d5` for a number of five digits, the mark itself for a mark."""
    if word.isdigit():
        return f"d{min(len(word), 6)}"
    if not word[0].isalnum():
        return word
    if any(c.isdigit() for c in word):
        return "xd"
    if word.isupper():
        return "X" if len(word) == 1 else "XX"
    return "Xx" if word[0].isupper() else "x"


@dataclass(frozen=True)
class Tagger:
    """Finds names, places, firms and addresses by how they are written and what stands around them: a linear model.

    Weights: (16384, kinds), float32.
    """

    weights: NDArray[np.float32]

    def spans(self, text: str) -> list[PiiSpan]:
        """The spans that the tagger sees."""
        tokens = tokens_of(text)
        kinds: list[int] = []
        for described in token_features([w for _, _, w in tokens]):
            kinds.append(int(self.weights[described + history(kinds, described)].sum(axis=0).argmax()))
        spans: list[PiiSpan] = []
        for (start, end, word), kind in zip(tokens, kinds, strict=True):
            if not kind or word == "\n":
                continue
            name = NAME_KINDS[kind]
            if spans and spans[-1].kind == name and not re.search(r"[^\s]", text[spans[-1].end : start]):
                spans[-1] = spans[-1]._replace(end=end)
            else:
                spans.append(PiiSpan(start, end, name))
        return [s for s in spans if any(c.isalnum() for c in text[s.start : s.end])]

    @classmethod
    def load(cls, path: Path) -> Tagger:
        """Read what `save` wrote."""
        return cls(load_file(path)["weights"].astype(np.float32))

    def save(self, path: Path) -> None:
        """Write as safetensors in half precision."""
        write_atomic(path, save({"weights": self.weights.astype(np.float16)}))


@cache
def names_tagger() -> Tagger:
    """The tagger that comes with metier."""
    return Tagger.load(NAMES_FILE)


def personal_data(text: str, tagger: Tagger | None) -> list[PiiSpan]:
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


def redact(text: str, spans: Iterable[PiiSpan]) -> str:
    """The text with each span replaced by its kind: `Call [PHONE_NUMBER]`. Spans must not overlap."""
    clean, last = [], 0
    for span in sorted(spans):
        clean += [text[last : span.start], f"[{span.kind}]"]
        last = span.end
    return "".join([*clean, text[last:]])


def pii(*, strict: bool = False, action: Literal["redact", "refuse"] = "redact") -> Check:
    """The guard."""

    def check(text: str, context: GuardContext) -> Verdict:
        spans = [s for s in personal_data(text, names_tagger() if strict else None) if strict or s.kind in SURE_KINDS]
        if not spans:
            return passed(text)
        kinds = ", ".join(sorted({s.kind for s in spans}))
        if action == "refuse":
            return refused(text, f"it holds personal data ({kinds})")
        return redacted(redact(text, spans), f"{len(spans)} × {kinds}")

    return check
