"""A made-up database, its names in one of the fashions that real ones have, and how people speak of what is in it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ..schema import Catalogue, Column, parts, quoted
from .vocabulary import PLACES, Feature, Thing, World, measure


@dataclass(frozen=True)
class Condition:
    """What narrows things down: words behind a plural, and SQL."""

    words: str
    sql: str


class Setting:
    """One world in one fashion of naming.

    Args:
        world: What there is.
        dice: Chooses the fashion.
    """

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world, self.dice = world, dice
        self._plural = dice.random() < 0.5
        self._keys = dice.choice(("id", "noun_id", "noun_id", "nounid", "nid", "natural"))
        self._prefix = dice.choice(("", "", "_", "join"))
        self._count = dice.choice(("{}", "{}", "{}", "num_{}", "{}_count", "{}_num", "total_{}"))
        self._case = dice.choice((_snake, _snake, _snake, _snake, _camel, _joined))
        self.tables = [*world.values()]
        self.catalogue = Catalogue({self.table(t): self._columns(t) for t in self.tables})

    def table(self, thing: Thing) -> str:
        return self._case(thing.plural if self._plural else thing.noun)

    def column(self, thing: Thing, feature: Feature) -> str:
        """`table.column`."""
        return f"{quoted(self.table(thing))}.{quoted(self._case(self._name(thing, feature)))}"

    def key(self, thing: Thing) -> str:
        return f"{quoted(self.table(thing))}.{quoted(self._case(self._key(thing)))}"

    def label(self, thing: Thing) -> list[str]:
        """What tells one thing from another, for people; its key where it has no name."""
        named = [self.column(thing, f) for f in thing.of("name")]
        return (
            named[:2]
            if thing.of("name") and thing.of("name")[0].name == "firstname"
            else named[:1] or [self.key(thing)]
        )

    def parents(self, thing: Thing) -> list[Thing]:
        return [self.world[f.name] for f in thing.of(">")]

    def children(self, thing: Thing) -> list[Thing]:
        return [t for t in self.tables if any(f.name == thing.noun for f in t.of(">"))]

    def link(self, child: Thing, parent: Thing) -> str:
        """The child's column that names its parent."""
        return self.column(child, next(f for f in child.of(">") if f.name == parent.noun))

    def is_named(self, child: Thing, parent: Thing) -> tuple[str, str]:
        """A parent's name, and the condition that it is a child's parent."""
        feature = parent.of("name")[0]
        value = self.dice.choice(feature.values or ("one",))
        natural = self._keys == "natural"
        return value, f"{self.link(child, parent) if natural else self.column(parent, feature)} = {sql_text(value)}"

    def _columns(self, thing: Thing) -> dict[str, Column]:
        table, made = self.table(thing), dict[str, Column]()
        if self._keys != "natural" or not thing.of("name"):
            key = self._case(self._key(thing))
            made[key] = Column(table, key, True, 40, True, ())
        for feature in thing.features:
            name = self._case(self._name(thing, feature))
            number = feature.kind in ("n", "y", "f") or (feature.kind == ">" and self._keys != "natural")
            parent = self.world[feature.name].of("name") if feature.kind == ">" and not number else []
            values = parent[0].values if parent else () if number else feature.values
            first = feature.kind == "name" and feature is thing.of("name")[0]
            made[name] = Column(table, name, number, 40 if first else 5, first, tuple(values))
        return made

    def _key(self, thing: Thing) -> str:
        if self._keys == "natural" and thing.of("name"):
            return self._name(thing, thing.of("name")[0])
        made = {"id": "id", "nounid": f"{thing.noun}id", "nid": f"{thing.noun[:1]}id"}
        return made.get(self._keys, f"{thing.noun}_id")

    def _name(self, thing: Thing, feature: Feature) -> str:
        if feature.kind == ">":
            parent = self.world[feature.name]
            return f"{parent.noun}_id" if self._keys == "id" else self._key(parent)
        if feature.kind == "n" and feature.name.endswith("s") and measure(feature) is None:
            return self._count.format(feature.name.removesuffix("s") if "_" in self._count[2:] else feature.name)
        natural = self._keys == "natural" and feature is next(iter(thing.of("name")), None)
        if (self._prefix == "_" or natural) and feature.name in ("name", "title", "code", "kind"):
            return f"{thing.noun}_{feature.name}"
        return f"{thing.noun}{feature.name}" if self._prefix == "join" and feature.name == "name" else feature.name

    def condition(self, thing: Thing) -> Condition | None:
        """Something that may be asked of things of this kind."""
        usable = [f for f in thing.features if f.kind != "name" or f.values]
        feature = self.dice.choice(usable)
        column = self.column(thing, feature)
        made = {"c": self._category, "n": self._number, "y": self._year, "d": self._date, "f": self._flag}
        if feature.kind in made:
            return made[feature.kind](feature, column)
        return self._parent(thing, self.world[feature.name]) if feature.kind == ">" else self._text(feature, column)

    def _category(self, feature: Feature, column: str) -> Condition:
        value, name = self.dice.choice(feature.values), words(feature.name)
        if self.dice.random() < 0.15:
            return Condition(f"whose {name} is not {self._spelt(value)}", f"{column} <> {sql_text(value)}")
        ways = [f"with {name} {{}}", f"whose {name} is {{}}", f"where the {name} is {{}}"]
        ways += ["in {}"] * 4 if PLACES & {*parts(feature.name)} else ["that are {}"] * 2
        return Condition(self.dice.choice(ways).format(self._spelt(value)), f"{column} = {sql_text(value)}")

    def _number(self, feature: Feature, column: str) -> Condition:
        value, name = self.dice.choice((2, 3, 5, 10, 25, 40, 100, 250, 1000, 5000)), words(feature.name)
        ways = {
            ">": (
                f"with more than {value} {name}",
                f"whose {name} is above {value}",
                f"with {name} greater than {value}",
            ),
            ">=": (f"with at least {value} {name}", f"with {name} of {value} or more"),
            "<": (f"with less than {value} {name}", f"whose {name} is below {value}", f"with {name} under {value}"),
            "<=": (f"with at most {value} {name}",),
            "=": (f"with exactly {value} {name}",),
        }
        if self.dice.random() < 0.1:
            return Condition(
                f"with {name} between {value} and {2 * value}", f"{column} BETWEEN {value} AND {2 * value}"
            )
        sign = self.dice.choice((">", ">", ">", ">=", "<", "<", "<=", "="))
        return Condition(self.dice.choice(ways[sign]), f"{column} {sign} {value}")

    def _year(self, feature: Feature, column: str) -> Condition:
        year, verb = self.dice.randint(1990, 2024), words(feature.name)
        verb = "" if verb == "year" else f"{verb} "
        sign, way = self.dice.choice(
            (("=", "in"), ("=", "in the year"), (">", "after"), ("<", "before"), (">=", "since"))
        )
        return Condition(f"{verb}{way} {year}", f"{column} {sign} {year}")

    def _date(self, feature: Feature, column: str) -> Condition:
        year, month, day = self.dice.randint(2018, 2025), self.dice.randint(1, 12), self.dice.randint(1, 28)
        verb = words(feature.name)
        if self.dice.random() < 0.4:
            return Condition(f"{verb} in {year}", f"STRFTIME('%Y', {column}) = '{year}'")
        sign, way = self.dice.choice(((">", "after"), ("<", "before"), (">=", "since"), ("=", "on")))
        return Condition(f"{verb} {way} {year}-{month:02}-{day:02}", f"{column} {sign} '{year}-{month:02}-{day:02}'")

    def _flag(self, feature: Feature, column: str) -> Condition:
        yes = self.dice.random() < 0.75
        verb, _, rest = feature.name.partition("_")
        text = (f"with {rest}" if yes else f"without {rest}") if rest else f"that were {'' if yes else 'not '}{verb}"
        return Condition(text, f"{column} = {int(yes)}")

    def _parent(self, thing: Thing, parent: Thing) -> Condition | None:
        if self.dice.random() < 0.5 and parent.of("name"):
            value, sql = self.is_named(thing, parent)
            how = (
                "in" if parent.noun in PLACES else self.dice.choice(("of", "of", "by", "from", f"of the {parent.noun}"))
            )
            return Condition(f"{how} {self._spelt(value)}", sql)
        usable = parent.of("c", "n")
        if not usable:
            return None
        feature = self.dice.choice(usable)
        inner = (self._category if feature.kind == "c" else self._number)(feature, self.column(parent, feature))
        return Condition(f"of {parent.plural} {inner.words}", inner.sql)

    def _text(self, feature: Feature, column: str) -> Condition:
        value, name = self.dice.choice(feature.values), words(feature.name)
        part = self.dice.choice(value.split())
        match self.dice.randrange(4):
            case 0:
                return Condition(f'whose {name} contains "{part}"', f"{column} LIKE '%{part}%'")
            case 1:
                return Condition(f"whose {name} starts with {part[0]}", f"{column} LIKE '{part[0]}%'")
            case 2:
                other = self.dice.choice(("Blue Harbour", "Delta", "machine parts", "Van Dyk", "North"))
                return Condition(f'called "{other}"', f"{column} LIKE '%{other}%'")
        return Condition(f"named {self._spelt(value)}", f"{column} = {sql_text(value)}")

    def _spelt(self, value: str) -> str:
        """As people write it: in quotes, in lower case, or as it stands."""
        return self.dice.choice((value, value, value.lower(), value.lower(), f'"{value}"', f"'{value}'"))


def sql_text(value: str) -> str:
    """A text in SQL."""
    return "'" + value.replace("'", "''") + "'"


def words(name: str) -> str:
    """A name as people say it."""
    return name.replace("_", " ")


def _snake(name: str) -> str:
    return name


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _joined(name: str) -> str:
    return name.replace("_", "")
