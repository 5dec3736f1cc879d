"""Evaluate a model package on photographs that it never saw: compare the poems of all decoding strategies.

    python -m training.evaluate --weights weights/lite --data folder [--judge all-mpnet-base-v2]

Photographs are Flickr8k's validation and test splits, which no stage learns from. The table is printed as Markdown; it
and the poems are written to ``--out`` as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.progress import track

from img2poem import metrics
from img2poem.datasets import photographs
from img2poem.decoding.strategies import Sampling
from img2poem.files.atomic import write_atomically
from img2poem.images.decode import decode
from img2poem.metrics.words import words
from img2poem.nn.model import PhotoToPoem, load_package, save_package
from img2poem.text.tokenizer import PoemTokenizer
from img2poem.text.vocabulary import BOS

from .card import evaluation_tables, model_card
from .corpus import Corpus, Photo
from .language_model import LanguageModel
from .likelihood import HeldOutPoems
from .run import reporting
from .sentence_encoder import SentenceEncoder
from .sheet import write_sheet
from .texts import encoded
from .writing import Writer

BIGRAMS = 20_000
#: Number of photographs that the judge retrieves from.
JUDGED_AMONG = 1000
# The columns of the paper's Overall.
_OVERALL = ("relevance", "novelty_2", "novelty_3", "bleu_1", "bleu_2", "bleu_3")

Row = dict[str, float]


@dataclass(frozen=True)
class EvaluationSettings:
    """What the evaluation measures, and on how many photographs."""

    photos: int = 1000
    """Maximum number of held-out photographs."""
    best_of: int = 16
    """Candidates of best of n."""
    temperature: float = Sampling.temperature
    """Temperature of sampling."""
    top_p: float = Sampling.top_p
    """Nucleus (top-p) of sampling."""
    seed: int = 0
    """Seed of sampling and of the random human poems."""
    order_gain: int = 200
    """Poems per system that the order gain is measured on, with SmolLM2; 0 skips it."""
    poems_from: Path | None = None
    """Folder with photo_poems in the place of the one in --data."""
    judge: Path | None = None
    """Folder of a sentence encoder that no stage trains on (Hugging Face's format), for an independent relevance."""
    beside: tuple[Path, ...] = ()
    """Other packages to evaluate for comparison, named by their folders."""
    sheet: Path | None = None
    """PNG file that shows the first photographs with their best-of-n poems."""
    sheet_photos: int = 50
    """Number of photographs in that file."""


@dataclass(frozen=True)
class HeldOut:
    """The photographs to write about, and the corpus that the poems are compared with."""

    photos: list[Photo]
    encoded: list[bytes]
    others: list[Photo]  # distractors of the judge's retrieval
    corpus: Corpus

    @classmethod
    def load(cls, data: Path, limit: int, poems_from: Path | None) -> HeldOut:
        """Read the held-out photographs of Flickr8k; the distractors are training photographs."""
        corpus = Corpus.load(data, None, poems_from)
        named = corpus.named("flickr8k")
        chosen = [p for p in named.values() if p.split != "train" and p.poems][:limit]
        files = {name: encoded for name, encoded, _ in photographs.flickr8k(data) if name in named}
        rest = [photo for photo in named.values() if photo.split == "train"][: max(0, JUDGED_AMONG - len(chosen))]
        return cls(chosen, [files[photo.name] for photo in chosen], rest, corpus)

    @property
    def captions(self) -> list[list[str]]:
        """The captions of each photograph."""
        return [list(photo.captions) for photo in self.photos]


def evaluate(weights: Path, data: Path, settings: EvaluationSettings) -> dict[str, Any]:
    """Return metrics by system, poems by system, retrieval of captions by photographs, and likelihood."""
    if settings.sheet:  # fail early if the file cannot be written
        settings.sheet.parent.mkdir(parents=True, exist_ok=True)
    held_out = HeldOut.load(data, settings.photos, settings.poems_from)
    judge = SentenceEncoder(settings.judge) if settings.judge else None
    model, tokenizer = load_package(weights)
    writer = Writer(model, tokenizer)
    embeddings = _embed_photos(model, held_out.encoded)
    texts = {
        "written": [photo.poems[0].text for photo in held_out.photos],
        "written, of others": [photo.poems[0].text for photo in held_out.photos[1:] + held_out.photos[:1]],
        **_written(writer, embeddings, settings, ""),
    }
    for beside in settings.beside:
        other = load_package(beside)
        points = _embed_photos(other[0], held_out.encoded)
        texts |= _written(Writer(*other), points, settings, f"{beside.name}: ")
    figures = _Figures(writer, embeddings.numpy(), held_out, judge, settings.order_gain)
    rows = {name: figures.of(written) for name, written in texts.items()}
    for name, value in zip(rows, metrics.overall([[row[c] for c in _OVERALL] for row in rows.values()]), strict=True):
        rows[name]["overall"] = float(value)
    if settings.sheet:
        shown = slice(settings.sheet_photos)
        write_sheet(settings.sheet, held_out.encoded[shown], texts[f"best of {settings.best_of}"][shown])
    return {
        "photographs": len(held_out.photos),
        "settings": {name: _named(value) for name, value in asdict(settings).items()},
        "systems": rows,
        "retrieval": _retrievals(writer, embeddings.numpy(), held_out.photos),
        "nats_a_token": _nats(model, tokenizer, embeddings, held_out.photos),
        "poems": [
            {"photo": photo.name, "captions": list(photo.captions), **{system: texts[system][i] for system in texts}}
            for i, photo in enumerate(held_out.photos)
        ],
    }


def _named(value: object) -> str:
    """Return a setting as text, files by their names alone: a package is passed on to other machines."""
    if isinstance(value, tuple):
        return ", ".join(map(_named, value))
    return value.name if isinstance(value, Path) else str(value)


def evaluate_into_package(weights: Path, data: Path, settings: EvaluationSettings) -> dict[str, Any]:
    """Evaluate a package and write the results into its configuration and model card."""
    result = evaluate(weights, data, settings)
    model, tokenizer = load_package(weights)
    model.config.metrics["evaluation"] = {key: value for key, value in result.items() if key != "poems"}
    save_package(weights, model, tokenizer, model.config, model_card(model.config))
    print(evaluation_tables(result), flush=True)
    return result


def _written(
    writer: Writer, embeddings: torch.Tensor, settings: EvaluationSettings, prefix: str
) -> dict[str, list[str]]:
    sampling = Sampling(temperature=settings.temperature, top_p=settings.top_p, seed=settings.seed)
    systems: dict[str, Callable[[], list[str]]] = {
        "greedy": lambda: writer.greedy(embeddings),
        "beam": lambda: writer.beam(embeddings),
        "sampled": lambda: writer.sampled(embeddings, sampling),
        f"best of {settings.best_of}": lambda: writer.best_of(embeddings, settings.best_of, sampling),
    }
    return {prefix + name: write() for name, write in systems.items()}


class _Figures:
    """Measures poems about the held-out photographs."""

    def __init__(
        self,
        writer: Writer,
        photo_points: NDArray[np.float32],
        held_out: HeldOut,
        judge: SentenceEncoder | None,
        order_gain: int,
    ) -> None:
        self._order_gain = order_gain
        self._bits = LanguageModel().bits if order_gain else None
        self._writer, self._photo_points, self._judge = writer, photo_points, judge
        self._captions = held_out.captions
        self._references = [[poem.text for poem in photo.poems] for photo in held_out.photos]
        corpus = held_out.corpus
        self._training = metrics.TrainingText(corpus.poem_texts("train"))
        texts = (*corpus.poem_texts(), *corpus.caption_texts())
        self._known = metrics.english_words() | {word for text in texts for word in words(text)}
        if judge:
            everything = [*held_out.photos, *held_out.others]
            points = judge.embed([text for photo in everything for text in photo.captions])
            mean = points.reshape(len(everything), -1, points.shape[-1]).mean(1)
            self._choice = mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def of(self, written: list[str]) -> Row:
        """Return one system's metrics. Novelty and copying are relative to the training poems."""
        line_counts = metrics.line_counts(written)
        verse = metrics.prosody(written)
        judged = {}
        if self._judge:
            found = metrics.retrieval(self._judge.embed(written), self._choice)
            judged = {"caption_r10_by_judge": found.recall_at_10, "caption_rank_by_judge": found.median_rank}
        return {
            "relevance": float((self._writer.embed(written) * self._photo_points).sum(1).mean()),
            **judged,
            **({"order_gain": metrics.order_gain(written[: self._order_gain], self._bits)} if self._bits else {}),
            "unknown_words": metrics.unknown_words(written, self._known).share,
            "repeated_words": metrics.repeated_words(written),
            "caption_r10_by_words": metrics.caption_retrieval(written, self._captions).recall_at_10,
            **metrics.bleu(written, self._references)._asdict(),
            "novelty_2": metrics.novelty(written, self._training, 2),
            "novelty_3": metrics.novelty(written, self._training, 3),
            "distinct_1": metrics.distinct(written, 1),
            "distinct_2": metrics.distinct(written, 2, BIGRAMS),
            "new_trigrams": metrics.new_ngrams(written, self._training),
            "copied_lines": metrics.copied_lines(written, self._training),
            "repeated_lines": metrics.repeated_lines(written),
            "lines_fewest": float(line_counts.min()),
            "lines_most": float(line_counts.max()),
            "rhyming_pairs": verse.rhyming_pairs,
            "syllables_per_line": verse.syllables_per_line,
        }


def _retrievals(writer: Writer, points: NDArray[np.float32], photos: list[Photo]) -> dict[str, Row]:
    """Return how well photographs, their captions and their written poems retrieve each other, by direction."""

    def embedded(texts: list[list[str]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        owners = np.repeat(np.arange(len(texts)), [len(own) for own in texts])
        return writer.embed([text for own in texts for text in own]), owners

    captions, captioned = embedded([list(photo.captions) for photo in photos])
    poems, owners = embedded([[poem.text for poem in photo.poems] for photo in photos])
    ways = {
        "photo_to_caption": (points, captions, None, captioned),
        "caption_to_photo": (captions, points, captioned, None),
        "photo_to_poem": (points, poems, None, owners),
        "poem_to_photo": (poems, points, owners, None),
        "caption_to_poem": (captions, poems, captioned, owners),
        "poem_to_caption": (poems, captions, owners, captioned),
    }
    return {way: {**vars(metrics.retrieval(*given)), "among": len(given[1])} for way, given in ways.items()}


def _nats(
    model: PhotoToPoem, tokenizer: PoemTokenizer, embeddings: torch.Tensor, photos: list[Photo]
) -> dict[str, float]:
    """Return nats per token of the written poems, conditioned on their photographs and unconditioned."""
    config = model.config.decoder
    texts = [(i, poem.text) for i, photo in enumerate(photos) for poem in photo.poems if poem.fault is None]
    rows = encoded(tokenizer.limited(config.vocabulary_size), [text for _, text in texts], config.max_tokens - 1)
    poems = [(photo, BOS, ids) for (photo, _), ids in zip(texts, rows, strict=True)]
    return HeldOutPoems(embeddings, poems).nats(model.poem_decoder)


@torch.inference_mode()
def _embed_photos(model: PhotoToPoem, photos: list[bytes]) -> torch.Tensor:
    size = model.config.preprocessing.size
    points = [
        model.image_encoder(torch.tensor(decode(encoded, size))[None]).embedding
        for encoded in track(photos, "photographs", transient=True)
    ]
    return torch.cat(points)


def main(
    data: Path, settings: EvaluationSettings, weights: Path = Path("weights/lite"), out: Path | None = None
) -> None:
    """Evaluate a model package on photographs that it never saw.

    Args:
        data: Folder of the training data.
        settings: What to measure.
        weights: Model package to evaluate.
        out: JSON file for metrics and poems.
    """
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    result = evaluate(weights, data, settings)
    print(evaluation_tables(result), flush=True)
    if out is not None:
        write_atomically(out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    with reporting():
        tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
