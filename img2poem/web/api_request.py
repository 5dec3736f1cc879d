"""Requests of the REST interface: a photograph in the body, and options in the query, in a form or in JSON."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

import anyio
from fastapi import HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from starlette.datastructures import UploadFile

from ..client.shared import checked
from ..errors import BadImage
from ..images.card import MAX_CHARACTERS, MAX_LINES
from ..images.decode import FORMATS
from .data_urls import in_json, is_data_url, photo_of
from .poem_options import LISTS, OptionsModel, PoemOptions


class DescribeOptions(OptionsModel):
    """Options of a description."""

    k: int = Field(5, ge=1, le=100, description="Number of classes of each kind.")


class CardOptions(OptionsModel):
    """Options of a card."""

    poem: str = Field("", description="The poem; newlines separate lines.", max_length=MAX_LINES * MAX_CHARACTERS)
    layout: Literal["beside", "over", "below"] | None = Field(
        None, description="Position of the poem; by default below wide photographs, and beside others."
    )


T = TypeVar("T", bound=OptionsModel)


@dataclass(frozen=True)
class Asked(Generic[T]):
    """An encoded photograph, whose header has been checked, and the options of the request."""

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


def body_of(options: type[OptionsModel]) -> dict[str, Any]:
    """Return the OpenAPI description of the body of a request with these options."""
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
        # Without a timeout, a client that sends a byte now and then would keep the request open for ever.
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
    """Return the photograph and the option fields."""
    # A body of any other type is the photograph itself: curl's default type is application/x-www-form-urlencoded.
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
    return photo, {name: values if name in LISTS else values[-1] for name, values in fields.items()}
