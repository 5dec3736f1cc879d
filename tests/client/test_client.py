"""Arguments, results and refusals of the client, in process and with the real server."""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from PIL import Image

from img2poem import (
    AsyncImg2Poem,
    BadImage,
    BeamSearch,
    BestOf,
    CallEvent,
    Form,
    Greedy,
    Img2Poem,
    InvalidOption,
    Poem,
    Sampling,
)
from img2poem.artifacts.package import contract_hash
from img2poem.images.decode import decode, read_photo
from img2poem.serving.server import TritonServer

from ..conftest import WEIGHTS, encoded, gradient
from ..homes import Torch


def test_a_poem_says_how_it_came_about(target: str, photos: list[bytes]) -> None:
    with Img2Poem(target) as poet:
        poem = poet.write(photos[0], BestOf(3, Sampling(seed=5)), form=Form(lines=5))
    assert len(poem.lines) == 5 and poem.text == "\n".join(poem.lines) and poem.seed == 5
    assert poem.finish_reason == "end" and -1 < (poem.relevance or 0) < 1 and poem.score < 0
    assert (poem.model.name, poem.model.version, poem.model.contract) == ("lite", "1", contract_hash(WEIGHTS))
    assert poem.timings["total"] >= poem.timings["img2poem_best"] > 0
    told = json.loads(poem.to_json(photo="a.jpg"))
    assert told["photo"] == "a.jpg" and told["text"] == poem.text
    assert told["strategy"]["name"] == "best-of" and told["strategy"]["sampling"]["seed"] == 5


def test_a_poem_that_is_cut_off_says_so(target: str, photos: list[bytes]) -> None:
    with Img2Poem(target) as poet:
        assert poet.write(photos[0], Greedy(max_tokens=9)).finish_reason == "length"
        assert poet.write(photos[0], BeamSearch()).seed is None


def test_a_photograph_comes_in_many_guises(target: str, tmp_path: Path) -> None:
    picture = gradient(300, 200)
    data = encoded(picture, "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    turned = encoded(picture, "PNG", exif=_turned(picture))
    guises = [path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), picture, np.asarray(picture)]
    with Img2Poem(target) as poet:
        expected = poet.embed_image(data)
        for guise in (*guises, picture.convert("RGBA")):
            assert np.allclose(poet.embed_image(guise), expected, atol=1e-5), type(guise)
        opened = Image.open(io.BytesIO(turned))
        assert np.allclose(poet.embed_image(opened), poet.embed_image(turned), atol=1e-5)
        with path.open("rb") as file:
            assert poet.write(file, Greedy()).lines
        reading, writing = os.pipe()
        threading.Thread(target=_written_in_pieces, args=(writing, data), daemon=True).start()
        with open(reading, "rb", buffering=0) as file:
            assert np.allclose(poet.embed_image(file), expected, atol=1e-5)


def _written_in_pieces(to: int, data: bytes) -> None:
    with open(to, "wb", buffering=0) as file:
        for start in range(0, len(data), 1000):
            file.write(data[start : start + 1000])


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B"])
def test_a_picture_of_sixteen_bits_keeps_its_brightness(mode: str) -> None:
    grey = Image.new(mode, (20, 20), 128 * 257)
    assert (decode(read_photo(grey)) == 128).all()


def _turned(picture: Image.Image) -> Image.Exif:
    exif = picture.copy().getexif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    ("photo", "says"),
    [
        ("https://example.org/a.jpg", "not fetched from the network"),
        ("missing.jpg", "no such file"),
        (b"", "empty"),
        (b"no picture", "known format"),
        (io.StringIO("text"), "binary mode"),
        (np.zeros((4, 4), np.uint8), "height, width, 3"),
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (17, "cannot be a int"),
    ],
)
def test_what_is_no_photograph_is_refused_before_any_request(server: TritonServer, photo: object, says: str) -> None:
    events: list[CallEvent] = []
    with Img2Poem(server.grpc_url, hooks=[events.append]) as poet, pytest.raises(BadImage, match=says) as caught:
        poet.describe(photo)  # type: ignore[arg-type]
    assert not events and caught.value.request_id


