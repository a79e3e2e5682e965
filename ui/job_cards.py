"""Cards of jobs that a page has started: how far each is, what came of it; live while any is at work.

A job may be closed in another window between any two looks at it: then its card goes, here too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import streamlit as st

from bloodcell_core.background import ENDED, RequestedJob
from bloodcell_core.errors import LabError
from bloodcell_core.words import duration
from ui import address, shell

TICK = 1.0  # seconds between two looks at the jobs
Status = dict[str, Any]
AnyJob = TypeVar("AnyJob", bound=RequestedJob)


def live_cards(jobs: Sequence[AnyJob], damaged: Sequence[str], card: Callable[[AnyJob, Status], None]) -> None:
    """Draws a card for each of the jobs, and a line for each that can't be read.

    `card` draws one: what it says while the job is at work (`progress`), and then what came of it, with a way to close
    it (`close`, `close_and_go`).
    """
    for line in damaged:
        shell.show_error(line)
    if jobs:
        busy = at_work(jobs)
        st.fragment(_cards, run_every=TICK if busy else None)(jobs, busy, card)


def at_work(jobs: Sequence[AnyJob]) -> bool:
    """Whether any of the jobs goes on."""
    return any(status["state"] not in ENDED for _, status in _seen(jobs))


def _seen(jobs: Sequence[AnyJob]) -> list[tuple[AnyJob, Status]]:
    """Those that weren't closed meanwhile, with their statuses."""
    found = []
    for job in jobs:
        try:
            found.append((job, job.status()))
        except LabError:
            continue
    return found


def _cards(jobs: Sequence[AnyJob], was_busy: bool, card: Callable[[AnyJob, Status], None]) -> None:
    found = _seen(jobs)
    if was_busy and all(status["state"] in ENDED for _, status in found):
        # Before anything is drawn: a click on a card that is about to be drawn anew would be lost. What the page lists
        # of datasets or networks is out of date, too.
        st.rerun()
    for job, status in found:
        card(job, status)


def progress(job: RequestedJob, status: Status, what: str) -> bool:
    """Draws how far a job is that is at work, and the button that stops it; False where it has ended.

    `what` it does is Markdown.
    """
    if status["state"] in ENDED:
        return False
    total, left = status.get("total", 0), status.get("seconds_left")
    words = f"**{what}**: {status.get('phase', 'starting')}"
    words += f", {status['done']:,} of {total:,}" if total else ""
    words += f", about {duration(left)} left" if left is not None else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(status["done"] / total if total else 0.0, words)
        asked = job.stop_requested()
        if st.button("Stopping …" if asked else "Stop", disabled=asked, key=f"stop_{job.name}"):
            job.request_stop()
            st.rerun()
    return True


def say_why(status: Status, what: str) -> None:
    """Draws why a job came to no good end: a word where a person stopped it."""
    if status["state"] == "stopped":
        st.caption(f"{shell.plain(what)}: {shell.plain(status['reason'])}.")
    else:
        shell.show_error(f"{what}: {status['reason']}")


def close(job: RequestedJob) -> None:
    """Draws the button that forgets a job that has ended."""
    if st.button("Close", key=f"close_{job.name}", help="What it made stays."):
        shell.attempt(lambda ended: ended.dismiss(), job)


def close_and_go(
    job: RequestedJob, label: str, kind: Literal["primary", "secondary"] = "primary", **then: Any
) -> None:
    """Draws the button that forgets a job and goes to what it made; `kind` is the button's."""
    if st.button(label, type=kind, icon=":material/check:", key=f"open_{job.name}"):
        address.write(**then)
        shell.attempt(lambda ended: ended.dismiss(), job)
