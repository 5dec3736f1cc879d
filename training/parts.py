"""The model that the stages train part by part, with its corpus and tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from img2poem.datasets import photographs
from img2poem.datasets.errors import MissingData
from img2poem.nn.model import PhotoToPoem
from img2poem.text.tokenizer import PoemTokenizer
from img2poem.text.vocabulary import contractions

from .corpus import Corpus
from .fitting import Result, load_prefixed, read_fingerprint, read_result, result_path
from .models import configuration
from .pretrained import load_backbone, minilm
from .run import Run, fingerprint

#: In order; each depends on the stages before it.
STAGES = ("scene", "sentiment", "alignment", "generator", "adversarial")
#: Stages whose results the generator stage learns from; they are not part of the model.
TEACHING = ("teacher", "distillation")
#: All stages in the order of a run.
RUN_ORDER = (*STAGES[:3], *TEACHING, *STAGES[3:])


@dataclass
class Parts:
    """Model, tokenizer and corpus of a run, with the results of the stages that are loaded into the model."""

    run: Run
    model: PhotoToPoem
    tokenizer: PoemTokenizer
    corpus: Corpus
    results: dict[str, Result] = field(default_factory=dict)

    @classmethod
    def after(cls, run: Run, *stages: str) -> Parts:
        """Return the model with pretrained backbones and MiniLM, and the results of ``stages``.

        Raises:
            BadData: a file of the training data is missing or malformed.
            MissingData: a stage has not been run, or was run with other data; the backbone's weights are unavailable.
        """
        torch.manual_seed(run.seed)
        corpus = Corpus.load(run.data, run.limit, run.poems_from)
        text = minilm(corpus.poem_texts(), corpus.caption_texts())
        scenes = photographs.miniplaces_classes(run.data)
        shortened = contractions(corpus.poem_texts())
        config = configuration(run.model, run.model, text.config, text.decoder_vocabulary, shortened, scenes)
        parts = cls(run, PhotoToPoem(config), text.tokenizer, corpus)
        parts.model.poem_encoder.bert = text.bert
        encoder = parts.model.image_encoder
        classes = encoder.encoders["object"].outputs
        if (classifier := load_backbone(encoder.trunks["object"], run.backbones, classes)) is not None:
            encoder.heads["object"].output = classifier
        for stage in stages:
            parts._take(stage)
        parts.model.eval()
        return parts

    def tag(self, trunk: str) -> str:
        """Return an identifier of a trunk's weights, for caches of its features."""
        backbone = self.model.image_encoder.encoders["object"].backbone
        if trunk != "object":
            return f"{backbone}-{trunk}-{self.results[trunk].fingerprint}"
        return backbone if self.run.backbones == "pretrained" else f"{backbone}-{fingerprint(self.run.sources())}"

    def sources(self) -> list[object]:
        """Return what a stage's result depends on beside its settings: the run and the earlier stages."""
        return [self.run.sources(), sorted(result.fingerprint for result in self.results.values())]

    def made_from(self, *teaching: str) -> dict[str, str]:
        """Return the fingerprints, by stage, of the loaded results and of the stages ``teaching``."""
        taught = {stage: result_of(self.run, stage).fingerprint for stage in teaching}
        return {**{stage: result.fingerprint for stage, result in self.results.items()}, **taught}

    def _take(self, stage: str) -> None:
        self.results[stage] = result = result_of(self.run, stage)
        for prefix, module in parts_of(self.model, stage).items():
            load_prefixed(module, result.tensors, prefix)


def result_of(run: Run, stage: str) -> Result:
    """Return the result of a stage for the run's data.

    Raises:
        MissingData: it has not been run, was run with other data, or an earlier stage was run again since.
    """
    path = result_path(run, stage)
    again = f"run first: python -m training.{stage} --data {run.data}"
    if not path.exists():
        raise MissingData(f"{path} is not there; {again}")
    result = read_result(path)
    if result.sources != fingerprint(run.sources()):
        raise MissingData(f"{path} is of other data or options of the run; {again}")
    for earlier, known in result.made_from.items():
        if read_fingerprint(result_path(run, earlier)) != known:
            raise MissingData(f"{path} was made from an older result of the stage {earlier}; {again}")
    return result


def parts_of(model: PhotoToPoem, stage: str) -> dict[str, nn.Module]:
    """Return the modules that a stage trains, by the prefix of their tensors' names."""
    encoder = model.image_encoder
    if stage == "alignment":
        return {"image": encoder.projection, "poem": model.poem_encoder.projection}
    if stage in ("generator", "adversarial"):
        return {"decoder": model.poem_decoder}
    trunk = encoder.encoders[stage].trunk
    own = {"trunk": encoder.trunks[trunk]} if trunk != "object" else {}
    return {"head": encoder.heads[stage], **own}


def trained(model: PhotoToPoem, stage: str) -> dict[str, Tensor]:
    """Return the tensors that a stage trains, by name."""
    return {
        f"{prefix}.{name}": tensor
        for prefix, module in parts_of(model, stage).items()
        for name, tensor in module.state_dict().items()
    }
