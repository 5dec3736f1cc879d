from __future__ import annotations

import torch

from img2poem.artifacts.package import DecoderConfig
from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.text.vocabulary import BOS, EOS, NEWLINE, PAD, SPECIAL_TOKENS, UNK
from training.adversarial import policy_loss
from training.judge import Human, Judge, Weights
from training.rollout import finish, line_ends, sample

VOCABULARY = 30
NEVER = [PAD, BOS, UNK, *range(NEWLINE + 1, len(SPECIAL_TOKENS))]


def small_decoder() -> PoemDecoder:
    torch.manual_seed(0)
    return PoemDecoder(DecoderConfig(VOCABULARY, 16, 16, 32, 1, 0.0, 96), 8).eval()


def test_samples_are_padded_after_their_end_and_hold_no_begin_token() -> None:
    decoder = small_decoder()
    samples = sample(decoder, torch.randn(64, 8), 20)
    for row in samples.tokens.tolist():
        text = row[: row.index(EOS) + 1] if EOS in row else row
        assert not set(NEVER) & set(text)
        assert set(row[len(text) :]) <= {PAD}
    assert samples.states.shape == (*samples.tokens.shape, 48)


def test_samples_follow_the_decoder() -> None:
    decoder = small_decoder()
    condition = torch.randn(1, 8)
    first = sample(decoder, condition.repeat(20_000, 1), 1).tokens[:, 0]
    logits = decoder(torch.tensor([[BOS]]), condition)[0, 0].detach().index_fill(0, torch.tensor(NEVER), -1e9)
    found = torch.bincount(first, minlength=VOCABULARY) / len(first)
    assert (found - logits.softmax(-1)).abs().max() < 0.015


def test_a_rollout_keeps_what_comes_before_and_draws_what_comes_after() -> None:
    decoder = small_decoder()
    samples = sample(decoder, torch.randn(32, 8), 24)
    rows, places = line_ends(samples.tokens[:, :-1])
    assert len(rows) > 5
    ends = finish(decoder, samples, rows, places, 24)
    assert ends.shape == (len(rows), 24)
    changed = 0
    for end, row, place in zip(ends.tolist(), rows.tolist(), places.tolist(), strict=True):
        before = samples.tokens[row].tolist()
        assert end[: place + 1] == before[: place + 1] and end[place] == NEWLINE
        text = end[: end.index(EOS) + 1] if EOS in end else end
        assert PAD not in text and set(end[len(text) :]) <= {PAD}
        changed += end[place + 1 :] != before[place + 1 : 24]
    assert changed > len(rows) / 2


def test_the_policy_learns_what_is_rewarded() -> None:
    decoder = small_decoder()
    optimizer = torch.optim.Adam(decoder.parameters(), lr=1e-2)
    photos = torch.nn.functional.normalize(torch.randn(64, 8), dim=-1)
    wanted = torch.where(photos[:, 0] > 0, 10, 11)  # the right word depends on the photograph

    def worth(tokens: torch.Tensor) -> torch.Tensor:
        return (tokens == wanted.unsqueeze(1)).float().sum(1) / (tokens != PAD).sum(1)

    before = worth(sample(decoder, photos, 8).tokens).mean()
    for _ in range(60):
        tokens = sample(decoder, photos, 8).tokens
        value = worth(tokens)
        advantage = ((value - value.mean()) / (value.std() + 1e-6)).unsqueeze(1).expand_as(tokens)
        loss = policy_loss(decoder, photos, tokens, advantage)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert worth(sample(decoder, photos, 8).tokens).mean() > before + 0.4


class Aligner(torch.nn.Module):
    """Uses a poem's word counts as its embedding."""

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        counts = torch.zeros(len(ids), VOCABULARY).scatter_add(1, ids, mask.float())
        return torch.nn.functional.normalize(counts[:, 5:13], dim=-1)


def test_the_judge_learns_to_tell_pairs_and_generated_poems() -> None:
    torch.manual_seed(0)
    judge = Judge(Aligner(), VOCABULARY, 8)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(judge.parameters(), lr=3e-3)

    def draw(count: int) -> tuple[Human, torch.Tensor]:
        subject = torch.randint(5, 13, (count,))
        poems = torch.randint(13, 20, (count, 9))
        poems[:, 2::3] = NEWLINE
        poems[:, 0] = poems[:, 4] = subject
        poems[:, -1] = EOS
        photos = torch.nn.functional.one_hot(subject - 5, 8).float()
        human = Human(photos, poems, poems.flip(1), poems.masked_fill(poems == NEWLINE, 25))
        generated = poems.clone()
        generated[:, 1] = 29
        return human, generated

    for _ in range(150):
        human, generated = draw(64)
        loss = judge.loss(human, judge.embed(human.poems), human.photos, generated, judge.embed(generated))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    human, generated = draw(200)

    def worth(photos: torch.Tensor, poems: torch.Tensor, weights: Weights) -> torch.Tensor:
        return judge.reward(photos, poems, judge.embed(poems), weights).mean()

    weights = Weights(1.0, 0.0, 0.0)
    paired, unpaired = (worth(photos, human.poems, weights) for photos in (human.photos, human.photos.roll(1, 0)))
    assert paired > 0.7 and paired > unpaired + 0.4
    assert worth(human.photos, generated, weights) < 0.2
    style = Weights(0.0, 1.0, 0.0)
    assert worth(human.photos, human.poems, style) > worth(human.photos, human.disordered, style) + 0.5
