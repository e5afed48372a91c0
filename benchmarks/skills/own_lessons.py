"""Lessons of our own for the skill `answer`: documents, what people at work ask about them, and the words that answer.

A folder of YAML files (`lessons/`). A document stands as a whole (`document:`, Markdown, read and cut as the product
does it) or as the passages to show (`passages:`). Its questions are a list, or lists by kind:

    a: words of the document, one quote a line; "…" in a line stands for all that the document has between
    yes: / no: the sentences that say so
    none: words that the question needs and the document has not; `true` where the document has them all
    before: an earlier question and its answer, which the question refers to

Those in `lessons/aside/` are never learnt: figures and the confidence are made on them.

`python benchmarks/skills/own_lessons.py` checks and counts them.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from metier.core.text import content_stems, rarity, sentences, stem
from metier.core.types import Passage
from metier.specialists.grounding import focus
from metier.specialists.knowledge.build import passages_of
from metier.specialists.knowledge.citation import cite
from metier.specialists.knowledge.documents import Document, Outline
from metier.specialists.knowledge.readers.markup import add_markdown
from metier.specialists.knowledge.readers.text import is_list_item
from metier.specialists.prompt import NOT_FOUND

FOLDER = Path(__file__).with_name("lessons")
MOST_LINES = 6
"""Quotes in one answer: a style's grammar allows no more."""
SHOWN = 3
"""Passages that a question is asked about in the product."""
_COUNTS = (2, SHOWN, SHOWN, SHOWN, 4, 5)
"""So many are shown in a lesson."""
SIZES = (80, 120, 160)
"""Lengths of passages, in words and punctuation marks: the product's, and shorter ones."""
_ABSENT = 0.2
"""So many questions are asked that the passages do not answer, for each that is answered."""


class Item(NamedTuple):
    """A question, its answer, and the texts that are shown with it."""

    task: str
    answer: str
    passages: list[str]
    before: tuple[str, ...] = ()
    """An earlier question and its answer, which the task refers to."""


class Question(NamedTuple):
    """A question as it was written down."""

    kind: str
    task: str
    opening: str
    """`Yes`, `No` or nothing."""
    lines: tuple[str, ...]
    """The quotes that answer; none where nothing does."""
    lacking: tuple[str, ...]
    """Words that the document would have if it answered."""
    before: tuple[str, ...]

    @property
    def answer(self) -> str:
        """As the model has to say it."""
        return "\n".join([f"{self.opening}."] * bool(self.opening) + list(self.lines)) if self.lines else NOT_FOUND


class Lesson:
    """A document with its questions."""

    def __init__(self, written: dict[str, Any], place: str) -> None:
        self.place = place
        self._written = written
        self._cut: dict[int, list[str]] = {}

    @cached_property
    def _document(self) -> Document:
        outline = Outline()
        add_markdown(outline, self.written)
        return outline.document("", "")

    @property
    def is_document(self) -> bool:
        """Whether it stands as a whole."""
        return "document" in self._written

    @property
    def written(self) -> str:
        """The document in Markdown; nothing where there are passages only."""
        return str(self._written.get("document", ""))

    @property
    def text(self) -> str:
        """All that there is to read."""
        return self._document.text if self.is_document else "\n\n".join(self._written["passages"])

    def passages(self, size: int = SIZES[-1]) -> list[str]:
        """What a search can find, each below its heading."""
        if not self.is_document:
            return [text.strip() for text in self._written["passages"]]
        if size not in self._cut:
            found = passages_of(self._document, size)
            self._cut[size] = ["\n".join((*p.heading[-1:], p.text)) for p in found]
        return self._cut[size]

    @cached_property
    def questions(self) -> list[Question]:
        """In the order of the file."""
        asked = self._written["qa"]
        by_kind = asked if isinstance(asked, dict) else {"short": asked}
        return [self._question(kind, row) for kind, rows in by_kind.items() for row in rows]

    def _question(self, kind: str, row: dict[str, Any]) -> Question:
        said = next((key for key in ("a", "yes", "no") if key in row), "none")
        lines = [self._full(line) for line in str(row[said]).split("\n")] if said != "none" else []
        lacking = [word.strip() for word in row["none"].split(",")] if isinstance(row.get("none"), str) else []
        opening = said.capitalize() if said in ("yes", "no") else ""
        quotes = tuple(quote for line in "\n".join(lines).split("\n") for quote in _quotes(line.strip()))
        return Question(kind, row["q"], opening, quotes, tuple(lacking), tuple(row.get("before", ())))

    def _full(self, line: str) -> str:
        """A line with `…` written out; as it is where the document has no such run of words."""
        begin, gap, end = (part.strip() for part in line.partition("…"))
        found = re.search(f"{re.escape(begin)}.*?{re.escape(end)}", self.text, re.DOTALL) if gap else None
        return found[0] if found else line

    def sheets(self, rounds: int, dice: random.Random) -> Iterator[Item]:
        """Questions asked `rounds` times or more, those over the same passages one after the other: the passages are
        chosen for one question, and what else they answer is asked about them, too. What nothing answers, or only other
        passages do, is not found in these; of that only a little is asked. In half of the sheets tables are cut down as
        the product does it: the right row has to be found in whole ones, too.
        """
        left = Counter({question.task: rounds for question in self.questions})
        while waiting := [question for question in self.questions if left[question.task] > 0]:
            chosen = dice.choice(waiting)
            shown = self._around(chosen, dice)
            others = [question for question in self.questions if question is not chosen]
            asked = [
                chosen,
                *(
                    question
                    for question in others
                    if left[question.task] > 0 and question.lines and self._answered(question, shown)
                ),
            ]
            absent = [question for question in others if not any(_places(line, shown) for line in question.lines)]
            few = dice.sample(absent, min(len(absent), max(1, round(_ABSENT * len(asked)))))
            whole = dice.random() < 0.5
            for question in (*asked, *few):
                left[question.task] -= 1
                seen = shown if whole else _in_view(question, shown)
                yield Item(question.task, NOT_FOUND if question in few else question.answer, seen, question.before)

    def _around(self, question: Question, dice: random.Random) -> list[str]:
        """Passages in any order: those that answer the question, and those that come nearest."""
        ranked = _ranked(" ".join((question.task, *question.before[:1])), self.passages(dice.choice(SIZES)))
        holding = _holding(question.lines, ranked)
        others = [text for text in ranked if text not in holding]
        shown = [*holding, *others[: max(0, dice.choice(_COUNTS) - len(holding))]]
        dice.shuffle(shown)
        return shown

    def _answered(self, question: Question, shown: list[str]) -> bool:
        """Whether all its lines stand there, in each of their places."""
        return all(_places(line, shown) and _places(line, shown) == self._all_places(line) for line in question.lines)

    def _all_places(self, line: str) -> int:
        return _places(line, self.passages())


