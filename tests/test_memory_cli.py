"""`metier memory`, and that nothing is left of what it erases."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from metier.agents.assemble import decisions
from metier.agents.build import build
from metier.agents.cards import Blueprint
from metier.agents.erasure import Scope, erase, export
from metier.agents.team import Team
from metier.core.errors import StateError
from metier.memory.store import Owner
from metier.serving.project import init_team

ANNA, BEN = Owner("anna", "acme"), Owner("ben", "acme")


@pytest.fixture(scope="module")
def used(office, tmp_path_factory, models) -> Path:
    """A team that Anna and Ben have talked with."""
    folder = Path(shutil.copytree(office, tmp_path_factory.mktemp("used") / "office"))
    with Team.load(folder, store=models) as team:
        team.ask("My bike is a Zorvex and I keep it in Quibbleton.", user="anna", tenant="acme", thread_id="a1")
        team.ask("Is the Zorvex insured on a business trip?", user="anna", tenant="acme", thread_id="a1")
        team.ask("Where do I keep my bike?", user="anna", tenant="acme", thread_id="a2")
        team.ask("How do I charge my Glimmerbox?", user="anna", tenant="acme")
        team.feedback("correction", "Quibbleton only", thread_id="a1", specialist="travel")
        team.ask("My car is a Wimblat.", user="ben", tenant="acme", thread_id="b1")
        team.ask("Which network do guests use?", user="ben", tenant="acme", thread_id="b1")
        assert team.facts is not None
        team.facts.add("The Frobnik machine is on floor two.", Owner(None, "acme"))
        team.facts.add("My Snorkwort is at home.", ANNA, "travel")
    log = decisions(Blueprint.read(folder))
    log.correct(next(d.id for d in log.decisions() if "Glimmerbox" in d.text), "travel")
    build(Blueprint.read(folder), store=models)
    return folder


@pytest.fixture
def theirs(used, tmp_path) -> Path:
    """The used team for one test."""
    return Path(shutil.copytree(used, tmp_path / "office"))


def traces(folder: Path, *words: str) -> dict[str, list[str]]:
    """Words to the files of the team's state in whose bytes they stand."""
    files = {path.name: path.read_bytes().lower() for path in (folder / ".metier").rglob("*") if path.is_file()}
    return {word: sorted(n for n, data in files.items() if word.lower().encode() in data) for word in words}


SECRETS = ("Zorvex", "Quibbleton", "Glimmerbox", "Snorkwort", "anna")


def test_the_words_are_where_they_are_expected_before(used):
    found = traces(used, *SECRETS)
    assert {"facts.sqlite", "threads.sqlite", "decisions.jsonl"} <= {f.removesuffix("-wal") for f in found["Zorvex"]}
    assert "router.json" in found["Glimmerbox"], "the router has learnt from the correction"


def test_erasing_a_user_leaves_no_trace_and_nobody_else_is_touched(theirs, models):
    erased = erase(Blueprint.read(theirs), Scope(ANNA))
    assert erased.facts == 2
    assert (erased.threads, erased.decisions, erased.notes, erased.router_fitted) == (3, 4, 1, True)
    assert traces(theirs, *SECRETS) == {word: [] for word in SECRETS}
    kept = traces(theirs, "Wimblat", "Frobnik")
    assert kept["Wimblat"]
    assert kept["Frobnik"]
    with Team.load(theirs, store=models) as team:
        assert "Wimblat" in team.ask("What is my car?", user="ben", tenant="acme", thread_id="b1").text


def test_erasing_a_thread(theirs):
    erased = erase(Blueprint.read(theirs), Scope(thread="a1"))
    assert (erased.facts, erased.threads, erased.decisions) == (1, 1, 2)
    left = traces(theirs, "insured on a business trip", "Glimmerbox")
    assert left["insured on a business trip"] == []
    assert left["Glimmerbox"]


def test_erasing_everything(theirs):
    erase(Blueprint.read(theirs), Scope())
    words = (*SECRETS, "Wimblat", "Frobnik", "guests use?")
    assert traces(theirs, *words) == {word: [] for word in words}


def test_erasing_twice_and_erasing_nobody_is_no_error(theirs):
    plan = Blueprint.read(theirs)
    erase(plan, Scope(ANNA))
    again = erase(plan, Scope(ANNA))
    assert (again.facts, again.threads, again.decisions, again.router_fitted) == (0, 0, 0, False)
    assert erase(plan, Scope(Owner("nobody"))).facts == 0


def test_a_team_in_use_is_not_called_erased(theirs, models):
    with Team.load(theirs, store=models) as team:
        assert team.facts
        stream = team.facts.store.database.transaction()
        with stream as execute:
            execute("SELECT * FROM facts")
            with pytest.raises(StateError, match=r"facts\.sqlite"):
                erase(Blueprint.read(theirs), Scope(ANNA))


