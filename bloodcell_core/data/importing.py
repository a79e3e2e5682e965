"""A source becomes a dataset: every picture read once, checked, hashed and copied, or listed with why it can't be.

The dataset's folder appears whole at the end or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Any

import pandas as pd

from bloodcell_core import workspace
from bloodcell_core.data import demo
from bloodcell_core.data.dataset import Dataset, names
from bloodcell_core.data.formats import Entry, Format, choose_format
from bloodcell_core.data.pictures import decode_rgb, encode
from bloodcell_core.data.sources import open_source
from bloodcell_core.data.splits import cut_by_photo
from bloodcell_core.errors import LabError

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""
DEMO_PER_CLASS = 150  # enough for a network to learn from, drawn in about ten seconds
TEST_FRACTION, SPLIT_SEED = 0.2, 0
THREADS = 4  # decoding and hashing leave Python's lock; more threads than cores hide the disk's waits


def import_dataset(
    source: Path,
    name: str | None = None,
    format: str = "auto",
    with_test_simple: bool = False,
    progress: Progress | None = None,
    trace: bool = True,
    trace_progress: Progress | None = None,
) -> Dataset:
    """Imports a zip or a folder as the dataset `name` (by default after the source).

    Where the source holds the photographs that its pictures are copies of, each picture is traced to its own
    unless `trace` is False: that takes minutes. Where it tells no test split, a fifth of each class's photos is cut
    off as one. Raises LabError where the source can't be used; nothing is left behind then.
    """
    opened = open_source(source)
    try:
        chosen = choose_format(opened, format)
        name = _free_name(name or workspace.slug(opened.name))
        listing = chosen.read(opened, with_test_simple)
        if not listing.entries:
            raise LabError(f"{opened.name} holds no pictures in the layout of {chosen.title}")
        pictures = ((entry, partial(opened.read, entry.file)) for entry in listing.entries)
        facts = _facts(chosen, source=str(source.resolve()), ignored=listing.ignored)
        photographs = {file: partial(opened.read, file) for file in listing.photographs} if trace else {}
        tracing = partial(_trace, photographs, trace_progress) if photographs else None
        return _write(name, pictures, len(listing.entries), facts, progress, tracing)
    finally:
        opened.close()


def make_demo(
    name: str = "demo", per_class: int = DEMO_PER_CLASS, seed: int = 0, progress: Progress | None = None
) -> Dataset:
    """Draws synthetic pictures of the four classes and imports them: no download, works offline."""
    name = _free_name(name)
    if not 10 <= per_class <= 5000:
        raise LabError(f"demo pictures a class must be between 10 and 5,000, not {per_class}")
    if seed < 0:
        raise LabError(f"the seed must be 0 or more, not {seed}")

    def draw() -> Iterator[tuple[Entry, Callable[[], bytes]]]:
        for number, picture in enumerate(demo.draw_pictures(per_class, seed)):
            file = f"{picture.label}/synthetic-{number:05d}.png"
            yield (
                Entry(file, picture.label, source_photo=picture.source_photo),
                partial(encode, picture.pixels),
            )

    facts = {
        "format": "demo", "synthetic": True, "source": f"drawn with seed {seed}", "ignored_files": 0,
        "licence": "MIT", "citation": "Synthetic pictures drawn by Blood Cell Lab",
    }  # fmt: skip
    return _write(name, draw(), per_class * len(demo.DEMO_CLASSES), facts, progress)


def _free_name(name: str) -> str:
    workspace.check_name(name, "dataset")
    if name in names():
        raise LabError(
            f"a dataset {name!r} exists already: choose another name, or remove it with `data remove {name}`"
        )
    return name


def _facts(chosen: Format, source: str, ignored: int) -> dict[str, Any]:
    return {
        "format": chosen.name, "synthetic": False, "source": source, "ignored_files": ignored,
        "licence": chosen.licence, "citation": chosen.citation,
    }  # fmt: skip


@dataclass
class _Row:
    """One row of images.parquet; the field names are its columns."""

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


def _write(
    name: str,
    pictures: Iterable[tuple[Entry, Callable[[], bytes]]],
    total: int,
    facts: dict[str, Any],
    progress: Progress | None,
    tracing: Callable[[list[_Row], Path], None] | None = None,
) -> Dataset:
    final = workspace.dataset_dir(name)
    workspace.sweep_unfinished(final.parent) if final.parent.exists() else None
    with workspace.new_folder(final) as folder:
        rows = []
        for row in _in_order(lambda picture: _take(folder / "originals", *picture), pictures):
            rows.append(row)
            if progress and (len(rows) % 50 == 0 or len(rows) == total):
                progress(len(rows), total)
        _mark_duplicates(rows)
        usable = [row for row in rows if row.status == "ok"]
        classes = sorted({row.label for row in usable})
        if len(classes) < 2:
            reasons = "; ".join(f"{row.file}: {row.reason}" for row in rows if row.reason)[:300]
            raise LabError(f"readable pictures of at least two classes are needed, found {len(classes)} ({reasons})")
        if tracing:
            tracing(usable, folder / "originals")
        split_origin = _settle_splits(rows)
        pd.DataFrame(rows).to_parquet(folder / "images.parquet", index=False)
        content = "\n".join(
            sorted(f"{row.image_id} {row.label} {row.split} {row.source_photo} {row.scene}" for row in usable)
        )
        workspace.write_json(
            folder / "dataset.json",
            facts
            | {
                "schema_version": workspace.SCHEMA_VERSION,
                "name": name,
                "classes": classes,
                "pictures": len(usable),
                "split_origin": split_origin,
                "content_hash": hashlib.sha256(content.encode()).hexdigest(),
                "imported": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
    return Dataset(name)


def _in_order(work: Callable[[Any], _Row], items: Iterable[Any]) -> Iterator[_Row]:
    """`map(work, items)` on threads, with a bounded number of pictures in memory."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: list[Future[_Row]] = []
        remaining = iter(items)
        while True:
            waiting += [pool.submit(work, item) for item in islice(remaining, 8 * THREADS - len(waiting))]
            if not waiting:
                return
            yield waiting.pop(0).result()


