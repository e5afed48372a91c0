"""The team for agents and interfaces of others: A2A by the official client, AG-UI by its own types."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from a2a.client import ClientConfig, create_client
from a2a.helpers.proto_helpers import get_data_parts, get_text_parts, new_data_part, new_text_part
from a2a.types.a2a_pb2 import CancelTaskRequest, Message, Role, SendMessageRequest, TaskState
from ag_ui.core.events import Event as AgUiEvent
from pydantic import TypeAdapter

from metier import Team
from metier.serving.http.caller import Caller
from metier.serving.http.errors import ServingError
from metier.tests.desk import ENDLESS, QUESTION, QUOTE, STORY, open_desk, served

SAID = STORY.removeprefix("write: ")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, models: Any) -> Iterator[Team]:
    with open_desk(tmp_path_factory.mktemp("desk"), pause=0.01) as team:
        yield team


@pytest.fixture(scope="module")
def address(desk: Team) -> Iterator[str]:
    with served(desk) as address:
        yield address


# A2A.


def message(*parts: Any, task: str = "", context: str = "", **metadata: str) -> SendMessageRequest:
    told = Message(
        message_id=uuid4().hex, role=Role.ROLE_USER, parts=parts, task_id=task, context_id=context, metadata=metadata
    )
    return SendMessageRequest(message=told, metadata=metadata)


async def send(address: str, request: SendMessageRequest, *, binding: str = "JSONRPC", streaming: bool = True) -> Any:
    """What comes back, one after another."""
    config = ClientConfig(streaming=streaming, supported_protocol_bindings=[binding], use_client_preference=True)
    async with await create_client(address, config) as client:
        return [response async for response in client.send_message(request)]


def words(responses: list[Any]) -> list[str]:
    """The pieces of text, as they came."""
    parts = [r.artifact_update.artifact.parts for r in responses if r.HasField("artifact_update")]
    return [text for some in parts for text in get_text_parts(some)]


def test_the_card_has_a_skill_for_each_specialist(address: str) -> None:
    card = httpx.get(f"{address}/.well-known/agent-card.json").json()
    assert card["name"] == "desk"
    assert [skill["id"] for skill in card["skills"]] == ["leases", "writer", "clerk"]
    assert QUESTION in card["skills"][0]["examples"]
    assert card["capabilities"]["streaming"]
    assert {(i["url"], i["protocolBinding"]) for i in card["supportedInterfaces"]} == {
        (f"{address}/a2a", "JSONRPC"),
        (f"{address}/a2a/rest", "HTTP+JSON"),
    }


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
def test_a_message_is_answered_with_its_sources(address: str, binding: str) -> None:
    responses = asyncio.run(send(address, message(new_text_part(QUESTION)), binding=binding, streaming=False))
    task = responses[-1].task
    assert task.status.state == TaskState.TASK_STATE_COMPLETED
    [artifact] = task.artifacts
    assert get_text_parts(artifact.parts) == [QUOTE]
    [detail] = get_data_parts(artifact.parts)
    assert (detail["kind"], detail["specialist"]) == ("answer", "leases")
    assert detail["citations"][0]["source"] == "leases/contracts.md"


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
def test_an_answer_is_streamed_as_it_is_written(address: str, binding: str) -> None:
    responses = asyncio.run(send(address, message(new_text_part(STORY), skill="writer"), binding=binding))
    assert "".join(words(responses)) == SAID
    assert len(words(responses)) > 5
    assert responses[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED


def test_a_person_decides_and_the_task_goes_on(address: str) -> None:
    responses = asyncio.run(send(address, message(new_text_part("pay(7)"), skill="clerk"), streaming=False))
    task = responses[-1].task
    assert task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
    [asked] = get_data_parts(task.status.message.parts)
    assert asked["action_requests"][0]["name"] == "pay"
    wrong = message(new_text_part("yes"), task=task.id, context=task.context_id)
    again = asyncio.run(send(address, wrong, streaming=False))[-1].task
    assert again.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
    assert "waits for decisions" in get_text_parts(again.status.message.parts)[0]
    decided = new_data_part({"decisions": [{"type": "approve"}]})
    right = message(decided, task=task.id, context=task.context_id)
    ended = asyncio.run(send(address, right, streaming=False))[-1].task
    assert ended.status.state == TaskState.TASK_STATE_COMPLETED
    assert "pay 7" in get_text_parts(ended.artifacts[-1].parts)[0]


def test_a_conversation_is_a_thread_and_mistakes_are_said(desk: Team, address: str) -> None:
    first = asyncio.run(send(address, message(new_text_part("write: one"), context="c1"), streaming=False))[-1].task
    assert first.context_id == "c1"
    asyncio.run(send(address, message(new_text_part("write: two"), context="c1"), streaming=False))
    assert next(thread for thread in desk.threads.list() if thread.id == "c1").turns == 2
    failed = asyncio.run(send(address, message(new_text_part("x"), skill="wryter"), streaming=False))[-1].task
    assert failed.status.state == TaskState.TASK_STATE_FAILED
    assert "did you mean 'writer'" in get_text_parts(failed.status.message.parts)[0]


def test_a_task_is_called_off(desk: Team, address: str) -> None:
    async def leave() -> Any:
        request = message(new_text_part(ENDLESS), skill="writer")
        async with await create_client(address) as client:
            async for response in client.send_message(request):
                if response.HasField("artifact_update"):
                    id = response.artifact_update.task_id
                    return await client.cancel_task(CancelTaskRequest(id=id))

    assert asyncio.run(leave()).status.state == TaskState.TASK_STATE_CANCELED


# AG-UI.


def heard(address: str, **body: Any) -> list[Any]:
    """The events, each parsed by the protocol's own types."""
    asked = {"threadId": "t", "runId": "r", "messages": [], "tools": [], "context": [], "state": {}, **body}
    event = TypeAdapter(AgUiEvent)
    with httpx.stream("POST", f"{address}/agui", json=asked) as response:
        assert response.status_code == 200, response.read()
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    return [event.validate_json(line) for line in lines]


