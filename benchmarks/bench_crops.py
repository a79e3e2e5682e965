"""Which crop of a cell view serves best: `python -m benchmarks.bench_crops DATASET [--folds K] [--seeds S]`.

For each crop a plain CNN is trained and judged by cross-validation *inside the training split*, grouped by scene, so
that no copy of a photograph is on both sides; the test split is not read. A few copies of each photo are enough: more
of them cost time and tell nothing new.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn
from torch.nn import functional

from bloodcell_core.crops import Crop
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.parallel import picture_threads
from bloodcell_core.data.views import make_view

CROPS = {
    "nucleus × 1.5": Crop(1.5, 0.0, "edge"),
    "nucleus × 2, edge": Crop(2.0, 0.0, "edge"),
    "nucleus × 2, reflect": Crop(2.0, 0.0, "reflect"),
    "nucleus × 2, background": Crop(2.0, 0.0, "background"),
    "nucleus × 2, black": Crop(2.0, 0.0, "black"),
    "nucleus × 2.5": Crop(2.5, 0.0, "edge"),
    "nucleus × 3.5": Crop(3.5, 0.0, "edge"),
    "nucleus × 1 + 2.5 red radii": Crop(1.0, 2.5, "edge"),
    "nucleus × 0.5 + 4.5 red radii": Crop(0.5, 4.5, "edge"),
    "nucleus × 0.5 + 6 red radii": Crop(0.5, 6.0, "edge"),
}
SIZE, EPOCHS, BATCH = 64, 8, 64


def network(classes: int) -> nn.Module:
    def block(before: int, after: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]

    body = [*block(3, 16), *block(16, 32), *block(32, 64), *block(64, 96)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(96, classes))


def fit(pixels: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = network(classes)
    weights = torch.tensor(len(labels) / (classes * np.bincount(labels, minlength=classes)), dtype=torch.float32)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    steps = EPOCHS * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        if step % (len(labels) // BATCH) == 0:
            order = rng.permutation(len(labels))
        rows = order[(step % (len(labels) // BATCH)) * BATCH :][:BATCH]
        batch = as_input(pixels[rows])
        batch = torch.rot90(batch, int(rng.integers(4)), (2, 3))  # a cell has no upright
        batch = batch * torch.tensor(rng.uniform(0.85, 1.15, (len(rows), 3, 1, 1)), dtype=torch.float32)
        loss = functional.cross_entropy(net(batch), torch.from_numpy(labels[rows]), weight=weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def as_input(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--copies", type=int, default=6, help="of each photo, at most")
    parser.add_argument("--only", help="crops whose name holds this")
    chosen = parser.parse_args()
    dataset = Dataset(chosen.dataset)
    part = dataset.pictures[dataset.pictures.split == "train"].sample(frac=1, random_state=0)
    part = part.groupby("photo").head(chosen.copies)
    labels = dataset.class_indices()[part.index]
    classes = len(dataset.classes)
    originals = [dataset.read_original(row) for row in part.index]
    print(f"{len(part)} training pictures of {part.photo.nunique()} photos; {chosen.folds} folds, {chosen.seeds} seeds")
    for name, crop in CROPS.items():
        if chosen.only and chosen.only not in name:
            continue
        started = time.perf_counter()
        with picture_threads() as pool:
            made = pool.map(
                lambda pair, crop=crop: make_view(pair[0], "cell", SIZE, crop, dataset.places[pair[1]]).pixels,
                zip(originals, part.index, strict=True),
            )
            pixels = np.stack(list(made))
        scores = []
        for seed in range(chosen.seeds):
            shares = np.zeros((len(part), classes))
            folds = StratifiedGroupKFold(chosen.folds, shuffle=True, random_state=seed)
            for training, judged in folds.split(pixels, labels, part.scene):
                net = fit(pixels[training], labels[training], classes, seed)
                with torch.inference_mode():
                    for start in range(0, len(judged), 256):
                        rows = judged[start : start + 256]
                        shares[rows] = net(as_input(pixels[rows])).softmax(1).numpy()
            picture = balanced_accuracy_score(labels, shares.argmax(1))
            by_photo = pd.DataFrame(shares).assign(label=labels).groupby(part.photo.to_numpy()).mean()
            right = by_photo.drop(columns="label").to_numpy().argmax(1) == by_photo.label
            scores.append((float((shares.argmax(1) == labels).mean()), picture, float(right.mean())))
        means = np.mean(scores, axis=0)
        by_seed = ", ".join(f"{score[1]:.4f}" for score in scores)
        print(f"{name:30} accuracy {means[0]:.4f}  balanced {means[1]:.4f} ({by_seed})  photos right {means[2]:.4f}  "
              f"{time.perf_counter() - started:.0f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
