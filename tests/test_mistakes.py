"""The mistakes of a run: exactly the wrong ones, the most confident first, in the same order each time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core.review.mistakes import confusion_pairs, mistakes
from bloodcell_core.runs import Run

pytest_plugins = ["tests.training_fixtures"]
CLASSES = ["a", "b", "c"]


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Predictions with few distinct probabilities, so that ties of confidence are common."""
    count = draw(st.integers(0, 25))
    parts = draw(
        st.lists(
            st.sampled_from([(6, 3, 1), (1, 6, 3), (3, 1, 6), (7, 2, 1), (2, 1, 7)]),
            min_size=count,
            max_size=count,
        )
    )
    shares = np.array(parts, dtype=float).reshape(count, 3) / 10
    ids = draw(st.permutations([f"id{i:02d}" for i in range(count)]))
    return pd.DataFrame(
        {
            "image_id": pd.Series(ids, dtype=object),
            "split": draw(st.lists(st.sampled_from(["val", "test"]), min_size=count, max_size=count)),
            "label": draw(st.lists(st.sampled_from(CLASSES), min_size=count, max_size=count)),
            "predicted": [CLASSES[place] for place in shares.argmax(1)] if count else [],
            "p_a": shares[:, 0],
            "p_b": shares[:, 1],
            "p_c": shares[:, 2],
        }
    )


@settings(max_examples=50, deadline=None)
@given(tables(), st.sampled_from(["val", "test"]))
def test_the_mistakes_are_exactly_the_wrong_pictures_of_the_split(table: pd.DataFrame, split: str) -> None:
    wrong = mistakes(table, CLASSES, split)
    wanted = {row.image_id for row in table.itertuples() if row.split == split and row.label != row.predicted}
    assert set(wrong.image_id) == wanted
    assert len(wrong) == len(wanted)
    assert wrong.index.tolist() == list(range(len(wrong)))


@settings(max_examples=50, deadline=None)
@given(tables())
def test_the_most_confident_stand_first_and_ties_by_image_id(table: pd.DataFrame) -> None:
    wrong = mistakes(table, CLASSES)
    for row in wrong.itertuples():
        assert row.confidence == max(row.p_a, row.p_b, row.p_c) == getattr(row, f"p_{row.predicted}")
    order = [(-row.confidence, row.image_id) for row in wrong.itertuples()]
    assert order == sorted(order)


@settings(max_examples=25, deadline=None)
@given(tables(), st.integers(0, 99))
def test_the_order_of_the_table_does_not_matter(table: pd.DataFrame, seed: int) -> None:
    shuffled = table.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(mistakes(shuffled, CLASSES), mistakes(table, CLASSES))


@settings(max_examples=50, deadline=None)
@given(tables())
def test_the_pairs_part_the_mistakes(table: pd.DataFrame) -> None:
    wrong = mistakes(table, CLASSES)
    pairs = confusion_pairs(wrong)
    assert pairs["count"].sum() == len(wrong)
    parts = []
    for pair in pairs.itertuples():
        part = mistakes(table, CLASSES, pair=(pair.label, pair.predicted))
        assert len(part) == pair.count
        assert set(zip(part.label, part.predicted, strict=True)) == {(pair.label, pair.predicted)}
        parts += part.image_id.tolist()
    assert sorted(parts) == sorted(wrong.image_id)
    order = [(-pair.count, pair.label, pair.predicted) for pair in pairs.itertuples()]
    assert order == sorted(order)


@pytest.mark.parametrize("pair", [("a", "a"), ("b", "nothing")])
def test_a_pair_without_mistakes_is_empty(pair: tuple[str, str]) -> None:
    table = pd.DataFrame(
        {"image_id": ["x", "y"], "split": "test", "label": ["a", "b"], "predicted": ["a", "a"],
         "p_a": 0.9, "p_b": 0.1, "p_c": 0.0}
    )  # fmt: skip
    empty = mistakes(table, CLASSES, pair=pair)
    assert empty.empty
    assert "confidence" in empty
    assert confusion_pairs(empty).empty
    assert mistakes(table, CLASSES, pair=("b", "a")).image_id.tolist() == ["y"]


def test_the_table_that_is_handed_in_stays_as_it_is(done: Run) -> None:
    table = done.predictions()
    before = table.copy()
    mistakes(table, done.classes)
    pd.testing.assert_frame_equal(table, before)


def test_a_real_runs_mistakes_fit_its_accuracy(done: Run) -> None:
    summary = done.summary()
    assert summary is not None
    test = summary["test"]
    wrong = mistakes(done.predictions(), done.classes)
    assert len(wrong) == test["pictures"] - round(test["accuracy"] * test["pictures"])
    for pair in confusion_pairs(wrong).itertuples():
        row, column = done.classes.index(pair.label), done.classes.index(pair.predicted)
        assert test["confusion"][row][column] == pair.count
