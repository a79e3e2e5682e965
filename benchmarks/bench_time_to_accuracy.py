"""Seconds of training until the published accuracy: `python -m benchmarks.bench_time_to_accuracy ARCHIVE.zip --log F`.

The clock stops when 0.8082 of the archive's 2,487 TEST pictures are right, the figure of the original analysis. Reading
TEST here is for this clock only, and nothing is chosen by it; the time that it takes does not count.

original   deep_cnn on whole pictures by ImageFolder, a DataLoader and a plain loop, Adam at the best of three rates (by
           accuracy on validation photos cut from TRAIN). Its first weights are He's, as everywhere in this project:
           with PyTorch's own it stays at chance (docs/experiments.md), so this is the original's way at its best.
ours       cell_net on the cell view with the settings of a preset, by bloodcell_core.training.loop.train with all that
           a worker writes, trained on TRAIN without its validation photos. Building the view is reported beside.

Both are taken in turn, seed after seed. A run that has not got there at 100,000 pictures, or at its end, counts as
"more than" the time that it took. Each finished row is appended to --log; rows that are there are not done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.datasets import ImageFolder

from benchmarks.ways import SIZE, batches, begin, image_folder, plain_step, scratch_workspace, unpack
from bloodcell_core.config import PLAIN, PRESETS, TrainConfig
from bloodcell_core.data import dataset as datasets
from bloodcell_core.data.views import build_view
from bloodcell_core.device import Device, choose_device
from bloodcell_core.models.network import build_network
from bloodcell_core.training import prepare
from bloodcell_core.training.loop import LabelledPictures, TrainState, measure, resident, train
from bloodcell_core.training.reporter import Reporter
from bloodcell_core.training.sampling import steps_per_epoch

WANTED = 0.8082
RATES = (1e-3, 3e-4, 1e-4)
RATE_BUDGET = 30_000  # pictures: after 10,000 all three rates are still at chance
MOST = 100_000  # pictures, after which a run is given up
CHECKED_EVERY = {"original": 2_000, "ours": 1_000}  # pictures, at the next batch or log
CLASSES = 4


def frozen(pictures: Dataset[tuple[torch.Tensor, int]]) -> LabelledPictures:
    """All pictures of an ImageFolder in memory, as ToTensor had them."""
    every = [*DataLoader(pictures, 256)]
    pixels = torch.cat([(inputs * 255).round().to(torch.uint8).permute(0, 2, 3, 1) for inputs, _ in every])
    return LabelledPictures(pixels.contiguous(), torch.cat([labels for _, labels in every]))


def best_rate(training: ImageFolder, root: Path, data: str, workers: int, device: Device) -> dict[str, Any]:
    """Which rate has the highest accuracy on validation photos after a short training."""
    dataset = datasets.Dataset(data)
    config = TrainConfig(**PLAIN | {"data": data, "model": "deep_cnn", "seed": 0})
    rows = prepare.split_rows(config, dataset, prepare.cut_validation(config, dataset))
    kept_back = set(dataset.pictures.file[rows["val"]])
    places: dict[bool, list[int]] = {True: [], False: []}
    for place, (file, _) in enumerate(training.samples):
        places[Path(file).relative_to(root).as_posix() in kept_back].append(place)
    validation, rest = frozen(Subset(training, places[True])), Subset(training, places[False])
    accuracy = {}
    for rate in RATES:
        net, optimizer, shown = *original_start(0, rate, device), 0
        for inputs, labels in batches(rest, workers):
            plain_step(net, optimizer, inputs, labels, device.device)
            shown += len(labels)
            if shown >= RATE_BUDGET:
                break
        accuracy[rate] = measure(net, validation, device)[1]
    return {"rate": max(accuracy, key=accuracy.__getitem__), "accuracy": accuracy, "pictures": len(validation)}


def original_start(seed: int, rate: float, device: Device) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    net = build_network("deep_cnn", CLASSES, SIZE).to(device.device).train()
    return net, torch.optim.Adam(net.parameters(), rate)


def original(
    seed: int, rate: float, training: ImageFolder, test: LabelledPictures, workers: int, device: Device
) -> dict[str, Any]:
    started = time.perf_counter()
    net, optimizer = original_start(seed, rate, device)
    shown, checked, best = 0, 0, 0.0
    for inputs, labels in batches(training, workers):
        plain_step(net, optimizer, inputs, labels, device.device)
        shown += len(labels)
        if shown - checked >= CHECKED_EVERY["original"]:
            paused, checked = time.perf_counter(), shown
            best = max(best, measure(net, test, device)[1])
            started += time.perf_counter() - paused
            if best >= WANTED or shown >= MOST:
                break
    return {"seconds": time.perf_counter() - started, "pictures": shown, "best": best, "reached": best >= WANTED}


class Clock(Reporter):
    """What a worker's hooks do, and a look at TEST every so often, for which the clock stands still."""

    def __init__(self, *arguments: Any, test: LabelledPictures, batch: int, device: Device):
        super().__init__(*arguments)
        self._test, self._pictures_a_step, self._where = test, batch, device
        self.paused, self.best, self.shown, self._checked = 0.0, 0.0, 0, 0

    def checkpoint(self, state: TrainState, epoch_ended: bool) -> None:
        super().checkpoint(state, epoch_ended)
        self.shown = state.step * self._pictures_a_step
        if self.shown - self._checked >= CHECKED_EVERY["ours"]:
            started, self._checked = time.perf_counter(), self.shown
            self.best = max(self.best, measure(state.average or state.network, self._test, self._where)[1])
            self.paused += time.perf_counter() - started

    def stop_requested(self) -> bool:
        return self.best >= WANTED or self.shown >= MOST or super().stop_requested()


