"""A folder, a zip or a single file, read the same way: a list of file paths, and the bytes of each.

Nothing is unpacked to disk. Untrusted input is limited here: number of files, bytes per file and in all, compression
ratio. A source with paths that leave it (`../`, absolute, drive letters), links, or two files of one name is refused.
"""

from __future__ import annotations

import lzma
import os
import stat
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Protocol

from bloodcell_core import workspace
from bloodcell_core.data.pictures import MAX_FILE_BYTES
from bloodcell_core.errors import LabError

SINGLE_FILES = (".npz", ".h5", ".csv", ".tsv", ".parquet")
"""Suffixes of files that are a source by themselves; any other file must be a zip."""
MAX_FILES = 500_000
MAX_TOTAL_BYTES = 64 * 2**30
MAX_DIRECTORY_BYTES = 256 * 2**20  # of a zip's central directory
ENCRYPTED, SAYS_UTF8 = 0x1, 0x800  # bits of a zip member's flags
# A picture hardly shrinks in a zip; a zip bomb shrinks a thousandfold.
MAX_RATIO, RATIO_FROM_BYTES = 200, 64 * 2**20
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,  # a name that isn't UTF-8, a member that would begin before the file
)


class Source(Protocol):
    """What is to be imported."""

    name: str
    files: list[str]
    """Paths with `/` between the parts, relative to the source's top folder, sorted."""

    def read(self, file: str) -> bytes:
        """The bytes of a file; LabError where they can't be read."""
        ...

    def path(self, file: str) -> Path | None:
        """The file's path on this machine's disk; None inside a zip."""

    def close(self) -> None:
        """Closes what is open; nothing can be read afterwards."""
        ...


def open_source(path: Path) -> Source:
    """The folder, zip or single file at `path`; LabError where it can't be used."""
    check_source(path)
    if os.path.isdir(path):
        return FolderSource(path)
    return FileSource(path) if path.suffix.lower() in SINGLE_FILES else ZipSource(path)


def check_source(path: Path) -> None:
    """LabError where there is no folder, zip or single file at `path`; what is in it isn't looked at."""
    if os.path.isdir(path):  # not path.is_dir(): that raises OSError where the name is too long for the system
        return
    if not os.path.exists(path):
        raise LabError(f"{path} doesn't exist: give a folder, a .zip file, or a {', '.join(SINGLE_FILES)} file")
    if not os.path.isfile(path):  # a pipe may block for ever, a device may have no end
        raise LabError(f"{path} is no file: give a folder, a .zip file, or a {', '.join(SINGLE_FILES)} file")
    if path.suffix.lower() not in (".zip", *SINGLE_FILES) and not zipfile.is_zipfile(path):  # such as one picture
        raise LabError(f"{path.name} is no zip: give a folder, a .zip file, or a {', '.join(SINGLE_FILES)} file")


def name_for(path: Path) -> str:
    """What a dataset that is made of a source is called where no name is given."""
    return workspace.slug(path.resolve().name if os.path.isdir(path) else path.stem)


def read_file(path: Path) -> bytes:
    """The bytes of a file; LabError where it can't be read, or is larger than any picture may be."""
    try:
        if path.stat().st_size <= MAX_FILE_BYTES:
            return path.read_bytes()
    except OSError as error:  # deleted since the folder was listed, or no permission
        raise LabError(f"can't be read: {error.strerror}") from None
    raise LabError(f"larger than {MAX_FILE_BYTES // 2**20} MiB")


class FolderSource:
    """A folder. LabError where it holds a link, a folder that can't be read, or too many files."""

    def __init__(self, path: Path):
        self.name = path.resolve().name
        self._top = path
        self.files = sorted(self._walk())

    def _walk(self) -> list[str]:
        files: list[str] = []

        def refuse(error: OSError) -> None:
            where = _short(Path(error.filename).relative_to(self._top))
            raise LabError(f"{self.name}: the folder {where} can't be read: {error.strerror}")

        for folder, subfolders, names in os.walk(self._top, onerror=refuse):  # links to folders are not followed
            subfolders[:] = [name for name in subfolders if not left_by_a_system(name)]
            for name in [*names, *subfolders]:
                full = Path(folder, name)
                if not left_by_a_system(name) and full.is_symlink():
                    raise LabError(
                        f"{self.name} holds a link ({_short(full.relative_to(self._top))}): links are not followed, "
                        "put what it leads to in its place (cp -rL does) or remove it"
                    )
            files += [
                Path(folder, name).relative_to(self._top).as_posix()
                for name in names
                if not left_by_a_system(name) and Path(folder, name).is_file()
            ]
            if len(files) > MAX_FILES:
                raise LabError(f"{self._top} holds more than {MAX_FILES:,} files: import a part of it")
        return files

    def read(self, file: str) -> bytes:
        """The bytes of a file."""
        return read_file(self._top / file)

    def path(self, file: str) -> Path | None:
        """Its path."""
        return self._top / file

    def close(self) -> None:
        """Nothing is held open."""


class FileSource:
    """A single file, which may refer to others: a table to its pictures, a file of pictures to its labels."""

    def __init__(self, path: Path):
        self.name = path.stem
        self.folder = path.resolve().parent
        self.files = [path.resolve().name]

    def read(self, file: str) -> bytes:
        """The bytes of a file."""
        return read_file(self.folder / file)

    def path(self, file: str) -> Path | None:
        """The path of a file, also of one beside the source; an absolute path is returned as it is."""
        return self.folder / file

    def close(self) -> None:
        """Nothing is held open."""


