"""A challenger in a running team: it answers a share of the conversations, or all of those in the shadow of what is in
use, until the answers tell which of the two is better.

A conversation stays with one of them. Each answer is worth something between 0 and 1 (`worth`), and so is a thumb that
somebody gives it; a conversation counts once for each of the two, so that nobody decides alone. The test may be looked
at after every answer and still errs with at most `ERROR`:

- The worths of the challenger's conversations are paired with those of as many others as its share says.
- A bet on the sign of these differences wins nothing in the long run where there is no difference: its capital reaches
  `1 / ERROR` with a probability of at most `ERROR`, whenever one looks. Sources: Waudby-Smith and Ramdas, "Estimating
  means of bounded random variables by betting", JRSS B 86, 2024; Shekhar and Ramdas, "Nonparametric two-sample testing
  by betting", IEEE Transactions on Information Theory 70, 2024.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from uuid import uuid4

import numpy as np
from filelock import FileLock
from langgraph.config import get_config
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from ..core.errors import InputError, MetierError, StateError, unknown
from ..core.run import Emit, Plain, ignore
from ..core.types import Answer, Brief, Outcome, Value
from ..memory.records import Record, Records
from ..specialists.adapters.choose import Adapter, trained_on
from ..specialists.engines.engine import Engine, check_adapter
from ..specialists.specialist import Specialist
from .answer_log import log_kind, log_records
from .assemble import classifier_in_use
from .cards import Blueprint
from .turn_memory import origin, owner_of

_log = logging.getLogger(__name__)

ERROR = 0.05
"""How often at most a challenger that is no worse is stopped, and one that is no better promoted."""
_DAYS = 28.0
"""After so many days a trial ends that tells nothing."""
_STAKES = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
"""Shares of the capital that are bet; the capital is spread over all of them, for nobody knows the best before."""
_WAITING = 8
"""Shadow answers that may wait; with more, further tasks have none."""

Ending = Literal["running", "stopped", "promoted", "better", "undecided", "called off"]
"""`better`: it is, but shall be promoted by a person, or can only be on the card."""


# The test.


class Sample(NamedTuple):
    """What one conversation gave."""

    challenger: bool
    value: float
    """0 to 1."""


def differences(samples: Iterable[Sample], share: float) -> NDArray[np.float64]:
    """The challenger's worth minus that of the others, one number from -1 to 1 for each of its conversations.

    Args:
        samples: In the order in which they were told.
        share: Of the challenger: with 0.1 each of its conversations is compared with the mean of up to nine others.
    """
    most = max(1, round((1 - share) / share))
    mine, theirs, found = deque[float](), deque[float](), list[float]()
    for sample in samples:
        (mine if sample.challenger else theirs).append(sample.value)
        while mine and theirs:
            others = [theirs.popleft() for _ in range(min(most, len(theirs)))]
            found.append(mine.popleft() - float(np.mean(others)))
    return np.array(found)


def capital(gains: NDArray[np.float64]) -> float:
    """What a capital of 1 has become that was bet on each of these numbers (-1 to 1) being above 0."""
    return float(np.prod(1 + np.outer(_STAKES, gains), axis=1).mean()) if len(gains) else 1.0


class TrialEvidence(Value):
    """What the conversations say so far."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    better: float
    """Capital of the bet that the challenger is better; at `1 / ERROR` it is proven."""
    worse: float
    """Capital of the bet that it is worse."""
    challenger: float | None
    """Mean worth of its answers; None while there is none."""
    champion: float | None
    conversations: tuple[int, int]
    """Of the challenger, and of what is in use."""
    thumbs: tuple[int, int]
    """Conversations with feedback, in the same order."""


