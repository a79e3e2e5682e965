"""How far a figure can be trusted: 95% intervals by source photo.

Copies of one photo succeed and fail together, so 12,444 pictures made from 348 photos hold the evidence of
348 observations, not of 12,444. The bootstrap here therefore draws whole photos, with replacement.

**Photos are drawn within each class**, as many as the class has. How many pictures a class has is not chance:
the public sets were filled up with copies until the classes were even, so that a photo of a rare class has
many times the copies of a photo of a common one. Drawing from all photos at once would shift the mix of
classes from resample to resample as no repetition of the study could, and would now and then lose a rare
class altogether, and with it what balanced accuracy, macro F1 and AUC mean. A photo whose pictures bear
several labels belongs to the one that most of them bear (the lowest index of those that tie).

**The interval of a share** (`share_interval`) is Student's: the spread of the resampled figures on the scale of log
odds, times the t of as many degrees of freedom as the photos give. The percentiles of the resamples would do for
a middling network on many photos. They fail where it matters: a good network on few photos errs so seldom that no
resample shows what another set of photos would. `benchmarks.bench_coverage` measures how often each holds the truth.
Figures that are no shares (`expanded_interval`) have percentiles, taken further out by the same two corrections.

What these intervals cannot do: a class with one photo is in every resample, exactly once, and adds no spread, and what
is told of a class with a handful varies too little for any level. The number of photos has to stand beside the
interval. For a single share of photos `exact_binomial` has none of these weaknesses.

Method: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 8 (the unit that was sampled) and
12.5 (t on a scale where the figure is more nearly normal); Davison & Hinkley, Bootstrap Methods and their Application
(1997), 3.2 (strata) and 3.8 (clusters); Hesterberg, The American Statistician 69 (2015), 5.3 (small samples).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bloodcell_core.evaluation.metrics import checked_predictions
from bloodcell_core.evaluation.resampling import (
    CLASS_METRICS,
    METRICS,
    commonest_label,
    number_photos,
    photo_multiplicities,
    resampled_figures,
)

Interval = tuple[float, float] | None

LOWEST = {"kappa": -1.0}
"""The least that a metric can be, where that is not 0."""

NEAREST_TO_THE_END = 0.05
"""A resample has at least this share of the data's own distance from a perfect figure (and from none at all).

One without any mistake has infinite log odds. It says that the mistakes seen hang on few photos, not that there are
none; measured: a tenth holds the truth too seldom for the AUC of a good network, a fiftieth too often for all else.
"""

_ROUNDING = 1e-12  # a figure as near to an end of its range is there


def cluster_bootstrap(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    photos: npt.ArrayLike,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """The interval of each of `METRICS`, photos being resampled within their class.

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
    overall, by_class = resampled_figures(labels, probabilities, drawn.photo_numbers, drawn.multiplicities)
    once = np.ones((1, drawn.multiplicities.shape[1]), dtype=np.uint16)
    own, own_by_class = resampled_figures(labels, probabilities, drawn.photo_numbers, once)
    predicted = probabilities.argmax(axis=1)

    def photos_behind(metric: str, index: int) -> npt.NDArray[np.intp]:
        """The sizes of the classes whose photos a class's figure varies with."""
        pictures = {"recall": labels == index, "specificity": labels != index, "precision": predicted == index}
        return drawn.sizes_of(pictures[metric]) if metric in pictures else drawn.sizes

    return (
        {
            metric: share_interval(float(own[metric][0]), values, drawn.sizes, level, LOWEST.get(metric, 0.0))
            for metric, values in overall.items()
        },
        [
            {
                metric: share_interval(
                    float(own_by_class[metric][0, index]),
                    values[:, index],
                    photos_behind(metric, index),
                    level,
                )
                for metric, values in by_class.items()
            }
            for index in range(classes)
        ],
    )


