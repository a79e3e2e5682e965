"""The choice of a network, the lab's own or any of timm, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from bloodcell_core.models import MODELS, TIMM, model_info
from bloodcell_core.models.costs import cost

WEIGHTS_WORDS = {"default": "ImageNet (pretrained)", "none": "None: from scratch", "file": "From a file"}


def ask_network(select: Callable[..., str], key: str, asked: str = "") -> str:
    """The name of the network chosen; '' where one of timm is wanted and not yet named.

    `select(label, options, format_func=…)` draws the list. `asked` is a name of timm that is offered besides.
    """
    known = [*MODELS, TIMM, *([asked] if asked.startswith(TIMM) and asked != TIMM else [])]
    model = select(
        "Network", known,
        format_func=lambda name: MODELS[name].title if name in MODELS else "Any of timm …" if name == TIMM else name,
    )  # fmt: skip
    if model != TIMM:
        return model
    typed = st.text_input(
        "Its name in timm", placeholder="resnet26d", help="As timm.list_models() has it.", key=f"timm-{key}"
    )
    return TIMM + typed.strip() if typed.strip() else ""


def ask_weights(model: str, default: str = "default") -> str:
    """The first weights of a network, asked for where it comes pretrained; '' where a file is still to be named."""
    if not model or not model_info(model).pretrained:
        return "default"
    words = list(WEIGHTS_WORDS)
    weights = st.selectbox(
        "First weights", words, words.index(default if default in words else "file"), format_func=WEIGHTS_WORDS.get,
        help="EfficientNet-Lite0 brings its own; those of others are downloaded once: offline, give a file or train "
        "from scratch.",
    )  # fmt: skip
    if weights == "file":
        given = default if default not in words else ""
        return st.text_input("Path of a weights file", given, placeholder="resnet18.safetensors or .pth")
    return weights


def about(model: str, size: int, width: float, classes: int) -> str:
    """What a network is, and its weights and computations at a size; LabError where it isn't one, or can't see that."""
    parameters, flops = cost(model, size, width, classes)
    return (
        f"{model_info(model).about} {parameters:,} weights, {flops / 1e6:,.0f} MFLOP a picture of "
        f"{size}×{size}."
    )
