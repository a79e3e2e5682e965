"""How long a training will take, told before it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import streamlit as st

from bloodcell_core import runs as run_folders
from bloodcell_core import workspace
from bloodcell_core.config import TrainConfig
from bloodcell_core.errors import LabError
from bloodcell_core.training.estimate import pictures_an_epoch, seen_before
from bloodcell_core.words import duration
from ui import lab, shell

PATIENCE = 120.0  # seconds that a measurement may take


@shell.shows_errors
def time_estimate(config: TrainConfig) -> None:
    """A line on how long `config` will train: from a run whose steps were like its own, else measured on request."""
    shown = config.epochs * pictures_an_epoch(config, lab.dataset(config.data).pictures.split)
    for run in run_folders.readable_runs()[0]:
        if rate := seen_before(config, run):
            title = shell.plain(lab.short_title(run))
            st.caption(f":material/timer: {_about(shown / rate)}, by the pace of {title}.")
            return
    if st.button("How long will it take?", icon=":material/timer:", type="tertiary", help="Measures a few steps."):
        with st.spinner("Measuring a few steps …"):
            told = _measured(json.dumps(config.to_json()), str(workspace.home()))
        st.caption(f"{_about(told['seconds'])}: {told['steps']:,} steps of "
                   f"{1000 * told['step_seconds']:.0f} ms on {shell.plain(told['device'])}.")  # fmt: skip


def _about(seconds: float) -> str:
    return "**Less than 1 s**" if seconds < 0.5 else f"About **{duration(seconds)}**"


@st.cache_data(max_entries=64, ttl=600, show_spinner=False)
def _measured(settings: str, home: str) -> dict[str, Any]:
    """What `train --estimate` says: torch stays out of the server. LabError, which isn't kept, where it fails."""
    flags = [f"--set={name}={value}" for name, value in json.loads(settings).items() if value is not None]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bloodcell_core", "train", "--estimate", "--json", *flags],
            capture_output=True, text=True, timeout=PATIENCE, env=os.environ | {"BLOODCELL_HOME": home},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        words = f"a few steps took more than {PATIENCE:.0f} s: the machine is busy or the network too large"
        raise LabError(words) from None
    if done.returncode:
        ended = f"the measurement ended without a word (code {done.returncode}): the memory may be full"
        raise LabError((done.stderr.strip().splitlines() or [ended])[-1])
    told: dict[str, Any] = json.loads(done.stdout)
    return told
