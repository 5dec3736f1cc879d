"""What chooses among a decoder's epochs: poems about validation photographs, and likelihood of validation texts."""

from __future__ import annotations

import torch

from img2poem import metrics
from img2poem.decoding import Sampling

from .alignment import AlignmentData, embed_photos
from .corpus import photo_rows
from .generator import held_out_nats
from .parts import Parts
from .texts import Texts
from .writing import Writer


class Trial:
    """Samples poems about ``photos`` validation photographs from the decoder as it is, and measures them."""

    def __init__(self, parts: Parts, data: AlignmentData, texts: Texts, photos: int) -> None:
        self._decoder, self._texts = parts.model.poem_decoder, texts
        self._writer = Writer(parts.model, parts.tokenizer)
        rows = photo_rows(data.photo_names, "validation")[:photos]
        self._photos = embed_photos(parts.model.image_encoder, data.photo_features(torch.tensor(rows)))
        self._captions = [data.photo_captions[i] for i in rows]

    def measure(self) -> dict[str, float]:
        """Return relevance, diversity and likelihood, and the score that chooses among epochs."""
        self._decoder.eval()
        poems = self._writer.sampled(self._photos, Sampling())
        relevance = metrics.caption_retrieval(poems, self._captions).recall_at_10
        distinct = metrics.distinct(poems, 2)
        nats = held_out_nats(self._decoder, self._texts)["nats_a_token_by_nothing"]
        # A tenth of a nat more a token costs as much as a tenth of relevance or of diversity gains.
        return {"caption_r10": relevance, "distinct_2": distinct, "nats": nats, "score": relevance + distinct - nats}
