"""Train: starting, watching, stopping and resuming runs; searching for better settings."""

from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from bloodcell_core import runs as run_folders
from bloodcell_core.config import PRESETS, TrainConfig
from bloodcell_core.crops import VIEWS
from bloodcell_core.errors import LabError, in_words
from bloodcell_core.models import MODELS, model_info
from bloodcell_core.runs import ENDED
from bloodcell_core.training import groups, jobs
from ui import address, config_form, curves, lab, naming, shell
from ui.estimates import time_estimate
from ui.groups import cross_validation_button, group_card
from ui.networks import WEIGHTS_WORDS, about, ask_network, ask_weights
from ui.once import once
from ui.previews import preview_button
from ui.run_cards import LIKE, run_card
from ui.searches import search_panel

TICK = 1.5  # seconds between two updates from the run folders
SHOWN_RUNS = 8
OF_A_DATASET = ("labels",)  # what the address says of one dataset alone

shell.page("Train", "Start a network and watch it learn. A run goes on when you close this page.")
names = lab.need_dataset(OF_A_DATASET)
naming.dialog()


def start(configs: list[TrainConfig]) -> None:
    """Queues a run of each; those that can't start are reported, the others go on. A double click counts once."""

    def begin() -> list[str]:
        # No call of Streamlit in here: after a click it would end the script, with only some of the runs made.
        refused = []
        for config in configs:
            try:
                jobs.train_detached(config)
            except (LabError, OSError) as error:
                refused.append(f"{model_info(config.model).title}: {in_words(error)}")
        return refused

    refused = once(tuple(configs), begin)
    for line in refused:
        shell.show_error(line)
    if started := len(configs) - len(refused):
        st.toast(f"{shell.counted(started, 'run')} started")


def ask_preset(dataset: str) -> tuple[str, dict[str, Any]]:
    """The chosen preset's name and its settings for a dataset: one of PRESETS, or those of a run."""
    like = address.value_of("preset") or ""
    of_run = like.startswith(LIKE) and like.removeprefix(LIKE) in run_folders.names()
    preset = address.selectbox(
        "Settings", [*PRESETS, *([like] if of_run else [])], "preset", default="quick look",
        format_func=lambda name: "As " + lab.run_title(name.removeprefix(LIKE)) if of_run and name == like
        else name.capitalize(),
        help="Quick look: a minute or two. Balanced: what is worth its time. Best: the longest. Original: whole "
        "pictures, as in the original analysis.",
    )  # fmt: skip
    values = PRESETS.get(preset) or (
        run_folders.Run(preset.removeprefix(LIKE)).config.to_json() | {"folds": 0, "fold": 1}
    )
    if values.get("data", dataset) != dataset:
        values = values | config_form.OF_A_DATASET
    labels = address.value_of("labels")  # from the Review page
    return preset, values | {"labels": labels} if labels else values


def ask() -> None:
    """Draws the form, and the buttons that start runs with its settings."""
    dataset = address.selectbox("Dataset", names, "dataset", format_func=lab.dataset_title, forget=OF_A_DATASET)
    config, problem = None, ""
    try:
        model = ask_network(partial(address.selectbox, param="model", default="basic_cnn"), "train",
                            asked=address.value_of("model") or "")  # fmt: skip
        told = st.empty()
        preset, values = ask_preset(dataset)
        view = st.segmented_control(
            "View", VIEWS, default=values["view"], required=True, key=f"view-{preset}",
            format_func=str.capitalize,
            help="Frame: the whole picture. Cell: a square cut around the white cell.",
        )  # fmt: skip
        weights = ask_weights(model, values.get("weights", "default"))
        with st.expander("Advanced settings"):
            settings = config_form.advanced_fields(values, preset, dataset)
        data = lab.dataset(dataset)
        data.pictures  # noqa: B018  (raises here where the table can't be read)
        if model:
            classes = len(data.classes)
            told.caption(shell.plain(about(model, settings["size"], settings["width"], classes)),
                         help="MFLOP: a million multiplications and additions.")  # fmt: skip
        if model and weights:
            config = TrainConfig(**settings | {"data": dataset, "model": model, "view": view, "weights": weights})
        else:
            problem = "Give the path of a weights file." if model else "Give the name of a network."
    except LabError as error:
        problem = str(error)
    if problem:
        shell.show_error(problem)
    if config:
        if config.labels:
            st.caption(f":material/label: With the reviewed labels {shell.plain(config.labels)}.")
        preview_button(config)
        time_estimate(config)
    with st.container(horizontal=True):
        one = st.button("Train", type="primary", disabled=not config, icon=":material/play_arrow:")
        every = st.button("Train every network", disabled=not config, help="One after another on the same device.")
        cross_validation_button(config)
    if config and (one or every):
        start([each_network(config, name) for name in MODELS] if every else [config])


