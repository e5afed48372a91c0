"""A whole team on the real small model: build, ask, remember, rebuild, survive."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from metier.agents.assemble import decisions
from metier.agents.build import build, changed_since_build
from metier.agents.cards import Blueprint
from metier.agents.team import Team
from metier.core.errors import ConfigError, StateError
from metier.router.log import route_summary
from metier.serving.project import init_team
from metier.specialists.card import KnowledgeCard, SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine

QUESTION = "Which network do guests use?"


@pytest.fixture(scope="module")
def team(office, models):
    with Team.load(office, store=models) as opened:
        yield opened


def test_an_answer_names_its_specialist_version_source_and_place(team):
    answer = team.ask(QUESTION)
    assert answer.specialist == "helpdesk"
    assert answer.version == team.specialists["helpdesk"].version
    assert answer.route is not None
    assert answer.route.choice == "helpdesk"
    assert {"route", "retrieve", "model", "total"} <= set(answer.timings)
    assert answer.usage.calls == 1
    assert answer.citations, "what is answered is cited"
    for citation in answer.citations:
        text = team.specialists["helpdesk"].knowledge.text(citation.source)
        assert text[citation.start : citation.end] == citation.quote


def test_nobody_answers_what_is_not_theirs(team):
    answer = team.ask("Who won the football world cup in 1974?")
    assert answer.kind == "abstain"
    assert answer.reason


def test_the_caller_may_name_the_specialist_and_only_one_that_exists(team):
    assert team.ask(QUESTION, specialist="travel").route.reason == "named by the caller"
    with pytest.raises(ConfigError, match="did you mean 'travel'"):
        team.ask(QUESTION, specialist="travell")


@pytest.mark.parametrize("task", ["", "   \n", "\x00\x01\x02" * 50, "word " * 200_000])
def test_bad_tasks_are_refused_in_words(team, task):
    answer = team.ask(task)
    assert answer.kind == "abstain"
    assert answer.reason
    assert answer.usage.calls == 0, "the model is not asked"


def test_a_thread_goes_on_after_a_restart(office, models, team):
    team.ask("How long is a password valid in the office?", thread_id="t1")
    with Team.load(office, store=models) as again:
        events = list(again.stream("and for guests?", thread_id="t1"))
    recalled = [e for e in events if e.name == "recall"]
    assert recalled[0].data["query"] == "How long is a password valid in the office? and for guests?"


def test_events_come_in_the_order_of_the_work(team):
    names = [e.name for e in team.stream(QUESTION)]
    assert [n for n in names if n in ("route", "retrieve", "check", "answer")] == [
        "route",
        "retrieve",
        "check",
        "answer",
    ]
    assert names[-1] == "answer"
    assert "token" in names


def test_asynchronous_callers_get_the_same(team):
    async def both():
        return await team.aask(QUESTION), [e async for e in team.astream(QUESTION)]

    answer, events = asyncio.run(both())
    assert answer.text == events[-1].data["text"] == team.ask(QUESTION).text


def test_a_failure_reaches_the_asynchronous_caller(team):
    async def wrong():
        return [e async for e in team.astream(QUESTION, specialist="nobody")]

    with pytest.raises(ConfigError, match="nobody"):
        asyncio.run(wrong())


def test_the_team_is_a_node_of_another_graph(team):
    parent = StateGraph(MessagesState)
    parent.add_node("office", team.graph)
    parent.add_edge(START, "office")
    messages = parent.compile().invoke({"messages": [HumanMessage(QUESTION)]})["messages"]
    assert messages[-1].response_metadata["metier"]["specialist"] == "helpdesk"


def test_building_again_does_nothing(copy, models):
    report = build(Blueprint.read(copy), store=models)
    assert not report.router_fitted
    assert all(not r.added and not r.changed and not r.removed for r in report.knowledge.values())
    assert changed_since_build(Blueprint.read(copy)) == []


def test_what_is_touched_or_copied_has_not_changed(copy):
    documents = copy / "helpdesk" / "documents"
    for path in documents.iterdir():
        os.utime(path, (time.time() + 5, time.time() + 5))
    again = documents / "again.md"
    again.write_bytes((documents / "network.md").read_bytes())
    assert changed_since_build(Blueprint.read(copy)) == []
    again.write_text("Something new.")
    (documents / "network.md").unlink()
    assert changed_since_build(Blueprint.read(copy)) == [
        "helpdesk/documents/network.md",
        "helpdesk/documents/again.md",
    ]


def test_a_changed_document_is_noticed_and_alone_read_again(copy, models):
    path = copy / "helpdesk" / "documents" / "network.md"
    path.write_text(path.read_text() + "\n\nThe tape robot in the cellar is called Gustav.\n")
    os.utime(path, (time.time() + 5, time.time() + 5))
    blueprint = Blueprint.read(copy)
    assert changed_since_build(blueprint) == [os.path.join("helpdesk", "documents", "network.md")]
    report = build(blueprint, store=models)
    assert report.knowledge["helpdesk"].changed == ("helpdesk/documents/network.md",)
    assert not report.router_fitted
    with Team.load(blueprint, store=models) as team:
        knowledge = team.specialists["helpdesk"].knowledge
        assert knowledge is not None
        found = knowledge.search("What is the tape robot called?", k=1)
    assert "Gustav" in found[0].text


def test_versions_follow_what_a_specialist_is_made_of(copy, models):
    blueprint = Blueprint.read(copy)
    with Team.load(blueprint, store=models) as team:
        before = {n: s.version for n, s in team.specialists.items()}
    (copy / "travel" / "documents" / "new.md").write_text("# Bicycles\n\nBicycles are lent at the front desk.\n")
    build(blueprint, store=models)
    with Team.load(blueprint, store=models) as team:
        after = {n: s.version for n, s in team.specialists.items()}
    assert before["travel"] != after["travel"]
    assert before["helpdesk"] == after["helpdesk"]
    with (copy / "helpdesk" / "examples.jsonl").open("a") as file:
        file.write('{"input": "Who lends headsets?"}\n')
    build(blueprint, store=models)
    with Team.load(blueprint, store=models) as team:
        taught = {n: s.version for n, s in team.specialists.items()}
    assert taught["travel"] == after["travel"]
    assert taught["helpdesk"] != after["helpdesk"]


def test_a_team_that_was_never_built_says_so(tmp_path, models):
    init_team(tmp_path / "new")
    with pytest.raises(StateError, match="metier build"):
        Team.load(tmp_path / "new", store=models)


def test_a_killed_build_leaves_the_last_one_usable(copy, models):
    for number in range(300):
        (copy / "travel" / "documents" / f"extra-{number}.md").write_text(f"# Note {number}\n\n" + "Some words. " * 80)
    code = "import sys; from metier.agents.cards import Blueprint; from metier.agents.build import build; "
    code += "build(Blueprint.read(sys.argv[1]), progress=lambda *a: print(*a, flush=True))"
    process = subprocess.Popen([sys.executable, "-c", code, str(copy)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline(), "it is at work"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with Team.load(copy, store=models) as team:
        assert team.ask(QUESTION).specialist == "helpdesk"


def test_a_damaged_manifest_is_a_clear_error(copy, models):
    (copy / ".metier" / "build.json").write_text("{")
    with pytest.raises(StateError, match="--fresh"):
        Team.load(copy, store=models)


def test_a_damaged_thread_file_is_a_clear_error(copy, models):
    for path in (copy / ".metier").glob("threads.sqlite*"):
        path.unlink()
    (copy / ".metier" / "threads.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StateError, match="move that file away"):
        Team.load(copy, store=models)


def test_the_same_team_in_a_few_lines_of_python(tmp_path, models):
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases" / "depot.md").write_text("# Depot\n\nThe lease of the depot ends on 31 March 2031.\n")
    leases = SpecialistCard(
        name="leases",
        description="Answers questions about the leases of our buildings.",
        knowledge=KnowledgeCard(sources=["leases"]),
        examples=["When does the lease of the depot end?", "What is the rent of the office?"],
        abstain_below=0.0,
    )
    with Team.of("desk", leases, folder=tmp_path, base="smollm2-135m") as team:
        answer = team.ask("Until when do we rent the depot?", specialist="leases")
    assert answer.specialist == "leases"
    assert "31 March 2031" in answer.text
    assert [citation.source for citation in answer.citations] == ["leases/depot.md"]


def test_cards_that_do_not_fit_together_are_refused(tmp_path):
    card = SpecialistCard(name="one", description="The first of two.", handoffs=[{"to": "tow"}])  # type: ignore[list-item]
    two = SpecialistCard(name="two", description="The second of two.")
    with pytest.raises(ConfigError, match="did you mean 'two'"):
        Team.of("pair", card, two, folder=tmp_path)
    with pytest.raises(ConfigError, match="two specialists are called two"):
        Team.of("pair", two, two, folder=tmp_path)


def test_every_route_is_kept_and_a_correction_counts_from_the_next_build_on(copy, models):
    task = "Please water the plants in the lobby."
    with Team.load(copy, store=models) as opened:
        assert opened.ask(task).kind == "abstain"
    log = decisions(Blueprint.read(copy))
    kept = list(log.decisions())[-1]
    assert (kept.text, route_summary(kept.route)) == (task, "nobody")
    assert not build(Blueprint.read(copy), store=models).router_fitted
    log.correct(kept.id, "helpdesk")
    assert build(Blueprint.read(copy), store=models).router_fitted
    with Team.load(copy, store=models) as opened:
        assert opened.route(task).choice == "helpdesk"


def test_a_team_takes_an_engine_as_an_object_and_leaves_it_open(tmp_path, models):
    engine = ScriptedEngine(lambda messages: "It arrives on Monday.")
    examples = ["where is my order", "when does order 7 arrive"]
    card = SpecialistCard(name="clerk", description="Answers questions about orders.", style="free", examples=examples)
    with Team.of("shop", card, folder=tmp_path, engine=engine, abstain_below=0.0) as team:
        answer = team.ask(examples[1])
    assert (answer.text, answer.specialist) == ("It arrives on Monday.", "clerk")
    assert len(engine.calls) == 1
    assert engine.chat().invoke("still there?").text == "It arrives on Monday."
