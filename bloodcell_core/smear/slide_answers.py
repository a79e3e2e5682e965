"""A network's answers for a slide, cached beside it.

answers/<run>.jsonl has a line for each picture that was answered, and one for each square that was drawn by hand. It
is a cache: a line is appended when it is known, an unfinished last line is passed over, and what is missing is asked of
the network again. Corrections aren't in it, so that another run, or another threshold, is laid under the same ones.
Imports no torch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from bloodcell_core import workspace
from bloodcell_core.cells import Box
from bloodcell_core.data.pictures import decode_rgb
from bloodcell_core.errors import LabError
from bloodcell_core.inference.answers import Answer, CellAnswer
from bloodcell_core.inference.handed_in import Handed
from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.runs import Run
from bloodcell_core.smear.corrections import SlideCell, cell_id, corrected_cells, shown_by_hand
from bloodcell_core.smear.slides import Slide, SlidePicture

AT_ONCE = 32  # answers that are written together,
AT_LEAST_EACH = 1.0  # seconds, whichever comes first: other windows tell by what is written how far it is
LONGEST_STEM = 38  # letters of a run's name, so that a date has room beside them
LOOK_AGAIN = 1.0  # seconds between two looks at what another window has answered


class Answering(Protocol):
    """What a slide needs of a `Predictor`."""

    fields_possible: bool

    def classify(self, pictures: Iterable[Handed], kind: str | None = None) -> Iterator[Answer]:
        """An answer for each picture, in their order."""
        ...

    def classify_squares(self, picture: Any, boxes: Sequence[Box]) -> list[CellAnswer]:
        """An answer for each square of a picture."""
        ...


def kept_as(run: Run) -> str:
    """The name under which a run's answers are cached: the run's name.

    With a date where another network may have that name later: a bundled run is updated, an ensemble is removed and
    made again of others, a stopped run is resumed.
    """
    status = run.status()
    if run.bundled or run.is_ensemble:
        made = run.created
    elif status["state"] != "done":
        made = str(status.get("ended", run.created))
    else:
        return run.name
    return f"{run.name[:LONGEST_STEM]}-{workspace.slug(made)}"


class SlideAnswers:
    """The answers of one run (`kept_as`) for a slide, as far as they are known."""

    def __init__(self, slide: Slide, run: str, average_turns: bool = False):
        name = workspace.check_name(run, "run") + (".turns" if average_turns else "")
        self.file = slide.folder / "answers" / f"{name}.jsonl"
        self._pictures: dict[tuple[int, str], Answer] = {}
        self._squares: dict[tuple[int, Box], CellAnswer] = {}
        self.read()

    def read(self) -> None:
        """Reads the answers on disk, other windows' too; lines that can't be understood are answered again."""
        for line in _lines(self.file):
            with suppress(KeyError, TypeError, ValueError, AttributeError):  # another version's, or changed by hand
                self.take(line)

    def take(self, line: Mapping[str, Any]) -> None:
        """Adds an answer here, and not on disk."""
        if "square" in line:
            self._squares[line["picture"], tuple(line["square"])] = _cell_from(line["answer"])
        else:
            recorded = line["answer"]
            answer = Answer(**recorded | {"cells": [_cell_from(cell) for cell in recorded["cells"]]})
            self._pictures[line["picture"], line["asked"]] = answer

    def of(self, number: int, asked: str) -> Answer | None:
        """The answer for picture `number`, `asked` for as a field, a cell or what it looks like; None if unknown."""
        return self._pictures.get((number, asked))

    def of_square(self, number: int, square: Box) -> CellAnswer | None:
        """The answer for a square drawn by hand; None where it is unknown yet."""
        return self._squares.get((number, square))

    def append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Adds answers, on disk and here; LabError where they can't be written."""
        try:
            self.file.parent.mkdir(exist_ok=True)
            with FileLock(workspace.lock_file(f"answers-{self.file.parents[1].name}")), open(self.file, "ab+") as file:
                _cut_unfinished(file)
                file.write(b"".join(json.dumps(line, allow_nan=False).encode() + b"\n" for line in lines))
        except OSError as error:
            raise _not_kept(error) from None
        for line in lines:
            self.take(line)


def _not_kept(error: OSError) -> LabError:
    return LabError(f"the answers can't be kept: {error.strerror or error}")


def _cell_from(cell: Mapping[str, Any]) -> CellAnswer:
    nucleus = cell["nucleus"]
    return CellAnswer(**{**cell, "box": tuple(cell["box"]), "nucleus": None if nucleus is None else tuple(nucleus)})


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a file that may still be written to; damaged ones are skipped, to be answered again."""
    try:
        data = file.read_bytes()
    except OSError:
        return
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        try:
            recorded = json.loads(line)
            if {"picture", "answer"} <= recorded.keys():
                yield recorded
        except (ValueError, AttributeError):
            continue


def _cut_unfinished(file: Any) -> None:
    """Takes away the line that a killed writer left unfinished, so that the next one doesn't go on in it."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - 2**20)
    file.seek(start)
    tail = file.read()
    if tail and not tail.endswith(b"\n"):
        file.truncate(start + tail.rfind(b"\n") + 1)


