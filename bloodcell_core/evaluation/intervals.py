"""How far a figure can be trusted: 95% intervals by source photo.

Copies of one photo succeed and fail together, so 12,444 pictures made from 348 photos hold the evidence of
348 observations, not of 12,444. The percentile bootstrap here therefore draws whole photos, with replacement.

**Photos are drawn within each class**, as many as the class has. How many pictures a class has is not chance:
the public sets were filled up with copies until the classes were even, so that a photo of a rare class has
many times the copies of a photo of a common one. Drawing from all photos at once would shift the mix of
classes from resample to resample as no repetition of the study could, and would now and then lose a rare
class altogether, and with it what balanced accuracy, macro F1 and AUC mean. A photo whose pictures bear
several labels belongs to the one that most of them bear (the lowest index of those that tie).

On few photos percentiles are too narrow. They are taken further out (`expanded_level`): `benchmarks.bench_coverage`
measures how often the truth is held.

What these intervals cannot do: a class with one photo is in every resample, exactly once, and adds no spread; what is
told of a class with a handful varies too little for any level; and a figure without any mistake has an interval of no
width. The number of photos has to stand beside the interval. For a single share of photos `exact_binomial` has none of
these weaknesses.

Method: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 8 (the unit that was sampled) and
ch. 13 (percentile intervals); Davison & Hinkley, Bootstrap Methods and their Application (1997), 3.2 (strata)
and 3.8 (clusters).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bloodcell_core.evaluation.metrics import checked_predictions

METRICS = (
    "accuracy", "balanced_accuracy", "f1_macro", "auc_ovr", "precision_macro", "recall_macro", "specificity_macro",
    "average_precision_macro", "kappa",
)  # fmt: skip
CLASS_METRICS = ("precision", "recall", "specificity", "f1", "auc", "average_precision")

Interval = tuple[float, float] | None

# Values in one temporary array: 2 MB of float64 stay in a core's cache; 16 MB took the AUCs twice as long.
_WORKING_VALUES = 1 << 18

# Photos per resample up to which a table of photo pairs is the faster way to an AUC: at 12,444 pictures and
# 2,000 resamples: measured, five times as fast at 348 photos and no faster at 1,500.
_TABLE_PAYS_UP_TO = 1 / 4


def cluster_bootstrap(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    photos: npt.ArrayLike,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """The percentile interval of each of `METRICS`, photos being resampled within their class.

    The order of the pictures does not matter: the same predictions and seed give the same intervals.

    Args:
        labels: (N,) true class indices, 0…C-1.
        probabilities: (N, C), 0…1, rows summing to 1.
        photos: (N,) the source photo of each picture, as anything hashable.
        resamples: how many times the photos are drawn, at least 1.
        seed: of the draws.
        level: how often such intervals shall hold the truth, between 0 and 1.

    Returns:
        {metric: (low, high)}, both 0…1 (kappa -1…1); None for a metric that is undefined in the data or in any
        resample. All are None if no class has two photos, as then no resample can differ from the data.

    Raises:
        ValueError: in one line, for input that `checked_predictions` or `number_photos` refuses, and for
            `resamples` or `level` out of range.
    """
    return cluster_intervals(labels, probabilities, photos, resamples, seed, level)[0]


def cluster_intervals(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    photos: npt.ArrayLike,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[dict[str, Interval], list[dict[str, Interval]]]:
    """The intervals of `cluster_bootstrap`, and those of each class from the same resamples.

    Arguments and errors as `cluster_bootstrap`.

    Returns:
        {metric of `METRICS`: (low, high) or None}, and for each of the C classes {metric of `CLASS_METRICS`: the
        same}. A class's precision is None as soon as one resample holds no picture that was taken for it.
    """
    labels, probabilities = checked_predictions(labels, probabilities)
    check_level(level)
    classes = probabilities.shape[1]
    drawn = draw_photos(labels, photos, classes, resamples, seed, level)
    if drawn is None:
        return dict.fromkeys(METRICS), [dict.fromkeys(CLASS_METRICS) for _ in range(classes)]
    overall, by_class = _resampled_figures(labels, probabilities, drawn.photo_numbers, drawn.multiplicities)
    return (
        {metric: percentile_interval(values, drawn.level) for metric, values in overall.items()},
        [
            {metric: percentile_interval(values[:, index], drawn.level) for metric, values in by_class.items()}
            for index in range(classes)
        ],
    )


class Drawn(NamedTuple):
    """Resamples of photos, and the level of the percentiles that make an interval of the level asked for."""

    photo_numbers: npt.NDArray[np.intp]  # (N,) the photo of each picture
    multiplicities: npt.NDArray[np.uint16]  # (R, P) how often each photo is in each resample
    level: float


def draw_photos(
    labels: npt.NDArray[np.int64],
    photos: npt.ArrayLike,
    classes: int,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Drawn | None:
    """Photos drawn within classes; None if no class has two, as then no resample can differ from the data.

    Raises:
        ValueError: in one line, for photos that `number_photos` refuses, and for less than 1 resample.
    """
    photo_numbers, photo_names = number_photos(photos, pictures=len(labels))
    if resamples < 1:
        raise ValueError(f"at least 1 resample is needed, not {resamples}")
    strata = commonest_label(labels, photo_numbers, len(photo_names), classes)
    if np.bincount(strata).max() < 2:
        return None
    return Drawn(photo_numbers, photo_multiplicities(strata, resamples, seed), expanded_level(strata, level))


def expanded_level(strata: npt.NDArray[np.intp], level: float = 0.95) -> float:
    """The level that percentiles must have for their interval to hold the truth as often as `level` says.

    On few photos percentiles are too narrow, for two reasons: drawing n of n photos makes a variance too small by
    (n - 1) / n, and the tails are those of a normal distribution and not of Student's t. The expanded percentile
    interval allows for both (Hesterberg, The American Statistician 69, 2015, 5.3). Here it is that of a mean over the
    classes whose photos vary alike, with Satterthwaite's degrees of freedom.

    Args:
        strata: (P,) the stratum of each photo, 0 or more, at least one of two photos.
        level: between 0 and 1.

    Returns:
        `level` or more, below 1.
    """
    from scipy.special import ndtr, stdtrit

    sizes = np.bincount(strata).astype(np.float64)
    sizes = sizes[sizes > 1]
    variance, drawn_variance = (1 / sizes).sum(), ((sizes - 1) / sizes**2).sum()
    freedom = variance**2 / (1 / (sizes**2 * (sizes - 1))).sum()
    return float(1 - 2 * ndtr(stdtrit(freedom, (1 - level) / 2) * np.sqrt(variance / drawn_variance)))


def photo_accuracy(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, photos: npt.ArrayLike, level: float = 0.95
) -> dict[str, Any]:
    """How many photos are right once each photo's copies are averaged: one answer a photo.

    The answer is the class of the highest mean probability, the first of several that tie.

    Args:
        labels: (N,) true class indices, 0…C-1.
        probabilities: (N, C), 0…1, rows summing to 1.
        photos: (N,) the source photo of each picture, as anything hashable.
        level: of the exact binomial interval; photos are independent, so it holds here.

    Returns:
        {"photos": n, "right": k, "accuracy": k / n, "interval": [low, high]}, ready for JSON.

    Raises:
        ValueError: in one line, for input that `checked_predictions` or `number_photos` refuses, for a photo
            whose pictures bear more than one label (named), and for a `level` out of range.
    """
    labels, probabilities = checked_predictions(labels, probabilities)
    photo_numbers, photo_names = number_photos(photos, pictures=len(labels))
    photo_labels = np.empty(len(photo_names), dtype=np.int64)
    photo_labels[photo_numbers] = labels
    mixed = np.flatnonzero(photo_labels[photo_numbers] != labels)
    if len(mixed):
        name = photo_names[photo_numbers[mixed[0]]]
        raise ValueError(f"the pictures of photo {name!r} bear more than one label, so it has no one answer")

    # the sum has the same greatest class as the mean
    summed = np.zeros((len(photo_names), probabilities.shape[1]))
    np.add.at(summed, photo_numbers, probabilities)
    right = int(np.count_nonzero(summed.argmax(axis=1) == photo_labels))
    return {
        "photos": len(photo_names),
        "right": right,
        "accuracy": right / len(photo_names),
        "interval": list(exact_binomial(right, len(photo_names), level)),
    }


def exact_binomial(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson interval of a share: `successes` of `n` independent trials.

    Its coverage is never below `level`, however small `n` (Clopper & Pearson, Biometrika 26, 1934).

    Args:
        successes: 0…n.
        n: at least 1.
        level: between 0 and 1.

    Returns:
        (low, high), both 0…1.

    Raises:
        ValueError: in one line, for arguments out of range.
    """
    # the quantile of scipy.stats.beta, at a fifth of its import time
    from scipy.special import betaincinv

    check_level(level)
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is not a share: 0 to n of at least 1 is needed")
    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high


