"""PhotoPoems: poems written for this project about photographs from four collections (CC0-1.0)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from .collection import Collection
from .errors import BadData
from .files import xz_json_records
from .splits import Groups, Split, split_of, text_links

PhotoSet = Literal["flickr8k", "miniplaces", "oasis", "coco"]
PoemForm = Literal["free", "rhymed"]


@dataclass(frozen=True)
class PhotoPoem:
    """A poem about photograph ``photo`` of collection ``set``, with normal capitals and punctuation.

    ``caption`` was written for this project; only photographs of MiniPlaces and OASIS have one. ``fault`` is what a
    strict second reading found: ``g`` grammar, ``n`` a nonsensical line, ``r`` a forced rhyme, ``c`` unkind, ``x``
    mentions a picture; None if it found nothing. ``plain`` poems say what is seen in simple sentences, with a turn at
    the end; the others are freer.
    """

    set: PhotoSet
    photo: str
    form: PoemForm
    poem: str
    caption: str | None = None
    fault: str | None = None
    plain: bool = False

    @property
    def key(self) -> str:
        """The photograph's name, unique among all collections; poems about one photograph share it."""
        return f"{self.set}/{self.photo}"

    @property
    def links(self) -> tuple[str, ...]:
        """Links that no record of another split may share; see :class:`img2poem.datasets.splits.Groups`."""
        return text_links(self.poem.lower().splitlines())

    @property
    def text(self) -> str:
        """The poem without quotation marks, which are not in the decoders' vocabulary."""
        return re.sub(r"(?<![A-Za-z])'|\"", "", self.poem)

    @property
    def split(self) -> Split:
        """The split of the photograph, by the hash of its name."""
        return split_of(self.photo)


class PhotoPoems(Collection[PhotoPoem]):
    """The records of ``photo_poems/poems.jsonl.xz``, a file in the project's folder ``data``."""

    FILE = "photo_poems/poems.jsonl.xz"
    URL = ""  # the file is part of the project

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Iterator[PhotoPoem]:
        """Yield the records in ``data``; see :meth:`Collection.parse`."""
        text, maybe = (str,), (str, type(None))
        fields: dict[str, tuple[type, ...]] = dict.fromkeys(("set", "photo", "form", "poem"), text)
        fields |= {"caption": maybe, "fault": maybe, "plain": (bool, type(None))}
        for name, record in xz_json_records(data, path, fields):
            for field, allowed in (("set", get_args(PhotoSet)), ("form", get_args(PoemForm))):
                if record[field] not in allowed:
                    wanted = f"{field} must be {' or '.join(allowed)}, not {record[field]!r}"
                    raise BadData.at(path, wanted, "correct or delete the record", name)
            yield PhotoPoem(
                cast(PhotoSet, record["set"]),
                record["photo"],
                cast(PoemForm, record["form"]),
                record["poem"],
                record.get("caption"),
                record.get("fault"),
                bool(record.get("plain")),
            )

    def in_split(self, split: Split, groups: Groups | None = None) -> list[PhotoPoem]:
        """Return the records of ``split``, by ``groups`` if given, else by the hash of their photographs' names."""
        return super().in_split(split, groups) if groups else [record for record in self if record.split == split]
