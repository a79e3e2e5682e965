"""Background jobs: started by a page or the command line in a process of their own, and watched through their folder.

    <job>/status.json    its progress: `state`, `reason`, `updated`, and what the kind of job adds
         /worker.lock    held by its worker for its whole life
         /worker.log     what the worker wrote
         /stop           there once a person has asked it to end

The status of a search or an adaptation also names the dataset that it works on, as `data`.

A job that says it is at work while its lock is free was interrupted: no process number is trusted.
"""

from __future__ import annotations

import _thread
import math
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from filelock import FileLock, Timeout

from bloodcell_core import disk, workspace
from bloodcell_core.errors import LabError, brief, in_words
from bloodcell_core.kinds import NUMBER, Kinds, wrong
from bloodcell_core.progress import Progress, TimeLeft

ENDED = ("done", "stopped", "interrupted", "failed")
START_GRACE = 20.0  # seconds that a worker may take to start before its missing lock means that it died
BEAT = 0.25  # seconds between two writes of how far a job is
NOTHING_KEPT = "stopped on request: nothing of it was kept"
TOLD: Kinds = {"reason": str, "phase": str, "done": int, "total": int, "seconds_left": NUMBER | None, "epoch": int,
               "data": str | None}
"""What a status.json may hold besides `state` and `updated`."""
_workers: dict[Path, subprocess.Popen[bytes]] = {}
"""Workers that this process started, by the folder that they work in, kept to be reaped."""


def start_worker(folder: Path, module: str, argument: str) -> None:
    """Starts `python -m MODULE ARGUMENT`, which outlives this process; its output goes to worker.log in `folder`."""
    for other, process in list(_workers.items()):
        if process.poll() is not None:
            _workers.pop(other, None)  # another thread may have found it ended, too
    shared = {"BLOODCELL_DB_URL": workspace.database_url()} if workspace.database_is_shared() else {}
    with open(folder / "worker.log", "ab") as log:
        _workers[folder] = subprocess.Popen(
            [sys.executable, "-m", module, argument],
            cwd=Path(__file__).resolve().parents[1],
            # Threads that wait for work sleep instead of spinning: the pages need the same cores.
            env={"OMP_WAIT_POLICY": "PASSIVE"}
            | os.environ
            | shared
            | {"BLOODCELL_HOME": str(workspace.home()), "PYTHONIOENCODING": "utf-8"},  # as its log is read
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # Windows ends with a console all that has it
        )


