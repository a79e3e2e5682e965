"""`predict` and `cells`: pictures that were handed in."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

from bloodcell_core import runs, workspace
from bloodcell_core.cli.output import show
from bloodcell_core.cli.parser import verb
from bloodcell_core.errors import LabError


def add(verbs: Any) -> None:
    parser = verb(verbs, "predict", _predict, "Classify pictures with a run.")
    parser.add_argument("run")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="picture files and folders")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a table, a row a picture")
    parser.add_argument("--device", default="auto")

    parser = verb(verbs, "cells", _cells, "Find the white cells of pictures, as boxes around their nuclei.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")


def _predict(args: argparse.Namespace) -> None:
    from bloodcell_core.inference.predictor import Predictor, files_of

    run = runs.find(args.run)
    missing = next((path for path in args.paths if not path.exists()), None)
    if missing is not None:
        raise LabError(f"{missing} doesn't exist")
    answers = list(Predictor(run, args.device).classify(files_of(args.paths)))
    if args.csv:
        with (
            workspace.write_atomic(args.csv) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["path", "state", "reason", "label", *(f"p_{name}" for name in run.classes)])
            for answer in answers:
                cell = answer.cells[0] if answer.cells else None
                shares = list(cell.probabilities.values()) if cell else [""] * len(run.classes)
                writer.writerow([answer.path, answer.state, answer.reason, (cell and cell.label) or "", *shares])
    lines = []
    for answer in answers:
        cell = answer.cells[0] if answer.cells else None
        said = f"{cell.label} {max(cell.probabilities.values()):.3f}" if cell else answer.state
        lines.append(f"{answer.path}: {said}" + (f" ({answer.reason})" if answer.reason else ""))
    show({"run": run.name, "pictures": [answer.to_json() for answer in answers]}, args.json, lines)


def _cells(args: argparse.Namespace) -> None:
    from bloodcell_core.cells import find_cells
    from bloodcell_core.data.pictures import UnreadablePicture, decode_rgb

    rows = []
    for path in args.paths:
        if not path.is_file():
            raise LabError(f"{path} is no file")
        try:
            picture = decode_rgb(path.read_bytes())
        except UnreadablePicture as error:
            raise LabError(f"{path}: {error}") from None
        boxes = [list(cell.box) for cell in find_cells(picture)]
        rows.append({"path": str(path), "width": picture.shape[1], "height": picture.shape[0], "boxes": boxes})
    show(
        {"pictures": rows},
        args.json,
        [f"{row['path']}: {len(row['boxes'])} white cells {row['boxes']}" for row in rows],
    )
