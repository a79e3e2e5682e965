"""The training cells most like a picture: by the run's features, never of the same cell, never of other splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.views import make_view
from bloodcell_core.errors import LabError
from bloodcell_core.inference import neighbours
from bloodcell_core.inference.embedding import Embedder
from bloodcell_core.inference.neighbours import Neighbours
from bloodcell_core.runs import Run
from bloodcell_core.training.ensembles import create_ensemble
from bloodcell_core.training.prepare import split_rows
from tests.training_fixtures import trained

pytest_plugins = ["tests.training_fixtures"]


@pytest.fixture
def demo(lab: Path) -> Dataset:
    return Dataset("demo")


def test_they_are_the_most_alike_of_the_training_pictures(done: Run, demo: Dataset, monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "WIDEST", 10**6)
    found = Neighbours(done, demo, "cpu")
    training = split_rows(done.config, demo, done.validation_photos)["train"]
    assert found.rows.tolist() == sorted(training)
    asked = demo.pictures.index[demo.pictures.split == "test"].to_numpy()
    every = Embedder(done, "cpu").of_rows(demo, np.arange(len(demo.pictures))).astype(np.float64)
    seen = every - every[training].mean(axis=0)
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    for row, nearest in zip(asked, found.of(asked)[:, :3], strict=True):
        others = [other for other in training if demo.pictures.scene[other] != demo.pictures.scene[row]]
        by_scene: dict[str, int] = {}
        for other in sorted(others, key=lambda other: -seen[row] @ seen[other]):
            by_scene.setdefault(demo.pictures.scene[other], other)
        best = [*by_scene.values()][:3]
        assert seen[nearest] @ seen[row] == pytest.approx(seen[best] @ seen[row], abs=1e-4)


def test_a_picture_s_own_family_is_left_out(done: Run, demo: Dataset) -> None:
    found = Neighbours(done, demo, "cpu")
    scenes = demo.pictures.scene
    for row in found.rows[:6]:
        assert (scenes[found.of([row])[0]] != scenes[row]).all()
    row = found.rows[0]
    before, second = found.of([row])[0, :2]
    demo.pictures.loc[before, "scene"] = scenes[row]  # as if it were a photograph of the same cell
    assert Neighbours(done, demo, "cpu").of([row])[0, 0] == second


def test_copies_of_one_photo_are_shown_once_and_cells_of_one_patient_each(done: Run, demo: Dataset) -> None:
    scenes = demo.pictures.scene
    found = Neighbours(done, demo, "cpu")
    assert scenes[found.rows].duplicated().any(), "or nothing is shown"
    for each in found.of(range(len(scenes))):
        assert (each >= 0).all()
        assert scenes[each].is_unique
    demo.pictures["copies"] = False
    apart = Neighbours(done, demo, "cpu").of(range(len(scenes)))
    assert any(scenes[each].duplicated().any() for each in apart)


def test_a_cell_of_any_picture_is_seen_by_each_member_as_it_was_trained(done: Run, demo: Dataset) -> None:
    """The second member's colours, crop and size are others than the first's: it was shown what the first sees."""
    other = trained(view="cell", size=48, colours="balanced", epochs=1)
    found = Neighbours(create_ensemble([done, other]), demo, "cpu")
    for row in found.rows[:5]:
        views = [
            make_view(demo.read_original(row), config.view, config.size, config.crop, demo.places[row]).pixels
            for config in (done.config, other.config)
        ]
        assert found.like(views)[0] == row
        np.testing.assert_allclose(
            found._embedder.of_views(views), found._embedder.of_rows(demo, np.array([row])), atol=1e-5
        )


def test_where_there_are_too_few_the_rest_is_minus_one(
    done: Run, demo: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "MOST_PICTURES", 2)
    few = Neighbours(done, demo, "cpu").of([0, 1])
    assert few.shape == (2, 4)
    assert (few[:, 2:] == -1).all()


def test_wide_features_are_narrowed_and_keep_their_angles() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(40, 6000)).astype(np.float32) + 3 * rng.normal(size=(40, 1)).astype(np.float32)
    narrow = features @ neighbours._narrowing(6000)
    assert narrow.shape == (40, neighbours.WIDEST)

    def angles(rows: np.ndarray) -> np.ndarray:
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit @ unit.T

    assert np.abs(angles(narrow) - angles(features)).max() < 0.2
    assert neighbours._narrowing(neighbours.WIDEST) is None


def test_another_dataset_of_the_same_name_is_refused(done: Run, demo: Dataset) -> None:
    demo.facts["content_hash"] = "another"
    with pytest.raises(LabError, match="other pictures"):
        Neighbours(done, demo, "cpu")
