"""Train: start networks, watch them learn, stop and resume them."""

import time
from datetime import timedelta

import pandas as pd
import streamlit as st

from bloodcell_core import runs as run_folders
from bloodcell_core.config import PRESETS, TrainConfig
from bloodcell_core.data.views import VIEWS
from bloodcell_core.errors import LabError
from bloodcell_core.models import MODELS, model_info
from bloodcell_core.runs import ENDED, Run
from bloodcell_core.training import jobs
from ui import charts, config_form, lab, shell

TICK = 1.5  # seconds between two looks at the run folders
SHOWN_RUNS = 8
DOUBLE_CLICK = 2.0  # seconds in which the same settings are not started again
WEIGHTS_WORDS = {"default": "ImageNet (pretrained)", "none": "None: from scratch", "file": "From a file"}

shell.page("Train", "Start a network and watch it learn. A run goes on when you close this page.")
names = lab.need_dataset()
form, live = st.columns([2, 5], gap="large")


def start(models: list[str], settings: dict) -> None:
    """Queues a run of each network; what can't start is told, the others go on. A double click counts once."""
    last = st.session_state.setdefault("last_start", {"what": None, "at": 0.0})
    started, refused = [], []
    with st.spinner("Starting …"):
        # No call of Streamlit in here: a click meanwhile would break the loop off at it, with a part of the runs made.
        if last["what"] == (models, settings) and time.monotonic() - last["at"] < DOUBLE_CLICK:
            models = []
        for model in models:
            weights = settings["weights"] if model_info(model).pretrained else "default"
            try:
                started.append(jobs.train_detached(TrainConfig(**settings | {"model": model, "weights": weights})))
            except (LabError, OSError) as error:
                refused.append(f"{model_info(model).title}: {error}")
            last |= {"what": (models, settings), "at": time.monotonic()}
    for line in refused:
        shell.show_error(line)
    if started:
        st.toast(f"{len(started)} {'run' if len(started) == 1 else 'runs'} started")


with form:
    dataset = shell.bound_selectbox("Dataset", names, "dataset")
    model = shell.bound_selectbox(
        "Network", list(MODELS), "model", default="basic_cnn", format_func=lambda name: MODELS[name].title
    )
    info = MODELS[model]
    st.caption(f"{info.about} {info.parameters / 1e6:.2g} million weights, {info.flops / 1e6:.0f} MFLOP a picture.")
    preset = shell.bound_selectbox(
        "Preset", list(PRESETS), "preset", default="quick look", format_func=str.capitalize,
        help="Quick look: short epochs on cells. Original: 10 epochs on whole pictures, as in the original analysis.",
    )  # fmt: skip
    view = st.segmented_control(
        "View", VIEWS, default=PRESETS[preset]["view"], required=True, key=f"view-{preset}",
        format_func={"frame": "Frame", "cell": "Cell"}.get,
        help="Frame: the whole picture. Cell: a square cut around the white cell.",
    )  # fmt: skip
    weights = st.selectbox(
        "First weights of pretrained networks", WEIGHTS_WORDS, format_func=WEIGHTS_WORDS.get,
        help="EfficientNet-Lite0 brings its own; those of ResNet-18 are downloaded once: offline, give a file or train "
        "from scratch.",
    )  # fmt: skip
    if weights == "file":
        weights = st.text_input("Path of a weights file", placeholder="resnet18.safetensors or .pth")
    with st.expander("Advanced settings"):
        try:
            settings = config_form.advanced_fields(PRESETS[preset], key=preset)
            problem = ""
        except LabError as error:
            settings, problem = {}, str(error)
    if not weights:
        problem = "Give the path of a weights file, or choose other first weights."
    if problem:
        shell.show_error(problem)
    settings |= {"data": dataset, "view": view, "weights": weights}
    with st.container(horizontal=True):
        one = st.button("Train", type="primary", disabled=bool(problem), icon=":material/play_arrow:")
        every = st.button("Train every network", disabled=bool(problem), help="One after another on the same device.")
    if one or every:
        start(list(MODELS) if every else [model], settings)


def run_card(run: Run, status: dict) -> None:
    """State, progress and buttons of one run."""
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{shell.plain(lab.run_title(run))}**")
            lab.say_synthetic(run.synthetic)
            colour = {"running": "violet", "queued": "gray", "done": "green", "failed": "red"}.get(
                status["state"], "orange"
            )
            st.badge(status["state"], color=colour)
        if status["state"] == "running":
            done, total = status.get("step", 0), status.get("total_steps", 0)
            rate, left = status.get("pictures_per_second"), status.get("seconds_left")
            epoch = min(status.get("epoch", 0) + 1, run.config.epochs)
            words = f"epoch {epoch} of {run.config.epochs}" if total else status.get("phase", "")
            words += f" · {rate:,.0f} pictures a second" if rate else ""
            words += f" · {timedelta(seconds=left)} left" if left is not None else ""
            if status.get("phase", "").startswith("scoring"):
                words = status["phase"]
            st.progress(min(done / total, 1.0) if total else 0.0, words)
        elif status["state"] == "queued":
            st.caption("Waits until the device is free.")
        elif status.get("reason"):
            st.caption(shell.plain(status["reason"]))
        summary = run.summary()
        if summary and summary["test"]:
            test = summary["test"]
            photos = f", {test['photos']:,} photos" if test["photos"] is not None else ""
            st.markdown(
                "Test accuracy **" + shell.percent_markdown(test["accuracy"]) + "** "
                + f":gray[:small[95% interval {_limits(test)} · {test['pictures']:,} pictures{photos} · "
                f"best epoch {summary['best_epoch']}]]"
            )  # fmt: skip
        _buttons(run, status)


