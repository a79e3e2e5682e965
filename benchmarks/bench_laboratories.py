"""Trained at one laboratory, judged at another: `python -m benchmarks.bench_laboratories --data A B --log FILE`.

A and B are datasets of the workspace (the archive and the other laboratory's); the classes that both have are meant.
For each seed four things are trained, with the settings of a preset and `--set`:

A → B, B → A   on one's training pictures alone; no label of the other is seen.
A + n of B …   with n labelled cells of the other besides (`--labelled`, 100 by default, as many of each class), drawn
               from its training pictures, each of another photo.
A + B          on both (`data combine`).

Judged is each on the test pictures of both, balanced accuracy with a 95% interval by photo: the classes are as unlike
in number as can be. Datasets are made by `data combine` and keep splits, photos and boxes. A finished line of the log
isn't done again, and a training that was killed goes on. Choices are not to be made by this: it reads test pictures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.reproduce import end_after, trained
from bloodcell_core import config, workspace
from bloodcell_core.config import PRESETS, TrainConfig
from bloodcell_core.data.class_names import common_classes
from bloodcell_core.data.combining import Part, combine
from bloodcell_core.data.dataset import Dataset, names
from bloodcell_core.errors import LabError

METRICS = ("balanced_accuracy", "accuracy", "f1_macro", "auc_ovr")


def prepared(name: str, parts: Sequence[Part], take: Sequence[pd.Index | None] = ()) -> Dataset:
    """The combined dataset of that name, made where it isn't there; `take` as in `combine`."""
    return Dataset(name) if name in names() else combine(name, parts, take=take)


def labelled_rows(dataset: Dataset, class_map: dict[str, str | None], count: int, seed: int) -> pd.Index:
    """About `count` training pictures, as many of each class that is kept, each of a photo of its own: their image ids.

    The draw hangs on the pictures and the seed alone.
    """
    pictures = dataset.pictures[dataset.pictures.split != "test"].sort_values("image_id")
    kept = [name for name, ours in class_map.items() if ours]
    rng = np.random.default_rng(seed)
    chosen: list[str] = []
    for name in kept:
        of_class = pictures[pictures.label == name].drop_duplicates("scene").image_id.to_numpy()
        chosen += rng.permutation(of_class)[: count // len(kept)].tolist()
    return pd.Index(chosen)


def settings_of(preset: str, changes: Sequence[str]) -> dict[str, Any]:
    settings = dict(PRESETS[preset])
    for change in changes:
        name, _, text = change.partition("=")
        settings[name] = config.parse(name, text)
    return settings


def ways(a: Dataset, b: Dataset, labelled: int, seed: int) -> dict[str, Dataset]:
    """What is trained on, by its name in the table."""
    maps = common_classes([a.classes, b.classes], shared=True)
    if sum(ours is not None for ours in maps[0].values()) < 2:
        raise LabError(f"{a.name} and {b.name} have fewer than two classes in common")
    both = [(a, maps[0]), (b, maps[1])]
    made = {part[0].name: prepared(f"{part[0].name}-shared", [part]) for part in both}
    for (own, own_map), (other, other_map) in (both, both[::-1]):
        if labelled:
            few = labelled_rows(other, other_map, labelled, seed)
            made[f"{own.name} + {len(few)} of {other.name}"] = prepared(
                f"{own.name}-{len(few)}-{other.name}-{seed}", [(own, own_map), (other, other_map)], [None, few]
            )
    made[f"{a.name} + {b.name}"] = prepared(f"{a.name}-{b.name}-shared", both)
    return made


def judged(run: Any, targets: Sequence[Dataset]) -> dict[str, dict[str, Any]]:
    """{target: figures} on the targets' own test pictures of the classes that the run knows."""
    from bloodcell_core.evaluation.scoring import evaluated

    told = {}
    for target in targets:
        scores = evaluated(run, target.name, "test")[0]
        told[target.name] = {
            "pictures": scores["pictures"], "photos": scores["photos"],
            **{metric: scores[metric] for metric in METRICS},
            "intervals": {metric: scores["intervals"][metric] for metric in METRICS},
            "by_class": {name: one["recall"] for name, one in scores["per_class"].items()},
        }  # fmt: skip
    return told


def read(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    print("| trained on | seed | judged on | balanced accuracy | 95% | accuracy | pictures, photos |")
    print("|---" * 7 + "|")
    for row in rows:
        for target, told in row["judged"].items():
            limits = told["intervals"]["balanced_accuracy"]
            interval = f"{limits[0]:.3f} to {limits[1]:.3f}" if limits else "–"
            photos = told["photos"] if told["photos"] is not None else "not known"
            print(f"| {row['way']} | {row['seed']} | {target} | {told['balanced_accuracy']:.3f} | {interval} | "
                  f"{told['accuracy']:.3f} | {told['pictures']:,}, {photos} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs=2, required=True, metavar=("A", "B"))
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--model", default="cell_net")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="balanced")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--labelled", type=int, default=100, help="cells of the other laboratory; 0 for none")
    parser.add_argument("--only", nargs="+", metavar="WAY", help="as the table names them, such as 'archive + pbc'")
    parser.add_argument("--minutes", type=float, help="end after so long; the next call goes on")
    args = parser.parse_args()
    end_after(args.minutes)
    try:
        a, b = map(Dataset, args.data)
        settings = settings_of(args.preset, args.set) | {"model": args.model}
        for seed in args.seeds:
            for way, dataset in ways(a, b, args.labelled, seed).items():
                wanted = TrainConfig(**settings | {"data": dataset.name, "seed": seed})
                key = {"way": way, "seed": seed, "config": wanted.to_json()}
                known = any({name: row[name] for name in key} == key for row in read(args.log))
                if known or (args.only and way not in args.only):
                    continue
                run = trained(wanted, dataset.content_hash)
                row = key | {"run": run.name, "judged": judged(run, (a, b))}
                args.log.parent.mkdir(parents=True, exist_ok=True)
                with open(args.log, "a") as log:
                    log.write(json.dumps(row) + "\n")
    except LabError as error:
        parser.error(str(error))
    print(f"{args.model}, preset {args.preset} {' '.join(args.set)}; workspace {workspace.home()}")
    print_table([row for row in read(args.log) if row["config"] | {"data": "", "seed": 0} ==
                 TrainConfig(**settings | {"data": "", "seed": 0}).to_json()])  # fmt: skip


if __name__ == "__main__":
    main()
