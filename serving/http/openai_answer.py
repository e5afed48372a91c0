"""An answer of the team as OpenAI's APIs say it: whose it is, what it cites, what it cost, what may be said early."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from langchain_core.messages import BaseMessage
from pydantic import BaseModel, ConfigDict, Field

from ...agents.team import Team
from ...core.errors import EngineError, unknown
from ...core.run import Event
from ...core.types import Answer, Citation, Route
from ...specialists.engines.engine import Json, Sampling
from ...specialists.prompt import NOT_FOUND
from ...specialists.styles.written import FREE, JSON
from ..ask import place, shorten
from .documents import document_text
from .errors import ServingError

TEAM = "metier"
"""The team as a model; `metier/NAME` is one of its specialists."""
_HARMLESS = {"length", "injection"}
"""Guards that leave an answer as it is. With others nothing is said before they have seen the whole."""
_JSON_TOKENS = 512


class ContentPart(BaseModel):
    """A piece of a message's content."""

    model_config = ConfigDict(extra="ignore")

    type: str = Field(max_length=100)
    text: str | None = None


def text_of(content: str | list[ContentPart] | None, param: str) -> str:
    """The text of a message.

    Raises:
        ServingError: 400, there is a picture or a file in it.
    """
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.type not in ("text", "input_text", "output_text", "refusal"):
            message = f"the team reads text only, not '{part.type}'"
            raise ServingError(400, message, code="unsupported_content", param=param)
    return "\n".join(part.text or "" for part in content)


def specialist_of(model: str, team: Team) -> str | None:
    """Whom a model's name means; None is the team.

    Raises:
        ServingError: 404, there is no such model.
    """
    if model == TEAM:
        return None
    prefix, _, name = model.partition("/")
    if prefix == TEAM and name in team.specialists:
        return name
    message = unknown("model", model, model_names(team))
    raise ServingError(404, message, code="model_not_found", param="model")


def model_names(team: Team) -> list[str]:
    """All models that chat: the team and each specialist."""
    return [TEAM, *(f"{TEAM}/{name}" for name in team.specialists)]


def model_of(specialist: str | None, team: Team) -> str:
    """The model that a specialist is; the team where several answered, or nobody."""
    return f"{TEAM}/{specialist}" if specialist in team.specialists else TEAM


def usage_of(answer: Answer) -> dict[str, int]:
    """Tokens, as chat completions count them."""
    given, written = answer.usage.input_tokens, answer.usage.output_tokens
    return {"prompt_tokens": given, "completion_tokens": written, "total_tokens": given + written}


def detail(answer: Answer) -> dict[str, Any]:
    """What OpenAI's fields have no place for, under the key `metier`: route, confidence, evidence, ids …"""
    return answer.model_dump(mode="json", exclude={"text", "usage"})


def document_url(base: str, citation: Citation, specialist: str | None) -> str:
    """Where a citation opens, at its place."""
    where = f"{base}/documents/{quote(specialist or '', safe='')}/{quote(citation.source)}"
    return f"{where}?{urlencode({'start': citation.start, 'end': citation.end})}#quote"


def said(answer: Answer, base: str, team: Team) -> str:
    """The answer for those who show nothing but its text: in doubt the passages that come nearest stand below it."""
    lines = [answer.text]
    for near in answer.evidence:
        url = document_url(base, near, holder(team, answer, near))
        lines.append(f"> {shorten(near.quote or near.context)}\n> — [{place(near)}]({url})")
    return "\n\n".join(lines)


def citations_of(answer: Answer, text: str, base: str, team: Team) -> list[dict[str, Any]]:
    """Title, address and place in the text of each source: the fields of a `url_citation`."""
    found = []
    for citation in (*answer.citations, *answer.evidence):
        start = max(0, text.find(citation.quote))
        length = len(citation.quote) if text.find(citation.quote) >= 0 else len(text)
        url = document_url(base, citation, holder(team, answer, citation))
        found.append({"url": url, "title": place(citation), "start_index": start, "end_index": start + length})
    return found