def user(text: str) -> dict[str, str]:
    return {"id": uuid4().hex, "role": "user", "content": text}


def test_the_events_say_who_answers_and_what_stands_behind_it(address: str) -> None:
    events = heard(address, messages=[user(QUESTION)])
    kinds = [event.type.value for event in events]
    assert (kinds[0], kinds[-1]) == ("RUN_STARTED", "RUN_FINISHED")
    assert (events[-1].thread_id, events[-1].run_id, events[-1].outcome.type) == ("t", "r", "success")
    [begun] = [event for event in events if event.type == "SUBAGENT_STARTED"]
    assert begun.name == "leases"
    text = [event for event in events if event.type == "TEXT_MESSAGE_CONTENT"]
    assert "".join(event.delta for event in text) == QUOTE
    assert {event.subagent_run_id for event in text} == {begun.subagent_run_id}
    assert kinds.index("TEXT_MESSAGE_START") < kinds.index("TEXT_MESSAGE_CONTENT") < kinds.index("TEXT_MESSAGE_END")
    customs = {event.name: event.value for event in events if event.type == "CUSTOM"}
    assert customs["metier.route"]["parts"][0]["specialist"] == "leases"
    assert customs["metier.answer"]["citations"][0]["source"] == "leases/contracts.md"
    assert events[-1].usage[0].output_tokens > 0


def test_words_come_as_they_are_written_and_the_conversation_comes_along(address: str) -> None:
    events = heard(address, messages=[user(STORY)], forwardedProps={"specialist": "writer"})
    parts = [event.delta for event in events if event.type == "TEXT_MESSAGE_CONTENT"]
    assert "".join(parts) == SAID
    assert len(parts) > 5
    said = {"id": "2", "role": "assistant", "content": QUOTE}
    events = heard(address, messages=[user(QUESTION), said, user("and what is the rent of it?")])
    assert events[-1].outcome.type == "success"


def test_a_person_decides_in_the_interface(address: str) -> None:
    waiting = heard(address, messages=[user("pay(7)")], forwardedProps={"specialist": "clerk"})[-1]
    [interrupt] = waiting.outcome.interrupts
    assert interrupt.metadata["args"] == {"order": "7"}
    kinds = {option["$ref"].rpartition("/")[2] for option in interrupt.response_schema["oneOf"]}
    assert kinds == {"Approve", "Edit", "Reject", "Respond"}
    entry = {"interruptId": interrupt.id, "status": "resolved", "payload": {"type": "approve"}}
    events = heard(address, resume=[entry])
    assert "pay 7" in "".join(event.delta for event in events if event.type == "TEXT_MESSAGE_CONTENT")
    assert "pay" in {event.tool_call_name for event in events if event.type == "TOOL_CALL_START"}
    again = httpx.post(f"{address}/agui", json={"threadId": "t", "runId": "r", "messages": [], "resume": [entry]})
    assert again.status_code == 422
    waiting = heard(address, messages=[user("pay(8)")], forwardedProps={"specialist": "clerk"})[-1]
    entry = {"interruptId": waiting.outcome.interrupts[0].id, "status": "cancelled"}
    events = heard(address, resume=[entry])
    assert "pay 8" not in json.dumps([event.model_dump(mode="json") for event in events if event.type != "CUSTOM"])


def test_what_is_no_task_is_refused(address: str) -> None:
    for messages in ([], [{"id": "1", "role": "assistant", "content": "x"}]):
        refused = httpx.post(f"{address}/agui", json={"threadId": "t", "runId": "r", "messages": messages})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages")


def test_what_is_too_long_is_refused(address: str) -> None:
    body = {"threadId": "t", "runId": "r", "messages": [user("x")], "forwardedProps": {"specialist": "x" * 300}}
    refused = httpx.post(f"{address}/agui", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "specialist")
    failed = asyncio.run(send(address, message(new_text_part("x"), skill="x" * 300), streaming=False))[-1].task
    assert failed.status.state == TaskState.TASK_STATE_FAILED


def test_no_door_opens_without_a_key(desk: Team) -> None:
    def nobody(request: Any) -> Caller:
        raise ServingError(401, "a key is needed", code="no_key")

    with served(desk, identify=nobody) as address:
        for method, path in [
            ("GET", "/.well-known/agent-card.json"),
            ("POST", "/a2a"),
            ("POST", "/a2a/rest/message:send"),
            ("GET", "/a2a/rest/tasks"),
            ("POST", "/agui"),
            ("POST", "/mcp"),
        ]:
            body = {"threadId": "t", "runId": "r", "messages": []}
            response = httpx.request(method, f"{address}{path}", json=body if method == "POST" else None)
            assert response.status_code == 401, path
