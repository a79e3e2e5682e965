"""Calibration: temperature and expected calibration error against plain loops, simulations and what must hold."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.calibration import (
    BINS,
    TEMPERATURES,
    calibration,
    equal_count_bins,
    expected_calibration_error,
    fit_temperature,
    with_temperature,
)
from bloodcell_core.evaluation.scoring import predictions_table, score

CLASSES = ["a", "b", "c"]


def honest(
    pictures: int, seed: int = 0, photos: int | None = None, temperature: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels drawn from the very probabilities that are then sharpened by `temperature`; photos of equal copies."""
    random = np.random.default_rng(seed)
    numbers = np.arange(pictures) % (photos or pictures)
    shares = random.dirichlet([0.6] * 3, size=photos or pictures)
    labels = (random.random((len(shares), 1)) > shares.cumsum(axis=1)).sum(axis=1).clip(max=2)[numbers]
    return labels, with_temperature(shares, 1 / temperature)[numbers], numbers


def table(temperature: float = 2.0, photos: int | None = 200, seed: int = 0) -> pd.DataFrame:
    """Predictions of a validation and a test split, both too sure by `temperature`."""
    made = []
    for split in ("val", "test"):
        labels, shares, numbers = honest(600, seed + len(split), photos, temperature)
        pictures = pd.DataFrame({"image_id": [f"{split}{i}" for i in range(600)], "split": split})
        pictures["label"] = np.array(CLASSES)[labels]
        pictures["source_photo"] = [f"{split} {number}" for number in numbers] if photos else None
        made.append(predictions_table(pictures, shares, CLASSES))
    return pd.concat(made, ignore_index=True)


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of 2 to 4 classes with zeros, ones and ties."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes, pictures = draw(st.integers(2, 4)), draw(st.integers(1, 40))
    parts = random.integers(0, 5, size=(pictures, classes)) + (np.arange(classes) == random.integers(classes))
    return random.integers(classes, size=pictures), parts / parts.sum(axis=1, keepdims=True)


# Temperature


@settings(max_examples=50, deadline=None)
@given(predictions(), st.floats(0.1, 10))
def test_a_temperature_changes_no_answer_and_1_changes_nothing(
    case: tuple[np.ndarray, np.ndarray], temperature: float
) -> None:
    _, probabilities = case
    np.testing.assert_allclose(with_temperature(probabilities, 1), probabilities, atol=1e-12)
    changed = with_temperature(probabilities, temperature)
    np.testing.assert_allclose(changed.sum(axis=1), 1)
    np.testing.assert_array_equal(changed.argmax(axis=1), probabilities.argmax(axis=1))
    surer = changed.max(axis=1) - probabilities.max(axis=1)
    assert (surer >= -1e-12).all() if temperature < 1 else (surer <= 1e-12).all()


def test_a_temperature_is_what_dividing_the_logits_gives() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 4)) * 3

    def softmax(scores: np.ndarray) -> np.ndarray:
        return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)

    np.testing.assert_allclose(with_temperature(softmax(logits), 2.5), softmax(logits / 2.5))


@settings(max_examples=30, deadline=None)
@given(predictions())
def test_the_fitted_temperature_is_never_worse_than_1_nor_than_its_neighbours(
    case: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, probabilities = case
    indices = range(probabilities.shape[1])

    def loss(temperature: float) -> float:
        return float(log_loss(labels, with_temperature(probabilities, temperature), labels=list(indices)))

    found = fit_temperature(labels, probabilities)
    assert TEMPERATURES[0] <= found <= TEMPERATURES[1]
    assert loss(found) <= loss(1) + 1e-12
    for other in (found * 0.9, found * 1.1):
        if TEMPERATURES[0] <= other <= TEMPERATURES[1]:
            assert loss(found) <= loss(other) + 1e-6


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found_again(temperature: float) -> None:
    labels, probabilities, _ = honest(20_000, temperature=temperature)
    assert fit_temperature(labels, probabilities) == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="a temperature is above 0"):
        with_temperature([[0.5, 0.5]], temperature)


