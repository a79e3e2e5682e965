"""Which photograph each picture of a new dataset was made from, and which pictures show the same cell (their scene).

Given by the source, or found: traced to the source's photographs (`photos`), or by the pictures alone (`siblings`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bloodcell_core.data.formats.listing import Read
from bloodcell_core.data.pictures import decode_rgb
from bloodcell_core.data.sources import as_text
from bloodcell_core.errors import LabError
from bloodcell_core.progress import Progress

TOLD = "told by the source"


class Origin(NamedTuple):
    """How the photographs of a dataset's pictures are known, in words."""

    told: str | None
    """None where they aren't known."""
    unknown_because: str | None
    """Why some or all pictures have none; None where everything possible was done to find them."""


def find_source_photos(
    images: pd.DataFrame, originals: Path, photographs: Mapping[str, Read], trace: bool, progress: Progress
) -> Origin:
    """Fills in the source photo and scene of each usable picture. A source photo that the source gives is kept."""
    usable = images.loc[images.status == "ok", ["source_photo", "stored", "width", "height"]]
    known = usable.source_photo.notna()
    by_source = TOLD if known.any() else None
    if known.all():
        return Origin(by_source, None)
    if not trace:
        return Origin(by_source, "tracing was switched off at import")
    read, left_out = _reader(originals, usable.stored), None
    readable = {name: data for name, data in photographs.items() if _is_readable(data)}
    if readable:
        photos, scenes = _trace(read, len(usable), int(usable.width.median()), readable, progress)
        origin = "traced to its photographs"
    else:
        from bloodcell_core.data.siblings import SMALLEST_SIDE, off_because

        large = (usable[["width", "height"]].min(axis=1) >= SMALLEST_SIDE).to_numpy()
        if because := off_because(int(large.sum())):
            return Origin(by_source, because)
        photos, scenes = _find_siblings(read, usable.source_photo, large, progress)
        origin = "siblings found among the pictures"
        if None in photos:
            left_out = f"siblings are looked for in pictures of {SMALLEST_SIDE} pixels a side or more"
    images.loc[usable.index, "source_photo"] = photos
    images.loc[usable.index, "scene"] = scenes
    return Origin(origin, left_out)


def _reader(originals: Path, stored: pd.Series) -> Callable[[int], np.ndarray]:
    return lambda row: decode_rgb((originals / stored.iloc[row]).read_bytes())


def _is_readable(read: Read) -> bool:
    try:
        decode_rgb(read())
    except LabError:
        return False  # a photograph that can't be read has no pictures traced to it
    return True


def _trace(
    read: Callable[[int], np.ndarray], count: int, width: int, photographs: Mapping[str, Read], progress: Progress
) -> tuple[Sequence[str | None], Sequence[str | None]]:
    """The photograph and the scene of each of `count` pictures `width` pixels wide, None where it isn't certain."""
    from bloodcell_core.data.photos import PhotoIndex, trace_all

    names, reads = [as_text(name) for name in photographs], list(photographs.values())
    index = PhotoIndex(lambda photo: decode_rgb(reads[photo]()), len(reads), width)
    found = [trace.photo for trace in trace_all(index, count, read, progress)]
    photos = [None if photo is None else names[photo] for photo in found]
    return photos, [None if photo is None else names[index.scenes[photo]] for photo in found]


def _find_siblings(
    read: Callable[[int], np.ndarray], known: pd.Series, large: np.ndarray, progress: Progress
) -> tuple[Sequence[str | None], Sequence[str | None]]:
    """The photograph and the scene of each picture by its siblings, which are looked for among the `large` ones (bool);
    of the others the photograph that the source gives, or None."""
    from bloodcell_core.data.siblings import find_families

    searched = np.flatnonzero(large)
    families = np.arange(len(known)) + len(known)  # the others are alone
    families[large] = find_families(lambda number: read(int(searched[number])), len(searched), progress)
    photos = _photos_of_families(families.tolist(), known)
    scenes = _scenes_of_families(families.tolist(), photos)
    told = large | known.notna().to_numpy()
    return (
        [photo if is_told else None for photo, is_told in zip(photos, told, strict=True)],
        [scene if is_told else None for scene, is_told in zip(scenes, told, strict=True)],
    )


def _photos_of_families(families: Sequence[int], known: pd.Series) -> list[str]:
    """Each picture's source photo: the known one; else the only known one of its family; else a name for the family."""
    of_family: dict[int, set[str]] = {}
    for family, photo in zip(families, known, strict=True):
        of_family.setdefault(family, set()).update({photo} if isinstance(photo, str) else ())
    names = {family: min(photos) if len(photos) == 1 else f"family-{family:05}" for family, photos in of_family.items()}
    return [photo if isinstance(photo, str) else names[family] for family, photo in zip(families, known, strict=True)]


def _scenes_of_families(families: Sequence[int], photos: Sequence[str]) -> list[str]:
    """Each picture's scene, named by its first photo: pictures of one family or one photo show the same cell."""
    first_of = first_of_joined(of_family for _, of_family in pd.Series(photos).groupby(np.asarray(families)))
    return [first_of.get(photo, photo) for photo in photos]


def first_of_joined(groups: Iterable[Iterable[str]]) -> dict[str, str]:
    """{name: the first, in sorted order, of all names that it is joined to}, without those that are first themselves.

    The names of a group are joined, and groups that share a name, too (a union-find).
    """
    joined: dict[str, str] = {}

    def root(name: str) -> str:
        while name in joined:
            name = joined[name]
        return name

    for names in groups:
        first, *others = sorted({root(name) for name in names})
        joined |= dict.fromkeys(others, first)
    return {name: root(name) for name in joined}
