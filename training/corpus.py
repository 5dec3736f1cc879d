"""The records that the stages learn from, each in its split; ``--limit`` applies here."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from img2poem.datasets import Groups, MultiMPoems, photographs, poems
from img2poem.datasets.poems import PoemRecord, plain
from img2poem.datasets.splits import Split, split_of

T = TypeVar("T")


@dataclass(frozen=True)
class Corpus:
    """All poems, and the captions of all photographs, with the split of each."""

    records: list[PoemRecord]
    splits: list[Split]  # of the records
    captions: dict[str, list[str]]  # five of each Flickr8k photograph, by its name

    @classmethod
    @functools.cache  # each stage of training.all asks for it anew
    def load(cls, data: Path, limit: int | None = None) -> Corpus:
        """Read the collections in ``data``.

        Raises:
            BadData: a file is missing or not in its format.
        """
        sources = (poems.multim(data), poems.unim(data), poems.public_domain(data))
        records = [record for source in sources for record in first(source, limit)]
        # By MultiM's photographs too: poems about one photograph belong together.
        groups = Groups([*MultiMPoems(data), *records])
        captions = photographs.flickr8k_captions(data)
        return cls(records, [groups.split_of(r) for r in records], dict(first(captions.items(), limit)))

    def rows(self, *splits: Split) -> list[int]:
        """Return the indices of the poems in ``splits``, each text once."""
        found = {self.records[i].text: i for i, split in enumerate(self.splits) if split in splits}
        return sorted(found.values())

    def poem_texts(self) -> list[str]:
        """Return the texts of all poems."""
        return [record.text for record in self.records]

    def photo_captions(self) -> list[str]:
        """Return the captions of all photographs, five in turn for each, in the poems' plain style."""
        return [plain(caption) for five in self.captions.values() for caption in five]

    def photographs(self, data: Path) -> Iterator[tuple[str, bytes, list[str]]]:
        """Yield name, encoded photograph and captions of each photograph in ``captions``."""
        return (photo for photo in photographs.flickr8k(data) if photo[0] in self.captions)


def first(items: Iterable[T], limit: int | None) -> list[T]:
    """Return the first ``limit`` items, all without a limit."""
    return list(islice(items, limit))


def photo_rows(names: Iterable[Any], *splits: Split) -> list[int]:
    """Return the indices of the photographs in ``splits``, by the hash of their names."""
    return [i for i, name in enumerate(names) if split_of(str(name)) in splits]
