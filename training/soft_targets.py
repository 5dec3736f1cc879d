"""Soft targets: what the teacher would say next at each token of a poem, for word-level distillation.

A token that was written tells little of what else could stand there; the teacher's distribution tells it all, so that
the student learns more from the same poems (Hinton et al. 2015; Kim and Rush 2016, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from rich.progress import track
from safetensors.torch import load_file
from torch import Tensor

from img2poem.nn.transformer_decoder import TransformerDecoder
from img2poem.text.vocabulary import EOS

from .batches import MULTIPLE, padded
from .fitting import write_tensors

#: Most likely tokens that are kept at each place.
TOP = 24
_ROWS = 128
_PIECE = 4_096


class Told(NamedTuple):
    """A poem, and what the teacher reads before it."""

    point: Tensor  # float32 [embedding_dim]
    before: list[int]  # caption, if there is one, and begin token
    ids: list[int]  # without begin and end token


@dataclass(frozen=True)
class SoftTargets:
    """The most likely next tokens at each place of many poems, one poem after the other."""

    tokens: Tensor  # int16 [N, TOP]
    chances: Tensor  # float16 [N, TOP], of each place 1 in all
    starts: Tensor  # int64 [M + 1]: poem m has the places starts[m] to starts[m + 1], one for each id and the end token

    @classmethod
    def joined(cls, parts: Sequence[SoftTargets]) -> SoftTargets:
        """Return the targets of all parts, in their order."""
        counts = torch.cat([part.starts.diff() for part in parts])
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        return cls(torch.cat([part.tokens for part in parts]), torch.cat([part.chances for part in parts]), starts)

    @classmethod
    def load(cls, path: Path) -> SoftTargets:
        """Read what :meth:`save` wrote."""
        return cls(**load_file(path))

    def save(self, path: Path) -> None:
        """Write a file, whole or not at all."""
        write_tensors(path, {"tokens": self.tokens, "chances": self.chances, "starts": self.starts})

    def of(self, poem: int) -> tuple[Tensor, Tensor]:
        """Return tokens and chances ``[T, TOP]`` of one poem."""
        places = slice(int(self.starts[poem]), int(self.starts[poem + 1]))
        return self.tokens[places], self.chances[places]

    def batch(self, poems: Sequence[int | None], places: int) -> tuple[Tensor, Tensor]:
        """Return tokens int64 and chances float32 ``[B, places, TOP]``; zeros where a text has none."""
        tokens = torch.zeros(len(poems), places, TOP, dtype=torch.int64)
        chances = torch.zeros(len(poems), places, TOP)
        for row, poem in enumerate(poems):
            if poem is not None:
                own_tokens, own_chances = self.of(poem)
                tokens[row, : len(own_tokens)], chances[row, : len(own_tokens)] = own_tokens, own_chances
        return tokens, chances


@torch.inference_mode()
def soft_targets(decoder: TransformerDecoder, poems: Sequence[Told]) -> SoftTargets:
    """Return what ``decoder`` would say at each place of ``poems``; it is in the dtype to compute in."""
    found: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0))] * len(poems)
    order = sorted(range(len(poems)), key=lambda i: len(poems[i].before) + len(poems[i].ids))
    for start in range(0, len(order), _ROWS):
        rows = order[start : start + _ROWS]
        ids = padded([[*poems[i].before, *poems[i].ids, EOS] for i in rows], MULTIPLE)
        points = torch.stack([poems[i].point for i in rows]).to(decoder.token_embedding.weight.dtype)
        features = decoder.features(ids[:, :-1], points)
        own = [features[row, len(poems[i].before) - 1 :][: len(poems[i].ids) + 1] for row, i in enumerate(rows)]
        top = decoder.logits(torch.cat(own)).topk(TOP, dim=-1)
        chances = top.values.float().softmax(-1).half()
        sizes = [len(part) for part in own]
        for i, tokens, values in zip(rows, top.indices.to(torch.int16).split(sizes), chances.split(sizes), strict=True):
            found[i] = tokens, values
    starts = torch.tensor([0, *(len(tokens) for tokens, _ in found)]).cumsum(0)
    return SoftTargets(torch.cat([tokens for tokens, _ in found]), torch.cat([c for _, c in found]), starts)


def write_soft_targets(path: Path, pieces: Path, decoder: TransformerDecoder, poems: Sequence[Told]) -> int:
    """Write the targets of ``poems`` to ``path``, piece by piece in the folder ``pieces``: a killed run goes on.

    Returns:
        The number of places.
    """
    pieces.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in track(range(0, len(poems), _PIECE), "soft targets", transient=True):
        piece = pieces / f"{start:07}.safetensors"
        if not piece.exists():
            soft_targets(decoder, poems[start : start + _PIECE]).save(piece)
            print(f"soft targets: {min(start + _PIECE, len(poems))} of {len(poems)} poems", flush=True)
        parts.append(SoftTargets.load(piece))
    found = SoftTargets.joined(parts)
    found.save(path)
    return len(found.tokens)
