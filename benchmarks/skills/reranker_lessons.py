"""What the reranker learns from: questions, the passages that answer them, and others of the same document or set.

    python benchmarks/skills/reranker_lessons.py DATA CORPORA OUT.npz      # for `reranker_gpu.py`

Questions on documents of our own (`lessons/`), and those of public sets. The file holds token ids, and the parts of
multilingual-e5-small that are needed: its layers in their 4-bit blocks, and the embeddings of the tokens that come.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metier.benchmarks.skills import own_lessons, quote
from metier.benchmarks.skills.answer import read_faq, table_rows
from metier.core.e5_embedder import MEANS_FILE, Vocabulary
from metier.core.models import ModelStore
from metier.core.models.e5 import E5File

QUERY, PASSAGE = "query: ", "passage: "
LONGEST = 220
"""Tokens of a passage."""
_WORDS = 110
"""Words of a passage that is cut out of a longer one."""

OPEN = {
    "selqa": 3000,
    "nq_open_oracle": 4000,
    "integreat_en": 1000,
    "integreat_de": 1000,
    "fairytaleqa": 6000,
    "timeqa": 2500,
    "expmrc_squad_dev": 500,
    "qamr": 10000,
}
"""Sets whose passages are strangers to the other questions, and how many questions are taken."""
CLOSED = {"dstc9_faq": 5000, "wikitablequestions": 4000}
"""Sets in which other passages would answer as well, had the question named them: only those of the same place."""


class Scope(NamedTuple):
    """Passages that belong together, and what is asked about them."""

    set: str
    passages: list[str]
    asked: list[tuple[str, list[int]]]
    """Questions, and which passages answer."""
    alone: bool = False
    """Whether passages of other scopes may answer its questions."""


def own(folder: Path, name: str = "own") -> Iterator[Scope]:
    """Our own documents, cut in three sizes; what is cut in another size is a set by itself."""
    for lesson in own_lessons.read_lessons(folder):
        for size in own_lessons.SIZES if lesson.is_document else own_lessons.SIZES[-1:]:
            passages = lesson.searchable(size)
            asked = []
            for question in lesson.questions:
                task = " ".join((*question.before[:1], question.task))
                right = [
                    n for n, text in enumerate(passages) if any(own_lessons.stands(q, text) for q in question.lines)
                ]
                if right or not question.lines:
                    asked.append((task, right))
            yield Scope(f"{name} {size}", passages, asked)


def public(folder: Path, dice: random.Random) -> Iterator[Scope]:
    """Training part of the evaluation sets: annual reports, bulletins, contracts."""
    for name in ("finance_tatqa_span", "agri_agxqa", "law_cuad_qa"):
        for question in quote.questions(folder, [name]):
            if not quote.aside(question) and question.answer:
                shown = quote.window(question.passage, question.answer, dice, _WORDS)
                yield Scope(name, [shown, *question.distractors[:8]], [(question.task, [0])], alone=True)


def corpora(folder: Path, dice: random.Random) -> Iterator[Scope]:
    """Public sets of questions on passages."""
    for name, most in {**OPEN, **CLOSED}.items():
        with gzip.open(folder / "quote" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        dice.shuffle(rows)
        made = (scope for row in rows if (scope := _scope(name, row, dice)))
        yield from (scope for scope, _ in zip(made, range(most), strict=False))


def _scope(name: str, row: dict[str, Any], dice: random.Random) -> Scope | None:
    answer = row["answer"].strip()
    if not answer or not row.get("answerable", True):
        return None
    if name == "dstc9_faq":
        item = read_faq(row)
        lines = item.passages[0].split("\n") if item else []
        last = item.answer.split("\n")[-1] if item else ""
        right = [n for n, line in enumerate(lines) if last in line]
        return Scope(name, lines, [(row["question"], right)], alone=True) if len(right) == 1 else None
    if name == "wikitablequestions":
        rows = table_rows(row["passage"])
        pieces = ["\n".join(rows[n : n + 4]) for n in range(0, min(len(rows), 48), 4)]
        right = [n for n, piece in enumerate(pieces) if re.search(rf": {re.escape(answer)}(;|$)", piece, re.MULTILINE)]
        return (
            Scope(name, pieces, [(row["question"], right)], alone=True) if len(right) == 1 and len(pieces) > 1 else None
        )
    pieces = _pieces(row["passage"])
    first = answer.split("\n")[0]
    right = [n for n, piece in enumerate(pieces) if first in piece]
    return Scope(name, pieces, [(row["question"], right)]) if right else None


def _pieces(text: str) -> list[str]:
    """Sentences or lines together, as long as a passage may be."""
    pieces, piece = list[str](), ""
    for part in re.split(r"(?<=[.!?]) |\n", text):
        if piece and len(f"{piece} {part}".split()) > _WORDS:
            pieces.append(piece)
            piece = ""
        piece = f"{piece} {part}".strip()
    return [*pieces, piece]


def packed(scopes: Iterable[Scope], file: E5File) -> dict[str, np.ndarray]:
    """All as arrays; tokens are numbered anew."""
    vocabulary = Vocabulary(file)
    names: list[str] = []
    texts, tasks = list[list[int]](), list[list[int]]()
    of_text, of_task, alone, right = list[tuple[int, int]](), list[tuple[int, int]](), list[bool](), list[list[int]]()
    for number, scope in enumerate(scopes):
        if scope.set not in names:
            names.append(scope.set)
        kind = names.index(scope.set)
        for task, places in scope.asked:
            tasks.append(vocabulary.ids(QUERY + task)[:64])
            right.append([len(texts) + place for place in places])
            of_task.append((kind, number))
            alone.append(scope.alone)
        for text in scope.passages:
            texts.append(vocabulary.ids(PASSAGE + text)[:LONGEST])
            of_text.append((kind, number))
    used = sorted({id for ids in (*texts, *tasks) for id in ids} | {file.begin, file.end})
    place = {id: n for n, id in enumerate(used)}
    words = file.blocks("emb.word").reshape(file.sizes.words, -1)[used]
    held: dict[str, np.ndarray] = {"words": words, "ends": np.array([place[file.begin], place[file.end]])}
    for name, lists in (("text", texts), ("task", tasks)):
        held |= _flat(name, [[place[id] for id in ids] for ids in lists])
    held |= _flat("right", right)
    held |= {"of_text": np.array(of_text), "of_task": np.array(of_task), "alone": np.array(alone)}
    return held | {"names": np.array(names)}


def _flat(name: str, lists: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    flat = np.array([number for some in lists for number in some], dtype=np.uint32)
    return {name: flat, f"{name}_row": np.cumsum([0, *map(len, lists)]).astype(np.uint32)}


def layers(file: E5File) -> dict[str, np.ndarray]:
    """The encoder's own weights, as they lie in the file."""
    held: dict[str, np.ndarray] = {name: file.vector(name) for name in ("emb.pos", "emb.type", "emb.ln.w", "emb.ln.b")}
    for number in range(file.sizes.layers):
        for part in ("q", "k", "v", "ao", "fi", "fo"):
            name = f"l{number}.{part}"
            held |= {f"{name}.w": file.blocks(f"{name}.w"), f"{name}.b": file.vector(f"{name}.b")}
        for part in ("aln", "oln"):
            held |= {f"l{number}.{part}.{end}": file.vector(f"l{number}.{part}.{end}") for end in "wb"}
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the public evaluation sets")
    parser.add_argument("corpora", type=Path, help="folder with the public sets to learn from")
    parser.add_argument("out", type=Path)
    parser.add_argument("--lessons", type=Path, default=own_lessons.FOLDER, help="folder of our own lessons")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    file = E5File(ModelStore().find("multilingual-e5-small").files["e5"])
    dice = random.Random(args.seed)
    scopes = [
        *own(args.lessons),
        *own(args.lessons / "aside", "aside"),
        *public(args.data, dice),
        *corpora(args.corpora, dice),
    ]
    held = packed(scopes, file)
    sizes = {"sizes": np.array(file.sizes[:4]), "epsilon": np.array(file.sizes.epsilon), "means": np.load(MEANS_FILE)}
    np.savez_compressed(args.out, **{f"e5/{k}": v for k, v in layers(file).items()}, **held, **sizes)
    print(f"{args.out}: {len(held['of_task'])} questions, {len(held['of_text'])} passages, {len(held['text'])} tokens")


if __name__ == "__main__":
    main()
