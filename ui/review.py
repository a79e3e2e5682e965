"""What the Review page reviews: the runs, the dataset, and the queue that filters and order make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import streamlit as st

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError
from bloodcell_core.labels.verdicts import Event, Standing, current
from bloodcell_core.review.queue import Wanted, candidates, pairs, queue
from bloodcell_core.runs import Run
from bloodcell_core.training import groups
from ui import lab, shell
from ui.groups import group_title
from ui.theme import pretty

ALL = "all"
ORDERS = {
    "confidence": "Most confident first",
    "loss": "Worst first (loss)",
    "margin": "Closest to the label last (margin)",
    "disagreement": "Runs disagree most",
    "issue": "Label most doubtful",
    "photo": "By photo",
}
WHICH = {"unreviewed": "Unreviewed only", "reviewed": "Reviewed", "disputed": "Reviewers differ", "all": "All"}
SURE = {ALL: ("Any", (0.0, 1.0)), "low": ("Below 60%", (0.0, 0.6)), "high": ("Above 90%", (0.9, 1.0))}
WORDS = {
    "model-wrong": "model wrong",
    "label-wrong": "label wrong",
    "ambiguous": "ambiguous",
    "unusable": "unusable",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Whose mistakes are looked at: a run, or a cross-validation, whose folds each predicted their own pictures."""

    name: str
    title: str
    runs: Sequence[Run]
    pooled: bool = False

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def stamp(self) -> tuple[Any, ...]:
        """Changes when the predictions do."""
        return (self.name, *((run.folder / "predictions.parquet").stat().st_mtime_ns for run in self.runs))

    def table(self) -> pd.DataFrame:
        """Its test predictions, each with the run that made it."""
        tables = [lab.predictions(run).query("split == 'test'").assign(run_name=run.name) for run in self.runs]
        return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True, kw_only=True)
class Review:
    """What is reviewed now: whose answers, of which pictures, in which order."""

    sources: Sequence[Source]
    data: Dataset
    pictures: pd.DataFrame
    """`candidates` of the queue, with `row`: of the dataset's pictures."""
    rows: pd.DataFrame
    """The queue, a photo a row, what is decided among it."""
    which: str
    """A key of WHICH."""
    by: str
    """The reviewer's name."""

    @property
    def classes(self) -> list[str]:
        return self.sources[0].first.classes

    @cached_property
    def place(self) -> dict[str, int]:
        """Where in the queue each picture is."""
        return {image_id: place for place, image_id in enumerate(self.rows.image_id)}

    @cached_property
    def ids(self) -> list[tuple[str, str]]:
        """Picture and photo of each row, as plain Python: looked through at each step."""
        return list(zip(self.rows.image_id.tolist(), self.rows.photo.tolist(), strict=True))

    @cached_property
    def copies(self) -> Mapping[str, int]:
        """How many pictures of the dataset each photo has."""
        counts: dict[str, int] = self.data.pictures.photo.value_counts().to_dict()
        return counts

    def run_of(self, image_id: str) -> Run:
        """The run whose answer is shown: of several sources the first that gave that answer, of folds the picture's."""
        row = self.rows.iloc[self.place[image_id]]
        source = next((each for each in self.sources if row.answers.get(each.name) == row.answer), self.sources[0])
        if not source.pooled:
            return source.first
        return next(run for run in source.runs if (lab.predictions(run).image_id == image_id).any())


def sources() -> dict[str, Source]:
    """All that can be reviewed, newest first; where there is nothing the page says so, leads on, and ends here."""
    found = [Source(name=run.name, title=lab.run_title(run), runs=[run]) for run in lab.need_runs()]
    for group in groups.groups():
        if len(group.finished) == group.config.folds:
            title = f"Cross-validation: {group_title(group)}"
            found.append(Source(name=group.name, title=title, runs=group.finished, pooled=True))
    return {source.name: source for source in found}


def choose(known: Mapping[str, Source]) -> Review:
    """The row of choices above the desk, and what they choose. LabError where the runs can't be reviewed together."""
    names = shell.bound_multiselect(
        "Runs", list(known), "run", default=[next(iter(known))], format_func=lambda name: known[name].title, width=330
    )
    picked = [known[name] for name in names]
    data = lab.dataset(picked[0].first.config.data)
    for source in picked:
        _check(source, picked[0], data)
    pictures = _candidates(tuple(source.stamp for source in picked), data.content_hash, picked, data)
    shown = pictures[pictures.row.notna()]
    if len(shown) < len(pictures):
        st.warning(
            f"{len(pictures) - len(shown):,} pictures can't be shown: {shell.plain(data.name)} has them no more.",
            icon=":material/warning:",
        )
    wanted, which = _filters(shown, picked, data)
    return Review(
        sources=picked, data=data, pictures=shown, which=which, by="",
        rows=_queue(tuple(source.stamp for source in picked), data.content_hash, wanted, shown),
    )  # fmt: skip


