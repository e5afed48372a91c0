"""Fits the heads that the guardrails ship with; nothing here is loaded when a team runs.

    python benchmarks/skills/guard_heads.py DATA

DATA is the folder of the public sets. The heads are written into `agents/guardrails/heads/`.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from metier.agents.guardrails import GUARDS_EMBEDDER
from metier.agents.guardrails.classifier import Linear, NgramClassifier, in_other_script, ngram_features
from metier.agents.guardrails.grounded import GROUNDED_FILE, claim_evidence
from metier.agents.guardrails.guard import HEADS
from metier.agents.guardrails.injection import order_parts
from metier.agents.guardrails.pii import NAME_KINDS, NAMES_FILE, TAG_BUCKETS, Tagger, history, token_features, tokens_of
from metier.core.embedding import Embedder
from metier.core.files import read_jsonl, write_atomic
from metier.core.kernel_ridge import fit_kernel_ridge
from metier.core.onnx_embedder import load_embedder
from metier.core.text import HASH_BUCKETS
from metier.core.types import Logistic
from metier.specialists.knowledge.documents import Outline, split
from metier.specialists.knowledge.readers.text import add_paragraphs

# Fits the heads of the guard `injection`: attacks among tasks, and orders to an assistant among what is read.

HAND = 5
"""How often each of the hand-written harmless texts counts: there are few of them among thousands."""

FALSE_ALARMS = 0.003
"""Share of harmless tasks, or passages, that a head may stop."""

NO_VECTOR = np.zeros(0, np.float32)

FOREIGN_ALARMS = 0.05
"""Share of harmless tasks in other scripts, left out in fitting, that lie above the threshold: there are few."""

FOREIGN_RIDGE = 0.3
"""Ridge of the linear model for other scripts, and what its score is multiplied with to be a logit."""
FOREIGN_SCALE = 8.0

LOSSES = 0.01
"""Share of harmless messages that may lose a sentence: the others are still read."""

SUSPICIOUS = 0.1
"""Share of passages with a sentence that is worth the embedder's time."""

HARDEST = 4000
"""Sentences that the embedder sees in fitting: those that the n-grams find hardest to tell from orders."""

PASSAGE = 160
"""Words and punctuation marks of a passage, as knowledge cuts them."""

GENERAL = (
    "Content Creation", "Information Retrieval", "Language Translation", "Learning and Tutoring", "Programming Help",
)  # fmt: skip
"""Kinds of BIPIA's attacks that are tasks of their own. A document may well say them to its readers."""


def by_hand(name: str) -> list[str]:
    """Texts written by hand: `attacks`, `harmless` tasks, `orders`, `imperatives` of manuals, `errands`."""
    return json.loads((HEADS / f"{name}.json").read_text(encoding="utf-8"))


def by_language(kind: str, *, other_script: bool | None = None) -> list[str]:
    """The `attacks` or the `harmless` tasks of all languages; of other scripts only, or of Latin ones."""
    languages = json.loads((HEADS / "languages.json").read_text(encoding="utf-8"))
    texts = [text for groups in languages.values() for text in groups[kind]]
    return [text for text in texts if other_script in (None, in_other_script(text))]


def fit_foreign() -> Linear:
    """What tells attacks from tasks in scripts that are not Latin, by their n-grams alone.

    The threshold lies above what harmless texts get of a model that did not see them.
    """
    positive = [t for t in [*by_language("attacks"), *by_hand("attacks")] if in_other_script(t)]
    negative = [t for t in [*by_language("harmless"), *by_hand("harmless")] if in_other_script(t)]
    rows = _grams([*positive, *negative])
    attack = np.arange(len(positive) + len(negative)) < len(positive)
    fitted = fit_kernel_ridge((rows @ rows.T).toarray(), attack[:, None].astype(np.float32), FOREIGN_RIDGE)
    threshold = np.quantile(fitted.held_out[~attack], 1 - FOREIGN_ALARMS)
    weights = FOREIGN_SCALE * (rows.T @ fitted.coefficients)[:, 0]
    return Linear(weights.astype(np.float32), FOREIGN_SCALE * float(fitted.prior[0] - threshold), NO_VECTOR)


def fit_injection(
    attacks: Sequence[str], benign: Sequence[str], embedder: Embedder, *, seed: int = 0
) -> NgramClassifier:
    """The head that tells attacks from tasks: two thirds of `benign` are fitted on, the rest sets the thresholds."""
    fitted, apart = _two_thirds([text for text in benign if not in_other_script(text)], seed)
    positive = _latin([*attacks, *by_hand("attacks"), *by_language("attacks")])
    # Once each, not `HAND` times: there are more of them, and their weight would cost attacks in English.
    fitted += _latin(by_language("harmless"))
    return _fit(positive, fitted, _latin(by_hand("harmless")), [[text] for text in apart], embedder, FALSE_ALARMS)


def _latin(texts: Sequence[str]) -> list[str]:
    return [text for text in texts if not in_other_script(text)]


