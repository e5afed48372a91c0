"""Finds personal data that has a form: addresses of mail and web, card and account numbers, telephones, dates, ages.

Numbers with a check digit are checked, so that an order number is not taken for a card. Names have no form: `tagger`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """Characters `start` to `end` of a text are of a `kind`."""

    start: int
    end: int
    kind: str


SURE = ("EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS", "PHONE_NUMBER")
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

PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
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


def recognise(text: str) -> list[Span]:
    """All spans that have a known form, in order, without overlaps."""
    found: list[Span] = []
    for span in _candidates(text):
        if all(span.end <= other.start or span.start >= other.end for other in found):
            found.append(span)
    return sorted(found)


def _candidates(text: str) -> Iterator[Span]:
    for kind, pattern, check in PATTERNS:
        for match in pattern.finditer(text):
            if check(match[0]):
                yield Span(match.start(), match.end(), kind)
