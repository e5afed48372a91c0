"""A team for workflows: no model, tools that leave a line in a file for each thing they did, and answers by rule.

`figures` gives rows, `manuals` a cited quote, `clerk` acts (see `shop`). A task that says "fail" fails, one that says
"nobody" is answered by nobody, "slow" takes a moment, "meet 3" waits until three that say so are under way, and "gate"
until there is a file `open` in the team's folder.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metier.agents.cards import Blueprint, MemoryCard, RouterCard, TeamCard
from metier.agents.team import Team
from metier.core.errors import EngineError
from metier.core.run import check_cancelled
from metier.core.types import Citation
from metier.specialists.card import SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.styles.style import Style
from metier.specialists.work import Draft, Work
from metier.tests.patience import until
from metier.tests.shop import ByName, NoMeaning, card, lines, note, planned

ROWS = [{"machine": "filler", "hours": 6}, {"machine": "labeller", "hours": 2.5}]

WEEK: dict[str, Any] = {
    "name": "week",
    "parameters": {"site": {"enum": ["North", "South"]}},
    "steps": {
        "downtime": {"ask": "figures", "task": "What stood still at {{ site }}?"},
        "any": {"condition": "{{ downtime.rows | length > 0 }}"},
        "advice": {
            "for_each": "{{ downtime.rows }}",
            "as": "row",
            "at_most": 5,
            "when": "{{ any.value }}",
            "steps": {"quote": {"ask": "manuals", "task": "How often is the {{ row.machine }} serviced?"}},
        },
        "hours": {"calculate": "sum({{ downtime.column('hours') }})", "unit": "h"},
    },
}
"""A plan for this team, of the kinds of steps that most plans have; nothing uses its last steps yet."""


def week(*, parameters: Mapping[str, Any] | None = None, steps: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """The plan `WEEK` with more parameters, more or other steps, and other fields."""
    more = {"parameters": {**WEEK["parameters"], **(parameters or {})}, "steps": {**WEEK["steps"], **steps}}
    return {**WEEK, **more, **fields}


def by_rule(work: Work) -> Draft:
    """The answer to a task, after a line in `asked.txt` of the team's folder."""
    task, folder = work.brief.task, Path(work.card.instructions)
    note(folder / "asked.txt", task)
    if "slow" in task:
        time.sleep(0.4)
    if company := re.match(r"meet \d+", task):
        until(lambda: sum(line.startswith(company[0]) for line in lines(folder / "asked.txt")) >= int(company[0][5:]))
    while re.search(r"\bgate\b", task) and not (folder / "open").exists():
        check_cancelled()
        time.sleep(0.02)
    if "fail" in task and len([line for line in lines(folder / "asked.txt") if line == task]) <= _failures(task):
        raise EngineError(f"no engine for: {task}")
    if "nobody" in task:
        return Draft(text="", found=False, reason="nothing in its documents answers this")
    if work.card.name == "figures":
        return Draft(text="6\n2.5", found=True, data=ROWS, probability=0.9)
    quote = f"about {task}{''.join(f' ({fact})' for fact in work.brief.facts)}"
    citation = Citation(source=f"{work.card.name}.pdf", quote=quote, start=0, end=len(quote), page=2)
    return Draft(text=quote, found=True, citations=(citation,), probability=0.9)


def _failures(task: str) -> int:
    """`fail 2` fails twice and then works; `fail` always fails."""
    match = re.search(r"fail (\d+)", task)
    return int(match[1]) if match else 1_000_000


RULE = Style("rule", by_rule, abstain_below=0.0)


def open_office(folder: Path, *, checkpoints: str = "sqlite", **more: Any) -> Team:
    """The team, which keeps what it keeps in `folder`.

    Args:
        checkpoints: Where its runs are kept.
        more: Other fields of its card.
    """
    style = "metier.tests.workflow_team:RULE"
    cards = [
        SpecialistCard(name="figures", description="The figures of the plant.", style=style, instructions=str(folder)),
        SpecialistCard(name="manuals", description="The manuals of the plant.", style=style, instructions=str(folder)),
        card("clerk"),
    ]
    team = TeamCard(
        name="office",
        specialists=[one.name for one in cards],
        router=RouterCard(log=False),
        memory=MemoryCard(checkpoints=checkpoints, facts="none"),
        **{"guardrails": ["injection"], "abstain_below": 0.1, **more},
    )
    plan = Blueprint.of(team, cards, folder)
    router = ByName(team.specialists, lambda what: None)
    return Team.load(plan, engine=ScriptedEngine(planned), embedder=NoMeaning(), router=router)
