"""What callers ask for: a photograph in the body, options in the query or beside it in a form."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

import anyio
from fastapi import HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from starlette.datastructures import UploadFile

from ..client.shared import checked
from ..decoding.strategies import (
    MAX_COUNT,
    OPTIONS,
    AnyStrategy,
    BeamSearch,
    BestOf,
    Greedy,
    Sampling,
    Strategy,
    distinct,
)
from ..errors import BadImage, InvalidOption
from ..form.form import Form
from ..images.card import MAX_CHARACTERS, MAX_LINES
from ..images.decode import FORMATS
from .data_urls import in_json, is_data_url, photo_of

_STRATEGIES: dict[str, type[Strategy]] = {"greedy": Greedy, "beam": BeamSearch, "sample": Sampling, "best-of": Sampling}
_FORM = tuple(field.name for field in dataclasses.fields(Form))
_LISTS = ("forbidden", "include")


def _within(name: str, description: str) -> Any:
    option = OPTIONS[name]
    whole = option.dtype.__name__ == "int64"
    lowest, highest = (int(end) if whole else end for end in (option.lowest, option.highest))
    return Field(None, ge=lowest, le=highest, description=description)


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _given(cls, values: Any) -> Any:
        """Drop what a form leaves empty."""
        return {name: value for name, value in values.items() if value not in ("", [""])}


class PoemOptions(_Options):
    """Strategy and form, under the names that the library has for them."""

    strategy: Literal["greedy", "beam", "sample", "best-of"] | None = Field(
        None, description="How the poem is searched for; best-of, for a stream sample, when not given."
    )
    n: int | None = _within("n", "Candidates of best-of (16).")
    width: int | None = _within("beam_width", "Width of beam (5).")
    length_penalty: float | None = _within("length_penalty", "Of beam (1).")
    temperature: float | None = _within("temperature", f"Of samples ({Sampling.temperature:g}): lower is safer.")
    top_k: int | None = _within("top_k", "Tokens that sample and best-of draw from.")
    top_p: float | None = _within("top_p", f"Probability that those have together ({Sampling.top_p:g}).")
    seed: int | None = _within("seed", "Of sample and best-of (0): another one, another poem.")
    min_lines: int | None = _within("min_lines", "Lines at least (3).")
    max_lines: int | None = _within("max_lines", "Lines at most (6).")
    max_tokens: int | None = _within("max_tokens", "Tokens at most.")
    max_line_tokens: int | None = _within("max_line_tokens", "Tokens of a line at most (16).")
    no_repeat_ngram: int | None = _within("no_repeat_ngram", "Sequences of so many tokens come once (3; 0: off).")
    repetition_penalty: float | None = _within("repetition_penalty", "Against words that came before (1.1; 1: off).")
    forbidden: list[str] = Field([], description="Words that do not come.")
    count: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="So many poems, by sample or best-of: each has the seed after the last."
    )
    lines: int | None = _within("max_lines", "Exactly so many lines.")
    acrostic: str = Field("", description="First letters of the lines.", max_length=64)
    rhyme: str = Field("", description="Which lines rhyme, as AABB.", max_length=64)
    include: list[str] = Field([], description="Words that must come.")
    first_words: str = Field("", description="How the poem begins.", max_length=200)

    @field_validator(*_LISTS)
    @classmethod
    def _words(cls, values: list[str]) -> list[str]:
        """Take words apart that come in one field, by commas or spaces."""
        return [word.lower() for value in values for word in re.split(r"[\s,]+", value) if word]

    def form(self) -> Form | None:
        """Return the form that is asked for; None when none is."""
        form = Form(**{**self.model_dump(include=set(_FORM)), "include": tuple(self.include)})
        return None if form == Form() else form

    def searched(self, default: str) -> list[AnyStrategy]:
        """Return the strategy of each poem that is asked for.

        Raises:
            InvalidOption: an option belongs to another strategy, or the options contradict each other.
        """
        name = self.strategy or default
        kind = _STRATEGIES[name]
        given = self.model_dump(exclude={*_FORM, *_LISTS, "strategy", "count"}, exclude_none=True)
        count = {"n": given.pop("n")} if "n" in given and name == "best-of" else {}
        if strange := sorted(given.keys() - {field.name for field in dataclasses.fields(kind)}):
            raise InvalidOption(f"{', '.join(strange)} cannot go with the strategy {name}")
        strategy = kind(**given, forbidden=tuple(self.forbidden))
        best = isinstance(strategy, Sampling) and name == "best-of"
        return distinct(BestOf(**count, sampling=strategy) if best else strategy, self.count or 1)  # type: ignore[arg-type]


class DescribeOptions(_Options):
    """How much of what the encoders saw is told."""

    k: int = Field(5, ge=1, le=100, description="Classes of each kind.")


class CardOptions(_Options):
    """What is typeset, and where."""

    poem: str = Field("", description="The poem, its lines parted by newlines.", max_length=MAX_LINES * MAX_CHARACTERS)
    layout: Literal["beside", "over", "below"] | None = Field(
        None, description="Where the poem stands; below wide photographs, beside others, when not given."
    )


T = TypeVar("T", bound=_Options)


@dataclass(frozen=True)
class Asked(Generic[T]):
    """An encoded photograph, its header checked, and what is wanted of it."""

    photo: bytes
    options: T


async def poem_asked(request: Request, query: Annotated[PoemOptions, Query()]) -> Asked[PoemOptions]:
    """Read a request for a poem."""
    return await _asked(request, query)


async def description_asked(request: Request, query: Annotated[DescribeOptions, Query()]) -> Asked[DescribeOptions]:
    """Read a request for a description."""
    return await _asked(request, query)


async def card_asked(request: Request, query: Annotated[CardOptions, Query()]) -> Asked[CardOptions]:
    """Read a request for a card."""
    return await _asked(request, query)


def body_of(options: type[_Options]) -> dict[str, Any]:
    """Return what OpenAPI says about the body of a request with these options."""
    photo = {"type": "string", "format": "binary"}
    fields = options.model_json_schema()["properties"]
    described = {**photo, "description": f"The file: {', '.join(FORMATS)}."}
    url = {"type": "string", "description": "A `data:` URL."}
    form, fields_of_json = (
        {"type": "object", "properties": {"photo": kind, **fields}, "required": ["photo"]} for kind in (described, url)
    )
    kinds = (*(f"image/{name.lower()}" for name in FORMATS), "application/octet-stream")
    raw = {kind: {"schema": photo} for kind in kinds}
    parts = {"multipart/form-data": {"schema": form}, "application/json": {"schema": fields_of_json}}
    return {"requestBody": {"required": True, "content": {**parts, **raw}}}


async def _asked(request: Request, query: T) -> Asked[T]:
    try:
        # A caller who sends a byte now and then would keep the request open for ever.
        with anyio.fail_after(request.app.state.settings.timeout):
            photo, fields = await _read(request)
    except TimeoutError:
        raise HTTPException(408, "the photograph did not arrive in time") from None
    try:
        options = type(query).model_validate({**query.model_dump(exclude_unset=True), **fields})
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    return Asked(await asyncio.to_thread(checked, photo), options)


async def _read(request: Request) -> tuple[bytes, dict[str, Any]]:
    """Return the photograph, and the fields beside it."""
    # Whatever is no such form is the photograph itself: curl calls it application/x-www-form-urlencoded.
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith("application/json"):
        return await asyncio.to_thread(in_json, await request.body())
    if not kind.startswith("multipart/form-data"):
        body = await request.body()
        return (await asyncio.to_thread(photo_of, body.decode("ascii", "replace")) if is_data_url(body) else body), {}
    photo, fields = b"", defaultdict(list)
    async with request.form(max_files=1, max_fields=64, max_part_size=2**16) as form:
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields[name].append(value)
            elif name == "photo":
                photo = await value.read()
    if "photo" in fields or not isinstance(form.get("photo"), UploadFile):
        others = [name for name, value in form.multi_items() if isinstance(value, UploadFile)]
        raise BadImage(f"the form has no file in its field photo{', but in ' + others[0] if others else ''}")
    return photo, {name: values if name in _LISTS else values[-1] for name, values in fields.items()}
