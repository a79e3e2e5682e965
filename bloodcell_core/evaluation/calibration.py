"""Whether a network is right as often as it says: reliability, expected calibration error, temperature.

A network that gives 0.9 to its answers should be right in nine of ten. The pictures are sorted by the probability of
their answer and cut into bins of as many pictures each (adaptive bins: most answers are near 1, where bins of equal
width would hold nearly all); in each bin the mean probability stands against the share that is right. The expected
calibration error is the mean distance of the two, over pictures. It cannot be 0 on few photos, however good the
network: `ece_by_chance` tells what a perfectly calibrated one would show on as many.

Temperature scaling (Guo et al., ICML 2017) divides the logits by one number, fitted on validation pictures when a run
ends; all that the run says since is at that temperature (docs/decisions/0009). It changes no answer, only how sure it
is said to be. On pictures from another source it is known to help little or to do harm (Ovadia et al., NeurIPS 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.arrays import Floats, Labels, Numbers
from bloodcell_core.evaluation.intervals import Drawn, draw_photos
from bloodcell_core.evaluation.limits import Interval, expanded_interval, hangs_on_one, share_interval
from bloodcell_core.evaluation.metrics import (
    LARGEST_LOG_LOSS,
    checked_predictions,
    sample_log_losses,
    squared_distances,
)
from bloodcell_core.evaluation.predictions import arrays_of, probabilities_of
from bloodcell_core.evaluation.resampling import ratio_or_nan, resampled_sums

BINS = 15
TEMPERATURES = (0.05, 20.0)  # what is searched; a network outside is broken, not badly calibrated
_SMALLEST = float(np.finfo(np.float64).tiny)  # as small as it may be: a temperature must be taken back exactly


def with_temperature(probabilities: npt.ArrayLike, temperature: float) -> Floats:
    """(N, C) probabilities as softmax(logits / temperature) gives them, from those that softmax(logits) gave.

    Above 1 they become less sure, below 1 surer. The order of the classes stays; those closer than rounding may tie.

    Raises:
        ValueError: for a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature is above 0, not {temperature}")
    scaled = _logits(probabilities) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _logits(probabilities: npt.ArrayLike) -> Floats:
    """(N, C) what softmax made probabilities of, but for a constant in each row, which it takes out."""
    logits: Floats = np.log(np.clip(np.asarray(probabilities, np.float64), _SMALLEST, None))
    return logits


def fit_temperature(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """The temperature within `TEMPERATURES` of the least negative log-likelihood; never worse than 1 on these pictures.

    Where every picture is right the least is at the lower end: nothing can be told from such pictures.

    Args:
        labels: (N,) true class indices, 0…C-1.
        probabilities: (N, C), 0…1, rows summing to 1.

    Raises:
        ValueError: in one line, for input that `checked_predictions` refuses.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    labels, probabilities = checked_predictions(labels, probabilities)
    logits, pictures = _logits(probabilities), np.arange(len(labels))

    def loss(logarithm: float) -> float:
        return -float(log_softmax(logits / np.exp(logarithm), axis=1)[pictures, labels].mean())

    # Convex in 1 / temperature, so it has one minimum in the logarithm. Clipped probabilities, as `sample_log_losses`
    # has them, could add more.
    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def expected_calibration_error(confidence: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """0…1, from (N,) probabilities of the answers given and (N,) whether each is right, over adaptive bins."""
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    return float(np.abs(np.bincount(equal_count_bins(confidence), right - confidence)).sum() / len(right))


def equal_count_bins(confidence: Floats) -> Numbers:
    """(N,) the bin, 0…BINS-1, of each confidence, lowest first.

    As many in each as ties allow: equal confidences share the bin of the first, so that the order of pictures does
    not matter and a bin may be empty.
    """
    places = np.searchsorted(np.sort(confidence), confidence, side="left")
    numbers: Numbers = places * BINS // len(confidence)
    return numbers


def fitted_temperature(validation: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """What a run's summary keeps of its temperature, fitted on its validation pictures alone. JSON-ready.

    Args:
        validation: predictions before any temperature, with the columns of predictions.parquet; may be empty.
        classes: the run's.

    Returns:
        temperature (1.0 where it can't be fitted), temperature_fitted_on {pictures, photos (None where they aren't
        known)}, and temperature_reason: why it couldn't be fitted, empty where it was.
    """
    reason, temperature, photos = "", 1.0, None
    if validation.empty:
        reason = "there are no validation pictures"
    else:
        labels, probabilities, photo_names, photos_known = arrays_of(validation, classes)
        photos = len(set(photo_names)) if photos_known else None
        if (validation.label == validation.predicted).all():
            reason = "no validation picture is wrong"
        else:
            temperature = fit_temperature(labels, probabilities)
    return {
        "temperature": temperature,
        "temperature_fitted_on": {"pictures": len(validation), "photos": photos},
        "temperature_reason": reason,
    }


def uncalibrated(table: pd.DataFrame, classes: Sequence[str], temperature: float) -> pd.DataFrame:
    """A run's predictions as they were before its temperature; the answers are the same."""
    columns = [f"p_{name}" for name in classes]
    return table.assign(**dict(zip(columns, with_temperature(table[columns], 1 / temperature).T, strict=True)))


