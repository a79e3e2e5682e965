"""The sidecar of an exported ONNX file, in JSON: all that its answers depend on and the file can't contain."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bloodcell_core import __version__, disk
from bloodcell_core.crops import BALANCED
from bloodcell_core.data.dataset import dataset_of
from bloodcell_core.data.views import view_name
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.dial import review_threshold
from bloodcell_core.evaluation.likeness import Likeness
from bloodcell_core.kinds import NUMBER, Kinds, wrong, wrong_in_intervals
from bloodcell_core.models import model_info
from bloodcell_core.runs import Run

FORMAT, VERSION = "blood-cell-lab-onnx", 1
TEST: Kinds = {"pictures": int, "photos": int | None, "unit": str, "accuracy": NUMBER, "intervals": dict}
"""The figures of the test split that the sidecar must have, if it has any."""
TOLD_OF_TEST = ("pictures", "photos", "unit", "accuracy", "balanced_accuracy", "intervals")
REFUSAL = (
    "Whether a cell is like the training cells is judged by `features` and by what is measured of the view. The "
    "statistics are in the .likeness.safetensors file beside this one; Blood Cell Lab's "
    "bloodcell_core/evaluation/likeness.py says how they are used. `probabilities` name a class for any picture."
)


def sidecar_of(file: Path) -> Path:
    """The JSON file beside an exported file."""
    return file.with_suffix(".json")


def check_free(file: Path, members: int) -> None:
    """LabError where a file beside a new exported one would be overwritten, and no sidecar says that it is ours."""
    sidecar = sidecar_of(file)
    try:
        recorded = disk.read_json(sidecar)
    except LabError:  # missing, or damaged
        recorded = None
    if isinstance(recorded, dict) and recorded.get("format") == FORMAT:
        return
    for beside in (sidecar, *likeness_files(file, members)):
        if os.path.lexists(beside):
            raise LabError(
                f"{beside.name} is there already and is of something else: call the .onnx file otherwise, or remove it"
            )


def likeness_files(file: Path, members: int) -> list[Path]:
    """The files beside the exported file in which the `Likeness` of each member is kept."""
    ends = [""] if members == 1 else [f"-{place}" for place in range(1, members + 1)]
    return [file.with_name(f"{file.stem}.likeness{end}.safetensors") for end in ends]


def input_names(run: Run) -> dict[str, str]:
    """{a member's view (`view_of`): the name of its input}; members with the same view share an input."""
    views = dict.fromkeys(view_of(member) for member in run.members)
    return {view: "pictures" if place == 1 else f"pictures_{place}" for place, view in enumerate(views, 1)}


def view_of(member: Run) -> str:
    """The name of a member's view (`views.view_name`)."""
    return view_name(*member.config.sight)


def output_names(members: int) -> list[tuple[str, str]]:
    """The names of each member's logits and features (the inputs of its last layer)."""
    ends = [""] if members == 1 else [f"_{place}" for place in range(1, members + 1)]
    return [(f"logits{end}", f"features{end}") for end in ends]


def describe(
    run: Run, inputs: dict[str, str], checked: dict[str, Any], likeness: Sequence[Likeness | str], digest: str
) -> dict[str, Any]:
    """The sidecar of a run's file.

    Args:
        run: what was exported.
        inputs: `input_names` of the run.
        checked: the result of the comparison with PyTorch.
        likeness: of each member, or why it isn't known.
        digest: the file's sha256.
    """
    threshold, threshold_words = review_threshold(run.predictions(), run.classes)
    test = run.summary().get("test")
    return {
        "format": FORMAT,
        "version": VERSION,
        "program": f"Blood Cell Lab {__version__}",
        "sha256": digest,
        "run": run.name,
        "created": run.created,
        "synthetic": run.synthetic,
        "use": "for research and teaching, not for diagnosis",
        "classes": run.classes,
        "inputs": [_input(name, next(m for m in run.members if view_of(m) == view)) for view, name in inputs.items()],
        "outputs": {
            "probabilities": "float32 (n, classes), 0 to 1, rows sum to 1, in the order of `classes`; calibrated",
            "logits": "float32 (n, classes), before any temperature; an ensemble has logits_1, logits_2, …",
            "features": "float32 (n, features), what the last layer decides by; an ensemble has features_1, …",
        },
        "temperature": run.temperature,
        "members": [
            {
                "run": member.name,
                "model": member.config.model,
                "input": inputs[view_of(member)],
                "logits": logits,
                "features": features,
                "temperature": member.temperature,
                "normalisation": {"mean": list(info.mean), "std": list(info.std), "inside": True},
                "weights_licence": info.weights_licence if member.pretrained else "",
                "likeness": known.facts if isinstance(known, Likeness) else None,
                "likeness_unknown_because": known if isinstance(known, str) else "",
            }
            for member, (logits, features), known in zip(
                run.members, output_names(len(run.members)), likeness, strict=True
            )
            for info in [model_info(member.config.model)]
        ],
        "refusal": REFUSAL,
        "review_threshold": threshold,
        "review_threshold_from": threshold_words,
        "data": _data(run),
        "test": test and {key: test[key] for key in TOLD_OF_TEST},
        "checked": checked,
    }  # fmt: skip


def _input(name: str, member: Run) -> dict[str, Any]:
    config = member.config
    whole = (
        f"The whole picture, RGB, resized to {config.size}×{config.size} whatever its proportions: averaging areas "
        "(OpenCV's INTER_AREA) where its shorter side is at least that, else cubic (INTER_CUBIC)."
    )
    cut = (
        "A square around the white cell's nucleus, from the picture at its own resolution: its middle is that of the "
        f"nucleus's bounding box, its side {config.crop_scale:g} times the box's longer side"
        + (f" and {config.crop_margin:g} radii of a red cell more" if config.crop_margin else "")
        + f". What lies outside the picture is filled ({config.crop_border}). Then resized to "
        f"{config.size}×{config.size}, averaging areas where it shrinks (INTER_AREA), else cubic (INTER_CUBIC)."
    )
    balanced = (
        " Its colours are balanced: bloodcell_core/data/colours.py, measured within a square three times as large."
        if config.colours == BALANCED else ""
    )  # fmt: skip
    return {
        "name": name,
        "type": "uint8",
        "shape": ["n", config.size, config.size, 3],
        "colour": "RGB, 0 to 255",
        "view": config.view,
        "size": config.size,
        "crop": {"scale": config.crop_scale, "margin": config.crop_margin, "border": config.crop_border},
        "colours": config.colours,
        "words": (whole if config.view == "frame" else cut) + balanced,
    }


def _data(run: Run) -> dict[str, Any]:
    """The dataset that the run was trained on, with its licence and citation where that is still there."""
    dataset = dataset_of(run)
    facts = dataset.facts if dataset else dict.fromkeys(("licence", "citation"))
    source = {"name": run.config.data, "content_hash": run.data_hash}
    return source | {key: facts[key] for key in ("licence", "citation")}


def read_sidecar(file: Path) -> dict[str, Any]:
    """The sidecar of an exported file; LabError where it is missing, damaged, of another version or another file's."""
    sidecar = sidecar_of(file)
    if not disk.may_be_there(sidecar):
        raise LabError(f"{file.name} has no {sidecar.name} beside it: `export` writes both")
    facts: dict[str, Any] = disk.read_json(sidecar)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise LabError(f"{sidecar.name} is no sidecar of an exported run")
    if facts.get("version") != VERSION:
        raise LabError(f"{sidecar.name} was written by another version of this program: export the run again")
    if facts.get("sha256") != hashlib.sha256(file.read_bytes()).hexdigest():
        raise LabError(f"{sidecar.name} belongs to another file than {file.name}: copy both, or export the run again")
    if not _is_whole(facts):
        raise LabError(f"{sidecar.name} is damaged: export the run again")
    return facts


def _is_whole(facts: dict[str, Any]) -> bool:
    """Whether all that predictions need is there and of the right type."""
    try:
        numbers = [facts["temperature"], facts["review_threshold"], *(m["temperature"] for m in facts["members"])]
        words = [facts["run"], *facts["classes"]]
        words += [m[told] for m in facts["members"] for told in ("input", "logits", "features")]
        test = facts.get("test")
        known = {given["name"] for given in facts["inputs"] if type(given["size"]) is int}
        return (
            all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
            and all(temperature > 0 for temperature in (numbers[0], *numbers[2:]))
            and all(isinstance(word, str) for word in words)
            and len(set(facts["classes"])) == len(facts["classes"]) >= 2
            and 0 <= numbers[1] <= 1
            and (test is None or not (wrong(test, TEST) or wrong_in_intervals(test["intervals"])))
            and bool(facts["members"])
            and all(m["input"] in known for m in facts["members"])
        )
    except (KeyError, TypeError, AttributeError):
        return False
