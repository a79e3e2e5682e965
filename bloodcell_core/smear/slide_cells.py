"""The cells of a slide as they count: a network's answers with a person's corrections applied. Imports no torch."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bloodcell_core import sheets
from bloodcell_core.cells import Box
from bloodcell_core.data.class_names import match_classes
from bloodcell_core.inference.answers import (
    CELL,
    FIELD,
    Answer,
    CellAnswer,
    Count,
    at_threshold,
    csv_columns,
    csv_row,
)
from bloodcell_core.smear.corrections import OUT, Correction, SlideCell, cell_id, corrected_cells, kind_by_hand
from bloodcell_core.smear.slide_answers import SlideAnswers, asked_of
from bloodcell_core.smear.slides import Slide, SlidePicture


@dataclass(frozen=True)
class CountedCell:
    """A cell of a slide with the network's answer and a person's corrections."""

    cell: SlideCell
    answer: CellAnswer | None
    """At the slide's threshold; None for a square drawn by hand that the run has no answer for: it looks at whole
    pictures, or the picture can't be read any more."""

    @property
    def id(self) -> str:
        """Its id in corrections."""
        return self.cell.id

    @property
    def box(self) -> Box:
        """The square that the network is shown, in pixels of the picture."""
        return self.cell.box

    @property
    def state(self) -> str:
        """ok, unsure or unlike; "confirmed" where a person gave it a class, "removed" where it is no cell."""
        if self.cell.removed:
            return "removed"
        if self.cell.label:
            return "confirmed"
        return self.answer.state if self.answer else "unsure"

    @property
    def label(self) -> str | None:
        """The class that it counts as; None where it is set aside."""
        if self.cell.removed:
            return None
        return self.cell.label or (self.answer.label if self.answer else None)

    @property
    def reason(self) -> str:
        """Why it has its state, in words."""
        if self.cell.removed:
            return "taken out by hand"
        if self.cell.label:
            return "by hand"
        return self.answer.reason if self.answer else "the network has no answer for it: give the cell a class by hand"


@dataclass(frozen=True)
class CountedPicture:
    """A picture of a slide with its cells."""

    picture: SlidePicture
    answer: Answer
    """Of the network, at the slide's threshold; its `path` is the file as handed in."""
    kind: str
    """cell or field, as detected or as a person said; "out" where it is left out of the count."""
    cells: tuple[CountedCell, ...]

    @property
    def standing(self) -> list[CountedCell]:
        """The cells that are counted or set aside: all that weren't taken out by hand."""
        return [] if self.kind == OUT else [cell for cell in self.cells if cell.state != "removed"]


def counted_pictures(
    slide: Slide, answers: SlideAnswers, threshold: float, classes: Sequence[str] = ()
) -> list[CountedPicture]:
    """All pictures of a slide with the cells that count; those without an answer yet are left out.

    A class given by hand is called as among `classes`, where it is one of them: another run, under which it was given,
    may write it otherwise, as "NEUTROPHIL" for "neutrophil".
    """
    by_hand = sorted({one.label for one in slide.corrections if one.label})
    called = {name: own for name, own in match_classes(by_hand, classes).items() if own}
    counted = []
    for picture in slide.pictures:
        answer = answers.of(picture.number, asked_of(slide, picture))
        if not picture.stored:
            answer = Answer(picture.file, "refused", picture.reason)
        if answer is not None:
            counted.append(_counted(slide, picture, answers, answer, threshold, called))
    return counted


