"""Which classes of two datasets are the same cell.

Nothing is guessed. A class matches where the names are the same but for case, plural and punctuation, where both are
well-known names of the same cell (`SAME_CELL`), or where a mapping file says so.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bloodcell_core import sheets
from bloodcell_core.errors import LabError
from bloodcell_core.words import counted

SAME_CELL = (
    {"basophil", "basophil granulocyte", "ba", "baso"},
    {"eosinophil", "eosinophil granulocyte", "eo", "eos", "eosino"},
    {"neutrophil", "neutrophil granulocyte", "ne", "neu", "neut", "neutro"},
    {"lymphocyte", "ly", "lym", "lymph", "lympho"},
    {"monocyte", "mo", "mono"},
    {"platelet", "thrombocyte", "plt"},
    {"erythroblast", "normoblast", "nucleated red blood cell", "nrbc"},
    {"erythrocyte", "red blood cell", "rbc"},
    {"immature granulocyte", "ig"},
)
"""Synonyms, a set a cell."""

MAY_BE = {
    "segmented neutrophil": "neutrophil", "neutrophil segmented": "neutrophil", "seg": "neutrophil",
    "band neutrophil": "neutrophil", "neutrophil band": "neutrophil", "band": "neutrophil",
    "reactive lymphocyte": "lymphocyte", "atypical lymphocyte": "lymphocyte",
    "lymphocyte typical": "lymphocyte", "lymphocyte atypical": "lymphocyte",
}  # fmt: skip
"""Kinds of a cell that some laboratories count with it and others separately."""

MOST_BYTES = 1_000_000  # of a mapping file


def read_class_map(file: Path) -> dict[str, str]:
    """{their class: ours, or '' to leave it out} of a CSV file with the columns `theirs` and `ours`.

    LabError where it can't be read, or names a class of theirs twice.
    """
    text, separator, _ = sheets.read(file, MOST_BYTES, f"the mapping file {file}")
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        head, *lines = [[cell.strip() for cell in row] for row in rows if any(row)] or [[]]
    except csv.Error as error:
        raise LabError(f"the mapping file {file} can't be read: {error}") from None
    head = [name.lower() for name in head]
    if (head.count("theirs"), head.count("ours")) != (1, 1) or not lines:
        raise LabError(f"the mapping file {file} needs the columns theirs,ours and at least one row")
    class_map: dict[str, str] = {}
    for line in lines:
        if len(line) != len(head):  # without its comma a class would be left out, and nobody would have said so
            cells = f"{counted(len(line), 'cell')} in the line of {line[0]!r}, and {len(head)} in its first"
            raise LabError(f"the mapping file {file} has {cells}")
        theirs = line[head.index("theirs")]
        if theirs in class_map:
            raise LabError(f"the mapping file {file} names {theirs!r} twice")
        class_map[theirs] = line[head.index("ours")]
    return class_map


def match_classes(
    theirs: Sequence[str], ours: Sequence[str], class_map: Mapping[str, str] | None = None
) -> dict[str, str | None]:
    """{each of `theirs`: the one of `ours` that it is, or None}; `class_map` (`read_class_map`) goes before the names.

    Raises:
        LabError: where `class_map` names a class that isn't there.
    """
    class_map = class_map or {}
    for name, known, where in (
        *((name, theirs, "that dataset") for name in class_map),
        *((name, ours, "the run") for name in class_map.values() if name),
    ):
        if name not in known:
            raise LabError(f"the mapping file names {name!r}, which {where} doesn't have: there are {', '.join(known)}")
    return {name: (class_map[name] or None) if name in class_map else _by_name(name, ours) for name in theirs}


def common_classes(
    each: Sequence[Sequence[str]], class_map: Mapping[str, str] | None = None, shared: bool = False
) -> list[dict[str, str | None]]:
    """One name for each class of several datasets: per dataset {its class: the name, or None to leave it out}.

    A class has the name that it has in the first dataset that knows it, and else its own; `class_map`
    (`read_class_map`) goes before that and may give names that are new. With `shared` a class that not every dataset
    has is left out.

    Raises:
        LabError: where `class_map` names a class that no dataset has.
    """
    class_map = class_map or {}
    unknown = [name for name in class_map if not any(name in classes for classes in each)]
    if unknown:
        raise LabError(f"the mapping file names {unknown[0]!r}, which none of the datasets has")
    known: list[str] = []
    maps: list[dict[str, str | None]] = []
    for classes in each:
        names: dict[str, str | None] = {name: _by_name(name, known) or name for name in classes}
        maps.append(names | {name: class_map[name] or None for name in classes if name in class_map})
        known += [name for name in maps[-1].values() if name and name not in known]
    if shared:
        everywhere = set.intersection(*(set(of.values()) for of in maps))
        maps = [{own: new if new in everywhere else None for own, new in of.items()} for of in maps]
    return maps


def may_belong_to(name: str, ours: Sequence[str]) -> str | None:
    """The one of `ours` that a class may be a kind of, as some laboratories count it; None where there is none."""
    return _by_name(MAY_BE.get(_singular(name), ""), ours)


def is_kind_of(name: str, cells: Sequence[str]) -> bool:
    """Whether a class is one of some `cells`, by whatever name, or a part of one that some laboratories count apart."""
    return bool(_by_name(name, cells) or may_belong_to(name, cells))


def _by_name(name: str, ours: Sequence[str]) -> str | None:
    """The one of `ours` with that name, the closest spelling first; None where none or several match."""
    for form in (str, str.casefold, _singular, _cell):
        fitting = [own for own in ours if form(own) == form(name)]
        if len(fitting) == 1:
            return fitting[0]
    return None


def _singular(name: str) -> str:
    """A name without case, punctuation and plural: 'Immature_Granulocytes' → 'immature granulocyte'."""
    words = re.sub(r"[\W_]+", " ", name.casefold()).strip()
    return words[:-1] if words.endswith(("cytes", "phils", "blasts", "lets", "cells", "bands", "segs")) else words


def _cell(name: str) -> str:
    """One name for all synonyms of a cell; of any other name its singular."""
    singular = _singular(name)
    return next((min(group) for group in SAME_CELL if singular in group), singular)
