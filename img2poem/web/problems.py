"""What went wrong, as RFC 9457 has it: ``application/problem+json``, with a status that fits."""

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

#: The first of an error's classes that stands here decides; what stands nowhere is a fault of this machine's.
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
#: For the log and the counters, as nginx has it: the caller went away before anything could be answered.
GONE = 499
#: Seconds after which a caller may try again.
_RETRY = {"retry-after": "2"}


class Problem(BaseModel):
    """What went wrong. ``type`` names the kind of problem, ``detail`` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    #: Of each field that was wrong, what was.
    errors: list[dict[str, str]] = []


class ProblemResponse(JSONResponse):
    """A problem as an answer."""

    media_type = "application/problem+json"


def problem(
    status: int, detail: str, request_id: str, kind: str | None = None, errors: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    """Return a problem; ``kind`` is the name of our error, the status's own when not given."""
    phrase = HTTPStatus(status).phrase
    title = _spaced(kind) if kind else phrase
    name = f"urn:img2poem:problem:{title.lower().replace(' ', '-')}" if kind else "about:blank"
    found = {"type": name, "title": title, "status": status, "detail": detail, "request_id": request_id}
    return {**found, "errors": errors} if errors else found


def problem_of(error: Exception, request_id: str) -> dict[str, Any]:
    """Return the problem that an error is; of what nobody foresaw, only the id of its entry in the log."""
    if isinstance(error, errors.Img2PoemError):
        status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
        if status >= 500:
            log.warning("%s %s: %s (models: %s)", request_id, type(error).__name__, error, error.request_id)
        # Addresses and folders of this machine's are nothing to callers; the log has them.
        told = str(error) if status < 500 or isinstance(error, errors.Overloaded) else _PUBLIC[status]
        return problem(status, told, request_id, type(error).__name__)
    log.error("%s failed", request_id, exc_info=error)
    return problem(500, "This should not have happened; the log has it under the id of the request.", request_id)


_PUBLIC = {
    500: "The models cannot be used as they are installed.",
    502: "The server of the models failed, or does not answer.",
    503: "The server of the models is not ready; try again soon.",
    504: "The answer did not come in time; try again, or ask for less.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says about these failures."""
    content = {ProblemResponse.media_type: {"schema": Problem.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def answer(found: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> ProblemResponse:
    """Return a problem as an answer."""
    again = _RETRY if found["status"] == 503 else {}
    return ProblemResponse(dict(found), found["status"], {**again, **(headers or {})})


def install(app: FastAPI) -> None:
    """Make every foreseen failure of ``app`` a problem; :class:`.middleware.Watch` does so with the others."""

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
    """Return the id that the request came with, or was given."""
    return str(request.scope["state"]["request_id"])


def _spaced(name: str) -> str:
    words = re.findall("[A-Z][a-z]+", name)
    return " ".join([words[0], *(word.lower() for word in words[1:])])
