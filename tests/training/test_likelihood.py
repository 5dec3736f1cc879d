"""Batches of texts with their embeddings, and a decoder's loss on them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from img2poem.nn.transformer_decoder import TransformerDecoder
from img2poem.text.vocabulary import BOS, EOS, PAD, UNK
from training.alignment import Texts
from training.batches import padded
from training.likelihood import HeldOutPoems, likelihood_loss
from training.texts import Mixture, Points, Text, TextBatches, closed

from ..nn.models import EMBEDDING_DIM, small_decoder
from ..nn.test_transformer_decoder import CONFIG


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_a_held_out_poem_costs_its_cross_entropy_but_for_unknown_words(kind: str) -> None:
    torch.manual_seed(0)
    decoder = small_decoder() if kind == "gru" else TransformerDecoder(CONFIG, EMBEDDING_DIM).eval()
    points = torch.randn(2, EMBEDDING_DIM)
    poems = [(0, BOS, [10, UNK, 12]), (1, BOS, [9, 11]), (1, BOS, [13])]
    found = HeldOutPoems(points, poems).nats(decoder)
    for name, shown in (("photo", points), ("nothing", torch.zeros_like(points))):
        nats, count = 0.0, 0
        for photo, begin, ids in poems:
            row = torch.tensor([begin, *ids, EOS])
            log_probs = decoder(row[None, :-1], shown[photo][None])[0].detach().log_softmax(-1)
            learned = [i for i, token in enumerate(row[1:].tolist()) if token != UNK]
            nats -= sum(float(log_probs[i, row[i + 1]]) for i in learned)
            count += len(learned)
        assert found[name] == pytest.approx(nats / count, rel=1e-4)


def test_padding_costs_nothing() -> None:
    decoder, points = small_decoder(), torch.randn(2, EMBEDDING_DIM)
    row = [BOS, 9, 10, 11, EOS]
    alone = likelihood_loss(decoder, torch.tensor([row, row]), points)
    longer = likelihood_loss(decoder, torch.tensor([[*row, PAD, PAD], [*row, PAD, PAD]]), points)
    torch.testing.assert_close(alone, longer)


def points_of(photos: int, pictured: int) -> Points:
    torch.manual_seed(0)
    counts = torch.arange(1, photos + 1)
    owners = torch.arange(photos).repeat_interleave(counts)
    features = torch.nn.functional.normalize(torch.randn(len(owners), 6), dim=-1)
    captions = Texts(features, owners, counts.cumsum(0) - counts, counts)
    return Points(torch.nn.functional.normalize(torch.randn(pictured, 6), dim=-1), captions)


@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 40))
def test_batches_are_decided_by_their_seed_and_hold_what_was_drawn(seed: int, multiple: int, count: int) -> None:
    points = points_of(5, 3)

    def draw(rows: int) -> list[Text]:
        lengths = torch.randint(1, 12, (rows,)).tolist()
        return [Text(closed(BOS, [9] * length), int(torch.randint(5, ()))) for length in lengths]

    one, other = (list(TextBatches(draw, points, Mixture(), count, 4, seed, multiple)) for _ in range(2))
    assert len(one) == count
    for batch, same in zip(one, other, strict=True):
        assert torch.equal(batch.ids, same.ids) and torch.equal(batch.points, same.points)
        assert batch.ids.shape[0] == 4 and (batch.ids.shape[1] - 1) % multiple == 0
        assert ((batch.ids == EOS).sum(1) == 1).all()


def test_points_are_photographs_captions_or_nothing() -> None:
    points = points_of(4, 2)
    rows = torch.tensor([0] * 500 + [3] * 500)
    drawn = points.draw(rows, Mixture(nothing=0.2, photo=0.5, noise=0.0, photo_noise=0.0))
    none = (drawn == 0).all(1)
    own = torch.isclose(drawn, points.photos[0]).all(1)
    assert none.float().mean() == pytest.approx(0.2, abs=0.05)
    assert own[:500].float().mean() == pytest.approx(0.4, abs=0.08) and not own[500:].any()
    captions = points.captions.features[points.captions.owners == 3]
    for point in drawn[500:][~none[500:]]:
        assert math.isclose(float((captions @ point).max()), 1.0, abs_tol=1e-5)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.data())
def test_texts_of_photographs_are_found_with_their_places(counts: list[int], data: st.DataObject) -> None:
    number = torch.tensor(counts)
    owners = torch.arange(len(counts)).repeat_interleave(number)
    texts = Texts(torch.arange(len(owners)).float()[:, None], owners, number.cumsum(0) - number, number)
    rows = torch.tensor(data.draw(st.permutations(range(len(counts))))[: data.draw(st.integers(1, len(counts)))])
    features, places = texts.of(rows)
    assert sorted(features[:, 0].long().tolist()) == [
        i for i, own in enumerate(owners.tolist()) if own in rows.tolist()
    ]
    assert rows[places].tolist() == owners[features[:, 0].long()].tolist()


def test_rows_are_padded_to_one_more_than_a_multiple() -> None:
    assert padded([[1, 2], [3]], multiple=4).tolist() == [[1, 2, PAD, PAD, PAD], [3, PAD, PAD, PAD, PAD]]
    assert padded([[1, 2], [3]]).tolist() == [[1, 2], [3, PAD]]
