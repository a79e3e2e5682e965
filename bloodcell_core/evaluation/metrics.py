"""Metrics of one set of predictions: pure functions on labels and class probabilities.

Every figure is scikit-learn's, to which tests hold it, or a ratio of cells of the confusion matrix; it is computed as
in a resample (`resampling`), since scikit-learn in a server's memory takes 60 MB and its import most of a second. What
happens to a class that does not occur is decided here, once, and said in the result's `notes`:

- **Per class**: a ratio whose denominator is zero is None, never a made-up 0 or 1. A class that no picture
  bears has no recall, no AUC and no average precision; one that was never predicted has no precision.
- **Balanced accuracy** is the mean recall over the classes that pictures bear. Macro recall is the same figure.
- **Macro F1 and macro precision** are means over the classes that pictures bear or that were predicted. One that
  was predicted though no picture bears it counts with 0, and one that was never predicted with a precision of 0:
  a network must not gain by never naming a class.
- **Macro specificity** is the mean over those of the same classes that some picture does not bear.
- **AUC** is the mean of one-vs-rest AUCs over the classes that some but not all pictures bear.
- **Average precision** is the mean over the classes that pictures bear.
- **Cohen's kappa** is undefined where one class is both all labels and all predictions.

Balanced accuracy, macro F1, macro precision and kappa are what scikit-learn gives by default. AUC is not: its
multiclass AUC is nan or an error as soon as one class is absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bloodcell_core.evaluation.arrays import Flags, Floats, Labels, Numbers
from bloodcell_core.evaluation.resampling import CLASS_METRICS, METRICS, resampled_metrics
from bloodcell_core.words import first_of

Curve = tuple[Floats, Floats]
ROW_SUM_TOLERANCE = 1e-3  # float16 and rounded CSV probabilities pass; unnormalised scores do not
TOLD = 6  # classes that a note names; of more it tells how many
ONE = {"it": "it", "this": "it", "has": "has", "was": "was", "counts": "counts"}
SEVERAL = {"it": "they", "this": "them", "has": "have", "was": "were", "counts": "count"}
_LEAST_PROBABILITY = float(np.finfo(np.float64).eps)  # in the log loss, as in scikit-learn's
LARGEST_LOG_LOSS = -float(np.log(_LEAST_PROBABILITY))  # nats; the most that a log loss can be


def evaluate_predictions(labels: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[str]) -> dict[str, Any]:
    """Every metric of one set of predictions, ready for JSON (None where a figure is undefined).

    Args:
        labels: (N,) true class indices, 0…C-1.
        probabilities: (N, C), 0…1, each row summing to 1 within `ROW_SUM_TOLERANCE`. The predicted class is
            the most probable one, the first of several that tie.
        classes: the C distinct class names, in the order of the columns.

    Returns:
        - pictures: N.
        - accuracy, balanced_accuracy, f1_macro, precision_macro, recall_macro, average_precision_macro: 0…1.
        - auc_ovr, specificity_macro: 0…1; None if all pictures bear the same label, specificity only if they are
          all taken for it too.
        - kappa: Cohen's, -1…1, 0 being the agreement of chance; None if undefined.
        - brier: mean over pictures of the squared distance from the probabilities to the label, 0…2: summed over
          the classes, as Brier wrote it, also for two classes.
        - log_loss: mean of -ln(probability of the true class), 0…36 nats (probabilities are clipped at 2.2e-16).
        - confusion: C lists of C counts; rows are the true class, columns the predicted.
        - per_class: {class: {support, precision, recall, specificity, f1, auc, average_precision}}; support
          counts the pictures that bear the class, the others are 0…1 or None.
        - notes: a sentence for each figure that is undefined or leaves a class out.

    Raises:
        ValueError: in one line, for input that `checked_predictions` refuses, or class names that do not fit.
    """
    labels, probabilities = checked_predictions(labels, probabilities)
    pictures, columns = probabilities.shape
    _check_class_names(classes, columns)
    # A resample in which each picture, as a photo of its own, is once.
    overall, by_class = resampled_metrics(
        labels, probabilities, np.arange(pictures, dtype=np.intp), np.ones((1, pictures), np.uint16)
    )
    confusion = np.bincount(labels * columns + probabilities.argmax(axis=1), minlength=columns**2)
    confusion = confusion.reshape(columns, columns)
    per_class = {
        name: {"support": int(confusion[index].sum())}
        | {metric: _or_none(by_class[metric][0, index]) for metric in CLASS_METRICS}
        for index, name in enumerate(classes)
    }
    return {
        "pictures": pictures,
        **{metric: _or_none(overall[metric][0]) for metric in METRICS},
        "brier": float(squared_distances(labels, probabilities).mean()),
        "log_loss": float(sample_log_losses(labels, probabilities).mean()),
        "confusion": confusion.tolist(),
        "per_class": per_class,
        "notes": _notes(confusion, classes),
    }


class ClassCurves(NamedTuple):
    """The curves of one class against the rest, whose areas are its AUC and its average precision."""

    roc: Curve
    """False and true positives, as shares of the others and of the class."""
    precision_recall: Curve
    """Recalls and precisions."""


def class_curves(own: Flags, shares: Floats, points: int) -> ClassCurves | None:
    """Both curves of a class, of at most `points` each, both ends among them.

    Args:
        own: (N,) which pictures bear the class.
        shares: (N,) its probability.

    Returns:
        None where all pictures bear the class, or none does.
    """
    if own.all() or not own.any():
        return None
    fall = np.argsort(-shares)
    called = 1 + np.flatnonzero(np.append(np.diff(shares[fall]), 1))  # pictures down to each share that occurs
    found = own[fall].cumsum()[called - 1]
    across, up = np.append(0, called - found), np.append(0, found)
    # A straight line needs no points between its ends.
    corners = np.concatenate(([True], (np.diff(across, 2) != 0) | (np.diff(up, 2) != 0), [True]))
    roc = across[corners] / across[-1], up[corners] / up[-1]
    precision_recall = up / up[-1], np.append(1, found / called)
    return ClassCurves(_thinned(roc, points), _thinned(precision_recall, points))


def _thinned(curve: Curve, points: int) -> Curve:
    kept = np.unique(np.linspace(0, len(curve[0]) - 1, min(len(curve[0]), points)).round().astype(int))
    return curve[0][kept], curve[1][kept]


def checked_predictions(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Labels, Floats]:
    """`labels` (N,) as int64 and `probabilities` (N, C) as float64, once they are known to make sense.

    Raises:
        ValueError: in one line, for no pictures, shapes that do not fit, fewer than two classes, labels that
            are not integers 0…C-1, and probabilities that are NaN, infinite, negative or do not sum to 1.
    """
    label_array = np.asarray(labels)
    probability_array = np.asarray(probabilities, dtype=np.float64)
    if label_array.ndim != 1 or probability_array.ndim != 2 or len(label_array) != len(probability_array):
        raise ValueError(
            f"labels of shape {label_array.shape} and probabilities of shape {probability_array.shape} "
            "do not fit: (N,) and (N, classes) are needed"
        )
    pictures, columns = probability_array.shape
    if pictures == 0:
        raise ValueError("there are no pictures to evaluate")
    if columns < 2:
        raise ValueError(f"probabilities of at least two classes are needed, not {columns}")
    if not np.issubdtype(label_array.dtype, np.integer):
        raise ValueError(f"labels must be integer class indices, not {label_array.dtype}")
    if label_array.min() < 0 or label_array.max() >= columns:
        raise ValueError(
            f"labels run from {label_array.min()} to {label_array.max()}, "
            f"but {columns} classes have indices 0 to {columns - 1}"
        )
    if not np.isfinite(probability_array).all():
        row = int(np.flatnonzero(~np.isfinite(probability_array).all(axis=1))[0])
        raise ValueError(f"probabilities of row {row} are NaN or infinite")
    if probability_array.min() < 0:
        row = int(np.flatnonzero((probability_array < 0).any(axis=1))[0])
        raise ValueError(f"probabilities of row {row} are negative")
    sums = probability_array.sum(axis=1)
    off = np.abs(sums - 1) > ROW_SUM_TOLERANCE
    if off.any():
        row = int(np.flatnonzero(off)[0])
        raise ValueError(f"probabilities of row {row} sum to {sums[row]:.6g}, not to 1")
    return label_array.astype(np.int64), probability_array


def squared_distances(labels: Labels, probabilities: Floats) -> Floats:
    """(N,) the squared distance, 0…2, from each row of (N, C) probabilities to its label: Brier's score is its mean."""
    # by hand, because scikit-learn's Brier score takes more than two classes from 1.7 on only
    truth = np.eye(probabilities.shape[1])[labels]
    distances: Floats = ((probabilities - truth) ** 2).sum(axis=1)
    return distances