@pytest.mark.parametrize("photo", [None, 17])
def test_what_is_neither_one_nor_several_photographs_is_refused(repository: Path, photo: Any) -> None:
    async def written() -> Poem:
        async with AsyncImg2Poem(repository) as poet:
            return cast("Poem", await poet.write(photo))

    with Img2Poem(repository) as poet, pytest.raises(BadImage, match="cannot be a"):
        poet.write(photo)
    with pytest.raises(BadImage, match="cannot be a"):
        asyncio.run(written())


def test_several_photographs_keep_their_order(target: str, photos: list[bytes]) -> None:
    with Img2Poem(target, concurrency=3) as poet:
        one_by_one = [poet.write(photo, Greedy()).text for photo in photos]
        assert [poem.text for poem in poet.write(photos, Greedy())] == one_by_one
        assert [poem.text for poem in poet.write(iter(photos), Greedy())] == one_by_one
        truncated = photos[0][: len(photos[0]) // 2]
        outcomes = list(poet.write_each([photos[1], truncated, photos[2]], Greedy()))
        assert isinstance(outcomes[1], BadImage)
        assert [poem.text for poem in outcomes[::2] if isinstance(poem, Poem)] == one_by_one[1:3]
        with pytest.raises(BadImage, match="truncated or damaged"):
            poet.write([photos[1], truncated], Greedy())


def test_several_poems_about_one_photograph(target: str, photos: list[bytes]) -> None:
    strategy = BestOf(2, Sampling(seed=2**63 - 2))
    with Img2Poem(target) as poet:
        poems = poet.write_several(io.BytesIO(photos[0]), 3, strategy)
        each = list(poet.write_each([photos[0], b"none"], strategy, count=2))
        assert poems[0].tokens == poet.write(photos[0], strategy).tokens
        for wrong, kind in ((0, BestOf()), (33, BestOf()), (2, Greedy()), (2, BeamSearch()), ("2", BestOf())):
            with pytest.raises(InvalidOption):
                poet.write_several(photos[0], wrong, kind)  # type: ignore[arg-type]
    assert [poem.seed for poem in poems] == [2**63 - 2, 2**63 - 1, 0]
    assert len({poem.text for poem in poems}) == 3
    assert [one.tokens for one in each[:2] if isinstance(one, Poem)] == [poem.tokens for poem in poems[:2]]
    assert all(isinstance(one, BadImage) for one in each[2:]) and len(each) == 4

    async def others() -> list[Poem]:
        async with AsyncImg2Poem(target) as poet:
            return await poet.write_several(io.BytesIO(photos[0]), 3, strategy)

    assert [poem.tokens for poem in asyncio.run(others())] == [poem.tokens for poem in poems]


def test_asyncio_does_the_same(target: str, photos: list[bytes]) -> None:
    async def use() -> None:
        async with AsyncImg2Poem(target, concurrency=3) as poet:
            poems = await poet.write(photos[:5], Greedy())
            assert [poem.tokens for poem in poems] == [poem.tokens for poem in expected]
            assert (await poet.describe(photos[0])).scenes == described.scenes
            assert (await poet.search(photos[0], ["the sea", "an old temple"]))[0].poem == "an old temple"
            assert await poet.search(photos[0], []) == []
            assert (await poet.info()).package == "lite" and (await poet.health())[0].ready
            assert np.isclose(await poet.score(photos[0], poems[0]), near, atol=1e-5)
            with pytest.raises(BadImage):
                await poet.embed_image(b"no picture")
            task = asyncio.create_task(poet.write(photos[0], BestOf(32)))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await poet.embed_poem("the sea")).shape == (512,)

    with Img2Poem(target) as poet:
        expected = poet.write(photos[:5], Greedy())
        described, near = poet.describe(photos[0]), poet.score(photos[0], expected[0])
    asyncio.run(use())


def test_score_agrees_with_what_best_of_chose_by(target: str, photos: list[bytes]) -> None:
    with Img2Poem(target) as poet:
        poem = poet.write(photos[0], BestOf(4))
        assert poem.relevance == pytest.approx(poet.score(photos[0], poem), abs=1e-4)
        found = poet.search(photos[0], ["rust on the rails", poem.text, "my grandmother's kitchen"], k=2)
        assert found[0].index == 1 and len(found) == 2


