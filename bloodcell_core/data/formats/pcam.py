"""PatchCamelyon's HDF5 files: pictures in `…_x.h5`, labels in `…_y.h5`, a pair for each of train, valid and test.

Pictures are read in chunks: the largest file has 7 GB of them. If the `…_meta.csv` of a split is beside them, its
slides (`wsi`) are the groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from bloodcell_core.data.formats.listing import (
    SPLIT_NAMES,
    Entry,
    Format,
    Listing,
    as_files,
    check_pixels,
    on_disk,
    rows_at_once,
)
from bloodcell_core.data.formats.reading import told
from bloodcell_core.data.sources import FileSource, Source
from bloodcell_core.errors import LabError

if TYPE_CHECKING:
    import h5py

CLASSES = ("normal", "tumour")
PICTURES = re.compile(r"(?P<stem>.*_(?P<split>train|valid|test))_x\.h5")
MAX_CHUNK_BYTES = 512 * 2**20  # HDF5 decompresses a whole chunk at once


class _Pair(NamedTuple):
    split: str
    pictures: Path
    shape: tuple[int, ...]
    labels: np.ndarray
    slides: list[str] | None


def _matches(source: Source) -> bool:
    alone = isinstance(source, FileSource) and source.files[0].lower().endswith(".h5")
    return alone or any(PICTURES.fullmatch(file) for file in source.files)


def _read(source: Source, with_test_simple: bool) -> Listing:
    stems = [(match["stem"], match["split"]) for file in source.files if (match := PICTURES.fullmatch(file))]
    if not stems:
        raise LabError(f"{source.name} holds no …_train_x.h5, …_valid_x.h5 or …_test_x.h5")
    splits = [split for _, split in stems]
    if len(set(splits)) < len(splits):
        raise LabError(f"{source.name} holds several _x.h5 files of one split: import a folder with one of each")
    pairs = [_pair(source, stem, SPLIT_NAMES[split]) for stem, split in stems]
    entries = (
        Entry(f"{pair.split}/{row:06}.png", CLASSES[label], pair.split, pair.slides[row] if pair.slides else None)
        for pair in pairs
        for row, label in enumerate(pair.labels)
    )
    chunks = (chunk for pair in pairs for chunk in _chunks(pair))
    used = {f"{stem}_{part}" for stem, _ in stems for part in ("x.h5", "y.h5", "meta.csv")}
    return Listing(
        sum(len(pair.labels) for pair in pairs),
        as_files(entries, chunks),
        ignored=len({*source.files} - used),
        licence="CC0",
        citation="B. S. Veeling et al., Rotation Equivariant CNNs for Digital Pathology, 2018; Camelyon16",
    )


def _pair(source: Source, stem: str, split: str) -> _Pair:
    """A split's pictures, labels and slides; LabError where its files don't belong together."""
    pictures, labels, meta = (on_disk(source, f"{stem}_{part}") for part in ("x.h5", "y.h5", "meta.csv"))
    if not labels.is_file():
        raise LabError(f"{labels.name} is missing beside {pictures.name}: it holds the labels")
    with told(pictures, "can't be read"), _open(pictures) as file:
        x = _dataset(file, "x")
        shape = x.shape
        check_pixels(f"{pictures.name}: x", shape, x.dtype)
    with told(labels, "can't be read"), _open(labels) as file:
        y = _dataset(file, "y")
        if y.size != shape[0]:
            raise LabError(f"{pictures.name} holds {shape[0]:,} pictures and {labels.name} {y.size or 0:,} labels")
        if y.dtype.kind not in "iu":
            raise LabError(f"{labels.name} holds {y.dtype} and not whole numbers")
        numbers = np.asarray(y).reshape(-1)
    if not np.isin(numbers, range(len(CLASSES))).all():
        raise LabError(f"{labels.name} holds other labels than 0 ({CLASSES[0]}) and 1 ({CLASSES[1]})")
    return _Pair(split, pictures, shape, numbers, _slides(meta, shape[0]) if meta.is_file() else None)


def _slides(meta: Path, pictures: int) -> list[str]:
    """The slide of each picture."""
    with told(meta, "can't be read"):
        table = pd.read_csv(meta, dtype=str)
    if "wsi" not in table or table.wsi.isna().any():
        raise LabError(f"{meta.name} doesn't name the slide (wsi) of each picture")
    if len(table) != pictures:
        raise LabError(f"{meta.name} has {len(table):,} rows for {pictures:,} pictures")
    return [*table.wsi]


def _open(path: Path) -> h5py.File:
    import h5py

    return h5py.File(path, "r")


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """The array `name`; LabError where it is missing, in too large chunks, or would be read from another file."""
    import h5py

    here = isinstance(file.get(name, getlink=True), h5py.HardLink)
    data = file[name] if here else None
    if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external:
        raise LabError(f"{Path(file.filename).name} holds no array {name}")
    if data.chunks and np.prod(data.chunks, dtype=float) * data.dtype.itemsize > MAX_CHUNK_BYTES:
        raise LabError(f"{Path(file.filename).name} holds {name} in pieces of more than {MAX_CHUNK_BYTES // 2**20} MiB")
    return data


def _chunks(pair: _Pair) -> Iterator[np.ndarray]:
    """The pictures of a split in order, in chunks: uint8 n×H×W×3."""
    at_once = rows_at_once(pair.shape)
    with told(pair.pictures, "can't be read"), _open(pair.pictures) as file:
        x = _dataset(file, "x")
        for first in range(0, pair.shape[0], at_once):
            yield x[first : first + at_once]


PCAM = Format("pcam", "PatchCamelyon: HDF5 files of pictures and labels", _matches, _read)
