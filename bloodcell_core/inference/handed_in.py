"""The pictures in uploaded or given files, folders and zips."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from bloodcell_core.data.pictures import UnreadablePicture
from bloodcell_core.data.sources import as_text, left_by_a_system, open_source, read_file
from bloodcell_core.errors import LabError

Handed = tuple[str, Callable[[], bytes]]
"""A picture's path, as in its answer, and a function that reads its bytes and may raise LabError or OSError."""

FIRST_PAGE = "the first of several pictures in the file: save the others as files of their own"
UNREADABLE = (OSError, LabError, MemoryError)
"""What a picture can raise while it is read and searched: it is refused, and the others go on."""


def why_unreadable(error: BaseException) -> str:
    """Why a picture that raised one of UNREADABLE is refused, in words."""
    if isinstance(error, OSError):
        return as_text(f"can't be read: {error.strerror or error}")
    return as_text(error) or type(error).__name__  # it may name a file whose name is no text


def files_of(paths: Iterable[Path]) -> Iterator[Handed]:
    """Every file of the given files, folders and zips, as `Predictor.classify` takes them.

    Files of the operating system, such as .DS_Store, are left out. A file inside a zip has the path
    `archive.zip/folder/file`. A folder or zip that can't be read, or a zip that is refused as a whole, is given as one
    unreadable file. Raises LabError where a path doesn't exist.
    """
    for path in paths:
        if os.path.isdir(path):  # not path.is_dir(): that raises PermissionError in a folder that is closed to us
            for place, closed in sorted(_walk(path).items()):
                if closed:
                    yield as_text(place), _refusal(f"this folder can't be read: {closed}")
                else:
                    yield from _of_file(place)
        elif _may_be_file(path):
            yield from _of_file(path)
        elif path.exists():  # a pipe may block for ever, a device may have no end
            yield str(path), _refusal("no file: a pipe, a device or the like")
        else:
            raise LabError(f"{path} doesn't exist")


def _walk(top: Path) -> dict[Path, str]:
    """Every file of a folder, with "", and each folder that can't be read, with the reason: its files must not be left
    out silently. Links to folders are not followed."""
    closed: dict[Path, str] = {}

    def keep(error: OSError) -> None:
        closed[Path(error.filename)] = error.strerror or str(error)

    files: list[Path] = []
    for folder, subfolders, names in os.walk(top, onerror=keep):
        subfolders[:] = [name for name in subfolders if not left_by_a_system(name)]
        files += [Path(folder, name) for name in names if not left_by_a_system(name)]
    return {file: "" for file in files if _may_be_file(file)} | closed


def _may_be_file(path: Path) -> bool:
    """Whether it is a file; True too where that can't be told, as in a folder whose names alone may be read."""
    try:
        return path.is_file()
    except OSError:
        return True


def _of_file(file: Path) -> Iterator[Handed]:
    if file.suffix.lower() != ".zip":
        yield as_text(file), partial(read_file, file)
        return
    try:
        source = open_source(file)
    except (LabError, OSError) as error:
        yield as_text(file), _refusal(why_unreadable(error))
        return
    # Not closed here, since its files are read later: it is closed with the last function that reads from it.
    for inside in source.files:
        yield as_text(f"{file}/{inside}"), partial(source.read, inside)


def _refusal(reason: str) -> Callable[[], bytes]:
    def read() -> bytes:
        raise UnreadablePicture(reason)

    return read
