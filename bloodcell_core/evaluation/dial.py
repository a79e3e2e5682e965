"""The review dial: how sure an answer must be to stand, what is then set aside to be looked at, and what slips through.

Selective classification, or classification with a reject option. An answer stands where its probability is at the
threshold or above; the picture is set aside otherwise. A mistake that is set aside is caught, one that stands is
missed. The accuracy-coverage curve shows the share of answers that stand against how many of those are right (El-Yaniv
& Wiener, JMLR 11, 2010). Intervals are by source photo at a fixed threshold, which is what a person sets: in each
resample the answers that stand are counted anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.arrays import Flags, Floats, Labels, Numbers
from bloodcell_core.evaluation.figures import percent
from bloodcell_core.evaluation.intervals import draw_photos
from bloodcell_core.evaluation.limits import Interval
from bloodcell_core.evaluation.predictions import arrays_of, unit_of
from bloodcell_core.evaluation.resampling import ratio_or_nan, resampled_sums

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
CURVE_POINTS = 100
WANTED_ACCURACY = 0.97  # of the answers that stand
MOST_SET_ASIDE = 0.2  # of the pictures: a dial that sets more aside is no help


def dial(table: pd.DataFrame, classes: Sequence[str], thresholds: Sequence[float] = THRESHOLDS) -> dict[str, Any]:
    """What each threshold sets aside, catches and misses. JSON-ready.

    Args:
        table: of predictions, with the columns of predictions.parquet.
        classes: the run's classes.
        thresholds: of the probability of the answer, 0…1.

    Returns:
        - pictures, photos (None where they aren't known), mistakes: of the whole table.
        - thresholds: for each one, ascending, {threshold; set_aside, caught, missed: counts of pictures; share: set
          aside of all, 0…1; accuracy: of the answers that stand, None where none does; photos: that these are of, None
          where photos aren't known; intervals {share, accuracy: [low, high] or None} at 95%; by_class {class:
          {pictures, set_aside, caught, missed}}, by the label}.

    Raises:
        LabError: in words, for no pictures.
    """
    labels, confidence, right, photos, photos_known = _answers(table, classes)
    cuts = np.unique(np.asarray(thresholds, np.float64))
    pictures = np.bincount(labels, minlength=len(classes))
    mistakes = np.bincount(labels[~right], minlength=len(classes))
    aside = pictures[:, None] - _standing(labels, len(classes), confidence, cuts)
    missed = _standing(labels[~right], len(classes), confidence[~right], cuts)
    caught = mistakes[:, None] - missed
    coverage, accuracy, coverage_limits, accuracy_limits = _curve(labels, confidence, right, photos, cuts, len(classes))
    return {
        "pictures": len(labels),
        "photos": len(set(photos)) if photos_known else None,
        "unit": unit_of(table),
        "mistakes": int(mistakes.sum()),
        "thresholds": [
            {
                "threshold": float(cut),
                **_counts(aside[:, place].sum(), caught[:, place].sum(), missed[:, place].sum()),
                "share": 1 - coverage[place],
                "accuracy": accuracy[place],
                "photos": len(set(photos[confidence >= cut])) if photos_known else None,
                "intervals": {
                    "share": _turned(coverage_limits[place]),
                    "accuracy": accuracy_limits[place],
                },
                "by_class": {
                    name: {
                        "pictures": int(pictures[index]),
                        **_counts(aside[index, place], caught[index, place], missed[index, place]),
                    }
                    for index, name in enumerate(classes)
                },
            }
            for place, cut in enumerate(cuts)
        ],
    }


def review_threshold(table: pd.DataFrame, classes: Sequence[str]) -> tuple[float, str]:
    """The threshold that a run's answers are held to unless a person sets another, and in words where it comes from.

    The lowest of `THRESHOLDS` at which `WANTED_ACCURACY` of the validation answers that stand are right; where none
    reaches it, the highest that sets at most `MOST_SET_ASIDE` of them aside. The lowest of all where there are no
    validation pictures to tell.

    Args:
        table: of a run's predictions; its `val` rows are read.
        classes: its classes.
    """
    validation = table[table.split == "val"]
    if validation.empty:
        return THRESHOLDS[0], "there are no validation pictures to choose it by"
    _, confidence, right, _, _ = _answers(validation, classes)
    stand, well = _standing_and_right(confidence, right, np.array(THRESHOLDS))
    within = stand >= (1 - MOST_SET_ASIDE) * len(right)
    enough = within & (well >= WANTED_ACCURACY * stand)
    place = int(np.flatnonzero(enough)[0]) if enough.any() else max(0, int(within.sum()) - 1)
    words = f"{stand[place]:,} of {len(right):,} validation pictures stand at it"
    if stand[place]:
        words += f", and {percent(well[place] / stand[place])} of these are right"
    if not enough.any() and THRESHOLDS[place] < THRESHOLDS[-1]:
        words += f"; a higher one would set more than {MOST_SET_ASIDE:.0%} of them aside"
    return THRESHOLDS[place], words


def accuracy_coverage(table: pd.DataFrame, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The accuracy-coverage curve, from all answers to the surest alone. JSON-ready.

    Its thresholds are probabilities that occur, about evenly many pictures apart; equally sure answers stand or fall
    together.

    Returns:
        At most `CURVE_POINTS` of {threshold, coverage, accuracy: 0…1; intervals {coverage, accuracy: [low, high] or
        None}}.

    Raises:
        LabError: in words, for no pictures.
    """
    labels, confidence, right, photos, _ = _answers(table, classes)
    cuts = np.unique(np.quantile(confidence, np.linspace(0, 1, CURVE_POINTS), method="inverted_cdf"))
    columns = _curve(labels, confidence, right, photos, cuts, len(classes))
    return [
        {
            "threshold": float(cut),
            "coverage": coverage,
            "accuracy": accuracy,
            "intervals": {"coverage": coverage_limits, "accuracy": accuracy_limits},
        }
        for cut, coverage, accuracy, coverage_limits, accuracy_limits in zip(cuts, *columns, strict=True)
    ]