# Expected calibration error


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 15))
def test_the_error_equals_a_plain_loops(seed: int, pictures: int, bins: int) -> None:
    random = np.random.default_rng(seed)
    confidence = random.integers(5, 11, size=pictures) / 10
    right = random.random(pictures) < 0.7
    ordered = sorted(confidence)
    found: dict[int, list[int]] = {}
    for picture, sure in enumerate(confidence):
        found.setdefault(ordered.index(sure) * bins // pictures, []).append(picture)
    expected = 0.0
    for members in found.values():
        gap = sum(right[m] for m in members) / len(members) - sum(confidence[m] for m in members) / len(members)
        expected += abs(gap) * len(members) / pictures
    assert expected_calibration_error(confidence, right, bins) == pytest.approx(expected, abs=1e-12)
    order = random.permutation(pictures)
    shuffled = expected_calibration_error(confidence[order], right[order], bins)
    assert shuffled == pytest.approx(expected, abs=1e-12)


def test_bins_hold_as_many_pictures_each() -> None:
    confidence = np.random.default_rng(0).random(1000)
    of_bin = equal_count_bins(confidence, 15)
    assert set(np.bincount(of_bin)) == {66, 67}
    assert (np.diff(of_bin[np.argsort(confidence)]) >= 0).all()


def test_who_is_right_as_often_as_said_has_no_error_but_by_chance() -> None:
    labels, probabilities, _ = honest(100_000)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    # 15 bins of 6,667: each gap's standard error is below 0.006, the mean of their sizes below 0.005
    assert expected_calibration_error(confidence, right) < 0.007
    assert expected_calibration_error(np.ones(1000), np.arange(1000) < 700) == pytest.approx(0.3)


# The whole


def test_before_and_after_on_the_test_split() -> None:
    made = table()
    told = calibration(made, CLASSES)
    test = made[made.split == "test"]
    scores = score(test.reset_index(drop=True), CLASSES)
    shares = test[["p_a", "p_b", "p_c"]].to_numpy()
    assert (told["pictures"], told["photos"]) == (600, 200)
    assert told["fitted_on"] == {"pictures": 600, "photos": 200}
    assert told["accuracy"] == pytest.approx(scores["accuracy"])
    before, after = told["before"], told["after"]
    assert before["log_loss"] == pytest.approx(scores["log_loss"])
    assert before["brier"] == pytest.approx(scores["brier"])
    softer = with_temperature(shares, told["temperature"])
    assert after["log_loss"] == pytest.approx(log_loss(test.label, softer, labels=CLASSES))
    assert after["brier"] == pytest.approx(brier_score_loss(test.label, softer, labels=CLASSES, scale_by_half=False))
    right = (test.label == test.predicted).to_numpy()
    assert before["ece"] == pytest.approx(expected_calibration_error(shares.max(axis=1), right))
    assert after["ece"] == pytest.approx(expected_calibration_error(softer.max(axis=1), right))
    assert told["temperature"] > 1
    assert after["ece"] < before["ece"]
    assert before["confidence"] > told["accuracy"]
    assert told["warnings"] == []
    json.dumps(told, allow_nan=False)


def test_the_bins_are_those_of_the_error() -> None:
    before = calibration(table(), CLASSES)["before"]
    bins = before["bins"]
    assert len(bins) == BINS
    assert sum(each["pictures"] for each in bins) == 600
    gaps = [abs(each["accuracy"] - each["confidence"]) * each["pictures"] / 600 for each in bins]
    assert sum(gaps) == pytest.approx(before["ece"])
    assert [each["confidence"] for each in bins] == sorted(each["confidence"] for each in bins)
    limits = [(each["interval"], each["accuracy"]) for each in bins if each["interval"]]
    assert limits
    assert all(low <= accuracy <= high for (low, high), accuracy in limits)


def test_the_temperature_is_fitted_on_validation_alone() -> None:
    made = table()
    told = calibration(made, CLASSES)
    validation = made[made.split == "val"]
    labels = pd.Categorical(validation.label, categories=CLASSES).codes
    assert told["temperature"] == fit_temperature(labels, validation[["p_a", "p_b", "p_c"]].to_numpy())
    fewer = made.drop(made.index[made.split == "test"][:100])
    assert calibration(fewer, CLASSES)["temperature"] == told["temperature"]


def test_the_intervals_are_by_photo_and_hold_the_means() -> None:
    before = calibration(table(), CLASSES)["before"]
    for figure in ("brier", "log_loss", "confidence"):
        low, high = before["intervals"][figure]
        assert low < before[figure] < high
    alone = calibration(table().assign(source_photo=None), CLASSES)
    assert alone["photos"] is None
    # three identical copies of each photo: sqrt(3) = 1.7 times as wide
    assert np.ptp(before["intervals"]["brier"]) > 1.4 * np.ptp(alone["before"]["intervals"]["brier"])


def test_on_few_photos_good_calibration_is_told_from_its_chance_error() -> None:
    told = calibration(table(temperature=1.0), CLASSES)["before"]
    assert told["ece"] > 0.03, "the case has an error that is chance alone"
    assert told["ece_by_chance"] == pytest.approx(told["ece"], rel=0.5)
    assert told["intervals"]["ece"][0] < 0.01
    wrong = calibration(table(temperature=4.0), CLASSES)["before"]
    assert wrong["intervals"]["ece"][0] > wrong["ece_by_chance"] / 2
    assert wrong["intervals"]["ece"][0] <= wrong["ece"] <= wrong["intervals"]["ece"][1]


@pytest.mark.parametrize("why", ["there are no validation pictures", "no validation picture is wrong"])
def test_without_a_temperature_there_is_no_after_and_it_is_said(why: str) -> None:
    made = table()
    if why.startswith("there are no"):
        made = made[made.split == "test"]
    else:
        made.loc[made.split == "val", "label"] = made.predicted
    told = calibration(made, CLASSES)
    assert (told["temperature"], told["after"]) == (None, None)
    assert told["warnings"] == [f"{why}: no temperature can be fitted"]
    json.dumps(told, allow_nan=False)


def test_data_of_another_source_are_measured_with_a_warning() -> None:
    made, other = table(), table(seed=9)
    other = other[other.split == "test"].iloc[:300]
    told = calibration(made, CLASSES, elsewhere=other)
    assert told["pictures"] == 300
    assert told["temperature"] == calibration(made, CLASSES)["temperature"]
    assert "another source" in told["warnings"][0]


def test_one_photo_has_figures_and_no_intervals() -> None:
    made = table()
    one = made[(made.split == "val") | (made.source_photo == "test 0")]
    told: dict[str, Any] = calibration(one, CLASSES)
    assert set(told["before"]["intervals"].values()) == {None}
    assert told["before"]["ece_by_chance"] is None
    json.dumps(told, allow_nan=False)


def test_nothing_to_measure_on_is_refused() -> None:
    made = table()
    with pytest.raises(LabError, match="no pictures to measure the calibration on"):
        calibration(made[made.split == "val"], CLASSES)
