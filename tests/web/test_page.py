"""The page in a real browser, with the real models."""

from __future__ import annotations

import base64
import io
import json
import os
import re
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
    """The page, without motion; the test fails if it has an error or makes a request to another site."""
    page, faults = browser.new_page(reduced_motion="reduce"), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((gateway, "blob:")) else faults.append(asked.url))
    page.on("filechooser", lambda chooser: None)  # registered early: a key press is faster than the registration
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


def settled(page: Page) -> None:
    """Wait until nothing is being written any more."""
    expect(page.locator("#again")).to_be_visible()
    state(page, "done")


def wish(page: Page, **fields: str) -> None:
    if page.locator("details").get_attribute("open") is None:
        page.get_by_text("Wishes for the poem").click()
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(value)


def written(gateway: str, photo: Path, seed: int) -> list[str]:
    """Return the gateway's lines for a seed, as the page prints them."""
    url = f"{gateway}/v1/poems?strategy=sample&seed={seed}"
    lines: list[str] = httpx.post(url, content=photo.read_bytes(), timeout=60).json()["lines"]
    return [line.replace("'", "\u2019") for line in lines]


def shown(page: Page) -> list[str]:
    return page.locator(LINES).all_inner_texts()


def test_a_photograph_becomes_poems_to_choose_from(page: Page, photo: Path, gateway: str) -> None:
    choose(page, photo)
    settled(page)
    poems = [written(gateway, photo, seed) for seed in range(3)]
    assert shown(page) == poems[0] and len(poems[0]) >= 3
    assert page.locator("#choices label").all_inner_texts() == [poem[0] for poem in poems]
    expect(page.get_by_text("temple (east asia)")).to_be_visible()
    assert page.locator("#photo").evaluate("image => image.naturalWidth") == 640
    page.get_by_label(poems[1][0]).check()
    assert shown(page) == poems[1]
    page.get_by_role("button", name="Three more").click()
    expect(page.locator("#choices label")).to_have_count(6)
    settled(page)
    assert (
        shown(page) not in poems and page.get_by_role("radio", checked=True).first.evaluate("one => one.value") == "3"
    )


def test_lines_come_one_by_one(browser: Browser, gateway: str, photo: Path) -> None:
    page = browser.new_page()
    page.clock.install(time=0)
    page.goto(gateway)
    page.clock.pause_at(3_600_000)  # an hour later; from here on the test moves the clock
    choose(page, photo)
    for count in (1, 2):
        expect(page.locator(LINES)).to_have_count(count)
        state(page, "writing")
        page.clock.run_for(480)
    page.close()


