"""A workspace with unexpected things in the places of files: folders, links that lead nowhere or in a ring, files
without end, and what the lab's account may not look into. The pages are drawn all the same, and say so."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bloodcell_core import cli, disk, notes, runs, workspace
from bloodcell_core.errors import LabError
from bloodcell_core.runs import Run
from tests.test_faults import drawn_pages
from ui.shell import PAGES

pytest_plugins = ["tests.training_fixtures"]


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def leave_a_file(path: Path) -> None:
    remove(path)
    path.write_text("a note")


def leave_a_folder(path: Path) -> None:
    remove(path)
    path.mkdir()


def leave_a_ring(path: Path) -> None:
    remove(path)
    path.symlink_to(path.name)


def leave_a_link_to_nowhere(path: Path) -> None:
    remove(path)
    path.symlink_to(path.with_name("gone"))


@pytest.fixture
def closed() -> Iterator[Callable[[Path], None]]:
    """Closes a file or folder to this process until the test has ended: also where it is root, who lays aside for as
    long what lets it pass over modes (CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of this thread and those it starts)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    before, now = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    modes: dict[Path, int] = {}
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        libc.capget(header, before)
        libc.capget(header, now)
        now[0] &= ~0b110
        libc.capset(header, now)

    def close(path: Path) -> None:
        modes[path] = path.stat().st_mode
        path.chmod(0)
        if os.access(path, os.R_OK, effective_ids=True):
            pytest.skip("this account reads whatever the modes say")

    yield close
    for path, mode in modes.items():
        path.chmod(mode)
    if os.geteuid() == 0:
        libc.capset(header, before)


def test_json_without_a_bottom_or_an_end_is_told(tmp_path: Path) -> None:
    file = tmp_path / "deep.json"
    file.write_text("[" * 200_000)
    with pytest.raises(LabError, match=r"deep\.json can't be read: "):
        disk.read_json(file)
    file = tmp_path / "endless.json"
    with open(file, "wb") as stream:
        stream.truncate(2**40)  # a hole: it takes no room, and would take all memory
    with pytest.raises(LabError, match=r"endless\.json can't be read: it has 1,048,576 MB"):
        disk.read_json(file)


@pytest.mark.parametrize(
    "place", ["run", "dataset", "runs", "datasets", "imports", "searches", "slides", "notes", "locks"]
)
def test_what_the_account_may_not_look_into_is_told(
    place: str, done: Run, lab: Path, closed: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    notes.rename("run", done.name, "Mine")
    drawn_pages()  # what a page imports must not be looked for below a closed folder
    path = {"run": done.folder, "dataset": workspace.dataset_dir("demo")}.get(place, lab / place)
    path.mkdir(exist_ok=True)
    closed(path)
    told = drawn_pages()
    assert f"{path}" in told, told
    assert "Permission denied" in told
    assert "traceback" not in told.lower()
    if place not in ("run", "dataset"):
        assert all(f"{title}: {path}" in told for title in PAGES), told
    assert cli.main(["runs", "list"]) in (0, 2)
    assert "failed" not in capsys.readouterr().err


@pytest.mark.parametrize("place", ["runs", "datasets", "imports", "searches", "slides", "notes", "locks", ""])
@pytest.mark.parametrize("leave", [leave_a_file, leave_a_ring, leave_a_link_to_nowhere])
def test_what_stands_where_a_folder_should_be_is_told(
    place: str, leave: Callable[[Path], None], lab_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (lab_home / place).mkdir(parents=True)
    leave(lab_home / place)
    if not place and leave is leave_a_link_to_nowhere:
        assert drawn_pages("Home") == "", "a workspace that isn't there yet will be made where the link leads"
        return
    told = drawn_pages("Home", "Train")
    assert f"Home: {lab_home / place}" in told
    assert f"Train: {lab_home / place}" in told
    assert cli.main(["runs", "list"]) == 0
    assert str(lab_home / place) in capsys.readouterr().err


@pytest.mark.parametrize("leave", [leave_a_folder, leave_a_ring])
@pytest.mark.parametrize("file", ["metrics.jsonl", "worker.log"])
def test_what_stands_where_a_file_of_a_run_should_be_is_told(
    file: str, leave: Callable[[Path], None], done: Run
) -> None:
    (done.folder / file).write_bytes((done.folder / "metrics.jsonl").read_bytes())
    leave(done.folder / file)
    told = drawn_pages("Home", "Train")
    if file == "metrics.jsonl":
        assert f"{done.folder / file} can't be read: " in told
    assert "worker.log can't be read: " in done.log_tail() or file != "worker.log"
    assert runs.find("latest").name == done.name
