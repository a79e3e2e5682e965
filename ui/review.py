"""What is reviewed on the Review page: the runs, their dataset, and the queue by the chosen filters and order."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd
import streamlit as st

from bloodcell_core import workspace
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.labels.verdicts import Event, Standing, events
from bloodcell_core.review.queue import QueueFilter
from bloodcell_core.runs import Run
from bloodcell_core.words import pretty
from ui import address, lab, shell
from ui.missing import say_missing
from ui.review_sources import NO_FOLDS, Source, check, pairs_of, pictures_of, queue_of
from ui.theme import css_colours

ALL = "all"
ORDERS = {
    "confidence": "Most confident first",
    "loss": "Label least probable (loss)",
    "margin": "Label furthest behind (margin)",
    "disagreement": "Runs disagree most",
    "issue": "Label most doubtful",
    "photo": "By photo",
}
SECOND = "second"
WHICH = {
    "unreviewed": "Unreviewed only", SECOND: "Second opinion", "reviewed": "Reviewed", "disputed": "Reviewers disagree",
    "all": "All",
}  # fmt: skip
UNDECIDED = ("unreviewed", SECOND)  # in these a decided picture isn't shown again
FILTERS = ("which", "near", "training", "differ", "sure", "margin", "loss")  # in the address, where they are set
HIGHEST_LOSS = 10  # end of the slider: a label given 0.005%; it includes any higher loss
TEST_ONLY = (
    "Test pictures alone are ranked. The labels of training pictures are best ranked by a cross-validation: start one "
    "on the Train page, and choose it under Runs."
)


@dataclass(frozen=True, kw_only=True)
class Review:
    """What is reviewed now: the answers of which runs, on which pictures, in which order."""

    sources: Sequence[Source]
    data: Dataset
    pictures: pd.DataFrame
    """`queue.candidates`, with `row`, the row of the dataset's pictures."""
    rows: pd.DataFrame
    """The queue, a row per photo, including what is decided already."""
    which: str
    """A key of WHICH."""
    by: str
    """The reviewer's name."""

    @property
    def classes(self) -> list[str]:
        """The classes, which are the same for all runs."""
        return self.sources[0].first.classes

    @cached_property
    def colours(self) -> dict[str, str]:
        """The colour of each class of the dataset and of the runs; a run that was adapted may answer one that none of
        its cells is of."""
        return css_colours(dict.fromkeys((*self.data.classes, *self.classes)))

    @property
    def once(self) -> bool:
        """Whether a decided picture isn't shown again."""
        return self.which in UNDECIDED

    def asked(self, standing: Standing) -> tuple[Review, Standing]:
        """The part of it that `which` selects, and the verdicts that count there.

        A second opinion is asked on what others decided, and is blind: only one's own verdicts count and are shown.
        """
        if self.which == "disputed":
            wanted = [photo in standing.disagreements for _, photo in self.ids]
        elif self.which == "reviewed":
            wanted = [standing.of(*each) is not None for each in self.ids]
        elif self.which == SECOND:
            others, standing = standing.where(self.by, others=True), standing.where(self.by)
            wanted = [others.of(*each) is not None for each in self.ids]
        else:
            return self, standing
        # `loc`, as an empty list would choose columns
        return replace(self, rows=self.rows.loc[wanted].reset_index(drop=True)), standing

    @cached_property
    def place(self) -> dict[str, int]:
        """{image_id: its place in the queue}."""
        return {image_id: place for place, image_id in enumerate(self.rows.image_id)}

    @cached_property
    def ids(self) -> list[tuple[str, str]]:
        """Picture and photo of each row, as plain Python, which is faster to loop over at each step."""
        return list(zip(self.rows.image_id.tolist(), self.rows.photo.tolist(), strict=True))

    @cached_property
    def copies(self) -> Mapping[str, int]:
        """{`photo` of `rows`: the number of pictures of the dataset that a verdict on it decides}."""
        counts: dict[str, int] = self.data.pictures.family.value_counts().to_dict()
        return counts

    def run_of(self, image_id: str) -> Run:
        """The run whose answer is shown: of the first source that gave it; of a cross-validation the picture's fold."""
        row = self.rows.iloc[self.place[image_id]]
        source = next((each for each in self.sources if row.answers.get(each.name) == row.answer), self.sources[0])
        return source.fold_of[image_id] if source.pooled else source.first


