"""Configs of the ensembles: photograph or pixels to poem in one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tritonclient.grpc import model_config_pb2 as pb

from img2poem.decoding.registry import REGISTRY
from img2poem.decoding.strategies import BeamSearch

from .triton import stamp

Maps = tuple[str, dict[str, str], dict[str, str]]

_OUTPUTS = ("text", "tokens", "score", "length", "embedding", "relevance")
_CANDIDATES = {name: f"drawn_{name}" for name in ("candidates", "candidate_scores", "candidate_lengths")}


@dataclass(frozen=True)
class Ensemble:
    """Photograph (or ``pixels``) -> embedding -> tokens -> text, with a decoder and, for best of n, ``rerank``."""

    name: str
    decoder: str
    reranked: bool = False
    from_pixels: bool = False
    noise: str = ""
    """Model that makes the decoder's noise from a seed, if the decoder takes noise."""

    @property
    def seeds(self) -> tuple[str, ...]:
        """Inputs of the noise model."""
        return ("seed", "n") if self.reranked else ("seed",) if self.noise else ()

    @property
    def models(self) -> list[str]:
        """Models of the ensemble, in order."""
        return [model for model, _, _ in self.steps([])]

    def steps(self, options: list[str]) -> list[Maps]:
        """Return each step's model, with the ensemble's names for its inputs and outputs."""
        looked_at = {name: name for name in ("image", *options, *self.seeds)}
        source = [] if self.from_pixels else [("decode_image", looked_at, {"pixels": "pixels"})]
        given = {"embedding": "encoded", **{option: option for option in options}}
        drawing: list[Maps] = []
        if self.noise:
            given["noise"] = "noise"
            drawing = [(self.noise, {**{s: s for s in self.seeds}, "embedding": "encoded"}, {"noise": "noise"})]
        made = {"tokens": "decoded", "scores": "score", "lengths": "length", "condition": "embedding"}
        decoding: list[Maps] = [(self.decoder, given, made)]
        if self.reranked:
            decoding = [
                (self.decoder, given, _CANDIDATES),
                ("rerank", {**_CANDIDATES, "embedding": "encoded"}, {**made, "relevance": "relevance"}),
            ]
        return [
            *source,
            ("image_encoder", {"pixels": "pixels"}, {"embedding": "encoded"}),
            *drawing,
            *decoding,
            ("poem_text", {"tokens": "decoded"}, {"text": "text", "poem_tokens": "tokens"}),
        ]


ENSEMBLES = (
    *(Ensemble(one.ensemble, one.decoder, one.reranked, noise=one.noise) for one in REGISTRY.values()),
    Ensemble("img2poem_pixels", REGISTRY[BeamSearch.name].decoder, from_pixels=True),
)

#: The slowest step of each ensemble, where requests queue.
DECODERS = frozenset(ensemble.decoder for ensemble in ENSEMBLES)


def ensemble_config(
    ensemble: Ensemble, configs: Mapping[str, pb.ModelConfig], stamps: dict[str, str]
) -> pb.ModelConfig:
    """Return the config of an ensemble whose models ``configs`` describe.

    The decoder's options are required inputs of the ensemble: an ensemble cannot have optional inputs.

    Triton prunes steps whose outputs were not requested, and has two bugs there. It drops a step if all of its mapped
    outputs are ensemble outputs that were not requested, even if another step reads them. And once it has dropped a
    step that reads an input of the ensemble, it may drop any other step. So no tensor between two steps is an output
    of the ensemble, and every output comes from the step that chooses the tokens or from a later one.

    Steps never run concurrently: if one of two concurrent steps fails, Triton 2.51 may never respond.
    """
    options = [tensor for tensor in configs[ensemble.decoder].input if tensor.name not in ("embedding", "noise")]
    seeds = (
        [tensor for tensor in configs[ensemble.noise].input if tensor.name in ensemble.seeds] if ensemble.noise else []
    )
    config = pb.ModelConfig(name=ensemble.name, platform="ensemble")
    config.max_batch_size = min(configs[model].max_batch_size for model in ensemble.models)
    config.version_policy.latest.num_versions = 1
    # The output is deterministic: same photograph, options and seed, same poem.
    config.response_cache.enable = True
    source = configs["image_encoder" if ensemble.from_pixels else "decode_image"].input
    first = [tensor for tensor in source if not tensor.optional]
    config.input.extend([*first, *options, *seeds])
    outputs: dict[str, tuple[str, str]] = {}
    inside = {name for _, inputs, _ in ensemble.steps([]) for name in inputs.values()}
    for model, inputs, made in ensemble.steps([option.name for option in options]):
        step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
        step.input_map.update(inputs)
        step.output_map.update(made)
        outputs |= {name: (model, tensor) for tensor, name in made.items() if name not in inside}
    for name in sorted(outputs, key=_OUTPUTS.index):
        model, tensor_name = outputs[name]
        [tensor] = [t for t in configs[model].output if t.name == tensor_name]
        config.output.add(name=name, data_type=tensor.data_type, dims=tensor.dims)
    stamp(config, stamps)
    return config