def weigh(answers: Sequence[Sample], thumbs: Sequence[Sample], share: float) -> TrialEvidence:
    """The evidence of answers and of feedback together.

    One of the two is enough to call a challenger worse: the mean of the capitals counts. To call it better both have to
    go together: their product counts, which thumbs that speak against it take down again. Both are capitals of fair
    bets.
    """
    gains = [differences(samples, share) for samples in (answers, thumbs)]
    mine, theirs = ([s.value for s in answers if s.challenger == whose] for whose in (True, False))
    given = [sum(s.challenger == whose for s in thumbs) for whose in (True, False)]
    return TrialEvidence(
        better=capital(gains[0]) * capital(gains[1]),
        worse=(capital(-gains[0]) + capital(-gains[1])) / 2,
        challenger=float(np.mean(mine)) if mine else None,
        champion=float(np.mean(theirs)) if theirs else None,
        conversations=(len(mine), len(theirs)),
        thumbs=(given[0], given[1]),
    )


def worth(kind: str, confidence: float, abstain_below: float) -> float:
    """What an answer is worth by itself, 0 to 1: the fitted probability that it is right; of an abstention, the
    probability below which the specialist had better be silent.
    """
    return confidence if kind == "answer" else abstain_below


# Trials, and what is noted of them.


class Trial(Value):
    """A challenger that is on trial, or was."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str = Field(default_factory=lambda: uuid4().hex[:8])
    specialist: str
    challenger: str
    """A version of the registry, or the adapter's name on the server that runs the base."""
    share: float
    """Of the conversations that it answers."""
    shadow: bool = False
    """Its answers are noted and never shown."""
    hold: bool = False
    """Being better does not promote it."""
    began: float = Field(default_factory=time.time)
    """Seconds since 1970."""
    ended: float | None = None
    ending: Ending = "running"
    why: str = ""

    @property
    def running(self) -> bool:
        return self.ending == "running"

    def has(self, thread_id: str) -> bool:
        """Is a conversation the challenger's? The answer is always the same one."""
        digest = hashlib.sha256(f"{self.id}/{thread_id}".encode(errors="replace")).hexdigest()
        return int(digest[:13], 16) < self.share * 16**13


class ShadowPair(Value):
    """Two answers to one task, of which only the first was shown."""

    task: str
    champion: str
    challenger: str
    worths: tuple[float, float]


class TrialStatus(Value):
    """A trial as it stands."""

    trial: Trial
    evidence: TrialEvidence
    agree: float | None = None
    """Of a trial in the shadow: share of the tasks to which both said the same."""
    differ: tuple[ShadowPair, ...] = ()
    """The latest of those to which they did not."""


