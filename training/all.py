"""Train a model package from the data, on a CPU in about an hour: frozen features, small heads.

    python -m training.all --data ../shared/data --out weights/lite

Stages: features, scene and sentiment heads, alignment by the ranking loss, decoder by likelihood.
What each stage made stays in ``--work``; run again, it goes on from there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from img2poem.datasets import photographs, poems
from img2poem.datasets.poems import PoemRecord
from img2poem.nn.image_encoder import EncoderHead
from img2poem.nn.model import PhotoToPoem, save_package
from img2poem.package import (
    ARCHITECTURE_VERSION,
    DecoderConfig,
    EncoderConfig,
    ImageEncoderConfig,
    PackageConfig,
    PoemEncoderConfig,
)

from .alignment import embed_photos, rows_of, train_alignment
from .card import model_card
from .features import PREPROCESSING, Arrays, corpora, load_all, minilm
from .generator import Conditions, GeneratorTraining, conditions_of, train_generator
from .heads import train_scene, train_sentiment

EMBEDDING_DIM = 512
VOCABULARY_SIZE = 10_240


def configuration(name: str, poem_encoder: PoemEncoderConfig, scenes: list[str]) -> PackageConfig:
    """Return the architecture of the package; scene and sentiment share the object encoder's trunk."""
    backbone = "efficientnet_lite0"
    return PackageConfig(
        name=name,
        architecture_version=ARCHITECTURE_VERSION,
        embedding_dim=EMBEDDING_DIM,
        preprocessing=PREPROCESSING,
        image_encoder=ImageEncoderConfig(
            encoders={
                "object": EncoderConfig(backbone, trunk="object", adapter_dim=0, outputs=1000),
                "scene": EncoderConfig(backbone, trunk="object", adapter_dim=256, outputs=len(scenes)),
                "sentiment": EncoderConfig(backbone, trunk="object", adapter_dim=256, outputs=2),
            },
            projection_dim=768,
            dropout=0.3,
        ),
        poem_encoder=poem_encoder,
        decoder=DecoderConfig(
            vocabulary_size=min(VOCABULARY_SIZE, poem_encoder.bert["vocab_size"]),
            token_dim=256,
            context_dim=256,
            hidden_dim=512,
            layers=1,
            dropout=0.3,
            max_tokens=96,
            guidance=1.0,
        ),
        scene_classes=scenes,
    )


def train(data: Path, work: Path, out: Path, settings: GeneratorTraining) -> None:
    """Run every stage and write the package."""
    torch.manual_seed(0)
    features = load_all(data, work / "features")
    records = [*poems.multim(data), *poems.unim(data), *poems.public_domain(data)]
    tokenizer, bert_config, bert = minilm(*corpora(data))
    config = configuration(out.name, bert_config, photographs.miniplaces_classes(data))
    model = PhotoToPoem(config)
    model.poem_encoder.bert = bert
    model.image_encoder.load_imagenet()
    aligned = _aligned(model, features, records, work / "aligned.safetensors")
    print(aligned, flush=True)
    conditions = _conditions(model, features, records)
    decoder_tokenizer = tokenizer.limited(config.decoder.vocabulary_size)
    likelihood = train_generator(
        model.poem_decoder,
        decoder_tokenizer,
        records,
        _train_captions(features),
        conditions,
        work / "generator.pt",
        settings,
    )
    print(likelihood, flush=True)
    config.metrics.update({**aligned, **likelihood})
    config.provenance.update({"tokens": settings.tokens, "torch": torch.__version__.split("+")[0]})
    save_package(out, model, tokenizer, config, model_card(config))


def _aligned(
    model: PhotoToPoem, features: dict[str, Arrays], records: list[PoemRecord], checkpoint: Path
) -> dict[str, float]:
    """Train heads and alignment, or load them: a decoder must go on in the very space that it began in."""
    encoder = model.image_encoder
    trained = torch.nn.ModuleDict(
        {"heads": encoder.heads, "image": encoder.projection, "poem": model.poem_encoder.projection}
    )
    if checkpoint.exists():
        with safe_open(checkpoint, "pt") as file:
            trained.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
            metrics: dict[str, float] = json.loads(file.metadata()["metrics"])
        return metrics
    scene_head, sentiment_head = (cast(EncoderHead, encoder.heads[name]) for name in ("scene", "sentiment"))
    scene = train_scene(scene_head, features["miniplaces_train"], features["miniplaces_val"])
    sentiment = train_sentiment(sentiment_head, features["oasis"])
    metrics = {**scene, **sentiment, **train_alignment(encoder, model.poem_encoder, features, records)}
    staging = checkpoint.with_suffix(".tmp")
    save_file(trained.state_dict(), staging, {"metrics": json.dumps(metrics)})
    staging.replace(checkpoint)
    return metrics


def _train_captions(features: dict[str, Arrays]) -> list[str]:
    flickr = features["flickr8k"]
    return [str(caption) for caption in flickr["labels"][rows_of(flickr["names"], "train")].flatten()]


@torch.inference_mode()
def _conditions(model: PhotoToPoem, features: dict[str, Arrays], records: list[PoemRecord]) -> Conditions:
    def projected(source: str) -> torch.Tensor:
        return model.poem_encoder.project(torch.from_numpy(features[source]["features"]).float())

    model.eval()
    rows = rows_of(features["flickr8k"]["names"], "train")
    photos = torch.from_numpy(features["flickr8k"]["features"]).float()[rows]
    poem_points = projected("poems")
    poem_captions = torch.zeros_like(poem_points)
    captioned = [i for i, r in enumerate(records) if r.caption]
    poem_captions[captioned] = projected("multim_captions")[captioned]
    photo_captions = projected("flickr8k_captions").view(-1, 5, poem_points.shape[-1])[rows].flatten(0, 1)
    return conditions_of(poem_points, poem_captions, embed_photos(model.image_encoder, photos), photo_captions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training data")
    parser.add_argument("--out", type=Path, default=Path("weights/lite"), help="model package to write")
    parser.add_argument("--work", type=Path, default=Path("runs"), help="feature cache and checkpoints")
    parser.add_argument("--tokens", type=int, default=GeneratorTraining.tokens, help="tokens to train the decoder on")
    args = parser.parse_args()
    try:
        train(args.data, args.work, args.out, GeneratorTraining(tokens=args.tokens))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise SystemExit(f"training: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(f"training: interrupted; run again to go on from what {args.work} holds") from None


if __name__ == "__main__":
    main()
