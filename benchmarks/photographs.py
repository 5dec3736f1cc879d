"""Photographs for measurements."""

from __future__ import annotations

import importlib.util
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from img2poem.datasets.photographs import flickr8k
from img2poem.errors import InvalidOption

_CROP = 220


def photographs(count: int, data: Path | None = None) -> list[bytes]:
    """Return encoded photographs: the first of Flickr8k in ``data``, or crops of scikit-learn's two samples.

    Raises:
        InvalidOption: neither is available.
    """
    source = (photo for _, photo, _ in flickr8k(data)) if data is not None else _crops()
    return list(itertools.islice(source, count))


def _crops() -> Iterator[bytes]:
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise InvalidOption("name --data, or pip install scikit-learn for its two photographs")
    samples = [Image.open(Path(spec.origin).parent / "datasets" / "images" / n) for n in ("china.jpg", "flower.jpg")]
    for left, top, image in itertools.product(range(0, 420, 42), range(0, 205, 41), samples):
        buffer = io.BytesIO()
        image.crop((left, top, left + _CROP, top + _CROP)).save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()
