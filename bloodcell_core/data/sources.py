"""A folder or a zip, read the same way: a list of file paths, and the bytes of each. Nothing is unpacked to disk.

What comes from outside is bounded here: number of files, bytes a file, bytes in all, compression ratio; paths
that leave the source (`../`, absolute, drive letters) refuse the whole zip, links in a folder are not followed.
"""

from __future__ import annotations

import lzma
import os
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Protocol

from bloodcell_core.data.pictures import MAX_FILE_BYTES
from bloodcell_core.errors import LabError

MAX_FILES = 500_000
MAX_TOTAL_BYTES = 64 * 2**30
MAX_RATIO, RATIO_FROM_BYTES = (
    200,
    64 * 2**20,
)  # a picture hardly shrinks in a zip; a bomb shrinks a thousandfold
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,  # a name that is no UTF-8, a member that would begin before the file
)


class Source(Protocol):
    name: str
    files: list[str]
    """Paths with `/` between the parts, relative to the source's top, sorted."""

    def read(self, file: str) -> bytes: ...

    def close(self) -> None: ...


def open_source(path: Path) -> Source:
    """The zip or folder at `path`; LabError that says why where it can't be used."""
    if os.path.isdir(path):  # not path.is_dir(): that raises OSError where the name is too long for the system
        return FolderSource(path)
    if not os.path.exists(path):
        raise LabError(f"{path} doesn't exist: give a folder or a .zip file")
    return ZipSource(path)


class FolderSource:
    def __init__(self, path: Path):
        self.name = path.resolve().name
        self._top = path
        self.files = sorted(self._walk())

    def _walk(self) -> list[str]:
        files: list[str] = []
        for folder, subfolders, names in os.walk(self._top):  # links to folders are not followed
            subfolders[:] = [name for name in subfolders if not _hidden(name)]
            for name in names:
                full = Path(folder, name)
                if not _hidden(name) and full.is_file() and not full.is_symlink():
                    files.append(full.relative_to(self._top).as_posix())
            if len(files) > MAX_FILES:
                raise LabError(f"{self._top} holds more than {MAX_FILES:,} files: import a part of it")
        return files

    def read(self, file: str) -> bytes:
        full = self._top / file
        try:
            if full.stat().st_size <= MAX_FILE_BYTES:
                return full.read_bytes()
        except OSError as error:  # taken away since the folder was listed, or not ours to read
            raise LabError(f"can't be read: {error.strerror}") from None
        raise LabError(f"larger than {MAX_FILE_BYTES // 2**20} MiB")

    def close(self) -> None:
        """Nothing is held open."""


class ZipSource:
    def __init__(self, path: Path):
        self.name = path.stem
        try:
            self._zip = zipfile.ZipFile(path)
        except DAMAGED as error:
            raise LabError(f"{path.name} is not a zip file that can be read: {error}") from None
        try:
            self._members = _checked_members(self._zip, path.name)
        except LabError:
            self._zip.close()
            raise
        self.files = sorted(self._members)

    def read(self, file: str) -> bytes:
        info = self._members[file]
        try:
            with self._zip.open(info) as stream:
                data = stream.read(info.file_size + 1)  # what is really there, never more than declared
        except DAMAGED as error:
            raise LabError(f"damaged inside the zip: {error}") from None
        if len(data) != info.file_size:
            raise LabError("the zip declares another size than it holds")
        return data

    def close(self) -> None:
        self._zip.close()


def _checked_members(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    infos = [info for info in archive.infolist() if info.filename and not info.is_dir()]
    if not infos:
        raise LabError(f"{name} is an empty zip: there is nothing to import")
    if len(infos) > MAX_FILES:
        raise LabError(f"{name} lists {len(infos):,} files; at most {MAX_FILES:,} are taken")
    if sum(info.file_size for info in infos) > MAX_TOTAL_BYTES:
        raise LabError(f"{name} would unpack to more than {MAX_TOTAL_BYTES // 2**30} GiB")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
            raise LabError(
                f"{name} holds a path that leaves the archive ({info.filename[:60]!r}): it is refused"
            )
        if any(_hidden(part) for part in path.parts) or stat.S_ISLNK(info.external_attr >> 16):
            continue
        bomb = info.file_size > RATIO_FROM_BYTES and info.file_size > MAX_RATIO * info.compress_size
        if bomb or info.file_size > MAX_FILE_BYTES:
            raise LabError(
                f"{name} holds a file that unpacks to far more than it should ({info.filename[:60]!r})"
            )
        members[path.as_posix()] = info
    return members


def _hidden(part: str) -> bool:
    """Files that systems leave behind, not a person's: .DS_Store, __MACOSX, Thumbs.db."""
    return part.startswith(".") or part in ("__MACOSX", "Thumbs.db", "desktop.ini")
