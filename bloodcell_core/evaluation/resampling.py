"""The resamples of a bootstrap: photos drawn again and again, and every metric in each resample at once.

Predictions stay where they are and photos get multiplicities: a resample is a row of them, and a figure of it is
scikit-learn's with the multiplicities as sample weights. Written with NumPy for all resamples together, because 2,000
calls a figure take minutes; tests hold the figures equal to scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bloodcell_core.evaluation.arrays import Flags, Floats, Labels, Numbers

if TYPE_CHECKING:
    from scipy.sparse import csc_array

METRICS = (
    "accuracy", "balanced_accuracy", "f1_macro", "auc_ovr", "precision_macro", "recall_macro", "specificity_macro",
    "average_precision_macro", "kappa",
)  # fmt: skip
CLASS_METRICS = ("precision", "recall", "specificity", "f1", "auc", "average_precision")

# Values in one temporary array: 2 MB of float64 stay in a core's cache; 16 MB took the AUCs twice as long.
_WORKING_VALUES = 1 << 18

# Resamples at once: from 16 to 64 take as long, of 348 photos or of 60,000; fewer or many more take longer.
_TOGETHER = 32


def number_photos(photos: npt.ArrayLike, pictures: int) -> tuple[Numbers, list[Any]]:
    """Numbers photos 0…P-1, in an order that depends on their names alone.

    Args:
        photos: (N,) the source photo of each picture, as anything hashable.
        pictures: N, the number of pictures there must be.

    Returns:
        (N,) each picture's photo number, and the P photos in the order of their numbers.

    Raises:
        ValueError: in one line, if there is not one photo a picture, or a photo is None or NaN.
    """
    from pandas import isna

    photo_array = np.asarray(photos)
    if photo_array.shape != (pictures,):
        raise ValueError(f"photos of shape {photo_array.shape} do not fit {pictures} pictures")
    missing = np.flatnonzero(isna(photo_array))
    if len(missing):
        raise ValueError(f"the picture in row {missing[0]} has no source photo")
    names = photo_array.tolist()
    # by repr, because photos of several types (3, "3") have no order of their own
    distinct = sorted(set(names), key=repr)
    number_of = {name: number for number, name in enumerate(distinct)}
    return np.array([number_of[name] for name in names], dtype=np.intp), distinct


def photo_multiplicities(strata: Numbers, resamples: int, seed: int) -> npt.NDArray[np.uint16]:
    """How often each photo is in each resample, photos being drawn with replacement within their stratum.

    Two runs on the same photos are compared in the same resamples: by one call of this for both.

    Args:
        strata: (P,) the stratum of each photo, 0 or more.
        resamples: R, the number of resamples.
        seed: of the draws.

    Returns:
        (R, P) counts; in each row those of a stratum sum to the number of its photos. It takes 2·R·P bytes.
    """
    random = np.random.default_rng(seed)
    multiplicities = np.zeros((resamples, len(strata)), dtype=np.uint16)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        for rows in _chunks(resamples, values_each=len(members)):
            count = rows.stop - rows.start
            draws = random.integers(len(members), size=(count, len(members)))
            cells = draws + len(members) * np.arange(count)[:, None]
            counts = np.bincount(cells.ravel(), minlength=cells.size)
            multiplicities[rows, members] = counts.reshape(cells.shape)
    return multiplicities


def resampled_metrics(
    labels: Labels, probabilities: Floats, photo_numbers: Numbers, multiplicities: npt.NDArray[Any]
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Each of `METRICS`, and each of `CLASS_METRICS` by class, in each resample, as scikit-learn gives it with the
    multiplicities as sample weights.

    A class that a resample lost is treated as in `metrics`, but for macro F1, precision and specificity, which go
    by the classes that occur in the whole data: the figure means the same in every resample.

    Args:
        labels: (N,) true class indices, 0…C-1.
        probabilities: (N, C).
        photo_numbers: (N,) the photo of each picture, 0…P-1.
        multiplicities: (R, P) integers of 0 or more: how often each photo is in each resample.

    Returns:
        {metric: (R,)} and {class metric: (R, C)}, 0…1 (kappa -1…1), NaN where undefined.
    """
    (resamples, photos), classes = multiplicities.shape, probabilities.shape[1]
    answers = probabilities.argmax(axis=1)
    hits = answers == labels
    # all that is asked of a confusion matrix: its diagonal and its margins, of which there are far fewer than cells
    counts = _sums_over_pictures(
        np.concatenate([labels[hits], classes + labels, 2 * classes + answers]),
        np.concatenate([photo_numbers[hits], photo_numbers, photo_numbers]),
        (3 * classes, photos),
    )
    ranks = [_rank(labels == index, scores, photo_numbers, photos) for index, scores in enumerate(probabilities.T)]
    counted = np.empty((resamples, 3 * classes))
    auc, average_precision = np.empty((2, resamples, classes))
    for start in range(0, resamples, _TOGETHER):
        some = slice(start, start + _TOGETHER)
        weights = multiplicities[some].T.astype(np.float64, order="C")
        counted[some] = (counts @ weights).T
        for index, of_class in enumerate(ranks):
            auc[some, index], average_precision[some, index] = _of_ranks(of_class, weights)
    right, borne, predicted = np.split(counted, 3, axis=1)
    total = borne.sum(axis=1)
    others = total[:, None] - borne
    by_class = {
        "precision": ratio_or_nan(right, predicted),
        "recall": ratio_or_nan(right, borne),
        "specificity": ratio_or_nan(others - (predicted - right), others),
        "f1": ratio_or_nan(2 * right, borne + predicted),
        "auc": auc,
        "average_precision": average_precision,
    }
    occurring = np.union1d(labels, answers)
    by_chance = (borne * predicted).sum(axis=1)  # times the pictures: of whole numbers, and exact
    recall = _mean_of_defined(by_class["recall"])
    overall = {
        "accuracy": ratio_or_nan(right.sum(axis=1), total),
        "balanced_accuracy": recall,
        "f1_macro": np.nan_to_num(by_class["f1"][:, occurring], nan=0.0).mean(axis=1),
        "auc_ovr": _mean_of_defined(by_class["auc"]),
        "precision_macro": np.nan_to_num(by_class["precision"][:, occurring], nan=0.0).mean(axis=1),
        "recall_macro": recall,
        "specificity_macro": _mean_of_defined(by_class["specificity"][:, occurring]),
        "average_precision_macro": _mean_of_defined(by_class["average_precision"]),
        "kappa": ratio_or_nan(total * right.sum(axis=1) - by_chance, total**2 - by_chance),
    }
    return overall, by_class


