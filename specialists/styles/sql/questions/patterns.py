"""Patterns of questions about things of one kind, with their short SQL.

Long, for it is one catalogue: a pattern is a few lines, and one looks there for those that it must not repeat.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import sqlglot

from .....core.errors import ToolError
from ..schema import Catalogue, parts, quoted
from ..short import expand
from .setting import Condition, Setting, sql_text, words
from .vocabulary import PLACES, Thing, extreme, extremes, measure, worlds

Pair = tuple[str, str]
"""A question and its short SQL."""


Pattern = Callable[[Setting, Thing, random.Random], Pair | None]
"""What a pattern makes of a table; None when it does not fit."""


_OWN_NAMES = frozenset("name title firstname code number plate model hostname username headline start".split())
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


def _listed(s: Setting, t: Thing, dice: random.Random) -> Pair:
    """All of a kind, perhaps narrowed down."""
    text, found = some(s, t, dice, 0.85)
    label = ", ".join(s.label(t))
    ask = ("list the {}", "show me all {}", "which are the {}", "give me the {}", "what are the {}", "name the {}")
    if s.label(t)[0].endswith("name"):
        ask += ("what are the names of the {}", "list the names of {}")
    return dice.choice(ask).format(text), f"SELECT {label}{where(*found)}"


def _columns(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """One or two properties of some things."""
    own = [f for f in t.features if f.kind != ">"]
    if len(own) < 2:
        return None
    text, found = some(s, t, dice, 0.7)
    chosen = dice.sample(own, dice.choice((1, 2, 2)))
    asked = " and ".join(words(f.name) for f in chosen)
    ask = ("what are the {} of {}", "list the {} of {}", "show the {} of all {}", "return the {} for {}")
    return dice.choice(ask).format(asked, text), f"SELECT {', '.join(s.column(t, f) for f in chosen)}{where(*found)}"


def _look_up(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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
    sql = f"SELECT {s.column(t, feature)} WHERE {s.column(t, names[0])} = {sql_text(value)}"
    return dice.choice(ask).format(name, shown, words(t.noun)), sql


def _of_parent(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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
    return bool(t.of("name")) and bool(_OWN_NAMES & {*parts(t.of("name")[0].name)})


def _parent_of(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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
    condition = f"{s.column(t, t.of('name')[0])} = {sql_text(value)}"
    shown = dice.choice((value, value.lower()))
    return dice.choice(ask).format(what, shown, words(t.noun)), f"SELECT {target} WHERE {condition}"


def _count(s: Setting, t: Thing, dice: random.Random) -> Pair:
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


def _distinct(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def _aggregate(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """An average, a sum, an extreme."""
    if not t.of("n"):
        return None
    feature, (function, names) = dice.choice(t.of("n")), dice.choices(AGGREGATES, (3, 3, 1, 1))[0]
    text, found = some(s, t, dice)
    ask = ("what is the {} of {}", "{} of {}", "what's the {} of the {}", "give the {} for {}", "find the {} of all {}")
    asked = dice.choice(names).format(words(feature.name))
    return dice.choice(ask).format(asked, text), f"SELECT {function}({s.column(t, feature)}){where(*found)}"


def _superlative(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def _top(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


# Patterns of questions about amounts, dates and links between things, with their short SQL.


def by_parent(s: Setting, child: Thing, parent: Thing) -> str:
    """The column that tells parents apart, for people; the child's own where the parent has nothing better."""
    return s.link(child, parent) if s.label(parent)[0] == s.key(parent) else s.label(parent)[0]


