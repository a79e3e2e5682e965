"""The public "Blood Cell Images" archive: …/images/{TRAIN,TEST,TEST_SIMPLE}/<CLASS>/<picture>.jpeg.

Its folder `images` by itself is read, too. The class names are checked, or any …/images/TRAIN would get its licence.
The photographs of which the pictures are copies are in JPEGImages.
"""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath

from bloodcell_core.data.formats.listing import Entry, Format, Listing, is_picture, of_files
from bloodcell_core.data.sources import Source

CLASSES = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")


def _place(file: str) -> tuple[str, str] | None:
    """('TRAIN' | 'TEST' | 'TEST_SIMPLE', class) of a picture of the public archive, else None."""
    parts = PurePosixPath(file).parts
    if (
        len(parts) >= 3
        and parts[-4:-3] in ((), ("images",))
        and parts[-3] in ("TRAIN", "TEST", "TEST_SIMPLE")
        and parts[-2] in CLASSES
        and is_picture(file)
    ):
        return parts[-3], parts[-2]
    return None


def _matches(source: Source) -> bool:
    found = {place[0] for place in map(_place, source.files) if place}
    return {"TRAIN", "TEST"} <= found


def _read(source: Source, with_test_simple: bool) -> Listing:
    splits = {"TRAIN": "train", "TEST": "test"} | ({"TEST_SIMPLE": "test"} if with_test_simple else {})
    entries = [
        Entry(file, label=place[1], split=splits[place[0]])
        for file in source.files
        if (place := _place(file)) and place[0] in splits
    ]
    photographs = {
        PurePosixPath(file).stem: partial(source.read, file)
        for file in source.files
        if is_picture(file) and PurePosixPath(file).parent.name == "JPEGImages"
    }
    return of_files(
        source,
        entries,
        photographs=photographs,
        licence="MIT (the BCCD photographs)",
        citation="P. Mooney, Blood Cell Images, 2018; from BCCD, S. Cheng and N. Chen, 2017",
    )


BLOOD_CELL_IMAGES = Format("blood-cell-images", "Blood Cell Images, the public archive", _matches, _read)
