"""The thread that looks for neighbours beside the pages: what it finds, what it tells, and that it goes on."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bloodcell_core.errors import LabError
from tests.training_fixtures import wait_for
from ui import cached
from ui.neighbours import Finder

RUN: Any = SimpleNamespace(name="run")
DATA: Any = SimpleNamespace(imported="2026-11-29T12:00:00+00:00")


class Near:
    """Stands for a run's training pictures: the neighbours of picture 7 are 70 and 71; of some there are none."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def of(self, rows: list[int]) -> np.ndarray:
        self.asked.append(rows)
        if 13 in rows:
            raise LabError("the dataset holds other pictures")
        if 14 in rows:
            raise ZeroDivisionError
        return np.array([[10 * row, 10 * row + 1, -1] for row in rows])


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Near:
    made = Near()
    RUN.folder = tmp_path
    (tmp_path / "predictions.parquet").touch()
    monkeypatch.setattr(Finder, "_neighbours", lambda self, run, data: made)
    return made


def found(finder: Finder, row: int) -> Any:
    return wait_for(lambda: finder.known(RUN, DATA, row), f"the neighbours of {row} are known", 20)


def test_what_is_asked_for_is_found_once(near: Near) -> None:
    finder = Finder()
    assert not finder.used
    assert finder.known(RUN, DATA, 7) is None
    finder.ask(RUN, DATA, [7, 8])
    assert found(finder, 7) == [70, 71]
    assert found(finder, 8) == [80, 81]
    finder.ask(RUN, DATA, [8, 7])
    finder.ask(RUN, DATA, [7, 9])
    assert found(finder, 9) == [90, 91]
    assert sorted(row for rows in near.asked for row in rows) == [7, 8, 9]
    assert finder.used


def test_why_there_are_none_is_told_and_the_next_question_is_answered(near: Near) -> None:
    finder = Finder()
    finder.ask(RUN, DATA, [13])
    assert found(finder, 13) == "the dataset holds other pictures"
    finder.ask(RUN, DATA, [14])
    assert "log tells why" in found(finder, 14)
    finder.ask(RUN, DATA, [15])
    assert found(finder, 15) == [150, 151]


def test_what_could_not_be_found_is_looked_for_again(near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    finder = Finder()
    finder.ask(RUN, DATA, [13, 7])
    why = found(finder, 13)
    finder.ask(RUN, DATA, [13])
    assert finder.known(RUN, DATA, 13) == why, "a page that is drawn again at once would ask without end"
    monkeypatch.setattr("ui.neighbours.RETRY_AFTER", 0)
    monkeypatch.setattr(near, "of", lambda rows: np.array([[10 * row, 10 * row + 1] for row in rows]))
    finder.ask(RUN, DATA, [13])
    assert found(finder, 13) == [130, 131]


def test_the_answers_are_bounded(near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.neighbours.MOST_ANSWERS", 3)
    finder = Finder()
    for row in range(6):
        finder.ask(RUN, DATA, [row])
        found(finder, row)
    assert [finder.known(RUN, DATA, row) is not None for row in range(6)] == [False] * 3 + [True] * 3


def test_a_run_that_went_on_is_asked_anew(near: Near) -> None:
    finder = Finder()
    finder.ask(RUN, DATA, [7])
    found(finder, 7)
    os.utime(RUN.folder / "predictions.parquet", ns=(1, 1))
    assert finder.known(RUN, DATA, 7) is None
    finder.ask(RUN, DATA, [7])
    found(finder, 7)
    assert near.asked == [[7], [7]]


def test_what_was_found_before_a_run_went_on_is_not_told_of_it_after(
    near: Near, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder, find = Finder(), near.of

    def while_it_goes_on(rows: list[int]) -> np.ndarray:
        os.utime(RUN.folder / "predictions.parquet", ns=(len(near.asked), 1))
        return find(rows)

    finder.ask(RUN, DATA, [6])
    found(finder, 6)
    monkeypatch.setattr(near, "of", while_it_goes_on)
    finder.ask(RUN, DATA, [7])
    wait_for(lambda: not finder._at_work, "it has looked for them", 20)
    assert finder.known(RUN, DATA, 7) is None
    monkeypatch.setattr(near, "of", find)
    finder.ask(RUN, DATA, [7])
    assert found(finder, 7) == [70, 71]


def test_a_run_that_is_deleted_while_it_is_looked_at_costs_only_its_own_answers(
    near: Near, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, of_run = threading.current_thread(), cached.of_run

    def gone_beside_the_page(run: Any) -> tuple[str, ...]:
        if threading.current_thread() is not page:
            raise FileNotFoundError("between the look whether its results are there and the one how old they are")
        return of_run(run)

    finder = Finder()
    with monkeypatch.context() as patched:
        patched.setattr(cached, "of_run", gone_beside_the_page)
        finder.ask(RUN, DATA, [7])
        wait_for(lambda: not finder._at_work, "it has looked for them", 20)
    finder.ask(RUN, DATA, [8])
    assert found(finder, 8) == [80, 81]


def test_the_same_pictures_imported_in_another_order_are_asked_anew(near: Near) -> None:
    """Rows are those of the dataset as it was imported."""
    finder = Finder()
    finder.ask(RUN, DATA, [7])
    found(finder, 7)
    later = SimpleNamespace(imported="2026-11-29T13:00:00+00:00")
    assert finder.known(RUN, later, 7) is None
