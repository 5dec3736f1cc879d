"""Errors as problems (RFC 9457): ``application/problem+json`` and the matching HTTP status."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from .. import errors

log = logging.getLogger("img2poem.web")

#: HTTP status by class of error; the first class of an error's MRO that is listed decides. Others have status 500.
_STATUS: dict[type[errors.Img2PoemError], int] = {
    errors.BadImage: 415,
    errors.InvalidOption: 422,
    errors.NoPoem: 422,
    errors.Overloaded: 503,
    errors.NotReady: 503,
    errors.Cancelled: 503,
    errors.Timeout: 504,
    errors.ConnectionFailed: 502,
    errors.ContractMismatch: 502,
    errors.ServerError: 502,
}
#: Status in log and metrics, as in nginx: the client disconnected before the response.
GONE = 499
#: Headers of status 503: seconds until a retry makes sense.
_RETRY = {"retry-after": "2"}


class Problem(BaseModel):
    """A problem (RFC 9457). ``type`` names the kind of problem, ``detail`` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    #: Name and error of each invalid field.
    errors: list[dict[str, str]] = []


class ProblemResponse(JSONResponse):
    """A response with a problem."""

    media_type = "application/problem+json"


def problem(
    status: int, detail: str, request_id: str, kind: str | None = None, errors: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    """Return the members of a problem.

    Args:
        status: HTTP status.
        detail: what went wrong and what to do.
        request_id: the request's id.
        kind: class name of an :class:`Img2PoemError`; by default the status names the problem.
        errors: name and detail of each invalid field.
    """
    phrase = HTTPStatus(status).phrase
    title = _spaced(kind) if kind else phrase
    name = f"urn:img2poem:problem:{title.lower().replace(' ', '-')}" if kind else "about:blank"
    found = {"type": name, "title": title, "status": status, "detail": detail, "request_id": request_id}
    return {**found, "errors": errors} if errors else found


def problem_of(error: Exception, request_id: str) -> dict[str, Any]:
    """Return the problem of an error. An unexpected error is logged, and its problem only refers to the log."""
    if isinstance(error, errors.Img2PoemError):
        status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
        if status >= 500:
            log.warning("%s %s: %s (models: %s)", request_id, type(error).__name__, error, error.request_id)
        # Messages of server errors name addresses and folders of this machine: log them, but do not send them.
        told = str(error) if status < 500 or isinstance(error, errors.Overloaded) else _PUBLIC[status]
        return problem(status, told, request_id, type(error).__name__)
    log.error("%s failed", request_id, exc_info=error)
    return problem(500, "An unexpected error; the log of the gateway has it under the request id.", request_id)


_PUBLIC = {
    500: "The models cannot be used as they are installed.",
    502: "The model server failed, or does not answer.",
    503: "The model server is not ready; try again soon.",
    504: "The answer did not come in time; try again, or ask for less.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of problems with these statuses."""
    content = {ProblemResponse.media_type: {"schema": Problem.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def answer(found: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> ProblemResponse:
    """Return the response with a problem; status 503 gets a ``Retry-After``."""
    again = _RETRY if found["status"] == 503 else {}
    return ProblemResponse(dict(found), found["status"], {**again, **(headers or {})})


def install(app: FastAPI) -> None:
    """Answer expected errors of ``app`` with problems; :class:`.middleware.Watch` does so for unexpected ones."""

    @app.exception_handler(errors.Img2PoemError)
    async def failed(request: Request, error: errors.Img2PoemError) -> ProblemResponse:
        return answer(problem_of(error, request_id(request)))

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: HTTPException) -> ProblemResponse:
        return answer(problem(error.status_code, str(error.detail), request_id(request)), error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=GONE)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> ProblemResponse:
        wrong = [{"name": str(one["loc"][-1]), "detail": str(one["msg"])} for one in error.errors()]
        detail = "; ".join(f"{one['name']}: {one['detail']}" for one in wrong)
        return answer(problem(422, detail, request_id(request), "InvalidOption", wrong))


def request_id(request: Request) -> str:
    """Return the request's id, set by :class:`.middleware.Watch`."""
    return str(request.scope["state"]["request_id"])


def _spaced(name: str) -> str:
    words = re.findall("[A-Z][a-z]+", name)
    return " ".join([words[0], *(word.lower() for word in words[1:])])
