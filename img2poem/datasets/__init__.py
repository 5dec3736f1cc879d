"""Readers of the training data in its published formats; ``download`` needs the extra ``data``."""

from .errors import BadData, DownloadStopped, MissingData
from .multim import MultiMPoem, MultiMPoems, PoeticPair, PoeticPairs
from .photo_poems import PhotoPoem, PhotoPoems
from .sentiment import EMOTIONS, POLARITIES, EmotionPhotograph, ImageEmotion, ImagePolarity, PolarityPhotograph
from .splits import Groups, Split, split_of
from .unim import UniMPoem, UniMPoems

__all__ = [
    "EMOTIONS",
    "POLARITIES",
    "BadData",
    "DownloadStopped",
    "EmotionPhotograph",
    "Groups",
    "ImageEmotion",
    "ImagePolarity",
    "MissingData",
    "MultiMPoem",
    "MultiMPoems",
    "PhotoPoem",
    "PhotoPoems",
    "PoeticPair",
    "PoeticPairs",
    "PolarityPhotograph",
    "Split",
    "UniMPoem",
    "UniMPoems",
    "split_of",
]
