"""Refinement stage: the decoder learns from the best of its own poems, beside human texts.

    python -m training.refinement --data ../shared/data [--photos N --samples N ...]

Each epoch samples several poems about training photographs as they are served, and keeps for each photograph the
one that is worth most: near to it in the poetic space, likely as a human text, not copied (reward-ranked
fine-tuning, Dong et al. 2023; best of n, distilled). It begins with the adversarial stage's decoder where that
gained, else with the generator's, and ends with the better of what it began with and its best epoch.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from img2poem import metrics
from img2poem.decoding import Sampling
from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.nn.poem_encoder import pad
from img2poem.text import BOS, EOS, PAD

from .alignment import AlignmentData
from .batches import by_length
from .conditions import Mixture
from .fitting import Result, Stage, once, rounded
from .generator import likelihood_loss, step_seed
from .parts import Parts, trained
from .run import Run, fingerprint, main
from .texts import TextBatches, Texts
from .trial import Trial
from .writing import Writer

_SCORE = "validation/score"


@dataclass(frozen=True)
class RefinementSettings:
    """Hyper-parameters of the refinement."""

    epochs: int = 8
    """Epochs at most; 0 leaves the decoder as it was."""
    photos: int = 1000
    """Training photographs an epoch."""
    samples: int = 8
    """Poems sampled about each of them, of which one is learned."""
    temperature: float = 1.0
    """Temperature of these samples."""
    fluency: float = 0.05
    """Worth of a nat a token of likelihood, told of no photograph, beside the cosine with the photograph."""
    epoch_batches: int = 40
    """Steps an epoch."""
    batch: int = 64
    """Own poems a step, and as many human texts."""
    learning_rate: float = 3e-4
    """Of AdamW."""
    own: float = 0.5
    """Weight of the likelihood of own poems; the rest is that of human texts."""
    captions: float = 0.25
    """Share of captions among the human texts."""
    modern: float = 0.8
    """Share of the modern collections among the human poems."""
    conditions: Mixture = field(default_factory=Mixture)
    """How often a human text is learned under which condition."""
    validation_photos: int = 256
    """Validation photographs that each epoch is judged on."""


class Refinement(L.LightningModule):
    """The decoder, with what samples and judges its poems."""

    def __init__(self, parts: Parts, data: AlignmentData, texts: Texts, settings: RefinementSettings) -> None:
        super().__init__()
        self.decoder, self.texts, self.settings = parts.model.poem_decoder, texts, settings
        self._writer = Writer(parts.model, parts.tokenizer)
        self._tokenizer = parts.tokenizer.limited(parts.model.config.decoder.vocabulary_size)
        learned = parts.corpus.rows("train")
        self._training = metrics.TrainingText(parts.corpus.records[i].text for i in learned)
        self._trial = Trial(parts, data, texts, settings.validation_photos)

    def train_dataloader(self) -> DataLoader[Any]:
        s, seed = self.settings, step_seed(self)
        texts = TextBatches(self.texts, s.conditions, s.epoch_batches, s.batch, s.modern, s.captions, seed)
        poems, photos = self._best_poems(seed)
        random = torch.Generator().manual_seed(seed)
        batches = []
        for human in texts:
            rows = torch.randint(len(poems), (s.batch,), generator=random)
            own = pad([poems[i] for i in rows.tolist()], PAD)[0], photos[rows]
            batches.append((human, own))
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        torch.manual_seed(step_seed(self, index))

    def training_step(self, batch: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]], index: int) -> Tensor:
        human, own = (likelihood_loss(self.decoder, *part) for part in batch)
        self.log_dict({"train/nats": human, "train/own_nats": own}, prog_bar=True)
        return self.settings.own * own + (1 - self.settings.own) * human

    def validation_step(self, batch: Tensor, index: int) -> None:
        for name, value in self._trial.measure().items():
            self.log(f"validation/{name}", value, prog_bar=name == "score")
        self.decoder.train()

    def measure(self) -> dict[str, float]:
        """Return the validation's figures of the decoder as it is."""
        return self._trial.measure()

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.decoder.parameters(), lr=self.settings.learning_rate, weight_decay=0.0)

    def _best_poems(self, seed: int) -> tuple[list[list[int]], Tensor]:
        """Return token rows of the best poem about each of some photographs, and the photographs ``[N, D]``."""
        s, photos = self.settings, self.texts.conditions.photos
        chosen = torch.randperm(len(photos), generator=torch.Generator().manual_seed(seed))[: s.photos]
        about = photos[chosen].repeat_interleave(s.samples, 0)
        self.decoder.eval()
        poems = self._writer.sampled(about, Sampling(temperature=s.temperature, seed=seed))
        self.decoder.train()
        rows = [[BOS, *ids, EOS] for ids in self._tokenizer.encode_batch(poems)]
        best = self._worth(poems, rows, about).view(-1, s.samples).argmax(1) + s.samples * torch.arange(len(chosen))
        return [rows[i] for i in best.tolist()], photos[chosen]

    def _worth(self, poems: list[str], rows: list[list[int]], photos: Tensor) -> Tensor:
        """Return what poems are worth, ``float32 [N]``."""
        with torch.autocast("cpu", torch.bfloat16):
            cosine = (torch.from_numpy(self._writer.embed(poems)) * photos).sum(1)
        copied = torch.tensor([metrics.copied_lines([poem], self._training) for poem in poems])
        return cosine + self.settings.fluency * log_likelihood(self.decoder, rows) - copied


@torch.no_grad()
def log_likelihood(decoder: PoemDecoder, rows: list[list[int]]) -> Tensor:
    """Return the mean log-probability, in nats, of each text's tokens, told of no photograph: ``float32 [N]``.

    ``rows`` begin with a begin token and end with the end token.
    """
    training = decoder.training
    decoder.eval()
    out = torch.zeros(len(rows))
    for part in by_length(rows, "likelihood"):
        ids = pad([rows[i] for i in part], PAD)[0]
        with torch.autocast("cpu", torch.bfloat16):
            logits = decoder(ids[:, :-1], torch.zeros(len(part), decoder.context.in_features))
        targets = ids[:, 1:]
        nats = F.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none", ignore_index=PAD)
        out[part] = -nats.sum(1) / (targets != PAD).sum(1)
    decoder.train(training)
    return out


def train(run: Run, settings: RefinementSettings) -> Result:
    """Refine the better decoder of the generator and adversarial stages; ``kept`` is 1 where it gained."""
    parts = Parts.after(run, "scene", "sentiment", "alignment", "generator", "adversarial")
    if not parts.results["adversarial"].metrics["kept"]:
        parts.take("generator")
    stage = Stage(run, "refinement", fingerprint(parts.sources(), settings))
    if (found := stage.finished()) is not None:
        return found
    data = AlignmentData.load(parts)
    module = Refinement(parts, data, Texts.load(parts, data), settings)
    before, weights = module.measure(), copy.deepcopy(trained(parts.model, "refinement"))
    print(f"refinement: before {rounded(before)}", flush=True)
    if settings.epochs:
        stage.fit(module, None, once(), settings.epochs, _SCORE, "max")
    after = module.measure()
    kept = after["score"] > before["score"]
    figures = {f"before_{name}": value for name, value in before.items()}
    figures |= {f"after_{name}": value for name, value in after.items()}
    return stage.finish(
        trained(parts.model, "refinement") if kept else weights, {**rounded(figures), "kept": float(kept)}
    )


if __name__ == "__main__":
    main(RefinementSettings, train, __doc__)
