from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.modules import ServedDecoderStep
from img2poem.nn.poem_decoder import PoemDecoder
from img2poem.nn.rules import Candidates, History, Limits, RowOptions, Rules
from img2poem.nn.search import TOP_TOKENS, BeamSearch, DecoderStep, GreedySearch, Hypotheses, Sampling
from img2poem.text.orthography import Orthography
from img2poem.text.vocabulary import (
    ALWAYS,
    BOS,
    CAPTION,
    EOS,
    FINAL_MARKS,
    FIRST_WORD,
    FREE,
    NEWLINE,
    PAD,
    RHYMED,
    SUFFIX_IDS,
    UNK,
)

from .models import ORTHOGRAPHY, PIECES, STEPS, embeddings, options, small_decoder
from .models import step as step_of_all

row_options = st.fixed_dictionaries(
    {
        "min_lines": st.integers(1, 4),
        "max_lines": st.integers(4, 8),
        "max_tokens": st.integers(3, STEPS + 4),  # requests may exceed the decoder's limit
        "max_line_tokens": st.integers(2, 8),
        "no_repeat_ngram": st.sampled_from([0, 2, 3, 4]),
        "repetition_penalty": st.floats(1, 3, width=32),
    }
)


def greedy(decoder: PoemDecoder, embedding: torch.Tensor, rows: RowOptions) -> Hypotheses:
    with torch.inference_mode():
        return GreedySearch(decoder, PIECES)(embedding, rows)


def beam(
    decoder: PoemDecoder, embedding: torch.Tensor, rows: RowOptions, width: int, widest: int = 4, penalty: float = 1.0
) -> Hypotheses:
    count = len(embedding)
    with torch.inference_mode():
        search = BeamSearch(decoder, PIECES, widest)
        return search(embedding, rows, torch.full((count,), width), torch.full((count,), penalty))


