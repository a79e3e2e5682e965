"""What a page costs, counted and not timed: packages in memory, files read again, objects visited at each update."""

from __future__ import annotations

import collections
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bloodcell_core import disk
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.views import make_view
from bloodcell_core.runs import Run
from tests.test_architecture import ROOT
from tests.test_pages import draw
from ui import dataset_pictures, shell

pytest_plugins = ["tests.training_fixtures"]

NEVER = {"torch", "torchvision", "altair", "optuna", "h5py", "cleanlab", "sklearn", "scipy.stats"}
ONLY_INTERVALS_NEED = {"scipy.special"}
DRAWN = """
import sys
from streamlit.testing.v1 import AppTest
for page in sys.argv[1:]:
    app = AppTest.from_file("streamlit_app.py", default_timeout=60)
    if page != "streamlit_app.py":
        app.switch_page(page)
    app.run()
    assert not app.exception, app.exception[0].value
    print(*sys.modules)
"""


def test_pages_load_what_they_draw_with_and_no_more(done: Run) -> None:
    """Opened one after another in a new process; each package costs megabytes, and seconds of the first paint."""
    pages = ["pages/1_Browse.py", "pages/2_Train.py", "pages/4_Review.py", "streamlit_app.py", "pages/3_Compare.py"]
    run = subprocess.run([sys.executable, "-c", DRAWN, *pages], cwd=ROOT, capture_output=True, text=True, timeout=300,
                         env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert run.returncode == 0, run.stderr
    browse, train, review, home, compare = (set(line.split()) for line in run.stdout.splitlines())
    assert "pandas" in browse
    for loaded in (browse, train, review):
        assert not loaded & (NEVER | ONLY_INTERVALS_NEED)
    assert compare >= ONLY_INTERVALS_NEED, "else the line above says nothing"
    assert not (home | compare) & NEVER


def test_the_collector_is_spared_what_does_not_change(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shell._MODULES, "frozen", 0)
    frozen: list[int] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(len(sys.modules)))
    draw("pages/2_Train.py")
    assert frozen
    before = len(frozen)
    draw("pages/2_Train.py")
    shell.spare_the_collector()
    assert len(frozen) == before, "nothing has come since"
    for number in range(shell.MANY_MODULES):
        monkeypatch.setitem(sys.modules, f"one_of_many_{number}", sys)
    shell.spare_the_collector()
    assert len(frozen) == before + 1


@pytest.mark.parametrize("page", ["streamlit_app.py", "pages/2_Train.py"])
def test_curves_are_read_on_from_where_the_last_look_ended(
    page: str, done: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(page)
    begun: list[tuple[Path, int]] = []
    events = Run.events

    def watched(run: Run, offset: int = 0) -> object:
        begun.append((run.folder / "metrics.jsonl", offset))
        return events(run, offset)

    monkeypatch.setattr(Run, "events", watched)
    draw(page)
    assert begun
    assert all(offset == file.stat().st_size > 0 for file, offset in begun)


def test_a_look_at_the_runs_reads_each_file_a_few_times_whatever_stands_on_the_page(
    done: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the estimate, for the choice of curves, for the panel, and what a card looks up by itself."""
    read: collections.Counter[str] = collections.Counter()
    read_json = disk.read_json
    monkeypatch.setattr(disk, "read_json", lambda path: read.update([path.name]) or read_json(path))
    draw("pages/2_Train.py")
    assert read["config.json"] == 3
    assert read["status.json"] <= 6
    assert read["summary.json"] <= 6


def test_a_thumbnail_is_drawn_once_and_few_enough_are_kept(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Dataset("demo")
    drawn: list[int] = []

    def counted(*args: object, **more: object) -> object:
        drawn.append(1)
        return make_view(*args, **more)

    monkeypatch.setattr(dataset_pictures, "make_view", counted)
    dataset_pictures._thumbnails.clear()
    rows = data.pictures.index[:6].tolist()
    first = dataset_pictures.thumbnails(data, rows, "cell")
    assert dataset_pictures.thumbnails(data, rows[::-1], "cell") == first[::-1]
    assert len(drawn) == 6
    assert len({*first}) == 6
    assert dataset_pictures.thumbnails(data, rows, "frame") != first

    monkeypatch.setattr(dataset_pictures, "MOST_THUMBNAILS", 4)
    assert dataset_pictures.thumbnails(data, data.pictures.index[6:12].tolist(), "cell")[0] not in first
    kept, _ = dataset_pictures._thumbnails()
    assert len(kept) == 4


def test_a_file_that_was_deleted_costs_its_own_tile_and_is_looked_for_again(lab: Path) -> None:
    data = Dataset("demo")
    dataset_pictures._thumbnails.clear()
    rows = data.pictures.index[:3].tolist()
    file = data.folder / "originals" / data.pictures.stored[rows[1]]
    away = file.rename(lab / "away")
    without = dataset_pictures.thumbnails(data, rows, "cell")
    away.rename(file)
    whole = dataset_pictures.thumbnails(data, rows, "cell")
    assert [one == other for one, other in zip(without, whole, strict=True)] == [True, False, True]