def resampled_sums(per_photo: npt.NDArray[Any], multiplicities: npt.NDArray[Any]) -> Floats:
    """(R, K) sums over the photos of each resample, of K figures a photo (P, K), with multiplicities (R, P)."""
    resamples, photos = multiplicities.shape
    figures = per_photo.astype(np.float64)
    sums = np.empty((resamples, figures.shape[1]))
    for rows in _chunks(resamples, values_each=photos):
        sums[rows] = multiplicities[rows].astype(np.float64) @ figures
    return sums


def ratio_or_nan(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Floats:
    """`part` over `whole`, of one shape; NaN where the whole is none."""
    ratio = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def commonest_label(labels: Labels, photo_numbers: Numbers, photos: int, classes: int) -> Numbers:
    """(P,) the label that most pictures of each photo bear, the lowest of those that tie."""
    counts = np.bincount(photo_numbers * classes + labels, minlength=photos * classes)
    commonest: Numbers = counts.reshape(photos, classes).argmax(axis=1)
    return commonest


class _Ranks(NamedTuple):
    """Where the pictures of one class stand by score among all others: sums over pictures, from (P, K) multiplicities
    of photos. A level is a score that pictures of the class have, highest first."""

    as_high: csc_array  # (levels + 1, P) all pictures down to each level but those above the one before; last, the rest
    own: csc_array  # (levels, P) the pictures of the class at each level
    tied: csc_array  # (levels, P) the others at each level


def _rank(positive: Flags, scores: Floats, photo_numbers: Numbers, photos: int) -> _Ranks:
    """Of (N,) positives among all others by score."""
    falling = -scores
    levels = np.unique(falling[positive])
    level = np.searchsorted(levels, falling)
    tied = ~positive & np.isin(falling, levels)
    shape = len(levels), photos
    return _Ranks(
        as_high=_sums_over_pictures(level, photo_numbers, (len(levels) + 1, photos)),
        own=_sums_over_pictures(level[positive], photo_numbers[positive], shape),
        tied=_sums_over_pictures(level[tied], photo_numbers[tied], shape),
    )


def _of_ranks(ranks: _Ranks, weights: Floats) -> tuple[Floats, Floats]:
    """(K,) AUCs and (K,) average precisions of a class against the rest, photos having the (P, K) weights.

    The AUC is the share of (positive, negative) pairs in which the positive has the higher score, a tie being half a
    win (Hanley & McNeil, Radiology 143, 1982); NaN without positives or negatives. In a resample a pair counts as often
    as the product of its two photos' multiplicities. Half wins are counted, so that all sums are of whole numbers, and
    exact.

    The average precision is the mean, over the positives, of the precision among the pictures that score as high or
    higher; NaN without positives.
    """
    as_high = (ranks.as_high @ weights).cumsum(axis=0)
    own = ranks.own @ weights
    found, positives = own.cumsum(axis=0), own.sum(axis=0)
    negatives, as_high = as_high[-1] - positives, as_high[:-1]
    # where nothing as high was drawn the positive itself was not, and counts nothing
    precision = found / np.maximum(as_high, 1)
    # A positive loses half a win to each picture as high, and another to each higher one. Positives among themselves
    # lose as many as they win: the square of their number, in all.
    lost = (own * (2 * as_high - own - ranks.tied @ weights)).sum(axis=0)
    pairs = 2 * positives * negatives
    return (
        ratio_or_nan(pairs + positives**2 - lost, pairs),
        ratio_or_nan((own * precision).sum(axis=0), positives),
    )


def _sums_over_pictures(rows: Numbers, photo_numbers: Numbers, shape: tuple[int, int]) -> csc_array:
    """What makes (rows, K) sums over pictures of (P, K) weights of their photos, from each picture's row and photo."""
    from scipy.sparse import csc_array  # here, because most importers of this module resample nothing

    # By column, because photos are many and rows few: the sums stay in a core's cache
    return csc_array((np.ones(len(rows)), (rows, photo_numbers)), shape=shape)


def _chunks(count: int, values_each: int) -> Iterator[slice]:
    """Slices of 0…count, each of as many as keep a temporary array of `values_each` values each small."""
    step = max(1, _WORKING_VALUES // values_each)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _mean_of_defined(figures: Floats) -> Floats:
    """(R,) row means of (R, C) figures over those that are not NaN; NaN where all are."""
    defined = ~np.isnan(figures)
    return ratio_or_nan(np.nan_to_num(figures, nan=0.0).sum(axis=1), defined.sum(axis=1))
