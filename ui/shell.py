"""The frame of every page, and short texts and figures that all pages share."""

import base64
import gc
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from typing import Any, Literal, NoReturn, TypeVar

import pandas as pd
import streamlit as st
from streamlit.errors import StreamlitAPIException

from bloodcell_core import workspace
from bloodcell_core.errors import LabError, in_words
from bloodcell_core.evaluation.figures import interval_words, percent
from bloodcell_core.sheets import harmless
from bloodcell_core.words import capitalised
from bloodcell_core.words import counted as counted
from ui import address, sign_in, streamlit_patches
from ui.files import together
from ui.theme import AXIS_TEXT, is_dark

T = TypeVar("T")

NAME = "Blood Cell Lab"
PAGES = {
    "Home": ("streamlit_app.py", ":material/home:"),
    "Browse": ("pages/1_Browse.py", ":material/grid_view:"),
    "Train": ("pages/2_Train.py", ":material/show_chart:"),
    "Compare": ("pages/3_Compare.py", ":material/compare_arrows:"),
    "Review": ("pages/4_Review.py", ":material/rate_review:"),
    "Classify": ("pages/5_Classify.py", ":material/biotech:"),
}
SHARED_PARAMS = ("dataset", "run")  # what the sidebar's links carry from one page to the next

# A neutrophil. Inline, because the browser fetches emoji and material page icons from the network.
ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<circle cx="16" cy="16" r="14.5" fill="#D6CDF2" stroke="#7B64D8" stroke-width="1.5"/>
<g fill="#5B3FA6"><circle cx="11" cy="12.5" r="4.6"/><circle cx="19.8" cy="10.6" r="4.2"/>
<circle cx="20.5" cy="20" r="4.8"/><path d="M12 10 19 8 23 19 18.5 21 17 13.5 12 15.5Z"/></g></svg>"""
ICON_URI = "data:image/svg+xml;base64," + base64.b64encode(ICON.encode()).decode()

_HISTORY_JS = together("popovers.js", "history.js")
streamlit_patches.send_at_once()
_HEAD = streamlit_patches.head_of_the_page((name for name in PAGES if name != "Home"), _HISTORY_JS)
streamlit_patches.begin_pages_with(_HEAD)
streamlit_patches.leave_pages_behind()
streamlit_patches.keep_the_newest_address()
streamlit_patches.tell_what_is_untouched()
streamlit_patches.finish_callbacks()
streamlit_patches.ask_nobody_outside()

# In the page's head it is there before a page writes its address; the first visitor of a server has that from here.
_HISTORY = st.components.v2.component("lab_history", js=_HISTORY_JS)

CSS = f"<style>\n{together('shell.css')}</style>".replace("AXIS_TEXT", ", ".join(AXIS_TEXT))


# ---- The frame -----------------------------------------------------------------------------------------


def page(title: str, purpose: str) -> None:
    """Draw the frame of a page: tab name, sidebar, title, and the sentence that says what the page is for.

    To be called first on each page: it also asks for sign-in, where the lab does.
    `title` is one of `PAGES`, or `NAME` for the home page.
    """
    spare_the_collector()
    home = title == NAME
    st.set_page_config(page_title=NAME if home else f"{title} · {NAME}", page_icon=ICON_URI, layout="wide")
    st.html(CSS)
    # Dialogs and popovers lie outside the element that Streamlit gives this to, and `css_colours` needs it.
    st.html(f"<style>:root {{ color-scheme: {'dark' if is_dark() else 'light'}; }}</style>")
    sign_in.demand()
    name = "Home" if home else title
    if st.session_state.get("lab_page") != name:
        st.session_state["lab_page"] = name
        st.session_state["lab_visit"] = visit() + 1
    address.remember()
    _sidebar()
    with st.container(gap=None):
        st.title(title, anchor=False)
        st.caption(purpose)
    try:
        troubles = workspace.troubles()
    except LabError as error:  # there can be no workspace
        show_error(str(error))
        st.stop()
    for line in troubles:
        show_error(line)


def visit() -> int:
    """Counts visits: it rises when another page is opened, not when the same one is drawn again."""
    return int(st.session_state.get("lab_visit", 0))


_MODULES = {"frozen": 0}  # how many were loaded at the last `gc.freeze`
MANY_MODULES = 50  # as many more make it worth while again


def spare_the_collector() -> None:
    """Exclude the objects of the modules loaded so far from garbage collection (`gc.freeze`).

    After each run of a page or fragment Streamlit collects garbage among all objects, which blocks every session: for
    0.1 s with pandas and Plotly, 0.3 s with PyTorch. What a page makes later is collected as before. To be called
    after imports; it acts only where many modules were loaded since it last did.
    """
    if len(sys.modules) >= _MODULES["frozen"] + MANY_MODULES:
        _MODULES["frozen"] = len(sys.modules)
        freeze()


def freeze() -> None:
    """Exclude all objects that there are now from garbage collection, as after a network was loaded."""
    gc.collect()
    gc.freeze()


def _sidebar() -> None:
    shared = {param: st.query_params.get_all(param) for param in SHARED_PARAMS if param in st.query_params}
    with st.sidebar:
        st.html(f'<div class="lab-wordmark"><img alt="" src="{ICON_URI}">{NAME}</div>')
        with st.container(gap="xsmall"):
            for name, (path, icon) in PAGES.items():
                st.page_link(path, label=name, icon=icon, width="stretch", query_params=address.query_of(name, shared))
        with st.container(key="lab_foot"):
            sign_in.sign_out_button()
            _HISTORY(key="lab_history")
            st.caption("For research and teaching, not for diagnosis.")


def empty_state(
    message: str, button: str, then: str | Callable[[], Any], beside: Callable[[], Any] = lambda: None, **query: str
) -> None:
    """Say what is missing, with one button that leads on.

    `then` is a page's path from `PAGES`, opened with `query` in its address, or a function to call, which
    may be a dialog. `beside` draws another way out, at the button's side.
    """
    with st.container(border=True, horizontal_alignment="center"):
        st.space("xsmall")
        st.markdown(message, text_alignment="center")
        with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center"):
            clicked = st.button(button, type="primary", key=f"empty_{button}")
            beside()
        st.space("xsmall")
    if not clicked:
        return
    if callable(then):
        then()
    else:
        st.switch_page(then, query_params=query)


def sides(widths: Sequence[int], key: str, gap: Any = "large") -> list[Any]:
    """`st.columns` that are stacked where the window is narrow."""
    with st.container(key=f"lab_sides_{key}"):
        return list(st.columns(widths, gap=gap))


def table(rows: Any, **how: Any) -> Any:
    """`st.dataframe` of a DataFrame, or of its Styler, without the index. `how` goes to `st.dataframe`.

    It has a button that saves the rows as CSV: text that a spreadsheet would take for a formula is marked.
    """
    if isinstance(rows, pd.DataFrame):
        rows = rows.map(harmless)
    # For what is not known Streamlit writes None.
    return st.dataframe(rows, hide_index=True, placeholder="–", **how)


def ticked_row(rows: pd.DataFrame, key: str, **how: Any) -> int:
    """Draw a table in which one row is ticked, the first to begin with; return its place. Another tick turns a
    `gallery.pager` back to its first page. `how` goes to `table`."""
    event = table(
        # A tick is on a row of this very table: another one under the same key may not have so many.
        rows, key=f"{key}_{pd.util.hash_pandas_object(rows).sum()}",
        on_select=lambda: address.write(page=None), selection_mode="single-row-required",
        selection_default={"selection": {"rows": [0]}}, **how,
    )  # fmt: skip
    return next(iter(event["selection"]["rows"]), 0)


def draw_again() -> NoReturn:
    """Rerun what is being drawn: the fragment where it is drawn by itself, else the whole page."""
    try:
        st.rerun(scope="fragment")
    except StreamlitAPIException:  # the page is drawn as a whole, which `st.rerun` doesn't take for a fragment's run
        st.rerun()


def whole_number(
    label: str, low: int, high: int, value: int, *, width: int | Literal["stretch"] = "stretch", **widget: Any
) -> int | None:
    """An input for a whole number; None where the text isn't one in range, which is said below it.

    `st.number_input` would return the last valid number while an invalid one is displayed.
    """
    with st.container(width=width, gap="xsmall"):
        typed = st.text_input(label, str(value), **widget)
        with suppress(ValueError):  # also of thousands of digits
            if low <= (number := int(typed)) <= high:
                return number
        st.caption(f":red[A whole number from {low:,} to {high:,}.]")
    return None


# ---- Words and figures ---------------------------------------------------------------------------------


def percent_markdown(value: float | None, interval: tuple[float, float] | None = None) -> str:
    """As `percent`, as Markdown with the interval in a lighter tone; fits `st.markdown` and `st.metric`."""
    return percent(value) + (f" :gray[:small[({percent_interval(interval)})]]" if interval else "")


def percent_interval(interval: Sequence[float] | None) -> str:
    """The ends of a share's interval: "78.0 to 84.1"; "–" for none."""
    return interval_words("accuracy", interval)


