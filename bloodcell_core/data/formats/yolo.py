"""YOLO: a text file per picture; each line has a class number and a bounding box or outline in shares of the picture.

The class names are in a YAML file (`names:`), or one per line in `classes.txt`, `obj.names` and the like.
The splits are those of the folders, or of the lists `train.txt`, `val.txt` and `test.txt`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

import yaml

from bloodcell_core.data.formats.listing import Format, Listing, is_picture
from bloodcell_core.data.formats.marked import SHARES, Mark, cells_of
from bloodcell_core.data.formats.reading import (
    Pictures,
    glance,
    is_list_of_split,
    listed_splits,
    number_of,
    split_of_path,
    text_of,
)
from bloodcell_core.data.sources import Source
from bloodcell_core.errors import LabError, brief

LINE = re.compile(r"\s*\d{1,6}(\s+-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?){4,}\s*", re.IGNORECASE)
NAMES_FILES = ("classes.txt", "_classes.txt", "_darknet.labels", "labels.txt", "obj.names", "classes.names")
GLANCE = 20  # files that are opened to recognise the format: pictures without a cell have empty ones
TOO_FAR = 1.1  # shares: a box may extend a little beyond the picture; larger numbers are probably pixels
MAX_YAML_BYTES = 2**20  # the YAML reader is slow


def _annotations(source: Source) -> list[str]:
    """The text files with the name of a picture."""
    pictures = {PurePosixPath(file).stem for file in source.files if is_picture(file)}
    return [file for file in source.files if file.lower().endswith(".txt") and PurePosixPath(file).stem in pictures]


def _matches(source: Source) -> bool:
    return any(_is_yolo(source, file) for file in _annotations(source)[:GLANCE])


def _is_yolo(source: Source, file: str) -> bool:
    lines = glance(source, file).splitlines()
    return bool(lines) and bool(LINE.fullmatch(lines[0]))


def _read(source: Source, with_test_simple: bool) -> Listing:
    files = _annotations(source)
    if not files:
        raise LabError(f"{source.name} holds no .txt file with the name of one of its pictures")
    names, pictures = _names(source), Pictures(source)
    lists = [file for file in source.files if is_list_of_split(file) and file not in files]
    listed = listed_splits(source, lists, pictures.listed)
    return cells_of(source, [mark for file in files for mark in _marks(source, file, names, pictures, listed)])


def _names(source: Source) -> list[str]:
    """The class names in the order of their numbers; LabError where there are none, or two files disagree."""
    found: dict[str, list[str]] = {}
    for file in source.files:
        if file.lower().endswith((".yaml", ".yml")):
            found[file] = _names_of_yaml(source, file)
        elif PurePosixPath(file).name.lower() in NAMES_FILES:
            found[file] = [line.strip() for line in text_of(source, file).splitlines() if line.strip()]
    told = [(file, names) for file, names in found.items() if names]
    if not told:
        raise LabError(
            f"{source.name} doesn't name the classes of its boxes: add a data.yaml with `names:`, or a classes.txt of "
            "one name a line"
        )
    for file, names in told[1:]:
        if names != told[0][1]:
            raise LabError(f"{told[0][0]} and {file} name different classes: keep the one that is right")
    return told[0][1]


def _names_of_yaml(source: Source, file: str) -> list[str]:
    """The class names in a YAML file; empty where it has none, such as a file of settings."""
    text = text_of(source, file, MAX_YAML_BYTES)
    try:
        # Every value as it is written: `safe_load` reads `yes` as True, takes for ever to merge mappings that hold each
        # other many times, and fails in many ways at values of another type than they say.
        told = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        problem = getattr(error, "problem", None) or brief(error)  # the first line alone says where, and not what
        raise LabError(f"{file} can't be read as YAML: {problem}") from None
    names = told.get("names") if isinstance(told, dict) else None
    if isinstance(names, dict):  # number: name
        names = [names.get(str(number)) for number in range(len(names))]
    if not isinstance(names, list):
        return []
    if not all(isinstance(name, str) and name for name in names):
        raise LabError(f"{file}: `names` must be a list of names, or a name for each number from 0")
    return [name.strip() for name in names]


def _marks(source: Source, file: str, names: list[str], pictures: Pictures, listed: Mapping[str, str]) -> list[Mark]:
    picture = pictures.find(PurePosixPath(file).stem, file, split_of_path(file))
    assert picture is not None, "_annotations took it for its name"
    split = split_of_path(picture) or listed.get(picture)
    marks = []
    for place, line in enumerate(text_of(source, file).splitlines(), 1):
        if not line.strip():
            continue
        if not LINE.fullmatch(line):
            raise LabError(f"{file}: line {place:,} is not the number of a class and a box: {line[:40]!r}")
        number, *texts = line.split()
        if int(number) >= len(names):
            raise LabError(f"{file}: line {place:,} is of class {number}, and only {len(names)} have a name")
        numbers = [number_of(text) for text in texts]
        if len(numbers) not in (4, *range(6, len(numbers) + 1, 2)):
            raise LabError(f"{file}: line {place:,} has {len(numbers)} numbers, where 4 are a box and pairs an outline")
        if max(map(abs, numbers)) > TOO_FAR:
            raise LabError(f"{file}: line {place:,} has numbers that are not shares of the picture, from 0 to 1")
        marks.append(Mark(picture, names[int(number)], _corners(numbers), split, SHARES))
    return marks


def _corners(numbers: list[float]) -> tuple[float, ...]:
    """x0, y0, x1, y1 of a box, given by its centre and sides, or of an outline, given by its points."""
    if len(numbers) == 4:
        x, y, across, down = numbers
        return x - across / 2, y - down / 2, x + across / 2, y + down / 2
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])


YOLO = Format("yolo", "YOLO: pictures with a text file of boxes each", _matches, _read)
