"""From answers to examples: notes, review, and evaluation questions that nobody may learn from."""

from __future__ import annotations

import json
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.agents.build import build
from metier.agents.cards import Blueprint
from metier.agents.feedback import Inbox, Note, accept, answered_examples, example_file, open_inbox, proposals
from metier.agents.team import Team
from metier.core.errors import ConfigError, InputError, StateError
from metier.specialists.evaluation.questions import leaked
from metier.tests.office import init_tiny

QUESTION = "Which network do guests use?"
HELD_OUT = "How long is a hot work permit good for?"


@pytest.fixture(scope="module")
def asked(tmp_path_factory, models) -> Path:
    """A team that was asked one thing."""
    folder = tmp_path_factory.mktemp("review") / "office"
    init_tiny(folder)
    (folder / "helpdesk" / "held_out.jsonl").write_text(json.dumps({"input": HELD_OUT, "answer": "4 hours"}) + "\n")
    card = folder / "helpdesk" / "specialist.yaml"
    lines = [line for line in card.read_text().splitlines() if not line.startswith("evaluation:")]
    card.write_text("\n".join([*lines, "evaluation: held_out.jsonl"]) + "\n")
    build(Blueprint.read(folder), store=models)
    with Team.load(folder, store=models) as team:
        team.ask(QUESTION, specialist="helpdesk", thread_id="one")
    return folder


@pytest.fixture
def office(asked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(asked, tmp_path / "office"))


def note(task: str, answer: str = "yes", **more: object) -> Note:
    return Note(specialist="helpdesk", task=task, answer=answer, **{"verdict": "good", **more})


def examples(office: Path) -> list[dict]:
    path = example_file(Blueprint.read(office), "helpdesk")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_feedback_is_a_line_of_plain_json_about_the_last_answer(run, office: Path) -> None:
    code, out, _ = run("feedback", "correction", "the network guests", "-t", office)
    assert code == 0
    assert run(*shlex.split(out.partition("next: metier ")[2]), "--json").code == 0, "it names the next command"
    (line,) = (office / ".metier" / "inbox" / "helpdesk.jsonl").read_text().splitlines()
    said = json.loads(line)
    assert (said["task"], said["correction"], said["thread_id"]) == (QUESTION, "the network guests", "one")
    assert said["answer"]
    assert said["version"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["correction"], "goes with the right answer"),
        (["good", "but this too"], "goes with the right answer"),
        (["good", "--specialist", "helpdeks"], "did you mean 'helpdesk'"),
        (["good", "--thread", "two"], "unknown thread 'two'"),
    ],
)
def test_feedback_that_cannot_be_meant_is_refused(run, office: Path, words: list[str], message: str) -> None:
    code, _, err = run("feedback", *words, "-t", office)
    assert code != 0
    assert message in " ".join(err.split())
    assert open_inbox(Blueprint.read(office)).notes("helpdesk") == []


def test_accepted_notes_become_examples_and_leave_the_inbox(run, office: Path) -> None:
    inbox, before = open_inbox(Blueprint.read(office)), examples(office)
    inbox.add(note("May guests print?", "no", verdict="correction", correction="only at the front desk"))
    inbox.add(note("Is there a scanner?", "in room 4"))
    inbox.add(note("Is there a fax?", "in room 9", verdict="bad"))
    code, out, _ = run("examples", "review", "-t", office, "--accept-all", "--json")
    assert code == 0
    assert [d["did"] for d in json.loads(out)] == ["accepted", "accepted", "left"]
    assert examples(office) == [
        *before,
        {"input": "May guests print?", "answer": "only at the front desk"},
        {"input": "Is there a scanner?", "answer": "in room 4"},
    ]
    assert [n.task for n in inbox.notes("helpdesk")] == ["Is there a fax?"]


def test_a_person_accepts_edits_rejects_and_leaves(run, office: Path) -> None:
    inbox, before = open_inbox(Blueprint.read(office)), examples(office)
    for task in ("One?", "Two?", "Three?", "Four?", "Five?"):
        inbox.add(note(task))
    inbox.add(note("Six?", verdict="bad"))
    code, out, _ = run("examples", "review", "-t", office, stdin="a\ne\nno, two\nr\nl\nx\na\nx\na\n")
    assert code == 0
    assert "3 accepted, 1 rejected, 1 left" in " ".join(out.split())
    assert examples(office)[len(before) :] == [
        {"input": "One?", "answer": "yes"},
        {"input": "Two?", "answer": "no, two"},
        {"input": "Five?", "answer": "yes"},
    ]
    assert [n.task for n in inbox.notes("helpdesk")] == ["Four?", "Six?"], "nobody can accept what has no answer"


