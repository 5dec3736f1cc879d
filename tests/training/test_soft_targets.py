"""The teacher's probabilities of the next token, and the loss against them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from img2poem.nn.transformer_decoder import TransformerDecoder
from img2poem.text.vocabulary import BOS, CAPTION, EOS, FREE, PAD
from training import soft_targets
from training.batches import padded
from training.generator import principal_components
from training.likelihood import distillation_loss, likelihood_loss, no_targets
from training.soft_targets import TOP, SoftTargets, Told, write_soft_targets

from ..nn.models import EMBEDDING_DIM, small_decoder
from ..nn.test_transformer_decoder import CONFIG

POEMS = [[12, 13, 14, 15], [16], [17, 18, 19]]


def told(decoder_dim: int = 8) -> list[Told]:
    torch.manual_seed(0)
    before = [[CAPTION, 20, 21, FREE], [FREE], [CAPTION, 22, FREE]]
    return [Told(torch.randn(decoder_dim), own, ids) for own, ids in zip(before, POEMS, strict=True)]


def test_targets_are_the_teachers_distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    decoder = TransformerDecoder(CONFIG, embedding_dim=8).eval()
    monkeypatch.setattr(soft_targets, "_PIECE", 2)
    places = write_soft_targets(tmp_path / "all", tmp_path / "pieces", decoder, told())
    found = SoftTargets.load(tmp_path / "all")
    assert places == len(found.tokens) == sum(len(ids) + 1 for ids in POEMS)
    for i, poem in enumerate(told()):
        row = torch.tensor([*poem.before, *poem.ids])
        chances = decoder(row[None], poem.point[None])[0, len(poem.before) - 1 :].softmax(-1)
        top = chances.topk(TOP, dim=-1)
        tokens, own = found.of(i)
        assert torch.equal(tokens.long(), top.indices)
        torch.testing.assert_close(own.float(), top.values / top.values.sum(-1, keepdim=True), rtol=2e-3, atol=1e-4)


def test_a_killed_run_goes_on_with_the_next_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = TransformerDecoder(CONFIG, embedding_dim=8).eval()
    monkeypatch.setattr(soft_targets, "_PIECE", 1)
    write_soft_targets(tmp_path / "first", tmp_path / "pieces", decoder, told()[:2])
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "pieces").iterdir()}
    write_soft_targets(tmp_path / "all", tmp_path / "pieces", decoder, told())
    assert len(SoftTargets.load(tmp_path / "all").starts) == len(POEMS) + 1
    assert all((tmp_path / "pieces" / name).stat().st_mtime_ns == time for name, time in written.items())


def test_principal_components_keep_what_sets_words_apart() -> None:
    torch.manual_seed(0)
    words = torch.randn(60, 4) @ torch.randn(4, 9) + 5
    found = principal_components(words, 6)
    assert found.shape == (60, 6)
    ours, theirs = torch.cdist(found, found), torch.cdist(words, words)
    torch.testing.assert_close(ours, theirs * (ours.max() / theirs.max()), rtol=1e-3, atol=1e-2)


def targets(chances: list[list[float]], tokens: list[list[int]]) -> SoftTargets:
    """Targets of one poem; all other tokens have probability 0."""
    filled = torch.zeros(len(chances), TOP), torch.zeros(len(chances), TOP)
    for row, (own, ids) in enumerate(zip(chances, tokens, strict=True)):
        filled[0][row, : len(ids)], filled[1][row, : len(own)] = torch.tensor(ids).float(), torch.tensor(own)
    return SoftTargets(filled[0].to(torch.int16), filled[1].half(), torch.tensor([0, len(chances)]))


def test_the_loss_is_the_mixed_cross_entropy_and_texts_without_targets_count_their_tokens() -> None:
    decoder, points = small_decoder(), torch.randn(2, EMBEDDING_DIM)
    ids = padded([[BOS, 9, 10, EOS], [BOS, 11, EOS]])
    soft = targets([[0.75, 0.25], [1.0], [0.5, 0.5]], [[9, 12], [10], [EOS, 13]]).batch([0, None], 3)
    loss, nats = distillation_loss(decoder, ids, points, soft, share=0.6)
    assert float(nats) == pytest.approx(float(likelihood_loss(decoder, ids, points)), rel=1e-5)
    log_probs = decoder(ids[:, :-1], points).log_softmax(-1)
    wanted = [
        0.4 * log_probs[0, 0, 9] + 0.6 * (0.75 * log_probs[0, 0, 9] + 0.25 * log_probs[0, 0, 12]),
        log_probs[0, 1, 10],
        0.4 * log_probs[0, 2, EOS] + 0.6 * (0.5 * log_probs[0, 2, EOS] + 0.5 * log_probs[0, 2, 13]),
        log_probs[1, 0, 11],
        log_probs[1, 1, EOS],
    ]
    assert ids[1, 3] == PAD
    assert loss == pytest.approx(-float(sum(wanted)) / 5, rel=1e-4)


def test_without_any_targets_it_is_the_likelihoods_loss() -> None:
    decoder, points = small_decoder().requires_grad_(), torch.randn(2, EMBEDDING_DIM)
    ids = padded([[BOS, 9, 10, EOS], [BOS, 11, EOS]])
    gradients = []
    for loss in (
        distillation_loss(decoder, ids, points, no_targets(ids), share=0.6)[0],
        likelihood_loss(decoder, ids, points),
    ):
        decoder.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append(decoder.token_embedding.weight.grad)
    torch.testing.assert_close(*gradients)
