"""Imports a source as a dataset: every picture is read once, checked, hashed and copied, or listed as unreadable.

The dataset's folder appears complete at the end, or not at all. Only a few pictures are in memory at a time; the table
takes some hundred bytes per picture.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, get_args, get_type_hints

import pandas as pd
import pyarrow as pa

from bloodcell_core import disk, workspace
from bloodcell_core.cells import Box
from bloodcell_core.data import demo
from bloodcell_core.data.dataset import SPLITS, Dataset, check_classes, names
from bloodcell_core.data.facts import PictureFacts, facts_of
from bloodcell_core.data.formats import choose_format
from bloodcell_core.data.formats.listing import Entry, Listing, Read
from bloodcell_core.data.parallel import picture_threads
from bloodcell_core.data.pictures import SUFFIXES, decode_rgb, encode, first_of_several, stored_mode
from bloodcell_core.data.source_photos import find_source_photos
from bloodcell_core.data.sources import as_text, name_for, open_source
from bloodcell_core.data.splits import cut_by_photo
from bloodcell_core.errors import LabError
from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.words import GROUP, PHOTO

DEMO_PER_CLASS = 150  # enough for a network to learn from, drawn in about ten seconds
TEST_FRACTION, SPLIT_SEED = 0.2, 0
WAITING = 32  # most pictures in memory at once
ROWS_AT_ONCE = 4096  # rows of the table that are kept as Python objects before they become Arrow columns


def import_dataset(
    source: Path,
    name: str | None = None,
    format: str = "auto",
    with_test_simple: bool = False,
    progress: Progress = no_progress,
    trace: bool = True,
    trace_progress: Progress = no_progress,
) -> Dataset:
    """Imports a zip, a folder or a single file as the dataset `name` (by default named after the source).

    Where the source doesn't say which photograph each picture was made from, that is found out unless `trace` is False,
    which takes minutes: pictures are traced to the photographs in the source or, where it has none, compared with each
    other. Where the source has no test split, a fifth of each class's photos is set aside as one. Raises LabError where
    the source can't be used; then nothing is left behind.
    """
    opened = open_source(source)
    try:
        chosen = choose_format(opened, format)
        name = free_name(name or name_for(source))
        listing = chosen.read(opened, with_test_simple)
        if not listing.total:
            raise LabError(f"{opened.name} holds no pictures in the layout of {chosen.title}")
        facts = {"format": chosen.name, "synthetic": False, "source": str(source.resolve())}
        return _write(name, listing, facts, progress, trace, trace_progress)
    finally:
        opened.close()


def make_demo(
    name: str = "demo", per_class: int = DEMO_PER_CLASS, seed: int = 0, progress: Progress = no_progress
) -> Dataset:
    """Draws synthetic pictures of the four classes and imports them; works offline.

    LabError for a name that is taken, a number outside 10…5,000 and a negative seed.
    """
    if not 10 <= per_class <= 5000:
        raise LabError(f"demo pictures a class must be between 10 and 5,000, not {per_class}")
    if seed < 0:
        raise LabError(f"the seed must be 0 or more, not {seed}")
    drawn: set[str] = set()  # photos, named as they are drawn

    def draw() -> Iterator[tuple[Entry, Read]]:
        for number, picture in enumerate(demo.draw_pictures(per_class, seed)):
            file = f"{picture.label}/synthetic-{number:05d}.png"
            drawn.add(picture.source_photo)
            yield Entry(file, picture.label, source_photo=picture.source_photo), partial(encode, picture.pixels)

    total = per_class * len(demo.DEMO_CLASSES)
    listing = Listing(total, draw(), 0, licence="MIT", citation="Synthetic pictures drawn by Blood Cell Lab")
    facts = {"format": "demo", "synthetic": True, "source": f"drawn with seed {seed}"}
    return build_dataset(name, listing, facts, progress, copied=drawn)


def build_dataset(
    name: str,
    listing: Listing,
    facts: dict[str, Any],
    progress: Progress = no_progress,
    copied: Collection[str] = (),
) -> Dataset:
    """A dataset of pictures that this program itself lists, such as the cells that a person confirmed.

    `facts` has its format, whether it is synthetic, and its source, in words. Nothing is traced: the listing has the
    groups, and `copied` names those that are photographs, whose pictures are copies. Raises LabError as
    `import_dataset` does.
    """
    return _write(free_name(name), listing, facts, progress, trace=False, copied=copied)


def free_name(name: str) -> str:
    """`name`; LabError where it isn't valid as a dataset's name, or is taken."""
    workspace.check_name(name, "dataset")
    if name in names():
        raise LabError(
            f"a dataset {name!r} exists already: choose another name, or remove it with `data remove {name}`"
        )
    return name


def free_folder(name: str) -> Path:
    """The folder of a new dataset; LabError as `free_name`.

    A process that builds a view of a dataset while that is deleted leaves a folder with nothing but views: it is
    removed.
    """
    final = workspace.dataset_dir(free_name(name))
    if final.is_dir() and {path.name for path in final.iterdir()} <= {"views"}:
        shutil.rmtree(final / "views", ignore_errors=True)
        with suppress(OSError):  # another process was faster: `new_folder` reports it
            final.rmdir()
    return final


@dataclass
class _Row:
    """A row of images.parquet; the fields are its columns, with those of PictureFacts in place of `facts`."""

    image_id: str | None
    file: str
    stored: str | None
    label: str
    split: str | None
    source_photo: str | None
    scene: str | None
    width: int
    height: int
    bytes: int
    status: str
    reason: str | None
    duplicate_of: str | None = None
    facts: PictureFacts | None = None
    """None where the picture can't be read."""


