"""Cards: the photograph complete and upright, the poem beside, below or on it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from img2poem import BadImage, InvalidOption
from img2poem.images.card import Layout, card
from img2poem.images.decode import picture

from ..cli.test_app import run
from ..conftest import encoded, gradient

POEM = ["an old temple", "over the water", "a boat that nobody has tied"]
SHAPES = {"landscape": (640, 427), "portrait": (300, 500), "tiny": (60, 40), "panorama": (1200, 150), "pixel": (1, 1)}


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("layout", [None, *Layout], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_photograph_makes_a_card(shape: str, layout: Layout | None) -> None:
    found = opened(card(encoded(gradient(*SHAPES[shape]), "PNG"), POEM, layout))
    assert found.format == "PNG" and found.mode == "RGB"
    assert min(found.size) >= 300 and max(found.size) <= 4000
    assert found.text["Description"] == "\n".join(POEM)  # type: ignore[attr-defined]


@pytest.mark.parametrize("layout", [Layout.beside, Layout.below])
def test_the_photograph_is_whole_and_the_poem_is_not_on_it(layout: Layout) -> None:
    photo = gradient(1200, 800)
    pixels = np.asarray(opened(card(photo, POEM, layout)), int)
    inside = pixels[96:896, 96:1296]
    assert np.abs(inside - np.asarray(photo, int)).max() <= 1
    paper = pixels[0, 0]
    text = pixels[960:, :] if layout is Layout.below else pixels[:, 1340:]
    assert (np.abs(text - paper).max(-1) > 100).mean() > 0.002  # text is visible
    assert np.array_equal(pixels[-40:].reshape(-1, 3), np.broadcast_to(paper, (40 * pixels.shape[1], 3)))


def test_white_type_reads_on_white() -> None:
    """At least 4.5 to 1 by WCAG's formula wherever the poem is."""
    pixels = np.asarray(opened(card(Image.new("RGB", (1600, 1000), "white"), POEM, Layout.over)), float) / 255
    ground = np.median(pixels[-300:-100, 80:400], axis=(0, 1))
    linear = np.where(ground <= 0.04045, ground / 12.92, ((ground + 0.055) / 1.055) ** 2.4)
    assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) > 4.5
    assert pixels[50, -50].mean() > 0.98  # the rest of the photograph is unchanged


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_it_stands_upright(format: str) -> None:
    photo = gradient(600, 300)
    photo.getexif()[0x0112] = 6
    found = opened(card(encoded(photo, format, exif=photo.getexif()), POEM))
    assert found.height > 1200  # now in portrait format, with the poem beside it
    assert found.getpixel((120, 120))[0] < 40 and found.getpixel((120, 1250))[0] > 200  # type: ignore[index]


def test_a_picture_keeps_its_proportions_and_is_never_enlarged() -> None:
    for size, longest, expected in (
        ((600, 300), 4000, (600, 300)),
        ((600, 300), 100, (100, 50)),
        ((5000, 20), 250, (250, 1)),
        ((30, 900), 90, (3, 90)),
    ):
        for format in ("JPEG", "PNG"):
            found = picture(encoded(gradient(*size), format), longest)
            assert found.size == expected and found.mode == "RGB"
    grown = np.asarray(picture(encoded(gradient(900, 300), "PNG"), 90), int)
    expected_pixels = np.asarray(gradient(900, 300).resize((90, 30), Image.Resampling.LANCZOS), int)
    assert np.abs(grown - expected_pixels).max() <= 4


@settings(max_examples=25)
@given(st.lists(st.text(max_size=200), max_size=34), st.sampled_from(Layout))
def test_any_text_is_set_or_refused(lines: list[str], layout: Layout) -> None:
    try:
        assert opened(card(gradient(40, 30), lines, layout)).width <= 4000
    except InvalidOption as error:
        assert "1 to 32 lines" in str(error) or "the typeface" in str(error)


def test_what_the_typeface_lacks_is_said_and_no_box_is_drawn() -> None:
    card(gradient(40, 30), ["“’Tis naïve” — Über Ж α …", "e\u0301 a\u200db"])
    for lacked in ("漢", "🌊", "न", "\x01", "\ud83d"):
        with pytest.raises(InvalidOption, match="the typeface of cards has no"):
            card(gradient(40, 30), ["the sea", f"and {lacked}"])


def test_what_is_no_photograph_is_refused() -> None:
    with pytest.raises(BadImage):
        card(b"text", POEM)


def test_the_command_writes_the_poem_that_it_prints(repository: Path, photo_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "card.png"
    options = ("--engine", repository, "--strategy", "greedy", "--lines", "4", "--layout", "over")
    done = run("card", photo_file, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    assert opened(out.read_bytes()).text["Description"] == done.stdout.strip()  # type: ignore[attr-defined]
    assert run("write", photo_file, *options[:-2]).stdout.strip() == done.stdout.strip()


@pytest.mark.parametrize(
    ("out", "photo", "says"),
    [("card.jpg", "photo.jpg", "card.png"), ("no/card.png", "photo.jpg", "not a folder"), ("c.png", "none", "no such")],
)
def test_the_command_says_what_is_wrong(photo_file: Path, tmp_path: Path, out: str, photo: str, says: str) -> None:
    done = run("card", tmp_path / photo, "--out", tmp_path / out, "--poem", "one / two")
    assert done.returncode == 2 and says in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"photo.jpg"}
