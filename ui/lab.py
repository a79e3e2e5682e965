"""The lab's datasets, runs and pictures as pages show them: cached for as long as they don't change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Lock
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
from bloodcell_core.data.views import View, make_view
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.figures import one_answer_words, signed
from bloodcell_core.models import MODELS
from bloodcell_core.runs import Run
from bloodcell_core.words import pretty
from ui import address, cached
from ui.gallery import GONE, Tile, gallery, pager, thumbnail
from ui.shell import empty_state, plain, remark, show_error, shows_errors, synthetic_badge
from ui.theme import css_colours

TILE_PX, CELL_PX = 96, 320
PER_PAGE = 60  # pictures of a gallery
LONGEST_NAME = 24  # letters of a name where it must fit a line
MOST_THUMBNAILS = 20_000  # that are cached: some 80 MB


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


# Pictures


@st.cache_resource(show_spinner=False)
def _thumbnails() -> tuple[dict[tuple[str, str, str], str], Lock]:
    """The thumbnails drawn so far, the oldest first, for all sessions. Not `st.cache_data`, which a gallery of 300
    would call 300 times: that took as long as the rest of the page."""
    return {}, Lock()


def thumbnails(data: Dataset, rows: Sequence[int], view: str) -> list[str]:
    """Thumbnails of some rows of a dataset's pictures, in frame or cell view, as data URIs."""
    kept, lock = _thumbnails()
    keys = [(data.content_hash, image_id, view) for image_id in data.pictures.image_id.loc[list(rows)]]
    found = {key: kept.get(key) for key in keys}

    def draw(row: int) -> str | None:
        try:
            view_of_it = make_view(data.read_original(row), view, TILE_PX, place=data.places[row])
        except LabError:  # a file that was deleted by hand costs its own tile only
            return None
        return thumbnail(view_of_it.pixels, TILE_PX)

    missing = {key: row for key, row in zip(keys, rows, strict=True) if found[key] is None}
    if missing:
        with ThreadPoolExecutor() as pool:
            drawn = {key: src for key, src in zip(missing, pool.map(draw, missing.values()), strict=True) if src}
        found |= drawn
        with lock:
            kept |= drawn
            for oldest in [*islice(kept, max(0, len(kept) - MOST_THUMBNAILS))]:
                del kept[oldest]
    return [found[key] or GONE for key in keys]


def tiles(data: Dataset, rows: Sequence[int], view: str, captions: Iterable[str] | None = None) -> list[Tile]:
    """Gallery tiles of some rows of a dataset's pictures; the border is the class's colour."""
    part = data.pictures.loc[list(rows)]
    colours = css_colours(data.classes)
    texts = list(captions) if captions is not None else [""] * len(rows)
    return [
        Tile(
            id=image_id,
            src=src,
            title=f"{pretty(label)}{', synthetic' if data.synthetic else ''}: {file}",
            colour=colours[label],
            caption=text,
        )
        for image_id, src, label, file, text in zip(
            part.image_id, thumbnails(data, rows, view), part.label, part.file, texts, strict=True
        )
    ]


def gallery_to_browse(data: Dataset, image_ids: pd.Series, captions: pd.Series, key: str) -> None:
    """Draws a paged gallery of the pictures that the dataset still has; a click opens one on the Browse page."""
    there = image_ids.isin(data.pictures.image_id)
    above, below = st.container(), st.container()
    with below:
        start, stop = pager(int(there.sum()), PER_PAGE)
    rows = [row for row in rows_of(data, image_ids[there][start:stop]) if row is not None]
    with above:
        gallery(tiles(data, rows, "cell", captions[there][start:stop]), key, opener(data), tile_px=136)


def opener(data: Dataset) -> Callable[[str], None]:
    """The `on_click` of a gallery whose pictures are opened on the Browse page."""
    name = data.name  # what is drawn holds on to no dataset
    return lambda image_id: st.switch_page("pages/1_Browse.py", query_params={"dataset": name, "picture": image_id})


def facts_of(data: Dataset, row: int) -> dict[str, str]:
    """What is known of a picture, in words for people."""
    picture = data.pictures.loc[row]
    return {
        "File": picture.file,
        "Split": picture.split,
        "Size": f"{picture.width} × {picture.height} px, {picture['mode']}",
        "Source photo": f"{picture.source_photo}" if pd.notna(picture.source_photo) else "not known",
        "White cells": f"{picture.cells}" + (", in a place that the source told" if picture.box_told else ""),
        "Nucleus": "–" if pd.isna(picture.cell_area) else f"{picture.cell_area:,.0f} px²" + _in_red_cells(picture),
        "Focus": f"{picture.focus:.2f}; 1 is flat, from 1.2 sharp",
        "Background": f"{picture.brightness:.0f} of 255",
        "Its tint": f"{signed(picture.stain_a)} from green to red, {signed(picture.stain_b)} from blue to yellow",
        "Black border": f"{picture.black_border:.1%}",
        "Id": picture.image_id[:12],  # as `review set` takes it
    }


def _in_red_cells(picture: pd.Series) -> str:
    if pd.isna(picture.red_radius):
        return ""
    return f", {picture.cell_area / (np.pi * picture.red_radius**2):.1f} red cells"


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


@shows_errors
def picture_drawer(data: Dataset, row: int) -> None:
    """A picture at full size with the cell that was found in it, and what is known of it."""
    picture = data.pictures.loc[row]
    original = data.read_original(row)
    cell = make_view(original, "cell", CELL_PX, place=data.places[row])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(pretty(picture.label))}**")
        say_synthetic(data.synthetic)
    st.image(outlined(original, cell), alt=f"{pretty(picture.label)}, whole picture")
    st.image(cell.pixels, width=220, alt=f"{pretty(picture.label)}, cell view")
    st.caption("Cell view" if cell.found else "No white cell was found: the picture's middle is shown.")
    family = data.pictures.index[data.pictures.photo == picture.photo]
    what = "copies of this photo" if picture.family == picture.photo else "pictures of this group"
    if len(family) > 1 and st.button(f"Show all {len(family):,} {what}", key="family_of_picture"):
        address.write(family=picture.photo, label=None, split=None, finding=None, page=None, show=None)
        st.rerun()
    st.table(pd.Series({name: plain(value) for name, value in facts_of(data, row).items()}, name=""), hide_header=True)


def outlined(picture: np.ndarray, cell: View) -> np.ndarray:
    """A copy of the picture with the cell view's square drawn on it."""
    if not cell.found:
        return picture
    import cv2

    thickness = max(1, round(max(picture.shape) / 320))
    x0, y0, x1, y1 = cell.box
    return cv2.rectangle(picture.copy(), (x0, y0), (x1, y1), (91, 63, 166), thickness)


def rows_of(data: Dataset, image_ids: Iterable[str]) -> list[int | None]:
    """The rows of `data.pictures` that hold these pictures; None where the dataset no longer has one."""
    place = pd.Series(data.pictures.index, index=data.pictures.image_id)
    return [None if pd.isna(row) else int(row) for row in place.reindex(list(image_ids))]
