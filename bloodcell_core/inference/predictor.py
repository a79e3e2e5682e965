"""Classifies uploaded pictures with a finished run or an ensemble.

Decoding and views are those of training, so a picture of the dataset gets exactly the probabilities in the run's
predictions. A cell is first compared with the training cells, and may be called unlike; only then is it asked whether
the answer is sure enough.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np

from bloodcell_core.cells import Box, Place, search
from bloodcell_core.crops import square_of_other
from bloodcell_core.data.looks import look_of
from bloodcell_core.data.parallel import usable_cores
from bloodcell_core.data.pictures import decode_rgb, first_of_several
from bloodcell_core.data.views import make_view, view_name, view_of_square
from bloodcell_core.device import NO_SETTINGS, choose_device, compute_in_this_thread, memory_told
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.averaging import answer_of
from bloodcell_core.evaluation.dial import review_threshold
from bloodcell_core.evaluation.run_likeness import likeness_of
from bloodcell_core.inference.answers import CELL, FIELD, Answer, CellAnswer, at_threshold
from bloodcell_core.inference.exported import ExportedMember, ExportedRun
from bloodcell_core.inference.fields import cut_by_border, kind_of, largest, square_around
from bloodcell_core.inference.handed_in import FIRST_PAGE, UNREADABLE, Handed, why_unreadable
from bloodcell_core.models.forward import Tapped, softmax
from bloodcell_core.models.network import Network, quickest, trained_network
from bloodcell_core.runs import Run

TOGETHER = 8  # pictures that one thread reads and answers as a batch
LARGE_PICTURE = 6_000_000  # pixels: larger pictures are decoded one at a time, or a few would fill the memory
NO_CELL = "no white cell was found"


class _Member:
    """One network of the run, with what it needs to answer."""

    @memory_told(NO_SETTINGS)
    def __init__(self, run: Run, device: str):
        run.check_weights()
        self.device = choose_device(device)
        self.config, self.temperature = run.config, run.temperature
        self.whole = self.config.view == "frame"
        self.view = view_name(*self.config.sight)

        def network() -> Network:
            return quickest(trained_network(run), run.config.model).to(self.device.device)

        self.tapped = Tapped(network())
        self.likeness, self.why_unknown = likeness_of(run, network, self.device)


@dataclass
class _Seen:
    """A picture after it was read and searched, before its answer."""

    path: str
    refused: str = ""
    note: str = ""
    kind: str = CELL
    width: int = 0
    height: int = 0
    nuclei: list[Box | None] = field(default_factory=list)
    """Of each cell to be answered, largest first; None for a whole picture, or a square given by a person."""
    squares: list[Box] = field(default_factory=list)
    """The part of the picture that is shown to the network, for each cell."""
    views: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """By `_Member.view`: uint8 size×size×3 of each cell."""
    looks: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """By `_Member.view`: the image statistics (`looks.LOOKS`) of each cell."""


class Predictor:
    """A finished run, loaded and ready to answer. Immutable, so safe to use from several threads.

    `threshold` is the probability below which an answer is unsure; by default it is chosen on the run's validation
    pictures (`dial.review_threshold`). `average_turns` averages the probabilities over a cell's eight rotated and
    mirrored views (test-time augmentation), at eight times the work. LabError where the run can't be loaded.
    """

    def __init__(self, run: Run, device: str = "auto", threshold: float | None = None, average_turns: bool = False):
        if threshold is not None and not 0 <= threshold <= 1:
            raise LabError(f"the review threshold lies between 0 and 1, not at {threshold:g}")
        self.run = run
        self._members: Sequence[_Member | ExportedMember]
        if isinstance(run, ExportedRun):
            if device not in ("auto", "cpu"):
                raise LabError(f"an exported file is computed on the CPU, not on {device}: use --device cpu or auto")
            self._members = run.loaded
        else:
            self._members = [_Member(member, device) for member in run.members]
        self.device = self._members[0].device
        self.average_turns = average_turns
        self.fields_possible = not any(member.whole for member in self._members)
        """False where a network of the run sees whole pictures: then it can't answer for one cell of several."""
        self.why_unknown = next((member.why_unknown for member in self._members if not member.likeness), "")
        """Why cells can't be compared with the training cells; "" where they can."""
        known = [member.likeness for member in self._members if member.likeness]
        self._likeness_known = len(known) == len(self._members)
        asks = [likeness.asks_for_cell for likeness in known] or [self.fields_possible]
        self._asks_for_cell = all(asks)
        if threshold is not None:
            self.threshold, self.threshold_words = threshold, "as given"
        elif isinstance(run, ExportedRun):
            self.threshold, self.threshold_words = run.threshold
        else:
            self.threshold, self.threshold_words = review_threshold(run.predictions(), run.classes)
        self._one_large = threading.Lock()

    def classify(self, pictures: Iterable[Handed], kind: str | None = None) -> Iterator[Answer]:
        """An answer for each picture, in order; only a few batches of TOGETHER per core are in memory.

        Args:
            pictures: (path, function that reads its bytes).
            kind: FIELD or CELL if a person says what all of them are; by default each is judged by `fields.kind_of`.

        Raises:
            LabError: when called, for fields that this run can't answer. For a picture that can't be read nothing is
                raised: its answer's state is refused.
        """
        if kind == FIELD and not self.fields_possible:
            raise LabError(
                f"run {self.run.name!r} looks at whole pictures and can't answer for the cells of a field: "
                "take a run with the cell view"
            )
        return self._classify(iter(pictures), kind)

    def _classify(self, pictures: Iterator[Handed], kind: str | None) -> Iterator[Answer]:
        first = list(islice(pictures, TOGETHER + 1))
        if len(first) == 1:  # answered in this thread: for one picture a pool costs more than it saves
            yield from self._answer(first, kind)
            return
        pictures = chain(first, pictures)
        cores = usable_cores()
        # Each thread reads its pictures and runs the networks on them. If the networks ran beside the reading, threads
        # of PyTorch's own would compete for the same cores.
        pool = ThreadPoolExecutor(cores, initializer=compute_in_this_thread)
        coming: deque[Future[list[Answer]]] = deque()
        try:
            while some := list(islice(pictures, TOGETHER)):
                coming.append(pool.submit(self._answer, some, kind))
                if len(coming) > cores:
                    yield from coming.popleft().result()
            while coming:
                yield from coming.popleft().result()
        finally:  # also when the caller stops early
            pool.shutdown(cancel_futures=True)

    def classify_squares(self, picture: np.ndarray, boxes: Sequence[Box]) -> list[CellAnswer]:
        """Answers for boxes that a person drew on a picture (uint8 H×W×3 RGB), in their order.

        A box is enlarged to a square, which is the first network's; members with another crop see theirs around the
        same cell. Raises LabError where the run sees whole pictures.
        """
        if not self.fields_possible:
            raise LabError(f"run {self.run.name!r} looks at whole pictures: it can't answer for a part of one")
        height, width = picture.shape[:2]
        seen = _Seen("", width=width, height=height, squares=[square_around(box) for box in boxes])
        seen.nuclei = [None] * len(seen.squares)
        first = self._members[0].config.crop
        for member in self._members:
            size, crop = member.config.size, member.config.crop
            squares = [square_of_other(square, first, crop) for square in seen.squares]
            seen.views[member.view] = [view_of_square(picture, square, size, crop) for square in squares]
            seen.looks[member.view] = [look_of(view, None) for view in seen.views[member.view]]
        (answer,) = self._answers([seen])
        return answer.cells

    # Reading and searching a picture

    def _see(self, handed: Handed, kind: str | None) -> _Seen:
        """A picture with what the networks need of it, or with why it is refused."""
        path, read = handed
        with ExitStack() as alone:

            def about_to(pixels: int) -> None:
                if pixels > LARGE_PICTURE:
                    alone.enter_context(self._one_large)

            try:
                data = read()
                seen = self._look(path, decode_rgb(data, about_to), kind)
            except UNREADABLE as error:
                return _Seen(path, refused=why_unreadable(error))
            if first_of_several(data):
                seen.note = f"{seen.note}; {FIRST_PAGE}" if seen.note else FIRST_PAGE
            return seen

    def _look(self, path: str, picture: np.ndarray, kind: str | None) -> _Seen:
        height, width = picture.shape[:2]
        found = search(picture)
        seen = _Seen(path, kind=kind or kind_of(found, width, height), width=width, height=height)
        cells, seen.note = largest(found.cells)
        if not cells:
            seen.note = NO_CELL
            if self._asks_for_cell:
                return seen
            seen.kind = CELL
            seen.note += ": the picture's middle was classified" if self.fields_possible else ""
        elif not self.fields_possible and seen.kind == FIELD:
            seen.kind = CELL
            if len(found.cells) > 1:
                seen.note = f"{len(found.cells)} white cells were found: this run answers for the picture as a whole"
        if seen.kind == CELL:
            cells = cells[:1]
        places = [Place(cell.box, found.red_radius) for cell in cells] or [Place(None, found.red_radius)]
        seen.nuclei = [place.box for place in places]
        for member in self._members:
            if member.view not in seen.views:
                views = [make_view(picture, *member.config.sight, place, found.stain) for place in places]
                seen.squares = seen.squares or [view.box for view in views]
                seen.views[member.view] = [view.pixels for view in views]
                seen.looks[member.view] = [
                    look_of(view.pixels, place) for view, place in zip(views, places, strict=True)
                ]
        return seen

    # Answering

    def _answer(self, pictures: list[Handed], kind: str | None) -> list[Answer]:
        return list(self._answers([self._see(handed, kind) for handed in pictures]))

    def _answers(self, batch: list[_Seen]) -> Iterator[Answer]:
        probabilities, distances, reasons = self._judge(batch)
        start = 0
        for seen in batch:
            cells = []
            for place, (square, nucleus) in enumerate(zip(seen.squares, seen.nuclei, strict=True), start):
                distance = None if distances is None else float(distances[place])
                border = nucleus is not None and cut_by_border(nucleus, seen.width, seen.height)
                why = reasons.get(place, "")
                cells.append(self._cell(square, nucleus, border, probabilities[place], distance, why))
            start += len(seen.squares)
            if seen.refused:
                yield Answer(seen.path, "refused", seen.refused)
                continue
            note = seen.note
            if self.why_unknown and cells:
                unknown = f"whether it is like the training cells is not known: {self.why_unknown}"
                note = f"{note}; {unknown}" if note else unknown
            state = cells[0].state if cells else "unlike"
            yield Answer(seen.path, state, note, cells, seen.kind, seen.width, seen.height)

    def _cell(
        self, square: Box, nucleus: Box | None, border: bool, shares: np.ndarray, distance: float | None, reason: str
    ) -> CellAnswer:
        by_class = dict(zip(self.run.classes, map(float, shares), strict=True))
        state = "unlike" if reason else "ok"
        cell = CellAnswer(square, state, None, by_class, reason, nucleus, border, distance)
        return at_threshold(cell, self.threshold)

    @memory_told(NO_SETTINGS)
    def _judge(self, batch: list[_Seen]) -> tuple[np.ndarray, np.ndarray | None, dict[int, str]]:
        """For all cells of a batch: probabilities (N, C), distances from the training cells (N,) or None, and {index of
        an unlike cell: why}."""
        count = sum(len(seen.squares) for seen in batch)
        if not count:
            return np.empty((0, len(self.run.classes))), None, {}
        shares, compared = [], []
        for member in self._members:
            pixels = np.stack([view for seen in batch for view in seen.views.get(member.view, [])])
            logits, features = member.tapped.predict(pixels, member.device)
            own = softmax(logits, member.temperature)
            if self.average_turns:
                turned = [member.tapped.predict(turn, member.device)[0] for turn in _turns(pixels)]
                own = np.mean([own, *(softmax(logits, member.temperature) for logits in turned)], axis=0)
            shares.append(own)
            if member.likeness:
                looks = np.stack([look for seen in batch for look in seen.looks.get(member.view, [])])
                compared.append((member.likeness, member.likeness.distances(features, looks), looks))
        probabilities = answer_of(self.run, shares)
        if not self._likeness_known:
            return probabilities, None, {}
        # The mean over the networks: no single one refuses a cell that the others find ordinary.
        distances = np.mean([by_kind.max(axis=1) for _, by_kind, _ in compared], axis=0)
        reasons = {}
        for place in np.flatnonzero(distances > 1).tolist():
            likeness, by_kind, looks = max(compared, key=lambda member: float(member[1][place].max()))
            reasons[place] = f"unlike the training cells: {likeness.why(by_kind[place], looks[place])}"
        return probabilities, distances, reasons


def _turns(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """The seven other views of (N, S, S, 3) by rotations through right angles and mirroring."""
    for mirrored in (False, True):
        for quarters in range(4):
            if mirrored or quarters:
                turned = np.rot90(pixels, quarters, axes=(1, 2))
                yield np.ascontiguousarray(turned[:, :, ::-1] if mirrored else turned)
