"""How a task is decided: what was decided before, rules, parts, words, meaning, and a second look when in doubt.

From top to bottom: rules; cutting a task into parts; what becomes of probabilities; the `Decider`, which goes through
them in order.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..core.embedding import Embedder
from ..core.errors import ConfigError
from ..core.spelling import Spelling, count_words
from ..core.text import STOPWORDS, content_words, plain_words, sentence_spans
from ..core.types import Choice, Part, Route, Value
from .features import Example, normalise_example
from .model import CONFIDENCE_LEVEL, SHORTCUT_ERROR, SIGNALS, Calibration, Floats, Model, Predictions

_SEAM = re.compile(
    r"""(?<=[.?!;])\s+                                # a sentence ends
      | \s*,?\s+(?:and|then|also|plus|but|und|et|y)\s+(?:then\s+|also\s+)*   # or another thing is added
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MOST_PARTS = 6
_LEAST_WORDS = 3
_SMALL_WORDS = 0.2
"""Share of small words ("how", "is", "the") from which a text is English."""
_SPLIT_WRONGLY = 0.01
"""Share of tasks for one specialist that may be taken apart by mistake."""
_CLARIFY_BELOW = 0.5
"""When the best specialist has less than this (given that somebody has), the user is asked which one is meant."""
_CLARIFY_COVER = 0.9
"""As many names are offered as cover this much of the probability, at least two and at most `_CLARIFY_MOST`."""
_CLARIFY_MOST = 3
_CLARIFY_LEAST = 0.6
"""A question back is only asked when the names in it have so much of the probability; what may be for anybody is for
nobody."""
SecondLook = Callable[[str, Sequence[str]], Mapping[str, float]]
"""Asked in doubt: the text and the names in question, most probable first; answers how much the documents of each speak
of it, 0 to 1. Names without documents are left out."""
_LEAD = 0.05
"""By so much the best evidence must be ahead of the next to settle a doubt."""
_SPOKEN_OF = 0.25
"""Documents that speak less than this of a task do not answer it."""
_WELL_SPOKEN_OF = 0.5
"""Documents that speak so much of a task answer it, though the examples say that it is nobody's."""
_ALMOST = 0.25
"""Share of the threshold that a refused task needs for a second look."""
DOUBT = 0.7
"""A second look is asked for when the best specialist has less than this, given that somebody has."""
SURELY_INSIDE = 0.98
"""And when it is less probable than this that somebody on the team should answer."""
_BY_DOCUMENTS = "by a second look"
_REMEMBERED = 1024
"""So many decisions are kept."""


class RouteRules(Value):
    """What wins over everything learnt: regular expressions on the task, case ignored. `never` wins over `always`."""

    always: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


class Ruling(NamedTuple):
    """What the rules say about a task."""

    chosen: tuple[str, ...]
    """Specialists that get it whatever the head thinks, in the order of the text."""
    barred: frozenset[str]
    """Specialists that must not get it."""
    text: str
    """The task without the names that were called."""
    reason: str


class Rules:
    """The rules of all specialists, compiled."""

    def __init__(self, rules: Mapping[str, RouteRules], names: Iterable[str]) -> None:
        """Raises ConfigError where a pattern is not a regular expression."""
        self.source = dict(rules)
        self._always = {name: _compile(name, "always", rule.always) for name, rule in rules.items()}
        self._never = {name: _compile(name, "never", rule.never) for name, rule in rules.items()}
        called = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        # Not inside an address such as me@sales.example: neither a word before, nor the name going on behind.
        self._called = re.compile(rf"(?<![\w.@-])@({called})(?![\w@-]|\.\w)", re.IGNORECASE) if called else None
        self._names = {name.lower(): name for name in names}

    def judge(self, text: str, attachments: Sequence[str] = ()) -> Ruling:
        """Look at the task and the names of its attachments."""
        lines = [text, *attachments]
        barred = frozenset(name for name, patterns in self._never.items() if _match(patterns, lines))
        called, rest = self._find_called(text)
        called = [name for name in called if name not in barred]
        if called:
            return Ruling(tuple(called), barred, rest, f"the task calls @{', @'.join(called)}")
        for name, patterns in self._always.items():
            pattern = _match(patterns, lines)
            if pattern and name not in barred:
                return Ruling((name,), barred, text, f"rule of {name}: always /{pattern}/")
        return Ruling((), barred, text, f"rule: never {', '.join(sorted(barred))}" if barred else "")

    def _find_called(self, text: str) -> tuple[list[str], str]:
        if self._called is None or "@" not in text:
            return [], text
        called = list(dict.fromkeys(self._names[found.lower()] for found in self._called.findall(text)))
        rest = re.sub(r"\s+", " ", self._called.sub("", text)).strip(" ,:;") if called else text
        return called, rest or text


