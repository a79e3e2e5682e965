"""Calibration: temperature and expected calibration error against plain loops, simulations and what must hold."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from bloodcell_core.errors import LabError
from bloodcell_core.evaluation import calibration as calibration_module
from bloodcell_core.evaluation import intervals
from bloodcell_core.evaluation.calibration import (
    BINS,
    TEMPERATURES,
    calibration,
    equal_count_bins,
    expected_calibration_error,
    fit_temperature,
    fitted_temperature,
    uncalibrated,
    with_temperature,
)
from bloodcell_core.evaluation.merging import merged
from bloodcell_core.evaluation.predictions import predictions_table
from bloodcell_core.evaluation.scoring import score

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


def raw_table(temperature: float = 2.0, photos: int | None = 200, seed: int = 0) -> pd.DataFrame:
    """Predictions of a validation and a test split, both too sure by `temperature`, as a network gives them."""
    made = []
    for split in ("val", "test"):
        labels, shares, numbers = honest(600, seed + len(split), photos, temperature)
        pictures = pd.DataFrame({"image_id": [f"{split}{i}" for i in range(600)], "split": split})
        pictures["label"] = np.array(CLASSES)[labels]
        pictures["source_photo"] = [f"{split} {number}" for number in numbers] if photos else None
        made.append(predictions_table(pictures, shares, CLASSES))
    return pd.concat(made, ignore_index=True)


def scored(raw: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The test predictions as a run keeps them, at the temperature that the validation split tells, and its summary."""
    summary = fitted_temperature(raw[raw.split == "val"], CLASSES)
    made = uncalibrated(raw, CLASSES, 1 / summary["temperature"])  # the way back is the way there
    return made[made.split == "test"].reset_index(drop=True), summary


def measured(raw: pd.DataFrame, **more: Any) -> dict[str, Any]:
    table, summary = scored(raw)
    return calibration(table, CLASSES, summary, **more)


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
@example((np.array([0, 0, 1]), np.array([[0.6, 0.4], [1, 0], [1, 0]])))  # clipped at 36 nats, 0.05 would be the best
def test_the_fitted_temperature_is_never_worse_than_1_nor_than_its_neighbours(
    case: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, probabilities = case
    logits = np.log(np.maximum(probabilities, np.finfo(float).tiny))

    def loss(temperature: float) -> float:
        return float(np.mean([
            np.logaddexp.reduce(row / temperature) - row[label] / temperature
            for row, label in zip(logits, labels, strict=True)
        ]))  # fmt: skip

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


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(0.1, 60))
def test_a_temperature_is_taken_back_exactly(seed: int, temperature: float, spread: float) -> None:
    logits = np.random.default_rng(seed).normal(size=(20, 3)) * spread
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    shares = shares[shares.min(axis=1) ** (1 / temperature) > 1e-300]  # a double holds them all
    back = with_temperature(with_temperature(shares, temperature), 1 / temperature)
    np.testing.assert_allclose(back, shares, rtol=1e-9, atol=1e-300)


