"""The Classify page's "Your own microscope": labelling cells, adapting a run to them, and the gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from bloodcell_core.errors import LabError
from bloodcell_core.inference.least_cells import LEAST_CELLS, LEAST_OF_CLASS, ONE_PICTURE, WANTED_CELLS, too_few
from bloodcell_core.runs import Run
from bloodcell_core.smear import adaptation_jobs
from bloodcell_core.smear.adaptation_jobs import AdaptationJob, of_classes
from bloodcell_core.smear.slide_cells import CountedPicture
from bloodcell_core.smear.slide_dataset import confirmed_cells
from bloodcell_core.smear.slides import Slide
from bloodcell_core.words import pretty
from ui import classify_count, job_cards, lab, labelling, shell
from ui.theme import css_colours

QUIET, ACCENT = "color-mix(in srgb, currentColor 40%, transparent)", "light-dark(#5B3FA6, #9F8CF0)"
SHOWN = "adapting_shown"  # session: whether the page shows an adaptation at work
MEASURES = {"accuracy": "right", "balanced_accuracy": "right, every class counting alike"}
WORSE = "as it was, the network is better on these cells: go on with that one, or label more cells and adapt it again"


@shell.shows_errors
def panel(slide: Slide, pictures: Sequence[CountedPicture], run: Run) -> None:
    """Draws how many cells are labelled, how many more are needed, and the button that adapts `run` to them."""
    st.markdown("**Adapt the network to your microscope**")
    if run.is_ensemble:
        st.caption("An ensemble can't be adapted: choose one of its networks above.")
        return
    labelled = confirmed_cells(of_classes(pictures, run.classes))
    counts = {name: sum(cell.label == name for _, cell in labelled) for name in run.classes}
    _progress(counts)
    data, there = lab.dataset_or(
        "The cells labelled on this slide", "Adapt to", "adapt_data",
        help="Cells that are sorted into folders, one per class, needn't be labelled here: import them on the Browse "
        "page.",
    )  # fmt: skip
    pictures_labelled = {one.picture.number for one, _ in labelled}
    reason = "" if data else too_few(counts) or (ONE_PICTURE if len(pictures_labelled) < 2 else "")
    busy = job_cards.at_work(_jobs_of(slide.id)[0])
    if busy and not st.session_state[SHOWN]:
        st.rerun(scope="app")  # started in another window: without its card nothing says why the button is disabled
    if st.button(
        "Adapt", type="primary", icon=":material/tune:", disabled=bool(reason) or busy, key="adapt_go",
        help="Makes a new network of this one, in a few minutes. You may leave the page meanwhile.",
    ) and there and not busy:  # fmt: skip  # `busy` after the first of two clicks
        adaptation_jobs.start(run, slide, data)
        st.rerun()
    if reason:
        shell.remark(f"Not yet: {reason}")
    with st.expander("How it is tested"):
        st.caption(
            "By cross-validation: the cells are divided into up to five folds, all of one picture together. Each fold "
            "is answered by a network that was adapted to the others, so no network is tested on cells that it has "
            "seen. The accuracy before and after, with its 95% interval, is of these answers. At least "
            f"{LEAST_CELLS} cells are needed, and {LEAST_OF_CLASS} of each class. These cells can't show how the "
            "network does on slides that are stained or lit differently."
        )
    if adapted := run.summary().get("adaptation"):
        st.markdown("**What adapting brought this network**")
        result(adapted)


def _progress(counts: Mapping[str, int]) -> None:
    total = sum(counts.values())
    needed, wanted = LEAST_CELLS - total, WANTED_CELLS - total
    words = f"at least the advised {WANTED_CELLS}"
    if wanted > 0:
        lacking = too_few(counts)  # is shown below the button
        begin = f"{needed} more to begin, " if needed > 0 else "" if lacking else "enough to begin, "
        words = f"{begin}{wanted} more to the advised {WANTED_CELLS}"
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
    classify_count.draw_bars(rows)


# Adaptations at work, and their results


def _jobs_of(slide: str | None) -> tuple[list[AdaptationJob], list[str]]:
    """The jobs that were started on a slide, or with None on any, newest first; and messages on damaged ones."""
    jobs, damaged = AdaptationJob.readable()
    return [job for job in jobs if slide is None or job.request["slide"] == slide], damaged


def cards(slide: str | None) -> None:
    """Draws a card for each adaptation that is at work, or has ended and whose card wasn't closed."""
    jobs, damaged = _jobs_of(slide)
    st.session_state[SHOWN] = job_cards.at_work(jobs)
    job_cards.live_cards(jobs, damaged, _card)


def _card(job: AdaptationJob, status: dict[str, Any]) -> None:
    cells = job.request["data"] or job.request["slide_name"]
    with st.container(border=True, key=f"adapting_{job.name}", gap="small"):
        if job_cards.progress(job, status, f"Adapting to {shell.plain(cells)}"):
            return
        if status["state"] == "done":
            _brought(job, status, cells)
        else:
            job_cards.say_why(status, f"Adapting to {cells}")
        job_cards.close(job)


def _brought(job: AdaptationJob, status: Mapping[str, Any], cells: str) -> None:
    try:
        facts = Run(status["run"]).summary()["adaptation"]
    except (LabError, KeyError):
        st.caption(f"Adapted to {shell.plain(cells)}; the new network has been deleted since.")
        return
    st.markdown(f":material/check_circle: **Adapted to {shell.plain(cells)}**")
    result(facts)
    kind = "secondary" if lab.adapted_for_worse(facts) else "primary"
    job_cards.close_and_go(job, "Use the adapted network", kind, run=status["run"], threshold=None)


def result(facts: Mapping[str, Any]) -> None:
    """Draws the gain of adapting, from a run's summary: before and after on held-back cells, with intervals."""
    photos = f"{facts['photos']:,} pictures" if facts["photos"] is not None else "source photos not known"
    rows = [
        classify_count.bar_row(
            (f"{when.capitalize()}: {title}", "", shell.percent(facts[when][metric], facts[when]["intervals"][metric])),
            classify_count.share_bar(*_in_percent(facts[when], metric), QUIET if when == "before" else ACCENT),
            "",
        )
        for metric, title in MEASURES.items()
        for when in ("before", "after")
    ]
    classify_count.draw_bars(rows, "max-width: 34rem")
    st.caption(
        f"On {facts['cells']:,} cells ({photos}), each answered by a network that was adapted without it and its "
        f"picture. {shell.plain(facts['compared']['verdict'])} (A: as it was, B: adapted.)"
    )
    for warning in [WORSE] * lab.adapted_for_worse(facts) + facts["warnings"]:
        shell.remark(warning, "warning")


def _in_percent(told: Mapping[str, Any], metric: str) -> tuple[float, list[float] | None]:
    limits = told["intervals"][metric]
    return 100 * told[metric], [100 * limit for limit in limits] if limits else None


def sheet(slide: Slide, pictures: Sequence[CountedPicture], run: Run) -> None:
    """Draws the cells to be labelled."""
    st.caption(
        "Another microscope's stain, light and camera mislead a network. Label some of your cells, and it can be "
        "adapted to them: correct the class of those that it gets wrong, and confirm the others together."
    )
    labelling.sheet(slide, pictures, run.classes)
