"""Generator: the GRU decoder by likelihood, conditioned on points of the poetic space.

At inference the condition is a photograph's embedding, which text-side embeddings only approximate.
So each text is learned under several conditions: its own embedding with noise, its photograph's
caption, photographs, and none at all, which is what guided decoding compares with.

The texts are poems and, behind a begin token of their own, the captions of the training photographs: few
poems come with a photograph here, and captions teach the decoder which words a photograph calls for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional as F

from img2poem.datasets.poems import PoemRecord, plain
from img2poem.datasets.splits import split_of
from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.nn.poem_encoder import pad
from img2poem.text import BOS, EOS, PAD, UNK, PoemTokenizer

#: Begins a caption, as ``BOS`` begins a poem. No text holds the unknown token.
CAPTION_BOS = UNK


@dataclass(frozen=True)
class GeneratorTraining:
    """Hyper-parameters of the decoder's training."""

    tokens: int = 14_000_000
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup: float = 0.03
    # Share of captions among the texts, and of the modern collections (MultiM, UniM) among the poems,
    # from the first step to the last.
    captions: float = 0.25
    modern_start: float = 0.25
    modern_end: float = 0.8
    # How often a text is learned under no condition, a photograph, a caption; else under itself with noise.
    no_condition: float = 0.1
    photo_conditions: float = 0.45
    caption_conditions: float = 0.15
    noise: float = 0.6
    checkpoint_seconds: float = 120.0


@dataclass(frozen=True)
class Conditions:
    """Where a text's condition can come from; all in the poetic space. Poems first, then captions."""

    texts: Tensor  # [N, D]
    captions: Tensor  # [N, D]; zero where there is none
    photos: Tensor  # [P, D]
    near_photos: Tensor  # int64 [N, K] into photos
    depicted: Tensor  # bool [N]: whether near_photos show what the text is about

    def draw(self, rows: Tensor, settings: GeneratorTraining) -> Tensor:
        """Return a condition ``[B, D]`` for each of ``rows``."""
        text = self.texts[rows]
        noise = torch.randn_like(text) * settings.noise / text.shape[-1] ** 0.5
        chosen = F.normalize(text + noise, dim=-1)
        kind = torch.rand(len(rows), 1)
        caption = self.captions[rows]
        use_caption = (kind < settings.caption_conditions) & (caption.norm(dim=-1, keepdim=True) > 0)
        chosen = torch.where(use_caption, caption, chosen)
        near = self.near_photos[rows]
        photo = self.photos[near.gather(1, torch.randint(near.shape[1], (len(rows), 1))).squeeze(1)]
        use_photo = (kind > 1 - settings.photo_conditions) & self.depicted[rows].unsqueeze(1)
        chosen = torch.where(use_photo, photo, chosen)
        return torch.where(torch.rand(len(rows), 1) < settings.no_condition, 0.0, chosen)


def conditions_of(
    poems: Tensor, poem_captions: Tensor, photos: Tensor, photo_captions: Tensor, neighbours: int = 4
) -> Conditions:
    """Find each poem's nearest photographs, by its caption and itself, or by itself alone.

    Args:
        poems: ``[N, D]``.
        poem_captions: ``[N, D]``, zero where a poem has none.
        photos: ``[P, D]``.
        photo_captions: ``[P * 5, D]``, five in turn for each photograph.
        neighbours: how many photographs a poem has, K.
    """
    query = F.normalize(poems * 0.5 + poem_captions, dim=-1)
    found = [(part @ photos.T).topk(neighbours) for part in query.split(4096)]
    near = torch.cat([part.indices for part in found])
    similarity = torch.cat([part.values.mean(1) for part in found])
    # Most poems depict nothing that the photographs show; learning these from photographs teaches only
    # to ignore the photograph. Half of them are kept, the nearest.
    depicted = similarity >= similarity.median()
    own = torch.arange(len(photos)).repeat_interleave(5).unsqueeze(1).expand(-1, neighbours)
    return Conditions(
        texts=torch.cat([poems, photo_captions]),
        captions=torch.cat([poem_captions, torch.zeros_like(photo_captions)]),
        photos=photos,
        near_photos=torch.cat([near, own]),
        depicted=torch.cat([depicted, torch.ones(len(photo_captions), dtype=torch.bool)]),
    )


