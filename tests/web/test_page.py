"""The page in a real browser, with the real models behind it."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
).split()
LINES = "#lines p"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="no Chromium; apt-get install chromium"
)
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, gateway: str) -> Iterator[Page]:
    """The page, without motion; it fails the test by any error of its own and any request to elsewhere."""
    page, faults = browser.new_page(reduced_motion="reduce"), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((gateway, "blob:")) else faults.append(asked.url))
    page.on("filechooser", lambda chooser: None)  # from now on: a key is quicker than the browser learns of it
    page.goto(gateway)
    yield page
    page.close()
    assert not faults


@pytest.fixture
def photo(tmp_path: Path, photos: list[bytes]) -> Path:
    path = tmp_path / "china.jpg"
    path.write_bytes(photos[0])
    return path


def choose(page: Page, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a photograph").click()
    chooser.value.set_files(path)


def state(page: Page, name: str) -> None:
    expect(page.locator("body")).to_have_attribute("data-state", name)


def wish(page: Page, **fields: str) -> None:
    if page.locator("details").get_attribute("open") is None:
        page.get_by_text("Wishes for the poem").click()
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(value)


def test_a_photograph_becomes_a_poem_and_another(page: Page, photo: Path, gateway: str) -> None:
    choose(page, photo)
    state(page, "done")
    first = page.locator(LINES).all_inner_texts()
    assert len(first) >= 4
    answer = httpx.post(f"{gateway}/v1/poems?strategy=sample", content=photo.read_bytes(), timeout=60)
    assert first == answer.json()["lines"]
    expect(page.get_by_text("temple (east asia)")).to_be_visible()
    assert page.locator("#photo").evaluate("image => image.naturalWidth") == 640
    page.get_by_role("button", name="Another one").click()
    state(page, "done")
    expect(page.locator(LINES).first).not_to_have_text(first[0])


def test_lines_come_one_by_one(browser: Browser, gateway: str, photo: Path) -> None:
    page = browser.new_page()
    page.goto(gateway)
    choose(page, photo)
    expect(page.locator(LINES)).to_have_count(1)
    state(page, "writing")
    expect(page.locator(LINES)).to_have_count(2)
    state(page, "done")
    assert page.locator(LINES).count() >= 4
    page.close()


def test_wishes_are_kept(page: Page, photo: Path) -> None:
    wish(page, Acrostic="SEA", Words_that_must_come="night")
    page.get_by_label("Temperature").fill("0.5")
    expect(page.locator("#degrees")).to_have_text("0.5")
    choose(page, photo)
    state(page, "done")
    lines = page.locator(LINES).all_inner_texts()
    assert [line[0] for line in lines] == ["s", "e", "a"] and "night" in " ".join(lines).split()


def test_an_impossible_wish_is_explained_and_can_be_mended(page: Page, photo: Path) -> None:
    wish(page, Acrostic="XX")
    choose(page, photo)
    expect(page.get_by_role("alert")).to_contain_text("begins with 'x'")
    wish(page, Acrostic="ON")
    page.get_by_label("Acrostic").press("Enter")
    state(page, "done")
    expect(page.locator(LINES)).to_have_count(2)
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_file_that_lies_about_itself_is_refused(page: Page, tmp_path: Path, photo: Path) -> None:
    (tmp_path / "liar.jpg").write_text("this is text")
    choose(page, tmp_path / "liar.jpg")
    expect(page.get_by_role("alert")).to_contain_text("This photograph cannot be used.")
    state(page, "empty")
    choose(page, photo)
    state(page, "done")


def test_a_large_file_never_leaves(page: Page, tmp_path: Path) -> None:
    posted: list[str] = []
    page.on("request", lambda asked: posted.append(asked.url) if asked.method == "POST" else None)
    with open(tmp_path / "large.jpg", "wb") as file:
        file.truncate(65 * 2**20)
    expect(page.locator("#model")).not_to_be_empty()
    choose(page, tmp_path / "large.jpg")
    expect(page.get_by_role("alert")).to_contain_text("More than the 64 MB")
    assert not posted


def test_a_server_that_is_gone_is_told(page: Page, photo: Path) -> None:
    page.route("**/v1/poems/stream", lambda route: route.abort())
    choose(page, photo)
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.unroute("**/v1/poems/stream")
    page.get_by_role("button", name="Try again").click()
    state(page, "done")
    assert page.locator(LINES).count() >= 4


def test_a_stream_that_breaks_off_is_told(page: Page, photo: Path) -> None:
    def half(route: Route) -> None:
        route.fulfill(content_type="text/event-stream", body='event: line\ndata: {"index": 0, "text": "one"}\n\n')

    page.route("**/v1/poems/stream", half)
    choose(page, photo)
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    expect(page.locator(LINES)).to_have_text(["one"])


def test_it_can_be_stopped(page: Page, photo: Path) -> None:
    wish(page, Rhyme="AABBCCDD")
    page.get_by_label("With care").check()
    choose(page, photo)
    page.get_by_role("button", name="Stop").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Stopped.")).to_be_visible()
    expect(page.get_by_role("button", name="Another one")).to_be_focused()
    expect(page.locator(LINES)).to_have_count(0)


def test_a_keyboard_is_enough(page: Page, photo: Path) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose a photograph")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(photo)
    expect(page.get_by_role("region", name="Poem")).to_be_focused()
    state(page, "done")
    names = []
    for _ in range(5):
        page.keyboard.press("Tab")
        names.append(page.locator(":focus").inner_text())
    assert names == ["Another one", "Copy", "Save as a picture", "Another photograph", "Wishes for the poem"]
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Lines", exact=True)).to_be_focused()
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    expect(page.locator(LINES)).to_have_count(3)
    state(page, "done")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_width_and_scheme_can_be_used(
    browser: Browser, gateway: str, photo: Path, width: int, scheme: str
) -> None:
    size: ViewportSize = {"width": width, "height": 844}
    page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce", bypass_csp=True)
    page.goto(gateway)
    wish(page, Lines="4")
    _accessible(page, width)
    choose(page, photo)
    state(page, "done")
    _accessible(page, width)
    wish(page, Acrostic="X")
    page.get_by_role("button", name="Another one").click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    _accessible(page, width)
    page.close()


def _accessible(page: Page, width: int) -> None:
    """By axe-core's rules, with nothing that sticks out and no target too small for a finger."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None and box["height"] >= 44 and box["x"] >= 0 and box["x"] + box["width"] <= width
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()


