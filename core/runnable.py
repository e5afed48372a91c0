"""What is asked of a LangChain Runnable of ours: a text, a prompt, or messages, the last of which is the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

from .errors import InputError
from .types import Answer, Turn

Said = TypeVar("Said", bound=Answer)


def task_of(given: LanguageModelInput) -> tuple[str, list[Turn]]:
    """The task, and the turns before it, oldest first; other messages (of systems and tools) are left out.

    Raises:
        InputError: there is no task: the last message is not a person's.
    """
    if isinstance(given, str):
        return given, []
    messages = given.to_messages() if isinstance(given, PromptValue) else convert_to_messages(given)
    if not messages or not isinstance(messages[-1], HumanMessage):
        raise InputError("the last message is not a task", hint='pass a text, or [("user", "…")]')
    return str(messages[-1].text), [turn for message in messages[:-1] for turn in _turn(message)]


def _turn(message: BaseMessage) -> Sequence[Turn]:
    if isinstance(message, HumanMessage):
        return [Turn(role="user", text=str(message.text))]
    return [Turn(role="assistant", text=str(message.text))] if isinstance(message, AIMessage) and message.text else []


class _Question(BaseModel):
    """What the model that calls the tool fills in."""

    question: str = Field(description="A whole question or task, in words that can be understood by themselves.")


def as_tool(runnable: Runnable[LanguageModelInput, Said], name: str, description: str) -> BaseTool:
    """A LangChain tool that asks it: the model gets the text with its sources, and the artifact is the `Answer`."""

    def ask(question: str) -> tuple[str, Answer]:
        answer = runnable.invoke(question)
        return _with_sources(answer), answer

    async def ask_later(question: str) -> tuple[str, Answer]:
        answer = await runnable.ainvoke(question)
        return _with_sources(answer), answer

    return StructuredTool.from_function(
        ask, ask_later, name, description, args_schema=_Question, response_format="content_and_artifact"
    )


def _with_sources(answer: Answer) -> str:
    places = [f"{c.source}, page {c.page}" if c.page else c.source for c in answer.citations]
    return "\n".join([answer.text, *(f"Source: {place}" for place in dict.fromkeys(places))])