def train_generator(
    decoder: PoemDecoder,
    tokenizer: PoemTokenizer,
    records: list[PoemRecord],
    captions: list[str],
    conditions: Conditions,
    checkpoint: Path,
    settings: GeneratorTraining = GeneratorTraining(),
) -> dict[str, float]:
    """Train ``decoder`` in place, resuming from ``checkpoint`` where it exists. Returns validation metrics.

    ``captions`` are those of ``conditions.photos``, five in turn for each.
    """
    limit = decoder.config.max_tokens - 1
    rows = [[BOS, *ids[:limit], EOS] for ids in tokenizer.encode_batch([r.text for r in records])]
    rows += [[CAPTION_BOS, *ids[:limit], EOS] for ids in tokenizer.encode_batch([plain(c) for c in captions])]
    of_captions = list(range(len(records), len(rows)))
    optimizer = torch.optim.AdamW(
        decoder.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
    )
    done = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        decoder.load_state_dict(state["decoder"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["tokens"]
        print(f"resumed at {done:,} tokens")
    learned = train_rows(records)
    if not learned:
        raise ValueError("no poem is left to train on: all are held out, or share half of their lines with one that is")
    modern = [i for i in learned if not records[i].key.startswith("public_domain")]
    classic = [i for i in learned if records[i].key.startswith("public_domain")]
    columns = (
        TextColumn("generator {task.fields[loss]}"),
        BarColumn(),
        TextColumn("{task.percentage:.1f} %"),
        TimeRemainingColumn(),
    )
    saved, average = time.monotonic(), None
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=settings.tokens, completed=done, loss="")
        while done < settings.tokens:
            share = settings.modern_start + (settings.modern_end - settings.modern_start) * done / settings.tokens
            poems = 1 - settings.captions
            shares = [(modern, poems * share), (classic, poems * (1 - share)), (of_captions, settings.captions)]
            for batch in _pool(rows, [(group, part) for group, part in shares if group], settings.batch):
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * _schedule(done / settings.tokens, settings.warmup)
                loss, count = _loss(decoder, rows, batch, conditions.draw(batch, settings))
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
                optimizer.step()
                done += count
                average = loss.item() if average is None else 0.99 * average + 0.01 * loss.item()
            progress.update(bar, completed=done, loss=f"loss {average:.3f}")
            if time.monotonic() - saved > settings.checkpoint_seconds:
                _save(checkpoint, decoder, optimizer, done)
                saved = time.monotonic()
                print(
                    f"{done:,} tokens, loss {average:.3f}, {evaluate(decoder, rows, records, conditions)}", flush=True
                )
                decoder.train()
    _save(checkpoint, decoder, optimizer, done)
    return evaluate(decoder, rows, records, conditions)


@torch.inference_mode()
def evaluate(
    decoder: PoemDecoder, rows: list[list[int]], records: list[PoemRecord], conditions: Conditions
) -> dict[str, float]:
    """Nats a token on MultiM's validation poems, conditioned on the poem and on its nearest photograph."""
    decoder.eval()
    chosen = torch.tensor(
        [i for i, r in enumerate(records) if _in_split(r, "validation") and r.key.startswith("multim")]
    )
    by_photo = conditions.photos[conditions.near_photos[chosen, 0]]
    none = torch.zeros_like(by_photo)
    return {
        "nats_a_token_by_poem": round(_loss(decoder, rows, chosen, conditions.texts[chosen])[0].item(), 4),
        "nats_a_token_by_photo": round(_loss(decoder, rows, chosen, by_photo)[0].item(), 4),
        "nats_a_token_by_nothing": round(_loss(decoder, rows, chosen, none)[0].item(), 4),
    }


def _loss(decoder: PoemDecoder, rows: list[list[int]], batch: Tensor, condition: Tensor) -> tuple[Tensor, int]:
    """Cross-entropy of the next token: targets are the inputs shifted by one."""
    ids, mask = pad([rows[i] for i in batch.tolist()], PAD)
    with torch.autocast("cpu", torch.bfloat16):
        logits = decoder(ids[:, :-1], condition)
    loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD)
    return loss, int(mask[:, 1:].sum())


def _pool(rows: list[list[int]], shares: list[tuple[list[int], float]], batch: int) -> Iterator[Tensor]:
    """Yield 16 batches of rows of similar length, drawn from groups of rows by their shares."""
    group = torch.multinomial(torch.tensor([share for _, share in shares]), 16 * batch, replacement=True)
    picks = [
        shares[g][0][int(u * len(shares[g][0]))]
        for g, u in zip(group.tolist(), torch.rand(len(group)).tolist(), strict=True)
    ]
    picks.sort(key=lambda i: len(rows[i]))
    batches = torch.tensor(picks).split(batch)
    for i in torch.randperm(len(batches)).tolist():
        yield batches[i]


def _schedule(progress: float, warmup: float) -> float:
    """Linear warm-up, then linear decay to 2 %."""
    return min(progress / warmup, 1.0) * max(1.0 - progress, 0.02) if progress < 1 else 0.02


def train_rows(records: list[PoemRecord]) -> list[int]:
    """Return the poems to train on: many were collected twice, and none may share its lines with a held-out one."""
    held_out = {line for r in records if not _in_split(r, "train") for line in r.text.splitlines()}

    def is_new(record: PoemRecord) -> bool:
        lines = record.text.splitlines()
        return sum(line in held_out for line in lines) * 2 < len(lines)

    return [i for i, r in enumerate(records) if _in_split(r, "train") and is_new(r)]


def _in_split(record: PoemRecord, split: str) -> bool:
    return split_of(record.key) == split


def _save(path: Path, decoder: PoemDecoder, optimizer: torch.optim.Optimizer, tokens: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".tmp")
    torch.save({"decoder": decoder.state_dict(), "optimizer": optimizer.state_dict(), "tokens": tokens}, staging)
    staging.replace(path)
