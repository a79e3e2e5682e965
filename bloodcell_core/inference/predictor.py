"""Classifies pictures that were handed in, with a finished run.

Decoding and views are the ones of training, so a picture of the dataset gets the very probabilities that stand
in the run's predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bloodcell_core.cells import Box
from bloodcell_core.data.pictures import MAX_FILE_BYTES, UnreadablePicture, decode_rgb
from bloodcell_core.data.views import View, make_view
from bloodcell_core.device import choose_device
from bloodcell_core.errors import LabError
from bloodcell_core.models.forward import predict_probabilities
from bloodcell_core.models.network import load_network
from bloodcell_core.runs import Run

BATCH = 64


@dataclass(frozen=True)
class CellAnswer:
    """What is said of one cell."""

    box: Box
    """x0, y0, x1, y1 of what the network saw, in the picture's pixels."""
    state: str
    label: str | None
    probabilities: dict[str, float]
    """Class → 0…1; they sum to 1."""


@dataclass(frozen=True)
class Answer:
    """What is said of one picture."""

    path: str
    state: str
    """ok, or refused: no picture could be read, `reason` says why."""
    reason: str = ""
    cells: list[CellAnswer] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Predictor:
    """A finished run, loaded and ready. Safe to use from several threads: nothing in it changes."""

    def __init__(self, run: Run, device: str = "auto"):
        if not run.weights_file.exists():
            raise LabError(f"run {run.name!r} has no weights yet: it is {run.status()['state']}")
        self.run = run
        self.device = choose_device(device)
        network = load_network(run.config, len(run.classes), run.weights_file)
        self._network = network.to(self.device.device)
        self._temperature = run.temperature

    def classify(self, pictures: Iterable[tuple[str, Callable[[], bytes]]]) -> Iterator[Answer]:
        """An answer for each (path, function that reads its bytes), in order, holding BATCH pictures at a time."""
        remaining = iter(pictures)
        with ThreadPoolExecutor() as pool:
            while batch := list(islice(remaining, BATCH)):
                views = list(pool.map(lambda picture: self._view(picture[1]), batch))
                yield from self._answers([path for path, _ in batch], views)

    def _view(self, read: Callable[[], bytes]) -> View | str:
        """The picture as the network sees it, or why it is refused."""
        try:
            config = self.run.config
            return make_view(decode_rgb(read()), config.view, config.size, config.crop)
        except (UnreadablePicture, OSError) as error:
            return str(error)

    def _answers(self, paths: list[str], views: list[View | str]) -> Iterator[Answer]:
        seen = [view for view in views if isinstance(view, View)]
        rows: Iterator[np.ndarray] = iter(())
        if seen:
            pixels = np.stack([view.pixels for view in seen])
            rows = iter(predict_probabilities(self._network, pixels, self.device, BATCH, self._temperature))
        for path, view in zip(paths, views, strict=True):
            if isinstance(view, str):
                yield Answer(path, "refused", view)
                continue
            probabilities = next(rows)
            by_class = dict(zip(self.run.classes, map(float, probabilities), strict=True))
            cell = CellAnswer(view.box, "ok", self.run.classes[int(probabilities.argmax())], by_class)
            note = "" if view.found else "no white cell was found: the picture's middle was classified"
            yield Answer(path, "ok", note, [cell])


def files_of(paths: Iterable[Path]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Every file of the given files and folders, as `Predictor.classify` takes them; LabError where one is missing."""
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    yield str(file), _reader(file)
        elif path.exists():
            yield str(path), _reader(path)
        else:
            raise LabError(f"{path} doesn't exist")


def _reader(file: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise UnreadablePicture(f"larger than {MAX_FILE_BYTES // 2**20} MiB")
        return file.read_bytes()

    return read
