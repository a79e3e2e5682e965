"""What a click begins, begun once. While it is at work Streamlit draws the page for a second click already, in a thread
beside the first, and tells the first to end at its next call of Streamlit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import streamlit as st

T = TypeVar("T")

DOUBLE_CLICK = 5.0  # seconds in which the same isn't begun again; on a busy server a second click's turn comes late


def once(asked: Hashable, begin: Callable[[], T], words: str = "Starting …") -> T:
    """The result of `begin`; what was `asked` for again within DOUBLE_CLICK seconds gets the first one's result."""
    lock, known = st.session_state.setdefault("lab_begun", (threading.Lock(), {}))
    with lock:
        begun: dict[Hashable, tuple[Any, float]] = known
        given, at = begun.get(asked, (None, -DOUBLE_CLICK))
        if time.monotonic() - at >= DOUBLE_CLICK:
            with st.spinner(words):
                given = begin()
                begun[asked] = given, time.monotonic()  # before the spinner's end, which may be this thread's, too
        result: T = given
        return result