def _answers(table: pd.DataFrame, classes: Sequence[str]) -> tuple[Labels, Floats, Flags, npt.NDArray[Any], bool]:
    """(N,) labels, probabilities of the answers, whether each is right, photos; and whether photos are known."""
    if table.empty:
        raise LabError("there are no pictures to set the dial by")
    labels, probabilities, photos, photos_known = arrays_of(table, classes)
    return labels, probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, photos, photos_known


def _standing(groups: npt.NDArray[Any], count: int, confidence: Floats, cuts: Floats) -> Numbers:
    """(G, T) how many answers of each group 0…count-1 stand at each of the ascending thresholds."""
    passed = np.searchsorted(cuts, confidence, side="right")  # thresholds at or below
    cells = np.bincount(groups * (len(cuts) + 1) + passed, minlength=count * (len(cuts) + 1))
    at_least: Numbers = cells.reshape(count, -1)[:, ::-1].cumsum(axis=1)[:, ::-1]
    return at_least[:, 1:]


def _standing_and_right(confidence: Floats, right: Flags, cuts: Floats) -> tuple[Numbers, Numbers]:
    """(T,) how many answers stand at each of the ascending thresholds, and (T,) how many of these are right."""
    everything = np.zeros(len(right), dtype=np.intp)
    stand = _standing(everything, 1, confidence, cuts)[0]
    return stand, _standing(everything[right], 1, confidence[right], cuts)[0]


def _curve(
    labels: Labels, confidence: Floats, right: Flags, photos: npt.NDArray[Any], cuts: Floats, classes: int
) -> tuple[list[float], list[float | None], list[Interval], list[Interval]]:
    """At each threshold: coverage, accuracy of what stands, and the interval of each by source photo."""
    stand, well = _standing_and_right(confidence, right, cuts)
    coverage = [float(share) for share in stand / len(labels)]
    accuracy = [int(part) / int(whole) if whole else None for part, whole in zip(well, stand, strict=True)]
    nothing: list[Interval] = [None] * len(cuts)
    drawn = draw_photos(labels, photos, classes)
    if drawn is None:
        return coverage, accuracy, nothing, nothing
    numbers, count = drawn.photo_numbers, drawn.multiplicities.shape[1]
    per_photo = np.hstack(
        [
            _standing(numbers, count, confidence, cuts),
            _standing(numbers[right], count, confidence[right], cuts),
            np.bincount(numbers, minlength=count)[:, None],
        ]
    )
    stands, rights, pictures = np.split(
        resampled_sums(per_photo, drawn.multiplicities), [len(cuts), 2 * len(cuts)], axis=1
    )
    every = np.ones(len(labels), dtype=np.bool_)
    standing, well_off = [], []
    for cut, share, of_these in zip(cuts, (stands / pictures).T, ratio_or_nan(rights, stands).T, strict=True):
        left = confidence >= cut
        # The greatest of C probabilities is at least 1 in C: up to there all answers stand, for certain.
        standing.append([1.0, 1.0] if cut <= 1 / classes else drawn.share_interval(left, every, share))
        well_off.append(drawn.share_interval(right, left, of_these))
    return coverage, accuracy, standing, well_off


def _turned(limits: Interval) -> Interval:
    """The interval of 1 less a share."""
    return [1 - limits[1], 1 - limits[0]] if limits else None


def _counts(set_aside: int, caught: int, missed: int) -> dict[str, int]:
    return {"set_aside": int(set_aside), "caught": int(caught), "missed": int(missed)}
