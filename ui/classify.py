"""The Classify page's network: the run that answers, its review threshold, and the copy that all sessions share."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import streamlit as st

from bloodcell_core import workspace
from bloodcell_core.evaluation.dial import review_threshold
from bloodcell_core.runs import Run
from bloodcell_core.words import groups_behind
from ui import address, cached, lab, shell
from ui.missing import say_missing

if TYPE_CHECKING:
    from bloodcell_core.cells import Box
    from bloodcell_core.inference.answers import Answer, CellAnswer
    from bloodcell_core.inference.handed_in import Handed
    from bloodcell_core.inference.predictor import Predictor

AT_ONCE = 2  # sessions whose pictures are classified at one time; the others wait for their turn
PART = 16  # pictures after which it is another session's turn
NETWORKS = 4  # how many are kept loaded
_turns = threading.BoundedSemaphore(AT_ONCE)


class Chosen(NamedTuple):
    """The run that answers, and how."""

    run: Run
    threshold: float
    average_turns: bool


def choose(runs: Sequence[Run], first: str | None = None) -> Chosen:
    """Draws the choice of the network with its honest accuracy, the review threshold and the options.

    `first` is the name of the run that answers where the address names none.
    """
    by_name = {run.name: run for run in runs}
    names = sorted(by_name, key=lambda name: name != first)
    if asked := address.value_of("run") or first:
        say_missing([asked], by_name, "another network answers")
    with st.container(horizontal=True, vertical_alignment="bottom", key="classify_network"):
        name = address.selectbox(
            "Network", names, "run", format_func=lambda name: lab.run_choice(by_name[name]), forget=("threshold",),
            width=420,
        )  # fmt: skip
        run = by_name[name]
        usual, told = usual_threshold(run)
        default = round(100 * usual)
        shown = address.follow("threshold", range(101), default)
        percent = st.slider(
            "Review threshold", 0, 100, shown, format="%d%%", width=260,
            help=f"An answer that is less sure than this is *unsure*, and not counted. This run's own: {default}%; "
            f"{shell.plain(told)}.", **address.writing_back("threshold", default),
        )  # fmt: skip
        turns = address.toggle(
            "Average over turns", "turns",
            help="The probabilities are averaged over a cell's eight rotated and mirrored views: more stable, at eight "
            "times the work.",
        )  # fmt: skip
    _say_accuracy(run)
    return Chosen(run, usual if percent == default else percent / 100, turns)


@cached.data(max_entries=64, show_spinner=False)
def usual_threshold(run: Run) -> tuple[float, str]:
    """The run's own review threshold, and in words where it comes from."""
    return review_threshold(lab.predictions(run), run.classes)


def _say_accuracy(run: Run) -> None:
    test = run.summary()["test"]
    with st.container(horizontal=True, vertical_alignment="center"):
        lab.say_synthetic(run.synthetic)
        st.caption(
            f"Right on {shell.percent(test['accuracy'], test['intervals']['accuracy'])} of "
            f"{shell.counted(test['pictures'], 'test picture')} ({groups_behind(test)}) of the dataset "
            f"{shell.plain(run.config.data)}, all classes named. For research and teaching, not for diagnosis.",
            help="In brackets the 95% interval, by source photo where photos are known.",
        )


# The network


def predictor(chosen: Chosen) -> Shared:
    """The run's network, loaded once for all sessions; LabError where it can't be."""
    run = chosen.run
    changed = max((file.stat().st_mtime_ns for file in run.folder.glob("*.json")), default=0)
    return Shared(_loaded(str(workspace.home()), run.name, changed, chosen.average_turns))


@st.cache_resource(max_entries=NETWORKS, show_spinner="Loading the network …")
def _loaded(home: str, run: str, changed: int, average_turns: bool) -> Predictor:
    from bloodcell_core.inference.predictor import Predictor

    loaded = Predictor(Run(run), average_turns=average_turns)
    shell.freeze()
    return loaded


class Shared:
    """A predictor shared by many sessions: a few at a time use it, each for a part of its pictures."""

    def __init__(self, loaded: Predictor):
        self._loaded = loaded
        self.fields_possible = loaded.fields_possible

    def classify(self, pictures: Iterable[Handed], kind: str | None = None) -> Iterator[Answer]:
        """`Predictor.classify`, a few pictures a turn."""
        remaining = iter(pictures)
        while part := list(islice(remaining, PART)):
            with _turns:
                answers = list(self._loaded.classify(part, kind))
            yield from answers

    def classify_squares(self, picture: np.ndarray, boxes: Sequence[Box]) -> list[CellAnswer]:
        """`Predictor.classify_squares`, in one turn."""
        with _turns:
            return self._loaded.classify_squares(picture, boxes)


def session_dict(key: str) -> dict[str, Any]:
    """The dictionary that this session keeps under a key, empty at first."""
    found: dict[str, Any] = st.session_state.setdefault(key, {})
    return found
