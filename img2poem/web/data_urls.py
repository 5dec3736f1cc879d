"""Photographs as ``data:`` URLs (RFC 2397), as programs send them inside JSON."""

from __future__ import annotations

import base64
import binascii
import codecs
from typing import Any
from urllib.parse import unquote_to_bytes

from pydantic_core import from_json, to_json

from ..errors import BadImage, InvalidOption
from .settings import MAX_OTHER_BYTES


def photo_of(url: str) -> bytes:
    """Return the bytes that a ``data:`` URL encodes; its media type is ignored.

    Raises:
        BadImage: ``url`` is not a ``data:`` URL (nothing is downloaded), or is malformed.
    """
    head, comma, data = url.partition(",")
    if not is_data_url(head):
        raise BadImage(
            "photographs are not fetched from elsewhere; give the file itself, as data:image/jpeg;base64,..."
        )
    if not comma:
        raise BadImage("a data: URL has a comma before its data")
    found = unquote_to_bytes(data)
    if not head.lower().endswith(";base64"):
        return found
    packed = b"".join(found.split()).rstrip(b"=")
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except binascii.Error as error:
        raise BadImage(f"the base64 text of the data: URL is damaged: {error}") from None


def is_data_url(text: str | bytes) -> bool:
    """Whether ``text`` begins with ``data:``, in upper or lower case."""
    return text[:5].lower() in ("data:", b"data:")


def without_mark(body: bytes) -> bytes:
    """Return JSON without the byte order mark that some programs put first (RFC 8259, section 8.1)."""
    return body.removeprefix(codecs.BOM_UTF8)


def in_json(body: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return the photograph of a JSON body, from the ``data:`` URL in its field ``photo``, and the other fields.

    Raises:
        BadImage: the field ``photo`` is missing or not a valid ``data:`` URL.
        InvalidOption: the body is not a JSON object, or its other fields are too large.
    """
    try:
        fields = from_json(without_mark(body))
    except ValueError as error:
        raise InvalidOption(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidOption("the body must be a JSON object")
    url = fields.pop("photo", None)
    if not isinstance(url, str):
        raise BadImage("the field photo must be a data: URL, as data:image/jpeg;base64,...")
    if len(to_json(fields)) > MAX_OTHER_BYTES:
        raise InvalidOption("the options beside the photograph are too large")
    return photo_of(url), fields
