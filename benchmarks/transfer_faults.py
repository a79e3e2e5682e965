"""How a pretrained network falls to 0.43: `python -m benchmarks.transfer_faults --data NAME [--only CASE …]`.

EfficientNet-Lite0 with ImageNet's weights is fine-tuned on whole pictures of 96×96, once as it should be and once with
each fault that is common in such work, all with the same small number of pictures; two networks from scratch beside it.
Judged on validation photos cut from TRAIN, another cut for each seed; TEST is not read. Accuracy is that of the last
epoch and, behind it, of the best one.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.ways import BATCH, SIZE, Begun, begin, scratch_workspace
from bloodcell_core.config import PLAIN, TrainConfig
from bloodcell_core.device import Device
from bloodcell_core.models.forward import to_input
from bloodcell_core.training.loop import Hooks, LabelledPictures, train

RIGHT = {"frozen_epochs": 1, "body_rate": 0.2, "schedule": "one-cycle"}
PRETRAINED = "efficientnet_lite0"


def as_it_is(network: nn.Module) -> None:
    """Nothing is changed."""


def pixels_as_they_are(network: nn.Module) -> None:
    """The network sees 0…1 instead of what its weights were trained with."""
    network.get_buffer("mean").zero_()
    network.get_buffer("std").fill_(1)


def statistics_of_imagenet(network: nn.Module) -> None:
    """Batch normalisation goes on with ImageNet's means and variances while all weights learn."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
            layer.train = lambda mode=True, layer=layer: layer  # type: ignore[method-assign]


class Case(NamedTuple):
    settings: dict[str, Any]
    alter: Callable[[nn.Module], None] = as_it_is
    model: str = PRETRAINED


def cases(epochs: int) -> dict[str, Case]:
    return {
        "right": Case(RIGHT),
        "frozen": Case({"frozen_epochs": epochs}),
        "unnormalised": Case(RIGHT, pixels_as_they_are),
        "frozen-unnormalised": Case({"frozen_epochs": epochs}, pixels_as_they_are),
        "imagenet-statistics": Case(RIGHT, statistics_of_imagenet),
        "high-rate": Case({"learning_rate": 1e-2}),
        "scratch": Case({"weights": "none"}),
        "basic_cnn": Case({}, model="basic_cnn"),
        "deep_cnn": Case({}, model="deep_cnn"),
    }


class Accuracies(Hooks):
    """Keeps the validation accuracy of each epoch."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def log(self, events: list[dict[str, Any]]) -> None:
        self.found += [event["val_accuracy"] for event in events if event["event"] == "epoch"]


@torch.no_grad()
def by_batch_statistics(network: nn.Module, data: LabelledPictures, order: Tensor, device: Device) -> float:
    """Accuracy where the network is left in training mode: each batch is normalised by its own statistics."""
    network = copy.deepcopy(network).train()
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    right = 0
    for rows in order.split(BATCH):
        logits = network(to_input(data.pictures[rows], device))
        right += int((logits.argmax(1) == data.labels[rows].to(logits.device)).sum())
    return right / len(order)


def one(name: str, case: Case, begun: Begun, config: TrainConfig) -> None:
    case.alter(begun.state.network)
    accuracies, started = Accuracies(), time.perf_counter()
    train(config, begun.state, begun.training, begun.validation, begun.device, accuracies)
    print(f"{name:34} seed {config.seed}: {accuracies.found[-1]:.3f}, best {max(accuracies.found):.3f} "
          f"({time.perf_counter() - started:.0f} s)", flush=True)  # fmt: skip
    if name == "right":
        shuffled = torch.randperm(len(begun.validation), generator=torch.Generator().manual_seed(0))
        by_class = begun.validation.labels.cpu().argsort(stable=True)
        for words, order in (("shuffled", shuffled), ("one class after another", by_class)):
            accuracy = by_batch_statistics(begun.state.network, begun.validation, order, begun.device)
            print(f"{name + ', in train mode, ' + words:44}: {accuracy:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="archive", help="the archive's dataset in the workspace")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=2000, help="an epoch")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=cases(1), default=[*cases(1)], metavar="CASE")
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="transfer-faults-") as folder, scratch_workspace(Path(folder), chosen.data):
        for seed in chosen.seeds:
            for name in chosen.only:
                case = cases(chosen.epochs)[name]
                config = TrainConfig.from_json(PLAIN | {
                    "data": chosen.data, "model": case.model, "size": SIZE, "batch_size": BATCH, "seed": seed,
                    "epochs": chosen.epochs, "pictures_per_epoch": chosen.pictures, "device": chosen.device,
                } | case.settings)  # fmt: skip
                begun = begin(config)
                if name == chosen.only[0]:
                    kept_back = len(begun.run.validation_photos)
                    print(f"seed {seed}: {len(begun.validation)} validation pictures from {kept_back} photos")
                one(name, case, begun, config)


if __name__ == "__main__":
    main()
