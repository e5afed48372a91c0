"""What people tell about themselves and take back: each test is one kind that went wrong once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from metier.core.embedding import Embedder
from metier.core.errors import InputError
from metier.memory.facts import Facts
from metier.memory.forgetting import forget_request
from metier.memory.open import open_facts
from metier.memory.persons import whose
from metier.memory.secrets import holds_secret
from metier.memory.store import Fact, Owner
from metier.memory.supersession import Supersession
from metier.memory.times import gone_by, relative

ME = Owner("me")


@pytest.fixture
def facts(tmp_path: Path, embedder: Embedder) -> Iterator[Facts]:
    opened = open_facts("sqlite", tmp_path, embedder)
    assert opened is not None
    yield opened
    opened.close()


def known(facts: Facts) -> list[str]:
    return [fact.text for fact in reversed(facts.of(ME))]


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("I no longer live in Porto.", "I live in Porto."),
        ("I don't eat meat any more.", "I eat meat twice a week."),
        ("I do not drink coffee anymore", "I drink coffee."),
        ("I gave up coffee.", "I drink coffee."),
        ("I drink tea instead of coffee now.", "I drink coffee every morning."),
        ("We use Linux instead of Windows on the line PCs.", "We use Windows on the line PCs."),
        ("I moved from Porto to Lisbon.", "I live in Porto."),
        ("I am no longer a vegetarian", "I'm vegetarian."),
        ("We no longer use Excel for planning.", "We use Excel for the plan."),
        ("My flight is not on Monday but on Tuesday.", "My flight is on Monday."),
        ("My flight is on Tuesday, not Monday.", "My flight is on Monday."),
        ("I sold my car.", "My car is a red Fiat."),
        ("My car is a Volvo now.", "My car is a red Fiat."),
        ("I stopped smoking.", "I smoke ten a day."),
        ("I switched from Firefox to Chrome.", "I use Firefox as my browser."),
        ("I used to work at Acme, now I'm at Bolt.", "I work at Acme as a fitter."),
        ("I can't come on Mondays any longer.", "I can come on Mondays."),
        ("I live in Porto again.", "I no longer live in Porto."),
        ("We replaced the Siemens drive with an ABB one.", "We have a Siemens drive."),
    ],
)
def test_what_is_no_longer_so_goes_and_what_is_said_now_stays(new: str, old: str, facts: Facts) -> None:
    facts.note(old, ME)
    facts.note(new, ME)
    assert known(facts) == [new]


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("I no longer live in Porto.", "My sister lives in Porto."),
        ("My sister no longer lives in Porto.", "I live in Porto."),
        ("I no longer eat meat.", "My wife eats meat."),
        ("We replaced the filter with a new one.", "We clean the filter every Monday morning."),
        ("I drink tea instead of coffee.", "The coffee machine is on floor 3."),
        ("My sister's name is Ann.", "My name is Bea."),
        ("My brother moved to Lisbon.", "I live in Porto."),
        ("My laptop is broken now.", "My laptop is a ThinkPad."),
    ],
)
def test_nothing_else_goes_with_it(new: str, old: str) -> None:
    assert Supersession([new]).rest_of(old) == old


def test_of_a_fact_with_two_halves_only_one_goes() -> None:
    denied = Supersession(["I no longer live in Porto."])
    assert denied.rest_of("I live in Porto and I ride a Domane.") == "I ride a Domane."
    assert denied.rest_of("My name is Ann and I live in Porto.") == "My name is Ann"


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        ("Forget my phone number.", "my phone number"),
        ("Please delete what you know about my car.", "my car"),
        ("Don't remember that my car is a Fiat.", "my car is a Fiat"),
        ("You must not keep my phone number, I want it removed.", "my phone number"),
        ("I don't want you to remember my car.", "my car"),
        ("Could you please forget my address?", "my address"),
        ("Stop remembering my birthday.", "my birthday"),
        ("Remove my email from your memory.", "my email"),
        ("Forget everything you know about me.", ""),
        ("Wipe your memory.", ""),
        ("Don't forget that my name is Anna.", None),
        ("Forget the blue one, which green models do you have?", None),
        ("Forget it.", None),
        ("Delete my order 12.", None),
        ("I don't remember my PIN.", None),
        ("Do not keep the valve open.", None),
    ],
)
def test_whether_and_what_to_forget(request_: str, what: str | None) -> None:
    assert forget_request(request_) == what


@pytest.mark.parametrize(
    ("request_", "left"),
    [
        ("Forget my phone number.", ["My car is a red Fiat.", "My sister's phone number is 99 88."]),
        (
            "Please delete what you know about my car.",
            ["My phone number is 0151.", "My sister's phone number is 99 88."],
        ),
        ("Don't remember my sister's phone number.", ["My phone number is 0151.", "My car is a red Fiat."]),
        ("Forget everything you know about me.", []),
    ],
)
def test_forget_forgets_that_and_only_that(request_: str, left: list[str], facts: Facts) -> None:
    facts.note("My phone number is 0151. My car is a red Fiat. My sister's phone number is 99 88.", ME)
    assert facts.note(request_, ME) == []
    assert sorted(known(facts)) == sorted(left)
    assert all("0151" not in fact.turn for fact in facts.of(ME)) or "My phone number is 0151." in left


def test_what_was_forgotten_is_not_answered_with(facts: Facts) -> None:
    facts.note("My phone number is 0151 2345.", ME)
    facts.note("Forget my phone number.", ME)
    assert facts.quotes("What is my phone number?", ME) == []


def test_other_words_for_the_same_are_understood(facts: Facts) -> None:
    facts.note("I live in Porto. I'm allergic to nuts. I'm on holiday next week.", ME)
    for request_ in ("Forget my address.", "Forget my allergy.", "Forget about my holidays."):
        facts.note(request_, ME)
    assert known(facts) == []


@pytest.mark.parametrize(
    "secret",
    [
        "My password is hunter2.",
        "My pwd: hunter2",
        "I log in with anna / hunter2.",
        "My PIN for the gate is 4711.",
        "My credit card is 4111 1111 1111 1111.",
        "Mein Passwort ist geheim99.",
        "Mi contraseña es gato12",
        "密码是 abc123",
        "My wifi key is abc-def-123.",
        "I use sk-ab12cd34ef56gh78 as the OpenAI key.",
        "Remember that the safe opens with 55-12-80.",
        "Keep in mind the combination of my locker is 12-30-7",
        "Remember: password hunter2",
        "My passcode's 8080.",
        "Note: the door code is 2580",
        "I set my password to correcthorse.",
        "Please remember my PIN. It is 9321.",
        "the database is at postgres://anna:geheim@db.example/x",
        "My API token is abcd.",
        "My login is anna, pass tiger99.",
        "Our bearer token is eyJhbGciOiJIUzI1.eyJzdWIiOiIx.abc",
    ],
)
def test_secrets_are_not_noted_in_any_wording(secret: str, facts: Facts) -> None:
    assert holds_secret(secret)
    facts.note(f"My name is Anna. {secret}", ME)
    for fact in facts.of(ME):
        value = secret.split()[-1].rstrip(".")
        assert value not in fact.text
        assert value not in fact.turn
    with pytest.raises(InputError, match="never kept"):
        facts.add(secret, ME)


@pytest.mark.parametrize(
    "harmless",
    [
        "My password manager is Bitwarden.",
        "My password expires every 90 days.",
        "My phone number is 0151 2345.",
        "My employee number is 44871.",
        "The safe is in room 12.",
        "The gate opens at 6.",
        "My key card does not work.",
        "The part number of the belt is AB-12345-X.",
        "My order number is 4500012345.",
        "I log in at seven.",
    ],
)
def test_what_is_near_a_secret_is_not_one(harmless: str) -> None:
    assert not holds_secret(harmless)


def test_a_secret_that_an_older_metier_noted_is_not_said_back(facts: Facts) -> None:
    old = Fact(id="1", text="My password is hunter2. I work in hall 4.", how="said", when="2026-01-05", user="me")
    facts.store.write(ME, put=[old])
    quotes = facts.quotes("What is my password, and where do I work?", ME)
    assert [quote.text for quote in quotes] == ["I work in hall 4."]


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("What is my phone number?", []),
        ("What is my sister's phone number?", ["My sister's phone number is 555 100."]),
        ("Where do I live?", []),
        ("Where does Ben live?", ["Ben lives in Rome."]),
        ("What am I allergic to?", []),
        ("Who is allergic to nuts?", ["My wife is allergic to nuts."]),
        ("What is my shoe size?", ["My shoe size is 43."]),
    ],
)
def test_a_question_about_one_person_is_not_answered_with_another(question: str, told: list[str], facts: Facts) -> None:
    for said in (
        "My sister's phone number is 555 100.",
        "Remember that Ben lives in Rome.",
        "My wife is allergic to nuts.",
        "My shoe size is 43.",
    ):
        facts.note(said, ME)
    assert [quote.text for quote in facts.quotes(question, ME)] == told
    assert not any("43" in quote.text for quote in facts.quotes("What is my wife's shoe size?", ME))


@pytest.mark.parametrize(
    ("sentence", "who"),
    [
        ("I live in Porto.", ""),
        ("My name's Anna.", ""),
        ("My sister's car is red.", "sister"),
        ("Ben lives in Rome.", "ben"),
        ("My boss Tom hates calls.", "boss"),
        ("The depot is closed on Mondays.", ""),
    ],
)
def test_whom_a_sentence_is_about(sentence: str, who: str) -> None:
    assert whose(sentence) == who


SAID, LATER = date(2026, 3, 2), date(2026, 5, 1)


@pytest.mark.parametrize(
    ("sentence", "over"),
    [
        ("I'm on holiday next week.", True),
        ("I have a dentist appointment tomorrow.", True),
        ("My flight is on 12 March.", True),
        ("My flight is on March 12th.", True),
        ("I am away until Friday.", True),
        ("I'm travelling to Rome in two weeks.", True),
        ("The audit is on 20.03.2026.", True),
        ("I'm on parental leave until April.", True),
        ("I'm booked for the course on 3 April 2026.", True),
        ("My flight is on 12 June.", False),
        ("My flight is on 03.06.2026", False),
        ("My contract ends in 2027.", False),
        ("I retire next year.", False),
        ("My birthday is on 12 March.", False),
        ("I was in Rome in March 2020.", False),
        ("I work from home on Fridays.", False),
        ("I may be late.", False),
        ("I was born on 31 February 1980.", False),
    ],
)
def test_plans_pass_and_what_happened_or_returns_does_not(sentence: str, over: bool) -> None:
    assert gone_by(sentence, SAID, LATER) is over
    assert not gone_by(sentence, SAID, SAID)


def test_what_only_makes_sense_with_its_day_is_known() -> None:
    assert relative("I'm away next week.")
    assert not relative("I'm away on 3 May 2026.")


def test_a_plan_that_is_over_is_quoted_as_such(facts: Facts) -> None:
    said = datetime.now(UTC) - timedelta(days=40)
    old = Fact(id="1", text="I'm on holiday next week.", how="extracted", when=said.isoformat(), user="me")
    facts.store.write(ME, put=[old])
    facts.note("My holiday plans change often.", ME)
    over = {quote.text: quote.passed for quote in facts.quotes("When is my holiday?", ME)}
    assert over["I'm on holiday next week."]
    assert not over.get("My holiday plans change often.", False)
