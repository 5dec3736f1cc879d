"""Teacher stage: SmolLM2's layers with our vocabulary learn to caption photographs and to write poems about them.

    python -m training.teacher --data folder [--epochs N --learning-rate X ...]

A row is a caption, a poem, or a caption followed by a poem. So the same decoder can write directly or, which is
better, describe first and then write (plan-and-write, Yao et al. 2019). The poem's begin token says whether it rhymes.
Weights are float32; a bfloat16 copy computes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from img2poem.nn.transformer_decoder import TransformerDecoder
from img2poem.text.vocabulary import BOS, CAPTION, FREE, RHYMED

from .alignment import AlignmentData
from .batches import MULTIPLE
from .corpus import Photo, poems_about
from .fitting import Result, Stage, compiles, load_prefixed, once, rounded, schedule, start_of, step_seed
from .likelihood import HeldOutPoems, computing, likelihood_loss
from .parts import Parts
from .run import Run, fingerprint, main
from .smollm2 import transformer_decoder
from .texts import Batch, Mixture, Points, Text, TextBatches, chosen, closed, encoded

_MONITOR = "validation/nats"
LONGEST_CAPTION, LONGEST_POEM = 32, 95
_BEGIN = {"free": FREE, "rhymed": RHYMED}


@dataclass(frozen=True)
class TeacherSettings:
    """Hyper-parameters of the teacher's training."""

    epochs: int = 10
    """Epochs."""
    epoch_batches: int = 60
    """Batches per epoch."""
    batch: int = 64
    """Texts per batch."""
    learning_rate: float = 4e-4
    """Peak learning rate of the one-cycle schedule, for SmolLM2's layers."""
    new_learning_rate: float = 1.5e-3
    """Peak learning rate for word embeddings and prefix, which are new."""
    weight_decay: float = 0.02
    """AdamW's weight decay."""
    gradient_clip: float = 1.0
    """Maximum norm of the gradient."""
    prefix_tokens: int = 4
    """Number of prefix vectors that the photograph's embedding is mapped to."""
    captions_start: float = 0.8
    """Share of rows with only a caption in the first epoch."""
    captions_end: float = 0.05
    """The same share from a third of all epochs on."""
    best_from: float = 0.4
    """Share of the epochs after which only the best poems are learned: the plain ones, without faults."""
    described: float = 0.65
    """Share of poems that follow a caption; the others stand alone."""
    conditions: Mixture = field(default_factory=Mixture)
    """Shares of the conditions that texts are learned under."""
    layers: int | None = None
    """Number of SmolLM2's layers to keep, evenly spaced; none: all 30."""
    compiled: bool = True
    """Compile the layers: a step becomes a third faster, after a minute of compilation."""
    start: Path | None = None
    """``result.safetensors`` of an earlier teacher to start from, in the same embedding space; none: SmolLM2."""


class TeacherTexts:
    """The teacher's training rows, by split."""

    def __init__(self, parts: Parts, data: AlignmentData) -> None:
        tokenizer = parts.tokenizer.limited(parts.model.config.decoder.vocabulary_size)
        photos = data.photos
        self.captions = _by_photo(
            photos, encoded(tokenizer, [c for p in photos for c in p.captions], LONGEST_CAPTION), lambda p: p.captions
        )
        self.poems = _by_photo(
            photos, encoded(tokenizer, [q.text for p in photos for q in p.poems], LONGEST_POEM), lambda p: p.poems
        )
        self.begins = [[_BEGIN[poem.form] for poem in photo.poems] for photo in photos]
        self._photos = photos
        self._training = [i for i, p in enumerate(photos) if p.split == "train"]
        self._captioned = [i for i in self._training if self.captions[i]]

    @property
    def learned(self) -> list[tuple[int, int]]:
        """Photograph and index of each of the best training poems."""
        return self.poems_of(self._training)

    def poems_of(self, rows: list[int], best: bool = True) -> list[tuple[int, int]]:
        """Return photograph and index of each poem about the photographs ``rows``; see :func:`corpus.poems_about`."""
        return poems_about(self._photos, rows, best)

    def drawing(self, captions: float, described: float, best: bool) -> Callable[[int], list[Text]]:
        """Return a function that draws rows: a share of ``captions``; a share ``described`` of poems follows one."""
        poems = self.poems_of(self._training, best)

        def draw(count: int) -> list[Text]:
            alone = int(torch.binomial(torch.tensor(float(count)), torch.tensor(captions)))
            rows = [Text(closed(CAPTION, self.caption(i)), i) for i in chosen(self._captioned, alone)]
            for place in torch.randint(len(poems), (count - alone,)).tolist():
                photo, k = poems[place]
                begin = BOS if torch.rand(()) < 0.25 else self.begins[photo][k]
                poem = closed(begin, self.poems[photo][k])
                plan = torch.rand(()) < described and self.captions[photo]
                rows.append(Text([CAPTION, *self.caption(photo), *poem] if plan else poem, photo))
            return rows

        return draw

    def caption(self, photo: int) -> list[int]:
        """Return a random caption of a photograph."""
        return self.captions[photo][int(torch.randint(len(self.captions[photo]), ()))]