def test_an_export_is_complete(used):
    kept = export(Blueprint.read(used), Scope(ANNA))
    assert {fact.text for fact in kept.facts} >= {
        "My bike is a Zorvex and I keep it in Quibbleton.",
        "My Snorkwort is at home.",
    }
    threads = {thread.id: thread for thread in kept.threads}
    assert {"a1", "a2"} < set(threads)
    assert [m.text for m in threads["a1"].messages if m.role == "user"] == [
        "My bike is a Zorvex and I keep it in Quibbleton.",
        "Is the Zorvex insured on a business trip?",
    ]
    assert all(m.answer for m in threads["a1"].messages if m.role == "assistant")
    assert {d.text for d in kept.decisions} >= {"Where do I keep my bike?", "How do I charge my Glimmerbox?"}
    assert [note.correction for note in kept.notes] == ["Quibbleton only"]
    assert "Wimblat" not in kept.model_dump_json()
    everything = export(Blueprint.read(used), Scope())
    assert "Wimblat" in everything.model_dump_json()
    assert "Frobnik" in everything.model_dump_json()


def test_show_add_forget(run, copy):
    code, out, _ = run("memory", "show", "-t", copy)
    assert (code, out.strip()) == (0, "nothing is remembered")
    code, out, _ = run("memory", "add", "-t", copy, "--json", "My bike is a [red] Zorvex.")
    added = json.loads(out)
    assert (code, added["how"], added["user"]) == (0, "added", "me")
    assert run("memory", "add", "-t", copy, "--everybody", "The office opens at six.")[0] == 0
    assert run("memory", "add", "-t", copy, "--user", "ben", "-s", "travel", "I fly at night.")[0] == 0
    code, out, _ = run("memory", "show", "-t", copy)
    assert "[red] Zorvex" in out
    assert "office opens" not in out
    assert "I fly" not in out
    assert "office opens" in run("memory", "show", "-t", copy, "--everybody")[1]
    (bens,) = json.loads(run("memory", "show", "-t", copy, "-u", "ben", "--json")[1])
    assert bens["specialist"] == "travel"
    code, _, err = run("memory", "forget", "-t", copy, bens["id"])
    assert code == 2, "Ben's fact is not the caller's"
    assert "unknown fact" in err
    code, out, _ = run("memory", "forget", "-t", copy, added["id"])
    assert (code, out) == (0, "forgotten: 1\n")
    assert run("memory", "show", "-t", copy)[1].strip() == "nothing is remembered"


def test_what_is_said_on_the_command_line_is_remembered_and_erased(run, copy, tmp_path):
    code, out, _ = run("ask", "-t", copy, "--user", "carla", "My locker is number 4711.")
    assert (code, "Noted." in out) == (0, True)
    code, out, _ = run("ask", "-t", copy, "--user", "carla", "--json", "What is the number of my locker?")
    assert (code, json.loads(out)["citations"][0]["source"]) == (0, "memory")
    code, out, _ = run("memory", "export", "-t", copy, "--user", "carla")
    assert len(json.loads(out)["facts"]) == 1
    target = tmp_path / "out.json"
    assert run("memory", "export", "-t", copy, "--all", "-o", target)[:2] == (0, "")
    assert json.loads(target.read_text())["threads"]
    code, out, _ = run("memory", "erase", "-t", copy, "--user", "carla", "--yes", "--json")
    assert (code, json.loads(out)["facts"]) == (0, 1)
    assert traces(copy, "4711", "carla") == {"4711": [], "carla": []}


def test_erase_asks_first(run, used):
    before = traces(used, *SECRETS)
    code, _, err = run("memory", "erase", "-t", used, "--user", "anna", "--tenant", "acme", stdin="n\n")
    assert code == 1
    assert "user 'anna'" in err
    assert traces(used, *SECRETS) == before


@pytest.mark.parametrize("words", [(), ("--all", "--user", "anna"), ("--tenant", "acme")])
@pytest.mark.parametrize("command", ["erase", "export"])
def test_it_must_be_said_whose(run, used, command, words):
    code, _, err = run("memory", command, "-t", used, *words, *(["--yes"] if command == "erase" else []))
    assert code == 2
    assert "say whose" in err


@pytest.mark.parametrize(
    "words", [("add", ""), ("add", "x" * 5000), ("add", "-s", "nobody", "A fact."), ("forget", "x")]
)
def test_bad_input_is_said_in_words(run, office, words):
    code, _, err = run("memory", words[0], "-t", office, *words[1:])
    assert code == 2
    assert "Traceback" not in err


def test_a_team_without_memory_says_so(run, tmp_path):
    init_team(tmp_path / "office")
    card = tmp_path / "office" / "team.yaml"
    card.write_text(card.read_text() + "\nmemory: {facts: none}\n")
    code, _, err = run("memory", "show", "-t", tmp_path / "office")
    assert code == 1
    assert "facts: sqlite" in err


def test_an_address_in_a_variable_that_is_not_set(run, tmp_path):
    init_team(tmp_path / "office")
    card = tmp_path / "office" / "team.yaml"
    card.write_text(card.read_text() + '\nmemory: {facts: "env:NO_SUCH_VARIABLE"}\n')
    code, _, err = run("memory", "show", "-t", tmp_path / "office")
    assert code == 2
    assert "NO_SUCH_VARIABLE" in err
