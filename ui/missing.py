"""Runs that an address names and a page doesn't show: that is said, since another run is shown instead."""

from __future__ import annotations

from collections.abc import Container, Iterable

import streamlit as st

from bloodcell_core.errors import LabError
from bloodcell_core.runs import Run
from ui.shell import plain


def say_missing(asked: Iterable[str], shown: Container[str], instead: str) -> bool:
    """Says of each run that was asked for and isn't among those `shown` why, and what is there `instead`.

    Returns whether there was any.
    """
    missing = [name for name in dict.fromkeys(asked) if name not in shown]
    for name in missing:
        st.toast(f"{_why(name)}: {instead}.", icon=":material/link_off:")
    return bool(missing)


def _why(name: str) -> str:
    called = plain(name[:80])
    try:
        run = Run(name)
        scored, state = run.summary(), run.status()["state"]
    except LabError:  # of a damaged one the page tells by itself
        return f"There is no run {called}"
    if run.config.folds:
        return f"The run {called} is a fold of a cross-validation"
    if not scored:
        return f"The run {called} has no results, it is {state}"
    return f"The run {called} was tested on no picture, so its accuracy isn't known"
