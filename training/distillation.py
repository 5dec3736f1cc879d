"""Distillation stage: the teacher writes poems about the training photographs, for the student to learn from.

    python -m training.distillation --data folder [--poems N --temperature X ...]

Each poem is told by the photograph and by one of its captions (sequence-level distillation, Kim and Rush 2016): what
it learned is simpler and more consistent than people's poems, which a small decoder learns far better (TinyStories,
Eldan and Li 2023). Poems are written in pieces, each a file, so that a killed run goes on with the next piece. In the
end the teacher reads the poems that were kept, and the written ones, for their soft targets.
"""

from __future__ import annotations

import json
import lzma
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from img2poem.decoding.strategies import TOP_TOKENS
from img2poem.files.atomic import write_atomically
from img2poem.nn import search
from img2poem.nn.transformer_decoder import Layer, TransformerDecoder
from img2poem.text.vocabulary import CAPTION, EOS, FREE, NEWLINE, PAD, RHYMED, SPECIAL_TOKENS, UNK

from .alignment import AlignmentData
from .fitting import Result, Stage, compiles, load_prefixed
from .parts import Parts, result_of
from .run import Run, fingerprint, main
from .smollm2 import transformer_decoder
from .soft_targets import Told, write_soft_targets
from .teacher import LONGEST_POEM, TeacherTexts
from .texts import Points, encoded
from .writing import Writer

#: Files of this stage's folder: the poems that were kept, and what the teacher would say at each of their tokens.
POEMS, SOFT_TARGETS = "poems.jsonl.xz", "soft_targets.safetensors"

_FINAL = (".", "!", "?")
_MAX_TOKENS = 72


@dataclass(frozen=True)
class DistillationSettings:
    """How the teacher writes, and which of its poems are kept."""

    poems: int = 100_000
    """Poems that are written: about each caption of a training photograph in turn, a free and a rhymed one."""
    piece: int = 3_072
    """Poems a file; what a killed run loses at most."""
    batch: int = 256
    """Poems written at once."""
    temperature: float = 0.7
    """Sampling temperature."""
    top_p: float = 0.9
    """Nucleus of the sampling."""
    compiled: bool = True
    """Compile the teacher's layers, which makes a step a quarter faster, after half a minute."""
    least_likely: float = 0.1
    """Share of the poems that is dropped for the lowest log-probability a token."""
    least_near: float = 0.15
    """Share that is dropped for the lowest cosine of poem and photograph, or caption, by the aligner."""
    soft_targets: bool = True
    """Also write what the teacher would say next at each token of the poems kept and of the written ones."""


class Task(NamedTuple):
    """A poem to be written."""

    photo: int
    caption: int
    begin: int  # FREE or RHYMED


class Drawn(NamedTuple):
    """A text that was written: its tokens, the end token included, and log-probability a token."""

    tokens: list[int]
    score: float


@torch.inference_mode()
def write(
    decoder: TransformerDecoder,
    points: Tensor,
    prompts: Tensor,
    temperature: float,
    top_p: float,
    random: torch.Generator,
    max_tokens: int = _MAX_TOKENS,
) -> list[Drawn]:
    """Draw a text behind each prompt.

    Args:
        decoder: in the dtype to compute in.
        points: float ``[B, embedding_dim]``.
        prompts: int64 ``[B, T]``, none padded.
        temperature: of the sampling; the scores are of temperature 1.
        top_p: nucleus of the sampling.
        random: decides what is drawn.
        max_tokens: longest text.
    """
    weight = decoder.token_embedding.weight
    cache = decoder.begin(points.to(weight.dtype), prompts.shape[1] + max_tokens)
    never = torch.tensor([PAD, UNK, *range(NEWLINE + 1, len(SPECIAL_TOKENS))])
    tokens, scores = [], torch.zeros(len(prompts))
    drawn, rows, ended = prompts, torch.arange(len(prompts)), torch.zeros(len(prompts), dtype=torch.bool)
    for _ in range(max_tokens):
        logits, cache = decoder.advance(drawn, cache)
        log_probs = logits.float().index_fill_(1, never, -math.inf).log_softmax(-1)
        drawn = _draw(log_probs, temperature, top_p, random)
        chances = log_probs.gather(1, drawn)[:, 0]
        scores[rows] += torch.where(ended, 0.0, chances)
        drawn = torch.where(ended.unsqueeze(1), PAD, drawn)
        tokens.append(torch.full((len(prompts),), PAD).index_copy_(0, rows, drawn[:, 0]))
        ended = ended | (drawn[:, 0] == EOS)
        if ended.all():
            break
        if ended.float().mean() > 0.2:  # what has ended need not be computed any more
            going = torch.nonzero(~ended).flatten()
            cache, rows, drawn, ended = cache.rows(going), rows[going], drawn[going], ended[going]
    written = torch.stack(tokens, dim=1)
    lengths = (written != PAD).sum(1)
    kept = [row[:length] for row, length in zip(written.tolist(), lengths.tolist(), strict=True)]
    return [Drawn(row, score) for row, score in zip(kept, (scores / lengths).tolist(), strict=True)]


