"""Generator stage: the GRU decoder, the teacher's student, learns poems by likelihood.

    python -m training.generator --data folder [--epochs N --learning-rate X ...]

It reads the teacher's poems, the written ones and some captions, each under a point of the poetic space. An epoch is a
fixed number of batches, so that there are checkpoints and validation every minute or so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from img2poem.datasets.errors import MissingData
from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.nn.recurrence import compile_steps
from img2poem.text.vocabulary import BOS, CAPTION

from .alignment import AlignmentData
from .batches import MULTIPLE
from .corpus import poems_about
from .distillation import SOFT_TARGETS, read_poems
from .fitting import Result, Stage, compiles, load_prefixed, once, rounded, schedule, start_of, step_seed
from .likelihood import HeldOutPoems, distillation_loss, no_targets
from .parts import Parts, result_of, trained
from .run import Run, fingerprint, main
from .soft_targets import SoftTargets
from .texts import Batch, Mixture, Points, Text, TextBatches, chosen, closed, encoded

_MONITOR = "validation/photo"
_HELD_OUT = 400  # validation poems at most


@dataclass(frozen=True)
class GeneratorSettings:
    """Hyper-parameters of the decoder's training by likelihood."""

    epochs: int = 18
    """Epochs at most."""
    epoch_batches: int = 150
    """Batches an epoch; fewer where the texts are fewer."""
    batch: int = 128
    """Texts a batch."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule."""
    weight_decay: float = 0.02
    """AdamW's weight decay."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    captions_start: float = 0.3
    """Share of captions among the texts of the first epoch: they teach what a photograph shows."""
    captions_end: float = 0.05
    """The same in the last epoch."""
    written_start: float = 0.3
    """Share of the written poems among the poems in the first epoch; the others are the teacher's."""
    written_end: float = 0.4
    """The same in the last epoch."""
    distilled: bool = True
    """Learn from the teacher's poems; else from the written ones alone."""
    soft: float = 0.8
    """What the teacher's distribution of the next token counts beside the token itself; 0: learn from tokens alone."""
    teachers_words: bool = True
    """Begin with the principal components of the teacher's word embeddings; else, or with --start, not."""
    conditions: Mixture = field(default_factory=Mixture)
    """How often a text is learned under which point."""
    compiled: bool = True
    """Compile the decoder's arithmetic between matrix products, which takes half a minute."""
    patience: int | None = None
    """Epochs without gain on validation poems before it stops; none: never, the best epoch is kept anyway."""
    start: Path | None = None
    """``result.safetensors`` of an earlier generator to go on from, in the same space; none: from nothing."""


@dataclass(frozen=True)
class StudentTexts:
    """What the student reads: photograph and ids of each text, without begin and end tokens."""

    written: list[tuple[int, list[int]]]  # poems about training photographs, those read as faulty left out
    taught: list[tuple[int, list[int]]]  # the teacher's
    captions: list[tuple[int, list[int]]]
    held_out: list[tuple[int, list[int]]]  # poems about validation photographs with pixels
    points: Points
    soft: SoftTargets | None  # of the teacher's poems, then of the written ones

    @classmethod
    def load(cls, parts: Parts, data: AlignmentData, distilled: bool, soft: bool = False) -> StudentTexts:
        """Tokenize the corpus, and what the distillation stage left: its poems, and soft targets where they are wanted.

        Raises:
            ValueError: there is nothing to train on or to validate by.
            MissingData: the distillation stage has not been run yet.
        """
        config, photos = parts.model.config.decoder, data.photos
        tokenizer = parts.tokenizer.limited(config.vocabulary_size)

        def rows(texts: list[tuple[int, str]]) -> list[tuple[int, list[int]]]:
            ids = encoded(tokenizer, [text for _, text in texts], config.max_tokens - 1)
            return [(photo, row) for (photo, _), row in zip(texts, ids, strict=True)]

        training = [i for i, photo in enumerate(photos) if photo.split == "train"]
        # Those of training in the order of their soft targets.
        written, held_out = (
            [(i, photos[i].poems[k].text) for i, k in poems_about(photos, split, best=True)]
            for split in (training, data.rows("validation").tolist())
        )
        found = cls(
            written=rows(written),
            taught=rows(_taught(parts, data)) if distilled else [],
            captions=rows([(i, text) for i in training for text in photos[i].captions]),
            held_out=rows(held_out[:_HELD_OUT]),
            points=Points.of(parts, data),
            soft=_soft_targets(parts) if distilled and soft else None,
        )
        counts = [len(ids) + 1 for _, ids in found.taught + found.written]
        if found.soft is not None and found.soft.starts.diff().tolist() != counts:
            raise MissingData("the soft targets belong to other poems; run again: python -m training.distillation")
        if not found.written or not found.held_out:
            raise ValueError("too few photographs with poems: none are left to train on or to validate by")
        return found

    def drawing(self, captions: float, written: float) -> Callable[[int], list[Text]]:
        """Return what draws training texts: a share of ``captions``, and of ``written`` poems among the poems."""
        groups = [
            (CAPTION, self.captions, captions, None),
            (BOS, self.written, (1 - captions) * (written if self.taught else 1.0), len(self.taught)),
            (BOS, self.taught, (1 - captions) * (1 - written), 0),
        ]
        groups = [group for group in groups if group[1] and group[2] > 0]
        shares = torch.tensor([share for _, _, share, _ in groups])

        def draw(count: int) -> list[Text]:
            numbers = torch.multinomial(shares, count, replacement=True).bincount(minlength=len(groups))
            return [
                Text(closed(begin, texts[i][1]), texts[i][0], None if first is None else first + i)
                for (begin, texts, _, first), number in zip(groups, numbers.tolist(), strict=True)
                for i in chosen(range(len(texts)), number)
            ]

        return draw

    def poems_held_out(self) -> HeldOutPoems:
        """Return the held-out poems."""
        return HeldOutPoems(self.points.photos, [(photo, BOS, ids) for photo, ids in self.held_out])


