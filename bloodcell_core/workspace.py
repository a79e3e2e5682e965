"""Where things lie on disk: the only module that builds a path below the workspace.

    datasets/<name>/dataset.json, images.parquet, originals/, views/
    runs/<run>/config.json, status.json, metrics.jsonl, worker.log, model.safetensors, checkpoint.pt,
               predictions.parquet, summary.json
    groups/<group>.json
    likeness/<run>.safetensors   of runs without one of their own: adapted ones, and those of another version
    notes/runs/<run>.json, notes/datasets/<name>.json   titles and tags that people gave
    imports/<import>/request.json, status.json, worker.log, and what was uploaded
    adaptations/<adaptation>/request.json, status.json, worker.log
    searches/<study>/status.json, worker.log
    slides/<slide>/slide.json, found.jsonl, pictures/, answers/<run and options>.jsonl
    downloads/<name>/
    locks/
    lab.sqlite

Files that others read while they are written go through `write_atomic`: a temporary name in the same folder,
flushed, then renamed, so that a reader never sees half a file.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bloodcell_core.errors import LabError

SCHEMA_VERSION = 1  # of a run's config.json
DATASET_VERSION = 2  # of dataset.json and images.parquet; 2 has the facts of each picture
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
AFTER_THE_TIME = re.compile(r"\d{8}-\d{6}-")  # begins a `dated_name`
FOLDERS = (
    "datasets", "runs", "groups", "likeness", "notes", "notes/runs", "notes/datasets", "imports", "adaptations",
    "searches", "slides", "downloads", "locks",
)  # fmt: skip
LEAST_ROOM = 2**20  # free bytes below which a disk counts as full: SQLite alone needs some
MOST_JSON = 2**28  # bytes of a file: many times what the largest that is written here has
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of writing that name no file
RENAMES = 100 if os.name == "nt" else 1  # tries: Windows replaces no file that somebody reads at that moment
LONGEST_MIDDLE = 42  # letters of a `dated_name` between its time and its end: all of it may have 64


def home() -> Path:
    """`$BLOODCELL_HOME`, or `workspace/` beside the app. Not created until something is written."""
    chosen = os.environ.get("BLOODCELL_HOME")
    return (
        Path(os.path.realpath(Path(chosen).expanduser()))  # `resolve` raises for links in a ring
        if chosen
        else Path(__file__).resolve().parent.parent / "workspace"
    )


def check_name(name: str, what: str) -> str:
    """`name` where it is safe as a folder's name, else LabError."""
    if not NAME_PATTERN.fullmatch(name):
        raise LabError(
            f"{name[:80]!r} can't name {'an' if what[0] in 'aeiou' else 'a'} {what}: "
            "use up to 64 lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit"
        )
    return name


def find_name(reference: str, names: Iterable[str], kinds: tuple[str, str], listing: str) -> str:
    """The one of `names` that is `reference`, or else the only one that begins with it.

    LabError where none or several do. `kinds` are the words for one and for several of what has these names; `listing`
    says how to see which there are.
    """
    matches = [name for name in names if name.startswith(reference)] if reference else []
    if reference in matches or len(matches) == 1:
        return reference if reference in matches else matches[0]
    if not matches:
        raise LabError(f"there is no {kinds[0]} {reference!r}: {listing}")
    several = f"{reference!r} begins the names of {len(matches)} {kinds[1]}"
    raise LabError(f"{several}: give more of it ({', '.join(matches[:3])} …)")


