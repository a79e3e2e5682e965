"""Exported runs in use: ONNX Runtime computes the networks' answers, everything else is as with any run.

An exported file can be used like its run, with the same finder, views, refusals and review threshold, by means of its
sidecar and its .likeness files. It needs neither the run's folder nor its dataset.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bloodcell_core.config import TrainConfig
from bloodcell_core.data.views import view_name
from bloodcell_core.errors import LabError, brief
from bloodcell_core.evaluation.likeness import Likeness
from bloodcell_core.inference.export import open_session
from bloodcell_core.inference.sidecar import likeness_files, read_sidecar
from bloodcell_core.runs import ENSEMBLE, Run

if TYPE_CHECKING:
    from torch import Tensor

    from bloodcell_core.device import Device

BATCH = 32  # has to fit in the CPU's caches


class ExportedRun(Run):
    """An exported file as a run, as far as predictions need one; LabError where it is missing or damaged."""

    def __init__(self, file: Path):
        if not file.is_file():
            why = "is no file" if file.exists() else "doesn't exist"
            raise LabError(f"{file} {why}: give an exported .onnx file, or the name of a run")
        facts = read_sidecar(file)
        self.facts = facts
        self.name: str = facts["run"]
        self.folder = file.parent
        self.bundled, self.adapted = False, None
        self.classes: list[str] = facts["classes"]
        self.created: str = str(facts.get("created", ""))
        self.data_hash, self.group, self.pretrained, self.validation_photos = "", "", False, []
        self.synthetic = bool(facts.get("synthetic"))
        self.threshold = float(facts["review_threshold"]), str(facts.get("review_threshold_from", "as exported"))
        session = _Session(file, facts)
        likeness = likeness_files(file, len(facts["members"]))
        self.loaded = [
            ExportedMember(session, place, _config_of(facts, member), member, likeness[place])
            for place, member in enumerate(facts["members"])
        ]
        first, several = self.loaded[0].config, len(self.loaded) > 1
        self.config = replace(first, model=ENSEMBLE) if several else first
        told_of = zip(facts["members"], self.loaded, strict=True) if several else ()
        # Those of an ensemble, as in its config.json; a trained run has none.
        self.member_facts: list[dict[str, Any]] = [
            told | {"view": member.config.view, "size": member.config.size} for told, member in told_of
        ]

    @cached_property
    def members(self) -> list[Run]:
        """LabError: an exported file's members have no folders here."""
        raise LabError(f"{self.name!r} is an exported file: its members have no folders here")

    @property
    def temperature(self) -> float:
        """The temperature by which logits are divided, from the sidecar."""
        return float(self.facts["temperature"])

    def summary(self) -> dict[str, Any]:
        """Its test figures and temperature, from the sidecar."""
        return {"test": self.facts.get("test"), "temperature": self.temperature}

    def status(self) -> dict[str, Any]:
        """Always done: an exported run has finished."""
        return {"state": "done", "reason": ""}

    def predictions(self) -> pd.DataFrame:
        """An empty table: an exported file has no predictions for its dataset."""
        columns = ["image_id", "split", "label", "predicted", "source_photo", *(f"p_{name}" for name in self.classes)]
        return pd.DataFrame({name: pd.Series(dtype="float64" if name[:2] == "p_" else "object") for name in columns})


class ExportedMember:
    """One network of an exported file, with the attributes that `predictor` needs of a member."""

    def __init__(self, session: _Session, place: int, config: TrainConfig, facts: dict[str, Any], likeness: Path):
        from bloodcell_core.device import choose_device

        self.device = choose_device("cpu")
        self.config, self.temperature = config, float(facts["temperature"])
        self.whole = config.view == "frame"
        self.view = view_name(*config.sight)
        self.likeness = Likeness.load(likeness) if likeness.exists() else None
        if self.likeness and self.likeness.facts != facts.get("likeness"):
            raise LabError(f"{likeness.name} belongs to another exported file: copy all of one, or export it again")
        self.why_unknown = "" if self.likeness else f"{likeness.name} isn't beside the exported file"
        self.tapped = self
        self._session, self._place = session, place

    def predict(self, pictures: np.ndarray | Tensor, device: Device) -> tuple[Tensor, np.ndarray]:
        """As `forward.Tapped.predict`: logits (N, C) and features, float32 (N, D)."""
        import torch

        pixels = np.ascontiguousarray(pictures)
        batches = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
        outputs = [self._session.outputs_of(self._place, batch) for batch in batches]
        logits, features = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
        return torch.from_numpy(logits), features


class _Session:
    """The file in ONNX Runtime, which computes several members at once: those with the same input share one call."""

    def __init__(self, file: Path, facts: dict[str, Any]):
        self._session = open_session(file)
        self._members = facts["members"]
        self._sizes = {given["name"]: int(given["size"]) for given in facts["inputs"]}
        wanted = {name for member in self._members for name in (member["logits"], member["features"])}
        held = {given.name: given.shape[1:] for given in self._session.get_inputs()}
        widths = {given.name: given.shape[-1] for given in self._session.get_outputs()}
        if (
            held != {name: [size, size, 3] for name, size in self._sizes.items()}
            or not wanted <= widths.keys()
            or any(widths[member["logits"]] != len(facts["classes"]) for member in self._members)
        ):
            raise LabError(f"{file.name} isn't what its sidecar says: export the run again")
        self._last = threading.local()

    def outputs_of(self, place: int, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and features of one member for uint8 (N, S, S, 3); cached for the members with the same input."""
        member = self._members[place]
        sharing = [other for other in self._members if other["input"] == member["input"]]
        if len(sharing) == 1:
            outputs = self._run(sharing, pixels)
        else:
            asked = member["input"], pixels.shape, hashlib.blake2b(pixels.tobytes()).digest()
            if getattr(self._last, "asked", None) != asked:
                self._last.outputs, self._last.asked = self._run(sharing, pixels), asked
            outputs = self._last.outputs
        return outputs[member["logits"]], outputs[member["features"]]

    def _run(self, members: list[dict[str, Any]], pixels: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of members with the same input, by name; other inputs, which ONNX Runtime needs, get zeros."""
        names = [name for member in members for name in (member["logits"], member["features"])]
        given = {
            name: pixels if name == members[0]["input"] else np.zeros((len(pixels), size, size, 3), np.uint8)
            for name, size in self._sizes.items()
        }
        try:
            return dict(zip(names, self._session.run(names, given), strict=True))
        except Exception as error:  # ONNX Runtime has a dozen exceptions without a common base class
            raise LabError(f"ONNX Runtime can't compute this: {brief(error)}") from None


def _config_of(facts: dict[str, Any], member: dict[str, Any]) -> TrainConfig:
    """A config with what a member sees, from the sidecar; LabError where that is damaged."""
    given = next(given for given in facts["inputs"] if given["name"] == member["input"])
    try:
        seen = {name: given[name] for name in ("view", "size", "colours")} | {
            f"crop_{name}": given["crop"][name] for name in ("scale", "margin", "border")
        }
        return TrainConfig.from_json({"data": facts["data"]["name"], "model": str(member["model"])} | seen)
    except (KeyError, TypeError) as error:
        raise LabError(f"the sidecar is damaged ({error}): export the run again") from None
