"""The review dial and the accuracy-coverage curve, compared with plain loops and known properties."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.dial import THRESHOLDS, accuracy_coverage, dial, review_threshold
from bloodcell_core.evaluation.intervals import cluster_bootstrap
from bloodcell_core.evaluation.limits import exact_binomial
from bloodcell_core.evaluation.predictions import arrays_of, predictions_table
from bloodcell_core.evaluation.scoring import score

CLASSES = ["a", "b", "c"]


def table(seed: int = 0, photos: int = 60, copies: int = 3, parts: int = 0) -> pd.DataFrame:
    """Predictions whose sureness tells something; with `parts`, probabilities of few distinct values, and ties."""
    random = np.random.default_rng(seed)
    photo_labels = random.integers(3, size=photos)
    numbers = np.repeat(np.arange(photos), copies)
    scores = random.normal(size=(photos, 3))[numbers] + 0.3 * random.normal(size=(len(numbers), 3))
    scores += 1.2 * (photo_labels[numbers, None] == np.arange(3))
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    if parts:
        shares = np.floor(shares * parts) + (np.arange(3) == 0)
        shares /= shares.sum(axis=1, keepdims=True)
    pictures = pd.DataFrame({"image_id": [f"id{i}" for i in range(len(numbers))], "split": "test"})
    pictures["label"] = np.array(CLASSES)[photo_labels[numbers]]
    pictures["source_photo"] = [f"photo {number}" for number in numbers]
    return predictions_table(pictures, shares, CLASSES)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 12),
    st.lists(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.6, 2 / 3, 0.75, 1.0]), min_size=1),
)
def test_every_count_equals_a_plain_loops(seed: int, photos: int, thresholds: list[float]) -> None:
    made = table(seed, photos, copies=2, parts=3)
    found = dial(made, CLASSES, thresholds)
    _, probabilities, _, _ = arrays_of(made, CLASSES)
    sure = probabilities.max(axis=1)
    wrong = (made.label != made.predicted).to_numpy()
    assert [each["threshold"] for each in found["thresholds"]] == sorted(set(thresholds))
    assert (found["pictures"], found["photos"], found["mistakes"]) == (2 * photos, photos, wrong.sum())
    for each in found["thresholds"]:
        rows = {name: [i for i in range(len(made)) if made.label[i] == name] for name in CLASSES}
        rows["all"] = list(range(len(made)))
        for name, members in rows.items():
            told = each if name == "all" else each["by_class"][name]
            aside = [i for i in members if sure[i] < each["threshold"]]
            assert told["set_aside"] == len(aside)
            assert told["caught"] == sum(wrong[i] for i in aside)
            assert told["missed"] == sum(wrong[i] for i in members) - told["caught"]
        stand = len(made) - each["set_aside"]
        assert each["share"] == pytest.approx(each["set_aside"] / len(made))
        assert each["accuracy"] == (pytest.approx(1 - each["missed"] / stand) if stand else None)
        assert each["photos"] == len({made.source_photo[i] for i in range(len(made)) if sure[i] >= each["threshold"]})
    json.dumps(found, allow_nan=False)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_higher_threshold_sets_no_less_aside_and_misses_no_more(seed: int) -> None:
    rows = dial(table(seed, photos=20), CLASSES, np.linspace(0, 1, 30).tolist())["thresholds"]
    for told in (rows, *([row["by_class"][name] for row in rows] for name in CLASSES)):
        for lower, higher in itertools.pairwise(told):
            assert lower["set_aside"] <= higher["set_aside"]
            assert lower["caught"] <= higher["caught"]
            assert lower["missed"] >= higher["missed"]


def test_at_0_all_stand_and_the_interval_is_that_of_the_accuracy() -> None:
    made = table()
    [row] = dial(made, CLASSES, [0])["thresholds"]
    labels, probabilities, photos, _ = arrays_of(made, CLASSES)
    accuracy = cluster_bootstrap(labels, probabilities, photos)[0]["accuracy"]
    assert (row["set_aside"], row["caught"], row["share"]) == (0, 0, 0)
    assert row["intervals"]["accuracy"] == pytest.approx(accuracy)
    assert row["intervals"]["share"] == [0, 0]
    assert row["accuracy"] == pytest.approx(score(made, CLASSES)["accuracy"])


def sure_of_its_answers(named: np.ndarray, sure: np.ndarray, copies: np.ndarray) -> pd.DataFrame:
    """Twelve photos of each class in turn, each named and as sure as told, with so many copies."""
    labels = np.repeat(CLASSES, 12)
    hit = named[:, None] == CLASSES
    shares = np.repeat(np.where(hit, sure[:, None], (1 - sure[:, None]) / 2), copies, axis=0)
    pictures = pd.DataFrame({"label": np.repeat(labels, copies), "source_photo": np.repeat(np.arange(36), copies)})
    pictures = pictures.assign(image_id=[f"id{n}" for n in range(len(pictures))], split="test")
    return predictions_table(pictures.astype({"source_photo": str}), shares, CLASSES)


def test_uneven_copies_make_nothing_certain_where_photos_happen_to_do_alike() -> None:
    """Class c is never named and never sure: by the numbers of copies alone both shares had intervals."""
    named = np.repeat(["a", "b", "a"], 12)
    made = sure_of_its_answers(named, np.repeat([0.9, 0.9, 0.6], 12), np.arange(36) % 4 + 1)
    first, half, most = dial(made, CLASSES, [0, 0.5, 0.7])["thresholds"]
    assert (first["intervals"]["accuracy"], first["intervals"]["share"]) == (None, [0, 0])
    assert (half["intervals"]["accuracy"], most["set_aside"], most["intervals"]["share"]) == (None, 30, None)
    assert most["intervals"]["accuracy"] == pytest.approx(exact_binomial(24, 24))


def test_none_set_aside_of_few_photos_is_no_promise() -> None:
    """The interval was 0 to 0; simulated, that and its like held the truth in 88 of 100, where 3% are set aside."""
    made = sure_of_its_answers(np.repeat(CLASSES, 12), np.full(36, 0.9), np.full(36, 3))
    certain, told = dial(made, CLASSES, [1 / 3, 0.5])["thresholds"]
    assert certain["intervals"]["share"] == [0, 0], "one of three probabilities is always as high"
    assert told["intervals"]["share"] == pytest.approx(exact_binomial(0, 36))


def test_no_higher_threshold_is_told_of_where_there_is_none() -> None:
    wrong = table(copies=1).assign(split="val", label="a", predicted="b", p_a=0.005, p_b=0.995, p_c=0.0)
    assert review_threshold(wrong, CLASSES) == (
        THRESHOLDS[-1], "60 of 60 validation pictures stand at it, and 0.0% of these are right",
    )  # fmt: skip


def test_it_is_told_of_how_many_answers_that_stand_the_share_is() -> None:
    shares = np.array([[0.9, 0.1, 0.0]] * 8 + [[0.55, 0.45, 0.0]] * 2)
    pictures = pd.DataFrame({"image_id": list("abcdefghij"), "split": "val", "label": list("a" * 8 + "bb")})
    made = predictions_table(pictures.assign(source_photo=pictures.image_id), shares, CLASSES)
    told = "8 of 10 validation pictures stand at it, and 100.0% of these are right"
    assert review_threshold(made, CLASSES) == (0.6, told)


def test_an_answer_at_the_threshold_stands() -> None:
    shares = np.array([[0.5, 0.5, 0.0], [0.75, 0.25, 0.0], [0.25, 0.75, 0.0]])
    pictures = pd.DataFrame({"image_id": list("xyz"), "split": "test", "label": "a", "source_photo": list("xyz")})
    rows = dial(predictions_table(pictures, shares, CLASSES), CLASSES, [0.5, 0.75, 0.76])["thresholds"]
    assert [row["set_aside"] for row in rows] == [0, 1, 3]
    assert [row["missed"] for row in rows] == [1, 1, 0]
    assert [row["accuracy"] for row in rows] == [pytest.approx(2 / 3), 1 / 2, None]
    assert rows[2]["intervals"]["accuracy"] is None


def test_the_curve_runs_from_all_answers_to_the_surest() -> None:
    made = table()
    curve = accuracy_coverage(made, CLASSES)
    assert len(curve) == 100
    assert curve[0]["coverage"] == 1
    assert curve[0]["accuracy"] == pytest.approx((made.label == made.predicted).mean())
    coverages = [point["coverage"] for point in curve]
    assert coverages == sorted(coverages, reverse=True)
    assert curve[-1]["coverage"] == pytest.approx(1 / len(made))
    # sureness tells something here: the surest half is right more often
    half = next(point for point in curve if point["coverage"] <= 0.5)
    assert half["accuracy"] > curve[0]["accuracy"]
    for point in curve:
        low, high = point["intervals"]["accuracy"] or (0, 1)
        assert low - 1e-12 <= point["accuracy"] <= high + 1e-12
    json.dumps(curve, allow_nan=False)


def test_the_curve_agrees_with_the_dial() -> None:
    made = table()
    curve = accuracy_coverage(made, CLASSES)
    rows = dial(made, CLASSES, [point["threshold"] for point in curve])["thresholds"]
    for point, row in zip(curve, rows, strict=True):
        assert row["accuracy"] == point["accuracy"]
        assert row["share"] == pytest.approx(1 - point["coverage"])
        assert row["intervals"]["accuracy"] == point["intervals"]["accuracy"]


def test_equally_sure_answers_stand_or_fall_together() -> None:
    made = table(parts=3)
    _, probabilities, _, _ = arrays_of(made, CLASSES)
    sure = probabilities.max(axis=1)
    curve = accuracy_coverage(made, CLASSES)
    assert {point["threshold"] for point in curve} <= set(sure)
    assert len(curve) < 20
    for point in curve:
        assert point["coverage"] == pytest.approx((sure >= point["threshold"]).mean())
    shuffled = accuracy_coverage(made.sample(frac=1, random_state=1), CLASSES)
    assert shuffled == curve


def test_intervals_are_by_photo_where_photos_are_known() -> None:
    made = table(copies=6)
    known = dial(made, CLASSES)
    alone = dial(made.assign(source_photo=None), CLASSES)
    assert [row["threshold"] for row in known["thresholds"]] == list(THRESHOLDS)
    assert (known["photos"], alone["photos"]) == (60, None)
    assert {row["photos"] for row in alone["thresholds"]} == {None}
    by_photo, by_picture = (each["thresholds"][0]["intervals"]["accuracy"] for each in (known, alone))
    assert np.ptp(by_photo) > 1.5 * np.ptp(by_picture)


def test_one_photo_has_no_interval() -> None:
    row = dial(table(photos=1), CLASSES, [0.0])["thresholds"][0]
    assert row["intervals"] == {"share": None, "accuracy": None}


def test_no_pictures_are_refused() -> None:
    with pytest.raises(LabError, match="no pictures to set the dial by"):
        dial(table().iloc[:0], CLASSES)
    with pytest.raises(LabError, match="no pictures to set the dial by"):
        accuracy_coverage(table().iloc[:0], CLASSES)