def test_the_reference_can_be_used(browser: Browser, gateway: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, bypass_csp=True)
    page.goto(f"{gateway}/docs")
    _accessible(page, 390)
    page.close()


TRANSFER = """([type, text]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
  const fields = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
  document.body.dispatchEvent(type === "paste" ? new ClipboardEvent("paste", fields) : new DragEvent("drop", fields));
}"""


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_a_photograph_can_be_pasted_and_dropped(page: Page, photos: list[bytes], way: str) -> None:
    page.evaluate(TRANSFER, [way, base64.b64encode(photos[0]).decode()])
    state(page, "done")
    assert page.locator(LINES).count() >= 4


def test_a_photograph_can_be_taken(page: Page) -> None:
    page.get_by_role("button", name="Take one").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    state(page, "empty")
    page.get_by_role("button", name="Take one").click()
    page.locator("video").evaluate("video => new Promise((done) => video.requestVideoFrameCallback(done))")
    page.get_by_role("button", name="Take the photograph").click()
    state(page, "done")
    assert page.locator(LINES).count() >= 4
    assert page.locator("video").evaluate("video => video.srcObject") is None  # the camera is off


def test_copy_and_save(browser: Browser, gateway: str, photo: Path) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], reduced_motion="reduce")
    page = context.new_page()
    page.goto(gateway)
    wish(page)
    page.get_by_label("Picture to save").select_option("over")
    choose(page, photo)
    state(page, "done")
    poem = "\n".join(page.locator(LINES).all_inner_texts())
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == poem
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a picture").click()
    assert download.value.suggested_filename == "china-poem.png"
    with Image.open(io.BytesIO(Path(download.value.path()).read_bytes())) as card:
        assert card.size == (1600, 1068) and card.text["Description"] == poem
    context.close()