def ours(config: TrainConfig) -> dict[str, Any]:
    dataset = datasets.Dataset(config.data)
    started = time.perf_counter()
    view = build_view(dataset, *config.sight)
    building = time.perf_counter() - started
    rows = dataset.pictures.index[dataset.pictures.split == "test"].to_numpy()
    test = resident(view, rows, dataset.class_indices(), choose_device(config.device))

    started = time.perf_counter()
    run, training, validation, state, device = begin(config)
    steps = config.epochs * steps_per_epoch(config, len(training))
    told = (run, 0, steps, config.batch_size, device, lambda line: None)
    with Clock(*told, test=test, batch=config.batch_size, device=device) as clock:
        train(config, state, training, validation, device, clock)
    seconds = time.perf_counter() - started - clock.paused
    return {
        "seconds": seconds, "pictures": clock.shown, "best": clock.best, "reached": clock.best >= WANTED,
        "building the view": building,
    }  # fmt: skip


def show(rows: list[dict[str, Any]]) -> None:
    print(f"{'way':10} {'seed':>4} {'seconds':>9} {'pictures':>9} {'best on TEST':>13}")
    for row in rows:
        seconds = ("" if row["reached"] else ">") + f"{row['seconds']:.0f}"
        beside = f"   (view: {row['building the view']:.0f} s)" if row.get("building the view", 0) > 1 else ""
        print(f"{row['way']:10} {row['seed']:4} {seconds:>9} {row['pictures']:9,} {row['best']:13.4f}{beside}")
    times = {way: [row["seconds"] for row in rows if row["way"] == way] for way in CHECKED_EVERY}
    reached = {way: all(row["reached"] for row in rows if row["way"] == way) for way in CHECKED_EVERY}
    if not all(times.values()):
        return
    if not reached["ours"]:
        print("not every run of ours got there: no ratio can be told")
        return
    at_least = "" if reached["original"] else "at least "
    medians = statistics.median(times["original"]) / statistics.median(times["ours"])
    print(f"of the medians ours is {at_least}{medians:.1f} times as fast; the slowest of ours against the original's "
          f"fastest: {at_least}{min(times['original']) / max(times['ours']):.1f} times")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--data", default="archive", help="the archive's dataset in the workspace")
    parser.add_argument("--log", type=Path, required=True, help="JSON lines, a row a finished run")
    parser.add_argument("--preset", default="balanced", choices=PRESETS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2, help="of the original's DataLoader")
    parser.add_argument("--show", action="store_true", help="print what the log holds and end")
    chosen = parser.parse_args()

    def logged() -> list[dict[str, Any]]:
        lines = chosen.log.read_text().splitlines() if chosen.log.exists() else []
        return [json.loads(line) for line in lines]

    def keep(row: dict[str, Any]) -> None:
        with open(chosen.log, "a") as log:
            log.write(json.dumps(row) + "\n")
        print(row, flush=True)

    def is_done(way: str, seed: int) -> bool:
        return any(row["way"] == way and row["seed"] == seed for row in logged())

    device = choose_device(chosen.device)
    print(f"{device.reason}; {torch.get_num_threads()} threads; torch {torch.__version__}; preset {chosen.preset}")
    settings = PRESETS[chosen.preset] | {"data": chosen.data, "model": "cell_net", "view": "cell"}
    config = TrainConfig.from_json(settings | {"device": chosen.device})
    todo = [(seed, way) for seed in chosen.seeds for way in CHECKED_EVERY if not is_done(way, seed)]
    if todo and not chosen.show:
        with tempfile.TemporaryDirectory(prefix="bench-time-") as name, scratch_workspace(Path(name), chosen.data):
            root = Path(name) / "pictures"
            training = image_folder(unpack(chosen.archive, root, "TRAIN"))
            test = frozen(image_folder(unpack(chosen.archive, root, "TEST")))
            for seed, way in todo:
                if way == "original" and not is_done("rate", 0):
                    keep({"way": "rate", "seed": 0} | best_rate(training, root, chosen.data, chosen.workers, device))
                if way == "original":
                    rate = next(row["rate"] for row in logged() if row["way"] == "rate")
                    row = original(seed, rate, training, test, chosen.workers, device)
                else:
                    row = {"preset": chosen.preset} | ours(replace(config, seed=seed))
                keep({"way": way, "seed": seed} | row)
    show([row for row in logged() if row["way"] in CHECKED_EVERY])


if __name__ == "__main__":
    main()
