"""Adversarial stage: policy gradient with two discriminators as the reward (Liu et al. 2018, section 4).

    python -m training.adversarial --data folder [--multi-modal 0.8 --style 0.2 --alignment 3 ...]

The decoder samples poems about training photographs. A multi-modal discriminator (paired, unpaired, generated)
reads photograph and poem; a style discriminator (poetic, disordered lines, prose, generated) reads only the poem.
Rollouts that complete the poem after a line estimate the line's reward; the baseline is the mean reward of the
photograph's other samples. The decoder learns by REINFORCE, mixed with likelihood so that the language does not
collapse. The best epoch is chosen by relevance, diversity and likelihood on validation photographs and texts. The
metric ``kept`` says whether it beats the initial decoder; only then does a package use it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from img2poem.text.vocabulary import BOS, NEWLINE, PAD

from .alignment import AlignmentData
from .fitting import Result, Stage, once, result_path, rounded, step_seed
from .generator import StudentTexts
from .judge import Judge, Weights, human_texts
from .likelihood import likelihood_loss
from .parts import Parts, trained
from .rollout import Samples, finish, line_ends, sample
from .run import Run, fingerprint, main
from .texts import Batch, Mixture, TextBatches
from .trial import Trial

_SCORE = "validation/score"


@dataclass(frozen=True)
class AdversarialSettings:
    """Hyper-parameters of the adversarial stage."""

    epochs: int = 12
    """Maximum number of epochs; 0 keeps the generator stage's decoder."""
    epoch_batches: int = 20
    """Policy steps per epoch."""
    photos: int = 16
    """Photographs per step."""
    samples: int = 4
    """Poems sampled per photograph; the mean reward of the others is a poem's baseline."""
    max_tokens: int = 64
    """Length limit of a sample in tokens."""
    multi_modal: float = 0.8
    """Weight of the multi-modal discriminator in the reward."""
    style: float = 0.2
    """Weight of the style discriminator in the reward."""
    alignment: float = 3.0
    """Weight of the cosine of poem and photograph in the reward; the paper has no such term (0)."""
    likelihood: float = 1.0
    """Weight of the likelihood loss, relative to the policy loss."""
    learning_rate: float = 2e-4
    """AdamW's learning rate for the decoder."""
    discriminator_learning_rate: float = 5e-4
    """AdamW's learning rate for the discriminators."""
    discriminator_start: int = 100
    """Initial steps in which only the discriminators learn."""
    batch: int = 128
    """Human texts per step for the likelihood; half as many for the discriminators."""
    captions: float = 0.1
    """Share of captions among the likelihood's texts."""
    written: float = 0.5
    """Share of written poems among the likelihood's poems; the rest are the teacher's, if available."""
    conditions: Mixture = field(default_factory=Mixture)
    """Shares of the conditions that texts are learned under."""
    validation_photos: int = 96
    """Validation photographs that each epoch is evaluated on."""
    patience: int | None = None
    """Early stopping after this many epochs without improvement; none: never. The best epoch is kept anyway."""


