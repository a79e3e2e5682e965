"""Whose mistakes are reviewed, and the tables of which the queue is made, cached while nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import pandas as pd
import streamlit as st

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.scoring import own_predictions
from bloodcell_core.review.queue import QueueFilter, candidates, pairs, queue
from bloodcell_core.runs import Run
from bloodcell_core.training import groups
from ui import cached, lab
from ui.groups import group_title

NO_FOLDS = (
    "Only in-sample: the network was trained on these very labels, and agrees with many wrong ones that it memorised. "
    "Cross-validate on the Train page and choose that under Runs: its networks haven't seen what they judge."
)

ASKING = "Classifying the training pictures"

@dataclass(frozen=True, kw_only=True)
class Source:
    """Whose mistakes are reviewed: a run, or a cross-validation, each of whose runs was tested on its own fold."""

    name: str
    title: str
    runs: Sequence[Run]
    pooled: bool = False

    @property
    def first(self) -> Run:
        """The first of its runs, for what is the same for all: classes and dataset."""
        return self.runs[0]

    @property
    def out_of_fold(self) -> bool:
        """Whether all its pictures are tested by a network that wasn't trained on them."""
        return self.pooled or self.first.out_of_fold

    @cached_property
    def fold_of(self) -> dict[str, Run]:
        """{image_id: the run of a cross-validation that was tested on it}."""
        tables = ((run, lab.predictions(run)) for run in self.runs)
        return {image: run for run, table in tables for image in table.image_id[table.split == "test"]}

    def table(self, training: bool = False) -> pd.DataFrame:
        """Its test predictions; with `training` also those of its training pictures, which takes a while at first."""
        tables = [lab.predictions(run).query("split == 'test'") for run in self.runs]
        if training:
            tables += [lab.predictions(self.first).query("split == 'val'"), self.training_table()]
        return pd.concat(tables, ignore_index=True)

    def training_table(self) -> pd.DataFrame:
        """The predictions for its training pictures, cached; draws progress, and is interrupted by any click."""
        kept = _training_kept(self)
        if not kept:
            bar = st.progress(0.0, ASKING)

            def tell(done: int, total: int) -> None:
                bar.progress(done / total, f"{ASKING}: {done:,} of {total:,}")

            kept.append(own_predictions(self.first, "train", progress=tell))
            bar.empty()
        return kept[0]


resource = partial(cached.resource, hash_funcs=cached.BY | {Source: lambda source: (source.name, list(source.runs))})


def sources() -> dict[str, Source]:
    """All that can be reviewed, by name, newest first. Where there is nothing, the page says so and ends here."""
    found = [Source(name=run.name, title=lab.run_choice(run), runs=[run]) for run in lab.need_runs()]
    for group in groups.groups():
        if group.complete:
            title = f"Cross-validation: {group_title(group)}"
            found.append(Source(name=group.name, title=title, runs=group.finished, pooled=True))
    return {source.name: source for source in found}


def check(source: Source, first: Source, data: Dataset) -> None:
    """LabError unless a source can be reviewed on `data`, and together with the `first` one."""
    if source.first.data_hash != first.first.data_hash:
        raise LabError(f"{first.title} and {source.title} can't be reviewed together: they are of different data")
    if source.first.data_hash != data.content_hash:
        raise LabError(
            f"the dataset {data.name!r} no longer has the pictures that {source.title} was trained on: import those "
            "again under that name to review its mistakes"
        )
    if source.first.classes != first.first.classes:
        raise LabError(f"{source.title} and {first.title} have different classes: review them one by one")


def pictures_of(sources: Sequence[Source], data: Dataset, training: bool) -> pd.DataFrame:
    """`candidates` of the sources, with `row`, the row of the dataset's pictures."""
    if training:  # here and not in the cached function, whose progress bar would be replayed each time
        for source in sources:
            source.training_table()
    return _candidates(sources, data, training)


@resource(max_entries=4, show_spinner=False)
def _candidates(sources: Sequence[Source], data: Dataset, training: bool) -> pd.DataFrame:
    tables = {source.name: source.table(training) for source in sources}
    every = pd.concat([table[["image_id", "source_photo"]] for table in tables.values()])
    photos = dict(zip(every.image_id, every.source_photo.fillna(every.image_id), strict=True))
    photos |= dict(zip(data.pictures.image_id, data.pictures.family, strict=True))
    found = candidates(tables, sources[0].first.classes, photos)
    return found.assign(row=lab.rows_of(data, found.image_id))


@resource(max_entries=8, show_spinner=False)
def _training_kept(source: Source) -> list[pd.DataFrame]:
    """A list, cached by source, in which `training_table` keeps its table."""
    return []


def queue_of(
    sources: Sequence[Source], data: Dataset, training: bool, wanted: QueueFilter, pictures: pd.DataFrame
) -> pd.DataFrame:
    """`queue` of the pictures of `pictures_of`; the order by doubtful labels uses the first source's predictions."""
    issues = _quality(sources[0], data, training) if wanted.order == "issue" else None
    return _queue(sources, data, training, wanted, pictures, issues)


@resource(max_entries=8, show_spinner=False)
def _queue(
    sources: Sequence[Source], data: Dataset, training: bool, wanted: QueueFilter, _pictures: pd.DataFrame,
    _issues: dict[str, float] | None,
) -> pd.DataFrame:  # fmt: skip
    return queue(_pictures, wanted, issues=_issues)


@resource(max_entries=4, show_spinner="Ranking the labels …")
def _quality(source: Source, data: Dataset, training: bool) -> dict[str, float]:
    """`photo` of the queue → how likely its label is right, 0…1."""
    from bloodcell_core.review.ranking import by_family, label_issues

    ranked = label_issues(by_family(source.table(training), data), source.first.classes)
    return dict(zip(ranked.photo, ranked.quality, strict=True))


@resource(max_entries=8, show_spinner=False)
def pairs_of(sources: Sequence[Source], data: Dataset, training: bool, _pictures: pd.DataFrame) -> pd.DataFrame:
    """`queue.pairs` of the pictures of `pictures_of`."""
    return pairs(_pictures)