def _compile(name: str, field: str, patterns: Iterable[str]) -> list[re.Pattern[str]]:
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern, re.IGNORECASE))
        except re.error as error:
            raise ConfigError(
                f"/{pattern}/ is not a regular expression: {error}", field=f"{name}: route.{field}"
            ) from error
    return compiled


def _match(patterns: Iterable[re.Pattern[str]], lines: Sequence[str]) -> str | None:
    return next((p.pattern for p in patterns if any(p.search(line) for line in lines)), None)


class Piece(NamedTuple):
    """A part of a task and the column of the specialist that it goes to."""

    column: int
    text: str


def segments(text: str) -> list[str]:
    """The text cut at every seam; pieces of fewer words than `_LEAST_WORDS` stay with the one before, and what is
    stated before a question stays with the question.

    A text without two such pieces, or with very many, is one task.
    """
    kept: list[str] = []
    start = 0
    ends = {end for _, end in sentence_spans(text, typed=True)}  # the full stop of "R. Okafor" ends nothing
    seams = [m.span() for m in _SEAM.finditer(text) if m[0].strip() or text[m.start() - 1] == ";" or m.start() in ends]
    for cut, resume in [*seams, (len(text), len(text))]:
        piece = text[start:cut].strip()
        if len(piece.split()) >= _LEAST_WORDS and len(text[resume:].split()) not in range(1, _LEAST_WORDS):
            kept.append(piece)
            start = resume
    rest = text[start:].strip()
    if rest and kept:
        kept[-1] = f"{kept[-1]} {rest}" if start else rest
    kept = _with_their_questions(kept)
    return kept if 2 <= len(kept) <= _MOST_PARTS else []


def _with_their_questions(pieces: Sequence[str]) -> list[str]:
    """ "My eggs burst. What helps?" is one task."""
    joined: list[str] = []
    for number, piece in enumerate(pieces):
        stated = bool(joined) and joined[-1].endswith((".", "!", ";"))
        if stated and any(later.endswith("?") for later in pieces[number:]):
            joined[-1] = f"{joined[-1]} {piece}"
        else:
            joined.append(piece)
    return joined


def assign(pieces: Sequence[str], probability: Floats, least: float) -> list[Piece]:
    """Who gets which piece; unsure pieces stay with their neighbour. Fewer than two specialists: empty.

    Args:
        probability: (pieces, specialists).
        least: A piece is somebody's from this probability on.
    """
    best = probability.argmax(axis=1)
    sure = probability.max(axis=1) >= least
    if len(set(best[sure].tolist())) < 2:
        return []
    owners = [int(b) if s else None for b, s in zip(best, sure, strict=True)]
    first = next(o for o in owners if o is not None)
    joined: list[Piece] = []
    for piece, owner in zip(pieces, owners, strict=True):
        column = owner if owner is not None else joined[-1].column if joined else first
        if joined and joined[-1].column == column:
            joined[-1] = Piece(column, f"{joined[-1].text} {piece}")
        else:
            joined.append(Piece(column, piece))
    return joined


def strength(probability: Floats) -> float:
    """The largest `least` at which `assign` would still take the task apart."""
    best = probability.argmax(axis=1)
    tops: dict[int, float] = {}
    for column, value in zip(best.tolist(), probability.max(axis=1).tolist(), strict=True):
        tops[column] = max(tops.get(column, 0.0), value)
    return sorted(tops.values())[-2] if len(tops) > 1 else 0.0


def fit_least(strengths: Sequence[float], of: int) -> float:
    """The `least` at which at most `_SPLIT_WRONGLY` of the team's single tasks are taken apart.

    Args:
        strengths: Of those of the team's examples that have seams.
        of: How many examples there are, with and without seams.
    """
    ordered = np.sort(np.asarray(strengths, dtype=float))[::-1]
    allowed = int(_SPLIT_WRONGLY * of)
    above = float(ordered[allowed]) if allowed < len(ordered) else 0.0
    return min(max(above + 1e-6, 1 - CONFIDENCE_LEVEL, 0.5), 1.0)