def _by_photo(photos: list[Photo], rows: list[list[int]], of: Callable[[Photo], Any]) -> list[list[list[int]]]:
    remaining = iter(rows)
    return [[next(remaining) for _ in of(photo)] for photo in photos]


class TeacherTraining(L.LightningModule):
    """Trains the teacher with teacher forcing: ``decoder`` has the weights, a bfloat16 copy computes."""

    def __init__(
        self,
        decoder: TransformerDecoder,
        texts: TeacherTexts,
        points: Points,
        held_out: HeldOutPoems,
        settings: TeacherSettings,
    ) -> None:
        super().__init__()
        self.decoder, self.texts, self.points, self.held_out = decoder, texts, points, held_out
        self.settings = settings
        # In a list, so that the copy stays out of parameters and checkpoints.
        self._copy = [copy.deepcopy(decoder).bfloat16()]
        if compiles(settings.compiled):
            for layer in self._copy[0].layers:
                layer.compile(dynamic=True)

    def on_fit_start(self) -> None:
        self._copy[0].to(self.device)

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        torch.manual_seed(step_seed(self, index))

    def train_dataloader(self) -> DataLoader[Any]:
        s, progress = self.settings, self.current_epoch / max(1, self.settings.epochs - 1)
        captions = s.captions_start + (s.captions_end - s.captions_start) * min(1.0, 3 * progress)
        draw = self.texts.drawing(captions, s.described, best=progress >= s.best_from)
        batches = TextBatches(
            draw, self.points, s.conditions, s.epoch_batches, s.batch, step_seed(self), MULTIPLE if s.compiled else 1
        )
        return DataLoader(batches, batch_size=None)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        own: list[Tensor] = list(self.decoder.parameters())
        copied: list[Tensor] = list(self._copy[0].parameters())
        with torch.no_grad():
            torch._foreach_copy_(copied, own)
        with torch.autocast(self.device.type, enabled=False):
            loss = likelihood_loss(self._copy[0], batch.ids, batch.points.bfloat16())
        self.log("train/nats", loss, prog_bar=True)
        return loss

    def on_after_backward(self) -> None:
        for own, copied in zip(self.decoder.parameters(), self._copy[0].parameters(), strict=True):
            own.grad = None if copied.grad is None else copied.grad.float()
            copied.grad = None
        # Clipped here, since Lightning does not clip for a fused optimizer.
        torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), self.settings.gradient_clip)

    def validation_step(self, batch: Any, index: int) -> None:
        nats = measured(self.decoder, self.held_out)
        self.log_dict({f"validation/{name}": value for name, value in nats.items()})
        self.log(_MONITOR, nats["described"], prog_bar=True)

    def configure_optimizers(self) -> Any:
        s, new = self.settings, ("token_embedding.", "prefix.")
        named = list(self.decoder.named_parameters())
        groups = [
            {"params": [p for n, p in named if not n.startswith(new)], "lr": s.learning_rate},
            {"params": [p for n, p in named if n.startswith(new)], "lr": s.new_learning_rate},
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=s.weight_decay, betas=(0.9, 0.98), fused=True)
        return schedule(self, optimizer, [s.learning_rate, s.new_learning_rate], warmup=0.06)


def held_out(texts: TeacherTexts, data: AlignmentData, points: Points, most: int = 192) -> HeldOutPoems:
    """Return poems about validation photographs with pixels, each with its form's begin token."""
    poems = texts.poems_of(data.rows("validation").tolist())[:most]
    return HeldOutPoems(points.photos, [(i, texts.begins[i][k], texts.poems[i][k]) for i, k in poems], texts.captions)


def measured(decoder: TransformerDecoder, poems: HeldOutPoems) -> dict[str, float]:
    """Return nats per token of held-out poems and captions."""
    copied = computing(decoder)
    return {**poems.nats(copied), **poems.described(copied)}


def train(run: Run, settings: TeacherSettings) -> Result:
    """Train the teacher in the embedding space of the alignment stage."""
    parts = Parts.after(run, "scene", "sentiment", "alignment")
    earlier, decisive = start_of(settings)
    stage = Stage(
        run, "teacher", fingerprint(parts.sources(), decisive, list(parts.tokenizer.pieces)), parts.made_from()
    )
    if (found := stage.finished()) is not None:
        return found
    data = AlignmentData.load(parts)
    texts, points = TeacherTexts(parts, data), Points.of(parts, data)
    config = parts.model.config
    tokenizer = parts.tokenizer.limited(config.decoder.vocabulary_size)
    decoder = transformer_decoder(tokenizer, settings.prefix_tokens, config.embedding_dim, settings.layers)
    if earlier is not None:
        load_prefixed(decoder, earlier.tensors, "teacher")
    poems = held_out(texts, data, points)
    module = TeacherTraining(decoder, texts, points, poems, settings)
    stage.fit(module, None, once(), settings.epochs, _MONITOR, "min")
    tensors = {f"teacher.{name}": tensor.bfloat16() for name, tensor in decoder.state_dict().items()}
    return stage.finish(tensors, rounded(measured(decoder, poems)))


if __name__ == "__main__":
    main(TeacherSettings, train, __doc__)
