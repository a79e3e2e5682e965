"""The desk, the main part of the Review page: one picture after another, each verdict saved at once. A fragment."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import streamlit as st

from bloodcell_core.errors import LabError
from bloodcell_core.labels import overlays
from bloodcell_core.labels.verdicts import Standing, record, undo
from bloodcell_core.words import pretty
from ui import address, shell
from ui.desk import desk
from ui.review import Review, leave_deleted_run, standing_in, told
from ui.review_cards import LOOKING, ask_neighbours, card_of
from ui.review_more import more

AHEAD = 2  # pictures that the browser preloads
NEIGHBOURS_AHEAD = 24
UNDOABLE = 30
CLASS_KEYS = "1234567890bdefgijklopqstvwxy"
"""The classes' keys, in order: digits, and the letters that have no other meaning here or in Streamlit (C and R)."""
AT_WORK = 120.0  # seconds after their last step for which a person counts as present
HERE = "review_here"
"""In the session: {"at": the picture to show} or {"after": the picture after which the next one is shown}."""
SHOWN = "review_shown"
"""In the session: the picture that was shown last, and put in the address."""
HEAT = "review_heat"
_TAKING = threading.Lock()
"""Held while pictures are chosen: two who went on at the same moment were given the same ones."""


@st.fragment
def at_the_desk(review: Review) -> None:
    """Draws the next picture and takes its verdict; below it, what else is known about it."""
    leave_deleted_run(review)
    try:
        everybody = standing_in(review.data)
    except LabError as error:
        shell.show_error(str(error))
        st.button("Try again", icon=":material/refresh:")
        return
    review, standing = review.asked(everybody)
    decided = [standing.of(*each) is not None for each in review.ids]
    _follow_address()
    places = _take(review, decided)
    if not places:
        nothing_left(review, everybody)
        return
    place, shown = places[0], places[: 1 + AHEAD]
    st.session_state[SHOWN] = review.ids[place][0]
    address.write(picture=review.ids[place][0])
    mine = [step[0] for step in standing.steps if step[0].by == review.by]
    ask_neighbours(review, places[: 1 + NEIGHBOURS_AHEAD], begin=False)
    heat = bool(st.session_state.get(HEAT))
    cards = [card_of(review, each, standing, heat and each == place) for each in shown]
    waiting = cards[0].like_words == LOOKING
    again = desk(
        "review_desk", lambda event: act(review, event), cards, data_hash=review.data.content_hash,
        total=len(review.ids), decided=sum(decided), heat=heat,
        classes=[
            {"name": name, "title": pretty(name), "colour": review.colours[name], "key": key}
            for name, key in zip_longest(review.data.classes, CLASS_KEYS[: len(review.data.classes)], fillvalue="")
        ],
        undoable=[event.token for event in mine[:UNDOABLE]], waiting=waiting,
        last=f"Kept: {pretty(mine[0].label_from)}, {told(mine[0])}" if mine else "Each verdict is kept at once.",
    )  # fmt: skip
    if again:
        shell.draw_again()
    more(review, place, standing)


def act(review: Review, event: Mapping[str, Any]) -> None:
    """Applies an event of the desk; LabError where that fails."""
    kind, image_id = event["kind"], event["id"]
    if kind == "heat":
        st.session_state[HEAT] = not st.session_state.get(HEAT)
    elif kind == "undo":
        _undo(review, event)
    elif image_id not in review.place:
        if kind == "verdict":  # on a picture of the queue that was shown before
            _record(review, event)
    elif kind == "look":
        ask_neighbours(review, [review.place[image_id]], begin=True)
    elif kind == "verdict":
        st.session_state[HERE] = {"at": image_id}  # stays there if the verdict can't be saved
        _record(review, event)
        st.session_state[HERE] = {"after": image_id}
    elif kind == "on":
        st.session_state[HERE] = {"after": image_id}
    elif kind == "back":
        st.session_state[HERE] = {"at": review.ids[review.place[image_id] - 1][0]}


def _record(review: Review, event: Mapping[str, Any]) -> None:
    image_id = event["id"]
    run, predicted = "", {}
    if image_id in review.place:
        run = review.run_of(image_id).name
        predicted = {image_id: str(review.rows.answer.iloc[review.place[image_id]])}
    record(
        review.data, [image_id], event["verdict"], by=review.by, run=run, label=event["label"], predicted=predicted,
        note=event["note"], picture_only=bool(event["alone"]), token=event["token"],
    )  # fmt: skip