# What is missing


def asked_of(slide: Slide, picture: SlidePicture) -> str:
    """What the network is told that a picture is: cell or field by hand, or "" to find out."""
    return shown_by_hand(slide.corrections_of(picture.number))


def unanswered(slide: Slide, answers: SlideAnswers) -> list[SlidePicture]:
    """The pictures that have no answer yet."""
    return [
        picture
        for picture in slide.pictures
        if picture.stored and answers.of(picture.number, asked_of(slide, picture)) is None
    ]


def answer_missing(slide: Slide, answers: SlideAnswers, predictor: Answering, progress: Progress = no_progress) -> None:
    """Asks the network for all that is missing, a part at a time: what is answered when it is broken off is kept.

    Another window that is asking for the same is waited for, and its answers are taken: a page that is loaded anew
    while it works doesn't do the work twice.
    """
    total = len(unanswered(slide, answers))
    try:
        lock = FileLock(workspace.lock_file(f"answering-{slide.id}-{answers.file.stem}"))
    except OSError as error:
        raise _not_kept(error) from None
    while not _taken(lock):
        answers.read()
        progress(total - len(unanswered(slide, answers)), total)
    try:
        answers.read()
        _answer_missing(slide, answers, predictor, total, progress)
    finally:
        lock.release()


def _taken(lock: FileLock) -> bool:
    """Whether the lock could be taken within a moment; LabError where the disk has no room for one."""
    try:
        lock.acquire(timeout=LOOK_AGAIN)
        return True
    except Timeout:
        return False
    except OSError as error:
        raise _not_kept(error) from None


def _answer_missing(slide: Slide, answers: SlideAnswers, predictor: Answering, total: int, progress: Progress) -> None:
    waiting = unanswered(slide, answers)
    done = total - len(waiting)
    unread: set[int] = set()

    def read(picture: SlidePicture) -> bytes:
        try:
            return slide.read(picture)
        except LabError:
            unread.add(picture.number)
            raise

    by_asked: dict[str, list[SlidePicture]] = {}
    for picture in waiting:
        asked = asked_of(slide, picture)
        by_asked.setdefault(asked, []).append(picture)
    for asked, pictures in by_asked.items():
        # A run that looks at whole pictures gives one answer each, whatever a person says that they are.
        kind = (asked or None) if predictor.fields_possible else None
        lines: list[dict[str, Any]] = []
        written = time.monotonic()
        handed = ((picture.file, partial(read, picture)) for picture in pictures)
        try:
            for picture, answer in zip(pictures, predictor.classify(handed, kind), strict=True):
                line = {"picture": picture.number, "asked": asked, "answer": answer.to_json()}
                if picture.number in unread:  # for now, as while a network drive is away: it is tried again
                    answers.take(line)
                else:
                    lines.append(line)
                done += 1
                if len(lines) == AT_ONCE or time.monotonic() - written > AT_LEAST_EACH:
                    answers.append(lines)
                    lines, written = [], time.monotonic()
                progress(done, total)
        finally:  # also where a person has left: what is known needn't be asked again
            if lines:
                answers.append(lines)
    if predictor.fields_possible:
        _answer_squares(slide, answers, predictor)


def _answer_squares(slide: Slide, answers: SlideAnswers, predictor: Answering) -> None:
    for picture, missing in unanswered_squares(slide, answers):
        try:
            pixels = decode_rgb(slide.read(picture))
        except LabError:  # a file that was taken away costs its own answers, not the slide
            continue
        found = predictor.classify_squares(pixels, missing)
        answers.append(
            [
                {"picture": picture.number, "square": box, "answer": asdict(answer)}
                for box, answer in zip(missing, found, strict=True)
            ]
        )


def unanswered_squares(slide: Slide, answers: SlideAnswers) -> list[tuple[SlidePicture, list[Box]]]:
    """The squares, drawn or moved by hand, that have no answer yet, by picture."""
    found = []
    for picture in slide.pictures:
        if picture.stored and any(one.box for one in slide.corrections_of(picture.number)):
            drawn = [cell.box for cell in _cells(slide, picture, answers) if cell.by_hand]
            missing = [box for box in dict.fromkeys(drawn) if answers.of_square(picture.number, box) is None]
            found += [(picture, missing)] if missing else []
    return found


def _cells(slide: Slide, picture: SlidePicture, answers: SlideAnswers) -> list[SlideCell]:
    answer = answers.of(picture.number, asked_of(slide, picture))
    found = {cell_id(cell.nucleus): cell.box for cell in answer.cells} if answer else {}
    return corrected_cells(found, slide.corrections_of(picture.number))
