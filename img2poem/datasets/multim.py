"""MultiM-Poem: photographs with poems (Liu et al. 2018, https://arxiv.org/abs/1804.08473), and contrasting pairs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .collection import PhotographCollection, unique
from .errors import BadData
from .files import json_records
from .poems import plain_lines
from .splits import Groups, Split, photo_link, text_links

if TYPE_CHECKING:
    from .download import DownloadOptions, DownloadReport


@dataclass(frozen=True)
class MultiMPoem:
    """A photograph and a poem about it; the caption, if there is one, is from a captioning model."""

    id: int
    poem: str
    image_url: str
    photo: Path
    caption: str | None = None

    @property
    def key(self) -> str:
        """The record's name, unique among all collections."""
        return f"multim/{self.id}"

    @property
    def links(self) -> tuple[str, ...]:
        """Links that no record of another split may share; see :class:`img2poem.datasets.splits.Groups`."""
        return (*text_links(plain_lines(self.poem) or [self.poem]), photo_link(self.image_url))


class MultiMPoems(PhotographCollection[MultiMPoem]):
    """The pairs of ``multim_poem.json``: a list of ``{"poem": str, "image_url": str, "id": int}``.

    This is the format of researchmm/img2poem. A field ``"caption"`` (a string or null) is optional.
    """

    FILE = "multim_poem.json"
    URL = "https://raw.githubusercontent.com/researchmm/img2poem/master/data/multim_poem.json"
    FOLDER = "multim"

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Iterator[MultiMPoem]:
        """Yield the records in ``data``; see :meth:`Collection.parse`."""
        fields = {"id": (int,), "poem": (str,), "image_url": (str,), "caption": (str, type(None))}
        seen: set[int] = set()
        for name, record in json_records(data, path, fields):
            number = unique(record["id"], seen, path, name)
            photo = cls.photo_path(path, number)
            yield MultiMPoem(number, record["poem"], record["image_url"], photo, record.get("caption"))


@dataclass(frozen=True)
class PoeticPair:
    """A photograph with its poem, and a contrasting photograph with its poem."""

    pair: MultiMPoem
    contrast: MultiMPoem


class PoeticPairs:
    """Pairs of MultiM-Poem, each with a contrasting pair sampled from the same split.

    The contrasting pair depends only on ``seed`` and the pair, not on the order of access. It is from another group, so
    it shares neither the photograph nor a passage of the poem.

    Args:
        root: folder with ``multim_poem.json``.
        split: ``train``, ``validation`` or ``test``.
        seed: change it every epoch for new contrasting pairs.
        groups: see :meth:`MultiMPoems.in_split`.
        downloaded: use only pairs whose photographs have been downloaded.

    Raises:
        BadData: the file is missing or malformed, or all pairs of the split are of one group.
    """

    def __init__(
        self, root: Path, split: Split, seed: int = 0, groups: Groups | None = None, downloaded: bool = False
    ) -> None:
        multim = MultiMPoems(root)
        self.seed = seed
        self._groups = groups or Groups(multim)
        self.records = [r for r in multim.in_split(split, self._groups) if not downloaded or r.photo.is_file()]
        if self.records and len({self._groups.name(record) for record in self.records}) < 2:
            what = "pairs with photographs" if downloaded else "pairs"
            raise BadData.at(
                Path(root) / MultiMPoems.FILE, f"all {what} in split {split!r} are of one group", "add more pairs"
            )

    @staticmethod
    def download(root: Path, url: str | None = None, options: DownloadOptions | None = None) -> DownloadReport:
        """Fetch MultiM-Poem and its photographs; see :meth:`MultiMPoems.download`."""
        return MultiMPoems.download(root, url, options)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[PoeticPair]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> PoeticPair:
        pair = self.records[index]
        draw = random.Random(f"{self.seed}/{pair.key}")
        contrast = pair
        while self._groups.name(contrast) == self._groups.name(pair):
            contrast = draw.choice(self.records)
        return PoeticPair(pair, contrast)
