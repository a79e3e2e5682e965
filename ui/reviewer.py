"""The reviewer's name: the signed-in user's where there is sign-in, else one that the browser remembers.

The names of those who have reviewed already are offered, and one that is typed in other capitals is that.
"""

from __future__ import annotations

import getpass
from contextlib import suppress

import streamlit as st

from bloodcell_core.errors import LabError
from bloodcell_core.labels.verdicts import reviewers
from ui import shell, sign_in
from ui.files import together

HTML = """<label>Reviewing as
    <input type="text" maxlength="100" autocomplete="name" list="reviewers"></label>
    <datalist id="reviewers"></datalist>"""
_NAME = st.components.v2.component(
    "lab_reviewer",
    html=HTML,
    css=together("reviewer.css"),
    js=together("reviewer.js"),
)


def reviewer() -> str:
    """The name under which verdicts are saved; draws a field for it where nobody is signed in."""
    return " ".join(_told().split())  # as it is kept


def _told() -> str:
    signed_in = sign_in.person()
    if signed_in:
        st.caption(f"Reviewing as {shell.plain(signed_in)}")
        return signed_in
    known: list[str] = []
    with suppress(LabError):  # of a database that can't be read, the page tells below
        known = reviewers()
    data = {"fallback": _account(), "known": known}
    result = _NAME(key="reviewer", data=data, width="stretch", on_name_change=lambda: None)
    return (result.name or "").strip() or _account()


def _account() -> str:
    """The user who started the server: on one's own machine, oneself."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in a container
        return "reviewer"
