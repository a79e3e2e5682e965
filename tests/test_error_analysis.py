"""What mistakes teach: each part's rate, interval and pictures, and words only where there is no doubt."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.evaluation.intervals import cluster_bootstrap
from bloodcell_core.evaluation.limits import exact_binomial
from bloodcell_core.evaluation.predictions import arrays_of
from bloodcell_core.review import error_analysis
from bloodcell_core.review.error_analysis import (
    EDGE,
    FACTS,
    NO_CELL,
    NO_EDGE,
    by_photo,
    chances,
    error_rates,
    in_words,
    with_facts,
)
from bloodcell_core.runs import Run

pytest_plugins = ["tests.training_fixtures"]
CLASSES = ["a", "b"]


def predicted(photos: int, wrong_of: set[int], copies: int = 3, focus: float = 1.0) -> pd.DataFrame:
    """Pictures of two classes with facts; those of `wrong_of` photos are wrong."""
    rows = []
    for photo in range(photos):
        label, other = ("a", "b") if photo % 2 else ("b", "a")
        for copy in range(copies):
            answer = other if photo in wrong_of else label
            rows.append(
                {
                    "image_id": f"i{photo}-{copy}", "split": "test", "label": label, "predicted": answer,
                    "source_photo": f"p{photo}", "photo": f"p{photo}", "p_a": float(answer == "a"),
                    "p_b": float(answer == "b"), "focus": focus + photo, "stain_a": 5.0, "stain_b": np.nan,
                    "cell_size": float(photo % 5), "edge": EDGE if photo % 3 == 0 else NO_EDGE,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def words_of(table: pd.DataFrame) -> list[str]:
    return in_words(table, error_rates(table, CLASSES))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.sets(st.integers(0, 11)), st.integers(1, 3))
def test_the_parts_hold_every_picture_once_with_its_mistakes(photos: int, wrong_of: set[int], copies: int) -> None:
    table = predicted(photos, wrong_of, copies)
    wrong = set(table.image_id[table.label != table.predicted])
    for fact, parts in error_rates(table, CLASSES).items():
        if not parts:
            assert fact in ("stain_a", "stain_b") or photos == 1
            continue
        assert sum(part["pictures"] for part in parts) == len(table)
        assert sorted(each for part in parts for each in part["image_ids"]) == sorted(wrong)
        for part in parts:
            assert part["rate"] == pytest.approx(part["wrong"] / part["pictures"])
            assert part["wrong"] == len(part["image_ids"])
            assert (part["by_photo"]["photos"], part["by_photo"]["right"]) == (
                part["photos"], part["photos"] - part["wrong"] // copies,
            )  # fmt: skip
        if fact in FACTS:
            assert [part["low"] for part in parts[1:]] > [part["high"] for part in parts[:-1]]
            assert len(parts) <= 4


def test_the_interval_is_that_of_the_accuracy() -> None:
    table = predicted(30, {1, 2, 8, 21})
    table = table[(table.label != CLASSES[0]) | (table.photo.rank(method="dense") <= 12)]  # fewer photos of one class
    [part] = error_rates(table.assign(edge=NO_EDGE), CLASSES)["edge"]
    limits = cluster_bootstrap(*arrays_of(table, CLASSES)[:3])[0]["accuracy"]
    assert limits is not None
    assert part["interval"] == pytest.approx([1 - limits[1], 1 - limits[0]])
    [alone] = error_rates(predicted(1, set()), CLASSES)["edge"]
    assert alone["interval"] is None
    uneven = predicted(24, set(range(0, 24, 2))).drop(index=range(0, 60, 3))
    parts = error_rates(uneven, CLASSES)["edge"]
    assert [part["interval"] for part in parts] == [None, None], "one class is wrong throughout: copies alone move it"
    assert all(0 < part["rate"] < 1 for part in parts)


def test_photos_by_their_wrong_copies() -> None:
    found = by_photo(predicted(6, {2, 3}))
    assert found[["photo", "wrong", "rate", "answer"]].values.tolist()[:2] == [
        ["p2", 3, 1.0, "a"], ["p3", 3, 1.0, "b"],
    ]  # fmt: skip
    assert [found.low.iloc[0], found.high.iloc[0]] == exact_binomial(3, 3)
    assert found.answer.iloc[2:].isna().all()


def test_of_as_many_wrong_copies_the_photo_that_is_wrong_more_often_comes_first() -> None:
    table = predicted(6, {2, 4})
    table.loc[table.index[table.photo == "p2"][:2], "photo"] = "p4"  # p4 has five copies, two of them of p2
    table.loc[table.photo == "p4", "predicted"] = table.label[table.photo == "p4"]
    table.loc[table.index[table.photo == "p4"][:1], "predicted"] = "z"
    assert by_photo(table)[["photo", "wrong", "pictures"]].values.tolist()[:2] == [["p2", 1, 1], ["p4", 1, 5]]
    table.loc[table.photo == "p2", "photo"] = "p9"  # by name it would be the last
    assert by_photo(table).photo.tolist()[:2] == ["p9", "p4"]


def test_a_difference_is_told_only_where_there_is_no_doubt() -> None:
    sure = words_of(predicted(80, set(range(20))))
    told = "By sharpness: pictures from 1 to 20 (blurred) are wrong most often, 100%"
    assert any(line.startswith(told) for line in sure)
    assert "can't tell that mistakes go with" in sure[-1]
    assert "redness" in sure[-1]
    unsure = words_of(predicted(80, {3, 30, 50, 70}))
    assert not any(line.startswith("By ") for line in unsure)
    assert unsure[0].startswith("A is called B") or unsure[0].startswith("B is called A")
    assert any(line.startswith("Half of the 12 mistakes are copies of 2 photos; 4 photos have any.") for line in unsure)
    patients = words_of(predicted(80, {3, 30, 50, 70}).assign(copies=False))
    assert any(line.startswith("Half of the 12 mistakes are of 2 groups; 4 groups have any.") for line in patients)
    assert "of its 40 groups " in patients[0]
    assert words_of(predicted(10, set())) == ["There is no mistake to learn from."]
    unknown = predicted(80, {3, 30, 50, 70})
    unknown = words_of(unknown.assign(photo=unknown.image_id, source_photo=None))
    assert " in 9 of its 120 pictures (" in unknown[0]
    assert unknown[2].startswith("Source photos aren't known here: ")
    one = predicted(2, {1})
    alone = words_of(one)
    assert " of 1 of its 1 photo (" in alone[0]
    assert alone[1] == "Half of the 3 mistakes are copies of 1 photo; 1 photo has any."
    assert words_of(one.drop(index=one.index[-2:]))[1] == "There is one mistake."


def test_the_rates_are_computed_once_for_the_figures_and_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is 2,000 resamples."""
    table = predicted(80, set(range(20)))
    rates = error_rates(table, CLASSES)
    monkeypatch.delattr(error_analysis, "draw_photos")
    assert any(line.startswith("By sharpness") for line in in_words(table, rates))


