"""What every format's reader returns: the pictures of a source, and how to read each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath

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
GROUP_WORDS = "patient|subject|donor|case|slide|smear"
_GROUP_IN_NAME = re.compile(rf"(?i)(?<![a-z0-9])({GROUP_WORDS}|uid)[-_ ]?[a-z]?\d+")  # uid: of a patient, in C-NMC
CHUNK_BYTES = 4 * 2**20  # of pixels, read from an array file at once

Read = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of a source."""

    file: str
    """Its path inside the source."""
    label: str
    split: str | None = None
    """'train', 'val' or 'test', or None where the source doesn't say."""
    source_photo: str | None = None
    """The group that it belongs to (a photograph, patient or slide), or None where the source doesn't say."""
    box: Box | None = None
    """The white cell's bounding box, in pixels of the picture, or None where the source doesn't say."""
    scene: str | None = None
    """A name that photographs of the same cell share, where it is known already; by default the photograph's."""
    of_several: bool = False
    """Whether it was cut out of the first of several pictures in a file."""


@dataclass(frozen=True)
class Listing:
    """What a reader found in a source."""

    total: int
    """The number of pictures."""
    pictures: Iterable[tuple[Entry, Read]]
    """Each picture and a function that reads its file. To be iterated once, in order; `Read` may be called on any
    thread. A LabError from the iteration refuses the whole source, one from a `Read` that picture alone."""
    ignored: int
    """The number of files that aren't labelled pictures of this format."""
    photographs: Mapping[str, Read] = field(default_factory=dict)
    """Photographs, by name, of which the pictures may be copies; they aren't pictures of the dataset themselves. Given
    only if no entry has its photograph."""
    licence: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Format:
    """A row of FORMATS: how to recognise and read a format."""

    name: str
    title: str
    matches: Callable[[Source], bool]
    """Whether a source is in this format, by its files' names and at most a glance into some of them."""
    read: Callable[[Source, bool], Listing]
    """(source, whether to include TEST_SIMPLE) → its listing. Raises LabError where the source can't be used."""


@lru_cache
def split_of_folder(name: str) -> str | None:
    """The split that a folder's name means, also as public data sets write it (train_set, TestA, val2017), or None."""
    found = _SPLIT_FOLDER.fullmatch(name)
    return SPLIT_NAMES[found[1].lower()] if found else None


def groups_of_names(files: Sequence[str]) -> Sequence[str | None]:
    """The patients or slides that the files' names tell, such as `patient3_cell12.png`.

    None where a file has none, all have the same, or most have one of their own: a number of pictures, not of patients.
    """
    found = [_GROUP_IN_NAME.search(PurePosixPath(file).stem) for file in files]
    groups = [match[0] for match in found if match]
    are_groups = len(groups) == len(files) and 1 < len({*groups}) < len(files) / 2
    return groups if are_groups else [None] * len(files)


def is_picture(file: str) -> bool:
    """Whether a file is a picture by its suffix; its content is checked when it is read."""
    return file.lower().endswith(SUFFIXES)


def of_files(source: Source, entries: Sequence[Entry], **more: object) -> Listing:
    """The listing of pictures that are files of `source`."""
    pictures = ((entry, partial(source.read, entry.file)) for entry in entries)
    # Not by numbers alone: a table may be apart from its pictures, and name one twice.
    ignored = len({*source.files}.difference(entry.file for entry in entries))
    return Listing(len(entries), pictures, ignored, **more)  # type: ignore[arg-type]


def on_disk(source: Source, file: str) -> Path:
    """The path of a file of arrays; LabError inside a zip, which has no random access."""
    path = source.path(file)
    if path is None:
        raise LabError(f"{source.name} is a zip around {file}: unpack it and import that file")
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
    """How many pictures of an array of that shape take about CHUNK_BYTES."""
    return max(1, CHUNK_BYTES // int(np.prod(shape[1:])))


def as_files(entries: Iterable[Entry], chunks: Iterable[np.ndarray]) -> Iterator[tuple[Entry, Read]]:
    """Pictures that are rows of arrays (uint8 N×H×W or N×H×W×1 or 3), each read as a PNG file."""
    pixels = (row for chunk in chunks for row in chunk)
    for entry, row in zip(entries, pixels, strict=True):
        yield entry, partial(_png, row)


def _png(pixels: np.ndarray) -> bytes:
    grey = pixels.reshape(*pixels.shape[:2], -1)
    return encode(np.repeat(grey, 3, axis=2) if grey.shape[2] == 1 else grey)
