"""Measure a model package on photographs that it never saw: poems by every way of decoding, side by side.

    python -m training.evaluate --weights weights/lite --data folder [--judge all-mpnet-base-v2]

Photographs are Flickr8k's validation and test splits; no stage learns from either. The table goes to
standard output as Markdown and, with the poems, to ``--out`` as JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.progress import track
from torch.nn import functional as F

from img2poem import metrics
from img2poem.atomic import write_atomically
from img2poem.decoding import Sampling
from img2poem.images import decode
from img2poem.nn.model import PhotoToPoem, load_package, save_package
from img2poem.text import BOS, EOS, PoemTokenizer

from .card import evaluation_tables, model_card
from .corpus import Corpus, photo_rows
from .run import reporting
from .sentence_encoder import SentenceEncoder
from .sheet import write_sheet
from .writing import Writer

BIGRAMS = 20_000
#: BLEU compares with human poems whose captions are near to the photograph's: so many, after the nearest of all.
REFERENCES = 3
#: Photographs that the judge's retrieval chooses among.
JUDGED_AMONG = 1000
# The columns of the paper's Overall.
_OVERALL = ("relevance", "novelty_2", "novelty_3", "bleu_1", "bleu_2", "bleu_3")

Row = dict[str, float]


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured, and on how much."""

    photos: int = 1000
    """Held-out photographs at most."""
    best_of: int = 16
    """Candidates of best of n."""
    temperature: float = Sampling.temperature
    """Temperature of sampling."""
    top_p: float = Sampling.top_p
    """Nucleus of sampling."""
    seed: int = 0
    """Seed of sampling and of the random human poems."""
    judge: Path | None = None
    """Folder of a sentence encoder that no stage trains on (Hugging Face's format), for relevance apart."""
    beside: tuple[Path, ...] = ()
    """Other packages to measure beside, each under its folder's name."""
    sheet: Path | None = None
    """PNG file for the first photographs with their best-of-n poems below."""
    sheet_photos: int = 50
    """How many photographs the sheet shows."""


@dataclass(frozen=True)
class HeldOut:
    """The photographs to write about, and what their poems are compared with."""

    names: list[str]
    encoded: list[bytes]
    captions: list[list[str]]
    others: list[list[str]]  # captions of further photographs, for the judge to choose among
    corpus: Corpus

    @classmethod
    def load(cls, data: Path, limit: int) -> HeldOut:
        """Read the held-out photographs; the rest of the judge's choice are training photographs."""
        corpus = Corpus.load(data, None)
        photos = list(corpus.photographs(data))
        chosen = photo_rows((name for name, _, _ in photos), "validation", "test")[:limit]
        rest = sorted(set(range(len(photos))) - set(chosen))[: max(0, JUDGED_AMONG - len(chosen))]
        names, encoded, captions = (list(column) for column in zip(*(photos[i] for i in chosen), strict=True))
        return cls(names, encoded, captions, [photos[i][2] for i in rest], corpus)


def evaluate(weights: Path, data: Path, settings: EvaluationSettings) -> dict[str, Any]:
    """Return figures by system, poems by system, retrieval of captions by photographs, and likelihood."""
    if settings.sheet:  # before the work that it would lose
        settings.sheet.parent.mkdir(parents=True, exist_ok=True)
    held_out = HeldOut.load(data, settings.photos)
    judge = SentenceEncoder(settings.judge) if settings.judge else None
    model, tokenizer = load_package(weights)
    writer = Writer(model, tokenizer)
    embeddings = _embed_photos(model, held_out.encoded)
    captions = held_out.captions
    caption_points = writer.embed([text for five in captions for text in five])
    photo_captions = caption_points.reshape(len(captions), -1, caption_points.shape[-1]).mean(1)
    human = [record for record in held_out.corpus.records if record.caption]
    nearest = _nearest(photo_captions, writer.embed([str(record.caption) for record in human]))
    random = np.random.default_rng(settings.seed).integers(len(human), size=len(captions))
    texts = {
        "human, at random": [human[i].text for i in random],
        "human, nearest caption": [human[row[0]].text for row in nearest],
        **_written(writer, embeddings, settings, ""),
    }
    for beside in settings.beside:
        other = load_package(beside)
        points = _embed_photos(other[0], held_out.encoded)
        texts |= _written(Writer(*other), points, settings, f"{beside.name}: ")
    figures = _Figures(
        writer, embeddings.numpy(), held_out, [[human[i].text for i in row[1:]] for row in nearest], judge
    )
    rows = {name: figures.of(written) for name, written in texts.items()}
    for name, value in zip(rows, metrics.overall([[row[c] for c in _OVERALL] for row in rows.values()]), strict=True):
        rows[name]["overall"] = float(value)
    if settings.sheet:
        shown = slice(settings.sheet_photos)
        write_sheet(settings.sheet, held_out.encoded[shown], texts[f"best of {settings.best_of}"][shown])
    return {
        "photographs": len(captions),
        "settings": {name: str(value) for name, value in asdict(settings).items()},
        "systems": rows,
        "retrieval": _retrievals(writer, embeddings.numpy(), caption_points, held_out.corpus),
        "bits_per_character": _bits_per_character(model, tokenizer, held_out.corpus),
        "poems": [
            {"photo": name, "captions": captions[i], **{system: texts[system][i] for system in texts}}
            for i, name in enumerate(held_out.names)
        ],
    }