def _draw(log_probs: Tensor, temperature: float, top_p: float, random: torch.Generator) -> Tensor:
    """Return one token a row, int64 ``[B, 1]``, of the nucleus."""
    rows, width = len(log_probs), min(TOP_TOKENS, log_probs.shape[-1])
    top = log_probs.topk(width, dim=-1)
    uniform = torch.rand(rows, width, generator=random).clamp_(min=torch.finfo(torch.float32).tiny)
    temperatures, nucleus = torch.full((rows,), temperature), torch.full((rows,), top_p)
    pick = search.draw(top.values, temperatures, torch.full((rows,), width), nucleus, search.gumbel_of(uniform))
    return top.indices.gather(1, pick)


class Teacher:
    """The trained teacher, and what it is told."""

    def __init__(self, parts: Parts, data: AlignmentData, compiled: bool) -> None:
        config, result = parts.model.config, result_of(parts.run, "teacher")
        self.tokenizer = parts.tokenizer.limited(config.decoder.vocabulary_size)
        tensors = result.tensors
        prefix = tensors["teacher.prefix.2.weight"].shape[0] // tensors["teacher.norm.weight"].shape[0]
        layers = sum(name.endswith(".down.weight") for name in tensors)
        self.decoder = transformer_decoder(self.tokenizer, prefix, config.embedding_dim, layers).bfloat16()
        load_prefixed(self.decoder, tensors, "teacher")
        if compiles(compiled):
            for layer in self.decoder.layers:
                layer.step = torch.compile(cast(Layer, layer).step, dynamic=True)  # type: ignore[assignment]
                layer.compile(dynamic=True)
        self.fingerprint = result.fingerprint
        self.texts, self.points = TeacherTexts(parts, data), Points.of(parts, data)

    def point(self, task: Task) -> Tensor:
        """Return the photograph's point, of one without pixels its caption's, ``[embedding_dim]``."""
        captions = self.points.captions
        if task.photo < len(self.points.photos):
            return self.points.photos[task.photo]
        return captions.features[captions.starts[task.photo] + task.caption]

    def write(self, tasks: Sequence[Task], settings: DistillationSettings, seed: int) -> Iterator[tuple[Task, Drawn]]:
        """Write a poem for each task, those with captions of one length together."""
        random = torch.Generator().manual_seed(seed)
        lengths = [len(self.texts.captions[task.photo][task.caption]) for task in tasks]
        order = sorted(range(len(tasks)), key=lambda i: lengths[i])
        batches: list[list[Task]] = []
        for i in order:
            if not batches or len(batches[-1]) == settings.batch or self._length(batches[-1][0]) != lengths[i]:
                batches.append([])
            batches[-1].append(tasks[i])
        for batch in batches:
            prompts = [self._before(task) for task in batch]
            points = torch.stack([self.point(task) for task in batch])
            drawn = write(self.decoder, points, torch.tensor(prompts), settings.temperature, settings.top_p, random)
            yield from zip(batch, drawn, strict=True)

    def told(self, records: Sequence[dict[str, Any]], data: AlignmentData) -> list[Told]:
        """Return its own poems, then the written ones about training photographs, each behind a caption."""
        texts, photos = self.texts, data.index()
        own = [
            (Task(photos[r["set"], r["photo"]], r["caption"], RHYMED if r["form"] == "rhymed" else FREE), ids)
            for r, ids in zip(records, encoded(self.tokenizer, [r["poem"] for r in records], LONGEST_POEM), strict=True)
        ]
        written = [
            (Task(photo, k % max(1, len(texts.captions[photo])), texts.begins[photo][k]), texts.poems[photo][k])
            for photo, k in texts.learned
        ]
        return [Told(self.point(task), self._before(task), ids) for task, ids in own + written]

    def _before(self, task: Task) -> list[int]:
        captions = self.texts.captions[task.photo]
        return [CAPTION, *captions[task.caption], task.begin] if captions else [task.begin]

    def _length(self, task: Task) -> int:
        return len(self.texts.captions[task.photo][task.caption])


def well_formed(text: str, finished: bool) -> bool:
    """Whether a poem came to its end, has 3 to 6 lines, no line twice, and a final mark."""
    lines = text.lower().split("\n")
    words = [line.strip(" ,.;:?!") for line in lines]
    return finished and 3 <= len(lines) <= 6 and text.endswith(_FINAL) and len({*words}) == len(lines) and all(words)


