"""The Classify page's "Your own microscope": cells are labelled, a run is adapted to them, what it brought is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import streamlit as st

from bloodcell_core.background import ENDED
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.document import tag
from bloodcell_core.inference import adaptation_jobs
from bloodcell_core.inference.adaptation_jobs import AdaptationJob, of_classes
from bloodcell_core.inference.limits import LEAST_CELLS, LEAST_OF_CLASS, ONE_PICTURE, WANTED_CELLS, enough
from bloodcell_core.inference.slide_cells import CountedPicture
from bloodcell_core.inference.slide_dataset import confirmed_cells
from bloodcell_core.inference.slide_report import percent
from bloodcell_core.inference.slides import Slide
from bloodcell_core.runs import Run
from ui import classify_count, lab, labelling, shell
from ui.theme import css_colours, pretty

TICK = 1.0  # seconds between two looks at what is being adapted
QUIET, ACCENT = "color-mix(in srgb, currentColor 40%, transparent)", "light-dark(#5B3FA6, #9F8CF0)"
MEASURES = {"accuracy": "Right", "balanced_accuracy": "Right, classes counting alike"}


def panel(slide: Slide, pictures: Sequence[CountedPicture], run: Run) -> None:
    """Draws how many cells are labelled, how many more are needed, and what starts the adapting of `run` to them."""
    st.markdown("**Adapt the network to your microscope**")
    if run.is_ensemble:
        st.caption("Several networks that answer together can't be adapted: choose one of them above.")
        return
    labelled = confirmed_cells(of_classes(pictures, run.classes))
    counts = {name: sum(cell.label == name for _, cell in labelled) for name in run.classes}
    _progress(counts)
    data = _other_data()
    reason = "" if data else _too_few(counts, len({one.picture.number for one, _ in labelled}))
    busy = any(job.status()["state"] not in ENDED for job in _jobs_of(slide.id)[0])
    if st.button(
        "Adapt", type="primary", icon=":material/tune:", disabled=bool(reason) or busy, key="adapt_go",
        help="Makes a new network of this one, in a few minutes. You may leave the page meanwhile.",
    ):  # fmt: skip
        try:
            adaptation_jobs.start(run, slide, data)
        except OSError as error:
            shell.show_error(f"The system refused: {error.strerror or error}")
            return
        st.rerun()
    if reason:
        st.caption(f":material/info: Not yet: {shell.plain(reason)}.")
    with st.expander("What is claimed of it"):
        st.caption(
            "The cells are cut in five parts, all of one picture together. Each part is answered by a network that was "
            "adapted to the other four: so each cell is a test, and no network has seen the cells that it is tested "
            "on. The accuracy before and after, with its 95% interval, is on these answers. Of fewer than "
            f"{LEAST_CELLS} cells, or {LEAST_OF_CLASS} of a class, nothing is claimed and nothing adapted. How it does "
            "on slides that are stained or lit otherwise than this one, these cells don't tell."
        )
    if adapted := (run.summary() or {}).get("adaptation"):
        st.markdown("**What adapting brought this network**")
        result(adapted)


def _progress(counts: Mapping[str, int]) -> None:
    total = sum(counts.values())
    needed, wanted = LEAST_CELLS - total, WANTED_CELLS - total
    words = f"at least the advised {WANTED_CELLS}"
    if wanted > 0:
        begin = f"{needed} more" if needed > 0 else "enough"
        words = f"{begin} to begin, {wanted} more to the advised {WANTED_CELLS}"
    st.progress(min(1.0, total / WANTED_CELLS), f"**{shell.counted(total, 'labelled cell')}** · {words}")
    colours = css_colours(counts)
    most = max(WANTED_CELLS / 2, *counts.values())
    rows = [
        classify_count.bar_row(
            (pretty(name), f"{count:,}", ""),
            classify_count.share_bar(100 * count / most, None, colours[name]),
            "" if count >= LEAST_OF_CLASS
            else f"{LEAST_OF_CLASS - count} more needed" if count else "none yet: this class would not be tested",
        )
        for name, count in counts.items()
    ]
    st.html(classify_count.STYLE + tag("div", {"class": "lab-count"}, *rows))


def _too_few(counts: Mapping[str, int], pictures: int) -> str:
    """Why it can't be begun yet; empty where it can."""
    return enough({name: count for name, count in counts.items() if count}) or (ONE_PICTURE if pictures < 2 else "")


def _other_data() -> str | None:
    """The dataset that a person would rather adapt to; None for the slide's own cells."""
    others = lab.dataset_names()
    if not others:
        return None
    this = "The cells labelled on this slide"
    chosen = st.selectbox(
        "Adapt to", [this, *others], key="adapt_data", format_func=lambda name: name if name == this
        else lab.dataset_title(name),
        help="Cells that lie sorted in folders, one a class, needn't be labelled here: import them on the Browse page.",
    )  # fmt: skip
    return None if chosen == this else chosen


