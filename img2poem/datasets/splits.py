"""Train, validation and test split by a hash of the record, so that it never depends on order.

A record's own name is not enough: a poem occurs under several ids and in several collections, as a whole
or as an excerpt, and a photograph with several poems. :class:`Groups` keeps such records together. For a
guarantee across collections, give it the records of all of them at once::

    groups = Groups([*MultiMPoems(root), *UniMPoems(root), *poems.public_domain(root)])
    train = [record for record in poems.public_domain(root) if groups.split_of(record) == "train"]
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, Protocol
from urllib.parse import urlsplit

Split = Literal["train", "validation", "test"]

#: Two lines of fewer words than this are not enough to tell a poem by.
_MIN_PASSAGE_WORDS = 8
_FLICKR_FILE = re.compile(r"(\d+)_[0-9a-f]+(_\w+)?\.\w+")
_PICTURE_FILE = re.compile(r"\.(jpe?g|png|gif|webp|bmp|tiff?)$", re.IGNORECASE)


def split_of(key: str) -> Split:
    """Return the split of the record named ``key``: 90 % train, 5 % validation, 5 % test."""
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 100
    if bucket < 90:
        return "train"
    return "validation" if bucket < 95 else "test"


class Keyed(Protocol):
    """A record that can be put into a split."""

    @property
    def key(self) -> str:
        """Its name, with its collection's name in front."""

    @property
    def links(self) -> tuple[str, ...]:
        """What it must not share with a record of another split; see `text_links` and `photo_link`."""


def text_links(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the links of a poem given as plain lines (see :func:`img2poem.datasets.poems.plain`).

    One is the whole text, line breaks aside; one is each two lines in a row with at least 8 words: poems
    that share them are editions or excerpts of one another.
    """
    pairs = (f"{first} {second}" for first, second in pairwise(lines))
    long = (pair for pair in pairs if len(pair.split()) >= _MIN_PASSAGE_WORDS)
    return tuple(dict.fromkeys((f"text/{' '.join(lines)}", *(f"text/{pair}" for pair in long))))


def photo_link(url: str) -> str:
    """Return the link of the photograph at ``url``, the same for all its sizes and addresses.

    Flickr's photographs are told by their number, wherever they lie; a bare file name in Flickr's style
    (as Flickr8k has them) counts as Flickr's. Of others, scheme and letter case of the host do not count,
    nor does a query behind the name of a picture file, which only asks for a size.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # not an address at all; nothing that it could be the same as
        return f"photo/{url}"
    host = (parts.hostname or "").lower()
    match = _FLICKR_FILE.fullmatch(parts.path.rsplit("/", 1)[-1])
    if match and (not host or host.endswith("flickr.com")):
        return f"photo/flickr/{match[1]}"
    query = f"?{parts.query}" if parts.query and not _PICTURE_FILE.search(parts.path) else ""
    return f"photo/{host}{parts.path}{query}"


class Groups:
    """Records that share a link, directly or over others, form a group; a group is never divided.

    A group is named by the smallest of its records' keys, so a record without relatives keeps the split
    of its own key, and neither order nor repetition of the records matters.
    """

    def __init__(self, records: Iterable[Keyed]) -> None:
        self._parent: dict[str, str] = {}
        owners: dict[str, str] = {}
        for record in records:
            self._parent.setdefault(record.key, record.key)
            for link in record.links:
                self._join(record.key, owners.setdefault(link, record.key))

    def name(self, record: Keyed) -> str:
        """Return the name of the record's group.

        Raises:
            KeyError: the record is none of those that the groups were made of.
        """
        return self._root(record.key)

    def split_of(self, record: Keyed) -> Split:
        """Return the split of the record's group.

        Raises:
            KeyError: the record is none of those that the groups were made of.
        """
        return split_of(self.name(record))

    def _root(self, key: str) -> str:
        parent = self._parent
        while parent[key] != key:
            parent[key] = key = parent[parent[key]]
        return key

    def _join(self, one: str, other: str) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        self._parent[high] = low
