"""One model, three homes: torch, in process, and behind the real server. All must agree."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from img2poem import BeamSearch, BestOf, Greedy, Img2Poem, Sampling
from img2poem.decoding import AnyStrategy
from img2poem.engines import Written
from img2poem.engines.local import LocalEngine, open_session
from img2poem.errors import (
    BadImage,
    BadRepository,
    ConnectionFailed,
    ContractMismatch,
    InvalidOption,
    Timeout,
)
from img2poem.images import decode
from img2poem.nn import rules, search
from img2poem.nn.model import load_package
from img2poem.nn.rerank import Rerank
from img2poem.noise import drawn as decoder_inputs
from img2poem.package import contract_hash
from img2poem.serving.server import Ports, TritonServer
from img2poem.text import BOS

from ..conftest import WEIGHTS, encoded, gradient

FORBIDDEN = ("the", "flower", "flowers", "sun", "sea", "and")
STRATEGIES: list[AnyStrategy] = [
    Greedy(),
    Greedy(min_lines=1, max_lines=3, no_repeat_ngram=0, repetition_penalty=1.0),
    Sampling(seed=7),
    Sampling(seed=1, temperature=1.3, top_k=20, top_p=0.8, max_lines=5),
    BestOf(),
    BestOf(3, Sampling(seed=2, temperature=1.2, forbidden=FORBIDDEN)),
    BeamSearch(),
    BeamSearch(width=2, forbidden=FORBIDDEN),
    BeamSearch(width=1, max_line_tokens=6),
    BeamSearch(width=10, length_penalty=0.3, min_lines=6, max_tokens=50, no_repeat_ngram=2),
]


@pytest.fixture(scope="module")
def local(repository: Path) -> LocalEngine:
    return LocalEngine(repository)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_in_process_gives_the_tokens_of_torch(local: LocalEngine, photos: list[bytes], strategy: AnyStrategy) -> None:
    model, tokenizer = load_package(WEIGHTS)
    pixels = torch.from_numpy(np.stack([decode(photo) for photo in photos]))
    tensors = {
        name: torch.from_numpy(value).expand(len(photos), *value.shape[1:]).squeeze(1)
        for name, value in decoder_inputs(strategy.tensors(tokenizer.pieces)).items()
    }
    options = rules.RowOptions(*(tensors[name] for name in rules.RowOptions._fields))
    with torch.inference_mode():
        embedding = model.image_encoder(pixels).embedding
        sampling = search.Sampling(model.poem_decoder, tokenizer.pieces)
        drawing = [tensors[name] for name in ("temperature", "top_k", "top_p") if name in tensors]
        if isinstance(strategy, BeamSearch):
            found = search.BeamSearch(model.poem_decoder, tokenizer.pieces, 10)(
                embedding, options, tensors["beam_width"], tensors["length_penalty"]
            )
        elif isinstance(strategy, Sampling):
            found = sampling(embedding, options, *drawing, tensors["noise"])
        elif isinstance(strategy, BestOf):
            n = strategy.n
            several = [value.repeat_interleave(n, 0) for value in (embedding, *drawing)]
            drawn = sampling(several[0], options.repeated(n), *several[1:], tensors["noise"].flatten(0, 1))
            found = Rerank(model.poem_encoder)(
                *(value.view(len(photos), n, *value.shape[1:]) for value in drawn), embedding
            )
        else:
            found = search.GreedySearch(model.poem_decoder, tokenizer.pieces)(embedding, options)
    for i, photo in enumerate(photos):
        written = local.write(photo, strategy)
        assert written.tokens.tolist() == found.tokens[i, : found.lengths[i]].tolist()
        assert written.text == tokenizer.decode(written.tokens)
        assert not set(strategy.forbidden) & set(written.text.split())
        assert written.score == pytest.approx(found.scores[i].item(), abs=1e-4)
        assert np.abs(written.embedding - embedding[i].numpy()).max() < 1e-4


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_the_server_gives_the_tokens_of_in_process(
    server: TritonServer, local: LocalEngine, photos: list[bytes], strategy: AnyStrategy
) -> None:
    with Img2Poem(server.grpc_url) as poet:
        assert poet.contract == local.contract == contract_hash(WEIGHTS)
        for photo in photos:
            poem, written = poet.write(photo, strategy), local.write(photo, strategy)
            assert poem.tokens == tuple(written.tokens) and poem.text == written.text
            assert poem.score == pytest.approx(written.score, abs=1e-4)


def relevance(encoder: InferenceSession, poem: Written) -> float:
    ids = np.concatenate([[BOS], poem.tokens])[None]
    [point] = encoder.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    return float(point[0] @ poem.embedding)


def test_best_of_finds_more_relevant_poems_than_the_first_sample(
    repository: Path, local: LocalEngine, photos: list[bytes]
) -> None:
    encoder = open_session(repository / "poem_encoder" / "1" / "model.onnx")
    one, best = (
        [relevance(encoder, local.write(photo, BestOf(n, Sampling(seed=4)))) for photo in photos] for n in (1, 16)
    )
    assert np.mean(best) > np.mean(one) + 0.03
    alone = [local.write(photo, Sampling(seed=4)).text for photo in photos]
    assert alone == [local.write(photo, BestOf(1, Sampling(seed=4))).text for photo in photos]


def test_concurrent_callers_get_their_own_poems(server: TritonServer, local: LocalEngine, photos: list[bytes]) -> None:
    """Requests of different callers are batched; each answer is the photograph's own."""
    jobs = [(photo, strategy) for photo in photos for strategy in STRATEGIES[:3]] * 2
    with Img2Poem(server.grpc_url) as poet, ThreadPoolExecutor(16) as pool:
        poems = list(pool.map(lambda job: poet.write(*job), jobs))
    for (photo, strategy), poem in zip(jobs, poems, strict=True):
        assert poem.tokens == tuple(local.write(photo, strategy).tokens)


