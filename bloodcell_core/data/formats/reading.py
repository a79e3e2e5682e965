"""How the readers of formats read: the text and numbers of annotations, and which pictures these and lists refer to."""

from __future__ import annotations

import json
import math
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import Any

from bloodcell_core.data.formats.listing import SPLIT_NAMES, is_picture, split_of_folder
from bloodcell_core.data.sources import DAMAGED, Source
from bloodcell_core.errors import LabError, brief

MAX_TEXT_BYTES = 64 * 2**20  # of an annotation file: parsed, it takes about ten times as much memory
GLANCE_JSON = 20  # files that are opened to recognise a format: others may have a JSON file beside each picture
UNREADABLE = (*DAMAGED, KeyError, TypeError, MemoryError, SyntaxError, TokenError)
"""What libraries raise for damaged files of arrays."""


class Pictures:
    """An index of a source's pictures by name, to find the one that an annotation refers to."""

    def __init__(self, source: Source):
        self._called: dict[str, list[str]] = {}
        for file in filter(is_picture, source.files):
            path = PurePosixPath(file)
            for name in {path.name, path.stem}:
                self._called.setdefault(_composed(name), []).append(file)

    def called(self, name: str) -> list[str]:
        """The paths of all pictures of that name, with or without its suffix."""
        return self._called.get(_composed(name), [])

    def listed(self, file: str, path: str) -> list[str]:
        """The pictures that a path in the list `file` means, which may be that of another computer: of those of its
        name the ones with most of its folders, counted from the innermost; of these, those nearest the list."""
        place = PurePosixPath(path.replace("\\", "/"))
        found = self.called(place.name) or (self.called(place.stem) if is_picture(path) else [])
        inwards, beside = place.parts[-2::-1], PurePosixPath(file).parts[:-1]

        def likeness(picture: str) -> tuple[int, int]:
            folders = PurePosixPath(picture).parts[:-1]
            return _alike(inwards, folders[::-1]), _alike(beside, folders)

        best = max(map(likeness, found), default=None)
        return [picture for picture in found if likeness(picture) == best]

    def find(self, name: str, annotation: str, split: str | None = None) -> str | None:
        """The path of the picture `name`, which may have folders and a suffix or not. Of several it is the one that
        shares most folder names with `name` and the annotation file; among equals, the one in that split, then the one
        at that place from the annotation file's folder.

        None where there is none; LabError where two fit equally well.
        """
        path = PurePosixPath(name.replace("\\", "/"))
        folders = {*path.parts[:-1], *PurePosixPath(annotation).parts[:-1]}
        there = posixpath.normpath(posixpath.join(posixpath.dirname(annotation), path.parent))

        def likeness(file: str) -> tuple[int, bool, bool]:
            parent = PurePosixPath(file).parent
            return len(folders.intersection(parent.parts)), split_of_path(file) == split, str(parent) == there

        found = sorted(self.called(path.name), key=likeness, reverse=True)
        if len(found) > 1 and likeness(found[0]) == likeness(found[1]):
            raise LabError(f"{annotation} refers to {name!r:.60}, which may be {found[0]} or {found[1]}: keep one")
        return found[0] if found else None


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How many names at their beginnings are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _composed(name: str) -> str:
    """A name with its accents as most systems write them: a Mac takes letters and accents apart."""
    return unicodedata.normalize("NFC", name)


def split_of_path(file: str) -> str | None:
    """The split named by a folder of a path, innermost first; None where no folder names one."""
    return next((split for part in PurePosixPath(file).parts[-2::-1] if (split := split_of_folder(part))), None)


def split_of_name(file: str) -> str | None:
    """The split named by a word of an annotation file's name, such as `instances_train2017.json`; None without one."""
    words = re.split(r"[_\-. ]", PurePosixPath(file).stem)
    return next((split for word in words if (split := split_of_folder(word))), None)


def listed_splits(
    source: Source, lists: Iterable[str], named: Callable[[str, str], Sequence[str]]
) -> dict[str, str]:
    """{picture: its split} by lists that are named after a split, such as `train.txt`.

    `named` returns the pictures that a path means: it is given the list, and one of its lines or its first word, since
    some lists have the class or its number behind it. LabError where a picture is in the lists of two splits.
    """
    splits: dict[str, str] = {}
    for file in lists:
        split = SPLIT_NAMES[PurePosixPath(file).stem.lower()]
        for line in filter(None, map(str.strip, text_of(source, file).splitlines())):
            for found in named(file, line) or named(file, re.split(r"[\s,;]", line)[0]):
                if splits.setdefault(found, split) != split:
                    raise LabError(f"{file}: {line!r:.60} is in the list of {splits[found]} too: keep it in one")
    return splits


def is_list_of_split(file: str) -> bool:
    """Whether a file is a list of pictures by its name: `train.txt`, `val.txt`, `test.txt`."""
    return file.lower().endswith(".txt") and PurePosixPath(file).stem.lower() in SPLIT_NAMES


def text_of(source: Source, file: str, most: int = MAX_TEXT_BYTES) -> str:
    """An annotation file's text; LabError where it is not UTF-8 or has more than `most` bytes."""
    data = source.read(file)
    if len(data) > most:
        raise LabError(f"{file} is larger than {most // 2**20} MiB: import a part of it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise LabError(f"{file} is not UTF-8 text") from None


def glance(source: Source, file: str) -> str:
    """A file's text, to recognise its format; empty where it can't be read as text."""
    try:
        return text_of(source, file)
    except LabError:
        return ""


def number_of(told: object) -> float:
    """`told` as a number; NaN where it is none, and the cell is then left out with that as the reason."""
    try:
        return float(told)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def json_files(source: Source) -> list[str]:
    """The paths of its JSON files."""
    return [file for file in source.files if file.lower().endswith(".json")]


def json_of(source: Source, file: str) -> Any:
    """A JSON file's value; LabError where it can't be read."""
    try:
        return json.loads(text_of(source, file))
    except (ValueError, RecursionError) as error:
        raise LabError(f"{file} can't be read as JSON: {brief(error)}") from None


@contextmanager
def told(path: Path, how: str) -> Iterator[None]:
    """Turns what goes wrong in reading a file of arrays into a LabError: how it is, and why."""
    try:
        yield
    except UNREADABLE as error:
        raise LabError(f"{path.name} {how}: {brief(error)}") from None
