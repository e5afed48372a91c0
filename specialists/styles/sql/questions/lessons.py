"""TODO"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice

from .....tools.database import Database
from ....prompt import TrainingExample
from ..prompt import Solved, prompt
from ..schema import Catalogue
from .own import answered, own_questions
from .recombine import recombined

TOGETHER = 5
"""Questions of one database in one prompt."""


AROUND = 100
"""Made-up questions about a team's database."""


def made_up(solved: Sequence[Solved], catalogue: Catalogue, database: Database, dice: random.Random) -> list[Solved]:
    """Questions made out of answered ones, and made up about the database itself; all have an answer."""
    made = [other for one in solved for other in recombined(one, catalogue, dice)]
    found = [other for other in made if answered(other.sql, catalogue, database)]
    found += islice(own_questions(catalogue, database, dice), AROUND)
    dice.shuffle(found)
    return found


def in_turn(found: Sequence[Solved], catalogue: Catalogue, instructions: str = "") -> list[TrainingExample]:
    """Prompts with `TOGETHER` questions each."""
    return [together(catalogue, found[n : n + TOGETHER], instructions) for n in range(0, len(found), TOGETHER)]


def together(catalogue: Catalogue, solved: Sequence[Solved], instructions: str = "") -> TrainingExample:
    """One prompt with several questions; all their answers are learnt."""
    *shots, last = solved
    about = " ".join(s.task for s in solved)
    messages, _ = prompt(last.task, catalogue, shots, about=about, instructions=instructions)
    return TrainingExample(messages, last.sql)
