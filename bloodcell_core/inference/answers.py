"""What is said of a picture that was handed in, and of each cell in it. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from bloodcell_core.cells import Box

CELL, FIELD = "cell", "field"
"""Kinds of pictures: of one cell, whose largest cell is meant; or a field of a smear, in which each cell counts."""


@dataclass(frozen=True)
class CellAnswer:
    """What is said of one cell."""

    box: Box
    """x0, y0, x1, y1 of what the network saw, in the picture's pixels; it may reach over the picture's border."""
    state: str
    """ok: its class is named; unsure: the network isn't sure enough; unlike: it is unlike the training cells, which is
    judged before any class is named."""
    label: str | None
    """None unless the state is ok."""
    probabilities: dict[str, float]
    """Class → 0…1, calibrated; they sum to 1. They are told of an unlike cell, too, but mean nothing there."""
    reason: str = ""
    """Why it is unsure or unlike, in words."""
    nucleus: Box | None = None
    """Of the nucleus as it was found; None where the square was given by hand, or the network sees whole pictures."""
    at_border: bool = False
    """Whether the picture's border cuts the nucleus."""
    distance: float | None = None
    """How far it is from the training cells; above 1 it is unlike. None where that isn't known."""

    @property
    def likeliest(self) -> str:
        """The most probable class, whatever the state: for a person to look at, not to be counted."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


def unsure_because(share: float, threshold: float) -> str:
    """Why an answer with a smaller share than the review threshold doesn't stand, in so many digits as tell the two
    apart."""
    digits = next((n for n in range(1, 15) if f"{share:.{n}%}" != f"{threshold:.{n}%}"), 15)
    return f"{share:.{digits}%} is below the review threshold of {threshold:.{digits}%}"


@dataclass(frozen=True)
class Answer:
    """What is said of one picture."""

    path: str
    state: str
    """That of its largest cell; unlike where no white cell was found; refused where no picture could be read."""
    reason: str = ""
    """In words; empty where there is nothing to say."""
    cells: list[CellAnswer] = field(default_factory=list)
    """Largest first."""
    kind: str = CELL
    width: int = 0
    height: int = 0
    """Of the picture, in pixels; 0 where it was refused."""

    @property
    def counted(self) -> list[CellAnswer]:
        """The cells that the picture stands for: all of a field's, the largest of a picture of one cell."""
        return self.cells if self.kind == FIELD else self.cells[:1]

    def to_json(self) -> dict[str, Any]:
        """What `predict --json` prints of a picture."""
        return asdict(self)


class Count(NamedTuple):
    """The cells of some answers, counted."""

    named: dict[str, int]
    """Class → cells whose state is ok."""
    unsure: int
    unlike: int
    at_border: int
    """Of all these, cells that a picture's border cuts."""
    pictures: int
    refused: int
    """Pictures that couldn't be read."""
    empty: int
    """Pictures without a white cell."""


class Tally:
    """Counts the cells of answers as they come; those that are set aside (unsure, unlike) apart."""

    def __init__(self, classes: Sequence[str]):
        self._named = dict.fromkeys(classes, 0)
        self._others: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        """Pictures by their state."""
        self.fields = 0
        """Pictures that are fields."""

    def add(self, answer: Answer) -> None:
        """Counts the cells of one more answer."""
        self.states[answer.state] += 1
        self.fields += answer.kind == FIELD
        self._others["empty"] += answer.state == "unlike" and not answer.cells
        for cell in answer.counted:
            self._others["border"] += cell.at_border
            if cell.label is not None:
                self._named[cell.label] += 1
            else:
                self._others[cell.state] += 1

    def count(self) -> Count:
        """What was counted so far."""
        others = self._others
        return Count(
            dict(self._named), others["unsure"], others["unlike"], others["border"], self.states.total(),
            self.states["refused"], others["empty"],
        )  # fmt: skip


def csv_columns(classes: Sequence[str]) -> list[str]:
    """The heads of the table that `predict --csv` writes."""
    return [
        "path", "state", "reason", "label", *(f"p_{name}" for name in classes),
        "kind", "cell", "x0", "y0", "x1", "y1", "at_border", "distance",
    ]  # fmt: skip


def csv_rows(answer: Answer, classes: Sequence[str]) -> list[list[Any]]:
    """A row for each cell that counts; one for a picture without any."""
    rows: list[list[Any]] = []
    for number, cell in enumerate(answer.counted, 1):
        reason = "; ".join(words for words in (answer.reason if number == 1 else "", cell.reason) if words)
        distance = "" if cell.distance is None else round(cell.distance, 4)
        rows.append(
            [answer.path, cell.state, reason, cell.label or "", *(cell.probabilities[name] for name in classes),
             answer.kind, number, *cell.box, int(cell.at_border), distance]
        )  # fmt: skip
    return rows or [[answer.path, answer.state, answer.reason, "", *[""] * len(classes), answer.kind, *[""] * 7]]
