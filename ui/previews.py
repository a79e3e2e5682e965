"""What a network is shown in training, to be looked at before it starts."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import streamlit as st

from bloodcell_core.config import TrainConfig
from bloodcell_core.words import counted, pretty
from ui import lab, naming, shell
from ui.gallery import thumbnail

TIMES = 8  # that each picture is changed
MOST_CLASSES = 12


def preview_button(config: TrainConfig) -> None:
    """A button that opens the pictures that `config` trains on, as it shows them."""
    if st.button("What will it see?", icon=":material/visibility:", type="tertiary", on_click=naming.close,
                 help="Training pictures as these settings cut, colour and change them."):  # fmt: skip
        _dialog(config)


@st.dialog("What the network is shown", width="large")
@shell.shows_errors
def _dialog(config: TrainConfig) -> None:
    with st.spinner("Cutting and changing some pictures …"):
        from bloodcell_core.training.preview import shown_in_training

        dataset = lab.dataset(config.data)
        shown = shown_in_training(config, dataset, TIMES, MOST_CLASSES)
    changes = (
        "On the left a training picture as validation and test pictures are shown; beside it as training changes it, "
        "another way each time." if any(len(each.changed) for each in shown)
        else "As training, validation and test pictures are shown: these settings change nothing."
    )  # fmt: skip
    st.caption(f"{config.size}×{config.size} pixels, each value from 0 to 1. {changes}")
    for label, view, changed in shown:
        st.html(_row(pretty(label), view, changed))
    if more := len(dataset.classes) - len(shown):
        st.caption(f"Not shown: {counted(more, 'kind')} more.")
    if config.mixup:
        st.caption("Mixup, which lays pairs of pictures over one another, isn't shown.")


def _row(title: str, view: np.ndarray, changed: Sequence[np.ndarray]) -> str:
    pictures = [(view, f"{title} as it is", "outline:2px solid; margin-right:.8rem")]
    pictures += [(each, f"{title}, changed", "") for each in changed]
    images = "".join(
        f'<img src="{thumbnail(pixels)}" alt="{html.escape(words)}" '
        f'style="width:clamp(64px, 9.5%, 128px); aspect-ratio:1; border-radius:6px; {style}">'
        for pixels, words, style in pictures
    )
    return (f'<p style="margin:.4rem 0 .2rem; font-weight:600">{html.escape(title)}</p>'
            f'<div style="display:flex; flex-wrap:wrap; gap:.4rem; padding:2px">{images}</div>')  # fmt: skip
