from __future__ import annotations

import torch

from img2poem.text import BOS, EOS
from training.refinement import log_likelihood

from .test_adversarial import small_decoder


def test_likelihood_is_that_of_each_text_alone_in_its_order() -> None:
    decoder = small_decoder()
    rows = [[BOS, *range(5, 5 + n), EOS] for n in (9, 1, 4, 20)]
    found = log_likelihood(decoder, rows)
    for row, mean in zip(rows, found, strict=True):
        tokens = torch.tensor([row])
        log_probs = decoder(tokens[:, :-1], torch.zeros(1, 8)).log_softmax(-1)
        wanted = log_probs.gather(2, tokens[:, 1:].unsqueeze(2)).mean()
        assert abs(mean - wanted) < 0.02  # computed in bfloat16
