"""A team with something to hide: `people` has pay slips that only the board may see, and `secrets` is for those who
work on a merger. The model follows a script: it quotes what it is shown.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage

from metier.agents.cards import MemoryCard
from metier.agents.team import Team
from metier.specialists.card import HandoffCard, KnowledgeCard, SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine

OPEN_QUESTION = "How early must I ask for leave?"
OPEN_QUOTE = "four weeks ahead"
PAY_QUESTION = "What is the salary of the plant manager?"
PAY_QUOTE = "88,000 euros"
MERGER_QUESTION = "What does the merger with Larch cost?"
MERGER_QUOTE = "31 million euros"

HIDDEN = ("88,000", "Quillfeather", "Larch", "31 million", "secrets", "salaries", "merger")
"""Words of what is hidden: none of them may reach anybody else."""
ACCESS = {"people/salaries": ["board"]}

_PAPERS = {
    "people/rules.md": "# Leave\n\nLeave is asked for four weeks ahead. Shifts are swapped two days before.\n",
    "people/salaries/managers.md": "# Salaries\n\nThe salary of the plant manager, Ms Quillfeather, is 88,000 euros.\n",
    "secrets/larch.md": "# The merger\n\nThe merger with Larch costs 31 million euros and closes in May.\n",
    "house/manual.md": "# Boiler\n\nThe steam boiler is descaled every 250 hours of steam.\n",
}
_SCRIPT = {"leave": OPEN_QUOTE, "salary": PAY_QUOTE, "merger": MERGER_QUOTE, "boiler": "every 250 hours of steam"}


def script(messages: list[BaseMessage]) -> str:
    """The model: the quote for the task's word if it stands in what it was shown."""
    said = messages[-1].text
    task = said.rpartition("Question:")[2]
    found = next((quote for word, quote in _SCRIPT.items() if re.search(word, task)), "not found")
    return found if found in said else "not found"


def cards(folder: Path) -> list[SpecialistCard]:
    """The three, with their papers."""
    for name, text in _PAPERS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    house = SpecialistCard(
        name="house",
        description="Answers from the manuals of boiler and house.",
        knowledge=KnowledgeCard(sources=["house"]),
        examples=["How often is the steam boiler descaled?", "Who services the boiler?"],
        abstain_below=0.0,
    )
    people = SpecialistCard(
        name="people",
        description="Knows the rules for leave and shifts, and what people earn.",
        knowledge=KnowledgeCard(sources=["people"]),
        examples=[OPEN_QUESTION, PAY_QUESTION, "When are shifts swapped?"],
        handoffs=[HandoffCard(to="secrets", when="merger")],
        abstain_below=0.0,
    )
    secrets = SpecialistCard(
        name="secrets",
        description="Knows all about the merger with Larch.",
        knowledge=KnowledgeCard(sources=["secrets"]),
        examples=[MERGER_QUESTION, "When does the merger close?"],
        groups=["merger"],
        abstain_below=0.0,
    )
    return [house, people, secrets]


def open_vault(folder: Path, **more: Any) -> Team:
    """Build and open the team."""
    given = {"memory": MemoryCard(facts="none"), "guardrails": ["length"], "access": ACCESS, **more}
    return Team.of("vault", *cards(folder), folder=folder, engine=ScriptedEngine(script), **given)