def each_network(config: TrainConfig, name: str) -> TrainConfig:
    """The same settings for another network, without those that are one network's own."""
    weights = config.weights if model_info(name).pretrained and config.weights in WEIGHTS_WORDS else "default"
    own = {} if name == config.model else {"width": 1.0, "dropout": None, "learning_rate": None}
    return replace(config, model=name, weights=weights, **own)


def live_panel() -> None:
    """Draws curves and cards of the newest runs and cross-validations; updated by a timer while any is at work."""
    runs, damaged = run_folders.readable_runs()
    unread = sorted({*run_folders.names()} - {run.name for run in runs})
    runs = [run for run in runs if not run.bundled]
    for line in damaged:
        shell.show_error(line)
    if damaged:  # they can be deleted here
        naming.button("run", unread, "name_damaged")
    if not runs:
        st.info("No run yet. Choose a network and press **Train**: its curve appears here.")
        return
    statuses = {run.name: run.status() for run in runs}
    at_work = [run for run in runs if statuses[run.name]["state"] not in ENDED]
    by_name = {run.name: run for run in runs}
    picked = [by_name[name] for name in st.session_state.get("curve_runs") or [] if name in by_name]
    trained = [run for run in runs if run.trained_here]
    curves.draw(picked or [run for run in at_work if statuses[run.name]["state"] == "running"] or trained[:3],
                log=st.session_state.get("log_scale", False))  # fmt: skip
    for group in groups.groups(runs)[:SHOWN_RUNS]:
        group_card(group)
    single = [run for run in runs if not run.group]
    working = sorted((run for run in single if run in at_work),
                     key=lambda run: (statuses[run.name]["state"] == "queued", run.turn()))  # fmt: skip
    queues = {statuses[run.name]["queue"] for run in working if statuses[run.name]["state"] == "queued"}
    lines = {queue: [run.name for run in run_folders.waiting(queue)] for queue in queues}
    for run in (working + [run for run in single if run not in working])[: max(SHOWN_RUNS, len(working))]:
        run_card(run, statuses[run.name], lines.get(statuses[run.name]["queue"], ()))
    if not at_work and st.session_state.pop("ticking", False):
        st.rerun(scope="app")  # once, so that the panel stops its timer


part = address.segmented_control("Part", ["runs", "search"], "part", default="runs", label_visibility="collapsed",
                             format_func={"runs": "Runs", "search": "Search for settings"}.get)  # fmt: skip
if part == "search":
    search_panel(names)
else:
    form, live = shell.sides([3, 7], "train")
    with form:
        ask()
    with live:
        recent = {run.name: run for run in run_folders.readable_runs()[0]}  # after the form, which may start some
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.multiselect(
                "Runs in the chart", [name for name, run in recent.items() if run.trained_here], key="curve_runs",
                format_func=lambda name: lab.run_choice(recent[name]), placeholder="those at work, or the newest",
                max_selections=curves.MOST_RUNS,
            )  # fmt: skip
            st.toggle("Logarithmic loss", key="log_scale")
        ticking = any(run.status()["state"] not in ENDED for run in recent.values())
        st.session_state["ticking"] = ticking
        st.fragment(live_panel, run_every=TICK if ticking else None)()
