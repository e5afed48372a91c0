"""Long-term memory: what is noted, updated, recalled, forgotten and erased, and who sees it."""

from __future__ import annotations

import random
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.core.errors import ConfigError, InputError
from metier.core.text import sentences
from metier.memory.fact_rules import asks, attribute, extract_facts, statements
from metier.memory.facts import Facts
from metier.memory.open import open_facts
from metier.memory.store import FactStore, Owner, SqliteFacts
from metier.memory.supersession import Supersession

ANNA, BEN = Owner("anna"), Owner("ben")


@pytest.fixture
def facts(tmp_path, embedder):
    opened = open_facts("sqlite", tmp_path, embedder)
    assert opened is not None
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Without an embedder: what needs no recall."""
    return Facts(FactStore(SqliteFacts(tmp_path_factory.mktemp("plain") / "facts.sqlite")))


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ("My name is Anna.", ["My name is Anna."]),
        ("no, my name is Bob", ["my name is Bob"]),
        ("I'm vegan", ["I'm vegan"]),
        ("I live in Porto. my dog is called Rex", ["I live in Porto.", "my dog is called Rex"]),
        ("I see Dr. Lee at 3 p.m. on Fridays.", ["I see Dr. Lee at 3 p.m. on Fridays."]),
        ("I'm allergic to nuts, what can I eat?", ["I'm allergic to nuts"]),
        ("When I'm in town, my family goes hiking.", ["When I'm in town, my family goes hiking."]),
        ("Shopping: buy crayons. Call the vet.", ["Shopping: buy crayons.", "Call the vet."]),
        ("The depot is closed on Mondays.", ["The depot is closed on Mondays."]),
        ("Hey there! Thanks for your help. I ride a Domane.", ["I ride a Domane."]),
        ("How often is the filler greased?", []),
        ("what is my name", []),
        ("Could you tell me where we keep the seals.", []),
        ("The display shows F-112. What should I do?", []),
        ("plot the distribution of visits", []),
        ("grease interval filler", []),
        ("I want to cancel all meetings with Olga.", []),
        ("Forget that I live in Porto.", []),
        ("My password is hunter2.", []),
        ("my PIN: 1234", []),
        ("I understand.", []),
        ("", []),
        ("?!", []),
    ],
)
def test_what_of_a_turn_is_a_statement(turn, said):
    assert statements(turn) == said


@given(st.text(alphabet=st.sampled_from("aI my.?!—,:;“”\n\u2028é1"), max_size=60) | st.text(max_size=60))
def test_any_text_is_cut_into_its_own_words(text):
    found = sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(one in text for one in statements(text))


def test_questions_are_known_with_and_without_their_mark():
    assert asks("what time is it")
    assert asks("Do you know Rex")
    assert asks("You know Rex?")
    assert not asks("What I like most is tea.")
    assert not asks("Doing sports is fun.")


def test_rules_and_extractor():
    turn = (
        "Please remember that gate 3 opens at six. Don't forget: Rex bites. We use Grafana. I slept badly. It rained "
    )
    turn += "all night."
    assert [(f.text, f.how) for f in extract_facts(turn)] == [
        ("gate 3 opens at six.", "said"),
        ("Rex bites.", "said"),
        ("We use Grafana.", "said"),
        ("I slept badly. It rained all night.", "extracted"),
    ]


def test_a_long_turn_becomes_several_facts_and_loses_nothing():
    turn = " ".join(f"I did thing number {n} on that day and it went well." for n in range(60))
    found = extract_facts(turn)
    assert len(found) > 1
    assert all(len(f.text.split()) <= 160 for f in found)
    assert " ".join(f.text for f in found) == turn


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("My name is Anna.", "Call me Ann."),
        ("I live in Porto.", "I moved to Lisbon last week."),
        ("I'm 35 years old.", "I am 36"),
        ("My favourite colour is red.", "my favorite colour is blue"),
        ("My dog's name is Rex.", "My dog’s name is Max."),
        ("I work for Acme.", "I now work at Globex."),
        ("We use Grafana for dashboards.", "We now use Kibana for dashboards."),
    ],
)
def test_of_an_attribute_only_the_last_value_stays(plain, one, other):
    owner = Owner("attribute")
    plain.erase(owner)
    plain.note(one, owner)
    plain.note(other, owner)
    assert [fact.text for fact in plain.of(owner)] == [other]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("My dad is a software engineer.", "My dad is fun."),
        ("I have 2 dogs.", "I have 3 dogs."),
        ("I like tea.", "I do not like tea."),
        ("We use Grafana for dashboards.", "We use Loki for logs."),
        ("My name is Anna.", "My dog's name is Rex."),
        ("I work as a nurse.", "I work at Acme."),
    ],
)
def test_different_facts_stay_beside_each_other(plain, one, other):
    owner = Owner("beside")
    plain.erase(owner)
    plain.note(one, owner)
    plain.note(other, owner)
    assert {fact.text for fact in plain.of(owner)} == {one, other}


def test_an_update_takes_only_its_own_sentence_out_of_a_fact(facts):
    facts.note("I slept badly. I like green tea. It rained all night.", ANNA)
    facts.note("My name is Anna and I ride a Domane.", ANNA)
    facts.note("I like green tea! Call me Ann.", ANNA)
    left = {fact.text for fact in facts.of(ANNA)}
    assert left == {"I slept badly. It rained all night.", "I ride a Domane.", "I like green tea!", "Call me Ann."}


WORDS = [
    "My name is {}.",
    "I live in {}.",
    "I like {}.",
    "We use {} for lunch.",
    "Remember that {} is late.",
    "Why {}?",
]
TURNS = st.builds(str.format, st.sampled_from(WORDS), st.sampled_from(["Ann", "Bea", "Cleo"]))
STEPS = st.lists(
    st.tuples(st.sampled_from(["note", "add", "forget"]), st.sampled_from([ANNA, BEN]), TURNS), max_size=12
)


@settings(max_examples=60)
@given(steps=STEPS)
def test_any_course_of_notes_and_forgetting_ends_like_its_model(plain, steps):
    """The model: an ordered dictionary from attribute, or else the words, to the text."""
    plain.erase()
    model: dict[Owner, dict[str, str]] = {ANNA: {}, BEN: {}}
    for what, owner, turn in steps:
        texts = [turn] if what == "add" else [f.text for f in extract_facts(turn)]
        if what == "forget":
            gone = [fact.id for fact in plain.of(owner) if fact.text in texts]
            assert len(plain.forget(owner, [*gone, "no-such-id"])) == len(gone)
            model[owner] = {key: text for key, text in model[owner].items() if text not in texts}
            continue
        plain.add(turn, owner) if what == "add" else plain.note(turn, owner)
        model[owner].update({attribute(text) or text: text for text in texts})
    for owner, expected in model.items():
        assert sorted(fact.text for fact in plain.of(owner)) == sorted(expected.values())


def test_provenance(facts):
    turn = "I ride a Domane. Which tyres fit?"
    (fact,) = facts.note(turn, ANNA, thread_id="t1")
    assert (fact.thread_id, fact.turn, fact.how, fact.user) == ("t1", turn, "extracted", "anna")
    assert fact.when.endswith("+00:00")
    assert facts.of(ANNA) == [fact]
    added = facts.add("The bike is red.", ANNA, "bikes")
    assert (added.how, added.specialist, added.thread_id) == ("added", "bikes", "")


def test_forgetting_a_fact_takes_its_words_from_the_facts_of_the_same_turn(facts, tmp_path):
    kept, gone = facts.note("My name is Anna. My dog's name is Zorvex.", ANNA)
    assert [fact.id for fact in facts.forget(ANNA, [gone.id])] == [gone.id]
    (left,) = facts.of(ANNA)
    assert (left.id, left.text, left.turn) == (kept.id, "My name is Anna.", "")
    facts.store.database.scrub()
    assert not any(b"Zorvex" in path.read_bytes() for path in tmp_path.iterdir())


def test_recall_finds_what_matters_and_only_that(facts):
    for turn in (
        "My dog's name is Rex.",
        "I work as a nurse in the night shift.",
        "Remember that the spare key is under the blue pot.",
        "Yesterday I repaired the old radio with my sister.",
    ):
        facts.note(turn, ANNA)
    for question, word in (("What is my dog called?", "Rex"), ("Where is the spare key?", "blue pot"),
                           ("Who helped me with the radio?", "sister")):  # fmt: skip
        assert word in facts.recall(question, ANNA)[0].fact.text
    for question in (
        "How often is the filler greased?",
        "Who won the football world cup in 1974?",
        "What is the capital of Peru?",
        "?",
        "",
    ):
        assert facts.recall(question, ANNA) == []


def test_everybody_sees_what_was_added_for_everybody(facts):
    facts.add("The canteen closes at two.", Owner(None))
    assert facts.recall("When does the canteen close?", ANNA)[0].fact.user is None
    assert facts.recall("When does the canteen close?", Owner(None))
    assert not facts.recall("When does the canteen close?", Owner("anna", "other tenant"))


def test_nothing_is_noted_of_nobody(facts):
    assert facts.note("My name is Anna.", Owner(None)) == []
    assert facts.owners() == []


NAMES = [None, "", "_", "a", "a.b", "a%2Eb", "%5F", "a b", "A", "ä", "a@b.org", "a/b", "*", "\ud800"]


@given(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_every_name_has_its_own_namespace(tenant, user, specialist):
    owner = Owner(user, tenant)
    space = owner.namespace(specialist)
    if "\ud800" not in f"{tenant}{user}{specialist}":
        assert Owner.of(space) == (owner, specialist)
    assert space.startswith(owner.prefix)
    assert len(space.split(".")) == 4
    assert all(space.split("."))
    others = [Owner(u, t).prefix for u in NAMES for t in NAMES if (u, t) != (user, tenant)]
    assert not any(space.startswith(other) for other in others)


def test_no_fact_of_another_tenant_or_user_in_any_probe(facts):
    """The same words said by twelve people in four tenants, with names that are alike."""
    users, tenants = ["a", "a.b", "ab"], ["t", "t.a", "ta", "_"]
    owners = [Owner(user, tenant) for user in users for tenant in tenants]
    for n, owner in enumerate(owners):
        facts.note(f"Remember that the size of the gate is {1000 + n}.", owner)
    dice = random.Random(0)
    for _ in range(300):
        n = dice.randrange(len(owners))
        found = facts.recall("What is the size of the gate?", owners[n], least=0.0)
        assert [str(1000 + n) in one.fact.text for one in found] == [True]


def test_facts_expire_after_the_days_of_the_card(tmp_path, embedder):
    now = [0.0]
    facts = Facts(FactStore(SqliteFacts(tmp_path / "f.sqlite"), embedder, days=1, clock=lambda: now[0]))
    facts.note("My name is Anna.", ANNA)
    now[0] = 23 * 3600
    facts.note("I ride a Domane.", ANNA)
    assert facts.recall("What is my name?", ANNA)
    now[0] = 25 * 3600
    assert not facts.recall("What is my name?", ANNA), "being recalled does not make a fact live longer"
    assert [fact.text for fact in facts.of(ANNA)] == ["I ride a Domane."]


def test_erase_of_an_owner_a_thread_and_all(tmp_path, facts):
    def left() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.iterdir())

    facts.note("I ride a Zorvex.", ANNA, thread_id="t1")
    facts.note("I own a Quibblux.", ANNA, thread_id="t2")
    facts.note("I fly a Wimblat.", BEN, thread_id="t2")
    assert all(word in left() for word in (b"Zorvex", b"Quibblux", b"Wimblat"))
    assert facts.erase(ANNA, thread_id="t2") == 1
    assert b"Quibblux" not in left()
    assert b"quibblux" not in left()
    assert facts.erase(ANNA) == 1
    assert b"Zorvex" not in left()
    assert b"zorvex" not in left()
    assert b"Wimblat" in left()
    assert facts.erase(thread_id="t2") == 1
    assert b"Wimblat" not in left()
    assert b"wimblat" not in left()
    assert facts.owners() == []


def test_bad_input(tmp_path, facts):
    for text in ("", "  \n", "x" * 5000):
        with pytest.raises(InputError, match="characters"):
            facts.add(text, ANNA)
    with pytest.raises(ConfigError, match="did you mean 'sqlite'"):
        open_facts("sqlit", tmp_path)
    assert open_facts("none", tmp_path) is None


def test_no_extension_of_sqlite_is_needed(facts, tmp_path):
    facts.note("My name is Anna.", ANNA)
    with sqlite3.connect(tmp_path / "facts.sqlite") as connection:
        kinds = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    assert not [sql for _, _, sql in kinds if sql and "VIRTUAL" in sql]


def test_a_repeated_sentence_counts_once():
    assert [f.text for f in extract_facts("I like tea. I like tea.")] == ["I like tea."]
    assert Supersession(["I like tea!"]).rest_of("I like tea. It rains.") == "It rains."
