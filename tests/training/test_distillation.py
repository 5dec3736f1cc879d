"""The teacher's poems, and which of them are kept."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest
import torch

from img2poem.nn.transformer_decoder import TransformerDecoder
from img2poem.text.vocabulary import BOS, CAPTION, EOS, FREE, NEWLINE, PAD, RHYMED, UNK
from training.distillation import DistillationSettings, collected, well_formed, write

from ..nn.test_transformer_decoder import CONFIG


def test_written_texts_score_as_under_teacher_forcing() -> None:
    torch.manual_seed(0)
    decoder = TransformerDecoder(CONFIG, embedding_dim=8).eval()
    for parameter in decoder.parameters():  # fresh layers give nearly equal probabilities
        parameter.data.mul_(2)
    points, prompts = torch.randn(40, 8), torch.tensor([[CAPTION, 12, FREE]]).repeat(40, 1)
    drawn = write(decoder, points, prompts, temperature=1.0, top_p=1.0, random=torch.Generator(), max_tokens=20)
    ended = [text for text in drawn if text.tokens[-1] == EOS]
    assert len(ended) > 0 and any(len(text.tokens) < 12 for text in ended)
    never = [PAD, UNK, CAPTION, FREE, RHYMED]
    for point, prompt, text in zip(points, prompts, drawn, strict=True):
        assert not set(text.tokens) & set(never) and EOS not in text.tokens[:-1]
        tokens = torch.cat([prompt, torch.tensor(text.tokens)])[None]
        logits = decoder(tokens[:, :-1], point[None])[0, len(prompt) - 1 :]
        chances = logits.index_fill(1, torch.tensor(never), -torch.inf).log_softmax(-1)
        wanted = chances.gather(1, torch.tensor(text.tokens)[:, None]).mean()
        assert text.score == pytest.approx(wanted.item(), abs=1e-4)


def test_a_low_temperature_writes_what_is_likeliest() -> None:
    torch.manual_seed(1)
    decoder = TransformerDecoder(CONFIG, embedding_dim=8).eval()
    point, prompt = torch.randn(1, 8), torch.tensor([[BOS]])
    [text] = write(decoder, point, prompt, temperature=1e-4, top_p=0.9, random=torch.Generator(), max_tokens=5)
    for i in range(len(text.tokens)):
        logits = decoder(torch.tensor([[BOS, *text.tokens[:i]]]), point)[0, -1]
        logits[[PAD, UNK, CAPTION, FREE, RHYMED]] = -torch.inf
        assert int(logits.argmax()) == text.tokens[i]
    assert NEWLINE not in (PAD, UNK), "a line break is no special token to a decoder"


@pytest.mark.parametrize(
    ("poem", "kept"),
    [
        ("A dog.\nA ball.\nThe sea.", True),
        ("A dog.\nA ball.", False),
        ("A dog.\nA ball.\nA dog,\nand the sea.", False),  # a line repeats, except for its mark
        ("A dog.\nA ball.\nThe sea", False),
        ("A dog.\nA ball.\n.", False),
        ("\n".join(f"Line {word}." for word in "abcdefg"), False),
    ],
)
def test_well_formed_poems(poem: str, kept: bool) -> None:
    assert well_formed(poem, finished=True) is kept
    assert not well_formed(poem, finished=False)


def test_the_least_likely_and_the_least_near_are_dropped(tmp_path: Path) -> None:
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    for piece in range(2):
        with (pieces / f"{piece:04}.jsonl").open("w") as file:
            for i in range(50):
                number = piece * 50 + i
                record = {
                    "set": "oasis",
                    "photo": f"{number}.jpg",
                    "caption": 0,
                    "form": "free",
                    "poem": f"A dog {'w' * (number + 1)}.\nA ball.\nThe sea.",
                    "finished": True,
                    "score": -number / 100,
                    "cosine": number / 100,
                }
                file.write(json.dumps(record) + "\n")
                if number < 3:  # a duplicate
                    file.write(json.dumps(record) + "\n")
    counts = collected(tmp_path, pieces, DistillationSettings(least_likely=0.1, least_near=0.2))
    assert counts == {"written": 103, "well_formed": 103, "distinct": 100, "kept": 72}
    with lzma.open(tmp_path / "poems.jsonl.xz") as file:
        kept = [json.loads(line) for line in file]
    assert {record["photo"] for record in kept} == {f"{number}.jpg" for number in range(18, 90)}
    assert kept[0].keys() == {"set", "photo", "caption", "form", "poem"}
