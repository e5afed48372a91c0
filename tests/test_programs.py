"""Programs of others: teams, specialists and routers as Runnables, nodes, tools and query engines, and back."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command
from llama_index.core.base.base_query_engine import BaseQueryEngine
from pydantic import BaseModel

from metier import Answer, EngineError, InputError, QueryEngine, Sampling, SpecialistCard, Team
from metier.agents.cards import MemoryCard
from metier.core.background import in_thread
from metier.core.run import check_cancelled
from metier.specialists.engines.scripted import ScriptedEngine
from metier.tests import typed_program
from metier.tests.desk import ENDLESS, QUESTION, QUOTE, STORY, open_desk
from metier.tests.house import ROOT
from metier.tests.patience import until
from metier.tools.policy import ApprovalRequest, Approve, Reject


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, models: Any) -> Iterator[Team]:
    with open_desk(tmp_path_factory.mktemp("desk"), pause=0.01) as team:
        yield team


# As Runnables.


def test_every_way_of_asking_gives_the_same_answer(desk: Team) -> None:
    said = list(typed_program.ask_in_every_way(desk, QUESTION))
    assert len(said) == 8
    assert set(said) == {QUOTE}
    assert typed_program.parts(desk, QUESTION) == ("leases", QUOTE, QUOTE)
    assert typed_program.shorter(desk.specialists["leases"]).invoke(QUESTION) == QUOTE


def test_a_strict_type_checker_has_nothing_to_say() -> None:
    command = [sys.executable, "-m", "pyright", "--outputjson", "tests/typed_program.py"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    found = json.loads(told)
    assert found["summary"]["filesAnalyzed"] == 1
    assert [d["message"] for d in found["generalDiagnostics"]] == []


def test_a_conversation_is_kept_by_the_thread_or_by_the_caller(desk: Team) -> None:
    place: RunnableConfig = {"configurable": {"thread_id": "p1", "user_id": "ann"}}
    assert desk.invoke(QUESTION, place).thread_id == "p1"
    desk.invoke("and the office?", place)
    kept = next(thread for thread in desk.threads.list() if thread.id == "p1")
    assert kept.turns == 2
    assert desk.threads.owner("p1").user == "ann"  # pyright: ignore[reportOptionalMemberAccess]
    before = [("user", QUESTION), ("assistant", QUOTE), ("user", "and for the office?")]
    recalled = next(event for event in desk.stream(before) if event.name == "recall")
    assert recalled.data["query"] == f"{QUESTION} and for the office?"
    with pytest.raises(InputError, match="the last message is not a task"):
        desk.invoke([("user", QUESTION), ("assistant", QUOTE)])


def test_callbacks_and_events_of_langchain_see_the_inside(desk: Team) -> None:
    async def watch() -> list[dict[str, Any]]:
        return [dict(event) async for event in desk.astream_events(QUESTION, version="v2")]

    seen = asyncio.run(watch())
    assert {"on_chat_model_stream", "on_chain_end"} <= {event["event"] for event in seen}
    assert {"desk", "guard_in", "leases", "remember"} <= {e["name"] for e in seen if e["event"] == "on_chain_end"}


def nobody_works() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name == "metier-work"]


def test_who_leaves_a_stream_ends_its_work(desk: Team) -> None:
    async def leave() -> None:
        async for event in desk.astream(ENDLESS, specialist="writer"):
            if event.name == "token":
                assert not nobody_works()
                break

    asyncio.run(leave())
    until(nobody_works)


def test_a_stream_takes_one_thread_for_all_its_tokens() -> None:
    seen: set[str] = set()

    def spied(messages: Any) -> str:
        seen.add(threading.current_thread().name)
        return STORY

    chat = ScriptedEngine(spied, pause=0.0).chat()

    async def follow() -> tuple[int, int]:
        most, parts = 0, 0
        async for _ in chat.astream("tell"):
            working = [thread for thread in threading.enumerate() if thread.name == "metier-work"]
            most, parts = max(most, len(working)), parts + 1
        return most, parts

    async def all_at_once() -> list[tuple[int, int]]:
        return await asyncio.gather(*(follow() for _ in range(50)))

    told = asyncio.run(all_at_once())
    assert {parts for _, parts in told} == {len(STORY.split()) + 1}
    assert max(most for most, _ in told) <= 50
    assert seen == {"metier-work"}


def test_work_in_a_thread_raises_and_is_called_off() -> None:
    def fails() -> Iterator[int]:
        yield 1
        raise EngineError("broken")

    def endless() -> Iterator[int]:
        for number in chain([1], repeat(2)):
            yield number
            check_cancelled()
            time.sleep(0.001)

    async def first(work: Any) -> int:
        async for number in in_thread(work):
            return number
        return 0

    async def every(work: Any) -> list[int]:
        return [number async for number in in_thread(work)]

    with pytest.raises(EngineError, match="broken"):
        asyncio.run(every(fails))
    assert asyncio.run(first(endless)) == 1
    # Told at its next look, or closed at its yield: either way it does not go on.
    until(nobody_works)


# In a graph and as a tool.


def outer(node: Any) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("team", node)
    graph.add_edge(START, "team")
    return graph.compile(checkpointer=InMemorySaver())


@pytest.mark.parametrize("way", ["graph", "runnable", "function"])
def test_a_team_is_a_node_and_its_questions_reach_the_outer_graph(desk: Team, way: str) -> None:
    def by_hand(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(desk.invoke(state["messages"][-1].text).text)]}

    graph = outer({"graph": desk.graph, "runnable": desk, "function": by_hand}[way])
    place: RunnableConfig = {"configurable": {"thread_id": f"outer-{way}"}}
    said = graph.invoke({"messages": [HumanMessage(QUESTION)]}, place)["messages"]
    assert [message.text for message in said] == [QUESTION, QUOTE]
    waiting = graph.invoke({"messages": [HumanMessage("pay(7)")]}, place)
    [asked] = {i.id: i for i in waiting["__interrupt__"]}.values()
    assert ApprovalRequest.model_validate(asked.value).action_requests[0].args == {"order": "7"}
    done = graph.invoke(Command(resume={"decisions": [{"type": "approve"}]}), place)
    assert "pay 7" in done["messages"][-1].text
    assert len(done["messages"]) == 4


def test_a_team_is_a_node_of_an_asynchronous_graph(desk: Team) -> None:
    graph = outer(desk)

    async def ask() -> Any:
        place: RunnableConfig = {"configurable": {"thread_id": "later"}}
        await graph.ainvoke({"messages": [HumanMessage("pay(8)")]}, place)
        return await graph.ainvoke(Command(resume={"decisions": [{"type": "reject", "message": "no"}]}), place)

    assert "pay 8" not in asyncio.run(ask())["messages"][-1].text


def test_a_team_is_a_tool_of_an_agent_and_its_questions_reach_the_agent(desk: Team) -> None:
    ask = typed_program.tool_of(desk)
    assert "leases: Answers questions about the leases" in ask.description
    call = {"name": "ask_colleagues", "args": {"question": QUESTION}, "id": "1", "type": "tool_call"}
    message = ask.invoke(call)
    assert isinstance(message, ToolMessage)
    assert message.content == f"{QUOTE}\nSource: leases/contracts.md"
    assert isinstance(message.artifact, Answer)
    assert asyncio.run(ask.ainvoke({"question": QUESTION})) == message.content
    pay = AIMessage("", tool_calls=[{**call, "args": {"question": "pay(9)"}}])
    agent = create_agent(ScriptedEngine([pay, "It is paid."]).chat(), [ask], checkpointer=InMemorySaver())
    place: RunnableConfig = {"configurable": {"thread_id": "agent"}}
    waiting = agent.invoke({"messages": [HumanMessage("Pay number 9.")]}, place)
    assert waiting["__interrupt__"][0].value["action_requests"][0]["name"] == "pay"
    said = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), place)["messages"]
    assert said[-1].text == "It is paid."
    assert "pay 9" in said[-2].text


def test_a_specialist_is_a_tool(desk: Team) -> None:
    ask = desk.specialists["leases"].as_tool()
    assert ask.name == "leases"
    assert ask.invoke({"question": QUESTION}).startswith(QUOTE)


# In llama-index.


def test_a_team_is_a_query_engine_with_sources(desk: Team) -> None:
    engine = QueryEngine(desk)
    assert isinstance(engine, BaseQueryEngine)
    response: Any = engine.query(QUESTION)
    assert response.response == QUOTE
    [source] = response.source_nodes
    assert source.node.metadata["source"] == "leases/contracts.md"
    assert QUOTE in source.node.text
    assert response.metadata["specialist"] == "leases"
    again: Any = asyncio.run(engine.aquery("Who painted the ceiling of the chapel?"))
    assert again.metadata["kind"] in ("abstain", "clarify")


def test_its_knowledge_is_a_retriever_of_both(desk: Team) -> None:
    knowledge = desk.specialists["leases"].knowledge
    assert knowledge is not None
    [node] = knowledge.as_retriever(k=1).retrieve(QUESTION)
    [document] = knowledge.as_langchain(k=1).invoke(QUESTION)
    assert QUOTE in node.node.get_content()
    assert document.page_content == node.node.get_content()


# Agents of others as specialists.


@tool
def delete(file: str) -> str:
    """Delete a file."""
    return f"deleted {file}"


def careful_agent() -> Runnable[Any, Any]:
    call = AIMessage("", tool_calls=[{"name": "delete", "args": {"file": "a.txt"}, "id": "1"}])

    def reply(messages: list[Any]) -> AIMessage | str:
        return "It is gone." if messages[-1].type == "tool" else call

    return create_agent(
        ScriptedEngine(reply).chat(), [delete], middleware=[HumanInTheLoopMiddleware(interrupt_on={"delete": True})]
    )


CAREFUL = careful_agent()
UPPER = ChatPromptTemplate.from_messages([("user", "{question}")]) | RunnableLambda(
    lambda prompt: prompt.to_messages()[-1].text.upper()  # pyright: ignore
)
PLAIN: Runnable[str, str] = RunnableLambda(lambda text: f"you said: {text}")
BROKEN: Runnable[str, str] = RunnableLambda(lambda text: text.missing)  # pyright: ignore


class Engine:
    """Like a query engine of llama-index."""

    def query(self, str_or_query_bundle: Any) -> str:
        return f"found: {str_or_query_bundle}"


ENGINE = Engine()


@pytest.fixture
def mixed(tmp_path: Path, models: Any) -> Iterator[Team]:
    cards = [
        SpecialistCard(name=name.lower(), description=f"Does {name}.", style=f"metier.tests.test_programs:{name}")
        for name in ("CAREFUL", "UPPER", "PLAIN", "BROKEN", "ENGINE")
    ]
    memory = MemoryCard(checkpoints="sqlite", facts="none")
    with Team.of("mixed", *cards, folder=tmp_path, engine=ScriptedEngine([]), memory=memory, guardrails=[]) as team:
        yield team


def test_runnables_and_query_engines_are_specialists(mixed: Team) -> None:
    assert mixed.ask("quietly", specialist="upper").text == "QUIETLY"
    assert mixed.ask("hello", specialist="plain").text == "you said: hello"
    assert mixed.ask("hello", specialist="engine").text == "found: hello"
    assert mixed.ask("hello", specialist="plain").touched == ("untrusted",)


def test_what_breaks_in_one_is_its_abstention(mixed: Team) -> None:
    answer = mixed.ask("hello", specialist="broken")
    assert (answer.kind, answer.specialist) == ("abstain", "broken")
    assert answer.reason.startswith("AttributeError: ")


def test_an_agent_of_langchain_is_a_specialist_and_its_questions_are_the_teams(mixed: Team) -> None:
    waiting = mixed.ask("clean up", specialist="careful", thread_id="t")
    assert waiting.kind == "waiting"
    assert waiting.data["action_requests"][0]["args"] == {"file": "a.txt"}
    done = mixed.resume("t", [Approve()])
    assert (done.kind, done.text) == ("answer", "It is gone.")
    mixed.ask("clean up", specialist="careful", thread_id="u")
    assert mixed.resume("u", [Reject(message="keep it")]).text == "It is gone."


# Our chat models in LangChain's agents.


class Weather(BaseModel):
    """The weather."""

    city: str
    degrees: int


def test_create_agent_takes_structured_output_and_middleware() -> None:
    call = {"name": "Weather", "args": {"city": "Rome", "degrees": 31}, "id": "1"}
    chat = ScriptedEngine([AIMessage("", tool_calls=[call])]).chat(Sampling(max_tokens=8))
    agent = create_agent(chat, [], response_format=ToolStrategy(Weather))
    said = agent.invoke({"messages": [HumanMessage("Rome?")]})
    assert said["structured_response"] == Weather(city="Rome", degrees=31)
