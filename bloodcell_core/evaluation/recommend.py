"""Which run to use, and why, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Recommendation(NamedTuple):
    run: str
    why: str


def recommend(runs: Sequence[dict[str, Any]]) -> Recommendation | None:
    """Among finished runs on one dataset (as `Run.describe` gives them) the one to use; None where there is none.

    The choice is made on validation pictures alone, so that the chosen run's test figure stays an honest one.
    Among runs whose validation accuracy is the same the one with fewer weights is taken. A fold's run is left out:
    it was trained and tested on other pictures than the others.
    """
    finished = [
        run for run in runs
        if run["state"] == "done" and not run["fold"] and run["summary"] and run["summary"]["test"]
        and run["summary"]["val_accuracy"] is not None
    ]  # fmt: skip
    if not finished:
        return None
    best = max(finished, key=lambda run: (run["summary"]["val_accuracy"], -run["summary"]["parameters"]))
    test = best["summary"]["test"]
    limits = test["intervals"]["accuracy"]
    why = (
        f"It has the best validation accuracy of {len(finished)} finished "
        f"{'run' if len(finished) == 1 else 'runs'} on {best['data']} ({best['summary']['val_accuracy']:.1%})."
    )
    if limits:
        within = [
            run for run in finished
            if run is not best
            and run["summary"]["parameters"] < best["summary"]["parameters"]
            and limits[0] <= run["summary"]["test"]["accuracy"] <= limits[1]
        ]  # fmt: skip
        if within:
            light = min(within, key=lambda run: run["summary"]["parameters"])
            times = best["summary"]["parameters"] / light["summary"]["parameters"]
            why += (
                f" {light['run']} has {times:.0f} times fewer weights and a test accuracy inside this one's interval: "
                "this data can't tell them apart."
            )
    return Recommendation(best["run"], why)
