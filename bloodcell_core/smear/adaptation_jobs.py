"""Adaptation jobs: requested by a page, run in a process of their own, which goes on when the page is closed.

    adaptations/<utc>-<id>/request.json    the run, the slide on which it was requested, the dataset if one is given
                          /status.json     its progress; in the end the new run

Without a given dataset the job first makes one of the cells that a person labelled on the slide. Where it is stopped or
fails, that dataset is deleted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bloodcell_core import runs, workspace
from bloodcell_core.background import RequestedJob
from bloodcell_core.data import dataset as datasets
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.runs import Run
from bloodcell_core.smear.slide_answers import SlideAnswers, kept_as, unanswered
from bloodcell_core.smear.slide_cells import CountedPicture, counted_pictures
from bloodcell_core.smear.slide_dataset import send_to_dataset
from bloodcell_core.smear.slides import Slide, read_slide
from bloodcell_core.training.jobs import device_queue


class AdaptationJob(RequestedJob):
    """The adapting in folder `name` of adaptations/; LabError where there is none or its files are damaged."""

    kind, remedy = "adaptation", "adapt once more"
    keys, makes = ("run", "slide", "slide_name", "data"), "run"
    place = staticmethod(workspace.adaptations_dir)

    def dismiss(self) -> None:
        """As of any job; where it was killed, the dataset that it had made of the cells is deleted, too."""
        if not self.folder.exists():
            return
        status = self.status()
        made = status.get("made")
        used = {run.config.data for run in runs.readable_runs()[0]}
        if status["state"] == "interrupted" and made in datasets.names() and made not in used:
            datasets.remove(str(made))
        super().dismiss()


def start(run: Run, slide: Slide, data: str | None = None) -> AdaptationJob:
    """Starts adapting a run to the cells labelled on a slide, or to a dataset, in a process of its own.

    OSError where the job can't be written. What is wrong with the cells, the job's status says in the end.
    """
    request = {"run": run.name, "slide": slide.id, "slide_name": slide.name, "data": data}
    return AdaptationJob.ask(workspace.dated_name(), request)


def of_classes(pictures: Sequence[CountedPicture], classes: Sequence[str]) -> list[CountedPicture]:
    """The pictures without the cells that a person gave a class which isn't among `classes`: another run's."""
    return [
        replace(one, cells=tuple(cell for cell in one.cells if cell.state != "confirmed" or cell.label in classes))
        for one in pictures
    ]


# The worker


def work(job: AdaptationJob) -> None:
    """Adapts in this process; status.json says how it ended."""

    def do() -> dict[str, Any]:
        from bloodcell_core.training.worker import wait_for_device

        job.tell(state="running", phase="looking at the cells", done=0, total=0, seconds_left=None)
        run = Run(job.request["run"])
        waiting = "waiting until the device is free"
        with wait_for_device(device_queue("auto"), lambda: True, job.stop_requested, lambda: job.tell(phase=waiting)):
            return _adapt(job, run)

    job.work(do)


def _adapt(job: AdaptationJob, run: Run) -> dict[str, Any]:
    from bloodcell_core.inference.adaptation import adapt

    given = job.request["data"]
    data = Dataset(given) if given else _labelled(job, run)
    try:
        made = adapt(run, data, progress=job.phase("adapting"), tell_made=lambda name: job.tell(made=name))
    except BaseException:
        if not given:
            job.tell(data=None)  # it is no longer at work on it
            datasets.remove(data.name)
        raise
    return {"run": made.name}


def _labelled(job: AdaptationJob, run: Run) -> Dataset:
    """The dataset of the slide's labelled cells."""
    slide = read_slide(job.request["slide"])
    # Cells were labelled on the answers that the page showed, averaged over turns or not: where they lie is the same.
    answers = min((SlideAnswers(slide, kept_as(run), turns) for turns in (False, True)),
                  key=lambda known: len(unanswered(slide, known)))  # fmt: skip
    pictures = counted_pictures(slide, answers, 0.0, run.classes)
    name = datasets.unused_name(f"{slide.name}-cells")
    made = send_to_dataset(slide, of_classes(pictures, run.classes), name, progress=job.phase("cutting out the cells"))
    # Not before it is ours: another job may take the name meanwhile, and this one be killed.
    job.tell(made=name, data=name)
    return made


if __name__ == "__main__":
    work(AdaptationJob(sys.argv[1]))