# Expected calibration error


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_the_error_equals_a_plain_loops(seed: int, pictures: int) -> None:
    random = np.random.default_rng(seed)
    confidence = random.integers(5, 11, size=pictures) / 10
    right = random.random(pictures) < 0.7
    ordered = sorted(confidence)
    found: dict[int, list[int]] = {}
    for picture, sure in enumerate(confidence):
        found.setdefault(ordered.index(sure) * BINS // pictures, []).append(picture)
    expected = 0.0
    for members in found.values():
        gap = sum(right[m] for m in members) / len(members) - sum(confidence[m] for m in members) / len(members)
        expected += abs(gap) * len(members) / pictures
    assert expected_calibration_error(confidence, right) == pytest.approx(expected, abs=1e-12)
    order = random.permutation(pictures)
    shuffled = expected_calibration_error(confidence[order], right[order])
    assert shuffled == pytest.approx(expected, abs=1e-12)


def test_bins_hold_as_many_pictures_each() -> None:
    confidence = np.random.default_rng(0).random(1000)
    of_bin = equal_count_bins(confidence)
    assert set(np.bincount(of_bin)) == {66, 67}
    assert (np.diff(of_bin[np.argsort(confidence)]) >= 0).all()


def test_who_is_right_as_often_as_said_has_no_error_but_by_chance() -> None:
    labels, probabilities, _ = honest(100_000)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    # 15 bins of 6,667: each gap's standard error is below 0.006, the mean of their sizes below 0.005
    assert expected_calibration_error(confidence, right) < 0.007
    assert expected_calibration_error(np.ones(1000), np.arange(1000) < 700) == pytest.approx(0.3)


# The whole


def test_the_temperature_is_fitted_on_the_validation_rows_it_is_given() -> None:
    validation = raw_table().query("split == 'val'")
    told = fitted_temperature(validation, CLASSES)
    labels = pd.Categorical(validation.label, categories=CLASSES).codes
    assert told == {
        "temperature": fit_temperature(labels, validation[["p_a", "p_b", "p_c"]].to_numpy()),
        "temperature_fitted_on": {"pictures": 600, "photos": 200},
        "temperature_reason": "",
    }
    assert told["temperature"] > 1
    unknown = fitted_temperature(validation.assign(source_photo=None), CLASSES)
    assert unknown["temperature_fitted_on"] == {"pictures": 600, "photos": None}


def test_before_and_after_on_the_test_split() -> None:
    raw = raw_table()
    made, summary = scored(raw)
    told = calibration(made, CLASSES, summary)
    scores = score(made, CLASSES)
    test = raw[raw.split == "test"]
    shares = test[["p_a", "p_b", "p_c"]].to_numpy()
    assert (told["pictures"], told["photos"]) == (600, 200)
    assert told["fitted_on"] == {"pictures": 600, "photos": 200}
    assert told["accuracy"] == pytest.approx(scores["accuracy"])
    before, after = told["before"], told["after"]
    assert after["log_loss"] == pytest.approx(scores["log_loss"])
    assert after["brier"] == pytest.approx(scores["brier"])
    assert before["log_loss"] == pytest.approx(log_loss(test.label, shares, labels=CLASSES))
    assert before["brier"] == pytest.approx(brier_score_loss(test.label, shares, labels=CLASSES, scale_by_half=False))
    softer = with_temperature(shares, told["temperature"])
    right = (test.label == test.predicted).to_numpy()
    assert before["ece"] == pytest.approx(expected_calibration_error(shares.max(axis=1), right))
    assert after["ece"] == pytest.approx(expected_calibration_error(softer.max(axis=1), right))
    assert told["temperature"] > 1
    assert after["ece"] < before["ece"]
    assert before["confidence"] > told["accuracy"]
    assert told["warnings"] == []
    json.dumps(told, allow_nan=False)


def test_the_bins_are_those_of_the_error() -> None:
    before = measured(raw_table())["before"]
    bins = before["bins"]
    assert len(bins) == BINS
    assert sum(each["pictures"] for each in bins) == 600
    gaps = [abs(each["accuracy"] - each["confidence"]) * each["pictures"] / 600 for each in bins]
    assert sum(gaps) == pytest.approx(before["ece"])
    assert [each["confidence"] for each in bins] == sorted(each["confidence"] for each in bins)
    limits = [(each["interval"], each["accuracy"]) for each in bins if each["interval"]]
    assert limits
    assert all(low <= accuracy <= high for (low, high), accuracy in limits)


def test_classes_weigh_by_their_pictures_in_all_and_in_each_bin(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed: dict[str, list[int]] = {"share_interval": [], "expanded_interval": []}
    for (name, seen), module in zip(weighed.items(), (intervals, calibration_module), strict=True):
        known = getattr(module, name)

        def watched(*given: object, known: object = known, seen: list[int] = seen, **named: object) -> object:
            seen.append(int(np.sum(named.get("weights", given[-1]))))
            return known(*given, **named)  # type: ignore[operator]

        monkeypatch.setattr(module, name, watched)
    told = measured(raw_table())
    assert weighed["share_interval"][:BINS] == [each["pictures"] for each in told["before"]["bins"]]
    assert set(weighed["expanded_interval"]) == {600}


def test_uneven_copies_tell_nothing_of_a_bin_where_photos_happen_to_do_alike() -> None:
    """All are called a, those of class b wrongly: a bin had an interval by their numbers of copies alone."""
    copies = np.arange(24) % 4 + 1
    pictures = pd.DataFrame({"label": np.repeat(["a", "b"], 12), "source_photo": np.arange(24).astype(str)})
    pictures = pictures.loc[np.repeat(np.arange(24), copies)].reset_index(drop=True)
    pictures = pictures.assign(image_id=pictures.index.astype(str), split="test")
    sure = np.repeat(np.tile(np.repeat([0.6, 0.9], 6), 2), copies)
    table = predictions_table(pictures, np.column_stack([sure, 1 - sure]), ["a", "b"])
    bins = calibration(table, ["a", "b"], {"temperature_reason": "none"})["before"]["bins"]
    assert [each["confidence"] for each in bins] == pytest.approx([0.6, 0.9])
    assert all(0 < each["accuracy"] < 1 for each in bins)
    assert [each["interval"] for each in bins] == [None, None]


def test_the_intervals_are_by_photo_and_hold_the_means() -> None:
    before = measured(raw_table())["before"]
    for figure in ("brier", "log_loss", "confidence"):
        low, high = before["intervals"][figure]
        assert low < before[figure] < high
    alone = measured(raw_table().assign(source_photo=None))
    assert alone["photos"] is None
    # three identical copies of each photo: sqrt(3) = 1.7 times as wide
    assert np.ptp(before["intervals"]["brier"]) > 1.4 * np.ptp(alone["before"]["intervals"]["brier"])


def honest_table(photos: int, seed: int, copies: int = 3, temperature: float = 1.0) -> pd.DataFrame:
    labels, shares, numbers = honest(copies * photos, seed, photos, temperature)
    pictures = pd.DataFrame({"image_id": np.arange(len(labels)).astype(str), "split": "test", "source_photo": numbers})
    return predictions_table(pictures.assign(label=np.array(CLASSES)[labels]), shares, CLASSES)


@pytest.mark.parametrize("photos", [20, 200])
def test_what_chance_alone_gives_is_the_error_of_those_who_are_right_as_often_as_they_say(photos: int) -> None:
    """On 20 photos it was a quarter too low, and none of ten intervals held that there is no error but by chance."""
    told = [calibration(honest_table(photos, seed), CLASSES, {})["before"] for seed in range(20)]
    errors, by_chance = ([each[name] for each in told] for name in ("ece", "ece_by_chance"))
    assert np.mean(errors) > 0.09, "it is chance alone"
    assert np.mean(by_chance) == pytest.approx(np.mean(errors), rel=0.1)
    assert sum(each["intervals"]["ece"][0] < 0.004 for each in told) >= 19


def test_the_losses_of_a_network_that_is_seldom_wrong_are_not_told_too_low() -> None:
    """Right on 95 of 100; in 7 trials of 100 the truth lay above the percentiles, and it should in 2 or 3."""
    random, labels, above = np.random.default_rng(0), np.repeat([0, 1], 30), np.zeros(2)
    truth = [np.mean([0.95 * 2 * (1 - sure) ** 2 + 0.05 * 2 * sure**2 for sure in (0.9, 0.99)]),
             np.mean([-0.95 * np.log(sure) - 0.05 * np.log(1 - sure) for sure in (0.9, 0.99)])]  # fmt: skip
    pictures = pd.DataFrame({"label": np.array(["a", "b"])[labels], "source_photo": np.arange(60), "split": "test"})
    pictures["image_id"] = pictures.index.astype(str)
    for _ in range(100):
        answers = np.where(random.random(60) < 0.95, labels, 1 - labels)
        sure = random.choice([0.9, 0.99], 60)[:, None]
        shares = np.where(np.eye(2)[answers] == 1, sure, 1 - sure)
        told = calibration(predictions_table(pictures, shares, ["a", "b"]), ["a", "b"], {})["before"]["intervals"]
        if told["brier"]:  # none is wrong in three
            above += [told[name][1] < figure for name, figure in zip(("brier", "log_loss"), truth, strict=True)]
    assert (above <= 3).all()


def test_the_log_loss_of_three_photos_may_be_as_great_as_any() -> None:
    """Its upper limit was infinite, and a division by zero."""
    right = 1 / (1 + np.exp([-3.0, -10.4, 9.5]))
    pictures = pd.DataFrame({"label": ["a", "b", "b"], "source_photo": np.arange(3), "split": "test"})
    shares = np.column_stack([right, 1 - right])
    shares[1:] = shares[1:, ::-1]
    table = predictions_table(pictures.assign(image_id=["0", "1", "2"]), shares, ["a", "b"])
    low, high = calibration(table, ["a", "b"], {})["before"]["intervals"]["log_loss"]
    assert low < 0.001
    assert high == pytest.approx(-np.log(np.finfo(np.float64).eps))


def test_who_is_far_too_sure_is_told_from_chance() -> None:
    wrong = calibration(honest_table(600, 0, temperature=4.0), CLASSES, {})["before"]
    low, high = wrong["intervals"]["ece"]
    assert wrong["ece_by_chance"] < low < wrong["ece"] < high


@pytest.mark.parametrize("right", [("a", "b"), ("a",), ()])
def test_photos_that_are_all_right_or_all_wrong_tell_nothing_of_how_far_others_are_off(right: tuple[str, ...]) -> None:
    """Ten sure answers, all right: the error was said to be 0 to 0, and 0 by chance alone."""
    labels = np.repeat(["a", "b"], [12, 18])
    as_said = np.isin(labels, right) == (labels == "a")  # those that are called a
    sure = np.where(np.arange(30) // 2 % 2, 0.98, 0.9)
    shares = np.where(as_said[:, None], np.column_stack([sure, 1 - sure]), np.column_stack([1 - sure, sure]))
    pictures = pd.DataFrame({"label": labels, "source_photo": np.arange(30) // 2, "split": "test"})
    table = predictions_table(pictures.assign(image_id=np.arange(30).astype(str)), shares, ["a", "b"])
    told = calibration(table, ["a", "b"], {})
    assert told["accuracy"] == pytest.approx(np.isin(labels, right).mean())
    assert [name for name, limits in told["before"]["intervals"].items() if limits] == ["confidence"]
    assert told["before"]["ece_by_chance"] is None


@pytest.mark.parametrize("why", ["there are no validation pictures", "no validation picture is wrong"])
def test_without_a_temperature_there_is_no_after_and_it_is_said(why: str) -> None:
    raw = raw_table()
    if why.startswith("there are no"):
        raw = raw[raw.split == "test"]
    else:
        raw.loc[raw.split == "val", "label"] = raw.predicted
    made, summary = scored(raw)
    assert (summary["temperature"], summary["temperature_reason"]) == (1.0, why)
    told = calibration(made, CLASSES, summary)
    assert (told["temperature"], told["after"]) == (None, None)
    assert told["warnings"] == [f"the probabilities are not calibrated: {why}"]
    json.dumps(told, allow_nan=False)


def test_a_run_that_has_not_ended_is_measured_as_it_is() -> None:
    test = raw_table().query("split == 'test'")
    told = calibration(test, CLASSES, {})
    assert (told["temperature"], told["after"], told["fitted_on"]) == (None, None, None)
    assert told["before"]["log_loss"] == pytest.approx(score(test.reset_index(drop=True), CLASSES)["log_loss"])
    assert "fitted when it ends" in told["warnings"][0]


def test_data_of_another_source_are_measured_with_a_warning() -> None:
    made, summary = scored(raw_table())
    told = calibration(made.iloc[:300], CLASSES, summary, elsewhere=True)
    assert told["pictures"] == 300
    assert told["temperature"] == summary["temperature"]
    assert "another source" in told["warnings"][0]


def test_merged_classes_are_measured_by_what_they_were_merged_from() -> None:
    made, summary = scored(raw_table())
    raw = uncalibrated(made, CLASSES, summary["temperature"])
    (after, classes), (before, _) = (merged(each, CLASSES, {"ab": ["a", "b"]}) for each in (made, raw))
    told = calibration(after, classes, summary, before=before)
    assert told["after"]["log_loss"] == pytest.approx(log_loss(after.label, after[["p_ab", "p_c"]], labels=classes))
    assert told["before"]["log_loss"] == pytest.approx(log_loss(before.label, before[["p_ab", "p_c"]], labels=classes))


def test_one_photo_has_figures_and_no_intervals() -> None:
    raw = raw_table()
    told = measured(raw[(raw.split == "val") | (raw.source_photo == "test 0")])
    assert set(told["before"]["intervals"].values()) == {None}
    assert told["before"]["ece_by_chance"] is None
    json.dumps(told, allow_nan=False)


def test_nothing_to_measure_on_is_refused() -> None:
    made, summary = scored(raw_table())
    with pytest.raises(LabError, match="no pictures to measure the calibration on"):
        calibration(made[:0], CLASSES, summary)
