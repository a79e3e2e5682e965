"""Counts by class, bars of probabilities, and what the pictures of a dataset are like."""

import html
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from bloodcell_core.evaluation.figures import percent
from bloodcell_core.words import pretty, titles
from ui.theme import chart_text, class_colours, class_ticks, css_colours, is_dark, short_title, style

BINS = 40  # of a spread
MOST_TICKS = 8  # of an axis of whole numbers
# Lengths of strokes and gaps of a class's line; of another number than the colours (`theme`), as `shapes` below.
DASHES = ((8, 0), (8, 3), (2, 3), (8, 3, 2, 3), (14, 4))
MOST_WITHOUT_WEBGL = 2000  # pictures on the map: of more, Plotly draws SVG slowly; some browsers have no WebGL


def draw(figure: go.Figure, key: str, alt: str) -> None:
    """Draw a figure without Plotly's buttons over it; `alt` says what it shows."""
    st.plotly_chart(figure, key=key, config={"displayModeBar": False}, alt=alt)


def class_bars(counts: Mapping[str, Mapping[str, int]], *, key: str) -> None:
    """Draw how many pictures each class has in each split: `counts[split][class]`."""
    draw(class_bars_figure(counts, is_dark()), key, "pictures by class and split")


def class_bars_figure(counts: Mapping[str, Mapping[str, int]], dark: bool) -> go.Figure:
    """The figure of `class_bars`: the colour tells the class, the pattern the split."""
    classes = sorted({name for by_class in counts.values() for name in by_class})
    colours = class_colours(classes, dark)
    figure = go.Figure()
    for (split, by_class), pattern in zip(counts.items(), ("", "/", ".", "x"), strict=False):
        bar = {"pattern": {"shape": pattern, "solidity": 0.35, "fillmode": "overlay"}}
        figure.add_bar(
            x=[*map(chart_text, titles(classes).values())],
            y=[by_class.get(name, 0) for name in classes],
            marker=bar | {"color": [colours[name] for name in classes]},
            legendgroup=split,
            offsetgroup=split,
            showlegend=False,
            hovertemplate=f"%{{x}}, {chart_text(split)}: %{{y:,}}<extra></extra>",
        )
        # The legend's own bar is grey, because the split has a pattern but no colour.
        grey = bar | {"color": "#8A8796"}
        figure.add_bar(x=[None], y=[None], name=split, legendgroup=split, offsetgroup=split, marker=grey)
    most = max((count for by_class in counts.values() for count in by_class.values()), default=0)
    figure.update_layout(barmode="group", yaxis_title="pictures", yaxis_tickformat=",")
    figure.update_yaxes(dtick=1 if most <= MOST_TICKS else None)  # there is no half a picture
    class_ticks(figure, titles(classes).values())
    return style(figure, height=300)


def legend(classes: Sequence[str], *, lines: bool = False) -> None:
    """Draw which class each colour is; with `lines` also which dash."""
    st.html(legend_html(classes, lines=lines))


def legend_html(classes: Sequence[str], *, lines: bool = False) -> str:
    """The HTML of `legend`, its texts escaped."""
    colours = css_colours(classes)
    entries = [
        _ENTRY.format(
            name=html.escape(title),
            swatch=_line(colours[name], _dash(place)) if lines else _SQUARE.format(colour=colours[name]),
        )
        for place, (name, title) in enumerate(titles(classes).items())
    ]
    return f'<div style="display:flex; flex-wrap:wrap; gap:.1rem .9rem; font-size:.8rem">{"".join(entries)}</div>'


_ENTRY = """<span style="display:flex; gap:.35rem; align-items:center; white-space:nowrap">
<i style="{swatch}"></i>{name}</span>"""
_SQUARE = "width:.7rem; height:.7rem; border-radius:3px; background:{colour}"


def _dash(place: int) -> tuple[int, ...]:
    return DASHES[place % len(DASHES)]


def _line(colour: str, dash: Sequence[int]) -> str:
    """A piece of a class's line as CSS: Streamlit takes SVG out of HTML."""
    ends = [0, *accumulate(dash)]
    parts = [
        f"{'transparent' if place % 2 else colour} {start}px {end}px"
        for place, (start, end) in enumerate(pairwise(ends))
    ]
    return f"width:34px; height:3px; background:repeating-linear-gradient(90deg, {', '.join(parts)})"


def probability_bars_html(
    probabilities: Mapping[str, float], *, classes: Sequence[str], bold: str | None = None
) -> str:
    """A bar for each class, in the order given, with its share at the right: HTML, its texts escaped.

    `classes` are all the classes of the dataset, which decide the colours. `bold` is the class to set in bold, such as
    the predicted one.
    """
    colours = css_colours(classes)
    rows = [
        _ROW.format(
            weight=650 if name == bold else 400,
            name=html.escape(pretty(name)),
            colour=colours[name],
            width=100 * min(max(share, 0), 1),
            figure=html.escape(percent(share)),
        )
        for name, share in probabilities.items()
    ]
    return f'<div role="list" style="font-size:.85rem">{"".join(rows)}</div>'


_ROW = """<div role="listitem" style="display:grid; gap:.6rem; align-items:center; line-height:1.6;
grid-template-columns:minmax(0, 7.5rem) minmax(2rem, 1fr) 3.4rem; font-weight:{weight}">
<span style="overflow:hidden; text-overflow:ellipsis; white-space:nowrap" title="{name}">{name}</span>
<span style="height:.5rem; border-radius:99px; background:color-mix(in srgb, currentColor 10%, transparent)">
<span style="display:block; height:100%; min-width:2px; border-radius:99px; width:{width:.1f}%;
background:{colour}"></span></span>
<span style="text-align:right; font-variant-numeric:tabular-nums">{figure}</span></div>"""


