"""Real photographs, never noise: for the calibration of int8 and for measuring quality in a lower precision."""

from __future__ import annotations

import importlib.util
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from img2poem.datasets import photographs
from img2poem.datasets.splits import split_of
from img2poem.errors import InvalidOption
from img2poem.images.decode import decode

CALIBRATION = 128
TEST = 128
_CROP = 200


def calibration(data: Path | None, size: int) -> NDArray[np.uint8]:
    """Return the photographs that calibrate int8: Flickr8k's training split, else crops of two samples."""
    if data is not None:
        return _pixels(_of_flickr8k(data, training=True), CALIBRATION, size)
    return _pixels(_crops(range(0, 440, 55), range(0, 220, 55)), CALIBRATION, size)


def held_out(data: Path | None, size: int) -> NDArray[np.uint8]:
    """Return the photographs that quality is measured on; none of them calibrates."""
    if data is not None:
        return _pixels(_of_flickr8k(data, training=False), TEST, size)
    return _pixels(itertools.chain(_samples(), _crops(range(27, 420, 98), range(27, 220, 98))), TEST, size)


def _of_flickr8k(data: Path, training: bool) -> Iterator[bytes]:
    return (photo for name, photo, _ in photographs.flickr8k(data) if (split_of(name) == "train") == training)


def _crops(lefts: range, tops: range) -> Iterator[bytes]:
    for photo in _samples():
        image = Image.open(io.BytesIO(photo))
        for left, top in itertools.product(lefts, tops):
            buffer = io.BytesIO()
            image.crop((left, top, left + _CROP, top + _CROP)).save(buffer, "PNG")
            yield buffer.getvalue()


def _samples() -> list[bytes]:
    """The two sample photographs of scikit-learn's package."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise InvalidOption("fp16 and int8 need photographs: give --data, or pip install scikit-learn, which has two")
    folder = Path(spec.origin).parent / "datasets" / "images"
    return [(folder / name).read_bytes() for name in ("china.jpg", "flower.jpg")]


def _pixels(encoded: Iterator[bytes], count: int, size: int) -> NDArray[np.uint8]:
    return np.stack([decode(photo, size) for photo in itertools.islice(encoded, count)])