class Drawn(NamedTuple):
    """Resamples of photos, and what an interval needs to know of them."""

    photo_numbers: npt.NDArray[np.intp]  # (N,) the photo of each picture
    multiplicities: npt.NDArray[np.uint16]  # (R, P) how often each photo is in each resample
    strata: npt.NDArray[np.intp]  # (P,) the class within which each photo is drawn, 0…C-1
    level: float  # how often intervals shall hold the truth

    @property
    def sizes(self) -> npt.NDArray[np.intp]:
        """(C,) photos of each class."""
        return np.bincount(self.strata)

    def sizes_of(self, pictures: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """(C,) photos of each class that have any of the pictures that an (N,) mask picks."""
        return np.bincount(self.strata[np.unique(self.photo_numbers[pictures])])


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
    return Drawn(photo_numbers, photo_multiplicities(strata, resamples, seed), strata, level)


def share_interval(
    figure: float | None,
    resampled: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.intp],
    level: float = 0.95,
    lowest: float = 0.0,
) -> Interval:
    """The interval of a figure that runs from `lowest` to 1: Student's t on the scale of log odds.

    A figure at an end of its range, as of a network without a mistake, has the exact binomial interval of so many
    right of as many photos as `sizes` are worth in a mean over classes.

    Args:
        figure: of the data; None or NaN where it is undefined.
        resampled: (R,) the same in each resample.
        sizes: photos of each class whose photos the figure varies with.
        level: between 0 and 1.
        lowest: the least that the figure can be.

    Returns:
        (low, high) around `figure`; None where it is undefined in the data or in a resample, whose rest would be a
        biased choice, and where no class has two photos.
    """
    if figure is None or np.isnan(figure) or np.isnan(resampled).any() or not (sizes > 1).any():
        return None
    share = (figure - lowest) / (1 - lowest)
    if not _ROUNDING < share < 1 - _ROUNDING:
        worth = int(max(1, (sizes > 0).sum() ** 2 / (1 / sizes[sizes > 0]).sum()))
        low, high = exact_binomial(worth if share > 0.5 else 0, worth, level)
    else:
        least = NEAREST_TO_THE_END * min(share, 1 - share)
        shares = np.clip((resampled - lowest) / (1 - lowest), least, 1 - least)
        middle, odds = np.log(share / (1 - share)), np.log(shares / (1 - shares))
        reach = _reach(sizes, level) * np.sqrt(np.mean((odds - middle) ** 2))
        low, high = (float(1 / (1 + np.exp(-end))) for end in (middle - reach, middle + reach))
    return lowest + (1 - lowest) * low, lowest + (1 - lowest) * high


def expanded_interval(values: npt.NDArray[Any], sizes: npt.NDArray[np.intp], level: float = 0.95) -> Interval:
    """The interval of any figure, from (R,) resampled ones: percentiles, taken further out where photos are few.

    It is None if any is NaN. `sizes` as in `share_interval`, one of them at least 2.
    """
    return percentile_interval(values, expanded_level(sizes, level))


def expanded_level(sizes: npt.NDArray[np.intp], level: float = 0.95) -> float:
    """The level that percentiles must have for their interval to hold the truth as often as `level` says.

    On few photos percentiles are too narrow, for two reasons: drawing n of n photos makes a variance too small by
    (n - 1) / n, and the tails are those of a normal distribution and not of Student's t (Hesterberg 2015).
    """
    from scipy.special import ndtr

    return float(2 * ndtr(_reach(sizes, level)) - 1)


def _reach(sizes: npt.NDArray[np.intp], level: float) -> float:
    """How many standard deviations of resampled figures an interval of that level reaches to either side.

    It is that of a mean over the classes whose photos vary alike, with Satterthwaite's degrees of freedom.
    """
    from scipy.special import stdtrit

    photos = sizes[sizes > 1].astype(np.float64)
    variance, drawn_variance = (1 / photos).sum(), ((photos - 1) / photos**2).sum()
    freedom = variance**2 / (1 / (photos**2 * (photos - 1))).sum()
    return float(-stdtrit(freedom, (1 - level) / 2) * np.sqrt(variance / drawn_variance))


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
