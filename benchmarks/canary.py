"""How soon a worse challenger is stopped, a better one found out, and a drift told; and how often it is a false alarm.

`python benchmarks/canary.py DATA [--only SET] [--runs N] [--seed S] [--json OUT] [--picture FILE.png]`

`trials` needs no data: metier's own trials with scripted answers, each in a conversation of its own. How sure an answer
is, is drawn for each (what is in use: 0.75 in the mean), and one in five gets a thumb, which is up with that chance. A
challenger is worse (0.55), better (0.95) or alike. `decided`: share of the runs that ended rightly within the stated
questions (`CASES`), for those who are alike: that did not end. `questions`: median of how many it took.

`route_clinc`, `intent_banking77`: drift on real questions. The team has five of CLINC's fields; 200 of their questions
are its router's examples and 300 more are asked, then come questions of another field, or of a bank (where none of the
five is about money). `told`: share of the runs in which that is told within 50 questions. `after`: median of those.
`false_alarms_per_1000`: of all four detectors together, on streams of 1,000 questions in which nothing changes.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from harness import Report, parser, progress, read_set, say, wanted
from numpy.random import Generator
from numpy.typing import NDArray

from metier.agents.answer_log import AnswerNumbers
from metier.agents.canary import ERROR, Trials
from metier.agents.cards import Blueprint, TeamCard
from metier.agents.drift import FALSE_ALARM, REFERENCE, detect, drifts, first_alarm, shares, strange_questions
from metier.core.embedding import Vectors
from metier.core.onnx_embedder import load_embedder
from metier.memory.records import Records
from metier.specialists.card import SpecialistCard

IN_USE = 0.75
"""How sure the answers of what is in use are, in the mean."""
THUMBS = 0.2
"""Share of the answers that get one."""
WITHIN = 50
"""Questions within which another topic shall be told."""
EXAMPLES, BEFORE, QUIET = 200, 300, 1000
"""Questions that the router knows, that are asked before the change, and in a stream without one."""
MONEY = {"banking", "credit_cards"}


class Case(NamedTuple):
    """A challenger, and how its trial is to end within how many questions."""

    name: str
    sure: float
    share: float
    ending: str
    questions: int


CASES = (
    Case("worse, half", 0.55, 0.5, "stopped", 250),
    Case("worse, a tenth", 0.55, 0.1, "stopped", 800),
    Case("better, half", 0.95, 0.5, "better", 250),
    Case("better, a tenth", 0.95, 0.1, "better", 800),
    Case("alike, half", IN_USE, 0.5, "running", 600),
)


class Ended(NamedTuple):
    """How a run ended, after how many questions, and its evidence (better, worse) after each."""

    ending: str
    questions: int
    evidence: list[tuple[float, float]]


def main() -> None:
    more = parser("Trials of challengers, and drift.")
    more.add_argument("--runs", type=int, default=100, metavar="N", help="simulated runs of each kind")
    more.add_argument("--picture", type=Path, metavar="FILE.png", help="draw one run of a trial and one of a drift")
    args = more.parse_args()
    report = Report(args)
    if not args.only or "trials" in args.only:
        for case in CASES:
            ended = [simulate(case, args.seed + run) for run in progress(range(args.runs), case.name)]
            report.add("trials", "metier", f"decided: {case.name}", [one.ending == case.ending for one in ended])
            if case.ending != "running":
                report.add("trials", "metier", f"questions: {case.name}", [one.questions for one in ended], median)
    sets = wanted(args, ("route_clinc", "intent_banking77"))
    questions = Questions(args) if sets else None
    for name in sets:
        assert questions
        streams = [questions.stream(name, args.seed + run) for run in progress(range(args.runs), name)]
        after = [told_after(stream) for stream in streams]
        report.add(name, "metier", "told", [0 < questions <= WITHIN for questions in after])
        report.add(name, "metier", "after", after, median)
        if name == "route_clinc":
            quiet = [questions.quiet(args.seed + run) for run in progress(range(args.runs), "quiet")]
            alarms = [sum(d.drifted for d in drifts(s.turns, s.fields, s.examples)) for s in quiet]
            report.add(name, "metier", "false_alarms_per_1000", np.array(alarms) * 1000 / QUIET)
    if args.picture and questions:
        draw(args.picture, simulate(CASES[0], args.seed, look=True), questions.stream("route_clinc", args.seed))
    report.finish()


def median(values: Any) -> float:
    return float(np.median(values))


# Trials.


def simulate(case: Case, seed: int, *, look: bool = False) -> Ended:
    """One trial. A server has the adapters here, so that being better is found out and left to a person.

    Args:
        look: Note the evidence after each question.
    """
    dice, evidence = np.random.default_rng(seed), list[tuple[float, float]]()
    with TemporaryDirectory() as folder:
        desk = SpecialistCard(name="desk", description="Answers questions about the office.")
        card = TeamCard(name="office", specialists=["desk"], engine="http://127.0.0.1:1/v1")
        trials = Trials(Blueprint.of(card, [desk], Path(folder)), Records(None))
        (Path(folder) / ".metier").mkdir()
        trial = trials.start("desk", "new", share=case.share)
        run = "0"
        for run in map(str, range(case.questions)):
            new = bool(dice.random() < case.share)
            # A conversation that the trial gives to the one whom the dice chose: the same in each run of this seed.
            thread = next(f"{run}-{n}" for n in count() if trial.has(f"{run}-{n}") == new)
            sure = draw_sure(case.sure if new else IN_USE, dice)
            trials.note(trial, run, {"thread_id": thread}, challenger=new, value=sure)
            if dice.random() < THUMBS:
                trials.hear("desk", run, good=bool(dice.random() < sure))
            if look and (status := trials.status("desk")):
                evidence.append((status.evidence.better, status.evidence.worse))
            if not trials.running():
                break
        ended = trials.find("desk")
    assert ended
    return Ended(ended.ending, int(run) + 1, evidence)


def draw_sure(mean: float, dice: Generator) -> float:
    """How sure an answer is: often very, sometimes hardly."""
    return float(dice.beta(2 * mean, 2 * (1 - mean)))


# Drift.


class Stream(NamedTuple):
    """Turns of a team, and the vectors that its router knows."""

    fields: Sequence[str]
    examples: Vectors
    turns: Sequence[AnswerNumbers]


def strangeness(stream: Stream) -> NDArray[np.float64]:
    """What the detector of `questions` is given, from the turn `REFERENCE` on."""
    strange = strange_questions(stream.turns, stream.examples)
    return shares(list(strange), [turn.chance for turn in stream.turns[REFERENCE:]])


def told_after(stream: Stream) -> float:
    """Questions of the other topic until it was told: 1 is the first; 0 or less a false alarm, infinite never."""
    alarm = first_alarm(strangeness(stream))
    return np.inf if alarm is None else alarm.told + REFERENCE - BEFORE + 1


class Questions:
    """The questions of both sets and their vectors."""

    def __init__(self, args: Namespace) -> None:
        embedder = load_embedder("minilm")
        clinc = [row for row in read_set(args, "route_clinc") if row["answer"] != "oos"]
        bank = read_set(args, "intent_banking77") if (args.data / "intent_banking77.jsonl").is_file() else []
        say(f"{len(clinc) + len(bank)} questions become vectors")
        self.texts = [row["input"] for row in (*clinc, *bank)]
        self.fields = np.array([row["answer"] for row in clinc] + ["a bank"] * len(bank))
        self.vectors = embedder.embed(self.texts)

    def stream(self, name: str, seed: int) -> Stream:
        """Questions of five fields, and then `WITHIN` of another."""
        dice = np.random.default_rng(seed)
        bank = name == "intent_banking77"
        known = sorted(set(self.fields) - {"a bank"} - (MONEY if bank else set()))
        fields = [str(field) for field in dice.permutation(known)]
        own, other = fields[:5], "a bank" if bank else fields[5]
        rows = self._drawn(own, EXAMPLES + BEFORE, dice)
        asked = [*rows[EXAMPLES:], *self._drawn([other], WITHIN, dice)]
        return Stream(own, self.vectors[rows[:EXAMPLES]], [*self._turns(asked, dice, seed)])

    def quiet(self, seed: int) -> Stream:
        """`QUIET` questions of five fields."""
        dice = np.random.default_rng(10_000 + seed)
        own = [str(field) for field in dice.permutation(sorted(set(self.fields) - {"a bank"}))][:5]
        rows = self._drawn(own, EXAMPLES + QUIET, dice)
        return Stream(own, self.vectors[rows[:EXAMPLES]], [*self._turns(rows[EXAMPLES:], dice, seed)])

    def _drawn(self, fields: Sequence[str], number: int, dice: Generator) -> list[int]:
        return [int(row) for row in dice.permutation(np.flatnonzero(np.isin(self.fields, fields)))[:number]]

    def _turns(self, rows: Sequence[int], dice: Generator, seed: int) -> Iterator[AnswerNumbers]:
        for number, row in enumerate(rows):
            answered, sure = bool(dice.random() > 0.1), draw_sure(IN_USE, dice)
            field, vector = str(self.fields[row]), self.vectors[row]
            yield AnswerNumbers(f"{seed}/{number}", float(number), self.texts[row], field, answered, sure, vector)


# The picture.


def draw(path: Path, trial: Ended, stream: Stream) -> None:
    """The evidence of one trial, and the detector of one drift."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    better, worse = np.array(trial.evidence).T
    left.semilogy(worse, color="#b3402a", label="that it is worse")
    left.semilogy(better, color="#2a6fb3", label="that it is better")
    left.axhline(1 / ERROR, color="gray", linestyle="--", linewidth=1)
    left.annotate("stopped", (len(worse) - 1, worse[-1]), (-50, 2), textcoords="offset points")
    left.set(title="A worse challenger, half of the conversations", xlabel="questions", ylabel="evidence (… : 1)")
    left.legend(loc="upper left")
    level = detect(strangeness(stream))
    places = np.arange(REFERENCE, len(stream.turns))
    right.semilogy(places, np.maximum(level, 1e-2), color="#2a6fb3")
    right.axhline(1 / FALSE_ALARM, color="gray", linestyle="--", linewidth=1)
    right.axvline(BEFORE, color="#b3402a", linewidth=1)
    right.annotate("another topic", (BEFORE, level.max()), (-85, -12), textcoords="offset points", color="#b3402a")
    right.set(title="Questions of another field", xlabel="questions", ylabel="detector")
    figure.savefig(path, dpi=110)
    say(f"drawn: {path}")


if __name__ == "__main__":
    main()
