"""What the client takes, returns and refuses, in process and against the real server."""

from __future__ import annotations

import asyncio
import io
import json
import multiprocessing
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2poem import (
    AsyncImg2Poem,
    BadImage,
    BeamSearch,
    BestOf,
    CallEvent,
    Cancelled,
    ConnectionFailed,
    ContractMismatch,
    Form,
    Greedy,
    Img2Poem,
    InvalidOption,
    Poem,
    Sampling,
    Timeout,
)
from img2poem.errors import BadRepository
from img2poem.package import contract_hash
from img2poem.serving.server import Ports, TritonServer

from .conftest import WEIGHTS, encoded, gradient
from .homes import Torch


@pytest.fixture(params=["folder", "grpc", "http"])
def target(request: pytest.FixtureRequest, repository: Path, server: TritonServer) -> str:
    return {"folder": str(repository), "grpc": server.grpc_url, "http": server.http_url}[request.param]


def test_a_poem_says_how_it_came_about(target: str, photos: list[bytes]) -> None:
    with Img2Poem(target) as poet:
        poem = poet.write(photos[0], BestOf(3, Sampling(seed=5)), form=Form(lines=5))
    assert len(poem.lines) == 5 and poem.text == "\n".join(poem.lines) and poem.seed == 5
    assert poem.finish_reason == "end" and -1 < (poem.relevance or 0) < 1 and poem.score < 0
    assert (poem.model.name, poem.model.version, poem.model.contract) == ("lite", "1", contract_hash(WEIGHTS))
    assert poem.timings["total"] >= poem.timings["img2poem_best"] > 0
    told = json.loads(poem.to_json(photo="a.jpg"))
    assert told["photo"] == "a.jpg" and told["text"] == poem.text
    assert told["strategy"]["name"] == "best" and told["strategy"]["sampling"]["seed"] == 5


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


def test_asyncio_does_the_same(target: str, photos: list[bytes]) -> None:
    async def use() -> None:
        async with AsyncImg2Poem(target, concurrency=3) as poet:
            poems = await poet.write(photos[:5], Greedy())
            assert [poem.tokens for poem in poems] == [poem.tokens for poem in expected]
            assert (await poet.describe(photos[0])).scenes == described.scenes
            assert (await poet.search(photos[0], ["the sea", "an old temple"]))[0].poem == "an old temple"
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
    assert all(4 <= len(poem.lines) <= 8 and all(poem.lines) for poem in poems)
    assert len({poem.text for poem in poems}) >= 0.8 * len(poems)


def test_a_client_without_the_package_has_its_tokenizer(server: TritonServer) -> None:
    """The aligner reads what the package's own tokenizer makes of a text, rare words and umlauts included."""
    package = Torch()
    text = "Naïve café-goers’ quixotic oystercatchers\nstand, knee-deep; in 1999 tides"
    pieces = package.tokenizer.pieces
    from img2poem.text import PoemTokenizer

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
    assert seen.scenes[0].name == "temple/east_asia"  # china.jpg shows a Chinese temple
    assert seen.objects[0].probability >= seen.objects[1].probability > 0


def test_nobody_at_the_address() -> None:
    with Img2Poem(f"grpc://127.0.0.1:{Ports.free().grpc}", retries=0) as poet:
        [health] = poet.health()
        assert not health.ready and "img2poem serve" in health.detail
        with pytest.raises(ConnectionFailed, match="img2poem serve") as caught:
            poet.info()
        assert caught.value.request_id and caught.value.cause is not None


def test_a_deadline_that_is_too_short(target: str, photos: list[bytes]) -> None:
    with Img2Poem(target) as poet:
        with pytest.raises(Timeout, match="within"):
            poet.write(photos[0], timeout=1e-5)
        assert poet.write(photos[0], Greedy()).lines


