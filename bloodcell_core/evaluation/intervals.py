"""How far a figure can be trusted: 95% confidence intervals, by a bootstrap of source photos.

Copies of one photo succeed and fail together, so 12,444 pictures made from 348 photos hold the evidence of
348 observations, not of 12,444. The bootstrap here therefore draws whole photos, with replacement.

**Photos are drawn within each class**, as many as the class has. How many pictures a class has is not chance:
the public sets were filled up with copies until the classes were even, so that a photo of a rare class has
many times the copies of a photo of a common one. Drawing from all photos at once would shift the mix of
classes from resample to resample as no repetition of the study could, and would now and then lose a rare
class altogether, and with it what balanced accuracy, macro F1 and AUC mean. A photo whose pictures bear
several labels belongs to the one that most of them bear (the lowest index of those that tie).

How resampled figures become an interval is told in limits.py.

What these intervals cannot do: a class with one photo is in every resample, exactly once, and adds no spread: what
hangs mostly on such classes has no interval. What is told of a class with a handful varies too little for any level.
The number of photos has to stand beside the interval. For a single share of photos `exact_binomial` has none of these
weaknesses.

Method: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 8 (the unit that was sampled); Davison &
Hinkley, Bootstrap Methods and their Application (1997), 3.2 (strata) and 3.8 (clusters).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bloodcell_core.evaluation.limits import Interval, exact_binomial, hangs_on_one, share_interval
from bloodcell_core.evaluation.metrics import checked_predictions
from bloodcell_core.evaluation.resampling import (
    CLASS_METRICS,
    METRICS,
    commonest_label,
    number_photos,
    photo_multiplicities,
    ratio_or_nan,
    resampled_metrics,
)

RESAMPLES = 2000
"""How often the photos are drawn, where nothing else is said."""

LOWEST = {"kappa": -1.0}
"""The least that a metric can be, where that is not 0."""

OF_PICTURES = ("accuracy", "kappa")
"""The metrics in which a class has the weight of its pictures; in the others all classes have the same."""

OF_PHOTOS = ("accuracy", "balanced_accuracy", "recall_macro")
"""The metrics that are means of the classes' shares of right photos: by those a class that happens to be all right adds
nothing to their spread. In the others a mistake shows in the figures of several classes, or weighs by its rank."""

OF_RANKS = ("auc_ovr", "average_precision_macro")
"""The metrics that probabilities decide. The others depend on which pictures are right. Where the photos of each class
happen to be all right or all wrong, resamples vary only in what the mistakes are taken for and in numbers of copies,
which says next to nothing of new photos."""

RANKS = ("auc", "average_precision")
"""The same of one class."""


def cluster_bootstrap(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    photos: npt.ArrayLike,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[dict[str, Interval], list[dict[str, Interval]]]:
    """The interval of each of `METRICS`, and of `CLASS_METRICS` for each class, photos being resampled within theirs.

    The order of the pictures does not matter: the same predictions and seed give the same intervals.

    Args:
        labels: (N,) true class indices, 0…C-1.
        probabilities: (N, C), 0…1, rows summing to 1.
        photos: (N,) the source photo of each picture, as anything hashable.
        resamples: how many times the photos are drawn, at least 1.
        seed: of the draws.

    Returns:
        {metric: [low, high]}, both 0…1 (kappa -1…1), and the same for each of the C classes. None for a metric that is
        undefined in the data or in any resample: a class's precision as soon as one resample holds no picture that was
        taken for it. All are None if no class has two photos, as then no resample can differ from the data. Where no
        class's recall moves, only `OF_RANKS`, a class's own `RANKS` and figures at an end of their range have one.

    Raises:
        ValueError: in one line, for input that `checked_predictions` or `number_photos` refuses, and for
            less than 1 resample.
    """
    labels, probabilities = checked_predictions(labels, probabilities)
    classes = probabilities.shape[1]
    drawn = draw_photos(labels, photos, classes, resamples, seed)
    if drawn is None:
        return dict.fromkeys(METRICS), [dict.fromkeys(CLASS_METRICS) for _ in range(classes)]
    overall, by_class = resampled_metrics(labels, probabilities, drawn.photo_numbers, drawn.multiplicities)
    once = np.ones((1, drawn.multiplicities.shape[1]), dtype=np.uint16)
    own, own_by_class = resampled_metrics(labels, probabilities, drawn.photo_numbers, once)
    predicted = probabilities.argmax(axis=1)

    def behind(metric: str, index: int) -> dict[str, Any]:
        """What `share_interval` needs to know of the classes whose photos a class's figure varies with."""
        if metric == "precision":  # hangs on the few that were taken for it, whatever weight their classes have
            return {"sizes": drawn.sizes_of(predicted == index)}
        if metric in ("f1", *RANKS) and own_by_class[metric][0, index] in (0, 1):
            # None of its photos was missed: how many may be depends on their own number, however many others there are
            of_class, of_others = drawn.sizes_of(labels == index), drawn.sizes_of(labels != index)
            return {"sizes": of_others if metric == "auc" and of_others.sum() < of_class.sum() else of_class}
        pictures = {"recall": labels == index, "specificity": labels != index}
        if metric not in pictures:
            return {"sizes": drawn.sizes}
        meant = pictures[metric]
        return {"sizes": drawn.sizes_of(meant), "weights": drawn.pictures_of(meant), "of_photos": True}

    # macro specificity of two classes is their macro recall: what is left alone of one is found of the other
    of_photos = (*OF_PHOTOS, "specificity_macro") if classes == 2 else OF_PHOTOS
    intervals = {
        metric: share_interval(
            float(own[metric][0]),
            values,
            drawn.sizes,
            LOWEST.get(metric, 0.0),
            drawn.weights_in(metric),
            metric in of_photos,
        )
        for metric, values in overall.items()
    }
    if own["kappa"][0] == 1 and intervals["accuracy"]:  # as many mistakes as accuracy may hide, beside those of chance
        by_chance = float(((np.bincount(labels) / len(labels)) ** 2).sum())
        intervals["kappa"] = [max(-1.0, 1 - (1 - intervals["accuracy"][0]) / (1 - by_chance)), 1.0]
    # The mean of recalls: nothing else tells whether any of them moves. At 0 none does, as all photos are wrong.
    alike = intervals["balanced_accuracy"] is None or own["balanced_accuracy"][0] == 0
    if alike:
        intervals |= dict.fromkeys(
            metric for metric in METRICS if metric not in OF_RANKS and LOWEST.get(metric, 0.0) < own[metric][0] < 1
        )
    intervals |= dict.fromkeys(
        metric for metric in METRICS
        if LOWEST.get(metric, 0.0) < own[metric][0] < 1 and hangs_on_one(drawn.sizes, drawn.weights_in(metric))
    )  # fmt: skip

    def of_class(metric: str, index: int) -> Interval:
        figure = float(own_by_class[metric][0, index])
        if alike and metric not in RANKS and 0 < figure < 1:
            return None
        if metric in ("f1", *RANKS) and 0 < figure < 1 and drawn.sizes_of(labels == index).sum() == 1:
            return None  # its other half, recall, is of one photo
        return share_interval(figure, by_class[metric][:, index], **behind(metric, index))

    of_classes = [{metric: of_class(metric, index) for metric in by_class} for index in range(classes)]
    borne = np.unique(labels)
    if len(borne) == 2 and own["auc_ovr"][0] == 1:  # of each of the two: its photos stand above those of the other
        intervals["auc_ovr"] = of_classes[borne[0]]["auc"]
    return intervals, of_classes


