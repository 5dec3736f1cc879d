"""A sentence encoder that no stage trains on: an independent judge, where our own aligner would be biased."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from img2poem.datasets.errors import MissingData

from .batches import by_length


class SentenceEncoder:
    """Mean-pooled sentence embeddings of a transformer, such as all-mpnet-base-v2, from a folder.

    Args:
        folder: model in Hugging Face's format: ``config.json``, ``tokenizer.json``, ``model.safetensors``.

    Raises:
        MissingData: the folder contains no such model.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
        except (OSError, ValueError) as error:
            raise MissingData(f"{folder} holds no sentence encoder in Hugging Face's format: {error}") from error
        self.name = folder.resolve().name

    @torch.inference_mode()
    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Return unit vectors ``[N, D]``."""
        out = np.zeros((len(texts), self._model.config.hidden_size), np.float32)
        for part in by_length(texts, self.name):
            chosen = [texts[i].replace("\n", ", ") for i in part]
            batch = self._tokenizer(chosen, padding=True, truncation=True, max_length=128, return_tensors="pt")
            with torch.autocast("cpu", torch.bfloat16):
                hidden = self._model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"].unsqueeze(-1)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            out[part] = torch.nn.functional.normalize(pooled, dim=-1).numpy()
        return out
