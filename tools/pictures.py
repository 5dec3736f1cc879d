"""Generate the pictures of the README and the docs: ``python -m tools.pictures``, after ``python -m export.all``.

    card.jpg         a sample photograph of the web page with its poem beside it, typeset as by ``img2poem card``
    poem-NAME.jpg    each sample photograph with its poem below it
    page.jpg         the web page with such a poem; needs Chromium, and is kept unchanged without it

The poems use the default options, so that nobody picks favourites.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from img2poem import Img2Poem
from img2poem import __file__ as package
from img2poem.artifacts.installed import EXPORTED
from img2poem.cli.console import reporting, tell
from img2poem.files.atomic import write_atomically
from img2poem.images.card import Layout, card
from img2poem.serving.server import Ports

SAMPLES = sorted((Path(package).parent / "web" / "pages" / "samples").glob("*.jpg"))
#: Photograph on the README.
_FIRST = "cat"
#: Width in pixels of a full column and of half a column, for screens of twice the density; quality of JPEG.
_WIDE, _NARROW, _QUALITY = 1400, 800, 86
_PAGE = {"width": 1280, "height": 800}


def cards(engine: Path) -> dict[str, bytes]:
    """Return the cards of the sample photographs by file name."""
    found: dict[str, bytes] = {}
    with Img2Poem(engine) as poet:
        for photo in SAMPLES:
            lines = poet.write(photo).lines
            found[f"poem-{photo.stem}.jpg"] = _jpeg(card(photo, lines, Layout.below), _NARROW)
            if photo.stem == _FIRST:
                found["card.jpg"] = _jpeg(card(photo, lines, Layout.beside), _WIDE)
    return found


def page(engine: Path, chromium: str) -> bytes:
    """Return a screenshot of the web page after it wrote about a sample photograph."""
    from playwright.sync_api import expect, sync_playwright

    port = Ports.free().http
    command = [sys.executable, "-m", "img2poem", "web", "--port", str(port), "--engine", str(engine)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        process.stderr.readline()  # printed when the server is ready
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            with closing(browser):
                shown = browser.new_page(viewport=_PAGE, device_scale_factor=1.5, reduced_motion="reduce")  # type: ignore[arg-type]
                shown.goto(f"http://127.0.0.1:{port}")
                shown.get_by_role("button", name="A temple above a lake").click()
                expect(shown.locator("#again")).to_be_visible(timeout=120_000)
                expect(shown.locator("body")).to_have_attribute("data-state", "done", timeout=120_000)
                return _jpeg(shown.screenshot(), _WIDE)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _jpeg(picture: bytes, width: int) -> bytes:
    with Image.open(io.BytesIO(picture)) as image:
        size = (width, round(width * image.height / image.width))
        file = io.BytesIO()
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()


def main(
    folder: Annotated[Path, typer.Option(help="Output folder.")] = Path("docs/images"),
    engine: Annotated[Path, typer.Option(help="Model repository that writes the poems.")] = EXPORTED,
) -> None:
    """Generate the pictures of the README and the docs."""
    with reporting():
        pictures = cards(engine)
        if chromium := shutil.which("chromium") or shutil.which("google-chrome"):
            pictures["page.jpg"] = page(engine, chromium)
        else:
            tell("no Chromium: page.jpg is left as it is")
        for name, picture in pictures.items():
            write_atomically(folder / name, picture)
            tell(f"{folder / name} written, {len(picture) // 1024} KiB")


if __name__ == "__main__":
    typer.run(main)
