"""What each training setting is worth: `python -m benchmarks.bench_settings --data NAME --log FILE [--seeds 0 1 2]`.

One setting at a time is changed from BASE; each variant trains on the same photos of the training split and is judged
on the same others, so that variants are compared in pairs; the test split is never read. A finished training is a line
of the log, and what is there is not done again: several processes may share a log, one a seed. Without --seeds it only
prints the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

BASE: dict[str, Any] = {
    "model": "cell_net", "view": "cell", "size": 48, "epochs": 10, "pictures_per_epoch": 4000, "batch_size": 64,
    "optimizer": "adamw", "learning_rate": 2e-3, "schedule": "one-cycle", "weight_decay": 0.05, "flips": 0.5,
    "rotation": 180, "zoom": 0.15, "shift": 0.08, "stain": 0.3, "light": 0.15, "label_smoothing": 0.05,
    "averaging": 0.98, "validation_fraction": 0.35,
}  # fmt: skip
"""A third of the photos is kept back, more than a run does: the differences to be told apart are small. Half the usual
side lets each variant see enough pictures: at 96 a quarter of them would fit into the same time."""

VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "frame view": {"view": "frame"},
    "pictures unchanged": dict.fromkeys(("flips", "rotation", "zoom", "shift", "stain", "light"), 0),
    "no flips, no rotation": {"flips": 0, "rotation": 0},
    "no zoom, no shift": {"zoom": 0, "shift": 0},
    "no stain, no light": {"stain": 0, "light": 0},
    "stain 0.15, light 0.1": {"stain": 0.15, "light": 0.1},
    "blur 1": {"blur": 1.0},
    "erase 0.25": {"erase": 0.25},
    "mixup 0.2": {"mixup": 0.2},
    "constant rate": {"schedule": "constant"},
    "no averaging": {"averaging": 0},
    "averaging 0.995": {"averaging": 0.995},
    "no smoothing": {"label_smoothing": 0},
    "smoothing 0.1": {"label_smoothing": 0.1},
    "no weight decay": {"weight_decay": 0},
    "rate 1e-3": {"learning_rate": 1e-3},
    "rate 4e-3": {"learning_rate": 4e-3},
    "batch 32": {"batch_size": 32},
    "batch 128": {"batch_size": 128},
    "clip 1": {"clip_norm": 1.0},
    "balance class": {"balance": "class"},
    "balance photo": {"balance": "photo"},
    "balance class and photo": {"balance": "class and photo"},
    "no dropout": {"dropout": 0.0},
    "dropout 0.4": {"dropout": 0.4},
}


def measure(data: str, name: str, seed: int) -> dict[str, Any]:
    """Trains one variant: its loss and its accuracy by picture and by photo, on the photos kept back."""
    import numpy as np
    from torch.nn import functional

    from bloodcell_core.config import PLAIN, TrainConfig
    from bloodcell_core.data.dataset import Dataset
    from bloodcell_core.device import choose_device
    from bloodcell_core.models.forward import predict_logits
    from bloodcell_core.training.loop import Hooks, LabelledPictures, train
    from bloodcell_core.training.prepare import cut_validation, first_state, load_pictures, split_rows

    config = TrainConfig(**PLAIN | {"data": data, "seed": seed} | BASE | VARIANTS[name])
    dataset, device = Dataset(data), choose_device("auto")
    rows = split_rows(config, dataset, cut_validation(config, dataset))
    _, training, validation = load_pictures(config, dataset, rows, device)
    state = first_state(config, len(dataset.classes), device, "default")
    started = time.monotonic()
    few = LabelledPictures(validation.pictures[:64], validation.labels[:64])  # the loop wants some; it chooses nothing
    train(config, state, training, few, device, Hooks())
    seconds = time.monotonic() - started
    # The weights of the last epoch, not of the best: nothing is chosen here by what it is judged on.
    logits = predict_logits(state.average or state.network, validation.pictures, device).double().cpu()
    labels = validation.labels.cpu()
    photos = dataset.pictures.photo[rows["val"]].to_numpy()
    chances = logits.softmax(1).numpy()
    right = [chances[photos == photo].mean(0).argmax() == labels[photos == photo][0] for photo in np.unique(photos)]
    return {
        "variant": name, "seed": seed, "seconds": seconds, "pictures": len(labels), "photos": len(right),
        "loss": functional.cross_entropy(logits, labels).item(),
        "accuracy": (logits.argmax(1) == labels).double().mean().item(), "by_photo": float(np.mean(right)),
    }  # fmt: skip


def read(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def print_table(rows: list[dict[str, Any]]) -> None:
    base = {row["seed"]: row for row in rows if row["variant"] == "base"}
    print(f"{'variant':26} seeds  loss    accuracy  by photo  loss less base's, seed by seed        s")
    for name in VARIANTS:
        of = [row for row in rows if row["variant"] == name and row["seed"] in base]
        if of:
            mean = {key: statistics.mean(row[key] for row in of) for key in ("loss", "accuracy", "by_photo", "seconds")}
            less = " ".join(f"{row['loss'] - base[row['seed']]['loss']:+.3f}" for row in of)
            print(f"{name:26} {len(of):5}  {mean['loss']:.4f}  {mean['accuracy']:.4f}    {mean['by_photo']:.4f}    "
                  f"{less:36} {mean['seconds']:4.0f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[])
    parser.add_argument("--only", nargs="*", choices=tuple(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--threads", type=int, help="by default PyTorch's own choice")
    args = parser.parse_args()
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    for seed in args.seeds:
        for name in args.only:
            if not any(row["variant"] == name and row["seed"] == seed for row in read(args.log)):
                row = measure(args.data, name, seed)
                with open(args.log, "a") as log:
                    log.write(json.dumps(row) + "\n")
    print_table(read(args.log))


if __name__ == "__main__":
    main()
