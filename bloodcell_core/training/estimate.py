"""How long a training will take, from a step of it measured on this machine."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from bloodcell_core.config import AUGMENTATION, TrainConfig, fields
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.splits import run_classes
from bloodcell_core.labels.overlays import of_config
from bloodcell_core.runs import Run

STEPS = 4  # that are measured, after as many that warm up
MEASURED_PICTURES = 64  # of a forward pass that is measured
MATTERS = (
    "model", "size", "width", "batch_size", "optimizer", "averaging", "clip_norm", "frozen_epochs", "compile", "device",
    *(name for name, spec in fields().items() if spec.metadata["group"] == AUGMENTATION),
)  # fmt: skip
"""Fields on which the time of a step depends."""


class Estimate(NamedTuple):
    """How long a training will take: in all, a step, how many steps, and on which device."""

    seconds: float
    step_seconds: float
    steps: int
    device: str


def estimate(config: TrainConfig) -> Estimate:
    """Measures some steps on pictures of noise and counts what the run will take. Not the building of a view.

    LabError where the run couldn't train.
    """
    import torch

    from bloodcell_core.device import choose_device, memory_told
    from bloodcell_core.training.loop import Hooks, LabelledPictures, measure, train
    from bloodcell_core.training.prepare import first_rows, first_state
    from bloodcell_core.training.sampling import steps_per_epoch

    dataset, device = Dataset(config.data), choose_device(config.device)
    if overlay := of_config(config, dataset):
        config = replace(config, labels=overlay.reference)
    rows, _, _ = first_rows(config, dataset)
    shown_an_epoch = min(len(rows["train"]), config.pictures_per_epoch or len(rows["train"]))
    batch = min(config.batch_size, shown_an_epoch)  # a step has no more
    few = replace(config, epochs=2, batch_size=batch, pictures_per_epoch=STEPS * batch, balance="none", patience=0,
                  frozen_epochs=0)  # fmt: skip
    count = STEPS * batch
    noise = torch.randint(0, 256, (count, config.size, config.size, 3), dtype=torch.uint8)
    pictures = LabelledPictures(noise.to(device.device), torch.zeros(count, dtype=torch.int64, device=device.device))
    shown = LabelledPictures(pictures.pictures[:MEASURED_PICTURES], pictures.labels[:MEASURED_PICTURES])
    state = first_state(config, len(run_classes(config, dataset)), device, "none")

    told: dict[str, list[float]] = {"step": [], "epoch": []}

    class Clock(Hooks):
        """When the steps of each epoch had been taken, and when the epoch had been judged, too."""

        def log(self, events: list[dict[str, Any]]) -> None:
            told[events[-1]["event"]].append(time.monotonic())

    with memory_told():
        train(few, state, pictures, shown, device, Clock())
        started = time.monotonic()
        measure(state.network, shown, device)
    forward = (time.monotonic() - started) / len(shown)
    step = (told["step"][-1] - told["epoch"][0]) / STEPS  # of the second epoch: the first warms up
    steps = config.epochs * steps_per_epoch(config, len(rows["train"]))
    judged = config.epochs * len(rows["val"]) + len(rows["val"]) + len(rows["test"])
    return Estimate(steps * step + judged * forward, step, steps, device.reason)


def pictures_an_epoch(config: TrainConfig, splits: pd.Series) -> float:
    """About how many pictures an epoch shows, given the split of each of the dataset's pictures."""
    kept_back = 0 if (splits == "val").any() else config.validation_fraction
    there = float((splits == "train").sum()) * (1 - kept_back)
    return min(config.pictures_per_epoch or there, there)


def seen_before(config: TrainConfig, run: Run) -> float | None:
    """Pictures a second that `run` had, where a step of it is like one of `config`; else None."""
    alike = all(getattr(config, name) == getattr(run.config, name) for name in MATTERS)
    rate = run.recorded_status().get("pictures_per_second") if alike else None
    return float(rate) if rate else None
