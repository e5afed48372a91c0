"""Trains the skill `label`, which answers with one of the labels in its prompt.

    python benchmarks/skills/label.py DATA OUT [--minutes 30] [--without SET]

DATA is the folder of the public sets; OUT becomes the adapter's, a PEFT repository.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metier.benchmarks.skills.skill import Lesson, Skill, Source, kept_aside, main, read_rows
from metier.specialists.prompt import Shot, TrainingExample
from metier.specialists.styles.label.style import LABEL, SHARING, listed_labels

WORDS = 90
"""Longer texts are cut to so many words in training."""

OFFERED = (2, 40)
"""Wrong labels in a list, where the whole set shares one: few as often as many (log-uniform)."""


@dataclass(frozen=True)
class Labelled:
    """A text and its label."""

    group: str
    """Contract, asset or label: what a split must not cut through."""
    text: str
    answers: tuple[str, ...]
    """All labels that are right."""
    choices: tuple[str, ...] = ()
    """Its own labels; empty where the whole set shares one list."""


def clauses(folder: Path) -> Iterator[Labelled]:
    """Contract clauses (CUAD)."""
    for row in read_rows(folder, "law_cuad_clause"):
        yield Labelled(f"law/{row['meta']['contract']}", row["input"], tuple(row["answers"]))


def sensors(folder: Path) -> Iterator[Labelled]:
    """Which sensor tells of which failure (FailureSensorIQ); every question has its own choices."""
    for row in read_rows(folder, "industrial_fsiq"):
        group = f"industrial/{row['meta']['asset']}"
        yield Labelled(group, row["input"], (row["answer"],), tuple(row["choices"]))


def abstracts(folder: Path) -> Iterator[Labelled]:
    """Yes, no or maybe from an abstract (PubMedQA); findings stand at its end."""
    for row in read_rows(folder, "health_pubmedqa"):
        text = f"{_last(row['context'], WORDS)}\n{row['input']}"
        yield Labelled(f"health/{row['id']}", text, (row["answer"],), ("yes", "no", "maybe"))


def intents(folder: Path) -> Iterator[Labelled]:
    """What customers of a bank want (Banking77)."""
    for row in read_rows(folder, "intent_banking77"):
        yield Labelled(f"intent/{row['answer']}", row["input"], (row["answer"],))


def requests(folder: Path) -> Iterator[Labelled]:
    """What people ask an assistant for (CLINC150): of which field, or precisely what."""
    for number, row in enumerate(read_rows(folder, "route_clinc")):
        intent = row["meta"]["intent"]
        if row["answer"] != "oos":
            yield Labelled(f"request/{intent}", row["input"], (intent if number % 3 else row["answer"],))


def passages(folder: Path) -> Iterator[Labelled]:
    """What a passage about a disease tells of: its symptoms, its outlook … (MedQuAD). Overviews tell of everything."""
    for row in read_rows(folder, "health_medquad"):
        if row["meta"]["qtype"] != "information":
            yield Labelled(f"disease/{row['meta']['focus']}", row["answer"], (row["meta"]["qtype"],))


def statements(folder: Path) -> Iterator[Labelled]:
    """Does a text bear out what is said (BEGIN)."""
    for row in read_rows(folder, "faith_begin"):
        text = f"{_first(row['context'], WORDS)}\nIs this borne out: {row['response']}"
        answer = "borne out" if row["answer"] == "Fully attributable" else "not borne out"
        yield Labelled(f"faith/{row['id']}", text, (answer,), ("borne out", "not borne out"))


SOURCES: dict[str, tuple[int, Callable[[Path], Iterator[Labelled]]]] = {
    "law_cuad_clause": (900, clauses),
    "industrial_fsiq": (700, sensors),
    "health_pubmedqa": (160, abstracts),
    "intent_banking77": (700, intents),
    "route_clinc": (900, requests),
    "health_medquad": (400, passages),
    "faith_begin": (160, statements),
}
"""Set to how many of its texts are shown in one round, and its reader."""


def labelled(folder: Path, name: str) -> list[Labelled]:
    """All texts of a set."""
    return [*SOURCES[name][1](folder)]


def aside(one: Labelled) -> bool:
    """Whether the text's contract, asset or label belongs to the part that is only scored."""
    return kept_aside(one.group)


def lessons(found: Sequence[Labelled], count: int, dice: random.Random) -> list[TrainingExample]:
    """Prompts with `count` texts in all; those of a shared list stand several in one."""
    chosen = dice.sample(found, min(count, len(found)))
    if any(one.choices for one in chosen):
        return [_alone(one, dice) for one in chosen]
    known = sorted({answer for one in found for answer in one.answers})
    return [_together(chosen[at : at + SHARING], known, dice) for at in range(0, len(chosen), SHARING)]


def _alone(one: Labelled, dice: random.Random) -> TrainingExample:
    spell = _spelling(dice)
    choices = dice.sample(one.choices, len(one.choices))
    return TrainingExample(LABEL.prompt(one.text, system=listed_labels([*map(spell, choices)])), spell(one.answers[0]))


def _together(some: Sequence[Labelled], known: Sequence[str], dice: random.Random) -> TrainingExample:
    """Texts with the labels that they need, and others. One that is right too, but was not drawn, is not offered."""
    spell = _spelling(dice)
    right = [dice.choice(one.answers) for one in some]
    unsaid = {answer for one in some for answer in one.answers} - set(right)
    others = [label for label in known if label not in unsaid and label not in right]
    few, many = OFFERED
    wrong = round(few * (many / few) ** dice.random())
    offered = [*dict.fromkeys(right), *dice.sample(others, min(len(others), wrong))]
    dice.shuffle(offered)
    turns = [(_first(one.text, WORDS), spell(answer)) for one, answer in zip(some, right, strict=True)]
    shots = [Shot(*turn) for turn in turns[:-1]]
    task, answer = turns[-1]
    return TrainingExample(LABEL.prompt(task, system=listed_labels([*map(spell, offered)]), shots=shots), answer)


def _spelling(dice: random.Random) -> Callable[[str], str]:
    """One way to write labels: `Cap On Liability`, `cap on liability`, `cap_on_liability`."""
    match dice.randrange(4):
        case 0:
            return lambda label: label.replace("_", " ").lower()
        case 1:
            return lambda label: label.replace(" ", "_").lower() if len(label.split()) < 5 else label
    return lambda label: label.replace("_", " ")


def _first(text: str, count: int) -> str:
    words = text.split()
    return text if len(words) <= count else " ".join(words[:count])


def _last(text: str, count: int) -> str:
    words = text.split()
    return text if len(words) <= count else " ".join(words[-count:])


# The lesson, and the skill.

CHECKED = 12
"""Kept-aside texts of each set whose loss is measured for early stopping."""


def lesson(folder: Path, sets: Sequence[str], seed: int, rounds: int) -> Lesson:
    """Every set in its share. Contracts, assets and labels that were kept aside are left for checks and figures."""
    dice = random.Random(seed)
    rows, checks = [], []
    for name in sets:
        texts = labelled(folder, name)
        rows += lessons([one for one in texts if not aside(one)], rounds * SOURCES[name][0], dice)
        checks += lessons([one for one in texts if aside(one)], CHECKED, dice)
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
