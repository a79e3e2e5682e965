"""The dialog in which runs and datasets are given a title and tags, and deleted; and the filter by tag."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from bloodcell_core import notes
from bloodcell_core import runs as run_folders
from bloodcell_core.data import dataset as datasets
from bloodcell_core.errors import LabError
from bloodcell_core.runs import Run
from bloodcell_core.training import groups, jobs
from bloodcell_core.training.groups import Group
from ui import address, lab, shell

ASKED = "naming_asked"  # in the session, until it is closed: for what the dialog is open, and in which visit of a page


def button(kind: str, names: Sequence[str], key: str) -> None:
    """The button that opens the dialog for one of these runs or datasets ("run", "dataset")."""
    if st.button("Name, tags, delete", icon=":material/edit:", key=key, type="tertiary") and names:
        # Not opened here: a panel that ticks is drawn anew each second, and would close it.
        st.session_state[ASKED] = (kind, list(names), shell.visit())
        st.rerun(scope="app")


def dialog() -> None:
    """To be called once by each page that has the button, after `shell.page`: shows the dialog while it is open."""
    kind, names, visit = st.session_state.get(ASKED) or ("", [], None)
    there = [name for name in names if name in _known(kind)]  # another person may have deleted one
    if there and visit == shell.visit():
        _dialog(kind, there)
    else:
        close()


def _known(kind: str) -> set[str]:
    return {*(run_folders.names() if kind == "run" else datasets.names())}


def asked() -> bool:
    """Whether the dialog is open, or is about to be."""
    return ASKED in st.session_state


def close() -> None:
    """To be called also as another dialog is asked for, before the page is drawn: Streamlit fails at two."""
    st.session_state.pop(ASKED, None)


@st.dialog("Name, tags, delete", on_dismiss=close)
def _dialog(kind: str, names: list[str]) -> None:
    if not {*names} <= _known(kind):
        st.toast(f"A {kind} was deleted in another window.", icon=":material/delete:")
        st.rerun(scope="app")
    titles = {name: _run_title(name) if kind == "run" else lab.dataset_title(name) for name in names}
    name = names[0]
    if len(names) > 1:
        name = st.selectbox(kind.capitalize(), names, format_func=titles.get, key="naming_of")
    else:
        st.markdown(f"**{shell.plain(titles[name])}**")  # of several cards alike on the page, whose button it was
    told = notes.read(kind, name)
    if told.problem:
        shell.show_error(told.problem)
    title = st.text_input(
        "Title", told.title, key=f"title_of_{name}", max_chars=notes.MOST_TITLE,
        help=f"Shown before what the {kind} is. Its folder keeps the name {shell.plain(name)}.",
    )  # fmt: skip
    tags = st.multiselect(
        "Tags", sorted({*every_tag(kind), *told.tags}), told.tags, key=f"tags_of_{name}", accept_new_options=True,
        max_selections=notes.MOST_TAGS, placeholder="Type a word and press Enter",
    )  # fmt: skip
    if st.button("Save", type="primary", key="naming_save"):
        _do(lambda: (notes.rename(kind, name, title), notes.tag(kind, name, tags)))
    with st.expander("Delete", icon=":material/delete:"):
        group = _group_of(name) if kind == "run" else None
        whole = bool(group) and st.checkbox("The whole cross-validation, with all its folds", key=f"whole_of_{name}")
        st.markdown(_dataset_goes(name) if kind == "dataset" else _group_goes(group) if whole else _run_goes(name))
        sure = st.checkbox("Yes, delete it; this can't be undone.", key=f"sure_of_{name}")
        if st.button("Delete", disabled=not sure, key="naming_delete", icon=":material/delete:"):
            _do(lambda: groups.remove(group) if whole else _delete(kind, name))


@shell.shows_errors
def _do(action: Callable[[], Any]) -> None:
    """Does an action and draws the page again; where it can't be done the dialog says why, and stays."""
    action()
    close()
    st.rerun(scope="app")


def _delete(kind: str, name: str) -> None:
    if kind == "dataset":
        datasets.remove(name)
    else:
        jobs.remove(name)


def _group_of(name: str) -> Group | None:
    """The cross-validation that a run belongs to."""
    try:
        of_group = Run(name).group
    except LabError:
        return None
    # Of a run by itself the others aren't read: of hundreds it takes long.
    return next((group for group in groups.groups() if group.name == of_group), None) if of_group else None


def _run_title(name: str) -> str:
    """A run's title; the name of one that can't be read."""
    try:
        return lab.run_title(name)
    except LabError:
        return name


def _run_goes(name: str) -> str:
    try:
        run = Run(name)
    except LabError as error:
        return f"{shell.plain(str(error))}. All that is left of it goes."
    if run.bundled:
        return "This run comes with the program and can't be deleted."
    if run.is_ensemble:
        return "The ensemble and its predictions go. Its members stay."
    group = " The figures of its cross-validation go with it." if run.group else ""
    return (
        "Its weights, predictions, curves and log go." + group + " Verdicts that were given on its mistakes stay, and "
        "so does the dataset."
    )


def _group_goes(group: Group) -> str:
    return (
        f"The weights, predictions, curves and logs of {shell.counted(len(group.runs), 'run')} go, and the figures of "
        "all together. Verdicts that were given on their mistakes stay, and so does the dataset."
    )


def _dataset_goes(name: str) -> str:
    try:
        count = f"Its {lab.dataset(name).facts['pictures']:,} pictures"
    except LabError:
        count = "Its pictures"
    trained = sum(run.config.data == name for run in run_folders.readable_runs()[0])
    keep = "keeps its" if trained == 1 else "keep their"
    of_runs = f" {shell.counted(trained, 'run')} on it {keep} figures, but can show no picture." if trained else ""
    return (
        f"{count} and all that was made from them here are deleted; what they were imported from stays where it is."
        f"{of_runs} Verdicts stay: they count again if the same pictures are imported anew."
    )


def every_tag(kind: str) -> list[str]:
    """All tags of the runs, or of the datasets."""
    return sorted({tag for name in _known(kind) for tag in notes.read(kind, name).tags})


def by_tag(runs: Mapping[str, Run]) -> dict[str, Run]:
    """Draws a choice of tags, where there are any; returns the runs that have all that were picked."""
    borne = {name: {*run.notes.tags} for name, run in runs.items()}
    tags = sorted(set().union(*borne.values()))
    if not tags:
        return dict(runs)
    wanted = {*address.multiselect("Tags", tags, "tag", placeholder="All runs", width=420)}
    return {name: run for name, run in runs.items() if wanted <= borne[name]}
