"""The training cells most like a picture, computed in a thread beside the pages, which never wait for it."""

from __future__ import annotations

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
from ui import cached, shell

AT_ONCE = 32  # pictures: half a second's work
MOST_ANSWERS = 50_000  # four numbers each
RETRY_AFTER = 30.0  # seconds; until then a request that failed gets the same reason again
MOST_RUNS = 5  # whose training features are kept: a cross-validation has about as many

Found = list[int] | str
"""Rows of the dataset's pictures, the nearest first; or why there are none."""
Network = tuple[str, ...]


class Finder:
    """A cache of neighbours, and a thread that computes them while there are requests."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[Network, int], Found] = OrderedDict()
        self._failed: dict[tuple[Network, int], float] = {}  # when; the cause may be gone by now
        self._asked: deque[tuple[Network, Run, Dataset, list[int]]] = deque(maxlen=8)  # older requests are dropped
        self._runs: OrderedDict[Network, Any] = OrderedDict()
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._at_work = False
        self.used = False
        """Whether there was a request before: then PyTorch is loaded, and further ones cost little."""

    def known(self, run: Run, data: Dataset, row: int) -> Found | None:
        """The neighbours of a picture, or why there are none; None where they haven't been computed yet."""
        return self._answers.get((_network(run, data), row))

    def ask(self, run: Run, data: Dataset, rows: Sequence[int]) -> None:
        """Requests the neighbours of `rows` that aren't known yet. Returns at once."""
        name = _network(run, data)  # as it is now: it may go on, or be deleted, while its neighbours are looked for
        self._forget_failed(name, rows)
        missing = [row for row in rows if (name, row) not in self._answers]
        if not missing:
            return
        with self._lock:
            self.used = True
            self._asked.append((name, run, data, missing))
            if self._at_work:
                return
            self._at_work = True
        threading.Thread(target=self._work, name="neighbours", daemon=True).start()

    def _forget_failed(self, name: Network, rows: Sequence[int]) -> None:
        before = time.monotonic() - RETRY_AFTER
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
                name, run, data, rows = self._asked.pop()
            for start in range(0, len(rows), AT_ONCE):
                part = [row for row in rows[start : start + AT_ONCE] if (name, row) not in self._answers]
                self._keep(name, part, self._find(run, data, part) if part else [])

    def _find(self, run: Run, data: Dataset, rows: list[int]) -> list[Found]:
        try:
            found = self._neighbours(run, data).of(rows)
            return [[row for row in each if row >= 0] for each in found.tolist()]
        except (LabError, OSError) as error:
            return [in_words(error)] * len(rows)
        except Exception:  # reported on the page; the thread must go on for the next request
            st.logger.get_logger(__name__).exception("the neighbours of %s", run.name)
            return ["they can't be found: the server's log tells why"] * len(rows)

    def like(self, run: Run, data: Dataset, views: Sequence[np.ndarray]) -> list[int]:
        """The training rows most similar to a cell of any picture (`Neighbours.like`); waits for them."""
        found: list[int] = self._neighbours(run, data).like(views).tolist()
        return found

    def _neighbours(self, run: Run, data: Dataset) -> Any:
        from bloodcell_core.inference.neighbours import Neighbours

        name = _network(run, data)
        with self._making:
            if name not in self._runs:
                self._runs[name] = Neighbours(run, data)
                shell.freeze()
            self._runs.move_to_end(name)
            while len(self._runs) > MOST_RUNS:
                self._runs.popitem(last=False)
            return self._runs[name]

    def _keep(self, name: Network, rows: list[int], found: list[Found]) -> None:
        with self._lock:
            for row, each in zip(rows, found, strict=True):
                self._answers[name, row] = each
                if isinstance(each, str):
                    self._failed[name, row] = time.monotonic()
            while len(self._answers) > MOST_ANSWERS:
                self._failed.pop(self._answers.popitem(last=False)[0], None)


def _network(run: Run, data: Dataset) -> Network:
    """A key that changes with a run's weights, as a resumed run has others, and with its dataset's import, as another
    may have other rows."""
    return *cached.of_run(run), *data.imported


@st.cache_resource(show_spinner=False)
def finder() -> Finder:
    """The `Finder`, shared by all sessions of this server."""
    return Finder()