def _check(source: Source, first: Source, data: Dataset) -> None:
    if source.first.data_hash != data.content_hash:
        raise LabError(
            f"the dataset called {data.name!r} holds other pictures now than {source.title} was trained on: import "
            "those again under that name to review its mistakes"
        )
    if source.first.classes != first.first.classes:
        raise LabError(f"{source.title} and {first.title} know different classes: review them one by one")


@st.cache_resource(max_entries=4, show_spinner=False)
def _candidates(
    stamps: tuple[Any, ...], content_hash: str, _sources: Sequence[Source], _data: Dataset
) -> pd.DataFrame:
    tables = {source.name: source.table() for source in _sources}
    every = pd.concat([table[["image_id", "source_photo"]] for table in tables.values()])
    photos = dict(zip(every.image_id, every.source_photo.fillna(every.image_id), strict=True))
    photos |= dict(zip(_data.pictures.image_id, _data.pictures.photo, strict=True))
    found = candidates(tables, _sources[0].first.classes, photos)
    return found.assign(row=lab.rows_of(_data, found.image_id))


@st.cache_resource(max_entries=8, show_spinner=False)
def _queue(stamps: tuple[Any, ...], content_hash: str, wanted: Wanted, _pictures: pd.DataFrame) -> pd.DataFrame:
    return queue(_pictures, wanted)


def _filters(pictures: pd.DataFrame, picked: Sequence[Source], data: Dataset) -> tuple[Wanted, str]:
    """The pair, the order, and in a popover what is asked for less often."""
    classes = picked[0].first.classes
    counted = {
        f"{classes.index(row.label)}-{classes.index(row.answer)}": row
        for row in pairs(pictures).itertuples(index=False)
    }
    total = int(pictures[pictures.mistake].photo.nunique())
    unit = "photos" if data.photos_known else "pictures"
    pair = shell.bound_selectbox(
        "Mistake", [ALL, *counted], "pair", default=ALL, width=270, forget=("picture",),
        format_func=lambda value: f"All mistakes ({total:,} {unit})" if value == ALL
        else f"{pretty(counted[value].label)} called {pretty(counted[value].answer)} ({counted[value].photos:,})",
    )  # fmt: skip
    orders = [name for name in ORDERS if name != "issue" and (len(picked) > 1 or name != "disagreement")]
    order = shell.bound_selectbox("Order", orders, "order", default=orders[0], format_func=ORDERS.get, width=200)
    which = shell.follow_address("which", WHICH, "unreviewed")
    with st.popover("Filters", icon=":material/tune:"):
        st.segmented_control(
            "Show", list(WHICH), format_func=WHICH.get, required=True, **shell.writing_back("which", "unreviewed")
        )
        near = shell.bound_toggle(
            "Near-mistakes too", "near", help="Right, but by less than 20 points before the next class."
        )
        differ = len(picked) > 1 and shell.bound_toggle("Only what the runs disagree on", "differ")
        sure = shell.follow_address("sure", SURE, ALL)
        st.segmented_control("Confidence in the wrong answer", list(SURE), format_func=lambda name: SURE[name][0],
                             required=True, **shell.writing_back("sure", ALL))  # fmt: skip
    return Wanted(
        near=near, order=order, disputed_by_runs=bool(differ), confidence=SURE[sure][1],
        pair=None if pair == ALL else (counted[pair].label, counted[pair].answer),
    ), which  # fmt: skip


def standing_of(review: Review) -> Standing:
    """What counts now of the verdicts on the dataset's pictures."""
    return current(review.data)


def told(event: Event) -> str:
    """A verdict in words: "label wrong: Eosinophil"."""
    return WORDS[event.verdict] + (f": {pretty(event.label_to)}" if event.label_to else "")


def said_of(event: Event) -> str:
    """Who said what of a picture, with the comment."""
    return f"{event.by} said: {told(event)}" + (f" ({event.note})" if event.note else "")
