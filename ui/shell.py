"""The frame of every page, widgets bound to its address, and short texts and figures that all pages share.

The address is the one source of truth for what a page shows: a bound widget is set from it before it is
drawn, and writes back to it when a person changes it. So a refresh, a copied address and the browser's Back
all give the same view. The sidebar's links carry each page's last address, and with it its widgets' values.
"""

import base64
import gc
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial, wraps
from typing import Any, Literal, NoReturn, TypeVar

import pandas as pd
import streamlit as st
from streamlit.errors import StreamlitAPIException

from bloodcell_core import workspace
from bloodcell_core.errors import LabError, in_words
from bloodcell_core.evaluation.figures import interval_words, percent
from bloodcell_core.words import capitalised
from bloodcell_core.words import counted as counted
from ui import mends, sign_in
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
mends.send_at_once()
mends.send_the_program_whole(mends.head_of_the_page((name for name in PAGES if name != "Home"), _HISTORY_JS))
mends.leave_pages_behind()
mends.keep_the_newest_address()
mends.tell_what_is_untouched()
mends.finish_callbacks()
mends.ask_nobody_outside()

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
    _remember_address()
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
                st.page_link(path, label=name, icon=icon, width="stretch", query_params=_query_of(name, shared))
        with st.container(key="lab_foot"):
            sign_in.sign_out_button()
            _HISTORY(key="lab_history")
            st.caption("For research and teaching, not for diagnosis.")


def _query_of(page: str, shared: dict[str, list[str]]) -> dict[str, list[str]]:
    """A page's last address with what is shared, as if that were chosen there; but an open slide keeps its network."""
    own, forgotten = _addresses().get(page, {}), st.session_state.get("lab_forgotten", {})
    new = [param for param in shared if own.get(param) != shared[param] and not (param == "run" and "slide" in own)]
    gone = {each for param in new for each in forgotten.get((page, param), ())}
    return {param: own[param] for param in own if param not in gone} | {param: shared[param] for param in new}


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


table = partial(st.dataframe, hide_index=True, placeholder="–")  # for what is not known Streamlit writes None


def ticked_row(rows: pd.DataFrame, key: str, **how: Any) -> int:
    """Draw a table in which one row is ticked, the first to begin with; return its place. Another tick turns a
    `gallery.pager` back to its first page. `how` goes to `table`."""
    event = table(
        # A tick is on a row of this very table: another one under the same key may not have so many.
        rows, key=f"{key}_{pd.util.hash_pandas_object(rows).sum()}",
        on_select=lambda: set_address(page=None), selection_mode="single-row-required",
        selection_default={"selection": {"rows": [0]}}, **how,
    )  # fmt: skip
    return next(iter(event["selection"]["rows"]), 0)


def draw_again() -> NoReturn:
    """Rerun what is being drawn: the fragment where it is drawn by itself, else the whole page."""
    try:
        st.rerun(scope="fragment")
    except StreamlitAPIException:  # the page is drawn as a whole, which `st.rerun` doesn't take for a fragment's run
        st.rerun()


# ---- The address ---------------------------------------------------------------------------------------


def address(param: str) -> str | None:
    """The value of `param` in the address; None where it has none."""
    return st.query_params.get(param)


def set_address(**values: Any) -> None:
    """Write values into the address, a list as a repeated parameter; None or an empty list takes one out.

    One call is one step of the browser's Back, so what changes together should be written together.
    """
    now = {param: st.query_params.get_all(param) for param in st.query_params}
    wanted = now | {param: _slugs(value) for param, value in values.items()}
    wanted = {param: slugs for param, slugs in wanted.items() if slugs}
    if wanted != now:
        st.query_params.from_dict(wanted)
        _remember_address()


def bound_selectbox(
    label: str,
    options: Sequence[Any],
    param: str,
    *,
    default: Any = None,
    forget: Sequence[str] = (),
    **widget: Any,
) -> Any:
    """`st.selectbox` whose choice the address holds as `param`, by the option's `str`.

    With a `default` the address leaves that choice out. Without one the first option is shown, and written
    to the address too: which dataset or run is the first changes with time, and a copied address must not.
    A value in the address that isn't in `options` is ignored. A new choice turns a `gallery.pager` back to its first
    page, and removes from the address what it makes meaningless: the parameters in `forget`.
    `widget` goes to `st.selectbox`.
    """
    value = follow_address(param, options, default)
    place = list(options).index(value) if value in options else None
    # The browser holds the words of a choice and not the choice: where they have changed, as with a count in them, it
    # would go on showing the old ones, and hand in a choice that there is none of.
    words = None if place is None else widget.get("format_func", str)(value)
    if st.session_state.get(f"{param}-words") not in (None, words):
        st.session_state[param] = value
    st.session_state[f"{param}-words"] = words
    return st.selectbox(label, options, index=place, **writing_back(param, default, forget), **widget)


