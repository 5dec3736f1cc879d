"""Base classes of the collections: annotation file, photographs, splits and download."""

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
        """URL of the photograph; it may be dead."""

    @property
    def photo(self) -> Path:
        """Path where ``download`` stores the photograph; the file may be missing."""


R = TypeVar("R", bound=Keyed)
P = TypeVar("P", bound=Photographed)


class Collection(Generic[R]):
    """The records of one annotation file, in file order; reading never uses the network.

    Args:
        root: folder with the annotation file.
        file: name of the file, ``FILE`` by default.

    Raises:
        BadData: the file is missing (``MissingData``) or malformed.
    """

    #: Name of the annotation file, and the URL from which ``download`` fetches it ("" if there is none).
    FILE: ClassVar[str]
    URL: ClassVar[str]

    def __init__(self, root: Path, file: str | None = None) -> None:
        path = Path(root) / (file or self.FILE)
        self.records: tuple[R, ...] = tuple(self.parse(read_bytes(path), path))

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Iterator[R]:
        """Yield the records in ``data``, the content of the annotation file ``path``.

        Raises:
            BadData: ``data`` is malformed.
        """
        raise NotImplementedError

    @classmethod
    def download(cls, root: Path, url: str | None = None, options: DownloadOptions | None = None) -> DownloadReport:
        """Fetch the annotation file into ``root`` unless it exists.

        Args:
            root: target folder; created if it does not exist.
            url: URL of the file, ``URL`` by default.
            options: see :class:`img2poem.datasets.download.DownloadOptions`.

        Raises:
            MissingData: the file does not exist and cannot be fetched.
            DownloadStopped: the folder cannot be written to.
            MissingDependency: httpx, rich or tenacity is not installed.
        """
        # Imported here: reading does not need the packages for downloads.
        from . import download as downloader

        path = Path(root) / cls.FILE
        url = url or cls.URL
        if path.exists():
            return downloader.DownloadReport((downloader.Result(url, path, "present"),))
        if not url:
            raise MissingData.at(path, "no such file, and no address to fetch it from", "put it there or give url")
        # Parsing verifies the file. A single file needs no progress bar and no table.
        item = downloader.Download(url, path, lambda data: list(cls.parse(data, path)))
        quiet = dataclasses.replace(options or downloader.DownloadOptions(), quiet=True)
        report = downloader.download([item], options=quiet)
        if report.lost:
            lost = report.lost[0]
            raise MissingData.at(
                path,
                f"cannot be fetched from {lost.url}: {lost.detail or lost.reason}",
                "get it elsewhere and put it there",
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
            groups: groups over all collections used together; by default over this collection only, which ignores
                poems and photographs that it shares with others.
        """
        groups = groups or Groups(self)
        return [record for record in self if groups.split_of(record) == split]


class PhotographCollection(Collection[P]):
    """A collection whose records have photographs, stored as ``<root>/<FOLDER>/<id>.jpg``."""

    FOLDER: ClassVar[str]

    @classmethod
    def download(cls, root: Path, url: str | None = None, options: DownloadOptions | None = None) -> DownloadReport:
        """Fetch the annotation file, unless it exists, and all photographs that are still available.

        An interrupted download can be repeated: complete files are not fetched again. The report is printed, returned,
        and written to ``<root>/<FOLDER>/download_report.json``.

        Args:
            root: target folder; created if it does not exist.
            url: URL of the annotation file, ``URL`` by default.
            options: see :class:`img2poem.datasets.download.DownloadOptions`.

        Raises:
            MissingData: the annotation file does not exist and cannot be fetched.
            BadData: the annotation file is malformed.
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
        """Return the path of the photograph of record ``number`` in the annotation file ``annotations``."""
        return annotations.parent / cls.FOLDER / f"{number}.jpg"

    def downloaded(self) -> list[P]:
        """Return the records whose photographs have been downloaded."""
        return [record for record in self if record.photo.is_file()]


def unique(number: int, seen: set[int], path: Path, record: str) -> int:
    """Return ``number`` and add it to ``seen``.

    Raises:
        BadData: ``number`` is a duplicate; two photographs would share a file.
    """
    if number in seen:
        raise BadData.at(path, f"id {number} occurs twice", "correct or delete one of the records", record)
    seen.add(number)
    return number
