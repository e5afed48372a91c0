"""Label heads in a team: fitted and compared when it is built, used where they do better, made again on a change."""

from __future__ import annotations

import json
from pathlib import Path

from metier.agents.assemble import Comparison, classifier_in_use
from metier.agents.build import build
from metier.agents.cards import Blueprint
from metier.agents.team import Team
from metier.core.models import ModelStore

# Labels that say nothing: only examples tell what they mean.
DESKS = {
    "desk_a": "water drips from the {}; a pipe at {} burst; the drain by the {} is blocked; the tap of the {} leaks",
    "desk_b": "the lamp in the {} is dark; a fuse for the {} blew; the socket by the {} sparks; no current in the {}",
}
PLACES = ("kitchen", "hall", "office")
CARD = """
name: desk
description: Says which desk a report of the house goes to.
style: label
labels: [desk_a, desk_b]
examples: [examples.jsonl]
"""


def house(folder: Path) -> Blueprint:
    (folder / "desk").mkdir(parents=True)
    (folder / "team.yaml").write_text("name: house\ndescription: Reports of a house.\nspecialists: [desk]\n")
    (folder / "desk" / "specialist.yaml").write_text(CARD)
    reports = [(text, label) for label, texts in DESKS.items() for text in texts.split("; ")]
    rows = [{"input": text.format(place), "answer": label} for place in PLACES for text, label in reports]
    (folder / "desk" / "examples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return Blueprint.read(folder)


def test_a_head_that_does_better_is_used(tmp_path: Path, models: ModelStore) -> None:
    plan = house(tmp_path)
    build(plan, store=models)
    record = plan.state / "heads" / "desk.json"
    found = Comparison.model_validate_json(record.read_bytes())
    assert found.head > found.model
    assert classifier_in_use(plan, "desk") is not None
    with Team.load(plan, store=models) as team:
        answer = team.ask("the pipe in the cellar drips", specialist="desk")
        version = team.specialists["desk"].version
    assert (answer.text, answer.kind) == ("desk_a", "answer")
    assert answer.usage.calls == 0
    written = record.stat().st_mtime_ns
    build(plan, store=models)
    assert record.stat().st_mtime_ns == written
    record.write_text(found.model_copy(update={"model": 1.0}).model_dump_json())
    assert classifier_in_use(plan, "desk") is None
    with Team.load(plan, store=models) as team:
        assert team.ask("the pipe in the cellar drips", specialist="desk").usage.calls == 1
        assert team.specialists["desk"].version != version
