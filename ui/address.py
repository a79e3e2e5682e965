"""Widgets bound to the page's address, which is the one source of truth for what a page shows.

A widget is set from it before it is drawn, and writes back to it when a person changes it. So a refresh, a copied
address and the browser's Back all give the same view. The sidebar's links carry each page's last address, and with it
its widgets' values.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import streamlit as st

from ui import streamlit_patches


def value_of(param: str) -> str | None:
    """The value of `param` in the address; None where it has none."""
    return st.query_params.get(param)


def write(**values: Any) -> None:
    """Write values into the address, a list as a repeated parameter; None or an empty list takes one out.

    One call is one step of the browser's Back, so what changes together should be written together.
    """
    now = {param: st.query_params.get_all(param) for param in st.query_params}
    wanted = now | {param: _slugs(value) for param, value in values.items()}
    wanted = {param: slugs for param, slugs in wanted.items() if slugs}
    if wanted != now:
        st.query_params.from_dict(wanted)
        remember()


def selectbox(
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
    value = follow(param, options, default)
    place = list(options).index(value) if value in options else None
    # The browser holds the words of a choice and not the choice: where they have changed, as with a count in them, it
    # would go on showing the old ones, and hand in a choice that there is none of.
    words = None if place is None else widget.get("format_func", str)(value)
    if st.session_state.get(f"{param}-words") not in (None, words):
        st.session_state[param] = value
    st.session_state[f"{param}-words"] = words
    return st.selectbox(label, options, index=place, **writing_back(param, default, forget), **widget)


def segmented_control(label: str, options: Sequence[Any], param: str, *, default: Any = None, **widget: Any) -> Any:
    """`st.segmented_control` bound as `selectbox` is; one option is always on.

    Its options wrap. By itself Streamlit has them on one line in a column or row, and those at its end out of sight.
    """
    value = follow(param, options, default)
    how = writing_back(param, default) | widget
    return st.segmented_control(label, options, default=value, required=True, wrap=True, **how)


def toggle(label: str, param: str, *, forget: Sequence[str] = (), **widget: Any) -> bool:
    """`st.toggle` bound to the address, which has it only where it is on."""
    value = follow(param, (False, True), False)
    return st.toggle(label, value, **writing_back(param, False, forget), **widget)


def multiselect(
    label: str, options: Sequence[Any], param: str, *, default: Sequence[Any] = (), **widget: Any
) -> list[Any]:
    """`st.multiselect` bound to the address, as a repeated `param`; nothing picked means the default."""
    by_slug = {str(option): option for option in options}
    picked = [by_slug[slug] for slug in st.query_params.get_all(param) if slug in by_slug]
    picked = picked or list(default)
    _show(param, picked)
    return st.multiselect(label, options, picked, **writing_back(param, list(default)), **widget)


def slider(label: str, whole: tuple[int, int], param: str, **widget: Any) -> tuple[int, int]:
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
    if param in st.session_state[streamlit_patches.UNTOUCHED]:
        return
    low, high = st.session_state[param]
    write(page=None, **{param: None if (low, high) == whole else f"{low}..{high}"})


def follow(param: str, options: Iterable[Any], default: Any = None) -> Any:
    """Set the widget with the key `param` to the value in the address, and return that value."""
    by_slug = {str(option): option for option in options}
    wanted = (st.query_params.get(param), str(default), next(iter(by_slug), None))
    value = next((by_slug[slug] for slug in wanted if slug in by_slug), None)
    _show(param, value)
    write(**{param: _unless_default(value, default)})
    return value


def writing_back(param: str, default: Any = None, forget: Sequence[str] = ()) -> dict[str, Any]:
    """The arguments by which a widget with the key `param` writes what a person picks into the address."""
    of_page = st.session_state.setdefault("lab_forgotten", {})  # (page, param) → what another choice makes meaningless
    of_page[st.session_state.get("lab_page"), param] = ("page", *forget)
    return {"key": param, "on_change": _write_back, "args": (param, default, tuple(forget))}


def _write_back(param: str, default: Any, forget: Sequence[str]) -> None:
    if param in st.session_state[streamlit_patches.UNTOUCHED]:
        return
    value = _unless_default(st.session_state[param], default)
    write(**dict.fromkeys(("page", *forget)) | {param: value})


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


def remember() -> None:
    here = {param: st.query_params.get_all(param) for param in st.query_params}
    _addresses()[st.session_state.get("lab_page", "")] = here


def query_of(page: str, shared: dict[str, list[str]]) -> dict[str, list[str]]:
    """A page's last address with what is shared, as if that were chosen there; but an open slide keeps its network."""
    own, forgotten = _addresses().get(page, {}), st.session_state.get("lab_forgotten", {})
    new = [param for param in shared if own.get(param) != shared[param] and not (param == "run" and "slide" in own)]
    gone = {each for param in new for each in forgotten.get((page, param), ())}
    return {param: own[param] for param in own if param not in gone} | {param: shared[param] for param in new}
