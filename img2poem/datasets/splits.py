"""Train, validation and test splits by a hash of each record's name, independent of the order of records.

The name alone is not enough: a poem may occur under several ids and in several collections, as a whole or as an
excerpt, and a photograph may have several poems. :class:`Groups` keeps such records together. To guarantee this across
collections, pass it the records of all of them::

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

#: Two lines with fewer words than this do not identify a poem.
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
        """Its name, with the collection's name as a prefix."""

    @property
    def links(self) -> tuple[str, ...]:
        """Links that it may not share with a record of another split; see `text_links` and `photo_link`."""


def text_links(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the links of a poem given as plain lines (see :func:`img2poem.datasets.poems.plain`).

    The whole text, without line breaks, is one link. Every two consecutive lines with at least 8 words in all are
    another: poems that share them are editions or excerpts of one another.
    """
    pairs = (f"{first} {second}" for first, second in pairwise(lines))
    long = (pair for pair in pairs if len(pair.split()) >= _MIN_PASSAGE_WORDS)
    return tuple(dict.fromkeys((f"text/{' '.join(lines)}", *(f"text/{pair}" for pair in long))))


def photo_link(url: str) -> str:
    """Return the link of the photograph at ``url``, the same for all its sizes and URLs.

    A photograph of Flickr is identified by its number, on any host of Flickr; a bare file name in Flickr's style, as in
    Flickr8k, counts as Flickr. In other URLs, the scheme and the letter case of the host are ignored, as is a query
    after the name of a picture file, which only selects a size.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # not a URL: it equals nothing but itself
        return f"photo/{url}"
    host = (parts.hostname or "").lower()
    match = _FLICKR_FILE.fullmatch(parts.path.rsplit("/", 1)[-1])
    if match and (not host or host.endswith("flickr.com")):
        return f"photo/flickr/{match[1]}"
    query = f"?{parts.query}" if parts.query and not _PICTURE_FILE.search(parts.path) else ""
    return f"photo/{host}{parts.path}{query}"


class Groups:
    """Groups of records that share a link, directly or through other records; a group is never divided.

    A group is named after the smallest key of its records. So a record without relatives keeps the split of its own
    key, and the order and repetition of records do not matter.
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
            KeyError: the record is not among those that the groups were built from.
        """
        return self._root(record.key)

    def split_of(self, record: Keyed) -> Split:
        """Return the split of the record's group.

        Raises:
            KeyError: the record is not among those that the groups were built from.
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
