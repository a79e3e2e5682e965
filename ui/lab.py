"""The lab's datasets and runs as pages show them: cached for as long as they don't change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from bloodcell_core import notes, workspace
from bloodcell_core import runs as run_folders
from bloodcell_core.data.audit import Audit, Finding, audit
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.dataset import names as dataset_names
from bloodcell_core.data.splits import photos_first
from bloodcell_core.evaluation.figures import one_answer_words
from bloodcell_core.models import MODELS
from bloodcell_core.runs import Run
from ui import address, cached
from ui.shell import empty_state, plain, remark, show_error, shows_errors, synthetic_badge

LONGEST_NAME = 24  # letters of a name where it must fit a line


def dataset_title(name: str) -> str:
    """A dataset's entry in a choice: its name, after its title if it has one."""
    told = notes.read("dataset", name)
    return f"{told.title or 'its title can’t be read'} · {name}" if told.title or told.problem else name


def dataset_or(none: str, label: str, key: str, **how: Any) -> tuple[str | None, bool]:
    """Draws a choice of `none` or one of the datasets; returns the one chosen, and whether it may be used.

    It may not where the one that was chosen has been deleted in another window, which is said: none takes its place.
    """
    offered = [none, *dataset_names()]
    seen = st.session_state.get(key, none)
    if offered == [seen]:
        return None, True
    chosen = st.selectbox(
        label, offered, key=key, format_func=lambda name: name if name == none else dataset_title(name), **how
    )
    if gone := seen not in offered:
        show_error(f"The dataset {seen} was deleted in another window: choose again.")
    return None if chosen == none else chosen, not gone


def dataset(name: str) -> Dataset:
    """A dataset with its table of pictures, read once for all sessions."""
    file = workspace.dataset_dir(name) / "dataset.json"
    return _dataset(str(workspace.home()), name, file.stat().st_mtime_ns if os.path.exists(file) else 0)


@st.cache_resource(max_entries=8, show_spinner=False)
def _dataset(home: str, name: str, changed: int) -> Dataset:
    return Dataset(name)


@cached.resource(max_entries=8, show_spinner="Looking through the dataset …")
def audit_of(data: Dataset) -> Audit:
    """The findings in a dataset, looked for once for all sessions."""
    return audit(data)


def rows_of(data: Dataset, image_ids: Iterable[str]) -> list[int | None]:
    """The rows of `data.pictures` that hold these pictures; None where the dataset no longer has one."""
    place = pd.Series(data.pictures.index, index=data.pictures.image_id)
    return [None if pd.isna(row) else int(row) for row in place.reindex(list(image_ids))]


@cached.resource(max_entries=64, show_spinner=False)
def finding_rows(data: Dataset, finding: Finding) -> list[int]:
    """The rows of `data.pictures` that a finding is about, in its order; for a duplicate, the picture that was kept.
    Not to be changed in place."""
    ids = data.images.image_id[finding.rows].dropna().drop_duplicates()
    return [row for row in rows_of(data, ids) if row is not None]


@cached.data(max_entries=8, show_spinner="Drawing the map: a moment …")
def picture_map(data: Dataset, run: Run | None, method: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows of `data.pictures` that are on the map, and their places, by a run's features or colour and shape."""
    from bloodcell_core.inference.embedding import MOST_PICTURES, Embedder, look_features, project

    rows = photos_first(data.pictures, MOST_PICTURES)
    features = Embedder(run).of_rows(data, rows) if run else look_features(data, rows)
    return rows, project(features, method)


@cached.resource(max_entries=16, show_spinner=False)
def predictions(run: Run) -> pd.DataFrame:
    """A finished run's predictions; not to be changed in place. LabError where there are none."""
    return run.predictions()


def scored_runs() -> list[Run]:
    """The runs that have been scored on their test split, newest first; shows an error for each damaged one.

    Folds of a cross-validation are left out: each is tested on other pictures, and their group stands for them.
    """
    good, damaged = run_folders.readable_runs()
    tell_damaged(damaged)
    return [run for run in good if not run.config.folds and run.summary().get("test")]


def tell_damaged(lines: Sequence[str]) -> None:
    """Shows the lines of runs that can't be read, and where that ends."""
    for line in lines:
        show_error(f"{line}. A run that nobody wants any more can be deleted on the Train page or by `runs remove`.")


def run_title(run: Run | str) -> str:
    """A run's full title: its own title if it has one, network, dataset, view, fold if it is one, and the end of its
    name, so that no two runs have the same."""
    return _run_title(run if isinstance(run, Run) else Run(run), str)


def run_choice(run: Run) -> str:
    """`run_title` where it must fit on one line, as in choices and legends: the middle of long names is left out, so
    that the end stays, which tells runs apart."""
    return _run_title(run, _without_middle)


def run_cell(run: Run) -> str:
    """`run_choice` for a table, whose cells have no badges: words mark synthetic pictures."""
    return run_choice(run) + (" · synthetic pictures" if run.synthetic else "")


def _run_title(run: Run, cut: Callable[[str], str]) -> str:
    fold = f" · fold {run.config.fold_words}" if run.config.folds else ""
    told = run.notes
    own = f"{cut(told.title) or 'its title can’t be read'} · " if told.title or told.problem else ""
    # An ensemble may have a name that a person gave it; others end in four letters that tell them apart.
    short = workspace.short_name(run.name)
    return f"{own}{network_title(run)} · {cut(run.config.data)}, {run.view_words} view{fold} · {cut(short)}"


def _without_middle(name: str) -> str:
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[1 - half :]}"


