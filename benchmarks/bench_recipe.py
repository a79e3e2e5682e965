"""Which recipe is best on the archive: `python -m benchmarks.bench_recipe --log F --only NAME … [--folds 1 2 …]`.

Cross-validation inside the archive's TRAIN: its photos are cut in five folds, a network trains on four of them, beside
another laboratory's training pictures where the recipe says so, and is judged on the fifth, by picture and by photo
(the mean over a photo's copies), once as it is and once as the mean over eight flips and quarter turns. The weights
judged are the last epoch's, so nothing is chosen by what it is judged on; TEST is not read. A recipe without the other
laboratory's pictures is judged on 500 of them a class too, by balanced accuracy (*elsewhere*). A finished fold is a
line of the log, and what is there is not done again. Without --only it prints the table.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FOLDS = 5
BASE: dict[str, Any] = {
    "model": "cell_net", "view": "cell", "size": 64, "epochs": 10, "pictures_per_epoch": 3000, "folds": FOLDS,
    "fold_over": "train",
}  # fmt: skip


class Recipe(NamedTuple):
    settings: dict[str, Any]
    other_share: float = 0.0
    """Of the pictures shown, those of the other laboratory, its classes evenly."""


ELSEWHERE = 500  # pictures a class of the other laboratory on which a network is judged that hasn't seen it
LONGER = {"epochs": 15, "pictures_per_epoch": 4000}
RECIPES = {
    "base": Recipe({}),
    "half the other's": Recipe({}, 0.5),
    "at 96": Recipe({"size": 96, "pictures_per_epoch": 4000}),
    "longer": Recipe(LONGER),
    "longer, 37% the other's": Recipe(LONGER, 0.37),
    "the same, changed more": Recipe(LONGER | {"stain": 0.3, "light": 0.2, "blur": 0.7, "zoom": 0.2}, 0.37),
    "balanced colours": Recipe({"colours": "balanced"}),
    "changed more": Recipe({"stain": 0.5, "light": 0.3, "blur": 1.5, "zoom": 0.25}),
    "balanced colours, changed more": Recipe(
        {"colours": "balanced", "stain": 0.3, "light": 0.2, "blur": 1.5, "zoom": 0.25}
    ),
    "balanced colours, longer, 37% the other's": Recipe(LONGER | {"colours": "balanced"}, 0.37),
    "resnet18 from scratch": Recipe({"model": "resnet18", "weights": "none"}),
    "efficientnet_lite0 at 96": Recipe({"model": "efficientnet_lite0", "size": 96}),
}


def measure(name: str, data: str, other: str, fold: int, seed: int) -> dict[str, Any]:
    import torch

    from bloodcell_core.config import TrainConfig
    from bloodcell_core.data.class_names import match_classes
    from bloodcell_core.data.dataset import Dataset
    from bloodcell_core.data.views import build_view
    from bloodcell_core.device import choose_device
    from bloodcell_core.models.forward import predict_probabilities
    from bloodcell_core.training.loop import Hooks, LabelledPictures, train
    from bloodcell_core.training.prepare import first_state, split_rows

    recipe = RECIPES[name]
    config = TrainConfig(**BASE | recipe.settings | {"data": data, "seed": seed, "fold": fold})
    dataset, device = Dataset(data), choose_device("auto")
    rows, labels = split_rows(config, dataset, []), dataset.class_indices()
    view = build_view(dataset, *config.sight)
    pictures, wanted = view[rows["train"]], labels[rows["train"]]
    shares = np.full(len(wanted), 1 / len(wanted))
    there = Dataset(other)
    known = there.pictures.label.map(match_classes(there.classes, dataset.classes))
    own = np.flatnonzero(known.notna() & (there.pictures.split == "train"))
    theirs = np.array([dataset.classes.index(label) for label in known.iloc[own]])
    their_view = build_view(there, *config.sight)
    if recipe.other_share:
        each = 1 / np.bincount(theirs)[theirs]
        pictures, wanted = np.concatenate([pictures, their_view[own]]), np.concatenate([wanted, theirs])
        shares = np.concatenate([shares * (1 - recipe.other_share), each / each.sum() * recipe.other_share])
    training = LabelledPictures(torch.from_numpy(pictures), torch.from_numpy(wanted), torch.from_numpy(shares))
    state = first_state(config, len(dataset.classes), device, config.weights)
    few = LabelledPictures(training.pictures[:64], training.labels[:64])  # the loop wants some; it chooses nothing
    started = time.monotonic()
    train(config, state, training, few, device, Hooks())
    seconds = time.monotonic() - started
    network, tested = state.average or state.network, view[rows["test"]]
    turned = [np.rot90(side, turns, (1, 2)) for side in (tested, tested[:, :, ::-1]) for turns in range(4)]
    plain = predict_probabilities(network, tested, device)
    turns = np.mean([predict_probabilities(network, np.ascontiguousarray(each), device) for each in turned], axis=0)
    elsewhere = None
    if not recipe.other_share:
        random = np.random.default_rng(0)
        some = np.concatenate(
            [random.permutation(np.flatnonzero(theirs == each))[:ELSEWHERE] for each in np.unique(theirs)]
        )
        answers = predict_probabilities(network, their_view[own[some]], device).argmax(axis=1)
        elsewhere = float(np.mean([(answers == each)[theirs[some] == each].mean() for each in np.unique(theirs)]))
    photos = dataset.pictures.photo[rows["test"]].to_numpy()
    judged = labels[rows["test"]]
    return {
        "recipe": name, "seed": seed, "fold": fold, "seconds": seconds, "pictures": len(tested),
        "as it is": figures(plain, judged, photos), "turned": figures(turns, judged, photos),
        "elsewhere": elsewhere,
    }  # fmt: skip


def figures(probabilities: np.ndarray, labels: np.ndarray, photos: np.ndarray) -> dict[str, Any]:
    right = {
        photo: bool(probabilities[photos == photo].mean(axis=0).argmax() == labels[photos == photo][0])
        for photo in np.unique(photos)
    }
    return {
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "loss": float(-np.log(probabilities[np.arange(len(labels)), labels].clip(1e-12)).mean()),
        "photos": len(right),
        "photos_right": sum(right.values()),
        "wrong": [photo for photo, well in right.items() if not well],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--data", default="archive", help="the archive's dataset in the workspace")
    parser.add_argument("--other", default="pbc", help="the other laboratory's")
    parser.add_argument("--only", nargs="+", choices=tuple(RECIPES), default=[])
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(1, FOLDS + 1)))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()

    def logged() -> list[dict[str, Any]]:
        return [json.loads(line) for line in args.log.read_text().splitlines()] if args.log.exists() else []

    for seed, fold, name in ((seed, fold, name) for seed in args.seeds for fold in args.folds for name in args.only):
        if not any((row["recipe"], row["seed"], row["fold"]) == (name, seed, fold) for row in logged()):
            with open(args.log, "a") as log:
                log.write(json.dumps(measure(name, args.data, args.other, fold, seed)) + "\n")
    print(
        f"{'recipe':41} seed fold  pictures  accuracy  loss    photos right  | turned: accuracy, photos right  s  "
        "elsewhere"
    )
    for row in logged():
        told, turned = row["as it is"], row["turned"]
        print(f"{row['recipe']:41} {row['seed']:4} {row['fold']:4} {row['pictures']:9,}  {told['accuracy']:.4f}    "
              f"{told['loss']:.4f}  {told['photos_right']:3} of {told['photos']:3}    | {turned['accuracy']:.4f}  "
              f"{turned['photos_right']:3}  {row['seconds']:5.0f}"
              + (f"  {row['elsewhere']:.3f}" if row["elsewhere"] is not None else ""))  # fmt: skip


if __name__ == "__main__":
    main()
