"""Colours and names of the classes, the same on every page, and one look for all Plotly figures."""

import html
from collections.abc import Iterable

import plotly.graph_objects as go
import streamlit as st

# (on light, on dark), chosen to stay apart under the common colour-vision deficiencies.
CLASS_COLOURS = {
    "eosinophil": ("#0072B2", "#56B4E9"),
    "lymphocyte": ("#D55E00", "#E69F00"),
    "monocyte": ("#009E73", "#009E73"),
    "neutrophil": ("#CC79A7", "#CC79A7"),
}
# Each is as far as can be from all before it, the four and the accent, also as people without red or green cones see.
FURTHER_COLOURS = (
    ("#0000FF", "#694BFF"),
    ("#87001E", "#F0F0A5"),
    ("#6969FF", "#C34B1E"),
    ("#5A3C5A", "#A5FFF0"),
    ("#FF005A", "#3C69C3"),
    ("#5A00B4", "#E1FF00"),
    ("#780078", "#F01E5A"),
    ("#B40000", "#D2F069"),
)
LONGEST_TICK = 20  # letters of a class's name below an axis or in a legend: a longer one would take the chart's room


AXIS_TEXT = ("#5E5A6B", "#B5B1C2")  # of charts, on light, on dark: Streamlit's own falls short of a contrast of 4.5


def is_dark() -> bool:
    """Whether the person looks at the dark theme, as far as the server knows.

    The browser tells this with each run, so after the switch in the settings it is late by one run.
    HTML and components should use `css_colours`, which follow the theme at once.
    """
    return st.context.theme.type == "dark"


def class_colours(classes: Iterable[str], dark: bool) -> dict[str, str]:
    """A hex colour for each class, for charts.

    Give all the classes of the dataset, also where only some are shown: those beyond the four named
    above get their colours by their place in the sorted list.
    """
    return {name: pair[dark] for name, pair in _colour_pairs(classes).items()}


def css_colours(classes: Iterable[str]) -> dict[str, str]:
    """As `class_colours`, but as a CSS value that fits either theme by itself."""
    return {name: f"light-dark({light}, {dark})" for name, (light, dark) in _colour_pairs(classes).items()}


def _colour_pairs(classes: Iterable[str]) -> dict[str, tuple[str, str]]:
    classes = list(classes)
    in_order = sorted(set(classes), key=lambda name: (name.lower(), name))
    first = {name.lower(): name for name in reversed(in_order)}  # the same word in other capitals is another class
    named = {first[word]: pair for word, pair in CLASS_COLOURS.items() if word in first}
    further = [name for name in in_order if name not in named]
    pairs = named | {name: FURTHER_COLOURS[place % len(FURTHER_COLOURS)] for place, name in enumerate(further)}
    return {name: pairs[name] for name in classes}


def class_ticks(figure: go.Figure, names: Iterable[str]) -> None:
    """Cuts the names below the axis of classes that are too long; hovering tells them in full."""
    names = list(names)
    short = [chart_text(short_title(name)) for name in names]
    figure.update_xaxes(tickmode="array", tickvals=[*map(chart_text, names)], ticktext=short)


def chart_text(text: str) -> str:
    """Text that somebody else named, such as a class, made safe to stand in a Plotly figure.

    Plotly draws HTML, but knows no `&quot;`: quotation marks stay.
    """
    return html.escape(text, quote=False)


def short_title(name: str) -> str:
    """The name of a class, shortened to fit a chart."""
    return name if len(name) <= LONGEST_TICK else f"{name[: LONGEST_TICK - 1].rstrip()}…"


def style(figure: go.Figure, *, height: int | None = None) -> go.Figure:
    """Make a Plotly figure fit the page in both themes; changes the figure and returns it.

    Text colours and fonts are left to `st.plotly_chart`, which takes them from the theme at hand.
    """
    quiet = "rgba(128, 128, 140, 0.22)"
    figure.update_layout(
        height=height,
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        margin={"l": 8, "r": 8, "t": 36 if figure.layout.title.text else 8, "b": 8},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title": None},
        hoverlabel={"align": "left"},
        modebar={"bgcolor": "rgba(0, 0, 0, 0)", "color": "#7D7A8A", "activecolor": "#8B6CFF"},
        bargap=0.25,
        bargroupgap=0.06,
    )
    figure.update_xaxes(gridcolor=quiet, zerolinecolor=quiet, linecolor=quiet, automargin=True)
    figure.update_yaxes(gridcolor=quiet, zerolinecolor=quiet, linecolor=quiet, automargin=True)
    return figure
