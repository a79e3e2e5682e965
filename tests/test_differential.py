"""The differential count: what is counted, its limits, and what the network's own mistakes do to it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from bloodcell_core.inference.answers import CELL, FIELD, Answer, CellAnswer, Count
from bloodcell_core.smear.differential import (
    Confusion,
    classes_by_hand,
    confusion_by_photo,
    differential,
    differential_lines,
    true_shares,
    without_cells,
)
from tests.conftest import count_of

CLASSES = ["eosinophil", "lymphocyte", "neutrophil"]


def counted(*named: int, unsure: int = 0, unlike: int = 0) -> Count:
    return Count(dict(zip(CLASSES, named, strict=True)), unsure, unlike, 0, 10, 0, 0)


def known(rows: list[list[float]], photos: float = 200) -> Confusion:
    return Confusion(photos * np.array(rows), True)


SURE = known([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
ROUGH = [[0.8, 0.05, 0.1, 0.05], [0.02, 0.9, 0.05, 0.03], [0.05, 0.05, 0.85, 0.05]]


@given(st.lists(st.integers(0, 300), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_percents_and_exact_limits_are_those_of_scipy(named: list[int]):
    told = differential(counted(*named), CLASSES, None)
    total = sum(named)
    assert told["cells"] == total
    for name, n in zip(CLASSES, named, strict=True):
        row = told["classes"][name]
        if not total:
            assert row["percent"] is row["interval"] is None
            continue
        wanted = binomtest(n, total).proportion_ci(0.95, "exact")
        assert row["percent"] == pytest.approx(100 * n / total)
        assert row["interval"] == pytest.approx([100 * wanted.low, 100 * wanted.high], abs=1e-6)
        assert row["corrected"] is None


def test_a_network_without_mistakes_needs_no_correction():
    told = differential(counted(10, 60, 130), CLASSES, SURE)
    for row in told["classes"].values():
        assert row["corrected"] == pytest.approx(row["percent"], abs=0.01)
        assert row["corrected_interval"][0] <= row["corrected"] <= row["corrected_interval"][1]


def test_the_correction_undoes_what_the_network_does_on_average():
    truth = np.array([0.05, 0.3, 0.65])
    seen = truth @ np.array(ROUGH)
    assert true_shares(seen[None], np.array(ROUGH), steps=2000)[0] == pytest.approx(truth, abs=1e-3)
    counts = (10_000 * seen).round().astype(int)
    told = differential(counted(*counts[:3], unsure=int(counts[3])), CLASSES, known(ROUGH))
    corrected = [row["corrected"] for row in told["classes"].values()]
    assert corrected == pytest.approx(100 * truth, abs=0.5)
    assert told["classes"]["eosinophil"]["percent"] > 7  # uncorrected it is half as many again


@pytest.mark.slow
def test_the_corrected_limits_hold_the_truth_as_often_as_they_say():
    """Slides of 150 cells, a matrix known from 60 photos a class: both are drawn anew each time."""
    rng = np.random.default_rng(0)
    truth, matrix = np.array([0.05, 0.3, 0.65]), np.array(ROUGH)
    held = np.zeros(3)
    trials = 120
    for trial in range(trials):
        photos = np.stack([rng.multinomial(60, row) for row in matrix]).astype(float)
        seen = rng.multinomial(150, truth @ matrix)
        told = differential(counted(*seen[:3], unsure=seen[3]), CLASSES, Confusion(photos, True), seed=trial)
        for place, row in enumerate(told["classes"].values()):
            low, high = row["corrected_interval"]
            held[place] += low <= 100 * truth[place] <= high
    assert (held / trials > 0.9).all()


def test_fewer_photos_and_fewer_cells_give_wider_limits():
    def width(cells: int, photos: float) -> float:
        told = differential(counted(cells, 4 * cells, 5 * cells), CLASSES, known(ROUGH, photos))
        low, high = told["classes"]["lymphocyte"]["corrected_interval"]
        return float(high - low)

    assert width(100, 200) < width(100, 10)
    assert width(100, 200) < width(5, 200)


def test_a_matrix_that_is_hardly_known_is_told_and_one_that_lacks_a_class_corrects_nothing():
    photos = np.array([[3.0, 0, 0, 0], [0, 90, 5, 5], [0, 0, 95, 5]])
    told = differential(counted(5, 40, 60), CLASSES, Confusion(photos, True))
    assert [line for line in told["correction"]["warnings"] if line.endswith("limits wide: Eosinophil (3)")]
    low, high = told["classes"]["eosinophil"]["corrected_interval"]
    assert low < 4 < high
    photos[0] = 0
    told = differential(counted(5, 40, 60), CLASSES, Confusion(photos, True))
    assert told["classes"]["lymphocyte"]["corrected"] is None
    assert "no validation or test photo is of Eosinophil" in told["correction"]["warnings"][-1]
    alike = known([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0]])
    warnings = differential(counted(5, 40, 60), CLASSES, alike)["correction"]["warnings"]
    assert any("so alike that" in line for line in warnings)


@pytest.mark.parametrize("lymphocytes", [0, 40])
def test_an_answer_that_no_photo_got_is_not_corrected_and_says_so(lymphocytes: int):
    """As at a threshold that none of the photos' answers reached: it was left out, and of 40 neutrophils remained 0."""
    unsure = known([[0.9, 0.05, 0, 0.05], [0, 0.9, 0, 0.1], [0, 0, 0, 1]])
    told = differential(counted(0, lymphocytes, 40), CLASSES, unsure)
    assert {row["corrected"] for row in told["classes"].values()} == {None}
    [warning] = told["correction"]["warnings"]
    assert warning.startswith("no correction: no validation or test photo got the answer Neutrophil, ")
    assert differential(counted(0, 40, 0), CLASSES, unsure)["classes"]["lymphocyte"]["corrected"] is not None
    assert differential(counted(0, 40, 9, unsure=9), CLASSES, SURE)["classes"]["lymphocyte"]["corrected"] is not None


