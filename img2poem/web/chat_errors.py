"""What went wrong, as clients of OpenAI's interface read it: an object ``error``, and 400 for what is wrong in it."""

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
#: What OpenAI answers with another status than we do, and what it has a code of its own for.
_STATUS = {415: 400, 422: 400}
_CODES = {404: "model_not_found", 429: "rate_limit_exceeded"}


class ChatError(BaseModel):
    """What went wrong."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None
    code: str


class ChatProblem(BaseModel):
    """A failure, as OpenAI tells it."""

    error: ChatError


def chat_problem(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Return one of our problems as OpenAI tells it."""
    status, wrong = problem["status"], problem.get("errors")
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    code = _CODES.get(status) or problem["title"].lower().replace(" ", "_")
    param = wrong[0]["name"] if wrong else None
    return {"error": {"message": problem["detail"], "type": kind, "param": param, "code": code}}


def chat_documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says about these failures."""
    return {status: {"model": ChatProblem} for status in statuses}


class ChatErrors:
    """Tell every problem of the chat routes, whoever found it, in the shape of OpenAI's errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not scope["path"].startswith(_PATHS):
            return await self._app(scope, receive, send)
        told = _Told(send)
        try:
            await self._app(scope, receive, told)
        except Exception as error:
            if told.begun:  # of an answer that has begun, the connection can only be broken off
                raise
            await answer(problem_of(error, request_id(Request(scope))))(scope, receive, told)


class _Told:
    """Where an answer goes; of a problem, what is made of it. The body of a problem comes in one part."""

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
