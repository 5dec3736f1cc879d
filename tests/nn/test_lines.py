from __future__ import annotations

import pytest
import torch
from torch import Tensor

from img2poem.nn.lines import LineDecoder, Prefix
from img2poem.nn.search import TOP_TOKENS, GreedySearch, Sampling
from img2poem.text.vocabulary import EOS, NEWLINE, PAD

from .models import PIECES, STEPS, embeddings, options, small_decoder

ROWS = 6


def settings(temperature: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    noise = torch.rand(ROWS, STEPS, TOP_TOKENS, generator=torch.Generator().manual_seed(3))
    return torch.full((ROWS,), temperature), torch.full((ROWS,), 9), torch.full((ROWS,), 0.9), noise


@pytest.mark.parametrize("temperature", [0.0, 1.2])
@pytest.mark.parametrize("limits", [{}, {"max_line_tokens": 3}, {"max_tokens": 9}])
def test_line_by_line_gives_the_tokens_of_the_whole_search(temperature: float, limits: dict[str, float]) -> None:
    """From the second line on, rows are at different positions of their poems."""
    decoder, embedding, rows = small_decoder(4), embeddings(ROWS), options(ROWS, **limits)
    count = 1 + torch.arange(ROWS) % 3
    rows = rows._replace(min_lines=count, max_lines=count)
    drawing = settings(temperature)
    if temperature:
        whole = Sampling(decoder, PIECES)(embedding, rows, *drawing)
    else:
        whole = GreedySearch(decoder, PIECES)(embedding, rows)
    one_more = LineDecoder(decoder, PIECES)
    tokens = torch.full((ROWS, STEPS), PAD)
    poem = Prefix(tokens, torch.full((ROWS, decoder.state_dim), torch.nan), torch.zeros(ROWS))
    lines = []
    while not torch.equal((after := one_more(embedding, poem, rows, *drawing)).tokens, poem.tokens):
        lines.append((after.tokens != poem.tokens).any(1))
        poem = after
    assert torch.equal(poem.tokens, whole.tokens)
    assert torch.allclose(poem.score / whole.lengths, whole.scores, atol=1e-5)
    assert len({*torch.stack(lines).sum(0).tolist()}) > 1
    assert torch.equal(torch.stack(lines).sum(0), (whole.tokens == NEWLINE).sum(1) + (whole.tokens == EOS).sum(1))