def sampled(
    decoder: PoemDecoder, embedding: torch.Tensor, rows: RowOptions, seed: int = 0, **changed: float
) -> Hypotheses:
    count = len(embedding)
    values = {"temperature": 1.0, "top_k": 64, "top_p": 1.0, **changed}
    noise = torch.rand(count, STEPS, TOP_TOKENS, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return Sampling(decoder, PIECES)(
            embedding, rows, *(torch.full((count,), value) for value in values.values()), noise
        )


def lines_of(row: torch.Tensor) -> list[list[int]]:
    lines: list[list[int]] = [[]]
    for token in row.tolist():
        if token == NEWLINE:
            lines.append([])
        elif token not in (EOS, PAD):
            lines[-1].append(token)
    return lines


@settings(max_examples=60)
@given(row_options, st.integers(0, 10_000), st.sampled_from(["greedy", "sampling", 1, 3]))
def test_every_poem_obeys_its_rules(chosen: dict[str, float], seed: int, search: str | int) -> None:
    decoder, rows, embedding = small_decoder(seed % 7), options(2, **chosen), embeddings(2, seed)
    if isinstance(search, int):
        found = beam(decoder, embedding, rows, search)
    else:
        found = greedy(decoder, embedding, rows) if search == "greedy" else sampled(decoder, embedding, rows, seed)
    for tokens, length in zip(found.tokens, found.lengths.tolist(), strict=True):
        assert tokens[length - 1] == EOS and (tokens[length:] == PAD).all() and (tokens[: length - 1] != EOS).all()
        assert length <= chosen["max_tokens"]
        poem, n = tokens[: length - 1].tolist(), int(chosen["no_repeat_ngram"])
        assert not {PAD, BOS, UNK, CAPTION, FREE, RHYMED, PIECES.index("7"), PIECES.index("##ly")} & set(poem)
        lines = lines_of(tokens)
        assert len(lines) <= chosen["max_lines"]
        assert all(len(line) - (line[-1] in FINAL_MARKS) <= chosen["max_line_tokens"] for line in lines if line)
        for line in filter(None, lines):
            assert ORTHOGRAPHY.words[line[0]], "a line begins with a word"
            assert all(ORTHOGRAPHY.allow(*pair) for pair in pairwise(line))
            assert not any(ORTHOGRAPHY.unfinished[a] and ORTHOGRAPHY.unfinished[b] for a, b in pairwise(line))
        assert not any(line and ORTHOGRAPHY.unfinished[line[-1]] for line in lines), "every word is a whole one"
        # Closer to the length limit, a line of a word and its mark no longer fits.
        if length < min(chosen["max_tokens"], STEPS) - 2 and n != 2:
            assert len(lines) >= chosen["min_lines"] and all(lines), "no empty line, none too few"
        words = [token for token in poem if token != NEWLINE]
        if chosen["repetition_penalty"] > 1:
            assert not any(a == b and ORTHOGRAPHY.words[a] for a, b in pairwise(words))
        if n:
            grams = [tuple(poem[i : i + n]) for i in range(len(poem) - n + 1) if ORTHOGRAPHY.words[poem[i + n - 1]]]
            assert len(grams) == len(set(grams))
        if n != 2:  # n = 2 may leave no word to continue with
            assert poem[-1] in FINAL_MARKS


def test_repetition_penalty_divides_probabilities_of_words_by_use() -> None:
    said = [PIECES.index(word) for word in "the sea is the sea on the hill is old".split()]
    tokens = torch.tensor([said + [PAD] * (STEPS - len(said))])
    words = torch.arange(len(PIECES)).unsqueeze(0)
    tokens_and_always = torch.cat([words, torch.tensor([ALWAYS])], dim=1)
    candidates = Candidates(words, tokens_and_always, torch.zeros(1, len(PIECES) + len(ALWAYS)))
    free, penalised = (
        Rules(ORTHOGRAPHY)(candidates, History.of(tokens), Limits.of(rows, STEPS, len(PIECES)))
        for p in (1.0, 2.0)
        for rows in [options(1, no_repeat_ngram=0, max_line_tokens=20, repetition_penalty=p)]
    )
    uses = {"the": 3, "sea": 2, "hill": 1, "is": 0, "on": 0, "blue": 0}  # 0: too short to count, or unused
    ids = [PIECES.index(word) for word in uses]
    times = torch.tensor(list(uses.values()), dtype=torch.float32)
    assert torch.allclose((free - penalised)[0, ids], times * math.log(2))


def test_forbidden_tokens_never_come_and_their_absence_hurts_nothing_else() -> None:
    decoder, embedding = small_decoder(), embeddings(4)
    free = greedy(decoder, embedding, options(4))
    ban = sorted({*free.tokens[0].tolist()} - {PAD})  # includes marks, newline and end, which stay allowed
    forbidden = torch.full((4, 32), PAD)
    forbidden[0, : len(ban)] = torch.tensor(ban)
    found = greedy(decoder, embedding, options(4)._replace(forbidden_tokens=forbidden))
    assert not {token for token in ban if ORTHOGRAPHY.words[token]} & {*found.tokens[0].tolist()}
    assert EOS in found.tokens[0] and NEWLINE in found.tokens[0]
    assert torch.equal(found.tokens[1:], free.tokens[1:])


def test_a_search_without_words_left_ends() -> None:
    """With three words and no repeated pairs, a search soon runs out of allowed words."""
    pieces, decoder = PIECES[: FIRST_WORD + 5], small_decoder(vocabulary_size=FIRST_WORD + 5)
    rows = options(4, no_repeat_ngram=2, min_lines=4, max_line_tokens=30)
    found = GreedySearch(decoder, pieces)(embeddings(4), rows)
    for tokens, length in zip(found.tokens, found.lengths.tolist(), strict=True):
        assert tokens[length - 1] == EOS and (tokens[: length - 1] != PAD).all()
    assert found.scores.isfinite().all()


def test_greedy_follows_the_decoder_step_by_step() -> None:
    decoder, embedding = small_decoder(), embeddings(3)
    decoder_step, rules, rows = DecoderStep(decoder, ORTHOGRAPHY), Rules(ORTHOGRAPHY), options(3)
    found = greedy(decoder, embedding, rows)
    tokens, previous = torch.full((3, STEPS), PAD), torch.full((3, 1), BOS)
    (state, context), limits = decoder.parted(decoder.init(embedding)), Limits.of(rows, STEPS, len(PIECES))
    total = torch.zeros(3)
    for step in range(int(found.lengths.max())):
        likely, state = decoder_step(previous, state, decoder.condition(context), limits.always)
        best = rules(likely, History.of(tokens), limits).max(-1)
        running = torch.tensor([EOS not in row for row in tokens.tolist()])
        tokens[:, step] = torch.where(running, likely.tokens[range(3), best.indices], PAD)
        total += torch.where(running, best.values, 0.0)
        previous = tokens[:, step : step + 1]
    assert torch.equal(tokens, found.tokens)
    assert torch.allclose(total / found.lengths, found.scores, atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("width", [1, 2, 4])
def test_beam_search_agrees_with_a_plain_one(width: int, seed: int) -> None:
    """The reference is the same search with lists, hypothesis by hypothesis, for one row."""
    decoder, embedding, rows = small_decoder(seed), embeddings(1, seed), options(1)
    decoder_step, rules, penalty = DecoderStep(decoder, ORTHOGRAPHY), Rules(ORTHOGRAPHY), 0.7
    (first, context), limits = decoder.parted(decoder.init(embedding)), Limits.of(rows, STEPS, len(PIECES))
    beams = [([], 0.0, first)]
    ended: list[tuple[float, list[int]]] = []
    for step in range(STEPS):
        candidates = []
        for tokens, score, state in beams:
            previous = torch.tensor([[tokens[-1] if tokens else BOS]])
            found, after = decoder_step(previous, state, decoder.condition(context), limits.always)
            history = History.of(torch.tensor([tokens + [PAD] * (STEPS - len(tokens))]))
            allowed, ids = rules(found, history, limits)[0].tolist(), found.tokens[0].tolist()
            likely = [(t, v) for t, v in zip(ids, allowed, strict=True) if v > float("-inf")]
            candidates += [([*tokens, t], score + v, after) for t, v in likely]
        candidates.sort(key=lambda c: -c[1])
        candidates = candidates[: 2 * 4]
        ended += [(s / (step + 1) ** penalty, t) for t, s, _ in candidates[:width] if t[-1] == EOS]
        beams = [c for c in candidates if c[0][-1] != EOS][:width]
        if len(ended) >= width or not beams:
            break
    score, tokens = max(ended, key=lambda e: e[0])
    found = beam(decoder, embedding, rows, width, penalty=penalty)
    assert found.tokens[0, : len(tokens)].tolist() == tokens
    assert found.scores[0].item() == pytest.approx(score, abs=1e-5)


def test_beam_of_one_is_greedy() -> None:
    decoder, embedding = small_decoder(2), embeddings(8)
    one, best = beam(decoder, embedding, options(8), width=1), greedy(decoder, embedding, options(8))
    assert torch.equal(one.tokens, best.tokens)
    assert torch.allclose(one.scores, best.scores, atol=1e-5)


def test_rows_do_not_influence_each_other() -> None:
    """A batch with different options, widths and lengths gives the same as each row alone."""
    decoder, embedding = small_decoder(3), embeddings(5)
    rows = [options(1, max_lines=2 + i, max_tokens=8 + 4 * i, repetition_penalty=1 + 0.3 * i) for i in range(5)]
    together = RowOptions(*(torch.cat(parts) for parts in zip(*rows, strict=True)))
    widths, penalties = torch.tensor([1, 2, 3, 4, 2]), torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0])
    search = BeamSearch(decoder, PIECES, 4)
    with torch.inference_mode():
        batch = search(embedding, together, widths, penalties)
        for i in range(5):
            alone = search(embedding[i : i + 1], rows[i], widths[i : i + 1], penalties[i : i + 1])
            assert torch.equal(batch.tokens[i], alone.tokens[0])
            assert torch.allclose(batch.scores[i], alone.scores[0], atol=1e-5)


