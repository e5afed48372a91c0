"""`/v1/files` and `/v1/batches`: many requests as one JSONL file, worked on when there is room, as OpenAI's clients do.

A line is `{"custom_id": …, "method": "POST", "url": "/v1/chat/completions", "body": {…}}`; `url` may be each of
`ENDPOINTS`. Lines that were answered are not asked again after a restart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterable
from typing import Annotated, Any, Literal
from uuid import uuid4

import httpx
from fastapi import APIRouter, FastAPI, File, Form, Path, Request, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Receive, Scope, Send

from ...memory.records import Record, Records
from .caller import CALLER, Caller, Whoever
from .errors import ServingError
from .shift import Shift

_log = logging.getLogger("metier.http")

batch_routes = APIRouter(prefix="/v1", tags=["batches"])

ENDPOINTS = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/runs")

_LARGEST = 50_000_000
"""Bytes of a file."""
_MOST_LINES = 50_000
_MOST_TAKEN = 20
"""Batches of a server that has ended which another one takes at a time."""
_AT_ONCE = 2
"""Lines of a batch that are worked on at the same time: people who wait come first."""

FileId = Annotated[str, Path(max_length=100)]
BatchId = Annotated[str, Path(max_length=100)]


class BatchLine(BaseModel):
    """One request of a batch."""

    model_config = ConfigDict(extra="ignore")

    custom_id: str = Field(max_length=500)
    method: Literal["POST"] = "POST"
    url: str
    body: dict[str, Any]


class BatchRequest(BaseModel):
    """Which file to work on."""

    model_config = ConfigDict(extra="ignore")

    input_file_id: str = Field(max_length=100)
    endpoint: Literal["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/runs"]
    completion_window: str = Field(default="24h", max_length=20)
    metadata: dict[str, str] | None = None


# Files.


@batch_routes.post("/files")
async def upload_file(
    request: Request, who: Whoever, file: Annotated[UploadFile, File()], purpose: Annotated[str, Form(max_length=100)]
) -> dict[str, Any]:
    """Keep a JSONL file."""
    data = await file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ServingError(413, f"a file may have {_LARGEST} bytes", code="file_too_large", param="file")
    try:
        content = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ServingError(400, f"the file is not UTF-8 text: byte {error.start}", param="file") from None
    return _shown(_keep_file(_records(request), who, content, file.filename or "upload.jsonl", purpose))


@batch_routes.get("/files")
async def list_files(request: Request, who: Whoever) -> dict[str, Any]:
    """The files that are kept."""
    files = [_shown(record.body) for record in _records(request).list("file", who.owner)]
    return {"object": "list", "data": files, "has_more": False}


@batch_routes.get("/files/{file_id}")
async def get_file(file_id: FileId, request: Request, who: Whoever) -> dict[str, Any]:
    """What is known of a file."""
    return _shown(_own(request, who, "file", file_id).body)


@batch_routes.get("/files/{file_id}/content", response_class=Response)
async def read_file(file_id: FileId, request: Request, who: Whoever) -> Response:
    """The file."""
    return Response(_own(request, who, "file", file_id).body["content"], media_type="application/jsonl")


@batch_routes.delete("/files/{file_id}")
async def delete_file(file_id: FileId, request: Request, who: Whoever) -> dict[str, Any]:
    """Forget a file."""
    record = _own(request, who, "file", file_id)
    _records(request).delete("file", record.id)
    return {"id": record.id, "object": "file", "deleted": True}


def _records(request: Request) -> Records:
    return request.app.state.runs.records


def _own(request: Request, who: Caller, kind: str, id: str) -> Record:
    record = _records(request).get(kind, id)
    if record is None or record.owner != who.owner:
        raise ServingError(404, f"there is no {kind} '{id}'", code=f"{kind}_not_found")
    return record


def _keep_file(records: Records, who: Caller, content: str, name: str, purpose: str) -> dict[str, Any]:
    body = {
        "id": f"file-{uuid4().hex}",
        "object": "file",
        "bytes": len(content.encode()),
        "created_at": int(time.time()),
        "filename": name[:200],
        "purpose": purpose,
        "status": "processed",
        "content": content,
    }
    records.put("file", body["id"], who.owner, body)
    return body


def _shown(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "content"}


# Batches.


@batch_routes.post("/batches")
async def create_batch(asked: BatchRequest, request: Request, who: Whoever) -> dict[str, Any]:
    """Begin to work on a file."""
    file = _own(request, who, "file", asked.input_file_id)
    lines = _read_lines(file.body["content"], asked.endpoint)
    now = int(time.time())
    body = {
        "id": f"batch_{uuid4().hex}",
        "object": "batch",
        "endpoint": asked.endpoint,
        "input_file_id": file.id,
        "completion_window": asked.completion_window,
        "status": "in_progress",
        "created_at": now,
        "in_progress_at": now,
        "errors": None,
        "output_file_id": None,
        "error_file_id": None,
        "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        "metadata": asked.metadata,
    }
    _batches(request).begin(who, body, lines)
    return body


@batch_routes.get("/batches")
async def list_batches(request: Request, who: Whoever) -> dict[str, Any]:
    """All batches, the latest first."""
    batches = [record.body for record in _records(request).list("batch", who.owner)]
    return {"object": "list", "data": batches, "has_more": False}


@batch_routes.get("/batches/{batch_id}")
async def get_batch(batch_id: BatchId, request: Request, who: Whoever) -> dict[str, Any]:
    """How a batch stands."""
    return _own(request, who, "batch", batch_id).body


@batch_routes.post("/batches/{batch_id}/cancel")
async def cancel_batch(batch_id: BatchId, request: Request, who: Whoever) -> dict[str, Any]:
    """Call a batch off; what was answered is kept."""
    record = _own(request, who, "batch", batch_id)
    return await _batches(request).cancel(record.id) or record.body


def _batches(request: Request) -> Batches:
    return request.app.state.batches


def _read_lines(content: str, endpoint: str) -> list[BatchLine]:
    """The lines of a file.

    Raises:
        ServingError: 400, a line is no request, or two have one `custom_id`; names the line.
    """
    rows = [(number, row) for number, row in enumerate(content.splitlines(), 1) if row.strip()]
    lines, names = [], set[str]()
    for number, row in rows[: _MOST_LINES + 1]:
        try:
            line = BatchLine.model_validate_json(row)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ServingError(400, f"line {number}: {where} {first['msg']}", code="invalid_batch") from None
        if line.url != endpoint:
            raise ServingError(
                400, f"line {number}: url is '{line.url}', the batch's '{endpoint}'", code="invalid_batch"
            )
        if line.custom_id in names:
            raise ServingError(400, f"line {number}: custom_id '{line.custom_id}' is taken", code="invalid_batch")
        names.add(line.custom_id)
        lines.append(line)
    if not lines or len(lines) > _MOST_LINES:
        raise ServingError(400, f"a batch has 1 to {_MOST_LINES} lines", code="invalid_batch")
    return lines


class Batches:
    """Works on batches beside everything else. Each line is a request to the app itself, in its owner's name."""

    def __init__(self, app: FastAPI, shift: Shift) -> None:
        self._app, self._records, self._shift = app, shift.records, shift
        self._at_work: dict[str, asyncio.Task[None]] = {}

    def begin(self, who: Caller, body: dict[str, Any], lines: list[BatchLine]) -> None:
        """Keep a batch and begin."""
        given = [line.model_dump() for line in lines]
        self._records.put("batch_lines", body["id"], who.owner, {"who": who.model_dump(mode="json"), "lines": given})
        self._keep(who, body, open=True)
        self._start(who, body, lines)

    async def look_around(self) -> None:
        """Go on with what nobody works on any more, and leave what was called off, or taken, elsewhere."""
        for record in self._shift.take("batch", _MOST_TAKEN):
            if kept := self._records.get("batch_lines", record.id):
                who = Caller.model_validate(kept.body["who"])
                self._start(who, record.body, [BatchLine.model_validate(line) for line in kept.body["lines"]])
        if self._at_work:
            held = self._shift.held("batch")
            for id in [id for id in self._at_work if id not in held]:
                self._at_work.pop(id).cancel()
            for id in [id for id in self._at_work if self._records.get("cancel", id)]:
                self._at_work[id].cancel()
                self._records.delete("cancel", id)

    async def cancel(self, id: str) -> dict[str, Any] | None:
        """Call a batch off. Gives it as it stands then; None when it is not being worked on here."""
        task = self._at_work.get(id)
        if task is None:
            if (record := self._records.get("batch", id)) and record.open:  # another server's, which looks for this
                self._records.put("cancel", id, record.owner, {})
            return None
        task.cancel()
        await asyncio.wait([task])
        record = self._records.get("batch", id)
        return record.body if record else None

    async def stop(self) -> None:
        """Leave all batches as they are, to be gone on with later."""
        tasks, self._at_work = list(self._at_work.values()), {}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _start(self, who: Caller, body: dict[str, Any], lines: list[BatchLine]) -> None:
        task = asyncio.get_running_loop().create_task(self._work(who, body, lines))
        self._at_work[body["id"]] = task
        task.add_done_callback(lambda done: self._at_work.pop(body["id"], None))

    async def _work(self, who: Caller, body: dict[str, Any], lines: list[BatchLine]) -> None:
        try:
            todo = iter([line for line in lines if not self._answer(body, line)])
            async with self._client(who) as client, asyncio.TaskGroup() as group:
                for _ in range(_AT_ONCE):
                    group.create_task(self._ask_all(client, who, body, todo))
        except asyncio.CancelledError:
            if body["id"] in self._at_work:  # called off; else the server ends
                self._finish(who, body, lines, "cancelled")
            raise
        except Exception as error:
            _log.error("batch %s failed", body["id"], exc_info=error)
            self._finish(who, body, lines, "failed")
            return
        self._finish(who, body, lines, "completed")

    async def _ask_all(
        self, client: httpx.AsyncClient, who: Caller, body: dict[str, Any], todo: Iterable[BatchLine]
    ) -> None:
        for line in todo:
            response = await self._ask(client, line)
            answer = {"status_code": response.status_code, "request_id": uuid4().hex, "body": response.json()}
            self._records.put("batch_answer", f"{body['id']}\n{line.custom_id}", who.owner, answer)
            body["request_counts"]["completed" if response.is_success else "failed"] += 1
            self._keep(who, body, open=True)

    def _keep(self, who: Caller, body: dict[str, Any], *, open: bool) -> bool:
        return self._shift.put("batch", Record(body["id"], who.owner, "", open, 0.0, body))

    async def _ask(self, client: httpx.AsyncClient, line: BatchLine) -> httpx.Response:
        given = {**line.body, "stream": False} if line.url != "/v1/embeddings" else line.body
        if line.url == "/v1/runs":
            given["wait"] = True
        while True:
            response = await client.post(line.url, json=given)
            if response.status_code != 429:
                return response
            await asyncio.sleep(float(response.headers.get("retry-after", 1)))

    def _client(self, who: Caller) -> httpx.AsyncClient:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await self._app({**scope, CALLER: who}, receive, send)

        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=None)

    def _answer(self, body: dict[str, Any], line: BatchLine) -> dict[str, Any] | None:
        record = self._records.get("batch_answer", f"{body['id']}\n{line.custom_id}")
        return record.body if record else None

    def _finish(self, who: Caller, body: dict[str, Any], lines: list[BatchLine], status: str) -> None:
        good, bad = list[str](), list[str]()
        for line in lines:
            if answer := self._answer(body, line):
                row = {"id": f"batch_req_{uuid4().hex}", "custom_id": line.custom_id, "response": answer, "error": None}
                (good if answer["status_code"] < 400 else bad).append(json.dumps(row, ensure_ascii=False))
                self._records.delete("batch_answer", f"{body['id']}\n{line.custom_id}")
        for rows, name in ((good, "output"), (bad, "error")):
            if rows:
                file = _keep_file(
                    self._records, who, "\n".join(rows) + "\n", f"{body['id']}_{name}.jsonl", "batch_output"
                )
                body[f"{name}_file_id"] = file["id"]
        body.update({"status": status, f"{status}_at": int(time.time())})
        self._keep(who, body, open=False)
        self._records.delete("batch_lines", body["id"])
