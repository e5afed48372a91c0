"""A team's own confidence: the shipped one, corrected by what the team's evaluation questions showed.

Few answers carry little: a scale and an offset of the log-odds (Platt, 1999), drawn towards "as shipped", and taken
only where answers that they were not fitted to are judged better by them.
"""

from __future__ import annotations

import numpy as np
import scipy  # its optimize is loaded when something is fitted
from numpy.typing import NDArray

from ..core.errors import ConfigError, StateError
from ..core.files import write_atomic
from ..core.metrics import expected_calibration_error
from ..core.types import Value, sigmoid
from ..specialists.confidence import AS_SHIPPED, PlattScaling, fitted_for
from ..specialists.evaluation.measures import is_right
from .assemble import OwnConfidence, own_confidence_path, shipped_confidence
from .cards import Blueprint
from .evaluate import Candidate, Evaluation

LEAST_ANSWERS, LEAST_OF_EACH = 30, 5
"""Answers, and right and wrong ones among them, below which chance decides."""

FOLDS = 5

_USUAL, _SPREAD = np.array([1.0, 0.0]), np.array([0.5, 1.0])
"""Scale and offset that are most probable before any answer is seen, and the standard deviation of each."""

_LEAST_SCALE = 0.05
"""Less sure must never become more sure."""

_Floats = NDArray[np.float64]


class Refit(Value):
    """What a build did about the confidence."""

    fitted: bool
    """Whether the team has a correction of its own now."""
    why: str
    """With figures, and what can be done."""

    def __str__(self) -> str:
        return f"{'fitted to this team' if self.fitted else 'as shipped'}; {self.why}"


def refit_confidence(evaluation: Evaluation, *, ask: bool) -> Refit | None:
    """Fit the confidence of a team to the kept answers of the systems in use, and keep what is better than the shipped.

    Where the documents have changed, there may be no answers of late: what was fitted before stays then.

    Args:
        ask: Ask what has no answer yet; otherwise nobody is asked anything.

    Returns:
        None where the team has no questions of its own that a confidence could be fitted to.

    Raises:
        ConfigError: an evaluation set is wrong, and was to be asked.
        StateError: another process evaluates the same version.
    """
    plan = evaluation.blueprint
    readers = [name for name, card in plan.specialists.items() if card.knowledge]
    try:
        used = [evaluation.in_use(name) for name in readers if evaluation.questions(name)]
    except ConfigError as error:
        if ask:
            raise
        own = OwnConfidence.read(plan)  # the team can work, and keeps what it has
        return Refit(fitted=own is not None, why=f"its questions cannot be read: {error.message}")
    questions = sum(len(evaluation.questions(one.specialist)) for one in used)
    if not questions:
        return _as_shipped(plan)
    if questions < LEAST_ANSWERS:
        return _as_shipped(plan, f"{questions} questions of its own are too few to fit it, {LEAST_ANSWERS} are needed")
    if ask:
        evaluation.run(used)
    logits, right, unanswered = _rows(evaluation, used)
    if len(right) < LEAST_ANSWERS and unanswered:
        command = f"metier build --confidence -t {plan.root}"
        missing = f"{unanswered} of its {questions} questions have no answer yet; to ask them and fit it: {command}"
        own = OwnConfidence.read(plan)
        return Refit(fitted=True, why=f"to earlier answers, {missing}") if own else Refit(fitted=False, why=missing)
    wrong, good = len(right) - int(right.sum()), int(right.sum())
    if len(right) < LEAST_ANSWERS or min(wrong, good) < LEAST_OF_EACH:
        needed = f"{LEAST_ANSWERS} are needed, {LEAST_OF_EACH} of each kind at least"
        return _as_shipped(plan, f"{good} right and {wrong} wrong answers to its questions; {needed}")
    return _fit_and_compare(plan, logits, right)


def discard_unusable(plan: Blueprint) -> None:
    """Forget a correction that cannot be read, or that corrects what is not in use any more."""
    if has_unusable(plan):
        own_confidence_path(plan).unlink()


