"""Scoring: the figures of `evaluate`, their warnings, and which run is recommended."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from bloodcell_core import disk, workspace
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation import scoring
from bloodcell_core.evaluation.calibration import calibration
from bloodcell_core.evaluation.intervals import cluster_bootstrap, photo_accuracy
from bloodcell_core.evaluation.limits import exact_binomial
from bloodcell_core.evaluation.predictions import predictions_table, probabilities_of
from bloodcell_core.evaluation.recommend import recommend
from bloodcell_core.evaluation.scoring import FEW_PHOTOS, evaluated, flattered, own_predictions, score
from bloodcell_core.runs import Run
from bloodcell_core.words import groups_behind

pytest_plugins = ["tests.training_fixtures"]
CLASSES = ["a", "b", "c"]
SCORE_KEYS = {
    "pictures", "photos", "accuracy", "balanced_accuracy", "f1_macro", "auc_ovr", "confusion", "per_class",
    "intervals", "by_photo", "warnings", "notes",
}  # fmt: skip


def table(photos_a_class: int = 25, copies: int = 2, seed: int = 0) -> pd.DataFrame:
    """Predictions that are right about three times in four, photos known, in no order."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(CLASSES, photos_a_class * copies)
    photos = np.repeat([f"{name}{i}" for name in CLASSES for i in range(photos_a_class)], copies)
    scores = rng.normal(size=(len(labels), 3)) + 1.2 * (labels[:, None] == np.array(CLASSES))
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    pictures = pd.DataFrame(
        {
            "image_id": [f"id{i:04d}" for i in range(len(labels))],
            "split": "test",
            "label": labels,
            "source_photo": photos,
        }
    ).sample(frac=1, random_state=seed)
    return predictions_table(pictures, probabilities[pictures.index], CLASSES)


# The table


def test_the_table_has_the_columns_of_predictions_parquet() -> None:
    pictures = pd.DataFrame(
        {
            "image_id": ["x", "y"],
            "split": ["test", "val"],
            "label": ["a", "c"],
            "source_photo": ["p", None],
            "width": 3,
        },
        index=[7, 4],
    )
    probabilities = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    made = predictions_table(pictures, probabilities, CLASSES)
    assert made.columns.tolist() == [
        "image_id", "split", "label", "predicted", "source_photo", "copies", "p_a", "p_b", "p_c"
    ]  # fmt: skip
    assert made.index.tolist() == [0, 1]
    assert made.predicted.tolist() == ["b", "a"]
    assert made.source_photo.isna().tolist() == [False, True]
    np.testing.assert_array_equal(probabilities_of(made, CLASSES), probabilities)
    np.testing.assert_array_equal(probabilities_of(made, ["c", "a"]), probabilities[:, [2, 0]])


# The figures


