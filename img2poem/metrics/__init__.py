"""Metrics of poems and embeddings: pure functions of texts and numpy arrays.

BLEU needs ``sacrebleu``, prosody ``pronouncing``, and the list of English words ``pyspellchecker``; each is imported at
the first call. Metrics that need a language model take it as a function.
"""

from .bleu import Bleu, bleu
from .diversity import distinct, line_counts, repeated_lines, repeated_words
from .language_model import KneserNey, bits_per_character
from .novelty import TrainingText, copied_lines, new_ngrams, novelty
from .order import Bits, order_gain
from .overall import overall
from .prosody import Prosody, prosody, rhymes, syllables
from .relevance import caption_retrieval, tf_idf
from .retrieval import Retrieval, first_ranks, retrieval
from .spelling import UnknownWords, english_words, unknown_words

__all__ = [
    "Bits",
    "Bleu",
    "KneserNey",
    "Prosody",
    "Retrieval",
    "TrainingText",
    "UnknownWords",
    "bits_per_character",
    "bleu",
    "caption_retrieval",
    "copied_lines",
    "distinct",
    "english_words",
    "first_ranks",
    "line_counts",
    "new_ngrams",
    "novelty",
    "order_gain",
    "overall",
    "prosody",
    "repeated_lines",
    "repeated_words",
    "retrieval",
    "rhymes",
    "syllables",
    "tf_idf",
    "unknown_words",
]