def _taught(parts: Parts, data: AlignmentData) -> list[tuple[int, str]]:
    rows, records = data.index(), read_poems(parts.run.root / "distillation")
    return [(rows[record["set"], record["photo"]], record["poem"]) for record in records]


def _soft_targets(parts: Parts) -> SoftTargets:
    path = parts.run.root / "distillation" / SOFT_TARGETS
    if not path.exists():
        raise MissingData(f"{path} is missing; run training.distillation with --soft-targets, or train with --soft 0")
    return SoftTargets.load(path)


class GeneratorTraining(L.LightningModule):
    """The decoder under teacher forcing."""

    def __init__(self, decoder: PoemDecoder, texts: StudentTexts, settings: GeneratorSettings) -> None:
        super().__init__()
        self.decoder, self.texts, self.settings = decoder, texts, settings
        self._held_out = texts.poems_held_out()

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        torch.manual_seed(step_seed(self, index))

    def train_dataloader(self) -> DataLoader[Any]:
        s, texts = self.settings, self.texts
        progress = self.current_epoch / max(1, s.epochs - 1)
        written = s.written_start + (s.written_end - s.written_start) * progress
        captions = s.captions_start + (s.captions_end - s.captions_start) * progress
        everything = len(texts.written) + len(texts.taught) + len(texts.captions)
        count = min(s.epoch_batches, -(-everything // s.batch))
        draw = texts.drawing(captions, written)
        return DataLoader(
            TextBatches(draw, texts.points, s.conditions, count, s.batch, step_seed(self), MULTIPLE, texts.soft),
            batch_size=None,
        )

    def training_step(self, batch: Batch, index: int) -> Tensor:
        soft = no_targets(batch.ids) if batch.soft is None else batch.soft
        loss, nats = distillation_loss(self.decoder, batch.ids, batch.points, soft, self.settings.soft)
        self.log("train/loss", loss)
        self.log("train/nats", nats, prog_bar=True)
        return loss

    def validation_step(self, batch: Tensor, index: int) -> None:
        self.log_dict({f"validation/{name}": value for name, value in self._held_out.nats(self.decoder).items()})

    def configure_optimizers(self) -> Any:
        s = self.settings
        optimizer = torch.optim.AdamW(
            self.decoder.parameters(), lr=s.learning_rate, weight_decay=s.weight_decay, betas=(0.9, 0.98)
        )
        return schedule(self, optimizer, s.learning_rate, warmup=0.05)


def principal_components(words: Tensor, width: int) -> Tensor:
    """Return word embeddings ``[V, D]`` in ``width`` dimensions, as spread as the decoder's own are in the beginning.

    A rare word so begins near words of its kind, which a few thousand poems would not teach.
    """
    centred = words.float() - words.float().mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)  # by rising variance
    found = centred @ directions[:, -width:]
    return F.pad(found / found.std(), (0, width - found.shape[1])) * width**-0.5


def train(run: Run, settings: GeneratorSettings) -> Result:
    """Train the decoder in the space that the alignment stage left in the run's folder."""
    parts = Parts.after(run, "scene", "sentiment", "alignment")
    made_from = parts.made_from(*(("distillation",) if settings.distilled else ()))
    earlier, decisive = start_of(settings)
    mark = fingerprint(parts.sources(), decisive, parts.model.config.decoder, made_from.get("distillation"))
    stage = Stage(run, "generator", mark, made_from)
    if (found := stage.finished()) is not None:
        return found
    texts = StudentTexts.load(parts, AlignmentData.load(parts), settings.distilled, settings.soft > 0)
    decoder = parts.model.poem_decoder
    if earlier is not None:
        load_prefixed(decoder, earlier.tensors, "decoder")
    elif settings.distilled and settings.teachers_words:
        words = result_of(run, "teacher").tensors["teacher.token_embedding.weight"]
        decoder.token_embedding.weight.data.copy_(principal_components(words, decoder.config.token_dim))
    if compiles(settings.compiled):
        compile_steps()
    module = GeneratorTraining(decoder, texts, settings)
    stage.fit(
        module, None, once(), settings.epochs, _MONITOR, "min", settings.patience, gradient_clip=settings.gradient_clip
    )
    return stage.finish(trained(parts.model, "generator"), rounded(texts.poems_held_out().nats(decoder)))


if __name__ == "__main__":
    main(GeneratorSettings, train, __doc__)
