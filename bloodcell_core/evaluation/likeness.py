"""Out-of-distribution detection: is a cell like those that a run was trained on? Judged before any class is named.

By two distances. In the features that the network's last layer decides by, from the
nearest class's middle: a Mahalanobis distance (Lee et al., NeurIPS 2018) with a shrunken covariance (Ledoit & Wolf,
2004), as there are fewer photos than features. And in what is measured of the view (stain, light, sharpness, scale:
data/looks.py), from the nearest training cell. A cell that lies beyond the limit of either is unlike. Which distances,
and how far: docs/experiments.md.

The limits are set by validation pictures, which the network wasn't trained on, so that `RATE` of such cells are refused
by mistake: that is measured on photos that had no part in the limits, which are widened until it holds. A photo counts
once, however many copies it has; few photos give a wide limit (`limit_of`). Where a network learned from several
laboratories, each has middles of its own and is to be let in: the wider limit holds.

A network that learned other kinds of cells to refuse them (`refuse` in its config) has outputs for these, too. How far
the odds are theirs is a third figure, and its limit the one that `RATE` of the validation cells lie beyond.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bloodcell_core import disk
from bloodcell_core.data.looks import LOOKS
from bloodcell_core.errors import LabError, brief
from bloodcell_core.evaluation.arrays import Floats

RATE = 0.02  # of cells like the training cells: as many are too far by mistake, and as many taken for a kind to refuse
AIMS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)  # of RATE: tails are heavier than a normal distribution's
CELL_ASKED_FROM = 0.9  # of each class's training pictures show a white cell: then one is asked for
HALVINGS = 20
DISTANCES = 2  # from the training cells: in features and in looks
WIDEST = 256  # features that a covariance is estimated of; more (basic_cnn has 18,432) are projected first
VERSION = 4


class OtherVersion(LabError):
    """The file was made by another version of this program."""


class Cells(NamedTuple):
    """The measurements of N cells."""

    features: npt.NDArray[np.float32]
    """(N, D): the inputs of the network's last layer."""
    looks: Floats
    """(N, 15): `looks.look_of`; NaN where a measure isn't known."""
    photos: npt.NDArray[Any]
    """(N,)"""
    laboratories: npt.NDArray[Any] | None = None
    """(N,) of which laboratory each is; None where there is only one."""


class LastLayer(NamedTuple):
    """The last layer of a network that learned classes to refuse."""

    weights: npt.NDArray[np.float32]
    """(outputs, D): the classes' first, then those of what is refused."""
    biases: npt.NDArray[np.float32]
    """(outputs,)"""
    classes: int


