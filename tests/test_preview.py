"""What a network is shown in training: views as they are built, changed as a step does it; and the page's dialog."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from bloodcell_core.config import PLAIN
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.views import build_view
from bloodcell_core.training.augment import augment
from bloodcell_core.training.preview import shown_in_training
from bloodcell_core.training.sampling import seed_of
from tests.test_pages import draw, press, words
from tests.training_fixtures import tiny

pytest_plugins = ["tests.training_fixtures"]

CHANGED = {"rotation": 90.0, "stain": 0.2, "light": 0.2}


@pytest.mark.parametrize("asked", [{"view": "frame"}, {"view": "cell", "colours": "balanced"}])
def test_it_shows_training_pictures_of_the_very_view_that_is_built(lab: Path, asked: dict[str, str]) -> None:
    config, dataset = tiny(**asked, **CHANGED), Dataset("demo")
    built = build_view(dataset, config.view, config.size, config.crop)
    shown = shown_in_training(config, dataset, times=3, most=9)
    assert [each.label for each in shown] == list(dataset.classes)
    for label, view, changed in shown:
        own = dataset.pictures.index[(dataset.pictures.label == label) & (dataset.pictures.split == "train")]
        assert any(np.array_equal(view, built[row]) for row in own)
        assert changed.shape == (3, *view.shape)
        assert not any(np.array_equal(view, each) for each in changed)
        assert len({each.tobytes() for each in changed}) == 3


def test_changes_are_those_of_a_training_step(lab: Path) -> None:
    config = tiny(**CHANGED)
    first, second, *_ = shown_in_training(config, Dataset("demo"), times=2, most=2)
    for place, each in enumerate((first, second)):
        inputs = torch.from_numpy(np.stack([each.view] * 2)).permute(0, 3, 1, 2) / 255
        wanted = augment(inputs, config, torch.Generator().manual_seed(seed_of(config.seed, 2, place)))
        np.testing.assert_allclose(each.changed, 255 * wanted.permute(0, 2, 3, 1).numpy(), atol=0.51)


def test_where_nothing_is_changed_nothing_stands_beside_it(lab: Path) -> None:
    shown = shown_in_training(tiny(**PLAIN), Dataset("demo"), times=3, most=2)
    assert [len(each.changed) for each in shown] == [0, 0]


def test_kinds_that_are_refused_are_shown_too_and_no_test_picture_is(lab: Path) -> None:
    dataset = Dataset("demo")
    shown = shown_in_training(tiny(refuse="monocyte"), dataset, times=1, most=9)
    assert "monocyte" in [each.label for each in shown]
    built = build_view(dataset, "frame", tiny().size)
    tested = [built[row].tobytes() for row in dataset.pictures.index[dataset.pictures.split == "test"]]
    assert not any(each.view.tobytes() in tested for each in shown)


def rows(app: object) -> list[str]:
    """The page's own HTML that shows pictures."""
    return [
        each.proto.body for each in app.get("html") if 'changed"' in each.proto.body or 'as it is"' in each.proto.body
    ]  # type: ignore[attr-defined]


def test_the_page_shows_them_on_request(lab: Path) -> None:
    app = draw("pages/2_Train.py", dataset="demo", preset="balanced")
    assert not rows(app)
    press(app, "What will it see?")
    shown = rows(app)
    assert len(shown) == len(Dataset("demo").classes)
    assert {row.count("<img") for row in shown} == {9}
    assert all(len(re.findall(r'alt="[^"]+, changed"', row)) == 8 for row in shown)
    assert "as training changes it" in words(app)


def test_of_settings_that_change_nothing_the_page_says_so(lab: Path) -> None:
    app = draw("pages/2_Train.py", dataset="demo", preset="original")
    press(app, "What will it see?")
    assert {row.count("<img") for row in rows(app)} == {1}
    assert "these settings change nothing" in words(app)


def test_a_picture_that_is_gone_is_told_in_the_dialog(lab: Path) -> None:
    app = draw("pages/2_Train.py", dataset="demo")
    shutil.rmtree(Dataset("demo").folder / "originals")
    press(app, "What will it see?")
    assert not rows(app)
    assert "is missing from originals: import it again" in words(app)
