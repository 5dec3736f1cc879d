"""Photographs with a colour profile: encoders and cards convert them to sRGB, whatever the file's format."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from img2poem import Img2Poem
from img2poem.images.card import Layout, card
from img2poem.images.colour import MAX_PROFILE
from img2poem.images.decode import decode, picture, read_photo
from img2poem.serving.server import TritonServer

from ..conftest import encoded, gradient
from ..profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    PROPHOTO,
    SPACES,
    SRGB,
    Space,
    grey_profile,
    in_srgb,
    ink_profile,
    rgb_profile,
)
from ..profiles import profile as written

#: Size of photographs that are not resized, so that only colours change.
SIDE = 64
BUILT_IN = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    found = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    found[0] = np.arange(0, 256, 4)[:, None]  # the greys
    return found


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_colours_are_those_that_the_profile_means(
    space: str, format: str, options: dict[str, bool], pixels: np.ndarray
) -> None:
    data = encoded(Image.fromarray(pixels), format, icc_profile=rgb_profile(SPACES[space]), **options)
    expected = in_srgb(pixels, SPACES[space])
    assert np.abs(pixels - expected).max() > 20
    assert np.abs(decode(data, SIDE) - expected).max() < 1.5
    assert np.abs(np.asarray(picture(data, SIDE), int) - expected).max() < 1.5


def test_a_jpeg_with_its_profile_in_several_segments(pixels: np.ndarray) -> None:
    soft = Image.fromarray(pixels).resize((8, 8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    padded = rgb_profile(DISPLAY_P3) + bytes(150_000)  # three segments
    plain, tagged = (encoded(soft, "JPEG", quality=95, **more) for more in ({}, {"icc_profile": padded}))
    expected = in_srgb(decode(plain, SIDE), DISPLAY_P3)
    assert tagged.count(b"ICC_PROFILE") == 3
    assert np.abs(decode(tagged, SIDE) - expected).max() < 1.5
    torn = tagged.replace(b"ICC_PROFILE\0\2", b"ICC_PROFILE\0\4")
    assert np.array_equal(decode(torn, SIDE), decode(plain, SIDE))


def test_one_photograph_is_much_the_same_in_every_space(photos: list[bytes]) -> None:
    with Image.open(io.BytesIO(photos[0])) as image:
        plain = Image.fromarray(np.asarray(image))
    expected = decode(encoded(plain, "PNG"), SIDE).astype(int)
    for space in SPACES.values():
        profile = io.BytesIO(rgb_profile(space))
        there = ImageCms.profileToProfile(plain, ImageCms.createProfile("sRGB"), profile)
        assert there is not None
        with_profile = np.abs(decode(encoded(there, "PNG"), SIDE) - expected).mean()
        del there.info["icc_profile"]
        without = np.abs(decode(encoded(there, "PNG"), SIDE) - expected).mean()
        assert 4 * with_profile < without


@pytest.mark.parametrize("profile", [rgb_profile(SRGB), BUILT_IN], ids=["written here", "of Little CMS"])
def test_srgb_itself_changes_no_pixel(profile: bytes, pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    assert np.array_equal(decode(encoded(image, "PNG", icc_profile=profile), SIDE), decode(encoded(image, "PNG"), SIDE))


def test_transparency_and_palettes(pixels: np.ndarray) -> None:
    half = Image.fromarray(np.dstack([pixels, np.full((SIDE, SIDE), 128, np.uint8)]))
    palette = Image.fromarray(pixels).quantize(32)
    for image in (half, palette):
        plain, tagged = (encoded(image, "PNG", **more) for more in ({}, {"icc_profile": rgb_profile(ADOBE_RGB)}))
        assert np.abs(decode(tagged, SIDE) - in_srgb(decode(plain, SIDE), ADOBE_RGB)).max() < 1.5


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16"])
def test_greyscale_has_profiles_of_its_own(mode: str) -> None:
    level = {"1": 1, "I;16": 128 * 257}.get(mode, 128)
    value = (level, 255) if mode == "LA" else level
    image = Image.new(mode, (9, 9), value)  # type: ignore[arg-type]
    found = decode(encoded(image, "PNG", icc_profile=grey_profile(1.8)))
    expected = 255 if mode == "1" else in_srgb(np.full((1, 3), 128, np.uint8), (SRGB[0], SRGB[1], 1.8))[0, 0]
    assert np.abs(found - expected).max() < 1.5


def inks() -> bytes:
    """A press with pale cyan, magenta and yellow, and a black that is not quite black."""
    c, m, y, k = np.meshgrid(*[[0, 1]] * 4, indexing="ij")
    lightness = np.clip(100 - 25 * (c + m + y) - 80 * k, 10, 100)
    return ink_profile(np.stack([lightness, 70 * m - 40 * c, 90 * y - 45 * c], -1).astype(float))


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_inks_are_those_of_the_press(format: str) -> None:
    patches = Image.new("CMYK", (400, 100))
    for i, ink in enumerate([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 0, 255)]):
        patches.paste(ink, (100 * i, 0, 100 * i + 100, 100))
    tagged = encoded(patches, format, icc_profile=inks())
    opened = Image.open(io.BytesIO(tagged))
    # White, L*a*b* (75, -40, -45) and (75, 70, 0), and black after black point compensation.
    expected = np.array([(255, 255, 255), (0, 207, 255), (255, 121, 188), (48, 48, 48)])
    for data in (tagged, read_photo(opened)):
        assert np.abs(decode(data)[112, [28, 84, 140, 196]].astype(int) - expected).max() <= 3
    assert np.abs(decode(encoded(patches, format))[112, 84].astype(int) - (0, 255, 255)).max() <= 3


def test_a_picture_of_pillows_keeps_its_profile(pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    image.info["icc_profile"] = rgb_profile(DISPLAY_P3)
    assert np.abs(decode(read_photo(image), SIDE) - in_srgb(pixels, DISPLAY_P3)).max() < 1.5


def test_cards_show_the_colours_too() -> None:
    photo = gradient(1200, 800)
    made = card(encoded(photo, "PNG", icc_profile=rgb_profile(ADOBE_RGB)), ["the sea"], Layout.below)
    found = np.asarray(Image.open(io.BytesIO(made)), int)[96:896, 96:1296]
    assert np.abs(found - in_srgb(np.asarray(photo), ADOBE_RGB)).max() < 2


def test_the_server_sees_the_same_colours(server: TritonServer, repository: Path, photos: list[bytes]) -> None:
    with Image.open(io.BytesIO(photos[0])) as image:
        plain = Image.fromarray(np.asarray(image))
    bare, tagged, heic = (
        *(encoded(plain, "PNG", **more) for more in ({}, {"icc_profile": rgb_profile(PROPHOTO)})),
        encoded(plain.resize((320, 214)), "HEIC"),
    )
    with Img2Poem(repository) as here, Img2Poem(server.grpc_url) as there:
        for data in (tagged, heic):
            assert here.embed_image(data) @ there.embed_image(data) > 0.9999
        assert there.embed_image(tagged) @ there.embed_image(bare) < 0.999


def damaged() -> dict[str, bytes]:
    whole = rgb_profile(ADOBE_RGB)
    bomb = b"mpet\0\0\0\0" + struct.pack(">HHI", 3, 3, 100_000) + bytes(800_000)
    return {
        "cut": whole[:200],
        "junk": bytes(range(256)) * 4,
        "of inks": inks(),
        "grey": grey_profile(1.8),
        "without a curve": whole.replace(b"gTRC", b"none"),
        "a device link": whole[:12] + b"link" + whole[16:],
        "too many tags": whole[:128] + struct.pack(">I", 2**32 - 1) + whole[132:],
        "too large": whole.ljust(MAX_PROFILE + 1, b"\0"),
        "endless calculations": written(b"mntr", b"RGB ", b"XYZ ", {"A2B0": bomb, "D2B1": bomb}),
    }


@pytest.mark.parametrize("kind", damaged())
def test_a_profile_that_cannot_be_used_counts_as_none(kind: str, pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    for format in ("PNG", "TIFF"):
        assert np.array_equal(decode(encoded(image, format, icc_profile=damaged()[kind]), SIDE), pixels)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8), st.sampled_from((0, 1, 2)))
def test_damaged_profiles_give_pixels(damage: list[tuple[float, int]], which: int) -> None:
    image, profile = [
        (gradient(), rgb_profile(DISPLAY_P3)),
        (gradient().convert("L"), grey_profile(2.2)),
        (gradient().convert("CMYK"), inks()),
    ][which]
    data = bytearray(profile)
    for place, value in damage:
        data[int(place * (len(data) - 1))] = value
    assert decode(encoded(image, "TIFF", icc_profile=bytes(data)), 16).shape == (16, 16, 3)


def test_the_card_command_takes_no_profile_for_srgb(tmp_path: Path, pixels: np.ndarray) -> None:
    """The output has no profile: its values are sRGB already."""
    made = card(encoded(Image.fromarray(pixels), "PNG", icc_profile=rgb_profile(ADOBE_RGB)), ["the sea"])
    assert "icc_profile" not in Image.open(io.BytesIO(made)).info


def test_spaces_are_what_their_names_say() -> None:
    """Check the arithmetic of these tests with published values: Display P3's green and ProPhoto's grey in sRGB."""

    def shown(colour: tuple[int, int, int], space: Space) -> list[int]:
        return [round(value) for value in in_srgb(np.array([colour], np.uint8), space)[0]]

    assert shown((0, 255, 0), DISPLAY_P3) == [0, 255, 0]
    assert shown((255, 255, 255), PROPHOTO) == shown((255, 255, 255), ADOBE_RGB) == [255, 255, 255]
    assert shown((128, 128, 128), SRGB) == [128, 128, 128]