def fit_orders(
    attacks: Sequence[str],
    passages: Sequence[str],
    embedder: Embedder,
    *,
    false_alarms: float = FALSE_ALARMS,
    seed: int = 0,
) -> NgramClassifier:
    """The head that tells orders to an assistant from the sentences of documents.

    Two thirds of the passages are fitted on. The rest sets the threshold: so few *passages* trip, not sentences.
    """
    fitted, apart = _two_thirds(passages, seed)
    calm = sorted({sentence for text in fitted for sentence in order_parts(text)})
    groups = [list(order_parts(text)) for text in apart]
    return _fit(attacks, calm, by_hand("imperatives"), groups, embedder, false_alarms, suspicious=SUSPICIOUS)


def orders(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the head for documents is to find, of rows of `attack` and `meta.attack_kind`, and by hand."""
    plain = [row["attack"] for row in rows if row["meta"]["attack_kind"] not in GENERAL]
    return [*plain, *by_hand("orders")]


def errands(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the head for messages is to find: tasks and questions too."""
    return [*(row["attack"] for row in rows), *by_hand("orders"), *by_hand("errands")]


def _two_thirds(texts: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    mixed = list(texts)
    random.Random(seed).shuffle(mixed)
    cut = len(mixed) * 2 // 3
    return mixed[:cut], mixed[cut:]


def _fit(
    positive: Sequence[str],
    negative: Sequence[str],
    by_hand: Sequence[str],
    apart: Sequence[Sequence[str]],
    embedder: Embedder,
    false_alarms: float,
    *,
    suspicious: float | None = None,
) -> NgramClassifier:
    """Both classifiers, and their thresholds on harmless groups of texts that were kept apart."""
    words = _weights(_grams([*positive, *by_hand, *negative]), len(positive), len(by_hand), strength=30.0)
    alone = _highest(apart, lambda texts: _grams(texts) @ words)
    doubt = float(np.quantile(alone, 1 - suspicious)) if suspicious else -np.inf
    if suspicious:
        order = np.argsort(-(_grams(negative) @ words))[:HARDEST]
        negative = [negative[int(i)] for i in order]
    both = _weights(_meanings([*positive, *by_hand, *negative], embedder), len(positive), len(by_hand), strength=3.0)
    seen = [[t for t, s in zip(group, _grams(group) @ words, strict=True) if s >= doubt] for group in apart]
    together = _highest(seen, lambda texts: _meanings(texts, embedder) @ both)
    bias, bias_both = (-float(np.quantile(scores, 1 - false_alarms)) for scores in (alone, together))
    return NgramClassifier(
        Linear(words, bias, NO_VECTOR),
        Linear(both[:HASH_BUCKETS], bias_both, both[HASH_BUCKETS:]),
        embedder.name,
        bias + doubt,
        fit_foreign(),
    )


def _weights(rows: Any, positive: int, by_hand: int, *, strength: float) -> NDArray[np.float32]:
    """Weights of a logistic model; the first rows are positive and count as much as all others together."""
    labels = np.arange(rows.shape[0]) < positive
    counts = np.ones(rows.shape[0])
    counts[positive : positive + by_hand] = HAND
    counts[:positive] = counts[positive:].sum() / positive
    model: Any = LogisticRegression(C=strength, max_iter=200)
    model.fit(rows, labels, sample_weight=counts / counts.mean())
    return model.coef_[0].astype(np.float32)


def _highest(groups: Sequence[Sequence[str]], score: Any) -> NDArray[np.float32]:
    """The best score of each group; very low for an empty one."""
    best = np.full(len(groups), -1e3, np.float32)
    owner = [number for number, group in enumerate(groups) for _ in group]
    if owner:
        np.maximum.at(best, owner, score([text for group in groups for text in group]))
    return best


def _grams(texts: Iterable[str]) -> csr_matrix:
    columns: list[int] = []
    values: list[float] = []
    ends = [0]
    for buckets in ngram_features(list(texts)):
        columns += buckets
        values += [1 / np.sqrt(len(buckets) or 1)] * len(buckets)
        ends.append(len(columns))
    return csr_matrix((values, columns, ends), shape=(len(ends) - 1, HASH_BUCKETS), dtype=np.float32)


def _meanings(texts: Sequence[str], embedder: Embedder) -> Any:
    """N-grams and vector side by side; there must be a text."""
    return hstack([_grams(texts), csr_matrix(embedder.embed(texts))]).tocsr()


def benign_texts(folder: Path, most: int) -> dict[str, list[str]]:
    """Set → inputs of all sets but the attacks, at most so many of each: the large are not to drown the small."""
    return _sample({
        path.stem: {r["input"] for r in read_jsonl(path) if r.get("input")}
        for path in folder.glob("*.jsonl")
        if path.stem != "safety_injection"
    }, most)  # fmt: skip


def document_passages(folder: Path, most: int) -> dict[str, list[str]]:
    """Set → passages of the documents in DATA, as knowledge would cut them, at most so many of each."""
    found: dict[str, set[str]] = {}
    for path in [*folder.glob("*.jsonl"), *folder.glob("backends/*/*.jsonl")]:
        if not path.stem.startswith("safety"):
            texts = (row.get("context") or row.get("content") or row.get("text") for row in read_jsonl(path))
            name = path.stem if path.parent == folder else path.parent.name
            found.setdefault(name, set()).update(piece for text in texts for piece in _pieces(text))
    return _sample({name: texts for name, texts in found.items() if texts}, most)


def _pieces(value: Any) -> Iterator[str]:
    """Passages of a text, or of the texts in a list."""
    if isinstance(value, list):
        for part in value:
            yield from _pieces(part)
    elif isinstance(value, str):
        outline = Outline()
        add_paragraphs(outline, value)
        document = outline.document("", "")
        yield from (document.text[span.start : span.end] for span in split(document, PASSAGE))


def _sample(found: dict[str, set[str]], most: int) -> dict[str, list[str]]:
    return {n: random.Random(0).sample(sorted(found[n]), min(len(found[n]), most)) for n in sorted(found)}


# Fits the head of the guard `grounded`, and the tagger of names of the guard `pii`.

SUPPORTED = "Fully attributable"

BENIGN = 600
"""Harmless tasks of each set that the injection head is fitted on."""

PASSAGES = 600
"""Passages of each set of documents that the heads for orders are fitted on."""


def fit_grounded(rows: Sequence[dict[str, Any]]) -> Logistic:
    """The head that tells supported answers from others, on rows of `context`, `response` and `answer`."""
    evidence = [claim_evidence(r["response"], r["context"]) for r in rows]
    measures = np.array([[*each.values()] for each in evidence])
    scaler: Any = StandardScaler().fit(measures)
    model: Any = LogisticRegression(C=0.3, class_weight="balanced", max_iter=2000)
    model.fit(scaler.transform(measures), [r["answer"] == SUPPORTED for r in rows])
    weights = model.coef_[0] / scaler.scale_
    return Logistic(
        weights=dict(zip(evidence[0], map(float, weights), strict=True)),
        bias=float(model.intercept_[0] - weights @ scaler.mean_),
        made_by="python benchmarks/skills/guard_heads.py DATA",
    )


def fit_tagger(rows: Sequence[dict[str, Any]], *, epochs: int = 10, seed: int = 0) -> Tagger:
    """The tagger of names, on rows of `input` and `answer` ([[start, end, kind], …]).

    An averaged perceptron (Collins, 2002) that meets its own earlier decisions in training, as it will later.
    """
    cases = [_tagged(row) for row in rows]
    weights = np.zeros((TAG_BUCKETS, len(NAME_KINDS)), np.float32)
    sums = np.zeros_like(weights)
    step = 1
    for epoch in range(epochs):
        random.Random(seed + epoch).shuffle(cases)
        for described, wanted in cases:
            seen: list[int] = []
            for found, kind in zip(described, wanted, strict=True):
                used = found + history(seen, found)
                guess = int(weights[used].sum(axis=0).argmax())
                if guess != kind:
                    for table, size in ((weights, 1), (sums, step)):
                        table[used, kind] += size
                        table[used, guess] -= size
                seen.append(guess)
                step += 1
    return Tagger((weights - sums / step).astype(np.float32))


def _tagged(row: dict[str, Any]) -> tuple[list[list[int]], list[int]]:
    """Features and kind of each token."""
    tokens = tokens_of(row["input"])
    kinds = [0] * len(tokens)
    for start, end, kind in row["answer"]:
        if kind in NAME_KINDS:
            inside = [i for i, (first, last, _) in enumerate(tokens) if start <= first and last <= end]
            kinds = [NAME_KINDS.index(kind) if i in inside else k for i, k in enumerate(kinds)]
    return [*token_features([w for _, _, w in tokens])], kinds


def main(folder: Path) -> None:
    """Fit and write every head."""
    embedder = load_embedder(GUARDS_EMBEDDER)
    attacks = [r["input"] for r in read_jsonl(folder / "safety_injection.jsonl")]
    benign = [text for texts in benign_texts(folder, BENIGN).values() for text in texts]
    fit_injection(attacks, benign, embedder).save(HEADS / "injection.safetensors")
    inserted = read_jsonl(folder / "safety_bipia_email.jsonl")
    passages = [text for texts in document_passages(folder, PASSAGES).values() for text in texts]
    mails = sorted({row["context"] for row in inserted})
    fit_orders(orders(inserted), passages, embedder).save(HEADS / "orders.safetensors")
    fit_orders(errands(inserted), passages + mails, embedder, false_alarms=LOSSES).save(HEADS / "errands.safetensors")
    fit_tagger(read_jsonl(folder / "safety_pii.jsonl")).save(NAMES_FILE)
    head = fit_grounded(read_jsonl(folder / "faith_begin.jsonl"))
    write_atomic(GROUNDED_FILE, head.model_dump_json(indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fits the heads that the guardrails ship with, and writes them.")
    parser.add_argument("data", type=Path, help="folder with the public sets")
    main(parser.parse_args().data)
