"""Likelihood of texts under either decoder: the loss that is learned by, and nats a token on held-out poems."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.nn.transformer_decoder import TransformerDecoder
from img2poem.text.vocabulary import CAPTION, EOS, PAD, UNK

from .batches import padded

_ROWS = 64
_PART = 512  # places whose logits are computed at once


class Decoder(Protocol):
    """What both decoders have."""

    token_embedding: nn.Embedding

    def features(self, tokens: Tensor, embedding: Tensor) -> Tensor:
        """What the output layer reads, of ``int64 [B, T]`` and ``float [B, embedding_dim]``."""


def learned(ids: Tensor) -> Tensor:
    """Return which next tokens of ``ids int64 [B, T]`` are learned, bool ``[B, T - 1]``: no padding, no unknown."""
    return (ids[:, 1:] != PAD) & (ids[:, 1:] != UNK)


def likelihood_loss(decoder: Decoder, ids: Tensor, points: Tensor, real: Tensor | None = None) -> Tensor:
    """Mean cross-entropy, in nats, of each learned token of ``ids int64 [B, T]``, or of those that are ``real``."""
    features = decoder.features(ids[:, :-1], points).flatten(0, 1)
    chosen = (learned(ids) if real is None else real).flatten()
    # Without the padding, and in the dtype of the features: the output layer is most of the work.
    weight = decoder.token_embedding.weight.to(features.dtype)
    bias = getattr(decoder, "output_bias", None)
    with torch.autocast(features.device.type, enabled=False):  # which would widen the logits again
        found = F.linear_cross_entropy(
            features[chosen],
            weight,
            ids[:, 1:].flatten()[chosen],
            linear_bias=None if bias is None else bias.to(features.dtype),
        )
    return found.float()


def no_targets(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return soft targets for ``ids int64 [B, T]`` that hold none: :func:`distillation_loss` then is the likelihood."""
    empty = ids.new_zeros(*ids[:, 1:].shape, 0)
    return empty, empty.float()


def distillation_loss(
    decoder: PoemDecoder, ids: Tensor, points: Tensor, soft: tuple[Tensor, Tensor], share: float
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy with the teacher's distributions, and with the tokens that were written, in nats a token.

    Args:
        decoder: the student.
        ids: int64 ``[B, T]``.
        points: float32 ``[B, embedding_dim]``.
        soft: the teacher's tokens, int64, and their chances, float32 ``[B, T - 1, K]``; zeros where there are none.
        share: what the teacher's distribution counts; the written token counts the rest, or all where there is none.
    """
    chosen = learned(ids).flatten()
    features = decoder.features(ids[:, :-1], points).flatten(0, 1)[chosen]
    tokens, chances = (part.flatten(0, 1)[chosen] for part in soft)
    written = ids[:, 1:].flatten()[chosen].unsqueeze(1)
    tokens = torch.cat([written, tokens], dim=-1)
    weights = torch.cat([1 - share * chances.sum(-1, keepdim=True).round(), share * chances], dim=-1)
    # Few shapes of products: oneDNN takes a tenth of a second to make a kernel for each.
    more = (0, 0, 0, -len(features) % _PART)
    features, tokens, weights = (F.pad(part, more) for part in (features, tokens, weights))
    loss, nats = _SoftCrossEntropy.apply(features, decoder.token_embedding.weight, decoder.output_bias, tokens, weights)
    return loss, nats.detach()


class _SoftCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy with distributions over few tokens, and with the first of these alone.

    Gradients are computed in the forward pass, part by part: the logits of a whole batch would not fit into caches.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, tokens: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        table, whole = weight.to(features.dtype), weights.sum(-1, keepdim=True)  # 1, and 0 for padding
        count = whole.count_nonzero()
        of_features, of_weight, of_bias = torch.empty_like(features), torch.zeros_like(weight), torch.zeros_like(bias)
        loss, nats = features.new_zeros((), dtype=torch.float32), features.new_zeros((), dtype=torch.float32)
        for start in range(0, len(features), _PART):
            part = slice(start, start + _PART)
            log_probs = F.linear(features[part], table).float().add_(bias).log_softmax(-1)
            chosen = log_probs.gather(1, tokens[part])
            loss -= (weights[part] * chosen).sum() / count
            nats -= (whole[part, 0] * chosen[:, 0]).sum() / count
            gradient = log_probs.exp_().mul_(whole[part]).scatter_add_(1, tokens[part], -weights[part]).div_(count)
            of_bias += gradient.sum(0)
            gradient = gradient.to(features.dtype)
            of_features[part] = gradient @ table
            of_weight += gradient.t() @ features[part]
        ctx.save_for_backward(of_features, of_weight, of_bias)
        return loss, nats

    @staticmethod
    def backward(ctx: Any, *found: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        of_features, of_weight, of_bias = ctx.saved_tensors
        return of_features * found[0], of_weight * found[0], of_bias * found[0], None, None


class HeldOutPoems:
    """Poems about validation photographs with pixels, and what they cost a decoder that reads them in several ways.

    Args:
        points: where each photograph is, float32 ``[P, embedding_dim]``.
        poems: photograph, begin token and ids of each poem.
        captions: ids of each photograph's captions.
    """

    def __init__(
        self, points: Tensor, poems: list[tuple[int, int, list[int]]], captions: list[list[list[int]]] | None = None
    ) -> None:
        photos = torch.tensor([photo for photo, _, _ in poems])
        self._photos = points[photos]
        self._none = torch.zeros_like(self._photos)
        self._poems = [[begin, *ids, EOS] for _, begin, ids in poems]
        self._captions = [[CAPTION, *captions[photo][0]] for photo, _, _ in poems] if captions else []

    def nats(self, decoder: Decoder) -> dict[str, float]:
        """Return nats a token of poems behind the photograph alone and behind nothing: the gain is what it heeds."""
        return {
            "photo": self._mean(decoder, self._poems, self._photos),
            "nothing": self._mean(decoder, self._poems, self._none),
        }

    def described(self, decoder: Decoder) -> dict[str, float]:
        """Return nats a token of poems behind photograph and caption, of captions behind the photograph and nothing.

        The captions must have been given.
        """
        both = [caption + poem for caption, poem in zip(self._captions, self._poems, strict=True)]
        captions = [[*caption, EOS] for caption in self._captions]
        return {
            "described": self._mean(decoder, both, self._photos, [len(caption) for caption in self._captions]),
            "caption_photo": self._mean(decoder, captions, self._photos),
            "caption_nothing": self._mean(decoder, captions, self._none),
        }

    @staticmethod
    @torch.inference_mode()
    def _mean(decoder: Decoder, rows: list[list[int]], points: Tensor, skipped: list[int] | None = None) -> float:
        device, dtype = decoder.token_embedding.weight.device, decoder.token_embedding.weight.dtype
        nats, count = 0.0, 0
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            ids = padded(rows[part])
            real = learned(ids)
            if skipped is not None:
                real &= torch.arange(ids.shape[1] - 1) >= torch.tensor(skipped[part]).unsqueeze(1)
            with torch.autocast(device.type, enabled=False):  # in bfloat16 epochs would differ by its rounding alone
                loss = likelihood_loss(decoder, ids.to(device), points[part].to(device, dtype), real.to(device))
            nats, count = nats + float(loss) * int(real.sum()), count + int(real.sum())
        return nats / max(1, count)


def computing(decoder: TransformerDecoder) -> TransformerDecoder:
    """Return a copy of ``decoder`` in bfloat16, in evaluation mode."""
    return copy.deepcopy(decoder).bfloat16().eval()
