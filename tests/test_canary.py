"""A challenger in a running team: whose conversation is whose, what is noted, and when it is stopped or promoted."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from langchain_core.messages import AIMessage

from metier.agents.answer_log import log_records
from metier.agents.build import build
from metier.agents.canary import ERROR, Sample, Trial, Trials, capital, differences, weigh
from metier.agents.cards import Blueprint
from metier.agents.erasure import Scope, erase, export
from metier.agents.team import Team
from metier.core.errors import EngineError, InputError, StateError
from metier.core.models import ModelStore
from metier.memory.store import Owner
from metier.specialists.engines.scripted import Call, ScriptedEngine
from metier.specialists.styles.style import Style
from metier.specialists.work import Draft, Work
from metier.tests.conftest import Run
from metier.tests.desk import served
from metier.tests.patience import until
from metier.tests.test_registry import peft_folder

NAME = "desk"


def tell(work: Work) -> Draft:
    """What the model says, as sure as the number that it says; nothing where it says none."""
    text = work.ask(work.prompt()).text
    return Draft(text=text, found=text != "none", probability=float(text) if text != "none" else None)


TELLS = Style("tells", tell, instruction="Say how sure you are.", abstain_below=0.25)


class TwoMinds(ScriptedEngine):
    """Says one thing with the adapter that is tried and another without it."""

    def __init__(self, adapter: str, new: str, old: str) -> None:
        super().__init__(lambda messages: old, [adapter])
        self.new = new

    def answer(self, call: Call) -> AIMessage:
        message = super().answer(call)
        if call.adapter is None:
            return message
        if self.new == "broken":
            raise EngineError("the adapter is broken")
        return message.model_copy(update={"content": self.new})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, models: ModelStore) -> Path:
    """A team of one, built, whose challenger is a version of the registry."""
    return make_team(tmp_path_factory.mktemp("trial") / "team", models)


def make_team(folder: Path, models: ModelStore, *, more: str = "") -> Path:
    """Write and build it, with `more` lines in team.yaml."""
    (folder / NAME).mkdir(parents=True)
    (folder / "team.yaml").write_text(
        f"name: office\nspecialists: [{NAME}]\nbase: smollm2-135m\nembedder: minilm\nguardrails: []\n"
        f"memory: {{facts: none}}\n{more}"
    )
    (folder / NAME / "specialist.yaml").write_text(
        f"name: {NAME}\ndescription: Answers about the office.\nstyle: metier.tests.test_canary:TELLS\n"
        "examples: [Where is the printer?, When does the office open?, Who has the key of the archive?]\n"
    )
    build(folder, store=models)
    challenge(folder, 1)
    return folder


def challenge(folder: Path, value: int) -> str:
    """Give the specialist a challenger."""
    source = peft_folder(folder.parent / f"adapter-{value}", value)
    config = json.loads((source / "adapter_config.json").read_text())
    (source / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": "smollm2-135m", "target_modules": ["x"]})
    )
    return Blueprint.read(folder).registry.add(NAME, source, {"specialist": NAME}, "a test").id


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "team"))


@pytest.fixture
def trials(folder: Path) -> Iterator[Trials]:
    """As another process sees them."""
    plan = Blueprint.read(folder)
    records = log_records(plan)
    assert records
    yield Trials(plan, records)
    records.close()


Opened = Callable[..., Team]


@pytest.fixture
def open_team(folder: Path, models) -> Iterator[Opened]:
    """Opens the team as a process of its own would: `open_team(new="0.9", old="0.5")` is what both say."""
    version, opened = Blueprint.read(folder).registry.state(NAME).challenger or "", list[Team]()

    def one(new: str = "0.9", old: str = "0.5") -> Team:
        opened.append(Team.load(folder, store=models, engine=TwoMinds(version, new, old)))
        return opened[-1]

    yield one
    for team in opened:
        team.close()


def ask_until(team: Team, done: Callable[[], bool], most: int = 300) -> int:
    """How many questions were asked until it was so."""
    for number in range(most):
        if done():
            return number
        team.ask("Where is the printer?", specialist=NAME, thread_id=f"t{number}")
    raise AssertionError(f"not within {most} questions")


def test_a_conversation_stays_with_one_of_the_two_whoever_serves_it(trials, open_team):
    trial = trials.start(NAME, share=0.3)
    first, second = open_team(new="0.55"), open_team(new="0.55")
    texts = dict[str, set[str]]()
    for team, number in itertools.product([first, second], range(40)):
        answer = team.ask("Where is the printer?", specialist=NAME, thread_id=f"t{number}")
        texts.setdefault(f"t{number}", set()).add(answer.text)
    assert all(len(said) == 1 for said in texts.values())
    new = {thread for thread, said in texts.items() if said == {"0.55"}}
    assert new == {thread for thread in texts if trial.has(thread)}
    assert 0 < len(new) < 40
    assert 0.25 < np.mean([trial.has(f"x{n}") for n in range(3000)]) < 0.35
    seen = trials.status(NAME).evidence
    assert seen.conversations == (len(new), 40 - len(new)), "a conversation counts once"
    assert (seen.challenger, seen.champion) == (pytest.approx(0.55), pytest.approx(0.5))


def test_a_worse_challenger_is_stopped_and_what_was_in_use_goes_on(trials, open_team, folder):
    version = trials.start(NAME, share=0.5).challenger
    team = open_team(new="0.3", old="0.7")
    asked = ask_until(team, lambda: not trials.running())
    assert 10 < asked < 100
    ended = trials.find(NAME)
    assert (ended.ending, ended.challenger) == ("stopped", version)
    assert "0.300 against 0.700" in ended.why
    after = {team.ask("Where is the printer?", specialist=NAME, thread_id=f"a{n}").text for n in range(12)}
    assert after == {"0.7"}, "at once, without a refresh"
    state = Blueprint.read(folder).registry.state(NAME)
    assert state.champion is None
    assert (state.events[-1].did, state.events[-1].version) == ("kept back", version)
    team.refresh()
    assert team.ask("Where is the printer?", specialist=NAME).text == "0.7"
    with team.present() as loaded:
        assert loaded.on_trial == {}


def test_a_better_one_is_promoted_in_all_processes(trials, open_team, folder):
    version = trials.start(NAME, share=0.5).challenger
    first, second = open_team(new="0.8", old="0.4"), open_team(new="0.8", old="0.4")
    people = [threading.Thread(target=ask_until, args=(team, lambda: not trials.running())) for team in (first, second)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert trials.find(NAME).ending == "promoted"
    state = Blueprint.read(folder).registry.state(NAME)
    assert state.champion == version
    assert [event.did for event in state.events] == ["added", "promoted"], "once, whoever found it out"
    assert "canary" in state.events[-1].why
    for team in (first, second):
        assert {team.ask("Where?", specialist=NAME, thread_id=f"b{n}").text for n in range(8)} == {"0.8"}


def test_one_that_is_held_is_not_promoted(trials, open_team, folder):
    trials.start(NAME, share=0.5, hold=True)
    ask_until(open_team(new="0.9", old="0.4"), lambda: not trials.running())
    assert trials.find(NAME).ending == "better"
    assert Blueprint.read(folder).registry.state(NAME).champion is None


def test_thumbs_decide_where_the_answers_look_alike(trials, open_team):
    trial = trials.start(NAME, share=0.5)
    team, number = open_team(new="0.6", old="0.6"), 0
    for number in range(120):
        thread = f"t{number}"
        team.ask("Where is the printer?", specialist=NAME, thread_id=thread)
        if trial.has(thread):
            team.feedback("bad" if number % 2 else "correction", None if number % 2 else "there", thread_id=thread)
        else:
            team.feedback("good", thread_id=thread)
        if not trials.running():
            break
    assert trials.find(NAME).ending == "stopped"
    assert 10 < number < 80


def test_one_conversation_counts_once_however_often_it_complains(trials, open_team):
    trial = trials.start(NAME, share=0.5)
    team = open_team(new="0.6", old="0.6")
    mine = next(f"m{n}" for n in range(99) if trial.has(f"m{n}"))
    theirs = next(f"m{n}" for n in range(99) if not trial.has(f"m{n}"))
    for _ in range(12):
        for thread in (mine, theirs):
            answer = team.ask("Where is the printer?", specialist=NAME, thread_id=thread)
            trials.hear(NAME, answer.run_id, good=thread == theirs)
    status = trials.status(NAME)
    assert status.trial.running
    assert status.evidence.thumbs == (1, 1)


@pytest.mark.parametrize(("new", "worth"), [("broken", 0.0), ("none", 0.25), ("0.1", 0.25)])
def test_what_breaks_is_worth_nothing_and_silence_as_much_as_its_threshold(trials, open_team, new, worth):
    trials.start(NAME, share=0.5)
    ask_until(open_team(new=new, old="0.9"), lambda: not trials.running())
    assert trials.find(NAME).ending == "stopped"
    assert trials.status(NAME).evidence.challenger == pytest.approx(worth)


def test_shadow_answers_are_never_shown_and_compared(trials, open_team):
    trials.start(NAME, share=1.0, shadow=True)
    team = open_team(new="0.9", old="0.5")
    for number in range(5):
        assert team.ask(f"Where is printer {number}?", specialist=NAME, thread_id=f"t{number}").text == "0.5"
        until(lambda number=number: trials.status(NAME).evidence.conversations[0] > number)
    status = trials.status(NAME)
    assert status.trial.running
    assert status.agree == 0.0
    assert [(p.task, p.champion, p.challenger) for p in status.differ][-1] == ("Where is printer 4?", "0.5", "0.9")
    assert status.evidence.better > status.evidence.worse
    trials.stop(NAME)
    team.ask("Where is printer 9?", specialist=NAME, thread_id="t9")
    assert trials.status(NAME).evidence.conversations[0] == 5


def test_a_version_that_cannot_be_loaded_ends_its_trial_and_nothing_else(trials, open_team, folder, models):
    version = trials.start(NAME).challenger
    (folder / "registry" / NAME / version / "adapter_model.safetensors").write_bytes(b"other")
    with Team.load(folder, store=models, engine=ScriptedEngine(lambda messages: "0.5")) as team:
        assert team.ask("Where is the printer?", specialist=NAME).text == "0.5"
    assert trials.find(NAME).ending == "called off"


@pytest.mark.parametrize(
    ("ref", "share", "says"),
    [("challenger", 0.0, "share"), ("challenger", 0.9, "share"), ("champion", 0.1, "champion"), ("ffff", 0.1, "ffff")],
)
def test_what_cannot_be_tried_is_said(trials, ref, share, says):
    with pytest.raises(InputError, match=says):
        trials.start(NAME, ref, share=share)
    assert trials.find(NAME) is None


def test_one_trial_at_a_time(trials):
    with pytest.raises(InputError, match="nobody"):
        trials.start("nobody")
    trials.start(NAME)
    with pytest.raises(StateError, match="already"):
        trials.start(NAME)
    trials.stop(NAME)
    with pytest.raises(StateError, match="no trial"):
        trials.stop(NAME)
    assert trials.start(NAME).running


def test_a_trial_that_tells_nothing_ends(trials, monkeypatch):
    trials.start(NAME)
    month = time.time() + 29 * 86_400
    monkeypatch.setattr(time, "time", lambda: month)
    trials.judge(NAME)
    assert trials.find(NAME).ending == "undecided"


def test_the_commands(run: Run, folder):
    assert run("canary", "status", "-t", folder)[:2] == (0, "no trials\n")
    code, out, err = run("canary", "start", NAME, "-t", folder, "--share", "0.2", "--json")
    assert code == 0, err
    started = Trial.model_validate_json(out)
    assert (started.share, started.ending) == (0.2, "running")
    code, out, _ = run("canary", "status", "-t", folder)
    assert f"{NAME}: {started.challenger}" in out
    assert "20 : 1 decides" in out
    assert run("canary", "start", NAME, "-t", folder).code == 1
    assert run("canary", "stop", NAME, "-t", folder).code == 0
    (ended,) = json.loads(run("canary", "status", NAME, "-t", folder, "--json").out)
    assert ended["trial"]["ending"] == "called off"
    assert run("canary", "start", NAME, "-t", folder, "--share", "2").code == 2
    (folder / "team.yaml").write_text((folder / "team.yaml").read_text() + "router: {log: false}\n")
    code, _, err = run("canary", "start", NAME, "-t", folder)
    assert code == 2
    assert "router: {log: true}" in err


def test_a_running_server_takes_part(trials, open_team):
    team = open_team(new="0.9", old="0.5")
    with served(team) as address:
        trials.start(NAME, share=0.5)

        def noticed() -> bool:
            with team.present() as loaded:
                return bool(loaded.on_trial)

        until(noticed)
        assert address
        texts = {team.ask("Where?", specialist=NAME, thread_id=f"s{n}").text for n in range(40)}
    assert texts == {"0.5", "0.9"}


def test_what_was_noted_is_exported_and_erased_with_its_person(trials, open_team, folder):
    trials.start(NAME, share=1.0, shadow=True)
    team = open_team()
    for user in ("anna", "ben"):
        team.ask(f"Where is the Zorvex of {user}?", specialist=NAME, thread_id=f"of-{user}", user=user)
    until(lambda: trials.status(NAME).evidence.conversations[0] == 2)
    team.close()
    plan = Blueprint.read(folder)
    kept = export(plan, Scope(Owner("anna")))
    assert {"Where is the Zorvex of anna?"} == {body["task"] for body in kept.requests}
    assert len(kept.requests) == 2, "the log of the answer, and the shadow's"
    erase(plan, Scope(Owner("anna")))
    texts = [path.read_bytes() for path in (folder / ".metier").rglob("*") if path.is_file()]
    assert not any(b"Zorvex of anna" in text for text in texts)
    assert any(b"Zorvex of ben" in text for text in texts)


# The test itself.


def test_each_of_the_challengers_is_compared_with_those_before_it():
    told = [Sample(False, 0.5), Sample(False, 0.7), Sample(True, 1.0), Sample(True, 0.2), Sample(False, 0.4)]
    assert differences(told, 0.5) == pytest.approx([0.5, -0.5]), "one each, in their order"
    assert differences(told, 0.1) == pytest.approx([0.4, -0.2]), "the mean of up to nine"
    assert len(differences(told[:2], 0.5)) == 0


def test_a_bet_that_is_right_grows_and_one_that_is_wrong_does_not():
    assert capital(np.array([])) == 1.0
    assert capital(np.full(40, 0.5)) > 1 / ERROR > capital(np.full(5, 0.5))
    assert capital(np.full(40, -0.5)) < 0.1


def test_thumbs_against_it_take_the_proof_down():
    better = [Sample(n % 2 == 0, 0.9 if n % 2 == 0 else 0.5) for n in range(60)]
    against = [Sample(n % 2 == 0, 0.0 if n % 2 == 0 else 1.0) for n in range(60)]
    assert weigh(better, (), 0.5).better > 1 / ERROR
    both = weigh(better, against, 0.5)
    assert both.better < weigh(better, (), 0.5).better / 20
    assert both.worse > 1 / ERROR


def test_two_that_are_alike_are_seldom_told_apart_however_often_one_looks():
    """The promise of `ERROR`: of 300 trials of 400 conversations, looked at after each, at most 5 % end either way."""
    dice = np.random.default_rng(0)
    wrong = {"better": 0, "worse": 0}
    for _ in range(300):
        gains = dice.beta(1.4, 0.6, 200) - dice.beta(1.4, 0.6, 200)
        for name, bet in (("better", gains), ("worse", -gains)):
            wrong[name] += any(capital(bet[:n]) >= 1 / ERROR for n in range(5, 201, 5))
    assert max(wrong.values()) <= 300 * ERROR
