"""Converts photographs from the colour space of their ICC profile to sRGB.

The encoders were trained in sRGB, and cards are drawn in it. Phones save photographs in Display P3, cameras in Adobe
RGB; read as sRGB, such files look pale. Pillow (Little CMS) converts them: relative colorimetric intent, black point
compensation.
"""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

#: Largest profile in bytes; larger ones are ignored. Printer profiles have up to 3 MiB.
MAX_PROFILE = 4 * 2**20
#: Pillow's mode for each supported colour space of a profile.
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
#: Supported profile classes: scanners and cameras, monitors, printers, colour spaces.
_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")
#: Most tags of a profile that Little CMS reads.
_MAX_TAGS = 100
#: Tag type with any number of calculations (multiProcessElements): every 12 bytes may cost minutes.
_CALCULATIONS = b"mpet"
#: A profile that changes no colour by more than this, of 255, counts as sRGB.
_SAME = 2


def keeps_mode(image: Image.Image) -> bool:
    """Whether pixels must keep their mode until :func:`to_srgb`: true for CMYK with a usable profile."""
    return image.mode == "CMYK" and _transform_of(image) is not None


def to_srgb(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Convert pixels to sRGB, mode ``RGB``.

    A profile is ignored if it is damaged, larger than ``MAX_PROFILE``, or does not fit the image's mode.

    Args:
        pixels: pixels of ``image`` or of a smaller copy, in mode ``RGB``, or in its own mode if :func:`keeps_mode`.
        image: image with the profile, if any (``info["icc_profile"]``), and the mode in which the pixels were stored.
    """
    transform = _transform_of(image)
    if transform is None:
        return pixels.convert("RGB")
    return transform.apply(pixels.convert(transform.input_mode))


def _transform_of(image: Image.Image) -> ImageCmsTransform | None:
    """Return the transform from the colours of ``image`` to sRGB; None if none is needed or the profile is ignored."""
    profile = image.info.get("icc_profile")
    if not profile or not isinstance(profile, bytes) or len(profile) > MAX_PROFILE:
        return None
    mode = _MODES.get(profile[16:20])
    grey = image.mode[0] in "1LIF" and image.mode != "LAB"
    fits = image.mode == "CMYK" if mode == "CMYK" else image.mode != "CMYK" and (mode != "L" or grey)
    return _transform(profile, mode) if mode and fits else None


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCmsTransform | None:
    if not _sound(profile):
        return None
    try:
        from PIL import ImageCms

        transform = ImageCms.buildTransform(
            ImageCms.getOpenProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return None if _changes_nothing(transform, mode) else transform
    except Exception:  # Pillow raises several types on damaged profiles
        return None


def _sound(profile: bytes) -> bool:
    """Whether a profile is of a supported class and has no tags that take very long to evaluate."""
    if len(profile) < 132 or profile[12:16] not in _CLASSES:
        return False
    [count] = struct.unpack_from(">I", profile, 128)
    if count > _MAX_TAGS or len(profile) < 132 + 12 * count:
        return False
    places = (struct.unpack_from(">I", profile, 136 + 12 * i)[0] for i in range(count))
    return all(profile[place : place + 4] != _CALCULATIONS for place in places)


def _changes_nothing(transform: ImageCmsTransform, mode: str) -> bool:
    """Whether a transform keeps all colours of a grid over the colour space, within ``_SAME``."""
    if mode == "CMYK":
        return False
    levels = np.arange(0, 256, 1 if mode == "L" else 15, dtype=np.uint8)
    grid = levels[None] if mode == "L" else np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    before = Image.fromarray(grid)
    difference = np.asarray(transform.apply(before), int) - np.asarray(before.convert("RGB"), int)
    return bool(np.abs(difference).max() <= _SAME)
