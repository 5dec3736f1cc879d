"""What is served: wrappers that give the torch modules the tensors of the served contract.

Every tensor has the batch in front; a scalar a row is ``[B, 1]``, as Triton's configs can say it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from img2poem.decoding import (
    BEAM_OPTIONS,
    MAX_BEAM_WIDTH,
    MAX_TOKENS,
    OPTIONS,
    RULE_OPTIONS,
    SAMPLE_OPTIONS,
    TOP_TOKENS,
    noise,
)
from img2poem.nn.image_encoder import ImageEncoder
from img2poem.nn.model import PhotoToPoem
from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.nn.rules import RowOptions
from img2poem.nn.search import BeamSearch, DecoderStep, GreedySearch, Sampling
from img2poem.text import PoemTokenizer

Inputs = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TensorSpec:
    """A served tensor: name, numpy dtype and shape without the batch."""

    name: str
    dtype: type[np.generic]
    dims: tuple[int, ...]


@dataclass(frozen=True)
class ServedModel:
    """A model of the repository that runs on ONNX Runtime."""

    name: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sample: Callable[[int, np.random.Generator], Inputs] = field(repr=False)
    """Random inputs of a batch size, as the model meets them in use."""


class ServedImageEncoder(nn.Module):
    """The three encoders and the projection in one graph."""

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.encoder(pixels))


class ServedDecoderInit(nn.Module):
    """Embedding to the first recurrent state."""

    def __init__(self, decoder: PoemDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, embedding: Tensor) -> Tensor:
        return self.decoder.init(embedding)


class ServedDecoderStep(nn.Module):
    """:class:`DecoderStep` with ``token`` as ``[B, 1]``."""

    def __init__(self, decoder: PoemDecoder, pieces: Sequence[str]) -> None:
        super().__init__()
        self.step = DecoderStep(decoder, pieces)

    def forward(self, token: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        return self.step(token.squeeze(1), hidden)


class ServedSearch(nn.Module):
    """A search with its options as ``[B, 1]`` tensors, in the order of ``RULE_OPTIONS`` and what follows them.

    Options that are more than a value a row, as noise and forbidden tokens are, stay as they are.

    ``condition`` is the embedding again, for the ensemble to return; see :func:`export.triton.ensemble_config`.
    """

    def __init__(self, search: GreedySearch | BeamSearch | Sampling) -> None:
        super().__init__()
        self.search = search

    def forward(self, embedding: Tensor, *options: Tensor) -> tuple[Tensor, ...]:
        rows = [option.squeeze(1) if option.shape[1] == 1 else option for option in options]
        rules = len(RowOptions._fields)
        tokens, scores, lengths = self.search(embedding, RowOptions(*rows[:rules]), *rows[rules:])
        return tokens, scores.unsqueeze(1), lengths.unsqueeze(1), embedding.clone()


def served_models(model: PhotoToPoem, tokenizer: PoemTokenizer) -> list[ServedModel]:
    """Return the served models of a package that have a torch module behind them."""
    config = model.config
    decoder = model.poem_decoder
    size, dim, steps = config.preprocessing.size, config.embedding_dim, config.decoder.max_tokens
    outputs = {name: encoder.outputs for name, encoder in config.image_encoder.encoders.items()}
    f32, i64 = np.float32, np.int64
    embedding = TensorSpec("embedding", f32, (dim,))
    hidden = TensorSpec("hidden", f32, (decoder.state_dim,))
    poem = (
        TensorSpec("tokens", i64, (steps,)),
        TensorSpec("scores", f32, (1,)),
        TensorSpec("lengths", i64, (1,)),
        TensorSpec("condition", f32, (dim,)),
    )

    def pixels(batch: int, random: np.random.Generator) -> Inputs:
        # Smooth colour fields over noise: closer to photographs than noise alone, which saturates ReLU6.
        coarse = torch.from_numpy(random.uniform(0, 255, (batch, 3, 7, 7)))
        smooth = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").permute(0, 2, 3, 1).numpy()
        return {"pixels": (smooth + random.normal(0, 16, smooth.shape)).clip(0, 255).astype(np.uint8)}

    def unit(batch: int, random: np.random.Generator) -> Inputs:
        vectors = random.normal(size=(batch, dim))
        return {"embedding": (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(f32)}

    def state(batch: int, random: np.random.Generator) -> Inputs:
        token = random.integers(0, config.decoder.vocabulary_size, (batch, 1))
        return {"token": token, "hidden": random.uniform(-1, 1, (batch, decoder.state_dim)).astype(f32)}

    def decoding(names: tuple[str, ...]) -> Callable[[int, np.random.Generator], Inputs]:
        def sample(batch: int, random: np.random.Generator) -> Inputs:
            options: Inputs = {name: OPTIONS[name].random(batch, random) for name in names}
            # Half of the rows forbid nothing; the others frequent words.
            options["forbidden_tokens"] = options["forbidden_tokens"] * random.integers(0, 2, (batch, 1))
            options["max_lines"] = np.maximum(options["max_lines"], options["min_lines"])
            return {**unit(batch, random), **options}

        return sample

    def sampling_inputs(batch: int, random: np.random.Generator) -> Inputs:
        return {**decoding(SAMPLE_OPTIONS)(batch, random), "noise": noise(random, batch)}

    def option_specs(names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name, OPTIONS[name].dtype, (OPTIONS[name].width,)) for name in names)

    greedy = GreedySearch(decoder, tokenizer.pieces)
    beam = BeamSearch(decoder, tokenizer.pieces, MAX_BEAM_WIDTH)
    sampling = Sampling(decoder, tokenizer.pieces)
    step_outputs = (
        TensorSpec("top_logprobs", f32, (TOP_TOKENS,)),
        TensorSpec("top_tokens", i64, (TOP_TOKENS,)),
        # An ONNX graph cannot give an output the name of an input.
        TensorSpec("next_hidden", f32, (decoder.state_dim,)),
    )
    return [
        ServedModel(
            "image_encoder",
            ServedImageEncoder(model.image_encoder),
            (TensorSpec("pixels", np.uint8, (size, size, 3)),),
            (
                embedding,
                TensorSpec("object_scores", f32, (outputs["object"],)),
                TensorSpec("scene_scores", f32, (outputs["scene"],)),
                TensorSpec("sentiment", f32, (outputs["sentiment"],)),
            ),
            pixels,
        ),
        ServedModel("decoder_init", ServedDecoderInit(decoder), (embedding,), (hidden,), unit),
        ServedModel(
            "decoder_step",
            ServedDecoderStep(decoder, tokenizer.pieces),
            (TensorSpec("token", i64, (1,)), hidden),
            step_outputs,
            state,
        ),
        ServedModel(
            "poem_decoder_greedy",
            ServedSearch(greedy),
            (embedding, *option_specs(RULE_OPTIONS)),
            poem,
            decoding(RULE_OPTIONS),
        ),
        ServedModel(
            "poem_decoder_beam",
            ServedSearch(beam),
            (embedding, *option_specs(BEAM_OPTIONS)),
            poem,
            decoding(BEAM_OPTIONS),
        ),
        ServedModel(
            "poem_decoder_sample",
            ServedSearch(sampling),
            (embedding, *option_specs(SAMPLE_OPTIONS), TensorSpec("noise", f32, (MAX_TOKENS, TOP_TOKENS))),
            poem,
            sampling_inputs,
        ),
    ]
