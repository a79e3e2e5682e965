"""Widgets made from TrainConfig's fields, so that a new field needs no work here."""

from __future__ import annotations

from typing import Any

import streamlit as st

from bloodcell_core import config
from bloodcell_core.errors import LabError
from bloodcell_core.words import pretty

STEP_BY_STEP = ("data", "model", "view", "weights", "folds", "fold", "fold_over")
"""Fields that the page asks for by itself, in words of its own."""
OF_A_DATASET = {"labels": "", "refuse": ""}
"""Fields that mean something in one dataset only, and what they are in another."""
NARROWEST = 114  # pixels in which the longest choice is read whole


def advanced_fields(defaults: dict[str, Any], key: str, dataset: str) -> dict[str, Any]:
    """Draws a widget for each field and returns their values.

    `defaults` overrule the config's own; widgets start anew where `key` changes, as with another preset, and those
    `OF_A_DATASET` with another dataset. Raises LabError for the first value that can't be, once all are drawn.
    """
    values: dict[str, Any] = {}
    problems: list[LabError] = []
    groups: dict[str, list[Any]] = {}
    for name, spec in config.fields().items():
        if name not in STEP_BY_STEP:
            groups.setdefault(spec.metadata["group"], []).append(spec)
    for group, specs in groups.items():
        st.markdown(f"**{group}**")
        with st.grid(2, min_column_width=NARROWEST, gap=("small", "xsmall"), vertical_alignment="bottom"):
            for spec in specs:
                own = f"{key}-{dataset}" if spec.name in OF_A_DATASET else key
                try:
                    values[spec.name] = _widget(spec, defaults.get(spec.name, spec.default), f"{own}-{spec.name}")
                except LabError as error:
                    problems.append(error)
    if problems:  # told only now: a widget that isn't drawn in a run forgets what a person put in
        raise problems[0]
    return values


def _widget(spec: Any, value: Any, key: str) -> Any:
    limits, label = spec.metadata, pretty(spec.name)
    if limits["choices"]:
        return st.selectbox(label, limits["choices"], limits["choices"].index(value), key=key, help=limits["help"])
    # Numbers too: a field of numbers rounds 1e-4 away, and of one out of range it tells the page the last one that was
    # in it, which would be trained with.
    short = f"{value:g}" if isinstance(value, float) else ""
    shown = "" if value is None else short if short and float(short) == value else str(value)
    placeholder = "auto" if config.optional(spec.name) else ""
    return config.parse(spec.name, st.text_input(label, shown, key=key, help=limits["help"], placeholder=placeholder))
