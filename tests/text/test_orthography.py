"""Decoders write words and sentences, whatever their weights."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from img2poem.decoding.noise import noise
from img2poem.decoding.strategies import Sampling
from img2poem.errors import BadPackage, InvalidOption
from img2poem.nn import search
from img2poem.nn.rules import RowOptions
from img2poem.text.orthography import Orthography
from img2poem.text.vocabulary import APOSTROPHE, EOS, FINAL_MARKS, FIRST_WORD, HYPHEN, MARKS, NEWLINE, PAD, contractions

from ..nn.models import PIECES, embeddings, small_decoder
from ..packages import corpus, corpus_tokenizer

WORDS = "the dog dogs it that don they is sea green isn".split()
FOUND = contractions(["It's the dog's sea.", "they don't, it isn't", "That's the dogs' sea; they'll stay\nthey won't"])
OWN = Orthography([*PIECES[:FIRST_WORD], *WORDS], *FOUND)


def test_contractions_of_texts_are_what_no_rule_says() -> None:
    assert FOUND.words == ["don't", "isn't", "it's", "that's", "they'll", "won't"], "not dog's"
    assert FOUND.stems == ["don", "isn", "won"]
    assert contractions(["won't", "they won", "mightn't've"]).stems == ["mightn"]


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("the dog", True),
        ("the dog's sea", True),
        ("the dogs' sea", True),
        ("the dog' sea", False),
        ("it's", True),
        ("it't", False),
        ("the's", False),
        ("they's", False),
        ("they'll", True),
        ("they'll'll", False),
        ("dog's's", False),
        ("don't", True),
        ("don sea", False),
        ("don.", False),
        ("don's", False),
        ("the sea-green dog", True),
        ("sea-, dog", False),
        ("sea-'s", False),
        ("sea, dog.", True),
        ("sea,. dog", False),
        (", sea", False),
        ("\n'sea", False),
        ("\n's sea", False),
    ],
)
def test_what_may_follow_what(text: str, possible: bool) -> None:
    tokens = [NEWLINE, *(OWN.pieces.index(token) for token in re.findall(r"'(?:s|t|ll)(?![a-z])|[a-z]+|[-,.']", text))]
    assert all(OWN.allow(*pair) for pair in pairwise(tokens)) == possible


def test_only_whole_words_can_be_demanded() -> None:
    assert OWN.token_of("sea") == OWN.pieces.index("sea")
    for word in ("don", "seas", "'s", "-", "[UNK]"):
        with pytest.raises(InvalidOption, match=re.escape(f"the vocabulary has no word {word!r}")):
            OWN.token_of(word)


def test_a_vocabulary_in_another_order_is_refused() -> None:
    with pytest.raises(BadPackage, match="train the package again"):
        Orthography(["[PAD]", *PIECES])
    with pytest.raises(BadPackage, match=r"'sea' in config\.json is not a word with one of"):
        Orthography(PIECES, ["sea"])


def test_a_forbidden_word_follows_nothing_and_is_no_part_of_a_compound() -> None:
    bound = Orthography(OWN.pieces, *FOUND, forbidden=["sea", "nowhere"])
    assert not bound.allowed[:, bound.pieces.index("sea")].any() and bound.forbidden == {"sea", "nowhere"}


def test_poems_of_the_corpus_can_be_written() -> None:
    tokenizer, size, found = corpus_tokenizer()
    orthography = Orthography(tokenizer.pieces[:size], *found)
    poems = [[NEWLINE, *tokens, NEWLINE] for tokens in tokenizer.encode_batch(corpus()[:1000])]
    known = [tokens for tokens in poems if max(tokens) < size]
    possible = [
        all(orthography.allow(*pair) for pair in pairwise(tokens)) and tokens[-2] in FINAL_MARKS for tokens in known
    ]
    assert len(known) > 0.9 * len(poems) and sum(possible) > 0.98 * len(known)


def test_two_thousand_poems_have_no_unknown_word() -> None:
    """With an untrained decoder at a high temperature, everything that is allowed occurs."""
    tokenizer, size, found = corpus_tokenizer()
    decoder = small_decoder(vocabulary_size=size)
    decoder.config = replace(decoder.config, contractions=found.words, stems=found.stems, max_tokens=40)
    strategy = Sampling(temperature=2.0, top_p=1.0, max_tokens=40)
    sampling, count = search.Sampling(decoder, tokenizer.pieces), 250
    known = {*tokenizer.pieces[FIRST_WORD:size]}
    whole = {*found.words, *(f"{word}'s" for word in known), "o'clock"}
    for part in range(8):
        columns = (torch.full((count,), value) for value in (strategy.temperature, strategy.top_k, strategy.top_p))
        drawn = torch.from_numpy(noise(torch.arange(part * count, (part + 1) * count).unsqueeze(1).numpy())[:, 0])
        with torch.inference_mode():
            tokens = sampling(embeddings(count, part), RowOptions.of(strategy, count), *columns, drawn).tokens
        for row in tokens.tolist():
            text = tokenizer.decode(row).lower()
            for word in re.findall(r"[a-z]+(?:'[a-z]+)?", text):
                assert word in whole if "'" in word else word in known - {*found.stems}, text
            said = [token for token in row if token not in (EOS, PAD)]
            assert said[-1] in FINAL_MARKS and said[0] >= FIRST_WORD
            for before, after in pairwise([NEWLINE, *said]):
                assert before not in MARKS or after not in MARKS
                assert before != HYPHEN or after >= FIRST_WORD
                assert after != APOSTROPHE or tokenizer.pieces[before].endswith("s")