def _quotes(line: str) -> list[str]:
    """A line as quotes: sentences one by one, since a passage may end between them; steps and items as they stand."""
    return [line] if is_list_item(line) else sentences(line)


def _ranked(task: str, passages: Sequence[str]) -> list[str]:
    """The passages, best first, by the rare words that they share with what is asked."""
    weights = rarity([content_stems(text) for text in passages])
    asked = content_stems(task)
    return sorted(passages, key=lambda text: -sum(sorted(weights[word] for word in content_stems(text) & asked)))


def _holding(lines: Sequence[str], ranked: Sequence[str]) -> list[str]:
    """All passages in which a line stands: which of them is meant, only the whole document says."""
    return [text for text in ranked if any(_places(line, [text]) for line in lines)]


def _in_view(question: Question, shown: list[str]) -> list[str]:
    """Tables cut down as the product does it, where no place of the answer is lost by that."""
    seen = focus(question.task, shown, " ".join(question.before[:1]))
    kept = all(_places(line, seen) == _places(line, shown) for line in question.lines)
    return seen if kept else shown


def _places(line: str, texts: Sequence[str]) -> int:
    """In how many lines of the texts a quote stands."""
    return sum(stands(line, part) for text in texts for part in text.split("\n"))


def stands(line: str, text: str) -> bool:
    """Whether a text holds a quote."""
    return cite(line, [Passage(id="", text=text, source="")]) is not None


def read_lessons(folder: Path = FOLDER) -> list[Lesson]:
    """All documents, in the order of the files."""
    return [
        Lesson(written, f"{path.name}: {number + 1}")
        for path in sorted(folder.glob("*.yaml"))
        for number, written in enumerate(YAML(typ="safe").load(path))
    ]


def items(dice: random.Random, rounds: int, folder: Path = FOLDER) -> Iterator[Item]:
    """Each question `rounds` times or more, with other passages around what answers it."""
    for lesson in read_lessons(folder):
        yield from lesson.sheets(rounds, dice)


def faults(lesson: Lesson) -> Iterator[str]:
    """What is wrong with a document's questions, each in words."""
    for question, times in Counter(question.task for question in lesson.questions).items():
        if times > 1:
            yield f"{question}: asked {times} times"
    words = {stem(word) for word in re.findall(r"\w+", lesson.text.casefold())}
    for question in lesson.questions:
        if len(question.lines) > MOST_LINES:
            yield f"{question.task}: more than {MOST_LINES} lines"
        for line in question.lines:
            yield from (f"{question.task}: {fault}: {line}" for fault in _line_faults(line, lesson))
        for term in question.lacking:
            if {stem(word) for word in re.findall(r"\w+", term.casefold())} <= words:
                yield f"{question.task}: the document has {term}"
            if term.casefold() not in question.task.casefold():
                yield f"{question.task}: does not ask for {term}"


def _line_faults(line: str, lesson: Lesson) -> Iterator[str]:
    for size in SIZES:
        places = sum(stands(line, text) for text in lesson.passages(size))
        if not places:
            yield f"stands in no passage of {size}"
            return
        if places > SHOWN:
            yield f"stands in {places} passages of {size}"
            return


def _main() -> None:
    found = read_lessons()
    wrong = [f"{lesson.place}: {fault}" for lesson in found for fault in faults(lesson)]
    print("\n".join(wrong) or "each line stands in its document")
    asked = [question for lesson in found for question in lesson.questions]
    print(f"{len(found)} documents, {len(asked)} questions")
    for kind, count in Counter(question.kind for question in asked).most_common():
        print(f"{count:6} {kind}")
    openings = Counter(question.opening for question in asked if question.opening)
    print(", ".join(f"{opening}: {count}" for opening, count in openings.items()))


if __name__ == "__main__":
    _main()
