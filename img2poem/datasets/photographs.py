"""Photographs with captions (Flickr8k), scene classes (MiniPlaces) and affect ratings (OASIS).

Each reader goes once through its archive and yields ``(name, encoded file, label)``.
"""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path


def flickr8k(root: Path) -> Iterator[tuple[str, bytes, list[str]]]:
    """Yield name, encoded photograph and its five human captions."""
    captions = flickr8k_captions(root)
    for name, data in _archive(root / "flickr8k.tar"):
        if name in captions:
            yield name, data, captions[name]


def flickr8k_captions(root: Path) -> dict[str, list[str]]:
    """Return the five captions of each photograph by its name."""
    captions: dict[str, list[str]] = json.loads((root / "flickr8k_captions.json").read_text())
    return {name: [caption.strip() for caption in five] for name, five in captions.items()}


def miniplaces(root: Path, split: str) -> Iterator[tuple[str, bytes, int]]:
    """Yield path, encoded photograph and scene class (0 to 99) of split ``train`` or ``val``."""
    lines = (root / f"miniplaces_{split}.txt").read_text().splitlines()
    labels = {path: int(label) for path, label in (line.split() for line in lines)}
    for name, data in _archive(root / f"miniplaces_{split}.tar", keep_folders=True):
        path = name.removeprefix("miniplaces/")
        if path in labels:
            yield path, data, labels[path]


def miniplaces_classes(root: Path) -> list[str]:
    """Return the 100 scene names in the order of their class numbers."""
    lines = (root / "miniplaces_classes.txt").read_text().splitlines()
    return [line.split()[1] for line in lines]


def oasis(root: Path) -> Iterator[tuple[str, bytes, tuple[float, float]]]:
    """Yield name, encoded photograph and its mean valence and arousal, each from 1 to 7."""
    with open(root / "oasis.csv", newline="") as file:
        ratings = {row["file"]: (float(row["valence"]), float(row["arousal"])) for row in csv.DictReader(file)}
    for name, data in _archive(root / "oasis.tar"):
        if name in ratings:
            yield name, data, ratings[name]


def _archive(path: Path, keep_folders: bool = False) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                yield member.name if keep_folders else Path(member.name).name, file.read()
