"""Puts a finished run into the program: `python -m benchmarks.bundle RUN NAME [--half] [--notes FILE]`.

The run's folder is copied to bloodcell_core/bundled/NAME without what only a training needs, its kept predictions are
scored anew, and a model card is written from its figures. `--half` stores the weights as float16; the predictions are
then made anew with those very weights, and the bundle is refused where one answer differs, or a probability by more
than rounding. `--card` only writes the cards of all bundles anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bloodcell_core import disk, runs, workspace
from bloodcell_core.data.combining import part_names
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.external import own_pictures, short_ids
from bloodcell_core.evaluation.scoring import score
from bloodcell_core.runs import Run

COPIED = (
    "summary.json", "status.json", "predictions.parquet", "model.safetensors", "likeness.safetensors", "labels.json",
)  # fmt: skip
CARD = "MODEL_CARD.md"
MOST_BYTES = 4_000_000  # of the weights
ROUNDING = 2e-3  # that float16 weights may change a probability by
METRICS = {
    "accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "f1_macro": "Macro F1",
    "auc_ovr": "AUC, one against the rest",
}  # fmt: skip


def bundle(run: Run, name: str, half: bool = False, notes: str = "") -> Run:
    """The run as it comes with the program from now on; LabError where it can't be one."""
    if not run.trained_here or run.status()["state"] != "done":
        raise LabError(f"run {run.name!r} can't be bundled: it must be a finished training of this workspace")
    summary, dataset = run.summary(), Dataset(run.config.data)
    if not summary or not summary["test"]:
        raise LabError(f"run {run.name!r} can't be bundled: it was tested on nothing")
    if dataset.content_hash != run.data_hash:
        raise LabError(f"dataset {dataset.name!r} is no longer the one that {run.name!r} was trained on")
    if not run.likeness_file.exists():
        raise LabError(f"run {run.name!r} has no likeness.safetensors: without it every picture would get a class")
    workspace.check_name(name, "bundled run")
    with disk.new_folder(runs.BUNDLED / name) as folder:
        for file in COPIED:
            if (run.folder / file).exists():  # most runs have no labels of their own
                shutil.copyfile(run.folder / file, folder / file)
        if half:
            _halve(run, dataset, folder)
        test = pd.read_parquet(folder / "predictions.parquet").query("split == 'test'").reset_index(drop=True)
        disk.write_json(folder / "summary.json", summary | {"test": score(test, run.classes)})
        np.save(folder / "trained_on.npy", np.sort(short_ids(own_pictures(run, dataset, "train").image_id)))
        recorded = disk.read_json(run.folder / "config.json")
        facts = {key: dataset.facts.get(key) for key in ("licence", "citation", "split_origin", "photos_origin")}
        recorded["bundle"] = {
            "run": run.name, "half": half, "notes": notes.strip(), "data": facts,
            "parts": _parts(folder, dataset, run.classes), "refused": _unlike(run, dataset, folder),
        }  # fmt: skip
        disk.write_json(folder / "config.json", recorded)
        size = (folder / "model.safetensors").stat().st_size
        if size > MOST_BYTES:
            raise LabError(f"the weights take {size:,} bytes, more than {MOST_BYTES:,}: try --half, or fewer weights")
    made = Run(name)
    (made.folder / CARD).write_text(model_card(made), encoding="utf-8")
    return made


def _parts(folder: Path, dataset: Dataset, classes: list[str]) -> dict[str, Any]:
    """{dataset that it was combined of: its test figures there}; none where it was one dataset."""
    table = pd.read_parquet(folder / "predictions.parquet").query("split == 'test'").reset_index(drop=True)
    part = pd.Series(part_names(dataset), dataset.pictures.image_id)[table.image_id].to_numpy()
    return {name: score(table[part == name].reset_index(drop=True), classes) for name in sorted(set(part) - {""})}


