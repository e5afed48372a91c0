"""Tools on the engines in this process, and the scripted engine that stands in for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from metier.core.errors import ContextOverflow, EngineError, InputError, ToolError, UnknownAdapter
from metier.core.models import ModelStore
from metier.specialists.engines import Sampling
from metier.specialists.engines.engine import OneOf
from metier.specialists.engines.grammar import functions_of, tool_call_of, with_functions
from metier.specialists.engines.scripted import ScriptedEngine
from metier.tests.engine_parts import LOCAL, joined, local_engine


@pytest.fixture(scope="module", params=LOCAL)
def engine(request: pytest.FixtureRequest, models: ModelStore) -> Iterator[Any]:
    engine = local_engine(request.param, models.find("smollm2-135m").files["gguf"], context=512, slots=1)
    yield engine
    engine.close()


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def test_a_tool_is_called_with_fitting_arguments(engine: Any) -> None:
    chat = engine.chat(slot="tools").bind_tools([weather], tool_choice="any")
    asked = [("user", "What is the weather in Rome?")]
    for message in (chat.invoke(asked), joined(chat.stream(asked))):
        (call,) = message.tool_calls
        assert (call["name"], set(call["args"])) == ("weather", {"city"})
        assert weather.invoke(call).content.startswith("sunny in ")


def test_words_or_a_call_are_free_and_cut_off_calls_are_none(engine: Any) -> None:
    message = engine.chat(Sampling(max_tokens=8)).bind_tools([weather]).invoke("Hello")
    assert message.tool_calls or not str(message.content).startswith("{")
    cut = engine.chat(Sampling(max_tokens=4)).bind_tools([weather], tool_choice="weather").invoke("Hello")
    assert (cut.tool_calls, cut.response_metadata["finish_reason"]) == ([], "length")
    with pytest.raises(ToolError, match="unknown function 'wether'"):
        engine.chat().bind_tools([weather], tool_choice="wether")


def test_agents_of_langchain_run_on_it(engine: Any) -> None:
    ended = create_agent(engine.chat(Sampling(max_tokens=8)), [weather]).invoke({"messages": [HumanMessage("Hello")]})
    assert isinstance(ended["messages"][-1], AIMessage)
    call = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Rome"}, "id": "1"}])
    script = ScriptedEngine([call, "It is sunny."])
    said = create_agent(script.chat(), [weather]).invoke({"messages": [HumanMessage("Rome?")]})["messages"]
    assert [m.text for m in said] == ["Rome?", "", "sunny in Rome", "It is sunny."]


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=12)
    large: bool


def test_answers_fit_a_schema_with_and_without_tools(engine: Any) -> None:
    chat = engine.chat(Sampling(max_tokens=48), slot="schema")
    assert isinstance(chat.with_structured_output(City).invoke("Is Rome a large city?"), City)
    form = ProviderStrategy(City).to_model_kwargs()
    assert City.model_validate_json(chat.invoke("Is Rome a large city?", **form).text)
    assert City.model_validate_json(
        chat.bind_tools([weather], tool_choice="none", **form).invoke("Is Rome large?").text
    )
    said = create_agent(chat, [], response_format=ToolStrategy(City)).invoke({"messages": [HumanMessage("Rome?")]})
    assert isinstance(said["structured_response"], City)
    with pytest.raises(InputError, match="type 'text'"):
        chat.invoke("Hello", response_format={"type": "text"})


def test_a_tool_is_chosen_as_openai_says_it(engine: Any) -> None:
    named = {"type": "function", "function": {"name": "weather"}}
    for choice in (True, "required", named):
        assert engine.chat(Sampling(max_tokens=24)).bind_tools([weather], tool_choice=choice).invoke("Rome?").tool_calls


def test_calls_and_results_become_plain_turns() -> None:
    call = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Rome"}, "id": "1"}])
    history = [
        SystemMessage("Be brief."),
        HumanMessage("Rome?"),
        call,
        ToolMessage("sunny", tool_call_id="1", name="weather"),
    ]
    system, _, called, result = with_functions(history, functions_of([weather]))
    assert system.text.startswith("Be brief.\n")
    assert "\nweather: " in system.text
    assert "- city (string)" in system.text
    assert tool_call_of(called.text, 3, functions_of([weather])) == {
        "name": "weather",
        "args": {"city": "Rome"},
        "id": "call_3",
        "type": "tool_call",
    }
    assert (result.type, result.text) == ("human", "Result of weather: sunny")


def test_scripts_are_followed_and_recorded() -> None:
    engine = ScriptedEngine(["one", "two words"], adapters=["red"])
    chat = engine.chat(adapter="red", slot="me")
    assert chat.invoke("hello there").content == "one"
    message = chat.invoke("again", **engine.constrain(OneOf(["two words"])))
    assert message.usage_metadata == {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    assert [(c.adapter, c.slot, c.messages[0].text) for c in engine.calls] == [
        ("red", "me", "hello there"),
        ("red", "me", "again"),
    ]
    with pytest.raises(EngineError, match="2 replies, this is call 3"):
        chat.invoke("more")
    with pytest.raises(UnknownAdapter):
        engine.chat(adapter="blue")


def test_scripts_may_be_functions_and_keep_to_options_and_windows() -> None:
    engine = ScriptedEngine(lambda messages: messages[-1].text.upper(), context=3)
    assert joined(engine.chat().stream("abc")).content == "ABC"
    with pytest.raises(EngineError, match=r"the script says 'ABC', the options are \['x'\]"):
        engine.chat().invoke("abc", **engine.constrain(OneOf(["x"])))
    with pytest.raises(ContextOverflow):
        engine.chat().invoke("a b c d")
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.chat().invoke("a")
