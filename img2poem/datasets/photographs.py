"""Photographs with captions (Flickr8k), scene classes (MiniPlaces) and affect ratings (OASIS).

Each reader iterates over its archive once and yields ``(name, encoded file, label)``.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from .errors import BadData
from .files import FETCH_ANEW, csv_rows, json_of, number_of, read_bytes, require, text_of

#: Captions per photograph of Flickr8k, each by another person.
CAPTIONS = 5


def flickr8k(root: Path) -> Iterator[tuple[str, bytes, list[str]]]:
    """Yield name, encoded photograph and its five human captions.

    Raises:
        BadData: ``flickr8k.tar`` or ``flickr8k_captions.json`` is missing or malformed.
    """
    captions = flickr8k_captions(root)
    for name, data in _archive(root / "flickr8k.tar"):
        if name in captions:
            yield name, data, captions[name]


def flickr8k_captions(root: Path) -> dict[str, list[str]]:
    """Return the five captions of each photograph, by file name.

    Raises:
        BadData: ``flickr8k_captions.json`` is missing or malformed.
    """
    captions = _captions(root / "flickr8k_captions.json")
    for name, five in captions.items():
        if len(five) != CAPTIONS:
            path = root / "flickr8k_captions.json"
            raise BadData.at(path, f"a list of {CAPTIONS} captions is expected", "correct or delete the record", name)
    return captions


def coco_captions(root: Path) -> dict[str, list[str]]:
    """Return the captions of each photograph of COCO's validation set, by file name: five, for a few photographs more.

    Raises:
        BadData: ``coco_captions.json`` is missing or malformed.
    """
    return _captions(root / "coco_captions.json")


def _captions(path: Path) -> dict[str, list[str]]:
    captions = json_of(read_bytes(path), path)
    if not isinstance(captions, dict):
        raise BadData.at(path, "an object of captions by file name is expected", FETCH_ANEW)
    for name, texts in captions.items():
        if not isinstance(texts, list) or not all(isinstance(caption, str) for caption in texts):
            raise BadData.at(path, "a list of captions is expected", "correct or delete the record", name)
    return {name: [" ".join(caption.split()) for caption in texts] for name, texts in captions.items()}


def miniplaces(root: Path, split: str) -> Iterator[tuple[str, bytes, int]]:
    """Yield path, encoded photograph and scene class (0 to 99) of split ``train`` or ``val``.

    Raises:
        BadData: ``miniplaces_<split>.tar`` or ``.txt`` is missing or malformed.
    """
    path = root / f"miniplaces_{split}.txt"
    labels = {photo: number_of(label, path, line, int) for line, (photo, label) in _columns(path)}
    for name, data in _archive(root / f"miniplaces_{split}.tar", keep_folders=True):
        photo = name.removeprefix("miniplaces/")
        if photo in labels:
            yield photo, data, labels[photo]


def miniplaces_classes(root: Path) -> list[str]:
    """Return the 100 scene names in the order of their class numbers.

    Raises:
        BadData: ``miniplaces_classes.txt`` is missing or malformed.
    """
    return [name for _, (_, name) in _columns(root / "miniplaces_classes.txt")]


def oasis(root: Path) -> Iterator[tuple[str, bytes, tuple[float, float]]]:
    """Yield name, encoded photograph and its mean valence and arousal, each from 1 to 7.

    Raises:
        BadData: ``oasis.tar`` or ``oasis.csv`` is missing or malformed.
    """
    path = root / "oasis.csv"
    ratings = {}
    for line, row in csv_rows(read_bytes(path), path, ("file", "valence", "arousal")):
        valence, arousal = (number_of(row[column], path, line, float) for column in ("valence", "arousal"))
        ratings[row["file"]] = (valence, arousal)
    for name, data in _archive(root / "oasis.tar"):
        if name in ratings:
            yield name, data, ratings[name]


def _columns(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield name (``line N``) and the two words of each line."""
    for number, line in enumerate(text_of(read_bytes(path), path).splitlines(), start=1):
        words = line.split()
        if len(words) != 2:
            raise BadData.at(path, f"two words are expected, not {line!r:.80}", FETCH_ANEW, f"line {number}")
        yield f"line {number}", words


def _archive(path: Path, keep_folders: bool = False) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(require(path)) as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is not None:
                    yield member.name if keep_folders else Path(member.name).name, file.read()
    except tarfile.TarError as error:
        raise BadData.at(path, f"not a tar archive, or damaged: {error}", FETCH_ANEW) from error
