"""Coverage-guided fuzzing of the decoder with atheris: it searches for bytes that reach new code in Pillow's readers.

    pip install 'img2poem[fuzz]'
    python -m benchmarks.fuzz_images_guided build/corpus -max_total_time=300 -rss_limit_mb=1024 -timeout=10

The corpus starts with the intact files of :mod:`benchmarks.hostile_images`; inputs that reach new code are added. The
search ends at the first input that gives neither pixels nor ``BadImage``, and writes it to a file.
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import atheris
except ImportError:
    raise SystemExit("this needs atheris: pip install 'img2poem[fuzz]'") from None

with atheris.instrument_imports():
    from PIL import (  # noqa: F401
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    from img2poem.images import metadata  # noqa: F401
    from img2poem.images.decode import SIZE, decode

from img2poem.errors import BadImage

from .hostile_images import seeds


def one(data: bytes) -> None:
    """Decode one input; any error other than ``BadImage`` ends the search."""
    try:
        pixels = decode(data)
    except BadImage:
        return
    if pixels.shape != (SIZE, SIZE, 3):
        raise AssertionError(f"pixels {pixels.shape}")


def main() -> None:
    """Fill the corpus and search until the time limit."""
    for folder in (Path(argument) for argument in sys.argv[1:2] if not argument.startswith("-")):
        folder.mkdir(parents=True, exist_ok=True)
        for number, (format, whole) in enumerate(seeds()):
            (folder / f"{number}-{format}").write_bytes(whole)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