def test_the_worst_part_is_told_though_its_photos_happen_to_do_alike() -> None:
    """It has no interval: another part, which is right more often, was said to be wrong most often."""
    first = set(range(0, 40, 2))  # of the blurred quarter all of one class, none of the other
    sure = words_of(predicted(160, first | {45, 52, 61, 70, 90, 130}))
    [line] = [line for line in sure if line.startswith("By sharpness")]
    assert line.startswith("By sharpness: pictures from 1 to 40 (blurred) are wrong most often, 50% (no interval)")


def test_what_goes_with_the_class_alone_is_not_told_as_a_lesson() -> None:
    """Large cells are of one class here, which is the harder one: their size adds nothing to that."""
    table = predicted(120, {photo for photo in range(0, 120, 4)})
    hard = table.label == "b"
    table["cell_size"] = np.where(hard, 30.0, 10.0) + table.photo.str[1:].astype(int) // 4 % 5
    parts = error_rates(table, CLASSES)["cell_size"]
    worst, best = (choose(parts, key=lambda part: part["rate"]) for choose in (max, min))
    assert worst["interval"][0] > best["interval"][1]
    assert (worst["expected"], best["expected"]) == (0.5, 0.0)
    words = words_of(table)
    assert not any(line.startswith("By ") for line in words)
    assert "diameter of the nucleus in pixels" in words[-1]


def test_what_goes_with_the_copy_within_its_photo_is_told() -> None:
    table = predicted(60, set())
    blurred = table.image_id.str.endswith("-0") & (table.photo.str[1:].astype(int) % 3 > 0)
    other = np.where(table.label == "a", "b", "a")
    table = table.assign(predicted=np.where(blurred, other, table.label), focus=np.where(blurred, 1.0, 2.0))
    table["edge"] = NO_EDGE
    assert chances(table)["focus"] < 0.001
    [line] = [line for line in words_of(table) if line.startswith("By ")]
    assert line.startswith("By sharpness: pictures from 1 to 1 (blurred) are wrong most often, 100%")
    assert line.endswith("by their mix of classes alone 22% and 22% would be.")


def test_where_mistakes_go_with_nothing_a_lesson_is_as_rare_as_it_says() -> None:
    """Intervals alone told one in six such tables something."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        table = predicted(60, set(np.flatnonzero(rng.random(60) < 0.25)))
        for fact in FACTS:
            table[fact] = rng.normal(size=60).repeat(3) + 0.1 * rng.normal(size=180)
        found.append(list(chances(table.assign(edge=rng.choice([EDGE, NO_EDGE], 60).repeat(3))).values()))
    assert 0.45 < np.mean(found) < 0.6
    assert np.mean(np.min(found, axis=1) <= 0.05 / 5) < 0.1


def test_no_mistake_and_facts_that_are_not_known_go_with_nothing() -> None:
    assert set(chances(predicted(10, set())).values()) == {1.0}
    table = predicted(10, {1, 2}).assign(edge=NO_EDGE, focus=np.nan)
    told = chances(table)
    assert (told["focus"], told["edge"], told["stain_a"]) == (1.0, 1.0, 1.0)
    assert 0 < told["cell_size"] < 1


def test_no_pictures_teach_nothing() -> None:
    """As those of a run that refuses all classes of its test pictures."""
    none = predicted(10, {1})[:0]
    assert not any(error_rates(none, CLASSES).values())
    assert by_photo(none).empty
    assert words_of(none) == ["There is no mistake to learn from."]


def test_facts_are_those_of_the_dataset(done: Run) -> None:
    pictures = Dataset("demo").pictures
    table = done.predictions().query("split == 'test'")
    found = with_facts(table, pictures).set_index("image_id")
    own = pictures.set_index("image_id").loc[found.index]
    assert len(found) == len(table)
    assert found.focus.tolist() == own.focus.tolist()
    for image_id, row in own.iterrows():
        if pd.isna(row.box_x0):
            wanted = NO_CELL
        else:
            inside = row.box_x0 > 0 and row.box_y0 > 0 and row.box_x1 < row.width and row.box_y1 < row.height
            wanted = NO_EDGE if inside else EDGE
        assert found.edge[image_id] == wanted
    assert len(with_facts(table, pictures.iloc[:0])) == 0
    assert error_rates(found.reset_index(), done.classes)["focus"]