@pytest.mark.parametrize("url", ["ftp://x", "grpc://", "grpc://host", "grpc://host:port", "grpc://h:1/x", "http://"])
def test_addresses_of_another_form(url: str) -> None:
    with pytest.raises(InvalidOption, match="grpc://HOST:PORT"):
        Img2Poem(url)
    with pytest.raises(InvalidOption, match=r"form|port|target"):
        AsyncImg2Poem([url, "grpc://127.0.0.1:8001"])


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": float("inf")}, {"concurrency": 0}, {"retries": -1}, {"device": "tpu"}]
)
def test_options_of_the_client_are_checked(repository: Path, options: dict[str, object]) -> None:
    with pytest.raises(InvalidOption):
        Img2Poem(repository, **options)  # type: ignore[arg-type]


def test_a_closed_client_says_so(target: str, photos: list[bytes]) -> None:
    poet = Img2Poem(target)
    assert poet.write(photos[0], Greedy()).lines
    poet.close()
    poet.close()
    with pytest.raises(Cancelled, match="closed"):
        poet.write(photos[0], Greedy())


def test_closing_ends_calls_under_way(server: TritonServer, photos: list[bytes]) -> None:
    for url in (server.grpc_url, server.http_url):
        poet = Img2Poem(url, retries=0)
        poet.info()
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(poet.write, photo, BestOf(32)) for photo in photos[:8]]
            poet.close()
            errors = [future.exception() for future in futures]
        assert all(error is None or isinstance(error, Cancelled) for error in errors) and any(errors)


def test_hooks_are_told_of_every_attempt(server: TritonServer, photos: list[bytes]) -> None:
    events: list[CallEvent] = []
    nowhere = f"grpc://127.0.0.1:{Ports.free().grpc}"
    with Img2Poem([nowhere, server.grpc_url], hooks=[events.append]) as poet:
        poem = poet.write(photos[0], Greedy())
    failed, written = events[0], [event for event in events if event.error is None]
    assert failed.endpoint == nowhere and isinstance(failed.error, ConnectionFailed) and failed.attempt == 1
    assert written[0].endpoint == server.grpc_url and written[0].attempt == 2
    assert {event.request_id for event in events} == {poem.request_id}


def test_another_endpoint_takes_over_and_is_kept(server: TritonServer, photos: list[bytes]) -> None:
    nowhere = f"http://127.0.0.1:{Ports.free().http}"
    events: list[CallEvent] = []
    with Img2Poem([nowhere, server.http_url, server.grpc_url], retries=0, hooks=[events.append]) as poet:
        assert [health.ready for health in poet.health()] == [False, True, True]
        for _ in range(3):
            assert poet.write(photos[0], Greedy()).lines
    assert sum(event.endpoint == nowhere for event in events) == 1


def test_a_folder_without_a_repository_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(BadRepository, match=f"python -m export.all --out {tmp_path}"):
        Img2Poem(tmp_path)


def test_a_file_of_another_package_is_refused(repository: Path, tmp_path: Path, photos: list[bytes]) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace(contract_hash(WEIGHTS), "0" * 64))
    with Img2Poem(copy) as poet, pytest.raises(ContractMismatch, match="another model package"):
        poet.write(photos[0])


def test_a_missing_or_damaged_file_is_named(repository: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    decoder = copy / "poem_decoder_beam" / "1" / "model.onnx"
    decoder.write_bytes(decoder.read_bytes()[:5000])
    with Img2Poem(copy) as poet:
        photo = encoded(gradient(), "PNG")
        assert poet.write(photo, Greedy()).lines, "the other decoder works"
        with pytest.raises(BadRepository, match="poem_decoder_beam"):
            poet.write(photo, BeamSearch())
        decoder.unlink()
        with pytest.raises(BadRepository, match="is missing"):
            poet.write(photo, BeamSearch())


def _write_in_child(poet: Img2Poem, photo: bytes, results: multiprocessing.SimpleQueue[str]) -> None:
    results.put(poet.write(photo, Greedy()).text)


def test_a_forked_child_goes_on_with_its_own_connection(target: str, photos: list[bytes]) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
    with Img2Poem(target) as poet:
        expected = poet.write(photos[0], Greedy()).text
        child = context.Process(target=_write_in_child, args=(poet, photos[0], results))
        child.start()
        child.join(60)
        hung = child.is_alive()
        child.kill()
        assert not hung and child.exitcode == 0 and results.get() == expected
        assert poet.write(photos[0], Greedy()).text == expected, "the parent's connection is whole"