class Trials:
    """The trials of a team, the last one of each specialist. Safe for several threads and processes.

    Args:
        plan: The team.
        records: Where they are noted. Whoever opened them closes them.
    """

    def __init__(self, plan: Blueprint, records: Records) -> None:
        self._plan, self._records, self._kind = plan, records, log_kind(plan, "canary")

    def start(
        self, specialist: str, ref: str = "challenger", *, share: float = 0.1, shadow: bool = False, hold: bool = False
    ) -> Trial:
        """Begin a trial; a running team takes part when it is refreshed.

        Args:
            specialist: Whose.
            ref: A version as `Registry.find` takes it; where a server runs the base, the adapter's name there.
            share: Of the conversations, up to a half, with which it is decided quickest.
            shadow: The challenger answers beside what is in use, and nobody sees it.
            hold: Do not promote it, however good.

        Raises:
            InputError: there is nothing to try, or the share is none.
            StateError: a trial of this specialist is running.
            IntegrityError: the version was changed after it was made.
        """
        if not 0 < share <= (1 if shadow else 0.5):
            raise InputError(f"a share of {share} cannot be tried", hint="--share 0.1; at most 0.5, in the shadow 1")
        with self._lock():
            before = self.find(specialist)
            if before and before.running:
                raise StateError(
                    f"'{specialist}' has a trial of {before.challenger} already",
                    hint=f"metier canary stop {specialist}",
                )
            trial = Trial(
                specialist=specialist, challenger=self._version(specialist, ref), share=share, shadow=shadow, hold=hold
            )
            self._records.delete(self._kind, specialist)  # a record is as old as when it was first put
            self._put(trial)
        return trial

    def _version(self, name: str, ref: str) -> str:
        """The id of what shall be tried. Raises as `start` says."""
        plan = self._plan
        if name not in plan.specialists:
            raise InputError(unknown("specialist", name, plan.specialists))
        if plan.card.served:
            if ref in ("champion", "challenger"):
                raise InputError(
                    "a server has the adapters: name the one to try", hint="metier canary start NAME ADAPTER"
                )
            return ref
        if classifier_in_use(plan, name):
            raise InputError(f"a trained classifier answers for '{name}', not the model: an adapter changes nothing")
        version = plan.registry.find(name, ref)
        if version.id == plan.registry.state(name).champion:
            raise InputError(f"{version.id} is in use already: it is the champion")
        if not trained_on(version.path, base := plan.base_of(name)):
            raise InputError(f"{version.id} was trained for another base than {base}")
        return version.id

    def find(self, specialist: str) -> Trial | None:
        """The last trial of a specialist; None when there was none."""
        record = self._records.get(self._kind, specialist)
        return Trial.model_validate(record.body) if record else None

    def all(self) -> list[Trial]:
        """The last trial of every specialist of the team, by name."""
        found = [Trial.model_validate(record.body) for record in self._records.list(self._kind)]
        return sorted((t for t in found if t.specialist in self._plan.specialists), key=lambda trial: trial.specialist)

    def running(self) -> list[Trial]:
        """Those of them that are not over."""
        return [trial for trial in self.all() if trial.running]

    def stop(self, specialist: str, ending: Ending = "called off", why: str = "asked for") -> Trial:
        """End a trial: what is in use answers everything again, in every process, from the next task on.

        Raises:
            StateError: none is running.
        """
        with self._lock():
            trial = self.find(specialist)
            if trial is None or not trial.running:
                raise StateError(f"no trial of '{specialist}' is running", hint=f"metier canary start {specialist}")
            return self._end(trial, ending, why)

    def note(self, trial: Trial, run: str, at: Plain, *, challenger: bool, value: float) -> None:
        """Keep what an answer was worth, and end the trial when that decides it."""
        body = {"challenger": challenger, "value": value}
        self._records.put(self._answers(trial), run, owner_of(at), body, thread_id=at["thread_id"])
        if challenger:
            self.judge(trial.specialist)

    def note_shadow(self, trial: Trial, run: str, at: Plain, pair: ShadowPair) -> None:
        """Keep the answers of both to one task."""
        body, thread = pair.model_dump(mode="json"), at["thread_id"]
        self._records.put(self._answers(trial), run, owner_of(at), body, thread_id=thread)

    def hear(self, specialist: str, run: str, *, good: bool) -> None:
        """What somebody said about the answer of a run, if it belongs to a trial."""
        trial = self.find(specialist)
        if trial is None or not trial.running or trial.shadow:
            return
        record = self._records.get(self._answers(trial), run)
        if record:
            body = {**record.body, "thumb": float(good), "heard": time.time()}
            self._records.put(self._answers(trial), run, record.owner, body, thread_id=record.thread_id)
            self.judge(specialist)

    def status(self, specialist: str) -> TrialStatus | None:
        """The last trial of a specialist with its evidence; None when there was none."""
        trial = self.find(specialist)
        if trial is None:
            return None
        records = self._records.list(self._answers(trial))[::-1]
        if not trial.shadow:
            return TrialStatus(trial=trial, evidence=_evidence(trial, records))
        pairs = [ShadowPair.model_validate(record.body) for record in records]
        same = [pair.champion == pair.challenger for pair in pairs]
        both = [Sample(mine, p.worths[mine]) for p in pairs for mine in (False, True)]
        return TrialStatus(
            trial=trial,
            evidence=weigh(both, (), 0.5),
            agree=float(np.mean(same)) if same else None,
            differ=tuple(pair for pair, alike in zip(pairs, same, strict=True) if not alike)[-10:],
        )

    def judge(self, specialist: str) -> None:
        """End the trial of a specialist where the evidence, or the time, says so; shadows end by time alone."""
        status = self.status(specialist)
        if status is None or not status.trial.running:
            return
        trial, seen = status.trial, status.evidence
        ending: Ending | None = None
        if not trial.shadow and seen.worse >= 1 / ERROR:
            ending = "stopped"
        elif not trial.shadow and seen.better >= 1 / ERROR:
            ending = "better" if trial.hold or self._plan.card.served else "promoted"
        elif time.time() - trial.began > _DAYS * 86_400:
            ending = "undecided"
        if ending:
            with self._lock():
                trial = self.find(specialist)
                if trial == status.trial:  # otherwise another process has ended it meanwhile
                    self._end(status.trial, ending, _reason(seen))

    def _end(self, trial: Trial, ending: Ending, why: str) -> Trial:
        registry, name = self._plan.registry, trial.specialist
        if ending == "promoted":
            try:
                registry.promote(name, trial.challenger, f"canary: {why}")
            except MetierError as error:
                ending, why = "better", f"{why}; it could not be promoted: {error.message}"
        elif not self._plan.card.served and registry.state(name).challenger == trial.challenger:
            registry.keep_back(name, f"canary {ending}: {why}")
        ended = trial.model_copy(update={"ending": ending, "why": why, "ended": time.time()})
        self._put(ended)
        return ended

    def _put(self, trial: Trial) -> None:
        # As long as it runs it is open, and nothing tidies it away.
        self._records.put(self._kind, trial.specialist, owner_of({}), trial.model_dump(mode="json"), open=trial.running)

    def _answers(self, trial: Trial) -> str:
        """The kind of the records that hold what a trial's answers were worth."""
        return f"{self._kind}/{trial.id}"

    def _lock(self) -> FileLock:
        return FileLock(self._plan.state / "canary.lock")


