"""Train a model package: every stage in order, then the package and its evaluation.

    python -m training.all --data folder --work runs/mine --out weights/mine
    python -m training.all --data folder --out /tmp/small --limit 200     # takes minutes

The stages' results are kept in ``--work``; an interrupted run resumes from there.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from . import adversarial, alignment, distillation, generator, scene, sentiment, teacher
from .adversarial import AdversarialSettings
from .alignment import AlignmentSettings
from .distillation import DistillationSettings
from .encoder import EncoderSettings
from .evaluate import EvaluationSettings, evaluate_into_package
from .fitting import Result
from .generator import GeneratorSettings
from .package import Decoder, PackageSettings, kept_decoder, pack
from .run import Run, reporting
from .sentiment import SentimentSettings
from .teacher import TeacherSettings


@dataclass(frozen=True)
class All:
    """Options of the run and of each stage."""

    run: Annotated[Run, tyro.conf.arg(name="")]
    out: Path = Path("weights/lite")
    """Model package to write; replaced as a whole."""
    scene: EncoderSettings = field(default_factory=EncoderSettings)
    sentiment: SentimentSettings = field(default_factory=SentimentSettings)
    alignment: AlignmentSettings = field(default_factory=AlignmentSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    adversarial: AdversarialSettings = field(default_factory=AdversarialSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)

    @classmethod
    def quick(cls, run: Run) -> All:
        """Return defaults for a run with ``--limit``, which takes minutes."""
        return cls(
            run=run,
            teacher=TeacherSettings(epochs=2, epoch_batches=8, batch=16, compiled=False),
            distillation=DistillationSettings(poems=512),
            generator=GeneratorSettings(epochs=8),
            adversarial=AdversarialSettings(epochs=2, epoch_batches=4, discriminator_start=8, validation_photos=16),
            evaluation=EvaluationSettings(photos=32, best_of=4, order_gain=16),
        )


def train(options: All) -> None:
    """Run every unfinished stage, write the package and evaluate it."""
    run = options.run
    stages = {
        "scene": (scene.train, options.scene),
        "sentiment": (sentiment.train, options.sentiment),
        "alignment": (alignment.train, options.alignment),
        "teacher": (teacher.train, options.teacher),
        "distillation": (distillation.train, options.distillation),
        "generator": (generator.train, options.generator),
        "adversarial": (adversarial.train, options.adversarial),
    }
    if not options.generator.distilled:
        del stages["teacher"], stages["distillation"]
    provenance: dict[str, Any] = {}
    results: dict[str, Result] = {}
    for name, (stage, settings) in stages.items():
        results[name] = stage(run, settings)  # type: ignore[operator]
        provenance[name] = dataclasses.asdict(settings)  # type: ignore[call-overload]
    kept = kept_decoder(results["adversarial"])
    other: Decoder = "generator" if kept == "adversarial" else "adversarial"
    beside = run.root / "packages" / other
    pack(run, PackageSettings(beside, other), provenance)
    pack(run, PackageSettings(options.out, kept), provenance)
    others = (beside, *options.evaluation.beside)
    settings = dataclasses.replace(options.evaluation, beside=others, poems_from=run.poems_from)
    evaluate_into_package(options.out, run.data, settings)


def main() -> None:
    with reporting():
        options = tyro.cli(All, description=__doc__)
        if options.run.limit is not None:
            options = tyro.cli(All, default=All.quick(options.run), description=__doc__)
        train(options)


if __name__ == "__main__":
    main()
