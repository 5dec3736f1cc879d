"""What the collections share: an annotation file, photographs beside it, splits, and their download."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from .errors import BadData, MissingData
from .files import read_bytes
from .splits import Groups, Keyed, Split

if TYPE_CHECKING:
    from .download import DownloadOptions, DownloadReport


class Photographed(Keyed, Protocol):
    """A record with a photograph."""

    @property
    def image_url(self) -> str:
        """Where the photograph is, or was."""

    @property
    def photo(self) -> Path:
        """Where ``download`` puts the photograph; it may not be there."""


R = TypeVar("R", bound=Keyed)
P = TypeVar("P", bound=Photographed)


class Collection(Generic[R]):
    """The records of one annotation file, in its order; reading never touches the network.

    Args:
        root: the folder that holds the annotation file.
        file: its name, if it is another than ``FILE``.

    Raises:
        BadData: the file is missing (``MissingData``) or not in its format.
    """

    #: Name of the annotation file, and the address that ``download`` fetches it from, "" where there is none.
    FILE: ClassVar[str]
    URL: ClassVar[str]

    def __init__(self, root: Path, file: str | None = None) -> None:
        path = Path(root) / (file or self.FILE)
        self.records: tuple[R, ...] = tuple(self.parse(read_bytes(path), path))

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Iterator[R]:
        """Yield the records in ``data``, the content of the annotation file ``path``.

        Raises:
            BadData: it is not in its format.
        """
        raise NotImplementedError

    @classmethod
    def download(cls, root: Path, url: str | None = None, options: DownloadOptions | None = None) -> DownloadReport:
        """Fetch the annotation file into ``root`` unless it is there.

        Args:
            root: the folder to fetch it to; made if it does not exist.
            url: its address, if it is another than ``URL``.
            options: see :class:`img2poem.datasets.download.DownloadOptions`.

        Raises:
            MissingData: it is not there and cannot be had.
            DownloadStopped: the folder cannot be written to.
            MissingDependency: httpx, rich or tenacity is not installed.
        """
        # Here, not above: a reader needs no downloader.
        from . import download as downloader

        path = Path(root) / cls.FILE
        url = url or cls.URL
        if path.exists():
            return downloader.DownloadReport((downloader.Result(url, path, "present"),))
        if not url:
            raise MissingData.at(path, "no such file, and no address to fetch it from", "put it there or give url")
        # Reading the file is what verifies it; a table about one file is no use.
        item = downloader.Download(url, path, lambda data: list(cls.parse(data, path)))
        quiet = dataclasses.replace(options or downloader.DownloadOptions(), quiet=True)
        report = downloader.download([item], options=quiet)
        if report.lost:
            lost = report.lost[0]
            raise MissingData.at(
                path, f"cannot be had from {lost.url}: {lost.detail or lost.reason}", "get it elsewhere, put it there"
            )
        return report

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[R]:
        return iter(self.records)

    def __getitem__(self, index: int) -> R:
        return self.records[index]

    def in_split(self, split: Split, groups: Groups | None = None) -> list[R]:
        """Return the records of ``split``.

        Args:
            split: ``train``, ``validation`` or ``test``.
            groups: made of all collections used together; alone, this one cannot know of poems and
                photographs that it shares with others.
        """
        groups = groups or Groups(self)
        return [record for record in self if groups.split_of(record) == split]


class PhotographCollection(Collection[P]):
    """A collection whose records have photographs, each in a file ``<root>/<FOLDER>/<id>.jpg``."""

    FOLDER: ClassVar[str]

    @classmethod
    def download(cls, root: Path, url: str | None = None, options: DownloadOptions | None = None) -> DownloadReport:
        """Fetch the annotation file, unless it is there, and all photographs that are still to be had.

        It may be interrupted and started again; what is whole is not fetched twice. The report is
        printed, returned, and written to ``<root>/<FOLDER>/download_report.json``.

        Args:
            root: the folder to fetch to; made if it does not exist.
            url: address of the annotation file, if it is another than ``URL``.
            options: see :class:`img2poem.datasets.download.DownloadOptions`.

        Raises:
            MissingData: the annotation file is not there and cannot be had.
            BadData: the annotation file is not in its format.
            DownloadStopped: the folder cannot be written to.
            MissingDependency: httpx, rich or tenacity is not installed.
        """
        from . import download as downloader

        root = Path(root)
        super().download(root, url, options)
        path = root / cls.FILE
        items = [downloader.Download(record.image_url, record.photo) for record in cls.parse(read_bytes(path), path)]
        return downloader.download(items, root / cls.FOLDER, options)

    @classmethod
    def photo_path(cls, annotations: Path, number: int) -> Path:
        """Return the file of the photograph of record ``number`` of the file ``annotations``."""
        return annotations.parent / cls.FOLDER / f"{number}.jpg"

    def downloaded(self) -> list[P]:
        """Return the records whose photograph is there."""
        return [record for record in self if record.photo.is_file()]


def unique(number: int, seen: set[int], path: Path, record: str) -> int:
    """Return ``number`` and put it into ``seen``.

    Raises:
        BadData: it is there already; two photographs would share a file.
    """
    if number in seen:
        raise BadData.at(path, f"id {number} occurs twice", "correct or delete one of the records", record)
    seen.add(number)
    return number