def _limits(test: dict) -> str:
    limits = test["intervals"]["accuracy"]
    return f"{100 * limits[0]:.1f} to {100 * limits[1]:.1f}" if limits else "not known"


def _buttons(run: Run, status: dict) -> None:
    state = status["state"]
    with st.container(horizontal=True):
        if state in ("running", "queued"):
            asked = (run.folder / "stop").exists()
            if st.button(
                "Stopping …" if asked else "Stop",
                disabled=asked,
                key=f"stop-{run.name}",
                icon=":material/stop:",
            ):
                _try(jobs.request_stop, run)
        if state in ("interrupted", "stopped", "failed") and st.button("Resume", key=f"resume-{run.name}"):
            _try(jobs.resume, run)
        if run.summary():
            st.page_link(
                "pages/3_Compare.py",
                label="Compare",
                icon=":material/compare_arrows:",
                query_params={"runs": run.name},
            )
            st.page_link(
                "pages/4_Review.py",
                label="Review its mistakes",
                icon=":material/rate_review:",
                query_params={"run": run.name},
            )
            st.page_link(
                "pages/5_Classify.py",
                label="Classify",
                icon=":material/biotech:",
                query_params={"run": run.name},
            )


def _try(action, run: Run) -> None:
    try:
        action(run)
    except LabError as error:
        st.toast(shell.plain(str(error)), icon=":material/error:")
    st.rerun(scope="app")


def curve_rows(runs: list[Run]) -> pd.DataFrame:
    """A row a run, split, epoch and measure."""
    rows = []
    for run in runs:
        title = f"{lab.network_title(run)} {run.name[-4:]}"
        for event in run.events()[0]:
            if event["event"] == "epoch":
                for split, short in (("train", "train"), ("validation", "val")):
                    rows.append((title, split, event["epoch"], event[f"{short}_loss"], event[f"{short}_accuracy"]))
    return pd.DataFrame(rows, columns=["run", "split", "epoch", "loss", "accuracy"])


def step_rows(runs: list[Run], most: int = 600) -> pd.DataFrame:
    """The loss of single steps in the first epoch, so that a curve moves before there is an epoch to show."""
    rows = []
    for run in runs:
        title = f"{lab.network_title(run)} {run.name[-4:]}"
        steps = [event for event in run.events()[0] if event["event"] == "step"]
        every = max(1, len(steps) // most)
        status_steps = run.status().get("total_steps") or 1
        for event in steps[::every]:
            rows.append((title, "train", event["step"] * run.config.epochs / status_steps, event["loss"]))
    return pd.DataFrame(rows, columns=["run", "split", "epoch", "value"])


def live_panel() -> None:
    """Cards of the newest runs and their curves; ticks while one of them is at work."""
    runs, damaged = run_folders.readable_runs()
    for line in damaged:
        shell.show_error(line)
    if not runs:
        st.info("No run yet. Choose a network on the left and press **Train**: its curve appears here.")
        return
    statuses = {run.name: run.status() for run in runs}
    at_work = [run for run in runs if statuses[run.name]["state"] not in ENDED]
    shown = (at_work + [run for run in runs if run not in at_work])[: max(SHOWN_RUNS, len(at_work))]
    titles = {run.name: run for run in shown}
    picked = [titles[name] for name in st.session_state.get("curve_runs") or [] if name in titles]
    drawn = picked or at_work or shown[:3]
    curves = curve_rows(drawn)
    log = st.session_state.get("log_scale", False)
    left, right = st.columns(2)
    with left:
        steps = step_rows(drawn)
        if curves.empty and not steps.empty:
            charts.learning_curves(steps, title="Loss of single steps", log=log)
        elif not curves.empty:
            charts.learning_curves(curves.rename(columns={"loss": "value"}), title="Loss", log=log)
        else:
            st.caption("The curve begins with the first steps.")
    with right:
        if not curves.empty:
            charts.learning_curves(curves.rename(columns={"accuracy": "value"}), title="Accuracy", percent=True)
    for run in shown:
        run_card(run, statuses[run.name])
    with st.expander("Log of the newest run"):
        st.code(shown[0].log_tail() or "nothing yet", language=None)
    if not at_work and st.session_state.pop("ticking", False):
        st.rerun(scope="app")  # once, so that the panel stops its timer


with live:
    recent, _ = run_folders.readable_runs()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.multiselect(
            "Runs in the chart", [run.name for run in recent[:SHOWN_RUNS]], key="curve_runs",
            format_func=lambda name: f"{name.split('-')[2]} {name[-4:]}",
            placeholder="those at work, or the newest",
        )  # fmt: skip
        st.toggle("Logarithmic loss", key="log_scale")
    ticking = any(run.status()["state"] not in ENDED for run in recent)
    st.session_state["ticking"] = ticking
    st.fragment(live_panel, run_every=TICK if ticking else None)()
