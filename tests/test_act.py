"""The style `act`: a loop of calls that ends by itself, with the model scripted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool

from metier.core.embedding import Vectors
from metier.core.errors import ToolError
from metier.core.models import ModelStore
from metier.core.onnx_embedder import OnnxEmbedder
from metier.core.run import Event
from metier.core.types import Answer, Brief, Budget, ToolCall
from metier.specialists.adapters.choose import in_use, loadable
from metier.specialists.card import SpecialistCard
from metier.specialists.engines.engine import Json
from metier.specialists.engines.llama import LlamaEngine
from metier.specialists.engines.scripted import ScriptedEngine, ScriptedReply
from metier.specialists.functions import NO_CALL, called, read_call, signature, write_call
from metier.specialists.specialist import Specialist
from metier.specialists.styles.act.shown_tools import SHOWN, ToolShortlist
from metier.specialists.styles.act.style import CallDecision, Calling, log_odds, read_decision
from metier.tools.builtin.calculator import calculator
from metier.tools.session import SpecialistTools
from metier.tools.tool import ToolContext, tool

DONE: list[str] = []
"""What the tools did in this test."""


@tool(effect="read", untrusted_output=False, sensitive=False)
def count_parts(part: str) -> str:
    """How many pieces of a spare part are in stock.

    Args:
        part: number of the part, such as P-7.
    """
    DONE.append(f"count {part}")
    if not part.startswith("P-"):
        raise ToolError(f"no part '{part}'", hint="numbers begin with P-")
    return f"{part}: 12 pieces"


@tool(effect="write", untrusted_output=False, sensitive=False)
def order_parts(part: str, pieces: int) -> str:
    """Order more pieces of a spare part.

    Args:
        part: number of the part.
        pieces: how many.
    """
    DONE.append(f"order {pieces} {part}")
    return f"ordered {pieces} of {part}"


@tool(effect="read", untrusted_output=False, sensitive=False)
def weather(city: str) -> str:
    """Today's weather in a city."""
    return f"rain in {city}"


@tool(effect="read", untrusted_output=False, sensitive=False)
def translate(text: str, language: str) -> str:
    """Translate a text into another language."""
    return text


TOOLS = [count_parts, order_parts, weather, translate]
CARD = SpecialistCard(name="stock", description="Counts and orders spare parts.", style="act", tools=["ours:TOOLS"])
COUNT = write_call("count_parts", {"part": "P-7"})
ORDER = write_call("order_parts", {"part": "P-7", "pieces": 3})
TASK = "How many P-7 are left? Then order 3 more."


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()


def acting(tools: Sequence[BaseTool], embedder: OnnxEmbedder, decision: CallDecision | None = None) -> dict[str, Any]:
    """What a specialist that acts with these tools is opened with."""
    return {"tools": SpecialistTools(tools), "resources": Calling(ToolShortlist(embedder), decision)}


def work(script: list[ScriptedReply] | Callable[[Any], ScriptedReply], **options: Any) -> tuple[Answer, ScriptedEngine]:
    """What a specialist with these tools answers when the model says this."""
    engine = ScriptedEngine(script)
    budget = options.pop("budget", Budget())
    emit = options.pop("emit", lambda event: None)
    outcome = Specialist(CARD, engine, tools=SpecialistTools(TOOLS), **options).run(
        Brief(task=TASK, budget=budget), emit
    )
    assert isinstance(outcome, Answer)
    return outcome, engine


def test_calls_follow_each_other_until_none_is_left() -> None:
    events: list[Event] = []
    answer, engine = work([COUNT, ORDER, NO_CALL], emit=events.append)
    assert answer.text == "P-7: 12 pieces\nordered 3 of P-7"
    assert DONE == ["count P-7", "order 3 P-7"]
    assert [c.name for c in answer.tool_calls] == ["count_parts", "order_parts"]
    assert [e.data["name"] for e in events if e.name == "tool"] == ["count_parts", "order_parts"]
    last = engine.calls[-1].messages[-1].text
    assert 'count_parts(part="P-7") gave: P-7: 12 pieces' in last
    assert "ordered 3 of P-7" in last


def test_none_fits() -> None:
    answer, _ = work([NO_CALL])
    assert answer.kind == "abstain"
    assert not DONE
    assert not answer.tool_calls
    assert answer.reason == "none of its tools fits this"


