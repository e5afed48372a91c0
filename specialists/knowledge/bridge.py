"""Two searches, of which the second uses what the first found.

"What stadium does the team play in whose coach is Kent Baer?" speaks of the coach; the passage about the stadium speaks
of the team. The first passage names the team: it is the bridge (Qi et al., "Answering Complex Open-domain Questions
Through Iterative Query Generation", 2019, where a trained model writes the second query; here names and words do).
The figures behind the constants are those of `benchmarks/plans.py` on half of the questions; the other half agrees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from ...core.text import codes, content_stems, content_words
from ...core.types import Passage

PassageSearch = Callable[[str, int], Sequence[Passage]]
"""`(query, k) -> passages`, best first."""

_SEEDS = 2
"""Passages of the first search whose names are followed."""
_NAMES = 10
"""Names followed of each."""
_NEAR = 2
"""Passages looked at for each name."""
_SPOKEN_OF = 0.5
"""What it counts that a passage is about the name (its headings say it), against the share of the open words."""
_MEANING = 0.2
"""What its cosine counts."""
_NAME = re.compile(
    r"[A-Z0-9][\w'’.&-]*(?:(?:\s+(?:of|the|de|la|von|van|der|&))?\s+[A-Z0-9][\w'’.&-]*)*"
    r"|[\"“„][^\"“”„]{3,60}[\"”“]"
)


def bridge(search: PassageSearch, question: str, k: int, follow: PassageSearch | None = None) -> list[Passage]:
    """At most `k` passages: those that the question finds, and in place of the last of them those that what it found
    leads to. About 20 searches; without a name to follow it is the first search alone.

    Args:
        search: Finds passages for a query.
        question: What is asked.
        k: Passages wanted; of fewer than two there is nothing to bridge.
        follow: Searches for what the names lead to, often; left out: `search`.
    """
    first = list(search(question, k))
    if k < 2 or not first:
        return first
    kept = {passage.id: passage for passage in first[: k - max(1, k // 3)]}
    led: dict[str, tuple[float, Passage]] = {}
    for worth, passage in _led_to(follow or search, question, first[:_SEEDS]):
        if passage.id not in led or led[passage.id][0] < worth:
            led[passage.id] = (worth, passage)
    best = sorted(led.values(), key=lambda found: (-found[0], found[1].id))
    for passage in (*(passage for _, passage in best), *first):
        if len(kept) < k:
            kept.setdefault(passage.id, passage)
    return list(kept.values())


def proper_names(text: str, besides: str = "") -> Iterator[str]:
    """The names in a text, each once: capitalised words that belong together, quoted titles, codes such as `P-101`.

    Args:
        besides: What names are not wanted from: those all of whose words stand here.

    >>> list(proper_names("Kent Baer coaches the UNLV Rebels at Sam Boyd Stadium.", "Where does Kent Baer work?"))
    ['UNLV Rebels', 'Sam Boyd Stadium']
    """
    known, seen = content_stems(besides), set[str]()
    for found in (*_NAME.findall(text), *sorted(codes(text))):
        name = found.strip(' .,"“”„')
        words = content_stems(name)
        if len(name) > 2 and words and not words <= known and name.lower() not in seen:
            seen.add(name.lower())
            yield name


def _led_to(search: PassageSearch, question: str, seeds: Sequence[Passage]) -> Iterator[tuple[float, Passage]]:
    """What the names in the first passages lead to, and how much speaks for each."""
    asked = content_stems(question)
    for seed in seeds:
        left = asked - content_stems(" ".join([seed.text, *seed.heading]))
        rest = " ".join(word for word in content_words(question) if content_stems(word) <= left)
        for name in islice(proper_names(seed.text, question), _NAMES):
            for passage in search(f"{name} {rest}", _NEAR):
                if passage.source != seed.source or passage.heading != seed.heading:
                    yield _worth(passage, name, left), passage


def _worth(passage: Passage, name: str, left: set[str]) -> float:
    """How much a passage says of what is open, and whether it is about the name."""
    said = content_stems(" ".join([*passage.heading, passage.text]))
    called, titles = content_stems(name), [words for heading in passage.heading if (words := content_stems(heading))]
    about = any(words <= called or called <= words for words in titles)
    return (
        (len(left & said) / len(left) if left else 0.0)
        + _SPOKEN_OF * about
        + _MEANING * passage.signals.get("dense", 0)
    )
