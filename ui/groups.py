"""Cross-validations on pages: the button that starts one, and a card with its progress and figures."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from bloodcell_core import workspace
from bloodcell_core.config import TrainConfig
from bloodcell_core.evaluation.figures import spread_words
from bloodcell_core.training import groups
from bloodcell_core.training.groups import Group
from bloodcell_core.words import duration, groups_behind
from ui import lab, naming, shell
from ui.once import once

MOST_FOLDS = 20
POPOVER = "cross_validation"  # the key of the form that starts one
OVER = {"all": "Whole dataset", "train": "Without test split"}


@shell.shows_errors
def cross_validation_button(config: TrainConfig | None) -> None:
    """Draws a button that asks for folds and starts a cross-validation.

    `config` is what each fold trains with, or None where the page's settings can't be: the button is off then.
    """
    # It rules its own popover, to close it: left open after a start, it asks for a second press.
    with st.popover(
        "Cross-validate", icon=":material/view_week:", disabled=config is None, key=POPOVER, on_change="rerun"
    ):
        st.caption(
            "A network for each part of the dataset, trained on the other parts. Every picture is predicted by a "
            "network that saw no picture of its photo: the figure with the narrowest honest interval."
        )
        folds = shell.whole_number("Parts", 2, MOST_FOLDS, groups.FOLDS, key="cross_validation_folds")
        over = st.segmented_control(
            "Cut from", list(OVER), default="all", format_func=OVER.get, required=True, key="cross_validation_over",
            help="Without its test split, to choose settings by: the test pictures are left unread.",
        )  # fmt: skip
        clicked = st.button("Start", type="primary", key="cross_validation_start", on_click=_close,
                            disabled=folds is None)  # fmt: skip
    if not clicked or config is None or folds is None:
        return
    once((config, folds, over), lambda: groups.go_on(groups.create_group(config, folds, over)))
    st.toast(f"{folds} runs started, one a fold")


def _close() -> None:
    st.session_state[POPOVER] = False


def group_title(group: Group) -> str:
    """A cross-validation's title: network, dataset, view, and the end of its name."""
    run = group.first
    return f"{lab.network_title(run)} · {run.config.data}, {run.view_words} view · {group.name[-4:]}"


def group_card(group: Group) -> None:
    """State, progress, figures and buttons of one cross-validation; to be drawn anew as its runs go on."""
    facts = groups.describe(group)
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{shell.plain(group_title(group))}**")
            lab.say_synthetic(facts["synthetic"])
            lab.state_badge(facts["state"])
        left_out = "" if facts["over"] == "all" else ", the test split left unread"
        words = f"Cross-validation, {facts['folds']} folds: {facts['folds_done']} of {facts['folds']} done{left_out}"
        if facts["complete"]:
            st.caption(f"{words}, {duration(facts['seconds'])} of training.")
        else:
            st.progress(sum(fold["progress"] for fold in facts["runs"]) / facts["folds"], words)
        for fold in facts["runs"]:
            if fold["state"] == "failed":
                shell.show_error(f"Fold {fold['fold']}: {fold['reason']}")
        _pooled(group, facts)
        _buttons(group, facts)


@shell.shows_errors
def _pooled(group: Group, facts: dict[str, Any]) -> None:
    done = tuple(fold["run"] for fold in facts["runs"] if fold["state"] == "done")
    scores = _scores(str(workspace.home()), group.name, done, group)
    if not scores:
        return
    limits = scores["intervals"]["accuracy"]
    interval = f"95% interval {shell.percent_interval(limits)}" if limits else "interval not known"
    so_far = "" if facts["complete"] else f" of {facts['folds_done']} of {facts['folds']} folds"
    st.markdown(
        f"Out-of-fold accuracy{so_far} **" + shell.percent_markdown(scores["accuracy"]) + "** "
        + f":gray[:small[{interval} · {shell.counted(scores['pictures'], 'picture')}, {groups_behind(scores)}]]"
    )  # fmt: skip
    unit = scores["unit"]
    with st.expander("Folds"):
        spread = facts["accuracy_by_fold"]
        if spread["spread"] is not None:
            st.caption(
                f"On average {shell.percent(spread['mean'])}, standard deviation "
                f"{spread_words('accuracy', spread['spread'])}: how much it depends on which {unit}s are trained "
                "on and tested."
            )
        rows = [
            {
                "Fold": fold["fold"],
                "State": fold["state"],
                "Accuracy": shell.percent(fold["accuracy"]),
                "Pictures": f"{fold['pictures']:,}" if fold["pictures"] else "–",
                f"{unit.capitalize()}s": f"{fold['photos']:,}" if fold["photos"] else "–",
                "Training": duration(fold["seconds"]) if fold["seconds"] is not None else "–",
            }
            for fold in facts["runs"]
        ]
        shell.table(pd.DataFrame(rows))


@st.cache_data(max_entries=64, show_spinner="Putting the folds together …")
def _scores(home: str, name: str, done: tuple[str, ...], _group: Group) -> dict[str, Any] | None:
    return groups.pooled_scores(_group)


def _buttons(group: Group, facts: dict[str, Any]) -> None:
    with st.container(horizontal=True):
        naming.button("run", [run.name for run in group.runs.values()], f"name-{group.name}")
        at_work = facts["state"] in ("running", "queued")
        if at_work and st.button("Stop", key=f"stop-{group.name}", icon=":material/stop:"):
            shell.attempt(groups.stop, group)
        if not at_work and not facts["complete"] and st.button("Go on", key=f"go-on-{group.name}"):
            shell.attempt(groups.go_on, group)
