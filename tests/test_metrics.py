"""bloodcell_core.evaluation.metrics against scikit-learn and against cases worked out by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from bloodcell_core.evaluation.metrics import class_curves, evaluate_predictions

CLASSES = ("Eosinophil", "Lymphocyte", "Monocyte", "Neutrophil")


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels of any of 2 to 4 classes (often not all of them) and probabilities with few distinct values."""
    classes = draw(st.integers(2, 4))
    pictures = draw(st.integers(1, 25))
    borne = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=classes))
    labels = draw(st.lists(st.sampled_from(borne), min_size=pictures, max_size=pictures))
    # whole parts of at most 4 make ties of scores between pictures, and of classes within one, common
    parts = draw(
        st.lists(
            st.lists(st.integers(0, 4), min_size=classes, max_size=classes).filter(any),
            min_size=pictures,
            max_size=pictures,
        )
    )
    shares = np.array(parts, dtype=float)
    return np.array(labels), shares / shares.sum(axis=1, keepdims=True)


@settings(max_examples=80, deadline=None)
@given(predictions())
def test_every_figure_equals_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = case
    names = CLASSES[: probabilities.shape[1]]
    predicted = probabilities.argmax(axis=1)
    indices = range(len(names))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = evaluate_predictions(labels, probabilities, names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        balanced_accuracy = sklearn_metrics.balanced_accuracy_score(labels, predicted)
        f1_macro = sklearn_metrics.f1_score(labels, predicted, average="macro")
        precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
            labels, predicted, labels=indices, zero_division=np.nan
        )
        specificity = [sklearn_metrics.recall_score(labels != i, predicted != i, zero_division=np.nan) for i in indices]
        auc = [sklearn_metrics.roc_auc_score(labels == i, probabilities[:, i]) for i in indices]
        average_precision = [
            sklearn_metrics.average_precision_score(labels == i, probabilities[:, i]) if i in labels else np.nan
            for i in indices
        ]
        kappa = sklearn_metrics.cohen_kappa_score(labels, predicted)
        precision_macro = sklearn_metrics.precision_score(labels, predicted, average="macro")
        brier = sklearn_metrics.brier_score_loss(labels, probabilities, labels=list(indices), scale_by_half=False)
        occurring = np.union1d(labels, predicted)
        specificity_macro = np.nanmean(np.array(specificity)[occurring])

    assert result["pictures"] == len(labels)
    assert result["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert result["balanced_accuracy"] == pytest.approx(balanced_accuracy)
    assert result["f1_macro"] == pytest.approx(f1_macro)
    assert result["recall_macro"] == result["balanced_accuracy"]
    assert result["precision_macro"] == pytest.approx(precision_macro)
    assert result["average_precision_macro"] == pytest.approx(np.nanmean(average_precision))
    for figure, wanted in (("kappa", kappa), ("specificity_macro", specificity_macro)):
        found_figure = np.nan if result[figure] is None else result[figure]
        assert found_figure == pytest.approx(wanted, nan_ok=True)
    assert result["brier"] == pytest.approx(brier)
    expected_loss = sklearn_metrics.log_loss(labels, probabilities, labels=list(indices))
    assert result["log_loss"] == pytest.approx(expected_loss)
    expected_confusion = sklearn_metrics.confusion_matrix(labels, predicted, labels=indices)
    assert result["confusion"] == expected_confusion.tolist()
    expected = {
        "support": support,
        "precision": precision,
        "recall": recall,
        "specificity": specificity,
        "f1": f1,
        "auc": auc,
        "average_precision": average_precision,
    }
    for figure, values in expected.items():
        found = [result["per_class"][name][figure] for name in names]
        assert [np.nan if value is None else value for value in found] == pytest.approx(values, nan_ok=True)
    defined = [value for value in auc if not np.isnan(value)]
    assert result["auc_ovr"] == (pytest.approx(np.mean(defined)) if defined else None)
    json.dumps(result, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(predictions(), st.data(), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_one_value_that_is_no_number_is_refused_wherever_it_stands(
    case: tuple[np.ndarray, np.ndarray], data: st.DataObject, value: float
) -> None:
    labels, probabilities = case
    row = data.draw(st.integers(0, len(labels) - 1))
    probabilities[row, data.draw(st.integers(0, probabilities.shape[1] - 1))] = value
    with pytest.raises(ValueError, match=f"probabilities of row {row} are NaN or infinite"):
        evaluate_predictions(labels, probabilities, CLASSES[: probabilities.shape[1]])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_auc_equals_scikit_learns_own_multiclass_auc_when_all_classes_occur(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(40) % 4)
    probabilities = random.dirichlet(np.ones(4), size=40)
    result = evaluate_predictions(labels, probabilities, CLASSES)
    expected = sklearn_metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
    assert result["auc_ovr"] == pytest.approx(expected)
    assert not any("AUC" in note for note in result["notes"])


def test_a_class_that_no_picture_bears_but_one_was_taken_for() -> None:
    probabilities = [[0.8, 0.1, 0.1], [0.6, 0.4, 0.0], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]]
    result = evaluate_predictions([0, 0, 1, 1], probabilities, CLASSES[:3])
    assert result["confusion"] == [[2, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert result["balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)
    assert result["f1_macro"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert result["auc_ovr"] == pytest.approx((1 + 3 / 4) / 2)
    assert result["per_class"]["Monocyte"] == {
        "support": 0,
        "precision": 0.0,
        "recall": None,
        "specificity": 3 / 4,
        "f1": 0.0,
        "auc": None,
        "average_precision": None,
    }
    assert result["precision_macro"] == pytest.approx((1 + 1 + 0) / 3)
    assert result["specificity_macro"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert len(result["notes"]) == 2
    assert all("Monocyte" in note for note in result["notes"])


def test_a_class_never_predicted_has_no_precision_and_the_notes_say_so() -> None:
    result = evaluate_predictions([0, 1, 1], [[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]], ("A", "B"))
    assert result["per_class"]["B"]["precision"] is None
    assert result["per_class"]["B"]["recall"] == 0
    assert result["notes"] == ["B was never predicted: it has no precision, and macro precision counts it with 0."]
    assert result["precision_macro"] == pytest.approx((1 / 3 + 0) / 2)


def test_of_many_classes_alike_one_note_tells() -> None:
    classes = [f"kind {number}" for number in range(12)]
    probabilities = np.eye(12)[[0] * 10]  # kinds 1 to 9 are borne and never predicted, 10 and 11 neither
    notes = evaluate_predictions(range(10), probabilities, classes)["notes"]
    assert notes == [
        "No picture is labelled kind 10, kind 11: they have no recall, no AUC and no average precision, and count "
        "neither in balanced accuracy nor in the mean AUC and average precision.",
        "kind 1, kind 2, kind 3, kind 4, kind 5, kind 6 and 3 more were never predicted: they have no precision, and "
        "macro precision counts them with 0.",
        "kind 10, kind 11 were neither borne nor predicted: the macro figures leave them out.",
    ]


def test_one_label_for_all_pictures_leaves_auc_undefined_with_a_reason() -> None:
    result = evaluate_predictions([1, 1], [[0.3, 0.7], [0.2, 0.8]], ("A", "B"))
    assert result["auc_ovr"] is None
    assert result["accuracy"] == result["balanced_accuracy"] == result["f1_macro"] == 1
    assert result["per_class"]["B"]["specificity"] is None
    assert (result["specificity_macro"], result["kappa"]) == (None, None)
    assert any("kappa is undefined" in note for note in result["notes"])
    assert any(note.startswith("Every picture is labelled B") for note in result["notes"])
    assert any(note.startswith("A was neither") for note in result["notes"])


def test_one_label_with_a_mistake_has_a_kappa_of_chance_and_no_note_of_it() -> None:
    result = evaluate_predictions([1, 1], [[0.3, 0.7], [0.8, 0.2]], ("A", "B"))
    assert result["kappa"] == 0
    assert result["specificity_macro"] == 1 / 2
    assert not any("kappa" in note for note in result["notes"])


def test_complete_predictions_need_no_notes() -> None:
    assert evaluate_predictions([0, 1], [[0.9, 0.1], [0.2, 0.8]], ("A", "B"))["notes"] == []


def test_the_first_of_tied_classes_is_predicted() -> None:
    result = evaluate_predictions([1, 1], [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], CLASSES[:3])
    assert result["confusion"][1] == [1, 1, 0]


def test_single_precision_and_slightly_unnormalised_rows_are_taken_without_a_warning() -> None:
    probabilities = np.array([[1.0005, 0.0], [0.4, 0.6005]], dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = evaluate_predictions(np.array([0, 1], dtype=np.uint8), probabilities, ("A", "B"))
    assert result["log_loss"] == pytest.approx(-np.log(0.6005 / 1.0005) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "probabilities", "classes", "message"),
    [
        ([], np.empty((0, 2)), "AB", "no pictures"),
        ([0], [[np.nan, 1.0]], "AB", "row 0 are NaN or infinite"),
        ([0, 0], [[0.5, 0.5], [np.inf, 0.0]], "AB", "row 1 are NaN or infinite"),
        ([0, 0], [[0.5, 0.5], [0.5, 0.6]], "AB", "row 1 sum to 1.1"),
        ([0], [[1.5, -0.5]], "AB", "row 0 are negative"),
        ([0, 1], [[0.5, 0.5]], "AB", r"\(2,\).*\(1, 2\)"),
        ([[0]], [[0.5, 0.5]], "AB", "do not fit"),
        ([0], [0.5], "AB", "do not fit"),
        ([2], [[0.5, 0.5]], "AB", "from 2 to 2"),
        ([-1], [[0.5, 0.5]], "AB", "from -1 to -1"),
        ([0.0], [[0.5, 0.5]], "AB", "integer class indices"),
        ([True], [[0.5, 0.5]], "AB", "integer class indices"),
        ([0], [[1.0]], "A", "at least two classes"),
        ([0], [[0.5, 0.5]], "ABC", "3 class names"),
        ([0], [[0.5, 0.5]], "AA", "distinct"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    labels: object, probabilities: object, classes: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        evaluate_predictions(labels, probabilities, tuple(classes))  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)


@settings(max_examples=80, deadline=None)
@given(predictions())
def test_the_curves_of_a_class_are_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = case
    for index in range(probabilities.shape[1]):
        own, shares = labels == index, probabilities[:, index]
        curves = class_curves(own, shares, points=1000)
        assert (curves is None) == (own.all() or not own.any())
        if curves is None:
            continue
        across, up, _ = sklearn_metrics.roc_curve(own, shares, drop_intermediate=False)
        # Points on a straight line are left out.
        assert set(zip(*curves.roc, strict=True)) <= set(zip(across, up, strict=True))
        assert sklearn_metrics.auc(*curves.roc) == pytest.approx(sklearn_metrics.auc(across, up))
        precision, recall, _ = sklearn_metrics.precision_recall_curve(own, shares)
        np.testing.assert_allclose(curves.precision_recall, (recall[::-1], precision[::-1]))


@pytest.mark.parametrize("pictures", [20, 20_000])
def test_a_curve_is_thinned_and_keeps_its_area(pictures: int) -> None:
    random = np.random.default_rng(0)
    own = random.random(pictures) < 0.3
    shares = np.clip(random.normal(0.4 + 0.2 * own, 0.2), 0, 1)
    curves = class_curves(own, shares, points=500)
    assert curves
    (across, up), (recall, precision) = curves
    assert len(across) <= 500
    assert (across[0], up[0], across[-1], up[-1]) == (0, 0, 1, 1)
    assert sklearn_metrics.auc(across, up) == pytest.approx(sklearn_metrics.roc_auc_score(own, shares), abs=1e-3)
    assert len(recall) <= 500
    assert (recall[0], recall[-1]) == (0, 1)
    if pictures > 100:
        wanted = sklearn_metrics.average_precision_score(own, shares)
        assert sklearn_metrics.auc(recall, precision) == pytest.approx(wanted, abs=5e-3)


def test_importing_the_evaluation_costs_no_scikit_learn_scipy_or_pandas() -> None:
    code = (
        "import sys, bloodcell_core.evaluation.metrics, bloodcell_core.evaluation.intervals\n"
        "print([name for name in ('sklearn', 'scipy', 'pandas') if name in sys.modules])"
    )
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout.strip() == "[]"
