"""Does an index of 100,000 passages stay usable? Build time, seconds a query, memory and disk.

    python benchmarks/knowledge_scale.py DATA [--passages N] [--limit QUESTIONS] [--json OUT]

The passages are sentences of DATA's own documents in new orders, about 100 words each, one file a thousand passages.
Their vectors are sums of one random direction a word: MiniLM would need half an hour for so many and the search does
not care. The questions are real and are embedded by MiniLM, so `p50_s` is what a user waits: embedding and search.
"""

from __future__ import annotations

import gc
import hashlib
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
from harness import Report, parser, quantile, say

from metier.core.embedding import Embedder, Vectors
from metier.core.files import read_jsonl
from metier.core.onnx_embedder import load_embedder
from metier.specialists.knowledge import Knowledge

SETS = {
    "health_medquad": "answer",
    "agri_agxqa": "context",
    "finance_tatqa_span": "context",
    "law_cuad_clause": "input",
}
"""Set to the field that holds running text."""
WORDS = 100
PER_FILE = 1000


class SumOfWords:
    """An embedder that costs nothing to build with; questions go to the real one when it is given."""

    name = "sum-of-words"
    dimension = 384

    def __init__(self, real: Embedder | None = None) -> None:
        self.real = real
        self._directions: dict[str, Vectors] = {}

    def embed(self, texts: Sequence[str]) -> Vectors:
        if self.real:
            return self.real.embed(texts)
        sums = np.stack([np.sum([self._direction(word) for word in text.split()[:WORDS]], axis=0) for text in texts])
        return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)

    def _direction(self, word: str) -> Vectors:
        if word not in self._directions:
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
            self._directions[word] = np.random.default_rng(seed).standard_normal(self.dimension).astype(np.float32)
        return self._directions[word]


def passages(data: Path, count: int, seed: int) -> Iterator[str]:
    """Paragraphs of about `WORDS` words, made of sentences that stand in the sets."""
    files = {name: data / f"{name}.jsonl" for name in SETS}
    texts = [row[SETS[name]] for name, file in files.items() if file.is_file() for row in read_jsonl(file)]
    sentences = sorted({s.strip() for text in texts for s in text.split(". ") if 4 < len(s.split()) < WORDS})
    dice = random.Random(seed)
    for _ in range(count):
        words: list[str] = []
        while len(words) < WORDS:
            words += [*dice.choice(sentences).split()[:-1], "and"]
        yield " ".join(words[:WORDS]) + "."


def main() -> None:
    arguments = parser("Does an index of 100,000 passages stay usable?")
    arguments.add_argument("--passages", type=int, default=100_000, metavar="N")
    args = arguments.parse_args()
    report, embedder = Report(args), SumOfWords()
    questions = [row["input"] for row in read_jsonl(args.data / "health_medquad.jsonl")]
    questions = random.Random(args.seed).sample(questions, min(len(questions), args.limit or 300))
    system = f"metier-{args.passages}"
    with tempfile.TemporaryDirectory() as temporary:
        docs, store = Path(temporary, "docs"), Path(temporary, "store")
        docs.mkdir()
        made = list(passages(args.data, args.passages, args.seed))
        for start in range(0, len(made), PER_FILE):
            Path(docs, f"{start:07}.txt").write_text("\n\n".join(made[start : start + PER_FILE]))
        del made
        began = time.perf_counter()
        Knowledge.build([docs], store, embedder).close()
        report.add_value("scale", system, "build_s", time.perf_counter() - began)
        embedder = SumOfWords(load_embedder("minilm"))
        embedder.embed(["warm"])
        gc.collect()
        before = psutil.Process().memory_info().rss
        knowledge = Knowledge.open(store, embedder)
        say(f"{len(knowledge)} passages")
        seconds = []
        for question in questions:
            began = time.perf_counter()
            knowledge.search(question)
            seconds.append(time.perf_counter() - began)
        report.add("scale", system, "p50_s", seconds, quantile(0.5))
        report.add("scale", system, "p99_s", seconds, quantile(0.99))
        report.add_value("scale", system, "memory_bytes", psutil.Process().memory_info().rss - before)
        size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
        report.add_value("scale", system, "disk_bytes", size)
        knowledge.close()
    report.finish()


if __name__ == "__main__":
    main()
