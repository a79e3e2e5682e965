"""The differential count of a slide, and its exports: table, report, dataset of confirmed cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import streamlit as st

from bloodcell_core import workspace
from bloodcell_core.errors import LabError, in_words
from bloodcell_core.evaluation.document import Html, tag
from bloodcell_core.runs import Run
from bloodcell_core.smear.corrections import OUT
from bloodcell_core.smear.differential import differential_of, without_cells
from bloodcell_core.smear.slide_cells import CountedPicture, counts_of, csv_of, final_answer
from bloodcell_core.smear.slide_dataset import confirmed_cells, send_to_dataset
from bloodcell_core.smear.slide_report import Gathered, percent, slide_report
from bloodcell_core.smear.slides import Slide
from bloodcell_core.words import pretty
from ui import cached, classify, lab, shell
from ui.classify_pictures import QUIET
from ui.files import together
from ui.once import once

SENDING = "classify_sending"  # session: on which slide, and in which visit of the page, the dialog is open
STYLE = f"<style>\n{together('classify_count.css')}</style>"


def differential(chosen: classify.Chosen, pictures: Sequence[CountedPicture]) -> dict[str, Any]:
    """The differential count of a slide (see `differential.differential`), cached."""
    run = chosen.run
    count, by_hand = counts_of(pictures, run.classes)
    return _differential(run, count, chosen.threshold, by_hand, chosen.average_turns)


_differential = cached.data(differential_of, max_entries=128, show_spinner=False)


def panel(told: Mapping[str, Any], classes: Mapping[str, str]) -> None:
    """Draws a count (`told`): a bar per class with its exact limits and the reference range, and what was set aside.

    `classes` are {class: CSS colour}.
    """
    aside = told["set_aside"]
    by_hand = f", {told['by_hand']:,} by hand" if told["by_hand"] else ""
    st.markdown(f"**{shell.counted(told['cells'], 'cell')} counted** :small[:gray[{by_hand.removeprefix(', ')}]]")
    rows = (_row(name, row, classes.get(name, QUIET)) for name, row in told["classes"].items())
    draw_bars(rows)
    for words in (without_cells(told), told["apart"], told["twice"], told["few"]):
        if words:
            shell.remark(words)
    cut = told["at_border"]
    border = f" {shell.counted(cut, 'cell')} {'is' if cut == 1 else 'are'} cut by a picture's border." if cut else ""
    st.caption(f"Set aside: {aside['unsure']:,} unsure, {aside['unlike']:,} unlike the training cells.{border}")
    warnings = (told["correction"] or {"warnings": []})["warnings"]
    with st.expander("How this is counted"):
        st.caption(
            "The bar is the share of the counted cells, the line its exact 95% limits, the dashed band the reference "
            f"range ({shell.plain(told['reference_source'])}). *Corrected*: for the mistakes that this network makes "
            "on its own validation and test pictures, with limits that include how well those are known; unsure cells "
            "are divided among the classes, cells classified by hand aren't corrected."
        )
        for warning in warnings:
            shell.remark(warning, "warning")


def _row(name: str, row: Mapping[str, Any], colour: str) -> Html:
    """The bar of one class: name, cells and share above, the corrected share and the reference range below."""
    share = percent(row["percent"], row["interval"])
    below = (
        [f"corrected {percent(row['corrected'], row['corrected_interval'])}"] if row["corrected"] is not None else []
    )
    below += ["adults {:g} to {:g}%".format(*row["reference"])] if row["reference"] else []
    bar = share_bar(row["percent"], row["interval"], colour, row["reference"])
    return bar_row((pretty(name), f"{row['cells']:,}", share), bar, " · ".join(below))


def draw_bars(rows: Iterable[Html], style: str = "") -> None:
    """Draws rows of `bar_row` one below the other; `style` is CSS."""
    st.html(STYLE + tag("div", {"class": "lab-count", "style": style}, *rows))


def share_bar(
    share: float | None, limits: Sequence[float] | None, colour: str, usual: Sequence[float] | None = None
) -> list[Html]:
    """The parts of a bar, all in percent: the reference range as a band, the share, its limits as a line."""

    def across(kind: str, ends: Sequence[float], style: str = "") -> Html:
        low, high = ends
        return tag("span", {"class": kind, "style": f"left:{low:.2f}%;width:{max(high - low, 0.4):.2f}%;{style}"})

    bar = [across("usual", usual)] if usual else []
    bar += [across("fill", (0, share), f"background:{colour}")] if share else []
    return bar + ([across("limits", limits)] if limits else [])


def bar_row(words: tuple[str, str, str], bar: Sequence[Html], below: str) -> Html:
    """A bar with name, number and share (`words`) above it, and a quiet line below; for `draw_bars`."""
    name, number, share = words
    figures = (tag("span", {}, figure) for figure in (number, share))
    return tag(
        "div", {},
        tag("div", {"class": "line"}, tag("span", {"class": "name"}, name), *figures),
        tag("div", {"class": "track", "role": "img", "aria-label": f"{name}: {share}"}, *bar),
        tag("div", {"class": "quiet"}, below),
    )  # fmt: skip


# Exports


def outputs(slide: Slide, pictures: Sequence[CountedPicture], told: Mapping[str, Any], chosen: classify.Chosen) -> None:
    """Draws the buttons that export the table, the report, and the confirmed cells as a dataset."""
    run = chosen.run
    stem = workspace.slug(f"slide {slide.name}")  # of a name in Chinese nothing else is left
    with st.container(horizontal=True, key="classify_outputs"):
        st.download_button(  # with a byte order mark, without which Excel assumes another encoding
            "CSV", lambda: csv_of(slide, pictures, run.classes, run.name).encode("utf-8-sig"), f"{stem}.csv",
            mime="text/csv", icon=":material/download:", on_click="ignore",
            help="A row for each cell, with the corrections by hand.",
        )  # fmt: skip
        st.download_button(
            "Report", lambda: _report(slide, pictures, told, run), f"{stem}.html", "text/html",
            icon=":material/description:", on_click="ignore", help="One or two pages, to print or to send.",
        )  # fmt: skip
        confirmed = len(confirmed_cells(pictures))
        if st.button(
            "To a dataset", icon=":material/library_add:", disabled=not confirmed,
            help=f"The {shell.counted(confirmed, 'cell')} with a class given or confirmed by hand, to train on."
            if confirmed else "Confirm some cells first, or give them a class.",
        ):  # fmt: skip
            st.session_state[SENDING] = (slide.id, shell.visit())
        if confirmed and st.session_state.get(SENDING) == (slide.id, shell.visit()):
            # Opened at each run of the page until it is dismissed: an adaptation that ends meanwhile reruns the page.
            _send_dialog(slide, pictures)


def _report(slide: Slide, pictures: Sequence[CountedPicture], told: Mapping[str, Any], run: Run) -> str:
    gathered = Gathered(run.classes)
    for counted in pictures:
        if counted.kind == OUT:
            gathered.add_left_out(counted.picture.file, "left out of the count by hand")
        else:
            gathered.add(final_answer(counted), partial(slide.read, counted.picture))
    return slide_report(slide.name + (" (synthetic)" if slide.synthetic else ""), gathered, told, run)


def _sent() -> None:
    st.session_state.pop(SENDING, None)


@st.dialog("Confirmed cells to a dataset", on_dismiss=_sent)
def _send_dialog(slide: Slide, pictures: Sequence[CountedPicture]) -> None:
    cells = confirmed_cells(pictures)
    counts = {name: sum(cell.label == name for _, cell in cells) for name in sorted({str(c.label) for _, c in cells})}
    st.markdown(
        f"**{shell.counted(len(cells), 'confirmed cell')}**: "
        + ", ".join(f"{shell.plain(pretty(k))} {n:,}" for k, n in counts.items())
    )
    st.caption(
        "Each becomes a picture of its own; cells of one picture stay together when pictures are split into training "
        "and test. A dataset never changes: to add to one, a new one is made under another name, with the same test "
        "split and the new cells in training."
    )
    base, there = lab.dataset_or("– none: these cells alone –", "Together with the pictures of", "classify_base")
    name = st.text_input("Name of the new dataset", value=f"{base}-and-mine" if base else "my-cells")
    if not st.button("Create the dataset", type="primary", disabled=not name) or not there:
        return
    bar = st.progress(0.0, "Cutting out …")
    try:
        made = once((slide.id, base, name), lambda: send_to_dataset(
            slide, pictures, name, lab.dataset(base) if base else None,
            lambda done, total: bar.progress(done / total, f"{done:,} of {total:,} pictures"),
        ), "Making the dataset …")  # fmt: skip
    except (LabError, OSError) as error:
        bar.empty()
        shell.show_error(in_words(error))
        return
    bar.empty()
    same = int((made.images.status == "duplicate").sum())
    st.success(
        f"**{shell.plain(made.name)}** holds {len(made.pictures):,} pictures."
        + (f" Left out, because it is the same picture as another: {same:,}." if same else ""),
        icon=":material/check_circle:",
    )
    st.page_link("pages/1_Browse.py", label="Look at it", query_params={"dataset": made.name})
    st.page_link("pages/2_Train.py", label="Train on it", query_params={"dataset": made.name})
