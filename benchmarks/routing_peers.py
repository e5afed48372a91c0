"""What people use today for routing, on the same rows and, where they have one, with the same encoder."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from harness import progress, say
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.svm import LinearSVC

from metier.core.embedding import Embedder
from metier.core.models import ModelStore
from metier.router.features import Example
from metier.specialists.engines import Sampling
from metier.specialists.engines.engine import OneOf
from metier.specialists.engines.llama import LlamaEngine

NOBODY = "(nobody)"
FALSE_REFUSAL = 0.04
SHOWN = 2
"""Examples of each specialist that the language model is shown."""


class Guess(NamedTuple):
    label: str
    """The most probable specialist."""
    refused: bool


Peer = Callable[[Sequence[Example], Sequence[str], Embedder, Namespace], list[Guess] | None]


def tfidf_svm(train: Sequence[Example], texts: Sequence[str], embedder: Embedder, args: Namespace) -> list[Guess]:
    """Word pairs and a linear SVM; tasks for nobody are one more class, where there are any."""
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    svm = LinearSVC().fit(vectoriser.fit_transform([e.text for e in train]), [e.label or NOBODY for e in train])
    scores = svm.decision_function(vectoriser.transform(texts))
    classes = svm.classes_.tolist()
    if len(classes) == 2:
        scores = np.column_stack([-scores, scores])
    refused = scores.argmax(axis=1) == classes.index(NOBODY) if NOBODY in classes else np.zeros(len(texts), bool)
    if NOBODY in classes:
        scores[:, classes.index(NOBODY)] = -np.inf
    best = scores.argmax(axis=1)
    return [Guess(classes[b], bool(r)) for b, r in zip(best, refused, strict=True)]


def minilm_lr_knn(train: Sequence[Example], texts: Sequence[str], embedder: Embedder, args: Namespace) -> list[Guess]:
    """Logistic regression on the embedding; refuses what is far from its 5 nearest examples or unlikely.

    The threshold is fitted on training rows that were left out in turn.
    """
    own = [e for e in train if e.label]
    vectors, labels = embedder.embed([e.text for e in own]), np.array([e.label for e in own])

    def fit(rows: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = LogisticRegression(C=10, max_iter=300).fit(vectors[rows], labels[rows])
        chance = model.predict_proba(asked)
        near = np.sort(asked @ vectors[rows].T, axis=1)[:, -5:].mean(axis=1)
        return model.classes_[chance.argmax(axis=1)], chance.max(axis=1) + near

    sure = np.zeros(len(own))
    for rest, out in KFold(5, shuffle=True, random_state=0).split(vectors):
        sure[out] = fit(rest, vectors[out])[1]
    best, found = fit(np.arange(len(own)), embedder.embed(texts))
    threshold = np.quantile(sure, FALSE_REFUSAL) if len(own) < len(train) else -np.inf
    return [Guess(str(b), bool(s < threshold)) for b, s in zip(best, found, strict=True)]


def outside_peer(script: str) -> Peer:
    """A peer that runs in an interpreter of its own (`--peers`), because its dependencies do not fit ours."""

    def answer(
        train: Sequence[Example], texts: Sequence[str], embedder: Embedder, args: Namespace
    ) -> list[Guess] | None:
        if not args.peers:
            say(f"{script}: SKIPPED, no --peers PYTHON")
            return None
        with tempfile.TemporaryDirectory() as folder:
            question, reply = Path(folder, "in.npz"), Path(folder, "out.json")
            np.savez(
                question,
                train=np.array([e.text for e in train]),
                labels=np.array([e.label or NOBODY for e in train]),
                texts=np.array(texts),
                train_vectors=embedder.embed([e.text for e in train]),
                vectors=embedder.embed(texts),
            )
            program = Path(__file__).parent / "peers" / f"{script}.py"
            done = subprocess.run([args.peers, program, question, reply], stdout=sys.stderr, check=False)
            if done.returncode:
                say(f"{script}: SKIPPED, it ended with code {done.returncode}")
                return None
            return [Guess(label, refused) for label, refused in json.loads(reply.read_text())]

    return answer


PEERS: dict[str, Peer] = {
    "tf-idf + svm": tfidf_svm,
    "minilm + lr + knn": minilm_lr_knn,
    "semantic-router": outside_peer("semantic_router_peer"),
    "setfit": outside_peer("setfit_peer"),
}


def llm_choice(train: Sequence[Example], texts: Sequence[str]) -> tuple[list[float], list[Guess]]:
    """The small model picks a name under a grammar, after two examples of each; seconds and answers."""
    names = sorted({e.label for e in train if e.label})
    shown = [e for name in names for e in [x for x in train if x.label == name][:SHOWN]]
    lines = "\n".join(f"{e.text} -> {e.label}" for e in shown)
    system = f"Say who should do the task: one of {', '.join(names)}, or nobody.\n{lines}"
    engine = LlamaEngine(ModelStore().find("smollm2-135m").files["gguf"], context=8192, slots=1)
    rule = engine.constrain(OneOf([*names, "nobody"]))
    chat, seconds, found = engine.chat(Sampling(max_tokens=16)), [], []
    for text in progress(texts, "llm choice"):
        start = perf_counter()
        said = str(chat.invoke([("system", system), ("user", f"{text} ->")], **rule).text).strip()
        seconds.append(perf_counter() - start)
        found.append(Guess(said if said in names else names[0], said not in names))
    engine.close()
    return seconds, found