def test_looking_changes_nothing(run, office: Path) -> None:
    inbox, before = open_inbox(Blueprint.read(office)), examples(office)
    inbox.add(note(HELD_OUT))
    _, out, _ = run("examples", "review", "-t", office, "--json")
    assert "repeats the evaluation question" in json.loads(out)[0]["refused"]
    assert len(inbox.notes("helpdesk")) == 1
    assert examples(office) == before


def test_an_evaluation_question_never_becomes_an_example(run, office: Path, embedder) -> None:
    plan, before = Blueprint.read(office), examples(office)
    for task in (HELD_OUT, "how long is a HOT WORK permit good for", "For how long is a hot work permit valid?"):
        open_inbox(plan).add(note(task))
    for proposal in proposals(plan, "helpdesk", embedder):
        with pytest.raises(InputError, match="repeats the evaluation question"):
            accept(plan, proposal, "4 hours")
    _, out, _ = run("examples", "review", "-t", office, "--accept-all", "--json")
    assert {d["did"] for d in json.loads(out)} == {"rejected"}
    assert examples(office) == before
    assert open_inbox(plan).notes("helpdesk") == []


def test_training_leaves_out_what_slipped_in_by_hand(office: Path, embedder) -> None:
    plan = Blueprint.read(office)
    path = example_file(plan, "helpdesk")
    mine = len(answered_examples(plan, "helpdesk", embedder))
    rows = [{"input": HELD_OUT.upper(), "answer": "4 hours"}, {"input": "Where is room 9?", "answer": "upstairs"}]
    path.write_text(path.read_text() + "".join(json.dumps(row) + "\n" for row in rows))
    assert [r["input"] for r in answered_examples(plan, "helpdesk", embedder)][mine:] == ["Where is room 9?"]


def test_a_task_is_not_learnt_twice(run, office: Path) -> None:
    inbox, before = open_inbox(Blueprint.read(office)), examples(office)
    inbox.add(note(before[0]["input"].upper()))
    inbox.add(note("Is there a scanner?"))
    inbox.add(note("is there a scanner"))
    run("examples", "review", "-t", office, "--accept-all")
    assert len(examples(office)) == len(before) + 1
    assert inbox.notes("helpdesk") == []


def test_a_card_without_an_example_file_says_what_to_write(office: Path, embedder) -> None:
    card = office / "helpdesk" / "specialist.yaml"
    card.write_text(card.read_text().replace("examples.jsonl", "How do I print?"))
    plan = Blueprint.read(office)
    open_inbox(plan).add(note("Is there a scanner?"))
    (proposal,) = proposals(plan, "helpdesk", embedder)
    with pytest.raises(ConfigError, match=r"examples: \[examples.jsonl\]"):
        accept(plan, proposal, "yes")
    assert len(open_inbox(plan).notes("helpdesk")) == 1


def test_numbers_and_codes_tell_questions_apart(embedder) -> None:
    held_out = ["which shelf is the rotary knife for LB-2 on?", "what is the price of bearing 6204"]
    tasks = ["on which shelf is the rotary knife for LB-2", "which shelf is the rotary knife for LB-3 on?",
             "what is the price of bearing 6205"]  # fmt: skip
    assert leaked(tasks, held_out, embedder) == {0: held_out[0]}
    assert leaked([], held_out, embedder) == leaked(tasks, [], embedder) == {}


TEXTS = st.text(min_size=1, max_size=40)


@given(rows=st.lists(st.tuples(TEXTS, TEXTS, st.booleans()), max_size=8))
def test_notes_are_kept_as_they_are_until_they_are_settled(tmp_path_factory, rows: list[tuple[str, str, bool]]) -> None:
    inbox = Inbox(tmp_path_factory.mktemp("inbox"))
    notes = [note(task, answer) for task, answer, _ in rows]
    for one in notes:
        inbox.add(one)
    assert inbox.notes("helpdesk") == notes
    for one, (_, _, gone) in zip(notes, rows, strict=True):
        if gone:
            inbox.settle("helpdesk", one.id)
    assert inbox.notes("helpdesk") == [n for n, (_, _, gone) in zip(notes, rows, strict=True) if not gone]


def test_notes_of_several_at_once_are_all_kept(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: Inbox(tmp_path).add(note(f"task {n}")), range(20)))
    assert len(Inbox(tmp_path).notes("helpdesk")) == 20


def test_a_line_that_is_no_note_is_named(tmp_path: Path) -> None:
    Inbox(tmp_path).add(note("one"))
    with (tmp_path / "helpdesk.jsonl").open("a") as file:
        file.write('{"verdict": "good"}\n')
    with pytest.raises(StateError, match=r"helpdesk.jsonl:2"):
        Inbox(tmp_path).notes("helpdesk")
