"""Ensembles: a run whose answers are the mean of finished runs'. Nothing is trained. Imports no torch.

It refers to its members and copies nothing: a finished run's folder doesn't change, and one that is a member can't be
removed. All its predictions are theirs, averaged, so that its figures cost no forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bloodcell_core import disk, workspace
from bloodcell_core.config import TrainConfig
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.averaging import mean_answer
from bloodcell_core.evaluation.calibration import fitted_temperature, with_temperature
from bloodcell_core.evaluation.comparison import check_comparable, side_of
from bloodcell_core.evaluation.predictions import predictions_table, probabilities_of
from bloodcell_core.evaluation.scoring import score
from bloodcell_core.labels.overlays import of_run
from bloodcell_core.runs import ENSEMBLE, Run, bundled_names, new_name
from bloodcell_core.training.groups import Group
from bloodcell_core.training.jobs import write_config, write_finished

SHARED = ("folds", "fold", "fold_over")
"""Settings that decide which of a dataset's pictures a run is tested on: they must be the same for all members. The
dataset, too, but not its name: runs that are adapted to the same cells have each a dataset of its own made of them."""

FEW_COMMON = "its members have too few validation pictures in common"
RESERVED = ("latest",)
LEAST_COMMON = 0.5  # of a member's validation pictures: fewer are copies of a photo or two, too few for a temperature


def check_members(members: Sequence[Run]) -> None:
    """LabError, with the reason, unless an ensemble of these runs has an honest test.

    They must be finished, trained on the same pictures of the same classes, and tested on the same ones: then no
    member was trained on what the ensemble is tested on.
    """
    if len({member.name for member in members}) < max(len(members), 2):
        raise LabError("an ensemble takes two or more different runs")
    for member in members:
        if member.is_ensemble:
            inside = ", ".join(facts["run"] for facts in member.member_facts)
            raise LabError(f"{member.name!r} is an ensemble itself: name its members ({inside})")
        state = member.status()["state"]
        if state != "done":
            raise LabError(f"run {member.name!r} can't be a member: it is {state}, and must be done")
    first = members[0]
    one = side_of(first)
    for member in members[1:]:
        if member.classes != first.classes:
            raise LabError(
                f"{first.name} and {member.name} can't be put together: their classes differ "
                f"({', '.join(first.classes)}; {', '.join(member.classes)})"
            )
        # The same test pictures of the same data: what is left to train on is then the same, too.
        check_comparable(one, side_of(member))
        for name in SHARED:
            here, there = getattr(first.config, name), getattr(member.config, name)
            if here != there:
                raise LabError(
                    f"{first.name} and {member.name} can't be put together: {name} is {here} for one, {there} for the "
                    "other"
                )


def create_ensemble(members: Sequence[Run], name: str = "", group: str = "") -> Run:
    """A finished run that averages these runs' calibrated probabilities; LabError as `check_members`, or for the name.

    Its validation pictures are those that all its members have in common. Its temperature is fitted on them, where
    they are at least half of each member's: members of different seeds have next to none, and it stays 1.
    """
    check_members(members)
    name = name or new_name(ENSEMBLE)
    if workspace.check_name(name, "run") in (*RESERVED, *bundled_names()):
        raise LabError(f"an ensemble can't be called {name!r}: that name means another run")
    if name.endswith(".onnx"):
        raise LabError(f"an ensemble can't be called {name!r}: `predict` takes that for an exported file")
    first = members[0]
    table, temperature = _predictions(members)
    with disk.new_folder(workspace.run_dir(name)) as folder:
        write_config(
            folder, _config(first), classes=first.classes, data_hash=first.data_hash,
            synthetic=any(member.synthetic for member in members),
            pretrained=any(member.pretrained for member in members),
            # what no member was trained on
            validation_photos=sorted(set.intersection(*(set(member.validation_photos) for member in members))),
            group=group, members=[_facts(member) for member in members],
        )  # fmt: skip
        write_finished(folder, table, _summary(members, table, temperature))
    return Run(name)


def create_group_ensemble(groups: Sequence[Group]) -> Group:
    """A cross-validation whose every fold is the ensemble of these cross-validations' runs of that fold.

    LabError where one isn't finished, or its folds are other pictures than the others'.
    """
    folds = {group.config.folds for group in groups}
    for group in groups:
        group.check_complete()
    if len(folds) > 1:
        raise LabError(f"the cross-validations have different numbers of folds: {', '.join(map(str, sorted(folds)))}")
    each = [[group.runs[fold] for group in groups] for fold in range(1, folds.pop() + 1)]
    for members in each:
        check_members(members)
    name = new_name(f"{ENSEMBLE}-cv{len(each)}")
    return Group(name, {fold: create_ensemble(members, group=name) for fold, members in enumerate(each, 1)})


def _config(first: Run) -> TrainConfig:
    """Which pictures the ensemble is tested on; a fold's seed is part of that, and what all members refuse. The view is
    for pages to begin with."""
    shared = {name: getattr(first.config, name) for name in ("data", *SHARED, "seed", "refuse", "view")}
    return TrainConfig(model=ENSEMBLE, **shared)


def _facts(member: Run) -> dict[str, Any]:
    config = member.config
    return {"run": member.name, "model": config.model, "view": config.view, "size": config.size}


def _predictions(members: Sequence[Run]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The ensemble's predictions.parquet, and what `fitted_temperature` found on its validation pictures."""
    tables = [member.predictions().set_index("image_id") for member in members]
    classes = members[0].classes
    common = tables[0].index
    for table in tables[1:]:
        common = common.intersection(table.index, sort=False)
    first = tables[0].loc[common].reset_index()
    mean = mean_answer([probabilities_of(table.loc[common], classes) for table in tables])
    raw = predictions_table(first, mean, classes)
    validation = raw[raw.split == "val"]
    few = len(validation) < LEAST_COMMON * max((table.split == "val").sum() for table in tables)
    if len({member.config.labels for member in members}) == 1 and (overlay := of_run(members[0])):
        validation = overlay.relabelled(validation, classes)  # as of each member: on the labels that it learned
    fitted = fitted_temperature(validation[:0] if few else validation, classes)
    if few:
        fitted["temperature_reason"] = FEW_COMMON
    return predictions_table(first, with_temperature(mean, fitted["temperature"]), classes), fitted