def test_poems_have_lines_and_differ_from_photograph_to_photograph(local: LocalEngine, photos: list[bytes]) -> None:
    poems = [local.write(photo, BeamSearch()).text for photo in photos]
    assert all(4 <= len(poem.splitlines()) <= 8 and all(poem.splitlines()) for poem in poems)
    assert len(set(poems)) >= 0.8 * len(poems)


def test_a_bad_photograph_fails_alone(server: TritonServer, photos: list[bytes]) -> None:
    truncated = photos[0][: len(photos[0]) // 2]
    with Img2Poem(server.grpc_url) as poet:
        with pytest.raises(BadImage, match="truncated or damaged"):
            poet.write(truncated)  # the header is fine: only the server's decoder can tell
        with pytest.raises(BadImage, match="known format"):
            poet.write(b"not a picture")
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(poet.write, photo) for photo in [photos[1], truncated] * 4]
        assert len({f.result().text for f in futures[::2]}) == 1
        assert all(isinstance(f.exception(), BadImage) for f in futures[1::2])


def test_nobody_at_the_address() -> None:
    with pytest.raises(ConnectionFailed, match="img2poem serve"):
        Img2Poem(f"grpc://127.0.0.1:{Ports.free().grpc}")


def test_a_deadline_that_is_too_short(server: TritonServer) -> None:
    with pytest.raises(Timeout, match="within"):
        Img2Poem(server.grpc_url, timeout=1e-5)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "grpc://", "grpc://host", "grpc://host:port", "grpc://h:1/x"])
def test_addresses_of_another_form(url: str) -> None:
    with pytest.raises(InvalidOption, match="grpc://HOST:PORT"):
        Img2Poem(url)


def test_a_folder_without_a_repository_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(BadRepository, match=f"python -m export.all --out {tmp_path}"):
        Img2Poem(tmp_path)


def test_a_file_of_another_package_is_refused(repository: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    for path in (copy / "manifest.json",):
        path.write_text(path.read_text().replace(contract_hash(WEIGHTS), "0" * 64))
    with pytest.raises(ContractMismatch, match="another model package"):
        Img2Poem(copy)


def test_a_missing_or_damaged_file_is_named(repository: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    decoder = copy / "poem_decoder_beam" / "1" / "model.onnx"
    decoder.write_bytes(decoder.read_bytes()[:5000])
    with Img2Poem(copy) as poet:
        photo = encoded(gradient(), "PNG")
        assert poet.write(photo, Greedy()).lines, "the other decoder works"
        with pytest.raises(BadRepository, match="poem_decoder_beam"):
            poet.write(photo)
        decoder.unlink()
        with pytest.raises(BadRepository, match="is missing"):
            poet.write(photo)