def _holder(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """Which parent has the most extreme of its children."""
    if not s.parents(t) or not t.of("n"):
        return None
    parent, feature, low = dice.choice(s.parents(t)), dice.choice(t.of("n")), dice.random() < 0.35
    one = f"the {extreme(t, feature, dice, low=low)}"
    ask = dice.choice(("which {0} has {1}", "what {0} has {1}", "in which {0} is {1}", "what is the {0} of {1}"))
    column = s.column(t, feature)
    return ask.format(words(parent.noun), one), (
        f"SELECT {by_parent(s, t, parent)} WHERE {column} = {'MIN' if low else 'MAX'}({column})"
    )


def _ranked(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """Which parent or category has the highest total or average, or more than some."""
    if not t.of("n") or not t.of(">", "c"):
        return None
    group, feature, low = dice.choice(t.of(">", "c")), dice.choice(t.of("n")), dice.random() < 0.3
    by = by_parent(s, t, s.world[group.name]) if group.kind == ">" else s.column(t, group)
    function, name = dice.choice((("SUM", "total"), ("AVG", "average"), ("SUM", "combined"), ("AVG", "mean")))
    value, what = f"{function}({s.column(t, feature)})", f"{name} {words(feature.name)}"
    each, many = words(group.name), words(t.plural)
    if dice.random() < 0.3:
        sign, more = dice.choice(((">", "above"), ("<", "below"), (">", "of more than"), ("<", "of less than")))
        number = dice.choice((10, 50, 100, 500, 2000))
        ask = dice.choice(("which {0} has a {1} of {2} {3} {4}", "list each {0} whose {2} have a {1} {3} {4}"))
        return ask.format(each, what, many, more, number), f"SELECT {by} GROUP BY {by} HAVING {value} {sign} {number}"
    most = dice.choice(("lowest", "smallest") if low else ("highest", "largest", "greatest"))
    ask = dice.choice(
        ("which {0} has the {3} {1} of {2}", "what {0} has the {3} {1} of its {2}", "{0} with the {3} {1}")
    )
    end = f"GROUP BY {by} ORDER BY {value}{'' if low else ' DESC'}"
    if dice.random() < 0.3:
        count = dice.choice((2, 3, 5, 10))
        ask = f"top {count} {each} by {what} of {many}" if not low else f"the {count} {each} with the {most} {what}"
        return ask, f"SELECT {by}, {value} {end} LIMIT {count}"
    return ask.format(each, what, many, most), f"SELECT {by} {end} LIMIT 1"


def _share(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """One amount divided by another: for each thing, or over all."""
    if len(t.of("n")) < 2:
        return None
    one, other = dice.sample(t.of("n"), 2)
    a, b, many = s.column(t, one), s.column(t, other), words(t.plural)
    what = f"ratio of {words(one.name)} to {words(other.name)}"
    if dice.random() < 0.3:
        text, found = some(s, t, dice, 0.5)
        ask = dice.choice(("what is the overall {0} of {1}", "what is the {0} over all {1}", "total {0} of the {1}"))
        return ask.format(what, text), f"SELECT 1.0 * SUM({a}) / SUM({b}){where(*found)}"
    asks = ("what is the {0} for each {1}", "get the {0} of each {1}", "show every {1} with its {0}", "{0} per {1}")
    ask = dice.choice(asks).format(what, words(t.noun))
    if dice.random() < 0.4:
        ask += dice.choice((", highest first", ", from highest to lowest", f" of all {many}, in descending order"))
        return ask, f"SELECT {', '.join(s.label(t))}, 1.0 * {a} / {b} ORDER BY 1.0 * {a} / {b} DESC"
    return ask, f"SELECT {', '.join(s.label(t))}, 1.0 * {a} / {b}"


def _combined(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """The sum over all, or over those of a parent."""
    if not t.of("n"):
        return None
    feature = dice.choice(t.of("n"))
    text, found = some(s, t, dice, 0.5)
    asks = (
        "what is the {0} of all {1} combined",
        "how much {0} do the {1} have together",
        "how many {0} do all the {1} have in total",
        "what is the total {0} of all the {1}",
        "add up the {0} of the {1}",
    )
    return dice.choice(asks).format(words(feature.name), text), f"SELECT SUM({s.column(t, feature)}){where(*found)}"


def _recent(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """What happened in the last days or years, or how long it took, or the last time."""
    if not t.of("d"):
        return None
    feature, many = dice.choice(t.of("d")), words(t.plural)
    column, verb, count = s.column(t, feature), words(feature.name), dice.choice((2, 3, 5, 6, 10, 30))
    others = [f for f in t.of("d") if f is not feature]
    match dice.randrange(4):
        case 0:
            unit = dice.choice(("days", "months", "years"))
            ask = dice.choice(("how many {0} were {1} in the last {2} {3}", "number of {0} {1} in the past {2} {3}"))
            condition = f"DATE({column}) >= DATE('now', '-{count} {unit}')"
            return ask.format(many, verb, count, unit), f"SELECT COUNT({quoted(s.table(t))}.*) WHERE {condition}"
        case 1:
            last = dice.random() < 0.6
            way = dice.choice(("last", "latest", "most recent") if last else ("first", "earliest"))
            ask = dice.choice(("when was the {0} {1} {2}", "what is the {0} date a {1} was {2}"))
            return ask.format(way, words(t.noun), verb), f"SELECT {'MAX' if last else 'MIN'}({column})"
        case 2 if others:
            start, end = sorted((feature, dice.choice(others)), key=t.features.index)
            days = f"JULIANDAY({s.column(t, end)}) - JULIANDAY({s.column(t, start)})"
            ask = dice.choice(
                (
                    "what is the average number of days between {0} and {1} of {2}",
                    "days from {0} to {1} of the {2} on average",
                )
            )
            return ask.format(words(start.name), words(end.name), many), f"SELECT AVG({days})"
    form, unit = dice.choice((("%Y-%m", "month"), ("%Y", "year")))
    period = f"STRFTIME('{form}', {column})"
    ask = dice.choice(("how many {0} were {1} {3} {2}", "number of {0} {1} {3} {2}", "count the {0} {1} {3} {2}"))
    asked = ask.format(many, verb, unit, dice.choice(("per", "in each", "each", "by")))
    return asked, f"SELECT {period}, COUNT({quoted(s.table(t))}.*) GROUP BY {period} ORDER BY {period}"


def _flags(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """How many have it and how many do not."""
    if not t.of("f"):
        return None
    feature, many = dice.choice(t.of("f")), words(t.plural)
    verb, _, rest = feature.name.partition("_")
    have, column = (f"have {rest}" if verb == "has" else f"are {words(feature.name)}"), s.column(t, feature)
    ask = dice.choice(("how many {0} {1} and how many do not", "count the {0} that {1} and those that do not"))
    return ask.format(many, have), f"SELECT {column}, COUNT({quoted(s.table(t))}.*) GROUP BY {column}"


def _either(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """One condition or another, or one of two values."""
    label, many = ", ".join(s.label(t)), words(t.plural)
    head, asks = dice.choice(
        (
            (label, ("which {} {} or {}", "list the {} {} or {}", "find all {} {} or {}")),
            (f"COUNT({quoted(s.table(t))}.*)", ("how many {} {} or {}", "number of {} {} or {}")),
        )
    )
    if t.of("c") and dice.random() < 0.5:
        feature = dice.choice(t.of("c"))
        if len(feature.values) < 2:
            return None
        a, b = dice.sample(feature.values, 2)
        asked = (many, f"with {words(feature.name)} {a}", b)
        return dice.choice(asks).format(*asked), f"SELECT {head} WHERE {s.column(t, feature)} IN ('{a}', '{b}')"
    one, other = s.condition(t), s.condition(t)
    table = quoted(s.table(t)) + "."
    if not one or not other or one.sql == other.sql or not all(c.sql.startswith(table) for c in (one, other)):
        return None
    return dice.choice(asks).format(many, one.words, other.words), f"SELECT {head} WHERE {one.sql} OR {other.sql}"


def _linked(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """Things that a table between them links."""
    if len(s.parents(t)) < 2:
        return None
    one, other = dice.sample(s.parents(t), 2)
    by, count = by_parent(s, t, one), f"COUNT(DISTINCT {s.link(t, other)})"
    ones, others = words(one.plural), words(other.plural)
    match dice.randrange(4):
        case 0:
            ask = dice.choice(("how many {1} does each {0} have", "number of {1} for each {0}", "{1} per {0}"))
            return ask.format(words(one.noun), others), f"SELECT {by}, {count} GROUP BY {by} ORDER BY {count} DESC"
        case 1:
            ask = dice.choice(("which {0} has the most {1}", "what {0} is linked with the most {1}"))
            return ask.format(words(one.noun), others), f"SELECT {by} GROUP BY {by} ORDER BY {count} DESC LIMIT 1"
    if not other.of("name") or not other.of("name")[0].values:
        return None
    value = dice.choice(other.of("name")[0].values)
    condition = f"{s.column(other, other.of('name')[0])} = '{value}'"
    if dice.random() < 0.4:
        ask = dice.choice(("how many {0} have the {1} {2}", "number of {0} with the {1} {2}"))
        return ask.format(ones, words(other.noun), value), f"SELECT COUNT(DISTINCT {s.link(t, one)}) WHERE {condition}"
    ask = dice.choice(("which {0} go with the {1} {2}", "list the {0} of the {1} {2}", 'what {0} have the {1} "{2}"'))
    return ask.format(ones, words(other.noun), value), f"SELECT DISTINCT {by} WHERE {condition}"


def _both(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """Things that have this and that."""
    children = s.children(t)
    if len(children) < 2:
        return None
    one, other = dice.sample(children, 2)
    key, label = s.key(t), ", ".join(s.label(t))
    without = dice.random() < 0.3
    ask = dice.choice(
        ("which {0} have {1} but no {2}", "list the {0} with {1} and without {2}")
        if without
        else ("which {0} have both {1} and {2}", "list the {0} with {1} and {2}")
    )
    second = f"{'NOT ' if without else ''}{key} IN (SELECT {s.link(other, t)})"
    asked = ask.format(*(words(x.plural) for x in (t, one, other)))
    return asked, f"SELECT {label} WHERE {key} IN (SELECT {s.link(one, t)}) AND {second}"


def _in_order(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """Names by the alphabet, or by their length."""
    if not t.of("name"):
        return None
    text, found = some(s, t, dice, 0.4)
    name, label = s.label(t)[0], ", ".join(s.label(t))
    if dice.random() < 0.3:
        long = dice.random() < 0.5
        ask = dice.choice(
            ("list the {0} by the length of their names, {1}", "{0} ordered by how long their name is, {1}")
        )
        asked = ask.format(text, "longest first" if long else "from shortest to longest")
        return asked, f"SELECT {label}{where(*found)} ORDER BY LENGTH({name}){' DESC' if long else ''}"
    asks = ("list the {} in alphabetical order", "what are the {}, ordered alphabetically", "all {} sorted by name")
    return dice.choice(asks).format(text), f"SELECT {label}{where(*found)} ORDER BY {name}"


def _from_most(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """All of a kind with an amount, from the most to the least."""
    usable = [f for f in t.of("n") if all(extremes(f))]
    if not usable:
        return None
    feature, low = dice.choice(usable), dice.random() < 0.3
    first, last = (dice.choice(extremes(feature)[side]) for side in ((1, 0) if low else (0, 1)))
    text, found = some(s, t, dice, 0.3)
    column = s.column(t, feature)
    asks = (
        "what are the {0} {1}, ordered from {0} to {2}",
        "which {1} are the {0}, from {0} to {2}",
        "list the {1} from {0} to {2}",
    )
    return dice.choice(asks).format(first, text, last), (
        f"SELECT {', '.join([*s.label(t), column])}{where(*found)} ORDER BY {column}{'' if low else ' DESC'}"
    )


# Patterns of questions about groups, parts and relations of things, with their short SQL.


def _group(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """A count or an average for each category, year or parent."""
    made = grouping(s, t, dice)
    if made is None:
        return None
    each, by, order = made
    text, found = some(s, t, dice, 0.3)
    per = dice.choice(("for each {}", "per {}", "in each {}", "by {}", "of each {}")).format(each)
    if t.of("n") and dice.random() < 0.45:
        feature, (function, names) = dice.choice(t.of("n")), dice.choices(AGGREGATES, (4, 3, 1, 1))[0]
        value = f"{function}({s.column(t, feature)})"
        asked = f"the {dice.choice(names).format(words(feature.name))} of {text} {per}"
        ask = dice.choice(("what is {}", "show {}", "return {}")).format(asked)
    else:
        value = f"COUNT({quoted(s.table(t))}.*)"
        ways = (
            "how many {} are there {}",
            "what is the number of {} {}",
            "what is the total number of {} {}",
            "count the {} {}",
        )
        ask = dice.choice(ways).format(text, per)
    order = f" ORDER BY {by}" if order else f" ORDER BY {value} DESC"
    return ask, f"SELECT {by}, {value}{where(*found)} GROUP BY {by}{order}"


def grouping(s: Setting, t: Thing, dice: random.Random) -> tuple[str, str, bool] | None:
    """What to group by: its words, its column, and whether the groups have an order of their own."""
    usable = t.of("c", ">", "y")
    if not usable:
        return None
    feature = dice.choice(usable)
    if feature.kind != ">":
        return words(feature.name), s.column(t, feature), feature.kind == "y"
    parent = s.world[feature.name]
    if dice.random() < 0.25 and parent.of("c"):
        other = dice.choice(parent.of("c"))
        return f"{words(other.name)} of the {parent.noun}", s.column(parent, other), False
    by = s.link(t, parent) if s.label(parent)[0] == s.key(parent) else s.label(parent)[0]
    return words(parent.noun), by, False


def _most(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """The group with the most, or all with more than some."""
    made = grouping(s, t, dice)
    if made is None or made[2]:
        return None
    each, by, _ = made
    text, found = some(s, t, dice, 0.3)
    count = f"COUNT({quoted(s.table(t))}.*)"
    if dice.random() < 0.45:
        number = dice.choice((1, 2, 3, 5, 10))
        more, sign = dice.choice((("more than", ">"), ("at least", ">="), ("fewer than", "<"), ("over", ">")))
        ask = dice.choice(
            ("which {0} has {1} {2} {3}", "find each {0} with {1} {2} {3}", "list every {0} that has {1} {2} {3}")
        )
        return ask.format(
            each, more, number, text
        ), f"SELECT {by}{where(*found)} GROUP BY {by} HAVING {count} {sign} {number}"
    low = dice.random() < 0.25
    most = dice.choice(("fewest", "least") if low else ("most", "highest number of", "largest number of"))
    ask = dice.choice(("which {} has the {} {}", "what {} has the {} {}", "find the {} with the {} {}")).format(
        each, most, text
    )
    both = dice.random() < 0.25
    ask += " and how many are there" if both else ""
    shown = f"{by}, {count}" if both else by
    if dice.random() < 0.35 and not both:
        peak = "MIN" if low else "MAX"
        return ask, f"SELECT {shown}{where(*found)} GROUP BY {by} HAVING {count} = {peak}({count})"
    return ask, f"SELECT {shown}{where(*found)} GROUP BY {by} ORDER BY {count}{'' if low else ' DESC'} LIMIT 1"


def _ratio(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """How one part compares with another, or with all."""
    usable = t.of("c", "n", "y", "f")
    if not usable:
        return None
    one = s.condition(t)
    other = s.condition(t)
    if (
        not one
        or not other
        or {c.sql.split(".")[0] for c in (one, other)} != {quoted(s.table(t))}
        or "STRFTIME" in one.sql + other.sql
    ):
        return None
    part = f"COUNT(CASE WHEN {one.sql} THEN 1 END)"
    made = grouping(s, t, dice) if dice.random() < 0.25 else None
    by, each = (f"{made[1]}, ", f" {dice.choice(('for each', 'per', 'by'))} {made[0]}") if made else ("", "")
    end = f" GROUP BY {made[1]}" if made else ""
    plural = words(t.plural)
    if dice.random() < 0.5:
        ask = dice.choice(
            (
                "what is the ratio of {0} {1} to {0} {2}",
                "ratio of {0} {1} to those {2}",
                "what is the proportion of {0} {1} to {0} {2}",
            )
        )
        whole = f"COUNT(CASE WHEN {other.sql} THEN 1 END)"
        return ask.format(plural, one.words, other.words) + each, f"SELECT {by}1.0 * {part} / {whole}{end}"
    ask = dice.choice(
        (
            "what is the proportion of {0} {1}",
            "what share of the {0} are {1}",
            "what is the ratio of {0} {1} to the total number of {0}",
        )
    )
    return ask.format(plural, one.words) + each, f"SELECT {by}1.0 * {part} / COUNT({quoted(s.table(t))}.*){end}"


def _nested(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """Things of the parent that is the most something."""
    parents = [p for p in s.parents(t) if p.of("n")]
    if not parents:
        return None
    parent = dice.choice(parents)
    feature, low = dice.choice(parent.of("n")), dice.random() < 0.35
    column = s.column(parent, feature)
    what = f"the {extreme(parent, feature, dice, low=low)}"
    more = own_condition(s, parent, dice)
    what += f" {more.words}" if more else ""
    inner = " AND ".join([*([more.sql] if more else []), f"{column} = {'MIN' if low else 'MAX'}({column})"])
    of = dice.choice(("of", "in", "that belong to", "from"))
    within = f"{s.link(t, parent)} IN (SELECT {s.key(parent)} WHERE {inner})"
    match dice.randrange(4):
        case 0:
            return f"how many {t.plural} are {of} {what}", f"SELECT COUNT({quoted(s.table(t))}.*) WHERE {within}"
        case 1 if t.of("n"):
            own = dice.choice(t.of("n"))
            top = f"{s.column(t, own)} = MAX({s.column(t, own)})"
            ask = f"what is the {own.values[0] if own.values else 'top'} {t.noun} {of} {what}"
            return ask, f"SELECT {', '.join(s.label(t))} WHERE {within} AND {top}"
        case 2 if t.of("n"):
            own = dice.choice(t.of("n"))
            return (
                f"what is the {words(own.name)} of the {t.plural} {of} {what}",
                f"SELECT {s.column(t, own)} WHERE {within}",
            )
    ask = dice.choice(("which {} are {} {}", "list the {} {} {}", "what {} are {} {}")).format(t.plural, of, what)
    return ask, f"SELECT {', '.join(s.label(t))} WHERE {within}"


def own_condition(s: Setting, t: Thing, dice: random.Random) -> Condition | None:
    """One condition on the thing's own columns, sometimes."""
    found = s.condition(t) if dice.random() < 0.3 else None
    return found if found and found.sql.startswith(quoted(s.table(t)) + ".") else None


def _chain(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """Parents chosen by their children, or without any."""
    children = s.children(t)
    if not children:
        return None
    child = dice.choice(children)
    link, label = s.link(child, t), ", ".join(s.label(t))
    if dice.random() < 0.35:
        ask = dice.choice(("which {} have no {}", "list the {} without any {}", "what {} do not have {}")).format(
            t.plural, child.plural
        )
        return ask, f"SELECT {label} WHERE NOT {s.key(t)} IN (SELECT {link})"
    condition = s.condition(child)
    if not condition or not condition.sql.startswith(quoted(s.table(child)) + "."):
        return None
    some = f"{child.plural} {condition.words}"
    if dice.random() < 0.3:
        ask = dice.choice(("how many {} have {}", "number of {} that have {}")).format(t.plural, some)
        return ask, f"SELECT COUNT(DISTINCT {link}) WHERE {condition.sql}"
    ask = dice.choice(("which {} have {}", "list the {} that have {}", "what are the {} with {}")).format(
        t.plural, some
    )
    return ask, f"SELECT {label} WHERE {s.key(t)} IN (SELECT {link} WHERE {condition.sql})"


def _compare(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """Above the average, or above a named one."""
    if not t.of("n"):
        return None
    feature, column = dice.choice(t.of("n")), ""
    column, name, low = s.column(t, feature), words(feature.name), dice.random() < 0.4
    sign, more = (
        ("<", dice.choice(("lower", "less", "smaller")))
        if low
        else (">", dice.choice(("higher", "more", "larger", "greater")))
    )
    asks = dice.choice(
        ("which {} have a {} {} than {}", "list the {} with a {} {} than {}", "how many {} have a {} {} than {}")
    )
    head = f"COUNT({quoted(s.table(t))}.*)" if asks.startswith("how many") else ", ".join(s.label(t))
    names = t.of("name")
    if names and names[0].values and dice.random() < 0.5:
        value = dice.choice(names[0].values)
        inner = f"SELECT {column} WHERE {s.column(t, names[0])} = '{value}'"
        return asks.format(t.plural, more, name, value), f"SELECT {head} WHERE {column} {sign} ({inner})"
    return asks.format(
        t.plural, more, name, "the average"
    ), f"SELECT {head} WHERE {column} {sign} (SELECT AVG({column}))"


# Questions with their short SQL, made from patterns over made-up databases.


_QUESTIONS = (3, 8)
"""So many are asked of one database: it is read once for all of them."""


_PATTERNS: tuple[tuple[float, Pattern], ...] = (
    (7, _listed),
    (8, _columns),
    (12, _look_up),
    (5, _parent_of),
    (8, _of_parent),
    (8, _count),
    (3, _distinct),
    (7, _aggregate),
    (12, _superlative),
    (8, _top),
    (12, _group),
    (8, _most),
    (6, _ratio),
    (7, _nested),
    (6, _chain),
    (4, _compare),
    (7, _holder),
    (7, _ranked),
    (6, _share),
    (3, _combined),
    (6, _recent),
    (2, _flags),
    (4, _either),
    (8, _linked),
    (3, _both),
    (3, _in_order),
    (3, _from_most),
)
"""How often each is used, and what makes it."""


def synthetic(dice: random.Random) -> Iterator[tuple[Catalogue, list[Pair]]]:
    """Databases with questions, without end."""
    known = worlds()
    while True:
        world = dice.choice(known)
        if dice.random() < 0.2:
            # Real databases have more tables than one question is about.
            world = {**dice.choice(known), **world}
        setting = Setting(world, dice)
        pairs: list[Pair] = []
        for _ in range(dice.randint(*_QUESTIONS)):
            while (pair := asked(setting, dice)) is None:
                pass
            pairs.append(pair)
        yield setting.catalogue, pairs


def asked(setting: Setting, dice: random.Random) -> Pair | None:
    """What some pattern makes of some table, if it fits and its tables join."""
    pattern = dice.choices([p for _, p in _PATTERNS], [weight for weight, _ in _PATTERNS])[0]
    made = pattern(setting, dice.choice(setting.tables), dice)
    if made is None:
        return None
    try:
        expand(made[1], setting.catalogue)
    except ToolError:
        return None
    return _written(made[0], dice), sqlglot.parse_one(made[1], read="sqlite").sql("sqlite")


def _written(question: str, dice: random.Random) -> str:
    """Capital and mark, or neither."""
    question = " ".join(question.split()).replace(" ,", ",")
    if dice.random() < 0.5:
        return question
    asks = question.split()[0] in ("what", "which", "how", "who", "where", "when", "are", "is")
    return question[0].upper() + question[1:] + ("?" if asks else ".")
