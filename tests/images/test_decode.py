from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from img2poem.errors import BadImage
from img2poem.images.decode import FORMATS, MAX_BYTES, check, decode, read_photo
from img2poem.images.metadata import without_metadata

from ..conftest import encoded, gradient

RED, GREEN = (0, -1), (-1, 0)  # corners of the gradient, as indices into pixels


def corners_are_right(pixels: np.ndarray) -> bool:
    """Whether the picture is the upright gradient: red top right, green bottom left, both bottom right."""
    top_left, red, green, both = pixels[4, 4], pixels[4, -5], pixels[-5, 4], pixels[-5, -5]
    return bool(top_left[0] < 60 < 190 < red[0] and red[1] < 60 < 190 < green[1] and min(both[:2]) > 190)


@pytest.mark.parametrize("format", FORMATS)
def test_every_named_format_decodes_to_the_same_picture(format: str) -> None:
    pixels = decode(encoded(gradient(300, 200), format))
    assert pixels.shape == (224, 224, 3) and pixels.dtype == np.uint8
    if format != "GIF":  # a palette of 256 colours is too coarse
        assert np.abs(pixels.astype(int) - decode(encoded(gradient(300, 200), "PNG"))).mean() < 3
    assert corners_are_right(pixels)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, format: str) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = gradient(300, 200)
    if orientation in turns:
        stored = stored.transpose(turns[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert corners_are_right(decode(encoded(stored, format, exif=exif.tobytes(), quality=95)))


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (20, 20), (10, 20, 30, 0))
    assert (decode(encoded(clear, "PNG")) == 255).all()
    palette = Image.new("P", (20, 20), 3)
    palette.putpalette([0, 0, 0] * 256)
    assert (decode(encoded(palette, "GIF", transparency=3)) == 255).all()
    grey = Image.new("LA", (20, 20), (0, 0))
    assert (decode(encoded(grey, "PNG")) == 255).all()


@pytest.mark.parametrize(
    ("depth", "colours", "sample", "other", "seen"),
    [
        *(
            (depth, 0, (value,), (value ^ 1,), value * 255 // (2**depth - 1))
            for depth, value in ((1, 0), (2, 1), (4, 5))
        ),
        (8, 0, (77,), (78,), 77),
        (16, 0, (1000,), (1001,), 3),
        (8, 2, (9, 8, 7), (9, 8, 6), 8),
        (16, 2, (1000, 1010, 1020), (1000, 1010, 2), 3),
    ],
)
def test_the_colour_that_a_png_calls_clear_lies_on_white(
    depth: int, colours: int, sample: tuple[int, ...], other: tuple[int, ...], seen: int
) -> None:
    """Pillow scales samples of other than 8 bits, but not the transparent colour that they are compared with."""
    bits = "".join(f"{value:0{depth}b}" for value in sample * 16)
    row = b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    header = struct.pack(">IIBBBBB", 16, 16, depth, colours, 0, 0, 0)

    def png(clear: tuple[int, ...]) -> bytes:
        chunks = {b"IHDR": header, b"tRNS": struct.pack(f">{len(clear)}H", *clear), b"IDAT": zlib.compress(row * 16)}
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in {**chunks, b"IEND": b""}.items())

    assert (decode(png(sample)) == 255).all()
    assert (np.abs(decode(png(other)).astype(int) - seen) <= 1).all()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(("format", "options"), [("TIFF", {"compression": "tiff_deflate"}), ("AVIF", {})])
def test_a_file_that_ends_early_is_not_called_another_format(format: str, options: dict[str, object]) -> None:
    whole = encoded(gradient(), format, **options)  # a TIFF's directory is at its end
    with pytest.raises(BadImage, match="truncated or damaged, or of a kind that cannot be read; save it as"):
        decode(whole[: len(whole) // 2])


def test_sixteen_bit_greyscale_keeps_its_brightness() -> None:
    grey = Image.fromarray(np.full((20, 20), 128 * 257, np.uint16))
    assert (decode(encoded(grey, "PNG")) == 128).all()


@pytest.mark.parametrize(
    ("mode", "half", "white"),
    [
        ("I", 128, 255),
        ("I", 128 * 257, 65535),
        ("I", 2**30, 2**31 - 1),
        ("F", 0.5, 1),
        ("F", 128, 255),
        ("F", 3e4, 6e4),
    ],
)
def test_greyscale_of_numbers_and_fractions_is_not_black(mode: str, half: float, white: float) -> None:
    """No file says which value is white; regression: 200 of 255 became black."""
    image = Image.new(mode, (20, 20), half)  # type: ignore[arg-type]
    image.paste(white, (0, 0, 20, 10))  # type: ignore[arg-type]
    for data in (encoded(image, "TIFF"), read_photo(image)):
        pixels = decode(data)
        assert abs(int(pixels[-5, 100, 0]) - 128) <= 12 and pixels[5, 100, 0] >= 230
        assert (pixels == pixels[..., :1]).all()


def test_every_value_of_sixteen_bits_is_its_upper_byte() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels = decode(encoded(Image.fromarray(values), "PNG"), 256)
    assert np.array_equal(pixels[..., 0], values // 257)


def _chunk(kind: bytes, data: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)


LARGE = zlib.compress(b"x" * 2**24)
BESIDE = {
    "iTXt": _chunk(b"iTXt", b"key\0\1\0\0\0" + LARGE),
    "zTXt": _chunk(b"zTXt", b"key\0\0" + LARGE),
    "iCCP": _chunk(b"iCCP", b"profile\0\0" + LARGE),
    "tEXt": _chunk(b"tEXt", b"key\0" + b"x" * 2**22),
    "many": _chunk(b"tEXt", b"key\0" + b"x" * 2**16) * 100,
    "wrong sum": _chunk(b"tEXt", b"key\0text", wrong=1),
    "wrong profile": _chunk(b"iCCP", b"nothing", wrong=1),
    "wrong time": _chunk(b"tIME", b""),
    "wrong EXIF": _chunk(b"eXIf", b"nothing", wrong=1),
    "own": _chunk(b"prVt", b"\0" * 100, wrong=1),
}


@pytest.mark.parametrize("beside", BESIDE)
def test_what_stands_beside_the_pixels_of_a_png_spoils_none(beside: str) -> None:
    whole, chunk = encoded(gradient(300, 200), "PNG"), BESIDE[beside]
    first, last = 8 + 25, len(whole) - 12  # after IHDR, before IEND
    for place in (first, last):
        found = decode(whole[:place] + chunk + whole[place:])
        assert np.array_equal(found, decode(whole))


def test_what_makes_the_pixels_of_a_png_must_be_sound() -> None:
    palette = encoded(gradient(300, 200).quantize(16), "PNG")
    clear = encoded(gradient(300, 200).convert("RGBA").quantize(16), "PNG", transparency=bytes(range(0, 160, 10)))
    for whole, kind in ((palette, b"PLTE"), (clear, b"tRNS"), (palette, b"IHDR")):
        end = whole.index(kind) + 4 + int.from_bytes(whole[whole.index(kind) - 4 : whole.index(kind)], "big")
        assert decode(whole).shape == (224, 224, 3)
        with pytest.raises(BadImage):
            decode(whole[:end] + b"nope" + whole[end + 4 :])
    endless = palette[:33] + _chunk(b"tEXt", b"") * 60_000 + palette[33:]
    with pytest.raises(BadImage, match="does not end"):
        decode(endless)


def test_greyscale_bilevel_and_cmyk() -> None:
    assert abs(int(decode(encoded(Image.new("L", (9, 9), 77), "JPEG")).mean()) - 77) <= 1
    assert (decode(encoded(Image.new("1", (9, 9), 1), "PNG")) == 255).all()
    cmyk = decode(encoded(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG"))
    assert cmyk[..., 0].mean() > 200 > 60 > cmyk[..., 1].mean()


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    pixels = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert pixels[..., 0].min() > 250 and pixels[..., 2].max() < 5


def test_one_pixel_and_forty_eight_megapixels() -> None:
    assert (decode(encoded(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG")) == (9, 8, 7)).all()
    large = decode(encoded(Image.new("RGB", (8000, 6000), (200, 100, 50)), "JPEG"))
    assert np.abs(large.astype(int) - (200, 100, 50)).max() <= 3


def test_pixels_of_a_photograph_are_stable(photos: list[bytes]) -> None:
    """Golden values of china.jpg, from Pillow 13.0 with libjpeg-turbo on x86-64, 2026-11-24."""
    pixels = decode(photos[0])
    assert np.abs(pixels.mean((0, 1)) - GOLDEN_MEAN).max() < 0.5
    assert np.abs(pixels[[20, 100, 200], [30, 112, 190]].astype(int) - GOLDEN_PIXELS).max() <= 4


GOLDEN_MEAN = np.array([144.72, 145.47, 140.92])
GOLDEN_PIXELS = np.array([[186, 211, 241], [212, 209, 210], [82, 80, 64]])


@pytest.mark.parametrize("format", FORMATS)
def test_a_truncated_file_is_refused(format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8))
    whole = encoded(noise, format)
    with pytest.raises(BadImage, match=r"truncated|damaged|not a picture"):
        decode(whole[: len(whole) // 2])


def png_that_declares(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_too_many_bytes_are_refused_wherever_they_come_from() -> None:
    for refuse in (check, decode, read_photo):
        with pytest.raises(BadImage, match="65 MiB is more than the 64 MiB"):
            refuse(encoded(gradient(), "JPEG") + bytes(65 * 2**20 - 2000))


def test_heic_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encoded(gradient(300, 200), "HEIC")
    for name in ("pillow_heif", "pillow_heif.as_plugin"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadImage, match=r"pip install 'img2poem\[heic\]'"):
        decode(whole)
    check(whole)  # servers may have the plugin


def test_avif_with_exif_that_points_at_itself_is_read_without_it() -> None:
    """When turning the picture, Pillow would write the EXIF again for each of its entries."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a caption"
    whole = encoded(gradient(300, 200), "AVIF", exif=exif.tobytes())
    with Image.open(io.BytesIO(without_metadata(whole).file)) as image:
        assert dict(image.getexif()) == {0x0112: 6}


@pytest.mark.parametrize("size", [(50_000, 50_000), (11_000, 11_000), (100_000_001, 1)])
def test_a_bomb_is_refused_from_its_header(size: tuple[int, int]) -> None:
    for refuse in (check, decode):
        with pytest.raises(BadImage, match="pixels"):
            refuse(png_that_declares(*size))


@given(st.binary(max_size=300))
def test_random_bytes_are_a_bad_image(data: bytes) -> None:
    with pytest.raises(BadImage):
        decode(data)


@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=20))
def test_damaged_files_decode_or_are_refused(format: str, damage: list[tuple[float, int]]) -> None:
    data = bytearray(encoded(gradient(), format))
    for place, value in damage:
        data[int(place * (len(data) - 1))] = value
    with contextlib.suppress(BadImage):
        assert decode(bytes(data)).shape == (224, 224, 3)


def test_only_the_named_formats_are_opened() -> None:
    for format in ("PPM", "TGA", "ICO", "PDF"):
        buffer = io.BytesIO()
        gradient().save(buffer, format)
        with pytest.raises(BadImage, match="known format"):
            decode(buffer.getvalue())


def test_paths_that_are_no_photographs(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="no such file"):
        read_photo(tmp_path / "missing.jpg")
    with pytest.raises(BadImage, match="folder"):
        read_photo(tmp_path)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(BadImage, match="empty"):
        read_photo(tmp_path / "empty.jpg")
    with pytest.raises(BadImage, match="cannot be read"):
        read_photo("nul\0byte.jpg")
    with pytest.raises(BadImage, match="no such file: its name is empty"):
        read_photo("")
    for address in ("https://h/a.jpg", "HTTPS://h/a.jpg", "file:///a.jpg", "s3://bucket/a.jpg", Path("HTTP://h/a.jpg")):
        with pytest.raises(BadImage, match="is an address"):
            read_photo(address)
    with open(tmp_path / "huge.jpg", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(BadImage, match="MiB"):
        read_photo(tmp_path / "huge.jpg")


def test_threads_that_decode_leave_the_warnings_of_the_process_alone() -> None:
    """Regression: overlapping threads saved and restored Python's filters, and left all warnings ignored."""
    before, data, interval = list(warnings.filters), encoded(gradient(), "PNG"), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(decode, [data] * 200))
    finally:
        sys.setswitchinterval(interval)
    assert list(warnings.filters) == before


def test_a_file_object_at_its_end_says_how_to_go_back(tmp_path: Path) -> None:
    whole = encoded(gradient(), "PNG")
    buffer = io.BytesIO()
    buffer.write(whole)
    with pytest.raises(BadImage, match=r"seek\(0\)"):
        read_photo(buffer)
    buffer.seek(0)
    assert read_photo(buffer) == whole
    with pytest.raises(BadImage, match="the file is empty"):
        read_photo(io.BytesIO())


def test_a_path_may_be_of_bytes(tmp_path: Path) -> None:
    class Name:
        def __fspath__(self) -> bytes:
            return os.fsencode(tmp_path) + b"/\xff.png"

    Path(os.fsdecode(Name().__fspath__())).write_bytes(encoded(gradient(), "PNG"))
    assert read_photo(Name()) == encoded(gradient(), "PNG")  # type: ignore[arg-type]