@dataclass(frozen=True)
class Likeness:
    """The distribution of a run's training cells, and the limits beyond which a cell is unlike them."""

    facts: dict[str, Any]
    """JSON-ready: rate, that was asked for; training, held: {pictures, photos}; refused: share of held-back cells that
    limits set on the other half of the photos refuse, in the laboratory with the highest one, None where too few photos
    tell; found: {class: share of its training pictures that show a white cell}; limits."""
    arrays: dict[str, np.ndarray]

    @property
    def asks_for_cell(self) -> bool:
        """Whether a picture without a white cell is unlike: each class's training pictures nearly all show one."""
        return bool(min(self.facts["found"].values()) >= CELL_ASKED_FROM)

    def distances(self, features: np.ndarray, looks: np.ndarray) -> Floats:
        """(N, 2 or 3): how far cells lie from the training cells, each distance over its limit: above 1 is unlike.

        The columns are the features', the looks' and, where the network learned to refuse, the odds of that.
        """
        beyond: Floats = np.exp(np.clip(_raw(self._ready, features, looks) - self.facts["limits"], -20, 20))
        return beyond

    @cached_property
    def _ready(self) -> dict[str, np.ndarray]:
        return _prepared(self.arrays)

    def why(self, distances: np.ndarray, looks: np.ndarray) -> str:
        """In words, why a cell with these distances (a row of `distances`) and looks (15,) is unlike."""
        worst = int(distances.argmax())
        if worst == 0:
            return "the network's own features are far from those of every class"
        if worst == 2:
            return "it looks like a kind of cell that is not to be named"
        here = _in_spreads(_filled(looks, self.arrays), self.arrays)
        nearest = self.arrays["look_cells"][((self.arrays["look_cells"] - here) ** 2).sum(axis=1).argmin()]
        return f"its {LOOKS[int(np.abs(here - nearest).argmax())][1]} is far from the training cells'"

    def save(self, file: Path) -> None:
        """Writes it aside and renames it, as safetensors."""
        from safetensors.numpy import save

        metadata = {"likeness": json.dumps(self.facts, allow_nan=False)}
        with disk.write_atomic(file) as temporary:
            temporary.write_bytes(save(self.arrays, metadata))

    @classmethod
    def load(cls, file: Path) -> Likeness:
        """LabError where the file is damaged or of another version."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, "np") as stored:
                facts = dict(json.loads(stored.metadata()["likeness"]))
                arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  it is no dict
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise LabError(f"{file} can't be used: {brief(error)}") from None
        if facts.get("version") != VERSION:
            raise OtherVersion(f"{file} was made by another version of this program")
        likeness = cls(facts, arrays)
        try:
            _ = likeness._ready, likeness.asks_for_cell, facts["limits"]
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise LabError(f"{file} is damaged: {brief(error)}") from None
        return likeness


def fit(
    training: Cells, labels: npt.ArrayLike, held: Cells, found: dict[str, float], last_layer: LastLayer | None = None
) -> Likeness:
    """What training cells are like, and how far from them a cell may be.

    Args:
        training: cells that the network was trained on.
        labels: (N,) their classes.
        held: cells of the same kinds that it wasn't trained on; they set the limits.
        found: {class: share of its training pictures that show a white cell}.
        last_layer: of a network that learned to refuse.

    Raises:
        LabError: where there are too few pictures or photos to tell.
    """
    held_photos, training_photos = len(set(held.photos)), len(set(training.photos))
    if held_photos < 2 or training_photos < 2:
        raise LabError(f"{training_photos} training and {held_photos} validation photos can't tell what cells are like")
    labels = np.asarray(labels)
    arrays: dict[str, np.ndarray] = {"look_fill": _median(training.looks)}
    looks = _filled(training.looks, arrays)
    weights = _photo_weights(training.photos)
    arrays |= _narrowing(training.features)
    features = _narrowed(training.features, arrays)
    kinds = np.char.add(labels.astype(str), np.char.add("\n", _laboratories(training)))
    classes = [kinds == kind for kind in sorted(set(kinds.tolist()))]
    arrays["feature_means"] = np.stack(
        [np.average(features[own], axis=0, weights=weights[own]) for own in classes]
    ).astype(np.float32)
    arrays["look_spreads"] = np.maximum(looks.std(axis=0), 1e-6)
    arrays["look_cells"] = ((looks - arrays["look_fill"]) / arrays["look_spreads"]).astype(np.float32)
    residuals = np.empty_like(features)
    for own, mean in zip(classes, arrays["feature_means"], strict=True):
        residuals[own] = features[own] - mean
    arrays["feature_whitener"] = _whitener(residuals).astype(np.float32)
    if last_layer is not None:
        for side, outputs in (("named", slice(last_layer.classes)), ("refused", slice(last_layer.classes, None))):
            arrays |= {f"{side}_weights": last_layer.weights[outputs], f"{side}_biases": last_layer.biases[outputs]}
    raw = _raw(_prepared(arrays), held.features, held.looks)
    laboratories = _laboratories(held)
    for aim in AIMS:
        share = aim * RATE / DISTANCES
        too_far = _refused_of_others(raw[:, :DISTANCES], held.photos, laboratories, share)
        if too_far is None or too_far <= RATE:
            break
    return Likeness(
        {
            "version": VERSION,
            "rate": RATE,
            "training": {"pictures": len(labels), "photos": training_photos},
            "held": {"pictures": len(held.photos), "photos": held_photos},
            "refused": _refused_of_others(raw, held.photos, laboratories, share),
            "found": found,
            "limits": _limits(raw, held.photos, laboratories, share),
        },
        arrays,
    )


def limit_of(logarithms: npt.ArrayLike, photos: npt.ArrayLike, rate: float) -> float:
    """The distance that a new photo's cell exceeds in about `rate` of the cases, as a logarithm.

    A prediction limit of the normal distribution, which the logarithms of distances nearly have: from few photos it is
    wide, as it should be, where the highest of a handful would refuse far more than it says.

    Args:
        logarithms: (N,) of the distances of held-back pictures.
        photos: (N,); each counts once. At least two.
        rate: 0…0.5.
    """
    from scipy.special import stdtrit  # the quantile of scipy.stats.t, at a fifth of its import time

    values, weights = np.asarray(logarithms, np.float64), _photo_weights(photos)
    count = len(set(np.asarray(photos).tolist()))
    mean = np.average(values, weights=weights)
    spread = np.sqrt(np.average((values - mean) ** 2, weights=weights) * count / (count - 1))
    return float(mean + stdtrit(count - 1, 1 - rate) * spread * np.sqrt(1 + 1 / count))


def _limits(raw: Floats, photos: npt.NDArray[Any], laboratories: npt.NDArray[Any], share: float) -> list[float]:
    """The limit of each column of distances (N, 2 or 3): the widest that a laboratory of two photos or more needs.

    `share` may lie beyond a distance's, `RATE` beyond the odds', which no distribution is known for.
    """
    of_each = [np.equal(laboratories, name) for name in np.unique(laboratories)]
    enough = [own for own in of_each if len(set(photos[own].tolist())) > 1] or [np.ones(len(photos), bool)]
    limits = [max(limit_of(column[own], photos[own], share) for own in enough) for column in raw[:, :DISTANCES].T]
    return limits + [
        max(highest_but(RATE, column[own], photos[own]) for own in enough) for column in raw[:, DISTANCES:].T
    ]


def highest_but(share: float, values: npt.NDArray[Any], photos: npt.NDArray[Any]) -> float:
    """The value that `share` of the cells lie beyond, each photo counting once; of fewer photos the highest."""
    order = np.argsort(values)
    reached = _photo_weights(photos)[order].cumsum()
    place = np.searchsorted(reached, (1 - share) * reached[-1])
    return float(values[order[min(int(place), len(order) - 1)]])


def _laboratories(cells: Cells) -> npt.NDArray[Any]:
    """(N,) as they are told; all the same where they aren't."""
    return np.zeros(len(cells.photos), "U1") if cells.laboratories is None else cells.laboratories.astype(str)


