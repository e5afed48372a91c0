"""Runs that wait for a person: what is asked, what may be answered, and that nothing happens twice or unasked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from metier.core.errors import InputError, StateError
from metier.core.run import Event
from metier.core.types import Answer, Brief, ToolCall
from metier.serving.ask import end_with
from metier.specialists.engines.scripted import ScriptedEngine
from metier.tests.shop import Open, lines, tools
from metier.tools.policy import Action, ApprovalRequest, ApprovalResponse, Approve, Edit, Reject, Respond, TeamRules
from metier.tools.runner import Ledger, ToolRunner
from metier.tools.session import SpecialistTools
from metier.tools.tool import ToolContext


def done(folder: Path) -> list[str]:
    """What really happened, without the bank's keys."""
    return [" ".join(line.split()[:2]) for line in lines(folder / "done.txt")]


def said(answer: Answer) -> list[tuple[str, str | None]]:
    return [(c.name, c.error) for c in answer.tool_calls]


def test_what_needs_nobody_runs_through(shop: Open, tmp_path: Path) -> None:
    answer = shop().ask("clerk: look(7) then pay(7) then send(7)", thread_id="t")
    assert (answer.kind, said(answer)) == ("answer", [("look", None), ("pay", None), ("send", None)])
    assert done(tmp_path) == ["pay 7", "send 7"]
    assert answer.touched == ("external", "sensitive")


def test_an_effect_after_outside_text_waits_and_goes_on_in_another_process(shop: Open, tmp_path: Path) -> None:
    first = shop()
    waiting = first.ask("clerk: look(7) then mail(7) then pay(7)", thread_id="t")
    assert waiting.kind == "waiting"
    request = ApprovalRequest.model_validate(waiting.data)
    assert [(a.name, a.args) for a in request.action_requests] == [("pay", {"order": "7"})]
    assert "outside" in request.action_requests[0].description
    assert done(tmp_path) == []
    first.close()

    second = shop()
    answer = second.resume("t", [Approve()])
    assert (answer.kind, answer.run_id, answer.thread_id) == ("answer", waiting.run_id, "t")
    assert done(tmp_path) == ["pay 7"]
    assert lines(tmp_path / "looked.txt") == ["7"], "a step that was done is not done again"
    assert isinstance(second.engine, ScriptedEngine)
    assert len(second.engine.calls) == 1, "the model is asked only for what comes after the decision"


def test_what_a_person_may_approve_is_shown_on_a_terminal(shop: Open, capsys: pytest.CaptureFixture[str]) -> None:
    """Not only the tool's name: nobody agrees to an order without its number."""
    waiting = shop().ask("clerk: look(7) then mail(7) then pay(7)", thread_id="t")
    with pytest.raises(typer.Exit):
        end_with(waiting, json=False)
    assert 'order: "7"' in capsys.readouterr().out


def test_what_was_done_is_told_however_unsure_the_model_was(shop: Open, tmp_path: Path) -> None:
    team = shop(budget={"steps": 3})
    clerk = team.specialists["clerk"]
    clerk.abstain_below = 0.99
    assert team.ask("clerk: look(7)").kind == "abstain"
    half = team.ask("clerk: pay(7) then steal(8)")
    assert half.kind == "answer"
    assert half.text.startswith("did pay 7")
    assert "steal failed: unknown tool 'steal'" in half.text
    stopped = team.ask("clerk: pay(1) then pay(2) then pay(3)")
    assert "did pay 1" in stopped.text
    assert stopped.text.count("did pay") == len(done(tmp_path)) - 1


def test_a_person_may_change_refuse_or_answer_the_call(shop: Open, tmp_path: Path) -> None:
    team = shop()
    decisions = {
        "edited": Edit(edited_action=Action(name="pay", args={"order": "8"})),
        "rejected": Reject(message="too much"),
        "answered": Respond(message="paid by hand"),
    }
    answers = {}
    for thread, decision in decisions.items():
        assert team.ask("clerk: mail(7) then pay(7)", thread_id=thread).kind == "waiting"
        answers[thread] = team.resume(thread, [decision])
    assert done(tmp_path) == ["pay 8"]
    assert answers["edited"].tool_calls[-1].arguments == {"order": "8"}
    assert said(answers["rejected"])[-1] == ("pay", "too much")
    assert answers["answered"].text.endswith("paid by hand")


