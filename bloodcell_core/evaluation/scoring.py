"""From a table of predictions to the figures that are shown: one function scores whatever run, split and dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bloodcell_core.data.dataset import Dataset, dataset_of, names, same_dataset
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.averaging import answer_of
from bloodcell_core.evaluation.calibration import calibration
from bloodcell_core.evaluation.dial import dial
from bloodcell_core.evaluation.external import external_pictures, own_pictures
from bloodcell_core.evaluation.figures import one_answer_words
from bloodcell_core.evaluation.intervals import cluster_bootstrap, photo_accuracy
from bloodcell_core.evaluation.metrics import TOLD, evaluate_predictions
from bloodcell_core.evaluation.predictions import (
    PHOTOS_UNKNOWN,
    arrays_of,
    families_of,
    one_answer_a_photo,
    predictions_table,
    unit_of,
)
from bloodcell_core.labels.overlays import Overlay, of_run
from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.runs import Run
from bloodcell_core.words import counted, first_of

if TYPE_CHECKING:
    from bloodcell_core.device import Device

TOLD_EVERY = 1024  # pictures that a network answers before it is told how far that is; whole batches of any device
FEW_PHOTOS = 20  # of a class: below it a figure of that class can hardly tell anything


def score(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """All figures of a table of predictions, JSON-ready.

    The keys of `evaluate_predictions`, and: photos (None where they aren't known), unit (what they are, as
    `words.groups_behind` reads it), by_photo (a photo's copies
    averaged, with exact limits; None where its pictures are cells with answers of their own), intervals {metric:
    [low, high] or None} at 95%, resampled by source photo, and warnings in words. In per_class[c] also intervals,
    photos and by_photo of the class alone.
    """
    if table.empty:
        raise LabError("there are no pictures to evaluate in this split")
    labels, probabilities, photos, photos_known = arrays_of(table, classes)
    result = evaluate_predictions(labels, probabilities, classes)
    intervals, class_intervals = cluster_bootstrap(labels, probabilities, photos)
    warnings = [] if photos_known else [PHOTOS_UNKNOWN]
    few: list[str] = []
    for index, name in enumerate(classes):
        own = labels == index
        known = len(set(photos[own])) if photos_known else None
        by_photo = None
        if known and one_answer_a_photo(table[own]):
            by_photo = photo_accuracy(labels[own], probabilities[own], photos[own])
        result["per_class"][name] |= {"intervals": class_intervals[index], "photos": known, "by_photo": by_photo}
        if known and known < FEW_PHOTOS:
            few.append(name)
    warnings += _few_photos(few, result["per_class"])
    if words := one_answer_words(result):
        warnings.append(words)
    averaged = photos_known and one_answer_a_photo(table)
    return result | {
        "photos": len(set(photos)) if photos_known else None,
        "unit": unit_of(table),
        "by_photo": photo_accuracy(labels, probabilities, photos) if averaged else None,
        "intervals": intervals,
        "warnings": warnings,
    }


def _few_photos(few: Sequence[str], per_class: Mapping[str, Any]) -> list[str]:
    """That the figures of classes with few photos can hardly tell anything: of each, or of many together."""
    if len(few) > TOLD:
        return [
            f"{first_of(few, TOLD)} have fewer than {FEW_PHOTOS} photos each: their figures can hardly tell anything"
        ]
    told = []
    for name in few:
        own, by_photo = per_class[name], per_class[name]["by_photo"]
        unit = "photo" if by_photo else "group"  # as a patient or a slide, whose cells have answers of their own
        words = f"{name}: {counted(own['support'], 'picture')} from {counted(own['photos'], unit)}"
        if by_photo:
            words += f", {by_photo['right']} of them right"
        limits = by_photo["interval"] if by_photo else own["intervals"]["recall"]
        how_far = "can't tell {:.0%} from {:.0%}".format(*limits) if limits else "can hardly tell anything"
        told.append(f"{words}: its figures {how_far}")
    return told


def costs_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a run costs, from its summary. JSON-ready.

    parameters; flops: multiplications and additions a picture; milliseconds a picture, and milliseconds_on: where that
    was measured; training_seconds. Each is None where the run didn't keep it.
    """
    fields = ("parameters", "flops", "milliseconds", "milliseconds_on", "training_seconds")
    return {name: summary.get(name) for name in fields}


