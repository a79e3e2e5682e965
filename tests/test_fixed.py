"""Fixed and broken: the very pictures on which two runs differ, and what they can tell."""

from __future__ import annotations

import pandas as pd
import pytest

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.comparison import Side, side_of
from bloodcell_core.labels.overlays import freeze
from bloodcell_core.labels.verdicts import LABEL_WRONG, record
from bloodcell_core.review.fixed import fixed_and_broken
from bloodcell_core.runs import Run
from tests.test_comparison import answers
from tests.test_queue import CLASSES, table
from tests.training_fixtures import train_here

pytest_plugins = ["tests.training_fixtures"]
A, B, RATHER_B = (6, 3, 1), (1, 6, 3), (4, 5, 1)


def side(name: str, answers: list[tuple[int, int, int]]) -> Side:
    rows = [(f"i{place}", f"p{place // 2}", "a" if place < 6 else "b", shares) for place, shares in enumerate(answers)]
    return Side(name, "demo", "h", CLASSES, table(rows))


def test_what_went_away_what_came_and_what_stayed() -> None:
    before = side("old", [A, A, B, B, A, A, B, B, A, B])
    after = side("new", [A, A, A, A, RATHER_B, A, B, B, A, B])  # the photo of the fifth stays right as a whole
    told = fixed_and_broken(before, after)
    assert told.fixed[["image_id", "photo", "label", "before", "after"]].values.tolist() == [
        ["i2", "p1", "a", "b", "a"], ["i3", "p1", "a", "b", "a"],
    ]  # fmt: skip
    assert told.broken.image_id.tolist() == ["i4"]
    assert told.still.image_id.tolist() == ["i8"]
    assert (told.before, told.after) == ("old", "new")
    assert told.comparison["right"]["only_b"] == 1
    words = told.in_words()
    assert words.startswith("Of 5 photos 1 were fixed and 0 broken: +1, 95% interval")
    assert words.endswith("this data can't tell them apart.")
    assert fixed_and_broken(before, before).in_words() == (
        "Of 5 photos 0 were fixed and 0 broken: 0, 95% interval 0 to 0; this data can't tell them apart."
    )


def test_an_interval_without_0_that_tells_nothing_says_why() -> None:
    words = fixed_and_broken(answers("old", 25), answers("new", 27)).in_words()
    assert words.endswith(", but they differ on 4 photos only; this data can't tell them apart.")


def test_other_pictures_are_refused() -> None:
    with pytest.raises(LabError, match="different pictures"):
        fixed_and_broken(side("old", [A] * 10), side("new", [A] * 8))


def test_two_real_runs_on_own_and_on_reviewed_labels(done: Run) -> None:
    after = train_here(seed=3)
    told = fixed_and_broken(side_of(done), side_of(after))
    old, new = (run.predictions().query("split == 'test'").set_index("image_id") for run in (done, after))
    assert set(told.fixed.image_id) == set(old.index[(old.predicted != old.label) & (new.predicted == new.label)])
    assert set(told.broken.image_id) == set(old.index[(old.predicted == old.label) & (new.predicted != new.label)])
    pd.testing.assert_series_equal(
        told.still.set_index("image_id").after, new.predicted[told.still.image_id], check_names=False
    )
    demo = Dataset("demo")
    image_id = old.index[0]
    wanted = next(name for name in demo.classes if name != old.label[image_id])
    record(demo, [image_id], LABEL_WRONG, label=wanted, by="Ana")
    overlay, _ = freeze("one", demo, by="Ana")
    reviewed = fixed_and_broken(side_of(done), side_of(after), overlay)
    labels = pd.concat([reviewed.fixed, reviewed.broken, reviewed.still]).set_index("image_id").label
    family = set(overlay.rows.image_id) & set(labels.index)
    assert set(labels[sorted(family)]) <= {wanted}
    own = old.label[[each for each in labels.index if each not in family]]
    assert labels[own.index].tolist() == own.tolist()