def _counted(
    slide: Slide, picture: SlidePicture, answers: SlideAnswers, answer: Answer, threshold: float,
    called: Mapping[str, str],
) -> CountedPicture:  # fmt: skip
    by_id = {cell_id(cell.nucleus): at_threshold(cell, threshold) for cell in answer.cells}
    cells = []
    for cell in corrected_cells({key: told.box for key, told in by_id.items()}, slide.corrections_of(picture.number)):
        told = by_id.get(cell.id)
        if cell.by_hand:
            drawn = answers.of_square(picture.number, cell.box)
            told = at_threshold(drawn, threshold) if drawn else None
        cells.append(CountedCell(replace(cell, label=called.get(cell.label, cell.label)), told))
    told_cells = [*by_id.values()]
    state = told_cells[0].state if told_cells else answer.state
    at = replace(answer, path=picture.file, cells=told_cells, state=state)
    by_hand = kind_by_hand(slide.corrections_of(picture.number))
    if by_hand == CELL:
        # What was said of a field's other cells goes with the field that it no longer is.
        cells = [cell for cell in cells if cell.state != "removed"][:1] or cells[:1]
    # A run that sees whole pictures answers for one cell, also of a field of which a person named others.
    kind = by_hand or (FIELD if len(cells) > 1 else answer.kind)
    return CountedPicture(picture, at, kind, tuple(cells))


def confirm_all(pictures: Iterable[CountedPicture]) -> list[Correction]:
    """Corrections that confirm the network's class of each sure cell that no person has judged."""
    return [
        Correction(counted.picture.number, "label", cell.id, str(cell.label), cell.box)
        for counted in pictures
        for cell in counted.standing
        if cell.state == "ok"
    ]


def counts_of(pictures: Iterable[CountedPicture], classes: Sequence[str]) -> tuple[Count, dict[str, int]]:
    """The cells of a slide, counted: those that the network names, and class → those named by hand, of `classes` and
    then of others."""
    counted = [one for one in pictures if one.kind != OUT]
    cells = [cell for one in counted for cell in one.standing]
    by_hand = Counter(str(cell.label) for cell in cells if cell.state == "confirmed")
    named = Counter(str(cell.label) for cell in cells if cell.state == "ok")
    states = Counter(cell.state for cell in cells)
    pictures_by_state = Counter(one.answer.state for one in counted)
    count = Count(
        {name: named[name] for name in classes},
        states["unsure"],
        states["unlike"],
        sum(bool(cell.answer and cell.answer.at_border) for cell in cells),
        len(counted),
        pictures_by_state["refused"],
        sum(one.answer.state != "refused" and not one.standing for one in counted),
    )
    return count, {name: by_hand[name] for name in classes} | dict(sorted(by_hand.items()))


def final_answer(counted: CountedPicture) -> Answer:
    """A picture's answer with the corrections applied: cells taken out, classes given by hand."""
    cells = []
    for cell in counted.standing:
        answer = cell.answer or CellAnswer(cell.box, "unsure", None, {}, cell.reason)
        if cell.state == "confirmed":
            answer = replace(answer, state="ok", label=cell.label, reason=cell.reason)
        cells.append(replace(answer, box=cell.box))
    return replace(counted.answer, cells=cells, kind=counted.kind if counted.kind == CELL else FIELD)


def csv_of(slide: Slide, pictures: Iterable[CountedPicture], classes: Sequence[str], run: str) -> str:
    """A slide's cells as CSV text, a row a cell: the columns of `predict --csv`, and a person's corrections.

    A cell that was taken out by hand has a row, too, and so has a picture without any cell.
    """
    written = io.StringIO()
    writer = sheets.Writer(written)
    writer.row([*csv_columns(classes), "by_hand", "answered", "slide", "picture", "run"])
    for counted in pictures:
        of_picture = (slide.name, counted.picture.number, run)
        for number, cell in enumerate(counted.cells, 1) if counted.kind != OUT else ():
            row = csv_row(
                classes, counted.answer, cell.state, cell.reason, counted.kind,
                number, cell.box, cell.label, cell.answer,
            )  # fmt: skip
            by_hand = int(bool(cell.cell.label or cell.cell.removed or cell.cell.by_hand))
            writer.row([*row, by_hand, cell.answer.likeliest if cell.answer else "", *of_picture])
        if not counted.cells or counted.kind == OUT:
            state = OUT if counted.kind == OUT else counted.answer.state
            row = csv_row(classes, counted.answer, state, counted.answer.reason, counted.kind)
            writer.row([*row, "", "", *of_picture])
    return written.getvalue()
