"""The trainable architectures by name."""

from __future__ import annotations

from img2poem.artifacts.package import (
    ARCHITECTURE_VERSION,
    DecoderConfig,
    EncoderConfig,
    ImageEncoderConfig,
    PackageConfig,
    PoemEncoderConfig,
    Preprocessing,
)
from img2poem.text.vocabulary import Contractions

EMBEDDING_DIM = 512
#: Weight of a nat per token in the choice among several poems, in units of the cosine.
LIKELIHOOD_WEIGHT = 0.3

# EfficientNet-lite's checkpoints were trained on (x - 127) / 128; torchvision's with ImageNet's mean and deviation.
LITE_PIXELS = Preprocessing(size=224, mean=(127.0,) * 3, std=(128.0,) * 3)
TORCHVISION_PIXELS = Preprocessing(size=224, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


def configuration(
    model: str,
    name: str,
    poem_encoder: PoemEncoderConfig,
    vocabulary_size: int,
    shortened: Contractions,
    scenes: list[str],
) -> PackageConfig:
    """Return the configuration of the architecture ``model`` for a package named ``name``.

    ``lite``: scene and sentiment encoder share the object encoder's trunk; one pass serves all three.
    ``resnet50``: three backbones, as in Liu et al. 2018.
    """
    encoders, pixels = _encoders(model, len(scenes))
    return PackageConfig(
        name=name,
        architecture_version=ARCHITECTURE_VERSION,
        embedding_dim=EMBEDDING_DIM,
        preprocessing=pixels,
        image_encoder=ImageEncoderConfig(encoders=encoders, projection_dim=768, dropout=0.3),
        poem_encoder=poem_encoder,
        decoder=DecoderConfig(
            vocabulary_size=vocabulary_size,
            token_dim=320,
            context_dim=256,
            hidden_dim=1024,
            layers=1,
            dropout=0.2,
            max_tokens=96,
            contractions=shortened.words,
            stems=shortened.stems,
            likelihood_weight=LIKELIHOOD_WEIGHT,
        ),
        scene_classes=scenes,
    )


def _encoders(model: str, scenes: int) -> tuple[dict[str, EncoderConfig], Preprocessing]:
    if model == "lite":
        backbone, pixels = "efficientnet_lite0", LITE_PIXELS
        trunks, adapter = ("object", "object", "object"), 256
    else:
        backbone, pixels = "resnet50", TORCHVISION_PIXELS
        trunks, adapter = ("object", "scene", "sentiment"), 0
    widths = {"object": (0, 1000), "scene": (adapter, scenes), "sentiment": (adapter, 2)}
    return {
        name: EncoderConfig(backbone, trunk=trunk, adapter_dim=width, outputs=outputs)
        for trunk, (name, (width, outputs)) in zip(trunks, widths.items(), strict=True)
    }, pixels
