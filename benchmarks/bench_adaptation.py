"""What adapting a run to another laboratory's cells brings: `python -m benchmarks.bench_adaptation RUN DATA`.

Of the dataset's cells of the run's classes `--cells` are drawn, as many of each class, each of another photo or scene;
the run is adapted to them as `adapt` does it, and answers all the other cells of other scenes. Several draws, and other
ways of adapting beside ours. `--folds` also tells what `adapt` itself would claim, from these cells alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from bloodcell_core import runs
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.splits import folds_by_photo
from bloodcell_core.data.views import build_view
from bloodcell_core.device import choose_device
from bloodcell_core.evaluation.external import external_pictures
from bloodcell_core.inference import adaptation
from bloodcell_core.inference.adaptation import adapted
from bloodcell_core.models.forward import predict_logits
from bloodcell_core.models.network import Network, trained_network

WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "last layer alone": {"frozen_epochs": adaptation.SETTINGS["epochs"], "learning_rate": 1e-2},
    "a third of the epochs": {"epochs": adaptation.SETTINGS["epochs"] // 3},
    "twice the epochs": {"epochs": adaptation.SETTINGS["epochs"] * 2},
    "the body a third as fast": {"body_rate": 0.3},
    "the body a tenth as fast": {"body_rate": 0.1},
    "stronger stains": {"stain": 0.3, "light": 0.2},
}
"""What is changed of adaptation.SETTINGS; the first is ours."""


@contextmanager
def changed(way: str) -> Iterator[None]:
    before = dict(adaptation.SETTINGS)
    adaptation.SETTINGS.update(WAYS[way])
    try:
        yield
    finally:
        adaptation.SETTINGS.clear()
        adaptation.SETTINGS.update(before)


def drawn(labels: np.ndarray, scenes: np.ndarray, cells: int, seed: int) -> np.ndarray:
    """Places of `cells` cells, as many of each class, no two of one scene: sorted."""
    rng, classes = np.random.default_rng(seed), np.unique(labels)
    chosen: list[int] = []
    taken: set[str] = set()
    for label in classes:
        own = 0
        for place in rng.permutation(np.flatnonzero(labels == label)):
            if own < cells // len(classes) and scenes[place] not in taken:
                taken.add(scenes[place])
                chosen.append(int(place))
                own += 1
    return np.sort(np.array(chosen))


def rates(labels: np.ndarray, answers: np.ndarray) -> tuple[float, list[float]]:
    """Balanced accuracy, and the share right of each class."""
    each = [float((answers[labels == label] == label).mean()) for label in np.unique(labels)]
    return float(np.mean(each)), each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("--cells", type=int, nargs="+", default=[100])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=["as it is"])
    parser.add_argument("--folds", action="store_true")
    parser.add_argument("--most", type=int, default=0, help="cells of a class that are answered; 0 is all")
    args = parser.parse_args()
    run, data, device = runs.find(args.run), Dataset(args.data), choose_device("cpu")
    config = run.config
    pictures, _ = external_pictures(run, data, "all")
    rows = pictures.index.to_numpy()
    labels = np.array([run.classes.index(label) for label in pictures.label])
    scenes = pictures.scene.to_numpy()
    view = build_view(data, *config.sight)
    print(f"{run.name}: {config.model}, {config.view} view, {config.size} pixels; {data.name}: {len(rows):,} cells, "
          f"{len(set(scenes)):,} photos or scenes; {torch.get_num_threads()} thread(s)")  # fmt: skip

    def fresh() -> Network:
        return trained_network(run)

    def answers(network: Network, places: np.ndarray) -> np.ndarray:
        return predict_logits(network, np.asarray(view[rows[places]]), device).argmax(1).numpy()

    for cells in args.cells:
        told: dict[str, list[float]] = {}
        for seed in args.seeds:
            chosen = drawn(labels, scenes, cells, seed)
            rest = np.flatnonzero(~np.isin(scenes, scenes[chosen]))
            if args.most:
                order = np.random.default_rng(seed).permutation(rest)
                rest = np.sort(np.concatenate([order[labels[order] == c][: args.most] for c in np.unique(labels)]))
            pixels = np.asarray(view[rows[chosen]])
            before, each = rates(labels[rest], answers(fresh(), rest))
            told.setdefault("before", []).append(before)
            print(f"{len(chosen)} cells, draw {seed}: before {before:.4f} {np.round(each, 3)} on {len(rest):,} cells")
            for way in args.ways:
                started = time.perf_counter()
                with changed(way):
                    network = adapted(fresh(), config, pixels, labels[chosen], device)
                seconds = time.perf_counter() - started
                after, each = rates(labels[rest], answers(network, rest))
                told.setdefault(way, []).append(after)
                print(f"  {way}: {after:.4f} {np.round(each, 3)}, {seconds:.0f} s", flush=True)
            if args.folds:
                names = [str(label) for label in labels[chosen]]
                fold = folds_by_photo(names, list(scenes[chosen]), adaptation.FOLDS, config.seed)
                out = np.empty(len(chosen), dtype=np.int64)
                for part in range(adaptation.FOLDS):
                    held = fold == part
                    network = adapted(fresh(), config, pixels[~held], labels[chosen][~held], device)
                    out[held] = answers(network, chosen[held])
                claimed = rates(labels[chosen], out)[0]
                told.setdefault("claimed by the folds", []).append(claimed)
                print(f"  claimed by {adaptation.FOLDS} folds of these cells: {claimed:.4f}", flush=True)
        for way, values in told.items():
            print(f"{cells} cells, {way}: mean {np.mean(values):.4f}, {min(values):.4f} to {max(values):.4f}")


if __name__ == "__main__":
    main()
