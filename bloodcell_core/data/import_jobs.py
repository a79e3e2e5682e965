"""Imports as jobs: one that a page asks for runs in a process of its own and goes on when the page is closed.

    imports/<utc>-<id>/request.json    what is asked for, and of which kind
                      /status.json     how far it is
                      /upload/<file>   what came through the browser; gone when the job has ended
"""

from __future__ import annotations

import math
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from bloodcell_core import workspace
from bloodcell_core.background import ENDED, Job, StopRequested, starting
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError

BEAT = 0.25  # seconds between two writes of status.json


class ImportJob(Job):
    """The import in folder `name` of imports/; LabError where there is none or its files are damaged."""

    def __init__(self, name: str):
        self.name = name
        super().__init__(workspace.imports_dir() / workspace.check_name(name, "import"), "import it again")
        self.request: dict[str, Any] = workspace.read_json(self.folder / "request.json")
        if not (isinstance(self.request, dict) and isinstance(self.request.get("options"), dict)):
            raise LabError(f"{self.folder / 'request.json'} is damaged")

    def dismiss(self) -> None:
        """Forgets an ended import; the dataset that it made stays."""
        if self.status()["state"] in ENDED:
            shutil.rmtree(self.folder, ignore_errors=True)


def start(kind: str, upload: tuple[str, BinaryIO] | None = None, **options: Any) -> ImportJob:
    """Starts an import in a process of its own.

    `kind` is a row of KINDS, and `options` are what it takes. An `upload` (file name, stream) is laid down on the
    workspace's own disk and becomes the option `source`; OSError where there is no room.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of import is called {kind!r}: there are {', '.join(KINDS)}")
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    final = workspace.imports_dir() / name
    workspace.sweep_unfinished(final.parent)  # what a server that was killed amid an upload left
    with workspace.new_folder(final) as folder:
        if upload:
            file = PurePath(upload[0]).name
            (folder / "upload").mkdir()
            with open(folder / "upload" / file, "wb") as copy:
                shutil.copyfileobj(upload[1], copy)
            options["source"] = str(final / "upload" / file)
        workspace.write_json(folder / "request.json", {"kind": kind, "options": options})
        workspace.write_json(folder / "status.json", starting())  # a page may look at once
    job = ImportJob(name)
    job.start("bloodcell_core.data.import_jobs")
    return job


def readable_jobs() -> tuple[list[ImportJob], list[str]]:
    """The imports that were started and not yet dismissed, newest first, and a line for each that can't be read."""
    folder = workspace.imports_dir()
    names = sorted((path.name for path in folder.iterdir()), reverse=True) if folder.is_dir() else []
    good: list[ImportJob] = []
    damaged: list[str] = []
    for name in filter(workspace.NAME_PATTERN.fullmatch, names):
        try:
            job = ImportJob(name)
            job.status()
            good.append(job)
        except LabError as error:
            damaged.append(f"{error}: delete {folder / name}")
    return good, damaged


def jobs() -> list[ImportJob]:
    """Those of `readable_jobs` that can be read."""
    return readable_jobs()[0]


# The worker


def work(job: ImportJob) -> None:
    """Does the import in this process; its end, good or bad, is told in status.json."""

    def do() -> dict[str, Any]:
        job.tell(state="running", phase="looking at the source", done=0, total=0, seconds_left=None)
        try:
            return {"dataset": KINDS[job.request["kind"]](job, job.request["options"]).name}
        finally:
            shutil.rmtree(job.folder / "upload", ignore_errors=True)

    job.work(do)


def _phase(job: ImportJob, phase: str) -> Callable[[int, int], None]:
    """A progress callback that tells the job how far a phase is and looks whether it is to stop."""
    first: tuple[float, int] | None = None
    last = -math.inf

    def progress(done: int, total: int) -> None:
        nonlocal first, last
        if job.stop_requested():
            raise StopRequested("stopped on request: nothing of it was kept")
        now = time.monotonic()
        first = first or (now, done)
        if now - last > BEAT or done == total:
            last = now
            rate = (done - first[1]) / (now - first[0]) if now > first[0] else 0
            left = round((total - done) / rate) if rate else None
            job.tell(phase=phase, done=done, total=total, seconds_left=left)

    return progress


def _import(job: ImportJob, options: dict[str, Any]) -> Dataset:
    from bloodcell_core.data.importing import import_dataset

    return import_dataset(
        Path(options.pop("source")).expanduser(),
        progress=_phase(job, "reading pictures"),
        trace_progress=_phase(job, "looking for each picture's photograph"),
        **options,
    )


def _download(job: ImportJob, options: dict[str, Any]) -> Dataset:
    from bloodcell_core.data.download import download
    from bloodcell_core.data.importing import free_name

    wanted = options.pop("download")
    name = free_name(options.pop("name", None) or wanted)  # before gigabytes are fetched for nothing
    job.tell(phase=f"downloading {wanted}: this can take long", done=0, total=0, seconds_left=None)
    return _import(job, options | {"source": str(download(wanted)), "name": name})


def _draw(job: ImportJob, options: dict[str, Any]) -> Dataset:
    from bloodcell_core.data.importing import make_demo

    return make_demo(progress=_phase(job, "drawing pictures"), **options)


KINDS: dict[str, Callable[[ImportJob, dict[str, Any]], Dataset]] = {
    "import": _import,
    "download": _download,
    "demo": _draw,
}
"""What a job can do: the options are those of `importing.import_dataset` (with `source` as text, or in its place
`download`, a row of DOWNLOADS) and of `importing.make_demo`."""


if __name__ == "__main__":
    work(ImportJob(sys.argv[1]))
