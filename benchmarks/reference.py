"""The baseline: a reimplementation of how research repositories go from photograph to poem.

Three ResNet-50 run in eager torch, one after another, then a decoder with one LSTM layer of 256 units over 20,000
words. Its search loops over ten beams in Python, with one decoder call per beam and step, for up to 70 steps. Shapes
and search are those of Poem-From-Image (zhaoyanglijoey, ``sample_beamsearch``). Weights are random, which does not
affect speed. No poem ends before its last step, so that runs are comparable.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet50

WORDS, STEPS, _UNITS = 20_000, 70, 256
_DRAWN = 3

State = tuple[Tensor, Tensor]


class ReferencePoet(nn.Module):
    """Photograph to poem, as in the reference repositories."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoders = nn.ModuleList(resnet50(weights=None) for _ in range(3))
        for encoder in self.encoders:
            encoder.fc = nn.Identity()
        self.project = nn.Linear(3 * 2048, _UNITS)
        self.words = nn.Embedding(WORDS, _UNITS)
        self.lstm = nn.LSTM(_UNITS, _UNITS, batch_first=True)
        self.output = nn.Linear(_UNITS, WORDS)
        self.eval()

    def pixels(self, photo: Image.Image) -> Tensor:
        """Resize to 224 pixels and normalise, float32 ``[1, 3, 224, 224]``."""
        values: NDArray[np.float32] = np.asarray(photo.convert("RGB").resize((224, 224)), np.float32) / 255
        mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
        return torch.from_numpy((values - mean) / std).permute(2, 0, 1).unsqueeze(0).contiguous()

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the concatenated features of the three encoders, ``[1, 256]``."""
        return torch.as_tensor(self.project(torch.cat([encoder(pixels) for encoder in self.encoders], dim=1)))

    def step(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One decoder step for one beam: ``[1, 256]`` to logits ``[1, 20000]``."""
        output, after = self.lstm(x.unsqueeze(1), state)
        return self.output(output[:, 0]), after

    def search_by_drawing(self, features: Tensor, width: int = 10) -> list[int]:
        """Search like Poem-From-Image: every beam samples three words and continues as three copies of its history.

        Histories are deep-copied lists of tensors; beams are sorted by the mean probability of their words.
        """
        beams: list[tuple[Tensor, list[Tensor], State | None, Tensor]] = [(torch.zeros(()), [], None, features)]
        for length in range(STEPS):
            grown: list[tuple[Tensor, list[Tensor], State | None, Tensor]] = []
            for score, words, state, x in beams:
                logits, after = self.step(x, state)
                probabilities = logits[0].softmax(-1)
                for word in torch.multinomial(probabilities, _DRAWN):
                    mean = (score * length + probabilities[word]) / (length + 1)
                    grown.append((mean, [*copy.deepcopy(words), word], after, self.words(word.view(1))))
            beams = sorted(grown, key=lambda beam: -beam[0].item())[:width]
        return [int(word) for word in beams[0][1]]

    def search(self, features: Tensor, width: int = 10) -> list[int]:
        """Proper beam search, still with one call per beam and step, but without needless copies."""
        beams: list[tuple[float, list[int], State | None, Tensor]] = [(0.0, [], None, features)]
        for _ in range(STEPS):
            grown: list[tuple[float, list[int], State | None, Tensor]] = []
            for score, tokens, state, x in beams:
                logits, after = self.step(x, state)
                values, ids = logits.log_softmax(-1)[0].topk(width)
                for value, token in zip(values.tolist(), ids.tolist(), strict=True):
                    grown.append((score + value, [*tokens, token], after, self.words.weight[token].unsqueeze(0)))
            beams = sorted(grown, key=lambda beam: -beam[0])[:width]
        return beams[0][1]

    @torch.inference_mode()
    def write(self, photo: Image.Image, drawing: bool = True) -> list[int]:
        """Return the tokens of a poem, by the published sampling search or by proper beam search."""
        features = self.encode(self.pixels(photo))
        return self.search_by_drawing(features) if drawing else self.search(features)
