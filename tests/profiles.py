"""ICC profiles, written byte by byte, and the sRGB values of their colours by plain arithmetic."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Chromaticities of a space's red, green and blue, its white, and its gamma; None for sRGB's curve.
Space = tuple[tuple[tuple[float, float], ...], tuple[float, float], float | None]
D50, D65 = (0.3457, 0.3585), (0.3127, 0.3290)
DISPLAY_P3: Space = (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), D65, None)
ADOBE_RGB: Space = (((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), D65, 563 / 256)
PROPHOTO: Space = (((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), D50, 1.8)
SRGB: Space = (((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), D65, None)
SPACES = {"Display P3": DISPLAY_P3, "Adobe RGB": ADOBE_RGB, "ProPhoto": PROPHOTO}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def in_srgb(pixels: NDArray[np.uint8], space: Space) -> Floats:
    """Convert colours of ``space`` to sRGB, clipped to 0 to 255."""
    encoded = pixels / 255
    linear = _linear(encoded) if space[2] is None else encoded ** space[2]
    linear = (linear @ _to_d50(space).T @ np.linalg.inv(_to_d50(SRGB)).T).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255


def rgb_profile(space: Space) -> bytes:
    """Return the profile of a monitor or working space: a matrix and one curve."""
    columns = _to_d50(space).T
    curve = _curve(space[2])
    tags = {f"{name}XYZ": _xyz(column) for name, column in zip("rgb", columns, strict=True)}
    return profile(b"mntr", b"RGB ", b"XYZ ", {**tags, **{f"{name}TRC": curve for name in "rgb"}})


def grey_profile(gamma: float) -> bytes:
    return profile(b"mntr", b"GRAY", b"XYZ ", {"kTRC": _curve(gamma)})


def ink_profile(lab: Floats) -> bytes:
    """Return a printer's profile: ``lab`` ``[2, 2, 2, 2, 3]`` has the colours for all or nothing of each ink."""
    table = (lab * (255 / 100, 1, 1) + (0, 128, 128)).round().clip(0, 255).astype(np.uint8).tobytes()
    ramp = bytes(range(256))
    unity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + unity + ramp * 4 + table + ramp * 3
    return profile(b"prtr", b"CMYK", b"Lab ", {"A2B0": lut})


def profile(kind: bytes, space: bytes, connected: bytes, tags: dict[str, bytes]) -> bytes:
    tags = {"wtpt": _xyz(_white(D50)), **tags}
    place, table, body = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name.encode(), place + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4x4s4s4s4s12x4s28x", place + len(body), b"\4\x20\0\0", kind, space, connected, b"acsp")
    illuminant = struct.pack(">3i", *(round(65536 * value) for value in _white(D50)))
    return (head + illuminant).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _linear(encoded: Floats) -> Floats:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _white(place: tuple[float, float]) -> Floats:
    x, y = place
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _to_d50(space: Space) -> Floats:
    """Return the matrix from linear red, green and blue to XYZ under D50 (Lindbloom; Bradford's adaptation)."""
    corners = np.array([_white(corner) for corner in space[0]]).T
    matrix = corners * np.linalg.solve(corners, _white(space[1]))
    ratio = (_BRADFORD @ _white(D50)) / (_BRADFORD @ _white(space[1]))
    return np.linalg.inv(_BRADFORD) @ (ratio[:, None] * _BRADFORD) @ matrix


def _xyz(values: Floats) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))


def _curve(gamma: float | None) -> bytes:
    if gamma is not None:
        return b"para\0\0\0\0" + struct.pack(">HHi", 0, 0, round(65536 * gamma))
    parts = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para\0\0\0\0" + struct.pack(">HH5i", 3, 0, *(round(65536 * part) for part in parts))
