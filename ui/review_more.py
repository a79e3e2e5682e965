"""Folded, below the desk: other runs' answers on the picture, its facts, its family and its history of verdicts."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from bloodcell_core.labels.verdicts import Event, Standing, history, undo
from bloodcell_core.review.queue import family
from bloodcell_core.words import pretty
from ui import dataset_pictures, gallery, lab, shell
from ui.review import SECOND, Review, told

PARTS = {"runs": "Other runs", "facts": "Facts", "family": "Family", "history": "History"}
MOST_OF_A_FAMILY = 60


def more(review: Review, place: int, standing: Standing) -> None:
    """Draws the fold; nothing in it is computed while it is closed."""
    fold = st.expander("More about this picture", on_change="rerun", key="review_more")
    if not fold.open:
        return
    with fold:
        part = st.segmented_control(
            "About it", list(PARTS), default="runs", required=True, format_func=PARTS.get, key="review_more_part",
            label_visibility="collapsed",
        )  # fmt: skip
        picture = review.rows.iloc[place]
        {"runs": _runs, "facts": _facts, "family": _family, "history": _history}[part](review, picture)


def _runs(review: Review, picture: pd.Series) -> None:
    """Draws the answers of all runs that were tested on this picture."""
    rows = []
    for run in lab.scored_runs():
        if run.data_hash != review.data.content_hash:
            continue
        table = lab.predictions(run)
        found = table[(table.image_id == picture.image_id) & (table.split == "test")]
        if len(found):
            said = found.iloc[0]
            rows.append({
                "Run": lab.run_choice(run), "Says": pretty(said.predicted), "Right": said.predicted == said.label,
                "Probability of it": 100 * float(said[f"p_{said.predicted}"]),
                "Probability of the label": 100 * float(said[f"p_{said.label}"]),
            })  # fmt: skip
    share = st.column_config.NumberColumn(format="%.1f%%", width="small")
    shell.table(
        pd.DataFrame(rows), alt="What each run says of this picture",
        column_config={"Probability of it": share, "Probability of the label": share},
    )  # fmt: skip


def _facts(review: Review, picture: pd.Series) -> None:
    facts = dataset_pictures.facts_of(review.data, int(picture.row))
    st.table(pd.Series({name: shell.plain(str(value)) for name, value in facts.items()}, name=""), hide_header=True)


def _family(review: Review, picture: pd.Series) -> None:
    """Draws all pictures of the photo, those that the queue's runs were tested on with their answers."""
    own = family(review.pictures, picture.photo)
    answers = dict(zip(own.image_id, own.answer, strict=True))
    pictures = review.data.pictures
    rows = pictures.index[pictures.family == picture.photo].tolist()
    wrong = int(own.mistake.sum())
    st.caption(f"{shell.counted(len(rows), 'picture')} of this photo, {len(own):,} tested, {wrong:,} wrong.")
    shown = rows[:MOST_OF_A_FAMILY]
    words = [pretty(answers[image]) if image in answers else pictures.split[row] for row, image in
             zip(shown, pictures.image_id[shown], strict=True)]  # fmt: skip
    tiles, open_it = dataset_pictures.tiles(review.data, shown, "cell", words), dataset_pictures.opener(review.data)
    gallery.gallery(tiles, "review_family", open_it, tile_px=72)


def _history(review: Review, picture: pd.Series) -> None:
    """Draws all verdicts on the photo; those that count can be taken back by anybody."""
    told_of_it = history(review.data, picture.image_id)
    if review.which == SECOND and not any(each.counts and each.by == review.by for each in told_of_it):
        st.caption("The verdicts of others are hidden until you have given yours.")
        return
    if not told_of_it:
        st.caption("No verdict yet.")
    for each in told_of_it:
        with st.container(horizontal=True, vertical_alignment="center"):
            what = f"took back {told(each)}" if each.undoes is not None else told(each)
            struck = f"~~{shell.plain(what)}~~ taken back" if each.undone else shell.plain(what)
            note = f" · {shell.plain(each.note)}" if each.note and each.undoes is None else ""
            st.markdown(f"{each.at:%Y-%m-%d %H:%M} UTC · **{shell.plain(each.by)}** · {struck}{note}")
            if each.counts and st.button("Take back", key=f"take_back_{each.id}"):
                _take_back(review, each)


@shell.shows_errors
def _take_back(review: Review, event: Event) -> None:
    undo([event.id], by=review.by, token=f"history-{event.id}")  # which another person may have done meanwhile
    shell.draw_again()