def test_the_figures_are_scikit_learns() -> None:
    made = table()
    scores = score(made, CLASSES)
    shares = made[["p_a", "p_b", "p_c"]].to_numpy()
    assert scores.keys() >= SCORE_KEYS
    assert scores["pictures"] == 150
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(made.label, made.predicted))
    assert scores["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(made.label, made.predicted))
    assert scores["f1_macro"] == pytest.approx(metrics.f1_score(made.label, made.predicted, average="macro"))
    assert scores["auc_ovr"] == pytest.approx(
        metrics.roc_auc_score(made.label, shares, multi_class="ovr", labels=CLASSES)
    )
    confusion = metrics.confusion_matrix(made.label, made.predicted, labels=CLASSES)
    assert scores["confusion"] == confusion.tolist()
    assert confusion.tolist() != confusion.T.tolist(), "rows and columns could be changed over unseen"
    json.dumps(scores, allow_nan=False)


def test_the_intervals_are_resampled_by_source_photo() -> None:
    made = table()
    scores = score(made, CLASSES)
    labels = pd.Categorical(made.label, categories=CLASSES).codes.astype(int)
    wanted, of_classes = cluster_bootstrap(labels, probabilities_of(made, CLASSES), made.source_photo)
    assert scores["intervals"] == {name: list(limits) for name, limits in wanted.items() if limits}
    assert set(scores["intervals"]) >= {"accuracy", "balanced_accuracy", "f1_macro", "auc_ovr", "kappa"}
    for name, limits_of in zip(CLASSES, of_classes, strict=True):
        found = scores["per_class"][name]["intervals"]
        assert found == {metric: list(limits) for metric, limits in limits_of.items() if limits}
    assert scores["photos"] == 75
    assert scores["by_photo"] == photo_accuracy(labels, probabilities_of(made, CLASSES), made.source_photo)
    alone = score(made.assign(source_photo=None), CLASSES)
    assert alone["intervals"] != scores["intervals"]


def test_without_known_photos_each_picture_counts_alone_and_it_is_said() -> None:
    made = table().assign(source_photo=None)
    scores = score(made, CLASSES)
    assert (scores["photos"], scores["by_photo"]) == (None, None)
    assert "source photos aren't known" in scores["warnings"][0]
    assert len(scores["warnings"]) == 1
    labels = pd.Categorical(made.label, categories=CLASSES).codes.astype(int)
    wanted, _ = cluster_bootstrap(labels, probabilities_of(made, CLASSES), made.image_id)
    assert all(figures["by_photo"] is None for figures in scores["per_class"].values())
    assert scores["intervals"]["accuracy"] == list(wanted["accuracy"] or ())


def test_a_picture_that_was_not_traced_is_a_photo_of_its_own() -> None:
    made = table()
    traced = made.source_photo.nunique()
    made.loc[3, "source_photo"] = None
    scores = score(made, CLASSES)
    assert scores["photos"] == traced + 1
    assert not any("source photos aren't known" in warning for warning in scores["warnings"])


def test_a_class_of_few_photos_is_warned_of_and_one_of_enough_is_not() -> None:
    made = table(photos_a_class=FEW_PHOTOS)
    assert score(made, CLASSES)["warnings"] == []
    fewer = made[made.source_photo != "b3"].reset_index(drop=True)
    scores = score(fewer, CLASSES)
    photos = scores["per_class"]["b"]["by_photo"]
    low, high = exact_binomial(photos["right"], FEW_PHOTOS - 1)
    assert scores["warnings"] == [
        f"b: {2 * (FEW_PHOTOS - 1)} pictures from {FEW_PHOTOS - 1} photos, {photos['right']} of them right: "
        f"its figures can't tell {low:.0%} from {high:.0%}"
    ]


def test_a_run_that_is_no_better_than_one_answer_for_all_is_warned_of() -> None:
    labels = ["a"] * 60 + ["b"] * 20
    pictures = pd.DataFrame({"image_id": map(str, range(80)), "split": "test", "label": labels, "source_photo": None})
    always_a = predictions_table(pictures, np.tile([0.8, 0.1, 0.1], (80, 1)), CLASSES)
    assert score(always_a, CLASSES)["warnings"][-1].startswith("always answering A would be right on 75.0% of")


def test_four_photos_all_right_cannot_tell_40_percent_from_100() -> None:
    photos = pd.DataFrame({"image_id": list("wxyz"), "split": "test", "label": "a", "source_photo": list("wxyz")})
    made = predictions_table(photos, np.tile([0.8, 0.1, 0.1], (4, 1)), CLASSES)
    assert score(made, CLASSES)["warnings"] == [
        "a: 4 pictures from 4 photos, 4 of them right: its figures can't tell 40% from 100%"
    ]


def test_many_classes_of_few_photos_are_told_of_together() -> None:
    classes = [f"kind {number}" for number in range(8)]
    ids = [str(number) for number in range(16)]
    pictures = pd.DataFrame({"image_id": ids, "split": "test", "label": classes * 2, "source_photo": ids})
    made = predictions_table(pictures, np.tile(np.eye(8), (2, 1)), classes)
    assert score(made, classes)["warnings"] == [
        "kind 0, kind 1, kind 2, kind 3, kind 4, kind 5 and 2 more have fewer than 20 photos each: their figures can "
        "hardly tell anything"
    ]


def test_the_photos_of_a_class_are_right_or_not_by_the_mean_of_their_copies() -> None:
    made = table()
    means = made.groupby(["label", "source_photo"])[["p_a", "p_b", "p_c"]].mean().reset_index()
    for name in CLASSES:
        own = means[means.label == name]
        right = int((own[["p_a", "p_b", "p_c"]].idxmax(axis=1) == f"p_{name}").sum())
        by_photo = score(made, CLASSES)["per_class"][name]["by_photo"]
        assert (by_photo["photos"], by_photo["right"]) == (25, right)
        assert by_photo["interval"] == exact_binomial(right, 25)


def test_a_photo_with_pictures_of_two_classes_leaves_out_the_answer_by_photo() -> None:
    made = table()
    made.loc[made.source_photo.isin(["a0", "b0"]), "source_photo"] = "both"
    scores = score(made, CLASSES)
    assert scores["by_photo"] is None
    assert groups_behind(scores) == "74 photos"  # of two labels, but photographs


def test_a_patients_cells_have_each_an_answer_of_their_own() -> None:
    patients = table(photos_a_class=4, copies=10).assign(copies=False)
    scores = score(patients, CLASSES)
    assert (groups_behind(scores), scores["by_photo"]) == ("12 groups", None)
    assert [(one["photos"], one["by_photo"]) for one in scores["per_class"].values()] == [(4, None)] * 3
    limits = [one["intervals"]["recall"] for one in scores["per_class"].values()]
    assert scores["warnings"] == [
        f"{name}: 40 pictures from 4 groups: its figures can't tell {low:.0%} from {high:.0%}"
        for name, (low, high) in zip(CLASSES, limits, strict=True)
    ]
    alone = score(table(photos_a_class=1, copies=10).assign(copies=False), CLASSES)["warnings"]
    assert alone[0] == "a: 10 pictures from 1 group: its figures can hardly tell anything"
    assert scores["intervals"] == score(patients.assign(copies=True), CLASSES)["intervals"]


def test_whether_corrected_labels_flatter_a_run_is_told_by_the_cells_and_not_by_their_patients() -> None:
    """Of nearly every patient some cell is wrong: that tells nothing of those that were relabelled."""
    patients = table(photos_a_class=6, copies=20).assign(copies=False)
    right = patients[patients.label == patients.predicted].drop_duplicates("source_photo").index
    reviewed = patients.assign(label=patients.label.where(~patients.index.isin(right), "c"))
    assert flattered(patients, reviewed) == []
    wrong = patients.index[patients.label != patients.predicted]
    told = flattered(patients, patients.assign(label=patients.label.where(~patients.index.isin(wrong[:9]), "c")))
    assert "pictures relabelled or left out" in told[0]


def test_predictions_tell_copies_of_a_photo_from_cells_of_a_patient() -> None:
    pictures = pd.DataFrame(
        {"image_id": list("wxyz"), "split": "test", "label": "a", "source_photo": ["p", "p", "q", None],
         "copies": [False, False, True, False]}
    )  # fmt: skip
    made = predictions_table(pictures, np.tile([0.8, 0.1, 0.1], (4, 1)), CLASSES)
    assert made.copies.tolist() == [False, False, True, True]  # of a picture that was not traced there is no other


def test_a_class_without_pictures_is_no_warning_of_few_photos() -> None:
    made = table()
    made = made[made.label != "c"].reset_index(drop=True)
    scores = score(made, CLASSES)
    assert scores["warnings"] == []
    assert any("c" in note for note in scores["notes"])
    json.dumps(scores, allow_nan=False)


def test_an_empty_table_is_refused_in_words() -> None:
    with pytest.raises(LabError, match="there are no pictures to evaluate in this split"):
        score(table().iloc[:0], CLASSES)


# A run


def pictures_to_test() -> int:
    return int((Dataset("demo").pictures.split == "test").sum())


def test_evaluating_a_run_tells_all_that_the_design_promises(done: Run) -> None:
    scores = evaluated(done)[0]
    assert scores.keys() >= SCORE_KEYS | {"run", "data", "split", "classes", "synthetic", "pretrained", "left_out"}
    assert (scores["run"], scores["data"], scores["split"]) == (done.name, "demo", "test")
    assert scores["classes"] == ["eosinophil", "lymphocyte", "monocyte", "neutrophil"]
    assert (scores["synthetic"], scores["pretrained"], scores["left_out"]) == (True, False, 0)
    assert scores["pictures"] == np.sum(scores["confusion"]) == pictures_to_test()


def test_calibration_is_that_of_the_test_split_or_of_other_data_with_a_warning(
    done: Run, other_data: Callable[..., Dataset]
) -> None:
    test = done.predictions().query("split == 'test'")
    summary = done.summary()
    assert evaluated(done)[0]["calibration"] == calibration(test, done.classes, summary)
    assert evaluated(done, split="val")[0]["calibration"] is None
    other_data(str.upper)
    elsewhere = evaluated(done, "other", device="cpu")[0]
    assert elsewhere["calibration"]["pictures"] == elsewhere["pictures"]
    assert "another source" in elsewhere["calibration"]["warnings"][0]


def test_each_split_is_scored_on_its_own_pictures(done: Run) -> None:
    pictures = Dataset("demo").pictures
    counts = {split: evaluated(done, split=split, device="cpu")[0]["pictures"] for split in ("train", "val", "test")}
    in_validation = pictures.photo.isin(done.validation_photos)
    assert counts == {
        "train": ((pictures.split == "train") & ~in_validation).sum(),
        "val": in_validation.sum(),
        "test": (pictures.split == "test").sum(),
    }
    assert sum(counts.values()) == len(pictures)


def test_training_pictures_are_answered_piece_by_piece_and_told(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    with monkeypatch.context() as pieces:
        pieces.setattr(scoring, "TOLD_EVERY", 32)  # a CPU's batch
        table = own_predictions(done, "train", "cpu", lambda *done_of: told.append(done_of))
    assert told == [(min(end, len(table)), len(table)) for end in range(32, len(table) + 32, 32)]
    assert len(told) > 1
    pd.testing.assert_frame_equal(table, evaluated(done, split="train", device="cpu")[1])

    def enough(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        own_predictions(done, "train", "cpu", enough)


def test_the_kept_probabilities_are_scored_and_nothing_is_predicted_anew(
    done: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    done.weights_file.unlink()
    assert evaluated(done)[0]["pictures"] == pictures_to_test()
    with pytest.raises(LabError, match=r"model\.safetensors can't be read as weights"):
        evaluated(done, split="train", device="cpu")[0]


def test_a_run_without_predictions_says_what_it_is(done: Run) -> None:
    (done.folder / "predictions.parquet").unlink()
    with pytest.raises(LabError, match=r"predictions\.parquet can't be read .*train it again"):
        evaluated(done)[0]


@pytest.fixture
def other_data(lab: Path, tmp_path: Path, pictures: list[Path]) -> Callable[..., Dataset]:
    """Makes a dataset of the demo's pictures, its class folders named as `rename` says."""

    def make(rename: Callable[[str], str], name: str = "other") -> Dataset:
        for row, label in enumerate(Dataset("demo").pictures.label):
            target = tmp_path / "source" / rename(label) / f"{row:03d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(pictures[row].read_bytes())
        return import_dataset(tmp_path / "source", name)

    return make


def test_another_dataset_is_matched_by_class_names_whatever_their_case(
    done: Run, other_data: Callable[..., Dataset]
) -> None:
    other = other_data(str.upper)
    assert other.classes == ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
    scores = evaluated(done, "other", device="cpu")[0]
    assert (scores["data"], scores["left_out"]) == ("other", 0)
    assert (scores["synthetic"], scores["trained_on_synthetic"]) == (False, True)
    assert scores["classes"] == done.classes
    assert scores["pictures"] == (other.pictures.split == "test").sum()
    by_class = other.pictures[other.pictures.split == "test"].label.value_counts()
    assert [sum(row) for row in scores["confusion"]] == [by_class[name.upper()] for name in done.classes]
    assert (scores["photos"] is None) == (not other.photos_known)


def test_pictures_of_classes_that_the_run_does_not_know_are_left_out_and_counted(
    done: Run, other_data: Callable[..., Dataset]
) -> None:
    other = other_data(lambda label: "basophil" if label == "monocyte" else label)
    test = other.pictures[other.pictures.split == "test"]
    unknown = (test.label == "basophil").sum()
    scores = evaluated(done, "other", device="cpu")[0]
    assert scores["left_out"] == unknown > 0
    assert scores["pictures"] == len(test) - unknown
    assert sum(scores["confusion"][done.classes.index("monocyte")]) == 0


def test_a_dataset_without_a_known_class_is_refused_with_the_classes_there_are(
    done: Run, other_data: Callable[..., Dataset]
) -> None:
    other_data(lambda label: f"not-{label}")
    with pytest.raises(LabError, match=r"has no test pictures of the classes that .* knows .*eosinophil"):
        evaluated(done, "other", device="cpu")[0]


def test_a_dataset_that_is_not_there_is_refused(done: Run) -> None:
    with pytest.raises(LabError, match="there is no dataset 'nothing'"):
        evaluated(done, "nothing")[0]


def test_predicting_its_own_test_pictures_anew_gives_the_kept_figures(
    done: Run, lab: Path, other_data: Callable[..., Dataset]
) -> None:
    kept = evaluated(done)[0]
    dataset = workspace.dataset_dir("demo")
    dataset.rename(dataset.with_name("twin"))
    facts = disk.read_json(dataset.with_name("twin") / "dataset.json") | {"name": "twin"}
    disk.write_json(dataset.with_name("twin") / "dataset.json", facts)
    anew = evaluated(done, "twin", device="cpu")[0]
    assert anew["confusion"] == kept["confusion"]
    assert anew["log_loss"] == pytest.approx(kept["log_loss"], abs=1e-5)


# Which run to use


def described(name: str, val: float, test: float, parameters: int = 1000, **changes: Any) -> dict[str, Any]:
    summary = {
        "val_accuracy": val,
        "parameters": parameters,
        "test": {"accuracy": test, "intervals": {"accuracy": [test - 0.05, test + 0.05]}},
    }
    told = {"run": name, "state": "done", "data": "demo", "config": {}, "fold": "", "bundled": False, "kept_back": ""}
    return told | {"summary": summary} | changes


def test_the_run_with_the_best_validation_is_recommended_whatever_its_test_figure() -> None:
    one, two = described("one", val=0.8, test=0.9), described("two", val=0.9, test=0.1)
    assert recommend([one, two]).run == "two"  # type: ignore[union-attr]
    assert recommend([two, one]).run == "two"  # type: ignore[union-attr]


def test_no_test_figure_can_change_the_choice() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        runs = [described(f"run{i}", *rng.random(2), parameters=int(rng.integers(1, 9))) for i in range(4)]  # type: ignore[arg-type]
        changed = copy.deepcopy(runs)
        for run in changed:
            run["summary"]["test"]["accuracy"] = rng.random()
        assert recommend(runs).run == recommend(changed).run  # type: ignore[union-attr]


def test_of_equals_the_one_with_fewer_weights_is_recommended() -> None:
    heavy, light = described("heavy", 0.8, 0.8, 5000), described("light", 0.8, 0.8, 50)
    assert recommend([heavy, light]).run == "light"  # type: ignore[union-attr]


def test_only_finished_runs_that_were_tested_are_recommended() -> None:
    untested = described("untested", 0.99, 0.9)
    untested["summary"]["test"] = None
    others = [described("stopped", 0.99, 0.9, state="stopped"), described("new", 0.99, 0.9, summary=None), untested]
    assert recommend(others) is None
    assert recommend([*others, described("done", 0.1, 0.1)]).run == "done"  # type: ignore[union-attr]
    assert recommend([]) is None


def test_a_fold_is_never_recommended_nor_set_against_a_run_on_the_whole_data() -> None:
    fold = described("fold", 0.99, 0.9, parameters=1, fold="2 of 5")
    assert recommend([fold]) is None
    said = recommend([fold, described("done", 0.1, 0.9)])
    assert said is not None
    assert said.run == "done"
    assert "the only finished run" in said.why
    assert "fold" not in said.why


def test_the_reason_tells_on_what_the_choice_was_made(done: Run) -> None:
    said = recommend([done.describe()])
    assert said is not None
    assert said.run == done.name
    assert "the only finished run on the dataset demo" in said.why
    said = recommend([done.describe() | {"bundled": True}])
    assert said is not None
    assert "It comes with the program, trained on the dataset demo" in said.why


# Reviewed labels


def test_labels_that_were_looked_for_among_mistakes_are_said_to_flatter() -> None:
    made = table(copies=1)
    wrong = (made.label != made.predicted).to_numpy()
    some, right = np.flatnonzero(wrong)[:6], np.flatnonzero(~wrong)[:6]
    put_right = made.copy()
    put_right.loc[some[:4], "label"] = put_right.predicted[some[:4]]
    [told] = flattered(made, put_right.drop(index=some[4:]).reset_index(drop=True))
    assert told.startswith("of 6 photos relabelled or left out this run is wrong on 6")
    assert told.endswith("these figures flatter it")
    assert flattered(made.assign(source_photo=None), made.drop(index=some[0]))[0].startswith("of 1 picture relabelled")
    assert flattered(made, made) == []
    assert flattered(made, made.drop(index=right).sample(frac=1, random_state=1)) == []
    assert flattered(made, made.iloc[::2]) == [], "what was left out whatever the run says of it"


def test_a_photo_of_which_some_copies_are_wrong_is_one_that_was_looked_at_for_a_mistake() -> None:
    made = table(copies=4)
    wrong = made.label != made.predicted
    share = wrong.groupby(made.source_photo).mean()
    partly = share.index[(share > 0) & (share < 0.5)][:5]
    assert len(partly) == 5
    assert flattered(made, made[~made.source_photo.isin(partly)])
    whole = share.index[share == 0][:5]
    assert not flattered(made, made[~made.source_photo.isin(whole)])
