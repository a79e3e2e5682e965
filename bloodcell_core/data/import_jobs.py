"""Import jobs: requested by a page, run in a process of their own, which goes on when the page is closed.

imports/<utc>-<id>/request.json    the kind of import and its options
                  /status.json     its progress
                  /upload/<file>   a file uploaded in the browser; deleted when the job has ended
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from bloodcell_core import workspace
from bloodcell_core.background import ENDED, RequestedJob
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError


class ImportJob(RequestedJob):
    """The import in folder `name` of imports/; LabError where there is none or its files are damaged."""

    kind, remedy = "import", "import it again"
    keys, makes = ("kind", "options"), "dataset"
    place = staticmethod(workspace.imports_dir)

    def __init__(self, name: str):
        super().__init__(name)
        if not isinstance(self.request["options"], dict):
            raise LabError(f"{self.folder / 'request.json'} is damaged")


def check_not_being_made(name: str) -> None:
    """LabError where an import is making a dataset of that name: the later of two would fail only at its very end."""
    for job in ImportJob.readable()[0]:
        with suppress(LabError):  # it was dismissed meanwhile
            if job.request["options"].get("name") == name and job.status()["state"] not in ENDED:
                break
    else:
        return
    raise LabError(f"an import that makes {name!r} is at work already: wait for it, stop it, or choose another name")


def start(kind: str, upload: tuple[str, BinaryIO] | None = None, **options: Any) -> ImportJob:
    """Starts an import in a process of its own.

    `kind` is a key of KINDS, with the options that it takes. An `upload` (file name, stream) is copied to the
    workspace's own disk and becomes the option `source`; OSError where there is no room.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of import is called {kind!r}: there are {', '.join(KINDS)}")
    name = workspace.dated_name()
    if not upload:
        return ImportJob.ask(name, {"kind": kind, "options": options})
    inside, stream = PurePath("upload", PurePath(upload[0]).name), upload[1]

    def copy_upload(folder: Path) -> None:
        (folder / inside).parent.mkdir()
        with open(folder / inside, "wb") as copy:
            shutil.copyfileobj(stream, copy)

    options["source"] = str(workspace.imports_dir() / name / inside)
    return ImportJob.ask(name, {"kind": kind, "options": options}, copy_upload)


# The worker


def work(job: ImportJob) -> None:
    """Imports in this process; status.json says how it ended."""

    def do() -> dict[str, Any]:
        job.tell(state="running", phase="looking at the source", done=0, total=0, seconds_left=None)
        try:
            return {"dataset": KINDS[job.request["kind"]](job, job.request["options"]).name}
        finally:
            shutil.rmtree(job.folder / "upload", ignore_errors=True)

    job.work(do)


def _import(job: ImportJob, options: dict[str, Any]) -> Dataset:
    from bloodcell_core.data.importing import import_dataset

    return import_dataset(
        Path(options.pop("source")),
        progress=job.phase("reading pictures"),
        trace_progress=job.phase("looking for each picture's photograph"),
        **options,
    )


def _download(job: ImportJob, options: dict[str, Any]) -> Dataset:
    from bloodcell_core.data.download import download
    from bloodcell_core.data.importing import free_name

    wanted = options.pop("download")
    name = free_name(options.pop("name", None) or wanted)  # before gigabytes are downloaded in vain
    job.tell(phase=f"downloading {wanted}: this can take long", done=0, total=0, seconds_left=None)
    with job.stoppable():
        source = download(wanted)
    return _import(job, options | {"source": str(source), "name": name})


def _draw(job: ImportJob, options: dict[str, Any]) -> Dataset:
    from bloodcell_core.data.importing import make_demo

    return make_demo(progress=job.phase("drawing pictures"), **options)


KINDS: dict[str, Callable[[ImportJob, dict[str, Any]], Dataset]] = {
    "import": _import,
    "download": _download,
    "demo": _draw,
}
"""The kinds of import, and their options: "import" takes those of `importing.import_dataset` with `source` as text,
"download" has `download`, a key of DOWNLOADS, instead of `source`, and "demo" takes those of `importing.make_demo`."""


if __name__ == "__main__":
    work(ImportJob(sys.argv[1]))
