from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.sheet import write_sheet


def encoded(colour: str, width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "JPEG")
    return file.getvalue()


def test_a_sheet_shows_every_photograph_with_its_poem_below(tmp_path: Path) -> None:
    photos = [encoded(c, w, 600) for c, w in zip(["red", "lime", "blue"] * 2, [400, 900, 600] * 2, strict=True)]
    write_sheet(tmp_path / "sheet.png", photos, ["one line", "two\nlines", "three\nshort\nlines"] * 2)
    pixels = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    reds = (pixels[..., 0] > 200) & (pixels[..., 1:] < 60).all(-1)
    assert reds.any(0).sum() == 2 * 160  # two photographs of 400 x 600, in the first and the fourth column
    dark = (pixels < 100).all(-1)
    blank = np.flatnonzero(~(pixels < 250).any((0, 2)))
    assert dark.any() and pixels.shape[1] == 5 * 332 + 12 and {0, pixels.shape[1] - 1} <= set(blank.tolist())


def test_photographs_without_poems_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="as many poems"):
        write_sheet(tmp_path / "sheet.png", [encoded("red", 8, 8)], [])
    assert not list(tmp_path.iterdir())


def test_a_wide_line_is_broken_before_the_next_column(tmp_path: Path) -> None:
    photos = [encoded("white", 320, 240)] * 2
    write_sheet(tmp_path / "sheet.png", photos, ["wwwwwwwww mmmmmmmmm wwwwwwwww mmmmmm", "short"])
    dark = (np.asarray(Image.open(tmp_path / "sheet.png")).astype(int) < 100).all(-1)
    assert dark[:, 12:332].any() and dark[:, 344:664].any()
    assert not dark[:, 332:344].any(), "between the columns there is nothing"
    assert dark[:, 12:332].any(1).sum() > dark[:, 344:664].any(1).sum(), "it takes several lines"