def test_the_same_call_again_is_the_end() -> None:
    answer, engine = work([COUNT, ORDER, COUNT])
    assert answer.kind == "answer"
    assert DONE == ["count P-7", "order 3 P-7"]
    assert len(engine.calls) == 3


def test_an_error_is_mended_once() -> None:
    wrong = write_call("count_parts", {"part": "7"})
    answer, engine = work([wrong, COUNT, NO_CALL])
    assert answer.text == "P-7: 12 pieces"
    assert "count_parts(part=\"7\") failed: no part '7'" in engine.calls[1].messages[-1].text
    assert [c.error is None for c in answer.tool_calls] == [False, True]


def test_two_failures_in_a_row_are_the_end() -> None:
    wrong = [write_call("count_parts", {"part": str(n)}) for n in range(9)]
    answer, engine = work(list(wrong))
    assert answer.kind == "abstain"
    assert len(engine.calls) == 2
    assert len(answer.tool_calls) == 2
    assert answer.reason.startswith("count_parts failed: no part '1'")


@pytest.mark.parametrize("garbage", ["count the parts", '{"name": "count_parts", "argum', "{}", "[1]", "null", "7"])
def test_what_is_no_call_is_asked_for_again(garbage: str) -> None:
    answer, engine = work([garbage, COUNT, NO_CALL])
    assert answer.text == "P-7: 12 pieces"
    assert answer.tool_calls[0].error
    assert "not a whole call" in answer.tool_calls[0].error
    assert "not a whole call" in engine.calls[1].messages[-1].text


def test_arguments_that_do_not_fit_the_tool_are_an_error_in_words() -> None:
    answer, engine = work([write_call("order_parts", {"part": "P-7", "pieces": "many"}), ORDER, NO_CALL])
    assert DONE == ["order 3 P-7"]
    assert "pieces: Input should be a valid integer" in engine.calls[1].messages[-1].text
    assert answer.text == "ordered 3 of P-7"


@given(steps=st.integers(1, 9))
def test_the_budget_ends_a_model_that_never_stops(steps: int) -> None:
    numbers = iter(range(100))
    answer, engine = work(
        lambda _: write_call("count_parts", {"part": f"P-{next(numbers)}"}), budget=Budget(steps=steps)
    )
    assert len(engine.calls) + len(answer.tool_calls) <= steps + 1
    assert answer.kind == "answer", "what was found until then is not lost"


def test_only_the_fitting_tools_are_shown(embedder: OnnxEmbedder) -> None:
    _, engine = work([NO_CALL], resources=Calling(ToolShortlist(embedder)))
    prompt = engine.calls[0].messages[0].text
    assert "count_parts" in prompt
    assert "order_parts" in prompt
    assert sum(t.name in prompt for t in TOOLS) == SHOWN
    constraint = engine.calls[0].constraint
    assert isinstance(constraint, Json)
    assert len(constraint.schema["anyOf"]) == SHOWN + 1
    _, engine = work([NO_CALL])
    assert all(t.name in engine.calls[0].messages[0].text for t in TOOLS), "without an embedder all are shown"


def test_what_a_call_gave_decides_what_is_shown_next(embedder: OnnxEmbedder) -> None:
    @tool(effect="read", untrusted_output=False, sensitive=False)
    def find_orders(customer: str) -> str:
        """Orders of a customer."""
        return json.dumps([{"order_id": "B-9", "customer": customer}])

    @tool(effect="write", untrusted_output=False, sensitive=False)
    def revoke(order_id: str) -> str:
        """Take it back."""
        return f"{order_id} is gone"

    script = [write_call("find_orders", {"customer": "Ada"}), write_call("revoke", {"order_id": "B-9"}), NO_CALL]
    engine = ScriptedEngine(script)
    one = Specialist(
        CARD, engine, tools=SpecialistTools([find_orders, revoke, *TOOLS]), resources=Calling(ToolShortlist(embedder))
    )
    outcome = one.run(Brief(task="Count the spare parts of the orders of Ada, order more of them, translate her name"))
    assert isinstance(outcome, Answer)
    shown = ["revoke: Take it back." in call.messages[0].text for call in engine.calls]
    assert shown == [False, True, True]
    assert outcome.text.endswith("B-9 is gone")


