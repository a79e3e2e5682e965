"""What learning curves say: read on where the last look ended, thinned out, and in words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloodcell_core.evaluation.curves import RISING_EPOCHS, LearningCurve, extremes, overfitting_warning, stretches
from bloodcell_core.runs import Run

pytest_plugins = ["tests.training_fixtures"]


def epochs(train: list[float], validation: list[float]) -> list[dict[str, Any]]:
    return [
        {"event": "epoch", "epoch": number, "train_loss": ours, "val_loss": theirs}
        for number, (ours, theirs) in enumerate(zip(train, validation, strict=True), 1)
    ]


def test_a_course_is_the_runs_events_however_they_arrive(done: Run) -> None:
    events = done.events()[0]
    file = done.folder / "metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    course = LearningCurve(done)
    file.write_bytes(b"")
    for line in lines:
        with open(file, "ab") as stream:
            stream.write(line)
        course.follow()
        course.follow()  # nothing new: nothing twice
    assert course.step_losses == [event["loss"] for event in events if event["event"] == "step"]
    assert course.epochs == [event for event in events if event["event"] == "epoch"]


@pytest.mark.parametrize("kept", [0, 1, 5, 9, 10, 17])
def test_what_a_resumed_run_makes_again_takes_the_place_of_what_it_made_before(kept: int, done: Run) -> None:
    file = done.folder / "metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    course = LearningCurve(done)
    course.follow()
    again = [json.dumps(json.loads(line) | {"again": True}).encode() + b"\n" for line in lines[kept:]]
    file.write_bytes(b"".join(lines[:kept] + again))
    course.follow()
    whole = LearningCurve(done)
    whole.follow()
    assert course.step_losses == whole.step_losses
    assert [event["epoch"] for event in course.epochs] == [event["epoch"] for event in whole.epochs]


def test_epochs_of_one_step_each_are_followed(done: Run) -> None:
    file = done.folder / "metrics.jsonl"
    epoch = next(event for event in done.events()[0] if event["event"] == "epoch")
    told: list[dict[str, Any]] = [{"event": "step", "step": 1, "loss": 0.5}]
    file.write_text(json.dumps(told[0]) + "\n")
    course = LearningCurve(done)
    course.follow()
    told += [epoch | {"epoch": 1, "step": 1}, {"event": "step", "step": 2, "loss": 0.4}]
    file.write_text("".join(json.dumps(event) + "\n" for event in told))
    course.follow()
    assert course.step_losses == [0.5, 0.4]
    assert not course.problem


def test_what_a_resumed_run_makes_again_is_seen_where_a_line_of_it_ends_at_the_very_place(done: Run) -> None:
    file = done.folder / "metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:5]))
    course = LearningCurve(done)
    course.follow()
    wide = b"".join(lines[:5])[:-1].removeprefix(b"".join(lines[:2]))
    again = lines[2][:-1].ljust(len(wide)) + b"\n"
    file.write_bytes(b"".join([*lines[:2], again, *lines[3:]]))
    course.follow()
    assert course.step_losses == [event["loss"] for event in done.events()[0] if event["event"] == "step"]
    assert not course.problem


@pytest.mark.parametrize(
    ("place", "change", "said"),
    [
        (1, {"loss": 1e308}, "loss 1e+308"),
        (1, {"loss": -1e308}, "loss -1e+308"),
        (1, {"loss": float("nan")}, "loss nan"),
        (1, {"loss": "low"}, "loss 'low'"),
        (-1, {"val_loss": float("nan")}, "val_loss nan"),
        (-1, {"train_accuracy": 7}, "train_accuracy 7"),
        (-1, {"seconds": -3}, "seconds -3"),
        (-1, {"seconds": None}, "seconds None"),
    ],
)
def test_a_figure_that_can_not_be_is_left_out_and_told(
    place: int, change: dict[str, Any], said: str, done: Run
) -> None:
    file = done.folder / "metrics.jsonl"
    events = done.events()[0]
    events[place] |= change
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    course = LearningCurve(done)
    course.follow()
    assert course.problem == (
        f"metrics.jsonl of run {done.name!r} is damaged: one event left out of the curves, the first for its {said}"
    )
    steps = [event for event in events if event["event"] == "step"]
    others = [event for event in events if event["event"] == "epoch" and event is not events[place]]
    assert course.epochs == others
    told = [loss for loss in course.step_losses if loss == loss]
    assert told == [event["loss"] for event in steps if event is not events[place]]
    assert len(course.step_losses) == len(steps)


@pytest.mark.parametrize("step", [-5, 0, 2, 10**15, 2.5, None])
def test_a_step_out_of_order_takes_no_other_away(step: Any, done: Run) -> None:
    file = done.folder / "metrics.jsonl"
    events = done.events()[0]
    odd = {"event": "step", "step": step, "loss": 0.5}
    file.write_text("".join(json.dumps(event) + "\n" for event in [*events[:4], odd, *events[4:]]))
    course = LearningCurve(done)
    course.follow()
    assert course.step_losses == [event["loss"] for event in events if event["event"] == "step"]
    assert course.epochs == [event for event in events if event["event"] == "epoch"]
    assert f"one event left out of the curves, the first for its step {step!r} after" in course.problem


def test_a_stretch_is_the_mean_of_what_is_known_of_it() -> None:
    means, ends = stretches([1.0, float("nan"), 3.0, 5.0, float("nan"), float("nan")], 3)
    assert ends.tolist() == [2, 4, 6]
    assert means[:2].tolist() == [1.0, 4.0]
    assert np.isnan(means[2])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(1, 50))
def test_stretches_are_means_of_equal_length(values: list[float], most: int) -> None:
    means, ends = stretches(values, most)
    assert len(means) == len(ends) <= most
    assert ends[-1] == len(values)
    parts = np.split(np.asarray(values), ends[:-1])
    assert means == pytest.approx([part.mean() for part in parts], abs=1e-6)
    assert len({len(part) for part in parts[:-1]}) <= 1


def test_no_steps_no_stretches() -> None:
    assert [len(part) for part in stretches([], 10)] == [0, 0]


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=300), st.integers(4, 50))
def test_a_line_through_few_points_keeps_its_ends_its_lowest_and_its_highest(values: list[float], most: int) -> None:
    places = extremes(np.array(values), most)
    assert len(places) <= most
    assert (np.diff(places) > 0).all()
    if len(values) <= most:
        assert places.tolist() == list(range(len(values)))
    else:
        assert (places[0], places[-1]) == (0, len(values) - 1)
    numbers = [value for value in values if value == value]
    if numbers:
        kept = [values[place] for place in places]
        assert {min(numbers), max(numbers)} <= set(kept)


FALLING = [1.0, 0.8, 0.6, 0.5, 0.4, 0.3]


@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [
        (FALLING, [1.0, 0.7, 0.9, 1.0, 1.1, 1.2], "For 4 epochs"),
        (FALLING, [1.0, 0.9, 0.8, 0.7, 0.6, 0.5], None),  # it still learns
        (FALLING, [1.0, 0.7, 0.9, 0.71, 0.9, 0.9], None),  # one of the last is nearly as good as the best
        (FALLING[::-1], [1.0, 0.7, 0.9, 1.0, 1.1, 1.2], None),  # both turn up: that is another fault
        (FALLING[:4], [1.0, 0.7, 0.9, 1.0], None),  # too few epochs to tell
        ([], [], None),
    ],
)
def test_learning_by_heart_is_told_and_nothing_else(
    train: list[float], validation: list[float], said: str | None
) -> None:
    words = overfitting_warning(epochs(train, validation))
    assert (words or "").startswith(said) if said else words is None
    if words:
        assert "The weights of epoch 2 are kept." in words


def test_one_bad_epoch_says_nothing() -> None:
    assert RISING_EPOCHS > 1
    assert overfitting_warning(epochs([1.0, 0.5], [0.5, 2.0])) is None