def test_best_of_finds_more_relevant_poems_than_the_first_sample(repository: Path, photos: list[bytes]) -> None:
    with Img2Poem(repository) as poet:
        one, best = ([poet.score(p, poet.write(p, BestOf(n, Sampling(seed=4)))) for p in photos] for n in (1, 16))
        alone = [poet.write(photo, Sampling(seed=4)).text for photo in photos[:4]]
        assert alone == [poet.write(photo, BestOf(1, Sampling(seed=4))).text for photo in photos[:4]]
    assert np.mean(best) > np.mean(one) + 0.03


def test_poems_have_lines_and_differ_from_photograph_to_photograph(repository: Path, photos: list[bytes]) -> None:
    with Img2Poem(repository) as poet:
        poems = poet.write(photos, BeamSearch())
    assert all(3 <= len(poem.lines) <= 6 and all(poem.lines) for poem in poems)
    assert len({poem.text for poem in poems}) >= 0.8 * len(poems)


def test_a_client_without_the_package_has_its_tokenizer(server: TritonServer) -> None:
    """The aligner reads the same tokens as with the package's tokenizer, including rare words and umlauts."""
    package = Torch()
    text = "Naïve café-goers’ quixotic oystercatchers\nstand, knee-deep; in 1999 tides"
    pieces = package.tokenizer.pieces
    from img2poem.text.tokenizer import PoemTokenizer

    assert PoemTokenizer.from_pieces(pieces).encode(text) == package.tokenizer.encode(text)
    import torch

    ids = torch.tensor([[1, *package.tokenizer.encode(text), 2]])
    with torch.inference_mode():
        expected = package.model.poem_encoder(ids, torch.ones_like(ids))[0].numpy()
    with Img2Poem(server.http_url) as poet:
        assert np.allclose(poet.embed_poem(text), expected, atol=1e-4)


def test_a_description_names_classes_of_the_package(target: str, photos: list[bytes]) -> None:
    with Img2Poem(target) as poet:
        seen = poet.describe(photos[0], k=3)
    config = json.loads((WEIGHTS / "config.json").read_text())
    assert len(seen.objects) == len(seen.scenes) == 3 and 1 <= seen.valence <= 7 and 1 <= seen.arousal <= 7
    assert {label.name for label in seen.scenes} <= set(config["scene_classes"])
    assert "temple/east_asia" in {label.name for label in seen.scenes}  # china.jpg shows a Chinese temple
    assert seen.objects[0].probability >= seen.objects[1].probability > 0


def test_every_home_names_the_same_classes(repository: Path, server: TritonServer, photos: list[bytes]) -> None:
    """Asked for more classes than there are, all homes return all of them."""
    found = []
    for home in (str(repository), server.grpc_url, server.http_url):
        with Img2Poem(home) as poet:
            found.append(poet.describe(photos[1], k=200))
    assert found[0].objects[:5] == found[1].objects[:5] == found[2].objects[:5]
    assert found[0].scenes[:5] == found[1].scenes[:5] == found[2].scenes[:5]
    assert [len(seen.objects) for seen in found] == [200] * 3
    assert [len({label.name for label in seen.scenes}) for seen in found] == [100] * 3


def test_triton_answers_scores_with_names(server: TritonServer) -> None:
    """Its classification extension, as any client may use it."""
    client = grpcclient.InferenceServerClient(server.grpc_url.removeprefix("grpc://"))
    pixels = grpcclient.InferInput("pixels", [1, 224, 224, 3], "UINT8")
    pixels.set_data_from_numpy(np.zeros((1, 224, 224, 3), np.uint8))
    wanted = [grpcclient.InferRequestedOutput("scores", class_count=2)]
    scores = client.infer("scene_encoder", [pixels], outputs=wanted).as_numpy("scores")
    names = json.loads((WEIGHTS / "config.json").read_text())["scene_classes"]
    for entry in scores.reshape(-1):
        _, index, name = entry.decode().split(":", 2)
        assert names[int(index)] == name
    client.close()
