"""A run as the Train page shows it: how far it is, what it found, and what can be done with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from bloodcell_core.evaluation.curves import overfitting_warning
from bloodcell_core.runs import ENDED, Run
from bloodcell_core.training import jobs
from bloodcell_core.words import duration, groups_behind
from ui import address, curves, lab, naming, shell

LIKE = "like "  # begins the name of a preset that is a run's settings


def run_card(run: Run, status: dict[str, Any], line: Sequence[str]) -> None:
    """State, progress, result and buttons of one run. `line` has the names of the runs that wait for its device."""
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{shell.plain(lab.run_title(run))}**")
            lab.say_synthetic(run.synthetic)
            lab.state_badge(status["state"])
        if status["state"] == "running":
            st.progress(*_progress(run, status))
        elif status["state"] == "queued":
            place = f", number {line.index(run.name) + 1} of {len(line)} in line" if run.name in line else ""
            st.caption(f"Waits until the device is free{place}.")
        if tags := run.notes.tags:
            st.caption(" ".join(shell.plain(f"#{tag}") for tag in tags))
        if status["state"] in ENDED and status.get("reason"):
            st.caption(shell.plain(status["reason"]))
        if status.get("note"):
            st.caption(shell.plain(status["note"]))
        course = curves.course(run)
        if course.problem:
            shell.show_error(course.problem)
        if words := overfitting_warning(course.epochs):
            (st.warning if status["state"] == "running" else st.caption)(words)
        _result(run)
        _buttons(run, status, line)


def _progress(run: Run, status: dict[str, Any]) -> tuple[float, str]:
    """How far it is, 0…1, and in words."""
    done, total = status.get("step", 0), status.get("total_steps", 0)
    if status.get("phase", "").startswith("scoring") or not total:
        return (1.0 if total else 0.0), status.get("phase", "")
    rate, left, memory = (status.get(key) for key in ("pictures_per_second", "seconds_left", "memory_mb"))
    words = f"epoch {min(status.get('epoch', 0) + 1, run.config.epochs)} of {run.config.epochs}"
    words += f" · {rate:,.0f} pictures a second" if rate else ""
    words += f" · {duration(left)} left" if left is not None else ""
    words += f" · {memory / 1024:.1f} GB" if memory else ""
    return min(done / total, 1.0), words


def _result(run: Run) -> None:
    summary = run.summary()
    if not summary:
        return
    if not summary["test"]:
        st.caption("It was tested on no picture: its dataset has no test picture of its classes.")
        return
    test = summary["test"]
    limits = test["intervals"]["accuracy"]
    best = f"best epoch {summary['best_epoch']} · " if summary["best_epoch"] else ""  # where epochs were compared
    interval = shell.percent_interval(limits) if limits else "not known"
    st.markdown(
        "Test accuracy **" + shell.percent_markdown(test["accuracy"]) + "** "
        + f":gray[:small[95% interval {interval} · {shell.counted(test['pictures'], 'picture')}, "
        f"{groups_behind(test)} · {best}{duration(summary['training_seconds'])} of training]]"
    )  # fmt: skip
    lab.say_no_better(test)


def _buttons(run: Run, status: dict[str, Any], line: Sequence[str]) -> None:
    state = status["state"]
    with st.container(horizontal=True, vertical_alignment="center"):
        if state == "queued":
            _in_line(run, line)
        elif state == "running":
            asked = run.stop_file.exists()
            if st.button("Stopping …" if asked else "Stop", disabled=asked, key=f"stop-{run.name}",
                         icon=":material/stop:"):  # fmt: skip
                shell.attempt(jobs.request_stop, run)
        if state in ("interrupted", "stopped", "failed") and st.button("Resume", key=f"resume-{run.name}"):
            shell.attempt(jobs.resume, run)
        if run.summary().get("test"):
            for page, label, icon, query in (
                ("3_Compare", "Compare", "compare_arrows", {"runs": run.name}),
                ("4_Review", "Review its mistakes", "rate_review", {"run": run.name}),
                ("5_Classify", "Classify", "biotech", {"run": run.name}),
            ):
                st.page_link(f"pages/{page}.py", label=label, icon=f":material/{icon}:", query_params=query)
        naming.button("run", [run.name], f"name-{run.name}")
        if not run.trained_here:  # an ensemble, or adapted: it has no settings to train with, and no log
            return
        if st.button("Duplicate", key=f"copy-{run.name}", type="tertiary", icon=":material/content_copy:",
                     help="Puts its settings into the form, to be changed and trained."):  # fmt: skip
            address.write(preset=LIKE + run.name, dataset=run.config.data, model=run.config.model, labels=None)
            # The form may be out of sight.
            st.toast("Its settings are in the form: change what you like and press Train")
            st.rerun(scope="app")
        with st.popover("Log", icon=":material/notes:", type="tertiary"):
            st.code(run.log_tail() or "nothing yet", language=None)


def _in_line(run: Run, line: Sequence[str]) -> None:
    """The buttons of a run that waits."""
    place = line.index(run.name) + 1 if run.name in line else 0
    for label, icon, to in (("Sooner", "arrow_upward", place - 1), ("Later", "arrow_downward", place + 1)):
        possible = place and 1 <= to <= len(line)
        if st.button(label, icon=f":material/{icon}:", key=f"{label}-{run.name}", disabled=not possible):
            shell.attempt(lambda run, to=to: jobs.move(run, to), run)
    if st.button("Remove", icon=":material/delete:", key=f"withdraw-{run.name}", help="Takes it out of the queue."):
        shell.attempt(jobs.withdraw, run)
