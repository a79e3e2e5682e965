"""What a person hands in, file by file: pictures, folders and zips."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bloodcell_core.data.pictures import MAX_FILE_BYTES, UnreadablePicture
from bloodcell_core.data.sources import Source, open_source
from bloodcell_core.errors import LabError

Handed = tuple[str, Callable[[], bytes]]
"""A picture's path, as it is told in its answer, and what reads its bytes; that raises LabError or OSError."""

UNREADABLE = (OSError, LabError, MemoryError)
"""What a picture that was handed in can raise as it is read and looked at: it is refused, and the others go on."""


def why_unreadable(error: BaseException) -> str:
    """Why a picture is refused that raised one of UNREADABLE."""
    if isinstance(error, OSError):
        return f"can't be read: {error.strerror or error}"
    return str(error) or type(error).__name__


def files_of(paths: Iterable[Path]) -> Iterator[Handed]:
    """Every file of the given files, folders and zips, as `Predictor.classify` takes them.

    A file inside a zip is told as `archive.zip/folder/file`. A zip that can't be read, or that is refused as a whole,
    is one file that can't be read, and so is a folder. Raises LabError where a path is missing.
    """
    for path in paths:
        if path.is_dir():
            for place, closed in sorted(_walk(path).items()):
                if closed:
                    yield told(place), _refusal(f"this folder can't be read: {closed}")
                else:
                    yield from _of_file(place)
        elif path.is_file():
            yield from _of_file(path)
        elif path.exists():  # a pipe would keep us waiting, a device never end
            yield str(path), _refusal("no file: a pipe, a device or the like")
        else:
            raise LabError(f"{path} doesn't exist")


def _walk(top: Path) -> dict[Path, str]:
    """Every file of a folder, links to folders not followed; and each folder that can't be looked into, with the
    reason: what lies there must not be missed without a word."""
    closed: dict[Path, str] = {}

    def keep(error: OSError) -> None:
        closed[Path(error.filename)] = error.strerror or str(error)

    files = [Path(folder, name) for folder, _, names in os.walk(top, onerror=keep) for name in names]
    return {file: "" for file in files if file.is_file()} | closed


def _of_file(file: Path) -> Iterator[Handed]:
    if file.suffix.lower() != ".zip":
        yield told(file), _reader(file)
        return
    try:
        source = open_source(file)
    except LabError as error:
        yield told(file), _refusal(str(error))
        return
    except OSError as error:
        yield told(file), _refusal(f"can't be read: {error.strerror or error}")
        return
    # Not closed here: its files are read later. It goes with the last function that reads from it.
    for inside in source.files:
        yield told(f"{file}/{inside}"), _member(source, inside)


def told(path: object) -> str:
    """A path fit to be written as text, whatever bytes its name on disk is of."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _reader(file: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise UnreadablePicture(f"larger than {MAX_FILE_BYTES // 2**20} MiB")
        return file.read_bytes()

    return read


def _member(source: Source, inside: str) -> Callable[[], bytes]:
    return lambda: source.read(inside)


def _refusal(reason: str) -> Callable[[], bytes]:
    def read() -> bytes:
        raise UnreadablePicture(reason)

    return read