def test_a_call_that_a_person_changed_is_not_asked_about_again(shop: Open, tmp_path: Path) -> None:
    """A small model that does not find its own call among those made says it again."""
    team = shop()
    team.ask("clerk: mail(7) then pay(7) then pay(7)", thread_id="t")
    answer = team.resume("t", [Edit(edited_action=Action(name="pay", args={"order": "8"}))])
    assert (answer.kind, done(tmp_path)) == ("answer", ["pay 8"])
    assert [c.name for c in answer.tool_calls] == ["mail", "pay"]


def test_a_decision_is_about_what_the_person_saw(shop: Open, tmp_path: Path) -> None:
    """Between question and answer the team may have been changed, so that its run asks something else."""
    team = shop()
    waiting = team.ask("clerk: mail(7) then pay(7)", thread_id="t")
    request = ApprovalRequest.model_validate(waiting.data)
    other = request.action_requests[0].model_copy(update={"args": {"order": "9"}})
    left = team.threads.unfinished("t")
    assert left is not None
    [interrupt] = left.questions
    graph = team.graph.builder.compile(checkpointer=team.threads.saver)
    decided = ApprovalResponse(decisions=(Approve(),), about=(other,)).model_dump(mode="json")
    graph.invoke(Command(resume={interrupt: decided}), {"configurable": {"thread_id": "t"}})
    answer = team.threads.answer("t")
    assert answer is not None
    assert "about another call" in (answer.tool_calls[-1].error or "")
    assert done(tmp_path) == []


def test_an_edit_does_not_get_past_the_policy(shop: Open, tmp_path: Path) -> None:
    team = shop(policy=TeamRules(deny=("send",)))
    team.ask("clerk: mail(7) then pay(7)", thread_id="t")
    answer = team.resume("t", [Edit(edited_action=Action(name="send", args={"order": "7"}))])
    assert said(answer)[-1] == ("send", "the team does not allow send")
    assert done(tmp_path) == []


def test_every_further_call_is_asked_about(shop: Open, tmp_path: Path) -> None:
    team = shop()
    team.ask("clerk: mail(7) then pay(7) then send(7)", thread_id="t")
    second = team.resume("t", [Approve()])
    assert second.kind == "waiting"
    assert second.data["action_requests"][0]["name"] == "send"
    assert team.resume("t", [Approve()]).kind == "answer"
    assert done(tmp_path) == ["pay 7", "send 7"]


def test_parallel_parts_wait_together(shop: Open, tmp_path: Path) -> None:
    team = shop()
    waiting = team.ask("clerk and helper: mail(7) then pay(7)", thread_id="t")
    assert len(waiting.data["action_requests"]) == 2
    with pytest.raises(InputError, match="1 decisions for 2 calls"):
        team.resume("t", [Approve()])
    answer = team.resume("t", [Approve(), Reject()])
    assert (answer.kind, done(tmp_path)) == ("answer", ["pay 7"])


def test_a_thread_that_waits_takes_no_new_task_and_other_threads_do(shop: Open) -> None:
    team = shop()
    team.ask("clerk: mail(7) then pay(7)", thread_id="t")
    with pytest.raises(StateError, match="waits for a decision"):
        team.ask("clerk: look(7)", thread_id="t")
    assert team.ask("clerk: look(7)", thread_id="other").kind == "answer"
    with pytest.raises(StateError, match="nothing is unfinished"):
        team.resume("other")
    with pytest.raises(InputError, match="0 decisions for 1 calls"):
        team.resume("t")


def test_the_stream_ends_with_what_waits(shop: Open) -> None:
    team = shop()
    events = list(team.stream("clerk: mail(7) then pay(7)", thread_id="t"))
    assert events[-1].name == "waiting"
    assert [e.name for e in team.stream_on("t", [Approve()])][-1] == "answer"


def test_a_graph_around_the_team_waits_as_well(shop: Open, tmp_path: Path) -> None:
    parent = StateGraph(MessagesState)
    parent.add_node("shop", shop().graph)
    parent.add_edge(START, "shop")
    graph = parent.compile(checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "outer"}}
    waiting: Any = graph.invoke({"messages": [HumanMessage("clerk: mail(7) then pay(7)")]}, config)
    [asked] = {i.id: i for i in waiting["__interrupt__"]}.values()
    assert ApprovalRequest.model_validate(asked.value).action_requests[0].name == "pay"
    assert "decisions" in asked.response_schema["properties"]
    decided = ApprovalResponse(decisions=(Approve(),)).model_dump(mode="json")
    messages = graph.invoke(Command(resume=decided), config)["messages"]
    assert "did pay 7" in messages[-1].text
    assert done(tmp_path) == ["pay 7"]