def slug(text: str) -> str:
    """A safe name close to any text: 'Blood Cells (1).zip' → 'blood-cells-1-.zip', without odd ends."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-._")[:64] or "dataset"


def dated_name(what: str = "") -> str:
    """A new name with the time and what it is of, '20260131-235959-cell_net-1f3a': such names sort by age."""
    middle = f"{slug(what)[:LONGEST_MIDDLE]}-" if what else ""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{middle}{secrets.token_hex(2)}"


def short_name(name: str) -> str:
    """A short name that tells a run from others: the end of a `dated_name`, or the whole name that a person gave."""
    return name[-4:] if AFTER_THE_TIME.match(name) else name


def datasets_dir() -> Path:
    """A folder for each dataset."""
    return home() / "datasets"


def dataset_dir(name: str) -> Path:
    """A dataset's folder; LabError where the name can't be one."""
    return datasets_dir() / check_name(name, "dataset")


def view_file(dataset: str, view: str) -> Path:
    """The pixels of a view; its name `view` (`data.views.view_name`) tells all that they depend on."""
    return dataset_dir(dataset) / "views" / f"{view}.npy"


def downloads_dir() -> Path:
    """A folder for each data set that was fetched by name."""
    return home() / "downloads"


def runs_dir() -> Path:
    """A folder for each run that was made here."""
    return home() / "runs"


def run_dir(run: str) -> Path:
    """A run's folder; LabError where the name can't be one."""
    return runs_dir() / check_name(run, "run")


def group_file(group: str) -> Path:
    """The figures of a finished cross-validation."""
    return home() / "groups" / f"{check_name(group, 'group')}.json"


def likeness_file(run: str) -> Path:
    """What a run's training cells are like, where its own folder, never written to again, has no usable one."""
    return home() / "likeness" / f"{check_name(run, 'run')}.safetensors"


def notes_file(kind: str, name: str) -> Path:
    """The title and tags of a "run" or "dataset"."""
    return home() / "notes" / f"{kind}s" / f"{check_name(name, kind)}.json"


def imports_dir() -> Path:
    """A folder for each import that runs in a process of its own."""
    return home() / "imports"


def adaptations_dir() -> Path:
    """A folder for each adapting of a run that was asked for on a page."""
    return home() / "adaptations"


def search_dir(study: str) -> Path:
    """The status and log of a search's process; its trials lie in the database."""
    return home() / "searches" / check_name(study, "study")


def slides_dir() -> Path:
    """A folder for each slide."""
    return home() / "slides"


def slide_dir(slide: str) -> Path:
    """The pictures of a slide that were handed in to be classified, and what was said of them."""
    return slides_dir() / check_name(slide, "slide")


def database_url() -> str:
    """The database as SQLAlchemy names it: `$BLOODCELL_DB_URL`, or lab.sqlite in the workspace.

    A file of SQLite by its whole path: the processes that are started work in another folder. LabError where the
    workspace's path can't be part of a URL: it would be another file, and nothing would be found in it again.
    """
    chosen = os.environ.get("BLOODCELL_DB_URL") or f"sqlite:///{home() / 'lab.sqlite'}"
    if "?" in str(home()) and not database_is_shared():
        raise LabError(f"a database can't lie in {home()}, for the ? in its name: rename that folder")
    kind, slashes, place = chosen.partition(":///")
    is_file = kind.partition("+")[0] == "sqlite" and place and not place.startswith((":", "file:"))
    return f"{kind}{slashes}{os.path.abspath(place)}" if is_file else chosen


def database_is_shared() -> bool:
    """Whether other workspaces may use the database, too."""
    return bool(os.environ.get("BLOODCELL_DB_URL"))


def database_exists() -> bool:
    """Whether there may be a database; connecting to find out would make an empty one."""
    return database_is_shared() or may_be_there(home() / "lab.sqlite")


def may_be_there(path: Path) -> bool:
    """Whether a file or folder exists; True too where that can't be told, so that whoever opens it learns why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # its folder is closed to us, or links lead in a ring
        return True
    return True


def entries(folder: Path) -> list[str]:
    """The names in a folder of the workspace; none where there is no such folder, or it can't be read, which `troubles`
    reports."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def names_in(folder: Path, files: tuple[str, ...]) -> list[str]:
    """The names of the folders in a folder of the workspace that hold any of these files, sorted.

    Any, so that one that lost its most important file is reported and not skipped. What is still being made isn't among
    them: its name matches no NAME_PATTERN.
    """
    named = filter(NAME_PATTERN.fullmatch, entries(folder))
    return sorted(name for name in named if any(may_be_there(folder / name / file) for file in files))


