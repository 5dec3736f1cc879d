"""Reduces a picture in bands and converts its mode to RGB, with little memory."""

from __future__ import annotations

from typing import cast

import numpy as np
from PIL import Image

from .colour import keeps_mode

_WHITE = (255, 255, 255, 255)
#: How many times the target's resolution a picture keeps for the last resize, as Pillow's ``reducing_gap``.
_GAP = 3
#: Pixels that are converted at a time.
_BAND = 2**20


def reduced(image: Image.Image, size: int) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """Return a reduced picture, each side at least three times ``size`` if it was, and the box that the picture fills.

    The result is in RGB, or in the picture's own mode if :func:`keeps_mode`. It is what ``Image.resize`` computes with
    ``reducing_gap=3``, but in bands: converting the whole picture at once would take four bytes per pixel, and sixteen
    for 16-bit greyscale.
    """
    white = white_of(image)
    width, height = image.size
    across, down = (max(1, int(side / size / _GAP)) for side in (width, height))
    kept = keeps_mode(image)
    small = Image.new(image.mode if kept else "RGB", (-(-width // across), -(-height // down)))
    band = down * max(1, _BAND // (down * width))
    for top in range(0, height, band):
        part = image.crop((0, top, width, min(top + band, height)))
        part = part if kept else to_rgb(part, white)
        small.paste(part.reduce((across, down)), (0, top // down))
    return small, (0, 0, width / across, height / down)


def white_of(image: Image.Image) -> float:
    """Return the value of white in greyscale of more than 8 bits.

    Files with 32-bit integers or floats do not state it: it is taken to be the smallest usual maximum that no pixel
    exceeds.
    """
    if image.mode not in ("I", "F"):
        return 65535.0
    _, highest = cast("tuple[float, float]", image.getextrema())  # these modes have one band
    usual = (255.0, 65535.0, 2.0**31 - 1) if image.mode == "I" else (1.0, 255.0, 65535.0)
    return next((white for white in usual if highest <= white), usual[-1])


def to_rgb(image: Image.Image, white: float) -> Image.Image:
    """Convert to RGB: greyscale above 8 bits is scaled so that ``white`` becomes 255, transparency becomes white."""
    if image.mode == "F" or image.mode.startswith("I"):
        # The small offset keeps exact values from being rounded down below a whole number.
        values = np.asarray(image, dtype=np.float64)
        grey = np.nan_to_num(values * (255 / white) + 1e-6)
        if "transparency" in image.info:  # the transparent value of a 16-bit PNG
            grey[values == image.info["transparency"]] = 255
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, _WHITE), rgba).convert("RGB")
    return image.convert("RGB")
