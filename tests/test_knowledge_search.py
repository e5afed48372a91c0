"""What a search gives to read: whole lists, neighbours as one, and right words for misspelt ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from metier.core.errors import KnowledgeError
from metier.core.spelling import Spelling, save_words, saved_words
from metier.specialists.card import KnowledgeCard
from metier.specialists.knowledge import Knowledge
from metier.specialists.knowledge.citation import cite

STEPS = [
    "Switch the lathe off and wait until the chuck stands still.",
    "Open the guard and take the old belt from both pulleys.",
    "Clean the grooves of the pulleys with a dry brush.",
    "Lay the new belt first over the small pulley, then over the large one.",
    "Turn the chuck by hand until the belt runs in the middle.",
    "Tighten the motor bracket until the belt gives way by one finger.",
    "Close the guard and let the lathe run empty for two minutes.",
]
FILLER = "The lathe stands in hall two and belongs to the toolmakers, who keep its log book in the drawer. " * 3


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory, embedder) -> Iterator[Knowledge]:
    folder = tmp_path_factory.mktemp("lathe")
    numbered = "\n".join(f"{n}. {step}" for n, step in enumerate(STEPS, 1))
    with_code = "\n\n".join(f"{n}. {step}\n\n       spindle --step {n}" for n, step in enumerate(STEPS, 1))
    (folder / "belt.md").write_text(f"# Lathe\n\n{FILLER}\n\n## Changing the belt\n\nDo this:\n\n{numbered}\n")
    (folder / "code.md").write_text(f"# Simulator\n\n## Belt in the simulator\n\nEnter:\n\n{with_code}\n")
    (folder / "saw.md").write_text(
        "# Saw\n\nHow the saw is kept.\n\n## Oil\n\nIt is oiled in May.\n\n## Teeth\n\nFile them.\n"
    )
    rows = "\n".join(f"| A{n} | shelf {n} | {n * 7} pieces of brass |" for n in range(40))
    (folder / "parts.md").write_text(f"# Parts\n\n| part | place | left |\n|---|---|---|\n{rows}\n")
    (folder / "long.txt").write_text("The siren howls twice at noon, and whoever hears it leaves by the east "
        "door, but in May it is only tested. " + FILLER * 2)  # fmt: skip
    opened = Knowledge.build([folder], folder / "index", embedder, KnowledgeCard(passage_tokens=64))
    yield opened
    opened.close()


@pytest.mark.parametrize("name", ["belt.md", "code.md"])
def test_steps_are_given_whole_with_the_line_that_announces_them(knowledge, name):
    question = "In which order do I change the belt of the lathe?" if name == "belt.md" else "belt in the simulator"
    best = next(p for p in knowledge.search(question, 3) if p.source == name)
    assert all(step in best.text for step in STEPS[:5])
    assert best.text.startswith(("Do this:", "Enter:"))


def test_what_is_joined_is_a_passage_like_any_other(knowledge):
    for passage in knowledge.search("In which order do I change the belt of the lathe?", 3):
        assert knowledge.text(passage.source)[passage.start : passage.end] == passage.text
        assert knowledge.passage(passage.id).text == passage.text
        quote = " ".join(passage.text.split()[:12])
        citation = cite(quote, [passage])
        assert citation is not None
        assert knowledge.text(passage.source)[citation.start : citation.end].split() == quote.split()


def test_no_passage_is_given_twice(knowledge):
    found = knowledge.search("lathe belt guard pulley", 8)
    spans = [(p.source, p.start, p.end) for p in found]
    assert not [(a, b) for a in spans for b in spans if a != b and a[0] == b[0] and a[1] < b[2] and b[1] < a[2]]


def test_joined_passages_are_at_most_twice_as_long(knowledge):
    found = knowledge.search("lathe belt guard pulley", 8)
    assert max(len(p.text) for p in found) <= 2 * 64 * 5


def test_rows_of_tables_are_not_joined_for_nothing(knowledge):
    assert [p for p in knowledge.search("Where is part A17?", 1) if "-" in p.id.rpartition("#")[2]] == []


def test_a_line_above_subsections_is_read_with_the_first(knowledge):
    best = knowledge.search("How is the saw kept?", 1)[0]
    assert "oiled in May" in best.text


@pytest.mark.parametrize(
    "name", ["belt.md#0-99", "belt.md#2-1", "belt.md#x", "belt.md#", "belt.md#0-", "nothing.md#0-1"]
)
def test_ids_that_name_nothing(knowledge, name):
    with pytest.raises(KnowledgeError):
        knowledge.passage(name)


# Typing errors


class English:
    """It knows three words."""

    def has_word(self, word: str) -> bool:
        return word in {"vacation", "stock", "contract"}


@pytest.fixture(scope="module")
def spelling(tmp_path_factory) -> Spelling:
    folder = tmp_path_factory.mktemp("words")
    save_words(["Lubricate the bearing monthly. The action of the pump; the clock and the contact."] * 2, folder)
    return Spelling(lambda: saved_words(folder), English())


@pytest.mark.parametrize(
    ("question", "mended"),
    [
        ("When is the baering lubricatd?", "When is the bearing lubricate?"),
        ("the lubricatte of the bearing", "the lubricate of the bearing"),
        ("the montly action", "the monthly action"),
        ("the ction of the pump", "the action of the pump"),
        ("the vacation and the contract", "the vacation and the contract"),
        ("the PUMPP and the P-101a", "the PUMPP and the P-101a"),
        ("Wie oft wird das Bearring geschmiert?", "Wie oft wird das Bearring geschmiert?"),
        ("轴承多久润滑？", "轴承多久润滑？"),
        ("", ""),
    ],
)
def test_typing_errors_are_put_right_by_the_words_of_the_documents(spelling, question, mended):
    assert spelling.mend(question) == mended


def test_an_index_without_a_list_of_words_mends_nothing(tmp_path):
    assert Spelling(lambda: saved_words(tmp_path), English()).mend("the baering") == "the baering"


def test_misspelt_questions_find_what_is_meant(knowledge):
    found = knowledge.search("what must i do with the grovees of the pullleys befor a new bellt", 1)[0]
    assert "Clean the grooves" in found.text


def test_an_index_of_an_older_build_has_no_list_of_words_and_is_searched_all_the_same(knowledge, tmp_path, embedder):
    folder = tmp_path / "old"
    shutil.copytree(knowledge._store, folder)
    next(folder.rglob("words.txt")).unlink()
    older = Knowledge.open(folder, embedder)
    assert "grooves" in older.search("clean the grooves of the pulleys", 1)[0].text
    older.close()
