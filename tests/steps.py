"""Run the numpy searches on decoder steps that torch computes, without an export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

from export.modules import ServedDecoderInit, ServedDecoderStep
from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.requests import Answer, Flow, Infer

T = TypeVar("T")


def run_on_torch(flow: Flow[T], decoder: PoemDecoder, pieces: Sequence[str]) -> T:
    """Run a search to its end, ignoring its lines."""
    modules = {"decoder_init": ServedDecoderInit(decoder), "decoder_step": ServedDecoderStep(decoder, pieces)}
    given: Answer | None = None
    while True:
        try:
            asked = flow.send(given)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        if isinstance(asked, Infer):
            with torch.inference_mode():
                made = modules[asked.model](*(torch.from_numpy(value) for value in asked.inputs.values()))
            tensors = made if isinstance(made, tuple) else (made,)
            given = Answer(dict(zip(asked.outputs, (t.numpy() for t in tensors), strict=True)), "1")
