# pyright: reportArgumentType=false
"""A team that goes on while what it is made of is replaced."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import yaml

from metier.agents.build import build
from metier.agents.cards import Blueprint
from metier.agents.loaded import Current
from metier.agents.team import Team
from metier.core.errors import ConfigError, EngineError
from metier.specialists.adapters.exchange import import_adapter
from metier.tests.patience import until
from metier.tests.test_gate import peft_folder

QUESTION = "Which network do guests use?"
NAME = "helpdesk"


class Thing:
    """Something that can be closed, once."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def promote(folder: Path, models, tmp_path: Path, value: float) -> None:
    plan = Blueprint.read(folder)
    version = import_adapter(
        plan.registry, NAME, peft_folder(tmp_path / f"{value}", value), models.find(plan.card.base)
    )
    plan.registry.promote(NAME, version.id, "a test")


def test_what_is_replaced_is_closed_by_its_last_user():
    first, second = Thing(), Thing()
    current = Current(first)
    with current.use() as one, current.use():
        current.replace(second)
        assert one is first
        assert current.thing is second
        with current.use() as two:
            assert two is second
        assert (first.closed, second.closed) == (0, 0)
    assert (first.closed, second.closed) == (1, 0)
    current.close()
    assert (first.closed, second.closed) == (1, 1)


def test_what_nobody_uses_is_closed_at_once_and_what_is_kept_at_the_end():
    first, second, third = Thing(), Thing(), Thing()
    current = Current(first)
    current.replace(second)
    assert first.closed == 1
    assert current.keep() is second
    current.replace(third)
    assert second.closed == 0
    current.close()
    assert (first.closed, second.closed, third.closed) == (1, 1, 1)


def test_a_promoted_adapter_works_without_a_new_start_and_no_task_is_dropped(copy, models, tmp_path):
    with Team.load(copy, store=models) as team:
        before, engine = team.specialists[NAME].version, team.engine
        heard, failures, over = ([], []), [], threading.Event()

        def ask(answers) -> None:
            while not over.is_set():
                try:
                    answers.append(team.ask(QUESTION, specialist=NAME))
                except Exception as error:
                    failures.append(error)

        people = [threading.Thread(target=ask, args=(answers,)) for answers in heard]
        for person in people:
            person.start()
        until(lambda: failures or all(heard))
        promote(copy, models, tmp_path, 0.001)
        changed = team.refresh()
        after = team.specialists[NAME].version
        until(lambda: failures or all(answers[-1].version == after for answers in heard))
        over.set()
        for person in people:
            person.join()
        assert failures == []
        assert changed == (NAME,)
        for answers in heard:
            versions = [a.version for a in answers]
            assert versions == [before] * versions.count(before) + [after] * versions.count(after)
            assert {*versions} == {before, after}
        with pytest.raises(EngineError, match="closed"):  # its last user closed it
            engine.count("a")
        assert team.refresh() == ()


def test_a_task_under_way_is_finished_by_those_who_began_it(copy, models, tmp_path):
    with Team.load(copy, store=models) as team:
        before = team.specialists[NAME].version
        events = team.stream(QUESTION, specialist=NAME, thread_id="t")
        next(events)
        promote(copy, models, tmp_path, 0.002)
        assert team.refresh() == (NAME,)
        *_, last = events
        assert last.data["version"] == before
        again = team.ask("and for employees?", thread_id="t", specialist=NAME)
        assert again.version == team.specialists[NAME].version != before


def test_new_documents_and_cards_are_taken_over(copy, models):
    with Team.load(copy, store=models) as team:
        (copy / "travel" / "documents" / "new.md").write_text("# Bicycles\n\nThe bicycle at the door is called Rosa.\n")
        card = yaml.safe_load((copy / "team.yaml").read_text())
        (copy / "team.yaml").write_text(yaml.safe_dump({**card, "abstain_below": 0.0}))
        build(Blueprint.read(copy), store=models)
        assert "travel" in team.refresh()
        assert team.card.abstain_below == 0.0
        assert "Rosa" in team.ask("What is the bicycle at the door called?", specialist="travel").text


def test_what_cannot_be_taken_over_leaves_the_team_as_it_was(copy, models):
    with Team.load(copy, store=models) as team:
        text = (copy / "team.yaml").read_text()
        card = yaml.safe_load(text)
        (copy / "team.yaml").write_text(yaml.safe_dump({**card, "memory": {"checkpoints": "none"}}))
        with pytest.raises(ConfigError, match="starts anew"):
            team.refresh()
        (copy / "team.yaml").write_text("name: [")
        with pytest.raises(ConfigError):
            team.refresh()
        (copy / "team.yaml").write_text(text)
        assert team.ask(QUESTION, specialist=NAME).specialist == NAME


def test_a_graph_that_was_given_away_stays_usable(copy, models, tmp_path):
    with Team.load(copy, store=models) as team:
        graph = team.graph
        promote(copy, models, tmp_path, 0.003)
        team.refresh()
        assert graph.invoke({"messages": [("user", QUESTION)]})["messages"][-1].text
