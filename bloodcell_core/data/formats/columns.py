"""A table's file as columns of text, whatever they mean: CSV, TSV or Parquet."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bloodcell_core import sheets
from bloodcell_core.data.pictures import MAX_FILE_BYTES
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
            io.StringIO(text),
            sep=separator,
            header=None,
            dtype=str,
            na_filter=False,
            nrows=rows,
            low_memory=False,
            skip_blank_lines=False,  # they are rows to a person who looks for one by its number
        )

    def load_columns(places: Sequence[int]) -> pd.DataFrame:
        rows = load(MAX_FILES + 2)
        maybe = rows[rows[0].str.strip() == ""].fillna("")
        blank = maybe.index[(maybe.map(str.strip) == "").all(axis=1).to_numpy(bool)]
        return rows.drop(blank).iloc[1:, list(places)]

    return [*load(1).iloc[0]] if text else [], load_columns


def _open_parquet(data: bytes) -> tuple[list[str], Load]:
    schema = pq.ParquetFile(io.BytesIO(data)).schema_arrow

    def load_columns(places: Sequence[int]) -> pd.DataFrame:
        fields = [schema.field(place) for place in places]
        for field in fields:
            if pa.types.is_nested(field.type) or pa.types.is_fixed_size_binary(field.type):
                raise ValueError(f"the column {field.name} holds {field.type} and not text or numbers")
        wanted = [field.name for field in fields]
        table = pq.ParquetFile(io.BytesIO(data), read_dictionary=wanted)  # text stays as it is stored
        if table.metadata.num_rows > MAX_FILES:
            raise ValueError(f"more than {MAX_FILES:,} rows")
        _check_size(table.metadata, wanted)
        kept = pa.schema([table.schema_arrow.field(place) for place in places])
        columns = pa.Table.from_batches(_of_bounded_size(table.iter_batches(columns=wanted)), kept).columns
        frame = pd.DataFrame({place: _as_text(column) for place, column in zip(places, columns, strict=True)})
        frame.index += 1
        return frame

    return schema.names, load_columns


def _check_size(facts: pq.FileMetaData, wanted: Sequence[str]) -> None:
    """ValueError where what is stored of these columns is too large before any text is repeated: it is unpacked whole,
    a gigabyte at a time."""
    groups = (facts.row_group(number).to_dict() for number in range(facts.num_row_groups))
    columns = (column for group in groups for column in group["columns"] if column["path_in_schema"] in wanted)
    _check_bytes(sum(column["total_uncompressed_size"] for column in columns))


def _of_bounded_size(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches; ValueError once they have more text than a file may have bytes.

    A text that stands in many rows is stored once: a Parquet file of a few kilobytes may hold gigabytes.
    """
    size = 0
    for batch in batches:
        for column in batch.columns:
            if pa.types.is_dictionary(column.type):
                size += pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0
        _check_bytes(size)
        yield batch


def _check_bytes(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise ValueError(f"unpacks to more than {MAX_FILE_BYTES // 2**20} MiB")


def _as_text(column: pa.ChunkedArray) -> pd.Series:
    column.validate(full=True)  # a damaged file may hold invalid UTF-8
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None)
    text: pd.Series = pc.cast(column, pa.string()).to_pandas()
    return text


def refuse_rows(file: str, frame: pd.DataFrame, bad: Sequence[int], what: str) -> None:
    """LabError that counts and lists the bad ones of a table's rows, if there are any, with what is wrong with them.

    `bad` are places in the `frame`, whose index has the rows' numbers below the header.
    """
    if bad:
        listed = ", ".join(str(frame.index[row] + 1) for row in bad[:5]) + (", …" if len(bad) > 5 else "")
        raise LabError(f"{file}: {len(bad):,} of {len(frame):,} rows {what} (rows {listed}; the header is row 1)")