class ZipSource:
    """A zip, checked before anything is read; nothing of it is written to disk."""

    def __init__(self, path: Path):
        self.name = path.stem
        self._zip = open_zip(path)
        try:
            self._members = _checked_members(self._zip, path.name)
        except LabError:
            self._zip.close()
            raise
        self.files = sorted(self._members)

    def read(self, file: str) -> bytes:
        """The bytes of a file; LabError where they are damaged, or not as many as the zip declares."""
        info = self._members[file]
        try:
            with self._zip.open(info) as stream:
                data = stream.read(info.file_size + 1)  # what is really there, never more than declared
        except DAMAGED as error:
            raise LabError(f"damaged inside the zip: {error}") from None
        if len(data) != info.file_size:
            raise LabError("the zip declares another size than it holds")
        return data

    def path(self, file: str) -> Path | None:
        """None: the file is inside the zip."""
        return None

    def close(self) -> None:
        """Closes the zip."""
        self._zip.close()


def open_zip(path: Path) -> zipfile.ZipFile:
    """The zip at `path`; LabError where it can't be read or lists too many files."""
    try:
        _check_directory(path)
        return zipfile.ZipFile(path)
    except DAMAGED as error:
        raise LabError(f"{path.name} is not a zip file that can be read: {error}") from None


def has_drive(path: str) -> bool:
    """Whether a path begins with a drive letter, as "C:/1.png" does; a colon elsewhere, as in a time, doesn't count."""
    return bool(PureWindowsPath(path).drive)


def is_bomb(info: zipfile.ZipInfo) -> bool:
    """Whether a file in a zip claims to unpack to so much more that it is refused."""
    return info.file_size > RATIO_FROM_BYTES and info.file_size > MAX_RATIO * info.compress_size


def _check_directory(path: Path) -> None:
    """Refuses a zip that lists too many files, whatever number it states: zipfile would need 2 KB of memory for each.

    Each entry of the central directory, at the zip's end, begins with the same four bytes: these are counted.
    """
    start, end = _directory_place(path)
    if end - start > MAX_DIRECTORY_BYTES:
        raise LabError(f"{path.name} has a list of files of {end - start:,} bytes: it is refused")
    count, overlap = 0, b""
    with open(path, "rb") as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(2**20, end - start))):
            count += (overlap + chunk).count(b"PK\1\2")
            overlap = chunk[-3:]
            start += len(chunk)
    if count > MAX_FILES:
        raise LabError(f"{path.name} lists {count:,} files; at most {MAX_FILES:,} are taken")


def _directory_place(path: Path) -> tuple[int, int]:
    """Where a zip's central directory begins and ends, by the records behind it; both the file's end without those."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        start_of_tail = max(0, size - 2**16 - 42)  # the longest comment, the record (22) and the 64-bit pointer (20)
        file.seek(start_of_tail)
        tail = file.read()
        found = tail.rfind(b"PK\5\6", 0, max(0, len(tail) - 18))
        if found < 0:
            return size, size
        end = start_of_tail + found
        starts = []
        if tail[max(0, found - 20) : found].startswith(b"PK\6\7"):  # a zip of more than 65,535 files or 4 GiB
            for place in (struct.unpack_from("<Q", tail, found - 12)[0], end - 76):  # as pointed to, and as usual
                file.seek(min(max(0, place), size))
                record = file.read(56)
                if record.startswith(b"PK\6\6") and len(record) == 56:
                    starts.append(place - struct.unpack_from("<Q", record, 40)[0])
    start = min(starts, default=end - struct.unpack_from("<L", tail, found + 12)[0])
    return max(0, start), end


def _checked_members(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    infos = [info for info in archive.infolist() if info.filename and not info.is_dir()]
    if not infos:
        raise LabError(f"{name} is an empty zip: there is nothing to import")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        path = PurePosixPath(_name_of(info).replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or has_drive(path.as_posix()):
            raise LabError(f"{name} holds a path that leaves the archive ({_short(info.filename)}): it is refused")
        if any(left_by_a_system(part) for part in path.parts):
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            raise LabError(f"{name} holds a link ({_short(info.filename)}): pack what it leads to in its place")
        if info.flag_bits & ENCRYPTED:
            raise LabError(f"{name} is locked by a password: unpack it and give the folder")
        if is_bomb(info) or info.file_size > MAX_FILE_BYTES:
            raise LabError(f"{name} holds a file that unpacks to far more than it should ({_short(info.filename)})")
        if path.as_posix() in members:
            raise LabError(f"{name} holds two files called {_short(info.filename)}: pack it again with one of each")
        members[path.as_posix()] = info
    total, size = sum(info.file_size for info in infos), os.path.getsize(str(archive.filename))
    if total > MAX_TOTAL_BYTES or (total > RATIO_FROM_BYTES and total > MAX_RATIO * size):
        raise LabError(f"{name} would unpack to {total / 2**30:.1f} GiB, far more than it should: it is refused")
    return members


def _name_of(info: zipfile.ZipInfo) -> str:
    """The name of a zip's member. A Mac writes UTF-8 without the flag, and zipfile takes it for DOS's code page 437."""
    if not info.flag_bits & SAYS_UTF8:
        with suppress(UnicodeError):
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def as_text(path: object) -> str:
    """A path or name that can be stored and shown: bytes that aren't UTF-8, as a file name may hold, become \\udcff."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _short(path: object) -> str:
    """An untrusted path for a message: quoted, on one line, not too long."""
    return repr(str(path)[:60])


def left_by_a_system(part: str) -> bool:
    """Whether a file or folder of that name is the operating system's and not a person's: .DS_Store, Thumbs.db, …"""
    return part.startswith(".") or part in ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")