def test_who_needs_an_id_gets_the_function_that_finds_it(embedder: OnnxEmbedder) -> None:
    def function(name: str, about: str, *needed: str) -> dict[str, Any]:
        parameters = {"properties": {name: {"type": "string"} for name in needed}, "required": [*needed]}
        return {"name": name, "description": about, "parameters": parameters}

    functions = [
        function("calendar.deleteEvent", "Deletes a meeting.", "event_id"),
        function("calendar.updateEvent", "Changes a meeting.", "event_id"),
        function("calendar.moveEvent", "Moves a meeting.", "event_id", "start"),
        function("calendar.search_events", "Gives what a query matches.", "query"),
        function("list_event_guests", "Who comes.", "event_id"),
    ]
    selection = ToolShortlist(embedder)

    def shown(task: str, result: str = "") -> list[str]:
        return [f["name"].rpartition(".")[2] for f in selection.fitting(task, functions, result).functions]

    assert "search_events" in shown("Delete the meeting about the budget")
    assert len(shown("Delete the meeting about the budget")) == SHOWN + 1
    assert "search_events" not in shown("Delete the meeting 00000318")
    assert "search_events" not in shown("Delete the meeting about the budget", '[{"event_id": "00000318"}]')


def test_a_description_is_embedded_once(embedder: OnnxEmbedder) -> None:
    embedded: list[str] = []

    class Counting:
        name, dimension = embedder.name, embedder.dimension

        def embed(self, texts: Sequence[str]) -> Vectors:
            embedded.extend(texts)
            return embedder.embed(texts)

    selection, functions = ToolShortlist(Counting()), SpecialistTools(TOOLS).functions
    for task in ("order P-7", "weather in Pisa"):
        fitting = selection.fitting(task, functions)
    assert fitting.functions[-1]["name"] in ("weather", "translate")
    assert "weather" in str(fitting.functions)
    assert len(embedded) == len(TOOLS) + 2


def test_a_decision_overrules_the_model(embedder: OnnxEmbedder) -> None:
    for bias, script, done in ((9.0, [NO_CALL, COUNT, NO_CALL], ["count P-7"]), (-9.0, [COUNT], [])):
        engine = ScriptedEngine([_sure(text) for text in script])
        decision = CallDecision(bias=bias, odds=0.1, similarity=0.1)
        one = Specialist(
            CARD, engine, tools=SpecialistTools(TOOLS), resources=Calling(ToolShortlist(embedder), decision)
        )
        DONE.clear()
        outcome = one.run(Brief(task=TASK))
        assert isinstance(outcome, Answer)
        assert done == DONE
        assert (outcome.kind == "answer") is bool(done)
    assert engine.calls, "the model was asked in both cases"


def test_a_call_with_texts_that_nobody_said_is_not_made(embedder: OnnxEmbedder) -> None:
    for city, task, made in (
        ("Pisa", "Will it rain in Pisa?", True),
        ("New York", "I need an umbrella.", False),
        ("Lyon", "I need an umbrella.", True),
        ("東京", "東京の天気は？", True),
        ("大阪", "東京の天気は？", False),
    ):
        engine = ScriptedEngine([_sure(text) for text in (write_call("weather", {"city": city}), NO_CALL)])
        decision = CallDecision(bias=9.0, odds=0.1, similarity=0.1)
        one = Specialist(
            CARD, engine, tools=SpecialistTools(TOOLS), resources=Calling(ToolShortlist(embedder), decision)
        )
        outcome = one.run(Brief(task=task, facts=("She lives in Lyon.",)))
        assert isinstance(outcome, Answer)
        assert bool(outcome.tool_calls) is made, task


def _sure(text: str) -> ScriptedReply:
    return AIMessage(text, response_metadata={"first_logprob": -0.1, "logprob": -0.1})


@given(st.floats(-50, 0), st.floats(-50, 0))
def test_log_odds_rise_with_the_call_and_fall_with_none(low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert log_odds(low, called=True) <= log_odds(high, called=True)
    assert log_odds(low, called=False) >= log_odds(high, called=False)
    assert log_odds(low, called=True) == -log_odds(low, called=False)


@given(st.text(min_size=1), st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans())))
def test_a_call_is_read_as_it_was_written(name: str, arguments: dict[str, Any]) -> None:
    assert read_call(write_call(name, arguments)) == ToolCall(name=name, arguments=arguments)


