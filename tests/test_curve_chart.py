"""What the chart of learning curves is sent: few points, most of them where somebody looks, and words."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloodcell_core.runs import Run
from bloodcell_core.training import jobs
from tests.training_fixtures import tiny
from ui import curves
from ui.curves import MOST_POINTS, MOST_RUNS, Line

pytest_plugins = ["tests.training_fixtures"]

EPOCHS, STEPS = 100, 100_000


def long_run(place: int = 0) -> tuple[list[Line], list[Line]]:
    """The lines of the loss and of the accuracy of a run with many steps, one of which stands out."""
    rng = np.random.default_rng(place)
    epochs, steps = np.arange(1.0, EPOCHS + 1), np.arange(1, STEPS + 1) / (STEPS / EPOCHS)
    two = [Line(place, split, epochs, rng.random(EPOCHS)) for split in ("train", "validation")]
    return [Line(place, "step", steps, rng.random(STEPS)), *two], two


def many_runs(count: int) -> list[list[Line]]:
    runs = [long_run(place) for place in range(count)]
    return [[line for run in runs for line in run[plot]] for plot in (0, 1)]


def points(plots: list[list[dict]]) -> int:
    return sum(len(line["x"]) for plot in plots for line in plot)


@pytest.mark.parametrize(
    "zoom", [None, (0.0, 100.0), (40.0, 41.0), (40.0, 40.01), (-5.0, 0.5), (99.5, 300.0), (400.0, 500.0)]
)
@pytest.mark.parametrize("count", [1, 3, MOST_RUNS])
def test_a_long_training_is_drawn_by_few_points(count: int, zoom: curves.Zoom | None) -> None:
    sent = curves.thinned(many_runs(count), zoom)
    assert points(sent) <= MOST_POINTS
    assert [len(plot) for plot in sent] == [3 * count, 2 * count]
    for line in (line for plot in sent for line in plot):
        assert len(line["x"]) == len(line["y"]) > 1
        assert line["x"] == sorted(line["x"])


def test_a_short_training_is_sent_whole() -> None:
    x, y = np.array([1.0, 2.0]), np.array([0.5, math.nan])
    assert curves.thinned([[Line(0, "train", x, y)]], None) == [
        [{"run": 0, "split": "train", "x": [1.0, 2.0], "y": [0.5, None]}]
    ]


def test_a_closer_look_shows_more() -> None:
    def steps_within(zoom: curves.Zoom | None) -> int:
        line = curves.thinned(many_runs(2), zoom)[0][0]
        return sum(40 <= x <= 41 for x in line["x"])

    assert steps_within((40.0, 41.0)) > 20 * steps_within(None)


def test_beside_a_closer_look_the_rest_is_still_there() -> None:
    """A person who goes back to the whole must not find the line cut off until the next answer."""
    line = curves.thinned(many_runs(2), (40.0, 41.0))[0][0]
    assert line["x"][0] < 1
    assert line["x"][-1] == EPOCHS


def test_what_another_session_reads_on_doesn_t_change_what_is_being_drawn(done: Run) -> None:
    file = done.folder / "metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-5]))
    drawn = curves.course(done)
    epochs, steps = len(drawn.epochs), len(drawn.step_losses)
    file.write_bytes(b"".join(lines))
    later = curves.course(done)
    assert (len(drawn.epochs), len(drawn.step_losses)) == (epochs, steps)
    assert epochs < len(later.epochs)
    assert steps < len(later.step_losses)


@given(st.lists(st.integers(0, 5000), max_size=40), st.integers(0, 3000))
def test_points_are_shared_out_fairly(wanted: list[int], total: int) -> None:
    given_out = curves.allotted(wanted, total)
    assert sum(given_out) <= total
    assert all(0 <= got <= want for got, want in zip(given_out, wanted, strict=True))
    if sum(wanted) <= total:
        assert given_out == wanted
    else:  # nothing is left over but what can't be shared out, and who got less than it wants got the most
        assert sum(given_out) == total
        short = [got for got, want in zip(given_out, wanted, strict=True) if got < want]
        assert max(given_out) - min(short) <= 1


@pytest.mark.parametrize(
    "told", [None, [], [1], [2, 1], [1, 1], [1, math.inf], [math.nan, 2], ["1", "2"], {"a": 1}, "12", [1, 2, 3]]
)
def test_a_zoom_that_cannot_be_is_none(told: object) -> None:
    assert curves.zoom_of({"zoom": told}) is None


def test_a_zoom_is_what_the_browser_has_told() -> None:
    assert curves.zoom_of(None) is None
    assert curves.zoom_of({"zoom": [1, 2.5]}) == (1.0, 2.5)


def test_the_lines_are_the_run_s_own_events(done: Run) -> None:
    losses, accuracies = curves.lines([done])
    events = [event for event in done.events()[0] if event["event"] == "epoch"]
    assert [line.split for line in losses] == ["step", "train", "validation"]
    assert [line.split for line in accuracies] == ["train", "validation"]
    assert losses[2].y.tolist() == [event["val_loss"] for event in events]
    assert accuracies[0].y.tolist() == [event["train_accuracy"] for event in events]
    assert losses[0].x[-1] == losses[1].x[-1] == len(events)  # the last step ends the last epoch
    json.dumps(curves.thinned([losses, accuracies], None), allow_nan=False)


def test_the_chart_is_told_in_words_too(done: Run) -> None:
    last = [event for event in done.events()[0] if event["event"] == "epoch"][-1]
    said = curves.words([done])
    assert f"Basic CNN {done.name[-4:]}, epoch {last['epoch']}: loss {last['train_loss']:.3f} in training" in said
    waiting = jobs.create_run(tiny())
    assert f"{waiting.name[-4:]}: no epoch has ended yet." in curves.words([done, waiting])
