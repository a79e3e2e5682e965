"""Wrong labels planted on 5% of the archive's training photos: how many does the ranking find, and does it pay?

    python -m benchmarks.bench_label_issues --work FOLDER [--seeds 0 1 2]

For each seed 5% of the TRAIN photos get another class at random, with all their copies. A cross-validation inside
TRAIN (5 folds by photo, TEST is not read) learns the planted labels; its out-of-fold probabilities rank photos. Told
is the share of the planted ones within the first 5, 10 and 15% of all, for each of cleanlab's measures.

Then a reviewer is played who looks at the first 10% and puts right what is wrong there; the same cross-validation is
trained once more with that overlay, and once with every label right. All are judged out of fold on the true labels.
The folds and the validation photos are cut by the true classes, which a real wrong label would shift by a photo or two.

Networks are small ones trained for seconds: what a good training finds is more. Finished folds stay in --work, so that
it goes on where it was ended.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.ways import scratch_workspace
from bloodcell_core.config import TrainConfig
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.evaluation.comparison import Side, compare_sides
from bloodcell_core.evaluation.limits import exact_binomial
from bloodcell_core.labels.overlays import COLUMNS, Overlay, save
from bloodcell_core.labels.verdicts import LABEL_WRONG
from bloodcell_core.review.ranking import METHOD, METHODS, label_issues
from bloodcell_core.training import groups, worker
from bloodcell_core.training.groups import Group, pooled_predictions

PLANTED = 0.05  # of the training photos
LOOKED_AT = (0.05, 0.10, 0.15)  # of all photos, in the order of the ranking
REVIEWED = 0.10  # by the reviewer that is played
FOLDS = 5


def plant(dataset: Dataset, seed: int) -> dict[str, str]:
    """{photo: wrong class} for some of the photos of the training split."""
    rng = np.random.default_rng(seed)
    training = dataset.pictures[dataset.pictures.split == "train"]
    own = training.drop_duplicates("photo").sort_values("photo").set_index("photo").label
    chosen = own.index[rng.choice(len(own), round(PLANTED * len(own)), replace=False)]
    return {
        photo: str(rng.choice([name for name in dataset.classes if name != own[photo]])) for photo in sorted(chosen)
    }


def overlay_of(dataset: Dataset, name: str, wrong: dict[str, str]) -> Overlay:
    """The overlay that gives these photos these classes."""
    pictures = dataset.pictures[dataset.pictures.photo.isin(wrong)]
    rows = pd.DataFrame(
        [
            {
                "image_id": row.image_id, "photo": row.photo, "label_from": row.label, "label_to": wrong[row.photo],
                "verdict": LABEL_WRONG, "at": datetime(2026, 1, 1, tzinfo=UTC), "by": "benchmark", "note": "",
            }
            for row in pictures.itertuples()
        ],
        columns=list(COLUMNS),
    )  # fmt: skip
    return save(name, dataset, rows, by="benchmark", made_from="csv")[0]


def cross_validated(config: TrainConfig) -> Group:
    """The finished cross-validation of these settings inside TRAIN; goes on with one that was begun."""
    wanted = replace(config, folds=FOLDS, fold=1, fold_over="train")
    begun = [group for group in groups.groups() if replace(group.config, fold=1) == wanted]
    group = begun[0] if begun else groups.create_group(config, FOLDS, "train")
    for run in groups.unfinished(group):
        worker.work(run, say=lambda line: print(f"  {line}", flush=True))
    return groups.find(group.name)


def side(group: Group, name: str) -> Side:
    run = group.finished[0]
    return Side(name, run.config.data, run.data_hash, run.classes, pooled_predictions(group))


def find_planted(config: TrainConfig, dataset: Dataset, seed: int) -> tuple[dict[str, Any], Group, Overlay]:
    """What the ranking finds, the cross-validation behind it, and the labels once its first part is reviewed."""
    wrong = plant(dataset, seed)
    planted = overlay_of(dataset, f"planted-{seed}", wrong)
    group = cross_validated(replace(config, seed=seed, labels=planted.reference))
    table = planted.relabelled(pooled_predictions(group), group.finished[0].classes)
    found: dict[str, list[int]] = {}
    for method in METHODS:
        ranked = label_issues(table, dataset.classes, method)
        found[method] = [
            int(ranked.photo.head(math.ceil(share * len(ranked))).isin(wrong).sum()) for share in LOOKED_AT
        ]
    ranked = label_issues(table, dataset.classes)
    seen = set(ranked.photo.head(math.ceil(REVIEWED * len(ranked))))
    left = {photo: label for photo, label in wrong.items() if photo not in seen}
    told = {"seed": seed, "photos": len(ranked), "planted": len(wrong), "found": found}
    return told, group, overlay_of(dataset, f"corrected-{seed}", left)


def retrain(config: TrainConfig, seed: int, planted: Group, corrected: Overlay) -> dict[str, Any]:
    """How many photos are right out of fold with planted, corrected and true labels, judged by the true ones."""
    trained = {
        "planted": planted,
        "corrected": cross_validated(replace(config, seed=seed, labels=corrected.reference)),
        "true": cross_validated(replace(config, seed=seed)),
    }
    sides = {name: side(group, name) for name, group in trained.items()}
    gains = {name: compare_sides(sides["planted"], sides[name]) for name in ("corrected", "true")}
    return {
        "right": {"planted": gains["true"]["right"]["a"]} | {name: told["right"]["b"] for name, told in gains.items()},
        "of": gains["true"]["right"]["of"],
        "gain": {name: told["right"]["interval"] for name, told in gains.items()},
        "accuracy": {"planted": gains["true"]["metrics"]["accuracy"]["a"]}
        | {name: told["metrics"]["accuracy"]["b"] for name, told in gains.items()},
    }


def show_found(rows: list[dict[str, Any]]) -> None:
    total = sum(row["planted"] for row in rows)
    shares = ", ".join(f"{share:.0%}" for share in LOOKED_AT)
    print(f"{len(rows)} seeds, {total} photos planted; found within the first {shares} of the photos")
    for method in METHODS:
        line = []
        for place in range(len(LOOKED_AT)):
            hits = sum(row["found"][method][place] for row in rows)
            low, high = exact_binomial(hits, total)
            line.append(f"{hits}/{total} = {hits / total:.0%} ({low:.0%} to {high:.0%})")
        each = "; ".join(str(row["found"][method]) for row in rows)
        print(f"{method:28} {'   '.join(line)}   by seed: {each}{'   ← used' if method == METHOD else ''}")


def show_retrained(row: dict[str, Any]) -> None:
    told = ", ".join(f"{name} {count}" for name, count in row["right"].items())
    gains = "; ".join(
        f"{name} against planted {row['right'][name] - row['right']['planted']:+}, 95% {low:+.0f} to {high:+.0f}"
        for name, (low, high) in row["gain"].items()
    )
    print(f"seed {row['seed']}: photos right out of fold of {row['of']}: {told}; {gains}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="archive", help="the archive's dataset in the workspace")
    parser.add_argument("--work", type=Path, required=True, help="a folder for the runs; finished ones are kept there")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=2000, help="an epoch")
    chosen = parser.parse_args()
    print(f"{torch.get_num_threads()} threads; torch {torch.__version__}; {chosen.size} px, {chosen.epochs} epochs of "
          f"{chosen.pictures:,} pictures", flush=True)  # fmt: skip
    config = TrainConfig.from_json(
        {
            "data": chosen.data, "model": "cell_net", "view": "cell", "size": chosen.size, "epochs": chosen.epochs,
            "pictures_per_epoch": chosen.pictures, "device": "cpu",
        }
    )  # fmt: skip
    log = chosen.work / "log.jsonl"

    def keep(row: dict[str, Any]) -> dict[str, Any]:
        with open(log, "a") as file:
            file.write(json.dumps({"size": chosen.size, "epochs": chosen.epochs} | row) + "\n")
        print(row, flush=True)
        return row

    with scratch_workspace(chosen.work, chosen.data):
        dataset = Dataset(chosen.data)
        found = {seed: find_planted(config, dataset, seed) for seed in chosen.seeds}
        show_found([keep(told) for told, _, _ in found.values()])
        for seed, (_, planted, corrected) in found.items():
            show_retrained(keep({"seed": seed} | retrain(config, seed, planted, corrected)))


if __name__ == "__main__":
    main()
