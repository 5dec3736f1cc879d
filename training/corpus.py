"""The training photographs with their captions, poems and splits; applies ``--limit``."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from img2poem.datasets import PhotoPoem, PhotoPoems, photographs
from img2poem.datasets.photo_poems import PhotoSet
from img2poem.datasets.splits import Split, split_of

T = TypeVar("T")

#: Sets with photographs; COCO has only captions and poems here.
PICTURED: tuple[PhotoSet, ...] = ("flickr8k", "miniplaces", "oasis")
# Poems with these faults are never learned: unkind ones, and ones that talk about the picture itself.
_LEFT_OUT = ("c", "x")


@dataclass(frozen=True)
class Photo:
    """A photograph by collection and name, with its captions and poems; either may be empty."""

    set: PhotoSet
    name: str
    captions: tuple[str, ...]
    poems: tuple[PhotoPoem, ...]

    @property
    def split(self) -> Split:
        """The photograph's split, by the hash of its name."""
        return split_of(self.name)


def poems_about(photos: Sequence[Photo], rows: Iterable[int], best: bool) -> list[tuple[int, int]]:
    """Return photograph and index of each poem about the photographs ``rows``.

    Args:
        photos: all photographs.
        rows: the photographs whose poems are wanted.
        best: leave out poems with a marked fault, and, if any of ``rows`` has a plain poem, those that are not plain.
    """
    poems = [(i, k) for i in rows for k in range(len(photos[i].poems))]
    if not best:
        return poems
    faultless = [(i, k) for i, k in poems if photos[i].poems[k].fault is None]
    return [(i, k) for i, k in faultless if photos[i].poems[k].plain] or faultless


@dataclass(frozen=True)
class Corpus:
    """All photographs with captions or poems."""

    photos: list[Photo]

    @classmethod
    @functools.cache  # each stage of training.all loads it again
    def load(cls, data: Path, limit: int | None = None, poems_from: Path | None = None) -> Corpus:
        """Read the collections in ``data``, COCO's if present, limited to the first ``limit`` photographs each.

        PhotoPoems is read from ``poems_from``, or from ``data`` if that is None.

        Raises:
            BadData: a file is missing or malformed.
        """
        captions: dict[PhotoSet, dict[str, list[str]]] = defaultdict(dict)
        captions["flickr8k"] = photographs.flickr8k_captions(data)
        if (data / "coco_captions.json").exists():
            captions["coco"] = photographs.coco_captions(data)
        poems: dict[tuple[PhotoSet, str], list[PhotoPoem]] = defaultdict(list)
        for record in PhotoPoems(poems_from or data):
            captions[record.set].setdefault(record.photo, [record.caption] if record.caption else [])
            if record.fault not in _LEFT_OUT:
                poems[record.set, record.photo].append(record)
        photos = (
            Photo(collection, name, tuple(texts), tuple(poems[collection, name]))
            for collection, named in captions.items()
            for name, texts in first(named.items(), limit)
        )
        return cls(list(photos))

    def named(self, collection: PhotoSet) -> dict[str, Photo]:
        """Return the photographs of a collection by name."""
        return {photo.name: photo for photo in self.photos if photo.set == collection}

    def of(self, *splits: Split) -> list[Photo]:
        """Return the photographs in ``splits``."""
        return [photo for photo in self.photos if photo.split in splits]

    def poem_texts(self, *splits: Split) -> list[str]:
        """Return the poems about the photographs in ``splits``; without arguments, all poems."""
        return [poem.text for photo in (self.of(*splits) if splits else self.photos) for poem in photo.poems]

    def caption_texts(self) -> list[str]:
        """Return the captions of all photographs."""
        return [caption for photo in self.photos for caption in photo.captions]


def first(items: Iterable[T], limit: int | None) -> list[T]:
    """Return the first ``limit`` items; all if it is None."""
    return list(islice(items, limit))