# ---- What the pictures of a dataset are like -----------------------------------------------------------


def spread(values: pd.Series, labels: pd.Series, *, title: str, classes: Sequence[str], key: str) -> None:
    """Draw how a figure is spread over the pictures of each class: one outline a class, in shares of it. `legend` tells
    which is which, once for several of them."""
    draw(spread_figure(values, labels, title, classes, is_dark()), key, f"{title}, by class")


def spread_figure(
    values: pd.Series, labels: pd.Series, title: str, classes: Sequence[str], dark: bool
) -> go.Figure:
    """The figure of `spread`; the bins are counted here, so that 100,000 pictures are as quick as 100."""
    known = values.notna()
    values, labels = values[known].astype(float), labels[known]
    colours = class_colours(classes, dark)
    edges = _edges(values.to_numpy())
    figure = go.Figure()
    for place, name in enumerate(classes):
        part = values[labels == name]
        if len(part):
            counts, _ = np.histogram(part, edges)
            dash = ",".join(f"{length}px" for length in _dash(place))
            figure.add_scatter(
                x=(edges[1:] + edges[:-1]) / 2,
                y=counts / len(part),
                name=chart_text(pretty(name)),
                mode="lines",
                line={"color": colours[name], "width": 2, "shape": "hvh", "dash": dash},
                hovertemplate=f"{chart_text(pretty(name))}: %{{y:.1%}} near %{{x:.3~g}}<extra></extra>",
            )
    figure.update_layout(
        xaxis_title=title, yaxis_title="share of the class", yaxis_tickformat="~%", showlegend=False
    )
    if len(values) and _few_whole(values.to_numpy()):  # between two of them, and outside, nothing is
        low, high = int(values.min()), int(values.max())
        ticks = list(range(low, high + 1, -(-(high - low + 1) // MOST_TICKS)))
        figure.update_xaxes(tickmode="array", tickvals=ticks)
    return style(figure, height=260)


def _few_whole(values: np.ndarray) -> bool:
    return bool(values.max() - values.min() < BINS and (values == values.round()).all())


def _edges(values: np.ndarray) -> np.ndarray:
    """The bounds of at most about BINS bins; of few whole numbers each has a bin of its own, in the middle of it."""
    if not len(values):
        return np.arange(2)
    low, high = values.min(), values.max()
    if low == high or _few_whole(values):
        return np.arange(low - 1.5, high + 2.5)  # with an empty one on either side, between which the line rises
    return np.linspace(low, high, BINS + 1)


def map_of_pictures(
    places: np.ndarray, labels: Sequence[str], ids: Sequence[str], titles: Sequence[str], *,
    classes: Sequence[str], selected: str | None, key: str,
) -> str | None:  # fmt: skip
    """Draw pictures as points of a map; return the id of the one just clicked, else None.

    What is to stay open belongs in the address (`address.write(picture=clicked)`) and comes back as `selected`.
    """
    event = st.plotly_chart(
        map_figure(places, labels, ids, titles, classes, selected, is_dark()),
        key=key,
        on_select="rerun",
        selection_mode="points",
        config={"scrollZoom": True, "displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]},
        alt="Map of the pictures: those that are alike lie close together",
    )
    points = event["selection"]["points"]
    clicked = str(points[0]["customdata"][0]) if points else None
    # The selection stays with the chart from run to run; only a new one is a click.
    last, st.session_state[f"{key}_last"] = st.session_state.get(f"{key}_last"), clicked
    return clicked if clicked != last else None


def map_figure(
    places: np.ndarray,
    labels: Sequence[str],
    ids: Sequence[str],
    titles: Sequence[str],
    classes: Sequence[str],
    selected: str | None,
    dark: bool,
) -> go.Figure:
    """The figure of `map_of_pictures`."""
    colours = class_colours(classes, dark)
    # 7 shapes and the 8 colours of `theme` have no common divisor: 56 classes get 56 different pairs.
    shapes = ("circle", "diamond", "square", "triangle-up", "cross", "star", "x")
    frame = pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "label": labels, "id": ids, "title": titles})
    figure = go.Figure()
    add = figure.add_scatter if len(frame) <= MOST_WITHOUT_WEBGL else figure.add_scattergl
    for place, name in enumerate(classes):
        part = frame[frame.label == name]
        if len(part):
            add(
                x=part.x, y=part.y, name=chart_text(short_title(pretty(name))), mode="markers",
                customdata=part[["id"]], text=[chart_text(title) for title in part.title],
                marker={"color": colours[name], "size": 7, "opacity": 0.75, "symbol": shapes[place % len(shapes)]},
                hovertemplate="%{text}<extra></extra>",
            )  # fmt: skip
    ring = frame[frame.id == selected]
    figure.add_scatter(
        x=ring.x, y=ring.y, mode="markers", showlegend=False, hoverinfo="skip",
        marker={"size": 16, "color": "rgba(0,0,0,0)", "line": {"width": 2, "color": "#8B6CFF"}},
    )  # fmt: skip
    figure.update_layout(dragmode="pan", clickmode="event+select", uirevision="map")
    for axes in (figure.update_xaxes, figure.update_yaxes):  # places on a map have no unit
        axes(showticklabels=False, zeroline=False, showgrid=False, showline=False)
    style(figure, height=560)
    # Below the points: above them the chart's own buttons lie over it in a narrow window.
    return figure.update_layout(legend={"y": 0, "yanchor": "top"})
