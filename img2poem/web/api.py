"""REST routes under ``/v1``: poems, descriptions and cards of photographs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from ..client.aio import AsyncImg2Poem
from ..client.results import Description, FinishReason, Model, Poem
from ..decoding.strategies import AnyStrategy
from ..form.form import Form
from ..images.card import Layout, card
from ..images.decode import FORMATS
from ..requests import Line
from .admission import unless_gone
from .api_request import (
    Asked,
    CardOptions,
    DescribeOptions,
    body_of,
    card_asked,
    description_asked,
    poem_asked,
)
from .poem_options import PoemOptions
from .problems import documented, problem_of, request_id

T = TypeVar("T")


class PoemAnswer(BaseModel):
    """A poem, as ``img2poem write --json`` prints it."""

    lines: list[str]
    text: str
    score: float
    tokens: list[int]
    finish_reason: FinishReason
    seed: int | None
    strategy: dict[str, Any]
    form: Form | None
    relevance: float | None
    timings: dict[str, float]
    model: Model
    request_id: str


class PoemAnswers(BaseModel):
    """Several poems, if `count` was given."""

    poems: list[PoemAnswer]


class About(BaseModel):
    """The model package and its contract hash, and the accepted formats and size of photographs."""

    package: str
    contract: str
    formats: list[str]
    max_bytes: int


def _poet(request: Request) -> AsyncImg2Poem:
    return request.app.state.poet  # type: ignore[no-any-return]


Poet = Annotated[AsyncImg2Poem, Depends(_poet)]
AskedPoem = Annotated[Asked[PoemOptions], Depends(poem_asked)]


@dataclass(frozen=True)
class _Order:
    photo: bytes
    strategies: list[AnyStrategy]
    form: Form | None

    @property
    def by_line(self) -> bool:
        """Whether each line is final before the next one begins, so that it can be streamed."""
        return self.strategies[0].name in ("greedy", "sample") and (self.form is None or self.form.only_lines)


async def _in_turn(request: Request, asked: AskedPoem) -> AsyncIterator[_Order]:
    """Wait for a slot after the upload has finished, so that a slow upload does not occupy one."""
    order = _Order(asked.photo, asked.options.strategies("sample"), asked.options.form())
    async with request.app.state.admission.taken(request):
        yield order


router = APIRouter(prefix="/v1", responses=documented(408, 413, 415, 421, 422, 429, 500, 502, 503, 504))


@router.post("/poems", openapi_extra=body_of(PoemOptions), response_model=PoemAnswer | PoemAnswers)
async def write_poem(request: Request, asked: AskedPoem, poet: Poet) -> Response:
    """Write a poem about the photograph. With `count`, the answer is an object with a list `poems`."""
    order = _Order(asked.photo, asked.options.strategies("best-of"), asked.options.form())
    poems = await _done(request, _poems(poet, order))
    for poem in poems:
        request.app.state.metrics.wrote(poem)
    told = [poem.to_json() for poem in poems]
    body = told[0] if asked.options.count is None else f'{{"poems": [{", ".join(told)}]}}'
    return Response(body, media_type="application/json")


@router.post("/poems/stream", openapi_extra=body_of(PoemOptions), response_class=EventSourceResponse)
async def stream_poem(
    request: Request, order: Annotated[_Order, Depends(_in_turn)], poet: Poet
) -> AsyncIterator[ServerSentEvent]:
    """Write a poem and send each line as it is written, as server-sent events.

    Each poem is a sequence of events `line` and one event `poem` with the whole poem. The strategies `sample` (the
    default) and `greedy`, without a form or with only `lines`, send each line as soon as it is written. Otherwise all
    lines are sent when the poem is complete. An error after the stream was opened is the event `problem`, the last one.
    """
    try:
        async with aclosing(_parts(poet, order)) as parts:
            async for part in parts:
                if isinstance(part, Line):
                    yield ServerSentEvent(data={"index": part.index, "text": part.text}, event="line")
                else:
                    request.app.state.metrics.wrote(part)
                    yield ServerSentEvent(raw_data=part.to_json(), event="poem")
    except Exception as error:
        yield ServerSentEvent(data=problem_of(error, request_id(request)), event="problem")


@router.post("/describe", openapi_extra=body_of(DescribeOptions), response_model=Description)
async def describe(
    request: Request, asked: Annotated[Asked[DescribeOptions], Depends(description_asked)], poet: Poet
) -> Response:
    """Describe the photograph: the most probable objects and scenes, and valence and arousal from 1 to 7."""
    seen = await _done(request, poet.describe(asked.photo, asked.options.k))
    return Response(seen.to_json(), media_type="application/json")


@router.post(
    "/card",
    openapi_extra=body_of(CardOptions),
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def typeset(request: Request, asked: Annotated[Asked[CardOptions], Depends(card_asked)]) -> Response:
    """Typeset a poem on or beside the photograph, as a PNG file."""
    options = asked.options
    layout = Layout(options.layout) if options.layout else None
    drawing = asyncio.to_thread(card, asked.photo, options.poem.strip().splitlines(), layout)
    return Response(await _done(request, drawing), media_type="image/png")


@router.get("/about")
async def about(request: Request, poet: Poet) -> About:
    """Return the model package, and the accepted formats and size of photographs."""
    info = await poet.info()
    return About(
        package=info.package,
        contract=info.contract,
        formats=list(FORMATS),
        max_bytes=request.app.state.settings.max_bytes,
    )


async def _done(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` when a slot is free; cancel it if the client disconnects."""
    try:
        async with request.app.state.admission.taken(request):
            return await unless_gone(request, work)
    finally:
        work.close()  # in case it was never started


async def _parts(poet: AsyncImg2Poem, order: _Order) -> AsyncGenerator[Line | Poem, None]:
    """Yield the lines and then the whole of each poem; if lines cannot be streamed, after the poem is complete."""
    for strategy in order.strategies:
        if order.by_line:
            async with aclosing(poet.stream_poem(order.photo, strategy, form=order.form)) as parts:
                async for part in parts:
                    yield part
            continue
        poem = await poet.write(order.photo, strategy, form=order.form)
        for index, text in enumerate(poem.lines):
            yield Line(index, text)
        yield poem


async def _poems(poet: AsyncImg2Poem, order: _Order) -> list[Poem]:
    """Write one poem after the other, because a request has only one slot."""
    return [await poet.write(order.photo, strategy, form=order.form) for strategy in order.strategies]
