"""Measure a model package on photographs that it never saw: poems by every way of decoding, side by side.

    python -m training.evaluate --weights weights/lite --data ../shared/data

Photographs are Flickr8k's validation and test splits; no stage learns from either. The table goes to
standard output as Markdown and, with the poems, to ``--out`` as JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.progress import track
from torch.nn import functional as F

from img2poem import metrics
from img2poem.datasets import photographs, poems
from img2poem.datasets.files import write_atomically
from img2poem.datasets.poems import PoemRecord
from img2poem.datasets.splits import split_of
from img2poem.decoding import Sampling
from img2poem.errors import Img2PoemError
from img2poem.images import decode
from img2poem.nn.model import PhotoToPoem, load_package
from img2poem.text import BOS, EOS, PoemTokenizer

from .generator import train_rows
from .writing import Writer

BIGRAMS = 20_000
#: BLEU compares with human poems whose captions are near to the photograph's: so many, after the nearest of all.
REFERENCES = 3
# The columns of the paper's Overall.
_OVERALL = ("relevance", "novelty_2", "novelty_3", "bleu_1", "bleu_2", "bleu_3")

Photos = list[tuple[str, bytes, list[str]]]
Row = dict[str, float]


def evaluate(weights: Path, data: Path, limit: int, best_of: int, sampling: Sampling) -> dict[str, Any]:
    """Return figures by system, poems by system, retrieval of captions by photographs, and likelihood."""
    model, tokenizer = load_package(weights)
    writer = Writer(model, tokenizer)
    photos = [p for p in photographs.flickr8k(data) if split_of(p[0]) != "train"][:limit]
    captions = [texts for _, _, texts in photos]
    embeddings = _embed_photos(model, photos)
    records = [*poems.multim(data), *poems.unim(data), *poems.public_domain(data)]
    human = [record for record in records if record.caption]
    caption_points = writer.embed([text for five in captions for text in five])
    photo_captions = caption_points.reshape(len(photos), len(captions[0]), -1).mean(1)
    nearest = _nearest(photo_captions, writer.embed([str(record.caption) for record in human]))
    references = [[human[i].text for i in row[1:]] for row in nearest]
    random = np.random.default_rng(sampling.seed).integers(len(human), size=len(photos))
    systems: dict[str, Callable[[], list[str]]] = {
        "human, at random": lambda: [human[i].text for i in random],
        "human, nearest caption": lambda: [human[row[0]].text for row in nearest],
        "greedy": lambda: writer.greedy(embeddings),
        "beam": lambda: writer.beam(embeddings),
        "sampled": lambda: writer.sampled(embeddings, sampling),
        f"best of {best_of}": lambda: writer.best_of(embeddings, best_of, sampling),
    }
    texts = {name: write() for name, write in systems.items()}
    learned = [records[i] for i in train_rows(records)]
    training = metrics.TrainingText(record.text for record in learned)
    multim = metrics.TrainingText(record.text for record in learned if record.key.startswith("multim"))
    rows = {
        name: _figures(writer, written, embeddings.numpy(), captions, references, training, multim)
        for name, written in texts.items()
    }
    for name, value in zip(rows, metrics.overall([[row[c] for c in _OVERALL] for row in rows.values()]), strict=True):
        rows[name]["overall"] = float(value)
    labels = np.repeat(np.arange(len(photos)), len(captions[0]))
    return {
        "photographs": len(photos),
        "systems": rows,
        "photo_to_caption": vars(metrics.retrieval(embeddings.numpy(), caption_points, item_labels=labels)),
        "caption_to_photo": vars(metrics.retrieval(caption_points, embeddings.numpy(), query_labels=labels)),
        "bits_per_character": _bits_per_character(model, tokenizer, records, learned),
        "poems": [
            {"photo": photo[0], "captions": photo[2], **{name: texts[name][i] for name in texts}}
            for i, photo in enumerate(photos)
        ],
    }


def markdown(result: dict[str, Any]) -> str:
    """Return the figures as Markdown tables."""
    systems: dict[str, Row] = result["systems"]
    names = list(systems)
    lines = [
        f"{result['photographs']} photographs",
        "",
        "| | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for column in systems[names[0]]:
        lines.append(f"| {column} | " + " | ".join(f"{systems[name][column]:.3g}" for name in names) + " |")
    lines += ["", "| retrieval | " + " | ".join(result["photo_to_caption"]) + " |", "|---" * 5 + "|"]
    for way in ("photo_to_caption", "caption_to_photo"):
        lines.append(f"| {way} | " + " | ".join(f"{value:.3g}" for value in result[way].values()) + " |")
    lines += ["", "| bits per character | " + " | ".join(result["bits_per_character"]) + " |", "|---" * 3 + "|"]
    lines.append("| held-out poems | " + " | ".join(f"{v:.3f}" for v in result["bits_per_character"].values()) + " |")
    return "\n".join(lines) + "\n"


def _figures(
    writer: Writer,
    written: list[str],
    photo_points: NDArray[np.float32],
    captions: list[list[str]],
    references: list[list[str]],
    training: metrics.TrainingText,
    multim: metrics.TrainingText,
) -> Row:
    """Return one system's figures. Novelty is against MultiM-Poem as in the paper, copying against all poems."""
    lexical = metrics.caption_retrieval(written, captions)
    line_counts = metrics.line_counts(written)
    verse = metrics.prosody(written)
    return {
        "relevance": float((writer.embed(written) * photo_points).sum(1).mean()),
        "caption_r10_by_words": lexical.recall_at_10,
        **metrics.bleu(written, references)._asdict(),
        "novelty_2": metrics.novelty(written, multim, 2),
        "novelty_3": metrics.novelty(written, multim, 3),
        "distinct_1": metrics.distinct(written, 1),
        "distinct_2": metrics.distinct(written, 2, BIGRAMS),
        "new_trigrams": metrics.new_ngrams(written, training),
        "copied_lines": metrics.copied_lines(written, training),
        "repeated_lines": metrics.repeated_lines(written),
        "lines_fewest": float(line_counts.min()),
        "lines_most": float(line_counts.max()),
        "rhyming_pairs": verse.rhyming_pairs,
        "syllables_per_line": verse.syllables_per_line,
    }