def test_wider_beams_find_likelier_poems() -> None:
    decoder, embedding = small_decoder(1), embeddings(32)
    scores = [beam(decoder, embedding, options(32), width).scores.mean().item() for width in (1, 2, 4)]
    assert all(less < more for less, more in pairwise(scores))


def test_the_same_noise_gives_the_same_poem() -> None:
    decoder, embedding = small_decoder(4), embeddings(6)
    first, again, other = (sampled(decoder, embedding, options(6), seed) for seed in (1, 1, 2))
    assert torch.equal(first.tokens, again.tokens) and not torch.equal(first.tokens, other.tokens)


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}])
def test_sampling_without_a_choice_is_greedy(narrow: dict[str, float]) -> None:
    decoder, embedding = small_decoder(5), embeddings(6)
    found, best = sampled(decoder, embedding, options(6), **narrow), greedy(decoder, embedding, options(6))
    assert torch.equal(found.tokens, best.tokens)
    assert torch.allclose(found.scores, best.scores, atol=1e-5)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 64, 1.0), (0.5, 64, 1.0), (1.0, 3, 1.0), (2.0, 64, 0.5)]
)
def test_tokens_are_drawn_by_their_probabilities(temperature: float, top_k: int, top_p: float) -> None:
    draws = 4000
    decoder, embedding = small_decoder(6), embeddings(1).expand(draws, -1)
    found = sampled(decoder, embedding, options(draws, max_tokens=3), temperature=temperature, top_k=top_k, top_p=top_p)
    (state, context), rows = decoder.parted(decoder.init(embedding[:1])), options(1, max_tokens=3)
    limits = Limits.of(rows, STEPS, len(PIECES))
    decoder_step, begin = DecoderStep(decoder, ORTHOGRAPHY), torch.tensor([[BOS]])
    likely, _ = decoder_step(begin, state, decoder.condition(context), limits.always)
    allowed, ids = Rules(ORTHOGRAPHY)(likely, History.begin(rows, STEPS), limits)[0], likely.tokens
    order = allowed.argsort(descending=True)
    expected = (allowed[order] / temperature).softmax(-1)
    kept = (torch.arange(len(order)) < top_k) & (expected.cumsum(-1) - expected < top_p)
    expected = torch.where(kept, expected, 0.0) / expected[kept].sum()
    counted = torch.bincount(found.tokens[:, 0], minlength=len(PIECES))[ids[0, order]] / draws
    # Four standard deviations of a proportion in 4,000 draws.
    assert torch.allclose(counted, expected, atol=4 * 0.5 / draws**0.5)
    assert not counted[~kept].any()


