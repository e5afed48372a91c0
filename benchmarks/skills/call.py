"""Trains the skill `call`, which writes one call of the functions in its prompt, or none; then fits when to call.

    python benchmarks/skills/call.py DATA OUT [--minutes 30] [--further]
    python benchmarks/skills/call.py --decision DATA OUT            # before the seal; of any skill that calls

DATA is the folder of the public sets; OUT becomes the adapter's, a PEFT repository.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from metier.agents.cards import TeamCard
from metier.benchmarks.skills.call_data import SET, Asked, Variations, learnable, part, read_asked
from metier.benchmarks.skills.call_worlds import RESULTS, synthetic
from metier.benchmarks.skills.skill import Lesson, Skill, Source, main
from metier.core.files import write_atomic
from metier.core.models import ModelStore
from metier.core.onnx_embedder import load_embedder
from metier.core.types import ToolCall
from metier.specialists.adapters.choose import loadable
from metier.specialists.adapters.folder import CONFIG, DECISION, README, RECORD
from metier.specialists.engines import Engine, open_engine
from metier.specialists.engines.engine import Json, Sampling
from metier.specialists.engines.speed import ranked_engines
from metier.specialists.functions import NO_CALL, call_or_none, called, write_call
from metier.specialists.prompt import TrainingExample
from metier.specialists.styles.act.shown_tools import SHOWN, ToolShortlist
from metier.specialists.styles.act.style import ACT, CallDecision, log_odds, shown_functions
from metier.specialists.training.train import write_record

MADE_UP = 900
"""Prompts with made-up functions for one round."""

TOGETHER = 3
"""Requests of the set that stand in one prompt, where several do."""


def lesson(folder: Path, sets: Sequence[str], seed: int, rounds: int) -> Lesson:
    """Made-up functions, and those of the set that were not kept aside, each round varied anew."""
    asked = read_asked(folder) if SET in sets else []
    rows = list(learnable(asked))
    dice = random.Random(seed)
    vary = Variations(rows, dice)
    examples = [e for number in range(rounds) for e in _round(rows, vary, number)]
    examples += islice(synthetic(dice), MADE_UP * rounds)
    dice.shuffle(examples)
    checks = [prompt(vary.among(a, SHOWN)) for a in asked if part(a) == "check"]
    return Lesson(examples, checks)


def prompt(asked: Asked, facts: Sequence[str] = ()) -> TrainingExample:
    """What the model sees, and the call or `NO_CALL`."""
    answer = write_call(asked.name, asked.arguments) if asked.name else NO_CALL
    return TrainingExample(ACT.prompt(asked.task, system=shown_functions(asked.functions), facts=facts), answer)


def _round(rows: Sequence[Asked], vary: Variations, number: int) -> Iterator[TrainingExample]:
    """All rows once, half of them several to a prompt, and variations of some."""
    dice, alone, shared = vary.dice, list[Asked](), list[Asked]()
    for row in rows:
        changed = vary.other_values(row) if row.name and (number or dice.random() < 0.3) else row
        changed = vary.other_names(changed) if row.name and dice.random() < 0.3 else changed
        (alone if dice.random() < 0.5 else shared).append(changed)
        if row.name and dice.random() < 0.15 and (none := vary.without(row, SHOWN)):
            alone.append(none)
        if row.name and dice.random() < 0.08:
            yield from _two(changed, dice.choice([r for r in rows if r.name]), dice)
    yield from (prompt(vary.among(row, SHOWN)) for row in alone)
    dice.shuffle(shared)
    for at in range(0, len(shared), TOGETHER):
        yield _together([vary.among(row, 1) for row in shared[at : at + TOGETHER]], dice)


def _together(some: Sequence[Asked], dice: random.Random) -> TrainingExample:
    """Several requests in one prompt, each with its own function among those of the others."""
    functions = list({f["name"]: f for one in some for f in one.functions}.values())
    dice.shuffle(functions)
    *shots, last = (prompt(replace(one, functions=tuple(functions))) for one in some)
    turns = [turn for shot in shots for turn in (shot.messages[1], {"role": "assistant", "content": shot.answer})]
    system, question = last.messages
    return TrainingExample([system, *turns, question], last.answer)


def _two(first: Asked, second: Asked, dice: random.Random) -> Iterator[TrainingExample]:
    """Two requests in one task, one call after the other, and then none: calls that were made are known."""
    if first.name in {f["name"] for f in second.functions}:
        return
    functions = [first.function, second.function]
    dice.shuffle(functions)
    join = dice.choice((" Then: ", " Also, ", " And "))
    both = Asked(first.id, first.group, first.task + join + second.task, tuple(functions))
    facts: list[str] = []
    for one in (first, second):
        step = Asked(both.id, both.group, both.task, both.functions, one.name, one.accepted)
        yield prompt(step, facts)
        facts.append(called(ToolCall(name=one.name, arguments=step.arguments, result=dice.choice(RESULTS))))
    yield prompt(both, facts)


SKILL = Skill(
    name="call",
    title="one call of the functions in the prompt, or none",
    prompt="The prompt is made by metier's renderer (`call`, at most three functions); at inference a grammar keeps "
    "the answer to a call that fits the functions' schemas, or to `[]`.",
    preparation="Two thirds of the calls are of made-up functions (`call_worlds.yaml`), some with the result of an "
    "earlier call, which they use. Of the set, rows were selected, functions renamed, shuffled, mixed with those of "
    "other rows or left out (then no call is right), numbers and names in requests replaced, and requests joined. By a "
    "hash of the function that is asked for, 15 % of the rows were kept aside for figures and 10 % for early stopping "
    "and for the decision between a call and none; no prompt that was learnt shows a function that those rows ask for.",
    limits="English mostly. It writes what the request says into the arguments; it does not compute, and it does not "
    "plan more than the next call.",
    tags=("function-calling", "tool-use"),
    sources={
        SET: Source("Berkeley Function Calling Leaderboard (Patil et al., ICML 2025)", "Apache-2.0"),
    },
    lessons=lesson,
)


# When a tool is called: a decision that is fitted for the trained skill, on rows that it did not learn.


class Evidence(NamedTuple):
    """What the decision sees of a task, and whether one of the functions fits it."""

    odds: float
    similarity: float
    fits: bool


def gather(engine: Engine, adapter: str | None, selection: ToolShortlist, rows: Sequence[Asked]) -> list[Evidence]:
    """Ask the model what it would do; only its first token counts."""
    chat = engine.chat(Sampling(max_tokens=1), adapter=adapter, slot="decision")
    evidence: list[Evidence] = []
    for row in track(rows, "asking"):
        fitting = selection.fitting(row.task, row.functions)
        messages = ACT.prompt(row.task, system=shown_functions(fitting.functions))
        rule = engine.constrain(Json(call_or_none(fitting.functions), lenient=True))
        reply = chat.invoke([(m["role"], m["content"]) for m in messages], **rule)
        called = not reply.text.startswith(NO_CALL[0])
        odds = log_odds(reply.response_metadata["first_logprob"], called=called)
        evidence.append(Evidence(odds, fitting.similarity or 0.0, bool(row.name)))
    return evidence


def fit(evidence: Sequence[Evidence]) -> CallDecision:
    """A logistic regression in which calls and none weigh the same, however many rows there are of each."""
    model = LogisticRegression(class_weight="balanced").fit(*_features(evidence))
    odds, similarity = model.coef_[0]
    return CallDecision(bias=float(model.intercept_[0]), odds=float(odds), similarity=float(similarity))


def _features(evidence: Sequence[Evidence]) -> tuple[NDArray[np.float64], list[bool]]:
    return np.array([(e.odds, e.similarity) for e in evidence]), [e.fits for e in evidence]


def decision_rows(asked: Sequence[Asked]) -> list[Asked]:
    """The rows that are kept for this, and each with a call once more without its function, beside others of them."""
    rows = [row for row in asked if part(row) == "check"]
    vary = Variations(rows, random.Random(0))
    return [*rows, *(none for row in rows if row.name and (none := vary.without(row, SHOWN)))]


def fit_decision() -> None:
    """Ask about the rows that are kept for this, fit, and write the file."""
    parser = argparse.ArgumentParser(description="Fits when a trained skill calls a function.")
    parser.add_argument("--decision", action="store_true", required=True)
    parser.add_argument("--reseal", action="store_true", help="of a sealed skill: write its hashes anew")
    parser.add_argument("data", type=Path, help="folder with the public sets")
    parser.add_argument("folder", type=Path, help="the trained adapter")
    args = parser.parse_args()
    sealed = args.folder / RECORD
    if sealed.is_file() and not args.reseal:
        parser.error(f"{args.folder} is sealed, with figures of another decision: fit before sealing, or --reseal")
    store = ModelStore()
    base = store.find(json.loads((args.folder / CONFIG).read_text())["base_model_name_or_path"])
    name = ranked_engines(base)[0]
    adapter = loadable(args.folder, base, name)
    assert adapter
    engine = open_engine(name, base, {"call": adapter}, slots=1)
    embedder = load_embedder(TeamCard.model_fields["embedder"].default, store)
    evidence = gather(engine, "call", ToolShortlist(embedder), decision_rows(read_asked(args.data)))
    engine.close()
    write_atomic(args.folder / DECISION, fit(evidence).model_dump_json(indent=2) + "\n")
    if sealed.is_file():
        record = json.loads(sealed.read_text(encoding="utf-8"))
        write_record(args.folder, record, (args.folder / README).read_text(encoding="utf-8"))
    _report(evidence)


def _report(evidence: Sequence[Evidence]) -> None:
    """How often each way to decide is right, on rows that the fit did not see (ten parts in turn)."""
    model = LogisticRegression(class_weight="balanced")
    told = cross_val_predict(model, *_features(evidence), cv=10)
    for fits, name in ((True, "calls made where one fits"), (False, "none made where none fits")):
        of = [(e.odds > 0, bool(t)) for e, t in zip(evidence, told, strict=True) if e.fits is fits]
        alone, fitted = (np.mean([way is fits for way in ways]) for ways in zip(*of, strict=True))
        print(f"{name}, of {len(of)}: {alone:.2f} by the model alone, {fitted:.2f} fitted")


if __name__ == "__main__":
    fit_decision() if "--decision" in sys.argv else main(SKILL)