@pytest.mark.parametrize(("others", "left"), [(3000, 0), (500, 8)])
def test_white_cells_that_other_cells_may_be_taken_for_are_not_corrected(others: int, left: int):
    """A smear of platelets, 4% of which the network takes for white cells: a division by nothing ended the page."""
    classes = ["lymphocyte", "neutrophil", "platelet"]
    matrix = known([[0.95, 0.05, 0, 0], [0.05, 0.95, 0, 0], [0.02, 0.02, 0.96, 0]])
    seen = Count(dict(zip(classes, (15, 14, others), strict=True)), 0, 0, 0, 1, 0, 0)
    told = differential(seen, classes, matrix)
    assert told["cells"] == 29
    assert {row["corrected"] for row in told["classes"].values()} == {None}
    assert told["correction"]["warnings"][-1].endswith(f"{left} are left, and at least 20 are needed")
    assert "not corrected" not in told["few"]


def test_without_a_correction_nothing_is_said_of_its_limits():
    """As of an exported file, which brings no predictions: nothing is known of photos, nor of any class."""
    nothing = Confusion(np.zeros((3, 4)), False)
    told = differential(counted(40, 40, 40), CLASSES, nothing)["correction"]
    assert len(told["warnings"]) == 1
    assert "no correction" in told["warnings"][0]
    assert "corrected" not in differential(counted(0, 6, 0), CLASSES, nothing)["few"], "nor would more cells help"


@pytest.mark.parametrize(("cells", "few"), [(0, "no white cell was counted"), (40, "40 cells are too few"), (100, "")])
def test_too_few_cells_are_said_plainly(cells: int, few: str):
    told = differential(counted(0, cells, 0), CLASSES, SURE)
    assert told["few"].startswith(few)
    assert bool(told["few"]) == bool(few)


@pytest.mark.parametrize(("named", "unsure", "hand"), [(1, 0, 0), (2, 0, 0), (19, 0, 0), (1, 300, 0), (10, 0, 9)])
def test_a_handful_of_cells_is_not_corrected_and_says_so(named: int, unsure: int, hand: int):
    rough, by_hand = known(ROUGH, photos=5), {"neutrophil": hand}
    told = differential(counted(0, named, 0, unsure=unsure), CLASSES, rough, by_hand=by_hand)
    assert {row["corrected"] for row in told["classes"].values()} == {None}
    assert {row["corrected_interval"] for row in told["classes"].values()} == {None}
    assert "not corrected for the network's mistakes, for which at least 20 are needed" in told["few"]
    assert told["correction"]["warnings"] == [], "of what isn't done nothing is said"
    enough = differential(counted(0, 20 - hand, 0, unsure=unsure), CLASSES, rough, by_hand=by_hand)
    assert enough["classes"]["lymphocyte"]["corrected"] is not None
    assert "corrected" not in enough["few"]
    assert any("few photos" in line for line in enough["correction"]["warnings"])
    assert "corrected" not in differential(counted(0, named, 0), CLASSES, None)["few"], "nothing is known to correct by"


