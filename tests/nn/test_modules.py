from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from img2poem.artifacts.package import EncoderConfig, ImageEncoderConfig, PoemEncoderConfig, Preprocessing
from img2poem.nn.image_encoder import ImageEncoder
from img2poem.nn.losses import ranking_loss
from img2poem.nn.poem_encoder import PoemEncoder, pad
from img2poem.nn.rerank import Rerank
from img2poem.text.vocabulary import BOS, EOS, FIRST_WORD

from .models import EMBEDDING_DIM, PIECES, embeddings, small_decoder, step

PREPROCESSING = Preprocessing(size=224, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 4), st.integers(0, 1000))
def test_steps_give_what_teacher_forcing_gives(layers: int, length: int, rows: int, seed: int) -> None:
    """The handwritten GRU cell equals torch's; targets are one step ahead of inputs by construction."""
    decoder, embedding = small_decoder(seed, layers), embeddings(rows, seed)
    tokens = torch.randint(len(PIECES), (rows, length), generator=torch.Generator().manual_seed(seed))
    whole, hidden = decoder(tokens, embedding).log_softmax(-1), decoder.init(embedding)
    assert hidden.shape == (rows, decoder.state_dim)
    for i in range(length):
        log_probs, hidden = step(decoder, tokens[:, i], hidden)
        assert torch.allclose(log_probs, whole[:, i], atol=1e-4)


def test_decoder_depends_on_the_embedding_at_every_step() -> None:
    decoder = small_decoder()
    tokens = torch.full((2, 20), 7)
    logits = decoder(tokens, embeddings(2))
    assert (logits[0, -1] - logits[1, -1]).abs().max() > 0.05


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "resnet50"])
def test_image_encoder_with_either_backbone(backbone: str) -> None:
    torch.manual_seed(0)
    config = ImageEncoderConfig(
        {
            "object": EncoderConfig(backbone, "object", 0, 11),
            "scene": EncoderConfig(backbone, "scene", 0, 5),
            "sentiment": EncoderConfig(backbone, "object", 6, 2),
        },
        projection_dim=16,
    )
    encoder = ImageEncoder(config, PREPROCESSING, embedding_dim=12).eval()
    assert set(encoder.trunks) == {"object", "scene"}, "encoders of one trunk share it"
    pixels = torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8)
    with torch.inference_mode():
        found = encoder(pixels)
        alone = encoder(pixels[1:2])
    assert [tuple(t.shape) for t in found] == [(3, 12), (3, 11), (3, 5), (3, 2)]
    assert torch.allclose(found.embedding.norm(dim=-1), torch.ones(3), atol=1e-5)
    assert torch.allclose(found.object_scores.sum(-1), torch.ones(3), atol=1e-5)
    assert torch.allclose(found.embedding[1:2], alone.embedding, atol=1e-4), "no row depends on another"


def test_resnet50_loads_a_places365_checkpoint_with_its_prefix() -> None:
    from torchvision.models import resnet50

    from img2poem.nn.backbones import ResNet50

    torch.manual_seed(0)
    places = resnet50(num_classes=365).eval()
    backbone = ResNet50()
    classifier = backbone.load_checkpoint({f"module.{key}": value for key, value in places.state_dict().items()})
    x = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.allclose(classifier(backbone.eval()(x)), places(x), atol=1e-5)


def test_poem_encoder_ignores_padding() -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    encoder = PoemEncoder(PoemEncoderConfig({**sizes, "intermediate_size": 32}), embedding_dim=12).eval()
    short, long = [1, 7, 8, 2], [1, 9, 10, 11, 12, 13, 2]
    with torch.inference_mode():
        together, alone = encoder(*pad([short, long])), encoder(*pad([short]))
    assert together.shape == (2, 12)
    assert torch.allclose(together[:1], alone, atol=1e-5)
    assert torch.allclose(together.norm(dim=-1), torch.ones(2), atol=1e-5)


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(1, 3), st.sampled_from([0.0, 0.05, 0.4]), st.integers(0, 1000))
def test_the_best_of_several_is_near_and_likely(count: int, rows: int, weight: float, seed: int) -> None:
    torch.manual_seed(seed)
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    encoder = PoemEncoder(PoemEncoderConfig({**sizes, "intermediate_size": 32}), EMBEDDING_DIM).eval()
    tokens = torch.randint(FIRST_WORD, 50, (rows, count, 9))
    tokens[:, :, -1] = EOS
    scores, lengths, points = torch.randn(rows, count) - 3, torch.full((rows, count), 9), embeddings(rows, seed)
    with torch.inference_mode():
        found = Rerank(encoder, weight)(tokens, scores, lengths, points)
        for row in range(rows):
            texts = [[BOS, *text] for text in tokens[row].tolist()]
            cosines = encoder(*pad(texts)) @ points[row]
            best = int((cosines + weight * scores[row]).argmax())
            assert torch.equal(found.tokens[row], tokens[row, best]) and found.scores[row] == scores[row, best]
            assert found.relevance[row].item() == pytest.approx(cosines[best].item(), abs=1e-5), "the cosine alone"


@given(st.integers(2, 8), st.integers(0, 1000), st.booleans())
def test_ranking_loss_counts_margins_in_both_directions(rows: int, seed: int, hardest: bool) -> None:
    left, right = embeddings(rows, seed), embeddings(rows, seed + 1)
    scores = (left @ right.T).tolist()
    over = [[max(0.0, 0.2 + scores[i][j] - scores[i][i]) for j in range(rows) if j != i] for i in range(rows)]
    under = [[max(0.0, 0.2 + scores[j][i] - scores[i][i]) for j in range(rows) if j != i] for i in range(rows)]
    reduce = max if hardest else sum
    expected = sum(reduce(x) for x in over + under) / rows
    assert ranking_loss(left, right, hardest=hardest).item() == pytest.approx(expected, abs=1e-4)


def test_ranking_loss_is_zero_when_pairs_are_apart_from_the_rest() -> None:
    corners = torch.eye(5)
    assert ranking_loss(corners, corners).item() == 0
    assert ranking_loss(corners, corners.roll(1, 0)).item() > 1
