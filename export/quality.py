"""Quality gate for lower precisions, measured on photographs outside the calibration.

Without ``--data`` the reference is the float32 model; with it, labels are used too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from img2poem.artifacts.sessions import Device, open_session
from img2poem.datasets import photographs
from img2poem.datasets.splits import split_of
from img2poem.decoding.strategies import Greedy
from img2poem.images.decode import decode
from img2poem.metrics import retrieval
from img2poem.nn.model import PhotoToPoem
from img2poem.nn.poem_encoder import pad
from img2poem.nn.rules import RowOptions
from img2poem.nn.search import GreedySearch
from img2poem.text.tokenizer import PoemTokenizer
from img2poem.text.vocabulary import BOS, EOS, PAD

from .modules import ServedDecoderStep
from .parity import ParityError

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Opened = Callable[[str], Any]

#: Models that are measured.
MODELS = {"image_encoder", "poem_encoder", "decoder_init", "decoder_step", "poem_decoder_greedy"}
_LABELLED = 256


class Limit(NamedTuple):
    """Minimum of a measure; for measures named ``..._lost``, the maximum loss against float32."""

    fp16: float
    int8: float


LIMITS = {
    "embedding_cosine": Limit(0.999, 0.98),
    "retrieval_of_its_own": Limit(0.99, 0.95),
    "scene_top5": Limit(0.99, 0.95),
    "valence_r": Limit(0.999, 0.97),
    "tokens_agreed": Limit(0.98, 0.95),
    "relevance_lost": Limit(0.01, 0.03),
    "scene_top5_lost": Limit(0.01, 0.02),
    "valence_r_lost": Limit(0.01, 0.03),
    "caption_r10_lost": Limit(0.01, 0.03),
}


@dataclass(frozen=True)
class Encoded:
    """Outputs of an image encoder for a batch of photographs."""

    embedding: Floats
    scene: Floats
    valence: Floats


def check(
    folder: Path,
    model: PhotoToPoem,
    tokenizer: PoemTokenizer,
    precision: str,
    pixels: Pixels,
    data: Path | None,
    device: Device = "cpu",
) -> dict[str, float]:
    """Compare the models in ``folder``, run on ``device``, with float32 torch.

    Raises:
        ParityError: a measure is outside its limit.
    """
    opened = partial(_opened, folder, device)
    measures = _unlabelled(opened, model, tokenizer, pixels)
    if data is not None:
        measures |= _labelled(opened, model, tokenizer, data)
    for name, value in measures.items():
        limit = getattr(LIMITS[name], precision)
        wrong = value > limit if name.endswith("_lost") else value < limit
        if wrong or not np.isfinite(value):
            raise ParityError(f"{precision}: {name} is {value:.3f}, the limit {limit:g}; nothing was replaced")
    return measures


def _opened(folder: Path, device: Device, name: str) -> Any:
    return open_session(folder / name / "1" / "model.onnx", device)


def _unlabelled(opened: Opened, model: PhotoToPoem, tokenizer: PoemTokenizer, pixels: Pixels) -> dict[str, float]:
    want, got = _torch(model, pixels), _exported(opened, pixels)
    first = want.scene.argmax(1)
    five = np.argsort(-got.scene, axis=1)[:, :5]
    return {
        "embedding_cosine": float((want.embedding * got.embedding).sum(1).mean()),
        "retrieval_of_its_own": retrieval(got.embedding, want.embedding).recall_at_1,
        "scene_top5": float((five == first[:, None]).any(1).mean()),
        "valence_r": float(np.corrcoef(want.valence, got.valence)[0, 1]),
        **_poems(opened, model, tokenizer, want.embedding),
    }


@torch.inference_mode()
def _poems(opened: Opened, model: PhotoToPoem, tokenizer: PoemTokenizer, embedding: Floats) -> dict[str, float]:
    """Compare the relevance of poems, and the first choice of ``decoder_step`` after the same words."""
    points, strategy = torch.from_numpy(embedding), Greedy()
    poems = GreedySearch(model.poem_decoder, tokenizer.pieces)(points, RowOptions.of(strategy, len(points))).tokens
    options = {name: np.repeat(value, len(points), axis=0) for name, value in strategy.tensors().items()}
    session = opened("poem_decoder_greedy")
    [written] = session.run(["tokens"], {"embedding": embedding, **options})

    def relevance(tokens: NDArray[np.int64]) -> float:
        rows = [[BOS, *(int(token) for token in row if token != PAD)] for row in tokens]
        return float((model.poem_encoder(*pad(rows, PAD)) * points).sum(1).mean())

    init, step = (opened(name) for name in ("decoder_init", "decoder_step"))
    [state] = init.run(None, {"embedding": embedding})
    hidden, reference = model.poem_decoder.init(points), ServedDecoderStep(model.poem_decoder, tokenizer.pieces)
    token, agreed, going = torch.full((len(points),), BOS), [], torch.ones(len(points), dtype=torch.bool)
    for place in range(poems.shape[1]):
        _, want, hidden = reference(token.unsqueeze(1), hidden)
        _, got, state = step.run(None, {"token": token.unsqueeze(1).numpy(), "hidden": state})
        agreed += (want[:, 0].numpy() == got[:, 0])[going.numpy()].tolist()
        token = poems[:, place]
        going = going & (token != EOS) & (token != PAD)
    return {"tokens_agreed": float(np.mean(agreed)), "relevance_lost": relevance(poems.numpy()) - relevance(written)}


def _labelled(opened: Opened, model: PhotoToPoem, tokenizer: PoemTokenizer, data: Path) -> dict[str, float]:
    size = model.config.preprocessing.size
    captioned = [p for p in photographs.flickr8k(data) if split_of(p[0]) != "train"][:_LABELLED]
    scenes = list(islice(photographs.miniplaces(data, "val"), _LABELLED))
    rated = [photo for photo in photographs.oasis(data) if split_of(photo[0]) != "train"][:_LABELLED]
    classes = np.array([label for _, _, label in scenes])
    valences = np.array([rating[0] for _, _, rating in rated])
    captions = [text for _, _, five in captioned for text in five]
    labels = np.repeat(np.arange(len(captioned)), len(captioned[0][2]))
    sources: tuple[tuple[Callable[[Pixels], Encoded], Floats], ...] = (
        (lambda pixels: _torch(model, pixels), _texts_torch(model, tokenizer, captions)),
        (lambda pixels: _exported(opened, pixels), _texts_exported(opened, tokenizer, captions)),
    )
    found = []
    for encode, texts in sources:
        scene = encode(_decoded(scenes, size)).scene
        found.append(
            (
                float((np.argsort(-scene, axis=1)[:, :5] == classes[:, None]).any(1).mean()),
                float(np.corrcoef(encode(_decoded(rated, size)).valence, valences)[0, 1]),
                retrieval(encode(_decoded(captioned, size)).embedding, texts, item_labels=labels).recall_at_10,
            )
        )
    lost = [want - got for want, got in zip(*found, strict=True)]
    return dict(zip(("scene_top5_lost", "valence_r_lost", "caption_r10_lost"), lost, strict=True))


def _decoded(photos: list[Any], size: int) -> Pixels:
    return np.stack([decode(photo[1], size) for photo in photos])


@torch.inference_mode()
def _torch(model: PhotoToPoem, pixels: Pixels) -> Encoded:
    parts = [model.image_encoder(torch.from_numpy(part)) for part in np.array_split(pixels, -(-len(pixels) // 16))]
    embedding, _, scene, sentiment = (torch.cat(tensors).numpy() for tensors in zip(*parts, strict=True))
    return Encoded(embedding, scene, sentiment[:, 0])


def _exported(opened: Opened, pixels: Pixels) -> Encoded:
    session = opened("image_encoder")
    names = ["embedding", "scene_scores", "sentiment"]
    parts = [session.run(names, {"pixels": part}) for part in np.array_split(pixels, -(-len(pixels) // 16))]
    embedding, scene, sentiment = (np.concatenate(tensors) for tensors in zip(*parts, strict=True))
    return Encoded(embedding, scene, sentiment[:, 0])


def _texts_torch(model: PhotoToPoem, tokenizer: PoemTokenizer, texts: list[str]) -> Floats:
    with torch.inference_mode():
        parts = [model.poem_encoder(*batch).numpy() for batch in _token_batches(tokenizer, texts)]
    return np.concatenate(parts)


def _texts_exported(opened: Opened, tokenizer: PoemTokenizer, texts: list[str]) -> Floats:
    session = opened("poem_encoder")
    batches = _token_batches(tokenizer, texts)
    return np.concatenate(
        [session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0] for ids, mask in batches]
    )


def _token_batches(tokenizer: PoemTokenizer, texts: list[str]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rows = [[BOS, *ids, EOS] for ids in tokenizer.encode_batch(texts)]
    return [pad(rows[start : start + 32], PAD) for start in range(0, len(rows), 32)]