def test_cells_by_hand_count_as_they_stand():
    told = differential(counted(0, 50, 50), CLASSES, known(ROUGH), by_hand={"eosinophil": 100})
    assert (told["cells"], told["by_hand"]) == (200, 100)
    assert told["classes"]["eosinophil"]["percent"] == 50
    assert told["classes"]["eosinophil"]["corrected"] == pytest.approx(50, abs=2)


@pytest.mark.parametrize("confusion", [None, SURE, known(ROUGH)])
def test_white_cells_that_the_run_does_not_know_are_a_part_of_the_count_by_a_person_s_word(confusion: Confusion | None):
    by_hand = {"neutrophil": 4, "basophil": 10, "platelet": 7}
    told = differential(counted(0, 50, 36), CLASSES, confusion, by_hand)
    assert list(told["classes"]) == [*CLASSES, "basophil", "platelet"]
    assert (told["cells"], told["by_hand"]) == (100, 14)
    basophils = told["classes"]["basophil"]
    limits = binomtest(10, 100).proportion_ci(0.95, "exact")
    assert basophils["percent"] == 10
    assert basophils["interval"] == pytest.approx([100 * limits.low, 100 * limits.high], abs=1e-6)
    assert basophils["reference"] == [0.5, 1.0]
    assert told["classes"]["platelet"]["percent"] is None
    assert told["apart"] == "counted separately from white cells: Platelet 7"
    shares = [row["corrected"] for row in told["classes"].values() if row["percent"] is not None]
    if confusion is None:
        assert shares == [None] * 4
    else:
        assert sum(shares) == pytest.approx(100)
        assert basophils["corrected"] == pytest.approx(10, abs=1e-9), "a person's word is not corrected"
        low, high = basophils["corrected_interval"]
        assert low < 100 * limits.low + 1e-6 < 100 * limits.high < high + 1e-6, "not narrower than by the cells alone"


@pytest.mark.parametrize(
    ("classes", "more"),
    [
        (["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"], ["basophil"]),
        (["basophil", "lymphocyte", "eosinophil", "monocyte", "neutrophil", "platelet"], []),
        (["blast"], ["neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil"]),
    ],
)
def test_a_person_may_give_the_classes_that_a_run_lacks(classes: list[str], more: list[str]):
    assert classes_by_hand(classes) == [*classes, *more, "other white cell"]
    assert classes_by_hand(["Other_white_cells", *classes]) == ["Other_white_cells", *classes, *more]


def test_who_mends_mistakes_by_hand_is_told_that_the_other_cells_are_corrected_all_the_same():
    mended = differential(counted(20, 60, 100, unsure=3), CLASSES, known(ROUGH), {"lymphocyte": 4})
    assert mended["twice"].startswith("the 183 other cells are corrected as if nobody had looked at them: confirm")
    assert any(mended["twice"] in line for line in differential_lines(mended))
    assert differential(counted(20, 60, 100), CLASSES, known(ROUGH))["twice"] == "", "nobody has looked"
    for confusion, left in ((None, 100), (known(ROUGH), 0)):
        assert differential(counted(0, 0, left), CLASSES, confusion, {"lymphocyte": 40})["twice"] == ""
    assert differential(counted(0, 0, 1), CLASSES, SURE, {"neutrophil": 40})["twice"].startswith("the other cell is ")


def test_adult_ranges_stand_beside_with_their_source():
    told = differential(counted(1, 2, 3), CLASSES, None)
    assert told["classes"]["neutrophil"]["reference"] == [40, 60]
    assert "MedlinePlus" in told["reference_source"]
    other = Count({"blast": 3}, 0, 0, 0, 1, 0, 0)
    assert differential(other, ["blast"], None)["classes"]["blast"]["reference"] is None
    lines = differential_lines(told)
    assert "6 cells in 10 pictures" in lines[0]
    assert any("adults 40 to 60%" in line for line in lines)
    assert any("<0.1%" in line for line in differential_lines(differential(counted(9_999, 1, 0), CLASSES, None)))
    assert ": 1 cell in 10 pictures" in differential_lines(differential(counted(1, 0, 0), CLASSES, None))[0]


