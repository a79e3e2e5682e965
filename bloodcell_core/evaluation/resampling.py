"""The resamples of a bootstrap: photos drawn again and again, and every metric in each resample at once.

Predictions stay where they are and photos get multiplicities: a resample is a row of them, and a figure of it is
scikit-learn's with the multiplicities as sample weights. Written with NumPy for all resamples together, because 2,000
calls a figure take minutes; tests hold the figures equal to scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bloodcell_core.evaluation.arrays import Flags, Floats, Labels, Numbers

METRICS = (
    "accuracy", "balanced_accuracy", "f1_macro", "auc_ovr", "precision_macro", "recall_macro", "specificity_macro",
    "average_precision_macro", "kappa",
)  # fmt: skip
CLASS_METRICS = ("precision", "recall", "specificity", "f1", "auc", "average_precision")

_InResamples = Callable[[Floats], Floats]
"""From the multiplicities (P, K) of photos in some resamples to a figure in each, (K,)."""

# Values in one temporary array: 2 MB of float64 stay in a core's cache; 16 MB took the AUCs twice as long.
_WORKING_VALUES = 1 << 18

# Photos per resample up to which a table of photo pairs is the faster way to an AUC: at 12,444 pictures and
# 2,000 resamples: measured, five times as fast at 348 photos and no faster at 1,500.
_TABLE_PAYS_UP_TO = 1 / 4


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
    confusions = _resampled_confusions(labels, probabilities, photo_numbers, multiplicities)
    right = np.diagonal(confusions, axis1=1, axis2=2)
    borne, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    total = borne.sum(axis=1)
    others = total[:, None] - borne
    by_class = {
        "precision": ratio_or_nan(right, predicted),
        "recall": ratio_or_nan(right, borne),
        "specificity": ratio_or_nan(others - (predicted - right), others),
        "f1": ratio_or_nan(2 * right, borne + predicted),
        "auc": _by_class(_auc, labels, probabilities, photo_numbers, multiplicities),
        "average_precision": _by_class(_average_precision, labels, probabilities, photo_numbers, multiplicities),
    }
    occurring = np.union1d(labels, probabilities.argmax(axis=1))
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


def _resampled_confusions(
    labels: Labels, probabilities: Floats, photo_numbers: Numbers, multiplicities: npt.NDArray[Any]
) -> Floats:
    """(R, C, C) confusion matrices, rows being the true class. Arguments as `resampled_metrics`."""
    (resamples, photos), classes = multiplicities.shape, probabilities.shape[1]
    cells = (photo_numbers * classes + labels) * classes + probabilities.argmax(axis=1)
    counts = np.bincount(cells, minlength=photos * classes**2)
    sums = resampled_sums(counts.reshape(photos, classes**2), multiplicities)
    return sums.reshape(resamples, classes, classes)


def _by_class(
    prepared: Callable[..., _InResamples],
    labels: Labels,
    probabilities: Floats,
    photo_numbers: Numbers,
    multiplicities: npt.NDArray[Any],
) -> Floats:
    """(R, C) a figure of each class against the rest, `prepared` once a class. Arguments as `resampled_metrics`."""
    figures = np.empty((len(multiplicities), probabilities.shape[1]))
    for index, scores in enumerate(probabilities.T):
        figure_of = prepared(labels == index, scores, photo_numbers, multiplicities.shape)
        for rows in _chunks(len(multiplicities), values_each=len(labels)):
            figures[rows, index] = figure_of(multiplicities[rows].T.astype(np.float64))
    return figures


def _auc(positive: Flags, scores: Floats, photo_numbers: Numbers, shape: tuple[int, int]) -> _InResamples:
    """The AUC of (N,) positives among all others by score; NaN without positives or negatives. `shape` is (R, P).

    It is the share of (positive, negative) pairs in which the positive has the higher score, a tie being
    half a win (Hanley & McNeil, Radiology 143, 1982). In a resample a pair counts as often as the product of
    its two photos' multiplicities. Half wins are counted, so that all sums are of whole numbers, and exact.
    """
    resamples, photos = shape
    ranks = _rank_positives(positive, scores, photo_numbers)
    positives = np.bincount(photo_numbers[positive], minlength=photos).astype(np.float64)
    negatives = np.bincount(photo_numbers[~positive], minlength=photos).astype(np.float64)
    # Wins are linear in the weights of the negatives. Few photos' pairs are counted once, in a table of
    # photo against photo, and each resample weights the table; it costs as much as P resamples done anew.
    table = _wins_between_photos(ranks, photos) if photos <= resamples * _TABLE_PAYS_UP_TO else None

    def figure_of(weights: Floats) -> Floats:
        wins = _half_wins(ranks, weights) if table is None else table @ weights
        total = (wins * weights[ranks.photos]).sum(axis=0)
        return ratio_or_nan(total, 2 * (positives @ weights) * (negatives @ weights))

    return figure_of


def _average_precision(
    positive: Flags, scores: Floats, photo_numbers: Numbers, _shape: tuple[int, int]
) -> _InResamples:
    """The mean, over the (N,) positives, of the precision among the pictures that score as high or higher.

    NaN without positives.
    """
    fall = np.argsort(-scores)
    photos, positive, falling = photo_numbers[fall], positive[fall], -scores[fall]
    last_as_high = np.searchsorted(falling, falling[positive], side="right") - 1
    last_positive = np.searchsorted(falling[positive], falling[positive], side="right") - 1

    def figure_of(weights: Floats) -> Floats:
        of_pictures = weights[photos]
        positives = of_pictures[positive]
        precision = ratio_or_nan(positives.cumsum(axis=0)[last_positive], of_pictures.cumsum(axis=0)[last_as_high])
        # where nothing as high was drawn the positive itself was not, and counts nothing
        total = (positives * np.nan_to_num(precision, nan=0.0)).sum(axis=0)
        return ratio_or_nan(total, positives.sum(axis=0))

    return figure_of


class _PositiveRanks(NamedTuple):
    """Where the positives of one class stand among the negatives sorted by score, lowest first."""

    negative_photos: Numbers  # (negatives,) the photo of each negative, in the order of scores
    below: Numbers  # (positives,) negatives with a lower score; positives in the order of photos
    not_above: Numbers  # (positives,) negatives with a lower or the same score
    photos: Numbers  # (P+,) the photos that have positives, ascending
    starts: Numbers  # (P+,) the first positive of each of these photos


def _rank_positives(positive: Flags, scores: Floats, photo_numbers: Numbers) -> _PositiveRanks:
    by_score = np.argsort(scores[~positive])
    negative_scores = scores[~positive][by_score]
    by_photo = np.argsort(photo_numbers[positive])
    positive_scores = scores[positive][by_photo]
    photos, starts = np.unique(photo_numbers[positive][by_photo], return_index=True)
    return _PositiveRanks(
        negative_photos=photo_numbers[~positive][by_score],
        below=np.searchsorted(negative_scores, positive_scores, side="left"),
        not_above=np.searchsorted(negative_scores, positive_scores, side="right"),
        photos=photos,
        starts=starts,
    )


def _half_wins(ranks: _PositiveRanks, weights: Floats) -> Floats:
    """(P+, K) half wins of each photo's positives, over negatives whose photos have the (P, K) weights."""
    negatives_up_to = np.zeros((len(ranks.negative_photos) + 1, weights.shape[1]))
    np.cumsum(weights[ranks.negative_photos], axis=0, out=negatives_up_to[1:])
    # a lower negative is in both terms, a tied one in the second only: two half wins, and one
    half_wins = negatives_up_to[ranks.below] + negatives_up_to[ranks.not_above]
    if not len(half_wins):
        return half_wins
    summed: Floats = np.add.reduceat(half_wins, ranks.starts, axis=0)
    return summed


def _wins_between_photos(ranks: _PositiveRanks, photos: int) -> Floats:
    """(P+, P) half wins of each photo's positives over each photo's negatives."""
    table = np.empty((len(ranks.photos), photos))
    for columns in _chunks(photos, values_each=len(ranks.negative_photos) + len(ranks.below)):
        one_photo_each = np.eye(photos, columns.stop - columns.start, k=-columns.start)
        table[:, columns] = _half_wins(ranks, one_photo_each)
    return table


def _chunks(count: int, values_each: int) -> Iterator[slice]:
    """Slices of 0…count, each of as many as keep a temporary array of `values_each` values each small."""
    step = max(1, _WORKING_VALUES // values_each)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _mean_of_defined(figures: Floats) -> Floats:
    """(R,) row means of (R, C) figures over those that are not NaN; NaN where all are."""
    defined = ~np.isnan(figures)
    return ratio_or_nan(np.nan_to_num(figures, nan=0.0).sum(axis=1), defined.sum(axis=1))
