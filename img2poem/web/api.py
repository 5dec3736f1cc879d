"""The routes under ``/v1``: photographs in; poems, descriptions and cards out."""

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
    PoemOptions,
    body_of,
    card_asked,
    description_asked,
    poem_asked,
)
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
    """The poems, where `count` was given."""

    poems: list[PoemAnswer]


class About(BaseModel):
    """What this server is, and what it takes."""

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
        """Whether the lines are known one by one."""
        return self.strategies[0].name in ("greedy", "sample") and (self.form is None or self.form.only_lines)


async def _in_turn(request: Request, asked: AskedPoem) -> AsyncIterator[_Order]:
    """Wait for a place once the upload has come: a slow one keeps nobody waiting."""
    order = _Order(asked.photo, asked.options.searched("sample"), asked.options.form())
    async with request.app.state.admission.taken(request):
        yield order


router = APIRouter(prefix="/v1", responses=documented(408, 413, 415, 421, 422, 429, 500, 502, 503, 504))


@router.post("/poems", openapi_extra=body_of(PoemOptions), response_model=PoemAnswer | PoemAnswers)
async def write_poem(request: Request, asked: AskedPoem, poet: Poet) -> Response:
    """Write a poem about the photograph; with `count` several, in an object whose field `poems` lists them."""
    order = _Order(asked.photo, asked.options.searched("best-of"), asked.options.form())
    poems = await _done(request, _poems(poet, order))
    for poem in poems:
        _count(request, poem)
    told = [poem.to_json() for poem in poems]
    body = told[0] if asked.options.count is None else f'{{"poems": [{", ".join(told)}]}}'
    return Response(body, media_type="application/json")


@router.post("/poems/stream", openapi_extra=body_of(PoemOptions), response_class=EventSourceResponse)
async def stream_poem(
    request: Request, order: Annotated[_Order, Depends(_in_turn)], poet: Poet
) -> AsyncIterator[ServerSentEvent]:
    """Write a poem and send each line as it is written: events `line`, then one `poem`, the whole; with `count` again.

    With the strategies `sample` (when none is named) and `greedy`, and no form but `lines`, lines come one by one; else
    together at the end. What fails once the stream is open is an event `problem` in the place of the rest.
    """
    try:
        async with aclosing(_parts(poet, order)) as parts:
            async for part in parts:
                if isinstance(part, Line):
                    yield ServerSentEvent(data={"index": part.index, "text": part.text}, event="line")
                else:
                    _count(request, part)
                    yield ServerSentEvent(raw_data=part.to_json(), event="poem")
    except Exception as error:
        yield ServerSentEvent(data=problem_of(error, request_id(request)), event="problem")


@router.post("/describe", openapi_extra=body_of(DescribeOptions), response_model=Description)
async def describe(
    request: Request, asked: Annotated[Asked[DescribeOptions], Depends(description_asked)], poet: Poet
) -> Response:
    """Say what the encoders see: the likeliest objects and scenes, valence and arousal from 1 to 7."""
    seen = await _done(request, poet.describe(asked.photo, asked.options.k))
    return Response(seen.to_json(), media_type="application/json")


@router.post(
    "/card",
    openapi_extra=body_of(CardOptions),
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def typeset(request: Request, asked: Annotated[Asked[CardOptions], Depends(card_asked)]) -> Response:
    """Typeset a poem on or beside the photograph: a PNG file."""
    options = asked.options
    layout = Layout(options.layout) if options.layout else None
    drawing = asyncio.to_thread(card, asked.photo, options.poem.strip().splitlines(), layout)
    return Response(await _done(request, drawing), media_type="image/png")


@router.get("/about")
async def about(request: Request, poet: Poet) -> About:
    """Say which model writes, and what photographs may be."""
    info = await poet.info()
    return About(
        package=info.package,
        contract=info.contract,
        formats=list(FORMATS),
        max_bytes=request.app.state.settings.max_bytes,
    )


async def _done(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do ``work`` when its turn comes, unless its caller goes away."""
    try:
        async with request.app.state.admission.taken(request):
            return await unless_gone(request, work)
    finally:
        work.close()  # where its turn never came


async def _parts(poet: AsyncImg2Poem, order: _Order) -> AsyncGenerator[Line | Poem, None]:
    """Yield the lines and the poem, of each poem, whether or not it can be written line by line."""
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
    """Write one poem after the other: the request has one place."""
    return [await poet.write(order.photo, strategy, form=order.form) for strategy in order.strategies]


def _count(request: Request, poem: Poem) -> None:
    request.app.state.metrics.poems.labels(poem.strategy.name).inc()
