"""Write poems from embeddings with each decoding strategy, in torch, for the evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from img2poem.decoding.noise import noise
from img2poem.decoding.strategies import MAX_TOKENS, BeamSearch, Greedy, Sampling, Strategy
from img2poem.nn import search
from img2poem.nn.model import PhotoToPoem
from img2poem.nn.poem_encoder import pad
from img2poem.nn.rerank import Rerank
from img2poem.nn.rules import RowOptions
from img2poem.text.tokenizer import PoemTokenizer
from img2poem.text.vocabulary import BOS, EOS, PAD

from .batches import by_length

_ROWS_AT_A_TIME = 64


class Writer:
    """Writes poems for embeddings ``[N, embedding_dim]`` with the strategies' default options."""

    def __init__(self, model: PhotoToPoem, tokenizer: PoemTokenizer) -> None:
        self._model, self._tokenizer = model.eval(), tokenizer
        self._decoder, self._pieces = model.poem_decoder, tokenizer.pieces

    def greedy(self, embeddings: Tensor) -> list[str]:
        """Write by greedy search."""
        greedy = search.GreedySearch(self._decoder, self._pieces).to(self._device)
        return self._texts(embeddings, "greedy", lambda part: greedy(part, _options(Greedy(), part)))

    def beam(self, embeddings: Tensor) -> list[str]:
        """Write by beam search."""
        strategy = BeamSearch()
        beam = search.BeamSearch(self._decoder, self._pieces, strategy.width).to(self._device)

        def write(part: Tensor) -> search.Hypotheses:
            width, penalty = _column(part, strategy.width), _column(part, strategy.length_penalty)
            return beam(part, _options(strategy, part), width, penalty)

        return self._texts(embeddings, "beam search", write)

    def sampled(self, embeddings: Tensor, strategy: Sampling) -> list[str]:
        """Write by sampling; all rows use the same seed."""
        return self._texts(embeddings, "sampling", self._sampling(strategy))

    def best_of(self, embeddings: Tensor, count: int, strategy: Sampling) -> list[str]:
        """Sample ``count`` poems per embedding and keep the one that the package's score selects."""
        write = self._sampling(strategy)
        encoder = self._model.poem_encoder
        rerank, device = Rerank(encoder, self._decoder.config.likelihood_weight), encoder.projection.weight.device

        def write_best(part: Tensor) -> search.Hypotheses:
            drawn = write(part.repeat_interleave(count, 0))
            candidates = (of.unflatten(0, (-1, count)).to(device) for of in drawn)
            tokens, scores, lengths, _ = rerank(*candidates, part.to(device))
            return search.Hypotheses(tokens, scores, lengths)

        return self._texts(embeddings, f"best of {count}", write_best, max(1, _ROWS_AT_A_TIME // count))

    def _sampling(self, strategy: Sampling) -> Callable[[Tensor], search.Hypotheses]:
        sampling = search.Sampling(self._decoder, self._pieces).to(self._device)
        random = np.random.default_rng(strategy.seed)

        def write(part: Tensor) -> search.Hypotheses:
            own = (_column(part, value) for value in (strategy.temperature, strategy.top_k, strategy.top_p))
            drawn = noise(random.integers(2**63, size=(len(part), 1)))[:, 0]
            return sampling(part, _options(strategy, part), *own, torch.from_numpy(drawn).to(part.device))

        return write

    @torch.inference_mode()
    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the aligner's embeddings ``[N, embedding_dim]`` of poems or captions."""
        encoder = self._model.poem_encoder
        rows = [[BOS, *ids[: MAX_TOKENS + 1], EOS] for ids in self._tokenizer.encode_batch(texts)]
        out = np.zeros((len(rows), self._model.config.embedding_dim), np.float32)
        for part in by_length(rows, "aligner"):
            padded = (tensor.to(encoder.projection.weight.device) for tensor in pad([rows[i] for i in part], PAD))
            out[part] = encoder(*padded).cpu().numpy()
        return out

    @property
    def _device(self) -> torch.device:
        """The decoder's device: training may have moved it to a GPU."""
        return self._decoder.output_bias.device

    @torch.inference_mode()
    def _texts(
        self,
        embeddings: Tensor,
        name: str,
        write: Callable[[Tensor], search.Hypotheses],
        rows: int = _ROWS_AT_A_TIME,
    ) -> list[str]:
        texts: list[str] = []
        for part in track(embeddings.to(self._device).split(rows), name, transient=True):
            texts += [self._tokenizer.decode(row) for row in write(part).tokens.tolist()]
        return texts


def _options(strategy: Strategy, rows: Tensor) -> RowOptions:
    return RowOptions(*(option.to(rows.device) for option in RowOptions.of(strategy, len(rows))))


def _column(rows: Tensor, value: float) -> Tensor:
    return torch.full((len(rows),), value, device=rows.device)