def short_title(run: Run) -> str:
    """A run's shortest title: its network and the end of its name."""
    return f"{network_title(run)} {workspace.short_name(run.name)}"


def network_title(run: Run) -> str:
    """A run's network, marked where it could have been pretrained and wasn't; an ensemble's number of members."""
    if run.is_ensemble:
        return f"Ensemble of {len(run.member_facts)}"
    if run.bundled:
        return f"{MODELS[run.config.model].title}, bundled"
    info = MODELS.get(run.config.model)
    if info is None:  # one of timm's: to ask timm would load PyTorch for a title
        return run.config.model + (", from scratch" if run.config.weights == "none" else "")
    scratch = ", from scratch" if info.pretrained and not run.pretrained else ""
    return info.title + scratch + (", adapted" if run.adapted else "")


@shows_errors
def make_demo_pictures() -> None:
    """Draws the demo pictures with progress, then shows them on the Browse page."""
    from bloodcell_core.data.importing import make_demo

    bar = st.progress(0.0, "Drawing synthetic demo pictures …")
    made = make_demo(progress=lambda done, total: bar.progress(done / total, f"{done} of {total} pictures drawn"))
    bar.empty()
    st.switch_page("pages/1_Browse.py", query_params={"dataset": made.name})


def need_dataset(of_it: Sequence[str] = ()) -> list[str]:
    """The datasets' names; where there is none, the page says so, offers the demo, and stops here.

    `of_it` as in `leave_deleted_dataset`.
    """
    found = dataset_names()
    if not found:
        empty_state(
            "There are no pictures here yet. **Demo pictures** are drawn by a program within half a minute.",
            "Make demo pictures",
            make_demo_pictures,
            lambda: st.page_link("pages/1_Browse.py", label="Import your own", icon=":material/upload:"),
        )
        st.stop()
    leave_deleted_dataset(found, of_it)
    return found


def leave_deleted_dataset(found: Sequence[str], of_it: Sequence[str] = ()) -> None:
    """Where the address names a dataset that is gone, shows the first of `found` instead, and says so.

    Clicks made meanwhile were meant for the one that is gone and are dropped, and so are `of_it`, the parameters of the
    address that say what was looked at in it.
    """
    asked = address.value_of("dataset")
    if asked is None or asked in found:
        return
    address.write(dataset=found[0], **dict.fromkeys(of_it))
    st.toast(f"There is no dataset {plain(asked[:80])}: another one is shown.", icon=":material/delete:")
    st.rerun()


def need_networks() -> list[Run]:
    """The scored runs to classify with, as `need_runs`, but a bundled one is enough.

    The first answers until another is chosen: those that were stopped, or were better before they were adapted, come
    last.
    """

    def only_if_chosen(run: Run) -> bool:
        adapted = run.summary().get("adaptation")
        return run.status()["state"] != "done" or bool(adapted and adapted_for_worse(adapted))

    return sorted(scored_runs(), key=only_if_chosen) or need_runs()


def adapted_for_worse(facts: Mapping[str, Any]) -> bool:
    """Whether the network was better as it was, by the facts of an adaptation."""
    return bool(facts["compared"]["better"] == "a")


def need_runs() -> list[Run]:
    """The scored runs; where none was made here, the page says so, leads to training, and stops here."""
    found = scored_runs()
    if all(run.bundled for run in found):
        need_dataset()
        empty_state(
            "No run has finished yet. Train a network first; the demo takes a minute.",
            "Train a network",
            "pages/2_Train.py",
        )
        st.stop()
    return found


def state_badge(state: str) -> None:
    """The state of a run, a cross-validation or a search; orange where it ended early."""
    colours = {"running": "violet", "queued": "gray", "starting": "gray", "done": "green", "failed": "red"}
    st.badge(state, color=colours.get(state, "orange"))


def say_synthetic(synthetic: bool) -> None:
    """Draws the badge of what was made by a program and not photographed, where it was."""
    if synthetic:
        synthetic_badge()


def say_no_better(scores: Mapping[str, Any]) -> None:
    """Says, beside the accuracy, where it is no better than that of always giving the commonest answer."""
    if words := one_answer_words(scores):
        remark(words)
