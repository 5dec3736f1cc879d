"""Errors in the format of OpenAI's interface: an object ``error``, and status 400 in place of 415 and 422."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import ProblemResponse, answer, problem_of, request_id

_PATHS = ("/v1/chat/", "/v1/models")
#: Statuses that differ from ours, and statuses that have an error code of OpenAI's.
_STATUS = {415: 400, 422: 400}
_CODES = {404: "model_not_found", 429: "rate_limit_exceeded"}


class ChatError(BaseModel):
    """An error in OpenAI's format."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None
    code: str


class ChatProblem(BaseModel):
    """An error response in OpenAI's format."""

    error: ChatError


def chat_problem(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a problem (RFC 9457) to OpenAI's format."""
    status, wrong = problem["status"], problem.get("errors")
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    code = _CODES.get(status) or problem["title"].lower().replace(" ", "_")
    param = wrong[0]["name"] if wrong else None
    return {"error": {"message": problem["detail"], "type": kind, "param": param, "code": code}}


def chat_documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of error responses with these statuses."""
    return {status: {"model": ChatProblem} for status in statuses}


class ChatErrors:
    """Middleware that converts every problem of the chat routes to OpenAI's format."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or not scope["path"].startswith(_PATHS):
            return await self._app(scope, receive, send)
        told = _Told(send)
        try:
            await self._app(scope, receive, told)
        except Exception as error:
            if told.begun:  # a response that has begun can only be aborted
                raise
            await answer(problem_of(error, request_id(Request(scope))))(scope, receive, told)


class _Told:
    """ASGI ``send`` that converts problems, whose body must be a single message, and passes on all other responses."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: Message | None = None
        self.begun = False

    async def __call__(self, message: Message) -> None:
        self.begun = True
        if message["type"] == "http.response.start" and _is_problem(message):
            self._head = message
        elif self._head is None:
            await self._send(message)
        else:
            response = _translated(self._head, message["body"])
            await self._send({**self._head, "status": response.status_code, "headers": response.raw_headers})
            self._head = None
            await self._send({**message, "body": response.body})


def _translated(head: Message, body: bytes) -> JSONResponse:
    kept = {name: value for name, value in Headers(raw=head["headers"]).items() if not name.startswith("content-")}
    status: int = head["status"]
    return JSONResponse(chat_problem(json.loads(body)), _STATUS.get(status, status), kept)


def _is_problem(message: Message) -> bool:
    return Headers(raw=message["headers"]).get("content-type") == ProblemResponse.media_type
