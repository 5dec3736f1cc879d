"""Conversion of exported graphs to a lower precision."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray

from . import half, photographs, pixels, quantise, ranges, rewrite
from .served import Inputs, Sample, ServedModel
from .settings import Settings

#: Rows that the value ranges in a decoder are observed on.
_OBSERVED = 32


class Converter:
    """Converts graphs and provides the photographs for calibration and measurement."""

    def __init__(self, settings: Settings, size: int) -> None:
        self._settings, self._size = settings, size

    @cached_property
    def held_out(self) -> NDArray[np.uint8]:
        """Photographs outside the calibration, uint8 ``[N, size, size, 3]``."""
        return photographs.held_out(self._settings.data, self._size)

    def convert(self, served: ServedModel, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return the served model's graph ``model`` in the precision of the settings."""
        images = served.name in ("image_encoder", "object_encoder", "scene_encoder", "sentiment_encoder")
        if self._settings.precision == "fp16":
            return half.convolutions(model) if images else rewrite.products(model, half.product)
        if self._settings.precision == "int8":
            if images:
                model = pixels.normalised(quantise.convolutions(model, self._calibration))
            seen: ranges.Ranges = {}
            if served.name.startswith("poem_decoder") or served.name == "decoder_step":
                seen = ranges.observed(model, served.sample(_OBSERVED, np.random.default_rng(0)))
            model = quantise.products(model, seen)
            return quantise.tables(model) if served.name in ("poem_encoder", "rerank") else model
        return model

    def sample(self, sample: Sample) -> Sample:
        """Return ``sample``; in a lower precision, with photographs instead of random pixels."""
        if self._settings.precision == "fp32":
            return sample

        def photographed(batch: int, random: np.random.Generator) -> Inputs:
            inputs = sample(batch, random)
            if "pixels" in inputs:
                inputs["pixels"] = self.held_out[random.integers(0, len(self.held_out), batch)]
            return inputs

        return photographed

    @cached_property
    def _calibration(self) -> NDArray[np.uint8]:
        return photographs.calibration(self._settings.data, self._size)
