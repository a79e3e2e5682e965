"""What every reader of a format gives back: which pictures a source holds, and how the bytes of each are had."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from bloodcell_core.cells import Box
from bloodcell_core.data.pictures import MAX_PIXELS, MIN_SIDE, SUFFIXES, encode
from bloodcell_core.data.sources import MAX_FILES, Source
from bloodcell_core.errors import LabError

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip
_SPLIT_FOLDER = re.compile(
    rf"(?i:({'|'.join(sorted(SPLIT_NAMES, key=len, reverse=True))})([-_ ]?(set|data|images|\d{{1,4}}))*)"
    "([-_ ]?[A-D]|[-_ ][a-d])?"
)
CHUNK_BYTES = 4 * 2**20  # of pixels that are read from an array file at once

Read = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture that a source holds."""

    file: str
    """Its path inside the source, as handed in."""
    label: str
    split: str | None = None
    """'train', 'val' or 'test', or None where the source doesn't say."""
    source_photo: str | None = None
    """The photograph (or patient, slide: the group) it comes from, or None where the source doesn't say."""
    box: Box | None = None
    """Where the source says that its white cell is, in pixels of the picture."""
    scene: str | None = None
    """What photographs of the same cell have in common, where that was found out before; by default the photograph."""


@dataclass(frozen=True)
class Listing:
    """What a reader found in a source."""

    total: int
    """How many pictures there are."""
    pictures: Iterable[tuple[Entry, Read]]
    """Each picture and what gives the bytes of its file. May be gone through once, in order; `Read` on any thread.
    LabError from going through it refuses the whole source, from a `Read` that one picture."""
    ignored: int
    """Files passed over because they are no labelled pictures of this format."""
    photographs: Mapping[str, Read] = field(default_factory=dict)
    """Photographs that the pictures may be copies of, by name: not pictures of the dataset themselves. Given where no
    entry tells its photograph."""
    licence: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Format:
    """A row of FORMATS: how a source of one kind is known and read."""

    name: str
    title: str
    matches: Callable[[Source], bool]
    """Whether a source is in this format, judged by its files' names and, for a table, its header."""
    read: Callable[[Source, bool], Listing]
    """(source, whether to take TEST_SIMPLE) → what is there. Raises LabError where the source can't be used."""


def split_of_folder(name: str) -> str | None:
    """The split that a folder's name tells, also as public sets write it: train_set, TestA, val2017."""
    found = _SPLIT_FOLDER.fullmatch(name)
    return SPLIT_NAMES[found[1].lower()] if found else None


def is_picture(file: str) -> bool:
    """Whether a file's name ends as a picture's; what it holds is looked at when it is read."""
    return file.lower().endswith(SUFFIXES)


def of_files(source: Source, entries: Sequence[Entry], **more: object) -> Listing:
    """The listing of pictures that are files of `source` each."""
    pictures = ((entry, partial(source.read, entry.file)) for entry in entries)
    # Not by number alone: a table may lie apart from its pictures, and name one twice.
    ignored = len({*source.files}.difference(entry.file for entry in entries))
    return Listing(len(entries), pictures, ignored, **more)  # type: ignore[arg-type]


def on_disk(source: Source, file: str) -> Path:
    """Where a file of arrays lies; LabError inside a zip, which can't be read from in any order."""
    path = source.path(file)
    if path is None:
        raise LabError(f"{source.name} is a zip around {file}: unpack it and hand that file in")
    return path


def check_pixels(where: str, shape: Sequence[int], dtype: np.dtype) -> None:
    """LabError unless an array of that shape and type holds pictures: uint8, (N, H, W) grey or (N, H, W, 1 or 3)."""
    if dtype != np.uint8:
        raise LabError(f"{where} holds {dtype} and not uint8 pixels")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise LabError(f"{where} has the shape {tuple(shape)}: (pictures, height, width[, 3]) is read")
    if min(shape[1:3]) < MIN_SIDE or shape[1] * shape[2] > MAX_PIXELS:
        raise LabError(
            f"{where} holds pictures of {shape[2]}×{shape[1]} pixels: at least {MIN_SIDE}×{MIN_SIDE} and at most "
            f"{MAX_PIXELS // 1_000_000} million are read"
        )
    if shape[0] > MAX_FILES:
        raise LabError(f"{where} holds {shape[0]:,} pictures; at most {MAX_FILES:,} are taken")


def rows_at_once(shape: Sequence[int]) -> int:
    """How many pictures of an array of that shape make up about CHUNK_BYTES."""
    return max(1, CHUNK_BYTES // int(np.prod(shape[1:])))


def as_files(entries: Iterable[Entry], chunks: Iterable[np.ndarray]) -> Iterator[tuple[Entry, Read]]:
    """Pictures that are rows of arrays (uint8 N×H×W or N×H×W×1 or 3), each to be stored as a PNG."""
    pixels = (row for chunk in chunks for row in chunk)
    for entry, row in zip(entries, pixels, strict=True):
        yield entry, partial(_png, row)


def _png(pixels: np.ndarray) -> bytes:
    grey = pixels.reshape(*pixels.shape[:2], -1)
    return encode(np.repeat(grey, 3, axis=2) if grey.shape[2] == 1 else grey)
