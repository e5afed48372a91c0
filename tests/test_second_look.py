"""The router's examples and the documents are weighed together; of several who look the surest answer counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from metier import Answer, Route, Specialist
from metier.agents.composition import compose
from metier.agents.second_look import Documents
from metier.core.embedding import Embedder
from metier.core.types import Choice, Part
from metier.specialists.card import KnowledgeCard, SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.knowledge import Knowledge

TEXTS = {
    "bees": "# Bees\n\nA hive is fed two kilograms of sugar in autumn. Smoke calms the bees before the lid is lifted.",
    "boats": "# Boats\n\nThe hull is painted with antifouling each spring. The mast is laid down for the winter.",
    "bread": "# Bread\n\nRye dough rests for twelve hours. The crust is sprayed with water to make it shine.",
}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Iterator[Documents]:
    team: dict[str, Specialist] = {}
    for name, text in TEXTS.items():
        folder = tmp_path_factory.mktemp(name)
        (folder / f"{name}.md").write_text(text)
        knowledge = Knowledge.build([folder / f"{name}.md"], folder / "index", embedder, KnowledgeCard(), root=folder)
        card = SpecialistCard(name=name, description=f"Knows all about {name}.", knowledge=KnowledgeCard())
        team[name] = Specialist(card, ScriptedEngine([]), knowledge)
    with ExitStack() as opened:
        for specialist in team.values():
            assert specialist.knowledge
            opened.callback(specialist.knowledge.close)
        yield Documents(team)


def route(decision: str, confidence: float = 0.5, text: str = "", **chances: float) -> Route:
    choices = tuple(Choice(name=n, probability=p) for n, p in sorted(chances.items(), key=lambda item: -item[1]))
    parts = (Part(specialist=choices[0].name, text=text),) if decision == "one" else ()
    return Route.model_validate(
        {
            "decision": decision,
            "choices": choices,
            "parts": parts,
            "confidence": confidence,
            "reason": "from its examples",
        }
    )


def of_bees(text: str) -> Route:
    """What a router says that knows bees alone."""
    return route("one", bees=0.9, bread=0.05) if "hive" in text else route("abstain", bees=0.1, boats=0.1, bread=0.1)


def settled_by(documents: Documents, task: str, whole: Route) -> Route:
    return documents.settle(task, task, whole, of_bees)


def chosen(settled: Route) -> list[str]:
    return [part.specialist for part in settled.parts]


def test_documents_that_speak_of_a_task_outweigh_an_unsure_router(documents: Documents) -> None:
    task = "When is the hull painted with antifouling?"
    settled = settled_by(documents, task, route("one", 0.5, task, bees=0.5, boats=0.3, bread=0.1))
    assert (settled.decision, chosen(settled)) == ("one", ["boats"])
    assert settled.parts[0].text == task


def test_nobody_is_asked_back(documents: Documents) -> None:
    task = "How long does rye dough rest?"
    settled = settled_by(documents, task, route("clarify", 0.3, task, bees=0.3, bread=0.25, boats=0.2))
    assert "bread" in chosen(settled)
    assert settled.decision in ("one", "surest")


def test_what_the_router_turns_away_is_somebodys_when_a_passage_speaks_of_it(documents: Documents) -> None:
    task = "What calms the bees before the lid is lifted?"
    refused = route("abstain", 0.9, task, boats=0.04, bees=0.03, bread=0.03)
    assert chosen(settled_by(documents, task, refused)) == ["bees"]
    foreign = "Who won the world cup in 1990?"
    assert settled_by(documents, foreign, refused) == refused


def test_what_a_rule_decided_and_what_the_router_is_sure_of_stays(documents: Documents) -> None:
    task = "When is the hull painted?"
    for sure in (route("one", 1.0, task, bees=1.0), route("one", 0.97, task, bees=0.97, boats=0.02)):
        assert settled_by(documents, task, sure) == sure


def test_a_task_of_two_fields_is_taken_apart(documents: Documents) -> None:
    task = "How much sugar is a hive fed in autumn, and how long does rye dough rest?"
    settled = settled_by(documents, task, route("one", 0.6, task, bees=0.6, bread=0.2, boats=0.1))
    assert (settled.decision, chosen(settled)) == ("several", ["bees", "bread"])
    assert "sugar" in settled.parts[0].text
    assert "dough" in settled.parts[1].text
    for one in ("How much sugar does a hive need, and how often is smoke blown in?", "What is moved, and why is that?"):
        whole = route("one", 0.6, one, bees=0.6, bread=0.2, boats=0.1)
        assert settled_by(documents, one, whole).decision != "several"


def test_the_surest_answer_counts_and_an_abstention_only_when_there_is_nothing_else() -> None:
    both = Route(decision="surest", parts=(Part(specialist="a", text="x"), Part(specialist="b", text="x")))
    unsure = Answer(text="?", kind="abstain", confidence=0.25)
    answers = [unsure, Answer(text="four", confidence=0.6), Answer(text="five", confidence=0.8)]
    assert compose(both, answers).text == "five"
    assert compose(both, [unsure, unsure]).kind == "abstain"


def test_who_has_no_documents_gains_nothing_by_a_question_in_another_language(documents: Documents) -> None:
    def route(best: str) -> Route:
        choices = (Choice(name=best, probability=0.5), Choice(name="workflow", probability=0.2))
        part = Part(specialist=best, text="")
        return Route(decision="one", parts=(part,), choices=choices, confidence=0.5)

    german = "Was macht man mit dem Deckel, bevor man ihn vom Bienenstock abnimmt?"
    settled = documents.settle(german, german, route("bees"), lambda _: route("bees"))
    assert settled.choice == "bees"