def troubles() -> list[str]:
    """What is wrong with the workspace as a whole, a line each: folders that can't be read, whose contents no list
    shows, and that nothing can be written."""
    folders = [home(), *(home() / name for name in FOLDERS)]
    closed = {folder: why for folder in folders if (why := _closed_because(folder))}
    if home() in closed:  # so is all that it holds
        closed = {home(): closed[home()]}
    found = [
        f"{folder} can't be looked into ({why}), and what lies there isn't shown: open it to the account that "
        "the lab runs under, or put the folder back in its place"
        for folder, why in closed.items()
    ]
    if home() in closed or not home().is_dir():
        return found
    kept = "what is there is shown, and nothing new can be kept"
    if not os.access(home(), os.W_OK):
        return [*found, f"{home()} can't be written to: {kept}"]
    there = [folder for folder in folders if folder not in closed and os.access(folder, os.F_OK)]
    found += [f"{folder} can't be written to: {kept} there" for folder in there if not os.access(folder, os.W_OK)]
    with suppress(OSError):  # deleted, or its disk gone, since we looked
        if shutil.disk_usage(home()).free < LEAST_ROOM:
            found.append(f"The disk of {home()} is full: {kept}")
    return found


def _closed_because(folder: Path) -> str:
    """Why a folder can't be read; "" where it can, or isn't made yet."""
    try:
        os.scandir(folder).close()
        return "" if os.access(folder, os.X_OK) else "Permission denied"
    except OSError as error:
        not_made = isinstance(error, FileNotFoundError) and not folder.is_symlink()
        return "" if not_made else error.strerror or str(error)


def lock_file(name: str) -> Path:
    """A lock file's path; its folder is made."""
    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.lock"


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


@contextmanager
def write_atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path in `path`'s folder; on a clean exit it is flushed to disk and renamed to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise _refused(path, error) from error
    try:
        yield temporary
        with open(temporary, "r+b") as file:  # Windows flushes only what may be written to
            os.fsync(file.fileno())
        _put_in_place(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and (str(error.filename) == str(temporary) or error.errno in FULL):
            raise _refused(path, error) from error
        raise


def _beside(path: Path) -> Path:
    """A new hidden name in `path`'s folder. Not by `tempfile`, whose files and folders are their maker's alone: here
    the umask of who runs the lab says who else may read or write, as for any other file."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def _put_in_place(temporary: Path, path: Path) -> None:
    for _ in range(RENAMES - 1):
        try:
            return os.replace(temporary, path)
        except PermissionError:
            time.sleep(0.02)
    os.replace(temporary, path)


def check_writable(path: Path) -> None:
    """OSError or LabError where no such file can be written: to be asked before the work whose result it is to hold."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():  # the renaming would put a file in the place of /dev/null
        raise LabError(f"{path} is a pipe or a device: name a file")
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> OSError:
    """The same error, for the file that a person named instead of the temporary one beside it."""
    return OSError(error.errno, os.strerror(error.errno or 0), str(path))


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON, by `write_atomic`; ValueError for NaN and infinity, which JSON hasn't."""
    with write_atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The file's value; LabError that names the file where it is missing or damaged."""
    try:
        told = path.stat()
        if not (stat.S_ISREG(told.st_mode) or stat.S_ISDIR(told.st_mode)):  # a pipe would be waited for, for ever
            raise LabError(f"{path} can't be read: it is no file")
        if told.st_size > MOST_JSON:
            raise LabError(f"{path} can't be read: it has {told.st_size >> 20:,} MB, more than any file of its kind")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"{path} is missing") from None
    except OSError as error:
        raise LabError(f"{path} can't be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise LabError(f"{path} can't be read: {error}") from None


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A folder that appears whole or not at all: yields a hidden sibling, renamed to `final` on a clean exit.

    What a killed writer left behind is removed by the next writer beside it (`sweep_unfinished`).
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    sweep_unfinished(final.parent)
    temporary = _beside(final)
    temporary.mkdir()
    try:
        yield temporary
        try:
            os.rename(temporary, final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise LabError(f"{final.name} exists already: choose another name or remove it first") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def discard(folder: Path) -> None:
    """Deletes a folder: it is renamed first, so that every reader loses it at once, and then removed file by file.

    It may have been deleted by somebody else already. What is left of it, where this process is killed or somebody was
    still writing there, goes with the next `sweep_unfinished`.
    """
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        with suppress(FileNotFoundError):
            os.rename(folder, aside / folder.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sweep_unfinished(parent: Path) -> None:
    """Removes folders that a killed `new_folder` or `discard` left behind: those untouched for a day."""
    for folder in parent.glob(".*.*"):
        with suppress(FileNotFoundError):  # another writer's, which has its name by now
            if folder.is_dir() and time.time() - folder.stat().st_mtime > 24 * 3600:
                shutil.rmtree(folder, ignore_errors=True)
