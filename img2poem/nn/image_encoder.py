"""Image encoder: object, scene and sentiment encoders, and their projection into the poetic space."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..artifacts.package import EncoderConfig, ImageEncoderConfig, Preprocessing
from .backbones import BACKBONES


class ImageEncoding(NamedTuple):
    """Outputs of the image encoder for a batch of photographs."""

    embedding: Tensor  # float32 [B, embedding_dim], unit length
    object_scores: Tensor  # float32 [B, 1000], ImageNet probabilities
    scene_scores: Tensor  # float32 [B, scenes], probabilities
    sentiment: Tensor  # float32 [B, 2], mean valence and arousal on OASIS's scale of 1 to 7


class Normalise(nn.Module):
    """Normalises pixels: ``uint8 [B, H, W, 3]`` to ``float32 [B, 3, H, W]``; part of every exported encoder."""

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std


class EncoderHead(nn.Module):
    """Head of one encoder: an optional adapter, which computes its features, and an output layer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = BACKBONES[config.backbone].features  # type: ignore[attr-defined]
        self.adapter: nn.Module = nn.Identity()
        if config.adapter_dim:
            self.adapter = nn.Sequential(nn.Linear(width, config.adapter_dim), nn.GELU())
            width = config.adapter_dim
        self.features = width
        self.output = nn.Linear(width, config.outputs)

    def forward(self, backbone_features: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, backbone features]`` to ``features [B, F]`` and ``logits [B, outputs]``."""
        features = self.adapter(backbone_features)
        return features, self.output(features)


class ImageEncoder(nn.Module):
    """Object, scene and sentiment encoders, whose features are projected into the poetic space.

    Encoders with the same ``trunk`` share one backbone, which runs once.
    """

    def __init__(self, config: ImageEncoderConfig, preprocessing: Preprocessing, embedding_dim: int) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.normalise = Normalise(preprocessing)
        self.encoders = config.encoders
        self.trunks = nn.ModuleDict({e.trunk: BACKBONES[e.backbone]() for e in config.encoders.values()})
        self.heads = nn.ModuleDict({name: EncoderHead(e) for name, e in config.encoders.items()})
        width = sum(head.features for head in self.heads.values())  # type: ignore[misc]
        self.projection = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, config.projection_dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.projection_dim, embedding_dim),
        )

    def backbone_features(self, pixels: Tensor) -> dict[str, Tensor]:
        """``uint8 [B, 224, 224, 3]`` to each trunk's pooled features ``float32 [B, F]``."""
        x = self.normalise(pixels)
        return {name: trunk(x) for name, trunk in self.trunks.items()}

    def encode_features(self, trunk_features: dict[str, Tensor]) -> ImageEncoding:
        """Apply heads and projection to the result of :meth:`backbone_features`."""
        features, logits = {}, {}
        for name, head in self.heads.items():
            features[name], logits[name] = head(trunk_features[self.encoders[name].trunk])
        embedding = self.projection(torch.cat([features[name] for name in self.heads], dim=-1))
        return ImageEncoding(
            F.normalize(embedding, dim=-1),
            logits["object"].softmax(-1),
            logits["scene"].softmax(-1),
            logits["sentiment"],
        )

    def forward(self, pixels: Tensor) -> ImageEncoding:
        """``uint8 [B, 224, 224, 3]`` to an :class:`ImageEncoding`."""
        return self.encode_features(self.backbone_features(pixels))