def _refused_of_others(
    raw: Floats, photos: npt.NDArray[Any], laboratories: npt.NDArray[Any], share: float
) -> float | None:
    """Share of held-back cells, each photo counting once, that limits set by the other half of the photos refuse.

    The mean over `HALVINGS`, of the laboratory that has the most; None where there are too few photos to halve.
    """
    known = np.unique(photos.astype(str))
    if len(known) < 4:
        return None
    rng = np.random.default_rng(0)
    shares: dict[str, list[float]] = {}
    for _ in range(HALVINGS):
        own = np.isin(photos.astype(str), rng.permutation(known)[: len(known) // 2])
        limits = np.array(_limits(raw[own], photos[own], laboratories[own], share))
        refused = np.asarray((raw > limits).any(axis=1))
        for name in np.unique(laboratories[~own]):
            part = ~own & (laboratories == name)
            shares.setdefault(name, []).append(float(np.average(refused[part], weights=_photo_weights(photos[part]))))
    return max(float(np.mean(each)) for each in shares.values())


def _photo_weights(photos: npt.ArrayLike) -> Floats:
    """(N,) one over the number of pictures of each picture's photo."""
    _, numbers, counts = np.unique(np.asarray(photos).astype(str), return_inverse=True, return_counts=True)
    weights: Floats = 1 / counts[numbers]
    return weights


def _median(looks: Floats) -> Floats:
    """(15,) of what is known; 0 for a measure that is known of no cell."""
    return np.array([np.median(known) if len(known := column[np.isfinite(column)]) else 0.0 for column in looks.T])


def _filled(looks: np.ndarray, arrays: dict[str, np.ndarray]) -> Floats:
    """Looks with the training cells' median where a measure isn't known: it then tells nothing."""
    filled: Floats = np.where(np.isfinite(looks), looks, arrays["look_fill"])
    return filled


def _narrowing(features: np.ndarray) -> dict[str, np.ndarray]:
    """What `_narrowed` needs where there are more features than a covariance can be told of; nothing otherwise."""
    if features.shape[1] <= WIDEST:
        return {}
    middle = features.mean(axis=0)
    apart = features - middle
    values, sides = np.linalg.eigh(apart @ apart.T)  # of pictures, which are fewer than such features
    kept = slice(-min(WIDEST // 2, len(features) // 2), None)
    axes = apart.T @ (sides[:, kept] / np.sqrt(np.maximum(values[kept], 1e-12)))
    return {"narrow_middle": middle.astype(np.float32), "narrow_axes": axes.astype(np.float32)}


def _narrowed(features: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Features (N, D) as they are, or (N, K): along the axes in which training cells differ most, and how far they lie
    from all of these (after Wang et al., CVPR 2022): what no training cell shows is in that.
    """
    features = np.asarray(features, np.float32)
    if "narrow_axes" not in arrays:
        return features
    apart = features - arrays["narrow_middle"]
    along = apart @ arrays["narrow_axes"]
    beside = np.sqrt(np.maximum((apart**2).sum(axis=1) - (along**2).sum(axis=1), 1e-12))
    return np.column_stack([along, np.log(beside)])


def _whitener(residuals: np.ndarray) -> Floats:
    """(D, D): the root of the inverse of the shrunken covariance of residuals (N, D), which have mean 0."""
    scale = np.maximum(residuals.std(axis=0, dtype=np.float64), 1e-6)  # so that shrinkage treats all measures alike
    values, axes = np.linalg.eigh(shrunken_covariance(residuals / scale))
    root: Floats = (axes / np.sqrt(np.maximum(values, 1e-9))) / scale[:, None]
    return root


def shrunken_covariance(residuals: Floats) -> Floats:
    """(D, D) of residuals (N, D), which have mean 0: between their covariance and one that is alike in all directions,
    the nearer to this the less can be told from so few (Ledoit & Wolf, 2004).

    As `sklearn.covariance.ledoit_wolf` has it, whose import took each training longer than a small network's epochs.
    """
    count, width = residuals.shape
    covariance: Floats = residuals.T @ residuals / count
    variance = np.trace(covariance) / width
    squares = (covariance**2).sum()
    apart = squares - width * variance**2  # of the covariance from the one that is alike, squared
    chance = (((residuals**2).sum(axis=1) ** 2).mean() - squares) / count  # what it is off by, squared
    share = min(chance / apart, 1.0) if chance > 0 and apart > 0 else 0.0
    covariance *= 1 - share
    covariance[np.diag_indices(width)] += share * variance
    return covariance


def _prepared(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """With what `_raw` needs of the training cells and is the same for all cells: for one cell most of its work."""
    return arrays | {
        "whitened_means": arrays["feature_means"] @ arrays["feature_whitener"],
        "look_squares": (arrays["look_cells"] ** 2).sum(axis=1),
    }


def _raw(arrays: dict[str, np.ndarray], features: np.ndarray, looks: np.ndarray) -> Floats:
    """(N, 2 or 3): the logarithms of the distances, and of the odds of what is refused; `arrays` are `_prepared`."""
    raw = np.asarray(features, np.float32)
    filled, features = _filled(looks, arrays), _narrowed(raw, arrays)
    columns = [
        _distance(features @ arrays["feature_whitener"], arrays["whitened_means"]),
        _nearest(_in_spreads(filled, arrays), arrays["look_cells"], arrays["look_squares"]),
    ]
    if "refused_weights" in arrays:
        sides = (raw @ arrays[f"{side}_weights"].T + arrays[f"{side}_biases"] for side in ("refused", "named"))
        refused, named = (np.logaddexp.reduce(side, axis=1) for side in sides)
        columns.append(refused - named)
    return np.column_stack(columns).astype(np.float64)


def _in_spreads(filled: Floats, arrays: dict[str, np.ndarray]) -> Floats:
    """Filled looks (N, 15) in the training cells' spreads."""
    apart: Floats = (filled - arrays["look_fill"]) / arrays["look_spreads"]
    return apart


def _distance(here: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """(N,) the logarithm of the distance of whitened cells (N, D) from the nearest of the whitened means (K, D)."""
    squared = ((here[:, None] - middles[None]) ** 2).mean(axis=2).min(axis=1)
    logarithm: np.ndarray = 0.5 * np.log(np.maximum(squared, 1e-12))
    return logarithm


def _nearest(cells: np.ndarray, others: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """(N,) the logarithm of the distance from the nearest of the others (M, 15); `squares` (M,) are their lengths'."""
    here = cells.astype(np.float32)
    squared = (here**2).sum(axis=1)[:, None] - 2 * here @ others.T + squares
    logarithm: np.ndarray = 0.5 * np.log(np.maximum(squared.min(axis=1), 1e-6))
    return logarithm
