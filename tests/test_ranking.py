"""Which labels are likely wrong: a photo once, by what networks say that didn't learn its label."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError
from bloodcell_core.review import ranking
from bloodcell_core.review.ranking import METHODS, by_family, label_issues
from bloodcell_core.runs import Run
from bloodcell_core.training import groups, worker
from tests.test_queue import CLASSES, several, table
from tests.training_fixtures import tiny

pytest_plugins = ["tests.training_fixtures"]


@settings(max_examples=40, deadline=None)
@given(several(), st.sampled_from(METHODS))
def test_each_photo_comes_once_worst_first_and_all_copies_count(
    tables: dict[str, pd.DataFrame], method: str
) -> None:
    own = tables["run0"]
    if own.empty:
        with pytest.raises(LabError, match="no predictions"):
            label_issues(own, CLASSES, method)
        return
    found = label_issues(own, CLASSES, method)
    photos = own.source_photo.fillna(own.image_id)
    assert sorted(found.photo) == sorted(set(photos))
    assert found.quality.tolist() == sorted(found.quality)
    assert found.quality.between(0, 1).all()
    shuffled = label_issues(own.sample(frac=1, random_state=1), CLASSES, method)
    pd.testing.assert_frame_equal(found, shuffled)
    if method == "self_confidence":  # the mean probability of the label, of the worst label of the photo
        means = own.assign(photo=photos, own=[row[f"p_{row.label}"] for _, row in own.iterrows()])
        worst = means.groupby(["photo", "label"]).own.mean().groupby("photo").min()
        assert found.set_index("photo").quality.to_dict() == pytest.approx(worst.to_dict())


def test_of_two_classes_that_are_as_likely_the_first_is_suggested_in_any_order_of_the_rows() -> None:
    rows = [("i0", "p", "a", (1, 6, 3)), ("i1", "p", "a", (1, 6, 3)), ("i2", "p", "a", (2, 1, 7))]
    for turn in range(3):
        assert label_issues(table(rows[turn:] + rows[:turn]), CLASSES).suggested.tolist() == ["b"]


def test_a_wrong_label_that_the_network_did_not_learn_stands_first() -> None:
    rows = [(f"i{place}", f"p{place // 3}", "a", (7, 2, 1)) for place in range(12)]
    rows += [("x0", "x", "b", (7, 2, 1)), ("x1", "x", "b", (6, 3, 1))]
    for method in METHODS:
        first = label_issues(table(rows), CLASSES, method).iloc[0]
        assert (first.photo, first.label, first.suggested, first.pictures) == ("x", "b", "a", 2)


def test_without_a_cross_validation_a_run_judges_what_it_learned_and_says_so(done: Run) -> None:
    issues = ranking.of_run(done, "cpu")
    assert "only in-sample" in issues.warning
    assert issues.source == done.name
    assert set(issues.quality) == set(Dataset("demo").pictures.photo)


def test_a_finished_cross_validation_is_taken(done: Run) -> None:
    group = groups.create_group(tiny(epochs=1), 2)
    for run in groups.unfinished(group):
        worker.work(run, say=lambda line: None)
        if run.config.fold == 1:
            half = ranking.of_group(groups.find(group.name))
            assert half.warning.startswith("1 of 2 folds")
            assert "in-sample" in ranking.of_run(done, "cpu").warning
    issues = ranking.of_run(done)
    assert (issues.source, issues.warning) == (group.name, "")
    assert set(issues.quality) == set(Dataset("demo").pictures.photo) > set(half.quality)


def test_the_ranking_waits_for_no_cleanlab_until_it_is_asked() -> None:
    import subprocess
    import sys

    script = "import sys, bloodcell_core.review.ranking; print('cleanlab' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False"
    assert np.isfinite(label_issues(table([("i", "p", "a", (6, 3, 1))]), CLASSES).quality).all()


def test_folds_without_the_test_split_say_that_its_photos_are_missing(lab: Path) -> None:
    group = groups.create_group(tiny(epochs=1), folds=2, over="train")
    for run in groups.unfinished(group):
        worker.work(run, say=lambda line: None)
    issues = ranking.of_group(groups.find(group.name))
    assert issues.warning == "the folds were cut without the test split: its photos are missing"
    tested = Dataset("demo").pictures.query("split == 'test'").photo
    assert not set(issues.photos.photo) & set(tested)


def test_cells_of_one_patient_are_ranked_each_by_itself() -> None:
    """Averaged like copies, the one wrong label among a patient's many right ones would be found by nobody."""
    rows = [(f"i{place}", "patient", "a", (7, 2, 1)) for place in range(3)] + [("x", "patient", "a", (1, 8, 1))]
    families = pd.DataFrame({"image_id": ["i0", "i1", "i2", "x"], "family": ["copies", "copies", "i2", "x"]})
    found = label_issues(by_family(table(rows), SimpleNamespace(pictures=families)), CLASSES)
    assert found[["photo", "suggested", "pictures"]].values.tolist() == [
        ["x", "b", 1], ["copies", "a", 2], ["i2", "a", 1]
    ]  # fmt: skip
    gone = label_issues(by_family(table(rows).assign(copies=False), None), CLASSES)  # without its dataset
    assert (gone.photo[0], gone.pictures.tolist()) == ("x", [1] * 4)
