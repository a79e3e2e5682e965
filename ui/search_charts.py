"""The charts of a search for settings: what its trials reached, and which settings mattered."""

import altair as alt
import pandas as pd
import streamlit as st

from bloodcell_core.training import studies
from ui.theme import AXIS_TEXT, is_dark

BROKEN_OFF = "broken off"  # Optuna says pruned
COLOURS = {"done": "#8B6CFF", "running": "#E69F00", BROKEN_OFF: "#8A8796", "interrupted": "#8A8796"}
SHAPES = {"done": "circle", "running": "diamond", BROKEN_OFF: "cross", "interrupted": "triangle-down"}


def losses(rows: pd.DataFrame) -> None:
    """The validation loss of each trial, and the lowest so far as a line."""
    frame = rows[["number", "state", "val_loss", "val_accuracy", "epochs"]].replace({"state": {"pruned": BROKEN_OFF}})
    frame["best"] = frame.val_loss.where(frame.state == "done").cummin().ffill()
    loss = alt.Scale(type="log", nice=False, padding=12)
    x = alt.X(
        "number:Q", title="trial", axis=alt.Axis(tickMinStep=1, grid=False), scale=alt.Scale(padding=12, nice=False)
    )
    domain = [state for state in COLOURS if state in set(frame.state)]
    legend = alt.Legend(title=None, orient="top")
    colour = alt.Scale(domain=domain, range=[COLOURS[state] for state in domain])
    shape = alt.Scale(domain=domain, range=[SHAPES[state] for state in domain])
    points = (
        alt.Chart(frame)
        .mark_point(filled=True, size=70, opacity=0.9)
        .encode(
            x,
            alt.Y("val_loss:Q", title="validation loss", scale=loss, axis=alt.Axis(format="~g", tickCount=5)),
            alt.Color("state:N", scale=colour, legend=legend),
            alt.Shape("state:N", scale=shape, legend=legend),
            tooltip=[
                alt.Tooltip("number:Q", title="trial"),
                alt.Tooltip("val_loss:Q", title="validation loss", format=".3f"),
                alt.Tooltip("val_accuracy:Q", title="accuracy", format=".1%"),
                alt.Tooltip("epochs:Q", title="epochs"),
                alt.Tooltip("state:N"),
            ],
        )
    )
    best = (
        alt.Chart(frame.dropna(subset=["best"]))
        .mark_line(interpolate="step-after", color=COLOURS["done"], strokeWidth=2, opacity=0.6)
        .encode(x, alt.Y("best:Q", scale=loss))
    )
    st.altair_chart(_legible(alt.layer(best, points)), alt="Validation loss of each trial, lowest so far")


def importance(shares: dict[str, float], done: int) -> None:
    """How much each setting, called as people read it, mattered: 0…1, most at the top."""
    if not shares:
        st.caption(f"What mattered is shown from {studies.IMPORTANCE_TRIALS} trials on that weren't broken off.")
        return
    frame = pd.DataFrame({"setting": list(shares), "share": list(shares.values())})
    bars = (
        alt.Chart(frame, title=alt.Title(f"What mattered in {done} trials", fontSize=13, anchor="start"))
        .mark_bar(color=COLOURS["done"], cornerRadiusEnd=3)
        .encode(
            alt.X("share:Q", title=None, axis=alt.Axis(format="%", grid=False, tickCount=4)),
            alt.Y("setting:N", title=None, sort="-x", axis=alt.Axis(labelLimit=160)),
            tooltip=["setting:N", alt.Tooltip("share:Q", format=".0%")],
        )
    )
    st.altair_chart(_legible(bars), alt="Share of each setting in how the losses differ")


def _legible(chart: alt.Chart | alt.LayerChart) -> alt.Chart | alt.LayerChart:
    """The chart with its text in a colour that is read on the theme at hand."""
    colour = AXIS_TEXT[is_dark()]
    return (
        chart.properties(height=280)
        .configure_axis(labelColor=colour, titleColor=colour)
        .configure_legend(labelColor=colour)
    )