@dataclass(frozen=True)
class Prediction:
    """What the model predicts for one text, free of arrays."""

    names: tuple[str, ...]
    inside: float
    """Probability that somebody on the team should answer."""
    given_inside: tuple[float, ...]
    """Whose it is then; sums to 1, or to 0 when all are barred."""
    threshold: float
    in_set: float
    signals: dict[str, float]
    notes: tuple[str, ...] = ()
    """What else the reason should say."""

    @property
    def refused(self) -> bool:
        return self.inside < self.threshold

    @property
    def order(self) -> list[int]:
        """Columns, most probable first."""
        return sorted(range(len(self.names)), key=lambda i: (-self.given_inside[i], self.names[i]))

    def joint(self, column: int) -> float:
        """Probability that somebody should answer, and that it is this one."""
        return self.inside * self.given_inside[column]

    def noted(self, note: str) -> Prediction:
        return replace(self, notes=(*self.notes, note)) if note else self


def prediction_of(
    names: tuple[str, ...],
    calibration: Calibration,
    predicted: Predictions,
    row: int,
    barred: frozenset[str] = frozenset(),
) -> Prediction:
    """One row of what the model predicts; specialists that are barred have probability 0."""
    chances = predicted.given_inside[row].astype(np.float64)
    inside = float(predicted.inside[row])
    if barred:
        allowed = np.array([name not in barred for name in names], dtype=np.float64)
        inside *= float(chances @ allowed)
        chances *= allowed
        chances /= chances.sum() or 1.0
    return Prediction(
        names=names,
        inside=inside,
        given_inside=tuple(chances.tolist()),
        threshold=calibration.threshold,
        in_set=calibration.in_set,
        signals=dict(zip(SIGNALS, (round(float(s), 4) for s in predicted.signals[row]), strict=True)),
    )


def by_model(text: str, v: Prediction) -> Route:
    """One specialist, a question back, or nobody."""
    best = v.order[0]
    if v.refused:
        reason = f"probably for nobody here: {v.inside:.0%} that it is the team's, {v.threshold:.0%} needed"
        return _route(v, "abstain", 1 - v.inside, reason)
    if v.given_inside[best] < _CLARIFY_BELOW and len(v.names) > 1:
        candidates = to_ask(v)
        if sum(sorted(v.given_inside)[-_CLARIFY_MOST:]) < _CLARIFY_LEAST:
            return _route(v, "abstain", 1 - v.joint(best), "no specialist stands out: it could be for many")
        reason = f"could be for {' or '.join(candidates)}"
        return _route(v, "clarify", v.joint(best), reason, candidates=candidates)
    return to_one(text, v, best, "from its examples")


def to_one(text: str, v: Prediction, column: int, because: str) -> Route:
    """One specialist gets the whole text."""
    name = v.names[column]
    part = Part(specialist=name, text=text)
    return _route(v, "one", v.joint(column), f"{name} ({v.joint(column):.0%}), {because}", parts=(part,))


def to_several(pieces: Sequence[Piece], v: Prediction, confidence: float) -> Route:
    """Each specialist gets its part of the text."""
    parts = tuple(Part(specialist=v.names[piece.column], text=piece.text) for piece in pieces)
    names = tuple(dict.fromkeys(part.specialist for part in parts))
    return _route(v, "several", confidence, f"parts for {' and '.join(names)}", parts=parts, candidates=names)


def by_rule(ruling: Ruling, names: Sequence[str]) -> Route:
    """What a rule or the user decided, whatever the model thinks."""
    parts = tuple(Part(specialist=name, text=ruling.text) for name in ruling.chosen)
    return Route(
        decision="several" if len(parts) > 1 else "one",
        parts=parts,
        choices=known_choices(names, ruling.chosen, 1.0),
        confidence=1.0,
        candidates=ruling.chosen,
        reason=ruling.reason,
    )


def by_words(text: str, names: Sequence[str], name: str, probability: float, reason: str) -> Route:
    """What words alone decided, without the model."""
    return Route(
        decision="one",
        parts=(Part(specialist=name, text=text),),
        choices=known_choices(names, (name,), probability),
        confidence=probability,
        candidates=(name,),
        reason=reason,
        signals={"inside": probability},
    )


def nobody(names: Sequence[str], reason: str) -> Route:
    """A certain abstention."""
    return Route(decision="abstain", choices=known_choices(names, (), 0.0), confidence=1.0, reason=reason)


def known_choices(names: Sequence[str], chosen: Sequence[str], probability: float) -> tuple[Choice, ...]:
    """Choices where the model was not asked: what is left of 1 is not shared out among the others."""
    others = (Choice(name=name, probability=0.0) for name in names if name not in chosen)
    return (*(Choice(name=name, probability=probability / len(chosen)) for name in chosen), *others)