def _summary(members: Sequence[Run], table: pd.DataFrame, temperature: dict[str, Any]) -> dict[str, Any]:
    """summary.json, as of any run: costs are sums over the members, and what only a training has is None."""
    summaries = [member.summary() for member in members]
    val = table[table.split == "val"]
    # copies of a photo or two say nothing, and adapted runs have none
    common = len(val) and temperature["temperature_reason"] != FEW_COMMON
    test = table[table.split == "test"].reset_index(drop=True)
    return {
        "best_epoch": None,
        "epochs_trained": sum(summary["epochs_trained"] for summary in summaries),
        "training_seconds": round(sum(summary["training_seconds"] for summary in summaries), 1),
        "val_accuracy": float(np.mean(val.label == val.predicted)) if common else None,
        "val_loss": None,
        "parameters": sum(summary["parameters"] for summary in summaries),
        **_answering_cost(summaries),
        **temperature,
        "test": score(test, members[0].classes),
    }


def _answering_cost(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The members' flops and time, summed; None where one has none, or was measured on another device."""
    costs: dict[str, Any] = dict.fromkeys(("flops", "milliseconds", "milliseconds_on"))
    if all(summary.get("flops") for summary in summaries):
        costs["flops"] = sum(summary["flops"] for summary in summaries)
    places = {summary.get("milliseconds_on") for summary in summaries}
    if len(places) == 1 and None not in places:
        costs["milliseconds"] = sum(summary["milliseconds"] for summary in summaries)
        costs["milliseconds_on"] = places.pop()
    return costs