class Drawn(NamedTuple):
    """Resamples of photos, and what an interval needs to know of them."""

    photo_numbers: npt.NDArray[np.intp]  # (N,) the photo of each picture
    multiplicities: npt.NDArray[np.uint16]  # (R, P) how often each photo is in each resample
    strata: npt.NDArray[np.intp]  # (P,) the class within which each photo is drawn, 0…C-1

    def weights_in(self, metric: str) -> npt.NDArray[np.intp] | None:
        """(C,) how much of one of `METRICS` each class makes up; None where all weigh the same."""
        return self.pictures if metric in OF_PICTURES else None

    @property
    def pictures(self) -> npt.NDArray[np.intp]:
        """(C,) pictures of each class."""
        return self.pictures_of(np.ones(len(self.photo_numbers), dtype=np.bool_))

    @property
    def sizes(self) -> npt.NDArray[np.intp]:
        """(C,) photos of each class."""
        return np.bincount(self.strata)

    def sizes_of(self, pictures: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """(C,) photos of each class that have any of the pictures that an (N,) mask picks."""
        return np.bincount(self.strata[np.unique(self.photo_numbers[pictures])])

    def pictures_of(self, pictures: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """(C,) pictures of each class that an (N,) mask picks."""
        return np.bincount(self.strata[self.photo_numbers[pictures]])

    def uniform_in_classes(self, part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> bool:
        """Whether (P,) `part` over `whole` is the same for all photos of a class that have any, in each class: then
        resampled shares differ by the photos' numbers of copies alone."""
        rates, any_of_it = ratio_or_nan(part, whole), whole > 0
        own = (rates[any_of_it & (self.strata == stratum)] for stratum in np.unique(self.strata[any_of_it]))
        return all(np.ptp(each) == 0 for each in own)

    def share_interval(
        self, right: npt.NDArray[np.bool_], pictures: npt.NDArray[np.bool_], resampled: npt.NDArray[np.float64]
    ) -> Interval:
        """`limits.share_interval` of how many of some pictures are right, from (R,) resampled shares.

        None, too, where it is neither all nor none and `uniform_in_classes`, or it hangs on one photo.

        Args:
            right: (N,) of each picture.
            pictures: (N,) which of them are meant.
            resampled: (R,) the share in each resample.
        """
        if not pictures.any():
            return None
        photos, share = self.multiplicities.shape[1], float(right[pictures].mean())
        part, whole = (np.bincount(self.photo_numbers[each], minlength=photos) for each in (right & pictures, pictures))
        sizes, weights = self.sizes_of(pictures), self.pictures_of(pictures)
        if 0 < share < 1 and (self.uniform_in_classes(part, whole) or hangs_on_one(sizes, weights)):
            return None
        return share_interval(share, resampled, sizes, weights=weights, of_photos=True)


def draw_photos(
    labels: npt.NDArray[np.int64],
    photos: npt.ArrayLike,
    classes: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
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
    return Drawn(photo_numbers, photo_multiplicities(strata, resamples, seed), strata)


def photo_accuracy(labels: npt.ArrayLike, probabilities: npt.ArrayLike, photos: npt.ArrayLike) -> dict[str, Any]:
    """How many photos are right once each photo's copies are averaged: one answer a photo.

    The answer is the class of the highest mean probability, the first of several that tie.

    Args:
        labels: (N,) true class indices, 0…C-1.
        probabilities: (N, C), 0…1, rows summing to 1.
        photos: (N,) the source photo of each picture, as anything hashable.

    Returns:
        {"photos": n, "right": k, "accuracy": k / n, "interval": [low, high]}, ready for JSON. The interval is the exact
        binomial one at 95%, which holds as far as photos are independent: two of one cell are not.

    Raises:
        ValueError: in one line, for input that `checked_predictions` or `number_photos` refuses, for a photo
            whose pictures bear more than one label (named).
    """
    labels, probabilities = checked_predictions(labels, probabilities)
    photo_numbers, photo_names = number_photos(photos, pictures=len(labels))
    photo_labels, answers = photo_answers(labels, probabilities, photo_numbers)
    mixed = np.flatnonzero(photo_labels[photo_numbers] != labels)
    if len(mixed):
        name = photo_names[photo_numbers[mixed[0]]]
        raise ValueError(f"the pictures of photo {name!r} bear more than one label, so it has no one answer")
    right = int(np.count_nonzero(answers == photo_labels))
    return {
        "photos": len(photo_names),
        "right": right,
        "accuracy": right / len(photo_names),
        "interval": exact_binomial(right, len(photo_names)),
    }


def photo_answers(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64], photo_numbers: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
    """(P,) a label of each photo, that of one of its pictures, and (P,) the class of its highest mean probability."""
    photos = int(photo_numbers.max()) + 1
    photo_labels = np.empty(photos, dtype=np.int64)
    photo_labels[photo_numbers] = labels
    # the sum has the same greatest class as the mean
    summed = np.zeros((photos, probabilities.shape[1]))
    np.add.at(summed, photo_numbers, probabilities)
    return photo_labels, summed.argmax(axis=1)
