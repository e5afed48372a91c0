"""The team as an MCP server, by the official client, in both protocol eras: over HTTP, on stdio, in this process."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from httpx2 import AsyncClient
from jsonschema import Draft202012Validator
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import INVALID_PARAMS

from metier import Team
from metier.serving.http.caller import Caller
from metier.serving.http.errors import ServingError
from metier.serving.mcp_server import ask_directly, mcp_server
from metier.tests.desk import QUESTION, QUOTE, STORY, open_desk, served

ERAS = ("auto", "legacy")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, models: Any) -> Iterator[Team]:
    with open_desk(tmp_path_factory.mktemp("desk"), pause=0.005) as team:
        yield team


@pytest.fixture(scope="module")
def address(desk: Team) -> Iterator[str]:
    with served(desk) as address:
        yield address


def talk(server: Any, era: Any, work: Callable[[Client], Awaitable[Any]], **more: Any) -> Any:
    async def run() -> Any:
        async with Client(server, mode=era, **more) as client:
            return await work(client)

    return asyncio.run(run())


@pytest.mark.parametrize("era", ERAS)
def test_both_eras_find_and_use_the_tools(desk: Team, address: str, era: str) -> None:
    async def work(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"ask", "leases", "writer", "clerk", "search"}
        assert "leases" in (tools["ask"].description or "")
        assert set(tools["leases"].input_schema["properties"]) == {"question", "thread_id"}
        for name in ("ask", "leases"):
            told = await client.call_tool(name, {"question": QUESTION})
            assert not told.is_error
            said: Any = told.structured_content
            Draft202012Validator(tools[name].output_schema or {}).validate(said)
            assert (said["kind"], said["specialist"], said["text"]) == ("answer", "leases", QUOTE)
            [source] = said["sources"]
            assert QUOTE in source["quote"]
            assert told.content[0].text == f"{QUOTE}\n“{source['quote']}” (leases/contracts.md)"  # pyright: ignore
            passage: Any = (await client.read_resource(source["uri"])).contents[0]
            assert source["quote"] in passage.text

    talk(f"{address}/mcp", era, work)


@pytest.mark.parametrize("era", ERAS)
def test_documents_passages_and_prompts(address: str, era: str) -> None:
    async def work(client: Client) -> None:
        [listed] = (await client.list_resources()).resources
        held: Any = (await client.read_resource(listed.uri)).contents[0]
        [document] = json.loads(held.text)
        text: Any = (await client.read_resource(document["uri"])).contents[0]
        assert QUOTE in text.text
        templates = (await client.list_resource_templates()).resource_templates
        assert {template.name for template in templates} == {"document", "passage"}
        found: Any = (await client.call_tool("search", {"query": "rent of the depot", "most": 1})).structured_content
        assert "4,200 euros" in found["result"][0]["text"]
        assert {p.name for p in (await client.list_prompts()).prompts} == {"leases", "writer", "clerk"}
        prompt: Any = await client.get_prompt("leases", {"question": "How much?"})
        assert "`leases`" in prompt.messages[0].content.text
        for uri in ("metier://passages/leases/nothing", "metier://documents/nobody/x.md"):
            with pytest.raises(Exception, match=r"no passage|no documents"):
                await client.read_resource(uri)

    talk(f"{address}/mcp", era, work)


@pytest.mark.parametrize("era", ERAS)
def test_a_conversation_goes_on_and_mistakes_are_said_in_words(address: str, era: str) -> None:
    async def work(client: Client) -> None:
        first: Any = (await client.call_tool("ask", {"question": QUESTION, "thread_id": f"m-{era}"})).structured_content
        assert first["thread_id"] == f"m-{era}"
        waiting: Any = (await client.call_tool("clerk", {"question": "pay(7)"})).structured_content
        assert waiting["kind"] == "waiting"
        assert waiting["data"]["action_requests"][0]["args"] == {"order": "7"}
        empty = await client.call_tool("ask", {"question": ""})
        assert empty.is_error
        unknown = await client.call_tool("search", {"query": "x", "specialist": "leses"})
        assert "did you mean 'leases'" in unknown.content[0].text  # pyright: ignore

    talk(f"{address}/mcp", era, work)


@pytest.mark.parametrize("era", ERAS)
def test_the_host_is_told_how_far_the_work_is(address: str, era: str) -> None:
    told: list[str | None] = []

    async def told_of(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)

    async def work(client: Client) -> None:
        await client.call_tool("ask", {"question": QUESTION}, progress_callback=told_of)

    talk(f"{address}/mcp", era, work)
    assert "choosing who works on this" in told
    assert "reading documents (leases)" in told


@pytest.mark.parametrize("era", ERAS)
def test_a_prompt_that_is_not_there_is_the_clients_mistake(address: str, era: str) -> None:
    async def work(client: Client) -> None:
        for name, arguments, said in (("leses", {"question": "How much?"}, "leses"), ("leases", {}, "question")):
            with pytest.raises(MCPError, match=said) as wrong:
                await client.get_prompt(name, arguments)
            assert wrong.value.code == INVALID_PARAMS

    talk(f"{address}/mcp", era, work)


def test_blanks_around_headers_do_not_count(address: str) -> None:
    """They are no part of a value (RFC 9110, 5.5); the newer protocol compares values with what the body says."""
    era, place = "2026-07-28", urlsplit(address)
    client = {"protocolVersion": era, "clientInfo": {"name": "x", "version": "1"}, "clientCapabilities": {}}
    meta = {f"io.modelcontextprotocol/{name}": value for name, value in client.items()}
    asked = {"name": "leases", "arguments": {"question": "How much?"}, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": asked}
    named = {"MCP-Protocol-Version": era, "Mcp-Method": "prompts/get", "Mcp-Name": "leases"}
    for form in ("{}", "  {}", "{}  ", "\t {} \t"):
        with closing(HTTPConnection(place.hostname or "", place.port)) as connection:
            accept = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
            headers = {name: form.format(value) for name, value in (accept | named).items()}
            connection.request("POST", "/mcp", json.dumps(body), headers)
            got = connection.getresponse()
            assert (got.status, b"`leases`" in got.read()) == (200, True), repr(form)
    with closing(HTTPConnection(place.hostname or "", place.port)) as connection:
        connection.request("POST", "/mcp", json.dumps(body), accept | named | {"Mcp-Name": "writer"})
        assert connection.getresponse().status == 400, "another value does"


def test_a_stranger_page_and_a_stranger_host_are_kept_out(address: str) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accept = {"Accept": "application/json, text/event-stream"}
    for wrong in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        assert httpx.post(f"{address}/mcp", json=body, headers=accept | wrong).status_code in (403, 421)


def test_who_has_no_key_is_nobody_and_who_has_one_is_themselves(desk: Team) -> None:
    def identify(request: Any) -> Caller:
        if request.headers.get("authorization") != "Bearer k":
            raise ServingError(401, "a key is needed", code="no_key")
        return Caller(user="ann", tenant="acme")

    async def work(client: Client) -> Any:
        return (await client.call_tool("ask", {"question": QUESTION, "thread_id": "anns"})).structured_content

    with served(desk, identify=identify) as address:
        refused = httpx.post(f"{address}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "no_key")

        async def run() -> Any:
            async with (
                AsyncClient(headers={"Authorization": "Bearer k"}) as http,
                Client(streamable_http_client(f"{address}/mcp", http_client=http)) as client,
            ):
                return await work(client)

        assert asyncio.run(run())["text"] == QUOTE
    owner = desk.threads.owner("anns")
    assert owner is not None
    assert (owner.user, owner.tenant) == ("ann", "acme")


@pytest.mark.parametrize("era", ERAS)
def test_in_this_process_without_a_door(desk: Team, era: str) -> None:
    async def work(client: Client) -> Any:
        return (await client.call_tool("writer", {"question": STORY})).structured_content

    server = mcp_server(desk, lambda question, ctx: ask_directly(desk, question, ctx))
    assert talk(server, era, work)["text"] == STORY.removeprefix("write: ")


@pytest.mark.parametrize("era", ERAS)
def test_the_command_speaks_on_standard_input_and_output(first_office: Path, era: str) -> None:
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "metier", "mcp", "-t", str(first_office)], env={"METIER_THREADS": "1"}
    )

    async def work(client: Client) -> Any:
        return (await client.call_tool("search", {"query": "Which network do guests use?"})).structured_content

    assert "office-guest" in json.dumps(talk(command, era, work))
