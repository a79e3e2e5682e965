"""CSV that a spreadsheet may open: no cell that somebody wrote (a file, a class, a note, a slide's name) is a formula.

A spreadsheet runs a cell that begins as a formula does. Such a cell is written with an apostrophe before it, which what
reads our own files takes off again: any text comes back as it was. Numbers stay as they are.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

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
    """A text of cells, as `opened` finds it."""

    text: str
    """From the header on."""
    separator: str
    """What stands between its cells: a semicolon from a spreadsheet set to another country's habit."""
    passed: int
    """Lines before the header."""


def opened(text: str) -> Opened:
    """The text from its header on: blank lines and comments (#) before it, and Excel's own `sep=;`, are passed over."""
    told, passed, start = "", 0, 0
    while found := _BEFORE_HEADER.match(text, start):
        told, passed, start = found[1] or told, passed + 1, found.end()
    text = text[start:]
    return Opened(text, told or max(",;\t", key=text.partition("\n")[0].count), passed)


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
