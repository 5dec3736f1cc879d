"""Test that our GRU layer equals PyTorch's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from img2poem.nn.recurrence import recurrence
from img2poem.text.vocabulary import BOS, EOS

from .models import EMBEDDING_DIM, small_decoder


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 7), st.integers(0, 2**31))
def test_states_and_gradients_are_those_of_pytorch(steps: int, rows: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    gru = nn.GRU(3, width)
    x = torch.randn(steps, rows, 3, requires_grad=True)
    first = torch.randn(rows, width, requires_grad=True)
    learned = [x, first, *gru.parameters()]
    theirs, _ = gru(x, first[None])
    ours = recurrence(F.linear(x, gru.weight_ih_l0, gru.bias_ih_l0), gru.weight_hh_l0, gru.bias_hh_l0, first)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(theirs)
    for own, other in zip(
        torch.autograd.grad((ours * weights).sum(), learned),
        torch.autograd.grad((theirs * weights).sum(), learned),
        strict=True,
    ):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_whole_texts_are_read_as_step_by_step(layers: int) -> None:
    decoder, embedding = small_decoder(layers=layers), torch.randn(2, EMBEDDING_DIM)
    ids = torch.tensor([[BOS, 9, 10, 11], [BOS, 12, 9, EOS]])
    logits, hidden = decoder(ids, embedding), decoder.init(embedding)
    for place in range(ids.shape[1]):
        step, hidden = decoder.advance(ids[:, place], hidden)
        torch.testing.assert_close(logits[:, place], step)
