"""The training cells most like a picture, worked out beside the pages, which wait for neither PyTorch nor a network."""

from __future__ import annotations

import gc
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError, in_words
from bloodcell_core.runs import Run
from ui import lab

AT_ONCE = 32  # pictures: half a second's work
MOST_ANSWERS = 50_000  # four numbers each
RETRY_AFTER = 30.0  # seconds; whoever asks before that for what could not be found is told why once more
MOST_RUNS = 5  # whose training pictures' features are kept: a cross-validation has about so many

Found = list[int] | str
"""Rows of the dataset's pictures, the nearest first; or why there are none."""


class Finder:
    """Answers, and a thread that makes them while there is something to do."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, int], Found] = OrderedDict()
        self._failed: dict[tuple[str, int], float] = {}  # when; what was in the way may be gone by now
        self._asked: deque[tuple[Run, Dataset, list[int]]] = deque(maxlen=8)  # of many requests the newest count
        self._runs: OrderedDict[str, Any] = OrderedDict()
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._at_work = False
        self.used = False
        """It was asked before: PyTorch is there, and further questions cost little."""

    def known(self, run: Run, data: Dataset, row: int) -> Found | None:
        """What was found; None where it hasn't been looked for yet."""
        return self._answers.get((_network(run, data), row))

    def ask(self, run: Run, data: Dataset, rows: Sequence[int]) -> None:
        """Has these looked for, those that aren't known yet. Returns at once."""
        self._forget_failed(run, data, rows)
        missing = [row for row in rows if self.known(run, data, row) is None]
        if not missing:
            return
        with self._lock:
            self.used = True
            self._asked.append((run, data, missing))
            if self._at_work:
                return
            self._at_work = True
        threading.Thread(target=self._work, name="neighbours", daemon=True).start()

    def _forget_failed(self, run: Run, data: Dataset, rows: Sequence[int]) -> None:
        name, before = _network(run, data), time.monotonic() - RETRY_AFTER
        with self._lock:
            for row in rows:
                if self._failed.get((name, row), math.inf) <= before:
                    del self._failed[name, row]
                    self._answers.pop((name, row), None)

    def _work(self) -> None:
        from bloodcell_core.device import compute_in_this_thread

        compute_in_this_thread()  # pages are drawn beside it
        while True:
            with self._lock:
                if not self._asked:
                    self._at_work = False
                    return
                run, data, rows = self._asked.pop()
            for start in range(0, len(rows), AT_ONCE):
                part = [row for row in rows[start : start + AT_ONCE] if self.known(run, data, row) is None]
                self._keep(run, data, part, self._find(run, data, part) if part else [])

    def _find(self, run: Run, data: Dataset, rows: list[int]) -> list[Found]:
        try:
            found = self._neighbours(run, data).of(rows)
            return [[row for row in each if row >= 0] for each in found.tolist()]
        except (LabError, OSError) as error:
            return [in_words(error)] * len(rows)
        except Exception:  # told on the page; the thread must go on for the next request
            st.logger.get_logger(__name__).exception("the neighbours of %s", run.name)
            return ["they can't be found: the server's log tells why"] * len(rows)

    def like(self, run: Run, data: Dataset, views: Sequence[np.ndarray], count: int) -> list[int]:
        """The training rows most alike to a cell of any picture (`Neighbours.like`); waits for them."""
        found: list[int] = self._neighbours(run, data).like(views, count).tolist()
        return found

    def _neighbours(self, run: Run, data: Dataset) -> Any:
        from bloodcell_core.inference.neighbours import Neighbours

        name = _network(run, data)
        with self._making:
            if name not in self._runs:
                self._runs[name] = Neighbours(run, data)
                gc.collect()
                gc.freeze()  # Streamlit collects garbage after each run of a page: PyTorch's own are passed over
            self._runs.move_to_end(name)
            while len(self._runs) > MOST_RUNS:
                self._runs.popitem(last=False)
            return self._runs[name]

    def _keep(self, run: Run, data: Dataset, rows: list[int], found: list[Found]) -> None:
        name = _network(run, data)
        with self._lock:
            for row, each in zip(rows, found, strict=True):
                self._answers[name, row] = each
                if isinstance(each, str):
                    self._failed[name, row] = time.monotonic()
            while len(self._answers) > MOST_ANSWERS:
                self._failed.pop(self._answers.popitem(last=False)[0], None)


def _network(run: Run, data: Dataset) -> str:
    """What tells a run's network from another of the same name: one that was stopped and goes on has other weights; and
    the rows of its dataset from those of another import."""
    return f"{run.folder} {lab.predictions_changed(run)} {data.imported}"


@st.cache_resource(show_spinner=False)
def finder() -> Finder:
    """The one of this server."""
    return Finder()
