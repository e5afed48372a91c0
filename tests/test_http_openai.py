"""Unmodified OpenAI clients against a real server: openai (both kinds), langchain-openai, llm."""

from __future__ import annotations

import asyncio
import json

import httpx
import numpy as np
import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr

from metier.core.types import Answer
from metier.serving.http.openai_chat import housekeeping
from metier.tests.desk import ENDLESS, QUESTION, QUOTE, STORY, ended
from metier.tests.patience import until

TOLD = STORY.removeprefix("write: ")


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def runs(address):
    """To look at a run by the door that all share."""
    with httpx.Client(base_url=address) as client:
        yield client


def ask(client, text, model="metier", **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


def test_the_team_and_its_specialists_are_models(client):
    assert [m.id for m in client.models.list()] == ["metier", "metier/leases", "metier/writer", "metier/clerk"]
    assert client.models.retrieve("metier/leases").owned_by == "desk"
    with pytest.raises(openai.NotFoundError, match="did you mean 'metier/leases'"):
        client.models.retrieve("metier/leases2")


def test_an_answer_says_who_gave_it_what_it_cost_and_where_it_stands(client, desk):
    answer = ask(client, QUESTION)
    message = answer.choices[0].message
    assert (message.content, answer.choices[0].finish_reason) == (QUOTE, "stop")
    assert answer.model == "metier/leases"
    assert answer.system_fingerprint == desk.specialists["leases"].version
    assert answer.usage.prompt_tokens > answer.usage.completion_tokens == 3
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 3
    (annotation,) = message.annotations
    cited = annotation.url_citation
    assert cited.title == "leases/contracts.md › Leases › Depot"
    assert message.content[cited.start_index : cited.end_index] == QUOTE
    assert Answer.model_validate({"text": "", **answer.metier}).specialist == "leases"


def test_a_source_opens_at_its_place(client):
    url = ask(client, QUESTION).choices[0].message.annotations[0].url_citation.url
    page = httpx.get(url)
    assert page.status_code == 200
    assert f'<mark id="quote">{QUOTE}</mark>' in page.text
    assert url.endswith("#quote")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    plain = httpx.get(url.partition("?")[0].replace("/documents/", "/v1/documents/")).json()
    start, end = (int(part.partition("=")[2]) for part in url.partition("?")[2].partition("#")[0].split("&"))
    assert plain["text"][start:end] == QUOTE


@pytest.mark.parametrize("path", ["leases/../../team.yaml", "leases/%2e%2e/%2e%2e/etc/passwd", "nobody/x", "writer/x"])
def test_no_path_leads_to_a_file(address, path):
    for prefix in ("documents", "v1/documents"):
        response = httpx.get(f"{address}/{prefix}/{path}")
        assert response.status_code == 404
        assert set(response.json()) == {"error"}


def test_an_answer_streams_as_it_is_written(client):
    parts = list(ask(client, STORY, stream=True))
    said = [p.choices[0].delta.content for p in parts if p.choices and p.choices[0].delta.content]
    assert "".join(said) == TOLD
    assert len(said) == len(TOLD.split()), "word by word"
    assert parts[0].choices[0].delta.role == "assistant"
    assert {p.model for p in parts} == {"metier/writer"}
    assert [p.choices[0].finish_reason for p in parts if p.choices][-1] == "stop"
    assert parts[-1].metier["kind"] == "answer"
    assert all(p.usage is None for p in parts)


def test_a_quote_is_content_only_when_it_was_checked(client):
    parts = list(ask(client, QUESTION, stream=True, stream_options={"include_usage": True}))
    deltas = [p.choices[0].delta for p in parts if p.choices]
    draft = "".join(getattr(d, "reasoning_content", None) or "" for d in deltas)
    assert draft == QUOTE
    assert [d.content for d in deltas if d.content] == [QUOTE]
    (cited,) = [d.annotations for d in deltas if getattr(d, "annotations", None)]
    assert cited[0]["url_citation"]["title"].startswith("leases/contracts.md")
    assert parts[-1].choices == []
    assert parts[-1].usage.completion_tokens == 3


def test_what_is_not_known_is_said_and_nothing_else(client):
    parts = list(ask(client, "Which colour has the roof of the castle?", "metier/leases", stream=True))
    said = "".join(p.choices[0].delta.content or "" for p in parts)
    assert said.startswith("I am not sure.")
    assert "/documents/leases/leases/contracts.md?start=" in said, "the passages that come nearest stand below"
    assert parts[-1].metier["kind"] == "abstain"
    assert parts[-1].metier["evidence"]


def test_the_stream_is_what_clients_parse_by_hand(address):
    body = {"model": "metier", "messages": [{"role": "user", "content": "write: a b"}], "stream": True}
    response = httpx.post(f"{address}/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = response.text.strip().split("\n\n")
    assert all(block.startswith("data: ") for block in blocks)
    assert blocks[-1] == "data: [DONE]"
    for block in blocks[:-1]:
        chunk = json.loads(block.removeprefix("data: "))
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["choices"][0]["index"] == 0


def test_the_conversation_that_comes_along_is_what_a_question_refers_to(client, desk):
    messages = [
        {"role": "system", "content": "You are kind."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": QUOTE},
        {"role": "user", "content": [{"type": "text", "text": "And what is the rent of it?"}]},
    ]
    answer = client.chat.completions.create(model="metier/leases", messages=messages)
    assert "depot" in desk.engine.calls[-1].messages[-1].text, "the turn before was recalled"
    assert answer.metier["touched"] == ["untrusted"]


def test_a_thread_is_kept_by_the_server(client, desk):
    for text in ("write: one", "write: two"):
        ask(client, text, metadata={"thread_id": "kept"})
    assert next(t for t in desk.threads.list() if t.id == "kept").turns == 2


@pytest.mark.parametrize(
    ("prompt", "reply"),
    [
        (
            "Generate a concise, 3-5 word title with an emoji summarizing the chat history.",
            {"title": "When does the lease of the"},
        ),
        ("Generate 1-3 broad tags categorizing the main themes of the chat history.", {"tags": ["General"]}),
        ("Suggest 3-5 relevant follow-up questions for the user.", {"follow_ups": []}),
        ("Analyze the chat history to determine the necessity of generating search queries.", {"queries": []}),
    ],
)
def test_housekeeping_of_front_ends_is_answered_without_the_team(client, desk, prompt, reply):
    prompt = f"### Task:\n{prompt}\n### Output:\nJSON\n<chat_history>\nUSER: {QUESTION}\nASSISTANT: tags</chat_history>"
    calls, threads = len(desk.engine.calls), len(desk.threads.list())
    assert json.loads(ask(client, prompt).choices[0].message.content) == reply
    streamed = "".join(p.choices[0].delta.content or "" for p in ask(client, prompt, stream=True))
    assert json.loads(streamed) == reply
    assert (len(desk.engine.calls), len(desk.threads.list())) == (calls, threads)


def test_a_title_may_be_asked_for_in_other_words_but_a_question_about_titles_is_a_question():
    asked = "Provide a concise, 5-word-or-less title for the conversation.\n\nUser: Where is bay 7?\nAI: There."
    assert housekeeping(asked) == "Where is bay 7"
    assert housekeeping("What is the title of the contract about the depot?") is None
    assert housekeeping("Which task has the number 7?") is None


def test_json_is_what_the_schema_says(client):
    schema = {"type": "object", "properties": {"end": {"type": "string"}}, "required": ["end"]}
    format = {"type": "json_schema", "json_schema": {"name": "lease", "schema": schema, "strict": True}}
    text = 'write: {"end": "2031"}'
    answer = ask(client, text, response_format=format)
    assert json.loads(answer.choices[0].message.content) == {"end": "2031"}
    streamed = "".join(p.choices[0].delta.content or "" for p in ask(client, text, response_format=format, stream=True))
    assert json.loads(streamed) == {"end": "2031"}
    plain = ask(client, QUESTION, response_format={"type": "json_object"})
    assert json.loads(plain.choices[0].message.content) == {"answer": QUOTE}
    refused = ask(client, "Which colour has the castle?", "metier/leases", response_format=format).choices[0].message
    assert refused.content is None
    assert refused.refusal.startswith("I am not sure")


def test_errors_have_the_shape_that_clients_read(client, address):
    for more, status, code in [
        ({"model": "gpt-5"}, 404, "model_not_found"),
        ({"model": "metier", "n": 2}, 400, None),
        ({"model": "metier", "tool_choice": "required", "tools": [{"type": "function"}]}, 400, "tools_unsupported"),
        ({"model": "metier", "response_format": {"type": "yaml"}}, 400, None),
    ]:
        with pytest.raises(openai.APIStatusError) as error:
            client.chat.completions.create(messages=[{"role": "user", "content": "x"}], **more)
        assert (error.value.status_code, error.value.code) == (status, code)
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]
    with pytest.raises(openai.BadRequestError, match="reads text only"):
        client.chat.completions.create(model="metier", messages=[{"role": "user", "content": image}])
    broken = httpx.post(f"{address}/v1/chat/completions", content=b"{")
    assert broken.status_code == 422
    assert set(broken.json()["error"]) == {"message", "type", "param", "code"}


def test_an_error_in_the_middle_of_a_stream_is_raised_by_the_client(client, desk):
    stream = ask(client, ENDLESS, "metier/writer", stream=True)
    run = next(iter(stream)).id.removeprefix("chatcmpl-")
    httpx.post(f"{client.base_url}runs/{run}/cancel")
    with pytest.raises(openai.APIError, match="was cancelled"):
        list(stream)


def test_a_client_that_leaves_ends_the_work(client, runs):
    with ask(client, ENDLESS, "metier/writer", stream=True) as stream:
        said = (part for part in stream if part.choices[0].delta.content)
        part, *_ = (next(said) for _ in range(3))
        run = part.id.removeprefix("chatcmpl-")
        assert runs.get(f"/v1/runs/{run}").json()["status"] == "in_progress", "words come while others are written"
    assert ended(runs, run)["status"] == "cancelled"
    with pytest.raises(openai.APITimeoutError):
        ask(client, ENDLESS, "metier/writer", timeout=0.4)
    until(lambda: runs.get("/health").json()["active"] == 0)


def test_the_asynchronous_client(address):
    async def both() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none") as client:
            messages = [{"role": "user", "content": "write: one two three"}]
            whole = await client.chat.completions.create(model="metier", messages=messages)  # type: ignore[arg-type]
            stream = await client.chat.completions.create(model="metier", messages=messages, stream=True)  # type: ignore
            return whole.choices[0].message.content, "".join([p.choices[0].delta.content or "" async for p in stream])

    assert asyncio.run(both()) == ("one two three", "one two three")


def test_embeddings_are_those_of_the_team(client, desk, address):
    texts = ["the lease of the depot", "a small lamp"]
    expected = desk.embedder.embed(texts)
    for encoding in ("float", openai.NOT_GIVEN):  # left out, the client asks for base64
        got = client.embeddings.create(model="metier", input=texts, encoding_format=encoding)
        assert np.allclose([row.embedding for row in got.data], expected, atol=1e-6)
    langchain = OpenAIEmbeddings(
        base_url=f"{address}/v1", api_key=SecretStr("none"), model="metier", check_embedding_ctx_length=False
    )
    assert langchain.embed_query(texts[0]) == pytest.approx(expected[0], abs=1e-6)
    with pytest.raises(openai.BadRequestError, match="not empty"):
        client.embeddings.create(model="metier", input=[[1, 2, 3]])


def test_langchain_openai_answers_streams_and_structures(address):
    chat = ChatOpenAI(base_url=f"{address}/v1", api_key=SecretStr("none"), model="metier", use_responses_api=False)
    answer = chat.invoke([HumanMessage(QUESTION)])
    assert answer.text == QUOTE
    assert answer.usage_metadata
    assert answer.usage_metadata["output_tokens"] == 3
    assert answer.response_metadata["model_name"] == "metier/leases"
    told = chat.invoke([HumanMessage("write: a"), AIMessage("a"), HumanMessage("write: b c")])
    assert told.text == "b c"
    assert [chunk.text for chunk in chat.stream(STORY) if chunk.text] == [
        word if n == 0 else f" {word}" for n, word in enumerate(TOLD.split())
    ]
    schema = {"title": "lease", "type": "object", "properties": {"end": {"type": "string"}}, "required": ["end"]}
    assert chat.with_structured_output(schema).invoke('write: {"end": "2031"}') == {"end": "2031"}


def test_llm_talks_with_it_as_with_any_model(address, monkeypatch, tmp_path):
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: desk\n  model_name: metier\n  api_base: {address}/v1\n  api_key_name: none\n"
    )
    import llm

    model = llm.get_model("desk")
    model.key = "none"
    assert model.prompt(QUESTION, stream=False).text() == QUOTE
    assert "".join(model.prompt(STORY)) == TOLD


def test_what_the_documents_are(address):
    listed = httpx.get(f"{address}/v1/documents").json()["data"]
    assert [(d["specialist"], d["source"], d["title"]) for d in listed] == [("leases", "leases/contracts.md", "Leases")]
    assert "The rent is 4,200 euros" in httpx.get(f"{address}/v1/documents/leases/leases/contracts.md").json()["text"]


def test_responses_answer_and_go_on_from_one_another(client, desk):
    first = client.responses.create(model="metier", input=QUESTION)
    assert (first.output_text, first.status, first.model) == (QUOTE, "completed", "metier/leases")
    (annotation,) = first.output[0].content[0].annotations
    assert annotation.url.endswith("#quote")
    assert first.usage.output_tokens == 3
    second = client.responses.create(model="metier/writer", input="write: next", previous_response_id=first.id)
    assert second.output_text == "next"
    assert next(t.turns for t in desk.threads.list() if t.id.startswith("response-")) == 2, "turns of one thread"
    assert client.responses.retrieve(first.id).output_text == QUOTE
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="metier", input="x", previous_response_id="resp_nothing")


