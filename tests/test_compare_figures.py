"""The Compare page's charts show the figures that they are given."""

import numpy as np

from ui import compare_figures as figures


def of_class(value, limits, photos=3, support=9):
    return {"support": support, "recall": value, "intervals": {"recall": limits}, "photos": photos}


def scored(unit="photo", **per_class):
    return {"per_class": per_class, "unit": unit}


def test_bars_have_their_own_limits_and_an_undefined_one_has_none():
    scores = {"<b>one</b>": scored(a=of_class(0.8, [0.5, 0.9]), b=of_class(None, None, None))}
    bar = figures.by_class(scores, ["a", "b"], "recall", "Found", dark=False).data[0]
    assert bar.y == (0.8, None)
    np.testing.assert_allclose(bar.error_y.array, [0.1, 0])
    np.testing.assert_allclose(bar.error_y.arrayminus, [0.3, 0])
    assert bar.customdata[0] == ["80.0% (50.0 to 90.0)", "9 pictures of 3 photos"]
    assert bar.customdata[1] == ["–", "9 pictures"]
    assert bar.name == "&lt;b&gt;one&lt;/b&gt;", "a run's title is text"


def test_a_bar_tells_what_its_pictures_are_of_and_one_as_one():
    scores = {"one": scored("group", a=of_class(0.8, None, photos=1, support=1))}
    (bar,) = figures.by_class(scores, ["a"], "recall", "Found", dark=False).data
    assert bar.customdata[0][1] == "1 picture of 1 group"


def test_only_shares_are_drawn_in_percent():
    told = {"support": 9, "auc": 0.8, "intervals": {"auc": [0.5, 0.9]}, "photos": None}
    figure = figures.by_class({"one": scored(a=told)}, ["a"], "auc", "AUC", dark=False)
    assert figure.data[0].customdata[0][0] == "0.800 (0.500 to 0.900)"
    assert "%" not in figure.layout.yaxis.tickformat


def test_more_runs_than_colours_are_still_told_apart():
    scores = {str(place): scored(a=of_class(0.8, None)) for place in range(20)}
    bars = figures.by_class(scores, ["a"], "recall", "Found", dark=True).data
    assert len({(bar.marker.color, bar.marker.pattern.shape) for bar in bars}) == 20


def test_empty_bins_are_left_out_of_the_reliability():
    bins = [
        {"pictures": 0, "confidence": None, "accuracy": None, "interval": None},
        {"pictures": 4, "confidence": 0.7, "accuracy": 0.5, "interval": [0.2, 0.8]},
    ]
    line = figures.reliability({"one": {"ece": 0.2, "bins": bins}}, dark=False).data[0]
    assert (line.x, line.y, line.customdata) == ((0.7,), (0.5,), ("4 pictures",))
    assert "ECE 0.200" in line.name


def test_cost_is_drawn_with_the_interval_of_the_accuracy():
    rows = [{"name": "one", "cost": 1000, "accuracy": 0.8, "interval": [0.7, 0.85]},
            {"name": "two", "cost": 9, "accuracy": 0.5, "interval": None}]  # fmt: skip
    one, two = figures.cost(rows, "weights", dark=False).data
    assert (one.x, one.y, two.x) == ((1000,), (0.8,), (9,))
    np.testing.assert_allclose([one.error_y.array[0], one.error_y.arrayminus[0]], [0.05, 0.1])
    assert two.error_y.array[0] == two.error_y.arrayminus[0] == 0


def test_a_cost_below_one_is_no_number_of_thousandths():
    rows = [{"name": "one", "cost": 0.7, "accuracy": 0.8, "interval": None}]
    figure = figures.cost(rows, "ms", dark=False)
    assert figure.layout.xaxis.tickformat == "~g"
    assert "%{x:,.4~g}" in figure.data[0].hovertemplate
    assert figures.cost([], "ms", dark=False).layout.xaxis.tickformat == "~s"
