"""How fast the loop trains: `python -m benchmarks.bench_training ARCHIVE.zip --data NAME [--device D] [--pictures N]`.

Pictures a second on the public archive, whole pictures of 96×96, NAME being its dataset in the workspace:

original, original-2   the original analysis's way: ImageFolder, Resize, ToTensor, a DataLoader without and with two
                       workers, a plain loop that asks for each loss
ours, ours-changed     bloodcell_core.training.loop.train as a run's worker calls it, logging, validation (one batch),
                       best weights and checkpoint of each epoch included; then with every change to the pictures on
ours-compiled          the same with torch.compile
limit                  forward, backward and optimizer step on one batch that lies on the device as floats

Each measure is a process of its own, so that its peak of memory is its own. All are started and warmed up (threads,
caches, compiling), then they take turns, round after round, one at work while the others wait: a machine whose speed
changes from second to second gives each the same. Ratios are taken within a round.

`--only idle` tells what a worker costs that waits for its turn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.ways import BATCH, SIZE, batches, begin, image_folder, plain_step, scratch_workspace, unpack
from bloodcell_core.config import PLAIN, TrainConfig
from bloodcell_core.device import Device, choose_device
from bloodcell_core.models import model_info
from bloodcell_core.models.forward import precision, to_input
from bloodcell_core.models.network import build_network
from bloodcell_core.training.loop import LabelledPictures, TrainState, make_optimizer, train
from bloodcell_core.training.memory import keep_freed_memory
from bloodcell_core.training.reporter import Reporter
from bloodcell_core.training.sampling import steps_per_epoch

NETWORKS = ("basic_cnn", "deep_cnn", "resnet18")
KINDS = ("original", "original-2", "ours", "ours-changed", "ours-compiled", "limit")
CHANGED = {
    "flips": 0.5, "rotation": 180.0, "zoom": 0.1, "shift": 0.05, "stain": 0.2, "light": 0.1, "blur": 1.0, "erase": 0.2
}  # fmt: skip
WARM_UP = 10  # batches
MOST_ROUNDS = 1000
CLASSES = 4
IDLE_SECONDS = 10


class Turns:
    """A measure's side of taking turns: it tells what it has done, and waits until it is called again."""

    def __init__(self, device: Device):
        self._device, self._began, self.wanted = device, 0.0, True

    def begin(self) -> None:
        _finish(self._device)
        self._began = time.perf_counter()

    def end(self, shown: int) -> None:
        """Prints pictures a second since `begin` and the peaks of memory in MB; returns when it is called again."""
        _finish(self._device)
        seconds = time.perf_counter() - self._began
        told = {"rate": shown / seconds} | {
            "host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,  # Linux counts in KiB
            "device": torch.cuda.max_memory_allocated() // 2**20 if self._device.is_cuda else 0,
        }
        print(json.dumps(told), flush=True)
        self.wanted = bool(sys.stdin.readline())
        self.begin()


class TurnReporter(Reporter):
    """An epoch is a turn, its checkpoint included."""

    def __init__(self, *arguments: Any, turns: Turns, pictures: int):
        super().__init__(*arguments)
        self._turns, self._pictures = turns, pictures

    def checkpoint(self, state: TrainState, epoch_ended: bool) -> None:
        super().checkpoint(state, epoch_ended)
        if epoch_ended:
            self._turns.end(self._pictures)

    def stop_requested(self) -> bool:
        return not self._turns.wanted or super().stop_requested()


