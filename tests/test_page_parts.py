"""Parts of pages by themselves: what they say where something is missing, or fails."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bloodcell_core.data.importing import import_dataset
from bloodcell_core.errors import LabError
from tests.conftest import write_class_folder
from tests.test_pages import draw
from ui import compare_panels, dataset_pictures, device, estimates, lab, review_more, run_cards, search_charts
from ui.theme import AXIS_TEXT


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the parts write on the page."""
    words: list[str] = []
    for module in (run_cards, compare_panels):
        for kind in ("markdown", "caption"):
            monkeypatch.setattr(module.st, kind, lambda text, **_: words.append(text))
    return words


def test_a_verdict_that_another_person_took_back_first_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def undo(*_: Any, **__: Any) -> None:
        raise LabError("event 3 was taken back before")

    errors: list[str] = []
    monkeypatch.setattr(review_more, "undo", undo)
    monkeypatch.setattr(review_more.shell, "show_error", errors.append)
    review_more._take_back(SimpleNamespace(by="me"), SimpleNamespace(id=3))  # type: ignore[arg-type]
    assert errors == ["event 3 was taken back before"]


def test_a_run_whose_epochs_were_not_compared_names_no_best_one(told: list[str]) -> None:
    test = {
        "accuracy": 0.9,
        "intervals": {"accuracy": None},
        "pictures": 48,
        "photos": 12,
        "unit": "photo",
        "per_class": {"monocyte": {"support": 48}},
    }
    summary = {"test": test, "best_epoch": None, "training_seconds": 60}
    run_cards._result(SimpleNamespace(summary=lambda: summary, is_ensemble=False))  # type: ignore[arg-type]
    assert "epoch" not in told[0]
    summary["best_epoch"] = 3
    run_cards._result(SimpleNamespace(summary=lambda: summary, is_ensemble=False))  # type: ignore[arg-type]
    assert "best epoch 3" in told[1]


def test_runs_without_a_class_in_common_have_no_curves_together(told: list[str]) -> None:
    sides: Any = [SimpleNamespace(classes=["infected", "sound"]), SimpleNamespace(classes=["lymphocyte", "monocyte"])]
    compare_panels._curves(sides, {}, "roc")
    compare_panels._by_class(sides, {})
    assert told == ["These runs have no class in common."] * 2


def test_runs_that_write_a_class_otherwise_have_it_in_common(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def side(name: str, *classes: str) -> Any:
        labels = [*classes, *classes]
        table = pd.DataFrame(
            {"label": labels} | {f"p_{one}": [float(one == each) for each in labels] for one in classes}
        )
        return SimpleNamespace(name=name, classes=[*classes], table=table)

    drawn: list[Any] = []
    figures = {"recall": 0.5, "auc": 1.0, "intervals": {"recall": None}, "support": 2, "photos": None}
    monkeypatch.setattr(
        compare_panels.compare, "scores", lambda side: {"per_class": dict.fromkeys(side.classes, figures)}
    )
    monkeypatch.setattr(compare_panels.address, "selectbox", lambda *args, default=None, **_: default or args[1][0])
    monkeypatch.setattr(compare_panels, "draw", lambda figure, *_: drawn.append(figure))
    sides = [side("a", "EOSINOPHIL", "NEUTROPHIL"), side("b", "basophil", "eosinophil", "Neutrophils")]
    compare_panels._by_class(sides, {"a": "A", "b": "B"})
    compare_panels._curves(sides, {"a": "A", "b": "B"}, "roc")
    bars, curves = drawn
    assert [list(bar.x) for bar in bars.data] == [["Eosinophil", "Neutrophil"]] * 2
    assert sum(curve.name is not None for curve in curves.data) == 2
    assert not any("in common" in words for words in told)


def test_a_measurement_that_fails_is_told_and_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = [subprocess.CompletedProcess([], code, '{"seconds": 9}', words) for code, words in
             ((2, "train: no room\n"), (-9, ""), (0, ""))]  # fmt: skip
    monkeypatch.setattr(estimates.subprocess, "run", lambda *_, **__: ended.pop(0))
    for words in ("train: no room", "ended without a word"):
        with pytest.raises(LabError, match=words):
            estimates._measured('{"seed": 987654}', "here")
    assert estimates._measured('{"seed": 987654}', "here") == {"seconds": 9}


def test_the_facts_of_a_picture_say_what_their_figures_mean() -> None:
    row = {
        "file": "a.png", "split": "test", "width": 320, "height": 240, "mode": "RGB", "source_photo": None, "cells": 1,
        "box_told": False, "cell_area": 100.0, "red_radius": None, "focus": 1.3, "brightness": 221.2,
        "stain_a": -0.3, "stain_b": -6.6, "black_border": 0.0, "image_id": "3950467fff4e99",
    }  # fmt: skip
    facts = dataset_pictures.facts_of(SimpleNamespace(pictures=pd.DataFrame([row])), 0)  # type: ignore[arg-type]
    assert facts["Focus"] == "1.30; 1 is flat, from 1.2 sharp"
    assert facts["Its tint"] == "0 from green to red, −7 from blue to yellow"
    assert facts["Id"] == "3950467fff4e"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("CPU: PyTorch sees no CUDA device", ("CPU", "PyTorch sees no CUDA device")),
        (
            "NVIDIA H200: the fastest device here (cuda:0, bfloat16)",
            ("NVIDIA H200", "the fastest device here (cuda:0, bfloat16)"),
        ),
    ],
)
def test_a_device_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch, reason: str, told: tuple[str, str]) -> None:
    monkeypatch.setattr(device.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=f"{reason}\n"))
    device.device_and_reason.clear()
    assert device.device_and_reason() == told
    device.device_and_reason.clear()


def test_a_trial_that_was_broken_off_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(search_charts.st, "altair_chart", lambda chart, **_: drawn.append(chart.to_dict()))
    trial = {"val_loss": 1.0, "val_accuracy": 0.5, "epochs": 2}
    rows = [{"number": 1, "state": "done"} | trial, {"number": 2, "state": "pruned"} | trial]
    search_charts.losses(pd.DataFrame(rows))
    told = json.dumps(drawn)
    assert "broken off" in told
    assert drawn[0]["config"]["axis"]["labelColor"] in AXIS_TEXT  # not Streamlit's own
    assert "pruned" not in told


def test_a_map_of_some_of_the_pictures_says_of_how_many(lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_dataset(write_class_folder(lab_home / "source"), "cells", trace=False)
    monkeypatch.setattr(lab, "picture_map", lambda data, *_: (data.pictures.index.to_numpy()[:2], np.zeros((2, 2))))
    captions = [each.value for each in draw("pages/1_Browse.py", dataset="cells", show="map").caption]
    assert "2 pictures, drawn out of all 12." in captions