@torch.inference_mode()
def _bits_per_character(
    model: PhotoToPoem, tokenizer: PoemTokenizer, records: list[PoemRecord], learned: list[PoemRecord]
) -> dict[str, float]:
    """Return bits a character on test poems: the decoder's, told of no photograph, and a 5-gram's of the same text."""
    decoder = model.poem_decoder
    vocabulary = decoder.config.vocabulary_size
    limited = tokenizer.limited(vocabulary)
    texts = [record.text for record in records if split_of(record.key) == "test"]
    ids = [row[: decoder.config.max_tokens - 1] for row in limited.encode_batch(texts)]
    texts = [limited.decode(row) for row in ids]
    five_gram = metrics.KneserNey(limited.encode_batch([r.text for r in learned]), vocabulary=range(vocabulary))
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
def _embed_photos(model: PhotoToPoem, photos: Photos) -> torch.Tensor:
    size = model.config.preprocessing.size
    points = [
        model.image_encoder(torch.from_numpy(decode(encoded, size))[None]).embedding
        for _, encoded, _ in track(photos, "photographs", transient=True)
    ]
    return torch.cat(points)


def _nearest(photo_captions: NDArray[np.float32], poem_captions: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the ``1 + REFERENCES`` poems whose captions are nearest to each photograph's, nearest first."""
    nearest: NDArray[np.int64] = np.argsort(-photo_captions @ poem_captions.T, axis=1)[:, : 1 + REFERENCES]
    return nearest


def main(
    data: Annotated[Path, typer.Option(help="Folder of the training data.")],
    weights: Annotated[Path, typer.Option(help="Model package to measure.")] = Path("weights/lite"),
    out: Annotated[Path | None, typer.Option(help="JSON file for figures and poems.")] = None,
    limit: Annotated[int, typer.Option(min=16, help="Photographs at most.")] = 1000,
    best_of: Annotated[int, typer.Option(min=1, help="Candidates of best of n.")] = 16,
    temperature: Annotated[float, typer.Option(help="Temperature of sampling.")] = Sampling.temperature,
    top_p: Annotated[float, typer.Option(help="Nucleus of sampling.")] = Sampling.top_p,
    seed: Annotated[int, typer.Option(help="Seed of sampling and of the random human poems.")] = Sampling.seed,
) -> None:
    """Measure a model package on photographs that it never saw."""
    try:
        result = evaluate(weights, data, limit, best_of, Sampling(temperature=temperature, top_p=top_p, seed=seed))
    except (Img2PoemError, OSError) as error:
        typer.echo(f"evaluate: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(markdown(result))
    if out is not None:
        write_atomically(out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
