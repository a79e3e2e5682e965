"""Which device trains here, as pages tell it."""

import subprocess
import sys

import streamlit as st

from bloodcell_core.errors import LabError

ASK = "from bloodcell_core.device import choose_device; print(choose_device().reason)"
PATIENCE = 60.0  # seconds


@st.cache_resource(show_spinner=False)
def device_and_reason() -> tuple[str, str]:
    """The device, and why: "CPU", "PyTorch sees no CUDA device"; seconds at the first call. LabError if it isn't known.

    It is asked in a process of its own: PyTorch in the server would take half a gigabyte for good, and hold up every
    session for the seconds of its import.
    """
    try:
        done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, timeout=PATIENCE, check=True)
    except subprocess.CalledProcessError as error:
        raise LabError(f"PyTorch can't be used: {(error.stderr.strip().splitlines() or ['?'])[-1][:200]}") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"PyTorch didn't answer in {PATIENCE:.0f} s: try again later") from None
    name, _, why = done.stdout.strip().partition(": ")
    return name, why
