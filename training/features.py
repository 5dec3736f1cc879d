"""Cached features of frozen parts: one ``.npz`` file per source and part."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import nn

from img2poem.artifacts.package import Preprocessing
from img2poem.datasets import ImagePolarity, photographs
from img2poem.datasets.errors import MissingData
from img2poem.images.decode import decode
from img2poem.nn.image_encoder import Normalise
from img2poem.nn.poem_encoder import PoemEncoder, pad
from img2poem.text.tokenizer import PoemTokenizer
from img2poem.text.vocabulary import BOS, EOS, PAD

from .batches import by_length
from .corpus import Corpus, first
from .parts import Parts
from .pretrained import MAX_TEXT_TOKENS
from .run import Run, fingerprint

Arrays = dict[str, NDArray[Any]]
Photos = Iterable[tuple[str, bytes, Any]]
PhotoSource = Literal["flickr8k", "oasis", "polarity", "miniplaces_train", "miniplaces_val"]


def photos_of(source: PhotoSource, run: Run, corpus: Corpus) -> Photos:
    """Return name, encoded photograph and label of each photograph of a source, up to the run's limit."""
    if source == "flickr8k":
        named = corpus.named("flickr8k")
        return ((name, data, None) for name, data, _ in photographs.flickr8k(run.data) if name in named)
    if source == "oasis":
        return first(photographs.oasis(run.data), run.limit)
    if source == "polarity":
        return first(_polarity(run), run.limit)
    # The archive is sorted by class: a limited run takes photographs from all of it.
    all_of_it = photographs.miniplaces(run.data, source.removeprefix("miniplaces_"))
    return all_of_it if run.limit is None else _spread(list(all_of_it), run.limit)


def _polarity(run: Run) -> Iterator[tuple[str, bytes, tuple[float, float]]]:
    """Yield the downloaded photographs, with polarity -2 to 2 mapped to valence 1 to 7; arousal is unknown."""
    found = ImagePolarity(run.data).downloaded()
    if not found:
        raise MissingData(f"{run.data} has no photographs of ImagePolarity; fetch them by ImagePolarity.download")
    for record in found:
        yield record.links[0], record.photo.read_bytes(), (4 + 1.5 * record.polarity, math.nan)


def trunk_features(parts: Parts, source: PhotoSource, trunk: str) -> Arrays:
    """Return the names, labels and pooled trunk features ``float16 [N, F]`` of a source's photographs."""
    encoder = parts.model.image_encoder

    def compute() -> Arrays:
        photos = photos_of(source, parts.run, parts.corpus)
        names, found, labels = _through(encoder.trunks[trunk].eval(), encoder.preprocessing, photos, source)
        arrays = {"names": np.array(names), "features": found}
        return arrays if None in labels else {**arrays, "labels": np.array(labels)}

    return cached(parts.run.features / parts.tag(trunk) / f"{source}.npz", compute)


def text_features(parts: Parts, source: str, texts: list[str]) -> NDArray[Any]:
    """Return the text encoder's pooled features ``float16 [N, hidden]`` of a source's texts."""

    def compute() -> Arrays:
        return {"features": _pooled(parts.model.poem_encoder.eval(), parts.tokenizer, texts, source)}

    vocabulary = fingerprint(list(parts.tokenizer.pieces))
    return cached(parts.run.features / f"minilm-{vocabulary}" / f"{source}.npz", compute)["features"]


def cached(path: Path, compute: Callable[[], Arrays]) -> Arrays:
    """Return the arrays in ``path``; compute and write them first if it does not exist."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_suffix(".tmp.npz")
        np.savez(staging, **compute())
        staging.replace(path)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@torch.inference_mode()
def _through(
    backbone: nn.Module, pixels: Preprocessing, photos: Photos, name: str, batch: int = 64
) -> tuple[list[str], NDArray[Any], list[Any]]:
    normalise = Normalise(pixels)
    names: list[str] = []
    labels: list[Any] = []
    features = []
    for chunk in track(_batches(photos, batch), f"{name}: photographs", total=None, transient=True):
        x = normalise(torch.from_numpy(np.stack([decode(data, pixels.size) for _, data, _ in chunk])))
        with torch.autocast("cpu", torch.bfloat16):
            found = backbone(x.to(memory_format=torch.channels_last))
        features.append(found.half().numpy())
        names += [name for name, _, _ in chunk]
        labels += [label for _, _, label in chunk]
    return names, np.concatenate(features), labels


@torch.inference_mode()
def _pooled(encoder: PoemEncoder, tokenizer: PoemTokenizer, texts: list[str], name: str) -> NDArray[Any]:
    rows = [[BOS, *ids[: MAX_TEXT_TOKENS - 2], EOS] for ids in tokenizer.encode_batch(texts)]
    out = np.zeros((len(rows), encoder.projection.in_features), np.float16)
    for chunk in by_length(rows, f"{name}: texts"):
        ids, mask = pad([rows[i] for i in chunk], PAD)
        with torch.autocast("cpu", torch.bfloat16):
            out[chunk] = encoder.pooled(ids, mask).half().numpy()
    return out


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _spread(items: list[Any], count: int) -> list[Any]:
    return items[:: max(1, len(items) // count)][:count]
