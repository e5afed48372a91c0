"""What metier says in its own words comes in the language of the question; quotes stay as they are."""

from __future__ import annotations

import json
from pathlib import Path
from string import Formatter

import pytest

from metier import Answer, Brief, Route, Specialist
from metier.agents.composition import compose, composed
from metier.core import language
from metier.core.embedding import Embedder
from metier.core.language import language_of, say, says
from metier.core.types import Part
from metier.specialists.card import KnowledgeCard, SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.knowledge import Knowledge

QUESTIONS = {
    "en": "May I bring my dog into the office?",
    "de": "Darf ich meinen Hund ins Büro mitbringen?",
    "fr": "Puis-je amener mon chien au bureau ?",
    "es": "¿Puedo llevar a mi perro a la oficina?",
    "it": "Posso portare il mio cane in ufficio?",
    "nl": "Mag ik mijn hond meenemen naar kantoor?",
    "pt": "Posso levar o meu cão para o escritório?",
    "pl": "Czy mogę zabrać psa do biura?",
}


@pytest.mark.parametrize(("code", "question"), QUESTIONS.items())
def test_a_question_is_known_by_its_language(code: str, question: str) -> None:
    assert language_of(question) == code
    assert language_of(question.upper() if code == "de" else question.lower()) == code


@pytest.mark.parametrize(
    "text",
    ["", "E17?", "VPN", "guest wifi name", "hotel limit Paris", "LB-2 alarm L-310", "犬を連れて行けますか", "??", "\n"],
)
def test_what_cannot_be_told_is_taken_for_english(text: str) -> None:
    assert language_of(text) == "en"


def test_english_questions_of_a_plant_are_english() -> None:
    plant = Path(language.__file__).parents[1] / "examples" / "plant"
    asked = [json.loads(line)["input"] for file in plant.glob("*/*.jsonl") for line in file.read_text().splitlines()]
    other = [task for task in asked if language_of(task) != "en"]
    assert len(asked) > 300
    assert len(other) <= 0.01 * len(asked), other


def test_every_sentence_is_there_in_every_language_with_the_same_braces() -> None:
    for saying, sentences in language._SAYINGS.items():
        assert set(sentences) == set(QUESTIONS), saying
        fields = {tuple(field for _, field, _, _ in Formatter().parse(text) if field) for text in sentences.values()}
        assert len(fields) == 1, saying


@pytest.mark.parametrize("question", QUESTIONS.values())
def test_doubt_is_known_again_in_every_language(question: str) -> None:
    assert says("doubt", say("doubt", question))
    assert not says("doubt", say("nobody", question))


RULES = "# Rules\n\n## Animals\n\nDogs may come along on Fridays.\n"


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Knowledge:
    folder = tmp_path_factory.mktemp("rules")
    (folder / "rules.md").write_text(RULES)
    return Knowledge.build([folder], folder / "index", embedder, KnowledgeCard(), root=folder)


def asked(knowledge: Knowledge | None, task: str, *script: str, abstain_below: float = 0.0) -> Answer:
    card = SpecialistCard(
        name="rules",
        description="Rules of the office.",
        style="answer",
        knowledge=KnowledgeCard() if knowledge else None,
    )
    answer = Specialist(card, ScriptedEngine(script), knowledge, abstain_below=abstain_below).run(Brief(task=task))
    assert isinstance(answer, Answer)
    return answer


def test_yes_is_said_in_german_and_the_quote_stays(knowledge: Knowledge) -> None:
    answer = asked(knowledge, QUESTIONS["de"], "Yes.\nDogs may come along", "Yes.")
    assert answer.text == "Ja. Dogs may come along on Fridays."


def test_no_is_said_in_polish(knowledge: Knowledge) -> None:
    assert asked(knowledge, QUESTIONS["pl"], "Yes.\nDogs may come along", "No.").text.startswith("Nie. Dogs")


def test_doubt_is_said_in_the_language_of_the_question(knowledge: Knowledge) -> None:
    answer = asked(knowledge, QUESTIONS["fr"], "Dogs", abstain_below=1.0)
    assert answer.kind == "abstain"
    assert answer.evidence
    assert answer.text.startswith("Je ne suis pas sûr.")


def test_nothing_is_said_in_the_language_of_the_question() -> None:
    assert asked(None, QUESTIONS["es"]).text == "No lo sé: nada en los documentos lo responde."
    assert asked(None, QUESTIONS["en"]).text == "I do not know: nothing in its documents answers this."


def test_nobody_and_which_are_said_in_the_language_of_the_question() -> None:
    nobody = compose(Route(decision="abstain"), [], QUESTIONS["de"])
    assert nobody.text == "Das kann in diesem Team niemand beantworten."
    which = compose(Route(decision="clarify", candidates=("travel", "helpdesk")), [], QUESTIONS["it"])
    assert (which.kind, which.text) == ("clarify", "È una domanda per travel o helpdesk?")


def test_what_is_open_is_said_in_the_language_of_its_part(knowledge: Knowledge) -> None:
    doubtful = asked(knowledge, QUESTIONS["de"], "Dogs", abstain_below=1.0)
    text = composed(["Wann öffnet die Kantine", QUESTIONS["de"]], [Answer(text="11:00"), doubtful])
    assert text.splitlines()[1] == f"Hier bin ich nicht sicher: {QUESTIONS['de']}"


def test_a_route_of_parts_keeps_its_texts() -> None:
    route = Route(decision="several", parts=(Part(specialist="a", text="Was ist?"), Part(specialist="b", text="Wer?")))
    assert compose(route, [Answer(text="x"), Answer(text="y")], "Was ist? Wer?").text == "Was ist? x\nWer? y"
