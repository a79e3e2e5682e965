"""Metrics of one set of predictions: pure functions on labels and class probabilities.

Every figure comes from scikit-learn, or is a ratio of cells of its confusion matrix. What happens to a class
that does not occur is decided here, once, and said in the result's `notes`:

- **Per class**: a ratio whose denominator is zero is None, never a made-up 0 or 1. A class that no picture
  bears has no recall and no AUC; one that was never predicted has no precision.
- **Balanced accuracy** is the mean recall over the classes that pictures bear.
- **Macro F1** is the mean over the classes that pictures bear or that were predicted; one that was predicted
  though no picture bears it counts with its F1 of 0.
- **AUC** is the mean of one-vs-rest AUCs over the classes that some but not all pictures bear.

The first two are what scikit-learn does by default. The third is not: its multiclass AUC is nan or an error
as soon as one class is absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

ROW_SUM_TOLERANCE = 1e-3  # float16 and rounded CSV probabilities pass; unnormalised scores do not


def evaluate_predictions(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[str]
) -> dict[str, Any]:
    """Every metric of one set of predictions, ready for JSON (None where a figure is undefined).

    Args:
        labels: (N,) true class indices, 0…C-1.
        probabilities: (N, C), 0…1, each row summing to 1 within `ROW_SUM_TOLERANCE`. The predicted class is
            the most probable one, the first of several that tie.
        classes: the C distinct class names, in the order of the columns.

    Returns:
        - pictures: N.
        - accuracy, balanced_accuracy, f1_macro: 0…1.
        - auc_ovr: 0…1, or None if all pictures bear the same label.
        - log_loss: mean of -ln(probability of the true class), 0…36 nats (scikit-learn clips at 2.2e-16).
        - confusion: C lists of C counts; rows are the true class, columns the predicted.
        - per_class: {class: {support, precision, recall, specificity, f1, auc}}; support counts the pictures
          that bear the class, the others are 0…1 or None.
        - notes: a sentence for each figure that is undefined or leaves a class out.

    Raises:
        ValueError: in one line, for input that `checked_predictions` refuses, or class names that do not fit.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, recall_score

    labels, probabilities = checked_predictions(labels, probabilities)
    _check_class_names(classes, columns=probabilities.shape[1])
    indices = np.arange(len(classes))
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, labels=indices)
    borne = confusion.sum(axis=1) > 0
    aucs = _one_vs_rest_aucs(labels, probabilities)
    defined_aucs = [auc for auc in aucs if auc is not None]
    return {
        "pictures": len(labels),
        "accuracy": float(accuracy_score(labels, predicted)),
        # balanced_accuracy_score is this too, but warns of predicted classes that no picture bears
        "balanced_accuracy": float(recall_score(labels, predicted, labels=indices[borne], average="macro")),
        "f1_macro": float(f1_score(labels, predicted, average="macro", zero_division=0.0)),
        "auc_ovr": float(np.mean(defined_aucs)) if defined_aucs else None,
        # scikit-learn takes rows that do not quite sum to 1 as they are, and then warns
        "log_loss": float(
            log_loss(labels, probabilities / probabilities.sum(axis=1, keepdims=True), labels=indices)
        ),
        "confusion": confusion.tolist(),
        "per_class": {
            name: {**_one_class_figures(confusion, index), "auc": aucs[index]}
            for index, name in enumerate(classes)
        },
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


def _check_class_names(classes: Sequence[str], columns: int) -> None:
    if len(classes) != columns:
        raise ValueError(f"{len(classes)} class names do not fit {columns} columns of probabilities")
    if len(set(classes)) != len(classes):
        raise ValueError(f"class names must be distinct: {', '.join(classes)}")


def _one_vs_rest_aucs(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
) -> list[float | None]:
    """The AUC of each class against all others, 0…1; None for a class that no picture or every one bears."""
    from sklearn.metrics import roc_auc_score

    aucs: list[float | None] = []
    for index in range(probabilities.shape[1]):
        positive = labels == index
        defined = positive.any() and not positive.all()
        aucs.append(float(roc_auc_score(positive, probabilities[:, index])) if defined else None)
    return aucs


def _one_class_figures(confusion: npt.NDArray[np.int64], index: int) -> dict[str, int | float | None]:
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
            notes.append(
                f"Every picture is labelled {name}: no class has an AUC, and {name} has no specificity."
            )
        if support[index] == 0:
            notes.append(
                f"No picture is labelled {name}: it has no recall and no AUC, and counts neither in balanced "
                "accuracy nor in AUC."
            )
        if support[index] == 0 and predicted[index] > 0:
            notes.append(f"{name} was predicted though no picture bears it: macro F1 counts its F1 of 0.")
        if support[index] > 0 and predicted[index] == 0:
            notes.append(f"{name} was never predicted: it has no precision.")
        if support[index] == 0 and predicted[index] == 0:
            notes.append(f"{name} was neither borne nor predicted: macro F1 leaves it out.")
    return notes