def test_signatures_are_short_and_complete() -> None:
    described = {f["name"]: signature(f) for f in SpecialistTools(TOOLS).functions}
    assert described["order_parts"].splitlines() == [
        "order_parts: Order more pieces of a spare part.",
        "- part (string): number of the part.",
        "- pieces (integer): how many.",
    ]
    assert len(signature(SpecialistTools(TOOLS).functions[1])) < 0.5 * len(
        json.dumps(SpecialistTools(TOOLS).functions[1])
    )
    call = ToolCall(name="f", arguments={"a": 1}, result="x" * 999)
    assert len(called(call)) < 700


def test_long_texts_in_a_result_do_not_hide_the_next_record() -> None:
    mails = [{"email_id": f"0000{number}", "body": "words " * 99} for number in range(3)]
    told = called(ToolCall(name="search", result=json.dumps(mails)))
    assert all(f'"email_id": "0000{number}"' in told for number in range(3))
    assert called(ToolCall(name="search", result="no JSON {")).endswith("no JSON {")


def test_optional_arguments_are_mended_before_a_call_is_made() -> None:
    made: list[dict[str, Any]] = []

    @tool(effect="read", untrusted_output=False, sensitive=False)
    def list_tokens(user: str, include_expired: bool = False, limit: int = 10) -> str:
        """List the tokens of a user.

        Args:
            user: the ID of the user.
            include_expired: also those that are not valid any more.
            limit: how many tokens to list.
        """
        made.append({"include_expired": include_expired, "limit": limit})
        return "none"

    script = [write_call("list_tokens", {"user": "P-7", "include_expired": True}), NO_CALL]
    Specialist(CARD, ScriptedEngine(script), tools=SpecialistTools([list_tokens])).run(
        Brief(task="What are the first 5 tokens of the user P-7?")
    )
    assert made == [{"include_expired": False, "limit": 5}]


@tool(effect="read", untrusted_output=False, sensitive=False)
def thermometer(hall: str) -> str:
    """How warm a hall is, in degrees Celsius."""
    return f"{hall}: 19 °C"


@tool(effect="write", untrusted_output=False, sensitive=False)
def report(title: str, urgent: bool = False) -> str:
    """Report a fault to the workshop.

    Args:
        title: what is wrong, in a few words.
        urgent: whether somebody has to come at once.
    """
    return f"reported: {title}"


def test_the_shipped_skill_calls_what_it_never_saw(models: ModelStore, embedder: OnnxEmbedder) -> None:
    base = models.find("smollm2-135m")
    skill = in_use(CARD, Path(), base.name)
    adapter, decision = loadable(skill, base), read_decision(skill)
    assert adapter, "the style act has a skill"
    assert decision, "fitted for it"
    engine = LlamaEngine(base.files["gguf"], {"call": adapter}, slots=1)
    one = Specialist(
        CARD, engine, adapter="call", tools=SpecialistTools(TOOLS), resources=Calling(ToolShortlist(embedder), decision)
    )
    said = {}
    for task in ("How many pieces of part P-7 are in stock?", "Who wrote Hamlet?"):
        outcome = one.run(Brief(task=task))
        assert isinstance(outcome, Answer)
        said[outcome.kind] = outcome
    house = [thermometer, report, *calculator(ToolContext(root=Path()))]
    porter = Specialist(
        CARD, engine, adapter="call", tools=SpecialistTools(house), resources=Calling(ToolShortlist(embedder), decision)
    )
    warm, fault = (
        porter.run(Brief(task=t)) for t in ("How warm is hall H7?", 'Report a fault titled "Gate 3 stays open".')
    )
    engine.close()
    assert isinstance(warm, Answer)
    assert [(c.name, c.arguments) for c in warm.tool_calls] == [("thermometer", {"hall": "H7"})]
    assert isinstance(fault, Answer)
    assert [(c.name, c.arguments["title"]) for c in fault.tool_calls] == [("report", "Gate 3 stays open")]
    assert said["answer"].tool_calls[0].arguments == {"part": "P-7"}
    assert said["answer"].text.startswith("P-7: 12 pieces")
    assert not said["abstain"].tool_calls
