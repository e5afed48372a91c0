"""Do the constants of long-term memory hold for a user that they were not set on? The others choose, one is scored.

    python benchmarks/memory_weights.py TRAIN [--json OUT]

First the size of a fact and the weights of relevance are chosen, by `recall_at_3` averaged over the users; then the
threshold, as the relevance that 98 % of the questions reach; then what is quoted: of all choices whose replies have at
most 150 words, the one that answers most. Between equals the first counts, the simplest. Replies are what memory says
when it is asked; benchmarks/memory.py lets the team decide whether it is.

`metier` are the constants in the code, `metier-all` those that all users choose (both are scored on what they were set
on), `metier-others` those that the users other than the scored one choose: the honest figure.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from harness import Report, parser, progress, read_set, say, wanted
from retrieval import Remembering

from metier.benchmarks.memory import SET, contains, needed, turns
from metier.core.embedding import Vectors
from metier.core.onnx_embedder import load_embedder
from metier.memory import fact_rules, facts, store
from metier.memory.facts import Facts
from metier.memory.open import open_facts
from metier.memory.store import Owner, RecalledFact

READ = 150
"""Words of a reply, on the average, that are not too many."""
REACHED = 0.98
"""Share of the questions that must reach the threshold."""


class Finding(NamedTuple):
    """What a fact is and how it is found."""

    size: int
    """Words of an extracted fact at most."""
    part: float
    words: float


class Quoting(NamedTuple):
    """What is said of the facts that were found."""

    around: int
    sentences: int
    whole: int
    near: float


FINDINGS = [Finding(*one) for one in product((160, 90, 40), (0.0, 0.5, 1.0), (0.0, 0.4, 0.6, 0.8, 1.0))]
QUOTINGS = [Quoting(*one) for one in product((0, 1), (2, 3, 4, 5, 6, 8), (0, 25, 40), (0.0, 0.5, 0.7))]

Choice = tuple[Finding, float, Quoting]
"""With the threshold between the two."""
NOW: Choice = (
    Finding(fact_rules.FACT_WORDS, store.SENTENCE_SHARE, store.WORD_WEIGHT),
    facts.LEAST_RELEVANCE,
    Quoting(facts.QUOTED_AROUND, facts.QUOTED, facts.WHOLE, facts.NEAR_BEST),
)
Rows = list[dict[str, Any]]


class Kept(Remembering):
    """Questions too are embedded once."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        return super().embed([*texts, *texts])[: len(texts)]


class Bench:
    """What comes of the questions with each choice; the users' turns are noted once for each size of a fact."""

    def __init__(self, args: Namespace, folder: Path) -> None:
        self._embedder, self._said, self._folder = Kept(load_embedder()), list(turns(args.data)), folder
        self._memory, self._found, self._reply = cache(self._noted), cache(self._recall), cache(self._quote)

    def best(self, rows: Rows, finding: Finding) -> list[list[RecalledFact]]:
        """The best three facts for each question, however far they are."""
        return [self._found(row["input"], row["meta"]["scenario"], finding) for row in rows]

    def recalled(self, rows: Rows, finding: Finding, least: float = -1.0, near: float = -1.0) -> list[float]:
        """`recall_at_3` of each question."""
        scores: list[float] = []
        for row, found in zip(rows, self.best(rows, finding), strict=True):
            best = found[0].relevance
            scores.append(needed(row, [o.fact for o in found if best >= least and o.relevance >= near * best]))
        return scores

    def replies(self, rows: Rows, finding: Finding, least: float, quoting: Quoting) -> list[str]:
        """Empty below the threshold."""
        found = zip(rows, self.best(rows, finding), strict=True)
        return [
            self._reply(row["input"], row["meta"]["scenario"], finding, quoting) if best[0].relevance >= least else ""
            for row, best in found
        ]

    def _noted(self, size: int) -> Facts:
        fact_rules.FACT_WORDS = size
        opened = open_facts("sqlite", self._folder / str(size), self._embedder)
        assert opened is not None
        for turn in progress(self._said, f"facts of {size} words"):
            opened.note(turn.text, Owner(turn.scenario), thread_id=turn.thread)
        return opened

    def _recall(self, task: str, user: str, finding: Finding) -> list[RecalledFact]:
        memory = self._memory(finding.size)
        store.SENTENCE_SHARE, store.WORD_WEIGHT, facts.NEAR_BEST = finding.part, finding.words, -1.0
        return memory.recall(task, Owner(user), least=-1.0)

    def _quote(self, task: str, user: str, finding: Finding, quoting: Quoting) -> str:
        found = self._found(task, user, finding)
        store.SENTENCE_SHARE, store.WORD_WEIGHT = finding.part, finding.words
        facts.QUOTED_AROUND, facts.QUOTED, facts.WHOLE, near = quoting
        close = [one for one in found if one.relevance >= near * found[0].relevance]
        return "\n".join(quote.text for quote in facts.quote_facts(task, close, self._embedder))


def scores(bench: Bench, rows: Rows, choice: Choice) -> dict[str, list[float]]:
    """The figures of each question."""
    finding, least, quoting = choice
    replies = bench.replies(rows, *choice)
    return {
        "recall_at_3": bench.recalled(rows, finding, least, quoting.near),
        "answered": [float(contains(reply, row)) for reply, row in zip(replies, rows, strict=True)],
        "reply_words": [float(len(reply.split())) for reply in replies],
    }


def choose(bench: Bench, users: Sequence[Rows]) -> Choice:
    """What the questions of some users choose; every user counts the same, but for the threshold and the words."""
    finding = max(FINDINGS, key=lambda one: np.mean([np.mean(bench.recalled(rows, one)) for rows in users]))
    best = [found[0].relevance for rows in users for found in bench.best(rows, finding)]
    least = float(np.floor(20 * np.quantile(best, 1 - REACHED)) / 20)

    def worth(quoting: Quoting) -> float:
        found = [scores(bench, rows, (finding, least, quoting)) for rows in users]
        long = np.mean([words for one in found for words in one["reply_words"]]) > READ
        return -1.0 if long else float(np.mean([np.mean(one["answered"]) for one in found]))

    return finding, least, max(QUOTINGS, key=worth)


def main() -> None:
    args = parser(__doc__ or "").parse_args()
    report = Report(args)
    if not wanted(args, [SET]):
        return
    users: dict[str, Rows] = {}
    for row in read_set(args, SET):
        users.setdefault(row["meta"]["scenario"], []).append(row)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, Path(folder))
        every = choose(bench, list(users.values()))
        others = {user: choose(bench, [rows for name, rows in users.items() if name != user]) for user in users}
        for system, choices in (("metier", {}), ("metier-all", dict.fromkeys(users, every)), ("metier-others", others)):
            found = {user: scores(bench, rows, choices.get(user, NOW)) for user, rows in users.items()}
            for user, figures in found.items():
                say(f"{system}, {user}: {choices.get(user, NOW)}")
                for name, values in figures.items():
                    report.add(f"{SET}/{user}", system, name, values)
            for name in ("recall_at_3", "answered", "reply_words"):
                report.add(SET, system, name, [value for figures in found.values() for value in figures[name]])
    report.finish()


if __name__ == "__main__":
    main()
