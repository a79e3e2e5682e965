"""Overlays as CSV files, for spreadsheets and for other workspaces.

An imported file is not trusted: its columns, pictures, classes and length are checked, and it is taken whole or not at
all. No cell that is written is a formula (sheets.py), and what is written is read back unchanged.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from bloodcell_core import disk, sheets, workspace
from bloodcell_core.data import dataset as datasets
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError
from bloodcell_core.labels.overlays import COLUMNS, FROM_CSV, Overlay, save
from bloodcell_core.labels.verdicts import (
    AMBIGUOUS,
    EXCLUDING,
    LABEL_WRONG,
    LONGEST_NOTE,
    MODEL_WRONG,
    checked_name,
    checked_text,
    verdict_code,
)

HEADER = ("image_id", "file", "photo", "label_from", "label", "verdict", "by", "at", "note")
NEEDED = ("image_id", "label")
MOST_BYTES = 50_000_000  # of a file of labels


def to_csv(overlay: Overlay, dataset: Dataset) -> str:
    """The overlay as CSV with the columns of HEADER; `label` is empty where a picture takes no part."""
    overlay.check_fits(dataset)
    files = dataset.pictures.set_index("image_id").file
    text = io.StringIO(newline="")
    writer = sheets.Writer(text)
    writer.row(HEADER)
    for row in overlay.rows.to_dict("records"):
        row |= {"file": files[row["image_id"]], "label": row["label_to"] or "", "at": row["at"].isoformat()}
        writer.row(str(row[column]) for column in HEADER)
    return text.getvalue()


def write_csv(overlay: Overlay, dataset: Dataset, file: Path) -> None:
    """Writes `to_csv` to a file, whole or not at all."""
    with disk.write_atomic(file) as temporary:
        # With a byte order mark, without which Excel assumes another encoding
        temporary.write_bytes(to_csv(overlay, dataset).encode("utf-8-sig"))


def import_csv(
    file: Path, name: str, *, by: str, data: str | None = None, called: str = ""
) -> tuple[Overlay, bool, int]:
    """Makes a CSV file the next version of an overlay.

    Args:
        file: with at least the columns of NEEDED and none but those of HEADER. A line gives the picture `image_id`
            another label, or takes it out by an empty label and the verdict ambiguous or unusable. A changed label and
            `ambiguous` hold for all copies of its photo, `unusable` for this picture only.
        name: the overlay's.
        by: who imports it; also the reviewer of lines that name none.
        data: the dataset's name; by default the one dataset that has all the pictures.
        called: the file's name where a person knows it by another than that of `file`.

    Returns:
        The overlay, whether a version was made (not where the last one says the same), and how many lines change
        nothing.

    Raises:
        LabError: for a file that isn't such a table, with the line; nothing is kept then.
    """
    workspace.check_name(name, "overlay")
    lines = [*_lines(file, called or file.name)]
    dataset = Dataset(data) if data else _dataset_of(lines)
    rows, unchanged = _rows(lines, dataset, by)
    overlay, made = save(name, dataset, rows, by=by, made_from=FROM_CSV)
    return overlay, made, unchanged


def _lines(file: Path, called: str) -> Iterator[dict[str, Any]]:
    """{column: cell} of each line, with its number as `line`; LabError where the file isn't such a table."""
    text, separator, passed = sheets.read(file, MOST_BYTES, repr(called))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        _check_header(header, called)
        seen: dict[str, int] = {}
        for cells in reader:
            line = passed + reader.line_num
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise LabError(f"line {line} has {len(cells)} cells, the header {len(header)}")
            row: dict[str, Any] = {column: sheets.as_it_was(cell) for column, cell in zip(header, cells, strict=True)}
            row["image_id"] = row["image_id"].strip()
            if (before := seen.setdefault(row["image_id"], line)) != line:
                raise LabError(f"lines {before} and {line} are of the same picture")
            yield row | {"line": line}
    except csv.Error as error:
        raise LabError(f"line {passed + reader.line_num} isn't CSV: {error}") from None
    if not seen:
        raise LabError(f"{called!r} has no line below its first")


def _check_header(header: list[str], file: str) -> None:
    for column in NEEDED:
        if column not in header:
            raise LabError(f"{file!r} lacks the column {column!r}: it needs {', '.join(NEEDED)}, and may have all that "
                           "`review export` writes")  # fmt: skip
    for column in header:
        if column not in HEADER or header.count(column) > 1:
            raise LabError(f"{file!r} has a column {column[:40]!r} too many: there may be {', '.join(HEADER)}")