def evaluate_into_package(weights: Path, data: Path, settings: EvaluationSettings) -> dict[str, Any]:
    """Evaluate a package and write the figures into its configuration and model card."""
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
        references: list[list[str]],
        judge: SentenceEncoder | None,
    ) -> None:
        self._writer, self._photo_points, self._references, self._judge = writer, photo_points, references, judge
        self._captions = held_out.captions
        corpus = held_out.corpus
        learned = [corpus.records[i] for i in corpus.rows("train")]
        self._training = metrics.TrainingText(record.text for record in learned)
        self._multim = metrics.TrainingText(r.text for r in learned if r.key.startswith("multim/"))
        if judge:
            everything = [*held_out.captions, *held_out.others]
            points = judge.embed([text for five in everything for text in five])
            mean = points.reshape(len(everything), -1, points.shape[-1]).mean(1)
            self._choice = mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def of(self, written: list[str]) -> Row:
        """Return one system's figures. Novelty is against MultiM-Poem as in the paper, copying against all poems."""
        line_counts = metrics.line_counts(written)
        verse = metrics.prosody(written)
        judged = {}
        if self._judge:
            found = metrics.retrieval(self._judge.embed(written), self._choice)
            judged = {"caption_r10_by_judge": found.recall_at_10, "caption_rank_by_judge": found.median_rank}
        return {
            "relevance": float((self._writer.embed(written) * self._photo_points).sum(1).mean()),
            **judged,
            "caption_r10_by_words": metrics.caption_retrieval(written, self._captions).recall_at_10,
            **metrics.bleu(written, self._references)._asdict(),
            "novelty_2": metrics.novelty(written, self._multim, 2),
            "novelty_3": metrics.novelty(written, self._multim, 3),
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


def _retrievals(
    writer: Writer, photos: NDArray[np.float32], captions: NDArray[np.float32], corpus: Corpus
) -> dict[str, Row]:
    """Return how well photographs, their captions, and poems no stage learned from find each other, by way.

    No photograph comes with a poem here: its poem is the one whose own photograph's caption is nearest to its captions.
    """
    unseen = [record for i in corpus.rows("validation", "test") if (record := corpus.records[i]).caption]
    poems, own = writer.embed([r.text for r in unseen]), writer.embed([str(r.caption) for r in unseen])
    five = captions.reshape(len(photos), -1, captions.shape[-1])
    poem_of, photo_of = (five.mean(1) @ own.T).argmax(1), np.repeat(np.arange(len(photos)), five.shape[1])
    chosen = np.unique(poem_of)
    ways = {
        "photo_to_caption": (photos, captions, None, photo_of),
        "caption_to_photo": (captions, photos, photo_of, None),
        "photo_to_poem": (photos, poems, poem_of, None),
        "poem_to_photo": (poems[chosen], photos, chosen, poem_of),
        "caption_to_poem": (own, poems, None, None),
        "poem_to_caption": (poems, own, None, None),
    }
    return {way: {**vars(metrics.retrieval(*given)), "among": len(given[1])} for way, given in ways.items()}


@torch.inference_mode()
def _bits_per_character(model: PhotoToPoem, tokenizer: PoemTokenizer, corpus: Corpus) -> dict[str, float]:
    """Return bits a character on test poems: the decoder's, told of no photograph, and a 5-gram's of the same text."""
    decoder = model.poem_decoder
    vocabulary = decoder.config.vocabulary_size
    limited = tokenizer.limited(vocabulary)
    texts = [corpus.records[i].text for i in corpus.rows("test")]
    ids = [row[: decoder.config.max_tokens - 1] for row in limited.encode_batch(texts)]
    texts = [limited.decode(row) for row in ids]
    learned = [corpus.records[i].text for i in corpus.rows("train")]
    five_gram = metrics.KneserNey(limited.encode_batch(learned), vocabulary=range(vocabulary))
    bits = []
    for row in track(ids, "likelihood", transient=True):
        tokens = torch.tensor([[BOS, *row, EOS]])
        logits = decoder(tokens[:, :-1], torch.zeros(1, model.config.embedding_dim))
        bits.append(F.cross_entropy(logits[0], tokens[0, 1:], reduction="sum").item() / math.log(2))
    return {
        "decoder": metrics.bits_per_character(bits, texts),
        "5-gram": metrics.bits_per_character(five_gram.bits(ids), texts),
    }


@torch.inference_mode()
def _embed_photos(model: PhotoToPoem, photos: list[bytes]) -> torch.Tensor:
    size = model.config.preprocessing.size
    points = [
        model.image_encoder(torch.tensor(decode(encoded, size))[None]).embedding
        for encoded in track(photos, "photographs", transient=True)
    ]
    return torch.cat(points)


def _nearest(photo_captions: NDArray[np.float32], poem_captions: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the ``1 + REFERENCES`` poems whose captions are nearest to each photograph's, nearest first."""
    nearest: NDArray[np.int64] = np.argsort(-photo_captions @ poem_captions.T, axis=1)[:, : 1 + REFERENCES]
    return nearest


def main(
    data: Path, settings: EvaluationSettings, weights: Path = Path("weights/lite"), out: Path | None = None
) -> None:
    """Measure a model package on photographs that it never saw.

    Args:
        data: Folder of the training data.
        settings: What is measured.
        weights: Model package to measure.
        out: JSON file for figures and poems.
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
