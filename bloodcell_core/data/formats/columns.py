"""A table's file as columns of text, whatever they mean: CSV, TSV or Parquet."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bloodcell_core import sheets
from bloodcell_core.data.sources import MAX_FILES
from bloodcell_core.errors import LabError, brief

SUFFIXES = (".csv", ".tsv", ".parquet")
GLANCE = 2**16  # bytes of a text file, within which its header ends

Load = Callable[[Sequence[int]], pd.DataFrame]
Open = Callable[[str, bytes], tuple[list[str], Load]]
"""(file, its bytes) → the names of its columns, and a function that loads some of them, by their numbers, as text."""


@contextmanager
def told(file: str) -> Iterator[None]:
    """Turns what goes wrong in reading a table into a LabError."""
    try:
        yield
    except UnicodeDecodeError:
        raise LabError(f"{file} is not UTF-8 text: save it as CSV UTF-8") from None
    except (ValueError, OSError, pa.ArrowException) as error:  # pandas' own errors of parsing are ValueErrors
        raise LabError(f"{file} can't be read as a table: {brief(error)}") from None


def head_of(data: bytes) -> str:
    """The beginning of a text file in any encoding, as far as it can be told."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    return data[:GLANCE].decode(encoding, "replace")


def open_table(file: str, data: bytes) -> tuple[list[str], Load]:
    """The names of a table's columns, and a function that loads some of them, by their numbers, as text."""
    if not file.lower().endswith(SUFFIXES):
        raise LabError(f"{file} is no table ({', '.join(SUFFIXES)})")
    with told(file):
        return _open_parquet(data) if file.lower().endswith(".parquet") else _open_csv(data)


def _open_csv(data: bytes) -> tuple[list[str], Load]:
    # pandas before 3 silently ends a cell at a NUL; any other control character is reported.
    text, separator, _ = sheets.opened(data.decode("utf-8-sig").replace("\0", "\1"))

    def load(rows: int) -> pd.DataFrame:
        # The header is read as a row like the others: then a row that is longer than it is an error, and isn't cut.
        return pd.read_csv(
            io.StringIO(text), sep=separator, header=None, dtype=str, na_filter=False, nrows=rows, low_memory=False
        )

    def load_columns(places: Sequence[int]) -> pd.DataFrame:
        return load(MAX_FILES + 2).iloc[1:, list(places)]

    return [*load(1).iloc[0]] if text else [], load_columns


def _open_parquet(data: bytes) -> tuple[list[str], Load]:
    table = pq.ParquetFile(io.BytesIO(data))
    names = table.schema_arrow.names

    def load_columns(places: Sequence[int]) -> pd.DataFrame:
        if table.metadata.num_rows > MAX_FILES:
            raise ValueError(f"more than {MAX_FILES:,} rows")
        columns = table.read([names[place] for place in places]).columns
        return pd.DataFrame({place: _as_text(column) for place, column in zip(places, columns, strict=True)})

    return names, load_columns


def _as_text(column: pa.ChunkedArray) -> pd.Series:
    column.validate(full=True)  # a damaged file may hold invalid UTF-8
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None)
    text: pd.Series = pc.cast(column, pa.string()).to_pandas()
    return text


def refuse_rows(file: str, rows: int, bad: Sequence[int], what: str) -> None:
    """LabError that counts and lists the bad ones of a table's rows, if there are any, with what is wrong with them."""
    if bad:
        listed = ", ".join(str(row + 2) for row in bad[:5]) + (", …" if len(bad) > 5 else "")
        raise LabError(f"{file}: {len(bad):,} of {rows:,} rows {what} (rows {listed}; the header is row 1)")
