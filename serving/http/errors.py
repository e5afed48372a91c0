"""Errors as HTTP says them: OpenAI's shape, a status that fits, and no traceback for anybody."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ...core.errors import ConfigError, InputError, MetierError, StateError, ToolDenied

_log = logging.getLogger("metier.http")

_KINDS = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
_KINDS |= {409: "conflict_error", 429: "rate_limit_error"}
_STATUS: dict[type[MetierError], int] = {InputError: 400, ConfigError: 400, ToolDenied: 403, StateError: 409}


class ServingError(MetierError):
    """A request that cannot be served as it is.

    Args:
        status: HTTP's.
        code: For programs: `model_not_found`.
        param: The field that is wrong.
        headers: Go with the response: `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status, self.code, self.param, self.headers = status, code, param, dict(headers or {})


def status_of(error: BaseException) -> int:
    """The HTTP status for an error of a run."""
    if isinstance(error, ServingError):
        return error.status
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


def error_body(error: BaseException) -> dict[str, Any]:
    """`{"error": {message, type, param, code}}`; what is not ours is not told, only logged."""
    status = status_of(error)
    if isinstance(error, MetierError):
        message = f"{error.message} → {error.hint}" if error.hint else error.message
    else:
        message = f"something went wrong in the server ({type(error).__name__})"
    code = error.code if isinstance(error, ServingError) else type(error).__name__
    param = error.param if isinstance(error, ServingError) else getattr(error, "field", None)
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(error: BaseException) -> JSONResponse:
    """The response for an error."""
    headers = error.headers if isinstance(error, ServingError) else None
    return JSONResponse(error_body(error), status_of(error), headers)


def install_errors(app: FastAPI) -> None:
    """Every error that leaves the app has OpenAI's shape."""

    async def ours(request: Request, error: Exception) -> JSONResponse:
        return error_response(error)

    async def starlette(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return error_response(ServingError(error.status_code, str(error.detail), headers=error.headers))

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        wrong = ServingError(
            422, f"{field}: {first['msg']}".removeprefix(": "), code=first["type"], param=field or None
        )
        return error_response(wrong)

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return error_response(error)

    app.add_exception_handler(MetierError, ours)
    app.add_exception_handler(HTTPException, starlette)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unexpected)
