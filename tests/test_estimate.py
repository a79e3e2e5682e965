"""How long a training will take: counted in steps, by a step that is measured."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
import pytest

from bloodcell_core.config import AUGMENTATION, fields
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.models import MODELS
from bloodcell_core.runs import Run
from bloodcell_core.training import jobs, loop
from bloodcell_core.training.estimate import MATTERS, estimate, pictures_an_epoch, seen_before
from bloodcell_core.training.prepare import split_rows
from tests.training_fixtures import losses, tiny

pytest_plugins = ["tests.training_fixtures"]


def test_the_steps_are_those_that_the_run_takes(done: Run) -> None:
    told = estimate(done.config)
    assert told.steps == sum(event["event"] == "step" for event in losses(done))
    assert told.step_seconds > 0
    assert told.seconds > told.steps * told.step_seconds  # measuring and scoring come on top
    assert told.device == done.status()["device"]


def test_twice_the_epochs_take_twice_the_steps(done: Run) -> None:
    assert estimate(tiny(epochs=6)).steps == 2 * estimate(tiny(epochs=3)).steps


def test_a_step_is_measured_with_as_many_pictures_as_it_can_have(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    train = loop.train

    def watched(config: Any, state: Any, training: Any, *others: Any) -> bool:
        seen.extend([config.batch_size, len(training)])
        return train(config, state, training, *others)

    monkeypatch.setattr(loop, "train", watched)
    shown = len(split_rows(done.config, Dataset("demo"), done.validation_photos)["train"])
    estimate(tiny(batch_size=4096))
    estimate(tiny(batch_size=4096, pictures_per_epoch=7))
    assert seen == [shown, 4 * shown, 7, 4 * 7]


@pytest.mark.parametrize("model", MODELS)
def test_every_network_can_be_measured_without_its_pretrained_weights(model: str, done: Run) -> None:
    assert estimate(tiny(model=model, batch_size=2)).step_seconds > 0


def test_a_slow_look_at_the_validation_pictures_makes_no_step_negative(
    done: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, measure = [], loop.measure

    def slow(*given: Any) -> tuple[float, float]:
        looks.append(1)
        time.sleep(0.5 if len(looks) == 3 else 0)  # the one that is timed
        return measure(*given)

    monkeypatch.setattr(loop, "measure", slow)
    told = estimate(done.config)
    assert len(looks) == 3
    assert 0 < told.step_seconds < 0.5 / 4


def test_a_run_whose_steps_were_alike_gives_its_pace(done: Run) -> None:
    jobs.write_status(done.folder, pictures_per_second=123.0)
    assert seen_before(tiny(epochs=99, learning_rate=1e-5, seed=7), done) == 123.0
    assert seen_before(tiny(model="deep_cnn"), done) is None
    assert seen_before(tiny(batch_size=8), done) is None
    assert seen_before(tiny(rotation=90), done) is None
    jobs.write_status(done.folder, pictures_per_second=None)
    assert seen_before(tiny(), done) is None


@pytest.mark.parametrize(
    ("splits", "per_epoch", "shown"),
    [
        (["train"] * 20 + ["test"] * 5, 0, 15),
        (["train"] * 20 + ["val"] * 5, 0, 20),
        (["train"] * 20 + ["val"] * 5, 8, 8),
        (["train"] * 20, 99, 15),
    ],
)
def test_what_is_kept_back_for_validation_is_not_shown(splits: list[str], per_epoch: int, shown: float) -> None:
    config = tiny(pictures_per_epoch=per_epoch, validation_fraction=0.25)
    assert pictures_an_epoch(config, pd.Series(splits)) == shown


def test_all_that_changes_pictures_matters() -> None:
    assert {name for name, spec in fields().items() if spec.metadata["group"] == AUGMENTATION} <= set(MATTERS)
    assert set(MATTERS) <= set(fields())