def holder(team: Team, answer: Answer, citation: Citation) -> str | None:
    """Which of those who worked on an answer has the document that is cited; None where nobody has it any more."""
    worked = [*(answer.specialist or "").split(", "), *answer.handoffs, *team.specialists]
    return next(
        (name for name in dict.fromkeys(worked) if document_text(team, name, citation.source) is not None), None
    )


def base_url(request: Request) -> str:
    """How whoever asks reaches this server."""
    return str(request.base_url).rstrip("/")


class LiveText:
    """What of an answer may be told while it is written, and what is left to tell when it is known.

    Words of the style `free` are the answer, so they are content at once. Those of the other styles are work in
    progress until they are checked: reasoning. With guards that change answers nothing is told early. Call `hear` with
    each event, `rest` with the answer.
    """

    def __init__(self, team: Team, *, whole: bool = False) -> None:
        self.told = ""
        """What was told as content."""
        self._team, self._said = team, ""
        self._quiet = whole or not set(team.card.guardrails) <= _HARMLESS
        self._alone = False

    def hear(self, event: Event) -> tuple[str, str] | None:
        """`content` or `reasoning` and the text that is new, if the event brings any."""
        if event.name == "route":
            self._alone = Route.model_validate(event.data).decision == "one"
        if event.name != "token" or self._quiet or not self._alone:
            return None
        specialist = self._team.specialists.get(event.specialist or "")
        if specialist is None or specialist.style is not FREE:
            return "reasoning", event.data["text"]
        self._said += event.data["text"]
        text = self._said.strip()
        if NOT_FOUND.startswith(text.lower()[: len(NOT_FOUND)]):
            return None  # it may become, or is, the words for having found nothing
        new, self.told = text[len(self.told) :], text
        return ("content", new) if new else None

    def rest(self, text: str) -> str:
        """What is still to be told of the answer. Where it is another than what was told, it follows after a line."""
        return text[len(self.told) :] if text.startswith(self.told) else f"\n\n{text}"


class JsonSchema(BaseModel):
    """The schema of a `response_format`."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    name: str = Field(default="answer", max_length=200)
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """How the text of an answer should look."""

    model_config = ConfigDict(extra="ignore")

    type: str = "text"
    json_schema: JsonSchema | None = None

    def check(self) -> None:
        """Is it one that we know?

        Raises:
            ServingError: 400, it is not.
        """
        if self.type not in ("text", "json_object", "json_schema"):
            raise ServingError(400, unknown("response_format", self.type, ["text", "json_object", "json_schema"]))
        if self.type == "json_schema" and (self.json_schema is None or not self.json_schema.schema_):
            raise ServingError(400, "json_schema needs a schema", param="response_format")


def as_json(team: Team, task: str, answer: Answer, wanted: ResponseFormat) -> str:
    """The answer as the JSON that is asked for. The specialist's own data where its schema is the one asked for;
    otherwise the model writes the answer into the schema, which the engine enforces.

    Raises:
        ServingError: 400, this engine cannot enforce such a schema; 500, the JSON was not ended.
    """
    if wanted.json_schema is None:
        data = answer.data if isinstance(answer.data, dict) else {"answer": answer.text}
        return json.dumps(data, ensure_ascii=False)
    schema: Mapping[str, Any] = wanted.json_schema.schema_
    card = team.specialists[answer.specialist].card if answer.specialist in team.specialists else None
    if card and card.output_schema == schema:
        return json.dumps(answer.data, ensure_ascii=False)
    evidence = [citation.context for citation in answer.citations if citation.context]
    messages = JSON.prompt(task, [answer.text, *evidence], system=[json.dumps(schema, separators=(",", ":"))])
    try:
        options = team.engine.constrain(Json(schema))
    except EngineError as error:
        raise ServingError(400, error.message, code="unsupported_schema", param="response_format") from error
    chat = team.engine.chat(Sampling(max_tokens=_JSON_TOKENS))
    reply: BaseMessage = chat.invoke([(m["role"], m["content"]) for m in messages], **options)
    try:
        json.loads(reply.text)
    except ValueError:
        message = f"the JSON has more than {_JSON_TOKENS} tokens"
        raise ServingError(500, message, code="json_not_ended") from None
    return reply.text
