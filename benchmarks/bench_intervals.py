"""Times the intervals by source photo against a plain loop of scikit-learn calls.

Run: python -m benchmarks.bench_intervals

The case is that of the public test pictures in size and shape: 2,000 resamples of 12,444 predictions of 4
classes from 348 photos, the classes even in pictures and uneven in photos. The predictions are simulated. The
loop makes four figures, `cluster_bootstrap` these and all others, also those of each class. The loop is timed over a
few resamples, after a check that both give the same figures, and extrapolated to all. Everything runs on one core.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score
from threadpoolctl import threadpool_limits

from bloodcell_core.evaluation.intervals import cluster_bootstrap
from bloodcell_core.evaluation.resampling import photo_multiplicities, resampled_metrics

PHOTOS_BY_CLASS = (87, 33, 21, 207)
MANY_CLASSES = (60,) * 40
PICTURES = 12_444
RESAMPLES = 2000
LOOPED = ("accuracy", "balanced_accuracy", "f1_macro", "auc_ovr")
LOOP_RESAMPLES = 10
REPEATS = 3


def simulated_predictions(
    photos_by_class: tuple[int, ...], seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (N,), probabilities (N, C) and photo numbers (N,), with as many pictures of each class."""
    random = np.random.default_rng(seed)
    classes = len(photos_by_class)
    first_photos = np.cumsum((0, *photos_by_class))
    labels = np.arange(PICTURES) % classes
    photos = first_photos[labels] + np.arange(PICTURES) // classes % np.array(photos_by_class)[labels]
    scores = random.normal(size=(first_photos[-1], classes))[photos] + random.normal(size=(PICTURES, classes))
    scores[np.arange(PICTURES), labels] += 3
    exponentials = np.exp(scores)
    return labels, exponentials / exponentials.sum(axis=1, keepdims=True), photos


def loop_of_scikit_learn(
    labels: np.ndarray, probabilities: np.ndarray, photos: np.ndarray, multiplicities: np.ndarray
) -> np.ndarray:
    """(resamples, 4) the figures of `LOOPED`, one scikit-learn call each."""
    predicted = probabilities.argmax(axis=1)
    figures = []
    for multiplicity in multiplicities:
        weights = multiplicity[photos]
        figures.append(
            (
                accuracy_score(labels, predicted, sample_weight=weights),
                balanced_accuracy_score(labels, predicted, sample_weight=weights),
                f1_score(labels, predicted, average="macro", sample_weight=weights),
                roc_auc_score(labels, probabilities, multi_class="ovr", sample_weight=weights),
            )
        )
    return np.array(figures)


def seconds_of(function: Callable[[], object]) -> np.ndarray:
    """(REPEATS,) wall-clock seconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return np.array(times)


def peak_megabytes_of(function: Callable[[], object]) -> float:
    """The most that NumPy and Python held at once, beyond what they held before."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def spread(values: np.ndarray, digits: int = 2) -> str:
    """The median, and the least and the greatest in brackets."""
    return f"{np.median(values):.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def measure(photos_by_class: tuple[int, ...]) -> None:
    """Prints a case's seconds and peak memory, by photo and by picture."""
    labels, probabilities, photos = simulated_predictions(photos_by_class)
    print(
        f"{RESAMPLES:,} resamples of {PICTURES:,} predictions, {len(photos_by_class)} classes, "
        f"{sum(photos_by_class)} photos; 1 of {os.cpu_count()} cores; "
        f"median of {REPEATS} repeats (least to most)"
    )
    strata = np.repeat(np.arange(len(photos_by_class)), photos_by_class)
    some = photo_multiplicities(strata, LOOP_RESAMPLES, seed=0)
    by_hand = resampled_metrics(labels, probabilities, photos, some)[0]
    by_loop = loop_of_scikit_learn(labels, probabilities, photos, some)
    difference = np.abs(np.column_stack([by_hand[metric] for metric in LOOPED]) - by_loop).max()
    print(f"greatest difference from scikit-learn over {LOOP_RESAMPLES} resamples: {difference:.1e}")

    loop = seconds_of(lambda: loop_of_scikit_learn(labels, probabilities, photos, some))
    loop *= RESAMPLES / LOOP_RESAMPLES
    print(f"loop of scikit-learn: {spread(loop, 0)} s, extrapolated from {LOOP_RESAMPLES} resamples")

    pictures = np.arange(PICTURES)
    for name, groups in (("cluster_bootstrap by photo", photos), ("the same by picture", pictures)):

        def bootstrap(groups: np.ndarray = groups) -> object:
            return cluster_bootstrap(labels, probabilities, groups, RESAMPLES)[0]

        seconds = seconds_of(bootstrap)
        print(
            f"{name}: {spread(seconds)} s, {spread(loop / seconds, 0)} times as fast, "
            f"peak {peak_megabytes_of(bootstrap):.0f} MB"
        )


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        for case in (PHOTOS_BY_CLASS, MANY_CLASSES):
            measure(case)