def original(turns: Turns, network: str, batch: int, pictures: int, device: Device, folder: Path, workers: int) -> None:
    net = build_network(network, CLASSES, SIZE).to(device.device).train()
    optimizer = torch.optim.Adam(net.parameters(), model_info(network).learning_rate)
    loading = batches(image_folder(folder), workers, batch)
    while turns.wanted:
        for _ in range(WARM_UP):  # what workers have loaded while they waited counts for nothing
            plain_step(net, optimizer, *next(loading), device.device)
        turns.begin()
        steps = -(-pictures // batch)
        for _ in range(steps):
            plain_step(net, optimizer, *next(loading), device.device)
        turns.end(steps * batch)


def ours(turns: Turns, config: TrainConfig, pictures: int) -> None:
    config = replace(config, epochs=MOST_ROUNDS, pictures_per_epoch=pictures, weights="none")
    run, training, validation, state, device = begin(config)
    validation = LabelledPictures(validation.pictures[: config.batch_size], validation.labels[: config.batch_size])
    steps = config.epochs * steps_per_epoch(config, len(training))
    told = (run, 0, steps, config.batch_size, device, lambda line: None)
    with TurnReporter(*told, turns=turns, pictures=min(pictures, len(training))) as reporter:
        train(config, state, training, validation, device, reporter)


def limit(turns: Turns, config: TrainConfig, pictures: int, device: Device) -> None:
    channels_last = device.is_cuda or model_info(config.model).channels_last_on_cpu
    net: nn.Module = build_network(config.model, CLASSES, SIZE).to(device.device).train()
    if device.is_cuda:
        net = net.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(config, net)
    drawn = torch.randint(0, 256, (config.batch_size, SIZE, SIZE, 3), dtype=torch.uint8)
    inputs = to_input(drawn, device, channels_last)
    labels = torch.randint(0, CLASSES, (config.batch_size,), device=device.device)
    steps = -(-pictures // config.batch_size)
    turns.begin()
    while turns.wanted:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with precision(device):
                loss = functional.cross_entropy(net(inputs), labels)
            loss.backward()
            optimizer.step()
        turns.end(steps * config.batch_size)


def _finish(device: Device) -> None:
    if device.is_cuda:
        torch.cuda.synchronize()


def measure(kind: str, network: str, batch: int, chosen: argparse.Namespace) -> None:
    """In a process of its own: takes turns until its input ends. The first turn is its warm-up."""
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    device = choose_device(chosen.device)
    if not kind.startswith("original"):
        keep_freed_memory()  # as a worker does
    turns = Turns(device)
    asked = {"data": chosen.data, "model": network, "size": SIZE, "batch_size": batch, "device": chosen.device}
    config = TrainConfig(**PLAIN | asked)
    if kind.startswith("original"):
        folder = next(chosen.scratch.glob("**/images/TRAIN"))
        original(turns, network, batch, chosen.pictures, device, folder, workers=2 if kind == "original-2" else 0)
    elif kind == "limit":
        limit(turns, config, chosen.pictures, device)
    else:
        changes: dict[str, Any] = {"ours": {}, "ours-changed": CHANGED, "ours-compiled": {"compile": "yes"}}[kind]
        ours(turns, replace(config, **changes), chosen.pictures)


class Measure:
    """The process of one measure, from outside."""

    def __init__(self, kind: str, network: str, batch: int, scratch: str):
        command = [sys.executable, "-m", "benchmarks.bench_training", *sys.argv[1:], f"--scratch={scratch}"]
        command += ["--run", kind, network, str(batch)]
        # As jobs.start starts a worker: its threads sleep while they wait; the limit is such a process too.
        environment = ({} if kind.startswith("original") else {"OMP_WAIT_POLICY": "PASSIVE"}) | os.environ
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._told()

    def turn(self) -> dict[str, float]:
        assert self._process.stdin
        self._process.stdin.write("go on\n")
        self._process.stdin.flush()
        return self._told()

    def end(self) -> None:
        self._process.communicate()

    def _told(self) -> dict[str, float]:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):
                told: dict[str, float] = json.loads(line)
                return told
        raise SystemExit(f"a measure has ended with {self._process.wait()}")


def idle(data: str) -> None:
    """Memory and processor time of a queued run's worker while this process holds its device."""
    import psutil
    from filelock import FileLock

    from bloodcell_core import workspace
    from bloodcell_core.training import jobs

    run = jobs.create_run(TrainConfig(data=data, model="basic_cnn", device="cpu"))
    with FileLock(workspace.lock_file(f"device-{jobs.device_queue('cpu')}")):
        jobs.start(run)
        worker = psutil.Process().children()[0]
        while "waiting" not in run.log_tail():
            time.sleep(0.1)
        before, started = worker.cpu_times(), time.perf_counter()
        time.sleep(IDLE_SECONDS)
        after, seconds = worker.cpu_times(), time.perf_counter() - started
        used = after.user + after.system - before.user - before.system
        megabytes = worker.memory_info().rss // 2**20
        print(f"a waiting worker: {megabytes} MB, {used:.2f} s of processor time in {seconds:.0f} s")
        jobs.request_stop(run)
        worker.wait(60)


def spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def report(told: list[dict[str, dict[str, float]]], kinds: list[str]) -> None:
    """Prints a row a kind; `told` holds {kind: figures} of each round."""
    compared = {"limit": "of the limit", "original": "times the original", "original-2": "times it with workers"}
    for kind in kinds:
        row = f"  {kind:14} {spread([each[kind]['rate'] for each in told], 0):>28} pictures a second"
        for other, words in compared.items():
            if other in kinds and other != kind:
                row += f"; {spread([each[kind]['rate'] / each[other]['rate'] for each in told], 2)} {words}"
        peaks = {where: max(each[kind][where] for each in told) for where in ("host", "device")}
        print(row + "; MB: " + ", ".join(f"{where} {peak:,.0f}" for where, peak in peaks.items() if peak), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--data", default="archive", help="the archive's dataset in the workspace")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="of every measure; 0 leaves PyTorch's choice")
    parser.add_argument("--pictures", type=int, default=3200, help="of each turn")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, nargs="+", default=[BATCH])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--only", nargs="+", choices=[*KINDS, "idle"], default=[*KINDS, "idle"], metavar="KIND")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        kind, network, batch = chosen.run
        measure(kind, network, int(batch), chosen)
        return

    with tempfile.TemporaryDirectory(prefix="bench-training-") as folder, scratch_workspace(Path(folder), chosen.data):
        kinds = [kind for kind in KINDS if kind in chosen.only]
        if any(kind.startswith("original") for kind in kinds):
            unpack(chosen.archive, Path(folder) / "pictures", "TRAIN")

        threads = chosen.threads or torch.get_num_threads()
        print(
            f"{choose_device(chosen.device).reason}; {threads} threads; torch {torch.__version__}; "
            f"{chosen.rounds} rounds of {chosen.pictures:,} pictures; median (least to most)", flush=True,
        )  # fmt: skip
        for batch in chosen.batch:
            for network in chosen.networks if kinds else []:
                measures = {kind: Measure(kind, network, batch, folder) for kind in kinds}
                told = [{kind: each.turn() for kind, each in measures.items()} for _ in range(chosen.rounds)]
                for each in measures.values():
                    each.end()
                print(f"{network}, batches of {batch}:")
                report(told, kinds)
        if "idle" in chosen.only:
            idle(chosen.data)


if __name__ == "__main__":
    main()
