"""What the cells of a column mean: numbers and dates as people write them. The whole column tells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

_MISSING = frozenset(
    "- -- --- – — . ... … ? n/a na n.a. #n/a #na nan null none nil (null) k.a. tbd tbc unknown missing not available "
    "#div/0! #value! #ref! #num! #null! #name? 0000-00-00 00.00.0000 00/00/0000".split()
) | {"", "not available", "not applicable", "n / a"}

CURRENCY_CODES = (
    "USD|EUR|GBP|CHF|JPY|CNY|SEK|NOK|DKK|PLN|CZK|HUF|RON|AUD|CAD|NZD|INR|BRL|RUB|TRY|ZAR|MXN|SGD|HKD|KRW|ILS|THB"
)
"""As the part of a regular expression."""
_CURRENCY = rf"(?:US|R|A|C|NZ|HK|S)?\$|[€£¥₹₽₩₺₴₪₫฿¢]|{CURRENCY_CODES}|(?:kr|Kč|zł|Ft|lei|Fr|Rs|SFr)\.?"
_NUMBER = re.compile(
    rf"(?P<open>\()?(?P<sign>[-+])? ?(?P<before>{_CURRENCY})? ?(?P<inner>[-+])? ?"
    r"(?P<digits>\d[\d.,'’ ]*\d|\d|[.,]\d+)(?P<exponent>[eE][-+]?\d{1,3})?"
    rf" ?(?P<after>[%‰]|{_CURRENCY})? ?(?P<trailing>-)?(?P<close>\))?",
)
_GROUPED = re.compile(r"\d{1,3}(?:([ '’])\d{3})(?:\1\d{3})*(?:[.,]\d+)?")
_SPACES = re.compile(r"[\s\u00a0\u202f\u2009]+")
_NO_CENTS = re.compile(r"(?<=\d)[.,](?:-{1,2}|–|—)(?!\d)")
"""Prices such as `5,-` and `5.–`."""
_SAME_UNIT = {"€": "EUR", "$": "USD", "US$": "USD", "£": "GBP", "¥": "JPY", "₹": "INR", "R$": "BRL", "₽": "RUB"}
_LONGEST = 18
"""Digits of the longest number; what is longer is an identifier."""


def is_missing(cell: str) -> bool:
    """Whether a cell of numbers or dates says that there is no value: empty, `N/A`, `-`, `#DIV/0!` …"""
    return _plain(cell).lower() in _MISSING


@dataclass(frozen=True)
class _Written:
    """A number as it stands in a cell."""

    digits: str
    """Digits with full stops and commas, groups by other characters already joined."""
    joined: bool
    """Groups stood apart by a space or an apostrophe."""
    negative: bool
    exponent: str
    unit: str
    """`%`, the currency, or nothing."""

    def decimal(self) -> str:
        """The decimal separator that the number itself proves: `.` or `,`; nothing where there is none, `?` in doubt.

        Raises:
            ValueError: its separators make no number.
        """
        dots, commas = self.digits.count("."), self.digits.count(",")
        if dots + commas == 0:
            return ""
        if dots and commas:
            mark = max(".,", key=self.digits.rfind)
            other = "," if mark == "." else "."
            _check_groups(self.digits[: self.digits.rfind(mark)], other)
            return mark
        mark = "." if dots else ","
        if dots + commas > 1:
            _check_groups(self.digits, mark)
            return "," if mark == "." else "."
        whole, _, rest = self.digits.partition(mark)
        proved = len(rest) != 3 or not 1 <= len(whole) <= 3 or whole.startswith("0") or self.joined or self.exponent
        return mark if proved else "?"

    def value(self, decimal: str) -> int | float:
        """The number, with this decimal separator."""
        plain = self.digits.replace("," if decimal == "." else ".", "").replace(decimal, ".") + self.exponent
        number = float(plain) if "." in plain or self.exponent else int(plain)
        return -number if self.negative else number


def _check_groups(digits: str, mark: str) -> None:
    """Groups of three; in India those before the last have two."""
    if not re.fullmatch(rf"\d{{1,3}}(?:\{mark}\d{{3}})+|\d{{1,2}}(?:\{mark}\d\d)*\{mark}\d{{3}}", digits):
        raise ValueError(digits)


def _written(cell: str) -> _Written | None:
    """The number in a cell; None for anything else, and for codes such as `007` and `+49 171 234`."""
    match = _NUMBER.fullmatch(_NO_CENTS.sub("", _plain(cell)))
    if not match or bool(match["open"]) != bool(match["close"]) or (match["before"] and match["after"]):
        return None
    digits, signs = match["digits"], [match[name] for name in ("sign", "inner", "trailing") if match[name]]
    joined = bool(re.search("[ '’]", digits))
    if len(signs) > 1 or (joined and ("+" in signs or not _GROUPED.fullmatch(digits))):
        return None
    digits = re.sub("[ '’]", "", digits)
    if re.match(r"0\d", digits) or sum(map(str.isdigit, digits)) > _LONGEST:
        return None
    unit = (match["before"] or match["after"] or "").rstrip(".")
    written = _Written(
        digits, joined, "-" in signs or bool(match["open"]), match["exponent"] or "", _SAME_UNIT.get(unit, unit)
    )
    try:
        written.decimal()
    except ValueError:
        return None
    return written


def _plain(cell: str) -> str:
    return _SPACES.sub(" ", cell).strip().replace("−", "-")


@dataclass(frozen=True)
class Numbers:
    """How the numbers of a column are written."""

    decimal: str
    """`.` or `,`."""
    whole: bool
    """No number has decimals."""
    plain: bool
    """Every cell is a number as programs write it."""

    def read(self, cell: str) -> int | float | None:
        """The number in a cell: without its currency, and 12 for `12 %`. None where there is no value."""
        written = _written(cell)
        if written is None:
            return None
        number = written.value(self.decimal)
        return number if self.whole else float(number)


def numbers(cells: Iterable[str], decimal: str = "") -> Numbers | None:
    """How a column's numbers are written; None when some cell is no number, or they do not fit together.

    Args:
        cells: Of one column.
        decimal: The decimal separator of the file, for a column that proves none: `1.234` alone may be either.
    """
    present = [cell for cell in cells if not is_missing(cell)]
    written = [one for one in map(_written, present) if one]
    if not present or len(written) < len(present) or not _one_unit(written):
        return None
    proofs = {one.decimal() for one in written}
    proved = proofs & {".", ","}
    if len(proved) > 1:
        return None
    doubtful = {mark for one in written if one.decimal() == "?" for mark in ".," if mark in one.digits}
    if not proved and len(doubtful) > 1:
        return None
    mark = proved.pop() if proved else _likely(written, doubtful, decimal)
    whole = not any(mark in one.digits or one.exponent for one in written)
    return Numbers(mark, whole, all(re.fullmatch(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", cell) for cell in present))


def proved_decimal(cells: Iterable[str]) -> str:
    """The decimal separator that a column of numbers proves, `.` or `,`; nothing where it proves none."""
    found = numbers(cells)
    if found is None:
        return ""
    proofs = {one.decimal() for cell in cells if (one := _written(cell))} & {".", ","}
    return proofs.pop() if proofs else ""


def _likely(written: Sequence[_Written], doubtful: set[str], decimal: str) -> str:
    """The decimal separator where no number proves one."""
    if not doubtful:
        return decimal or "."
    (mark,) = doubtful
    other = "," if mark == "." else "."
    texts = [one.digits for one in written]
    # Three decimals that end in 0 are fixed ones; where others have none, the mark stands before thousands.
    if any(text.endswith("0") for text in texts if mark in text) and not all(mark in text for text in texts):
        return other
    return decimal or "."


def _one_unit(written: Sequence[_Written]) -> bool:
    """All in one currency, or some without; all or none in percent, but for zeros."""
    units = {one.unit for one in written if one.unit}
    if len(units) > 1:
        return False
    bare = [one for one in written if not one.unit and one.digits.strip("0.,")]
    return not (units & {"%", "‰"} and bare)


# Dates.

MONTHS = {
    name: month
    for month, names in enumerate(
        (
            "january jan januar jänner janvier",
            "february feb februar février",
            "march mar märz mrz mars",
            "april apr avril",
            "may mai",
            "june jun juni juin",
            "july jul juli juillet",
            "august aug août",
            "september sep sept septembre",
            "october oct oktober okt octobre",
            "november nov novembre",
            "december dec dezember dez décembre",
        ),
        1,
    )
    for name in names.split()
}
"""Names of months in lower case, with their numbers."""
_TIME = (
    r"(?:(?:,? |T)(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,]\d+)?)?"
    r" ?(?P<half>[AaPp]\.?[Mm]\.?)?(?:Uhr)?(?P<zone>Z| ?[-+]\d\d:?\d\d)?)?"
)
_ISO = re.compile(rf"(?P<year>\d{{4}})(?P<mark>[-/.])(?P<month>\d{{1,2}})(?P=mark)(?P<day>\d{{1,2}}){_TIME}")
_FULL_STOPS = re.compile(rf"(?P<day>\d{{1,2}})\. ?(?P<month>\d{{1,2}})\. ?(?P<year>\d{{4}}){_TIME}")
_SHORT_YEAR = re.compile(rf"(?P<day>\d\d)\.(?P<month>\d\d)\.(?P<year>\d\d){_TIME}")
_SLASHES = re.compile(rf"(?P<one>\d{{1,2}})(?P<mark>[-/])(?P<other>\d{{1,2}})(?P=mark)(?P<year>\d{{4}}|\d\d){_TIME}")
_NAMED = re.compile(
    rf"(?:[^\W\d]+,? )?(?:(?P<day>\d{{1,2}})(?:\.|st|nd|rd|th)?[ -](?P<name>[^\W\d]+)\.?,?[ -](?P<year>\d{{4}}|\d\d)"
    rf"|(?P<name2>[^\W\d]+)\.? (?P<day2>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<year2>\d{{4}})){_TIME}"
)


@dataclass(frozen=True)
class Dates:
    """How the dates of a column are written."""

    day_first: bool | None
    """Of `03/04/2026` the day comes first; None where no date of the column leaves that open."""
    iso: bool
    """They stand there as YYYY-MM-DD, and are in order when they are sorted as text."""
    padded: str
    """All are written alike, with two digits each for day and month: that form, such as `DD.MM.YYYY`; else nothing."""

    def read(self, cell: str) -> str | None:
        """YYYY-MM-DD, with the time where there is one. None where there is no value."""
        for day_first in (True, False) if self.day_first is None else (self.day_first,):
            if read := _date(cell, day_first=day_first):
                return read
        return None


def dates(cells: Iterable[str], *, day_first: bool | None = None) -> Dates | None:
    """How a column's dates are written; None when a cell is no date, or it cannot be told whether the day comes first.

    Args:
        cells: Of one column.
        day_first: What other columns of the file say, for a column that leaves it open.
    """
    present = list(dict.fromkeys(cell for cell in cells if not is_missing(cell)))
    if not present:
        return None
    orders = [order for order in (True, False) if all(_date(cell, day_first=order) for cell in present)]
    if not orders:
        return None
    if len(orders) == 2:
        same = all(_date(cell, day_first=True) == _date(cell, day_first=False) for cell in present)
        order = None if same else day_first
        if not same and day_first is None:
            return None
    else:
        order = orders[0]
    iso = all(re.fullmatch(r"\d{4}-\d\d-\d\d([ T].*)?", cell.strip()) for cell in present)
    return Dates(order, iso, _padded(present, order))


def doubtful_dates(cells: Iterable[str]) -> bool:
    """Whether all are dates, and nothing tells if the day or the month comes first."""
    kept = list(cells)
    return dates(kept) is None and dates(kept, day_first=True) is not None


def _padded(cells: Sequence[str], day_first: bool | None) -> str:
    shapes = {re.sub(r"\d", "0", cell.strip()[:10]) for cell in cells}
    if len(shapes) != 1 or not re.fullmatch(r"00([./-])00\1(0000)", shape := shapes.pop()):
        return ""
    mark = shape[2]
    return f"DD{mark}MM{mark}YYYY" if day_first or mark == "." else f"MM{mark}DD{mark}YYYY"


def _date(cell: str, *, day_first: bool) -> str | None:
    """The date in a cell as YYYY-MM-DD; None where there is none."""
    text = _plain(cell)
    if match := _ISO.fullmatch(text) or _FULL_STOPS.fullmatch(text) or _SHORT_YEAR.fullmatch(text):
        year, month, day = match["year"], match["month"], match["day"]
    elif match := _SLASHES.fullmatch(text):
        day, month = (match["one"], match["other"]) if day_first else (match["other"], match["one"])
        year = match["year"]
    elif match := _NAMED.fullmatch(text):
        named = MONTHS.get((match["name"] or match["name2"]).lower())
        if named is None:
            return None
        year, month, day = match["year"] or match["year2"], str(named), match["day"] or match["day2"]
    else:
        return None
    try:
        found = date(_whole_year(year), int(month), int(day))
        return f"{found.isoformat()}{_time(match)}"
    except ValueError:
        return None


def _whole_year(year: str) -> int:
    """Of two digits the century is told as POSIX does: 69 is 1969, 68 is 2068."""
    return int(year) if len(year) == 4 else int(year) + (1900 if int(year) > 68 else 2000)


def _time(match: re.Match[str]) -> str:
    if match["hour"] is None:
        return ""
    hour, minute, second = int(match["hour"]), int(match["minute"]), match["second"]
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(hour)
        hour = hour % 12 + (12 if match["half"][0] in "pP" else 0)
    if hour > 24 or minute > 59 or int(second or 0) > 60:
        raise ValueError(hour)
    return f" {hour:02}:{minute:02}{f':{second}' if second else ''}{(match['zone'] or '').strip()}"


def is_number(cell: str) -> bool:
    """Whether a cell is a number, however it is written."""
    return _written(cell) is not None


def is_date(cell: str) -> bool:
    """Whether a cell is a date, however it is written."""
    return any(_date(cell, day_first=order) for order in (True, False))
