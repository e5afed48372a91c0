"""English text: words and their stems, sentences, and whether a text refers back to what was said before.

One way of each for the whole package, so that what one part finds, another finds, too. Other languages pass through:
their words count, they are only stemmed and cut by English rules.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal
from zlib import crc32

import Stemmer

_WORD = re.compile(r"\w+(?:[-./_'’:]\w+)*")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Letters of scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
_UNSPACED_RUN = re.compile(f"[{_UNSPACED}]+")
_PART = re.compile(r"[^\W_]+")
_ENGLISH = Stemmer.Stemmer("english")
_FUNCTION_WORDS = """
a about all also an and any are as at be because been being both but by can could did do does doing down for from had
has have having he her here hers him his how i if in into is it its itself just me more most my no nor not of off on
once only or other our out over own please same she should so some such tell than that the their them then there these
they this those through to too under until up us very was we were what when where which while who whom why will with
would you your
"""
STOPWORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that say nothing about what a text is about."""


def savable(text: str) -> str:
    """Text that every file and database can hold: half an emoji and NUL become U+FFFD, two halves become whole.

    >>> savable("caf\ud83d"), savable("\ud83d\ude00")
    ('caf\ufffd', '😀')
    """
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "\ufffd")


def terms(text: str) -> list[str]:
    """The terms of a text as BM25 sees them, in order: stems without stop words; identifiers stay whole.

    `P-101` gives `p101` and its parts, so it is found by `P-101`, `p101` and `p 101`.

    >>> terms("Which pumps use the SP-07 seals?")
    ['pump', 'use', 'sp07', 'sp', '07', 'seal']
    """
    plain = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    if not plain.isascii() and _UNSPACED_RUN.search(plain):
        return [*_letter_pairs(plain), *terms(_UNSPACED_RUN.sub(" ", plain))]
    return [term for word in _WORD.findall(plain) for term in _word_terms(word)]


def _letter_pairs(text: str) -> list[str]:
    """Neighbouring letters where no space tells the words apart.

    >>> _letter_pairs("三号泵 P-101")
    ['三号', '号泵']
    """
    runs = _UNSPACED_RUN.findall(text)
    return [run[at : at + 2] for run in runs for at in range(max(1, len(run) - 1))]


@lru_cache(maxsize=200_000)
def _word_terms(word: str) -> tuple[str, ...]:
    parts = _PART.findall(word.removesuffix("'s").removesuffix("’s"))
    whole = "".join(parts)
    if len(parts) > 1:
        return (whole, *(stem(part) for part in parts if part not in STOPWORDS))
    return (stem(whole),) if whole and whole not in STOPWORDS else ()


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """The common form of a word in lower case: `greased`, `greasing` and `grease` meet. Words with digits stay.

    >>> [stem(word) for word in ("greased", "greasing", "grease", "p-101")]
    ['greas', 'greas', 'greas', 'p-101']
    """
    return word if any(map(str.isdigit, word)) else _ENGLISH.stemWord(word)


_LETTERS = re.compile(r"\w+")
_CONTENT = re.compile(r"[^\W_]+(?:[-.][^\W_]+)*")


def plain_words(text: str) -> list[str]:
    """All words of a text in lower case, as they stand."""
    return _LETTERS.findall(text.lower())


def with_pairs(words: Sequence[str]) -> list[str]:
    """Words, then pairs of neighbouring words."""
    return [*words, *(f"{first} {second}" for first, second in pairwise(words))]


def word_pieces(word: str, sizes: Iterable[int]) -> Iterator[str]:
    """Runs of characters of a word, of each size; a blank marks where it begins and ends."""
    padded = f" {word} "
    for size in sizes:
        yield from (padded[at : at + size] for at in range(len(padded) - size + 1))


HASH_BUCKETS = 2**15
"""Columns that terms are hashed into, so that no vocabulary is stored (Weinberger et al., 2009)."""


def hash_bucket(term: str) -> int:
    """The column of a term, the same in every process."""
    return crc32(term.encode("utf-8", "replace")) % HASH_BUCKETS


