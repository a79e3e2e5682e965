"""MedMNIST's `.npz` files, of any resolution: an array of pictures and one of labels for each split.

The arrays are read a few rows at a time, compressed or not, and are never in memory as a whole. Nothing is unpickled.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

from bloodcell_core.data.dataset import SPLITS
from bloodcell_core.data.formats.listing import (
    Entry,
    Format,
    Listing,
    as_files,
    check_pixels,
    is_picture,
    on_disk,
    rows_at_once,
)
from bloodcell_core.data.formats.reading import told
from bloodcell_core.data.sources import Source, is_bomb, open_zip
from bloodcell_core.errors import LabError

BLOOD_CLASSES = (
    "basophil", "eosinophil", "erythroblast", "immature granulocyte",
    "lymphocyte", "monocyte", "neutrophil", "platelet",
)  # fmt: skip
"""BloodMNIST's classes, by number."""
BLOOD_LICENCE = "CC BY 4.0"
BLOOD_CITATION = (
    "A. Acevedo et al., Data in Brief 30:105474, 2020; J. Yang et al., MedMNIST v2, Scientific Data 10:41, 2023"
)


class _Array(NamedTuple):
    """An array inside the file, of which only the header has been read."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    """The number of bytes before its values."""


def _matches(source: Source) -> bool:
    return any(file.lower().endswith(".npz") for file in source.files) and not any(map(is_picture, source.files))


def _read(source: Source, with_test_simple: bool) -> Listing:
    files = [file for file in source.files if file.lower().endswith(".npz")]
    if len(files) != 1:
        raise LabError(f"{source.name} holds {len(files)} .npz files: import the one that you mean")
    path = on_disk(source, files[0])
    blood = path.name.lower().startswith("bloodmnist")
    with told(path, "is damaged"), open_zip(path) as archive:
        splits = [split for split in SPLITS if f"{split}_images.npy" in archive.namelist()]
        if not splits:
            raise LabError(f"{path.name} holds no train_images, val_images or test_images: MedMNIST's files do")
        arrays = [_head(archive, f"{split}_images.npy") for split in splits]
        for array in arrays:
            check_pixels(f"{path.name}: {array.name}", array.shape, array.dtype)
        numbers = [
            _labels(archive, f"{split}_labels.npy", array.shape[0]) for split, array in zip(splits, arrays, strict=True)
        ]
    largest = max((int(of_split.max()) for of_split in numbers if len(of_split)), default=0)
    if blood and largest >= len(BLOOD_CLASSES):
        raise LabError(f"{path.name} has a class {largest}, and BloodMNIST's are 0 to {len(BLOOD_CLASSES) - 1}")
    digits = len(str(largest))
    entries = (
        Entry(
            f"{split}/{row:06}.png",
            BLOOD_CLASSES[number] if blood else f"class-{number:0{digits}}",
            split,
        )
        for split, of_split in zip(splits, numbers, strict=True)
        for row, number in enumerate(of_split)
    )
    chunks = (chunk for array in arrays for chunk in _chunks(path, array))
    return Listing(
        sum(map(len, numbers)),
        as_files(entries, chunks),
        ignored=len(source.files) - 1,
        licence=BLOOD_LICENCE if blood else "",
        citation=BLOOD_CITATION if blood else "",
    )


def _head(archive: zipfile.ZipFile, name: str) -> _Array:
    """The array called `name`; LabError where it is missing, holds objects, or isn't as long as its header says."""
    file = Path(str(archive.filename)).name
    if name not in archive.namelist():
        raise LabError(f"{file} holds no {name.removesuffix('.npy')}")
    info = archive.getinfo(name)
    with archive.open(info) as stream:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise LabError(f"{file}: {name} is of version {version[0]}.{version[1]}, 1.0 and 2.0 are read")
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        start = stream.tell()
    if dtype.hasobject:
        raise LabError(f"{file}: {name} holds pickled objects, which are never loaded")
    if fortran and len(shape) > 1:
        raise LabError(f"{file}: {name} is stored column by column: save it again with np.ascontiguousarray")
    if is_bomb(info) or min(shape, default=0) < 0 or start + math.prod(shape) * dtype.itemsize != info.file_size:
        raise LabError(f"{file}: {name} declares another size than it holds")
    return _Array(name, shape, dtype, start)


def _labels(archive: zipfile.ZipFile, name: str, pictures: int) -> np.ndarray:
    """The class numbers of a split: int64 (pictures,)."""
    array = _head(archive, name)
    file = Path(str(archive.filename)).name
    if array.shape not in ((pictures,), (pictures, 1)):
        raise LabError(f"{file}: {name} has the shape {array.shape}, and there are {pictures:,} pictures of one label")
    if array.dtype.kind not in "iu":
        raise LabError(f"{file}: {name} holds {array.dtype} and not whole numbers")
    with archive.open(name) as stream:
        numbers = np.frombuffer(stream.read()[array.start :], array.dtype).astype(np.int64)
    if len(numbers) and numbers.min() < 0:
        raise LabError(f"{file}: {name} holds {numbers.min()}: classes are numbered from 0")
    return numbers


def _chunks(path: Path, array: _Array) -> Iterator[np.ndarray]:
    """The pictures of an array in order, in chunks: uint8 n×H×W or n×H×W×C."""
    at_once = rows_at_once(array.shape)
    with told(path, "is damaged"), open_zip(path) as archive, archive.open(array.name) as stream:
        stream.read(array.start)
        for first in range(0, array.shape[0], at_once):
            rows = min(at_once, array.shape[0] - first)
            data = stream.read(rows * math.prod(array.shape[1:]))
            yield np.frombuffer(data, np.uint8).reshape(rows, *array.shape[1:])


MEDMNIST = Format("medmnist", "A .npz file of MedMNIST, such as BloodMNIST", _matches, _read)
