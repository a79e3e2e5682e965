"""Many pictures at once: a gallery in which to mark pictures, and one verdict for all marked ones."""

from __future__ import annotations

import secrets

import streamlit as st

from bloodcell_core.labels.verdicts import AMBIGUOUS, LABEL_WRONG, MODEL_WRONG, UNUSABLE, record
from bloodcell_core.words import pretty
from ui import dataset_pictures, gallery, shell
from ui.review import Review, leave_deleted_run, standing_in
from ui.review_desk import nothing_left

AT_ONCE = 120
NOW = "review_many"
"""In the session: the token of the selection, so that a double click gives its verdict once, and whether it began with
all marked. A new token makes a new gallery."""
NAMES = {MODEL_WRONG: "Model wrong", AMBIGUOUS: "Ambiguous", UNUSABLE: "Unusable"}


@st.fragment
@shell.shows_errors
def selection(review: Review) -> None:
    """Draws the first pictures of the queue, to be marked, and the buttons for verdicts."""
    leave_deleted_run(review)
    everybody = standing_in(review.data)
    review, standing = review.asked(everybody)
    left = [place for place, each in enumerate(review.ids) if not (review.once and standing.of(*each))]
    if not left:
        nothing_left(review, everybody)
        return
    if NOW not in st.session_state:
        _begin(every=False)
    token, every = st.session_state[NOW]
    shown = review.rows.iloc[left[:AT_ONCE]]
    bar = st.container(horizontal=True, vertical_alignment="bottom")
    told = st.empty()  # above the gallery, which is longer than the screen
    words = [f"{pretty(row.label)} → {pretty(row.answer)}" for row in shown.itertuples()]
    marked = gallery.marking_gallery(
        dataset_pictures.tiles(review.data, shown.row.astype(int).tolist(), "cell", words), f"review_many_{token}",
        marked=shown.image_id.tolist() if every else [], tile_px=120,
    )  # fmt: skip
    images = [image for image in shown.image_id if image in set(marked)]
    copies = sum(review.copies[photo] for photo in shown.photo[shown.image_id.isin(images)])
    with bar:
        _verdicts(review, images, token)
        if st.button("Mark none" if every else "Mark all shown", icon=":material/select_all:"):
            _begin(not every)
            shell.draw_again()
    what = f"{len(images):,} marked; copies included, that decides {shell.counted(copies, 'picture')}."
    if not images:
        what = "Click pictures to mark them, with Shift a whole range; one verdict is then given for all."
    told.caption(f"{what} {len(shown):,} of {len(left):,} are shown.")


def _begin(every: bool) -> None:
    st.session_state[NOW] = (secrets.token_hex(16), every)


def _verdicts(review: Review, images: list[str], token: str) -> None:
    """Draws the buttons, each of which saves its verdict at once for all marked pictures."""
    for verdict, title in NAMES.items():
        if st.button(title, disabled=not images, key=f"many_{verdict}"):
            _keep(review, images, token, verdict, None)
    label = st.selectbox(
        "Label wrong: it is", review.data.classes, index=None, format_func=pretty, key=f"many_label_{token}", width=200,
        placeholder="choose a class", disabled=not images,
    )  # fmt: skip
    if st.button("Keep", disabled=not (images and label), key="many_label_wrong"):
        _keep(review, images, token, LABEL_WRONG, label)


@shell.shows_errors
def _keep(review: Review, images: list[str], token: str, verdict: str, label: str | None) -> None:
    answers = dict(zip(review.rows.image_id, review.rows.answer, strict=True))
    record(
        review.data, images, verdict, by=review.by, run={image: review.run_of(image).name for image in images},
        label=label, predicted={image: answers[image] for image in images}, token=token,
    )  # fmt: skip
    _begin(every=False)
    st.toast(f"Kept for {shell.counted(len(images), 'photo' if review.data.copies_known else 'picture')}")
    shell.draw_again()
