"""The desk where one picture after another gets its verdict, by keyboard or mouse: a component, and its outbox.

The browser shows the next picture before the server has answered; what it sent stays in its outbox until the server
says that it is kept, and is sent again where the connection was lost. Each event has a token: what comes twice counts
once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import streamlit as st

from bloodcell_core.errors import LabError
from ui.files import together

REMEMBERED = 500  # tokens of events that were done: more than an outbox ever holds

_DESK = st.components.v2.component(
    "lab_desk",
    html=together("desk.html"),
    css=together("buttons.css", "desk.css", "forced.css"),
    js=together("desk.js"),
)


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that the desk shows of a picture. Texts are shown as they are, never as HTML."""

    id: str
    place: int
    """1 for the first of the queue."""
    words: str
    """What the picture is, for those who can't see it."""
    own: str
    """The label, as the dataset has it."""
    label: str
    answer: str
    """Label and answer as people read them."""
    bars: Sequence[Mapping[str, Any]]
    """For each class title, colour, share, its words, and whether it is the `answer` or the `own` label."""
    says_words: str
    cell: str
    cell_words: str
    whole: str
    """The two pictures as data URIs."""
    like: Sequence[Mapping[str, str]]
    """Neighbours: src, label, photo, colour."""
    like_words: str
    family: str
    copies: bool
    """Whether a verdict decides other pictures too."""
    said: str
    verdict: str | None
    to: str | None
    """What was decided of it, if it was."""
    heat: str | None = None
    heat_on: str = "cell"
    heat_words: str = ""


@dataclass
class Done:
    """What a session's desk has done: kept in its session state."""

    tokens: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    failures: list[str] = field(default_factory=list)
    """Why the last events couldn't be done, for the person."""
    notes: dict[str, str] = field(default_factory=dict)
    """The notes of verdicts that couldn't be kept, by picture: they stand there again when it is shown."""


def desk(
    key: str,
    act: Callable[[Mapping[str, Any]], None],
    cards: Sequence[Card],
    *,
    data_hash: str,
    classes: Sequence[Mapping[str, Any]],
    total: int,
    decided: int,
    undoable: Sequence[str],
    last: str,
    heat: bool,
    waiting: bool,
) -> bool:
    """Draw the desk; True where events had come that were done only now, and it should be drawn again.

    `act` does one event and raises LabError where it can't be done, which the desk then shows. An event has `kind`
    (verdict, undo, back, on, heat, look), `token`, `data_hash` and `id`, the picture's; a verdict also `verdict`,
    `label`, `note` and `alone`; an undo `of`, the token of the verdict that is taken back, one of `undoable` or of this
    session's own.

    `data_hash` is the dataset's whose pictures are judged: what a browser still holds of another one waits there until
    that is shown again.

    `cards` are the picture to be shown and those after it, which the browser goes on to without waiting. `classes`
    have name, title, colour and the key that says "label wrong, it is this". `last` tells what was done last. While
    something is `waiting` to be worked out the desk asks again.
    """
    done = st.session_state.setdefault(f"{key}_done", Done())
    data = {
        "data_hash": data_hash,
        "cards": [asdict(card) for card in cards],
        "classes": list(classes),
        "total": total,
        "decided": decided,
        "undoable": list(undoable),
        "last": last,
        "heat": heat,
        "waiting": waiting,
        "kept": list(done.tokens)[-60:],  # more than an outbox holds
        "failures": done.failures,
        "notes": done.notes,
    }

    def heard() -> None:
        # Nothing is there where the page was drawn without the desk, as of a run that was deleted, before this came.
        take((st.session_state.get(key) or {}).get("outbox"), act, done, data_hash)

    result = _DESK(key=key, data=data, on_outbox_change=heard)
    # After a restart of the server the outbox comes with a session's first run, when no callback is known yet.
    return take(result.outbox, act, done, data_hash)


def take(outbox: Any, act: Callable[[Mapping[str, Any]], None], done: Done, data_hash: str) -> bool:
    """Does the events of an outbox on this dataset that weren't done before, in their order; whether there were any."""
    sent = [event for event in (outbox or {}).get("events", ()) if event["data_hash"] == data_hash]
    events = [event for event in sent if event["token"] not in done.tokens]
    if any(event["kind"] != "look" for event in events):  # the browser asks for more by itself: nobody has read on
        done.failures = []
    for event in events:
        verdict = event["kind"] == "verdict"
        if verdict:
            done.notes.pop(event["id"], None)
        try:
            act(event)
        except LabError as error:
            told = f"The verdict isn't kept: {error}" if verdict else str(error)
            if told not in done.failures:
                done.failures.append(told)
            if verdict and event["note"]:
                done.notes[event["id"]] = event["note"]
        done.tokens.append(event["token"])
    return bool(events)
