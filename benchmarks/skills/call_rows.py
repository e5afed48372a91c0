"""The public sets of calls in one form: only rows whose call fits its function and can be read off what is shown.

Each set has its reader, which knows what is wrong with it. What becomes of the rows is in `call_corpora.py`.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from metier.benchmarks.skills.call_near import Spec, content, key
from metier.benchmarks.skills.call_worlds import RESULTS, WORDS
from metier.core.types import ToolCall, Turn
from metier.specialists.functions import NO_CALL, called, write_call
from metier.specialists.prompt import TrainingExample
from metier.specialists.styles.act.arguments import Utterance, leaves, spelled, stems
from metier.specialists.styles.act.style import ACT, shown_functions

INTENTS = Path(__file__).with_name("call_intents.yaml")
"""What the functions of the sets of spoken requests do; the sets only name them."""


@dataclass(frozen=True)
class CallRow:
    """A request, what can be called for it, and the call."""

    task: str
    functions: tuple[Spec, ...]
    name: str = ""
    """The function to call; empty when none fits."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    window: tuple[Turn, ...] = ()
    facts: tuple[str, ...] = ()
    day: str = ""
    """What the prompt says of today."""
    several: bool = False
    """It asks for more than one thing: without the function of one, that of another may fit."""

    @property
    def right(self) -> Spec:
        """The one to call."""
        return next(f for f in self.functions if f["name"] == self.name)

    @property
    def text(self) -> str:
        """All that the model is told besides the functions."""
        return " ".join((self.task, *(turn.text for turn in self.window), *self.facts))

    @property
    def example(self) -> TrainingExample:
        """What the model sees, and the call in the order of the schema, or none."""
        messages = ACT.prompt(
            self.task,
            system=shown_functions(self.functions),
            facts=self.facts,
            window=self.window,
            instructions=self.day,
        )
        if not self.name:
            return TrainingExample(messages, NO_CALL)
        order = self.right["parameters"]["properties"]
        return TrainingExample(
            messages, write_call(self.name, {n: self.arguments[n] for n in order if n in self.arguments})
        )


# Reading them.


def read_calls(folder: Path, name: str, barred: Collection[str]) -> Iterator[CallRow]:
    with gzip.open(folder / "call" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            given = json.loads(line)
            given["functions"] = [_spec(f) for f in given["functions"] if key(f["name"]) not in barred]
            if all(key(call["name"]) not in barred for call in given["answer"]):
                yield from filter(_is_sound, _READERS[name](given))


_SAYS_TYPE = re.compile(r"^(?:Required\.\s*)?(?:(string|integer|number|boolean|array|object)\.\s*)?")


def _spec(function: Spec) -> Spec:
    """A copy that is JSON Schema: without keys of nobody (`api_key`), types in words where they belong."""
    parameters = function["parameters"]
    properties: dict[str, Any] = {}
    for name, schema in parameters.get("properties", {}).items():
        about = " ".join(str(schema.get("description", "")).split())
        if re.search(r"(?i)\bapi.?(proxy|key)|secret", f"{name} {about}"):
            continue
        match = _SAYS_TYPE.match(about)
        kind = (match and match[1]) or schema.get("type", "string")
        properties[name] = {**schema, "type": kind, "description": about[match.end() if match else 0 :]}
        if kind == "array" and "items" not in schema:
            properties[name]["items"] = {"type": "string"}
    required = [name for name in parameters.get("required", []) if name in properties]
    return {
        "name": function["name"],
        "description": " ".join((function.get("description") or "").split()),
        "parameters": {"type": "object", "properties": properties, "required": required},
    }


def _plain_rows(given: Mapping[str, Any]) -> Iterator[CallRow]:
    """A request in one turn, and one call or none."""
    row = CallRow(given["question"].strip(), tuple(given["functions"]), window=_window(given.get("history") or []))
    yield _with_call(row, given["answer"][0]) if given["answer"] else row


def _window(history: Sequence[str], most: int = 4) -> tuple[Turn, ...]:
    """The last turns: what the user said, and what was answered; of a call, its result is the answer."""
    turns: list[Turn] = []
    for line in history:
        who, _, text = line.partition(": ")
        if who == "User":
            turns.append(Turn(role="user", text=text.strip()[:300]))
        elif who == "Assistant" or who.startswith("Tool"):
            if turns and turns[-1].role == "assistant":
                turns.pop()
            turns.append(Turn(role="assistant", text=text.strip()[:300]))
    recent = turns[-most:]
    return tuple(recent[1:] if recent and recent[0].role == "assistant" else recent)


def _with_call(row: CallRow, call: Mapping[str, Any]) -> CallRow:
    """The row with this call; types of the schema are put right where the values show them to be wrong."""
    function = next((f for f in row.functions if f["name"] == call["name"]), None)
    if function is None:
        return replace(row, name="", functions=())
    properties, arguments = dict(function["parameters"]["properties"]), dict(call["arguments"])
    for name, value in arguments.items():
        if name in properties:
            arguments[name] = value = _as_spelled(_cast(value, properties[name]), properties[name], row.text)
            if isinstance(value, list) and value:
                properties[name] = {**properties[name], "type": "array", "items": _kind_of(value[0])}
            elif isinstance(value, dict):
                properties[name] = {**properties[name], **_kind_of(value)}
    mended = {**function, "parameters": {**function["parameters"], "properties": properties}}
    functions = tuple(mended if f is function else f for f in row.functions)
    return replace(row, functions=functions, name=call["name"], arguments=arguments)


def _as_spelled(value: Any, schema: Mapping[str, Any], text: str) -> Any:
    """A text in the letters of the request, where it stands there but for capitals."""
    if isinstance(value, list):
        return [_as_spelled(v, schema, text) for v in value]
    if not isinstance(value, str) or "enum" in schema:
        return value
    match = re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE)
    return match[0] if match else value


