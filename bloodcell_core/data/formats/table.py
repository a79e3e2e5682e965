"""A table that names each picture and its label: CSV, TSV or Parquet, by itself or beside the pictures.

Columns, in upper or lower case: `path` (or file, filename, image) and `label` (or class); optionally `split`, `group`
(or source_photo, photo, patient), and the white cell's bounding box as `x0`, `y0`, `x1`, `y1` (or xmin, ymin, xmax,
ymax) or as one `box` of four numbers. Where a picture has several boxes, each is a cell, and is cut out.

Paths are relative to the table's folder. Comments (#) and Excel's `sep=;` may precede the header. Folder names have no
meaning beside a table.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from bloodcell_core import sheets
from bloodcell_core.cells import Box
from bloodcell_core.data.formats.beside import TELLS_LABELS, are_numbers, check_legend
from bloodcell_core.data.formats.columns import SUFFIXES, Load, Open, head_of, open_table, refuse_rows, told
from bloodcell_core.data.formats.listing import (
    SPLIT_NAMES,
    Entry,
    Format,
    Listing,
    groups_of_names,
    is_picture,
    of_files,
)
from bloodcell_core.data.formats.marked import Mark, cells_of
from bloodcell_core.data.formats.named_files import NamedFiles
from bloodcell_core.data.formats.reading import split_of_name, split_of_path
from bloodcell_core.data.sources import MAX_FILES, FileSource, Source
from bloodcell_core.errors import LabError

CORNERS = ("x0", "y0", "x1", "y1")
COLUMNS = {
    "path": ("path", "file", "filename", "image"),
    "label": ("label", "class"),
    "split": ("split",),
    "group": ("group", "source_photo", "photo", "patient"),
    "box": ("box",),
    "x0": ("x0", "xmin"),
    "y0": ("y0", "ymin"),
    "x1": ("x1", "xmax"),
    "y1": ("y1", "ymax"),
}
"""The names that a column may have, by what it holds."""
ALSO = {
    "split": ("set", "subset", "partition", "phase", "usage", "dataset"),
    "group": ("patient_id", "subject", "subject_id", "donor", "donor_id", "case_id", "slide", "slide_id"),
}
"""Names that are taken where a table has none of those in COLUMNS, the first that is there; a split only if a value is
the name of one."""
FLAG = re.compile(rf"is_?(train|val|test)\w*|{'|'.join(SPLIT_NAMES)}")
OTHER_BOXES = (
    {"bbox"},
    {"x", "y", "w", "h"},
    {"x", "y", "width", "height"},
    {"x_min", "y_min", "x_max", "y_max"},
    {"left", "top", "right", "bottom"},
)
"""Columns of boxes in forms that are refused: passed over, the boxes would be missing without a word."""
NEEDED = ("path", "label")
MAX_PLACE = 2**31  # pixels, of a box's corner
MISSING = ("", "na", "n/a", "nan", "null", "none", "<na>")
"""Texts, in upper or lower case, that mean that a value is missing."""


def _matches(source: Source) -> bool:
    if isinstance(source, FileSource):
        return source.files[0].lower().endswith(SUFFIXES)
    return bool(tables_with(source, has_columns))


def tables_with(source: Source, needed: Callable[[Source, str], bool]) -> list[str]:
    """The tables that have what is needed, in the topmost folders that have any."""
    files = sorted((file for file in source.files if file.lower().endswith(SUFFIXES)), key=_depth)
    levels = ([file for file in level if needed(source, file)] for _, level in groupby(files, _depth))
    return next(filter(None, levels), [])


def _depth(file: str) -> int:
    return file.count("/")


def has_columns(source: Source, file: str) -> bool:
    """Whether a file is meant to be a table of paths and labels, even if it is damaged: if it were ignored, the folders
    beside it, perhaps one per slide or patient, would be taken for the classes."""
    try:
        data = source.read(file)
        names = open_table(file, data)[0] if file.lower().endswith(".parquet") else _names_at_a_glance(data)
    except LabError:
        return False
    plain = {name.strip(" \"'#").lower() for name in names}
    return all(plain.intersection(COLUMNS[needed]) for needed in NEEDED)


def _names_at_a_glance(data: bytes) -> list[str]:
    """The column names of a text file in any encoding, as far as they can be told."""
    head = head_of(data)
    first = head.splitlines()[: sheets.opened(head).passed + 1]  # the lines before it, too: "# path, label" counts
    return re.split("[,;\t]", "\t".join(first))


def _read(source: Source, with_test_simple: bool) -> Listing:
    tables = source.files if isinstance(source, FileSource) else tables_with(source, has_columns)
    if not tables:
        raise LabError(f"{source.name} holds no table with a column path and a column label ({', '.join(SUFFIXES)})")
    return read_tables(source, tables, open_table)


def read_tables(source: Source, tables: Sequence[str], opened: Open) -> Listing:
    """The pictures that tables name, each table opened by `opened`, which gives a column of paths and one of labels."""
    entries = _entries(source, tables[0], opened) if len(tables) == 1 else _joined(source, tables, opened)
    _check_left_out(source, tables, entries)
    check_legend(source, (entry.label for entry in entries), tables)
    if not _marks_cells(entries):
        if not any(entry.source_photo for entry in entries):
            groups = groups_of_names([entry.file for entry in entries])
            entries = [replace(entry, source_photo=group) for entry, group in zip(entries, groups, strict=True)]
        return of_files(source, entries)
    return cells_of(
        source, [Mark(one.file, one.label, one.box or (), one.split, group=one.source_photo) for one in entries]
    )


def _joined(source: Source, tables: Sequence[str], opened: Open) -> list[Entry]:
    """The pictures of several tables that are named after a split each; LabError where they are not."""
    entries: list[Entry] = []
    named_in: dict[str, str] = {}
    for file in tables:
        split = split_of_path(file) or split_of_name(file)
        if not split:
            several = ", ".join(tables[:3])
            raise LabError(f"{source.name} holds several tables of pictures ({several}): import the one that you mean")
        for entry in _entries(source, file, opened):
            if named_in.setdefault(entry.file, file) != file:
                raise LabError(f"{named_in[entry.file]} and {file} both name {entry.file}: keep it in one")
            entries.append(replace(entry, split=entry.split or split))
    return entries


def _check_left_out(source: Source, tables: Sequence[str], entries: Sequence[Entry]) -> None:
    """LabError where tables are of the test or validation split alone, and training pictures lie beside them."""
    if "train" in {entry.split or split_of_name(tables[0]) or "train" for entry in entries}:
        return
    named = {entry.file for entry in entries}
    training = (file for file in source.files if is_picture(file) and split_of_path(file) == "train")
    if other := next((file for file in training if file not in named), None):
        raise LabError(
            f"{source.name}: {' and '.join(tables[:3])} leaves out the training pictures, such as {other}: write a "
            "table of all, or take it out"
        )


def _columns(file: str, names: Sequence[str]) -> dict[str, int]:
    """{what a column holds: its number}; LabError for missing, ambiguous and contradictory columns."""
    plain = [str(name).strip().lower() for name in names]
    found: dict[str, int] = {}
    for holds, spellings in COLUMNS.items():
        places = [place for place, name in enumerate(plain) if name in spellings]
        if len(places) > 1:
            several = ", ".join(names[place] for place in places)
            raise LabError(f"{file} has several columns for the {holds} ({several}): keep one")
        if places:
            found[holds] = places[0]
    for needed in NEEDED:
        if needed not in found:
            have = ", ".join(str(name)[:40] for name in names[:12]) or "no column"
            raise LabError(f"{file} has no column {' or '.join(COLUMNS[needed])}: it has {have}")
    for form in OTHER_BOXES:
        if form <= {*plain} and not found.keys() & {"box", *CORNERS}:
            have = ", ".join(name for name, simple in zip(names, plain, strict=True) if simple in form)
            raise LabError(f"{file} has boxes as {have}: give either {', '.join(CORNERS)} or one column box")
    corners = [corner for corner in CORNERS if corner in found]
    if corners and ("box" in found or len(corners) < 4):
        have = ", ".join(corners + ["box"] * ("box" in found))
        raise LabError(f"{file} has boxes as {have}: give either {', '.join(CORNERS)} or one column box")
    return found


# From columns to pictures


def _entries(source: Source, file: str, opened: Open) -> list[Entry]:
    names, load = opened(file, source.read(file))
    places = _columns(file, names)
    _add_others(file, names, load, places)
    with told(file):
        frame = load([*places.values()])
    if len(frame) > MAX_FILES:
        raise LabError(f"{file} has more than {MAX_FILES:,} rows: import a part of it")
    columns = {holds: [_cell(text) for text in frame[place]] for holds, place in places.items()}
    # Spreadsheets write empty rows at the end, where something was once.
    filled = [row for row in range(len(frame)) if any(cells[row] is not None for cells in columns.values())]
    frame = frame[: max(filled, default=-1) + 1]
    columns = {holds: cells[: len(frame)] for holds, cells in columns.items()}
    nothing: list[str | None] = [None] * len(frame)
    refuse = partial(refuse_rows, file, frame)

    broken = {row for cells in columns.values() for row, cell in enumerate(cells) if _has_control(cell)}
    refuse(sorted(broken), "have a line break or control character in them: is a quotation mark not closed?")
    paths, labels = columns["path"], columns["label"]
    refuse([row for row, path in enumerate(paths) if path is None], "have no path")
    none = _none_words(frame[places["label"]])
    refuse([row for row, label in enumerate(labels) if label is None], f"have no label{none}")
    _check_codes(file, names, load, places, labels)
    splits = columns.get("split", nothing)
    refuse(
        [row for row, split in enumerate(splits) if split and split.lower() not in SPLIT_NAMES],
        f"have a split that is none of {', '.join(SPLIT_NAMES)}",
    )
    inside = NamedFiles(source, file)
    refuse(
        [row for row, path in enumerate(paths) if inside.leaves(str(path))],
        "have a path that leaves the folder: write it relative to the table's folder",
    )
    files = [inside.find(str(path)) for path in paths]
    missing = [row for row, found in enumerate(files) if found is None]
    refuse(missing, f"name a file that is not there, {paths[missing[0]]!r:.80} first" if missing else "")
    boxes, groups = _boxes(columns, nothing), columns.get("group", nothing)
    wrong = [row for row, box in enumerate(boxes) if box == ()]
    refuse(wrong, "have a box that is not x0 y0 x1 y1 with x0 < x1 and y0 < y1")
    entries = [
        Entry(str(found), str(label), SPLIT_NAMES[split.lower()] if split else None, group, box or None)
        for found, label, split, group, box in zip(files, labels, splits, groups, boxes, strict=True)
    ]
    refuse(_contradicting(entries), "name a file to which another row gives another label, group or split")
    if _marks_cells(entries):
        unboxed = [row for row, entry in enumerate(entries) if entry.box is None]
        refuse(unboxed, "have no box, where others have several on one picture: which cell is meant?")
    return entries


def plain_names(names: Sequence[str]) -> list[str]:
    """The names of columns as those in `ALSO` are written."""
    return [re.sub(r"[ -]", "_", str(name).strip().lower()) for name in names]


def _add_others(file: str, names: Sequence[str], load: Load, places: dict[str, int]) -> None:
    """Adds to `places` the columns of a split or group that have another usual name (`ALSO`)."""
    plain = plain_names(names)
    if "split" not in places and (flag := next(filter(FLAG.fullmatch, plain), None)):
        raise LabError(f"{file} tells a split by the column {flag}: write train, val or test into a column split")
    for holds, spellings in ALSO.items():
        place = next((plain.index(name) for name in spellings if name in plain), None)
        if holds in places or place is None:
            continue
        with told(file):
            values = {cell.lower() for text in load([place])[place] if (cell := _cell(text))}
        if values and (holds != "split" or values & SPLIT_NAMES.keys()):
            places[holds] = place


def _check_codes(
    file: str, names: Sequence[str], load: Load, places: dict[str, int], labels: Sequence[str | None]
) -> None:
    """LabError where the labels are numbers and another column has the name of each."""
    codes = set(labels)
    if not all(are_numbers([code]) for code in codes if code) or len(codes) < 2:
        return
    for place, name in enumerate(names):
        if place not in places.values() and TELLS_LABELS.match(str(name)):
            with told(file):
                others = [_cell(text) for text in load([place])[place]][: len(labels)]
            one_each = len(set(zip(labels, others, strict=True))) == len(codes) == len(set(others))
            if one_each and None not in others and not are_numbers(others):
                raise LabError(f"{file}: the labels are numbers, and the column {name} has their names: call it label")


def _marks_cells(entries: Sequence[Entry]) -> bool:
    """Whether any picture has several boxes: then each box is a cell, otherwise each picture is."""
    return len({(entry.file, entry.box) for entry in entries}) > len({entry.file for entry in entries})


def _contradicting(entries: Sequence[Entry]) -> list[int]:
    """Rows that contradict an earlier one about a picture or one of its boxes."""
    of_file: dict[str, Entry] = {}
    of_box: dict[tuple[str, Box | None], str] = {}
    rows = []
    for row, entry in enumerate(entries):
        first = of_file.setdefault(entry.file, entry)
        label = of_box.setdefault((entry.file, entry.box), entry.label)
        # The same cell in two splits is kept once, in the test split; two cells of a picture can't be in two splits.
        apart = entry.box != first.box and entry.split != first.split
        if label != entry.label or entry.source_photo != first.source_photo or apart:
            rows.append(row)
    return rows


def _has_control(cell: str | None) -> bool:
    return any(unicodedata.category(sign) == "Cc" for sign in cell or "")


def _cell(text: object) -> str | None:
    plain = text.strip() if isinstance(text, str) else ""
    return None if plain.lower() in MISSING else plain


def _none_words(texts: Iterable[object]) -> str:
    """The words that were taken for missing labels, to end a message with: otherwise one would look for empty cells."""
    words = sorted({text.strip() for text in texts if isinstance(text, str) and text.strip() and not _cell(text)})
    return f": {', '.join(map(repr, words))} stands for no label: give such a class another name" if words else ""


def _boxes(columns: dict[str, list[str | None]], nothing: list[str | None]) -> list[Box | tuple[()] | None]:
    """Each row's box; None where it has none, () where it is invalid."""
    if "box" in columns:
        numbers = [text.strip("()[] ").replace(",", " ").split() if text else [] for text in columns["box"]]
    elif "x0" in columns:
        corners = zip(*(columns[corner] for corner in CORNERS), strict=True)
        numbers = [[text or "" for text in row] if any(row) else [] for row in corners]
    else:
        return [None] * len(nothing)
    return [_box(texts) if texts else None for texts in numbers]


def _box(texts: Sequence[str]) -> Box | tuple[()]:
    try:
        x0, y0, x1, y1 = (round(float(text)) for text in texts)
    except (ValueError, OverflowError):  # not numbers, not four of them, or infinite
        return ()
    return (x0, y0, x1, y1) if -MAX_PLACE < x0 < x1 < MAX_PLACE and -MAX_PLACE < y0 < y1 < MAX_PLACE else ()


TABLE = Format("table", "A table of paths and labels: CSV, TSV or Parquet", _matches, _read)
