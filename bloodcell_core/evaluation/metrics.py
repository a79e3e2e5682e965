"""Metrics of one set of predictions: pure functions on labels and class probabilities.

Every figure comes from scikit-learn, or is a ratio of cells of its confusion matrix. What happens to a class
that does not occur is decided here, once, and said in the result's `notes`:

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
from typing import Any

import numpy as np
import numpy.typing as npt

ROW_SUM_TOLERANCE = 1e-3  # float16 and rounded CSV probabilities pass; unnormalised scores do not


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
        - log_loss: mean of -ln(probability of the true class), 0…36 nats (scikit-learn clips at 2.2e-16).
        - confusion: C lists of C counts; rows are the true class, columns the predicted.
        - per_class: {class: {support, precision, recall, specificity, f1, auc, average_precision}}; support
          counts the pictures that bear the class, the others are 0…1 or None.
        - notes: a sentence for each figure that is undefined or leaves a class out.

    Raises:
        ValueError: in one line, for input that `checked_predictions` refuses, or class names that do not fit.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, precision_score, recall_score

    labels, probabilities = checked_predictions(labels, probabilities)
    _check_class_names(classes, columns=probabilities.shape[1])
    indices = np.arange(len(classes))
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, labels=indices)
    borne = confusion.sum(axis=1) > 0
    aucs = _one_vs_rest_aucs(labels, probabilities)
    average_precisions = _average_precisions(labels, probabilities)
    per_class = {
        name: {
            **_one_class_figures(confusion, index),
            "auc": aucs[index],
            "average_precision": average_precisions[index],
        }
        for index, name in enumerate(classes)
    }
    occurring = [name for name, here in zip(classes, borne | (confusion.sum(axis=0) > 0), strict=True) if here]
    # balanced_accuracy_score is this too, but warns of predicted classes that no picture bears
    macro_recall = float(recall_score(labels, predicted, labels=indices[borne], average="macro"))
    return {
        "pictures": len(labels),
        "accuracy": float(accuracy_score(labels, predicted)),
        "balanced_accuracy": macro_recall,
        "f1_macro": float(f1_score(labels, predicted, average="macro", zero_division=0.0)),
        "auc_ovr": _mean_of_defined(aucs),
        "precision_macro": float(precision_score(labels, predicted, average="macro", zero_division=0.0)),
        "recall_macro": macro_recall,
        "specificity_macro": _mean_of_defined([per_class[name]["specificity"] for name in occurring]),
        "average_precision_macro": _mean_of_defined(average_precisions),
        "kappa": _kappa(labels, predicted),
        "brier": float(squared_distances(labels, probabilities).mean()),
        # scikit-learn takes rows that do not quite sum to 1 as they are, and then warns
        "log_loss": float(log_loss(labels, probabilities / probabilities.sum(axis=1, keepdims=True), labels=indices)),
        "confusion": confusion.tolist(),
        "per_class": per_class,
        "notes": _notes(confusion, classes),
    }


def checked_predictions(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
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


def squared_distances(labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N,) the squared distance, 0…2, from each row of (N, C) probabilities to its label: Brier's score is its mean."""
    # by hand, because scikit-learn's Brier score takes more than two classes from 1.7 on only
    truth = np.eye(probabilities.shape[1])[labels]
    distances: npt.NDArray[np.float64] = ((probabilities - truth) ** 2).sum(axis=1)
    return distances


def _check_class_names(classes: Sequence[str], columns: int) -> None:
    if len(classes) != columns:
        raise ValueError(f"{len(classes)} class names do not fit {columns} columns of probabilities")
    if len(set(classes)) != len(classes):
        raise ValueError(f"class names must be distinct: {', '.join(classes)}")


def _one_vs_rest_aucs(labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]) -> list[float | None]:
    """The AUC of each class against all others, 0…1; None for a class that no picture or every one bears."""
    from sklearn.metrics import roc_auc_score

    aucs: list[float | None] = []
    for index in range(probabilities.shape[1]):
        positive = labels == index
        defined = positive.any() and not positive.all()
        aucs.append(float(roc_auc_score(positive, probabilities[:, index])) if defined else None)
    return aucs


def _average_precisions(labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]) -> list[float | None]:
    """The average precision of each class against all others, 0…1; None for a class that no picture bears."""
    from sklearn.metrics import average_precision_score

    return [
        float(average_precision_score(labels == index, probabilities[:, index])) if (labels == index).any() else None
        for index in range(probabilities.shape[1])
    ]


def _kappa(labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.intp]) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(labels, predicted)) if len(np.union1d(labels, predicted)) > 1 else None


def _mean_of_defined(figures: Sequence[float | None]) -> float | None:
    defined = [figure for figure in figures if figure is not None]
    return float(np.mean(defined)) if defined else None


def _one_class_figures(confusion: npt.NDArray[np.int64], index: int) -> dict[str, Any]:
    """Support, precision, recall, specificity and F1 of one class, from the (C, C) confusion matrix."""
    right = int(confusion[index, index])
    support = int(confusion[index].sum())
    predicted = int(confusion[:, index].sum())
    others = int(confusion.sum()) - support
    return {
        "support": support,
        "precision": _ratio(right, predicted),
        "recall": _ratio(right, support),
        "specificity": _ratio(others - (predicted - right), others),
        "f1": _ratio(2 * right, support + predicted),
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _notes(confusion: npt.NDArray[np.int64], classes: Sequence[str]) -> list[str]:
    """A sentence for each figure that is undefined or leaves a class out (see the module's docstring)."""
    notes: list[str] = []
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    for index, name in enumerate(classes):
        if support[index] == confusion.sum():
            notes.append(f"Every picture is labelled {name}: no class has an AUC, and {name} has no specificity.")
            if predicted[index] == support[index]:
                notes.append(f"Every picture is also taken for {name}: Cohen's kappa is undefined.")
        if support[index] == 0:
            notes.append(
                f"No picture is labelled {name}: it has no recall, no AUC and no average precision, and "
                "counts neither in balanced accuracy nor in the mean AUC and average precision."
            )
        if support[index] == 0 and predicted[index] > 0:
            notes.append(f"{name} was predicted though no picture bears it: macro F1 and precision count it with 0.")
        if support[index] > 0 and predicted[index] == 0:
            notes.append(f"{name} was never predicted: it has no precision, and macro precision counts it with 0.")
        if support[index] == 0 and predicted[index] == 0:
            notes.append(f"{name} was neither borne nor predicted: the macro figures leave it out.")
    return notes