def _cast(value: Any, schema: Mapping[str, Any]) -> Any:
    """A number in quotes as a number, where the schema wants one."""
    kind = schema.get("type")
    if isinstance(value, str) and kind in ("integer", "number"):
        try:
            number = float(value.replace(",", ""))
        except ValueError:
            return value
        return int(number) if number.is_integer() else number
    if isinstance(value, str) and kind == "boolean" and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value


def _kind_of(value: Any) -> Spec:
    """The schema that a value shows."""
    if isinstance(value, dict):
        named = all(re.fullmatch(r"[a-z][a-z_]*", name) for name in value)  # rather than keyed by what was asked about
        return {"type": "object"} | ({"properties": {n: _kind_of(v) for n, v in value.items()}} if named else {})
    if isinstance(value, list):
        return {"type": "array", "items": _kind_of(value[0]) if value else {"type": "string"}}
    kinds = {bool: "boolean", int: "integer", float: "number"}
    return {"type": kinds.get(type(value), "string")}


# Are the values of a call said?

_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)\b.*")
_CLOCK = re.compile(r"(\d\d?):(\d\d)(:\d\d)?")
_MONTHS = "january february march april may june july august september october november december".split()
_NEAR = re.compile(r"(?i)\b(today|tonight|tomorrow|(mon|tues|wednes|thurs|fri|satur|sun)day|next|this)\b")


def _is_sound(row: CallRow) -> bool:
    """Whether the call fits its function, and can be read off what is shown; a row without a call must say something
    and have a function that does not seem to fit."""
    if not row.functions or not 2 <= len(row.task.split()) <= 90 or _names_a_function(row):
        return False
    if not row.name:
        return True
    if len(json.dumps(row.arguments)) > 300:
        return False
    parameters = row.right["parameters"]
    if {*row.arguments} - {*parameters["properties"]} or not Draft202012Validator(parameters).is_valid(row.arguments):
        return False
    said = Utterance(row.text)
    return all(_is_said(value, said, row, name) for name, value in row.arguments.items())


def _names_a_function(row: CallRow) -> bool:
    """Whether the request says a function's name as programs write it: it is told under other names."""
    return bool(re.search(r"(?:[a-z][A-Z]|[a-z]_[a-z])\w*(?= (?:API|function|tool))|\bAPI\b", row.task))


def _is_said(value: Any, said: Utterance, row: CallRow, name: str) -> bool:
    if isinstance(value, bool):
        return bool(stems(spelled(name)) & said.stems)
    if isinstance(value, list | dict):
        return value not in ([], {}) and all(_is_said(v, said, row, name) for v in _parts_of(value))
    if isinstance(value, int | float):
        return _is_counted(value, said)
    return _is_written(str(value), said, bool(row.day))


def _parts_of(value: Any) -> Iterator[Any]:
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, list | dict):
            yield from _parts_of(part)
        else:
            yield part


def _is_counted(value: float, said: Utterance) -> bool:
    if value == 1:
        return 1.0 in said.numbers or any(said.words(word) for word in ("one", "a", "an", "single", "myself"))
    spelt = value in range(len(WORDS)) and said.words(WORDS[int(value)])
    return spelt or value in said.numbers or round(value * 100, 6) in said.numbers