def _unlike(run: Run, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """{laboratory, or refused class: pictures, photos, share called unlike} of the dataset's test pictures."""
    from bloodcell_core.data.views import build_view
    from bloodcell_core.device import choose_device
    from bloodcell_core.evaluation.likeness import Likeness
    from bloodcell_core.evaluation.run_likeness import looks_of
    from bloodcell_core.models.forward import Tapped
    from bloodcell_core.models.network import load_network

    config, device = run.config, choose_device("cpu")
    view = build_view(dataset, *config.sight)
    likeness = Likeness.load(folder / "likeness.safetensors")
    tapped, told = Tapped(load_network(config, len(run.classes), folder / "model.safetensors")), {}
    pictures = dataset.pictures.assign(kind=part_names(dataset)).query("split == 'test'")
    kinds = pictures.kind.where(pictures.label.isin(run.classes), pictures.label)
    for name, part in pictures.groupby(kinds):
        rows = part.index.to_numpy()
        looks = looks_of(view, rows, dataset.places)
        beyond = likeness.distances(tapped.predict(view[rows], device)[1], looks).max(axis=1) > 1
        told[str(name) or dataset.name] = {
            "pictures": len(rows), "photos": int(part.photo.nunique()), "unlike": float(beyond.mean()),
            "unlike_by_photo": float(pd.Series(beyond, part.index).groupby(part.photo).mean().mean()),
        }  # fmt: skip
    return told


def _halve(run: Run, dataset: Dataset, folder: Path) -> None:
    """The weights of a bundle as float16, and its predictions as those weights make them."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    from bloodcell_core.data.views import build_view
    from bloodcell_core.device import choose_device
    from bloodcell_core.evaluation.predictions import predictions_table, probabilities_of
    from bloodcell_core.models.forward import predict_probabilities
    from bloodcell_core.models.network import load_network

    file = folder / "model.safetensors"
    with safe_open(file, "np") as weights:
        metadata = weights.metadata()
    halved = {name: value.half() if value.dtype == torch.float32 else value for name, value in load_file(file).items()}
    save_file(halved, file, metadata)
    kept, config, device = run.predictions(), run.config, choose_device("cpu")
    pictures = dataset.pictures.reset_index().set_index("image_id").loc[kept.image_id].reset_index()
    view = build_view(dataset, *config.sight)
    network = load_network(config, len(run.classes), file)
    shares = predict_probabilities(network, view[pictures["index"].to_numpy()], device, temperature=run.temperature)
    table = predictions_table(pictures.assign(split=kept.split, label=kept.label), shares, run.classes)
    changed = int((table.predicted.to_numpy() != kept.predicted.to_numpy()).sum())
    most = float(np.abs(shares - probabilities_of(kept, run.classes)).max())
    print(f"float16: {changed} of {len(kept):,} answers differ, a probability by at most {most:.2g}")
    if changed or most > ROUNDING:
        raise LabError("float16 weights give other answers: leave out --half")
    table.to_parquet(folder / "predictions.parquet", index=False)


def model_card(run: Run) -> str:
    """The model card of a bundled run, from nothing but its folder."""
    recorded = disk.read_json(run.folder / "config.json")["bundle"]
    summary = run.summary()
    test, config, data = summary["test"], run.config, recorded["data"]
    photos = f"{test['photos']:,} source photos" if test["photos"] is not None else "source photos not known"
    lines = [
        f"# {run.name}",
        "",
        f"A classifier of white blood cells that comes with Blood Cell Lab: `{config.model}`, "
        f"{summary['parameters']:,} weights, {config.view} view of {config.size}×{config.size} pixels. It names one of "
        f"{len(run.classes)} classes ({', '.join(run.classes)}). For research and teaching, not for diagnosis.",
        "",
        "Written by `python -m benchmarks.bundle` from the run's own figures.",
        "",
        "## Data",
        "",
        f"- Trained on the dataset `{config.data}`{' (synthetic pictures)' if run.synthetic else ''}, content "
        f"`{run.data_hash[:16]}`. Split: {data['split_origin']}. Source photos: "
        f"{data['photos_origin'] or 'not known'}.",
        f"- Licence of the pictures: {data['licence'] or 'not told by their source'}.",
        f"- Citation: {data['citation'] or 'none told by their source'}.",
        "- The weights are under the licence of this program (MIT), as far as the pictures' licence allows."
        + (" They began with weights that were trained on ImageNet." if run.pretrained else ""),
        "",
        "## Figures on its test split",
        "",
        f"{test['pictures']:,} pictures, {photos}; 95% intervals "
        + ("by source photo." if test["photos"] is not None else "by picture: too narrow if copies are there."),
        "",
        "| | figure | 95% interval |",
        "|---|---|---|",
    ]
    for key, title in METRICS.items():
        if test[key] is not None:
            limits = test["intervals"][key]
            lines.append(f"| {title} | {test[key]:.4f} | {f'{limits[0]:.4f} to {limits[1]:.4f}' if limits else '–'} |")
    if test["by_photo"]:
        lines.append(f"| Photos right | {test['by_photo']['right']} of {test['by_photo']['photos']} | |")
    lines += ["", "| class | pictures | photos right | found | right when named |", "|---|---|---|---|---|"]
    for name, one in test["per_class"].items():
        by_photo = f"{one['by_photo']['right']} of {one['by_photo']['photos']}" if one["by_photo"] else "–"
        found, right = _share(one["recall"]), _share(one["precision"])
        lines.append(f"| {name} | {one['support']:,} | {by_photo} | {found} | {right} |")
    lines += _part_lines(recorded.get("parts") or {}) + _refused_lines(recorded.get("refused") or {})
    lines += ["", "## Limits", ""]
    lines += [f"- {limit[:1].upper()}{limit[1:].rstrip('.')}." for limit in (*test["warnings"], *test["notes"])]
    lines += [
        "- It was tested on pictures like those that it was trained on. Another stain, microscope or camera may cost",
        "  it much: evaluate it on labelled pictures of your own first.",
        f"- Its probabilities are divided by a temperature of {run.temperature:.2f}"
        + (f" ({summary['temperature_reason']})." if summary.get("temperature_reason") else
           ", fitted on its validation pictures."),
        "",
        "## How it was trained",
        "",
        f"{summary['epochs_trained']} epochs, {summary['training_seconds']:,.0f} seconds, weights of epoch "
        f"{summary['best_epoch']}, chosen on validation pictures of {len(run.validation_photos)} photos"
        + (", stored as float16." if recorded["half"] else "."),
        "",
        "```json",
        json.dumps(config.to_json(), indent=1),
        "```",
    ]  # fmt: skip
    if recorded["notes"]:
        lines += ["", "## Notes", "", recorded["notes"]]
    return "\n".join(lines) + "\n"


def _part_lines(parts: dict[str, Any]) -> list[str]:
    """A row for each laboratory's test pictures."""
    if not parts:
        return []
    lines = ["", "## By laboratory", "", "| test pictures of | pictures | photos | photos right | "
             + " | ".join(METRICS.values()) + " |", "|---" * (4 + len(METRICS)) + "|"]  # fmt: skip
    for name, test in parts.items():
        right = f"{test['by_photo']['right']:,}" if test["by_photo"] else "–"
        figures = [
            f"{test[key]:.4f} ({' to '.join(f'{limit:.4f}' for limit in test['intervals'][key] or [])})"
            for key in METRICS
        ]
        lines.append(f"| `{name}` | {test['pictures']:,} | {test['photos'] or '–'} | {right} | {' | '.join(figures)} |")
    return lines


def _refused_lines(refused: dict[str, Any]) -> list[str]:
    """How much of each kind of test picture is called unlike the training cells."""
    if not refused:
        return []
    lines = [
        "",
        "## What is called unlike",
        "",
        "Its own kinds should not be; the other kinds should. Of test pictures, by how far they are from the training",
        "cells (one in which no white cell is found is unlike besides):",
        "",
        "| | pictures | photos | called unlike | each photo counting once |",
        "|---|---|---|---|---|",
    ]
    return lines + [
        f"| {name} | {told['pictures']:,} | {told['photos']:,} | {told['unlike']:.3f} | {told['unlike_by_photo']:.3f} |"
        for name, told in refused.items()
    ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?")
    parser.add_argument("name", nargs="?")
    parser.add_argument("--half", action="store_true", help="store the weights as float16")
    parser.add_argument("--notes", type=Path, metavar="FILE", help="Markdown for the end of the model card")
    parser.add_argument("--card", action="store_true", help="only write the model cards of all bundles anew")
    args = parser.parse_args()
    try:
        if args.card:
            made = [Run(name) for name in runs.bundled_names()]
            for run in made:
                (run.folder / CARD).write_text(model_card(run), encoding="utf-8")
        elif args.run and args.name:
            notes = args.notes.read_text(encoding="utf-8") if args.notes else ""
            made = [bundle(runs.find(args.run), args.name, args.half, notes)]
        else:
            parser.error("give a run and a name, or --card")
    except LabError as error:
        parser.error(str(error))
    for run in made:
        print(f"{run.folder}: {sum(file.stat().st_size for file in run.folder.iterdir()):,} bytes")


if __name__ == "__main__":
    main()
