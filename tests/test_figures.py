"""Figures in words: what is a percent and what isn't, the same on pages and in reports."""

import math

import pytest

from bloodcell_core.evaluation import figures


@pytest.mark.parametrize(
    ("metric", "told", "limits", "words"),
    [
        ("accuracy", 0.32792, (0.3012, 0.3524), "32.8% (30.1 to 35.2)"),
        ("recall", 1.0, None, "100.0%"),
        ("recall", 1999 / 2000, (0.998, 1.0), ">99.9% (99.8 to 100.0)"),
        ("recall", 1998 / 2000, None, "99.9%"),
        ("precision", 1 / 2001, None, "<0.1%"),
        ("precision", 0.0, None, "0.0%"),
        ("f1_macro", 0.99996, None, "1.000"),
        ("confidence", 0.8116, (0.78, 0.841), "81.2% (78.0 to 84.1)"),
        ("f1_macro", 0.32792, (0.3012, 0.3524), "0.328 (0.301 to 0.352)"),
        ("auc_ovr", 0.9, (0.85, 0.95), "0.900 (0.850 to 0.950)"),
        ("ece", 0.04, None, "0.040"),
        ("kappa", -0.05, None, "−0.050"),
        ("accuracy", None, None, "–"),
        ("accuracy", math.nan, (0.1, 0.2), "–"),
    ],
)
def test_a_share_is_a_percent_and_any_other_figure_is_not(metric, told, limits, words):
    assert figures.with_interval(metric, told, limits) == words


def test_a_difference_of_shares_is_in_points():
    assert figures.difference_words("accuracy", -0.012) == "−1.2 points"
    assert figures.difference_words("auc_ovr", 0.0123) == "+0.012"
    assert figures.difference_words("accuracy", -0.0001) == "0.0 points"
    assert figures.difference_words("f1", None) == "–"
    assert figures.difference_interval_words("accuracy", (-0.005, 0.029)) == "−0.5 to +2.9"
    assert figures.difference_interval_words("f1", None) == "–"
    assert figures.spread_words("accuracy", 0.013) == "1.3 points"
    assert figures.spread_words("kappa", 0.0131) == "0.013"


def test_a_threshold_is_a_percent():
    assert [figures.threshold_words(cut) for cut in (0.5, 0.95, 0.8734)] == ["50%", "95%", "87.3%"]


def test_a_cpu_is_written_as_on_the_home_page():
    assert figures.device_words("cpu, 1 thread") == "CPU, 1 thread"
    assert figures.device_words("NVIDIA H200") == "NVIDIA H200"


def scored(accuracy: float, **supports: int) -> dict:
    told = {name: {"support": support} for name, support in supports.items()}
    return {"accuracy": accuracy, "pictures": sum(supports.values()), "per_class": told}


def test_an_accuracy_that_one_answer_for_all_reaches_is_told():
    assert figures.one_answer_words(scored(60 / 63, many=60, few=3)) == (
        "always answering Many would be right on 95.2% of these pictures: the accuracy is no better"
    )
    assert figures.one_answer_words(scored(61 / 63, many=60, few=3)) == ""
    assert figures.one_answer_words(scored(0.9, alone=10)) == "", "nothing else could be answered"