@lru_cache(maxsize=20_000)
def piece_buckets(word: str, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The columns of a word's pieces. Words come again: most of a text is looked up, not hashed."""
    return tuple(map(hash_bucket, word_pieces(word, sizes)))


def content_words(text: str) -> list[str]:
    """The words that carry meaning, in lower case, in order; codes such as `p-101` stay whole.

    >>> content_words("How often is the pump P-101 greased?")
    ['often', 'pump', 'p-101', 'greased']
    """
    return [word for word in _CONTENT.findall(text.lower()) if word not in STOPWORDS]


def content_stems(text: str) -> set[str]:
    """The stems of a text's content words."""
    return {stem(word) for word in content_words(text)}


def codes(text: str) -> set[str]:
    """Names of parts, machines and alarms: words with letters and digits.

    >>> codes("FL-2 shows F-112 again")  == {"fl-2", "f-112"}
    True
    """
    return {w for w in content_words(text) if any(c.isdigit() for c in w) and any(c.isalpha() for c in w)}


def coverage(words: Iterable[str], text: str) -> float:
    """Share of the words (0 to 1) that occur in the text, by their stems. No words: 1."""
    wanted = {stem(word) for word in words}
    return len(wanted & content_stems(text)) / len(wanted) if wanted else 1.0


def rarity(texts: Collection[Collection[str]]) -> dict[str, float]:
    """How rare each word is among texts, given as their distinct words: log(1 + texts / texts that hold it)."""
    held = Counter(word for words in texts for word in words)
    return {word: math.log(1 + len(texts) / count) for word, count in held.items()}


_GAP = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[^\Wa-z_])|\n\s*\n|(?<=[。！？])")
"""Between two sentences of a document: the next begins with a capital, a digit, or in a script without capitals."""
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Z]|e\.g|i\.e|etc|vs|cf|al|approx|Dr|Mr|Mrs|Ms|Prof|St|No|Nos|Fig|Figs|Eq|Sec|Ch|Art|Inc|Ltd|Co|Corp"
    r"|Jr|Sr|Vol|pp|ed|eds|min|max|ca)\.)\Z"
)
_TYPED_GAP = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|(?<=[。！？])")
_TITLE = re.compile(r"\b(?:mr|mrs|ms|dr|prof|st|vs|e\.g|i\.e|cf|[ap]\.m|(?<!\d )(?-i:[A-Z]))\.\Z", re.IGNORECASE)
_SHORTENED = re.compile(r"\b(?:inc|ltd|etc|approx|no)\.\Z", re.IGNORECASE)
"""Ends a typed sentence when no small letter follows."""
_LONGEST_ABBREVIATION = 12
_LINE = re.compile(r"\S(?:[^\n]*\S)?")


def sentences(text: str) -> list[str]:
    """The sentences of what people type: each line is one of its own at least, and small letters may begin one.

    >>> sentences("I see Dr. Lee at 3 p.m. today. “All good.” thanks!")
    ['I see Dr. Lee at 3 p.m. today.', '“All good.”', 'thanks!']
    """
    return [text[start:end] for start, end in sentence_spans(text, typed=True)]


def sentence_spans(
    text: str, start: int = 0, end: int | None = None, *, typed: bool = False
) -> Iterator[tuple[int, int]]:
    """Offsets of the sentences of `text[start:end]`, without the white space between them.

    Args:
        text: What the offsets count in.
        start: Where to begin.
        end: Where to stop; None is the end of the text.
        typed: See `sentences`. Documents, whose lines are broken anywhere, are cut at full stops before a capital and
            at empty lines.
    """
    end = len(text) if end is None else end
    if not typed:
        yield from _cut(text, start, end, _GAP, _ends_in_document)
        return
    for line in _LINE.finditer(text, start, end):
        yield from _cut(text, line.start(), line.end(), _TYPED_GAP, _ends_typed)


def _cut(
    text: str, start: int, end: int, gaps: re.Pattern[str], ends: Callable[[str, int, re.Match[str]], bool]
) -> Iterator[tuple[int, int]]:
    begin = start
    for gap in gaps.finditer(text, start, end):
        if not ends(text, max(begin, gap.start() - _LONGEST_ABBREVIATION), gap):
            continue
        stop = gap.start() + len(gap[0].rstrip())
        if text[begin:stop].strip():
            yield begin, stop
            begin = gap.end()
    if text[begin:end].strip():
        yield begin, end


def _ends_in_document(text: str, since: int, gap: re.Match[str]) -> bool:
    return "\n" in gap[0] or not _ABBREVIATION.search(text, since, gap.start())


def _ends_typed(text: str, since: int, gap: re.Match[str]) -> bool:
    if _SHORTENED.search(text, since, gap.start()):
        return not text[gap.end()].islower()
    return not _TITLE.search(text, since, gap.start())


Reference = Literal["ellipsis", "pronoun", "earlier", "short"]
"""It goes on from something ("And for line 3?"), says `it`, names an earlier moment ("you said"), or is short."""

_REFERENCES: dict[Reference, re.Pattern[str]] = {
    "ellipsis": re.compile(
        r"^\W*(?:and|or|but|also|then|so|same|again|what about|how about|what if|what else|why|which ones?|since when|"
        r"until when|by whom|for whom|ok(?:ay)?|und|aber|et|y)\b",
        re.IGNORECASE,
    ),
    # `this` and `one` are left out: they stand in as many tasks that stand alone ("this contract"; docs/log-memory.md).
    "pronoun": re.compile(
        r"\b(?:it|its|that|those|these|this one|they|them|their|there|ones|the same|the other|the latter|the former|"
        r"instead)\b|\bone\W*$",
        re.IGNORECASE,
    ),
    "earlier": re.compile(
        r"\b(?:earlier|before that|previous(?:ly)?|you (?:said|told|mentioned|named)|I (?:asked|mentioned)|"
        r"we (?:talked|spoke)|(?:go|coming|come) back to|at first|first question|once more)\b",
        re.IGNORECASE,
    ),
}
_SHORT = 4
"""A task of so many words may refer to anything ("for line 3?")."""


def references(text: str) -> set[Reference]:
    """How a text refers to what was said before it; empty when it stands alone.

    >>> references("And for the labeller?") == {"ellipsis", "short"}, references("How often is the filter cleaned?")
    (True, set())
    """
    kinds: set[Reference] = {kind for kind, pattern in _REFERENCES.items() if pattern.search(text)}
    if len(text.split()) <= _SHORT:
        kinds.add("short")
    return kinds


def refers_back(text: str) -> bool:
    """May the text need what was said before it to be understood?"""
    return bool(references(text))
