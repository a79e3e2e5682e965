"""Files and folders that appear whole or not at all, and files that are read with care.

What others read while it is written goes through `write_atomic`: a temporary name in the same folder, flushed, then
renamed, so that a reader never sees half a file.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bloodcell_core.errors import LabError

MOST_JSON = 2**28  # bytes of a file: many times what the largest that is written here has
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of writing that name no file
RENAMES = 100 if os.name == "nt" else 1  # tries: Windows replaces no file that somebody reads at that moment


@contextmanager
def write_atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path in `path`'s folder; on a clean exit it is flushed to disk and renamed to `path`.

    A link is followed: its target is replaced and the link stays.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target)
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise _refused(path, error) from error
    try:
        yield temporary
        with open(temporary, "r+b") as file:  # Windows flushes only what may be written to
            os.fsync(file.fileno())
        _put_in_place(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and (str(error.filename) == str(temporary) or error.errno in FULL):
            raise _refused(path, error) from error
        raise


def _beside(path: Path) -> Path:
    """A new hidden name in `path`'s folder.

    Not tempfile: that makes files private to their owner; ours follow the umask.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def _put_in_place(temporary: Path, path: Path) -> None:
    for _ in range(RENAMES - 1):
        try:
            return os.replace(temporary, path)
        except PermissionError:
            time.sleep(0.02)
    os.replace(temporary, path)


def check_writable(path: Path) -> None:
    """OSError or LabError where no such file can be written.

    Call this before the work whose result is written there.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():  # the renaming would put a file in the place of /dev/null
        raise LabError(f"{path} is a pipe or a device: name a file")
    folder = next(folder for folder in Path(os.path.realpath(path)).parents if folder.exists())
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


def expanded(path: str | Path) -> Path:
    """A path that a person gave, with their home folder for `~`, and that of NAME for `~NAME`; LabError without one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise LabError(f"{path}: there is no home folder of that name here: write the path in full") from None


def may_be_there(path: Path) -> bool:
    """Whether a file or folder exists; True too where that can't be told, so that whoever opens it learns why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # its folder is closed to us, or links lead in a ring
        return True
    return True
