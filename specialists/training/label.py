"""Trains the skill `label`: `python -m metier.specialists.training.label DATA OUT --minutes 20`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from .label_data import SOURCES, aside, labelled, lessons
from .skill import Lesson, Skill, Source, main

CHECKED = 12
"""Kept-aside texts of each set whose loss is measured for early stopping."""


def lesson(folder: Path, sets: Sequence[str], seed: int, rounds: int) -> Lesson:
    """Every set in its share. Contracts, assets and labels that were kept aside are left for checks and figures."""
    dice = random.Random(seed)
    rows, checks = [], []
    for name in sets:
        found = labelled(folder, name)
        rows += lessons([one for one in found if not aside(one)], rounds * SOURCES[name][0], dice)
        checks += lessons([one for one in found if aside(one)], CHECKED, dice)
    dice.shuffle(rows)
    return Lesson(rows, checks)


SKILL = Skill(
    name="label",
    title="one of the labels in the prompt",
    prompt="The prompt is made by metier's renderer (`style: label`); at inference the answer is the label that is "
    "most probable as a whole.",
    preparation="Rows were drawn from each set, texts cut to 90 words, and labels offered in changing numbers, order "
    "and spelling. 15 % of contracts, assets, diseases and intents were kept aside by a hash of their name.",
    limits="English only. It reads the labels' names: what they mean must be plain from them, or learnt from examples.",
    tags=("text-classification",),
    sources={
        "law_cuad_clause": Source("CUAD (Hendrycks et al., NeurIPS Datasets and Benchmarks 2021)", "CC BY 4.0"),
        "industrial_fsiq": Source("FailureSensorIQ (Constantinides et al., arXiv 2506.03278, 2025)", "CC BY 4.0"),
        "health_pubmedqa": Source("PubMedQA (Jin et al., EMNLP-IJCNLP 2019)", "MIT"),
        "intent_banking77": Source("Banking77 (Casanueva et al., NLP4ConvAI 2020)", "CC BY 4.0"),
        "route_clinc": Source("CLINC150 (Larson et al., EMNLP-IJCNLP 2019)", "CC BY 3.0"),
        "health_medquad": Source("MedQuAD (Ben Abacha and Demner-Fushman, BMC Bioinformatics 2019)", "CC BY 4.0"),
        "faith_begin": Source("BEGIN (Dziri et al., TACL 2022)", "CC BY 4.0"),
    },
    lessons=lesson,
)

if __name__ == "__main__":
    main(SKILL)
