"""What the learning curves of a run say: its course so far, and a plain word where it learns by heart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bloodcell_core.errors import LabError
from bloodcell_core.runs import Run

RISING_EPOCHS = 3  # that validation must have been worse than its best, so that one bad epoch says nothing
RISING_SHARE = 1.05  # and by how much: the noise of a small validation split is of that order


class Course:
    """The epochs and step losses that a run has told so far; `follow` reads what is new."""

    def __init__(self, run: Run):
        self._run = run
        self._offset = 0
        self.epochs: list[dict[str, Any]] = []
        """The events of the epochs, in order."""
        self.step_losses: list[float] = []
        """The training loss of each step, from the first."""
        self.problem = ""
        """Why there is no more of it, where its file is damaged."""

    def follow(self) -> None:
        """Takes in the events since the last call; a resumed run's replace those that it makes again."""
        self.problem = ""
        try:
            events, self._offset = self._run.events(self._offset)
            for event in events:
                if event["event"] == "step":
                    del self.step_losses[event["step"] - 1 :]
                    self.step_losses.append(event["loss"])
                else:
                    del self.epochs[event["epoch"] - 1 :]
                    self.epochs.append(event)
        except LabError as error:
            self.problem = str(error)
        except (KeyError, TypeError):
            self.problem = f"metrics.jsonl of run {self._run.name!r} is damaged: an event lacks its figures"


def stretches(values: Sequence[float] | np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over at most `most` stretches of equal length, and the number of the last value of each, from 1."""
    if not len(values):
        return np.empty(0), np.empty(0, int)
    length = -(-len(values) // most)
    starts = np.arange(0, len(values), length)
    ends = np.append(starts[1:], len(values))
    return np.add.reduceat(np.asarray(values, float), starts) / (ends - starts), ends


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


def learned_by_heart(epochs: list[dict[str, Any]]) -> str | None:
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
