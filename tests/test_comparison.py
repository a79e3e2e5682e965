"""Comparison: differences with paired intervals, the verdict, what is refused, seeds, merged classes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from bloodcell_core import disk, workspace
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.calibration import uncalibrated
from bloodcell_core.evaluation.comparison import (
    COMPARED,
    OUTCOMES,
    RESAMPLES,
    Side,
    compare,
    compare_sides,
    picture_outcomes,
    side_of,
)
from bloodcell_core.evaluation.figures import gain_words
from bloodcell_core.evaluation.limits import difference_interval, exact_binomial
from bloodcell_core.evaluation.merging import granulocytes, groups_from_words, merged
from bloodcell_core.evaluation.metrics import evaluate_predictions
from bloodcell_core.evaluation.predictions import predictions_table, probabilities_of
from bloodcell_core.evaluation.resampling import photo_multiplicities
from bloodcell_core.evaluation.scoring import score
from bloodcell_core.evaluation.together import seed_groups, side_by_side
from bloodcell_core.review.fixed import fixed_and_broken
from bloodcell_core.runs import Run

pytest_plugins = ["tests.training_fixtures"]
CLASSES = ["a", "b", "c"]


def made(name: str, skill: float = 1.2, seed: int = 0, photos_a_class: int = 10, copies: int = 3) -> Side:
    """Predictions of the same pictures for every `name` and `seed`: more often right, the more `skill`."""
    labels = np.repeat(CLASSES, photos_a_class * copies)
    photos = np.repeat([f"{label}{i}" for label in CLASSES for i in range(photos_a_class)], copies)
    scores = np.random.default_rng(seed).normal(size=(len(labels), 3)) + skill * (labels[:, None] == CLASSES)
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    ids = [f"id{i:04d}" for i in range(len(labels))]
    pictures = pd.DataFrame({"image_id": ids, "split": "test", "label": labels, "source_photo": photos})
    return Side(name, "some", "hash", CLASSES, predictions_table(pictures, shares, CLASSES))


OTHER_SIGN = str.maketrans("+−", "−+")


def changed(one: Side, **columns: object) -> Side:
    return replace(one, table=one.table.assign(**columns))


def test_where_pictures_speak_for_the_other_a_note_says_why() -> None:
    """One is right on more photos, the other on more pictures: on the photo with the many copies."""
    copies = [20, 1, 1, 1, 1, 1]
    photos = np.repeat([f"{label}{number}" for label in CLASSES for number in range(6)], copies * 3)
    labels = np.array([name[0] for name in photos])
    many = np.char.endswith(photos, "0")
    ids = [f"id{number}" for number in range(len(labels))]
    pictures = pd.DataFrame({"image_id": ids, "split": "test", "label": labels, "source_photo": photos})

    def right_on(rows: np.ndarray) -> Side:
        shares = np.where((labels[:, None] == CLASSES) == rows[:, None], 0.8, 0.1)
        shares /= shares.sum(axis=1, keepdims=True)
        return Side("", "some", "hash", CLASSES, predictions_table(pictures, shares, CLASSES))

    said = "by picture the other is right more often"
    few, all_photos = right_on(~many), right_on(np.ones(len(many), bool))
    facts = compare_sides(few, right_on(many))
    assert facts["right"]["difference"] == -12
    assert facts["by_picture"]["only_b"] - facts["by_picture"]["only_a"] == 45
    assert [note for note in facts["notes"] if said in note]
    assert not [note for note in compare_sides(few, all_photos)["notes"] if said in note]


def test_what_a_run_said_before_its_temperature_is_known_where_it_has_one(done: Run) -> None:
    before = side_of(done).before
    assert before is not None
    pd.testing.assert_frame_equal(before, uncalibrated(side_of(done).table, done.classes, done.temperature))
    file = done.folder / "summary.json"
    disk.write_json(file, disk.read_json(file) | {"temperature_reason": "too few photos"})
    assert side_of(Run(done.name)).before is None


# The paired interval


def test_the_interval_of_a_difference_is_that_of_a_plain_loop_over_the_same_draws() -> None:
    a, b = made("one", 0.8, seed=1), made("two", 1.4, seed=2)
    uneven = (a.table.label != CLASSES[0]) | (np.arange(len(a.table)) % 3 == 0)  # of one class a third of the copies
    a, b = (replace(each, table=each.table[uneven].reset_index(drop=True)) for each in (a, b))
    labels = pd.Categorical(a.table.label, categories=CLASSES).codes.astype(int)
    photos = a.table.source_photo.to_numpy()
    names = sorted(set(photos), key=repr)
    strata = np.array([CLASSES.index(name[0]) for name in names])
    pairs: dict[str, list[list[float]]] = {metric: [] for metric in COMPARED}
    drawn = photo_multiplicities(strata, RESAMPLES, seed=0)
    few = drawn[:40]
    for counts in few:
        times = dict(zip(names, counts, strict=True))
        rows = np.repeat(np.arange(len(labels)), [int(times[photo]) for photo in photos])
        figures = [evaluate_predictions(labels[rows], probabilities_of(each.table, CLASSES)[rows], CLASSES)
                   for each in (a, b)]  # fmt: skip
        for metric in COMPARED:
            pairs[metric].append([figure[metric] for figure in figures])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bloodcell_core.evaluation.intervals.photo_multiplicities", lambda *_, **__: few)
        result = compare_sides(a, b)
    for metric in COMPARED:
        own = [evaluate_predictions(labels, probabilities_of(each.table, CLASSES), CLASSES)[metric] for each in (a, b)]
        middle_known = metric != "auc_ovr"
        wanted = difference_interval(
            *own, *np.array(pairs[metric]).T, np.full(3, 10), middle_known=middle_known,
            weights=np.bincount(labels) if metric == "accuracy" else None,
        )  # fmt: skip
        assert result["metrics"][metric]["interval"] == pytest.approx(wanted), metric
        assert wanted[0] < wanted[1]


def test_the_draws_are_within_classes_and_the_same_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        "bloodcell_core.evaluation.intervals.photo_multiplicities",
        lambda strata, resamples, seed: seen.append(strata) or photo_multiplicities(strata, resamples, seed),
    )
    compare_sides(made("one"), made("two", seed=5))
    assert [np.bincount(strata).tolist() for strata in seen] == [[10, 10, 10]]


@settings(max_examples=25, deadline=None)
@given(seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)), skill=st.floats(0, 2))
def test_turned_round_every_figure_changes_its_sign(seeds: tuple[int, int], skill: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bloodcell_core.evaluation.comparison.RESAMPLES", 50)
        a, b = made("one", skill, seeds[0], photos_a_class=4), made("two", 1, seeds[1], photos_a_class=4)
        one, other = compare_sides(a, b), compare_sides(b, a)
    for told, turned in (*((one["metrics"][m], other["metrics"][m]) for m in COMPARED), (one["right"], other["right"])):
        assert told["difference"] == pytest.approx(-turned["difference"])
        assert told["interval"] == pytest.approx([-limit for limit in reversed(turned["interval"])])
        assert (told["a"], told["b"]) == (turned["b"], turned["a"])
    assert one["right"]["only_a"] == other["right"]["only_b"]
    assert one["right"]["p"] == pytest.approx(other["right"]["p"])
    assert {one["better"], other["better"]} in ({None}, {"a", "b"})
    assert np.array_equal(one["confusion"]["difference"], -np.array(other["confusion"]["difference"]))


def test_two_of_the_same_differ_by_nothing_for_certain() -> None:
    result = compare_sides(made("one"), made("two"))
    for metric in COMPARED:
        assert result["metrics"][metric]["difference"] == 0
        assert result["metrics"][metric]["interval"] == [0, 0]
    assert result["right"]["interval"] == [0, 0]
    assert result["right"]["p"] == 1
    assert result["better"] is None
    assert "right on the same" in result["verdict"]
    assert not np.any(result["confusion"]["difference"])


def test_the_order_of_the_rows_does_not_matter() -> None:
    a, b = made("one"), made("two", seed=3)
    shuffled = replace(b, table=b.table.sample(frac=1, random_state=1))
    assert compare_sides(a, shuffled) == compare_sides(a, b)
    assert picture_outcomes(a, shuffled).equals(picture_outcomes(a, b))


def test_the_order_of_the_classes_does_not_matter() -> None:
    a, b = made("one"), made("two", seed=3)
    assert compare_sides(a, replace(b, classes=["c", "a", "b"])) == compare_sides(a, b)


def test_its_figures_are_those_of_each_run_alone_and_ready_for_json() -> None:
    a, b = made("one"), made("two", seed=3)
    result = compare_sides(a, b)
    for which, each in (("a", a), ("b", b)):
        alone = score(each.table, CLASSES)
        assert {metric: result["metrics"][metric][which] for metric in COMPARED} == {m: alone[m] for m in COMPARED}
        assert result["confusion"][which] == alone["confusion"]
        assert result["right"][which] == alone["by_photo"]["right"]
        assert (result["photos"], result["pictures"]) == (alone["photos"], alone["pictures"])
    assert json.loads(json.dumps(result, allow_nan=False)) == result


# Who is right


def test_every_picture_and_photo_is_counted_once_as_what_it_is() -> None:
    a, b = made("one"), made("two", seed=3)
    result, outcomes = compare_sides(a, b), picture_outcomes(a, b)
    assert sum(result["right"][name] for name in OUTCOMES) == result["right"]["of"] == 30
    assert outcomes.value_counts().to_dict() == {n: c for n, c in result["by_picture"].items() if c}
    right_a = set(a.table.image_id[a.table.predicted == a.table.label])
    right_b = set(b.table.image_id[b.table.predicted == b.table.label])
    assert set(outcomes.index[outcomes == "only_b"]) == right_b - right_a != set()
    assert set(outcomes.index[outcomes == "both"]) == right_b & right_a != set()
    only_a, only_b = result["right"]["only_a"], result["right"]["only_b"]
    assert result["right"]["p"] == pytest.approx(min(1, 2 * binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)))


def answers(name: str, right: int, of: int = 30) -> Side:
    """One class after the other, a photo a picture: the first `right` pictures of each class of `of` are right."""
    labels = np.repeat(["a", "b"], of)
    predicted = np.where(np.tile(np.arange(of) < right, 2), labels, np.where(labels == "a", "b", "a"))
    pictures = pd.DataFrame(
        {"image_id": [f"id{i:03d}" for i in range(2 * of)], "split": "test", "label": labels}
    ).assign(source_photo=lambda table: "p" + table.image_id)
    shares = np.where(predicted[:, None] == np.array(["a", "b"]), 0.9, 0.1)
    return Side(name, "some", "hash", ["a", "b"], predictions_table(pictures, shares, ["a", "b"]))


def test_cells_of_a_patient_are_compared_each_by_itself() -> None:
    """Averaged like copies, nearly all patients are right, and what one run errs in more than the other is not seen."""
    a, b = (changed(made(name, skill, 3, photos_a_class=4, copies=50), copies=False)
            for name, skill in (("one", 0.8), ("two", 2.0)))  # fmt: skip
    right = compare_sides(a, b)["right"]
    assert (right["unit"], right["of"], right["p"]) == ("pictures", 600, None)
    assert right["a"] == (a.table.label == a.table.predicted).sum()
    assert compare_sides(changed(a, copies=True), changed(b, copies=True))["right"]["of"] == 12
    halves = {"ab": ["a", "b"]}
    assert compare_sides(a.merged(halves), b.merged(halves))["right"]["of"] == 600


def test_the_verdict_names_the_better_run_from_the_leader_s_side() -> None:
    result = compare_sides(answers("one", 10), answers("two", 25))
    assert result["better"] == "b"
    assert result["verdict"].startswith("B is right on 30 more of 60 photos, 95% interval +2")
    assert result["verdict"].endswith(": B is better.")
    turned = compare_sides(answers("one", 25), answers("two", 10))
    assert turned["better"] == "a"
    assert turned["verdict"] == result["verdict"].replace("B is", "A is")


def test_too_few_photos_on_which_they_differ_are_no_verdict_whatever_the_interval() -> None:
    result = compare_sides(answers("one", 25), answers("two", 27))
    assert result["right"]["only_b"] == 4
    assert result["right"]["interval"][0] > 0
    assert result["right"]["p"] == 0.125
    assert result["better"] is None
    assert "they differ on 4 photos only: this data can't tell them apart" in result["verdict"]


@pytest.mark.parametrize(
    ("of", "interval", "better", "words"),
    [(4, (-0.8, 4), None, "−1 to +4"), (6, (0.49, 6), "b", "+1 to +6"), (12, (5.65, 12), "b", "+6 to +12")],
)
def test_a_class_that_one_names_always_and_the_other_never_is_no_certainty(
    of: int, interval: tuple[float, float], better: str | None, words: str
) -> None:
    """No resample moves the difference: it was +4 to +4. Now the interval and the test are of the same photos.

    And what is called better doesn't have an interval from 0, as 0.49 was written.
    """
    named = np.repeat(["a", "b"], of), np.repeat(["a"], 2 * of)
    b, a = (changed(answers(str(n), of, of), predicted=each, p_a=np.where(each == "a", 0.9, 0.1),
                    p_b=np.where(each == "a", 0.1, 0.9)) for n, each in enumerate(named))  # fmt: skip
    result = compare_sides(a, b)
    assert (result["right"]["only_a"], result["right"]["only_b"]) == (0, of)
    assert result["right"]["interval"] == pytest.approx(interval, abs=0.02)
    assert result["better"] == better
    turned = compare_sides(b, a)
    for told in (result["verdict"], turned["verdict"], fixed_and_broken(a, b).in_words()):
        assert f"95% interval {words}" in told
    assert gain_words(turned["right"]["interval"]) == " to ".join(reversed(words.translate(OTHER_SIGN).split(" to ")))
    cells = compare_sides(*(changed(each, copies=False, source_photo=np.repeat(["s", "t"], of)) for each in (a, b)))
    assert (cells["right"]["interval"], cells["better"]) == (None, None), "cells of a slide each aren't independent"


def test_an_interval_around_nothing_is_no_verdict() -> None:
    result = compare_sides(made("one", seed=1), made("two", seed=2))
    low, high = result["right"]["interval"]
    assert low < 0 < high
    assert result["better"] is None
    assert result["verdict"].endswith(": this data can't tell them apart.")
    assert "−" in result["verdict"], "a true minus sign"


def test_without_known_photos_pictures_are_counted_and_it_is_said() -> None:
    a, b = (changed(each, source_photo=None) for each in (made("one"), made("two", seed=3)))
    result = compare_sides(a, b)
    assert result["photos"] is None
    assert (result["right"]["unit"], result["right"]["of"]) == ("pictures", 90)
    assert "pictures" in result["verdict"]
    assert any("source photos aren't known" in note for note in result["notes"])
    assert result["metrics"]["accuracy"]["interval"] != compare_sides(made("one"), made("two", seed=3))["metrics"][
        "accuracy"]["interval"]  # fmt: skip


def test_photos_of_several_labels_are_counted_by_picture_without_a_p() -> None:
    def with_a_mixed_photo(one: Side) -> Side:
        return changed(one, source_photo=one.table.source_photo.replace({"a0": "both", "b0": "both"}))

    result = compare_sides(with_a_mixed_photo(made("one")), with_a_mixed_photo(made("two", seed=3)))
    assert (result["right"]["unit"], result["right"]["p"]) == ("pictures", None)
    assert result["photos"] == 29
    assert result["right"]["interval"] is not None


def test_a_photo_a_class_has_no_interval() -> None:
    result = compare_sides(made("one", photos_a_class=1), made("two", seed=3, photos_a_class=1))
    assert result["right"]["interval"] is None
    assert {result["metrics"][metric]["interval"] for metric in COMPARED} == {None}
    assert result["better"] is None


def test_one_patient_with_most_of_the_cells_makes_no_run_better() -> None:
    """Its class has no other: no resample moved it, and B was called better by its cells alone."""
    cells = np.array([60, *[2] * 30])
    labels, patients = np.repeat(["a", *["b"] * 30], cells), np.repeat(np.arange(31), cells)
    pictures = pd.DataFrame({"image_id": np.arange(120).astype(str), "split": "test", "label": labels})
    pictures["source_photo"] = patients.astype(str)
    lost = np.isin(np.arange(120), [70, 85])
    a, b = (
        Side(name, "some", "hash", ["a", "b"], predictions_table(pictures, shares, ["a", "b"]).assign(copies=False))
        for name, named in (("one", np.full(120, "b")), ("two", np.where(lost, "a", labels)))
        for shares in [np.where(named[:, None] == ["a", "b"], 0.8, 0.2)]
    )
    result = compare_sides(a, b)
    assert (result["right"]["difference"], result["right"]["interval"], result["better"]) == (58, None, None)


def test_a_difference_that_hangs_mostly_on_a_class_of_one_photo_has_no_interval() -> None:
    labels = np.repeat(CLASSES, [1, 40, 40])
    pictures = pd.DataFrame({"image_id": np.arange(81).astype(str), "split": "test", "label": labels})
    pictures["source_photo"] = pictures.image_id
    a, b = (
        Side(name, "some", "hash", CLASSES, predictions_table(pictures, shares, CLASSES))
        for name, lost in (("one", range(3, 12)), ("two", range(39, 43)))
        for named in [np.where(np.isin(np.arange(81), lost), "a", labels)]
        for shares in [np.where(named[:, None] == CLASSES, 0.8, 0.1)]
    )
    metrics = compare_sides(a, b)["metrics"]
    assert {metric for metric, told in metrics.items() if told["interval"]} == {"accuracy"}


def test_uneven_copies_make_no_difference_certain_where_photos_happen_to_do_alike() -> None:
    """One never names class c, the other names it always: by the numbers of copies alone it was 0.25 to 0.43."""
    copies = np.arange(30) % 4 + 1
    labels, photos = np.repeat(np.repeat(CLASSES, 10), copies), np.repeat([f"p{n}" for n in range(30)], copies)
    ids = [f"id{n}" for n in range(len(labels))]
    pictures = pd.DataFrame({"image_id": ids, "split": "test", "label": labels, "source_photo": photos})
    shares = [np.where(named[:, None] == CLASSES, 0.8, 0.1) for named in (np.where(labels == "c", "a", labels), labels)]
    a, b = (Side("some", "some", "hash", CLASSES, predictions_table(pictures, each, CLASSES)) for each in shares)
    metrics = compare_sides(a, b)["metrics"]
    assert {metric for metric, told in metrics.items() if told["interval"]} == {"auc_ovr"}


@pytest.mark.parametrize("copies", [np.full(30, 3), np.arange(30) % 4 + 1], ids=["even", "uneven"])
@pytest.mark.parametrize("alike", [0, 4])
def test_two_runs_that_each_never_name_another_class_are_not_certainly_as_good(copies: np.ndarray, alike: int) -> None:
    """Balanced accuracy's difference was 0 to 0, also where both are wrong on the same of the third class's photos."""
    labels, photos = np.repeat(np.repeat(CLASSES, 10), copies), np.repeat(np.arange(30), copies)
    pictures = pd.DataFrame({"image_id": np.arange(len(labels)).astype(str), "split": "test", "label": labels})
    pictures["source_photo"] = photos.astype(str)
    both_wrong = (photos >= 10) & (photos < 10 + alike)
    a, b = (
        Side(name, "some", "hash", CLASSES, predictions_table(pictures, shares, CLASSES))
        for name, lost, other in (("one", "a", "c"), ("two", "c", "a"))
        for named in [np.where(both_wrong, "c", np.where(labels == lost, other, labels))]
        for shares in [np.where(named[:, None] == CLASSES, 0.8, 0.1)]
    )
    result = compare_sides(a, b)
    assert {metric for metric, told in result["metrics"].items() if told["interval"]} == {"auc_ovr"}
    assert result["right"]["interval"][0] < -5
    same = compare_sides(a, replace(a, name="same"))["metrics"]
    assert same["balanced_accuracy"]["interval"] == [0, 0], "the very same answers do differ by nothing"


def test_cells_of_few_patients_that_happen_to_do_alike_tell_nothing_whatever_their_number() -> None:
    """Of uneven numbers of cells it was said that B is better, with an interval by these numbers alone."""
    cells = np.array([9, 3, 5, 8, 2, 6])
    labels, patients = np.repeat(["a", "a", "a", "b", "b", "b"], cells), np.repeat(list("uvwxyz"), cells)
    pictures = pd.DataFrame({"image_id": np.arange(33).astype(str), "split": "test", "label": labels})
    pictures["source_photo"] = patients
    a, b = (
        Side(name, "some", "hash", ["a", "b"], predictions_table(pictures, shares, ["a", "b"]).assign(copies=False))
        for name, named in (("one", np.full(33, "a")), ("two", labels))
        for shares in [np.where(named[:, None] == ["a", "b"], 0.8, 0.2)]
    )
    right = compare_sides(a, b)["right"]
    assert (right["difference"], right["p"], right["interval"]) == (16, None, None)


def test_without_a_mistake_two_classes_pairs_are_as_sure_as_the_fewer_photos() -> None:
    labels = np.repeat(["a", "b"], [3, 60])
    pictures = pd.DataFrame({"image_id": np.arange(63).astype(str), "split": "test", "label": labels})
    pictures["source_photo"] = pictures.image_id
    shares = np.where(labels[:, None] == ["a", "b"], 0.9, 0.1)
    a, b = (Side(name, "some", "hash", ["a", "b"], predictions_table(pictures, shares, ["a", "b"])) for name in "ab")
    low, high = compare_sides(a, b)["metrics"]["auc_ovr"]["interval"]
    assert (low, high) == pytest.approx((exact_binomial(3, 3)[0] - 1, 1 - exact_binomial(3, 3)[0]))


# What is refused


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(made("two"), data_hash="another", data="other"), r"on different data \(some and other\)"),
        (replace(made("two"), classes=["a", "b", "d"]), r"their classes differ \(a, b, c; a, b, d\)"),
        (replace(made("two"), table=made("two").table.iloc[5:]), r"on different pictures \(90 and 85, 85 of them"),
        (changed(made("two"), label="a"), "test pictures' labels differ"),
        (changed(made("two"), source_photo="p"), "test pictures' source photos differ"),
    ],
)
def test_what_was_tested_otherwise_is_refused_with_the_reason(other: Side, reason: str) -> None:
    for refused in (compare_sides, picture_outcomes):
        with pytest.raises(LabError, match=f"one and two can't be compared: .*{reason}"):
            refused(made("one"), other)


# Runs


def copy_of(run: Run, name: str, **config: object) -> Run:
    folder = workspace.run_dir(name)
    shutil.copytree(run.folder, folder)
    recorded = disk.read_json(folder / "config.json")
    disk.write_json(folder / "config.json", recorded | {"config": recorded["config"] | config})
    return Run(name)


def with_accuracy(run: Run, accuracy: float) -> Run:
    summary = run.summary()
    disk.write_json(run.folder / "summary.json", summary | {"test": summary["test"] | {"accuracy": accuracy}})
    return run


def test_runs_are_compared_on_their_test_pictures_alone(done: Run) -> None:
    twin = copy_of(done, "20260101-000000-basic_cnn-twin", learning_rate=0.5)
    result = compare(done, twin)
    assert (result["a"], result["b"], result["data"]) == (done.name, twin.name, "demo")
    assert result["pictures"] == (done.predictions().split == "test").sum() < len(done.predictions())
    assert result["notes"] == []
    seeded = copy_of(done, "20260101-000000-basic_cnn-seed", seed=9, device="cpu")
    assert "both have the same settings: they differ by the chance" in compare(done, seeded)["notes"][0]


def test_what_a_cross_validation_s_auc_is_made_of_is_said(done: Run) -> None:
    [note] = compare_sides(side_of(done), replace(side_of(done), name="folds", run=None))["notes"]
    assert "several networks" in note


def test_a_run_that_was_not_tested_is_refused(done: Run, lab: Path) -> None:
    table = done.predictions()
    table[table.split != "test"].to_parquet(done.folder / "predictions.parquet")
    with pytest.raises(LabError, match="was tested on no picture"):
        side_of(done)


def test_runs_by_seed_alone_are_one_group_with_mean_and_spread(done: Run) -> None:
    with_accuracy(done, 0.5)
    second = with_accuracy(copy_of(done, "20260101-000000-basic_cnn-aaaa", seed=7, device="cpu"), 0.7)
    third = with_accuracy(copy_of(done, "20260101-000000-basic_cnn-bbbb", seed=8), 0.9)
    again = with_accuracy(copy_of(done, "20260101-000000-basic_cnn-cccc", seed=8), 0.1)
    other = copy_of(done, "20260101-000000-basic_cnn-dddd", seed=9, epochs=99)
    (group,) = seed_groups([done, second, third, again, other])
    assert group["runs"] == [done.name, second.name, third.name]
    assert group["seeds"] == [done.config.seed, 7, 8]
    assert group["metrics"]["accuracy"] == pytest.approx({"mean": 0.7, "spread": 0.2})
    assert set(group["metrics"]) == set(COMPARED)
    assert seed_groups([done, other]) == []


def test_a_run_that_has_not_ended_is_in_no_seed_group(done: Run) -> None:
    waiting = copy_of(done, "20260101-000000-basic_cnn-wait", seed=7)
    (waiting.folder / "summary.json").unlink()
    assert seed_groups([done, waiting]) == []


# Merged classes


def test_merging_sums_probabilities_and_predicts_anew() -> None:
    pictures = pd.DataFrame({"image_id": ["x", "y"], "split": "test", "label": ["a", "c"], "source_photo": ["p", None]})
    before = predictions_table(pictures, np.array([[0.3, 0.4, 0.3], [0.1, 0.2, 0.7]]), CLASSES)
    kept = before.copy()
    after, classes = merged(before, CLASSES, {"ac": ["a", "c"]})
    assert classes == ["ac", "b"]
    columns = ["image_id", "split", "label", "predicted", "source_photo", "copies", "p_ac", "p_b"]
    assert after.columns.tolist() == columns
    assert after.label.tolist() == ["ac", "ac"]
    assert after.predicted.tolist() == ["ac", "ac"], "the first was called b before"
    np.testing.assert_allclose(after[["p_ac", "p_b"]], [[0.6, 0.4], [0.8, 0.2]])
    pd.testing.assert_frame_equal(before, kept)
    assert score(after, classes)["accuracy"] == 1


def test_merging_nothing_changes_nothing() -> None:
    table = made("one").table
    after, classes = merged(table, CLASSES, {})
    assert classes == CLASSES
    pd.testing.assert_frame_equal(after, table)


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        ({"x": ["a", "z"]}, "there is no class 'z' to merge: there are a, b, c"),
        ({"x": ["a", "b"], "y": ["b"]}, "one group only"),
        ({"c": ["a", "b"]}, "can't be called 'c'"),
        ({"x": ["a", "b", "c"]}, "one class left"),
    ],
)
def test_a_merging_that_means_nothing_is_refused(groups: dict[str, list[str]], reason: str) -> None:
    with pytest.raises(LabError, match=reason):
        merged(made("one").table, CLASSES, groups)


def test_runs_can_be_compared_with_their_classes_merged() -> None:
    groups = {"ab": ["a", "b"]}
    result = compare_sides(made("one").merged(groups), made("two", seed=3).merged(groups))
    assert result["classes"] == ["ab", "c"]
    assert np.sum(result["confusion"]["a"]) == 90
    assert [sum(row) for row in result["confusion"]["a"]] == [60, 30]


def test_granulocytes_are_set_against_the_rest_whatever_their_case() -> None:
    assert granulocytes(["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]) == {
        "granulocyte": ["EOSINOPHIL", "NEUTROPHIL"],
        "other": ["LYMPHOCYTE", "MONOCYTE"],
    }
    assert granulocytes(["basophil", "eosinophil", "platelet"]) == {
        "granulocyte": ["basophil", "eosinophil"],
        "other": ["platelet"],
    }
    # Neutrophils of other names were among "other", beside granulocytes that had none.
    names = ["basophils", "BAND", "Segmented_Neutrophil", "ig", "lymphocyte", "reactive lymphocyte"]
    assert granulocytes(names) == {"granulocyte": names[:4], "other": names[4:]}
    assert granulocytes(["lymphocyte", "neutrophil"]) is None
    assert granulocytes(["eosinophil", "neutrophil"]) is None


def test_groups_are_told_in_words() -> None:
    assert groups_from_words(["granulocytes"], ["Basophil", "Eosinophil", "x"]) == {
        "granulocyte": ["Basophil", "Eosinophil"], "other": ["x"]
    }  # fmt: skip
    assert groups_from_words(["ab=a, b", "d=c"], CLASSES) == {"ab": ["a", "b"], "d": ["c"]}
    assert groups_from_words(['ab="a, large",b'], CLASSES) == {"ab": ["a, large", "b"]}, "as in --refuse"


@pytest.mark.parametrize(
    "words", [["granulocytes"], ["ab"], ["=a"], ["ab="], ["ab=a", "ab=b"], ["ab=a", "granulocytes"]]
)
def test_words_that_tell_no_groups_are_refused(words: list[str]) -> None:
    with pytest.raises(LabError, match="granulocytes"):
        groups_from_words(words, CLASSES)


# Side by side


def test_side_by_side_is_the_scores_the_comparisons_and_the_seeds(done: Run) -> None:
    other = copy_of(done, "other", seed=7)
    sides = [side_of(done), side_of(other)]
    told = side_by_side(sides)
    assert [row["run"] for row in told["runs"]] == [done.name, "other"]
    summary = done.summary()
    for row in told["runs"]:
        assert {key: row[key] for key in summary["test"]} == summary["test"]
        assert row["calibration"]["temperature"] == summary["temperature"]
        assert row["cost"]["flops"] == summary["flops"] > 0
    assert told["comparisons"] == [compare_sides(*sides)]
    assert [group["seeds"] for group in told["seed_groups"]] == [[done.config.seed, 7]]
    json.dumps(told, allow_nan=False)


def test_merged_sides_have_the_figures_calibration_and_seeds_of_what_they_were_merged_to(done: Run) -> None:
    sides = [side_of(run).merged(granulocytes(run.classes) or {}) for run in (done, copy_of(done, "other", seed=7))]
    told = side_by_side(sides)
    row = told["runs"][0]
    assert list(row["per_class"]) == ["granulocyte", "other"]
    assert row["calibration"]["after"]["log_loss"] == pytest.approx(row["log_loss"])
    assert told["seed_groups"][0]["metrics"]["accuracy"]["mean"] == row["accuracy"]


def test_a_cross_validations_side_has_neither_temperature_nor_cost() -> None:
    told = side_by_side([made("one"), made("two")])
    assert [(row["calibration"], row["cost"]) for row in told["runs"]] == [(None, None)] * 2


def test_a_run_is_not_set_beside_itself() -> None:
    with pytest.raises(LabError, match="different runs, each once"):
        side_by_side([made("one"), made("two"), made("one")])
