"""What poems and embeddings are measured by: pure functions of texts and numpy arrays.

BLEU needs ``sacrebleu`` and prosody ``pronouncing``; both are imported at the first call.
"""

from .bleu import Bleu, bleu
from .diversity import distinct, line_counts, repeated_lines
from .language_model import KneserNey, bits_per_character
from .novelty import TrainingText, copied_lines, new_ngrams, novelty
from .overall import overall
from .prosody import Prosody, prosody, rhymes, syllables
from .relevance import caption_retrieval, tf_idf
from .retrieval import Retrieval, first_ranks, retrieval

__all__ = [
    "Bleu",
    "KneserNey",
    "Prosody",
    "Retrieval",
    "TrainingText",
    "bits_per_character",
    "bleu",
    "caption_retrieval",
    "copied_lines",
    "distinct",
    "first_ranks",
    "line_counts",
    "new_ngrams",
    "novelty",
    "overall",
    "prosody",
    "repeated_lines",
    "retrieval",
    "rhymes",
    "syllables",
    "tf_idf",
]
