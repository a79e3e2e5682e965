"""Imports in a process of their own: what a page sees of them, how they end, what they leave behind."""

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bloodcell_core import background, disk, workspace
from bloodcell_core.background import ENDED
from bloodcell_core.data import import_jobs
from bloodcell_core.data.dataset import Dataset, names
from bloodcell_core.data.download import DOWNLOADS, Missing
from bloodcell_core.data.import_jobs import ImportJob, start
from bloodcell_core.errors import LabError
from tests.conftest import class_files, write_files, write_zip
from tests.training_fixtures import Killed


def ended(job: ImportJob, seconds: float = 60) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (status := job.status())["state"] in ENDED:
            return status
        time.sleep(0.05)
    raise AssertionError(f"still at work: {job.status()}\n{(job.folder / 'worker.log').read_text()}")


def left_behind() -> list[str]:
    folder = workspace.datasets_dir()
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def test_a_folder_is_imported_by_a_process_of_its_own(tmp_path: Path, lab_home: Path):
    job = start("import", source=str(write_files(tmp_path / "cells", class_files())), name="mine", trace=False)
    status = ended(job)
    assert (status["state"], status["dataset"]) == ("done", "mine"), status
    assert (status["done"], status["total"]) == (12, 12)
    assert len(Dataset("mine").pictures) == 12
    assert [known.name for known in ImportJob.readable()[0]] == [job.name]
    job.dismiss()
    assert ImportJob.readable() == ([], [])
    assert names() == ["mine"]


def test_one_whose_dismissal_was_killed_is_forgotten_all_the_same(lab_home: Path, monkeypatch: pytest.MonkeyPatch):
    job = start("demo", name="drawn", per_class=10, seed=3)
    ended(job)

    def killed(folder: Path, *_: object, **__: object) -> None:
        next(Path(folder).rglob("request.json")).unlink()
        raise Killed

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(Killed):
        job.dismiss()
    assert ImportJob.readable() == ([], []), "nobody is told to delete half a folder by hand"


def test_an_upload_is_imported_and_not_kept_twice(tmp_path: Path, lab_home: Path):
    data = write_zip(tmp_path / "cells.zip", class_files()).read_bytes()
    job = start("import", upload=("../My cells.zip", io.BytesIO(data)), trace=False)
    assert ended(job)["dataset"] == "my-cells"
    assert not (job.folder / "upload").exists()


def test_demo_pictures_are_drawn(lab_home: Path):
    assert ended(start("demo", name="drawn", per_class=10, seed=3))["dataset"] == "drawn"
    assert len(Dataset("drawn").pictures) == 40


def test_what_cannot_be_imported_says_why_and_leaves_nothing(tmp_path: Path, lab_home: Path):
    status = ended(start("import", source=str(tmp_path / "missing")))
    assert status["state"] == "failed"
    assert "doesn't exist" in status["reason"]
    assert left_behind() == []


def test_a_download_that_fails_says_what_to_fetch_by_hand(lab_home: Path, monkeypatch: pytest.MonkeyPatch):
    def offline(folder: Path) -> Path:
        raise OSError("no network")

    row = DOWNLOADS["bloodmnist"]._replace(packages=(), fetch=offline, missing=lambda _: Missing("a.npz", "b.org", ""))
    monkeypatch.setitem(DOWNLOADS, "bloodmnist", row)
    job = in_this_process(monkeypatch, lambda: start("download", download="bloodmnist"))
    import_jobs.work(job)
    assert job.status()["state"] == "failed"
    assert "fetch a.npz by hand from b.org" in job.status()["reason"]


def test_a_download_is_imported_under_its_name(tmp_path: Path, lab_home: Path, monkeypatch: pytest.MonkeyPatch):
    source = write_files(tmp_path / "fetched", class_files())
    monkeypatch.setitem(
        DOWNLOADS, "bloodmnist", DOWNLOADS["bloodmnist"]._replace(packages=(), fetch=lambda _: source)
    )
    job = in_this_process(monkeypatch, lambda: start("download", download="bloodmnist", trace=False))
    import_jobs.work(job)
    assert (job.status()["state"], job.status().get("dataset")) == ("done", "bloodmnist")


def in_this_process(monkeypatch: pytest.MonkeyPatch, job_of: Callable[[], ImportJob]) -> ImportJob:
    monkeypatch.setattr(background.subprocess, "Popen", lambda *given, **also: None)
    monkeypatch.setattr(background, "_workers", {})
    return job_of()


def test_a_name_that_an_import_is_making_is_told_before_a_second_begins(
    lab_home: Path, monkeypatch: pytest.MonkeyPatch
):
    job = in_this_process(monkeypatch, lambda: start("demo", name="drawn", per_class=10, seed=0))
    import_jobs.check_not_being_made("another")
    with pytest.raises(LabError, match="an import that makes 'drawn' is at work already"):
        import_jobs.check_not_being_made("drawn")
    job.tell(state="stopped", reason="stopped on request")
    import_jobs.check_not_being_made("drawn")


