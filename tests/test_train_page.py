"""The Train page: presets and the form of every setting, what a card tells of a run at work, its buttons, its log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from bloodcell_core import config, disk, runs
from bloodcell_core.config import PRESETS
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.runs import Run
from bloodcell_core.training import jobs
from tests.conftest import class_files, write_files
from tests.test_pages import draw, press, words
from tests.training_fixtures import tiny, train_here
from ui import curves
from ui.config_form import STEP_BY_STEP

pytest_plugins = ["tests.training_fixtures"]

TRAIN = "pages/2_Train.py"


def widgets(app: AppTest) -> dict[str, Any]:
    """What the page asks, by its label."""
    return {each.label: each for kind in (app.number_input, app.text_input, app.selectbox) for each in kind}


def label(field: str) -> str:
    return field.replace("_", " ").capitalize()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fills_the_form(preset: str, lab: object) -> None:
    app = draw(TRAIN, preset=preset)
    asked = widgets(app)
    assert asked["Settings"].value == preset
    for field, value in PRESETS[preset].items():
        if field != "view":
            told = asked[label(field)].value
            assert config.parse(field, told) == value if isinstance(told, str) else told == value, field
    (view,) = [each for each in app.button_group if each.label == "View"]
    assert view.value == PRESETS[preset]["view"]


def test_every_setting_stands_in_the_form_with_its_own_help(lab: object) -> None:
    asked = widgets(draw(TRAIN))
    for field, spec in config.fields().items():
        if field not in STEP_BY_STEP:
            assert asked[label(field)].help == spec.metadata["help"]


def in_the_other_dataset(app: AppTest, tmp_path: Path) -> dict[str, Any]:
    """What the page asks once another dataset has been chosen."""
    import_dataset(write_files(tmp_path / "other", class_files()), name="other", trace=False)
    app.run()
    widgets(app)["Dataset"].set_value("other").run()
    assert not app.exception
    assert widgets(app)["Dataset"].value == "other"
    return widgets(app)


def test_labels_and_classes_of_one_dataset_are_not_those_of_another(lab: object, tmp_path: Path) -> None:
    app = draw(TRAIN, dataset="demo", labels="day-one@1")
    assert widgets(app)["Labels"].value == "day-one@1"
    widgets(app)["Refuse"].set_value("monocyte").run()
    asked = in_the_other_dataset(app, tmp_path)
    assert [asked["Labels"].value, asked["Refuse"].value] == ["", ""]
    assert "With the reviewed labels" not in words(app)


def test_a_run_s_settings_on_another_dataset_are_without_its_classes(lab: object, tmp_path: Path) -> None:
    run = jobs.create_run(tiny(refuse="monocyte", epochs=2))
    jobs.write_status(run.folder, state="stopped")
    app = draw(TRAIN, dataset="demo", preset=f"like {run.name}")
    assert widgets(app)["Refuse"].value == "monocyte"
    asked = in_the_other_dataset(app, tmp_path)
    assert [asked["Refuse"].value, asked["Epochs"].value] == ["", "2"]


def test_labels_of_a_deleted_dataset_are_not_those_of_the_one_that_is_shown_instead(lab: object) -> None:
    asked = widgets(draw(TRAIN, dataset="gone", labels="day-one@1"))
    assert [asked["Dataset"].value, asked["Labels"].value] == ["demo", ""]


def test_a_duplicate_of_a_run_has_that_run_s_labels(done: Run) -> None:
    app = press(draw(TRAIN, dataset="demo", labels="day-one@1"), "Duplicate")
    assert widgets(app)["Labels"].value == ""


def test_an_adapted_run_is_not_offered_to_be_trained_again(done: Run) -> None:
    told = disk.read_json(done.folder / "config.json")
    disk.write_json(done.folder / "config.json", told | {"adapted": {"from": "another"}})
    assert "Duplicate" not in [button.label for button in draw(TRAIN).button]


def at_work(run: Run, **status: Any) -> None:
    jobs.write_status(run.folder, state="running", phase="training", **status)


def test_a_run_at_work_tells_how_far_it_is_and_can_be_stopped(lab: object) -> None:
    run = jobs.create_run(tiny())
    at_work(run, step=12, total_steps=24, epoch=1, pictures_per_second=123.4, seconds_left=65, memory_mb=1536)
    with run.lock:
        app = draw(TRAIN)
        (progress,) = app.get("progress")
        assert progress.proto.text == "epoch 2 of 3 · 123 pictures a second · 65 s left · 1.5 GB"
        assert progress.proto.value == 50
        app = press(app, "Stop")
        assert (run.folder / "stop").exists()
        assert [button.label for button in app.button if button.disabled and "Stop" in button.label] == ["Stopping …"]


def test_a_run_that_ended_early_is_resumed_by_a_click(lab: object, monkeypatch: pytest.MonkeyPatch) -> None:
    run = jobs.create_run(tiny())
    jobs.write_status(run.folder, state="stopped", reason="stopped on request")
    started = []
    monkeypatch.setattr(jobs, "start", lambda run: started.append(run.name))
    press(draw(TRAIN), "Resume")
    assert started == [run.name]
    assert run.status()["state"] == "queued"


def test_a_run_that_was_tested_on_nothing_says_so_and_leads_to_no_page_of_figures(done: Run) -> None:
    disk.write_json(done.folder / "summary.json", done.summary() | {"test": None})
    app = draw(TRAIN)
    assert "tested on no picture" in words(app)
    assert not [link for link in app.get("page_link") if "runs=" in link.proto.query_string]


def test_the_end_of_a_run_s_log_is_shown(done: Run) -> None:
    (done.folder / "worker.log").write_text("first\nlast\n")
    assert [code.value for code in draw(TRAIN).code] == ["first\nlast"]


def test_several_runs_stand_in_one_plot(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    other = train_here(seed=5)
    drawn = []
    monkeypatch.setattr(curves, "_CHART", lambda **told: drawn.append(told["data"]))
    draw(TRAIN)
    (data,) = drawn
    assert [run["id"] for run in data["runs"]] == [other.name, done.name]
    for plot, splits in zip(data["plots"], (["step", "train", "validation"], ["train", "validation"]), strict=True):
        assert [(line["run"], line["split"]) for line in plot["lines"]] == [
            (place, split) for place in (0, 1) for split in splits
        ]
    app = draw(TRAIN)
    next(box for box in app.multiselect if box.label == "Runs in the chart").set_value([done.name]).run()
    assert [run["id"] for run in drawn[-1]["runs"]] == [done.name]


def test_a_damaged_place_in_the_queue_is_told(lab: object) -> None:
    waiting = jobs.create_run(tiny())
    (waiting.folder / "turn.json").write_text("{}")
    app = draw(TRAIN)
    assert "turn.json is damaged" in words(app).replace("\\", "")
    assert runs.readable_runs()[1][0].endswith("waits in the order in which it was queued")
