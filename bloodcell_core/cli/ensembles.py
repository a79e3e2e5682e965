"""`ensemble`: runs, or cross-validations, put together."""

from __future__ import annotations

import argparse
from typing import Any

from bloodcell_core.cli.parser import verb, word_of
from bloodcell_core.cli.runs import show_group, show_run
from bloodcell_core.errors import LabError
from bloodcell_core.runs import Run


def add(verbs: Any) -> None:
    """Adds the verb `ensemble`."""
    parser = verb(
        verbs, "ensemble", _ensemble,
        "Make a run that averages what finished runs say; of finished cross-validations, fold by fold.",
    )  # fmt: skip
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two or more, tested on the same pictures")
    parser.add_argument("--name", type=word_of, help="what to call it; by default named after the time")


def _ensemble(args: argparse.Namespace) -> None:
    from bloodcell_core.training import ensembles, groups

    found = [groups.find_run_or_group(reference) for reference in args.runs]
    members = [each for each in found if isinstance(each, Run)]
    crossed = [each for each in found if isinstance(each, groups.Group)]
    if members and crossed:
        raise LabError(f"an ensemble is of runs or of cross-validations, not of both: {crossed[0].name} is no run")
    if members:
        show_run(ensembles.create_ensemble(members, args.name or ""), args.json)
        return
    if args.name:
        raise LabError("an ensemble of cross-validations is named after the time: leave out --name")
    show_group(ensembles.create_group_ensemble(crossed).name, args.json)