def plain(text: str) -> str:
    """Text that somebody else wrote, such as a file's name, escaped for Markdown."""
    return re.sub(r"(?m)^[#>+-]|[\\`*_\[\]<$~]|:(?=\w)", r"\\\g<0>", text)


def remark(words: str, icon: str = "info") -> None:
    """Write a quiet sentence behind an icon; its capital and its full stop are added."""
    st.caption(f":material/{icon}: {plain(capitalised(words))}.")


def show_error(message: str) -> None:
    """Show an error's message: one line that says what is wrong and what would work."""
    st.error(plain(message), icon=":material/error:")


def shows_errors(draw: Callable[..., None]) -> Callable[..., None]:
    """Makes a function that draws end, where something fails that a person can mend, with the line that says what."""

    @wraps(draw)
    def drawn(*args: Any, **named: Any) -> None:
        try:
            draw(*args, **named)
        except (LabError, OSError) as error:
            show_error(in_words(error))

    return drawn


def attempt(action: Callable[[T], Any], what: T) -> None:
    """Does a button's action and draws the page again; shows why where it can't be done."""
    try:
        action(what)
    except (LabError, OSError) as error:
        st.toast(plain(in_words(error)), icon=":material/error:")
    st.rerun(scope="app")


def synthetic_badge() -> None:
    """Draw the badge of what was made by a program and not photographed."""
    st.badge("synthetic", color="orange", help="Drawn by a program, to try things out; not photographs.")
