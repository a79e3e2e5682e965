"""Adaptation jobs: requested by a page, run in a process of their own, on the cells labelled on a slide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bloodcell_core import background, runs
from bloodcell_core.background import ENDED
from bloodcell_core.cells import Box
from bloodcell_core.data.combining import combine
from bloodcell_core.data.dataset import Dataset, names, remove, unused_name
from bloodcell_core.errors import LabError
from bloodcell_core.inference import adaptation
from bloodcell_core.inference.answers import CellAnswer
from bloodcell_core.runs import Run
from bloodcell_core.smear import adaptation_jobs, slides
from bloodcell_core.smear.adaptation_jobs import AdaptationJob, of_classes, start, work
from bloodcell_core.smear.corrections import Correction, cell_id
from bloodcell_core.smear.slide_answers import SlideAnswers
from bloodcell_core.smear.slide_cells import counted_pictures
from bloodcell_core.smear.slides import Slide
from tests.conftest import encoded, random_picture
from tests.training_fixtures import Killed, drawn, wait_for

pytest_plugins = ["tests.training_fixtures"]

PICTURES, SIDE = 12, 40  # each picture shows one cell of each class


def labelled_slide(run: Run, pictures: int = PICTURES, name: str = "My slide") -> Slide:
    """A slide with a cell of each class on each picture, all labelled by hand; what they show doesn't matter here."""
    handed = [(f"{n}.png", lambda n=n: encoded(random_picture(n, 320, 240))) for n in range(pictures)]
    slide = slides.create(name, run.name, handed)
    boxes: list[Box] = [(n * 60, 60, n * 60 + SIDE, 60 + SIDE) for n in range(4)]
    shares = dict.fromkeys(run.classes, 0.25)
    lines: list[dict[str, Any]] = []
    corrections = []
    for picture in slide.pictures:
        cells = [vars(CellAnswer(box, "ok", run.classes[0], shares, nucleus=box)) for box in boxes]
        answer = {"path": "", "state": "ok", "kind": "field", "width": 320, "height": 240, "cells": cells}
        lines.append({"picture": picture.number, "asked": "", "answer": answer})
        corrections += [
            Correction(picture.number, "label", cell_id(box), label, box)
            for box, label in zip(boxes, run.classes, strict=True)
        ]
    SlideAnswers(slide, run.name).append(lines)
    return slides.correct(slide, corrections)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs start no process: a test works at them itself, and quickly."""
    monkeypatch.setattr(background.Job, "start", lambda job, module: job.tell(**background.starting()))
    monkeypatch.setitem(adaptation.SETTINGS, "epochs", 2)
    torch.set_num_threads(1)


def test_a_run_is_adapted_to_a_slide_s_cells_by_a_process_of_its_own(done: Run):
    slide = labelled_slide(done)
    job = start(done, slide)
    assert job.request == {"run": done.name, "slide": slide.id, "slide_name": "My slide", "data": None}
    status = wait_for(lambda: (told := job.status())["state"] in ENDED and told, "it has ended", 600)
    assert status["state"] == "done", (status, (job.folder / "worker.log").read_text())
    made = Run(status["run"])
    facts = made.summary()["adaptation"]
    assert "of 48 cells" in facts["compared"]["verdict"], "a picture is what a cell was cut from"
    assert (facts["from"], facts["cells"], facts["photos"], facts["folds"]) == (done.name, 48, 12, 5)
    assert (status["done"], status["total"]) == (180, 180)
    assert made.config.data == "my-slide-cells"
    assert sorted(Dataset("my-slide-cells").pictures.label.value_counts()) == [12] * 4
    job.dismiss()
    assert AdaptationJob.readable() == ([], [])
    assert made.name in runs.names()


def test_a_stop_keeps_nothing(done: Run, here: None, monkeypatch: pytest.MonkeyPatch):
    before = runs.names(), names()
    job = start(done, labelled_slide(done))

    def asked(network: Any, *given: Any) -> Any:
        job.request_stop()
        return adapted(network, *given)

    adapted = adaptation.adapted
    monkeypatch.setattr(adaptation, "adapted", asked)
    work(job)
    assert job.status()["state"] == "stopped"
    assert (runs.names(), names()) == before


def test_too_few_cells_fail_with_the_reason_and_leave_nothing(done: Run, here: None):
    before = runs.names(), names()
    job = start(done, labelled_slide(done, pictures=9))
    work(job)
    status = job.status()
    assert status["state"] == "failed"
    assert "36 labelled cells are too few" in status["reason"]
    assert (runs.names(), names()) == before


def test_a_dataset_that_was_chosen_is_adapted_to_and_stays(done: Run, here: None):
    drawn("own", per_class=12, seed=21)
    job = start(done, labelled_slide(done, pictures=1), "own")
    work(job)
    assert job.status()["state"] == "done", job.status()
    assert Run(job.status()["run"]).config.data == "own"
    assert "own" in names()
    assert "my-slide-cells" not in names()
    removed = start(done, labelled_slide(done, pictures=1), "gone")
    work(removed)
    assert "there is no dataset 'gone'" in removed.status()["reason"]


def test_a_dataset_stays_while_a_run_is_adapted_to_it(done: Run, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn("own", per_class=12, seed=21)
    job = start(done, labelled_slide(done, pictures=1), "own")
    refused = f"adaptation '{job.name}' is at work on dataset 'own': stop it first"
    with pytest.raises(LabError, match=refused):  # it is about to start
        remove("own")
    tried: list[str] = []

    def deleting(*_: Any) -> None:
        for name in ("own", "my-slide-cells"):
            try:
                remove(name)
            except LabError as error:
                tried.append(str(error))
        raise LabError("no luck")

    monkeypatch.setattr(adaptation, "adapted", deleting)
    work(job)
    assert tried[0] == refused
    remove("own")
    work(start(done, labelled_slide(done)))
    assert "is at work on dataset 'my-slide-cells': stop it first" in tried[-1]
    assert names() == ["demo"], "the job itself deletes what it made of the cells in vain"


def test_of_a_job_that_was_killed_the_dataset_goes_that_it_made_of_the_chosen_one(
    done: Run, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is made where the chosen one's classes are called otherwise than the run's."""

    def killed(*_: Any) -> None:
        raise Killed

    combine("theirs", [(drawn("own", per_class=12, seed=21), {"neutrophil": "NEU"})])
    job = start(done, labelled_slide(done, pictures=1), "theirs")
    with monkeypatch.context() as patch:
        patch.setattr(adaptation, "_adapted_run", killed)
        patch.setattr(adaptation, "remove_dataset", lambda name: None)  # SIGKILL leaves no time for it
        with pytest.raises(Killed):
            work(job)
    assert "theirs-as-demo" in names()
    job.dismiss()
    assert "theirs-as-demo" not in names()
    assert {"theirs", "own"} <= {*names()}


