"""UniM-Poem: a corpus of poems without photographs (Liu et al. 2018, https://arxiv.org/abs/1804.08473)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .collection import Collection
from .files import json_records
from .poems import plain_lines
from .splits import text_links


@dataclass(frozen=True)
class UniMPoem:
    """A poem as in the file: lower case, lines separated by line breaks."""

    id: int
    poem: str

    @property
    def key(self) -> str:
        """The record's name, unique among all collections."""
        return f"unim/{self.id}"

    @property
    def links(self) -> tuple[str, ...]:
        """Links that no record of another split may share; see :class:`img2poem.datasets.splits.Groups`."""
        return text_links(plain_lines(self.poem) or [self.poem])


class UniMPoems(Collection[UniMPoem]):
    """The poems of ``unim_poem.json``: a list of ``{"poem": str, "id": int}``, the format of researchmm/img2poem."""

    FILE = "unim_poem.json"
    URL = "https://raw.githubusercontent.com/researchmm/img2poem/master/data/unim_poem.json"

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Iterator[UniMPoem]:
        """Yield the records in ``data``; see :meth:`Collection.parse`."""
        for _, record in json_records(data, path, {"id": (int,), "poem": (str,)}):
            yield UniMPoem(record["id"], record["poem"])
