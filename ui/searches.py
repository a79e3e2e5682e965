"""The part of a page that starts searches for better settings and shows what their trials found."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from bloodcell_core import workspace
from bloodcell_core.background import ENDED
from bloodcell_core.config import PRESETS, TrainConfig
from bloodcell_core.errors import LabError
from bloodcell_core.models import MODELS
from bloodcell_core.training import jobs, studies
from bloodcell_core.training.search_space import searchable, usual
from bloodcell_core.training.studies import Study
from bloodcell_core.words import duration, pretty
from ui import address, lab, shell
from ui.networks import about, ask_network, ask_weights
from ui.once import once

TICK = 2.0  # seconds between two looks at a search that is at work
EPOCHS, PICTURES = 5, 2000  # of a trial, where nothing else is asked for
SHOWN_TRIALS = 10


def search_panel(dataset_names: Sequence[str]) -> None:
    """Draw the form that starts a search on one of these datasets, and one of the searches that there are in full."""
    form, found = shell.sides([3, 7], "search")
    with form:
        _form(dataset_names)
    with found:
        _searches()


def _form(names: Sequence[str]) -> None:
    dataset = address.selectbox("Dataset", names, "dataset", format_func=lab.dataset_title, forget=("labels",))
    model = ask_network(partial(st.selectbox, index=list(MODELS).index("cell_net"), key="search_model"), "search")
    told = st.empty()
    preset = st.selectbox(
        "Settings", list(PRESETS), list(PRESETS).index("quick look"), format_func=str.capitalize, key="search_preset",
        help="What stays the same for all trials. The first trial is these settings as they are.",
    )  # fmt: skip
    with st.container(horizontal=True):
        trials = shell.whole_number("Trials", 1, 1000, studies.TRIALS, help="How many settings are tried.")
        minutes = shell.whole_number("Minutes", 0, 10_000, 0, help="No trial begins after so many; 0 for no limit.")
    with st.container(horizontal=True):
        epochs = shell.whole_number("Epochs a trial", 1, 1000, EPOCHS, help="Bad trials are broken off before.")
        pictures = shell.whole_number("Pictures an epoch", 0, 10_000_000, PICTURES, help="0 for all.")
    fields: list[str] = []
    weights = ""
    try:
        weights = ask_weights(model)
        if model:
            told.caption(shell.plain(about(model, PRESETS[preset]["size"], 1.0, len(lab.dataset(dataset).classes))))
            fields = st.pills(
                "What to vary", searchable(model), selection_mode="multi", default=usual(model),
                format_func=pretty, key=f"search_fields_{model}", wrap=True,
            )  # fmt: skip
        else:
            told.caption("Give the name of a network.")
    except LabError as error:
        shell.show_error(str(error))
    st.caption("Trials are compared on photos kept back from the training split. The test split is not looked at.")
    ready = fields and weights and None not in (trials, minutes, epochs, pictures)
    if st.button("Search", type="primary", icon=":material/search:", disabled=not ready, key="search_start"):
        settings = PRESETS[preset] | {"epochs": epochs, "pictures_per_epoch": pictures}
        _start(TrainConfig(data=dataset, model=model, weights=weights, **settings), fields, trials, minutes)


@shell.shows_errors
def _start(settings: TrainConfig, fields: list[str], trials: int, minutes: int) -> None:
    def begin() -> str:
        study = studies.create(settings, fields, trials, minutes)
        studies.start(study)
        return study.name

    address.write(study=once((settings, *fields, trials, minutes), begin))
    st.rerun()


@shell.shows_errors
def _searches() -> None:
    plans = studies.plans()
    if not plans:
        st.info("No search yet. Choose a network and press **Search**: its trials appear here.")
        return
    name = address.selectbox(
        "Search", list(plans), "study",
        format_func=lambda name: f"{_title(plans[name]['config'])} · {workspace.short_name(name)}",
    )  # fmt: skip
    at_work = Study(name).status()["state"] not in (*ENDED, "elsewhere")
    st.fragment(_study, run_every=TICK if at_work else None)(name, at_work)


@shell.shows_errors
def _study(name: str, was_at_work: bool) -> None:
    study = Study(name)
    status, trials = study.status(), study.trials()
    if was_at_work and status["state"] in ENDED:
        st.rerun(scope="app")  # once, so that the panel stops its timer
    _head(study, status)
    rows = pd.DataFrame([trial | trial["settings"] for trial in trials if trial["val_loss"] is not None])
    if rows.empty:
        st.caption("The first point comes with the first epoch.")
        return
    from ui import search_charts  # with Altair, which the page needs for nothing else

    left, right = shell.sides([3, 2], "trials", "small")
    with left:
        search_charts.losses(rows)
    with right:
        done = sum(rows.state == "done")
        shares = _importance(name, study.created, done)
        search_charts.importance({pretty(field): share for field, share in shares.items()}, done)
    if studies.best_of(trials):
        _train_button(study)
        _table(rows, list(study.ranges))


def _title(settings: Mapping[str, Any]) -> str:
    """What a search is of: the network, the dataset and the view."""
    model, data, view = (str(settings.get(field)) for field in ("model", "data", "view"))
    return f"{MODELS[model].title if model in MODELS else model} on {data}, {view} view"


def _head(study: Study, status: dict[str, Any]) -> None:
    state, finished = status["state"], study.finished()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{shell.plain(_title(study.config.to_json()))}**")
        lab.say_synthetic(study.synthetic)
        lab.state_badge(state)
        if state in ("starting", "running"):
            asked = study.job.stop_requested()
            if st.button("Stopping …" if asked else "Stop", disabled=asked, icon=":material/stop:", key="search_stop"):
                shell.attempt(studies.request_stop, study)
        unfinished = state in ENDED and finished < study.trials_wanted
        if unfinished and st.button("Go on", icon=":material/play_arrow:", key="search_go_on"):
            shell.attempt(_go_on, study)
    if state == "running":
        words = f"{finished} of {study.trials_wanted} trials"
        if status["phase"] == "training":
            words += f", epoch {min(status['epoch'] + 1, study.config.epochs)} of {study.config.epochs}"
        else:
            words += f", {status['phase']}"
        if status["seconds_left"] is not None:
            words += f", about {duration(status['seconds_left'])} left"
        st.progress(min(finished / study.trials_wanted, 1.0), words)
    elif status["reason"]:
        st.caption(shell.plain(status["reason"]))
    pictures, photos = study.validation["pictures"], study.validation["photos"]
    st.caption(
        f"{finished} of {study.trials_wanted} trials of {shell.counted(study.config.epochs, 'epoch')}, compared on "
        + shell.counted(pictures, "validation picture")
        + (f" from {shell.counted(photos, 'source photo')}." if photos else "; source photos are not known.")
    )


def _go_on(study: Study) -> None:
    studies.reopen(study)
    studies.start(study)


@st.cache_data(max_entries=50, show_spinner="What mattered …")
def _importance(name: str, created: str, done: int) -> dict[str, float]:
    """The study's shares; `done` is how many trials they are of, so that they are counted anew with each. `created`
    tells it from one of the same name that was deleted."""
    return Study(name).importance()


def _table(rows: pd.DataFrame, fields: list[str]) -> None:
    best = rows[rows.state == "done"].nsmallest(SHOWN_TRIALS, "val_loss")
    columns = {
        "number": st.column_config.NumberColumn("Trial", width="small"),
        "val_loss": st.column_config.NumberColumn("Validation loss", format="%.3f"),
        "val_accuracy": st.column_config.NumberColumn("Accuracy", format="%.1f%%"),
    }
    columns |= {field: st.column_config.NumberColumn(pretty(field), format="%.3g") for field in fields}
    best = best.assign(val_accuracy=100 * best.val_accuracy)
    shell.table(best[[*columns]], column_config=columns)
    st.caption(
        "Trial 1 has the settings that the search started from. These figures chose the best, so they flatter it; and "
        "from few trials, what mattered is no more than a hint."
    )


@shell.shows_errors
def _train_button(study: Study) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        epochs = shell.whole_number("Epochs", 1, 1000, study.config.epochs, key="search_epochs", width=120)
        everything = st.toggle("All pictures an epoch", value=True, key="search_everything")
        clicked = st.button(
            "Train with the best settings", type="primary", icon=":material/play_arrow:", key="search_train",
            disabled=epochs is None,
        )  # fmt: skip
    if not clicked:
        return
    settings = replace(study.best_config(), epochs=epochs)
    settings = replace(settings, pictures_per_epoch=0) if everything else settings
    st.toast(f"Run {once(settings, lambda: jobs.train_detached(settings).name)} started")
