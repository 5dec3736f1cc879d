"""The whole model, and how a model package stores it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..artifacts.package import Package, PackageConfig, seal
from ..errors import BadPackage
from ..files.atomic_folder import replacing
from ..text.tokenizer import PoemTokenizer
from .image_encoder import ImageEncoder
from .poem_decoder import PoemDecoder
from .poem_encoder import PoemEncoder


class PhotoToPoem(nn.Module):
    """Image encoder and poem encoder (together the aligner) and poem decoder of one model package."""

    def __init__(self, config: PackageConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config.image_encoder, config.preprocessing, config.embedding_dim)
        self.poem_encoder = PoemEncoder(config.poem_encoder, config.embedding_dim)
        self.poem_decoder = PoemDecoder(config.decoder, config.embedding_dim)


def load_package(package: Path | Package) -> tuple[PhotoToPoem, PoemTokenizer]:
    """Load a model package: weights in float32, model in evaluation mode.

    Args:
        package: its folder, or the package that :meth:`Package.open` has verified, which is not verified again.

    Raises:
        BadPackage: a file is missing, changed or damaged, or weights and configuration do not match.
    """
    opened = Package.open(package) if isinstance(package, Path) else package
    folder, config = opened.folder, opened.config
    model = PhotoToPoem(config)
    try:
        state = load_file(folder / "model.safetensors")
        model.load_state_dict({name: _widened(tensor) for name, tensor in state.items()})
        tokenizer = PoemTokenizer.from_file(folder / "tokenizer.json")
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise BadPackage(f"{folder} cannot be loaded: {error}") from error
    if len(tokenizer.pieces) != config.poem_encoder.bert.get("vocab_size"):
        raise BadPackage(f"{folder}: tokenizer.json and config.json disagree on the size of the vocabulary")
    return model.eval(), tokenizer


def save_package(folder: Path, model: PhotoToPoem, tokenizer: PoemTokenizer, config: PackageConfig, card: str) -> None:
    """Write a model package atomically.

    Weights are stored as float16 to halve the size; measure metrics after this rounding.

    Raises:
        BadPackage: ``folder`` holds something other than a model package, or another process is writing it.
    """
    with replacing(folder, lambda found: (found / "config.json").exists(), BadPackage) as staging:
        save_file(
            {name: _narrowed(tensor) for name, tensor in model.state_dict().items()}, staging / "model.safetensors"
        )
        (staging / "model.safetensors").chmod(0o644)  # safetensors makes the file readable for its owner only
        tokenizer.save(staging / "tokenizer.json")
        (staging / "config.json").write_text(config.to_json(), encoding="utf-8")
        (staging / "MODEL_CARD.md").write_text(card, encoding="utf-8")
        seal(staging)


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _narrowed(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
