"""An untrained package with the sizes of ``lite``, for tests of mechanics that need no trained one.

python -m tests.packages FOLDER
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import torch

from img2poem.artifacts.package import (
    ARCHITECTURE_VERSION,
    DecoderConfig,
    EncoderConfig,
    ImageEncoderConfig,
    PackageConfig,
    PoemEncoderConfig,
    Preprocessing,
)
from img2poem.datasets.photo_poems import PhotoPoems
from img2poem.nn.model import PhotoToPoem, save_package
from img2poem.text.tokenizer import PoemTokenizer
from img2poem.text.vocabulary import Contractions, contractions

from .conftest import ROOT


@cache
def corpus() -> tuple[str, ...]:
    """Return the project's poems."""
    return tuple(record.text for record in PhotoPoems(ROOT / "data"))


@cache
def corpus_tokenizer() -> tuple[PoemTokenizer, int, Contractions]:
    """Return the corpus's tokenizer, the size of the decoder's vocabulary, and the contractions."""
    letters = [mark + letter for letter in "abcdefghijklmnopqrstuvwxyz" for mark in ("", "##")]
    tokenizer, size = PoemTokenizer.from_bert(letters, corpus(), (), 20_000)
    return tokenizer, size, contractions(corpus())


def random_package(folder: Path) -> None:
    """Write the package into ``folder``."""
    tokenizer, size, found = corpus_tokenizer()
    torch.manual_seed(0)
    trunk = {"backbone": "efficientnet_lite0", "trunk": "object"}
    scenes = [f"scene {i}" for i in range(100)]
    config = PackageConfig(
        name="random",
        architecture_version=ARCHITECTURE_VERSION,
        embedding_dim=512,
        preprocessing=Preprocessing(224, (127.0,) * 3, (128.0,) * 3),
        image_encoder=ImageEncoderConfig(
            {
                "object": EncoderConfig(**trunk, adapter_dim=0, outputs=1000),
                "scene": EncoderConfig(**trunk, adapter_dim=256, outputs=len(scenes)),
                "sentiment": EncoderConfig(**trunk, adapter_dim=256, outputs=2),
            },
            projection_dim=768,
        ),
        poem_encoder=PoemEncoderConfig(
            {
                "hidden_size": 96,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 192,
                "vocab_size": len(tokenizer.pieces),
                "max_position_embeddings": 128,
            }
        ),
        decoder=DecoderConfig(
            vocabulary_size=size,
            token_dim=256,
            context_dim=256,
            hidden_dim=512,
            layers=1,
            dropout=0.3,
            max_tokens=96,
            contractions=found.words,
            stems=found.stems,
        ),
        scene_classes=scenes,
    )
    model = PhotoToPoem(config)
    # Fresh layers give nearly equal probabilities; larger weights separate the tokens.
    for parameter in model.poem_decoder.parameters():
        parameter.data.mul_(3)
    save_package(folder, model, tokenizer, config, "# random\n")


if __name__ == "__main__":
    random_package(Path(sys.argv[1]))
