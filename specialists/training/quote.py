"""Trains the skill `quote`: `python -m metier.specialists.training.quote DATA OUT [--minutes 30] [--without SET]`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from .example import TrainingExample
from .quote_data import SOURCES, Question, aside, questions, show
from .skill import Lesson, Skill, Source, main
from .table_data import TABLES, tables

MOST_ALIKE = 90
"""So many rows of one wording are enough ("Which law governs this agreement?" stands in 336)."""

CHECKED = 60
"""Kept-aside prompts whose loss is measured for early stopping."""


def lesson(folder: Path, sets: Sequence[str], seed: int, rounds: int) -> Lesson:
    """Questions with passages. Documents that were kept aside are left for checks and figures."""
    prose = questions(folder, [name for name in sets if name in SOURCES])
    found = [*prose, *tables(folder, [name for name in sets if name in TABLES])]
    rows = examples([q for q in found if not aside(q)], seed, rounds)
    checks = examples([q for q in found if aside(q)], seed, 1)
    random.Random(seed).shuffle(checks)
    return Lesson(rows, checks[:CHECKED])


def examples(found: list[Question], seed: int, rounds: int) -> list[TrainingExample]:
    """Prompts for training: each question `rounds` times, every time among other passages."""
    dice = random.Random(seed)
    dice.shuffle(found)
    asked: dict[str, int] = {}
    kept: list[Question] = []
    for question in found:
        asked[question.task] = asked.get(question.task, 0) + 1
        if asked[question.task] <= MOST_ALIKE:
            kept.append(question)
    return [show(q, dice).example for _ in range(rounds) for q in kept]


SKILL = Skill(
    name="quote",
    title="answer with the passage's words, or say that it is not there",
    prompt="The prompt is made by metier's renderer (`style: quote`); at inference a grammar keeps the answer to "
    'words of the passages or "not found".',
    preparation="Rows were selected, passages cut to about 90 words around the answer and mixed with passages that "
    "look alike; in a fifth of the prompts the answering passage was left out. Questions on tables were made from "
    "their rows and columns. 15 % of the documents and tables were kept aside by a hash of their name.",
    limits="English only. It copies; it does not compute, compare or rephrase. It was trained on five sets of four "
    "fields and on rows of tables.",
    tags=("extractive-qa", "abstention"),
    sources={
        "finance_tatqa_span": Source("TAT-QA (Zhu et al., ACL 2021)", "CC BY 4.0"),
        "agri_agxqa": Source("AgXQA (Kpodo et al., Computers and Electronics in Agriculture 2024)", "Apache-2.0"),
        "law_cuad_qa": Source("CUAD (Hendrycks et al., NeurIPS Datasets and Benchmarks 2021)", "CC BY 4.0"),
        "safety_bipia_email": Source("BIPIA (Yi et al., KDD 2025)", "MIT"),
        "grounded_mtragun": Source("MTRAG (Katsis et al., TACL 2025)", "Apache-2.0"),
        "route_assetops": Source("AssetOpsBench, its tables (Patel et al., 2025)", "Apache-2.0"),
        "team_workbench": Source("WorkBench, its tables (Styles et al., COLM 2024)", "MIT"),
    },
    lessons=lesson,
)


if __name__ == "__main__":
    main(SKILL)