def has_unusable(plan: Blueprint) -> bool:
    """Whether there is such a one."""
    try:
        return OwnConfidence.read(plan) is None and own_confidence_path(plan).is_file()
    except StateError:
        return True


def _as_shipped(plan: Blueprint, why: str = "") -> Refit | None:
    own_confidence_path(plan).unlink(missing_ok=True)
    return Refit(fitted=False, why=why) if why else None


def _rows(evaluation: Evaluation, used: list[Candidate]) -> tuple[_Floats, _Floats, int]:
    """Of the answers that the shipped model judges: its log-odds and whether they are right (1 or 0), in an order of
    their own; and how many questions have no answer."""
    rows, unanswered = list[tuple[bool, str, float]](), 0
    for one in used:
        shipped = fitted_for(evaluation.blueprint.base_of(one.specialist))
        scoring, kept = evaluation.blueprint.style(one.specialist).scoring, evaluation.kept(one)
        unanswered += len(evaluation.questions(one.specialist)) - len(kept)
        judged = [r for r in kept if shipped.weights.keys() <= r.measures.keys()]
        rows += [(is_right(r, scoring), r.id, shipped.logit(r.measures)) for r in judged]
    rows.sort()
    return np.array([row[2] for row in rows]), np.array([float(row[0]) for row in rows]), unanswered


def _fit_and_compare(plan: Blueprint, logits: _Floats, right: _Floats) -> Refit:
    fold = np.arange(len(right)) % FOLDS  # as many right ones in each, for they are sorted
    corrected = np.empty_like(logits)
    for k in range(FOLDS):
        corrected[fold == k] = _corrected(logits[fold == k], fit_calibration(logits[fold != k], right[fold != k]))
    losses = round(_log_loss(logits, right), 4), round(_log_loss(corrected, right), 4)
    errors = round(_ece(logits, right), 4), round(_ece(corrected, right), 4)
    figures = f"log-loss {losses[0]:.3f} → {losses[1]:.3f}, ECE {errors[0]:.3f} → {errors[1]:.3f} on answers left out"
    if losses[1] >= losses[0]:
        own_confidence_path(plan).unlink(missing_ok=True)
        return Refit(fitted=False, why=f"a fit to {len(right)} answers to its questions is no better ({figures})")
    own = OwnConfidence(
        corrects=shipped_confidence(plan),
        calibration=fit_calibration(logits, right),
        answers=len(right),
        log_loss=losses,
        ece=errors,
    )
    write_atomic(own_confidence_path(plan), own.model_dump_json(indent=2))
    return Refit(fitted=True, why=f"{len(right)} answers to its questions ({figures})")


def fit_calibration(logits: _Floats, right: _Floats) -> PlattScaling:
    """Scale and offset of log-odds by penalised maximum likelihood: few answers change little, and none nothing.

    Args:
        logits, right: (n,) log-odds that an answer is right, and 1 where it is, else 0.
    """
    if not len(right):
        return AS_SHIPPED

    def loss(now: _Floats) -> tuple[float, _Floats]:
        odds, away = now[0] * logits + now[1], (now - _USUAL) / _SPREAD
        gap = scipy.special.expit(odds) - right
        slope = np.array([gap @ logits, gap.sum()]) + away / _SPREAD
        return float(_log_loss(odds, right) * len(right) + away @ away / 2), slope

    bounds = ((_LEAST_SCALE, None), (None, None))
    scale, offset = scipy.optimize.minimize(loss, _USUAL, jac=True, method="L-BFGS-B", bounds=bounds).x
    return PlattScaling(scale=round(float(scale), 4), offset=round(float(offset), 4))


def _corrected(logits: _Floats, calibration: PlattScaling) -> _Floats:
    return calibration.scale * logits + calibration.offset


def _log_loss(logits: _Floats, right: _Floats) -> float:
    return float(np.mean(np.logaddexp(0.0, logits) - right * logits))


def _ece(logits: _Floats, right: _Floats) -> float:
    return expected_calibration_error([sigmoid(float(logit)) for logit in logits], right, bins=10)
