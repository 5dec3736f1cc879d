"""Chat requests of OpenAI's interface, read as requests for poems.

Only the fields declared here are used; https://platform.openai.com/docs/api-reference/chat/create describes all.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any

import anyio
from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from ..client.shared import checked
from ..decoding.registry import OPTIONS, distinct
from ..decoding.strategies import MAX_TOKENS, AnyStrategy, BestOf, Greedy, Sampling
from ..errors import BadImage
from .data_urls import photo_of, without_mark

#: Name of the only model.
MODEL = "img2poem"
#: Maximum number of poems per request.
_MOST = 8
_SEEDS, _TEMPERATURES, _TOP_P = OPTIONS["seed"], OPTIONS["temperature"], OPTIONS["top_p"]


class ImageUrl(BaseModel):
    """A photograph."""

    url: str = Field(description="A `data:` URL; addresses are refused.")


class Part(BaseModel):
    """A part of a message; text is ignored."""

    type: str = Field(description="`image_url` for the photograph.")
    image_url: ImageUrl | None = None


class Message(BaseModel):
    """A message of the conversation."""

    role: str
    content: str | list[Part] | None = None


class StreamOptions(BaseModel):
    """Options of a stream."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """A chat request; unknown fields are ignored."""

    model: str = Field(description=f"`{MODEL}`.")
    messages: list[Message] = Field(min_length=1, description="The poem is about the last photograph in them.")
    stream: bool | None = Field(None, description="Send each line when it is written; with sample, not best-of.")
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=_MOST, description="Number of poems (1), with consecutive seeds.")
    seed: int | None = Field(
        None, ge=int(_SEEDS.lowest), le=int(_SEEDS.highest), description="The same seed gives the same poem (random)."
    )
    temperature: float | None = Field(
        None,
        ge=0,
        le=_TEMPERATURES.highest,
        description=f"{Sampling.temperature:g} by default; 0 is greedy search.",
    )
    top_p: float | None = Field(None, ge=0, le=_TOP_P.highest, description=f"{Sampling.top_p:g} by default.")
    max_tokens: int | None = Field(None, ge=1, description=f"{MAX_TOKENS} by default and at most.")
    max_completion_tokens: int | None = Field(None, ge=1, description="New name of `max_tokens`; takes precedence.")

    @property
    def photo(self) -> str:
        """The URL of the last photograph.

        Raises:
            BadImage: no message has a photograph.
        """
        parts = [part for one in self.messages if isinstance(one.content, list) for part in one.content]
        urls = [part.image_url.url for part in parts if part.image_url]
        if not urls:
            raise BadImage("the messages have no photograph; give one as a part of the type image_url")
        return urls[-1]

    def strategies(self) -> tuple[AnyStrategy, ...]:
        """Return the strategy of each poem."""
        seed = secrets.randbelow(2**31) if self.seed is None else self.seed
        tokens = self.max_completion_tokens or self.max_tokens or MAX_TOKENS
        strategy = self._strategy(seed, max(int(OPTIONS["max_tokens"].lowest), min(tokens, MAX_TOKENS)))
        count = self.n or 1
        return tuple([strategy] * count if isinstance(strategy, Greedy) else distinct(strategy, count))

    def _strategy(self, seed: int, longest: int) -> AnyStrategy:
        if self.temperature is not None and self.temperature < _TEMPERATURES.lowest:
            return Greedy(max_tokens=longest)
        given = {"temperature": self.temperature, "top_p": self.top_p}
        options = {name: max(value, OPTIONS[name].lowest) for name, value in given.items() if value is not None}
        sampling = Sampling(seed=seed, max_tokens=longest, **options)  # type: ignore[arg-type]
        return sampling if self.stream else BestOf(sampling=sampling)


@dataclass(frozen=True)
class ChatOrder:
    """A photograph, whose header has been checked; the strategy of each poem; whether to stream and send usage."""

    photo: bytes
    strategies: tuple[AnyStrategy, ...]
    stream: bool
    usage: bool


def body_of_chat() -> dict[str, Any]:
    """Return the OpenAPI description of the body of a chat request, with references resolved."""
    schema = ChatRequest.model_json_schema()
    named = schema.pop("$defs")

    def inlined(part: Any) -> Any:
        if isinstance(part, list):
            return [inlined(one) for one in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return inlined(named[part["$ref"].rpartition("/")[2]])
        return {name: inlined(value) for name, value in part.items()}

    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined(schema)}}}}


async def chat_order(request: Request) -> ChatOrder:
    """Read a chat request.

    Raises:
        HTTPException: it did not arrive in time (408), or asks for another model (404).
        RequestValidationError: a field is missing or wrong.
        BadImage: there is no photograph that can be used.
    """
    try:
        with anyio.fail_after(request.app.state.settings.timeout):
            body = await request.body()
    except TimeoutError:
        raise HTTPException(408, "the request did not arrive in time") from None
    return await asyncio.to_thread(_read, body)


def _read(body: bytes) -> ChatOrder:
    try:
        asked = ChatRequest.model_validate_json(without_mark(body))
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_context=False, include_url=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in wrong]) from None
    if asked.model != MODEL:
        raise HTTPException(404, f"there is no model {asked.model!r}; the one that is served is {MODEL!r}")
    usage = bool(asked.stream_options and asked.stream_options.include_usage)
    return ChatOrder(checked(photo_of(asked.photo)), asked.strategies(), bool(asked.stream), usage)
