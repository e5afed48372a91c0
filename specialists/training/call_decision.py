"""Fits when the skill `call` calls: `python -m metier.specialists.training.call_decision DATA FOLDER`.

FOLDER is the trained adapter's, before it is sealed: it gets `decision.json`, which the seal covers. Only rows are used
whose functions were kept aside for this.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.progress import track
from sklearn.linear_model import LogisticRegression

from ...core.files import write_atomic
from ...core.models import ModelStore
from ...core.onnx_embedder import load_embedder
from ..adapters.convert import gguf_adapter
from ..adapters.folder import RECORD
from ..call_decision import FILE, CallDecision, log_odds
from ..engines.engine import Json, Sampling
from ..engines.llama import LlamaEngine
from ..functions import NO_CALL, call_or_none
from ..renderer import render
from ..selection import Selection
from .call_data import Asked, part, read_asked


class Evidence(NamedTuple):
    """What the decision sees of a task, and whether one of the functions fits it."""

    odds: float
    similarity: float
    fits: bool


def gather(engine: LlamaEngine, adapter: str | None, selection: Selection, rows: Sequence[Asked]) -> list[Evidence]:
    """Ask the model what it would do; only its first token counts."""
    chat = engine.chat(Sampling(max_tokens=1), adapter=adapter, slot="decision")
    found: list[Evidence] = []
    for row in track(rows, "asking"):
        fitting = selection.fitting(row.task, row.functions)
        messages = render("call", row.task, functions=fitting.functions)
        rule = engine.constrain(Json(call_or_none(fitting.functions)))
        said = chat.invoke([(m["role"], m["content"]) for m in messages], **rule)
        called = not said.text.startswith(NO_CALL[0])
        odds = log_odds(said.response_metadata["first_logprob"], called=called)
        found.append(Evidence(odds, fitting.similarity or 0.0, bool(row.name)))
    return found


def fit(evidence: Sequence[Evidence]) -> CallDecision:
    """A logistic regression in which calls and none weigh the same, however many rows there are of each."""
    features = np.array([(e.odds, e.similarity) for e in evidence])
    model = LogisticRegression(class_weight="balanced").fit(features, [e.fits for e in evidence])
    odds, similarity = model.coef_[0]
    return CallDecision(bias=float(model.intercept_[0]), odds=float(odds), similarity=float(similarity))


def main() -> None:
    """Ask about the rows that are kept for this, fit, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the public sets")
    parser.add_argument("folder", type=Path, help="the trained adapter")
    args = parser.parse_args()
    if (args.folder / RECORD).is_file():
        parser.error(f"{args.folder} is sealed, with figures of another decision: fit before sealing")
    store = ModelStore()
    gguf = store.find("smollm2-135m").files["gguf"]
    engine = LlamaEngine(gguf, {"call": gguf_adapter(args.folder, gguf)}, slots=1)
    rows = [row for row in read_asked(args.data) if part(row) == "check"]
    evidence = gather(engine, "call", Selection(load_embedder("minilm", store)), rows)
    engine.close()
    decision = fit(evidence)
    write_atomic(args.folder / FILE, decision.model_dump_json(indent=2) + "\n")
    for fits, name in ((True, "calls made where one fits"), (False, "none made where none fits")):
        chances = [decision.probability(e.odds, e.similarity) for e in evidence if e.fits is fits]
        print(f"{name}: {np.mean([(p >= 0.5) is fits for p in chances]):.2f} of {len(chances)}")


if __name__ == "__main__":
    main()
