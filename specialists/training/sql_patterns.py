"""Patterns of questions about things of one kind, with their short SQL."""

from __future__ import annotations

import random
from collections.abc import Callable

from ..sql.catalogue import parts, quoted
from .sql_setting import Condition, Setting, said, words
from .sql_words import PLACES, extreme, measure
from .sql_worlds import Thing

Pair = tuple[str, str]
"""A question and its short SQL."""

Pattern = Callable[[Setting, Thing, random.Random], Pair | None]
"""What a pattern makes of a table; None when it does not fit."""


OWN_NAMES = frozenset("name title firstname code number plate model hostname username headline start".split())
"""Columns that name their row."""


def where(*conditions: Condition | None) -> str:
    """Conditions as WHERE, or nothing."""
    found = [c.sql for c in conditions if c]
    return f" WHERE {' AND '.join(found)}" if found else ""


def some(setting: Setting, thing: Thing, dice: random.Random, chance: float = 0.6) -> tuple[str, list[Condition]]:
    """A plural, perhaps narrowed down once or twice."""
    first = setting.condition(thing) if dice.random() < chance else None
    second = setting.condition(thing) if first and dice.random() < 0.25 else None
    if first and second and first.sql.split()[0] == second.sql.split()[0]:
        second = None
    found = [c for c in (first, second) if c]
    return " ".join((thing.plural, " and ".join(c.words for c in found))).replace("_", " "), found


def listed(s: Setting, t: Thing, dice: random.Random) -> Pair:
    """All of a kind, perhaps narrowed down."""
    text, found = some(s, t, dice, 0.85)
    label = ", ".join(s.label(t))
    ask = ("list the {}", "show me all {}", "which are the {}", "give me the {}", "what are the {}", "name the {}")
    if s.label(t)[0].endswith("name"):
        ask += ("what are the names of the {}", "list the names of {}")
    return dice.choice(ask).format(text), f"SELECT {label}{where(*found)}"