def train(run: Run, settings: DistillationSettings) -> Result:
    """Let the teacher write about every training photograph and caption; keep the better poems."""
    parts = Parts.after(run, "scene", "sentiment", "alignment")
    made_from = parts.made_from("teacher")
    mark = fingerprint(parts.sources(), settings, made_from["teacher"])
    stage = Stage(run, "distillation", mark, made_from)
    if (found := stage.finished()) is not None:
        return found
    data = AlignmentData.load(parts)
    teacher = Teacher(parts, data, settings.compiled)
    folder = stage.folder / "pieces" / stage.fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    tasks = all_tasks(teacher.texts, data, settings.poems)
    pieces = range(0, len(tasks), settings.piece)
    for number, start in enumerate(track(pieces, "teacher's poems", transient=True)):
        path = folder / f"{number:04}.jsonl"
        if not path.exists():
            _write_piece(path, tasks[start : start + settings.piece], teacher, parts, data, settings, number)
    counts = collected(stage.folder, folder, settings)
    if settings.soft_targets:
        poems = teacher.told(read_poems(stage.folder), data)
        path = stage.folder / SOFT_TARGETS
        counts["soft_targets"] = write_soft_targets(path, folder / "soft_targets", teacher.decoder, poems)
    return stage.finish({}, counts)


def all_tasks(texts: TeacherTexts, data: AlignmentData, count: int) -> list[Task]:
    """Return ``count`` poems to be written, in an order in which any first part is of all collections."""
    captions = [
        (photo, caption)
        for photo, record in enumerate(data.photos)
        if record.split == "train"
        for caption in range(len(texts.captions[photo]))
    ]
    tasks: list[Task] = []
    for turn in range(-(-count // len(captions))):
        order = np.random.default_rng(turn).permutation(len(captions)).tolist()
        shuffled = [(i, captions[i]) for i in order]
        tasks += [Task(photo, caption, (FREE, RHYMED)[(i + turn) % 2]) for i, (photo, caption) in shuffled]
    return tasks[:count]


def _write_piece(
    path: Path,
    tasks: Sequence[Task],
    teacher: Teacher,
    parts: Parts,
    data: AlignmentData,
    settings: DistillationSettings,
    number: int,
) -> None:
    started = time.monotonic()
    written = list(teacher.write(tasks, settings, number))
    texts = [teacher.tokenizer.decode(drawn.tokens) for _, drawn in written]
    poems = Writer(parts.model, parts.tokenizer).embed(texts)
    points = torch.stack([teacher.point(task) for task, _ in written]).numpy()
    records = [
        {
            "set": data.photos[task.photo].set,
            "photo": data.photos[task.photo].name,
            "caption": task.caption,
            "form": "rhymed" if task.begin == RHYMED else "free",
            "poem": text,
            "finished": drawn.tokens[-1] == EOS,
            "score": round(drawn.score, 4),
            "cosine": round(float(cosine), 4),
        }
        for (task, drawn), text, cosine in zip(written, texts, (poems * points).sum(1), strict=True)
    ]
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records))
    rate = len(tasks) / (time.monotonic() - started)
    print(f"distillation: piece {number}, {rate:.1f} poems a second; last: {texts[-1]!r}", flush=True)


def collected(folder: Path, pieces: Path, settings: DistillationSettings) -> dict[str, float]:
    """Filter all pieces into ``poems.jsonl.xz`` and return how many poems there were and how many were kept."""
    records = [json.loads(line) for path in sorted(pieces.glob("*.jsonl")) for line in path.open(encoding="utf-8")]
    formed = [record for record in records if well_formed(record["poem"], record["finished"])]
    distinct = list({record["poem"]: record for record in formed}.values())
    kept = _likely_and_near(distinct, settings)
    fields = ("set", "photo", "caption", "form", "poem")
    lines = "".join(json.dumps({name: record[name] for name in fields}) + "\n" for record in kept)
    write_atomically(folder / POEMS, lzma.compress(lines.encode()))
    return {"written": len(records), "well_formed": len(formed), "distinct": len(distinct), "kept": len(kept)}


def read_poems(folder: Path) -> list[dict[str, Any]]:
    """Return the records of the poems that :func:`collected` kept."""
    with lzma.open(folder / POEMS) as file:
        return [json.loads(line) for line in file]


def _likely_and_near(records: list[dict[str, Any]], settings: DistillationSettings) -> list[dict[str, Any]]:
    """Drop the least likely poems of each form, and the least near of each collection: their values differ."""
    kept = records
    for value, share, group in (("score", settings.least_likely, "form"), ("cosine", settings.least_near, "set")):
        for name in {record[group] for record in records}:
            own = [record[value] for record in kept if record[group] == name]
            limit = float(np.quantile(own, share)) if own else 0.0
            kept = [record for record in kept if record[group] != name or record[value] >= limit]
    return kept


if __name__ == "__main__":
    main(DistillationSettings, train, __doc__)
