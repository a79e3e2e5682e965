"""CSV files that a spreadsheet can open safely: no text that somebody wrote (a class, a note …) runs as a formula.

A spreadsheet runs a cell that begins as a formula does. Such a cell is written with an apostrophe before it, which is
removed when we read our own files: any text comes back as it was. Numbers stay as they are.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bloodcell_core import disk
from bloodcell_core.errors import LabError

T = TypeVar("T")

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")  # with any number of our own marks before it
# A column may be called "#"
_BEFORE_HEADER = re.compile(r'(?:"?sep=(.)"?[,;\t ]*|#(?![,;\t]).*|[ \t\r]*)\r?\n', re.IGNORECASE)


def harmless(cell: T) -> T | str:
    """`cell`, marked by an apostrophe where it is text that a spreadsheet would take for a formula."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def as_it_was(cell: str) -> str:
    """The text that `harmless` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


class Opened(NamedTuple):
    """CSV text, as `opened` finds it."""

    text: str
    """From the header on."""
    separator: str
    """Between its cells: a comma, a tab, or a semicolon as spreadsheets write it in many countries."""
    passed: int
    """Lines before the header."""


def opened(text: str) -> Opened:
    """The text from its header on: blank lines, comments (#) and Excel's `sep=;` before it are skipped."""
    told, passed, start = "", 0, 0
    while found := _BEFORE_HEADER.match(text, start):
        told, passed, start = found[1] or told, passed + 1, found.end()
    text = text[start:]
    return Opened(text, told or max(",;\t", key=text.partition("\n")[0].count), passed)


def read(file: Path, most_bytes: int, called: str) -> Opened:
    """The text of a CSV file, as `opened` finds it; LabError, with `called` for its name, where it can't be read."""
    try:
        if file.exists() and not file.is_file():  # a pipe would keep us waiting, and of a device there may be no end
            raise LabError(f"{called} is no file")
        if (size := file.stat().st_size) > most_bytes:
            raise LabError(f"{called} has {size / 1e6:,.0f} MB: at most {most_bytes / 1e6:.0f} MB are read")
        return opened(file.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise LabError(f"{called} isn't text in UTF-8: save it as 'CSV UTF-8'") from None
    except OSError as error:
        raise LabError(f"{called} can't be read: {error.strerror}") from None


def check_file(file: Path) -> None:
    """LabError unless a table can have that name, OSError where it can't be written there."""
    if file.suffix.lower() != ".csv":  # it may well be a picture, where the file's name was forgotten
        raise LabError(f"a table is written as .csv, not as {file.name!r}")
    disk.check_writable(file)


class Writer:
    """Writes rows of CSV to an open text file, each cell harmless."""

    def __init__(self, file: Any):
        self._writer = csv.writer(file)

    def row(self, cells: Iterable[Any]) -> None:
        """One row: numbers, texts, or None for an empty cell."""
        self._writer.writerow([harmless(cell) for cell in cells])

    def rows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Several rows, as `row` writes each."""
        for cells in rows:
            self.row(cells)
