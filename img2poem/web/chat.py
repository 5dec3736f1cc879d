"""OpenAI's chat interface, so that OpenAI's clients and frontends can use img2poem as a model."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from ..client.aio import AsyncImg2Poem
from ..client.results import Poem, json_line
from ..requests import Line
from .admission import unless_gone
from .api import Poet
from .chat_errors import chat_documented, chat_problem
from .chat_request import MODEL, ChatOrder, body_of_chat, chat_order
from .problems import problem_of, request_id

FinishReason = Literal["stop", "length"]
_FINISHED: dict[str, FinishReason] = {"end": "stop", "length": "length"}
_STARTED = int(time.time())


class ChatMessage(BaseModel):
    """A message with a poem."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """One poem of the response."""

    index: int
    message: ChatMessage
    finish_reason: FinishReason
    logprobs: None = None


class Usage(BaseModel):
    """Numbers of tokens; the prompt counts none, because its text is ignored."""

    prompt_tokens: Literal[0] = 0
    completion_tokens: int
    total_tokens: int


class ChatCompletion(BaseModel):
    """The requested poems."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str = MODEL
    choices: list[Choice]
    usage: Usage


class ChatModel(BaseModel):
    """The only model."""

    id: str = MODEL
    object: Literal["model"] = "model"
    created: int = _STARTED
    owned_by: str = "img2poem"


class ChatModels(BaseModel):
    """List of the available models."""

    object: Literal["list"] = "list"
    data: list[ChatModel]


class _Events(StreamingResponse):
    """Server-sent events; closes their generator with the response, even if the client disconnects."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], headers: dict[str, str]) -> None:
        super().__init__(events, headers=headers)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


async def _in_turn(request: Request, order: Annotated[ChatOrder, Depends(chat_order)]) -> AsyncIterator[ChatOrder]:
    """Wait for a slot after the upload has finished, and hold it until the response has been sent."""
    async with request.app.state.admission.taken(request):
        yield order


router = APIRouter(prefix="/v1", tags=["openai"], responses=chat_documented(421, 500))
_FAILURES = chat_documented(400, 404, 408, 413, 429, 502, 503, 504)


@router.get("/models")
async def models() -> ChatModels:
    """List the available models: there is only one."""
    return ChatModels(data=[ChatModel()])


@router.get("/models/{name}", include_in_schema=False)
async def model(name: str) -> ChatModel:
    """Describe the model."""
    if name != MODEL:
        raise HTTPException(404, f"there is no model {name!r}; the one that is served is {MODEL!r}")
    return ChatModel()


@router.post(
    "/chat/completions",
    response_model=ChatCompletion,
    responses=_FAILURES,
    openapi_extra=body_of_chat(),
)
async def complete(request: Request, order: Annotated[ChatOrder, Depends(_in_turn)], poet: Poet) -> Response:
    """Write poems about the photograph, with requests and responses as in OpenAI's chat interface.

    The photograph is a part `image_url` of a message, as a `data:` URL; text is ignored. With `stream`, each line is
    sent when it is written.
    """
    if order.stream:
        return _Events(_events(request, poet, order), headers={"x-accel-buffering": "no"})
    poems = [await unless_gone(request, poet.write(order.photo, strategy)) for strategy in order.strategies]
    for poem in poems:
        request.app.state.metrics.wrote(poem)
    choices = [_choice(index, poem) for index, poem in enumerate(poems)]
    answer = ChatCompletion(id=_id(request), created=int(time.time()), choices=choices, usage=_usage(poems))
    return JSONResponse(answer.model_dump())


async def _events(request: Request, poet: AsyncImg2Poem, order: ChatOrder) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of the poems, one poem after the other; an error is sent as the last event."""
    head = {"id": _id(request), "object": "chat.completion.chunk", "created": int(time.time()), "model": MODEL}
    poems: list[Poem] = []
    try:
        for index, strategy in enumerate(order.strategies):
            yield _event({**head, "choices": [_delta(index, {"role": "assistant", "content": ""})]})
            async with aclosing(poet.stream_poem(order.photo, strategy)) as parts:
                async for part in parts:
                    if isinstance(part, Line):
                        text = f"\n{part.text}" if part.index else part.text
                        yield _event({**head, "choices": [_delta(index, {"content": text})]})
                    else:
                        request.app.state.metrics.wrote(part)
                        poems.append(part)
            yield _event({**head, "choices": [_delta(index, {}, _FINISHED[poems[-1].finish_reason])]})
        if order.usage:
            yield _event({**head, "choices": [], "usage": _usage(poems).model_dump()})
        yield format_sse_event(data_str="[DONE]")
    except Exception as error:
        yield _event(chat_problem(problem_of(error, request_id(request))))


def _event(data: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=json_line(data))


def _delta(index: int, delta: dict[str, str], finished: FinishReason | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finished}


def _choice(index: int, poem: Poem) -> Choice:
    message = ChatMessage(content=poem.text)
    return Choice(index=index, message=message, finish_reason=_FINISHED[poem.finish_reason])


def _usage(poems: list[Poem]) -> Usage:
    written = sum(len(poem.tokens) for poem in poems)
    return Usage(completion_tokens=written, total_tokens=written)


def _id(request: Request) -> str:
    return f"chatcmpl-{request_id(request)}"
