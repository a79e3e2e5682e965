"""`export`: a run as a file that other programs can use."""

from __future__ import annotations

import argparse
from typing import Any

from bloodcell_core import runs
from bloodcell_core.cli.output import progress, show
from bloodcell_core.cli.parser import RUN_HELP, path_of, verb


def add(verbs: Any) -> None:
    """Adds the verb `export`."""
    parser = verb(verbs, "export", _export, "Write a run as an ONNX file, and beside it what else its answers need.")
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument("dest", type=path_of, metavar="DEST", help="the file to write, ending in .onnx")
    parser.add_argument("--to", choices=("onnx",), default="onnx", help="the format")


def _export(args: argparse.Namespace) -> None:
    from bloodcell_core.data.sources import as_text
    from bloodcell_core.inference.export import export_onnx

    run = runs.find(args.run)
    made = export_onnx(run, args.dest, progress("comparing with PyTorch"))
    checked = made.facts["checked"]
    lines = [
        f"{made.file}: {run.name}{' (trained on synthetic pictures)' if run.synthetic else ''}, "
        f"{made.file.stat().st_size / 1e6:.1f} MB",
        f"{made.sidecar}: classes, input, normalisation, temperature, review threshold",
        *(f"{file}: what the training cells are like, by which others are refused" for file in made.likeness),
        f"  the same class as PyTorch on all {checked['pictures']:,} {checked['what']}, "
        f"probabilities at most {checked['largest_difference']:.1e} apart",
    ]
    files = {"file": as_text(made.file), "sidecar": as_text(made.sidecar), "likeness": [*map(as_text, made.likeness)]}
    show(files | made.facts, args.json, lines)
