"""Whether a question wants something computed, as far as its words say so: what has to be looked up, and the formula.

Words of some languages stand side by side; who asks in another is given the figures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Derived:
    """What a question wants to be computed."""

    formula: str
    """Over `{0}`, `{1}` …, the figures in the order of the look-ups."""
    lookups: tuple[str, ...]
    """A question for each figure."""
    rate: str = ""
    """What the figure must be for: `night` of "120 euros a night"."""
    period: str = ""
    """What the amount is wanted for, where the figure may be for another: `year`."""
    unit: str = ""
    """Of the result; left out: that of the figures."""


_THAN = r"(?:than|als|que|di|dan)"
_AND = re.compile(r"\s*,\s+(?:and\s+|und\s+)?|\s+(?:and|und|et|y)\s+", re.IGNORECASE)
_HOW_MUCH = r"how\s+(?:much|many)|wie\s?viele?|um\s+wie\s?viele?|combien|de\s+combien|cu[aá]nt[oa]s?|quanto"
_COMPARED = re.compile(
    rf"^(?P<lead>(?:by\s+)?(?:{_HOW_MUCH})(?:\s+(?!more\b|less\b)[\w()°%]+)?)\s+"
    r"(?P<more>more|less|fewer|mehr|weniger|de\s+plus|de\s+moins|plus|moins|m[aá]s|menos|[a-zäöü]{2,}er)\b"
    rf"(?P<rest>.*?)\s+{_THAN}\s+(?P<other>(?!\d|one\b|once\b|ein\b).+)$",
    re.IGNORECASE,
)
_BY_HOW_MUCH = re.compile(
    r"^(?:by\s+)?(?P<lead>how\s+(?:much|many\s+\w+))\s+(?P<is>is|are|was|were)\s+(?P<what>.+?)\s+"
    r"(?P<more>[a-z]{2,}er)\s+than\s+",
    re.IGNORECASE,
)
_DEARER = ("dearer", "costlier", "pricier", "cheaper", "teurer", "billiger", "günstiger")
_HOW = {
    **{"longer": "long", "shorter": "long", "higher": "high", "lower": "high", "louder": "loud", "quieter": "loud"},
    **{"heavier": "heavy", "lighter": "heavy", "faster": "fast", "slower": "fast", "older": "old", "younger": "old"},
    **{"larger": "large", "smaller": "large", "bigger": "big", "wider": "wide", "deeper": "deep", "warmer": "warm"},
}
_LESS = frozenset(
    "less fewer cheaper shorter lower quieter lighter slower younger smaller narrower colder earlier weniger billiger "
    "günstiger kürzer niedriger leiser leichter langsamer kleiner früher moins menos".split()
) | {"de moins"}
_PERCENT_MORE = re.compile(
    r"^(?:by\s+)?(?:what\s+per\s?centage|how\s+(?:many|much)\s+per\s?cent|um\s+wie\s?viel\s+prozent)\s+"
    r"(?P<rest>.*?)\s*\b(?:more(?:\s+[a-z]+)?|[a-zäöü]{3,}er)\s+"
    rf"{_THAN}\s+(?P<other>(?!\d).+)$",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    r"\b(?:differen(?:ce|z)|unterschied|gap|diff[ée]rence|diferencia)\b"
    r"(?:\s+(?:in|of|im|in\s+der)\s+(?P<about>[\w -]+?))?\s+(?:between|zwischen|entre)\s+(?P<sides>.+)$",
    re.IGNORECASE,
)
_AVERAGE = re.compile(
    r"^(?:what|how\s+\w+|was|wie\s+\w+)(?:['’]s|\s+(?:is|are|was|were|ist))?\s+(?:the\s+|der\s+|on\s+)?"
    r"(?:average|mean|durchschnitt\w*|mittelwert)\s+(?P<about>[\w -]*?)\s*"
    r"\b(?:of|between|for|von|zwischen)\s+(?P<sides>.+)$",
    re.IGNORECASE,
)
_TOGETHER = re.compile(
    r"\s*,?\s*\b(?:together|altogether|in\s+total|in\s+all|in\s+sum|combined|taken\s+together|zusammen|insgesamt|ensemble|"
    r"au\s+total|en\s+total)\b(?=\s*$|\s*[,?]|\s+(?:for|in|of|on|at|per|cost\w*|is|are|does|do)\b)",
    re.IGNORECASE,
)
_SUM_OF = re.compile(
    r"\b(?:sum|total|summe)\s+(?P<about>(?:\w+\s+){0,2})(?:of|von|for)\s+(?P<sides>.+\s(?:and|und|et|y)\s.+)$",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"^(?:what|how\s+(?:much|many)(?:\s+\w+)??|was|wie\s?viele?(?:\s+\w+)??)\s+"
    r"(?:do|does|did|is|are|was|were|will|would|can|may|must|kosten|kostet|sind|ist)?\s*",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"\s+(?:do|does|did|is|are|cost|costs|come|comes|take|takes|hold|holds|need|needs|weigh|weighs|lasts|make|makes|"
    r"amount|amounts|have|has|kosten|wiegen|brauchen|dauern)\b",
    re.IGNORECASE,
)
_QUANTITY = frozenset(
    "price cost fee rate allowance amount limit level temperature pressure length width height weight mass distance "
    "time duration period number volume capacity speed power torque charge rent salary age size interest deposit value "
    "mileage quantity revenue income profit tax discount preis kosten gebühr miete temperatur druck länge gewicht "
    "dauer zahl höhe prix coût loyer durée precio coste".split()
)
_COUNTS = {
    word: number
    for number, words in enumerate(
        (
            "two zwei deux dos",
            "three drei trois tres",
            "four vier quatre cuatro",
            "five fünf cinq cinco",
            "six sechs seis",
            "seven sieben sept siete",
            "eight acht huit ocho",
            "nine neun neuf nueve",
            "ten zehn dix diez",
            "eleven elf",
            "twelve zwölf",
        ),
        2,
    )
    for word in words.split()
}
_ASKS_PRICE = re.compile(
    r"^(?:what|how\s+much|was|wie\s?viel|combien|cu[aá]nto)\b.*"
    r"\b(?:cost|costs|pay|paid|get|charged?|come\s+to|spend|earn|fee|price|"
    r"kosten|kostet|zahlen?|zahlt|bekomm\w+|preis|gebühr|miete|rent|coûte(?:nt)?|cuestan?)\b",
    re.IGNORECASE,
)
_TIMES = re.compile(
    r"(?:(?P<before>\b(?:for|of|over|during|für|pour|por)\s+)|"
    r"\b(?:do|does|did|are|is|pay|get|cost|costs|kosten|kostet)\s+)"
    rf"(?P<count>(?!(?:19|20)\d\d\b)\d{{1,4}}|{'|'.join(_COUNTS)})\s+"
    r"(?P<what>(?:[^\W\d_]+\s+){0,2}?(?P<noun>(?!was\b|has\b|does\b|this\b|its\b)[^\W\d_]{2,}s|km|h|nächten?|tagen?|"
    r"stunden|monaten?|jahren?|wochen|mois))\b",
    re.IGNORECASE,
)
_SAME_NOUN = {
    **{"nächte": "night", "nächten": "night", "tage": "day", "tagen": "day", "stunden": "hour"},
    **{"monate": "month", "monaten": "month", "jahre": "year", "jahren": "year", "wochen": "week", "stunde": "hour"},
    **{"kilometern": "kilometre", "kilometer": "kilometre", "km": "kilometre", "h": "hour", "nuits": "night"},
    **{"jours": "day", "heures": "hour", "mois": "month", "noches": "night", "días": "day", "horas": "hour"},
}
IN_A_YEAR = {"year": 1, "month": 12, "quarter": 4, "week": 52}
OFTEN = {"annual": "year", "yearly": "year", "monthly": "month", "quarterly": "quarter", "weekly": "week"}
_PERIODS = {
    **{"year": "year", "annually": "year", "yearly": "year", "per annum": "year", "jahr": "year"},
    **{"month": "month", "monthly": "month", "monat": "month", "quarter": "quarter", "quarterly": "quarter"},
    **{"quartal": "quarter", "week": "week", "weekly": "week", "woche": "week"},
}
_PERIOD = re.compile(
    r"\b(?:(?:per|a|each|every|in\s+a|pro|im)\s+(?P<noun>year|month|quarter|week|jahr|monat|quartal|woche)|"
    r"(?P<often>annually|yearly|monthly|quarterly|weekly|per\s+annum))\b",
    re.IGNORECASE,
)


def derived(task: str) -> Derived | None:
    """What a question wants to be computed out of several figures, as far as its words say so.

    >>> derived("How much more may a room cost in Paris than in Lyon?").lookups
    ('How much may a room cost in Paris?', 'How much may a room cost in Lyon?')
    >>> derived("What does it cost to park?")
    """
    text = re.sub(r"\s+", " ", task).strip().rstrip(" ?.!")
    for rule in (_percent_more, _compared, _between, _averaged, _summed, _times, _per_period):
        if asked := rule(text):
            return asked
    return None


def _compared(text: str) -> Derived | None:
    text = _BY_HOW_MUCH.sub(r"\g<lead> \g<more> \g<is> \g<what> than ", text)
    if not (match := _COMPARED.search(text)):
        return None
    more, lead = match["more"].lower(), re.sub(r"^by\s+", "", match["lead"], flags=re.IGNORECASE)
    one = f"{lead}{match['rest']}"
    side = re.sub(r"^\s*(?:is|are|was|were|ist|sind)\s+", "", match["rest"])
    other = re.sub(r"\bones?$", side.split()[-1] if side else "", match["other"])
    signed = "{1} - {0}" if more in _LESS else "{0} - {1}"
    if more in _DEARER:
        return Derived(signed, (f"How much does {side} cost?", f"How much does {other} cost?"))
    if lead.lower() == "how much" and more in _HOW:
        one, lead = f"How {_HOW[more]}{match['rest']}", f"How {_HOW[more]}"
    return Derived(signed, (f"{one}?", f"{_other(one, lead, other)}?"))


def _percent_more(text: str) -> Derived | None:
    if not (match := _PERCENT_MORE.search(text)):
        return None
    one = re.sub(r"\s+", " ", f"How much {match['rest']}").strip()
    return Derived("({0} - {1}) / {1} * 100", (f"{one}?", f"{_other(one, 'How much', match['other'])}?"), unit="%")


def _other(one: str, lead: str, other: str) -> str:
    """The question for the other side of a comparison.

    >>> _other("How much oil does the gearbox of BW-3 take", "How much", "that of FL-2")
    'How much oil does the gearbox of FL-2 take'
    """
    if of := re.match(r"(?:that|the one|those|the ones)\s+(?P<how>of|in|on|at|for|from|with)\s+(?P<what>.+)", other):
        places = list(re.finditer(rf"\b{of['how']}\s+(?:the\s+)?\S+", one))
        if places:
            last = places[-1]
            return f"{one[: last.start()]}{of['how']} {of['what']}{one[last.end() :]}"
    somewhere = r"(?:elsewhere|otherwise|anywhere\s+else|usually|normally|before|sonst|anderswo)$"
    if re.match(rf"(?:in|on|at|for|during|with|without|of|after|from|under|outside|inside|by)\b|{somewhere}", other):
        end = list(re.finditer(r"\s(?:in|on|at|for|during|with|without|of|after|before|from|under|by)\s", one))
        return f"{one[: end[-1].start()]} {other}" if end else f"{one} {other}"
    aux = re.search(r"\s(?:is|are|was|were|does|do|did|may|can|must|will|would|kostet|ist|sind)\b", one)
    return f"{one[: aux.start()] if aux else lead} is {other}"


def _between(text: str) -> Derived | None:
    match = _BETWEEN.search(text)
    if not match or len(sides := _AND.split(match["sides"])) != 2:
        return None
    words = {word.rstrip("s") for word in re.findall(r"\w+", text.lower())} | set(re.findall(r"\w+", text.lower()))
    if not words & _QUANTITY:
        return None
    return Derived("abs({0} - {1})", _each(sides, match["about"] or ""))


def _averaged(text: str) -> Derived | None:
    match = _AVERAGE.search(text)
    if not match or not 2 <= len(sides := _AND.split(match["sides"])) <= 6:
        return None
    total = " + ".join(f"{{{place}}}" for place in range(len(sides)))
    return Derived(f"({total}) / {len(sides)}", _each(sides, match["about"]))


def _each(sides: Sequence[str], about: str) -> tuple[str, ...]:
    """A question for each side; a side that only says where ("for the first day") is said of the first."""
    words = [set(re.findall(r"\w+", side.lower())) for side in sides]
    if not about.strip() and words[-1] & _QUANTITY and not words[0] & _QUANTITY:  # "the day and the night rate"
        sides = [*(f"{side} {sides[-1].split()[-1]}" for side in sides[:-1]), sides[-1]]
    first, *others = sides
    whole = [first]
    for side in others:
        end = re.search(r"\s(?:for|in|on|at|of|with)\s.*$", first)
        moved = re.match(r"(?:for|in|on|at|of|with)\s", side) and end
        whole.append(f"{first[: end.start()]} {side}" if moved and end else side)
    return tuple(f"What is the {about} of {side}?" if about.strip() else f"What is {side}?" for side in whole)


def _summed(text: str) -> Derived | None:
    if match := _SUM_OF.search(text):
        sides = _AND.split(match["sides"])
        lookups = _each(sides, match["about"])
    elif cue := _TOGETHER.search(text):
        plain = re.sub(r"\s+", " ", text[: cue.start()] + text[cue.end() :]).strip()
        start = lead.end() if (lead := _LEAD.match(plain)) else 0
        joint = _AND.search(plain, start)
        if joint is None:
            return None
        ends = _VERB.search(plain, joint.end())
        tail = plain[ends.start() :] if ends else ""
        sides = _AND.split(plain[start : ends.start() if ends else len(plain)])
        lookups = tuple(f"{plain[:start].strip()} {side}{tail}?" for side in sides)
    else:
        return None
    if not 2 <= len(sides) <= 6 or not all(_NAMED.match(side) for side in sides):
        return None
    return Derived(" + ".join(f"{{{place}}}" for place in range(len(sides))), lookups)


_NAMED = re.compile(r"(?!(?:i|we|you|they|he|she|it|ich|wir|man|je|on|nous)\b)\W*\w", re.IGNORECASE)
"""A side of a sum: something, and not who does something."""


def _times(text: str) -> Derived | None:
    match = _TIMES.search(text)
    if not match or not _ASKS_PRICE.search(text) or len(_TIMES.findall(text)) > 1:
        return None
    count = match["count"].lower()
    number, noun = _COUNTS.get(count, count), singular(match["noun"])
    if match["before"]:
        lookup = f"{text[: match.start('before')]}per {noun}{text[match.end() :]}"
    else:
        lookup = f"{text[: match.start('count')]}one {match['what'][: -len(match['noun'])]}{noun}{text[match.end() :]}"
    return Derived(f"{number} * {{0}}", (f"{lookup}?",), rate=noun)


def _per_period(text: str) -> Derived | None:
    match = _PERIOD.search(text)
    if not match or not _ASKS_PRICE.search(text):
        return None
    lookup = re.sub(r"\s+", " ", f"{text[: match.start()]}{text[match.end() :]}").strip()
    return Derived(
        "{0}", (f"{lookup}?",), period=_PERIODS[re.sub(r"\s+", " ", match["noun"] or match["often"]).lower()]
    )


def singular(word: str) -> str:
    """A noun in lower case as one of it is called; periods and lengths of other languages in English.

    >>> singular("copies"), singular("Nächte")
    ('copy', 'night')
    """
    word = word.lower()
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return _SAME_NOUN.get(word) or (word[:-1] if word.endswith("s") and not word.endswith("ss") else word)