def sample_log_losses(labels: Labels, probabilities: Floats) -> Floats:
    """(N,) -ln of the probability that each row of (N, C) gives to its label, 0…36: the log loss is their mean."""
    given = probabilities[np.arange(len(labels)), labels] / probabilities.sum(axis=1)
    nats: Floats = -np.log(np.clip(given, _LEAST_PROBABILITY, None))
    return nats


def _check_class_names(classes: Sequence[str], columns: int) -> None:
    if len(classes) != columns:
        raise ValueError(f"{len(classes)} class names do not fit {columns} columns of probabilities")
    if len(set(classes)) != len(classes):
        raise ValueError(f"class names must be distinct: {', '.join(classes)}")


def _or_none(figure: float) -> float | None:
    return None if np.isnan(figure) else float(figure)


def _notes(confusion: Numbers, classes: Sequence[str]) -> list[str]:
    """A sentence for each figure that is undefined or leaves a class out (see the module's docstring)."""
    notes: list[str] = []
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    for index, name in enumerate(classes):
        if support[index] == confusion.sum():
            notes.append(f"Every picture is labelled {name}: no class has an AUC, and {name} has no specificity.")
            if predicted[index] == support[index]:
                notes.append(f"Every picture is also taken for {name}: Cohen's kappa is undefined.")
    borne, named = support > 0, predicted > 0
    for which, words in (
        (~borne, "No picture is labelled {names}: {it} {has} no recall, no AUC and no average precision, and {counts} "
                 "neither in balanced accuracy nor in the mean AUC and average precision."),
        (~borne & named, "{names} {was} predicted though no picture bears {this}: macro F1 and precision count {this} "
                         "with 0."),
        (borne & ~named, "{names} {was} never predicted: {it} {has} no precision, and macro precision counts {this} "
                         "with 0."),
        (~borne & ~named, "{names} {was} neither borne nor predicted: the macro figures leave {this} out."),
    ):  # fmt: skip
        if alike := [name for name, one in zip(classes, which, strict=True) if one]:
            notes.append(words.format(names=first_of(alike, TOLD), **(ONE if len(alike) == 1 else SEVERAL)))
    return notes
