"""A sentence encoder that no stage trains on: it judges in the evaluation what our own aligner would flatter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from img2poem.datasets.errors import MissingData

_ROWS_AT_A_TIME = 64


class SentenceEncoder:
    """Mean-pooled sentence embeddings of a transformer, such as all-mpnet-base-v2, from a folder.

    Args:
        folder: in Hugging Face's format: ``config.json``, ``tokenizer.json``, ``model.safetensors``.

    Raises:
        MissingData: the folder holds no such model.
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
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = []
        for start in track(range(0, len(order), _ROWS_AT_A_TIME), self.name, transient=True):
            chosen = [texts[i].replace("\n", ", ") for i in order[start : start + _ROWS_AT_A_TIME]]
            batch = self._tokenizer(chosen, padding=True, truncation=True, max_length=128, return_tensors="pt")
            with torch.autocast("cpu", torch.bfloat16):
                hidden = self._model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"].unsqueeze(-1)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            parts.append(torch.nn.functional.normalize(pooled, dim=-1).numpy())
        out = np.concatenate(parts)
        found: NDArray[np.float32] = np.empty_like(out)
        found[order] = out
        return found