def choose(known: Mapping[str, Source], of_a_queue: bool = True) -> Review:
    """Draws the choices above the desk, and returns what they select.

    Without `of_a_queue` only the runs can be chosen, and all their mistakes are selected. LabError where the runs can't
    be reviewed together.
    """
    there = lab.dataset_names()
    asked = st.query_params.get_all("run")
    say_missing(asked, known, "the others are shown" if {*asked} & {*known} else "another one is shown")
    newest = next((name for name, source in known.items() if source.first.config.data in there), next(iter(known)))
    names = address.multiselect(
        "Runs", list(known), "run", default=[newest], format_func=lambda name: known[name].title, width=330
    )
    address.write(run=names)  # the default, too: a copied address must keep it
    picked = [known[name] for name in names]
    data = lab.dataset(picked[0].first.config.data)
    for source in picked:
        check(source, picked[0], data)
    in_sample = not any(source.out_of_fold for source in picked)
    training = in_sample and address.follow("training", (False, True), False)
    pictures = pictures_of(picked, data, training)
    shown = pictures[pictures.row.notna()]
    if len(shown) < len(pictures):
        gone = shell.counted(len(pictures) - len(shown), "picture")
        st.warning(f"Not in {shell.plain(data.name)} any more, and not shown: {gone}.", icon=":material/warning:")
    wanted, which = _filters(shown, picked, data, training) if of_a_queue else (QueueFilter(), ALL)
    return Review(
        sources=picked, data=data, pictures=shown, which=which, by="",
        rows=queue_of(picked, data, training, wanted, shown),
    )  # fmt: skip


def leave_deleted_run(review: Review) -> None:
    """Reruns the whole page if a run was deleted in another window. To be called first by fragments: they keep what the
    page had chosen."""
    if not all(os.path.isdir(run.folder) for source in review.sources for run in source.runs):
        st.toast("The run was deleted in another window.", icon=":material/delete:")
        st.rerun(scope="app")


def _filters(
    pictures: pd.DataFrame, picked: Sequence[Source], data: Dataset, training: bool
) -> tuple[QueueFilter, str]:
    """Draws the choice of confusion and order, and a popover with the other filters."""
    kinds = _kinds(pictures, pairs_of(picked, data, training, pictures), picked[0].first.classes, data.copies_known)
    kind = address.selectbox(
        "Mistake", list(kinds), "pair", default=ALL, width=270, forget=("picture",),
        format_func=lambda kind: kinds[kind][0],
    )  # fmt: skip
    orders = [name for name in ORDERS if len(picked) > 1 or name != "disagreement"]
    order = address.selectbox("Order", orders, "order", default=orders[0], width=200, forget=("picture",),
                              format_func=ORDERS.get)  # fmt: skip
    which = address.follow("which", WHICH, "unreviewed")
    with st.popover("Filters", icon=":material/tune:"):
        st.segmented_control(
            "Show", list(WHICH), default=which, format_func=WHICH.get, required=True, wrap=True,
            help="Second opinion: what others decided and you didn't. Their verdict is hidden until you have given "
            "yours.",
            **address.writing_back("which", "unreviewed"),
        )  # fmt: skip
        near = address.toggle(
            "Near-mistakes too", "near", help="Right, but by less than 20 points before the next class."
        )
        training = not any(source.out_of_fold for source in picked) and address.toggle(
            "Training pictures too", "training", help="The network's answers on the pictures that it was trained on."
        )
        differ = len(picked) > 1 and address.toggle("Only what the runs disagree on", "differ")
        sure = address.slider(
            "Confidence, %", (0, 100), "sure", help="The probability of the answer, of several runs their mean."
        )
        margin = address.slider(
            "Margin, points", (-100, 100), "margin",
            help="How far the label is ahead of the next class; below 0 it is behind.",
        )  # fmt: skip
        loss = address.slider(
            "Loss", (0, HIGHEST_LOSS), "loss", help=f"The less probable the label, the higher; {HIGHEST_LOSS} is any."
        )
    if any(address.value_of(param) for param in FILTERS) and st.button("Clear filters", icon=":material/close:"):
        address.write(**dict.fromkeys(FILTERS))
        st.rerun()
    if training:
        st.caption(f":material/warning: {NO_FOLDS}")
    elif order == "issue" and not picked[0].out_of_fold:
        st.caption(f":material/info: {TEST_ONLY}")
    return QueueFilter(
        near=near, order=order, disputed_by_runs=bool(differ), label=kinds[kind][1], answer=kinds[kind][2],
        confidence=(sure[0] / 100, sure[1] / 100), margin=(margin[0] / 100, margin[1] / 100),
        loss=(loss[0], math.inf if loss[1] == HIGHEST_LOSS else loss[1]),
    ), which  # fmt: skip


