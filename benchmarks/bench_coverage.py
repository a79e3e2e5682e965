"""Measures how often a 95% interval holds the true figure, resampled by source photo and by picture.

Run: python -m benchmarks.bench_coverage [TRIALS]

Each trial draws photos of 4 classes and gives each photo a difficulty of its own, then copies that differ little from
it: the rarer the class the more copies, unevenly spread, as in the public sets. A network answers, somewhat too sure.
The true figures are those of a simulation of 400,000 photos of one picture each, in the same mix of classes: copies
are as likely to be right as their photo, so that they change the spread of a figure and not its mean. An interval is
good where it holds the truth in 95 of 100 trials. By picture fewer trials are made: there the shortfall is large.
A middling network is wrong in about one photo of four, a good one in one of thirty. Last come differences of two
networks on the same photos, whose mistakes go together. Everything runs on one core.
"""

from __future__ import annotations

import sys
import time
from functools import cache

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from bloodcell_core.evaluation import comparison
from bloodcell_core.evaluation.calibration import calibration, expected_calibration_error
from bloodcell_core.evaluation.comparison import COMPARED, Side, compare_sides
from bloodcell_core.evaluation.intervals import cluster_bootstrap
from bloodcell_core.evaluation.limits import exact_binomial
from bloodcell_core.evaluation.metrics import evaluate_predictions
from bloodcell_core.evaluation.predictions import predictions_table

CLASSES = ("a", "b", "c", "d")
COPIES = (4, 8, 12, 3)  # of a photo of each class, on average
PHOTOS = {
    "the archive's test split, 71 photos": (13, 6, 4, 48),
    "20 photos a class": (20, 20, 20, 20),
    "the archive's 348 photos": (87, 33, 21, 207),
    "100 photos a class": (100, 100, 100, 100),
}
METRICS = (
    "accuracy", "balanced_accuracy", "precision_macro", "f1_macro", "auc_ovr", "average_precision_macro", "kappa",
)  # fmt: skip
FIGURES = (*METRICS, "ece")
TRIALS = 400
MANY_PHOTOS = 100  # from here on half as many trials: they take most of the time
PICTURE_TRIALS_EACH = 5  # one trial in so many is also resampled by picture
RESAMPLES = 1000
TRUTH_PICTURES = 400_000
OF_PHOTO = 0.8  # the share of the variance that a photo's copies have in common
SEPARATIONS = {"a middling network": 1.8, "a good network": 3.2}
SURENESS = 2.5  # 1.8 would be as sure as right, for the middling network
BETTER = 0.3  # by how much B of a pair separates the classes better than A
SHARED = 0.6  # of what makes a photo hard is the same for both


