"""Model repositories for the benchmarks: the shipped package, and one with the reference's backbones and vocabulary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from export.all import export
from export.settings import Precision, Settings
from img2poem.artifacts.package import EncoderConfig
from img2poem.nn.model import PhotoToPoem, load_package, save_package

from .reference import STEPS, WORDS

_LITE = Path("weights/lite")
#: Models that writing a poem in process needs.
_PARTS = ("image_encoder", "poem_decoder_greedy", "poem_decoder_beam", "poem_text", "noise")


def repository(work: Path, precision: Precision, data: Path | None) -> Path:
    """Return the repository of the shipped package; export it if it is not up to date."""
    folder = work / f"lite_{precision}"
    export(_LITE, folder, Settings(precision=precision, data=data))
    return folder


def resnet50_repository(work: Path, precision: Precision) -> Path:
    """Return a repository with three ResNet-50 and 20,000 words, as in the reference.

    Weights are random, which does not affect speed; the gate's quality measures, which need trained weights, are
    skipped. Poems have the reference's length: the end token is never chosen before the limit.
    """
    package, folder = work / "resnet50", work / f"resnet50_{precision}"
    if not (package / "config.json").is_file():
        _write_package(package)
    export(package, folder, Settings(precision=precision, models=_PARTS))
    return folder


def _write_package(folder: Path) -> None:
    model, tokenizer = load_package(_LITE)
    config, image = model.config, model.config.image_encoder
    encoders = {name: EncoderConfig("resnet50", name, 0, encoder.outputs) for name, encoder in image.encoders.items()}
    config = replace(
        config,
        name="resnet50",
        image_encoder=replace(image, encoders=encoders),
        decoder=replace(config.decoder, vocabulary_size=WORDS, max_tokens=STEPS),
    )
    torch.manual_seed(0)
    other = PhotoToPoem(config).eval()
    # More spread than random logits: at near ties rounding would choose the words, and the parity gate would fail.
    torch.nn.init.normal_(other.poem_decoder.token_embedding.weight)
    other.poem_encoder.load_state_dict(model.poem_encoder.state_dict())
    save_package(folder, other, tokenizer, config, "Random weights, for speed alone.\n")