def to_ask(v: Prediction) -> tuple[str, ...]:
    """The two or three most probable names."""
    covered, candidates = 0.0, []
    for column in v.order[:_CLARIFY_MOST]:
        candidates.append(v.names[column])
        covered += v.given_inside[column]
        if covered >= _CLARIFY_COVER and len(candidates) > 1:
            break
    return tuple(candidates)


def _route(
    v: Prediction,
    decision: str,
    confidence: float,
    reason: str,
    parts: tuple[Part, ...] = (),
    candidates: tuple[str, ...] = (),
) -> Route:
    # A question back offers a choice of few, whatever the set.
    in_set = [v.names[i] for i in v.order if v.joint(i) >= v.in_set] if decision != "clarify" else []
    return Route(
        decision=decision,  # pyright: ignore[reportArgumentType]
        parts=parts,
        choices=tuple(Choice(name=v.names[i], probability=v.joint(i)) for i in v.order),
        confidence=confidence,
        candidates=tuple(dict.fromkeys((*candidates, *in_set))),
        reason="; ".join((reason, *v.notes)),
        signals={**v.signals, "inside": v.inside},
    )


def in_english(text: str) -> bool:
    """Does a text have as many of the small words as English has? Short ones are given the benefit of the doubt.

    >>> in_english("How often is it greased?"), in_english("Wie oft muss man den Filter wechseln?"), in_english("E17?")
    (True, False, True)
    """
    words = plain_words(text)
    small = sum(word in STOPWORDS for word in words)
    return (text.isascii() and len(words) < _LEAST_WORDS) or small >= _SMALL_WORDS * len(words)


