"""The answer for an uploaded picture and for each cell in it. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from bloodcell_core.cells import Box

CELL, FIELD = "cell", "field"
"""Kinds of pictures: of one cell (the largest one is meant), or a smear field, in which each cell counts."""


@dataclass(frozen=True)
class CellAnswer:
    """The answer for one cell."""

    box: Box
    """The part of the picture that the network saw, in pixels; it may extend beyond the picture."""
    state: str
    """ok: its class is named; unsure: the network isn't sure enough; unlike: it is unlike the training cells
    (out-of-distribution), which is judged before any class is named."""
    label: str | None
    """Its class; None unless the state is ok."""
    probabilities: dict[str, float]
    """Class → 0…1, calibrated; they sum to 1. An unlike cell has them, too, but there they mean nothing."""
    reason: str = ""
    """Why it is unsure or unlike, in words."""
    nucleus: Box | None = None
    """Bounding box of the nucleus; None where a person gave the square, or the network sees whole pictures."""
    at_border: bool = False
    """Whether the picture's border cuts the nucleus."""
    distance: float | None = None
    """Its distance from the training cells; above 1 it is unlike. None where that isn't known."""

    @property
    def likeliest(self) -> str:
        """The most probable class, whatever the state: to be shown, not counted."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


def at_threshold(cell: CellAnswer, threshold: float) -> CellAnswer:
    """An answer at a review threshold, which decides only between ok and unsure."""
    if cell.state == "unlike":
        return cell
    share = cell.probabilities[cell.likeliest]
    if share >= threshold:
        return replace(cell, state="ok", label=cell.likeliest, reason="")
    return replace(cell, state="unsure", label=None, reason=unsure_because(share, threshold))


def unsure_because(share: float, threshold: float) -> str:
    """Why an answer whose probability (`share`) is below the review threshold is unsure, with enough digits to tell the
    two apart."""
    digits = next((n for n in range(1, 15) if f"{share:.{n}%}" != f"{threshold:.{n}%}"), 15)
    return f"{share:.{digits}%} is below the review threshold of {threshold:.{digits}%}"


@dataclass(frozen=True)
class Answer:
    """The answer for one picture."""

    path: str
    state: str
    """That of its largest cell; unlike where no white cell was found; refused where the picture couldn't be read."""
    reason: str = ""
    """A remark, or why it was refused; may be empty."""
    cells: list[CellAnswer] = field(default_factory=list)
    """Largest first."""
    kind: str = CELL
    """CELL or FIELD."""
    width: int = 0
    """Of the picture, in pixels; 0 where it was refused. So is `height`."""
    height: int = 0

    @property
    def counted(self) -> list[CellAnswer]:
        """The cells that count: all cells of a field, or the largest in a picture of one cell."""
        return self.cells if self.kind == FIELD else self.cells[:1]

    def to_json(self) -> dict[str, Any]:
        """What `predict --json` prints for a picture."""
        return asdict(self)


class Count(NamedTuple):
    """The cells of some answers, counted."""

    named: dict[str, int]
    """Class → cells whose state is ok."""
    unsure: int
    unlike: int
    at_border: int
    """How many of all these cells a picture's border cuts."""
    pictures: int
    refused: int
    """Pictures that couldn't be read."""
    empty: int
    """Pictures without a white cell."""


class Tally:
    """Counts the cells of answers one by one; those that are set aside (unsure, unlike) separately."""

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
        """The count so far."""
        others = self._others
        return Count(
            dict(self._named), others["unsure"], others["unlike"], others["border"], self.states.total(),
            self.states["refused"], others["empty"],
        )  # fmt: skip


def csv_columns(classes: Sequence[str]) -> list[str]:
    """The header of the table that `predict --csv` writes."""
    return [
        "path", "state", "reason", "label", *(f"p_{name}" for name in classes),
        "kind", "cell", "x0", "y0", "x1", "y1", "at_border", "distance",
    ]  # fmt: skip


def csv_rows(answer: Answer, classes: Sequence[str]) -> list[list[Any]]:
    """A row for each cell that counts, or one row for a picture without any."""
    rows: list[list[Any]] = []
    for number, cell in enumerate(answer.counted, 1):
        reason = "; ".join(words for words in (answer.reason if number == 1 else "", cell.reason) if words)
        rows.append(csv_row(classes, answer, cell.state, reason, answer.kind, number, cell.box, cell.label, cell))
    return rows or [csv_row(classes, answer, answer.state, answer.reason, answer.kind)]


def csv_row(
    classes: Sequence[str], picture: Answer, state: str, reason: str, kind: str,
    number: int = 0, box: Box | None = None, label: str | None = None, cell: CellAnswer | None = None,
) -> list[Any]:  # fmt: skip
    """A row under `csv_columns`: of the cell in `box`, whose answer may not be known, or of a picture without any."""
    shares = [cell.probabilities[name] if cell else "" for name in classes]
    distance = "" if cell is None or cell.distance is None else round(cell.distance, 4)
    place = [number, *box, int(bool(cell and cell.at_border)), distance] if box else [""] * 7
    return [picture.path, state, reason, label or "", *shares, kind, *place]
