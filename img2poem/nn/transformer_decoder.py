"""The transformer decoder: SmolLM2's layers over our WordPiece ids, conditioned by a prefix.

A point of the poetic space is mapped to a few prefix vectors before the first token (ClipCap, Mokady et al. 2021). The
architecture is Llama's (Touvron et al. 2023): RMSNorm, rotary positions, grouped-query attention, SwiGLU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..artifacts.package import TransformerConfig

# Added to the logits of masked positions; finite, so that a softmax over masked positions only is defined.
_FAR = -30_000.0


class Cache(NamedTuple):
    """Key/value cache of all layers; written in place, position by position."""

    keys: list[Tensor]  # each [B, kv_heads, positions, head_dim]
    values: list[Tensor]
    position: int  # number of filled positions

    def rows(self, index: Tensor) -> Cache:
        """Return a copy of the cache with the rows ``index int64 [M]``."""
        keys, values = ([part.index_select(0, index) for part in parts] for parts in (self.keys, self.values))
        return Cache(keys, values, self.position)


class TransformerDecoder(nn.Module):
    """Language model conditioned on a point of the poetic space; input and output embeddings are tied."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: TransformerConfig, embedding_dim: int) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_dim
        self.token_embedding = nn.Embedding(config.vocabulary_size, width)
        self.prefix = nn.Sequential(
            nn.Linear(embedding_dim, config.prefix_dim),
            nn.GELU(),
            nn.Linear(config.prefix_dim, config.prefix_tokens * width),
        )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(width, eps=config.norm_epsilon)
        cos, sin = rotary(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        nn.init.normal_(self.token_embedding.weight, std=width**-0.5)

    def prefixed(self, embedding: Tensor) -> Tensor:
        """Embeddings ``[B, embedding_dim]`` to the prefix ``[B, prefix_tokens, hidden_dim]``; zeros: no photograph."""
        return self.prefix(embedding).view(len(embedding), self.config.prefix_tokens, -1)

    def features(self, tokens: Tensor, embedding: Tensor) -> Tensor:
        """Return the output layer's input at each token, ``[B, T, hidden_dim]``; arguments as in :meth:`forward`."""
        prefix = self.prefixed(embedding)
        x = torch.cat([prefix, self.token_embedding(tokens).to(prefix.dtype)], dim=1)
        cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x[:, self.config.prefix_tokens :])

    def logits(self, features: Tensor) -> Tensor:
        """Output layer: features ``[..., hidden_dim]`` to ``logits [..., V]``."""
        return F.linear(features, self.token_embedding.weight)

    def forward(self, tokens: Tensor, embedding: Tensor) -> Tensor:
        """Teacher forcing: ``int64 [B, T]``, ``float32 [B, embedding_dim]`` to ``logits [B, T, V]``.

        Rows of zeros in ``embedding`` mean no photograph.
        """
        return self.logits(self.features(tokens, embedding))

    def begin(self, embedding: Tensor, positions: int) -> Cache:
        """Read the prefix of ``embedding [B, embedding_dim]`` into a new cache with room for ``positions`` tokens."""
        config, x = self.config, self.prefixed(embedding)
        shape = (len(x), config.kv_heads, config.prefix_tokens + positions, config.head_dim)
        keys, values = ([x.new_zeros(shape) for _ in self.layers] for _ in range(2))
        _, cache = self._read(x, Cache(keys, values, 0))
        return cache

    def advance(self, tokens: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Read ``tokens int64 [B, T]``; return ``logits [B, V]`` after the last one, and the extended cache."""
        features, cache = self._read(self.token_embedding(tokens), cache)
        return self.logits(features[:, -1]), cache

    def _read(self, x: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        start, end = cache.position, cache.position + x.shape[1]
        mask = causal(x.shape[1], end, x) if x.shape[1] > 1 else None
        x = x.to(self.norm.weight.dtype)
        for i, layer in enumerate(self.layers):
            x = cast(Layer, layer).step(
                x, self.cos[start:end], self.sin[start:end], cache.keys[i], cache.values[i], start, mask
            )
        return self.norm(x), Cache(cache.keys, cache.values, end)


class Layer(nn.Module):
    """Transformer layer: attention and a gated feed-forward network, each with pre-norm and residual connection."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width, head = config.hidden_dim, config.head_dim
        self.input_norm = nn.RMSNorm(width, eps=config.norm_epsilon)
        self.queries_keys_values = nn.Linear(width, (config.heads + 2 * config.kv_heads) * head, bias=False)
        self.attended = nn.Linear(config.heads * head, width, bias=False)
        self.middle_norm = nn.RMSNorm(width, eps=config.norm_epsilon)
        self.gate_up = nn.Linear(width, 2 * config.feed_forward_dim, bias=False)
        self.down = nn.Linear(config.feed_forward_dim, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """``[B, T, hidden_dim]`` to the same shape, with causal attention."""
        queries, keys, values = self._split(self.input_norm(x), cos, sin)
        return self._after(x, attention(queries, keys, values, causal(x.shape[1], x.shape[1], x)))

    def step(
        self, x: Tensor, cos: Tensor, sin: Tensor, keys: Tensor, values: Tensor, start: int, mask: Tensor | None
    ) -> Tensor:
        """As :meth:`forward`, from position ``start`` on; writes into the cache ``keys`` and ``values``."""
        queries, new_keys, new_values = self._split(self.input_norm(x), cos, sin)
        end = start + x.shape[1]
        keys[:, :, start:end], values[:, :, start:end] = new_keys, new_values
        # PyTorch's attention is faster than ours for few queries: it reads the cache in place.
        found = F.scaled_dot_product_attention(
            queries, keys[:, :, :end], values[:, :, :end], attn_mask=mask, enable_gqa=True
        )
        return self._after(x, found)

    def _split(self, x: Tensor, cos: Tensor, sin: Tensor) -> Sequence[Tensor]:
        config = self.config
        parts = self.queries_keys_values(x).view(*x.shape[:2], -1, config.head_dim).transpose(1, 2)
        queries, keys, values = parts.split([config.heads, config.kv_heads, config.kv_heads], dim=1)
        return rotated(queries, cos, sin), rotated(keys, cos, sin), values

    def _after(self, x: Tensor, found: Tensor) -> Tensor:
        x = x + self.attended(found.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.middle_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


def attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Grouped-query attention, written out: on CPUs and short texts, PyTorch's trains several times slower.

    Args:
        queries: ``[B, heads, T, head_dim]``.
        keys: ``[B, kv_heads, S, head_dim]``.
        values: as ``keys``.
        mask: float mask, added to the logits ``[B, kv_heads, heads / kv_heads, T, S]``.

    Returns:
        ``[B, heads, T, head_dim]``.
    """
    # The queries of a group are rows of one product, so that keys and values are not copied for each head.
    groups = queries.unflatten(1, (keys.shape[1], -1))
    logits = groups.flatten(2, 3) @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5
    weights = (logits.view(*groups.shape[:-1], keys.shape[2]) + mask).softmax(-1)
    return (weights.flatten(2, 3) @ values).view(groups.shape).flatten(1, 2)


def causal(rows: int, columns: int, like: Tensor) -> Tensor:
    """Return the causal mask ``[rows, columns]`` of the last ``rows`` of ``columns`` positions."""
    return torch.full((rows, columns), _FAR, dtype=like.dtype, device=like.device).triu(columns - rows + 1)


def rotary(config: TransformerConfig) -> tuple[Tensor, Tensor]:
    """Return cosines and sines ``float32 [positions, head_dim]`` of the rotary positions (Su et al. 2021)."""
    half = torch.arange(0, config.head_dim, 2).float() / config.head_dim
    angles = torch.arange(config.positions).float()[:, None] / config.rope_theta**half
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to ``[B, heads, T, head_dim]``, in Llama's order of halves."""
    first, second = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat([-second, first], dim=-1) * sin.to(x.dtype)
