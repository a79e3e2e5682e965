"""The review queue: mistakes and near-mistakes of one or several runs in the order to look at them, a photo a row.

Pure functions on tables of predictions: predict once, and every queue is a cheap cut of that. `candidates` has a row
a picture, `queue` a row a source photo, because a verdict decides all of a photo's pictures at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bloodcell_core.data.dataset import Dataset, same_dataset
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.predictions import probabilities_of
from bloodcell_core.labels.verdicts import Standing
from bloodcell_core.runs import Run

NEAR = 0.2  # a right answer whose class leads by less than this is a near-mistake

ORDERS: dict[str, tuple[str, bool]] = {
    "confidence": ("confidence", False),
    "loss": ("loss", False),
    "margin": ("margin", True),
    "disagreement": ("disagreement", False),
    "issue": ("issue", True),
    "photo": ("photo", True),
}
"""Orders of a queue: the column, and whether its lowest value comes first."""

REVIEWED = ("unreviewed", "reviewed", "disputed", "all")
RANGES = ("confidence", "margin", "loss")
"""Columns by whose lowest and highest value a queue can be filtered."""


@dataclass(frozen=True, kw_only=True)
class QueueFilter:
    """The filter and order of a queue. LabError for a choice that doesn't exist."""

    near: bool = False
    """Near-mistakes too: right, but by a margin below NEAR."""
    label: str | None = None
    answer: str | None = None
    """Given by at least one of several runs."""
    confidence: tuple[float, float] = (0.0, 1.0)
    margin: tuple[float, float] = (-1.0, 1.0)
    loss: tuple[float, float] = (0.0, math.inf)
    """Lowest and highest of each, both included."""
    disputed_by_runs: bool = False
    """Only what the runs disagree on."""
    reviewed: str = "unreviewed"
    """One of REVIEWED; `disputed`: people's verdicts differ."""
    order: str = "confidence"

    def __post_init__(self) -> None:
        if self.reviewed not in REVIEWED:
            raise LabError(f"a queue holds what is {', '.join(REVIEWED)}, not {self.reviewed!r}")
        if self.order not in ORDERS:
            raise LabError(f"a queue is ordered by {', '.join(ORDERS)}, not {self.order!r}")
        for name in RANGES:
            low, high = getattr(self, name)
            if not low <= high:
                raise LabError(f"{name} lies between a lower and a higher figure, not {low:g} and {high:g}")


def of_runs(runs: Sequence[Run], splits: Sequence[str] = ("test",)) -> tuple[Dataset, pd.DataFrame]:
    """`candidates` of runs of one dataset, and that dataset; LabError where they are of several, or it is gone."""
    first, *others = runs
    for run in others:
        if run.data_hash != first.data_hash or run.classes != first.classes:
            raise LabError(f"{first.name} and {run.name} can't be reviewed together: they are of different data")
    dataset = same_dataset(first.config.data, first.data_hash, first.name)
    tables = {run.name: run.predictions() for run in runs}
    tables = {name: table[table.split.isin(list(splits))] for name, table in tables.items()}
    photos = dict(zip(dataset.pictures.image_id, dataset.pictures.family, strict=True))
    return dataset, candidates(tables, first.classes, photos)


