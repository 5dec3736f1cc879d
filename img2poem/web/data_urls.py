"""Photographs as ``data:`` URLs (RFC 2397), as programs send them inside JSON."""

from __future__ import annotations

import base64
import binascii
import codecs
from typing import Any
from urllib.parse import unquote_to_bytes

from pydantic_core import from_json, to_json

from ..errors import BadImage, InvalidOption

#: What a body of JSON may have around the photograph, in bytes.
_AROUND = 2**16


def photo_of(url: str) -> bytes:
    """Return the file that a ``data:`` URL holds; what kind it is said to be does not matter.

    Raises:
        BadImage: an address from which the photograph would have to be fetched, or a malformed ``data:`` URL.
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
    """Whether ``text`` begins as a ``data:`` URL does."""
    return text[:5].lower() in ("data:", b"data:")


def without_mark(body: bytes) -> bytes:
    """Return JSON without the byte order mark that some programs send before it (RFC 8259, section 8.1)."""
    return body.removeprefix(codecs.BOM_UTF8)


def in_json(body: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return the photograph of a body of JSON, a ``data:`` URL in its field ``photo``, and the fields beside it.

    Raises:
        BadImage: the field ``photo`` is missing or no ``data:`` URL.
        InvalidOption: the body is no JSON object, or too large beside the photograph.
    """
    try:
        fields = from_json(without_mark(body))
    except ValueError as error:
        raise InvalidOption(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidOption("the body must be an object of JSON")
    url = fields.pop("photo", None)
    if not isinstance(url, str):
        raise BadImage("the field photo must be a data: URL, as data:image/jpeg;base64,...")
    if len(to_json(fields)) > _AROUND:
        raise InvalidOption("the options beside the photograph are too large")
    return photo_of(url), fields
