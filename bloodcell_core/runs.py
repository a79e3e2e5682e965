"""Run folders as everything else reads them: a run's settings, progress and results. Imports no torch.

A run that comes with the program (`bundled`) is a run folder beside this module: found by its name and used like any
other, though it wasn't trained here and its dataset need not be there.

`training` writes these files, everything above only reads them. A worker holds its run's lock for its whole life
and the system frees the lock however the worker ends, so a run that says it is running while its lock is free
was interrupted: no process number is trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from bloodcell_core import background, disk, kinds, notes, workspace
from bloodcell_core.config import TrainConfig, check_version
from bloodcell_core.errors import LabError, all_readable, brief

STATES = ("queued", "running", "done", "stopped", "interrupted", "failed")
ENDED = background.ENDED
ENSEMBLE = "ensemble"
"""Stands for the network's name where a run is the mean of others."""
BUNDLED = Path(__file__).resolve().parent / "bundled"
"""The runs that come with the program, a folder each; read only."""
LABELS_FILE = "labels.json"
LOG_TAIL = 20_000  # bytes of a log, whose end alone is read


class Run:
    """The run in folder `name`; LabError where there is none or its files are damaged."""

    def __init__(self, name: str):
        self.name = name
        self.folder = workspace.run_dir(name)
        self.bundled = not os.path.isdir(self.folder) and name in bundled_names()
        """It came with the program: it can be used, and not removed."""
        if self.bundled:
            self.folder = BUNDLED / name
        if not os.path.isdir(self.folder):
            raise LabError(f"there is no run {name!r}: `runs list` shows what there is")
        recorded = disk.read_json(self.folder / "config.json")
        if not isinstance(recorded, dict) or recorded.get("schema_version") != workspace.SCHEMA_VERSION:
            raise LabError(f"run {name!r} was made by another version of this program and can't be read: use that one")
        check_version(recorded.get("config"), f"run {name!r}")
        try:
            self._take(recorded)
        except (LabError, KeyError, TypeError) as error:
            raise LabError(f"run {name!r} can't be read, its config.json is damaged: {error}") from None

    def _take(self, recorded: dict[str, Any]) -> None:
        recorded = {"group": "", "adapted": None, "members": []} | recorded
        if wrong := kinds.wrong_in_config(recorded):
            raise TypeError(f"{wrong!r} isn't what it should be")
        self.config = TrainConfig.from_json(recorded["config"])
        """Its settings. Of an ensemble, which has no network of its own, only those that say which pictures it was
        tested on, and the view of its first member. `settings` is what people read."""
        if recorded["group"] and not self.config.folds:
            raise TypeError("it is of a cross-validation, and no fold of it")
        self.member_facts: list[dict[str, Any]] = recorded["members"]
        """Of each member of an ensemble its run, model, view and size; empty for a trained run."""
        self.classes: list[str] = recorded["classes"]
        self.data_hash: str = recorded["data_hash"]
        self.created: str = recorded["created"]
        self.synthetic: bool = recorded["synthetic"]
        """Trained on pictures that this program drew."""
        self.pretrained: bool = recorded["pretrained"]
        """Started from pretrained weights."""
        self.validation_photos: list[str] = recorded["validation_photos"]
        """Photos (or pictures, where photos aren't known) of the training split that chose the best epoch."""
        self.adapted: dict[str, Any] | None = recorded["adapted"]
        """What an adapted run was made from: the run (`from`), and on which cells; None for any other."""
        self.group: str = recorded["group"]
        """The cross-validation that the run is a fold of, if any."""

    @property
    def is_ensemble(self) -> bool:
        """Whether its answers are the mean of other runs'."""
        return bool(self.member_facts)

    @property
    def trained_here(self) -> bool:
        """Whether it has learning curves of its own: it is neither an ensemble, nor adapted, nor bundled."""
        return not (self.is_ensemble or self.adapted or self.bundled)

    @cached_property
    def members(self) -> list[Run]:
        """The trained runs whose answers it averages; of a trained run itself alone. LabError where one is gone."""
        if not self.is_ensemble:
            return [self]
        try:
            return [Run(facts["run"]) for facts in self.member_facts]
        except LabError as error:
            raise LabError(f"ensemble {self.name!r} can't be used without its members: {error}") from None

    @property
    def out_of_fold(self) -> bool:
        """Whether all its predictions are out of fold: it (or each member) is an adapted run, so no training pictures
        remain."""
        return all(member.adapted for member in self.members)

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings as people read and compare them: the fields of TrainConfig and the run that it was adapted from,
        or an ensemble's members."""
        if not self.is_ensemble:
            return self.config.to_json() | ({"adapted_from": self.adapted["from"]} if self.adapted else {})
        told = {"model": ENSEMBLE, "data": self.config.data, "members": [facts["run"] for facts in self.member_facts]}
        return told | ({"refuse": self.config.refuse} if self.config.refuse else {})

    @property
    def view_words(self) -> str:
        """What it sees: frame, cell, or both where members of an ensemble differ."""
        views = [facts["view"] for facts in self.member_facts] or [self.config.view]
        return " and ".join(dict.fromkeys(views))

    @property
    def weights_words(self) -> str:
        """Where its weights come from, in words."""
        if self.is_ensemble:
            return f"mean of {len(self.member_facts)} runs"
        if self.adapted:
            return f"adapted from {self.adapted['from']}"
        return "from pretrained weights" if self.pretrained else "trained from scratch (weights: none)"

    def split_words(self, split: str, own: bool = True) -> str:
        """A split of its own dataset or of another, in words; what it was tested on is a fold's fold, and of an adapted
        run, or an ensemble of such, all cells."""
        if own and split == "test" and self.config.folds:
            return f"fold {self.config.fold_words}"
        if own and split == "test":
            with suppress(LabError):  # of an ensemble whose members are gone
                if self.out_of_fold:
                    return "all cells (out of fold)"
        return "all splits" if split == "all" else f"{split} split"

    @property
    def weights_file(self) -> Path:
        """A trained run's weights; an ensemble has none but those of its `members`."""
        return self.folder / "model.safetensors"

    def check_weights(self) -> None:
        """LabError where a trained run has no weights."""
        if self.weights_file.exists():
            return
        if (state := self.status()["state"]) != "done":
            raise LabError(f"run {self.name!r} has no weights yet: it is {state}")
        raise LabError(f"run {self.name!r}: {self.weights_file} is missing: put it back, or train it again")

    @property
    def trained_on_file(self) -> Path:
        """What a bundled run was trained on, as `external.short_ids`: its dataset may be far away."""
        return self.folder / "trained_on.npy"

    @property
    def likeness_file(self) -> Path:
        """What its training cells are like; an adapted run has none, nor one of too few photos."""
        return self.folder / "likeness.safetensors"

    @property
    def labels_file(self) -> Path:
        """The reviewed labels that it was trained with, row by row; exists where `config.labels` names some."""
        return self.folder / LABELS_FILE

    @property
    def stop_file(self) -> Path:
        """Exists once a person has asked the run to stop."""
        return self.folder / "stop"

    @property
    def notes(self) -> notes.Notes:
        """The title and tags that people gave it, as they are now."""
        return notes.read("run", self.name)

    @property
    def lock(self) -> FileLock:
        """Held by the run's worker for its whole life."""
        return FileLock(self.folder / "worker.lock")

    def status(self) -> dict[str, Any]:
        """status.json, with `state` corrected where the worker is gone."""
        return background.status_now(self.recorded_status, "queued", self.lock, "resume goes on")

    def recorded_status(self) -> dict[str, Any]:
        """status.json as it stands."""
        file = self.folder / "status.json"
        status: dict[str, Any] = disk.read_json(file)
        wrong = kinds.wrong(status, kinds.STATUS, kinds.PROGRESS)
        if wrong or status["state"] not in STATES:
            raise LabError(f"{file} is damaged ({wrong or 'state'} isn't what it should be): delete the run")
        return status

    def turn(self) -> tuple[float, str]:
        """Its place in the queue, lowest first: the time when it was queued, or where it was moved to since.

        LabError where that is damaged.
        """
        file = self.folder / "turn.json"
        moved = disk.read_json(file) if disk.may_be_there(file) else self.recorded_status()["queued"]
        if not isinstance(moved, kinds.NUMBER):
            raise LabError(f"{file} is damaged: delete it, and the run waits in the order in which it was queued")
        return float(moved), self.name

    def summary(self) -> dict[str, Any]:
        """The run's results; empty before it has ended. LabError where the file is damaged."""
        file = self.folder / "summary.json"
        if not disk.may_be_there(file):
            return {}
        summary: dict[str, Any] = disk.read_json(file)
        if wrong := kinds.wrong_in_summary(summary):
            raise LabError(f"{file} is damaged ({wrong} isn't what it should be): delete the run")
        return summary

    @property
    def temperature(self) -> float:
        """What the network's logits are divided by before they become probabilities, in all answers of the run.

        Fitted on the validation split when the run ends; 1.0 before that, and where it couldn't be fitted.
        """
        return float(self.summary().get("temperature", 1.0))

    def predictions(self) -> pd.DataFrame:
        """A row for every validation and test picture: image_id, split, label, predicted, source_photo, p_<class>.

        The probabilities are those at the run's `temperature`.
        """
        file = self.folder / "predictions.parquet"
        if not file.exists() and (state := self.status()["state"]) != "done":
            raise LabError(f"run {self.name!r} has no predictions: it hasn't finished ({state})")
        try:
            table = pd.read_parquet(file)
        except (OSError, ValueError) as error:
            raise LabError(
                f"run {self.name!r}: {file.name} can't be read ({brief(error)}): train it again"
            ) from None
        wanted = {"image_id", "split", "label", "predicted", "source_photo", *(f"p_{name}" for name in self.classes)}
        if missing := sorted(wanted - {*table}):
            raise LabError(f"run {self.name!r}: {file.name} has no column {missing[0]!r}: train it again")
        return table

    def events(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The events of metrics.jsonl from byte `offset` on, and the offset to go on from.

        An unfinished last line is left for the next call. Where the file has been cut back (a resumed run goes back
        to its checkpoint) and `offset` is no line's end any more it is read from its beginning, which the caller
        sees by a first event of step 1. LabError where it can't be read, or a whole line is no event.
        """
        file = self.folder / "metrics.jsonl"
        try:
            with open(file, "rb") as stream:
                stream.seek(max(offset - 1, 0))
                if offset and stream.read(1) != b"\n":
                    stream.seek(0)
                whole = stream.read()
                end = stream.tell() - (len(whole) - (whole.rfind(b"\n") + 1))
        except FileNotFoundError:
            return [], 0
        except OSError as error:
            raise LabError(f"{file} can't be read: {error.strerror}") from None
        lines = whole[: whole.rfind(b"\n") + 1].splitlines()
        try:
            events = [json.loads(line) for line in lines]
        except ValueError:
            events = [None]
        if not all(isinstance(event, dict) and "event" in event for event in events):
            raise LabError(f"{file} is damaged: a line of it is no event")
        return events, end

    def log_tail(self, lines: int = 20) -> str:
        """The end of the worker's log, or why it can't be read."""
        file = self.folder / "worker.log"
        try:
            with open(file, "rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - LOG_TAIL))
                return "\n".join(stream.read().decode("utf-8", "replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"{file} can't be read: {error.strerror}"

    def describe(self) -> dict[str, Any]:
        """What `runs show` prints. JSON-ready.

        `kept_back` is the same for runs that kept back the same photos to validate on, and '' where the dataset brings
        validation pictures of its own.
        """
        status, told = self.status(), self.notes
        return {
            "run": self.name,
            "title": told.title,
            "tags": list(told.tags),
            "state": status["state"],
            "reason": status.get("reason", ""),
            "model": self.config.model,
            "data": self.config.data,
            "data_hash": self.data_hash,
            "view": self.view_words,
            "members": [facts["run"] for facts in self.member_facts],
            "adapted_from": (self.adapted or {}).get("from"),
            "synthetic": self.synthetic,
            "weights": self.config.weights,
            "pretrained": self.pretrained,
            "epoch": status.get("epoch", 0),
            "epochs": 0 if self.is_ensemble else self.config.epochs,
            "fold": self.config.fold_words,
            "group": self.group,
            "kept_back": _digest(self.validation_photos),
            "bundled": self.bundled,
            "created": self.created,
            "device": status.get("device", ""),
            "config": self.settings,
            "summary": self.summary() or None,
        }


def _digest(photos: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(photos)).encode()).hexdigest()[:12] if photos else ""


def names() -> list[str]:
    """All runs of this workspace, newest first, and after them those that come with the program."""
    own = _names_in(workspace.runs_dir())
    return own + [name for name in bundled_names() if name not in own]


def bundled_names() -> list[str]:
    """The runs that come with the program."""
    return _names_in(BUNDLED)


def _names_in(folder: Path) -> list[str]:
    return workspace.names_in(folder, ("config.json", "status.json"))[::-1]


def readable_runs() -> tuple[list[Run], list[str]]:
    """The runs that can be read, newest first and bundled ones last, and a line for each that can't."""
    good, damaged = all_readable(names(), _whole)
    # by the time and not by the name: an ensemble may be called anything
    return sorted(good, key=lambda run: (not run.bundled, run.created, run.name), reverse=True), damaged


def _whole(name: str) -> Run:
    """The run of that name; LabError too where other files than its config.json are damaged."""
    run = Run(name)
    state = run.status()["state"]
    if state == "done" and not run.summary():
        raise LabError(f"run {name!r} is done, but its summary.json is missing: delete it")
    if state == "queued":
        run.turn()
    return run


def waiting(queue: str) -> list[Run]:
    """The runs that wait for a device, next first; runs that can't be read are skipped.

    Each waiting worker calls this when it sees the device free, pages at each tick: of all other runs only the state is
    read.
    """
    waits = []
    for name in _names_in(workspace.runs_dir()):
        try:
            recorded = disk.read_json(workspace.run_dir(name) / "status.json")
            if isinstance(recorded, dict) and (recorded.get("state"), recorded.get("queue")) == ("queued", queue):
                run = Run(name)
                if run.status()["state"] == "queued":
                    waits.append((run.turn(), run))
        except LabError:
            continue  # damaged, or removed since
    return [run for _, run in sorted(waits, key=lambda pair: pair[0])]


def find(reference: str) -> Run:
    """The run of that name, of which it is a unique beginning, or for `latest` the newest finished one."""
    return Run(find_name(reference))


def find_name(reference: str) -> str:
    """The name of the run that `find` gives, also of one that can't be read.

    `latest` is neither a fold of a cross-validation, which would pass for a run on the whole data, nor a bundled run,
    which would pass for one that was trained here.
    """
    if reference == "latest":
        whole = (run for run in readable_runs()[0] if not run.config.folds and not run.bundled)
        finished = (run for run in whole if run.status()["state"] == "done")
        run = next(finished, None)
        if run is None:
            bundled = "".join(f"; {name} comes with the program" for name in bundled_names())
            raise LabError(f"no run has finished yet: `train` makes one{bundled}")
        return run.name
    return workspace.find_name(reference, names(), ("run", "runs"), "`runs list` shows what there is")


def new_name(what: str) -> str:
    """A `dated_name` not yet in use: two runs made in one second can draw the same ending."""
    names = iter(lambda: workspace.dated_name(what), None)
    return next(name for name in names if not os.path.exists(workspace.run_dir(name)))


def remove(run: Run) -> None:
    """Deletes a run; LabError where it is at work, an ensemble needs it, or it came with the program."""
    if run.bundled:
        raise LabError(f"run {run.name!r} comes with the program and can't be removed")
    if run.status()["state"] not in ENDED:
        raise LabError(f"run {run.name!r} is at work: stop it first")
    _discard(run.name)
    if run.group:
        workspace.group_file(run.group).unlink(missing_ok=True)  # its figures are of all its runs


def remove_damaged(name: str) -> None:
    """Deletes a run that can't be read; LabError where there is none, its worker holds it, or an ensemble needs it."""
    if not os.path.isdir(workspace.run_dir(name)):
        Run(name)  # raises
    if background.is_held(FileLock(workspace.run_dir(name) / "worker.lock")):
        raise LabError(f"run {name!r} is at work: wait for its end")
    _discard(name)


def check_no_members(names: Iterable[str]) -> None:
    """LabError where an ensemble needs one of these runs."""
    known = readable_runs()[0]
    for name in names:
        if needed_by := [other.name for other in known if name in other.settings.get("members", [])]:
            raise LabError(f"run {name!r} is a member of {', '.join(needed_by)}: remove that first")


def _discard(name: str) -> None:
    check_no_members([name])
    workspace.likeness_file(name).unlink(missing_ok=True)
    disk.discard(workspace.run_dir(name))
    notes.forget("run", name)
