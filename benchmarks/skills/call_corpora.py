"""Lessons for calls out of the public sets: prompts as the style `act` makes them, a call or none for each.

    python benchmarks/skills/call_corpora.py CORPORA [--share 1.0] [--shown 10]      # counts, and some of them

A row is taken where its call fits its function and all its values can be read in what is shown. Each is told under
other names, with other neighbours and with arguments that nobody said, and more than a quarter of the prompts have no
function that fits, though most have one near it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from metier.benchmarks.skills.call_data import camel
from metier.benchmarks.skills.call_near import Pool, Spec, does_another_thing, key, verb
from metier.benchmarks.skills.call_rows import CallRow, read_calls
from metier.benchmarks.skills.call_worlds import WORDS
from metier.specialists.functions import NO_CALL
from metier.specialists.prompt import TrainingExample
from metier.specialists.styles.act.arguments import spelled, stems
from metier.specialists.styles.act.shown_tools import SHOWN

SHARES = {
    "seal_tools": 7000,
    "dria_pythonic": 1800,
    "glaive_demo": 700,
    "toolalpaca_eval_real": 150,
    "api_bank_level1_2": 700,
    "rotbench_first_turn": 400,
    "sgd_calls": 3000,
    "hwu64_calls": 1500,
    "snips_calls": 1500,
}
"""How many prompts of each set: sets of many functions in whole requests get more. A small set is told several times,
each time in another way."""

ROUNDS = 4
"""How often a row is told at most."""

NONE = 0.23
"""Share of the rows with a call that are shown without the function that fits."""

OWN_NONE = 0.1
"""Rows of a set that have no call by themselves, to a row with one, at most."""

SEVERAL = 0.08
"""Rows that ask for several things at once, to a row that asks for one, at most."""


def examples(
    folder: Path, dice: random.Random, share: float = 1.0, hidden: Collection[str] = ()
) -> Iterator[TrainingExample]:
    """Prompts of all sets, as many of each as `SHARES` says.

    Args:
        folder: The corpora; those of calls lie in `call`.
        share: Part of the prompts to make.
        hidden: Names of functions that must not be shown, whatever their spelling: those that figures are made on.
    """
    for _, row in told(folder, dice, share, hidden):
        yield row.example


def told(
    folder: Path, dice: random.Random, share: float = 1.0, hidden: Collection[str] = ()
) -> Iterator[tuple[str, CallRow]]:
    """The rows behind `examples`, with the names of their sets."""
    barred = {key(name) for name in hidden}
    sets = {name: _balanced([*read_calls(folder, name, barred)], dice) for name in SHARES}
    pool = Pool([f for name in _POOLED for row in sets[name] for f in row.functions])
    for name, rows in sets.items():
        tell = Telling(dice, Pool([f for row in rows for f in row.functions]) if name in _FEW else pool)
        wanted = round(SHARES[name] * share)
        for _ in range(ROUNDS):
            dice.shuffle(rows)
            for row in rows[:wanted]:
                yield name, tell(row)
            wanted -= len(rows[:wanted])


def _balanced(rows: Sequence[CallRow], dice: random.Random) -> list[CallRow]:
    """All requests for one thing, and some of those for several and of those that nothing fits."""
    fits = [row for row in rows if row.name and not row.several]
    several = [row for row in rows if row.several]
    none = [row for row in rows if not row.name and not row.several]
    return [
        *fits,
        *dice.sample(several, min(len(several), round(len(fits) * SEVERAL))),
        *dice.sample(none, min(len(none), round(len(fits) * OWN_NONE))),
    ]


_POOLED = ("seal_tools", "dria_pythonic", "glaive_demo", "toolalpaca_eval_real", "api_bank_level1_2")
"""Sets whose functions stand beside those of all others."""

_FEW = ("sgd_calls", "hwu64_calls", "snips_calls")
"""Sets of a few functions, which are mixed among themselves only."""


# Telling a row: under which names, beside what, with what else that may be said.


class Extra(NamedTuple):
    """An optional argument that many functions have, and how it is said; `{}` is the value in words."""

    name: str
    schema: Spec
    said: tuple[str, ...]
    values: Mapping[str, Any]
    """As said → as written."""


def _unsaid(name: str, kind: str, about: str, *options: str) -> Extra:
    """An argument that no request speaks of: it is left out."""
    rest: Spec = {"enum": [*options]} if options else {"items": {"type": "string"}} if kind == "array" else {}
    return Extra(name, {"type": kind, "description": about, **rest}, (), {})


_FEW_RESULTS = {word: number for number, word in enumerate(WORDS) if number > 1} | {
    str(n): n for n in (5, 10, 20, 25, 50)
}
_EXTRAS = (
    Extra(
        "limit",
        {"type": "integer", "description": "Maximum number of results. Default is 10."},
        ("Give me {} results.", "At most {} results, please.", "Limit it to the first {}."),
        _FEW_RESULTS,
    ),
    Extra(
        "language",
        {"type": "string", "description": "Language of the answer, as a two-letter code. Default is 'en'."},
        ("Answer in {}.", "I need it in {}."),
        {"German": "de", "French": "fr", "Spanish": "es", "Italian": "it", "English": "en"},
    ),
    Extra(
        "format",
        {"type": "string", "enum": ["json", "csv", "xml"], "description": "How the result is written. Default: json."},
        ("Return it as {}.", "I want the output in {} format."),
        {"CSV": "csv", "XML": "xml", "JSON": "json"},
    ),
    Extra(
        "detailed",
        {"type": "boolean", "description": "Whether to give a detailed report. Default is false."},
        ("Make it {}.", "I want a {} report."),
        {"detailed": True},
    ),
    Extra(
        "sort_order",
        {"type": "string", "enum": ["ascending", "descending"], "description": "Order of the results."},
        ("Sort them in {} order.", "List the results in {} order."),
        {"ascending": "ascending", "descending": "descending"},
    ),
    Extra(
        "unit",
        {"type": "string", "enum": ["metric", "imperial"], "description": "System of units. Defaults to metric."},
        (),
        {},
    ),
    _unsaid("timeout", "number", "Seconds to wait. Default 30.0"),
    _unsaid("verbose", "boolean", ""),
    _unsaid("page", "integer", "Page of the results, from 1."),
    _unsaid("source", "string", "Where the data come from. Use 'all' for every source."),
    _unsaid("time_zone", "string", "Time zone such as 'UTC' or 'Europe/Oslo'"),
    _unsaid("priority", "string", "How urgent it is", "low", "normal", "high"),
    _unsaid("region", "string", "Use 'any' for all regions.", *"any Africa America Asia Europe Oceania".split()),
    _unsaid("mood", "string", "Style of the answer.", *"formal friendly funny serious neutral dontcare".split()),
    _unsaid("tags", "array", "Tags to filter by; all if left out."),
)
_STYLES = (
    lambda name: name,
    lambda name: name,
    lambda name: "_".join(spelled_words(name)),
    camel,
    lambda name: ".".join(("_".join(spelled_words(name)[1:]) or "tools", spelled_words(name)[0])),
    lambda name: "".join(word.capitalize() for word in spelled_words(name)),
)
_EXAMPLES = re.compile(r"\s*\(e\.g\.,? ([^()]+)\)")


def spelled_words(name: str) -> list[str]:
    """The words of a name in code, digits kept: `get_top5` is `get top5`."""
    return [w.lower() for w in re.split(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])", name) if w] or [name]


@dataclass(frozen=True)
class Telling:
    """Makes the rows that are learnt out of those of a set; all chance comes from `dice`."""

    dice: random.Random
    pool: Pool

    def __call__(self, row: CallRow) -> CallRow:
        """The row with its neighbours, or without its function, in some spelling."""
        if row.name and not row.several and self.dice.random() < NONE:
            return self._styled(self._without(row))
        if not row.name:
            return self._styled(self._kept(row, [*row.functions]))
        row = self._counted_in_words(self._listed(self._more(self._fewer(row))))
        return self._styled(self._beside(row))

    def _without(self, row: CallRow) -> CallRow:
        """The function that fits is not there: what is near it is, or at times anything."""
        others = [f for f in row.functions if does_another_thing(f, row.right, row.task)]
        near = [*self.pool.near(row.right, row.task, self.dice)][:6]
        some = near if near and (self.dice.random() < 0.7 or not others) else others
        if not some or self.dice.random() < 0.15:
            strangers = (self.pool.any(self.dice) for _ in range(20))
            some = [f for f in strangers if does_another_thing(f, row.right, row.task)][:2]
        return self._kept(replace(row, name="", arguments={}), some or others)

    def _beside(self, row: CallRow) -> CallRow:
        """The right function alone, or among neighbours of the row and of the pool."""
        others = [f for f in row.functions if f["name"] != row.name and does_another_thing(f, row.right, row.task)]
        near = [*self.pool.near(row.right, row.task, self.dice)][:4]
        some = self.dice.sample(others, min(len(others), 2)) + self.dice.sample(near, min(len(near), 2))
        self.dice.shuffle(some)
        count = self.dice.choice((0, 0, 1, SHOWN - 1, SHOWN - 1))
        kept = {key(f["name"]): f for f in [row.right, *some[:count]]}
        return self._kept(row, [*kept.values()])

    def _kept(self, row: CallRow, functions: list[Spec]) -> CallRow:
        """At most so many as the product shows, in any order; where none fits, often one alone."""
        most = SHOWN if row.name else self.dice.choice((1, 1, 1, 2, SHOWN))
        if not row.name:
            self.dice.shuffle(functions)
        kept = [*{f["name"]: f for f in functions}.values()][:most]
        self.dice.shuffle(kept)
        return replace(row, functions=tuple(kept))

    def _fewer(self, row: CallRow) -> CallRow:
        """Of many optional arguments that nobody said, only some."""
        parameters = row.right["parameters"]
        kept = {*row.arguments, *parameters["required"]}
        odds = 1.0 if len(parameters["properties"]) < 5 else 0.5
        left = {n: s for n, s in parameters["properties"].items() if n in kept or self.dice.random() < odds}
        return self._with_properties(row, left)

    def _more(self, row: CallRow) -> CallRow:
        """At times an optional argument more, said in a sentence of its own or not at all."""
        if row.several or self.dice.random() > 0.4:
            return row
        extra, properties = self.dice.choice(_EXTRAS), row.right["parameters"]["properties"]
        named = stems(" ".join((spelled(extra.name), *extra.schema.get("enum", ()))))
        if extra.name in properties or named & stems(row.text):
            return row
        row = self._with_properties(row, {**properties, extra.name: extra.schema})
        if (
            not extra.said
            or verb(row.right) != "read"
            or self.dice.random() < 0.55
            or not row.task.endswith((".", "?"))
        ):
            return row
        spoken = self.dice.choice([*extra.values])
        task = f"{row.task} {self.dice.choice(extra.said).format(spoken)}"
        return replace(row, task=task, arguments={**row.arguments, extra.name: extra.values[spoken]})

    def _listed(self, row: CallRow) -> CallRow:
        """At times the values that a description gives as examples are all there are."""
        properties, arguments = dict(row.right["parameters"]["properties"]), dict(row.arguments)
        for name, schema in properties.items():
            match = _EXAMPLES.search(schema.get("description", ""))
            if not match or schema.get("type") != "string" or self.dice.random() < 0.6:
                continue
            options = [option.strip() for option in match[1].split(",")]
            value = arguments.get(name)
            same = next((o for o in options if str(value).lower() == o.lower()), None)
            if (
                len(options) < 2
                or any(len(o.split()) > 3 or not o for o in options)
                or (value is not None and not same)
            ):
                continue
            options = [o.lower().replace(" ", "_") for o in options] if self.dice.random() < 0.4 else options
            about = _EXAMPLES.sub("", schema["description"])
            properties[name] = {"type": "string", "enum": options, "description": about}
            if same:
                arguments[name] = next(
                    o for o in options if o.lower().replace("_", " ") == same.lower().replace("_", " ")
                )
        return replace(self._with_properties(row, properties), arguments=arguments)

    def _counted_in_words(self, row: CallRow) -> CallRow:
        """At times a small number is said in words."""
        task = row.task
        for value in row.arguments.values():
            if type(value) is int and 1 < value < len(WORDS) and self.dice.random() < 0.4:
                task = re.sub(rf"(?<![\w.,:/$-]){value}(?= [a-z])(?! (am|pm|percent|o'clock))", WORDS[value], task)
        return replace(row, task=task)

    def _with_properties(self, row: CallRow, properties: Spec) -> CallRow:
        mended = {**row.right, "parameters": {**row.right["parameters"], "properties": properties}}
        return replace(row, functions=tuple(mended if f["name"] == row.name else f for f in row.functions))

    def _styled(self, row: CallRow) -> CallRow:
        """Names of functions and arguments in one spelling, at times without what is said of the arguments."""
        style, bare = self.dice.choice(_STYLES), self.dice.random() < 0.1
        inner = camel if style is camel and self.dice.random() < 0.5 else str
        names = {f["name"]: style(f["name"]) for f in row.functions}
        if len({*names.values()}) < len(names) or row.facts:
            names, inner = {name: name for name in names}, str
        functions = tuple(self._respelled(f, names[f["name"]], inner, bare=bare) for f in row.functions)
        arguments = {inner(name): value for name, value in row.arguments.items()}
        return replace(row, functions=functions, name=names.get(row.name, ""), arguments=arguments)

    def _respelled(self, function: Spec, name: str, inner: Callable[[str], str], *, bare: bool) -> Spec:
        parameters = function["parameters"]
        properties = {
            inner(n): {k: v for k, v in s.items() if not (bare and k == "description")}
            for n, s in parameters["properties"].items()
        }
        required = [inner(n) for n in parameters["required"]]
        return {**function, "name": name, "parameters": {**parameters, "properties": properties, "required": required}}


def main() -> None:
    """Counts, and some examples to read."""
    parser = argparse.ArgumentParser(description="Counts the lessons for calls, and shows some.")
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--shown", type=int, default=10)
    parser.add_argument("--set", help="only this one")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    dice = random.Random(args.seed)
    made = [(name, row.example) for name, row in told(args.corpora, dice, args.share)]
    print(f"{'set':24}{'prompts':>8}{'none':>6}{'tokens':>10}")
    for name in [*SHARES, ""]:
        some = [e for of, e in made if not name or of == name]
        none = sum(e.answer == NO_CALL for e in some)
        print(f"{name or 'all':24}{len(some):8}{none / max(1, len(some)):6.2f}{round(sum(map(_tokens, some))):10}")
    kinds = Counter(
        type(v).__name__ for _, e in made if e.answer != NO_CALL for v in json.loads(e.answer)["arguments"].values()
    )
    print("values:", dict(kinds))
    for name, example in dice.sample([m for m in made if args.set in (None, m[0])], args.shown):
        print(f"\n— {name}")
        print(*(message["content"] for message in example.messages), sep="\n")
        print("→", example.answer)


def _tokens(example: TrainingExample) -> float:
    return 1.4 * sum(len(text.split()) for text in (*(m["content"] for m in example.messages), example.answer))


if __name__ == "__main__":
    main()
