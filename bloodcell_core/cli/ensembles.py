"""`ensemble`: runs, or cross-validations, put together."""

from __future__ import annotations

import argparse
from typing import Any

from bloodcell_core import runs
from bloodcell_core.cli.parser import verb
from bloodcell_core.cli.runs import show_group, show_run
from bloodcell_core.errors import LabError


def add(verbs: Any) -> None:
    """Adds the verb `ensemble`."""
    parser = verb(
        verbs, "ensemble", _ensemble,
        "Make a run that averages what finished runs say; of finished cross-validations, fold by fold.",
    )  # fmt: skip
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two or more, tested on the same pictures")
    parser.add_argument("--name", default="", help="what to call it; by default named after the time")


def _ensemble(args: argparse.Namespace) -> None:
    from bloodcell_core.training import ensembles, groups

    known = runs.names()
    are_runs = [any(name.startswith(reference) for name in (*known, "latest")) for reference in args.runs]
    if any(are_runs) or not any(group.name.startswith(args.runs[0]) for group in groups.groups()):
        show_run(ensembles.create_ensemble([runs.find(reference) for reference in args.runs], args.name), args.json)
        return
    if args.name:
        raise LabError("an ensemble of cross-validations is named after the time: leave out --name")
    found = [groups.find(reference) for reference in args.runs]
    show_group(ensembles.create_group_ensemble(found).name, args.json)