def bound_segmented(label: str, options: Sequence[Any], param: str, *, default: Any = None, **widget: Any) -> Any:
    """`st.segmented_control` bound as `bound_selectbox` is; one option is always on.

    Its options wrap. By itself Streamlit has them on one line in a column or row, and those at its end out of sight.
    """
    value = follow_address(param, options, default)
    how = writing_back(param, default) | widget
    return st.segmented_control(label, options, default=value, required=True, wrap=True, **how)


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


def bound_toggle(label: str, param: str, *, forget: Sequence[str] = (), **widget: Any) -> bool:
    """`st.toggle` bound to the address, which has it only where it is on."""
    value = follow_address(param, (False, True), False)
    return st.toggle(label, value, **writing_back(param, False, forget), **widget)


def bound_multiselect(
    label: str, options: Sequence[Any], param: str, *, default: Sequence[Any] = (), **widget: Any
) -> list[Any]:
    """`st.multiselect` bound to the address, as a repeated `param`; nothing picked means the default."""
    by_slug = {str(option): option for option in options}
    picked = [by_slug[slug] for slug in st.query_params.get_all(param) if slug in by_slug]
    picked = picked or list(default)
    _show(param, picked)
    return st.multiselect(label, options, picked, **writing_back(param, list(default)), **widget)


def bound_range(label: str, whole: tuple[int, int], param: str, **widget: Any) -> tuple[int, int]:
    """`st.slider` with two ends bound to the address, as "low..high" where it isn't the `whole` range."""
    told = re.fullmatch(r"(-?\d{1,9})\.\.(-?\d{1,9})", st.query_params.get(param, ""))
    low, high = map(int, told.groups()) if told else whole
    asked = (low, high) if whole[0] <= low <= high <= whole[1] else whole
    _show(param, asked)
    chosen: tuple[int, int] = st.slider(
        label, *whole, asked, key=param, on_change=_write_range, args=(param, whole), **widget
    )
    return chosen


def _write_range(param: str, whole: tuple[int, int]) -> None:
    if param in st.session_state[mends.UNTOUCHED]:
        return
    low, high = st.session_state[param]
    set_address(page=None, **{param: None if (low, high) == whole else f"{low}..{high}"})


def follow_address(param: str, options: Iterable[Any], default: Any = None) -> Any:
    """Set the widget with the key `param` to the value in the address, and return that value."""
    by_slug = {str(option): option for option in options}
    wanted = (st.query_params.get(param), str(default), next(iter(by_slug), None))
    value = next((by_slug[slug] for slug in wanted if slug in by_slug), None)
    _show(param, value)
    set_address(**{param: _unless_default(value, default)})
    return value


def writing_back(param: str, default: Any = None, forget: Sequence[str] = ()) -> dict[str, Any]:
    """The arguments by which a widget with the key `param` writes what a person picks into the address."""
    of_page = st.session_state.setdefault("lab_forgotten", {})  # (page, param) → what another choice makes meaningless
    of_page[st.session_state.get("lab_page"), param] = ("page", *forget)
    return {"key": param, "on_change": _write_back, "args": (param, default, tuple(forget))}


def _write_back(param: str, default: Any, forget: Sequence[str]) -> None:
    if param in st.session_state[mends.UNTOUCHED]:
        return
    value = _unless_default(st.session_state[param], default)
    set_address(**dict.fromkeys(("page", *forget)) | {param: value})


def _unless_default(value: Any, default: Any) -> Any:
    return None if value == default else value


def _show(key: str, value: Any) -> None:
    # Only where it differs: an assignment is sent to the browser and could undo a click made meanwhile. It is sent
    # once, and lost where the page is drawn again before the browser has the widget's code: so each widget is given its
    # value as its default too, else it would come up with another, and hand that in at the next click.
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def _slugs(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]


def _addresses() -> dict[str, dict[str, list[str]]]:
    """The last address of each page in this session: page → parameter → values."""
    addresses: dict[str, dict[str, list[str]]] = st.session_state.setdefault("lab_addresses", {})
    return addresses


def _remember_address() -> None:
    here = {param: st.query_params.get_all(param) for param in st.query_params}
    _addresses()[st.session_state.get("lab_page", "")] = here


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