def number_photos(photos: npt.ArrayLike, pictures: int) -> tuple[npt.NDArray[np.intp], list[Any]]:
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


def photo_multiplicities(strata: npt.NDArray[np.intp], resamples: int, seed: int) -> npt.NDArray[np.uint16]:
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
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    photo_numbers: npt.NDArray[np.intp],
    multiplicities: npt.NDArray[Any],
) -> dict[str, npt.NDArray[np.float64]]:
    """Each of `METRICS` in each resample, as scikit-learn gives it with the multiplicities as sample weights.

    A class that a resample lost is treated as in `metrics`, but for macro F1, precision and specificity, which go
    by the classes that occur in the whole data: the figure means the same in every resample.

    Args:
        labels: (N,) true class indices, 0…C-1.
        probabilities: (N, C).
        photo_numbers: (N,) the photo of each picture, 0…P-1.
        multiplicities: (R, P) integers of 0 or more: how often each photo is in each resample.

    Returns:
        {metric: (R,) figures 0…1 (kappa -1…1), NaN where undefined}.
    """
    return _resampled_figures(labels, probabilities, photo_numbers, multiplicities)[0]


def _resampled_figures(
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    photo_numbers: npt.NDArray[np.intp],
    multiplicities: npt.NDArray[Any],
) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, npt.NDArray[np.float64]]]:
    """{metric of `METRICS`: (R,)} and {metric of `CLASS_METRICS`: (R, C)}. Arguments as `resampled_metrics`."""
    confusions = _resampled_confusions(labels, probabilities, photo_numbers, multiplicities)
    right = np.diagonal(confusions, axis1=1, axis2=2)
    borne, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    total = borne.sum(axis=1)
    others = total[:, None] - borne
    by_class = {
        "precision": _ratio_or_nan(right, predicted),
        "recall": _ratio_or_nan(right, borne),
        "specificity": _ratio_or_nan(others - (predicted - right), others),
        "f1": _ratio_or_nan(2 * right, borne + predicted),
        "auc": _resampled_aucs(labels, probabilities, photo_numbers, multiplicities),
        "average_precision": _resampled_average_precisions(labels, probabilities, photo_numbers, multiplicities),
    }
    occurring = np.union1d(labels, probabilities.argmax(axis=1))
    by_chance = (borne * predicted).sum(axis=1)  # times the pictures: of whole numbers, and exact
    recall = _mean_of_defined(by_class["recall"])
    overall = {
        "accuracy": _ratio_or_nan(right.sum(axis=1), total),
        "balanced_accuracy": recall,
        "f1_macro": np.nan_to_num(by_class["f1"][:, occurring], nan=0.0).mean(axis=1),
        "auc_ovr": _mean_of_defined(by_class["auc"]),
        "precision_macro": np.nan_to_num(by_class["precision"][:, occurring], nan=0.0).mean(axis=1),
        "recall_macro": recall,
        "specificity_macro": _mean_of_defined(by_class["specificity"][:, occurring]),
        "average_precision_macro": _mean_of_defined(by_class["average_precision"]),
        "kappa": _ratio_or_nan(total * right.sum(axis=1) - by_chance, total**2 - by_chance),
    }
    return overall, by_class


