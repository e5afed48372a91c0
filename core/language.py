"""The language of a question, and what metier says in its own words: quotes stay as the documents have them.

Of other languages than these, what is said is said in English.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

from lingua import Language, LanguageDetector, LanguageDetectorBuilder

Saying = Literal["yes", "no", "doubt", "unknown", "nothing", "nobody", "which", "or", "unsure", "open"]
"""What can be said; see `_SAYINGS`."""

_CODES = {
    Language.ENGLISH: "en",
    Language.GERMAN: "de",
    Language.FRENCH: "fr",
    Language.SPANISH: "es",
    Language.ITALIAN: "it",
    Language.DUTCH: "nl",
    Language.PORTUGUESE: "pt",
    Language.POLISH: "pl",
}
_SURE = 0.9
"""Another language than English is only believed from this probability on: names and codes look like many."""
_ENGLISH = re.compile(r"\b(?:the|how|what|where|which|who|when|why|does|and|for|are|I|this|with|from)\b")
"""Words by which English is told without counting letters; none of them is one of the other languages'."""

_SAYINGS: dict[Saying, dict[str, str]] = {
    "yes": dict(en="Yes.", de="Ja.", fr="Oui.", es="Sí.", it="Sì.", nl="Ja.", pt="Sim.", pl="Tak."),
    "no": dict(en="No.", de="Nein.", fr="Non.", es="No.", it="No.", nl="Nee.", pt="Não.", pl="Nie."),
    "doubt": dict(
        en="I am not sure. These passages come nearest; whether they answer it, nobody has confirmed.",
        de="Ich bin nicht sicher. Diese Stellen kommen dem am nächsten; ob sie es beantworten, hat niemand bestätigt.",
        fr="Je ne suis pas sûr. Ces passages s'en approchent le plus ; personne n'a confirmé qu'ils y répondent.",
        es="No estoy seguro. Estos pasajes son los más cercanos; nadie ha confirmado que respondan a la pregunta.",
        it="Non sono sicuro. Questi passi sono i più vicini; nessuno ha confermato che rispondano alla domanda.",
        nl="Ik weet het niet zeker. Deze passages komen het dichtst in de buurt; niemand heeft bevestigd dat ze het "
        "beantwoorden.",
        pt="Não tenho a certeza. Estas passagens são as mais próximas; ninguém confirmou que respondam à pergunta.",
        pl="Nie mam pewności. Te fragmenty są najbliższe; nikt nie potwierdził, że odpowiadają na pytanie.",
    ),
    "unknown": dict(
        en="I do not know: {reason}.",
        de="Ich weiß es nicht: {reason}.",
        fr="Je ne sais pas : {reason}.",
        es="No lo sé: {reason}.",
        it="Non lo so: {reason}.",
        nl="Ik weet het niet: {reason}.",
        pt="Não sei: {reason}.",
        pl="Nie wiem: {reason}.",
    ),
    "nothing": dict(
        en="nothing in its documents answers this",
        de="nichts in den Dokumenten beantwortet das",
        fr="rien dans les documents n'y répond",
        es="nada en los documentos lo responde",
        it="nulla nei documenti risponde a questo",
        nl="niets in de documenten beantwoordt dit",
        pt="nada nos documentos responde a isto",
        pl="nic w dokumentach na to nie odpowiada",
    ),
    "nobody": dict(
        en="Nobody on this team can answer that.",
        de="Das kann in diesem Team niemand beantworten.",
        fr="Personne dans cette équipe ne peut y répondre.",
        es="Nadie de este equipo puede responder a eso.",
        it="Nessuno in questo gruppo può rispondere.",
        nl="Niemand in dit team kan dat beantwoorden.",
        pt="Ninguém nesta equipa pode responder a isso.",
        pl="Nikt w tym zespole nie może na to odpowiedzieć.",
    ),
    "which": dict(
        en="Do you mean something for {names}?",
        de="Ist das etwas für {names}?",
        fr="Est-ce une question pour {names} ?",
        es="¿Es una pregunta para {names}?",
        it="È una domanda per {names}?",
        nl="Is dit iets voor {names}?",
        pt="É uma pergunta para {names}?",
        pl="Czy to pytanie do {names}?",
    ),
    "or": dict(en=" or ", de=" oder ", fr=" ou ", es=" o ", it=" o ", nl=" of ", pt=" ou ", pl=" lub "),
    "unsure": dict(
        en="I am not sure about this: {task}",
        de="Hier bin ich nicht sicher: {task}",
        fr="Je n'en suis pas sûr : {task}",
        es="De esto no estoy seguro: {task}",
        it="Di questo non sono sicuro: {task}",
        nl="Hiervan ben ik niet zeker: {task}",
        pt="Disto não tenho a certeza: {task}",
        pl="Co do tego nie mam pewności: {task}",
    ),
    "open": dict(
        en="Nobody here could answer: {task}",
        de="Das konnte hier niemand beantworten: {task}",
        fr="Personne ici n'a pu répondre : {task}",
        es="Nadie aquí pudo responder: {task}",
        it="Nessuno qui ha potuto rispondere: {task}",
        nl="Niemand hier kon dit beantwoorden: {task}",
        pt="Ninguém aqui pôde responder: {task}",
        pl="Nikt tutaj nie mógł odpowiedzieć: {task}",
    ),
}


@cache
def _detector() -> LanguageDetector:
    # Runs of up to three letters are enough to tell eight languages apart, and take 18 MB instead of 220.
    return LanguageDetectorBuilder.from_languages(*_CODES).with_low_accuracy_mode().build()


def language_of(text: str) -> str:
    """`en`, `de`, `fr`, `es`, `it`, `nl`, `pt` or `pl`; English where it is none of these or cannot be told.

    >>> language_of("Welches Netz benutzen Gäste?"), language_of("guest wifi name"), language_of("E17?")
    ('de', 'en', 'en')
    """
    if _ENGLISH.search(text[:1].lower() + text[1:]):
        return "en"
    best, *_ = _detector().compute_language_confidence_values(text[:500])
    return _CODES[best.language] if best.value >= _SURE else "en"


def say(saying: Saying, like: str, **parts: str) -> str:
    """A sentence of metier's own in the language of a text.

    Args:
        like: The question that it answers.
        parts: What stands in its braces.

    >>> say("yes", "Darf ich meinen Hund mitbringen?")
    'Ja.'
    """
    return _SAYINGS[saying][language_of(like)].format(**parts)


def says(saying: Saying, text: str) -> bool:
    """Does a text begin with this sentence, in any of the languages?"""
    beginnings = (sentence.partition(". ")[0] for sentence in _SAYINGS[saying].values())
    return text.startswith(tuple(beginnings))
