"""Hostile files give pixels or BadImage, nothing else; `python -m benchmarks.fuzz_images` tries many more."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, MpoImagePlugin

from benchmarks.fuzz_images import MIB, outcomes
from benchmarks.hostile_images import mutated, seeds
from benchmarks.image_bombs import bombs
from img2poem.errors import BadImage
from img2poem.images.decode import decode
from img2poem.images.metadata import orientation, without_metadata

from ..conftest import encoded, gradient

#: Bombs that are fast to make; the others take a second or more.
QUICK = [name for name in bombs() if "declares" in name or name.endswith(("in 900 segments", "at itself 5,000 times"))]
QUICK += [
    "JPEG of fill bytes",
    "JPEG of junk",
    "PNG of empty chunks",
    "GIF of one comment",
    "TIFF of strips that are all the same",
    "TIFF with a profile of 50,000 calculations",
]


@settings(max_examples=300)
@given(st.integers(0, 10**9))
def test_a_damaged_file_gives_pixels_or_is_refused(number: int) -> None:
    _, data = mutated(number, seed=1)
    try:
        assert decode(data).shape == (224, 224, 3)
    except BadImage as error:
        assert str(error)


def test_whole_files_of_every_kind_decode() -> None:
    for _, data in seeds():
        assert decode(data).std() > 1


def test_bombs_go_off_nowhere() -> None:
    """In a separate process: the worst of them would use all memory, or never end."""
    found = list(outcomes(QUICK, 0, 1))
    assert len(found) == len(QUICK) > 30
    assert not [outcome for outcome in found if outcome.verdict not in ("pixels", "BadImage") or outcome.mib > MIB]


def test_a_jpeg_of_many_scans_is_refused(photos: list[bytes]) -> None:
    whole = encoded(Image.new("L", (2000, 1500), 77), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    with pytest.raises(BadImage, match="scans takes too long"):
        decode(whole[:last] + whole[last:-2] * 500 + whole[-2:])
    assert decode(whole).mean() == pytest.approx(77, abs=1)


def test_a_jpeg_with_more_pictures_behind_it_is_a_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phones write such files; Pillow reads them with a separate plugin, which is not among the allowed ones."""
    several = encoded(gradient(), "MPO", save_all=True, append_images=[gradient()])
    with Image.open(io.BytesIO(several)) as image:
        assert image.format == "MPO"
    monkeypatch.setattr(MpoImagePlugin.MpoImageFile, "adopt", None)
    assert np.abs(decode(several).astype(int) - decode(encoded(gradient(), "JPEG"))).max() <= 2


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_orientation_is_read_as_pillow_reads_it(order: str, turned: int) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[0x010E], exif[0x0112] = "before it in the file", turned
    block = exif.tobytes()
    assert orientation(block) == turned == orientation(block.removeprefix(b"Exif\0\0"))


@pytest.mark.parametrize(("kind", "value"), [(3, "H"), (4, "I")])
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_may_be_short_or_long(order: str, kind: int, value: str) -> None:
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(f"{order}HHI", 0x0112, kind, 1) + struct.pack(f"{order}{value}", 6).ljust(4, b"\0")
    block = head + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)
    assert orientation(block) == 6
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + block)
    assert exif[0x0112] == 6, "as Pillow reads it"


@given(st.binary(max_size=200))
def test_orientation_of_anything_is_an_orientation(block: bytes) -> None:
    for head in (b"", b"II*\0", b"MM\0*\0\0\0\x08"):
        assert 1 <= orientation(b"Exif\0\0" + head + block) <= 8


def test_a_jpeg_keeps_its_pixels_without_its_metadata() -> None:
    for data in (data for format, data in seeds() if format == "JPEG"):
        bare, beside = without_metadata(data)
        with Image.open(io.BytesIO(data)) as whole, Image.open(io.BytesIO(bare)) as image:
            assert np.array_equal(np.asarray(whole), np.asarray(image)) and whole.mode == image.mode
            assert "exif" not in image.info and beside.keys() == whole.info.keys() & {"exif", "icc_profile"}
    padded = data[:2] + b"junk" + b"\xff" * 1000 + data[2:]
    assert without_metadata(padded)[0] == bare


@given(st.binary(max_size=400))
def test_anything_passes_for_a_jpeg_until_it_is_decoded(data: bytes) -> None:
    bare, _ = without_metadata(b"\xff\xd8" + data)
    assert len(bare) <= len(data) + 2
