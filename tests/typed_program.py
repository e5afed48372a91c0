# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# The last two: LangGraph's own types have holes.
"""A user's program, as a strict type checker sees it: `test_programs` runs it and has it checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool
from langgraph.graph import START, MessagesState, StateGraph

from metier import Answer, Event, QueryEngine, Route, Router, Specialist, Team


def text_of(answer: Answer) -> str:
    """What a chain goes on with."""
    return answer.text


def ask_in_every_way(team: Team, question: str) -> Iterator[str]:
    """The same answer, by each of the ways that LangChain has."""
    answer: Answer = team.invoke(question)
    yield answer.text
    yield team.invoke([HumanMessage(question)]).text
    yield from (one.text for one in team.batch([question, question]))
    chain = ChatPromptTemplate.from_messages([("user", "{question}")]) | team | RunnableLambda(text_of)
    yield chain.invoke({"question": question})
    yield from chain.stream({"question": question})
    events: list[Event] = list(team.stream(question))
    yield Answer.model_validate(events[-1].data).text
    yield asyncio.run(later(team, question))


async def later(team: Team, question: str) -> str:
    """Asynchronously."""
    answers: list[Answer] = await team.abatch([question])
    assert (await team.ainvoke(question)).text == answers[0].text
    async for event in team.astream(question):
        if event.name == "answer":
            return str(event.data["text"])
    return ""


def parts(team: Team, question: str) -> tuple[str | None, str, str]:
    """Router, specialist and query engine by themselves."""
    router: Router = team.router
    route: Route = router.invoke(question)
    specialist: Specialist = team.specialists["leases"]
    engine = QueryEngine(specialist)
    return route.choice, specialist.invoke(question).text, str(engine.query(question))


def graph_around(team: Team) -> Callable[[str], str]:
    """The team as a node of a graph."""
    graph = StateGraph(MessagesState)
    graph.add_node("team", team.graph)
    graph.add_edge(START, "team")
    compiled = graph.compile()

    def ask(question: str) -> str:
        messages = compiled.invoke({"messages": [HumanMessage(question)]})["messages"]
        return str(messages[-1].text)

    return ask


def tool_of(team: Team) -> BaseTool:
    """The team as a tool."""
    return team.as_tool(name="ask_colleagues")


def shorter(who: Runnable[str, Answer]) -> Runnable[str, str]:
    """Whatever answers a text."""
    return who | RunnableLambda(text_of)
