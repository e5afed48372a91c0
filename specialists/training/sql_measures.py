"""Patterns of questions about amounts, dates and links between things, with their short SQL."""

from __future__ import annotations

import random

from ..sql.catalogue import quoted
from .sql_patterns import Pair, some, where
from .sql_setting import Setting, words
from .sql_words import extreme, extremes
from .sql_worlds import Thing


def by_parent(s: Setting, child: Thing, parent: Thing) -> str:
    """The column that tells parents apart, for people; the child's own where the parent has nothing better."""
    return s.link(child, parent) if s.label(parent)[0] == s.key(parent) else s.label(parent)[0]


def holder(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def ranked(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def share(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def combined(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def recent(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def flags(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
    """How many have it and how many do not."""
    if not t.of("f"):
        return None
    feature, many = dice.choice(t.of("f")), words(t.plural)
    verb, _, rest = feature.name.partition("_")
    have, column = (f"have {rest}" if verb == "has" else f"are {words(feature.name)}"), s.column(t, feature)
    ask = dice.choice(("how many {0} {1} and how many do not", "count the {0} that {1} and those that do not"))
    return ask.format(many, have), f"SELECT {column}, COUNT({quoted(s.table(t))}.*) GROUP BY {column}"


def either(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def linked(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def both(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def in_order(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def from_most(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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