def candidates(
    tables: Mapping[str, pd.DataFrame], classes: Sequence[str], photos: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Every picture that one of the runs predicted, with how sure and how wrong the runs are together.

    Args:
        tables: by run, the predictions to look at, with the columns of predictions.parquet. A run without a row for a
            picture takes no part in it.
        classes: of all of them.
        photos: image_id → what one verdict decides, `family` of `Dataset.pictures`; by default the source photo.

    Returns:
        A row a picture, by image_id:
        - image_id, photo, label.
        - p_<class>: mean probability over the runs, 0…1.
        - answer: the commonest wrong answer (of several the most probable); the label where no run is wrong.
        - answers: {run: class}.
        - runs, wrong_runs: how many predicted it, and how many of them were wrong.
        - confidence: the mean probability of `answer`.
        - margin: the label's probability less the highest other one, -1…1; below 0 for a mistake.
        - loss: -log of the label's probability, the natural logarithm.
        - disagreement: share of the runs that don't give the commonest answer, 0…1.
        - mistake: at least one run is wrong. near: none is, and the margin is below NEAR.

    Raises:
        LabError: for no table, and where the runs have different labels for one picture.
    """
    if not tables:
        raise LabError("a queue needs the predictions of at least one run")
    every = pd.concat([table.assign(run=run) for run, table in tables.items()], ignore_index=True)
    every["source_photo"] = every.source_photo.fillna(every.image_id)
    codes, ids = pd.factorize(every.image_id, sort=True)
    of_picture = every.groupby(codes)
    if len(every) and of_picture.label.nunique().max() > 1:
        raise LabError("the runs have different labels for the same pictures: review them one by one")
    first = of_picture.first()
    size, count = len(classes), len(ids)
    labels = pd.Categorical(first.label, categories=list(classes)).codes.astype(np.int64)
    runs = np.bincount(codes, minlength=count)
    summed = np.zeros((count, size))
    np.add.at(summed, codes, probabilities_of(every, classes))
    shares = summed / runs[:, None]
    said = np.zeros((count, size), dtype=np.int64)
    np.add.at(said, (codes, pd.Categorical(every.predicted, categories=list(classes)).codes), 1)

    rows = np.arange(count)
    wrong = said.copy()
    wrong[rows, labels] = 0
    wrong_runs = wrong.sum(axis=1)
    answer = np.where(wrong_runs > 0, (wrong + shares / 2).argmax(axis=1), labels)  # a share decides between ties alone
    others = shares.copy()
    others[rows, labels] = -1
    own = shares[rows, labels]
    margin = own - others.max(axis=1)
    names = np.asarray(classes, dtype=object)
    answers: list[dict[str, str]] = [{} for _ in rows]
    for code, run, predicted in zip(codes, every.run, every.predicted, strict=True):
        answers[code][run] = predicted
    table = pd.DataFrame(
        {
            "image_id": ids,
            "photo": first.source_photo.to_numpy() if photos is None else [photos[each] for each in ids],
            "label": names[labels],
            "answer": names[answer],
            "answers": answers,
            "runs": runs,
            "wrong_runs": wrong_runs,
            "confidence": shares[rows, answer],
            "margin": margin,
            "loss": -np.log(np.maximum(own, np.finfo(np.float64).tiny)),
            "disagreement": 1 - said.max(axis=1) / runs,
            "mistake": wrong_runs > 0,
            "near": (wrong_runs == 0) & (margin < NEAR),
        }
    )
    return table.assign(**{f"p_{name}": shares[:, place] for place, name in enumerate(classes)})


def queue(
    pictures: pd.DataFrame,
    wanted: QueueFilter = QueueFilter(),
    standing: Standing | None = None,
    issues: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """The photos to look at, each once, in order.

    Args:
        pictures: what `candidates` gave.
        standing: the verdicts that count; None for none.
        issues: photo → how likely its label is right, 0…1 (`ranking.label_issues`); needed for the order `issue`,
            in which photos without a figure come last.

    Returns:
        For each photo the row of its picture that comes first in this order, ties by image_id, and:
        - pictures: how many of the photo's pictures were predicted; wrong_pictures: of how many a run is wrong.
        - issue: of `issues`, NaN where there is none.
        - verdict, by: the verdict that counts and whose it is; None where there is none. disputed: people differ.
    """
    if wanted.order == "issue" and issues is None:
        raise LabError("the order 'issue' needs a ranking of labels: it is made from a cross-validation")
    column, ascending = ORDERS[wanted.order]
    pictures = pictures.assign(issue=pictures.photo.map(issues or {}).astype("float64"))
    of_photo = pictures.groupby("photo").mistake
    table = pictures.assign(pictures=of_photo.transform("size"), wrong_pictures=of_photo.transform("sum"))
    table = table[_asked_for(table, wanted)]
    verdicts = [
        standing.of(image_id, photo) if standing else None
        for image_id, photo in zip(table.image_id, table.photo, strict=True)
    ]
    disputed = table.photo.isin(standing.disagreements if standing else ())
    table = table.assign(
        verdict=pd.Series([each and each.verdict for each in verdicts], index=table.index, dtype=object),
        by=pd.Series([each and each.by for each in verdicts], index=table.index, dtype=object),
        disputed=disputed,
    )
    kept = {
        "unreviewed": table.verdict.isna(), "reviewed": table.verdict.notna(), "disputed": disputed,
        "all": pd.Series(True, index=table.index),
    }[wanted.reviewed]  # fmt: skip
    table = table[kept].sort_values([column, "image_id"], ascending=[ascending, True], na_position="last")
    return table.drop_duplicates("photo").reset_index(drop=True)


def _asked_for(table: pd.DataFrame, wanted: QueueFilter) -> pd.Series:
    chosen = table.mistake | (table.near & wanted.near)
    if wanted.order == "issue":  # a label can be wrong although the network agrees with it
        chosen |= table.issue.notna()
    if wanted.label is not None:
        chosen &= table.label == wanted.label
    if wanted.answer is not None:
        chosen &= table.answers.map(lambda said: wanted.answer in said.values()).astype(bool)
    for column in RANGES:
        chosen &= table[column].between(*getattr(wanted, column))
    if wanted.disputed_by_runs:
        chosen &= table.disagreement > 0
    return chosen


def family(pictures: pd.DataFrame, photo: str) -> pd.DataFrame:
    """The pictures of a photo among `candidates`, those with the greatest loss first: what one verdict decides."""
    own = pictures[pictures.photo == photo]
    return own.sort_values(["loss", "image_id"], ascending=[False, True], ignore_index=True)


def pairs(pictures: pd.DataFrame) -> pd.DataFrame:
    """The confusions: label, wrong answer, pictures, photos; those of most photos first.

    With several runs a picture counts for each wrong answer that one of them gave.
    """
    said = pictures.assign(answer=pictures.answers.map(lambda each: sorted(set(each.values())))).explode("answer")
    wrong = said[said.answer != said.label]
    counted = wrong.groupby(["label", "answer"]).agg(pictures=("image_id", "size"), photos=("photo", "nunique"))
    return counted.reset_index().sort_values(
        ["photos", "pictures", "label", "answer"], ascending=[False, False, True, True], ignore_index=True
    )