def score_reviewed(table: pd.DataFrame, classes: Sequence[str], overlay: Overlay) -> dict[str, Any]:
    """The figures of a table of predictions on reviewed labels, to stand beside those on the dataset's own.

    The keys of `score`, and: overlay, version, and how many of the table's pictures it relabelled and left_out.
    """
    reviewed = overlay.relabelled(table, classes)
    return {
        "overlay": overlay.name,
        "version": overlay.version,
        "relabelled": int((reviewed.label != table.label.loc[reviewed.index]).sum()),
        "left_out": len(table) - len(reviewed),
        **score_relabelled(table, reviewed.reset_index(drop=True), classes),
    }


def score_relabelled(table: pd.DataFrame, reviewed: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """`score` of `reviewed`: `table` with other labels or without some. Its warnings tell of `flattered`."""
    scores = score(reviewed, classes)
    return scores | {"warnings": scores["warnings"] + flattered(table, reviewed)}


def flattered(table: pd.DataFrame, reviewed: pd.DataFrame) -> list[str]:
    """That figures on reviewed labels are too good, where those labels were looked for among a run's mistakes.

    A wrong label that the run agrees with is seen by nobody who looks at mistakes, and a doubtful cell that it is right
    on stays in. So the figures rise though the network is as good as before.
    """
    labels = table.image_id.map(dict(zip(reviewed.image_id, reviewed.label, strict=True)))
    photos = families_of(table)
    touched = photos.isin(photos[labels != table.label])
    wrong = (table.label != table.predicted).groupby(photos).any()
    of_touched = wrong[photos[touched].unique()]
    if of_touched.empty or of_touched.mean() <= (1 + wrong.mean()) / 2:  # not mostly its mistakes
        return []
    unit = "photo" if (photos != table.image_id).any() else "picture"
    return [
        f"of {counted(len(of_touched), unit)} relabelled or left out this run is wrong on "
        f"{of_touched.sum():,}: where mistakes alone are looked at, wrong labels are found among them alone, and these "
        "figures flatter it"
    ]


def reviewed_words(reviewed: Mapping[str, Any]) -> str:
    """What `score_reviewed` scored on."""
    changes = f"{reviewed['relabelled']:,} relabelled, {reviewed['left_out']:,} left out"
    return f"on the reviewed labels {reviewed['overlay']}@{reviewed['version']} ({changes})"


def evaluated(
    run: Run,
    data: str | None = None,
    split: str = "test",
    device: str = "auto",
    class_map: Mapping[str, str] | None = None,
    overlay: Overlay | None = None,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """What `evaluate` prints, and the table of predictions that its figures are made of: the scores of a run on a
    split of its own dataset, or of another (`data`).

    The splits of a fold's run are its own: its `test` is its fold, and is told by `fold`, as '2 of 5'.
    On its own validation and test split the run's kept probabilities are scored, so that a page and the command
    line can't differ. Elsewhere the run predicts anew. A dataset that was given its own's name since is another one,
    where it is asked for by `data`. `calibration` is that of its own test split, or of another
    dataset; None elsewhere. `dial` tells what thresholds would set aside. On another dataset `split` may be "all" and
    `class_map` what a mapping file says of its classes; the keys of `external.external_pictures` tell what was left out
    and how far that data is.
    `synthetic` tells whether those pictures were drawn by a program, `trained_on_synthetic` whether the training ones
    were.
    On its own dataset `reviewed` is `score_reviewed` of the overlay given, or else of the one that the run was trained
    with; None without, and where that leaves no picture, which a warning tells.
    """
    name = data or run.config.data
    own = name == run.config.data and not (data and name in names() and dataset_of(run) is None)
    if own and (split == "all" or class_map):
        raise LabError(f"all pictures at once, and a mapping file, are for another dataset: {name!r} is the run's own")
    if overlay and not own:
        raise LabError("reviewed labels are scored on the run's own dataset: leave out --data or --labels")
    if own:
        overlay = overlay or of_run(run)
    if overlay:
        overlay.check_hash(run.data_hash, name)
    facts: dict[str, Any] = {
        "class_map": None, "left_out": 0, "left_out_classes": {}, "lacking": [], "distance": None, "warnings": []
    }  # fmt: skip
    if own:
        table, data_hash, synthetic = own_predictions(run, split, device), run.data_hash, run.synthetic
    else:
        dataset = Dataset(name)
        data_hash, synthetic = dataset.content_hash, dataset.synthetic
        pictures, facts = external_pictures(run, dataset, split, class_map)
        table = _predict(run, dataset, pictures, device)
    if overlay and overlay.relabelled(table, run.classes).empty:
        nothing = f"the reviewed labels {overlay.reference} leave none of these pictures: there are no figures on them"
        facts, overlay = facts | {"warnings": [nothing]}, None
    scores, summary = score(table, run.classes), run.summary()
    calibrated = None
    if not own or split == "test":
        calibrated = calibration(table, run.classes, summary, elsewhere=not own)
    return {
        "run": run.name, "data": name, "data_hash": data_hash, "split": split, "fold": run.config.fold_words,
        "classes": run.classes,
        "synthetic": synthetic, "trained_on_synthetic": run.synthetic, "pretrained": run.pretrained, **facts, **scores,
        "warnings": facts["warnings"] + scores["warnings"], "calibration": calibrated,
        "dial": dial(table, run.classes), "cost": costs_of(summary),
        "reviewed": score_reviewed(table, run.classes, overlay) if overlay else None,
    }, table  # fmt: skip


def own_predictions(run: Run, split: str, device: str = "auto", progress: Progress = no_progress) -> pd.DataFrame:
    """A run's predictions for a split of its own dataset: of validation and test pictures the kept, else made anew.

    `progress` hears of pictures, of an ensemble's once for each member.
    """
    if split in ("val", "test"):
        table = run.predictions()
        return table[table.split == split].reset_index(drop=True)
    dataset = same_dataset(run.config.data, run.data_hash, run.name)
    return _predict(run, dataset, own_pictures(run, dataset, split), device, progress)


def _predict(
    run: Run, dataset: Dataset, pictures: pd.DataFrame, device: str, progress: Progress = no_progress
) -> pd.DataFrame:
    """The run's predictions for some of a dataset's pictures, as the table of `predictions_table`."""
    # Imported here because torch takes seconds and most readers of this module never predict.
    from bloodcell_core.device import choose_device

    chosen = choose_device(device)
    if pictures.empty:
        raise LabError(f"dataset {dataset.name!r} has no pictures in this split of run {run.name}")
    rows = pictures.index.to_numpy()
    answers = []
    for before, member in enumerate(run.members):

        def tell(done: int, _: int, before: int = before) -> None:
            progress(before * len(rows) + done, len(run.members) * len(rows))

        answers.append(_member_answer(member, dataset, rows, chosen, tell))
    return predictions_table(pictures, answer_of(run, answers), run.classes)


def _member_answer(run: Run, dataset: Dataset, rows: np.ndarray, device: Device, progress: Progress) -> np.ndarray:
    """(N, C) probabilities of a trained run for some rows of a dataset's pictures, at its temperature."""
    from bloodcell_core.data.views import build_view
    from bloodcell_core.models.forward import predict_probabilities
    from bloodcell_core.models.network import trained_network

    network = trained_network(run).to(device.device)
    view = build_view(dataset, *run.config.sight)
    answered = []
    for start in range(0, len(rows), TOLD_EVERY):
        some = rows[start : start + TOLD_EVERY]
        answered.append(predict_probabilities(network, view, device, temperature=run.temperature, rows=some))
        progress(start + len(some), len(rows))
    return np.concatenate(answered)