def _kinds(
    pictures: pd.DataFrame, pairs: pd.DataFrame, classes: Sequence[str], copies_known: bool
) -> dict[str, tuple[str, str | None, str | None]]:
    """{confusion, as in the address: (its words, label, answer)}, for those that occur; None stands for any class."""
    total = shell.counted(int(pictures[pictures.mistake].photo.nunique()), "photo" if copies_known else "picture")
    kinds: dict[str, tuple[str, str | None, str | None]] = {ALL: (f"All mistakes ({total})", None, None)}
    for row in pairs.itertuples(index=False):
        words = f"{pretty(row.label)} called {pretty(row.answer)} ({row.photos:,})"
        kinds[f"{classes.index(row.label)}-{classes.index(row.answer)}"] = words, row.label, row.answer
    for place, name in enumerate(classes):
        if name in set(pairs.label):
            kinds[f"{place}-any"] = f"{pretty(name)} called anything else", name, None
        if name in set(pairs.answer):
            kinds[f"any-{place}"] = f"Anything called {pretty(name)}", None, name
    return kinds


def standing_in(data: Dataset) -> Standing:
    """The verdicts on the dataset's pictures that count now, everybody's."""
    kept = _read(workspace.database_url())
    known, standing = kept.get(data.content_hash, ([], Standing([])))
    now = events(data, known)
    if now != known:
        standing = Standing(now)
        kept[data.content_hash] = now, standing
    return standing


@st.cache_resource(max_entries=4, show_spinner=False)
def _read(database: str) -> dict[str, tuple[list[Event], Standing]]:
    """What was read before, by dataset, so that at each step only later events are read."""
    return {}


def left_to_review(run: Run) -> int:
    """The number of photos with mistakes of a run that have no verdict. LabError where they can't be reviewed."""
    source, data = Source(name=run.name, title=lab.run_choice(run), runs=[run]), lab.dataset(run.config.data)
    check(source, source, data)
    pictures = pictures_of([source], data, training=False)
    rows = queue_of([source], data, False, QueueFilter(), pictures[pictures.row.notna()])
    standing = standing_in(data)
    return sum(standing.of(*each) is None for each in zip(rows.image_id, rows.photo, strict=True))


def told(event: Event) -> str:
    """A verdict in words: "label wrong: Eosinophil"."""
    return event.verdict.replace("-", " ") + (f": {pretty(event.label_to)}" if event.label_to else "")


def said_of(event: Event) -> str:
    """Who gave which verdict on a picture, with the comment, in words."""
    return f"{event.by} said: {told(event)}" + (f" ({event.note})" if event.note else "")


def each_photo_first(pictures: pd.DataFrame) -> pd.DataFrame:
    """The rows, one of each photo before a second of any, so that no gallery begins with many copies of one cell."""
    copy = pictures.groupby("photo").cumcount()
    return pictures.iloc[copy.argsort(kind="stable")]
