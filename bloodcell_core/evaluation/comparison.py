"""Paired comparison of two runs on the same test photos.

A figure of A and a figure of B, each with its interval, don't tell whether B is better: the two were tested on the same
photos, and what is hard for one is mostly hard for the other. Here each resample draws photos once for both (a paired
bootstrap), and the interval is that of the difference. It tells what other photos would have changed, not what another
training of the same settings would: for that there are `together.seed_groups`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.arrays import Flags, Floats, Labels
from bloodcell_core.evaluation.calibration import uncalibrated
from bloodcell_core.evaluation.figures import gain_words
from bloodcell_core.evaluation.intervals import OF_RANKS, RESAMPLES, Drawn, draw_photos, photo_answers
from bloodcell_core.evaluation.limits import LEVEL, difference_interval, exact_binomial, expanded_interval, hangs_on_one
from bloodcell_core.evaluation.merging import merged
from bloodcell_core.evaluation.metrics import evaluate_predictions
from bloodcell_core.evaluation.predictions import PHOTOS_UNKNOWN, arrays_of, one_answer_a_photo, probabilities_of
from bloodcell_core.evaluation.resampling import number_photos, resampled_metrics, resampled_sums
from bloodcell_core.labels.overlays import Overlay
from bloodcell_core.runs import Run

COMPARED = ("accuracy", "balanced_accuracy", "f1_macro", "auc_ovr")
"""The metrics that are compared: those that every run's summary has."""

OF_PAIRS = ("auc_ovr",)
"""Those that are shares of pairs of pictures, not of pictures, as an AUC is."""

OUTCOMES = {"both": "Both right", "only_a": "Only A right", "only_b": "Only B right", "neither": "Both wrong"}
"""Who is right on a picture or photo, and the words for it."""

CHANCE_ALONE = ("seed", "device", "compile")  # settings that change a training's result by chance only


@dataclass(frozen=True)
class Side:
    """One side of a comparison: the out-of-sample predictions of a run, or of all folds of a cross-validation."""

    name: str
    data: str
    data_hash: str
    classes: list[str]
    table: pd.DataFrame
    """A row a picture, with the columns of predictions.parquet."""
    run: Run | None = None
    """The run that they were read from; None where they are of no single run, as a cross-validation's."""
    before: pd.DataFrame | None = None
    """The same predictions before the run's temperature; None where it has none, or several (a cross-validation)."""
    synthetic: bool = False
    """Whether the pictures were drawn by a program."""

    def merged(self, groups: Mapping[str, Sequence[str]]) -> Side:
        """The same predictions with classes merged, as `merged` does."""
        table, classes = merged(self.table, self.classes, groups)
        before = None if self.before is None else merged(self.before, self.classes, groups)[0]
        return replace(self, table=table, classes=classes, before=before)

    def relabelled(self, overlay: Overlay) -> Side:
        """The same predictions on reviewed labels, but for pictures that take no part; LabError for other data, and
        where none is left."""
        overlay.check_hash(self.data_hash, self.data)
        table = overlay.relabelled(self.table, self.classes)
        if table.empty:
            raise LabError(f"the reviewed labels {overlay.reference} leave none of the test pictures of {self.name!r}")
        before = None if self.before is None else overlay.relabelled(self.before, self.classes)
        return replace(self, table=table, before=before)


def side_of(run: Run) -> Side:
    """A run's predictions of its test pictures; LabError where it has none."""
    table = run.predictions().query("split == 'test'").reset_index(drop=True)
    if table.empty:
        raise LabError(f"run {run.name!r} was tested on no picture: its dataset has no test picture of its classes")
    summary = run.summary()
    calibrated = summary and not summary["temperature_reason"]
    before = uncalibrated(table, run.classes, run.temperature) if calibrated else None
    return Side(run.name, run.config.data, run.data_hash, run.classes, table, run, before, run.synthetic)