def _undo(review: Review, event: Mapping[str, Any]) -> None:
    """Takes back the verdict with the event's token, unless that was done before, and shows its picture."""
    step = next((step for step in standing_in(review.data).steps if step[0].token == event["of"]), None)
    if step is None:
        return
    undo([each.id for each in step], by=review.by, token=event["token"])
    if step[0].image_id in review.place:
        st.session_state[HERE] = {"at": step[0].image_id}


def _follow_address() -> None:
    """Goes to the picture in the address if that was changed from outside, such as by the browser's Back button."""
    shown, asked = st.session_state.get(SHOWN), address.value_of("picture")
    if shown is not None and asked != shown:
        st.session_state.pop(HERE, None)
        if asked is not None:
            st.session_state[HERE] = {"at": asked}


def _place(review: Review, decided: list[bool]) -> int | None:
    """The place in the queue of the picture to show: the requested one, or the next undecided; None if none is left."""
    here = st.session_state.get(HERE, {})
    if here.get("at") in review.place:
        return review.place[here["at"]]
    if here.get("after") in review.place:
        return next(iter(_coming(review, review.place[here["after"]], decided)), None)
    asked = review.place.get(address.value_of("picture") or "")
    if asked is not None and not (review.once and decided[asked]):
        return asked
    return next(iter(_coming(review, -1 if asked is None else asked, decided)), None)


def _take(review: Review, decided: list[bool]) -> list[int]:
    """The places of the picture to show and of all after it; empty if none is left. The first of them, those that the
    browser gets, are this person's from now on."""
    with _TAKING:
        for session, (at, *_) in list(_at_work().items()):
            if time.monotonic() - at >= AT_WORK:
                del _at_work()[session]
        place = _place(review, decided)
        if place is None:
            return []
        places = [place, *_coming(review, place, decided)]
        on_screen = {review.ids[each][0] for each in places[: 1 + AHEAD]}
        _at_work()[_me()] = time.monotonic(), review.data.content_hash, review.by, on_screen
    return places


def _coming(review: Review, place: int, decided: list[bool]) -> list[int]:
    """The places after one, cyclically: those not decided yet, or all if the queue shows decided ones.

    Pictures that another person is looking at come last: two people who review the same runs get different ones.
    """
    round_trip = [*range(place + 1, len(decided)), *range(max(place, 0))]
    wanted = [each for each in round_trip if not (review.once and decided[each])]
    me = _me()
    taken = {
        image
        for session, (_, content, by, images) in _at_work().items()
        # Sessions are compared, too: until the browser has sent the reviewer's name, this session has another one.
        if session != me and by != review.by and content == review.data.content_hash
        for image in images
    }
    return sorted(wanted, key=lambda each: review.ids[each][0] in taken) if taken else wanted


@st.cache_resource(show_spinner=False)
def _at_work() -> dict[str, tuple[float, str, str, set[str]]]:
    """{session: (time of its last step, dataset, person, pictures on the screen)}, shared by all users of this
    server."""
    return {}


def _me() -> str:
    """What this session is called in `_at_work`."""
    name: str = st.session_state.setdefault("review_me", secrets.token_hex(8))
    return name


def nothing_left(review: Review, standing: Standing) -> None:
    """Draws that no picture is left to review, and what to do now."""
    changes = bool(review.ids) and not overlays.rows_of(standing, review.data).empty
    with st.container(border=True, horizontal_alignment="center"):
        st.space("xsmall")
        if review.ids:
            number = len(review.ids)
            all_of_it = f"All {number:,} are reviewed" if number > 1 else "The only one is reviewed"
            st.markdown(f"**{all_of_it}.**", text_alignment="center")
            words = "No verdict says that a label is wrong, so there are no new labels to train with."
            words = "Make an overlay of the verdicts and train with it, or look at them again." if changes else words
            st.caption(words, width="content")
        else:
            st.markdown("No picture matches. Ask for less in *Filters*.", text_alignment="center")
        with st.container(horizontal=True, horizontal_alignment="center"):
            if changes and st.button("Make an overlay", type="primary"):
                address.write(part="overlays", picture=None)
                st.rerun()
            if review.ids and st.button("Look at them again"):
                address.write(which="all", picture=None)
                st.session_state.pop(HERE, None)
                st.rerun()
            mine = next((step for step in standing.steps if step[0].by == review.by), None)
            if mine and st.button("Undo the last verdict", icon=":material/undo:", shortcut="Backspace"):
                try:
                    _undo(review, {"of": mine[0].token, "token": f"last-{mine[0].id}"})
                except LabError as error:  # it was taken back in another window meanwhile
                    shell.show_error(str(error))
                    return
                st.rerun()
        st.space("xsmall")