def _evidence(trial: Trial, records: Sequence[Record]) -> TrialEvidence:
    """Of a conversation the first answer and the first thumb count."""
    heard = sorted((r for r in records if "thumb" in r.body), key=lambda record: record.body["heard"])
    answers = [Sample(r.body["challenger"], r.body["value"]) for r in _once(records)]
    thumbs = [Sample(r.body["challenger"], r.body["thumb"]) for r in _once(heard)]
    return weigh(answers, thumbs, trial.share)


def _once(records: Iterable[Record]) -> list[Record]:
    first = dict[str, Record]()
    for record in records:
        first.setdefault(record.thread_id, record)
    return list(first.values())


def _reason(seen: TrialEvidence) -> str:
    mine, theirs = seen.conversations
    means = " against ".join("nothing" if m is None else f"{m:.3f}" for m in (seen.challenger, seen.champion))
    return (
        f"{means} in {mine} and {theirs} conversations, {sum(seen.thumbs)} of them with feedback "
        f"(evidence {seen.better:.3g} : 1 for better, {seen.worse:.3g} : 1 for worse, {1 / ERROR:.0f} : 1 needed)"
    )


# In a running team.


def adapter_on_trial(plan: Blueprint, trial: Trial, engine: Engine | None = None) -> Adapter:
    """The adapter that is tried; of an engine that was given, or a server's, its name there.

    Raises:
        InputError, IntegrityError: its version is gone, or was changed after it was made.
        UnknownAdapter: the engine that was given does not have it.
    """
    if engine is not None:
        check_adapter(trial.challenger, engine.adapters)
    named = engine is not None or plan.card.served
    return trial.challenger if named else plan.registry.find(trial.specialist, trial.challenger).path


