"""Generator: the GRU decoder by likelihood, conditioned on points of the poetic space.

At inference the condition is a photograph's embedding, which text-side embeddings only approximate.
So each poem is learned under several conditions: its own embedding with noise, its photograph's
caption, and photographs near to it (weak pairs by caption similarity).
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

from img2poem.datasets.poems import PoemRecord
from img2poem.datasets.splits import split_of
from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.nn.poem_encoder import pad
from img2poem.text import BOS, EOS, PAD, PoemTokenizer


@dataclass(frozen=True)
class GeneratorTraining:
    """Hyper-parameters of the decoder's training."""

    tokens: int = 12_000_000
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup: float = 0.03
    # Shares of the modern collections (MultiM, UniM) in a batch, from the first step to the last.
    modern_start: float = 0.25
    modern_end: float = 0.9
    photo_conditions: float = 0.45
    caption_conditions: float = 0.15
    noise: float = 0.6
    checkpoint_seconds: float = 120.0


@dataclass(frozen=True)
class Conditions:
    """Where a poem's condition can come from; all in the poetic space."""

    poems: Tensor  # [N, D]
    captions: Tensor  # [N, D]; zero where there is none
    photos: Tensor  # [P, D]
    near_photos: Tensor  # int64 [N, K] into photos

    def draw(self, rows: Tensor, settings: GeneratorTraining) -> Tensor:
        """Return a condition ``[B, D]`` for each of ``rows``."""
        poem = self.poems[rows]
        noise = torch.randn_like(poem) * settings.noise / poem.shape[-1] ** 0.5
        chosen = F.normalize(poem + noise, dim=-1)
        kind = torch.rand(len(rows), 1)
        caption = self.captions[rows]
        use_caption = (kind < settings.caption_conditions) & (caption.norm(dim=-1, keepdim=True) > 0)
        chosen = torch.where(use_caption, caption, chosen)
        near = self.near_photos[rows]
        photo = self.photos[near.gather(1, torch.randint(near.shape[1], (len(rows), 1))).squeeze(1)]
        return torch.where(kind > 1 - settings.photo_conditions, photo, chosen)


def conditions_of(poems: Tensor, captions: Tensor, photos: Tensor, neighbours: int = 6) -> Conditions:
    """Find each poem's nearest photographs, by its caption and itself, or by itself alone."""
    query = F.normalize(poems * 0.5 + captions, dim=-1)
    near = torch.cat([(part @ photos.T).topk(neighbours).indices for part in query.split(4096)])
    return Conditions(poems, captions, photos, near)


def train_generator(
    decoder: PoemDecoder,
    tokenizer: PoemTokenizer,
    records: list[PoemRecord],
    conditions: Conditions,
    checkpoint: Path,
    settings: GeneratorTraining = GeneratorTraining(),
) -> dict[str, float]:
    """Train ``decoder`` in place, resuming from ``checkpoint`` where it exists. Returns validation metrics."""
    rows = [
        [BOS, *ids[: decoder.config.max_tokens - 1], EOS] for ids in tokenizer.encode_batch([r.text for r in records])
    ]
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
    modern = [i for i, r in enumerate(records) if _in_split(r, "train") and not r.key.startswith("public_domain")]
    classic = [i for i, r in enumerate(records) if _in_split(r, "train") and r.key.startswith("public_domain")]
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
            for batch in _pool(rows, modern, classic, share, settings.batch):
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
    return {
        "nats_a_token_by_poem": round(_loss(decoder, rows, chosen, conditions.poems[chosen])[0].item(), 4),
        "nats_a_token_by_photo": round(_loss(decoder, rows, chosen, by_photo)[0].item(), 4),
    }


def _loss(decoder: PoemDecoder, rows: list[list[int]], batch: Tensor, condition: Tensor) -> tuple[Tensor, int]:
    """Cross-entropy of the next token: targets are the inputs shifted by one."""
    ids, mask = pad([rows[i] for i in batch.tolist()], PAD)
    with torch.autocast("cpu", torch.bfloat16):
        logits = decoder(ids[:, :-1], condition)
    loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD)
    return loss, int(mask[:, 1:].sum())


def _pool(rows: list[list[int]], modern: list[int], classic: list[int], share: float, batch: int) -> Iterator[Tensor]:
    """Yield 16 batches of rows of similar length."""
    count = 16 * batch
    from_modern = torch.rand(count) < share
    picks = [
        modern[int(u * len(modern))] if new else classic[int(u * len(classic))]
        for new, u in zip(from_modern.tolist(), torch.rand(count).tolist(), strict=True)
    ]
    picks.sort(key=lambda i: len(rows[i]))
    batches = torch.tensor(picks).split(batch)
    for i in torch.randperm(len(batches)).tolist():
        yield batches[i]


def _schedule(progress: float, warmup: float) -> float:
    """Linear warm-up, then linear decay to 2 %."""
    return min(progress / warmup, 1.0) * max(1.0 - progress, 0.02) if progress < 1 else 0.02


def _in_split(record: PoemRecord, split: str) -> bool:
    return split_of(record.key) == split


def _save(path: Path, decoder: PoemDecoder, optimizer: torch.optim.Optimizer, tokens: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".tmp")
    torch.save({"decoder": decoder.state_dict(), "optimizer": optimizer.state_dict(), "tokens": tokens}, staging)
    staging.replace(path)