def test_a_response_streams_as_it_is_written(client):
    with client.responses.stream(model="metier", input=STORY) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds.count("response.output_text.delta") == len(TOLD.split())
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert final.output_text == TOLD
    with client.responses.stream(model="metier", input=QUESTION) as stream:
        assert stream.get_final_response().output_text == QUOTE


def test_a_response_in_the_background_is_fetched_or_called_off(client):
    run = client.responses.create(model="metier", input=STORY, background=True)
    assert run.status in ("queued", "in_progress")
    until(lambda: client.responses.retrieve(run.id).status == "completed")
    assert client.responses.retrieve(run.id).output_text == TOLD
    run = client.responses.create(model="metier/writer", input=ENDLESS, background=True)
    client.responses.cancel(run.id)
    until(lambda: client.responses.retrieve(run.id).status not in ("queued", "in_progress"))
    assert client.responses.retrieve(run.id).status == "cancelled"


def test_a_response_in_json(client):
    schema = {"type": "object", "properties": {"end": {"type": "string"}}, "required": ["end"]}
    format = {"type": "json_schema", "name": "lease", "schema": schema}
    answer = client.responses.create(model="metier", input='write: {"end": "2031"}', text={"format": format})
    assert json.loads(answer.output_text) == {"end": "2031"}


def test_langchain_openai_uses_responses_too(address):
    chat = ChatOpenAI(base_url=f"{address}/v1", api_key=SecretStr("none"), model="metier", use_responses_api=True)
    assert chat.invoke(QUESTION).text == QUOTE
    assert "".join(chunk.text for chunk in chat.stream(STORY)) == TOLD