def test_a_sample_is_written_about_and_the_visit_is_kept(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    plain = page.evaluate(HUE)
    for name in ("A temple above a lake", "Chelsea, a cat"):
        page.get_by_role("button", name=name).click()
        settled(page)
        expect(page.locator("#photo")).to_have_attribute("alt", name)
        if name != "Chelsea, a cat":
            first = shown(page)
            assert page.evaluate(HUE) != plain
            page.get_by_role("button", name="New photograph").click()
            state(page, "empty")
            expect(page.get_by_role("button", name="Choose a photograph")).to_be_focused()
    visit = page.get_by_role("region", name="This visit").get_by_role("button")
    expect(visit).to_have_count(2)
    expect(visit.first).to_have_attribute("aria-current", "true")
    count = len(asked)
    visit.last.click()
    state(page, "done")
    assert shown(page) == first and page.locator("#choices label").count() == 3 and len(asked) == count
    expect(page.locator("#photo")).to_have_attribute("alt", "A temple above a lake")
    page.reload()
    expect(page.get_by_role("region", name="This visit")).to_be_hidden()


def test_sentences_are_set_as_in_print(page: Page, photo: Path) -> None:
    poem = ['Don\'t go, "my light" --', "it's dusk."]
    events = [f"event: line\ndata: {json.dumps({'index': i, 'text': line})}\n\n" for i, line in enumerate(poem)]
    body = "".join(events) + "event: poem\ndata: {}\n\n"
    page.route("**/v1/poems/stream", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    choose(page, photo)
    settled(page)
    assert shown(page) == ["Don\u2019t go, \u201cmy light\u201d\u2014", "it\u2019s dusk."]
    assert page.evaluate("[...document.fonts].some((font) => font.status === 'loaded')")


def test_wishes_are_kept_and_told(page: Page, photo: Path) -> None:
    wish(page, Acrostic="SEA", Words_that_must_come="night", Words_to_keep_out="the")
    page.get_by_label("Temperature").fill("0.4")
    page.get_by_label("One", exact=True).check()
    expect(page.locator("#degrees")).to_have_text("0.4, plain")
    expect(page.locator("#wanted")).to_have_text("spells SEA \u00b7 with night \u00b7 without the \u00b7 plain")
    choose(page, photo)
    settled(page)
    lines = shown(page)
    assert [line[0].lower() for line in lines] == ["s", "e", "a"]
    words = re.findall("[a-z]+", " ".join(lines).lower())
    assert "night" in words and "the" not in words
    expect(page.locator("#choices")).to_be_hidden()
    expect(page.get_by_role("button", name="Another poem")).to_be_visible()
    page.get_by_role("button", name="Clear the wishes").click()
    expect(page.locator("#wanted")).to_be_empty()
    expect(page.get_by_role("button", name="Three more")).to_be_visible()


def test_an_impossible_wish_is_explained_and_can_be_mended(page: Page, photo: Path) -> None:
    wish(page, Acrostic="XX")
    choose(page, photo)
    expect(page.get_by_role("alert")).to_contain_text("begins with 'x'")
    wish(page, Acrostic="ON")
    page.get_by_label("Acrostic").press("Enter")
    settled(page)
    expect(page.locator(LINES)).to_have_count(2)
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_file_that_lies_about_itself_is_refused(page: Page, tmp_path: Path, photo: Path) -> None:
    (tmp_path / "liar.jpg").write_text("this is text")
    choose(page, tmp_path / "liar.jpg")
    expect(page.get_by_role("alert")).to_contain_text("This photograph cannot be used.")
    state(page, "empty")
    expect(page.get_by_role("region", name="This visit")).to_be_hidden()
    choose(page, photo)
    settled(page)


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
    settled(page)
    assert page.locator(LINES).count() >= 3 and page.locator("#choices label").count() == 3


def test_a_stream_that_breaks_off_is_told(page: Page, photo: Path) -> None:
    def half(route: Route) -> None:
        route.fulfill(content_type="text/event-stream", body='event: line\ndata: {"index": 0, "text": "one"}\n\n')

    page.route("**/v1/poems/stream", half)
    choose(page, photo)
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    expect(page.locator(LINES)).to_have_text(["one"])
    page.unroute("**/v1/poems/stream")
    page.get_by_role("button", name="Try again").click()
    settled(page)
    expect(page.locator("#choices label")).to_have_count(3)  # an unfinished poem is not offered


def test_it_can_be_stopped(page: Page, photo: Path) -> None:
    wish(page, Rhyme="AABBCCDD")
    page.get_by_label("With care").check()
    choose(page, photo)
    page.get_by_role("button", name="Stop").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Stopped.")).to_be_visible()
    expect(page.get_by_role("button", name="Three more")).to_be_focused()
    expect(page.locator(LINES)).to_have_count(0)


def test_a_keyboard_is_enough(page: Page, photo: Path) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="For programs")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose a photograph")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(photo)
    expect(page.get_by_role("region", name="Poem")).to_be_focused()
    settled(page)
    for name in ("Three more", "Make a card", "Copy the text"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
    first = shown(page)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#choices input:checked")).to_be_focused()
    assert page.locator("#choices input:checked").input_value() == "1" and shown(page) != first
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Lines", exact=True)).to_be_focused()
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    expect(page.locator(LINES)).to_have_count(3)
    settled(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 3840])
def test_every_width_and_scheme_can_be_used(
    browser: Browser, gateway: str, photo: Path, width: int, scheme: str
) -> None:
    size: ViewportSize = {"width": width, "height": 844 if width < 2000 else 2160}
    page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce", bypass_csp=True)
    page.goto(gateway)
    wish(page, Lines="4")
    _accessible(page, width)
    choose(page, photo)
    settled(page)
    _accessible(page, width)
    page.get_by_role("button", name="Make a card").click()
    expect(page.get_by_role("button", name="Save the picture")).to_be_enabled()
    _accessible(page, width)
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="New photograph").click()
    page.get_by_role("button", name="A dahlia").click()
    settled(page)
    wish(page, Acrostic="X")
    page.get_by_role("button", name="Three more").click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    _accessible(page, width)
    page.close()


def _accessible(page: Page, width: int) -> None:
    """By axe-core's rules, without horizontal overflow and with large enough touch targets."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None and box["height"] >= 44 and box["x"] >= 0 and box["x"] + box["width"] <= width
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()


def test_the_reference_can_be_used(browser: Browser, gateway: str) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 844}, bypass_csp=True)
    page.goto(f"{gateway}/docs")
    _accessible(page, 360)
    page.close()


HUE = "getComputedStyle(document.documentElement).getPropertyValue('--hue')"
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
    settled(page)
    assert page.locator(LINES).count() >= 3


def test_a_photograph_can_be_taken(page: Page) -> None:
    page.get_by_role("button", name="Take one").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    state(page, "empty")
    page.get_by_role("button", name="Take one").click()
    page.locator("video").evaluate("video => new Promise((done) => video.requestVideoFrameCallback(done))")
    page.get_by_role("button", name="Take the photograph").click()
    settled(page)
    assert page.locator(LINES).count() >= 3
    assert page.locator("video").evaluate("video => video.srcObject") is None  # the camera is released


def test_text_and_card_can_be_taken_along(browser: Browser, gateway: str, photo: Path) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], reduced_motion="reduce")
    page = context.new_page()
    page.goto(gateway)
    choose(page, photo)
    settled(page)
    page.get_by_role("button", name="Copy the text").click()
    expect(page.locator("#status")).to_have_text("Copied.")
    poem = page.evaluate("navigator.clipboard.readText()")
    assert [line.replace("'", "\u2019") for line in poem.split("\n")] == shown(page)
    page.get_by_role("button", name="Make a card").click()
    picture = page.get_by_alt_text("The card")
    expect(picture).to_be_visible()
    shape = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
    assert picture.evaluate(shape) != [1600, 1068]
    with page.expect_response("**/v1/card"):
        page.get_by_label("On the photograph").check()
    expect(page.get_by_role("button", name="Save the picture")).to_be_enabled()
    assert picture.evaluate(shape) == [1600, 1068]
    page.get_by_role("button", name="Copy the picture").click()
    expect(page.locator("#shared")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.read().then((items) => items[0].types)") == ["image/png"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the picture").click()
    assert download.value.suggested_filename == "china-poem.png"
    with Image.open(io.BytesIO(Path(download.value.path()).read_bytes())) as card:
        assert card.size == (1600, 1068) and card.text["Description"] == poem
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Make a card")).to_be_focused()
    context.close()