class Decider:
    """Decides with a fitted model. Safe to share between threads."""

    def __init__(
        self,
        model: Model,
        rules: Rules,
        embedder: Embedder,
        examples: Iterable[Example],
        second_look: SecondLook | None = None,
        words: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.model, self.rules, self.embedder, self.second_look = model, rules, embedder, second_look
        examples = list(examples)
        self._examples = _certain(examples)
        self._words: dict[str, set[str]] = {name: set() for name in model.names}
        for example in examples:
            if example.label is not None:
                self._words[example.label].update(content_words(example.text))
        texts = [example.text for example in examples if example.label is not None]
        self._spelling = Spelling(lambda: count_words(texts) + Counter(words()), embedder)
        self._recent: OrderedDict[tuple[str, tuple[str, ...], tuple[str, ...]], Route] = OrderedDict()
        self._lock = threading.Lock()

    def decide(self, text: str, context: Sequence[str] = (), attachments: Sequence[str] = ()) -> Route:
        """See `Router.route`. A decision is remembered: the same task gets the same one again."""
        task = (text, tuple(context), tuple(attachments))
        with self._lock:
            if task in self._recent:
                self._recent.move_to_end(task)
                return self._recent[task]
        route = self._decide(normalise_example(text), context, attachments)
        with self._lock:
            self._recent[task] = route
            if len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
        return route

    def predict(self, texts: Sequence[str]) -> Predictions:
        """What the model predicts for normalised texts."""
        return self.model.predict(texts, self.embedder.embed(texts))

    def _decide(self, text: str, context: Sequence[str], attachments: Sequence[str]) -> Route:
        names = self.model.names
        if not text:
            return nobody(names, "the task is empty")
        ruling = self.rules.judge(text, attachments)
        if ruling.chosen:
            return by_rule(ruling, names)
        if len(ruling.barred) == len(names):
            return nobody(names, ruling.reason)
        plain = self._spelling.mend(text)
        read = normalise_example(" ".join([plain, *attachments])) if attachments else plain
        pieces = segments(text)
        if not context and not pieces and (route := self._by_words(text, read, ruling)):
            return route
        # Most tasks with a seam are one task; only where words see a difference is each piece embedded.
        if pieces and not self.model.shortcut.agree(pieces) and (route := self._by_parts(text, pieces, ruling)):
            return route
        return self._by_model(text, read, context, ruling)

    def _by_words(self, text: str, read: str, ruling: Ruling) -> Route | None:
        """One of the examples, or a text whose words are certain; needs no encoder."""
        names = self.model.names
        if read.lower() in self._examples:
            label = self._examples[read.lower()]
            if label is None:
                return nobody(names, "one of the examples that are for nobody here")
            if label not in ruling.barred:
                return by_words(text, names, label, 1.0, f"{label}, whose example it is")
        column = self.model.shortcut.decide(read)
        if column is None or names[column] in ruling.barred:
            return None
        return by_words(text, names, names[column], 1 - SHORTCUT_ERROR, f"{names[column]}, the words are certain")

    def _by_parts(self, text: str, pieces: Sequence[str], ruling: Ruling) -> Route | None:
        predictions = self._predictions(pieces, ruling)
        chances = np.array([[v.joint(i) for i in range(len(v.names))] for v in predictions])
        shared = assign(pieces, chances, self.model.calibration.part)
        if not shared:
            return None
        (whole,) = self._predictions([text], ruling)
        return to_several(shared, whole.noted(ruling.reason), _least_sure(chances, {p.column for p in shared}))

    def _by_model(self, text: str, read: str, context: Sequence[str], ruling: Ruling) -> Route:
        """A task that goes on from the thread is read both ways; the surer reading counts."""
        readings = [read, normalise_example(" ".join([*context, read]))] if context else [read]
        predictions = self._predictions(readings, ruling)
        english = in_english(text)
        if not english:
            lenient = min(self.model.calibration.lenient, self.model.calibration.threshold)
            predictions = [replace(v, threshold=lenient) for v in predictions]
        best = max(predictions, key=lambda v: (not v.refused, v.joint(v.order[0])))
        if best is not predictions[0]:
            best = best.noted("read with the thread")
        best = best.noted(ruling.reason)
        if self.second_look and self._in_doubt(best, english):
            return self._look_again(text, best)
        route = by_model(text, best)
        foreign = route.decision == "clarify" and self._tells_nobody_apart(text, to_ask(best))
        return self._strange(best) if foreign else route

    def _in_doubt(self, v: Prediction, english: bool) -> bool:
        """Documents are taken to be English: of a task in another language they speak little, whoever it is for."""
        if v.refused:
            return v.inside >= _ALMOST * v.threshold
        return v.given_inside[v.order[0]] < DOUBT or (english and v.inside < SURELY_INSIDE)

    def _look_again(self, text: str, v: Prediction) -> Route:
        """The documents decide between names, and whether a task that may be nobody's is somebody's."""
        names = to_ask(v)
        seen = self.second_look(text, names) if self.second_look else {}
        evidence = {name: seen[name] for name in names if name in seen}
        ranked = sorted(evidence.items(), key=lambda item: -item[1])
        best, most = ranked[0] if ranked else ("", 0.0)
        ahead = len(ranked) < 2 or most - ranked[1][1] >= _LEAD
        if v.refused:
            let_in = ahead and most >= _WELL_SPOKEN_OF
            return to_one(text, v, v.names.index(best), _BY_DOCUMENTS) if let_in else by_model(text, v)
        if most < _SPOKEN_OF and len(evidence) == len(names) and in_english(text):
            return self._strange(v)
        if v.given_inside[v.order[0]] >= DOUBT:
            return by_model(text, v)
        if ahead and len(ranked) > 1:
            return to_one(text, v, v.names.index(best), _BY_DOCUMENTS)
        return by_model(text, v.noted("a second look did not settle it"))

    def _strange(self, v: Prediction) -> Route:
        """Nobody, where neither examples nor documents have to do with what is asked."""
        return _route(v, "abstain", 1 - v.joint(v.order[0]), "nothing here speaks of it")

    def _tells_nobody_apart(self, text: str, names: Sequence[str]) -> bool:
        """Is what a text asks about unknown? Its known words are those of every specialist in question, others are new:
        "how often is the helicopter greased" among specialists who are all asked how often something is greased."""
        words = set(content_words(text))
        everybody = set.intersection(*(self._words[name] for name in names))
        new = words - set.union(*self._words.values())
        return bool(new) and words - new <= everybody

    def _predictions(self, texts: Sequence[str], ruling: Ruling) -> list[Prediction]:
        predicted, model = self.predict(texts), self.model
        return [
            prediction_of(model.names, model.calibration, predicted, row, ruling.barred) for row in range(len(texts))
        ]


def _certain(examples: Iterable[Example]) -> dict[str, str | None]:
    """Example tasks in lower case and their labels; those with two labels are left out."""
    labels: dict[str, set[str | None]] = {}
    for example in examples:
        if example.kind == "task":
            labels.setdefault(example.text.lower(), set()).add(example.label)
    return {text: names.pop() for text, names in labels.items() if len(names) == 1}


def _least_sure(chances: np.ndarray, columns: set[int]) -> float:
    """The probability of the part that is least sure."""
    return float(min(chances[:, column].max() for column in columns))