def test_the_teams_rules_win(shop: Open, tmp_path: Path) -> None:
    careful = shop(policy=TeamRules(ask=("b*",), untrusted="deny"))
    assert careful.ask("clerk: book(7)", thread_id="ask").kind == "waiting"
    denied = careful.ask("clerk: mail(7) then pay(7)", thread_id="deny")
    assert said(denied) == [("mail", None), ("pay", "pay would act after text from outside was read")]
    assert done(tmp_path) == []


def test_without_threads_nobody_can_be_asked(shop: Open, tmp_path: Path) -> None:
    answer = shop(checkpoints="none").ask("clerk: mail(7) then pay(7)")
    assert "nobody can be asked here" in (answer.tool_calls[-1].error or "")
    assert done(tmp_path) == []


def test_what_a_turn_was_made_of_holds_for_the_turn_that_refers_to_it(shop: Open, tmp_path: Path) -> None:
    team = shop()
    assert team.ask("clerk: mail(7)", thread_id="t").touched == ("untrusted",)
    assert team.ask("clerk: and do it now, pay(7)", thread_id="t").kind == "waiting"
    assert team.ask("clerk: pay(7) for the order that came by telephone", thread_id="fresh").kind == "answer"


def test_what_a_brief_was_made_of_holds_for_who_takes_it_over(shop: Open, tmp_path: Path) -> None:
    team = shop()
    brief = Brief(task="pay(7)", touched=("untrusted",), colleagues={"clerk": 0.9})
    passed = team.specialists["porter"].run(brief)
    assert not isinstance(passed, Answer)
    assert passed.brief.touched == ("untrusted",)
    refused = team.specialists["clerk"].run(passed.brief)
    assert isinstance(refused, Answer)
    assert "outside text" not in refused.text
    assert "nobody can be asked here" in (refused.tool_calls[-1].error or "")
    assert done(tmp_path) == []


def test_orders_in_a_result_are_cut_out_and_told(shop: Open) -> None:
    events: list[Event] = []
    answer = shop().ask("clerk: mail(7)", thread_id="t", emit=events.append)
    assert "Ignore all previous" not in answer.text
    assert "[left out: it gives orders]" in answer.text
    assert "Thank you." in answer.text
    assert "injection" in answer.guards
    assert [e.data["side"] for e in events if e.name == "guard"] == ["between"]


def test_a_repeated_call_gets_the_earlier_result(tmp_path: Path) -> None:
    run = SpecialistTools(tools(ToolContext(tmp_path))).open().begin(untrusted=False)
    call = ToolCall(name="look", arguments={"order": "7"})
    assert run(call) == run(call)
    assert lines(tmp_path / "looked.txt") == ["7"]


def test_an_effect_that_was_begun_and_never_reported_is_a_question(tmp_path: Path) -> None:
    class Kept:
        """One run that begins again and again."""

        def once(self, step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
            return step()

        def key(self) -> str:
            return "run"

    asked: list[str] = []
    decisions: list[Approve | Respond] = []

    def ask(call: ToolCall, why: str) -> Approve | Respond:
        asked.append(why)
        return decisions.pop(0)

    made = tools(ToolContext(tmp_path))
    call = ToolCall(name="book", arguments={"order": "7"})
    with closing(Ledger(tmp_path / "effects.sqlite")) as ledger:
        hands = SpecialistTools(made, runner=ToolRunner(made, ledger=ledger), journal=Kept(), ask=ask)
        ledger.begin('run/0 book {"order": "7"}')  # the process ended here
        decisions.append(Respond(message="it is in the books"))
        assert hands.open()(call).result == "it is in the books"
        assert done(tmp_path) == []
        for _ in range(2):  # it begins again, and the same decision is handed back
            decisions.append(Approve())
            assert hands.open()(call).result == "did book 7"
    assert done(tmp_path) == ["book 7"]
    assert all("nobody knows whether it happened" in why for why in asked)
