"""Typing errors in questions, put right by the words of documents or examples. For searching and routing only."""

from __future__ import annotations

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rapidfuzz.distance import OSA

from .embedding import Embedder, KnowsWords
from .text import STOPWORDS, stem

_FILE = "words.txt"
_WORD = re.compile(r"[^\W\d_]+")
_SHORTEST = 5
"""Letters of a word that is put right: shorter words have too many neighbours that are right, too."""
_TWO_ERRORS = 8
"""Letters from which two errors are put right."""
_KNOWN = 0.5
"""Share of a question's words that must be known: below, it is in another language."""


def count_words(texts: Iterable[str]) -> Counter[str]:
    """The words of texts without their case, and how often each comes."""
    return Counter(word for text in texts for word in _WORD.findall(text.casefold()))


def save_words(texts: Iterable[str], folder: Path) -> None:
    """Write down the words of an index's passages."""
    lines = (f"{word} {count}\n" for word, count in sorted(count_words(texts).items()))
    (folder / _FILE).write_text("".join(lines), encoding="utf-8")


def saved_words(folder: Path) -> dict[str, int]:
    """What was written down; nothing in an index of an older version."""
    file = folder / _FILE
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return {word: int(count) for word, _, count in (line.rpartition(" ") for line in text.splitlines())}


class Spelling:
    """Words that questions may mean, counted when the first question comes.

    Args:
        count: Each word, and how often it comes.
        embedder: Tells the words of the language: one that only is not among these is no typing error. By one that
            knows none, nothing is put right: every unknown word would count as an error.
    """

    def __init__(self, count: Callable[[], Mapping[str, int]], embedder: Embedder | KnowsWords) -> None:
        self._count = count
        self._language = embedder if isinstance(embedder, KnowsWords) else None
        self._lock = threading.Lock()
        self._counts: Mapping[str, int] | None = None
        self._stems: frozenset[str] = frozenset()
        self._near: Mapping[tuple[str, int], list[str]] = {}
        """First or second letter, and length, to words."""

    def mend(self, question: str) -> str:
        """The question with typing errors put right, as far as there are words that it may mean.

        Nothing changes where half of the words are unknown: then it is in another language. Without words nothing does.
        """
        if not (language := self._language):
            return question
        words = _WORD.findall(question)
        known = self._words()
        unknown = {word for word in words if not self._is_known(word.casefold())} if known else set()
        if not unknown or sum(word not in unknown for word in words) < _KNOWN * len(words):
            return question
        wrong = [word for word in unknown if not word.isupper() and not language.has_word(word.casefold())]
        right = {word: self._nearest(word.casefold()) or word for word in wrong}
        return _WORD.sub(lambda found: right.get(found[0], found[0]), question)

    def _words(self) -> Mapping[str, int]:
        with self._lock:
            if self._counts is None:
                counts = self._count()
                near = defaultdict(list)
                for word in counts:
                    for letter in word[:2]:
                        near[letter, len(word)].append(word)
                self._near, self._stems, self._counts = near, frozenset(map(stem, counts)), counts
            return self._counts

    def _is_known(self, word: str) -> bool:
        return len(word) < 2 or word in self._words() or stem(word) in self._stems or word in STOPWORDS

    def _nearest(self, word: str) -> str | None:
        """The word with the fewest errors between it and the unknown one; of several the most frequent."""
        if len(word) < _SHORTEST:
            return None
        errors = 2 if len(word) >= _TWO_ERRORS else 1
        counts = self._words()
        best: tuple[int, int, str] | None = None
        for length in range(len(word) - errors, len(word) + errors + 1):
            for other in (*self._near.get((word[0], length), ()), *self._near.get((word[1], length), ())):
                # a first letter that is not right is one error: swapped with the second, missing, or one too many
                allowed = errors if other[0] == word[0] else 1
                distance = OSA.distance(word, other, score_cutoff=allowed)
                if distance <= allowed:
                    best = min(best or (distance, -counts[other], other), (distance, -counts[other], other))
        return best[2] if best else None