def test_a_worker_that_is_gone_and_files_that_are_damaged_are_told(done: Run, here: None):
    job = start(done, labelled_slide(done, pictures=1))
    job.tell(state="running")
    assert job.status()["state"] == "interrupted"
    assert "adapt once more" in job.status()["reason"]
    drawn("my-slide-cells", per_class=12, seed=21)  # as it had been made before the kill
    job.tell(made="my-slide-cells")
    job.dismiss()
    assert "my-slide-cells" not in names()
    job = start(done, labelled_slide(done, pictures=1, name="Other"))
    (job.folder / "request.json").write_text('{"run": "x"}')
    good, damaged = AdaptationJob.readable()
    assert good == []
    assert "request.json is damaged" in damaged[0]


def test_a_job_that_is_killed_before_its_dataset_is_made_claims_none(done: Run, here: None, monkeypatch):
    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    job = start(done, labelled_slide(done, pictures=1))
    monkeypatch.setattr(adaptation_jobs, "send_to_dataset", killed)
    with pytest.raises(Killed):
        work(job)
    drawn("my-slide-cells", per_class=12, seed=21)  # somebody else's, of the same slide
    job.dismiss()
    assert "my-slide-cells" in names()


def test_cells_of_another_run_s_classes_are_left_out(done: Run):
    slide = labelled_slide(done, pictures=2)
    pictures = counted_pictures(slide, SlideAnswers(slide, done.name), 0.0)
    kept = of_classes(pictures, done.classes[:3])
    assert [cell.label for one in kept for cell in one.cells] == done.classes[:3] * 2
    assert of_classes(pictures, done.classes) == pictures


def test_cells_that_were_labelled_on_answers_averaged_over_turns_are_adapted_to(done: Run, here: None):
    slide = labelled_slide(done)
    SlideAnswers(slide, done.name).file.rename(SlideAnswers(slide, done.name, average_turns=True).file)
    job = start(done, slide)
    work(job)
    assert job.status()["state"] == "done", job.status()["reason"]
    assert len(Dataset("my-slide-cells").pictures) == 48


def test_a_second_dataset_of_a_slide_has_a_name_of_its_own(lab: Path):
    assert unused_name("Demo!") == "demo-2"
    assert unused_name("<script>") == "script"
    assert unused_name("x" * 99) == "x" * 60
