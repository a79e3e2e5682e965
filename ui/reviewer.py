"""The reviewer's name: the signed-in user's where there is sign-in, else one that the browser remembers."""

from __future__ import annotations

import getpass

import streamlit as st

from ui import shell, sign_in
from ui.files import together

_NAME = st.components.v2.component(
    "lab_reviewer",
    html="""<label>Reviewing as
    <input type="text" maxlength="100" autocomplete="name"></label>""",
    css=together("reviewer.css"),
    js=together("reviewer.js"),
)


def reviewer() -> str:
    """The name under which verdicts are saved; draws a field for it where nobody is signed in."""
    signed_in = sign_in.person()
    if signed_in:
        st.caption(f"Reviewing as {shell.plain(signed_in)}")
        return signed_in
    result = _NAME(key="reviewer", data={"fallback": _account()}, width="stretch", on_name_change=lambda: None)
    return (result.name or "").strip() or _account()


def _account() -> str:
    """The user who started the server: on one's own machine, oneself."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in a container
        return "reviewer"
