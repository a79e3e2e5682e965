"""Streamlit's caches, for functions of datasets, runs and slides: each is told apart by what changes with its content.

Other arguments are told apart by Streamlit itself, but for those whose name begins with an underscore.
"""

from __future__ import annotations

import os
from functools import partial

import streamlit as st

from bloodcell_core.data.audit import Finding
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.runs import Run
from bloodcell_core.smear.slides import Slide, SlidePicture

RESULTS = ("predictions.parquet", "summary.json")


def of_run(run: Run) -> tuple[str, ...]:
    """Tells a run's results from those of others, and from its own before: a resumed run is scored anew."""
    files = [run.folder / name for name in RESULTS]
    return str(run.folder), *(str(file.stat().st_mtime_ns) for file in files if os.path.exists(file))


BY = {
    Dataset: lambda data: data.imported,
    Finding: lambda finding: finding.name,  # of a dataset, which is another argument
    Run: of_run,
    Slide: lambda slide: slide.id,
    SlidePicture: lambda picture: picture.stored,  # named after its content
}
data, resource = (partial(cache, hash_funcs=BY) for cache in (st.cache_data, st.cache_resource))