class OnTrial:
    """The two who share the work of one specialist while a trial runs: the graph gives it that specialist's briefs.

    Args:
        trial: As it was when the two were loaded.
        trials: Asked before each task, so that an end made elsewhere counts at once.
        champion: What is in use.
        challenger: In the shadow, one whose tools are not run.
        later: Works on shadow answers; whoever gave it ends it.
    """

    def __init__(
        self, trial: Trial, trials: Trials, champion: Specialist, challenger: Specialist, later: Executor | None = None
    ) -> None:
        self.trial, self.champion, self.challenger = trial, champion, challenger
        self._trials, self._later = trials, later
        self._waiting = deque[None](maxlen=_WAITING)

    def limited(self, champion: Specialist, challenger: Specialist) -> OnTrial:
        """The same trial for somebody who may see only some of their documents."""
        return OnTrial(self.trial, self._trials, champion, challenger, self._later)

    def run(self, brief: Brief, emit: Emit) -> Outcome:
        """Work on a brief: the one of the two whose conversation it is."""
        thread, now = origin().get("thread_id"), self._trials.find(self.trial.specialist)
        if now is None or now.id != self.trial.id or thread is None or self.trial.shadow:
            outcome = self.champion.run(brief, emit)
            if thread and now and now.id == self.trial.id and now.running and now.has(thread):
                self._shadow(brief, outcome)
            return outcome
        mine = now.ending == "promoted" or (now.running and now.has(thread))
        return (self.challenger if mine else self.champion).run(brief, emit)

    def note(self, parts: Sequence[Plain], answer: Plain) -> None:
        """Note what became of its part of a turn that ends now.

        Args:
            parts: The answers of the specialists who worked on it.
            answer: The one that leaves, after the guards.
        """
        name, at = self.trial.specialist, origin()
        mine = next((p for p in parts if name == p["specialist"] or name in p["handoffs"]), None)
        if mine is None or self.trial.shadow or "thread_id" not in at:
            return
        least = self.champion.abstain_below
        if mine["specialist"] != name:
            value = least  # it handed over: as silent as an abstention
        elif mine["version"] is None or (mine["kind"] == "answer" and answer["kind"] != "answer"):
            value = 0.0  # it broke, or a guard did not let it out
        else:
            value = worth(mine["kind"], mine["confidence"], least)
        version = mine["version"] if mine["specialist"] == name else None
        versions = {self.challenger.version: True, self.champion.version: False}
        whose = versions.get(version or "", self.trial.has(at["thread_id"]))
        self._trials.note(self.trial, _run_id(), at, challenger=whose, value=value)

    def _shadow(self, brief: Brief, outcome: Outcome) -> None:
        """Have the challenger answer the same brief, later and unseen; not where too many wait."""
        if self._later is None or not isinstance(outcome, Answer) or len(self._waiting) == _WAITING:
            return
        run, at, least = _run_id(), origin(), self.champion.abstain_below
        self._waiting.append(None)

        def work() -> None:
            try:
                other = self.challenger.run(brief, ignore)
                if isinstance(other, Answer):
                    kind = "answer" if other.kind == "answer" and other.confidence >= least else "abstain"
                    worths = (worth(outcome.kind, outcome.confidence, least), worth(kind, other.confidence, least))
                    pair = ShadowPair(task=brief.task, champion=outcome.text, challenger=other.text, worths=worths)
                    self._trials.note_shadow(self.trial, run, at, pair)
            except Exception:  # nobody waits for it, and nobody must be disturbed by it
                _log.exception("the shadow answer of '%s' failed", self.trial.specialist)
            finally:
                self._waiting.pop()

        self._later.submit(work)


def _run_id() -> str:
    return str(get_config().get("metadata", {}).get("run_id") or uuid4().hex)


def trial_line(trial: Trial) -> str:
    """A trial in one line."""
    began = datetime.fromtimestamp(trial.began, UTC).strftime("%Y-%m-%d %H:%M")
    how = "in the shadow of" if trial.shadow else "of"
    end = "" if trial.running else f": {trial.ending}, {trial.why}" if trial.why else f": {trial.ending}"
    return (
        f"{trial.specialist}: {trial.challenger} since {began} UTC, {how} {trial.share:.0%} of the conversations{end}"
    )


@contextmanager
def open_trials(plan: Blueprint) -> Iterator[Trials]:
    """The trials of a team, for who has not loaded it.

    Raises:
        InputError: the team notes nothing about its answers, so that nothing could be judged.
    """
    records = log_records(plan)
    if records is None:
        raise InputError(
            "a trial is judged by the log of the answers, and this team keeps none",
            hint="router: {log: true} in team.yaml, and a folder that can be written",
        )
    with closing(records):
        yield Trials(plan, records)
