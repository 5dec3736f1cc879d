"""The transformer decoder: reading token by token with a cache gives the same as reading all at once."""

from __future__ import annotations

import pytest
import torch

from img2poem.artifacts.package import TransformerConfig
from img2poem.nn.transformer_decoder import TransformerDecoder, attention, causal

CONFIG = TransformerConfig(
    vocabulary_size=40,
    hidden_dim=24,
    feed_forward_dim=32,
    layers=3,
    heads=6,
    kv_heads=2,
    head_dim=4,
    rope_theta=10_000.0,
    norm_epsilon=1e-5,
    prefix_tokens=3,
    prefix_dim=16,
    positions=32,
)


@pytest.fixture
def decoder() -> TransformerDecoder:
    torch.manual_seed(0)
    return TransformerDecoder(CONFIG, embedding_dim=8).eval().requires_grad_(False)


@pytest.mark.parametrize("parts", [[7], [1] * 7, [4, 1, 2]])
def test_the_cache_gives_what_teacher_forcing_gives(decoder: TransformerDecoder, parts: list[int]) -> None:
    tokens, points = torch.randint(40, (5, 7)), torch.randn(5, 8)
    wanted = decoder(tokens, points)
    cache, start = decoder.begin(points, positions=7), 0
    for count in parts:
        logits, cache = decoder.advance(tokens[:, start : start + count], cache)
        start += count
        torch.testing.assert_close(logits, wanted[:, start - 1])


def test_rows_of_a_cache_go_on_as_they_would_have(decoder: TransformerDecoder) -> None:
    tokens, points = torch.randint(40, (5, 4)), torch.randn(5, 8)
    _, cache = decoder.advance(tokens[:, :3], decoder.begin(points, positions=4))
    index = torch.tensor([4, 0, 0])
    logits, _ = decoder.advance(tokens[index, 3:], cache.rows(index))
    torch.testing.assert_close(logits, decoder(tokens, points)[index, -1])


def test_a_place_does_not_see_those_behind_it(decoder: TransformerDecoder) -> None:
    tokens, points = torch.randint(40, (2, 6)), torch.randn(2, 8)
    changed = tokens.clone()
    changed[:, 4:] = (changed[:, 4:] + 1) % 40
    torch.testing.assert_close(decoder(tokens, points)[:, :4], decoder(changed, points)[:, :4])


def test_attention_is_torchs_own() -> None:
    queries, keys, values = torch.randn(2, 6, 5, 4), torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4)
    wanted = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(attention(queries, keys, values, causal(5, 5, queries)), wanted)