def columns(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """One or two properties of some things."""
    own = [f for f in t.features if f.kind != ">"]
    if len(own) < 2:
        return None
    text, found = some(s, t, dice, 0.7)
    chosen = dice.sample(own, dice.choice((1, 2, 2)))
    asked = " and ".join(words(f.name) for f in chosen)
    ask = ("what are the {} of {}", "list the {} of {}", "show the {} of all {}", "return the {} for {}")
    return dice.choice(ask).format(asked, text), f"SELECT {', '.join(s.column(t, f) for f in chosen)}{where(*found)}"


def look_up(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """A property of one named thing."""
    names = t.of("name")
    others = [f for f in t.features if f not in names[:1] and f.kind != ">"]
    if not has_name(t) or not names[0].values or not others:
        return None
    value, feature = dice.choice(names[0].values), dice.choice(others)
    shown, name = dice.choice((value, value.lower(), value.lower(), f'"{value}"')), words(feature.name)
    ask = ["what is the {0} of {1}", "give me the {0} of the {2} {1}", "{0} of {1}", "what {0} does {1} have"]
    kind = measure(feature)
    if kind:
        ask += [way.replace("{}", way_of) for way in kind.asks for way_of in ("{1}", "{1}", "the {2} {1}")]
    elif feature.kind == "n" and name.endswith("s"):
        ask += ["how many {0} does {1} have", "how many {0} does the {2} {1} have"] * 2
    if feature.kind in ("d", "y"):
        ask += ["when was {1} {0}", "when was the {2} {1} {0}"]
    if PLACES & {*parts(feature.name)}:
        ask += ["where is {1}", "where is the {2} {1}", "in which {0} is {1}"]
    sql = f"SELECT {s.column(t, feature)} WHERE {s.column(t, names[0])} = {said(value)}"
    return dice.choice(ask).format(name, shown, words(t.noun)), sql


def of_parent(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """A property of what belongs to a named thing and has no name itself: `stock(warehouse, quantity)`."""
    parents = [p for p in s.parents(t) if p.of("name") and p.of("name")[0].values]
    others = [f for f in t.features if f.kind != ">"]
    if has_name(t) or not parents or not others:
        return None
    parent, feature = dice.choice(parents), dice.choice(others)
    value, condition = s.is_named(t, parent)
    ask = ["what is the {0} {2} {1}", "give me the {0} {2} the {3} {1}", "{0} {2} {1}", "what {0} does {1} have"]
    if feature.kind == "name":
        ask += ["where is the {0} {2} {1}", "which is the {0} {2} {1}"]
    shown, way = dice.choice((value, value.lower())), "in" if parent.noun in PLACES else "of"
    asked = dice.choice(ask).format(words(feature.name), shown, dice.choice((way, "of")), words(parent.noun))
    return asked, f"SELECT {s.column(t, feature)} WHERE {condition}"


def has_name(t: Thing) -> bool:
    """Whether things of this kind have names of their own."""
    return bool(t.of("name")) and bool(OWN_NAMES & {*parts(t.of("name")[0].name)})


def parent_of(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """Which parent a named thing belongs to."""
    if not s.parents(t) or not t.of("name") or not t.of("name")[0].values:
        return None
    parent, value = dice.choice(s.parents(t)), dice.choice(t.of("name")[0].values)
    feature = dice.choice([f for f in parent.features if f.kind != ">"])
    what = parent.noun if feature.kind == "name" else f"{words(feature.name)} of the {parent.noun}"
    ask = ["which is the {0} of {1}", "what is the {0} of the {2} {1}", "what {0} does {1} belong to"]
    if parent.noun in PLACES and feature.kind == "name":
        ask += ["where is {1}", "where is the {2} {1}", "in which {0} is {1} located", "what {0} is {1} in"]
    target = s.label(parent)[0] if feature.kind == "name" else s.column(parent, feature)
    if feature.kind == "name" and target == s.key(parent):
        target = s.link(t, parent)
    condition = f"{s.column(t, t.of('name')[0])} = {said(value)}"
    shown = dice.choice((value, value.lower()))
    return dice.choice(ask).format(what, shown, words(t.noun)), f"SELECT {target} WHERE {condition}"


def count(s: Setting, t: Thing, dice: random.Random) -> Pair:
    """How many there are."""
    text, found = some(s, t, dice, 0.85)
    ask = (
        "how many {} are there",
        "how many {}",
        "count the {}",
        "what is the number of {}",
        "number of {}",
        "total number of {}",
    )
    return dice.choice(ask).format(text), f"SELECT COUNT({quoted(s.table(t))}.*){where(*found)}"


def distinct(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """How many different ones there are."""
    usable = t.of("c", ">")
    if not usable:
        return None
    feature = dice.choice(usable)
    name = words(feature.name)
    many = s.world[feature.name].plural if feature.kind == ">" else f"{name}s"
    ask = (
        "how many different {} do the {} have",
        "how many unique {} are there among the {}",
        "count of distinct {} of {}",
    )
    text, found = some(s, t, dice, 0.4)
    return dice.choice(ask).format(many, text), f"SELECT COUNT(DISTINCT {s.column(t, feature)}){where(*found)}"


AGGREGATES = (
    ("AVG", ("average {}", "mean {}", "avg {}")),
    ("SUM", ("total {}", "sum of the {}", "combined {}")),
    ("MAX", ("highest {}", "maximum {}", "largest {}")),
    ("MIN", ("lowest {}", "minimum {}", "smallest {}")),
)


def aggregate(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """An average, a sum, an extreme."""
    if not t.of("n"):
        return None
    feature, (function, names) = dice.choice(t.of("n")), dice.choices(AGGREGATES, (3, 3, 1, 1))[0]
    text, found = some(s, t, dice)
    ask = ("what is the {} of {}", "{} of {}", "what's the {} of the {}", "give the {} for {}", "find the {} of all {}")
    asked = dice.choice(names).format(words(feature.name))
    return dice.choice(ask).format(asked, text), f"SELECT {function}({s.column(t, feature)}){where(*found)}"


def superlative(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """The thing with the highest value, or something about it."""
    usable = [*t.of("n"), *t.of("n"), *t.of("y", "d")]
    if not usable:
        return None
    feature, low = dice.choice(usable), dice.random() < 0.35
    text, found = some(s, t, dice, 0.5)
    column = s.column(t, feature)
    what = f"the {extreme(t, feature, dice, low=low)} {text.removeprefix(words(t.plural)).strip()}"
    condition = " AND ".join([*(c.sql for c in found), f"{column} = {'MIN' if low else 'MAX'}({column})"])
    others = [f for f in t.features if f not in t.of("name")[:1] and f.kind != ">"]
    if dice.random() < 0.35:
        other = dice.choice(others)
        kind = measure(other)
        ways = ["what is the {0} of {1}", *(way.replace("{}", "{1}") for way in (kind.asks if kind else ()))]
        return dice.choice(ways).format(words(other.name), what), f"SELECT {s.column(t, other)} WHERE {condition}"
    both = dice.random() < 0.2
    target = ", ".join([*s.label(t), *([column] if both else [])])
    ask = dice.choice(("what is {}", "which is {}", "find {}", "give me the name of {}")).format(what)
    return ask + (f" and what is its {words(feature.name)}" if both else ""), f"SELECT {target} WHERE {condition}"


def top(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """The first few, or all in order."""
    if not t.of("n", "y", "d"):
        return None
    feature, low, count = dice.choice(t.of("n", "n", "y", "d")), dice.random() < 0.3, dice.choice((2, 3, 3, 5, 5, 10))
    text, found = some(s, t, dice, 0.35)
    column, name = s.column(t, feature), words(feature.name)
    number = dice.choice((str(count), {2: "two", 3: "three", 5: "five", 10: "ten"}[count]))
    if dice.random() < 0.5:
        ask = f"top {number} {text} {dice.choice(('by', 'with the lowest' if low else 'with the highest'))} {name}"
        low = low and "lowest" in ask
        ask = dice.choice(("what are the {}", "show the {}", "list the {}", "{}")).format(ask)
        limit = f" LIMIT {count}"
    else:
        way = dice.choice(
            (" in ascending order", " from lowest to highest", "")
            if low
            else (" in descending order", " from highest to lowest")
        )
        ask = dice.choice(
            ("list the {} ordered by {}{}", "show all {} sorted by {}{}", "what are the {}, ordered by {}{}")
        ).format(text, name, way)
        limit = ""
    shown = dice.choice((s.label(t), [*s.label(t), column]))
    if len(shown) > len(s.label(t)):
        ask += f" and show the {name}" if dice.random() < 0.7 else ""
        shown = shown if ask.endswith(f"show the {name}") else s.label(t)
    return ask, f"SELECT {', '.join(shown)}{where(*found)} ORDER BY {column}{'' if low else ' DESC'}{limit}"
