"""Who reviews: the signed-in user where there is sign-in, else a name that the browser keeps."""

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
    """The name that verdicts are kept under, asked for where nobody is signed in."""
    signed_in = sign_in.person()
    if signed_in:
        st.caption(f"Reviewing as {shell.plain(signed_in)}")
        return signed_in
    result = _NAME(key="reviewer", data={"fallback": _account()}, width="stretch", on_name_change=lambda: None)
    return (result.name or "").strip() or _account()


def _account() -> str:
    """Who started the server: on one's own machine that is oneself."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in a container
        return "reviewer"
