"""The table of predictions: one row a picture, what a run says of it and what its label is.

A run predicts once and keeps it (`predictions.parquet`); every figure, matrix and gallery is a cut of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from bloodcell_core import disk, sheets
from bloodcell_core.errors import LabError
from bloodcell_core.words import GROUP, PHOTO

PHOTOS_UNKNOWN = (
    "source photos aren't known here: the intervals take each picture for an observation of its own, and are too "
    "narrow where pictures are copies of one photo"
)


def predictions_table(pictures: pd.DataFrame, probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """The columns of predictions.parquet for some rows of `Dataset.pictures`.

    image_id, split, label, predicted, source_photo (None where not known), copies (of that photo, and not cells of a
    patient or slide) and one p_<class> a class.
    """
    table = pictures[["image_id", "split", "label"]].reset_index(drop=True)
    table["predicted"] = np.asarray(classes, dtype=object)[probabilities.argmax(1)]
    table["source_photo"] = pictures.source_photo.to_numpy()
    table["copies"] = copies_of(pictures) | table.source_photo.isna()
    for place, name in enumerate(classes):
        table[f"p_{name}"] = probabilities[:, place]
    return table


def probabilities_of(table: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """float64 (N, C) of a table of predictions, in the order of `classes`."""
    return table[[f"p_{name}" for name in classes]].to_numpy(np.float64)


def arrays_of(table: pd.DataFrame, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """A table of predictions as the metrics take it: labels (N,), probabilities (N, C), photos (N,), photos known?

    A picture that was not traced to a photo is a photo of its own; where none was they all are.
    """
    labels = pd.Categorical(table.label, categories=list(classes)).codes.astype(np.int64)
    photos = table.source_photo.fillna(table.image_id).to_numpy()
    return labels, probabilities_of(table, classes), photos, bool(table.source_photo.notna().any())


def copies_of(table: pd.DataFrame) -> np.ndarray:
    """bool (N,): which pictures are copies of their photo, or alone. Tables of older versions don't tell: there all
    are."""
    if "copies" not in table:
        return np.ones(len(table), dtype=bool)
    return table.copies.to_numpy(dtype=bool)


def unit_of(table: pd.DataFrame) -> str:
    """What a table's photos are: photographs, or groups whose pictures aren't all copies of one, such as patients."""
    return PHOTO if copies_of(table).all() else GROUP


def families_of(table: pd.DataFrame) -> pd.Series:
    """What has one answer together: the photo of copies, or the picture itself."""
    known: pd.Series = table.source_photo.fillna(table.image_id)
    return known.where(copies_of(table), table.image_id)


def one_answer_a_photo(table: pd.DataFrame) -> bool:
    """Whether the pictures of each photo have one answer together: they are copies, and bear one label.

    Cells of a patient or a slide are none, whatever their labels: each has an answer of its own.
    """
    labels = table.groupby("source_photo").label.nunique()
    return bool(copies_of(table).all() and (labels <= 1).all())


def check_predictions_file(file: Path) -> None:
    """LabError unless predictions can have that name, OSError where they can't be written there."""
    if file.suffix.lower() not in (".csv", ".parquet"):
        raise LabError(f"predictions are written as .csv or .parquet, not as {file.name!r}")
    disk.check_writable(file)


def write_predictions(table: pd.DataFrame, file: Path) -> None:
    """Writes a table of predictions as CSV or Parquet, by the file's ending; LabError for another ending."""
    check_predictions_file(file)
    texts = table.select_dtypes(exclude="number")
    safe = table.assign(**{str(name): texts[name].map(sheets.harmless) for name in texts})
    # With a byte order mark, without which Excel assumes another encoding
    to_csv = partial(safe.to_csv, index=False, encoding="utf-8-sig")
    writers = {".csv": to_csv, ".parquet": partial(table.to_parquet, index=False)}
    with disk.write_atomic(file) as temporary:
        writers[file.suffix.lower()](temporary)
