"""Names and numbers as they are written in sentences for people."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bloodcell_core.errors import LabError

PHOTO, GROUP = "photo", "group"  # copies of one photograph; a patient, slide or field, whose cells have own answers
LONGEST_SHORT_FORM = 4  # capitals, as in NRBC: longer ones are a word that somebody wrote in capitals
SHORT_FORMS = {"ig", "nrbc", "rbc", "wbc"}  # of cells, however they are written: Ig would be an immunoglobulin


def pretty(label: str) -> str:
    """The name of a class as people read it: "NEUTROPHIL" → "Neutrophil", "band_cell" → "Band cell"; "NRBC" stays, and
    so it does in "immature NRBC" → "Immature NRBC"; "ig" → "IG"."""
    words = label.replace("_", " ").split()
    if label.isupper() and len(" ".join(words)) > LONGEST_SHORT_FORM:  # somebody's way to write all of it
        words = [word.lower() for word in words]
    words = [word.upper() if word.lower() in SHORT_FORMS else word for word in words]
    first, *others = [word if _is_short_form(word) else word.lower() for word in words] or [""]
    return " ".join([first if _is_short_form(first) else first.capitalize(), *others])


def _is_short_form(word: str) -> bool:
    return word.isupper() and len(word) <= LONGEST_SHORT_FORM


def titles(labels: Iterable[str]) -> dict[str, str]:
    """`pretty` of each class, by its name; those that would be called alike keep their own: "Blast" and "blast"."""
    called = {label: pretty(label) for label in labels}
    shared = Counter(called.values())
    return {label: name if shared[name] == 1 else label for label, name in called.items()}


def capitalised(text: str) -> str:
    """The text with a capital first letter; what follows stays as it is, unlike by `str.capitalize`."""
    return text[:1].upper() + text[1:]


def counted(number: int, what: str) -> str:
    """How many there are: "1 photo", "1,200 photos"."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """How long something takes or took, as finely as people care: "5 s", "12 min", "1.6 h"."""
    if seconds < 89.5:
        return "less than 1 s" if 0 < seconds < 0.5 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5370 else f"{seconds / 3600:.1f} h"


def groups_behind(facts: Mapping[str, Any]) -> str:
    """The groups behind figures or in a dataset, from its `photos` and `unit`: "71 photos", "12 groups"."""
    if facts["photos"] is None:
        return "source photos not known"
    return counted(facts["photos"], facts["unit"])


def listed(text: str) -> list[str]:
    """The names that a person separated by commas; one that has a comma itself stands in quotation marks, as in CSV.

    LabError where one is longer than Python's reader of CSV takes.
    """
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    try:
        return [name.strip() for row in rows for name in row if name.strip()]
    except csv.Error as error:
        raise LabError(f"these names can't be read, {text[:40]!r}…: {error}") from None


def as_list(names: Iterable[str]) -> str:
    """Names as `listed` reads them."""
    quoted = ('"' + name.replace('"', '""') + '"' if "," in name or name.startswith('"') else name for name in names)
    return ", ".join(quoted)


def first_of(names: Sequence[str], most: int) -> str:
    """Names in a row, at most so many: "a, b and 58 more"."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def some(names: Sequence[str], most: int = 3, letters: int = 30) -> str:
    """The first of some names, each cut to so many letters, and whether there are more: "a, b, c, …"."""
    return ", ".join(name[:letters] for name in names[:most]) + (", …" if len(names) > most else "")
