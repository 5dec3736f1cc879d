"""The served models with a torch module: their tensors and sample inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models import ResNet50_Weights

from img2poem.artifacts.package import PackageConfig
from img2poem.decoding.noise import noise
from img2poem.decoding.registry import OPTIONS, REGISTRY, SAMPLE_OPTIONS, Registered
from img2poem.decoding.strategies import MAX_TOKENS, TOP_TOKENS, BestOf
from img2poem.nn.lines import LineDecoder
from img2poem.nn.model import PhotoToPoem
from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.nn.rerank import Rerank
from img2poem.nn.search import SEARCHES, Sampling
from img2poem.text.tokenizer import PoemTokenizer
from img2poem.text.vocabulary import BOS, EOS, NEWLINE, PAD

from .modules import (
    ServedCandidates,
    ServedDecoderInit,
    ServedDecoderStep,
    ServedEncoder,
    ServedImageEncoder,
    ServedLine,
    ServedPoemEncoder,
    ServedRerank,
    ServedSearch,
)

Inputs = dict[str, NDArray[Any]]
Sample = Callable[[int, np.random.Generator], Inputs]

#: An axis, other than the batch, whose size each request chooses.
FREE = -1
#: Largest batch of most models; the second is for models that read or write several candidates per row.
MAX_BATCH = 32
MAX_BATCH_OF_CANDIDATES = 8

#: Instances of the models that most poems need. With one instance, Triton's dynamic batcher sometimes misses that it
#: has become free, and checks again only 500 ms later.
INSTANCES = 2


@dataclass(frozen=True)
class TensorSpec:
    """A served tensor: name, numpy dtype and shape without the batch; all axes of size ``FREE`` have the same size.

    ``classes`` are the names of what its values score, in order, for a label file; empty for other tensors.
    """

    name: str
    dtype: type[np.generic]
    dims: tuple[int, ...]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServedModel:
    """A model of the repository that is exported from a torch module."""

    name: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sample: Sample = field(repr=False)
    """Returns realistic random inputs for a batch size."""
    max_batch: int = MAX_BATCH
    typical: int = 1
    """Usual size of the ``FREE`` axes."""
    instances: int = INSTANCES
    """Instances that Triton loads."""


def served_models(model: PhotoToPoem, tokenizer: PoemTokenizer) -> list[ServedModel]:
    """Return the served models of a package that are exported from torch modules."""
    return [*_encoders(model), *_decoders(model, tokenizer), _rerank(model)]


def _encoders(model: PhotoToPoem) -> list[ServedModel]:
    config, samples = model.config, _Samples(model.config)
    size = config.preprocessing.size
    pixels = TensorSpec("pixels", np.uint8, (size, size, 3))
    embedding = TensorSpec("embedding", np.float32, (config.embedding_dim,))
    encoders = config.image_encoder.encoders
    scores = {"object": "object_scores", "scene": "scene_scores", "sentiment": "sentiment"}
    classes = {"object": tuple(ResNet50_Weights.DEFAULT.meta["categories"]), "scene": tuple(config.scene_classes)}
    fused = [
        TensorSpec(output, np.float32, (encoders[name].outputs,), classes.get(name, ()))
        for name, output in scores.items()
    ]
    found = [
        ServedModel(
            "image_encoder",
            ServedImageEncoder(model.image_encoder),
            (pixels,),
            (embedding, *fused),
            samples.pixels,
        )
    ]
    for name, encoder in encoders.items():
        module = ServedEncoder(model.image_encoder, name)
        features = TensorSpec("features", np.float32, (int(module.head.features),))  # type: ignore[arg-type]
        outputs = (features, TensorSpec("scores", np.float32, (encoder.outputs,), classes.get(name, ())))
        found.append(ServedModel(f"{name}_encoder", module, (pixels,), outputs, samples.pixels, instances=1))
    text = tuple(TensorSpec(name, np.int64, (FREE,)) for name in ("input_ids", "attention_mask"))
    poem = ServedPoemEncoder(model.poem_encoder)
    return [
        *found,
        ServedModel("poem_encoder", poem, text, (embedding,), samples.texts, typical=MAX_TOKENS // 2, instances=1),
    ]


def _decoders(model: PhotoToPoem, tokenizer: PoemTokenizer) -> list[ServedModel]:
    config, decoder, samples = model.config, model.poem_decoder, _Samples(model.config)
    f32, i64, pieces = np.float32, np.int64, tokenizer.pieces
    steps, dim, state_dim = config.decoder.max_tokens, config.embedding_dim, decoder.state_dim
    embedding, hidden = TensorSpec("embedding", f32, (dim,)), TensorSpec("hidden", f32, (state_dim,))
    step_outputs = (
        TensorSpec("top_logprobs", f32, (TOP_TOKENS,)),
        TensorSpec("top_tokens", i64, (TOP_TOKENS,)),
        TensorSpec("next_hidden", f32, (state_dim,)),
    )
    poem = (
        TensorSpec("tokens", i64, (steps,)),
        TensorSpec("scores", f32, (1,)),
        TensorSpec("lengths", i64, (1,)),
        TensorSpec("condition", f32, (dim,)),
    )
    sampling = (embedding, *_option_specs(SAMPLE_OPTIONS))
    draws = (MAX_TOKENS, TOP_TOKENS)
    return [
        ServedModel("decoder_init", ServedDecoderInit(decoder), (embedding,), (hidden,), samples.points),
        ServedModel(
            "decoder_step",
            ServedDecoderStep(decoder, pieces),
            (TensorSpec("token", i64, (1,)), hidden),
            step_outputs,
            lambda batch, random: samples.state(batch, random, state_dim),
        ),
        *(_search(one, decoder, pieces, embedding, poem, samples) for one in REGISTRY.values() if not one.reranked),
        ServedModel(
            "poem_decoder_line",
            ServedLine(LineDecoder(decoder, pieces)),
            (embedding, *_prefix("", steps, state_dim), *sampling[1:], TensorSpec("noise", f32, draws)),
            _prefix("next_", steps, state_dim),
            lambda batch, random: samples.lines(batch, random, state_dim),
        ),
        ServedModel(
            "poem_decoder_candidates",
            ServedCandidates(Sampling(decoder, pieces)),
            (*sampling, TensorSpec("noise", f32, (FREE, *draws))),
            _candidates(steps),
            samples.several,
            MAX_BATCH_OF_CANDIDATES,
            BestOf.n,
            instances=1,
        ),
    ]


def _search(
    entry: Registered,
    decoder: PoemDecoder,
    pieces: Sequence[str],
    embedding: TensorSpec,
    outputs: tuple[TensorSpec, ...],
    samples: _Samples,
) -> ServedModel:
    """Return the decoder of a strategy that gives one poem."""
    names = entry.decoder_options
    noise = (TensorSpec("noise", np.float32, (MAX_TOKENS, TOP_TOKENS)),) if entry.noise else ()
    return ServedModel(
        entry.decoder,
        ServedSearch(SEARCHES[entry.name](decoder, pieces), names),
        (embedding, *_option_specs(names), *noise),
        outputs,
        lambda batch, random: samples.decoding(batch, random, names, noisy=bool(noise)),
    )


def _rerank(model: PhotoToPoem) -> ServedModel:
    config, steps = model.config, model.config.decoder.max_tokens
    embedding = TensorSpec("embedding", np.float32, (config.embedding_dim,))
    outputs = (
        TensorSpec("tokens", np.int64, (steps,)),
        TensorSpec("scores", np.float32, (1,)),
        TensorSpec("lengths", np.int64, (1,)),
        TensorSpec("relevance", np.float32, (1,)),
        TensorSpec("condition", np.float32, (config.embedding_dim,)),
    )
    rerank = Rerank(model.poem_encoder, config.decoder.likelihood_weight)
    module, inputs = ServedRerank(rerank), (*_candidates(steps), embedding)
    sample = _Samples(config).candidates
    return ServedModel("rerank", module, inputs, outputs, sample, MAX_BATCH_OF_CANDIDATES, BestOf.n, 1)


def _candidates(steps: int) -> tuple[TensorSpec, ...]:
    return (
        TensorSpec("candidates", np.int64, (FREE, steps)),
        TensorSpec("candidate_scores", np.float32, (FREE,)),
        TensorSpec("candidate_lengths", np.int64, (FREE,)),
    )


def _prefix(before: str, steps: int, state_dim: int) -> tuple[TensorSpec, ...]:
    """The tensors of an unfinished poem. The prefix is needed: an ONNX output cannot have the name of an input."""
    return (
        TensorSpec(f"{before}tokens", np.int64, (steps,)),
        TensorSpec(f"{before}hidden", np.float32, (state_dim,)),
        TensorSpec(f"{before}score", np.float32, (1,)),
    )


def _option_specs(names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, OPTIONS[name].dtype, (OPTIONS[name].width,)) for name in names)


class _Samples:
    """Random inputs of a package's models, each ``[batch, ...]``."""

    def __init__(self, config: PackageConfig) -> None:
        self._config = config

    def pixels(self, batch: int, random: np.random.Generator) -> Inputs:
        # Smooth colour fields plus noise: closer to photographs than pure noise, which saturates ReLU6.
        size = self._config.preprocessing.size
        coarse = torch.from_numpy(random.uniform(0, 255, (batch, 3, 7, 7)))
        smooth = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").permute(0, 2, 3, 1).numpy()
        return {"pixels": (smooth + random.normal(0, 16, smooth.shape)).clip(0, 255).astype(np.uint8)}

    def points(self, batch: int, random: np.random.Generator) -> Inputs:
        vectors = random.normal(size=(batch, self._config.embedding_dim))
        return {"embedding": (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)}

    def state(self, batch: int, random: np.random.Generator, state_dim: int) -> Inputs:
        token = random.integers(0, self._config.decoder.vocabulary_size, (batch, 1))
        # States of real poems rarely come near their bound of 1; larger ones widen the ranges that int8 rounds by.
        return {"token": token, "hidden": random.uniform(-0.8, 0.8, (batch, state_dim)).astype(np.float32)}

    def texts(self, batch: int, random: np.random.Generator) -> Inputs:
        ids = np.concatenate([np.full((batch, 1), BOS), self._poems(batch, random)[0]], axis=1)
        ids = ids[:, : (ids != PAD).sum(1).max()]
        return {"input_ids": ids, "attention_mask": (ids != PAD).astype(np.int64)}

    def decoding(self, batch: int, random: np.random.Generator, names: tuple[str, ...], noisy: bool = False) -> Inputs:
        options: Inputs = {name: OPTIONS[name].random(batch, random) for name in names}
        # Half of the rows forbid nothing; the others forbid frequent words.
        options["forbidden_tokens"] *= random.integers(0, 2, (batch, 1))
        options["max_lines"] = np.maximum(options["max_lines"], options["min_lines"])
        drawn = {"noise": _drawn(batch, random)[:, 0]} if noisy else {}
        return {**self.points(batch, random), **options, **drawn}

    def lines(self, batch: int, random: np.random.Generator, state_dim: int) -> Inputs:
        inputs = self.decoding(batch, random, SAMPLE_OPTIONS, noisy=True)
        # Half of the rows search greedily. Most poems are unfinished, and some have not begun.
        inputs["temperature"] *= random.integers(0, 2, (batch, 1)).astype(np.float32)
        tokens, lengths = self._poems(batch, random)
        place, ended = np.arange(tokens.shape[1]), random.random((batch, 1)) < 0.2
        begun = random.random((batch, 1)) < 0.8
        tokens = np.where(begun & ((place < lengths[:, None] - 1) | ended), tokens, PAD)
        score = random.uniform(-200, 0, (batch, 1)).astype(np.float32)
        hidden = self.state(batch, random, state_dim)["hidden"]
        return {"tokens": tokens, "hidden": hidden, "score": score, **inputs}

    def several(self, batch: int, random: np.random.Generator) -> Inputs:
        count = int(random.integers(2, 6))
        return {**self.decoding(batch, random, SAMPLE_OPTIONS), "noise": _drawn(batch, random, count)}

    def candidates(self, batch: int, random: np.random.Generator) -> Inputs:
        count = int(random.integers(2, 6))
        tokens, lengths = self._poems(batch * count, random)
        return {
            "candidates": tokens.reshape(batch, count, -1),
            "candidate_scores": random.uniform(-4, 0, (batch, count)).astype(np.float32),
            "candidate_lengths": lengths.reshape(batch, count),
            **self.points(batch, random),
        }

    def _poems(self, rows: int, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        decoder = self._config.decoder
        tokens = random.integers(NEWLINE, decoder.vocabulary_size, (rows, decoder.max_tokens))
        lengths = random.integers(2, decoder.max_tokens + 1, rows)
        place = np.arange(decoder.max_tokens)
        tokens = np.where(place == lengths[:, None] - 1, EOS, np.where(place < lengths[:, None], tokens, PAD))
        return tokens, lengths


def _drawn(batch: int, random: np.random.Generator, count: int = 1) -> NDArray[np.float32]:
    return noise(OPTIONS["seed"].random(batch, random).astype(np.int64), count)