def _is_written(value: str, said: Utterance, day: bool) -> bool:
    if said.words(value):
        return True
    if match := _ISO.fullmatch(value):
        spelt = said.words(_MONTHS[int(match[2]) - 1]) or said.words(_MONTHS[int(match[2]) - 1][:3])
        whole = day or float(match[1]) in said.numbers
        return whole and ((float(match[3]) in said.numbers and spelt) or (day and bool(_NEAR.search(said.text))))
    if match := _CLOCK.fullmatch(value):
        hour, minute = int(match[1]), int(match[2])
        return {float(hour % 12 or 12), float(hour)} & {*said.numbers} != set() and (
            minute == 0 or float(minute) in said.numbers or said.words("half") or said.words("quarter")
        )
    words, digits = stems(value), [float(d) for d in re.findall(r"\d+", value)]
    return bool(words or digits) and words <= said.stems and all(d in said.numbers for d in digits)


# The sets, each with what is wrong with it.

_NEXT = re.compile(
    r"(?i)^(?:(?:and|also|then|next|first(?:ly)?|second(?:ly)?|third(?:ly)?|finally|lastly|additionally|"
    r"furthermore|moreover|after (?:that|this|which)|afterwards|besides|once [^,]*|now|in addition|subsequently|"
    r"meanwhile)\b[,:]?\s*)+"
)
_POINTS_BACK = re.compile(r"(?i)\b(it|its|them|they|these|those|above|same|previous\w*|the (?:results?|information))\b")


def _seal(given: Mapping[str, Any]) -> Iterator[CallRow]:
    """Requests for several things, not all of which have their call here: each call with its own sentence; those that
    cannot be parted, one after the other."""
    functions, task = tuple(given["functions"]), given["question"].strip()
    if not given["answer"]:
        yield from [CallRow(task, functions)] * (len(task.split()) < 35)
        return
    if "easy" in given["id"]:
        yield _with_call(CallRow(task, functions), given["answer"][0])
        return
    sentences = re.split(r"(?<=[.?!])\s+(?=[A-Z])", task)
    parted = True
    for call in given["answer"]:
        texts = [*leaves(call["arguments"])]
        holding = [s for s in sentences if texts and all(Utterance(s).words(t) for t in texts)]
        others = [t for c in given["answer"] if c is not call for t in leaves(c["arguments"])]
        if len(holding) != 1 or any(Utterance(holding[0]).words(t) for t in others if t not in texts):
            parted = False
            continue
        own = re.sub(r"\b(?:also|then) ", "", _NEXT.sub("", holding[0]), count=1)
        if not _POINTS_BACK.search(own) and len(own.split()) > 4:
            row = _with_call(CallRow(own[0].upper() + own[1:], functions), call)
            if row.name and content(row.right) & stems(own):
                yield row
    if not parted and 1 < len(given["answer"]) < 4:
        yield from _one_after_the_other(task, functions, given["answer"])


def _one_after_the_other(
    task: str, functions: tuple[Spec, ...], calls: Sequence[Mapping[str, Any]]
) -> Iterator[CallRow]:
    """The first call, and a later one when those before it are known."""
    facts: list[str] = []
    for call in calls:
        yield _with_call(CallRow(task, functions, facts=tuple(facts), several=True), call)
        made = ToolCall(name=call["name"], arguments=call["arguments"], result=RESULTS[len(task) % len(RESULTS)])
        facts.append(called(made))
    asked = {call["name"] for call in calls}
    yield CallRow(task, tuple(f for f in functions if f["name"] in asked), facts=tuple(facts), several=True)


def _dria(given: Mapping[str, Any]) -> Iterator[CallRow]:
    """Conversations: rows whose function is not spoken of are remarks rather than requests."""
    for row in _plain_rows(given):
        task = re.sub(r"^[A-Z]\w+: ", "", row.task)
        if not row.name or len(content(row.right) & stems(task)) > 1:
            yield replace(row, task=task)


_DESK = re.compile(
    r"(?i)^(sure|ok(ay)?|got it|great|alright|thanks?|yes|no|let me|of course|certainly|"
    r"i can |i'll |i will |one moment|please (provide|wait)|\{|\[)"
)


def _api_bank(given: Mapping[str, Any]) -> Iterator[CallRow]:
    """Where the assistant speaks in the user's place, the user's last words are the request."""
    history = [*given.get("history", [])]
    if _DESK.match(given["question"]) or "[" in given["question"]:
        while history and not history[-1].startswith("User: "):
            history.pop()
        if not history:
            return
        given = {**given, "question": history.pop().removeprefix("User: "), "history": history}
    functions = [f for f in given["functions"] if f["name"] not in ("ToolSearcher", "CheckToken")]
    for row in _plain_rows({**given, "functions": functions}):
        if not row.name or (row.name != "GetUserToken" and content(row.right) & stems(row.text)):
            yield row


def _rotbench(given: Mapping[str, Any]) -> Iterator[CallRow]:
    """The levels whose descriptions are right, without the two tools that end a talk."""
    level = given["id"].split("-")[1]
    ends = re.compile(r"(?i)guidance when you think|finish the task")
    functions = [f for f in given["functions"] if f["description"] and not ends.search(f["description"])]
    if level in ("clean", "slight", "medium"):
        for row in _plain_rows({**given, "functions": functions}):
            if row.name and content(row.right) & stems(row.task):
                yield row