def compare(run_a: Run, run_b: Run) -> dict[str, Any]:
    """`compare_sides` of two runs' test pictures."""
    return compare_sides(side_of(run_a), side_of(run_b))


def p_words(p: float) -> str:
    """A p value as it is printed: '= 0.012', or '< 0.001' where its digits tell nothing."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def compare_sides(a: Side, b: Side, pictures: str = "pictures") -> dict[str, Any]:
    """B compared with A on the same photos, JSON-ready. All differences are B less A.

    `pictures` is what people call the tables' rows: "cells" where each was cut out of a picture.

    Returns:
        - a, b, data, classes, pictures, photos (None where they aren't known).
        - metrics: {metric: {a, b, difference, interval}}; the interval of the difference at 95%, by source photo,
          paired. None where a figure is undefined.
        - right: who is right on how many of `of` `unit`: photos, a photo's copies averaged; `pictures` where photos
          aren't known, or are cells with answers of their own. Keys unit, of, a, b, difference, interval, the four
          of `OUTCOMES`, and p: of McNemar's exact test, None where the units aren't independent.
        - by_picture: {outcome: pictures}; `picture_outcomes` tells which.
        - confusion: {a, b, difference}, rows are true.
        - better: "a", "b" or None, and verdict: the same in words. A run is called better only where the interval
          leaves out 0 and p, if there is one, is below 0.05: with a handful of photos on which the two differ, the
          interval alone is too narrow.
        - notes: what limits the comparison, in words.

    Raises:
        LabError: where the two can't be compared, with the reason (see `check_comparable`).
    """
    check_comparable(a, b)
    table_a, table_b = (side.table.sort_values("image_id", ignore_index=True) for side in (a, b))
    classes = a.classes
    labels, of_a, photos, known = arrays_of(table_a, classes)
    both = of_a, probabilities_of(table_b, classes)
    scores = [evaluate_predictions(labels, probabilities, classes) for probabilities in both]
    drawn = draw_photos(labels, photos, len(classes), RESAMPLES)
    confusions = [np.asarray(score["confusion"]) for score in scores]
    averaged = known and one_answer_a_photo(table_a)
    right = _who_is_right(labels, both, photos, drawn, pictures, known, averaged)
    by_picture = _counts(*(each.argmax(axis=1) == labels for each in both))
    better, verdict = _verdict(right)
    return {
        "a": a.name,
        "b": b.name,
        "data": a.data,
        "classes": classes,
        "pictures": len(labels),
        "photos": len(set(photos)) if known else None,
        "metrics": _metrics(labels, both, scores, drawn),
        "right": right,
        "by_picture": by_picture,
        "confusion": {
            "a": confusions[0].tolist(),
            "b": confusions[1].tolist(),
            "difference": (confusions[1] - confusions[0]).tolist(),
        },
        "better": better,
        "verdict": verdict,
        "notes": _notes(a, b, known, right["difference"] * (by_picture["only_b"] - by_picture["only_a"]) < 0),
    }


def at_once_words(others: int) -> str:
    """A caution about multiple comparisons with one run; '' where there is only one."""
    if others < 2:
        return ""
    return (
        f"A is set against {others:,} runs here, and each comparison alone calls equals different up to once in 20: "
        f"for all of them together to do so no more often, go by p below {(1 - LEVEL) / others:.3g}"
    )


def check_comparable(a: Side, b: Side, titles: Mapping[str, str] | None = None) -> None:
    """LabError, with the reason, unless both were tested on the same pictures with the same labels and classes.

    `titles` are what people know runs by, by their names.
    """
    called = {side.name: side.name for side in (a, b)} | dict(titles or {})
    pair = f"{called[a.name]} and {called[b.name]} can't be compared"
    if a.data_hash != b.data_hash:
        raise LabError(f"{pair}: they were trained and tested on different data ({a.data} and {b.data})")
    if set(a.classes) != set(b.classes):
        raise LabError(f"{pair}: their classes differ ({', '.join(a.classes)}; {', '.join(b.classes)})")
    ids_a, ids_b = set(a.table.image_id), set(b.table.image_id)
    if ids_a != ids_b:
        raise LabError(
            f"{pair}: they were tested on different pictures ({len(ids_a):,} and {len(ids_b):,}, "
            f"{len(ids_a & ids_b):,} of them the same), so their splits are not the same"
        )
    one, other = (side.table.set_index("image_id").loc[sorted(ids_a), ["label", "source_photo"]] for side in (a, b))
    for column, what in (("label", "labels"), ("source_photo", "source photos")):
        if not one[column].equals(other[column]):
            raise LabError(f"{pair}: their test pictures' {what} differ")


def picture_outcomes(a: Side, b: Side) -> pd.Series:
    """Which of `OUTCOMES` each picture is, by image_id; LabError where the two can't be compared."""
    check_comparable(a, b)
    right_a, right_b = ((side.table.predicted == side.table.label).to_numpy() for side in (a, b))
    right_b = pd.Series(right_b, index=b.table.image_id.to_numpy()).loc[a.table.image_id.to_numpy()].to_numpy()
    return pd.Series(_outcomes(right_a, right_b), index=a.table.image_id.to_numpy())


def settings_of(run: Run) -> str:
    """All settings and data that a run's result depends on, but for chance, as text to compare."""
    settings = {name: value for name, value in run.settings.items() if name not in CHANCE_ALONE}
    return repr((settings, run.data_hash, run.classes, run.pretrained))


def _notes(a: Side, b: Side, known: bool, photos_against_pictures: bool) -> list[str]:
    notes = []
    if photos_against_pictures:
        notes.append("by picture the other is right more often, where a photo counts as often as it has copies")
    if not (a.run and b.run):
        notes.append("a cross-validation's AUC sets probabilities of several networks, not of one, against each other")
    elif settings_of(a.run) == settings_of(b.run):
        notes.append("both have the same settings: they differ by the chance of their trainings alone")
    if not known:
        notes.append(PHOTOS_UNKNOWN)
    return notes


def _who_is_right(
    labels: Labels,
    both: Sequence[Floats],
    photos: npt.NDArray[Any],
    drawn: Drawn | None,
    pictures: str,
    known: bool,
    averaged: bool,
) -> dict[str, Any]:
    """The `right` of `compare_sides`."""
    numbers, names = number_photos(photos, len(labels))
    if averaged:
        right_a, right_b = (np.equal(*photo_answers(labels, each, numbers)) for each in both)
    else:
        right_a, right_b = (each.argmax(axis=1) == labels for each in both)
    of_photos = np.arange(len(names)) if averaged else numbers
    gained = np.bincount(of_photos, weights=right_b.astype(float) - right_a)
    limits = None
    if drawn is not None:
        gains = resampled_sums(gained[:, None], drawn.multiplicities)[:, 0]
        limits = expanded_interval(gains, drawn.sizes, drawn.sizes if averaged else drawn.pictures)
    outcomes = _counts(right_a, right_b)
    independent = averaged or not known
    apart = outcomes["only_a"] + outcomes["only_b"]
    copies = np.bincount(of_photos)
    if drawn is not None and apart and (drawn.uniform_in_classes(gained, copies) or not np.ptp(gains)):
        limits = None  # as where one never names a class that the other always does
        if independent:  # McNemar's test, turned into an interval: of the units on which they differ
            low, high = exact_binomial(outcomes["only_b"], apart)
            limits = [apart * (2 * low - 1), apart * (2 * high - 1)]
    return {
        "unit": "photos" if averaged else pictures,
        "of": len(right_a),
        "a": int(right_a.sum()),
        "b": int(right_b.sum()),
        "difference": int(right_b.sum() - right_a.sum()),
        "interval": limits,
        **outcomes,
        "p": _mcnemar(outcomes["only_a"], outcomes["only_b"]) if independent else None,
    }


def _mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p of as uneven a share of the units on which one alone is right; 1 where there is none."""
    from scipy.special import bdtr  # a fifth of the memory of scipy.stats

    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def _verdict(right: Mapping[str, Any]) -> tuple[str | None, str]:
    """Which of the two is better, if that can be told, and the sentence for people. Told from the leader's side."""
    gain, limits = right["difference"], right["interval"]
    of = f"{right['of']:,} {right['unit']}"
    if not right["only_a"] and not right["only_b"]:
        return None, f"A and B are right on the same {right['a']:,} of {of}: this data can't tell them apart."
    leader, sign = ("B", 1) if gain >= 0 else ("A", -1)
    head = f"{leader} is right on {abs(gain):,} more of {of}"
    if gain == 0:
        head = f"A and B are both right on {right['a']:,} of {of}, not the same ones"
    if limits is None:
        return None, f"{head}; too few photos for an interval: this data can't tell them apart."
    head += f", 95% interval {gain_words([sign * limit for limit in limits])}"
    if min(limits) <= 0 <= max(limits):
        return None, f"{head}: this data can't tell them apart."
    if why := why_not(right):
        return None, f"{head}, {why}: this data can't tell them apart."
    return leader.lower(), f"{head}: {leader} is better."


def why_not(right: Mapping[str, Any]) -> str:
    """Why no winner is named although the interval of `right` excludes 0; "" otherwise."""
    if right["interval"] is None or min(right["interval"]) <= 0 <= max(right["interval"]):
        return ""
    if right["p"] is None or right["p"] < 1 - LEVEL:
        return ""
    return f"but they differ on {right['only_a'] + right['only_b']:,} {right['unit']} only"


def _metrics(
    labels: Labels, both: Sequence[Floats], scores: Sequence[Mapping[str, Any]], drawn: Drawn | None
) -> dict[str, dict[str, Any]]:
    """The `metrics` of `compare_sides`."""
    compared: dict[str, dict[str, Any]] = {}
    for metric in COMPARED:
        a, b = (score[metric] for score in scores)
        difference = None if a is None or b is None else b - a
        compared[metric] = {"a": a, "b": b, "difference": difference, "interval": None}
    if drawn is None:
        return compared
    of_a, of_b = (resampled_metrics(labels, each, drawn.photo_numbers, drawn.multiplicities)[0] for each in both)
    for metric, facts in compared.items():
        limits = difference_interval(
            facts["a"], facts["b"], of_a[metric], of_b[metric], drawn.sizes,
            middle_known=metric not in OF_PAIRS, weights=drawn.weights_in(metric),
        )  # fmt: skip
        if not {facts["a"], facts["b"]} <= {0, 1} and hangs_on_one(drawn.sizes, drawn.weights_in(metric)):
            limits = None
        facts["interval"] = limits
    pictures = np.bincount(drawn.photo_numbers)
    right_a, right_b = (each.argmax(axis=1) == labels for each in both)
    gained = np.bincount(drawn.photo_numbers, weights=right_b.astype(float) - right_a)
    all_or_nothing = abs(compared["balanced_accuracy"]["difference"]) == 1
    # See `OF_RANKS`.
    if (right_a != right_b).any() and drawn.uniform_in_classes(gained, pictures) and not all_or_nothing:
        for metric in set(COMPARED) - set(OF_RANKS):
            compared[metric]["interval"] = None
    return compared


def _outcomes(right_a: Flags, right_b: Flags) -> npt.NDArray[Any]:
    outcomes: npt.NDArray[Any] = np.asarray(list(OUTCOMES), dtype=object)[2 * ~right_a + ~right_b]
    return outcomes


def _counts(right_a: Flags, right_b: Flags) -> dict[str, int]:
    outcomes = _outcomes(right_a, right_b)
    return {outcome: int((outcomes == outcome).sum()) for outcome in OUTCOMES}
