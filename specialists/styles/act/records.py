"""Tasks about records: find them, then change them, without asking the model.

"Cancel all meetings with Raj on Friday" says what is done (`delete_event`), to which records (those that
`search_events` finds for Raj and Friday) and to how many of them. With tools that are named as programs name them, a
verb and a noun, all of this can be read out of the task and the tools' descriptions. What is said and not understood
makes this give up before anything is changed; then the model goes on as usual. English.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from ....core.dates import days_in
from ....core.text import STOPWORDS, stem
from ....core.types import ToolCall
from ...functions import Function
from ...knowledge.bridge import proper_names
from .arguments import Utterance, spelled
from .shown_tools import ToolShortlist, finds

Calls = Generator[ToolCall, ToolCall, bool]
"""Yields calls and is sent what they gave; ends with whether the task is done."""

_VERBS = {
    "delete": "delete cancel remove drop erase clear",
    "create": "create add make schedule book register open",
    "update": "update change move reassign assign give rename transfer hand shift postpone reschedule mark switch",
    "send": "send email mail write notify message",
    "forward": "forward pass share",
    "reply": "reply respond answer",
}
_GROUP = {word: verb for verb, words in _VERBS.items() for word in words.split()}
_POLITE = "please can could would you i we need want like help thanks"
_MOST = 40
"""Records that one task may change."""
_ROUNDS = 8
"""Times that the search is repeated for a task about all records: some tools give only a few at once."""
_ONE = {
    "first": re.compile(r"\b(?:first|earliest|next|oldest)\b", re.I),
    "last": re.compile(r"\b(?:last|latest|newest|most\s+recent)\b(?!\s+(?:\d+|two|three|few|week|month|year))", re.I),
}
_ALL = re.compile(r"\b(?:all|every|each|everything)\b|(?<!')\b\w{3,}s\b(?!\s*')", re.I)
_FUTURE = re.compile(r"\b(?:future|upcoming|next|coming)\b", re.I)
_CONDITION = re.compile(r"\b(?:if|unless|whether|otherwise|except|check|than)\b", re.I)
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_CLOCK = re.compile(
    r"\b(?P<how>at|after|before|from|until)\s+(?P<hour>\d{1,2})(?::(?P<minute>\d\d))?\s*(?P<half>am|pm)?\b"
    r"(?!\s*(?:minute|hour))",
    re.I,
)
_LONG = re.compile(
    r"\b(?P<count>\d+(?:\.\d+)?|half(?:[\s-]an)?|an|a|one|two|three)[\s-]*(?P<unit>hours?|minutes?|mins?)\b", re.I
)
_BEFORE_QUOTE = {
    "name": re.compile(r"\b(?:called|named|titled|entitled|title|subject|about)\s*:?\s*$", re.I),
    "text": re.compile(r"\b(?:saying|says|say|message|body|text|with|tell\w*\s+\w+)\s*:?\s*$", re.I),
}
_QUOTE = re.compile(r"[\"“„«]([^\"“”„«»]+)[\"”“»]|(?<!\w)['‘](.+?)['’](?!\w)")
_LISTED = re.compile(r"\b(?:one of|available|can be|possible)\b", re.I)
_BEFORE_NAMES = ("with", "to", "from", "for", "by", "of", "email", "give")
_WORDS = re.compile(r"\b(?P<word>[A-Z][a-z]+(?:\s+[A-Z][a-z]+)*|[A-Za-z]+)\b(?P<own>['’]s\b)?")
_TITLE = 7
"""Words of what is looked for, at most."""
_SMALL = {
    *_GROUP,
    *_POLITE.split(),
    *STOPWORDS,
    *"week day titled called named saying all every each everything".split(),
}
"""Words that need no place."""
_EVENING = 8
"""An hour below it without am or pm is one of the afternoon: nobody meets at three at night."""


class _Person(NamedTuple):
    """Somebody whom a task names, as the directory knows them."""

    said: str
    how: str
    """The word before the name: `to`, `from`, `with` …; `own` for `Raj's`."""
    address: str


class _GiveUp(Exception):
    """The task says something that is not understood."""


def do_records(task: str, functions: Sequence[Function], shortlist: ToolShortlist, now: datetime) -> Calls:
    """The calls that find records and change them; false, before anything is changed, where the task is not understood.

    Args:
        task: What is asked.
        functions: The tools.
        shortlist: Knows which of them are near to a task.
        now: The moment that `tomorrow` and `next` count from.
    """
    try:
        if _CONDITION.search(task) or Utterance(task).negated:
            return False
        reading = _Reading(task, functions, shortlist, now.replace(tzinfo=None))
        return (yield from reading.do())
    except _GiveUp:
        return False


class _Reading:
    """One task, what was understood of it so far, and what is left."""

    def __init__(self, task: str, functions: Sequence[Function], shortlist: ToolShortlist, now: datetime) -> None:
        self.task, self.now, self.functions, self.shortlist = task, now, functions, shortlist
        self.quotes = {
            (one or other).strip(): task[: match.start()]
            for match in _QUOTE.finditer(task)
            for one, other in [match.groups()]
        }
        self.plain = _QUOTE.sub(" ", task)
        self.days = days_in(self.plain, now.date())
        self.people = list[_Person]()
        self.used = set[str]()
        """Quotations, addresses and values that have their place."""

    def do(self) -> Calls:
        act = self._act()
        finder = self._finder(act)
        self.people = yield from self._known_people()
        sample = (yield from self._records(finder, {})) if finder else []
        change = self._change(act, sample)
        if finder is None:
            if len(self._left(act, None)) > 1:
                raise _GiveUp
            for arguments in change:
                yield ToolCall(name=act["name"], arguments=arguments)
            return True
        where = self._where(finder)
        left = self._left(act, finder)
        noun = spelled(_id_of(act)).split()[-2]
        named = any(_same(word, noun) for word in re.findall(r"[A-Za-z]+", self.plain))
        if len(left) > (0 if named else 1):  # one may be another name for the records; more are what to look for
            where = yield from self._looked_for(finder, where, left)
        return (yield from self._each(act, finder, where, change))

    def _looked_for(
        self, finder: Function, where: dict[str, Any], words: Sequence[str]
    ) -> Generator[ToolCall, ToolCall, dict[str, Any]]:
        """The search with words that stand side by side in the task: all of them, or without the last, another name for
        the records."""
        title = next((name for name in _properties(finder) if name.endswith("_name")), "query")
        for some in (words, words[:-1]):
            text = re.search(r"\b" + r"\W+(?:\w+\W+){0,2}?".join(map(re.escape, some)) + r"\b", self.plain)
            if title not in _properties(finder) or title in where or not text or len(text[0].split()) > _TITLE:
                break
            if (yield from self._records(finder, {**where, title: text[0]})):
                return {**where, title: text[0]}
        raise _GiveUp

    def _each(self, act: Function, finder: Function, where: dict[str, Any], change: list[dict[str, Any]]) -> Calls:
        """Change the records that are meant, as long as the search gives new ones."""
        key, done = _id_of(act), set[str]()
        one = next((which for which, said in _ONE.items() if said.search(self.plain)), None)
        for _ in range(_ROUNDS if one is None else 1):
            found = yield from self._records(finder, where)
            rows = [row for row in self._meant(found) if str(row.get(key)) not in done]
            if one is None and len(rows) > 1 and not _ALL.search(self.plain):
                raise _GiveUp
            for row in self._ordered(rows, one)[: 1 if one else _MOST]:
                done.add(str(row[key]))
                for arguments in change:
                    yield ToolCall(name=act["name"], arguments={key: row[key], **arguments})
            if not rows:
                break
        return True

    # Which tool, which search.

    def _act(self) -> Function:
        groups = {_GROUP[word] for word in re.findall(r"[a-z]+", self.plain.lower()) if word in _GROUP}
        able = [f for f in self.functions if _GROUP.get(_verb(f), "") in groups]
        if not able:
            raise _GiveUp
        near = self.shortlist.fitting(self.plain, able)
        return max(near.functions, key=lambda f: near.cosines.get(f["name"], 0.0))

    def _finder(self, act: Function) -> Function | None:
        words = spelled(_id_of(act)).split()
        if len(words) < 2:
            return None
        able = [f for f in self.functions if finds(f, words[-2]) and len(_properties(f)) > 1]
        if len(able) != 1:
            raise _GiveUp
        return able[0]

    def _records(
        self, finder: Function, where: Mapping[str, Any]
    ) -> Generator[ToolCall, ToolCall, list[dict[str, Any]]]:
        done = yield ToolCall(name=finder["name"], arguments=dict(where))
        try:
            rows = json.loads(done.result) if done.error is None else None
        except ValueError:
            rows = None
        if not isinstance(rows, list):
            raise _GiveUp
        return [row for row in rows if isinstance(row, dict)]

    # Who is named.

    def _known_people(self) -> Generator[ToolCall, ToolCall, list[_Person]]:
        """Those whom the directory knows: a tool that takes a name and gives addresses."""
        directory = next((f for f in self.functions if [*_properties(f)] == ["name"] and finds(f, "email")), None)
        found = list[_Person]()
        if directory is None:
            return found
        for name, how in self._candidates():
            done = yield ToolCall(name=directory["name"], arguments={"name": name})
            addresses = _ADDRESS.findall(done.result)
            if len(addresses) == 1:
                found.append(_Person(name, how, addresses[0]))
        return found

    def _candidates(self) -> Iterator[tuple[str, str]]:
        """Words that may be somebody's name, and the word before each; `Anna Berg` is one."""
        how, begins, joined, last = "", True, False, False
        for match in _WORDS.finditer(_ADDRESS.sub(" ", self.plain)):
            word, own = match["word"], bool(match["own"])
            low = word.split()[0].lower()
            named = how or own or word[0].isupper() or begins or joined
            plain = low in STOPWORDS or low in _GROUP or low in _POLITE.split()
            if named and not plain and len(word) > 2:
                yield word, "own" if own else how
                last, joined = True, False
            elif low == "and" and last:
                joined = True
            else:
                how, last, joined = low if low in _BEFORE_NAMES else "", False, False
            begins = False

    # What is to be changed.

    def _change(self, act: Function, sample: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Arguments besides the record's: one set for each receiver."""
        wanted = {name: schema for name, schema in _properties(act).items() if name != _id_of(act)}
        if any("string" not in str(schema.get("type", "string")) for schema in wanted.values()):
            raise _GiveUp  # numbers, switches and lists are the model's
        if {"field", "new_value"} <= wanted.keys():
            return [self._new_value(wanted["field"], sample)]
        required = act["parameters"].get("required") or [*wanted]
        made = dict[str, Any]()
        place = next(
            (name for name in [*required, *wanted] if name in wanted and _takes_address(name, wanted[name])), None
        )
        receivers = self._receivers() if place else []
        for name, schema in wanted.items():
            if _takes_address(name, schema):
                value: Any = receivers[0] if receivers and name == place else None
            else:
                value = self._value(name, schema)
            if value is not None:
                made[name] = value
            elif name in required:
                raise _GiveUp
        return [{**made, place: receiver} for receiver in receivers] if place and place in made else [made]

    def _new_value(self, field: Mapping[str, Any], sample: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Which field, and what it is to be: a person's address, or one of the values that it may have."""
        fields = _options(field) or sorted({name for row in sample for name in row})
        behind = re.split(r"\b(?:to|as|over)\b", self.plain)[-1]
        for person in self.people:
            takes = person.how in ("to", "give", "") and person.address not in self.used
            if takes and (name := next((f for f in fields if "assigned" in f), None)):
                self._use(person.said, person.address)
                return {"field": name, "new_value": person.address}
        for name in fields:
            for value in sorted(self._listed(name), key=len, reverse=True):
                if _says(behind, value):
                    self._use(value)
                    return {"field": name, "new_value": value}
        raise _GiveUp

    def _receivers(self) -> list[str]:
        addresses = _ADDRESS.findall(self.plain)
        to = [p for p in self.people if p.how in ("to", "with", "for", "email")] or [
            p for p in self.people if not p.how
        ]
        chosen = [*addresses, *(person.address for person in to)]
        self._use(*addresses, *(word for person in to for word in (person.said, person.address)))
        return list(dict.fromkeys(chosen))

    def _value(self, name: str, schema: Mapping[str, Any]) -> Any:
        about = f"{spelled(name)} {schema.get('description') or ''}".lower()
        if listed := _options(schema):
            return self._said_of(listed)
        if "yyyy-mm-dd" in about:
            return self._moment(with_time="hh:mm" in about)
        if "minute" in about and (length := _LONG.search(self.plain)):
            self._use(length[0])
            return str(_minutes(length))
        if re.search(r"\b(?:body|text|message|content|notes?)\b", spelled(name)):
            return self._quoted("text")
        if re.search(r"\b(?:name|title|subject)\b", spelled(name)) and "list" not in name:
            return self._quoted("name") or self._called()
        return None

    def _listed(self, name: str) -> list[str]:
        """The values of that name which the tools' descriptions list."""
        found = {value for function in self.functions for value in _options(_properties(function).get(name, {}))}
        return sorted(found)

    def _said_of(self, values: Iterable[str]) -> str | None:
        said = [value for value in sorted(values, key=len, reverse=True) if _says(self.plain, value)]
        if said:
            self._use(said[0])
        return said[0] if said else None

    def _moment(self, *, with_time: bool) -> str | None:
        clock = _CLOCK.search(self.plain)
        if len(self.days) != 1 or (with_time and not clock):
            return None
        day = self.days[0].day.isoformat()
        return f"{day} {_hour(clock)}:{clock['minute'] or '00'}:00" if with_time and clock else day

    def _quoted(self, kind: str) -> str | None:
        free = {quote: before for quote, before in self.quotes.items() if quote not in self.used}
        said = next((quote for quote, before in free.items() if _BEFORE_QUOTE[kind].search(before)), None)
        if said is None and len(self.quotes) == 1:
            said = next(iter(free), None)
        if said:
            self._use(said)
        return said

    def _called(self) -> str | None:
        match = re.search(
            r"\b(?:called|named|titled)\s+(.+?)(?=\s+(?:on|at|with|for|and|to|due)\b|[.,;]|$)", self.plain, re.I
        )
        names = [match[1].strip()] if match else self._names()
        if len(names) != 1:
            return None
        self._use(names[0])
        return names[0]

    def _names(self) -> list[str]:
        """Names that are nobody in the directory."""
        people = {person.said.lower() for person in self.people}
        text = " ".join(word for word in self.plain.split() if word.strip(".,?!'’s").lower() not in people)
        for day in self.days:
            text = text.replace(self.plain[day.start : day.end], " ")
        found = [name for name in proper_names(text) if name not in self.used]
        first = text.split()[0] if text.split() else ""
        if first.lower() in {*_GROUP, *_POLITE.split()}:
            found = [name.removeprefix(first).strip() if name.split()[0] == first else name for name in found]
        return [name for name in found if name and name.lower() not in STOPWORDS]

    # Which records are meant.

    def _where(self, finder: Function) -> dict[str, Any]:
        wanted, where, query = _properties(finder), dict[str, Any](), list[str]()
        for name in wanted:
            if (said := self._said_of(v for v in self._listed(name) if v not in self.used)) is not None:
                where[name] = said
        for person in self.people:
            if person.address in self.used:
                continue
            place = next((name for name in wanted if "assigned" in name), None)
            where.update({place: person.address} if place else {})
            query += [] if place else [person.said]
            self._use(person.said, person.address)
        free = [quote for quote in self.quotes if quote not in self.used]
        title = next((name for name in wanted if name.endswith("_name")), "query" if "query" in wanted else None)
        for text in free[:1] if title else ():
            self._use(text)
            query += [text] if title == "query" else []
            if title and title != "query":
                where[title] = text
        if query and "query" in wanted:
            where["query"] = " ".join(query)
        return {**where, **self._span(wanted)}

    def _span(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        low = next((n for n in wanted if n in ("time_min", "date_min")), None)
        if low is None:
            return {}
        high, long = f"{low[:-4]}_max", "HH" in (wanted[low].get("description") or "")
        if self.days:
            day, back = self.days[0], re.search(r"\b(?:last|past|since)\b", self.plain[: self.days[0].end], re.I)
            first, last = day.day, self.now.date() if back else day.day
            return {low: _edge(first, long, end=False), high: _edge(last, long, end=True)}
        return (
            {low: self.now.isoformat(sep=" ") if long else self.now.date().isoformat()}
            if _FUTURE.search(self.plain)
            else {}
        )

    def _meant(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows whose time of day fits."""
        clock = _CLOCK.search(self.plain)
        if not clock or clock["how"].lower() not in ("after", "before"):
            return [*rows]
        least = f"{_hour(clock)}:{clock['minute'] or '00'}:00"
        after = clock["how"].lower() == "after"
        return [row for row in rows if (at := _time_of(row)[11:]) and (at >= least if after else at < least)]

    def _ordered(self, rows: Sequence[dict[str, Any]], one: str | None) -> list[dict[str, Any]]:
        return sorted(rows, key=_time_of, reverse=one == "last") if one else [*rows]

    # What was understood.

    def _use(self, *values: str) -> None:
        self.used |= set(values)

    def _left(self, act: Function, finder: Function | None) -> list[str]:
        """Words of the task that have no place yet, in its order.

        Raises:
            _GiveUp: a quotation or somebody's name has none.
        """
        if {*self.quotes} - self.used or {person.address for person in self.people} - self.used:
            raise _GiveUp
        tools = [function for function in (act, finder) if function]
        said = [
            text
            for f in tools
            for text in (spelled(f["name"]), f.get("description") or "", *map(spelled, _properties(f)))
        ]
        areas = [spelled(f["name"].rpartition(".")[0]) for f in tools]
        known = {stem(word.lower()) for text in [*said, *areas, *self.used] for word in re.findall(r"[A-Za-z]+", text)}
        known |= {"".join(word[0] for word in area.split()) for area in areas if area}
        left = self.plain
        for day in self.days:
            left = left.replace(self.plain[day.start : day.end], " ")
        for pattern in (_ADDRESS, _CLOCK, _LONG, _FUTURE, *_ONE.values()):
            left = pattern.sub(" ", left)
        for value in self.used:
            left = left.replace(value, " ")
        if Utterance(left).numbers:
            raise _GiveUp
        words = re.findall(r"[A-Za-z]{3,}", left)
        return [word for word in words if stem(word.lower()) not in known and word.lower() not in _SMALL]


def is_change(call: ToolCall) -> bool:
    """Does a call of these change something?"""
    return bool(_verb({"name": call.name}))


def _options(schema: Mapping[str, Any]) -> list[str]:
    """The values that an argument may have: of its schema, or those that its description lists in quotation marks."""
    if "enum" in schema:
        return [str(value) for value in schema["enum"]]
    said = schema.get("description") or ""
    return re.findall(r'"([^"]+)"', said) if _LISTED.search(said) else []


def _properties(function: Function) -> dict[str, Any]:
    return (function.get("parameters") or {}).get("properties", {})


def _verb(function: Function) -> str:
    first = [*spelled(function["name"].rpartition(".")[2]).split(), ""][0]
    return first if first in _GROUP else ""


def _id_of(function: Function) -> str:
    return next((name for name in _properties(function) if name.endswith("_id")), "")


def _takes_address(name: str, schema: Mapping[str, Any]) -> bool:
    return "email address" in (schema.get("description") or "").lower() or bool(
        {"recipient", "email"} & {*spelled(name).split()}
    )


def _same(one: str, other: str) -> bool:
    return stem(one.lower().rstrip("s")) == stem(other.lower().rstrip("s"))


def _says(text: str, value: str) -> bool:
    """Whether a text says a value, in the singular or plural, with or without hyphens."""
    words = [stem(word.rstrip("s")) for word in re.findall(r"[a-z0-9]+", value.lower())]
    said = [stem(word.rstrip("s")) for word in re.findall(r"[a-z0-9]+", text.lower())]
    return bool(words) and any(said[at : at + len(words)] == words for at in range(len(said)))


def _hour(clock: re.Match[str]) -> str:
    hour, half = int(clock["hour"]), (clock["half"] or "").lower()
    if hour < 12 and (half == "pm" or (not half and hour < _EVENING)):
        hour += 12
    return f"{hour:02}"


def _minutes(length: re.Match[str]) -> int:
    words = {"half": 0.5, "a": 1, "an": 1, "one": 1, "two": 2, "three": 3}
    count = length["count"].lower()
    amount = 0.5 if count.startswith("half") else words.get(count) or float(count)
    return round(amount * (60 if length["unit"].lower().startswith("h") else 1))


def _edge(day: date, long: bool, *, end: bool) -> str:
    return f"{day.isoformat()} {'23:59:59' if end else '00:00:00'}" if long else day.isoformat()


def _time_of(row: Mapping[str, Any]) -> str:
    return next((str(v) for v in row.values() if re.match(r"\d{4}-\d\d-\d\d[ T]\d\d:", str(v))), "")
