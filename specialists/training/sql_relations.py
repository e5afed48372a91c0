"""Patterns of questions about groups, parts and relations of things, with their short SQL."""

from __future__ import annotations

import random

from ..sql.catalogue import quoted
from .sql_patterns import AGGREGATES, Pair, some, where
from .sql_setting import Condition, Setting, words
from .sql_words import extreme
from .sql_worlds import Thing


def group(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def most(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def ratio(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def nested(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def chain(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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


def compare(s: Setting, t: Thing, dice: random.Random) -> Pair | None:
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
