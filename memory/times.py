"""Times of day, written as a question asks for them: "Return in the format of HH:MM AM/PM"."""

from __future__ import annotations

import re

_ASKED = re.compile(r"\bHH:MM\b(?P<half>\s*\(?(?:AM/PM|AM or PM)\b)?", re.IGNORECASE)
_TIME = re.compile(
    r"\b(?P<hour>[01]?\d|2[0-3])(?::(?P<minute>[0-5]\d))?\s?(?:(?P<half>[ap])\.?m\b\.?|(?P<day>in the (?:morning|"
    r"afternoon|evening)|at night))",
    re.IGNORECASE,
)


def as_asked(text: str, question: str) -> str:
    """The text with its times in the format that the question names; as it is when it names none.

    >>> as_asked("Drop-off at 8 AM, pick-up at 5:30 in the afternoon.", "When? Return in the format of HH:MM AM/PM.")
    'Drop-off at 08:00 AM, pick-up at 05:30 PM.'
    >>> as_asked("I get up at 6 a.m. and sleep at 11 PM", "In HH:MM: when do I get up?")
    'I get up at 06:00 and sleep at 23:00'
    """
    asked = _ASKED.search(question)
    if asked is None:
        return text

    def write(found: re.Match[str]) -> str:
        hour, minute = int(found["hour"]), found["minute"] or "00"
        half, day = (found["half"] or "").lower(), (found["day"] or "").lower()
        late = hour >= 12 if hour > 12 else half == "p" or (day != "" and "morning" not in day)
        hour = hour % 12 + 12 * late
        if not asked["half"]:
            return f"{hour:02}:{minute}"
        return f"{(hour - 1) % 12 + 1:02}:{minute} {'PM' if late else 'AM'}"

    return _TIME.sub(write, text)