# What is being adapted, and what came of it


def _jobs_of(slide: str | None) -> tuple[list[AdaptationJob], list[str]]:
    """Those that were started on a slide, newest first; on any where none is told; and what can't be read."""
    jobs, damaged = adaptation_jobs.readable_jobs()
    return [job for job in jobs if slide is None or job.request["slide"] == slide], damaged


def cards(slide: str | None) -> None:
    """Draws a card for each adapting that is at work or has ended and wasn't closed; live while any is at work."""
    jobs, damaged = _jobs_of(slide)
    for line in damaged:
        shell.show_error(line)
    if jobs:
        busy = any(job.status()["state"] not in ENDED for job in jobs)
        st.fragment(_cards, run_every=TICK if busy else None)([job.name for job in jobs], busy)


def _cards(names: list[str], was_busy: bool) -> None:
    found = []
    for name in names:
        try:
            job = AdaptationJob(name)
            found.append((job, job.status()))
        except LabError:  # closed in another window
            continue
    if was_busy and all(status["state"] in ENDED for _, status in found):
        st.rerun()  # before anything is drawn, as ui.imports does; the page's list of networks is out of date, too
    for job, status in found:
        with st.container(border=True, key=f"adapting_{job.name}", gap="small"):
            _card(job, status)


def _card(job: AdaptationJob, status: Mapping[str, Any]) -> None:
    cells = job.request["data"] or job.request["slide_name"]
    if status["state"] not in ENDED:
        with st.container(horizontal=True, vertical_alignment="center"):
            total, left = status.get("total", 0), status.get("seconds_left")
            words = f"**Adapting to {shell.plain(cells)}**: {status.get('phase', 'starting')}"
            words += f", about {timedelta(seconds=left)} left" if left is not None else ""
            st.progress(status["done"] / total if total else 0.0, words)
            asked = job.stop_requested()
            if st.button("Stopping …" if asked else "Stop", disabled=asked, key=f"stop_{job.name}"):
                job.request_stop()
                st.rerun()
        return
    if status["state"] == "done":
        _brought(job, status, cells)
    elif status["state"] == "stopped":
        st.caption(f"Adapting to {shell.plain(cells)}: {shell.plain(status['reason'])}.")
    else:
        shell.show_error(f"Adapting to {cells}: {status['reason']}")
    if st.button("Close", key=f"close_{job.name}"):
        job.dismiss()
        st.rerun()


def _brought(job: AdaptationJob, status: Mapping[str, Any], cells: str) -> None:
    try:
        facts = (Run(status["run"]).summary() or {})["adaptation"]
    except (LabError, KeyError):
        st.caption(f"Adapted to {shell.plain(cells)}; the new network was deleted since.")
        return
    st.markdown(f":material/check_circle: **Adapted to {shell.plain(cells)}**")
    result(facts)
    if st.button("Use the adapted network", type="primary", icon=":material/check:", key=f"use_{job.name}"):
        job.dismiss()
        shell.set_address(run=status["run"], threshold=None)
        st.rerun()


def result(facts: Mapping[str, Any]) -> None:
    """Draws what adapting has brought, from a run's summary: before and after on held-back cells, with intervals."""
    photos = f"{facts['photos']:,} pictures" if facts["photos"] is not None else "their pictures not known"
    rows = [
        classify_count.bar_row(
            (f"{title}, {when}", "", percent(*_in_percent(facts[when], metric))),
            classify_count.share_bar(*_in_percent(facts[when], metric), QUIET if when == "before" else ACCENT),
            "",
        )
        for metric, title in MEASURES.items()
        for when in ("before", "after")
    ]
    st.html(classify_count.STYLE + tag("div", {"class": "lab-count", "style": "max-width: 34rem"}, *rows))
    st.caption(
        f"On {facts['cells']:,} cells ({photos}), each answered by a network that was adapted without it and its "
        f"picture. {shell.plain(facts['compared']['verdict'])} (A: as it was, B: adapted.)"
    )
    for warning in facts["warnings"]:
        st.caption(f":material/warning: {shell.plain(warning[:1].upper() + warning[1:])}.")


def _in_percent(told: Mapping[str, Any], metric: str) -> tuple[float, list[float] | None]:
    limits = told["intervals"][metric]
    return 100 * told[metric], [100 * limit for limit in limits] if limits else None


def sheet(slide: Slide, pictures: Sequence[CountedPicture], run: Run) -> None:
    """Draws the cells to be labelled."""
    st.caption(
        "Another microscope's stain, light and camera mislead a network. Label some of your cells, and it can be "
        "adapted to them: give those that are called wrong their class, and confirm the others together."
    )
    labelling.sheet(slide, pictures, run.classes)