def run_worker(work: Callable[[], str]) -> int:
    """The main function of a worker process: calls `work`, which returns the state it ended in; gives the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the server's terminal is not meant for it
    try:
        state = work()
    except LabError as error:
        print(error, flush=True)
        return 2
    return 0 if state in ("done", "stopped") else 1


def starting() -> dict[str, Any]:
    """The status of a job whose worker is about to start."""
    return {"state": "starting", "reason": "", "updated": time.time()}


def write_status(folder: Path, **changes: Any) -> None:
    """Merges `changes` into a job's or a run's status.json. Only its worker does so, and whoever starts or queues it.

    LabError where the file is damaged, or the folder gone: it isn't made anew.
    """
    if not folder.is_dir():
        raise LabError(f"{folder} is gone: somebody deleted it")
    file = folder / "status.json"
    before = disk.read_json(file) if disk.may_be_there(file) else {}
    if not isinstance(before, dict):
        raise LabError(f"{file} is damaged")
    disk.write_json(file, before | changes | {"updated": time.time()})


def status_now(read: Callable[[], dict[str, Any]], first: str, lock: FileLock, remedy: str) -> dict[str, Any]:
    """The status that `read` gives, with its `state` corrected where the worker, which holds `lock`, is gone.

    `first` is the state before the worker has started, and `remedy` what to do once it was interrupted.
    """
    status = read()
    # On a busy machine a worker may need longer to load what it needs; only then it takes its lock.
    child = _workers.get(Path(lock.lock_file).parent)
    fresh = abs(time.time() - status["updated"]) < START_GRACE  # a clock that was set back tells of the future
    begins = status["state"] == first and (fresh or (child is not None and child.poll() is None))
    if status["state"] not in ENDED and not begins and not is_held(lock):
        # It may have ended between the two looks: only what is read after the lock was seen free counts.
        status = read()
        if status["state"] not in ENDED:
            status |= {"state": "interrupted", "reason": f"its worker ended without a word: {remedy}"}
    return status


_one_look = threading.Lock()


def is_held(lock: FileLock) -> bool:
    """Whether a worker holds the lock. Many pages ask this of each run at work at once: no call waits for another."""
    try:
        return _is_taken(lock.lock_file)
    except (ImportError, OSError):  # Windows, or a file system that shares no locks
        pass
    # There asking takes the lock for a moment: `_one_look` keeps another thread's asking from passing for a worker.
    try:
        with _one_look, lock.acquire(timeout=0.02, poll_interval=0.002):
            return False
    except Timeout:
        return True


def _is_taken(file: str) -> bool:
    """Whether a process holds a lock file exclusively. Askers share it, and need no right to write."""
    import fcntl  # Windows has none

    try:
        handle = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(handle)


class StopRequested(Exception):
    """A person asked the job to end."""


def end_of(do: Callable[[], dict[str, Any]], folder: Path, stopped: str = "stopped on request") -> dict[str, Any]:
    """Does the work of a job or run in `folder`; returns how it ended, for its status.json: state and reason.

    `do` returns what a successful end adds; `stopped` is the reason where StopRequested gives none. The traceback of a
    failure of the program itself goes to worker.log.
    """
    try:
        return {"state": "done", "reason": ""} | do()
    except StopRequested as stop:
        return {"state": "stopped", "reason": str(stop) or stopped}
    except (LabError, OSError) as error:
        return {"state": "failed", "reason": in_words(error)}
    except Exception as error:
        with open(folder / "worker.log", "a", encoding="utf-8") as log:
            traceback.print_exc(file=log)
        return {"state": "failed", "reason": f"{type(error).__name__}: {brief(error, 200)}"}


class Job:
    """The job in `folder`, whichever process works at it. `remedy` is what to do once it was interrupted."""

    def __init__(self, folder: Path, remedy: str):
        self.folder, self._remedy = folder, remedy
        self.stop_file = folder / "stop"

    @property
    def lock(self) -> FileLock:
        """Held by the job's process for its whole life."""
        return FileLock(self.folder / "worker.lock")

    def status(self) -> dict[str, Any]:
        """status.json, with `state` (starting, running or one of ENDED) corrected where the worker is gone."""
        return status_now(self._recorded, "starting", self.lock, self._remedy)

    def _recorded(self) -> dict[str, Any]:
        status: dict[str, Any] = disk.read_json(self.folder / "status.json")
        told = wrong(status, {"state": str, "updated": NUMBER}, TOLD)
        if told or status["state"] not in ("starting", "running", *ENDED):
            raise LabError(f"{self.folder / 'status.json'} is damaged")
        return status

    def tell(self, **changes: Any) -> None:
        """Merges `changes` into status.json (`write_status`)."""
        write_status(self.folder, **changes)

    def request_stop(self) -> None:
        """Asks the worker to stop as soon as it can; does nothing where the job was dismissed meanwhile."""
        with suppress(FileNotFoundError):
            self.stop_file.touch()

    def stop_requested(self) -> bool:
        """Whether somebody has asked it to stop."""
        return self.stop_file.exists()

    def phase(self, words: str) -> Progress:
        """The progress callback of a phase of the job: it reports to status.json, and ends the job where that is asked.

        It does so by raising StopRequested, which `work` catches.
        """
        left = TimeLeft()
        last = -math.inf

        def progress(done: int, total: int) -> None:
            nonlocal last
            if self.stop_requested():
                raise StopRequested(NOTHING_KEPT)
            now, seconds = time.monotonic(), left(done, total)
            if now - last > BEAT or done == total:
                last = now
                seconds_left = None if seconds is None else round(seconds)
                self.tell(phase=words, done=done, total=total, seconds_left=seconds_left)

        return progress

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Ends what is done within as soon as that is asked: for work of a library that reports no progress.

        By KeyboardInterrupt, so that the library cleans up after itself; it leaves as StopRequested. To be used in the
        main thread of the job's own process.
        """
        over = threading.Event()

        def watch() -> None:
            while not over.wait(BEAT):
                if self.stop_requested():
                    _thread.interrupt_main()
                    return

        signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts with `&` ignores it
        watcher = threading.Thread(target=watch, daemon=True)
        try:
            watcher.start()
            try:
                yield
            finally:
                over.set()
                watcher.join()
        except KeyboardInterrupt:
            raise StopRequested(NOTHING_KEPT) from None

    def dismiss(self) -> None:
        """Deletes an ended job's folder; what it made stays. Somebody else may have done so already."""
        if self.folder.exists() and self.status()["state"] in ENDED:
            disk.discard(self.folder)

    def start(self, module: str) -> None:
        """Starts `python -m MODULE NAME`, which is to call `work` and outlives this process."""
        self.stop_file.unlink(missing_ok=True)
        self.tell(**starting())
        start_worker(self.folder, module, self.folder.name)

    def work(self, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Does the job in this process and returns its last status; `do` returns what a successful end adds to it.

        LabError where another process is doing it.
        """
        try:
            lock = self.lock.acquire(timeout=START_GRACE)
        except Timeout:
            raise LabError(f"{self.folder.name!r} is at work in another process") from None
        with lock:
            self.tell(**end_of(do, self.folder))
            return self._recorded()


def at_work_on(data: str) -> str:
    """The search or adaptation that hasn't ended and works on a dataset: "search 'tuned'"; "" where none does."""
    for what, place in (("search", workspace.searches_dir()), ("adaptation", workspace.adaptations_dir())):
        for name in filter(workspace.NAME_PATTERN.fullmatch, workspace.entries(place)):
            with suppress(LabError):  # damaged, or dismissed meanwhile
                status = Job(place / name, "").status()
                if status.get("data") == data and status["state"] not in ENDED:
                    return f"{what} {name!r}"
    return ""


class RequestedJob(Job):
    """A job that a page requests: each kind is a subclass, each job a folder `name` in the folder of its kind.

        <utc>-<id>/request.json    what is asked for

    LabError where there is none of that name or its files are damaged.
    """

    kind: ClassVar[str]
    """What a job of this kind is called: "import"."""
    remedy: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    """What a request holds at least."""
    makes: ClassVar[str]
    """The key of the status under which a finished job names what it made."""
    place: ClassVar[Callable[[], Path]]
    """Returns the folder in which all jobs of this kind lie."""

    def __init__(self, name: str):
        self.name = name
        super().__init__(type(self).place() / workspace.check_name(name, self.kind), self.remedy)
        file = self.folder / "request.json"
        self.request: dict[str, Any] = disk.read_json(file)
        if not (isinstance(self.request, dict) and set(self.keys) <= self.request.keys()):
            raise LabError(f"{file} is damaged")

    def _recorded(self) -> dict[str, Any]:
        status = super()._recorded()
        if status["state"] == "done" and not isinstance(status.get(self.makes), str):
            raise LabError(f"{self.folder / 'status.json'} is damaged: it doesn't tell what was made")
        return status

    @classmethod
    def ask(cls, name: str, request: dict[str, Any], lay: Callable[[Path], None] = lambda folder: None) -> Self:
        """Starts a job called `name`, a new `dated_name`, in a process of its own: the module of its class is run.

        `lay` puts the files that it needs beside its request. OSError where there is no room.
        """
        final = cls.place() / name
        status = starting() | {"data": request.get("data")}
        with disk.new_folder(final) as folder:
            lay(folder)
            disk.write_json(folder / "request.json", request)
            disk.write_json(folder / "status.json", status)  # a page may look at once
        job = cls(name)
        job.start(cls.__module__)
        return job

    @classmethod
    def readable(cls) -> tuple[list[Self], list[str]]:
        """The jobs that were not dismissed yet, newest first, and a line for each that can't be read."""
        folder = cls.place()
        good: list[Self] = []
        damaged: list[str] = []
        for name in sorted(filter(workspace.NAME_PATTERN.fullmatch, workspace.entries(folder)), reverse=True):
            try:
                job = cls(name)
                job.status()
                good.append(job)
            except LabError as error:
                if disk.may_be_there(folder / name):  # not dismissed meanwhile
                    damaged.append(f"{error}: delete {folder / name}")
        return good, damaged