def predictions(
    random: np.random.Generator, sizes: list[np.ndarray], *separations: float
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Of photos with so many pictures each, by class: labels (N,), photo numbers (N,), and between them the
    probabilities (N, 4) of a network for each of `separations`, for which the same photos are hard.
    """
    photo_labels = np.repeat(np.arange(len(sizes)), [len(of_class) for of_class in sizes])
    photos = np.repeat(np.arange(len(photo_labels)), np.concatenate(sizes))
    labels = photo_labels[photos]
    shape = len(photo_labels), len(sizes)
    hard_for_all = random.normal(size=shape)
    each = []
    for separation in separations:
        of_photo = np.sqrt(SHARED) * hard_for_all + np.sqrt(1 - SHARED) * random.normal(size=shape)
        scores = np.sqrt(OF_PHOTO) * of_photo[photos] + np.sqrt(1 - OF_PHOTO) * random.normal(size=(len(labels), 4))
        scores[np.arange(len(labels)), labels] += separation
        powers = np.exp(SURENESS * (scores - scores.max(axis=1, keepdims=True)))
        each.append(powers / powers.sum(axis=1, keepdims=True))
    return labels, each, photos


def uneven_sizes(random: np.random.Generator, photos_by_class: tuple[int, ...]) -> list[np.ndarray]:
    """Pictures of each photo of each class, at least 1 each and `COPIES` on average."""
    return [
        1 + random.multinomial(photos * (copies - 1), random.dirichlet(np.full(photos, 2.0)))
        for photos, copies in zip(photos_by_class, COPIES, strict=True)
    ]


@cache
def true_figures(photos_by_class: tuple[int, ...], separation: float) -> dict[str, float]:
    pictures = np.multiply(photos_by_class, COPIES)
    counts = (TRUTH_PICTURES * pictures / pictures.sum()).round().astype(int)
    sizes = [np.ones(count, int) for count in counts]
    labels, [probabilities], _ = predictions(np.random.default_rng(1), sizes, separation)
    figures = evaluate_predictions(labels, probabilities, CLASSES)
    right = probabilities.argmax(axis=1) == labels
    error = expected_calibration_error(probabilities.max(axis=1), right)
    return {metric: figures[metric] for metric in METRICS} | {"ece": error}


def limits_of(labels: np.ndarray, probabilities: np.ndarray, photos: np.ndarray, seed: int) -> np.ndarray:
    """(figures, 2) the interval of each of `FIGURES`."""
    pictures = pd.DataFrame({"image_id": np.arange(len(labels)), "split": "test", "source_photo": photos})
    pictures["label"] = np.array(CLASSES)[labels]
    told = calibration(predictions_table(pictures, probabilities, CLASSES), CLASSES, summary={})
    error = told["before"]["intervals"]["ece"]
    intervals = cluster_bootstrap(labels, probabilities, photos, RESAMPLES, seed)[0]
    return np.array([*(intervals[metric] for metric in METRICS), error])


def print_coverage(photos_by_class: tuple[int, ...], separation: float, trials: int) -> None:
    truth = true_figures(photos_by_class, separation)
    random = np.random.default_rng(0)
    by_photo, by_picture = [], []
    for trial in range(trials):
        labels, [probabilities], photos = predictions(random, uneven_sizes(random, photos_by_class), separation)
        by_photo.append(limits_of(labels, probabilities, photos, seed=trial))
        if trial % PICTURE_TRIALS_EACH == 0:
            by_picture.append(limits_of(labels, probabilities, np.arange(len(labels)), seed=trial))
    photo_limits, picture_limits = np.stack(by_photo), np.stack(by_picture)
    print(f"{'':30}{'truth':>6}{'held by photo':>18}{'held by picture':>18}{'times as wide':>15}")
    for place, name in enumerate(FIGURES):
        shares = [held(limits[:, place], truth[name]) for limits in (photo_limits, picture_limits)]
        wider = np.ptp(photo_limits[:, place], axis=1).mean() / np.ptp(picture_limits[:, place], axis=1).mean()
        print(f"{name:30}{truth[name]:6.3f}{shares[0]:>18}{shares[1]:>18}{wider:15.1f}")
    exact = exact_coverage(truth["accuracy"], sum(photos_by_class))
    print(f"{'exact binomial of as many':30}{truth['accuracy']:6.3f}{exact:>18.1%}")


def exact_coverage(truth: float, photos: int) -> float:
    """How often the Clopper-Pearson interval holds a share of so many independent photos that weigh the same: what can
    be had where few are wrong, as their number is a whole one.
    """
    from scipy.stats import binom

    right = np.arange(photos + 1)
    limits = np.array([exact_binomial(count, photos) for count in right])
    holds = (limits[:, 0] <= truth) & (truth <= limits[:, 1])
    return float(binom.pmf(right, photos, truth)[holds].sum())


def print_paired_coverage(photos_by_class: tuple[int, ...], separation: float, trials: int) -> None:
    """How often the interval of B less A holds the true difference, B being a little better."""
    separations = separation, separation + BETTER
    one, other = (true_figures(photos_by_class, each) for each in separations)
    random = np.random.default_rng(2)
    limits = []
    for _ in range(trials):
        labels, both, photos = predictions(random, uneven_sizes(random, photos_by_class), *separations)
        pictures = pd.DataFrame({"image_id": np.arange(len(labels)), "split": "test", "source_photo": photos})
        pictures["label"] = np.array(CLASSES)[labels]
        sides = [
            Side(name, "simulated", "", list(CLASSES), predictions_table(pictures, shares, CLASSES))
            for name, shares in zip("AB", both, strict=True)
        ]
        facts = compare_sides(*sides)["metrics"]
        limits.append([facts[metric]["interval"] for metric in COMPARED])
    for place, metric in enumerate(COMPARED):
        difference = other[metric] - one[metric]
        print(f"{'B less A, ' + metric:30}{difference:+6.3f}{held(np.array(limits)[:, place], difference):>18}")


def held(limits: np.ndarray, truth: float) -> str:
    """The share of (trials, 2) intervals that hold the truth, and its standard error."""
    share = ((limits[:, 0] <= truth) & (truth <= limits[:, 1])).mean()
    return f"{share:.1%} ± {np.sqrt(share * (1 - share) / len(limits)):.1%}"


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS
    comparison.RESAMPLES = RESAMPLES
    print(
        f"{trials:,} trials, half of them from {MANY_PHOTOS} photos on, 1 in {PICTURE_TRIALS_EACH} also by picture; "
        f"{RESAMPLES} resamples (ece 2,000); "
        f"{OF_PHOTO:.0%} of the variance is the photo's; ± standard error"
    )
    for name, photos_by_class in PHOTOS.items():
        for network, separation in SEPARATIONS.items():
            start = time.perf_counter()
            count = int(np.multiply(photos_by_class, COPIES).sum())
            print(f"\n{network}, {name}: {photos_by_class}, {count:,} pictures")
            trials_here = trials // 2 if sum(photos_by_class) >= MANY_PHOTOS else trials
            print_coverage(photos_by_class, separation, trials_here)
            print_paired_coverage(photos_by_class, separation, trials_here)
            print(f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
