"""Whom a sentence is about: the speaker, or somebody else. English rules."""

from __future__ import annotations

import re

from .fact_rules import attribute

_KIN = (
    "wife|husband|partner|girlfriend|boyfriend|fianc[eé]e?|spouse|mother|mum|mom|father|dad|parents?|sisters?|brothers?|"
    "sons?|daughters?|kids?|child(?:ren)?|baby|uncle|aunt|cousin|nephew|niece|grand(?:mother|father|ma|pa|son|daughter)|"
    "friends?|colleagues?|co-?workers?|boss|manager|neighbou?rs?|flatmate|roommate|assistant|deputy|supervisor|trainee|"
    "apprentice|team|customers?|clients?|predecessor|successor"
)
_OTHERS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"^\W*(?i:my|our)\s(?:\w+\s)?(?P<who>(?i:{_KIN}))\b",
        r"^\W*(?:(?i:my|our|the)\s)?(?P<who>\w+)['’]s?\s(?:[\w-]+\s){1,3}?(?:is|are|was|were|has|have|starts|ends|expires)\b",
        r"^\W*(?P<who>(?i:he|she|they|his|her|their))\b",
        r"^\W*(?P<who>(?!(?:The|This|That|It|There|Everything)\b)[A-Z][\w-]+)(?:\s[A-Z][\w-]+)?\s"
        r"(?:(?:no longer|never|now|still|also)\s)?(?:is|has|was|will|can|does|doesn['’]t|isn['’]t|[a-z]+[^s\W]s)\s",
    )
)
_OF_THE_SPEAKER = re.compile(
    r"\b(?:my|our)\s(?:\w+\s)?(?:name|nickname|age|birthday|address|e-?mail|phone|mobile|number|job|role|profession|boss|"
    r"team|department|employer|city|hometown|office|desk|diet|size|car|allerg\w+)\b|"
    r"\b(?:do|am|was|did|can|are)\s(?:I|we)\s(?!(?:have|need|want|know|supposed|allowed)\b)",
    re.IGNORECASE,
)
"""Questions to which only the speaker's own facts are an answer."""
_PERSON_ASKED = re.compile(rf"\b(?i:my|our)\s(?:\w+\s)?(?P<kin>(?i:{_KIN}))\b|\b(?P<name>[A-Z]\w+)['’]s\s(?=\w)")
_CONTRACTED = frozenset("what who where when how that it there here let".split())


def whose(sentence: str) -> str:
    """Whom a sentence is about: empty for the speaker or nobody, else a word in small letters.

    >>> whose("I live in Porto."), whose("My sister's car is red."), whose("Ben lives in Rome.")
    ('', 'sister', 'ben')
    """
    return next((found["who"].lower() for other in _OTHERS if (found := other.search(sentence))), "")


def of_another(question: str, sentence: str) -> bool:
    """Does a sentence tell of one person what a question asks about another?

    >>> of_another("What is my phone number?", "My sister's phone number is 12.")
    True
    >>> of_another("What is my sister's phone number?", "My phone number is 7.")
    True
    >>> of_another("Who of us eats fish?", "My sister eats fish.")
    False
    """
    who, asked = whose(sentence), question.lower()
    found = _PERSON_ASKED.search(question)
    person = ((found["kin"] or found["name"]) if found else "").lower()
    if person and person not in _CONTRACTED:
        # A value of one's own, such as one's telephone number; other sentences may well tell something of that person.
        return not who and person not in sentence.lower() and attribute(sentence) is not None
    somebody = who and (
        re.fullmatch(_KIN, who) or who in ("he", "she", "they", "his", "her", "their") or _is_name(sentence)
    )
    return bool(somebody) and who not in asked and bool(_OF_THE_SPEAKER.search(question))


def _is_name(sentence: str) -> bool:
    """Begins with a name, and the speaker is not in it."""
    return bool(re.match(r"\W*[A-Z]", sentence)) and not re.search(
        r"\b(?:I|my|me|we|our|us)\b", sentence, re.IGNORECASE
    )
