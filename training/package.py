"""Assemble a model package from the stages' results.

python -m training.package --data folder --out weights/lite [--decoder generator|adversarial]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from img2poem.artifacts.package import PackageConfig
from img2poem.nn.model import save_package
from img2poem.nn.poem_decoder import PoemDecoder

from .card import model_card
from .fitting import Result, result_path
from .parts import RUN_ORDER, STAGES, Parts, result_of
from .run import Run, main

Decoder = Literal["generator", "adversarial"]


@dataclass(frozen=True)
class PackageSettings:
    """The package's path and its decoder."""

    out: Path = Path("weights/lite")
    """Model package to write; replaced as a whole."""
    decoder: Decoder | None = None
    """Stage whose decoder is used; by default the adversarial one if it improved."""


def kept_decoder(adversarial: Result) -> Decoder:
    """Return the stage with the better decoder, as measured by the adversarial stage."""
    return "adversarial" if adversarial.metrics["kept"] else "generator"


def pack(run: Run, settings: PackageSettings, provenance: dict[str, Any] | None = None) -> PackageConfig:
    """Write the package and return its configuration.

    Raises:
        MissingData: a stage has not been run yet.
    """
    decoder = settings.decoder or kept_decoder(result_of(run, "adversarial"))
    parts = Parts.after(run, *STAGES[: STAGES.index(decoder) + 1])
    spread_words(parts.model.poem_decoder)
    config = parts.model.config
    config = PackageConfig(**{**vars(config), "name": settings.out.name})
    results = {stage: result_of(run, stage) for stage in RUN_ORDER if result_path(run, stage).exists()}
    config.metrics.update({stage: result.metrics for stage, result in results.items()})
    config.provenance.update(
        {
            "run": run.sources(),
            "poems": len(parts.corpus.poem_texts("train")),
            "photographs": len(parts.corpus.of("train")),
            "torch": torch.__version__.split("+")[0],
            **(provenance or {}),
        }
    )
    save_package(settings.out, parts.model, parts.tokenizer, config, model_card(config))
    return config


@torch.no_grad()
def spread_words(decoder: PoemDecoder) -> None:
    """Rotate the space of the word embeddings at random, in place; the decoder computes the same.

    Embeddings that start as principal components have few large dimensions, whose range int8 would give to all others.
    After a random rotation all are alike (QuaRot, Ashkboos et al. 2024).
    """
    width = decoder.config.token_dim
    random = torch.randn(width, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rotation, _ = torch.linalg.qr(random)
    for weight in (decoder.token_embedding.weight, decoder.gru.all_weights[0][0][:, :width]):
        weight.copy_(weight.double() @ rotation)
    for weight in (decoder.bottleneck.weight, decoder.bottleneck.bias):
        weight.copy_(rotation.T @ weight.double())


if __name__ == "__main__":
    main(PackageSettings, pack, __doc__)
