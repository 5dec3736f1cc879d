"""Photographs with sentiment labels by human raters: CrowdFlower's polarity, You et al.'s emotions.

``ImagePolarity``: ``image-Sentiment-polarity-DFE.csv`` as CrowdFlower published it and arthurdjn/img2poem-pytorch
uses it, with columns ``_unit_id``, ``imageurl``,
``which_of_these_sentiment_scores_does_the_above_image_fit_into_best`` and the same with ``:confidence``; or the
shorter ``image-sentiment-polarity-all.csv`` of zhaoyanglijoey/Poem-From-Image, with columns ``id``, ``url``,
``label`` and ``confidence``. Other columns are ignored.

``ImageEmotion``: ``image-Sentiment-emotion.csv`` of arthurdjn/img2poem-pytorch, with columns ``id``, ``emotion``,
``url``, ``disagrees`` and ``agrees``: how many of five raters agreed with the emotion by which the photograph had
been found (You et al. 2016, "Building a Large Scale Dataset for Image Emotion Recognition").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .collection import PhotographCollection, unique
from .errors import BadData
from .files import FETCH_ANEW, csv_rows, number_of, text_of
from .splits import photo_link

#: CrowdFlower's five answers as numbers.
POLARITIES = {"Highly negative": -2, "Negative": -1, "Neutral": 0, "Positive": 1, "Highly positive": 2}
EMOTIONS = ("amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness")

_ANSWER = "which_of_these_sentiment_scores_does_the_above_image_fit_into_best"
_CROWDFLOWER = ("_unit_id", "imageurl", _ANSWER, f"{_ANSWER}:confidence")
_SHORT = ("id", "url", "label", "confidence")


@dataclass(frozen=True)
class PolarityPhotograph:
    """A photograph with its polarity, -2 (highly negative) to 2, and the raters' agreement on it, 0 to 1."""

    id: int
    image_url: str
    photo: Path
    polarity: int
    confidence: float

    @property
    def key(self) -> str:
        """The record's name, unique among all collections."""
        return f"polarity/{self.id}"

    @property
    def links(self) -> tuple[str, ...]:
        """Links that no record of another split may share; see :class:`img2poem.datasets.splits.Groups`."""
        return (photo_link(self.image_url),)


@dataclass(frozen=True)
class EmotionPhotograph:
    """A photograph with one of ``EMOTIONS`` and the share of raters who agreed with it, 0 to 1."""

    id: int
    image_url: str
    photo: Path
    emotion: str
    agreement: float

    @property
    def key(self) -> str:
        """The record's name, unique among all collections."""
        return f"emotion/{self.id}"

    @property
    def links(self) -> tuple[str, ...]:
        """Links that no record of another split may share; see :class:`img2poem.datasets.splits.Groups`."""
        return (photo_link(self.image_url),)


class ImagePolarity(PhotographCollection[PolarityPhotograph]):
    """CrowdFlower's photographs with polarity labels, in either format that the module's docstring describes."""

    FILE = "image-Sentiment-polarity-DFE.csv"
    URL = "https://raw.githubusercontent.com/arthurdjn/img2poem-pytorch/master/data/images/" + FILE
    FOLDER = "polarity"

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Iterator[PolarityPhotograph]:
        """Yield the records in ``data``; see :meth:`Collection.parse`."""
        header = text_of(data, path).partition("\n")[0]
        columns = _SHORT if "_unit_id" not in header and "label" in header else _CROWDFLOWER
        seen: set[int] = set()
        for line, row in csv_rows(data, path, columns):
            name, url, label, confidence = (row[column] for column in columns)
            number = unique(number_of(name, path, line, int), seen, path, line)
            _one_of(label, tuple(POLARITIES), path, line)
            share = number_of(confidence, path, line, float)
            yield PolarityPhotograph(number, url, cls.photo_path(path, number), POLARITIES[label], share)


class ImageEmotion(PhotographCollection[EmotionPhotograph]):
    """Photographs with emotion labels, in the format that the module's docstring describes.

    The file also has photographs with whose emotion most raters disagreed. You et al. keep those with which at least
    three of five agreed; training should do the same: ``[r for r in emotions if r.agreement >= 0.6]``.
    """

    FILE = "image-Sentiment-emotion.csv"
    URL = "https://raw.githubusercontent.com/arthurdjn/img2poem-pytorch/master/data/images/" + FILE
    FOLDER = "emotion"

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Iterator[EmotionPhotograph]:
        """Yield the records in ``data``; see :meth:`Collection.parse`."""
        seen: set[int] = set()
        for line, row in csv_rows(data, path, ("id", "emotion", "url", "disagrees", "agrees")):
            number = unique(number_of(row["id"], path, line, int), seen, path, line)
            _one_of(row["emotion"], EMOTIONS, path, line)
            against, agreed = (number_of(row[column], path, line, int) for column in ("disagrees", "agrees"))
            agreement = agreed / max(1, against + agreed)
            yield EmotionPhotograph(number, row["url"], cls.photo_path(path, number), row["emotion"], agreement)


def _one_of(label: str, labels: tuple[str, ...], path: Path, line: str) -> None:
    if label not in labels:
        raise BadData.at(path, f"label {label!r:.80} is none of {', '.join(labels)}", FETCH_ANEW, line)