def _take(originals: Path, entry: Entry, read: Callable[[], bytes]) -> _Row:
    """Reads and checks one picture and copies it under a name made from its content."""
    file, label = _storable(entry.file), _storable(entry.label)
    row = _Row(None, file, None, label, entry.split, entry.source_photo, entry.source_photo, 0, 0, 0, "ok", None)
    try:
        data = read()
        row.bytes = len(data)
        row.image_id = hashlib.sha256(data).hexdigest()
        row.height, row.width = decode_rgb(data).shape[:2]
    except LabError as error:
        row.status, row.reason, row.split = "unreadable", str(error), None
        return row
    row.stored = f"{row.image_id[:2]}/{row.image_id}{PurePosixPath(entry.file).suffix.lower()}"
    target = originals / row.stored
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return row


def _storable(text: str) -> str:
    """A file name as it can be stored and shown: bytes in it that are no UTF-8, which a folder may hold, as \\udcff."""
    return text.encode("utf-8", "backslashreplace").decode()


def _trace(
    photographs: Mapping[str, Callable[[], bytes]], progress: Progress | None, rows: list[_Row], originals: Path
) -> None:
    """Gives each picture the photograph and the scene that it comes from, where that is certain."""
    from bloodcell_core.data.photos import PhotoIndex, trace_all

    readable = {}
    for file, read in photographs.items():
        try:
            decode_rgb(read())
            readable[PurePosixPath(file).stem] = read
        except LabError:
            continue  # a photograph that can't be read has no pictures traced to it
    if not readable:
        return
    names, reads = list(readable), list(readable.values())
    width = int(median(row.width for row in rows))
    index = PhotoIndex(lambda photo: decode_rgb(reads[photo]()), len(reads), width)
    stored = [originals / str(row.stored) for row in rows]
    traces = trace_all(index, len(rows), lambda row: decode_rgb(stored[row].read_bytes()), progress)
    for row, found in zip(rows, traces, strict=True):
        if found.photo is not None:
            row.source_photo = names[found.photo]
            row.scene = names[index.scenes[found.photo]]


def _mark_duplicates(rows: list[_Row]) -> None:
    """Of byte-identical files one is kept, one in the test split first: training must not see it."""
    kept: dict[str, _Row] = {}
    for row in rows:
        if row.status != "ok" or row.image_id is None:
            continue
        first = kept.setdefault(row.image_id, row)
        if row.split == "test" and first.split != "test":
            kept[row.image_id] = row
    for row in rows:
        if row.status == "ok" and row.image_id is not None and (first := kept[row.image_id]) is not row:
            row.status, row.duplicate_of, row.split = "duplicate", first.file, None


def _settle_splits(rows: list[_Row]) -> str:
    """Gives each usable picture a split, cutting a test split where the source tells none; says which it was."""
    usable = [row for row in rows if row.status == "ok"]
    told = {row.split for row in usable}
    for row in usable:
        row.split = row.split or "train"
    if "test" in told:
        return "told by the source"
    candidates = [row for row in usable if row.split == "train"]
    in_test = cut_by_photo(
        [row.label for row in candidates],
        [row.scene or row.source_photo or str(row.image_id) for row in candidates],
        TEST_FRACTION,
        SPLIT_SEED,
    )
    for row, test in zip(candidates, in_test, strict=True):
        row.split = "test" if test else "train"
    return f"{TEST_FRACTION:.0%} of each class's photos cut off as test at import, seed {SPLIT_SEED}"