_ASSENT = re.compile(
    r"(?i)^(yes|yeah|yep|yup|sure|ok(ay)?|right|correct|that('?s| is| would| will| works| sounds)|perfect|great|"
    r"al+right|fine|good|nice|cool|awesome|i'?m (good|fine|okay)|sounds|looks|please (do|go)|go ahead|no\b|nope|thank)"
)


def _sgd(given: Mapping[str, Any]) -> Iterator[CallRow]:
    """Talks in March 2019; numbers and yes-or-no of their schemas are texts, here they are what they are."""
    day = "Now is 2019-03-01 09:00:00, a Friday."
    functions = [{**f, "parameters": _typed(f["parameters"])} for f in given["functions"]]
    for row in _plain_rows({**given, "functions": functions}):
        if row.name and (_ASSENT.match(row.task) or len(row.task.split()) < 6 or not _speaks_of(row)):
            continue
        if row.name or given.get("neg", "").startswith("required") or len(row.task.split()) > 3:
            dated = any(_ISO.fullmatch(str(v)) for v in row.arguments.values())
            yield replace(row, day=day if dated or len(row.task) % 4 == 0 else "")


def _speaks_of(row: CallRow) -> bool:
    """Whether the request itself, and not only what was said before it, has to do with the call."""
    said = Utterance(row.task)
    return bool(content(row.right) & said.stems) or any(said.words(text) for text in leaves([*row.arguments.values()]))


def _typed(parameters: Spec) -> Spec:
    return {**parameters, "properties": {n: _typed_schema(n, s) for n, s in parameters["properties"].items()}}


def _typed_schema(name: str, schema: Spec) -> Spec:
    options = schema.get("enum", [])
    rest = {key: value for key, value in schema.items() if key != "enum"}
    if {*options} == {"True", "False"}:
        return {**rest, "type": "boolean"}
    if name.endswith(("date", "time")) or name in ("date", "time"):
        shape = "YYYY-MM-DD" if "date" in name else "HH:MM, 24 hours"
        return {**rest, "description": f"{schema['description']}, in the format {shape}"}
    if (options and all(o.isdigit() for o in options)) or re.search(r"^number_of|_size$|passengers|travelers", name):
        return {**rest, "type": "integer"}
    return schema


def _spans(given: Mapping[str, Any]) -> Iterator[CallRow]:
    """Requests to an assistant at home; names of intents are described by hand, and what is no request is left out."""
    about = _described()
    functions = [_described_spec(f) for f in given["functions"] if f["name"] in about["functions"]]
    if given["answer"] and given["answer"][0]["name"] not in about["functions"]:
        return
    for row in _plain_rows({**given, "functions": functions}):
        if not row.name or row.arguments or row.name.startswith(("iot", "audio", "general_joke", "news")):
            yield _numeric(row)


def _described_spec(function: Spec) -> Spec:
    about, parameters = _described(), function["parameters"]
    properties = {
        name: {**schema, "description": about["arguments"].get(name, "")}
        for name, schema in parameters["properties"].items()
    }
    return {
        **function,
        "description": about["functions"][function["name"]],
        "parameters": {**parameters, "properties": properties},
    }


@cache
def _described() -> dict[str, dict[str, str]]:
    return YAML(typ="safe").load(INTENTS)


def _numeric(row: CallRow) -> CallRow:
    """Years, points and numbers of people as numbers where they are given in digits or as one word."""
    if not row.name:
        return row
    parameters, arguments = row.right["parameters"], dict(row.arguments)
    properties, counted = dict(parameters["properties"]), {word: number for number, word in enumerate(WORDS)}
    for name in ("rating_value", "best_rating", "party_size_number", "year"):
        text = str(arguments.get(name, "")).lower()
        if name in properties and (text.isdigit() or text in counted or not text):
            properties[name] = {**properties[name], "type": "integer"}
            arguments |= {name: int(text) if text.isdigit() else counted[text]} if text else {}
    mended = {**row.right, "parameters": {**parameters, "properties": properties}}
    functions = tuple(mended if f["name"] == row.name else f for f in row.functions)
    return replace(row, functions=functions, arguments=arguments)


_READERS = {
    "seal_tools": _seal,
    "dria_pythonic": _dria,
    "glaive_demo": _plain_rows,
    "toolalpaca_eval_real": _plain_rows,
    "api_bank_level1_2": _api_bank,
    "rotbench_first_turn": _rotbench,
    "sgd_calls": _sgd,
    "hwu64_calls": _spans,
    "snips_calls": _spans,
}
