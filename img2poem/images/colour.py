"""From the colours of a photograph's ICC profile to sRGB, in which the encoders were trained and cards are drawn.

Telephones photograph in Display P3, cameras in Adobe RGB; the numbers of such a file, taken for sRGB, look pale. The
conversion is Pillow's (Little CMS): relative to the white, with compensation of the black point.
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

#: Larger profiles count as none, in bytes; those of printers have up to 3 MiB.
MAX_PROFILE = 4 * 2**20
#: Pillow's mode of each colour space that a profile may be of.
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
#: Profiles of scanners and cameras, monitors, printers, and of colour spaces.
_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")
#: Of so many tags Little CMS reads a profile at most.
_MAX_TAGS = 100
#: The type of a tag that holds any number of calculations: each of its 12 bytes may cost minutes.
_CALCULATIONS = b"mpet"
#: Profiles that move no colour by more than that, of 255, are sRGB.
_SAME = 2


def keeps_mode(image: Image.Image) -> bool:
    """Whether the pixels must stay in the mode that they have until :func:`to_srgb`: inks with a profile of theirs."""
    return image.mode == "CMYK" and _transform_of(image) is not None


def to_srgb(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Return pixels in sRGB, mode ``RGB``.

    A profile that is damaged, larger than ``MAX_PROFILE``, or of other pixels counts as none.

    Args:
        pixels: of ``image``, or of a smaller copy, in ``RGB``, or in its own mode where :func:`keeps_mode`.
        image: has the profile, if any (``info["icc_profile"]``), and the mode in which the pixels were stored.
    """
    transform = _transform_of(image)
    if transform is None:
        return pixels.convert("RGB")
    return transform.apply(pixels.convert(transform.input_mode))


def _transform_of(image: Image.Image) -> ImageCmsTransform | None:
    """Return what converts the colours of ``image``; None where nothing has to be."""
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
    """Whether a profile is of a kind that photographs have, and asks for no endless calculation."""
    if len(profile) < 132 or profile[12:16] not in _CLASSES:
        return False
    [count] = struct.unpack_from(">I", profile, 128)
    if count > _MAX_TAGS or len(profile) < 132 + 12 * count:
        return False
    places = (struct.unpack_from(">I", profile, 136 + 12 * i)[0] for i in range(count))
    return all(profile[place : place + 4] != _CALCULATIONS for place in places)


def _changes_nothing(transform: ImageCmsTransform, mode: str) -> bool:
    """Whether colours from all over the space come out as they went in."""
    if mode == "CMYK":
        return False
    levels = np.arange(0, 256, 1 if mode == "L" else 15, dtype=np.uint8)
    grid = levels[None] if mode == "L" else np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    before = Image.fromarray(grid)
    difference = np.asarray(transform.apply(before), int) - np.asarray(before.convert("RGB"), int)
    return bool(np.abs(difference).max() <= _SAME)
