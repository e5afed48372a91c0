# pyright: reportArgumentType=false
"""The graph with scripted specialists: topology, hand-offs, joins, budgets, threads. No model is needed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from metier.agents.graph import RECURSION_LIMIT, Nodes, compile_graph
from metier.agents.guardrails import Verdict
from metier.core.errors import ConfigError, EngineError
from metier.core.run import Event
from metier.core.types import Answer, Brief, Budget, Choice, Citation, Handoff, Part, Route
from metier.memory.window import SUMMARY_WORDS
from metier.specialists.card import SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.specialist import Specialist


class Scripted:
    """A specialist that does what it is told and keeps the briefs it saw."""

    def __init__(self, name: str, act: Callable[[Brief], Answer | Handoff] | None = None) -> None:
        self.name, self.act, self.briefs = name, act, []

    def run(self, brief, emit):
        self.briefs.append(brief)
        emit(Event(name="check", specialist=self.name))
        if self.act:
            return self.act(brief)
        return Answer(text=f"{self.name} did: {brief.task}", specialist=self.name, confidence=0.9)


class Keyword:
    """A router that goes by names in the text; two names make two parts."""

    def __init__(self, names):
        self.names, self.contexts = names, []

    def route(self, text, *, context=()):
        self.contexts.append(list(context))
        found = [n for n in self.names if re.search(rf"\b{n}\b", text)]
        choices = tuple(Choice(name=n, probability=1 / len(self.names)) for n in self.names)
        if not found:
            return Route(decision="abstain", choices=choices, reason="no name in it")
        parts = tuple(Part(specialist=n, text=text) for n in found)
        return Route(decision="one" if len(parts) == 1 else "several", parts=parts, choices=choices, confidence=0.8)


def let_pass(text, *, citations=()):
    return Verdict(action="pass", text=text)


def make(specialists, *, handoffs=None, guard_in=let_pass, guard_out=let_pass, saver=None, budget=None, window=6):
    named = {s.name if isinstance(s, Scripted) else s.card.name: s for s in specialists}
    nodes = Nodes(
        named, Keyword(list(named)), budget=budget or Budget(), window=window, guard_in=guard_in, guard_out=guard_out
    )
    return compile_graph(nodes, handoffs or {}, name="test", checkpointer=saver)


def ask(graph, text, thread="t"):
    config = {"configurable": {"thread_id": thread}, "recursion_limit": RECURSION_LIMIT}
    return Answer.model_validate(graph.invoke({"messages": [("user", text)]}, config)["answer"])


def hand(to):
    def act(brief):
        rest = brief.budget.model_copy(update={"handoffs": brief.budget.handoffs - 1})
        return Handoff(name=to, brief=brief.model_copy(update={"sender": "x", "budget": rest}))

    return act


def test_one_specialist_answers_and_the_route_is_in_the_answer():
    answer = ask(make([Scripted("alpha"), Scripted("beta")]), "alpha please")
    assert (answer.text, answer.specialist, answer.kind) == ("alpha did: alpha please", "alpha", "answer")
    assert answer.route is not None
    assert answer.route.choice == "alpha"


def test_two_parts_go_to_both_and_come_back_in_order():
    slow_first = [Scripted("alpha"), Scripted("beta")]
    answer = ask(make(slow_first), "beta and alpha")
    assert answer.text == "Beta and alpha: alpha did: beta and alpha\nBeta and alpha: beta did: beta and alpha"
    assert answer.specialist == "alpha, beta"


def test_parallel_parts_share_the_budget():
    workers = [Scripted("alpha"), Scripted("beta")]
    ask(make(workers, budget=Budget(tokens=1000, steps=10)), "alpha beta")
    assert [w.briefs[0].budget.tokens for w in workers] == [500, 500]


def test_nobody_is_asked_when_the_router_abstains():
    workers = [Scripted("alpha")]
    answer = ask(make(workers), "who won the cup?")
    assert (answer.kind, answer.reason, workers[0].briefs) == ("abstain", "no name in it", [])


def test_a_hand_off_is_followed_and_shown():
    graph = make([Scripted("alpha", hand("beta")), Scripted("beta")], handoffs={"alpha": ["beta"]})
    answer = ask(graph, "alpha please")
    assert (answer.specialist, answer.handoffs) == ("beta", ("alpha", "beta"))


def test_a_hand_off_in_one_of_two_parts_still_joins_once():
    graph = make([Scripted("alpha", hand("gamma")), Scripted("beta"), Scripted("gamma")], handoffs={"alpha": ["gamma"]})
    answer = ask(graph, "alpha beta")
    assert answer.text.splitlines() == ["Alpha beta: gamma did: alpha beta", "Alpha beta: beta did: alpha beta"]


def test_hand_offs_cannot_go_round_in_circles():
    graph = make(
        [Scripted("alpha", hand("beta")), Scripted("beta", hand("alpha"))],
        handoffs={"alpha": ["beta"], "beta": ["alpha"]},
    )
    answer = ask(graph, "alpha please")
    assert answer.kind == "abstain"
    assert "alpha → beta → alpha" in answer.reason
    assert answer.text == "Alpha, beta passed this on and nobody finished it."


def test_what_was_found_before_a_task_went_round_is_told_with_its_source():
    quote = Citation(source="manual.md", quote="F-112 is the photo eye", start=0, end=22)

    def note(brief: Brief) -> Handoff:
        noted = brief.model_copy(update={"facts": (quote.quote,), "citations": (quote,)})
        return Handoff(name="beta", brief=noted)

    graph = make(
        [Scripted("alpha", note), Scripted("beta", hand("alpha"))], handoffs={"alpha": ["beta"], "beta": ["alpha"]}
    )
    answer = ask(graph, "alpha please")
    assert answer.kind == "abstain"
    assert "Found on the way: F-112 is the photo eye" in answer.text
    assert answer.evidence == (quote,)


def test_a_failing_specialist_is_an_answer_that_says_so_and_the_other_part_survives():
    def fail(brief):
        raise EngineError("out of memory")

    answer = ask(make([Scripted("alpha", fail), Scripted("beta")]), "alpha beta")
    assert answer.kind == "answer"
    assert "out of memory" in answer.text
    assert "beta did" in answer.text


def test_a_refused_task_reaches_nobody():
    workers = [Scripted("alpha")]

    def refuse(text, *, citations=()):
        return Verdict(action="refuse", text=text, reason="too long", acted={"length": "refused"})

    answer = ask(make(workers, guard_in=refuse), "alpha please")
    assert (answer.kind, answer.text, answer.guards, workers[0].briefs) == (
        "abstain",
        "I cannot work on this: too long.",
        {"length": "refused"},
        [],
    )


def test_a_guard_can_rewrite_what_comes_in_and_goes_out():
    def redact(text, *, citations=()):
        return Verdict(action="redact", text=text.replace("42", "[number]"), acted={"pii": "1 redacted"})

    answer = ask(make([Scripted("alpha")], guard_in=redact, guard_out=redact), "alpha 42")
    assert answer.text == "alpha did: alpha [number]"


def test_a_follow_up_sees_the_turn_before_and_a_new_question_does_not():
    worker = Scripted("alpha")
    graph = make([worker], saver=InMemorySaver())
    ask(graph, "how often is the alpha pump greased every year?")
    ask(graph, "and that alpha one?")
    ask(graph, "who delivers chemicals for alpha in the summer months?")
    first, second, third = worker.briefs
    assert first.window == third.window == ()
    assert [t.text for t in second.window] == [
        "how often is the alpha pump greased every year?",
        "alpha did: how often is the alpha pump greased every year?",
    ]
    assert second.query == "how often is the alpha pump greased every year? and that alpha one?"


FILLER = "Nothing else was reported on that day, the weather was fine and everybody went home early. " * 6
TOLD = {
    "Who greases the pump?": f"{FILLER}The pump is greased by Ana. {FILLER}",
    "Where are the gloves?": "The gloves are in locker 7.",
    "When is the canteen open?": "The canteen is open at noon.",
}


def well_read(messages):
    """The model: what it was told for the questions above, and for any other what an earlier answer in view says."""
    _, _, asked = messages[-1].text.rpartition("Question: alpha: ")
    earlier = re.search("^Earlier answer: (.*)$", messages[-1].text, re.MULTILINE)
    return TOLD.get(asked) or (earlier[1] if earlier else "not found")


def test_a_follow_up_to_a_turn_that_left_the_window_is_answered_from_the_summary():
    card = SpecialistCard(name="alpha", description="Knows the plant well.", style="free")
    engine = ScriptedEngine(well_read)
    graph = make([Specialist(card, engine, abstain_below=0.0)], saver=InMemorySaver(), window=1)
    for asked, told in TOLD.items():
        assert ask(graph, f"alpha: {asked}").text == told.strip()
    state = graph.get_state({"configurable": {"thread_id": "t"}}).values
    assert not any("Ana" in message.text for message in state["messages"]), "the turn has left the window"
    follow_up = "alpha: I asked about the pump at first; is that on Sundays too?"
    answer = ask(graph, follow_up)
    assert "The pump is greased by Ana." in answer.text
    assert len(answer.text.split()) <= SUMMARY_WORDS
    assert ask(graph, follow_up, thread="another").kind == "abstain"
    assert ask(graph, "and what about Sundays, alpha?").text == answer.text, "that was the last exchange"


def test_threads_do_not_see_each_other():
    worker = Scripted("alpha")
    graph = make([worker], saver=InMemorySaver())
    ask(graph, "how often is the alpha pump greased every year?", thread="one")
    ask(graph, "and that alpha one?", thread="two")
    assert worker.briefs[1].window == ()


def test_outcomes_of_the_last_turn_do_not_leak_into_the_next():
    graph = make([Scripted("alpha"), Scripted("beta")], saver=InMemorySaver())
    ask(graph, "alpha and beta")
    assert ask(graph, "only beta please").specialist == "beta"


def test_timings_are_of_this_turn_and_name_the_stages():
    graph = make([Scripted("alpha")], saver=InMemorySaver())
    ask(graph, "alpha one")
    config: RunnableConfig = {"configurable": {"thread_id": "t"}, "recursion_limit": RECURSION_LIMIT}
    timings = graph.invoke({"messages": [("user", "alpha two")]}, config)["timings"]
    assert {"guard_in", "recall", "route", "join", "guard_out", "remember"} <= set(timings)
    assert all(0 <= s < 1 for s in timings.values())


def test_the_team_is_a_node_of_another_graph():
    parent = StateGraph(MessagesState)
    parent.add_node("plant", make([Scripted("alpha")]))
    parent.add_edge(START, "plant")
    messages = parent.compile().invoke({"messages": [HumanMessage("alpha please")]})["messages"]
    assert messages[-1].content == "alpha did: alpha please"
    assert messages[-1].response_metadata["metier"]["specialist"] == "alpha"


def test_a_specialist_may_not_take_the_name_of_a_station():
    with pytest.raises(ConfigError, match="route"):
        make([Scripted("route")])


def test_documents_are_weighed_only_where_memory_has_something():
    weighed = []

    def evidence(task, names):
        weighed.append(task)
        return dict.fromkeys(names, 1.0)

    guard: Any = let_pass
    nodes = Nodes(
        {"alpha": Scripted("alpha")},
        Keyword(["alpha"]),
        budget=Budget(),
        window=6,
        guard_in=guard,
        guard_out=guard,
        evidence=evidence,
    )
    assert ask(compile_graph(nodes, {}, name="test"), "My alpha is green.").specialist == "alpha"
    assert weighed == []


def test_the_router_reads_earlier_tasks_only_with_one_that_refers_to_them():
    router = Keyword(["alpha"])
    guard: Any = let_pass
    nodes = Nodes({"alpha": Scripted("alpha")}, router, budget=Budget(), window=6, guard_in=guard, guard_out=guard)
    graph = compile_graph(nodes, {}, name="test", checkpointer=InMemorySaver())
    for task in ("which oil does alpha take", "and alpha for line 3?", "how many filters does the store of alpha hold"):
        ask(graph, task)
    assert router.contexts == [[], ["which oil does alpha take"], []]
