"""Figures as people read them, on pages and in reports: shares are percents, all others have three decimals.

The command line and the JSON write every figure as it is, from 0 to 1; a differential count in percent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bloodcell_core.words import pretty

# Shares of pictures. F1, AUC, average precision, kappa and the calibration's errors are no share of anything counted.
SHARES = {
    "accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "specificity_macro",
    "recall", "precision", "specificity", "confidence",
}  # fmt: skip


def percent(value: float | None, interval: Sequence[float] | None = None) -> str:
    """A share as people read it: "81.2%", with an interval "81.2% (78.0 to 84.1)"; "–" for no value."""
    return with_interval("accuracy", value, interval)


def figure_words(metric: str, value: float | None) -> str:
    """A figure: "81.2%" or "0.912"; "–" for none. 100% is all and 0% none: what would be rounded to it is ">99.9%"."""
    if value is None or math.isnan(value):
        return "–"
    told = _number(metric, value)
    if metric not in SHARES:
        return told
    return {"100.0": ">99.9%", "0.0": "<0.1%"}.get(told, f"{told}%") if 0 < value < 1 else f"{told}%"


def interval_words(metric: str, limits: Sequence[float] | None) -> str:
    """Both ends: "78.0 to 84.1" or "0.881 to 0.934"; "–" for none."""
    return " to ".join(_number(metric, limit) for limit in limits) if limits else "–"


def with_interval(metric: str, value: float | None, limits: Sequence[float] | None) -> str:
    """A figure and, where it has one, its interval: "81.2% (78.0 to 84.1)"."""
    known = limits and value is not None and not math.isnan(value)
    return figure_words(metric, value) + (f" ({interval_words(metric, limits)})" if known else "")


def difference_words(metric: str, value: float | None) -> str:
    """A difference with its sign: "+1.2 points" or "−0.012"; "–" for none."""
    return "–" if value is None else _signed(metric, value) + _points(metric)


def difference_interval_words(metric: str, limits: Sequence[float] | None) -> str:
    """Both ends of a difference's interval: "−0.5 to +2.9"; "–" for none."""
    return " to ".join(_signed(metric, limit) for limit in limits) if limits else "–"


def signed(value: float) -> str:
    """A whole number with its sign: "+1,200" or "−3"; 0 without one."""
    return f"{value:+,.0f}".replace("-", "−") if round(value) else "0"


def scored_on(scores: Mapping[str, Any]) -> str:
    """The dataset that figures are of: those of pictures that a program drew are never told without saying so."""
    return f"{scores['data']}{' (synthetic pictures)' if scores['synthetic'] else ''}"


def gain_words(limits: Sequence[float]) -> str:
    """Both ends of the interval of a number gained: "−3 to +9"; no end is 0 where the interval leaves 0 out."""
    low, high = sorted(limits)
    return f"{signed(max(low, 1) if low > 0 else low)} to {signed(min(high, -1) if high < 0 else high)}"


def spread_words(metric: str, value: float | None) -> str:
    """A standard deviation: "1.3 points" or "0.013"; "–" for none."""
    return "–" if value is None else _number(metric, value) + _points(metric)


def one_answer_words(scores: Mapping[str, Any]) -> str:
    """That the accuracy of a run's scores is no better than that of always naming the commonest class; '' where it is,
    and where only one class was tested.

    On uneven classes 95% may be no more than that.
    """
    supports = {name: told["support"] for name, told in scores["per_class"].items()}
    commonest = max(supports, key=lambda name: supports[name])
    share = supports[commonest] / scores["pictures"]
    if scores["accuracy"] > share or share == 1:
        return ""
    right = f"{percent(share)} of these pictures"
    return f"always answering {pretty(commonest)} would be right on {right}: the accuracy is no better"


def four_digits(value: float | None) -> str:
    """A measure in any unit: "0.1235" or "1235"; "–" for none."""
    return "–" if value is None else f"{value:.4g}"


def threshold_words(threshold: float) -> str:
    """How sure an answer must be to stand: "95%"."""
    return f"{100 * threshold:.3g}%"


def device_words(told: str) -> str:
    """Where something was measured, as a run's summary tells it: "CPU, 1 thread", or a GPU's name."""
    return f"CPU{told[3:]}" if told.startswith("cpu") else told


def _number(metric: str, value: float) -> str:
    return (f"{100 * value:.1f}" if metric in SHARES else f"{value:.3f}").replace("-", "−")


def _signed(metric: str, value: float) -> str:
    told = _number(metric, abs(value))
    return told if not float(told) else f"{'−' if value < 0 else '+'}{told}"


def _points(metric: str) -> str:
    return " points" if metric in SHARES else ""