def test_what_is_no_white_cell_is_counted_apart_and_is_no_part_of_the_whole():
    classes = ["Lymphocytes", "neutrophil", "NRBC", "platelet"]
    rows = 100 * np.array([[0.9, 0.06, 0.02, 0, 0.02], [0.1, 0.8, 0, 0.05, 0.05], [0.1, 0, 0.9, 0, 0], [0, 0, 0, 1, 0]])
    seen = Count(dict(zip(classes, (50, 130, 30, 400), strict=True)), 8, 0, 0, 5, 0, 0)
    told = differential(seen, classes, Confusion(rows, True), {"Lymphocytes": 12, "neutrophil": 8, "platelet": 5})
    white, others = classes[:2], classes[2:]
    assert (told["cells"], told["by_hand"]) == (200, 20)
    assert told["few"] == "", "of the white cells there are enough"
    assert told["apart"] == "counted separately from white cells: NRBC 30 (15.0 per 100 white cells), Platelet 405"
    assert [told["classes"][name]["percent"] for name in white] == pytest.approx([31.0, 69.0])
    for name in others:
        row = told["classes"][name]
        assert row["percent"] is row["interval"] is row["corrected"] is row["corrected_interval"] is None

    # As many as the matrix says, and those by hand; the percentages are among the white ones.
    shares = true_shares([[50, 130, 30, 400, 8]], rows / 100)[0] * (50 + 130 + 30 + 400 + 8) + [12, 8, 0, 5]
    corrected = [told["classes"][name]["corrected"] for name in white]
    assert corrected == pytest.approx(100 * shares[:2] / shares[:2].sum())
    for name, share in zip(white, corrected, strict=True):
        low, high = told["classes"][name]["corrected_interval"]
        assert low < share < high
        alone = binomtest(round(share * 2.08), 208).proportion_ci(0.95, "exact")
        assert low <= 100 * alone.low + 0.3, "as wide as so few white cells allow"
        assert high >= 100 * alone.high - 0.3
    assert any(told["apart"] in line for line in differential_lines(told))
    assert differential(counted(30, 60, 20), CLASSES, SURE)["apart"] == ""


def test_the_matrix_counts_each_photo_once_and_unsure_answers_apart():
    table = pd.DataFrame(
        {
            "image_id": list("abcdef"),
            "split": ["test", "test", "test", "val", "val", "train"],
            "label": ["lymphocyte"] * 3 + ["neutrophil"] * 3,
            "source_photo": ["one", "one", "two", "three", None, "four"],
            "p_eosinophil": [0.1, 0.9, 0.1, 0.4, 0.0, 1.0],
            "p_lymphocyte": [0.8, 0.1, 0.9, 0.3, 0.0, 0.0],
            "p_neutrophil": [0.1, 0.0, 0.0, 0.3, 1.0, 0.0],
        }
    )
    matrix = confusion_by_photo(table, CLASSES, 0.5)
    assert matrix.photos_known
    assert matrix.counts.tolist() == [[0, 0, 0, 0], [0.5, 1.5, 0, 0], [0, 0, 1, 1]]


def cell(label: str | None, state: str = "ok", border: bool = False) -> CellAnswer:
    return CellAnswer((0, 0, 9, 9), state, label, {}, at_border=border)


@pytest.mark.parametrize(
    ("empty", "refused", "words"),
    [
        (0, 0, ""),
        (1, 0, "no white cell was found in 1 picture"),
        (1200, 3, "no white cell was found in 1,200 pictures, 3 pictures couldn't be taken"),
        (0, 1, "1 picture couldn't be taken"),
    ],
)
def test_pictures_that_have_no_part_in_the_count_are_told(empty: int, refused: int, words: str):
    told = differential(counted(1, 2, 3)._replace(empty=empty, refused=refused), CLASSES, None)
    assert without_cells(told) == words
    assert (f"  note: {words}" in differential_lines(told)) == bool(words)


def test_cells_set_aside_are_counted_apart():
    answers = [
        Answer("f", "ok", cells=[cell("neutrophil"), cell(None, "unsure"), cell(None, "unlike", True)], kind=FIELD),
        Answer("c", "ok", cells=[cell("lymphocyte"), cell("neutrophil")], kind=CELL),
        Answer("n", "unlike", "no white cell was found"),
        Answer("r", "refused", "empty"),
    ]
    told = count_of(answers, CLASSES)
    assert told.named == {"eosinophil": 0, "lymphocyte": 1, "neutrophil": 1}
    assert told[1:] == (1, 1, 1, 4, 1, 1)
