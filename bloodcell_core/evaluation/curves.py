"""What the learning curves of a run say: its course so far, and a plain word where it learns by heart (overfits)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from bloodcell_core.errors import LabError
from bloodcell_core.kinds import CENTURY, ROUNDING
from bloodcell_core.runs import Run

RISING_EPOCHS = 3  # that validation must have been worse than its best, so that one bad epoch says nothing
RISING_SHARE = 1.05  # and by how much: the noise of a small validation split is of that order

_LOSS, _SHARE = (0, 1e6), (-ROUNDING, 1 + ROUNDING)
STEP = {"loss": _LOSS}
EPOCH = {
    "train_loss": _LOSS, "val_loss": _LOSS, "train_accuracy": _SHARE, "val_accuracy": _SHARE, "seconds": (0, CENTURY)
}  # fmt: skip
"""Between what an event's figures can be: one beyond would make a flat line of all others."""


class LearningCurve:
    """The epochs and step losses that a run has told so far; `follow` reads what is new."""

    def __init__(self, run: Run):
        self._run = run
        self._offset = 0
        self._begin()

    def _begin(self) -> None:
        self.epochs: list[dict[str, Any]] = []
        """The events of the epochs, in order."""
        self.step_losses: list[float] = []
        """The training loss of each step, from the first; NaN where what is told can't be one."""
        self.problem = ""
        """Why there is no more of it, or what of it was left out, where its file is damaged."""
        self._last_epoch = self._left_out = 0
        self._first_left_out = ""

    def follow(self) -> None:
        """Takes in the events since the last call; a resumed run's replace those that it makes again."""
        try:
            events, offset = self._run.events(self._offset)
            if self._offset and events and not self._is_next(events[0]):  # cut back, and by chance to a line's end
                events, offset = self._run.events()
        except LabError as error:
            self.problem = str(error)
            return
        self._offset = offset
        # From the beginning again. An epoch tells its last step, which may be the first one of all.
        if events and (events[0]["event"], events[0].get("step")) == ("step", 1):
            self._begin()
        for event in events:
            self._take(event)
        self.problem = ""
        if self._left_out:
            count = "one event" if self._left_out == 1 else f"{self._left_out:,} events"
            self.problem = (
                f"metrics.jsonl of run {self._run.name!r} is damaged: {count} left out of the curves, "
                f"the first for its {self._first_left_out}"
            )

    def so_far(self) -> LearningCurve:
        """What has been told by now, which stays as it is while this reads on."""
        told = copy(self)
        told.epochs, told.step_losses = self.epochs[:], self.step_losses[:]
        return told

    def _last(self, event: dict[str, Any]) -> int:
        """The number of the last event of its kind."""
        return len(self.step_losses) if event["event"] == "step" else self._last_epoch

    def _is_next(self, event: dict[str, Any]) -> bool:
        return bool(event.get(event["event"]) == self._last(event) + 1)

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        is_step = kind == "step"
        wrong = _wrong_in(event, STEP if is_step else EPOCH)
        if not self._is_next(event):
            wrong = f"{kind} {event.get(kind)!r:.20} after {self._last(event)}"
        elif is_step:
            self.step_losses.append(math.nan if wrong else event["loss"])
        else:
            self._last_epoch += 1
            self.epochs += [] if wrong else [event]
        if wrong:
            self._left_out += 1
            self._first_left_out = self._first_left_out or wrong


def _wrong_in(event: Mapping[str, Any], limits: Mapping[str, tuple[float, float]]) -> str:
    """The first figure of an event that can't be, with what is told for it; "" where all can."""
    for key, (low, high) in limits.items():
        value = event.get(key)
        if not isinstance(value, int | float) or not low <= value <= high:  # NaN isn't between any
            return f"{key} {value!r:.20}"
    return ""


def stretches(values: Sequence[float] | np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over at most `most` stretches of equal length, and the number of the last value of each, from 1.

    NaN counts for nothing; a stretch of nothing else is NaN.
    """
    if not len(values):
        return np.empty(0), np.empty(0, int)
    length = -(-len(values) // most)
    starts = np.arange(0, len(values), length)
    ends = np.append(starts[1:], len(values))
    series = np.asarray(values, float)
    known = ~np.isnan(series)
    counts = np.add.reduceat(known.astype(int), starts)
    sums = np.add.reduceat(np.where(known, series, 0), starts)
    return np.where(counts, sums / np.maximum(counts, 1), np.nan), ends


def extremes(values: np.ndarray, most: int) -> np.ndarray:
    """Places, in order, of at most `most` of the values (four or more) that a line may be drawn by.

    The first and the last, and of equal stretches between them the lowest and the highest: a line through means would
    hide a spike and show figures that never were. NaN counts for neither.
    """
    if len(values) <= most:
        return np.arange(len(values))
    inner = np.asarray(values[1:-1], float)
    parts = np.array_split(np.arange(len(inner)), (most - 2) // 2)
    low, high = np.where(np.isnan(inner), np.inf, inner), np.where(np.isnan(inner), -np.inf, inner)
    found = [part[pick] for part in parts for pick in (low[part].argmin(), high[part].argmax())]
    return np.unique([0, *(place + 1 for place in found), len(values) - 1])


def overfitting_warning(epochs: list[dict[str, Any]]) -> str | None:
    """A plain word where validation has turned up while training still goes down (overfitting); else None."""
    if not epochs:
        return None
    best = min(epochs, key=lambda event: float(event["val_loss"]))
    since = epochs[epochs.index(best) + 1 :]
    worse = all(event["val_loss"] > RISING_SHARE * best["val_loss"] for event in since[-RISING_EPOCHS:])
    if len(since) < RISING_EPOCHS or not worse or epochs[-1]["train_loss"] >= best["train_loss"]:
        return None
    return (
        f"For {len(since)} epochs it has got better on its training pictures and worse on the others: it learns them "
        f"by heart. The weights of epoch {best['epoch']} are kept."
    )
