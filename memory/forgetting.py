"""Does a sentence ask to forget something, and what? English rules.

"Forget my phone number.", "Please delete what you know about my car.", "I don't want you to remember that.": of what is
noted about a person, that is. "Delete my order." is a task for somebody, "Forget it." a way of speaking.
"""

from __future__ import annotations

import re

from ..core.text import terms

_KNOWN = (
    r"\b(?:what|everything|anything|all|whatever|things?|facts?|notes?)\b.{0,30}?"
    r"\b(?:you|I)(?:['’]ve| have)?\s(?:\w+\s)?(?:know|knew|remember\w*|noted?|stored?|saved?|kept|keep|learn\w*|have|"
    r"said|told|wrote|mentioned|hold)\b|\b(?:from|in|out of)\s(?:your\s)?(?:memory|notes?|records?)\b"
)
_ALL = re.compile(
    r"\b(?:everything|anything|all|whatever)\b|"
    r"^\W*(?:all (?:of )?)?your (?:whole |entire )?(?:memory|notes?|records?)\b|^\W*(?:all )?(?:about )?me\W*$",
    re.IGNORECASE,
)
_MINE = r"\b(?:my|our|me|I|mine|us|we)\b"
_LET_GO = r"(?:forget|unlearn|unremember)(?:\s(?:about|all about))?"
_TAKE_OUT = r"(?:delete|erase|remove|drop|clear|wipe|purge|scrub|discard|get rid of|throw away)"
_HOLD = r"(?:remember|memori[sz]e|keep|store|save|note|record|retain|hold on to)(?:ing)?(?:\s(?:down|about))?"
_POLITE = (
    r"^\W*(?:(?:please|now|ok(?:ay)?|so|and|then|also|well|hey|kindly|just|actually|sorry|no|metier)\b\W*)*"
    r"(?:(?:(?:can|could|would|will) you(?: please)?|you (?:can|may|must|should|have to|need to)(?: now)?|"
    r"I(?:['’]d| would)? (?:want|need|like|prefer|ask|wish) (?:you )?to|I want that you|let['’]?s)\s+(?:please\s+)?)?"
)
_NOT_HOLD = (
    r"(?:(?:do not|don['’]?t|never|stop|quit|no longer|not to|not|cease to)\s(?:ever\s|to\s)?"
    r"|I (?:do not|don['’]?t|never) (?:want|wish|like) (?:you|it|this|that|him|her)?\s?(?:to (?:be )?)?"
    r"|(?:you|one) (?:must|should|may|can|shall|are|need)(?: not|n['’]?t)(?: allowed)?(?: to)?\s)"
)
_LOSE = re.compile(rf"{_POLITE}{_LET_GO}\s+(?P<what>.+)$", re.IGNORECASE | re.DOTALL)
_DELETE = re.compile(rf"{_POLITE}{_TAKE_OUT}\s+(?P<what>.+)$", re.IGNORECASE | re.DOTALL)
_UNHOLD = re.compile(rf"{_POLITE}{_NOT_HOLD}{_HOLD}\s+(?P<what>.+)$", re.IGNORECASE | re.DOTALL)
_REQUESTS = (
    (_LOSE, re.compile(rf"{_KNOWN}|{_MINE}|^that\s\w+\s\w+|^everything\W*$", re.IGNORECASE)),
    (
        _DELETE,
        re.compile(rf"{_KNOWN}|^\W*(?:all )?your (?:whole |entire )?(?:memory|notes?|records?)\b", re.IGNORECASE),
    ),
    (_UNHOLD, re.compile(rf"{_KNOWN}|{_MINE}", re.IGNORECASE)),
)
_ASIDE = re.compile(
    r"[,;.!?].*$|\s+(?:and|because|since|as|please|any ?more|any longer|again|for ever)\b.*$", re.I | re.DOTALL
)
_LEAD = re.compile(
    r"^\W*(?:(?:about|of|on|that|(?:the|any|your) (?:facts?|notes?|things?|entry|entries|information|memory))\b\W*)+",
    re.IGNORECASE,
)


def forget_request(sentence: str) -> str | None:
    """What a sentence asks to forget: words of the facts meant, empty for everything; None when it asks no such thing.

    >>> forget_request("Please delete what you know about my car."), forget_request("Delete my order 12.")
    ('my car', None)
    """
    for pattern, means_memory in _REQUESTS:
        found = pattern.search(sentence)
        if found and means_memory.search(found["what"]):
            return _meant(found["what"])
    return None


def _meant(what: str) -> str | None:
    rest = re.sub(_KNOWN, " ", _ASIDE.sub("", what), flags=re.IGNORECASE)
    rest = _LEAD.sub("", rest)
    rest = " ".join(_ALL.sub(" ", rest).split()).removeprefix("about ").removeprefix("of ")
    if terms(rest):
        return rest
    return "" if _ALL.search(_ASIDE.sub("", what)) else None