def calibration(
    table: pd.DataFrame,
    classes: Sequence[str],
    summary: Mapping[str, Any],
    elsewhere: bool = False,
    before: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """How far predictions are from being right as often as they say, before and after the run's temperature.

    Args:
        table: a run's predictions for the pictures to measure on, at its temperature, as the run gives them.
        classes: theirs.
        summary: the run's, with the keys of `fitted_temperature`; empty while the run hasn't ended, and its
            predictions have no temperature yet.
        elsewhere: the pictures are from another source than the validation split.
        before: the predictions without the temperature, where they aren't `uncalibrated` of `table`: its classes
            were merged.

    Returns:
        - pictures, photos (None where they aren't known), accuracy: of what is measured.
        - temperature: None where the validation split couldn't tell it (no pictures, or none of them wrong).
        - fitted_on: {pictures, photos} of the validation split, None while the run hasn't ended.
        - before, after (None without a temperature): {ece, ece_by_chance, brier, log_loss, confidence, intervals,
          bins}. `confidence` is the mean probability of the answers, to be set against `accuracy`; `ece_by_chance`
          what a perfectly calibrated network would show on average on as many such photos; `intervals` {ece, brier,
          log_loss, confidence: [low, high] or None} at 95%, by source photo; `bins` [{pictures, confidence, accuracy,
          interval}] from the least sure to the surest, the interval being that of the accuracy. `ece` is too high
          on few photos, and its interval allows for that. Where all photos of each class happen to be right, or all
          wrong, only `confidence` has an interval, and there is no `ece_by_chance`.
        - warnings: in words.

    Raises:
        LabError: where there is nothing to measure on.
    """
    if table.empty:
        raise LabError("there are no pictures to measure the calibration on")
    labels, _, photos, photos_known = arrays_of(table, classes)
    drawn = draw_photos(labels, photos, len(classes))
    reason = summary.get("temperature_reason", "a run's temperature is fitted when it ends")
    temperature, warnings = None, []
    if reason:
        warnings.append(f"the probabilities are not calibrated: {reason}")
    else:
        temperature = float(summary["temperature"])
        if before is None:
            before = uncalibrated(table, classes, temperature)
        if elsewhere:
            warnings.append(
                f"the temperature of {temperature:.2f} was fitted on the run's own pictures: on pictures from another "
                "source it is known to help little or to make calibration worse: look at the figures before it"
            )

    def figures(predictions: pd.DataFrame) -> dict[str, Any]:
        predicted = pd.Categorical(predictions.predicted, categories=list(classes)).codes.astype(np.intp)
        return _figures(labels, probabilities_of(predictions, classes), predicted, drawn)

    return {
        "pictures": len(labels),
        "photos": len(set(photos)) if photos_known else None,
        "accuracy": float((table.predicted == table.label).mean()),
        "temperature": temperature,
        "fitted_on": summary.get("temperature_fitted_on"),
        "before": figures(table if before is None else before),
        "after": figures(table) if temperature is not None else None,
        "warnings": warnings,
    }


def _figures(labels: Labels, probabilities: Floats, predicted: Numbers, drawn: Drawn | None) -> dict[str, Any]:
    """`before` or `after` of `calibration`; `predicted` is given, because a temperature must not change an answer."""
    confidence = probabilities[np.arange(len(labels)), predicted]
    right = (predicted == labels).astype(np.float64)
    of_bin = equal_count_bins(confidence)
    means = {
        "brier": squared_distances(labels, probabilities),
        "log_loss": sample_log_losses(labels, probabilities),
        "confidence": confidence,
    }
    in_bin = np.eye(BINS)[of_bin]
    columns = np.hstack(
        [in_bin, in_bin * confidence[:, None], in_bin * right[:, None], np.column_stack(list(means.values()))]
    )
    gaps, rates, averages = _from_sums(columns.sum(axis=0)[None])
    by_chance = None
    intervals: dict[str, Interval] = dict.fromkeys(("ece", *means))
    rate_intervals: list[Interval] = [None] * BINS
    if drawn is not None:
        per_photo = np.zeros((drawn.multiplicities.shape[1], columns.shape[1]))
        np.add.at(per_photo, drawn.photo_numbers, columns)
        drawn_gaps, drawn_rates, drawn_averages = _from_sums(resampled_sums(per_photo, drawn.multiplicities))
        for place, name in enumerate(means):
            intervals[name] = _of_mean(name, averages[0, place], drawn_averages[:, place], drawn)
        numbers = drawn.photo_numbers
        # Then resamples don't move what is right and wrong.
        if drawn.uniform_in_classes(np.bincount(numbers, right), np.bincount(numbers)):
            intervals |= dict.fromkeys(("brier", "log_loss"))
        else:
            moved = np.abs((drawn_gaps - gaps) * _for_few_photos(per_photo[:, :BINS])).sum(axis=1)
            by_chance = float(moved.mean())
            intervals["ece"] = _cautious(float(np.abs(gaps).sum()), np.abs(drawn_gaps).sum(axis=1), moved, drawn)
        for place in range(BINS):
            rate_intervals[place] = drawn.share_interval(predicted == labels, of_bin == place, drawn_rates[:, place])
    return {
        "ece": float(np.abs(gaps).sum()),
        "ece_by_chance": by_chance,
        **{name: float(averages[0, place]) for place, name in enumerate(means)},
        "intervals": intervals,
        "bins": [
            {
                "pictures": int(in_bin[:, place].sum()),
                "confidence": float(confidence[of_bin == place].mean()),
                "accuracy": float(rates[0, place]),
                "interval": rate_intervals[place],
            }
            for place in np.unique(of_bin)
        ],
    }


def _from_sums(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """From (R, 3·BINS + K) sums over pictures: gaps, rates (both R, BINS) and (R, K) means.

    A bin's gap is its share of the pictures times its share right less its mean confidence; its rate is its share
    right, NaN where it is empty.
    """
    counts, confident, right, others = np.split(sums, [BINS, 2 * BINS, 3 * BINS], axis=1)
    pictures = counts.sum(axis=1, keepdims=True)
    return (right - confident) / pictures, ratio_or_nan(right, counts), others / pictures


def _of_mean(name: str, mean: float, resampled: Floats, drawn: Drawn) -> Interval:
    """The interval of a mean over pictures, from (R,) resampled ones, on the scale of log odds: `share_interval` of a
    Brier score over its maximum, 2, or of x / (1 + x) of a log loss x, whose log odds are log x.

    Few photos are wrong and sure, and make up most of such a mean: percentiles were too low where a network is good.
    """
    if hangs_on_one(drawn.sizes, drawn.pictures):
        return None
    most = 2 if name == "brier" else 1

    def share(figures: Any) -> Any:
        return figures / (1 + figures) if name == "log_loss" else figures / most

    limits = share_interval(share(mean), share(resampled), drawn.sizes, weights=drawn.pictures)
    if limits and name == "log_loss":  # of very few photos a limit may be 1, to the last digit
        return [end / (1 - end) for end in np.minimum(limits, share(LARGEST_LOG_LOSS)).tolist()]
    return limits and [most * end for end in limits]


def _for_few_photos(in_bin: Floats) -> Floats:
    """(BINS,) by what factor new photos move each bin's gap more than a resample does.

    `in_bin` (P, BINS) are the pictures of each photo in each bin.

    Of n photos √(n / (n - 1)), n being how many of equal weight would tell as much as those of the bin (Kish, Survey
    Sampling, 1965). Few photos mostly lack the rare one that is wrong though sure, and then move next to nothing.
    """
    photos = in_bin.sum(axis=0) ** 2 / np.maximum((in_bin**2).sum(axis=0), 1)
    times: Floats = np.sqrt(photos / np.maximum(photos - 1, 0.5))  # of one photo nothing can be told
    return times


def _cautious(error: float, resampled: Floats, moved: Floats, drawn: Drawn) -> Interval:
    """The interval of an error that is too high on few photos, from (R,) resampled ones and how far the gaps `moved`
    in those: each end the cautious one.

    The sum of the sizes of the true gaps is no less than that of those seen, less the sum of what chance has moved
    them. So the lower end holds of a network that is right as often as it says, too, whose error is all chance. For the
    upper end it would be far too cautious. Resampled errors are biased upwards a second time, so their percentile is
    cautious enough there.
    """
    of_errors, of_moves = (expanded_interval(each, drawn.sizes, drawn.pictures) for each in (resampled, moved))
    return [max(0.0, error - of_moves[1]), of_errors[1]] if of_errors and of_moves else None