def _write(
    name: str,
    listing: Listing,
    facts: dict[str, Any],
    progress: Progress,
    trace: bool,
    trace_progress: Progress = no_progress,
    copied: Collection[str] = (),
) -> Dataset:
    final = free_folder(name)
    with disk.new_folder(final) as folder:
        images = _read_all(listing, folder / "originals", _beating(progress, folder))
        mark_duplicates(images)
        classes = sorted(images.label[images.status == "ok"].unique())
        if len(classes) < 2:
            bad = images[images.status == "unreadable"].head(3)
            reasons = "; ".join(f"{row.file}: {row.reason}" for row in bad.itertuples())[:300]
            why = f" ({reasons})" if reasons else ""
            raise LabError(f"readable pictures of at least two classes are needed, found {len(classes)}{why}")
        check_classes(classes)
        if (images.split[images.status == "ok"] == "val").all():
            raise LabError("all pictures are in the split val: call it train, or test to evaluate on it")
        beat = _beating(trace_progress, folder)
        told = {*images.source_photo.dropna()}.difference(copied)
        origin = find_source_photos(images, folder / "originals", listing.photographs, trace, beat)
        images["copies"] = images.source_photo.notna() & ~images.source_photo.isin(told)
        split_origin = _settle_splits(images)
        images.to_parquet(folder / "images.parquet", index=False)
        disk.write_json(
            folder / "dataset.json",
            facts
            | {
                "schema_version": workspace.DATASET_VERSION,
                "name": name,
                "licence": listing.licence,
                "citation": listing.citation,
                "ignored_files": listing.ignored,
                "classes": classes,
                "pictures": int((images.status == "ok").sum()),
                "photos_origin": origin.told,
                "photos_unknown_because": origin.unknown_because,
                "split_origin": split_origin,
                "content_hash": content_hash(images),
                "imported": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
    return Dataset(name)


def _beating(progress: Progress, folder: Path) -> Progress:
    """`progress` that also touches the unfinished `folder`, so that no other import deletes it as abandoned."""

    def told(done: int, total: int) -> None:
        os.utime(folder)
        progress(done, total)

    return told


def _read_all(listing: Listing, originals: Path, progress: Progress) -> pd.DataFrame:
    """Reads and copies every picture; returns the rows of images.parquet."""
    columns: list[pa.Table] = []
    rows: list[_Row] = []
    for done, row in enumerate(_in_order(lambda picture: _take(originals, *picture), listing.pictures), 1):
        rows.append(row)
        if len(rows) == ROWS_AT_ONCE or done == listing.total:
            columns.append(_as_columns(rows))
            rows = []
        if done % 50 == 0 or done == listing.total:
            progress(done, listing.total)
    images: pd.DataFrame = pa.concat_tables(columns).to_pandas()
    return images


def _as_columns(rows: list[_Row]) -> pa.Table:
    """Rows as Arrow columns: a quarter of the memory, and types that don't depend on the values of one batch."""
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()}
    hints = get_type_hints(_Row) | get_type_hints(PictureFacts)
    types = {name: kinds[(get_args(hint) or (hint,))[0]] for name, hint in hints.items() if name != "facts"}
    values = [vars(row) | (row.facts._asdict() if row.facts else {}) for row in rows]
    return pa.table({name: pa.array([told.get(name) for told in values], kind) for name, kind in types.items()})


def content_hash(images: pd.DataFrame) -> str:
    """sha256 of all that a training depends on, whatever the order of the rows.

    A bounding box counts where the source gives it; one that was found follows from the picture.
    """
    columns = ["image_id", "label", "split", "source_photo", "scene"]
    box = ["box_x0", "box_y0", "box_x1", "box_y1"]
    digest = hashlib.sha256()
    rows = _usable(images, [*columns, *box, "box_told"]).sort_values("image_id")
    boxes = rows[box].to_numpy("float64")
    for row, place, is_told in zip(rows[columns].itertuples(index=False), boxes, rows.box_told, strict=True):
        words = [*map(str, row), *(f"{corner:.0f}" for corner in place if is_told)]
        digest.update(" ".join(words).encode() + b"\n")
    return digest.hexdigest()


def _in_order(work: Callable[[Any], _Row], items: Iterable[Any]) -> Iterator[_Row]:
    """`map(work, items)` on threads, with a bounded number of pictures in memory."""
    with picture_threads() as pool:
        waiting: list[Future[_Row]] = []
        remaining = iter(items)
        while True:
            waiting += [pool.submit(work, item) for item in islice(remaining, WAITING - len(waiting))]
            if not waiting:
                return
            yield waiting.pop(0).result()


def _take(originals: Path, entry: Entry, read: Read) -> _Row:
    """Reads and checks one picture and copies it under a name that is its hash."""
    file, label, photo = as_text(entry.file), as_text(entry.label), entry.source_photo
    row = _Row(None, file, None, label, entry.split, photo, entry.scene or photo, 0, 0, 0, "ok", None)
    try:
        data = read()
        row.bytes = len(data)
        row.image_id = hashlib.sha256(data).hexdigest()
        pixels = decode_rgb(data)
        _check_box(entry.box, *pixels.shape[:2])
    except LabError as error:
        row.status, row.reason, row.split = "unreadable", str(error), None
        return row
    if entry.of_several or first_of_several(data):
        row.reason = "the first of several pictures in the file"
    row.height, row.width = pixels.shape[:2]
    row.facts = facts_of(stored_mode(data), pixels, entry.box)
    suffix = PurePosixPath(entry.file).suffix.lower()  # a table may name a file with any ending, however long
    row.stored = f"{row.image_id[:2]}/{row.image_id}{suffix if suffix in SUFFIXES else ''}"
    target = originals / row.stored
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return row


def _check_box(box: Box | None, height: int, width: int) -> None:
    """LabError where the source's bounding box lies outside the picture or is larger than it."""
    if box is None:
        return
    x0, y0, x1, y1 = box
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        raise LabError(f"its box {x0} {y0} {x1} {y1} lies outside of the picture's {width}×{height} pixels")
    if x1 - x0 > width or y1 - y0 > height:
        raise LabError(f"its box {x0} {y0} {x1} {y1} is larger than the picture's {width}×{height} pixels")


def _usable(images: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Some columns of the usable pictures' rows: to copy all columns of a large dataset takes noticeable memory."""
    return images.loc[images.status == "ok", columns]


def mark_duplicates(images: pd.DataFrame) -> None:
    """Keeps one of byte-identical files, preferably one in the test split, and marks the others as duplicates.

    So training can't see a test picture. A file that a table names in several rows counts as several files.
    """
    usable = _usable(images, ["image_id", "file", "split"])
    test_first = usable.sort_values("split", key=lambda split: split != "test", kind="stable")
    kept = test_first.drop_duplicates("image_id")
    copies = usable.drop(kept.index)
    images.loc[copies.index, "duplicate_of"] = copies.image_id.map(kept.set_index("image_id").file)
    images.loc[copies.index, "status"] = "duplicate"
    images.loc[copies.index, "split"] = None


def _settle_splits(images: pd.DataFrame) -> str:
    """Gives each usable picture a split, setting aside a test split where the source has none; says which it was."""
    usable = _usable(images, ["split", "label", "scene", "source_photo", "image_id", "copies"])
    scene = usable.scene.fillna(usable.source_photo).fillna(usable.image_id)
    # A picture without a split goes where the source has others of its cell: to the last of SPLITS, if in several.
    of_scene = {name: split for split in SPLITS for name in scene[usable.split == split]}
    split = usable.split.astype(object).fillna(scene.map(of_scene)).fillna("train")
    images.loc[split.index, "split"] = split
    if (split == "test").any():
        only = "" if (split == "train").any() else ", which has no train split: fit to evaluate on, not to train on"
        return "told by the source" + only
    # Not those of a scene in the source's validation split: it would choose the epoch that is then tested on it.
    candidates = usable[(split == "train") & ~scene.isin(scene[split == "val"])]
    known = usable[usable.source_photo.notna()]
    unit = "picture" if known.empty else PHOTO if known.copies.all() else GROUP
    in_test = cut_by_photo([*candidates.label], [*scene[candidates.index]], TEST_FRACTION, SPLIT_SEED)
    if not in_test.any():
        return f"no test split: none could be cut off, as no class has two {unit}s"
    images.loc[candidates.index[in_test], "split"] = "test"
    return f"{TEST_FRACTION:.0%} of each class's {unit}s cut off as test at import, seed {SPLIT_SEED}"