class AdversarialTraining(L.LightningModule):
    """The decoder and the discriminators, each with its own optimizer."""

    def __init__(self, parts: Parts, data: AlignmentData, texts: StudentTexts, settings: AdversarialSettings) -> None:
        super().__init__()
        self.automatic_optimization = False
        config = parts.model.config
        self.settings, self.texts = settings, texts
        self.decoder = parts.model.poem_decoder
        self.judge = Judge(parts.model.poem_encoder, config.decoder.vocabulary_size, config.embedding_dim)
        self._weights = Weights(settings.multi_modal, settings.style, settings.alignment)
        training = data.rows("train")
        self._photos, shown = texts.points.photos[training], set(training.tolist())
        self._depicting = [(photo, ids) for photo, ids in texts.written if photo in shown]
        self._captions = [list(group) for _, group in groupby(texts.captions, key=lambda text: text[0])]
        self.trial = Trial(parts, data, texts, settings.validation_photos)

    def on_train_start(self) -> None:
        if self.current_epoch == 0:
            for _ in range(self.settings.discriminator_start):
                photos = self._draw_photos()
                tokens = sample(self.decoder.eval(), photos, self.settings.max_tokens).tokens
                self._discriminate(photos, tokens, self.judge.embed(tokens))

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        torch.manual_seed(step_seed(self, index))

    def train_dataloader(self) -> DataLoader[Any]:
        s = self.settings
        draw = self.texts.drawing(s.captions, s.written)
        batches = TextBatches(draw, self.texts.points, s.conditions, s.epoch_batches, s.batch, step_seed(self))
        return DataLoader(batches, batch_size=None)

    def training_step(self, batch: Batch, index: int) -> None:
        photos = self._draw_photos()
        self.decoder.eval()
        samples = sample(self.decoder, photos, self.settings.max_tokens)
        points = self.judge.embed(samples.tokens)
        advantage, reward = self._advantage(photos, samples, points)
        policy = policy_loss(self.decoder, photos, samples.tokens, advantage)
        self.decoder.train()
        likelihood = likelihood_loss(self.decoder, batch.ids, batch.points)
        optimizer = cast(list[Any], self.optimizers())[0]
        optimizer.zero_grad()
        self.manual_backward(policy + self.settings.likelihood * likelihood)
        self.clip_gradients(optimizer, 1.0, "norm")
        optimizer.step()
        judged = self._discriminate(photos, samples.tokens, points)
        self.log_dict({"train/nats": likelihood, "train/reward": reward, "train/discriminators": judged}, prog_bar=True)

    def validation_step(self, batch: Tensor, index: int) -> None:
        for name, value in self.trial.measure().items():
            self.log(f"validation/{name}", value, prog_bar=name == "score")

    def configure_optimizers(self) -> Any:
        s = self.settings
        return [
            torch.optim.AdamW(self.decoder.parameters(), lr=s.learning_rate, weight_decay=0.0),
            torch.optim.AdamW(self.judge.parameters(), lr=s.discriminator_learning_rate, weight_decay=0.01),
        ]

    def _draw_photos(self) -> Tensor:
        """Return embeddings of training photographs ``[photos * samples, D]``, each ``samples`` times in a row."""
        rows = torch.randint(len(self._photos), (self.settings.photos,))
        return self._photos[rows].repeat_interleave(self.settings.samples, 0).to(self.device)

    def _advantage(self, photos: Tensor, samples: Samples, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return each token's advantage, that of its line, over the photograph's other samples ``[B, T]``.

        The second value is the mean reward.
        """
        tokens, limit = samples.tokens, self.settings.max_tokens
        worth = self.judge.reward(photos, tokens, points, self._weights)
        siblings = worth.view(-1, self.settings.samples)
        others = (siblings.sum(1, keepdim=True) - siblings) / max(1, self.settings.samples - 1)
        line = (tokens == NEWLINE).cumsum(1) - (tokens == NEWLINE).long()
        by_line = worth.unsqueeze(1).repeat(1, int(line.max()) + 1)
        rows, places = line_ends(tokens[:, :-1])
        if len(rows):
            ends = finish(self.decoder, samples, rows, places, limit)
            worth_then = self.judge.reward(photos[rows], ends, self.judge.embed(ends), self._weights)
            by_line[rows, line[rows, places]] = worth_then
        advantage = by_line - others.reshape(-1, 1)
        return (advantage / (advantage.std() + 1e-6)).gather(1, line), worth.mean()

    def _discriminate(self, photos: Tensor, generated: Tensor, points: Tensor) -> Tensor:
        human = human_texts(self._depicting, self._captions, self.texts.points, self.settings.batch // 2)
        human = type(human)(*(tensor.to(self.device) for tensor in human))
        loss = self.judge.loss(human, self.judge.embed(human.poems), photos, generated, points)
        optimizer = cast(list[Any], self.optimizers())[1]
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss.detach()


def policy_loss(decoder: Any, photos: Tensor, tokens: Tensor, advantage: Tensor) -> Tensor:
    """REINFORCE (Williams 1992): mean over tokens of minus the advantage times the log-probability.

    Args:
        decoder: the policy.
        photos: float32 ``[B, D]``.
        tokens: int64 ``[B, T]``, the sampled poems, padded.
        advantage: float32 ``[B, T]``.
    """
    begun = torch.cat([torch.full_like(tokens[:, :1], BOS), tokens[:, :-1]], dim=1)
    # In eval mode dropout does not change the policy, but cuDNN has no backward pass of a GRU there.
    with torch.backends.cudnn.flags(enabled=False):
        logits = decoder(begun, photos)
    chosen = logits.float().log_softmax(-1).gather(2, tokens.unsqueeze(2)).squeeze(2)
    real = tokens != PAD
    return -(advantage * chosen)[real].mean()


def train(run: Run, settings: AdversarialSettings) -> Result:
    """Train the generator stage's decoder further; the metric ``kept`` is 1 if it improved."""
    parts = Parts.after(run, "scene", "sentiment", "alignment", "generator")
    stage = Stage(run, "adversarial", fingerprint(parts.sources(), settings), parts.made_from())
    if (found := stage.finished()) is not None:
        return found
    data = AlignmentData.load(parts)
    texts = StudentTexts.load(parts, data, distilled=result_path(run, "distillation").exists())
    module = AdversarialTraining(parts, data, texts, settings)
    before = module.trial.measure()
    print(f"adversarial: before {rounded(before)}", flush=True)
    if settings.epochs:
        stage.fit(module, None, once(), settings.epochs, _SCORE, "max", settings.patience)
    after = module.trial.measure()
    figures = {f"before_{name}": value for name, value in before.items()}
    figures |= {f"after_{name}": value for name, value in after.items()}
    kept = float(after["score"] > before["score"])
    return stage.finish(trained(parts.model, "adversarial"), {**rounded(figures), "kept": kept})


if __name__ == "__main__":
    main(AdversarialSettings, train, __doc__)