def resampled_sums(per_photo: npt.NDArray[Any], multiplicities: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(R, K) sums over the photos of each resample, of K figures a photo (P, K), with multiplicities (R, P)."""
    resamples, photos = multiplicities.shape
    figures = per_photo.astype(np.float64)
    sums = np.empty((resamples, figures.shape[1]))
    for rows in _chunks(resamples, values_each=photos):
        sums[rows] = multiplicities[rows].astype(np.float64) @ figures
    return sums


def percentile_interval(values: npt.NDArray[np.float64], level: float = 0.95) -> Interval:
    """The middle `level` of (R,) resampled figures; None if any is NaN: the rest are a biased choice."""
    if np.isnan(values).any():
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def check_level(level: float) -> None:
    """ValueError unless `level` lies between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, not at {level}")


def commonest_label(
    labels: npt.NDArray[np.int64], photo_numbers: npt.NDArray[np.intp], photos: int, classes: int
) -> npt.NDArray[np.intp]:
    """(P,) the label that most pictures of each photo bear, the lowest of those that tie."""
    counts = np.bincount(photo_numbers * classes + labels, minlength=photos * classes)
    commonest: npt.NDArray[np.intp] = counts.reshape(photos, classes).argmax(axis=1)
    return commonest


def _resampled_confusions(
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    photo_numbers: npt.NDArray[np.intp],
    multiplicities: npt.NDArray[Any],
) -> npt.NDArray[np.float64]:
    """(R, C, C) confusion matrices, rows being the true class. Arguments as `resampled_metrics`."""
    (resamples, photos), classes = multiplicities.shape, probabilities.shape[1]
    cells = (photo_numbers * classes + labels) * classes + probabilities.argmax(axis=1)
    counts = np.bincount(cells, minlength=photos * classes**2)
    sums = resampled_sums(counts.reshape(photos, classes**2), multiplicities)
    return sums.reshape(resamples, classes, classes)


def _resampled_aucs(
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    photo_numbers: npt.NDArray[np.intp],
    multiplicities: npt.NDArray[Any],
) -> npt.NDArray[np.float64]:
    """(R, C) one-vs-rest AUCs, NaN without positives or without negatives. Arguments as `resampled_metrics`.

    The AUC is the share of (positive, negative) pairs in which the positive has the higher score, a tie being
    half a win (Hanley & McNeil, Radiology 143, 1982). In a resample a pair counts as often as the product of
    its two photos' multiplicities. Half wins are counted, so that all sums are of whole numbers, and exact.
    """
    (resamples, photos), classes = multiplicities.shape, probabilities.shape[1]
    aucs = np.empty((resamples, classes))
    for index in range(classes):
        positive = labels == index
        ranks = _rank_positives(positive, probabilities[:, index], photo_numbers)
        positives = np.bincount(photo_numbers[positive], minlength=photos).astype(np.float64)
        negatives = np.bincount(photo_numbers[~positive], minlength=photos).astype(np.float64)
        # Wins are linear in the weights of the negatives. Few photos' pairs are counted once, in a table of
        # photo against photo, and each resample weights the table; it costs as much as P resamples done anew.
        table = _wins_between_photos(ranks, photos) if photos <= resamples * _TABLE_PAYS_UP_TO else None
        for rows in _chunks(resamples, values_each=len(labels)):
            weights = multiplicities[rows].T.astype(np.float64)
            wins = _half_wins(ranks, weights) if table is None else table @ weights
            total = (wins * weights[ranks.photos]).sum(axis=0)
            aucs[rows, index] = _ratio_or_nan(total, 2 * (positives @ weights) * (negatives @ weights))
    return aucs


def _resampled_average_precisions(
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    photo_numbers: npt.NDArray[np.intp],
    multiplicities: npt.NDArray[Any],
) -> npt.NDArray[np.float64]:
    """(R, C) average precisions, NaN without positives. Arguments as `resampled_metrics`.

    It is the mean, over the positives, of the precision among the pictures that score as high or higher.
    """
    resamples, classes = len(multiplicities), probabilities.shape[1]
    averages = np.empty((resamples, classes))
    for index in range(classes):
        fall = np.argsort(-probabilities[:, index])
        photos, positive, scores = photo_numbers[fall], labels[fall] == index, -probabilities[fall, index]
        last_as_high = np.searchsorted(scores, scores[positive], side="right") - 1
        last_positive = np.searchsorted(scores[positive], scores[positive], side="right") - 1
        for rows in _chunks(resamples, values_each=len(labels)):
            weights = multiplicities[rows].T[photos].astype(np.float64)
            positives = weights[positive]
            precision = _ratio_or_nan(positives.cumsum(axis=0)[last_positive], weights.cumsum(axis=0)[last_as_high])
            # where nothing as high was drawn the positive itself was not, and counts nothing
            total = (positives * np.nan_to_num(precision, nan=0.0)).sum(axis=0)
            averages[rows, index] = _ratio_or_nan(total, positives.sum(axis=0))
    return averages


class _PositiveRanks(NamedTuple):
    """Where the positives of one class stand among the negatives sorted by score, lowest first."""

    negative_photos: npt.NDArray[np.intp]  # (negatives,) the photo of each negative, in the order of scores
    below: npt.NDArray[np.intp]  # (positives,) negatives with a lower score; positives in the order of photos
    not_above: npt.NDArray[np.intp]  # (positives,) negatives with a lower or the same score
    photos: npt.NDArray[np.intp]  # (P+,) the photos that have positives, ascending
    starts: npt.NDArray[np.intp]  # (P+,) the first positive of each of these photos


def _rank_positives(
    positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64], photo_numbers: npt.NDArray[np.intp]
) -> _PositiveRanks:
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


def _half_wins(ranks: _PositiveRanks, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(P+, K) half wins of each photo's positives, over negatives whose photos have the (P, K) weights."""
    negatives_up_to = np.zeros((len(ranks.negative_photos) + 1, weights.shape[1]))
    np.cumsum(weights[ranks.negative_photos], axis=0, out=negatives_up_to[1:])
    # a lower negative is in both terms, a tied one in the second only: two half wins, and one
    half_wins = negatives_up_to[ranks.below] + negatives_up_to[ranks.not_above]
    if not len(half_wins):
        return half_wins
    summed: npt.NDArray[np.float64] = np.add.reduceat(half_wins, ranks.starts, axis=0)
    return summed


def _wins_between_photos(ranks: _PositiveRanks, photos: int) -> npt.NDArray[np.float64]:
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


def _ratio_or_nan(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    ratio = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _mean_of_defined(figures: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(R,) row means of (R, C) figures over those that are not NaN; NaN where all are."""
    defined = ~np.isnan(figures)
    return _ratio_or_nan(np.nan_to_num(figures, nan=0.0).sum(axis=1), defined.sum(axis=1))
