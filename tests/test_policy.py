"""The policy: properties that must hold for every run, whatever is called in whatever order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from metier.core.types import ToolCall
from metier.tools.builtin.calculator import calculate
from metier.tools.policy import (
    Action,
    Allow,
    ApprovalRequest,
    ApprovalResponse,
    Approve,
    Ask,
    Deny,
    Edit,
    Effects,
    Policy,
    Respond,
    RunFacts,
    TeamRules,
    call_key,
    decision,
)
from metier.tools.session import SpecialistTools
from metier.tools.tool import effects_of, tool

EFFECTS = [
    Effects(effect=e, untrusted_output=u, sensitive=s)  # type: ignore[arg-type]
    for e in ("read", "write", "external")
    for u in (False, True)
    for s in (False, True)
]
GRANTED = {f"tool{i}": e for i, e in enumerate(EFFECTS)}
CALLS = st.lists(
    st.builds(
        ToolCall, name=st.sampled_from([*GRANTED, "unknown"]), arguments=st.fixed_dictionaries({"n": st.integers(0, 3)})
    ),
    max_size=30,
)
RULES = st.builds(
    TeamRules,
    deny=st.lists(st.sampled_from(["tool1", "tool1*", "tool7"]), max_size=2).map(tuple),
    ask=st.lists(st.sampled_from(["tool2", "tool9"]), max_size=2).map(tuple),
    untrusted=st.sampled_from(["ask", "deny"]),
)


@settings(max_examples=300)
@given(CALLS, RULES)
def test_no_run_gets_all_three_without_a_person(calls: list[ToolCall], rules: TeamRules) -> None:
    policy = Policy(granted=GRANTED, team=rules)
    facts = RunFacts()
    for call in calls:
        before = facts
        if isinstance(policy.decide(call, facts), Allow):
            effects = GRANTED[call.name]
            assert not (before.untrusted and effects.effect != "read"), "untrusted text led to an effect"
            facts = facts.after(call, effects)
        assert not (facts.untrusted and facts.sensitive and facts.external)


@settings(max_examples=200)
@given(CALLS, RULES, st.data())
def test_a_person_can_only_approve_what_is_asked(calls: list[ToolCall], rules: TeamRules, data: st.DataObject) -> None:
    """Denials stay denials; an approval holds for one call, once."""
    policy = Policy(granted=GRANTED, team=rules)
    facts = RunFacts()
    for call in calls:
        first = policy.decide(call, facts)
        approved = facts.approve(call)
        second = policy.decide(call, approved)
        if isinstance(first, Deny):
            assert isinstance(second, Deny)
            continue
        assert isinstance(second, Allow)
        other = data.draw(st.sampled_from(sorted(GRANTED)))
        if other != call.name:
            same = ToolCall(name=other, arguments=call.arguments)
            assert policy.decide(same, approved) == policy.decide(same, facts)
        if isinstance(first, Allow) or data.draw(st.booleans()):
            facts = approved.after(call, GRANTED[call.name])
            assert call_key(call) not in facts.approved


@given(CALLS, RULES)
def test_the_decision_depends_on_nothing_but_its_arguments(calls: list[ToolCall], rules: TeamRules) -> None:
    for call in calls:
        decisions = {Policy(granted=GRANTED, team=rules).decide(call, RunFacts()).model_dump_json() for _ in range(2)}
        assert len(decisions) == 1


@given(CALLS)
def test_more_facts_never_allow_more(calls: list[ToolCall]) -> None:
    policy = Policy(granted=GRANTED)
    order = {"allow": 0, "ask": 1, "deny": 2}
    facts = RunFacts()
    for call in calls:
        grown = facts.after(call, GRANTED.get(call.name, Effects()))
        for name in GRANTED:
            probe = ToolCall(name=name, arguments={"n": 99})
            assert order[policy.decide(probe, facts).outcome] <= order[policy.decide(probe, grown).outcome]
        facts = grown


def test_cards_grant_and_the_team_wins() -> None:
    granted = {"calculate": effects_of(calculate)}
    call = ToolCall(name="calculate", arguments={"expression": "1 + 1"})
    assert Policy(granted=granted).decide(call, RunFacts()) == Allow()
    assert isinstance(Policy().decide(call, RunFacts()), Deny)
    assert isinstance(Policy(granted=granted, team=TeamRules(deny=("calc*",))).decide(call, RunFacts()), Deny)
    assert isinstance(Policy(granted=granted, team=TeamRules(ask=("*",))).decide(call, RunFacts()), Ask)
    denied = Policy(granted=granted).decide(ToolCall(name="calculat"), RunFacts())
    assert isinstance(denied, Deny)
    assert "did you mean 'calculate'" in denied.reason


def test_repeating_a_call_is_stopped_until_something_changes() -> None:
    policy = Policy(granted={"look": Effects(effect="read", untrusted_output=False, sensitive=False),
                             "change": Effects(effect="write", untrusted_output=False, sensitive=False)})  # fmt: skip
    look = ToolCall(name="look", arguments={"a": 1, "b": 2})
    facts = RunFacts().after(look, policy.granted["look"])
    again = ToolCall(name="look", arguments={"b": 2, "a": 1})
    assert isinstance(policy.decide(again, facts), Deny)
    assert isinstance(policy.decide(ToolCall(name="look", arguments={"a": 2}), facts), Allow)
    facts = facts.after(ToolCall(name="change"), policy.granted["change"])
    assert isinstance(policy.decide(again, facts), Allow)


def test_facts_travel_as_json() -> None:
    facts = RunFacts(untrusted=True).after(ToolCall(name="look"), Effects(effect="read"))
    assert RunFacts.model_validate_json(facts.model_dump_json()) == facts


def test_what_a_person_is_asked_and_may_answer() -> None:
    call = ToolCall(name="pay", arguments={"amount": 5})
    asked = ApprovalRequest.of((call, "money leaves"))
    assert asked.model_dump(mode="json") == {
        "action_requests": [{"name": "pay", "args": {"amount": 5}, "description": "money leaves"}],
        "review_configs": [{"action_name": "pay", "allowed_decisions": ["approve", "edit", "reject", "respond"]}],
    }
    answer: dict[str, Any] = {"decisions": [
        {"type": "approve"}, {"type": "edit", "edited_action": {"name": "pay", "args": {"amount": 4}}},
        {"type": "respond", "message": "paid by hand"},
    ]}  # fmt: skip
    assert ApprovalResponse.model_validate(answer).decisions == (
        Approve(), Edit(edited_action=Action(name="pay", args={"amount": 4})), Respond(message="paid by hand")
    )  # fmt: skip
    for wrong in ({"type": "aprove"}, {"type": "edit"}, {"type": "respond"}, {}):
        with pytest.raises(ValidationError):
            decision.validate_python(wrong)


def test_dry_tools_look_real_and_do_nothing() -> None:
    sent: list[str] = []

    @tool(effect="external", untrusted_output=False, sensitive=False)
    def send_mail(to: str) -> str:
        """Send a mail."""
        sent.append(to)
        return "sent"

    dry, real = SpecialistTools([send_mail], dry=True), SpecialistTools([send_mail])
    assert dry.functions == real.functions
    session = dry.open(["untrusted"]).begin(untrusted=True)
    call = ToolCall(name="send_mail", arguments={"to": "ana@x.com"})
    assert [session(call).result, session(call).result] == ["done", "done"]
    assert session.done == (call.model_copy(update={"result": "done"}),) * 2
    assert (sent, session.touched, dry.open().done) == ([], (), ())
    assert real.open()(call).result == "sent"
    assert sent == ["ana@x.com"]