def test_decoder_step_returns_the_likeliest_that_may_follow_and_always_some() -> None:
    torch.manual_seed(0)
    decoder = small_decoder()
    decoder.token_embedding = torch.nn.Embedding(200, 8)
    decoder.output_bias = torch.nn.Parameter(torch.randn(200))
    decoder.config = replace(decoder.config, vocabulary_size=200)
    pieces = [*PIECES, *(chr(97 + i // 26) + chr(97 + i % 26) for i in range(200 - len(PIECES)))]
    orthography = Orthography.of(decoder.config, pieces)
    last, hidden = [PIECES.index("sea"), NEWLINE], decoder.init(embeddings(2))
    log_probs, next_hidden = step_of_all(decoder, torch.tensor(last), hidden)
    top_logprobs, top_tokens, after = ServedDecoderStep(decoder, pieces)(torch.tensor(last).unsqueeze(1), hidden)
    assert top_tokens.shape == (2, TOP_TOKENS) and torch.equal(after, next_hidden)
    may_follow = torch.tensor([[orthography.allow(token, i) for i in range(200)] for token in last])
    possible = torch.where(may_follow, log_probs, float("-inf")).log_softmax(-1)
    assert torch.allclose(top_logprobs, possible.gather(1, top_tokens), atol=1e-5), "among all that may follow"
    always = [*ALWAYS]
    # A mark cannot follow a newline: padding replaces it.
    assert top_tokens[:, -4:].tolist() == [always, [NEWLINE, EOS, PAD, PAD]]
    possible[:, always] = float("-inf")
    assert torch.equal(top_tokens[:, :-4], possible.topk(TOP_TOKENS - 4).indices)


def test_an_open_word_is_completed_however_unlikely_its_suffix_is() -> None:
    """Of 200 tokens "'t" is the least likely; it is a candidate only because no other is allowed."""
    decoder = small_decoder(vocabulary_size=200)
    pieces = [*PIECES, *(chr(97 + i // 26) + chr(97 + i % 26) for i in range(200 - len(PIECES)))]
    decoder.output_bias[SUFFIX_IDS["'t"]] = -50
    decoder.output_bias[PIECES.index("don")] = 50
    found = GreedySearch(decoder, pieces)(embeddings(4), options(4))
    for row in found.tokens.tolist():
        places = [i for i, token in enumerate(row) if token == PIECES.index("don")]
        assert places and all(row[i + 1] == SUFFIX_IDS["'t"] for i in places)


def test_what_a_caller_forbids_in_vain_harms_nothing() -> None:
    """Ids beyond the vocabulary are not tokens; a client that calls a model directly may send them."""
    decoder, rows, embedding = small_decoder(), options(2), embeddings(2)
    found = greedy(decoder, embedding, rows._replace(forbidden_tokens=torch.full((2, 32), 10**9)))
    assert found.scores.isfinite().all() and (found.tokens == EOS).any(1).all()