def test_an_import_that_is_stopped_leaves_nothing(
    tmp_path: Path, lab_home: Path, monkeypatch: pytest.MonkeyPatch
):
    source = write_files(tmp_path / "cells", class_files(60))
    job = in_this_process(monkeypatch, lambda: start("import", source=str(source), trace=False))
    job.request_stop()
    import_jobs.work(job)
    assert job.status()["state"] == "stopped"
    assert left_behind() == []


def test_a_download_that_is_stopped_ends_at_once_and_cleans_up_after_itself(
    lab_home: Path, monkeypatch: pytest.MonkeyPatch
):
    cleaned_up = threading.Event()

    def fetch(folder: Path) -> Path:
        job.request_stop()
        try:
            for _ in range(1000):
                cleaned_up.wait(0.01)  # as a library waits for the next bytes, with no thought of a stop
        finally:
            cleaned_up.set()
        return folder

    monkeypatch.setattr(background, "BEAT", 0.01)
    monkeypatch.setitem(DOWNLOADS, "bloodmnist", DOWNLOADS["bloodmnist"]._replace(packages=(), fetch=fetch))
    job = in_this_process(monkeypatch, lambda: start("download", download="bloodmnist"))
    import_jobs.work(job)
    assert (job.status()["state"], job.status()["reason"]) == ("stopped", background.NOTHING_KEPT)
    assert job.status()["phase"].startswith("downloading")
    assert cleaned_up.is_set()
    assert left_behind() == []


def test_a_worker_that_is_gone_was_interrupted(
    tmp_path: Path, lab_home: Path, monkeypatch: pytest.MonkeyPatch
):
    job = in_this_process(monkeypatch, lambda: start("demo", name="drawn", per_class=10, seed=0))
    assert job.status()["state"] == "starting"
    job.tell(state="running")
    assert job.status()["state"] == "interrupted"
    with job.lock:
        assert job.status()["state"] == "running"
        job.dismiss()
        assert job.folder.exists()  # not while it is at work
    job.dismiss()
    assert ImportJob.readable() == ([], [])


class Child:
    """Stands for a process that was started here."""

    ended: int | None = None

    def poll(self) -> int | None:
        return self.ended


def test_a_worker_that_loads_for_long_was_not_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As on a busy machine, where it takes its lock a minute after it was started."""
    child, job = Child(), background.Job(tmp_path, "")
    monkeypatch.setattr(background, "_workers", {tmp_path: child})
    long_ago = background.time.time() - 2 * background.START_GRACE
    disk.write_json(tmp_path / "status.json", background.starting() | {"updated": long_ago})
    assert job.status()["state"] == "starting"
    child.ended = 1
    assert job.status()["state"] == "interrupted"


@pytest.mark.parametrize("content", ["[]", "null", "7"])
def test_a_damaged_status_is_told_by_who_would_add_to_it(content: str, tmp_path: Path):
    job = background.Job(tmp_path, "")
    (tmp_path / "status.json").write_text(content)
    with pytest.raises(LabError, match=r"status\.json is damaged"):
        job.tell(state="running")
    assert (tmp_path / "status.json").read_text() == content


@pytest.mark.parametrize("updated", ["now", None])
def test_a_status_without_a_time_is_damaged(updated: str | None, tmp_path: Path):
    disk.write_json(tmp_path / "status.json", {"state": "starting", "updated": updated})
    with pytest.raises(LabError, match=r"status\.json is damaged"):
        background.Job(tmp_path, "").status()


def test_an_unforeseen_failure_is_told_in_one_line(lab_home: Path, monkeypatch: pytest.MonkeyPatch):
    job = in_this_process(monkeypatch, lambda: start("demo", name="drawn"))

    def fail(job: ImportJob, options: dict[str, Any]) -> Dataset:
        raise ZeroDivisionError("by nought")

    monkeypatch.setitem(import_jobs.KINDS, "demo", fail)
    import_jobs.work(job)
    assert job.status()["reason"] == "ZeroDivisionError: by nought"


def test_progress_tells_the_time_left(lab_home: Path, monkeypatch: pytest.MonkeyPatch):
    job = in_this_process(monkeypatch, lambda: start("demo", name="drawn"))
    now = [0.0]
    monkeypatch.setattr(background.time, "monotonic", lambda: now[0])
    progress = job.phase("reading pictures")
    left = []
    for now[0], done in ((0.0, 0), (10.0, 25), (20.0, 50)):
        progress(done, 100)
        left.append(ImportJob(job.name)._recorded()["seconds_left"])
    assert left == [None, 30, 20]
