"""The way the research repositories go from photograph to poem, written anew as the baseline.

Three ResNet-50 in eager torch, one after another, and a decoder of one LSTM layer of 256 units over 20,000 words,
whose beam search loops over the beams in Python: one call of the decoder a beam and step, up to 70 steps (the shapes
are those of researchmm/img2poem and of Poem-From-Image). Weights are random, which costs the same.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet50

WORDS, STEPS, _UNITS = 20_000, 70, 256


class ReferencePoet(nn.Module):
    """Photograph to poem, as the reference repositories do it."""

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
        """Return what the three encoders see, ``[1, 256]``."""
        return torch.as_tensor(self.project(torch.cat([encoder(pixels) for encoder in self.encoders], dim=1)))

    def beam_search(self, features: Tensor, width: int = 10) -> list[int]:
        """Return the likeliest of ``width`` beams after all steps; none ends before, so that runs are alike."""
        beams: list[tuple[float, list[int], tuple[Tensor, Tensor] | None, Tensor]] = [(0.0, [], None, features)]
        for _ in range(STEPS):
            grown = []
            for score, tokens, state, x in beams:
                output, after = self.lstm(x.unsqueeze(1), state)
                log_probs = self.output(output[:, 0]).log_softmax(-1)
                values, ids = log_probs[0].topk(width)
                for value, token in zip(values.tolist(), ids.tolist(), strict=True):
                    grown.append((score + value, [*tokens, token], after, self.words.weight[token].unsqueeze(0)))
            beams = sorted(grown, key=lambda beam: -beam[0])[:width]
        return beams[0][1]

    @torch.inference_mode()
    def write(self, photo: Image.Image) -> list[int]:
        """Return the tokens of a poem."""
        return self.beam_search(self.encode(self.pixels(photo)))
