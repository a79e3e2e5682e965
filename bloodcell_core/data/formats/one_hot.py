"""A table with a column for each class, 1 in that of the picture's class and 0 in the others.

Roboflow writes one into each split's folder (`_classes.csv`), challenges such as ISIC's one a split. Read as any table
is, with the name of the column that has the 1 as the label. A column is a class by what most of its cells hold, so that
a width, an age or a note is none.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from bloodcell_core import sheets
from bloodcell_core.data.formats.class_folders import CLASS_FOLDERS
from bloodcell_core.data.formats.columns import Load, head_of, open_table, refuse_rows, told
from bloodcell_core.data.formats.listing import Format, Listing
from bloodcell_core.data.formats.table import (
    ALSO,
    COLUMNS,
    FLAG,
    OTHER_BOXES,
    has_columns,
    plain_names,
    read_tables,
    tables_with,
)
from bloodcell_core.data.sources import Source
from bloodcell_core.errors import LabError
from bloodcell_core.words import some

SUFFIXES = (".csv", ".tsv")
GLANCE_ROWS = 20
_YES = re.compile(r"(?i)1([.,]0*)?|true")
_YES_OR_NO = re.compile(rf"{_YES.pattern}|0([.,]0*)?|false|")
_BLANK = re.compile("")
_NO_CLASS = {"", "region_count", "region_id"}.union(*COLUMNS.values(), *ALSO.values(), *OTHER_BOXES)
"""The names of columns that hold something else, two of them in VIA's tables."""


def _tables(source: Source) -> list[str]:
    return tables_with(source, _has_classes)


def _matches(source: Source) -> bool:
    # Where another table, or the same one, has the labels in words, it is that one that is meant.
    return bool(_tables(source)) and not tables_with(source, has_columns)


def _has_classes(source: Source, file: str) -> bool:
    return bool(_classes_at_a_glance(source, file))


def _classes_at_a_glance(source: Source, file: str) -> list[str]:
    """The classes of a file that is meant to be such a table: in most of its first rows one of them has the 1."""
    if not file.lower().endswith(SUFFIXES):
        return []
    try:
        text, separator, _ = sheets.opened(head_of(source.read(file)))
        names, *rows = csv.reader(text.splitlines()[: GLANCE_ROWS + 1], delimiter=separator)
    except (LabError, csv.Error, ValueError):  # can't be read, or is empty
        return []
    rows = [row for row in rows if len(row) == len(names)]
    places = _places(names, rows)
    single = [row for row in rows if sum(_is(_YES, row[place]) for place in places) == 1]
    return [names[place].strip() for place in places] if len(places) > 1 and 2 * len(single) > len(rows) else []


def _places(names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[int]:
    """The numbers of the columns that are classes by most of these rows; none without a column of paths."""
    plain = plain_names(names)
    if not {*plain}.intersection(COLUMNS["path"]):
        return []
    return [
        place
        for place, name in enumerate(plain)
        if name not in _NO_CLASS and not FLAG.fullmatch(name) and _are_yes_or_no([row[place] for row in rows])
    ]


def _are_yes_or_no(cells: Sequence[object]) -> bool:
    """Whether most cells that hold something are 0 or 1; true where all are blank, as one may leave out the 0."""
    filled = [cell for cell in cells if not _is(_BLANK, cell)]
    return not filled or 2 * sum(_is(_YES_OR_NO, cell) for cell in filled) > len(filled)


def _is(what: re.Pattern[str], cell: object) -> bool:
    return bool(what.fullmatch(cell.strip() if isinstance(cell, str) else ""))


def _read(source: Source, with_test_simple: bool) -> Listing:
    if not (tables := _tables(source)):
        raise LabError(
            f"{source.name} holds no table with a column path and, for each class, one of 0 and 1 "
            f"({', '.join(SUFFIXES)})"
        )
    _check_folders(source, tables)
    return read_tables(source, tables, _opened)


def _check_folders(source: Source, tables: Sequence[str]) -> None:
    """LabError where the folders may be the classes: then the columns may tell something else, as male and female."""
    try:
        folders = {entry.label for entry, _ in CLASS_FOLDERS.read(source, False).pictures}
    except LabError:
        return
    columns = [name for file in tables for name in _classes_at_a_glance(source, file)]
    if {name.lower() for name in folders}.isdisjoint(name.lower() for name in columns):
        raise LabError(
            f"{source.name}: the classes may be the columns of {tables[0]} ({some(columns, 5, 20)}) or the folders "
            f"({some(sorted(folders), 5, 20)}): import that table by itself, or take it out"
        )


def _opened(file: str, data: bytes) -> tuple[list[str], Load]:
    """A table's columns with one more, `label`; LabError where a row is of no class or of several."""
    names, load = open_table(file, data)
    with told(file):
        frame = load(range(len(names)))
    rows = frame.to_numpy().tolist()
    classes = {place: str(names[place]).strip() for place in _places(names, rows)}
    for place, name in classes.items():
        wrong = [at for at, row in enumerate(rows) if not _is(_YES_OR_NO, row[place])]
        what = f"have neither 0 nor 1 in the column {name[:40]}: take it out if it is no class"
        refuse_rows(file, frame, wrong, what)
    found = [[name for place, name in classes.items() if _is(_YES, row[place])] for row in rows]
    wrong = [at for at, own in enumerate(found) if len(own) != 1 and not all(_is(_BLANK, cell) for cell in rows[at])]
    what = f"have a 1 in none or several of the columns {some([*classes.values()], 5, 20)}: give each picture one class"
    refuse_rows(file, frame, wrong, what)
    frame[len(names)] = [own[0] if own else "" for own in found]
    return [*names, "label"], lambda wanted: frame[list(wanted)]


ONE_HOT = Format("one-hot", "A table with a column of 0 and 1 for each class: CSV or TSV", _matches, _read)