def _dataset_of(lines: list[dict[str, Any]]) -> Dataset:
    """The dataset of the workspace that has all the pictures; LabError where none or several do."""
    wanted = {row["image_id"] for row in lines}
    known = {dataset.name: dataset for dataset in datasets.readable()[0]}
    lacking = {name: wanted - set(dataset.pictures.image_id) for name, dataset in known.items()}
    having = [name for name, missing in lacking.items() if not missing]
    if len({known[name].content_hash for name in having}) == 1:
        return known[having[0]]
    if having:
        raise LabError(f"the datasets {', '.join(having)} have these pictures: say which with --data")
    nearest = min(lacking, key=lambda name: len(lacking[name]), default=None)
    if nearest is None:
        raise LabError("there is no dataset yet: `data import` or `data demo` makes one")
    some = min(row["line"] for row in lines if row["image_id"] in lacking[nearest])
    count = len(lacking[nearest])
    raise LabError(f"no dataset has all these pictures: {nearest!r} lacks {count:,}, the first in line {some}")


def _rows(lines: list[dict[str, Any]], dataset: Dataset, by: str) -> tuple[pd.DataFrame, int]:
    """The rows (COLUMNS) that the lines change, and how many lines change nothing."""
    pictures = dataset.pictures
    columns = (pictures[name] for name in ("image_id", "photo", "family", "label"))
    own = {
        image_id: {"photo": photo, "family": family, "label": label}
        for image_id, photo, family, label in zip(*columns, strict=True)
    }
    of_photo: dict[str, dict[str, Any]] = {}
    of_picture: dict[str, dict[str, Any]] = {}
    unchanged = 0
    for line in lines:
        try:
            said = _said(line, own, dataset, by)
        except LabError as error:
            raise LabError(f"line {line['line']}: {error}") from None
        photo = own[line["image_id"]]["family"]
        if said is None:
            unchanged += 1
            said = {"verdict": MODEL_WRONG, "label_to": own[line["image_id"]]["label"]}
        else:
            of_picture[line["image_id"]] = said
        if said["verdict"] in (LABEL_WRONG, AMBIGUOUS, MODEL_WRONG):
            first = of_photo.setdefault(photo, said | {"line": line["line"]})
            if first["label_to"] != said["label_to"]:
                raise LabError(f"lines {first['line']} and {line['line']} say different things of one photo's pictures")
    rows = []
    for image_id, facts in own.items():
        said = of_picture.get(image_id) or of_photo.get(facts["family"])
        if said and said["verdict"] != MODEL_WRONG and said["label_to"] != facts["label"]:
            told = {"image_id": image_id, "photo": facts["photo"], "label_from": facts["label"]}
            rows.append({key: value for key, value in (said | told).items() if key in COLUMNS})
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object), unchanged


def _said(line: dict[str, Any], own: dict[str, dict[str, str]], dataset: Dataset, by: str) -> dict[str, Any] | None:
    """The decision of a line, or None where it changes nothing."""
    if line["image_id"] not in own:
        raise LabError(f"dataset {dataset.name!r} has no picture {line['image_id'][:80]!r}")
    label, label_own = line["label"], own[line["image_id"]]["label"]
    if line.get("label_from") and line["label_from"] != label_own:
        raise LabError(f"the picture's own label is {label_own!r}, not {line['label_from'][:80]!r} as the file says")
    verdict = verdict_code(line["verdict"]) if line.get("verdict", "").strip() else LABEL_WRONG if label else ""
    if verdict in EXCLUDING and label:
        raise LabError(f"{verdict} takes the picture out, so it has no label")
    if (verdict == LABEL_WRONG and not label) or not verdict:
        raise LabError("it has neither a label nor a verdict that takes the picture out")
    if label and label not in dataset.classes:
        raise LabError(f"there is no class {label[:80]!r}: there are {', '.join(dataset.classes)}")
    if verdict == MODEL_WRONG and label not in ("", label_own):
        raise LabError(f"{MODEL_WRONG} says that the picture's own label {label_own!r} is right, not {label!r}")
    if verdict == MODEL_WRONG or label == label_own:
        return None
    try:
        at = datetime.fromisoformat(line["at"]) if line.get("at") else datetime.now(UTC)
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise LabError(f"{line['at'][:40]!r} is no time, as 2026-01-31T12:00:00+00:00") from None
    return {
        "verdict": verdict, "label_to": label or None, "at": at,
        "by": checked_name(line.get("by") or by),
        "note": checked_text(line.get("note", ""), "note", LONGEST_NOTE, empty=True),
    }  # fmt: skip
