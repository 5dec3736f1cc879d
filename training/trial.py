"""Selection of a decoder's best epoch: poems about validation photographs, and likelihood of validation poems."""

from __future__ import annotations

from img2poem import metrics
from img2poem.decoding.strategies import Sampling

from .alignment import AlignmentData, embed_photos
from .generator import StudentTexts
from .parts import Parts
from .writing import Writer


class Trial:
    """Samples poems about ``photos`` validation photographs from the current decoder, and evaluates them."""

    def __init__(self, parts: Parts, data: AlignmentData, texts: StudentTexts, photos: int) -> None:
        self._decoder, self._held_out = parts.model.poem_decoder, texts.poems_held_out()
        self._writer = Writer(parts.model, parts.tokenizer)
        rows = data.rows("validation")[:photos]
        self._photos = embed_photos(parts.model.image_encoder, data.photo_features(rows))
        self._captions = [list(data.photos[i].captions) for i in rows.tolist()]

    def measure(self) -> dict[str, float]:
        """Return relevance, diversity and likelihood, and the score that selects the epoch."""
        self._decoder.eval()
        poems = self._writer.sampled(self._photos, Sampling())
        relevance = metrics.caption_retrieval(poems, self._captions).recall_at_10
        distinct = metrics.distinct(poems, 2)
        nats = self._held_out.nats(self._decoder)["photo"]
        # A loss of 0.1 nats per token offsets a gain of 0.1 in relevance or diversity.
        return {"caption_r10": relevance, "distinct_2": distinct, "nats": nats, "score": relevance + distinct - nats}
