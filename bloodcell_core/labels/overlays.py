"""Overlays: reviewed labels, laid over a dataset's own. Named, numbered and frozen, so that a training is repeatable.

A version says for some pictures what their label shall be, or that they take no part. It belongs to one dataset's
content and never changes; later decisions make the next version. The dataset itself stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from bloodcell_core import disk, workspace
from bloodcell_core.config import TrainConfig
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError
from bloodcell_core.labels.verdicts import EXCLUDING, LABEL_WRONG, Standing, checked_name, current
from bloodcell_core.runs import Run

COLUMNS = ("image_id", "photo", "label_from", "label_to", "verdict", "at", "by", "note")
FROM_VERDICTS, FROM_CSV = "verdicts", "csv"
DAMAGED = "was changed in the database since it was made"
_TRIES = 20  # at taking the next number, where others take it at the same moment


@dataclass(frozen=True)
class Overlay:
    """One version of an overlay."""

    name: str
    version: int
    at: datetime
    by: str
    made_from: str
    """FROM_VERDICTS or FROM_CSV."""
    dataset: str
    """The dataset's name at the time; `data_hash` identifies it."""
    data_hash: str
    digest: str
    """sha256 of its rows."""
    rows: pd.DataFrame
    """COLUMNS, sorted by image_id: a row for each picture that is changed. `label_to` is None where it is left out."""

    @property
    def reference(self) -> str:
        """Names exactly this version: name@version."""
        return f"{self.name}@{self.version}"

    def describe(self) -> dict[str, Any]:
        """JSON-ready: what it is, and how many pictures and photos it changes and leaves out."""
        parts = self.rows[self.rows.label_to.notna()], self.rows[self.rows.label_to.isna()]
        changed, excluded = ({"pictures": len(part), "photos": int(part.photo.nunique())} for part in parts)
        return _described(self, changed, excluded, set(self.rows.by))

    def laid_over(self, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """The reviewed labels of `dataset.pictures`, int64 (N,) indices of classes, and bool (N,): which take no part.

        A picture that takes no part keeps its own label. LabError where this is of another dataset.
        """
        self.check_fits(dataset)
        labels = dataset.class_indices()
        places = pd.Index(dataset.pictures.image_id).get_indexer(pd.Index(self.rows.image_id, dtype=object))
        wanted = pd.Categorical(self.rows.label_to, categories=dataset.classes).codes.astype(np.int64)
        out = self.rows.label_to.isna().to_numpy(bool)
        labels[places[~out]] = wanted[~out]
        excluded = np.zeros(len(labels), dtype=bool)
        excluded[places[out]] = True
        return labels, excluded

    def relabelled(self, table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
        """A run's table with `image_id` and `label`, on the reviewed labels, without the pictures that take no part.

        Left out, too, are pictures whose label is now none of the run's `classes`: it refuses that class.
        """
        changed = dict(zip(self.rows.image_id, self.rows.label_to, strict=True))
        labels = [changed.get(image_id, label) for image_id, label in zip(table.image_id, table.label, strict=True)]
        table = table.assign(label=pd.Series(labels, index=table.index, dtype=object))
        return table[table.label.isin(classes)]

    def check_fits(self, dataset: Dataset) -> None:
        """LabError unless it was made for this dataset."""
        self.check_hash(dataset.content_hash, dataset.name)

    def check_hash(self, data_hash: str, called: str) -> None:
        """LabError unless it was made for the dataset with that content hash, which the message calls `called`."""
        if self.data_hash != data_hash:
            raise LabError(
                f"overlay {self.reference} was made for another dataset ({self.dataset!r}, {self.data_hash[:12]}…) "
                f"than {called!r}: `review export` and `review import` carry it over where pictures are the same"
            )

    def to_json(self) -> dict[str, Any]:
        """`describe` with its rows, as in a run's labels.json."""
        rows = self.rows.assign(at=[at.isoformat() for at in self.rows["at"]]).astype(object)
        return self.describe() | {"rows": rows.where(rows.notna(), None).to_dict("records")}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Overlay:
        """The overlay that `to_json` was called on."""
        rows = _table([row | {"at": datetime.fromisoformat(row["at"])} for row in kept["rows"]])
        return cls(
            kept["overlay"], kept["version"], datetime.fromisoformat(kept["at"]), kept["by"], kept["made_from"],
            kept["dataset"], kept["data_hash"], kept["digest"], rows,
        )  # fmt: skip


def freeze(name: str, dataset: Dataset, *, by: str) -> tuple[Overlay, bool]:
    """Makes the verdicts that count now the next version of an overlay; returns it, and whether it is new.

    Where they say the same as the last version, that one is returned. LabError where no verdict changes a label, and
    for the name of another dataset's overlay.
    """
    rows = rows_of(current(dataset), dataset)
    if rows.empty and name not in names():
        raise LabError(f"no verdict on {dataset.name!r} changes a label or leaves a picture out yet")
    return save(name, dataset, rows, by=by, made_from=FROM_VERDICTS)


def rows_of(standing: Standing, dataset: Dataset) -> pd.DataFrame:
    """What the verdicts that count change: COLUMNS, a row a picture. One on a photo is one on all its copies."""
    found = []
    pictures = dataset.pictures
    columns = (pictures[name] for name in ("image_id", "photo", "family", "label"))
    for image_id, photo, family, label in zip(*columns, strict=True):
        said = standing.of(image_id, family)
        if said is None or not (said.verdict in EXCLUDING or (said.verdict == LABEL_WRONG and said.label_to != label)):
            continue
        found.append(
            {
                "image_id": image_id, "photo": photo, "label_from": label, "label_to": said.label_to,
                "verdict": said.verdict, "at": said.at, "by": said.by, "note": said.note,
            }
        )  # fmt: skip
    return _table(found)


def save(name: str, dataset: Dataset, rows: pd.DataFrame, *, by: str, made_from: str) -> tuple[Overlay, bool]:
    """Makes `rows` (COLUMNS) the next version of an overlay; returns it, and whether it is new: the last version is
    returned where it has the same rows. LabError for the name of another dataset's overlay."""
    from sqlalchemy import insert, select
    from sqlalchemy.exc import IntegrityError

    from bloodcell_core.labels.database import overlay_rows, overlays, writing

    workspace.check_name(name, "overlay")
    by = checked_name(by)
    rows = _table(rows.to_dict("records"))
    for _ in range(_TRIES):
        try:
            with writing() as connection:
                query = select(overlays).where(overlays.c.name == name).order_by(overlays.c.version.desc()).limit(1)
                last = connection.execute(query).mappings().first()
                if last and last["data_hash"] != dataset.content_hash:
                    raise LabError(f"overlay {name!r} is of another dataset ({last['dataset']!r}): take another name")
                if last and last["digest"] == _digest(rows):
                    return load(f"{name}@{last['version']}"), False
                values: dict[str, Any] = {
                    "name": name, "version": last["version"] + 1 if last else 1, "at": datetime.now(UTC), "by": by,
                    "made_from": made_from, "dataset": dataset.name, "data_hash": dataset.content_hash,
                    "digest": _digest(rows),
                }  # fmt: skip
                new = connection.scalar(insert(overlays).values(values).returning(overlays.c.id))
                if len(rows):
                    records = rows.to_dict("records")
                    todo = [{"overlay": new} | {column: row[column] for column in COLUMNS} for row in records]
                    connection.execute(insert(overlay_rows), todo)
            return Overlay(**values, rows=rows), True
        except IntegrityError:
            continue  # another process has just taken this number
    raise LabError(f"overlay {name!r} is being written by many at once: try again")


def names() -> set[str]:
    """The names of all overlays."""
    from sqlalchemy import select

    from bloodcell_core.labels.database import overlays, reading

    with reading() as connection:
        return set() if connection is None else set(connection.scalars(select(overlays.c.name).distinct()))


def versions() -> list[dict[str, Any]]:
    """`Overlay.describe` of every version of every overlay, by name, the newest version first.

    The database counts, and no rows are read, of which there may be many thousands: whether a version still holds what
    it was made of is asked of it alone (`is_damaged`, `load`).
    """
    from sqlalchemy import func, select

    from bloodcell_core.labels.database import overlay_rows, overlays, reading

    rows = overlay_rows.c
    excluded = rows.label_to.is_(None)
    with reading() as connection:
        if connection is None:
            return []
        query = select(overlays).order_by(overlays.c.name, overlays.c.version.desc())
        found = connection.execute(query).all()
        columns = rows.overlay, excluded, func.count(), func.count(rows.photo.distinct())
        counts = {
            (overlay, bool(out)): {"pictures": pictures, "photos": photos}
            for overlay, out, pictures, photos in connection.execute(select(*columns).group_by(rows.overlay, excluded))
        }
        reviewers: dict[int, set[str]] = {}
        for overlay, by in connection.execute(select(rows.overlay, rows.by).distinct()):
            reviewers.setdefault(overlay, set()).add(by)
    none = {"pictures": 0, "photos": 0}
    return [
        _described(one, counts.get((one.id, False), none), counts.get((one.id, True), none), reviewers.get(one.id, ()))
        for one in found
    ]


def _described(
    version: Any, changed: dict[str, int], excluded: dict[str, int], reviewers: Iterable[str]
) -> dict[str, Any]:
    """`Overlay.describe` of an Overlay or of its row in the database."""
    return {
        "overlay": version.name,
        "version": version.version,
        "at": version.at.isoformat(timespec="milliseconds"),
        "by": version.by,
        "made_from": version.made_from,
        "dataset": version.dataset,
        "data_hash": version.data_hash,
        "digest": version.digest,
        "changed": changed,
        "excluded": excluded,
        "reviewers": sorted(reviewers),
    }


def load(reference: str) -> Overlay:
    """The overlay called NAME@VERSION, or the last version of NAME; LabError where there is none, or it is damaged."""
    overlay = _read(reference)
    if _digest(overlay.rows) != overlay.digest:
        raise LabError(f"overlay {overlay.reference} {DAMAGED}: take another")
    return overlay


def is_damaged(reference: str) -> bool:
    """Whether the rows of a version were edited in the database, so that it can't be used."""
    overlay = _read(reference)
    return _digest(overlay.rows) != overlay.digest


def _read(reference: str) -> Overlay:
    """As `load`, damaged or not."""
    from sqlalchemy import select

    from bloodcell_core.labels.database import overlay_rows, overlays, reading

    name, at, version = reference.partition("@")
    if at and not (version.isascii() and version.isdigit() and len(version) < 9):
        raise LabError(f"an overlay is called NAME or NAME@VERSION, as day-one@2, not {reference[:80]!r}")
    with reading() as connection:
        found = None
        if connection is not None:
            query = select(overlays).where(overlays.c.name == name).order_by(overlays.c.version.desc()).limit(1)
            query = query.where(overlays.c.version == int(version)) if at else query
            found = connection.execute(query).mappings().first()
        if connection is None or found is None:
            raise LabError(f"there is no overlay {reference[:80]!r}: `review overlays` shows what there is")
        query = select(*(overlay_rows.c[column] for column in COLUMNS)).where(overlay_rows.c.overlay == found["id"])
        rows = _table([dict(row) for row in connection.execute(query).mappings()])
    return Overlay(**{key: value for key, value in found.items() if key != "id"}, rows=rows)


def of_config(config: TrainConfig, dataset: Dataset) -> Overlay | None:
    """The overlay that a training of `config` is to use, from the database; None for the dataset's own labels."""
    if not config.labels:
        return None
    overlay = load(config.labels)
    overlay.check_fits(dataset)
    return overlay


def of_run(run: Run) -> Overlay | None:
    """The overlay that a run was trained with, as kept in its folder; None for the dataset's own labels."""
    if not run.config.labels:
        return None
    try:
        return Overlay.from_json(disk.read_json(run.labels_file))
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"{run.labels_file} is damaged: {error}") from None


def of_runs(runs: Iterable[Run]) -> list[Overlay]:
    """The overlays that these runs were trained with, each once, in the order of the runs."""
    return list({overlay.reference: overlay for run in runs if (overlay := of_run(run))}.values())


def _table(rows: Sequence[Mapping[Any, Any]]) -> pd.DataFrame:
    """COLUMNS of rows, in the order of image_id."""
    told = [{column: row[column] for column in COLUMNS} for row in rows]
    table = pd.DataFrame(told, columns=list(COLUMNS), dtype=object)
    return table.sort_values("image_id", ignore_index=True)


def _digest(rows: pd.DataFrame) -> str:
    digest = hashlib.sha256()
    for row in rows.itertuples(index=False):
        digest.update(repr([value.isoformat() if isinstance(value, datetime) else value for value in row]).encode())
    return digest.hexdigest()
