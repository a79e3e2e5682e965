"""Exports a run as one ONNX file for other programs, with a sidecar (JSON) that says how to use it.

The file contains the networks of the run (one, or several of an ensemble), normalisation and temperatures included:
pixels go in as uint8, and the run's probabilities come out. What it can't contain, where the cell is and how it is cut
out, is described in the sidecar, in figures and in words. Both are reproducible, for the same run and the same
packages: they contain no time of day and no path of this machine.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bloodcell_core import disk
from bloodcell_core.data.dataset import dataset_of
from bloodcell_core.data.splits import run_pictures
from bloodcell_core.data.views import build_view
from bloodcell_core.errors import LabError, brief
from bloodcell_core.evaluation.averaging import answer_of
from bloodcell_core.evaluation.likeness import Likeness
from bloodcell_core.evaluation.run_likeness import likeness_of
from bloodcell_core.inference.sidecar import (
    check_free,
    describe,
    input_names,
    likeness_files,
    output_names,
    sidecar_of,
    view_of,
)
from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.runs import Run

if TYPE_CHECKING:
    import onnxruntime
    from torch import nn

    from bloodcell_core.models.network import Network

TOLERANCE = 1e-4  # largest difference of a probability between PyTorch and ONNX Runtime
BATCH = 256
RANDOM_PICTURES = 64  # on which the file is checked where the run's dataset isn't here
INSTALL = "pip install -r requirements-export.txt (onnx, onnxscript and onnxruntime)"
LEAST = float(np.finfo(np.float32).tiny)  # smallest probability of which the logarithm is taken


@dataclass(frozen=True)
class Exported:
    """The files that `export_onnx` wrote."""

    file: Path
    sidecar: Path
    likeness: list[Path]
    """The `Likeness` of each member, where it is known."""
    facts: dict[str, Any]
    """The sidecar's content."""


def export_onnx(run: Run, file: Path, progress: Progress = no_progress) -> Exported:
    """Writes a finished run as `file` (.onnx) and its sidecar (.json beside it), checked against PyTorch first.

    Args:
        run: a trained run, or an ensemble.
        file: must end in .onnx; an exported run that is there is replaced.
        progress: called with (pictures checked, pictures in all).

    Raises:
        LabError: where a file beside it is none of an exported run, a package is missing, the network can't be written,
            or ONNX Runtime's answers differ from PyTorch's by more than `TOLERANCE`. Then nothing is written.
    """
    if file.suffix.lower() != ".onnx":
        raise LabError(f"an exported run is called something.onnx, not {file.name!r}")
    check_free(file, len(run.members))
    disk.check_writable(file)
    check_packages("onnx", "onnxscript", "onnxruntime")
    networks = _networks(run)
    inputs = input_names(run)
    with disk.write_atomic(file) as temporary:
        temporary.write_bytes(_written(run, networks, inputs))
        checked = _check(run, networks, open_session(temporary), inputs, progress)
        likeness = [_likeness(member, network) for member, network in zip(run.members, networks, strict=True)]
        facts = describe(run, inputs, checked, likeness, hashlib.sha256(temporary.read_bytes()).hexdigest())
    written = []
    for known, beside in zip(likeness, likeness_files(file, len(networks)), strict=True):
        if isinstance(known, Likeness):
            known.save(beside)
            written.append(beside)
        else:
            beside.unlink(missing_ok=True)
    sidecar = sidecar_of(file)
    disk.write_json(sidecar, facts)
    return Exported(file, sidecar, written, facts)


def check_packages(*packages: str) -> None:
    """LabError, with the remedy, where one of the packages isn't installed."""
    from importlib import import_module

    for package in packages:
        try:
            import_module(package)
        except ImportError:
            raise LabError(f"{package} isn't installed, which ONNX files need: {INSTALL}") from None


def open_session(file: Path) -> onnxruntime.InferenceSession:
    """An exported file in ONNX Runtime, on the CPU, with as many threads as PyTorch has; LabError where that fails."""
    check_packages("onnxruntime")
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Between two answers its threads would spin, on cores that are needed to read the next pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # only errors
    try:
        return onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a dozen exceptions without a common base class
        raise LabError(f"{file.name} can't be used as an ONNX file: {brief(error)}") from None


# The file


def _networks(run: Run) -> list[Network]:
    from bloodcell_core.models.network import trained_network

    for member in run.members:
        member.check_weights()
    return [trained_network(member) for member in run.members]


def _written(run: Run, networks: Sequence[nn.Module], inputs: dict[str, str]) -> bytes:
    """The bytes of the ONNX file."""
    import torch

    whole = _whole(run, networks, list(inputs))
    pictures = {
        inputs[view_of(member)]: torch.zeros((2, member.config.size, member.config.size, 3), dtype=torch.uint8)
        for member in run.members
    }
    outputs = ["probabilities", *(name for pair in output_names(len(networks)) for name in pair)]
    try:
        with _quiet():
            program = torch.onnx.export(
                whole, tuple(pictures.values()), dynamo=True, verbose=False,
                input_names=list(pictures), output_names=outputs,
                dynamic_shapes=(tuple({0: torch.export.Dim("n")} for _ in pictures),),
            )  # fmt: skip
    except Exception as error:  # a network that torch can't trace: each fails in its own way
        raise LabError(f"run {run.name!r} can't be written as ONNX: {brief(error)}") from None
    if program is None:
        raise LabError(f"run {run.name!r} can't be written as ONNX: torch gave no program")
    model = program.model_proto
    for node in model.graph.node:  # its metadata has paths of this machine's Python files
        del node.metadata_props[:]
        node.doc_string = ""
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.metadata_props[:], model.graph.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = "run", run.name
    return bytes(model.SerializeToString(deterministic=True))


def _whole(run: Run, networks: Sequence[nn.Module], views: Sequence[str]) -> nn.Module:
    """A module of all that the file computes: uint8 (N, S, S, 3) of each view → probabilities, and for each member its
    logits and features."""
    import torch
    from torch import Tensor, nn

    members, ensemble_temperature = run.members, run.temperature
    places = [views.index(view_of(member)) for member in members]
    temperatures = [member.temperature for member in members]
    ensemble = run.is_ensemble

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.networks = nn.ModuleList(networks)

        def forward(self, *pictures: Tensor) -> tuple[Tensor, ...]:
            floats = [given.permute(0, 3, 1, 2).to(torch.float32) / 255 for given in pictures]
            shares, outputs = [], []
            for network, place, temperature in zip(self.networks, places, temperatures, strict=True):
                logits, features = _with_features(network, floats[place])
                shares.append((logits / temperature).softmax(1))
                outputs += [logits, features]
            mean = torch.stack(shares).mean(0) if ensemble else shares[0]
            if ensemble and ensemble_temperature != 1:
                mean = (mean.clamp(min=LEAST).log() / ensemble_temperature).softmax(1)
            return mean, *outputs

    return Whole().eval()


def _with_features(network: nn.Module, pictures: Any) -> tuple[Any, Any]:
    """Logits (N, C), and features (N, D): the inputs of the last layer."""
    from bloodcell_core.models.network import last_layer_of

    seen: list[Any] = []
    hook = last_layer_of(network).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
    try:
        return network(pictures), seen[-1]
    finally:
        hook.remove()


@contextmanager
def _quiet() -> Iterator[None]:
    """A context without the warnings of torch's exporter, which are about its own internals."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _likeness(run: Run, network: Network) -> Likeness | str:
    """A member's `Likeness`, or why it isn't known."""
    from bloodcell_core.device import choose_device

    known, why = likeness_of(run, lambda: network, choose_device("cpu"))
    return known or why


# The check


def _check(
    run: Run,
    networks: Sequence[nn.Module],
    session: onnxruntime.InferenceSession,
    inputs: dict[str, str],
    progress: Progress,
) -> dict[str, Any]:
    """The result of comparing ONNX Runtime with PyTorch, JSON-ready; LabError where they differ."""
    from bloodcell_core.device import choose_device
    from bloodcell_core.models.forward import predict_logits, softmax

    views, rows, words = _pictures_to_check(run)
    device = choose_device("cpu")
    same, largest, total = 0, 0.0, len(rows)
    for start in range(0, total, BATCH):
        batch = {view: np.asarray(pixels[rows[start : start + BATCH]]) for view, pixels in views.items()}
        members = [
            softmax(predict_logits(network, batch[view_of(member)], device), member.temperature)
            for member, network in zip(run.members, networks, strict=True)
        ]
        wanted = answer_of(run, members)
        (got,) = session.run(["probabilities"], {inputs[view]: pixels for view, pixels in batch.items()})
        same += int((got.argmax(1) == wanted.argmax(1)).sum())
        largest = max(largest, float(np.abs(got - wanted).max()))
        progress(min(start + BATCH, total), total)
    if not largest <= TOLERANCE or same < total:
        raise LabError(
            f"ONNX Runtime doesn't answer as PyTorch does: the same class for {same:,} of {total:,} {words}, "
            f"probabilities up to {largest:.1e} apart. Nothing was written"
        )
    return {"pictures": total, "what": words, "same_class": same, "largest_difference": largest}


def _pictures_to_check(run: Run) -> tuple[dict[str, np.ndarray], np.ndarray, str]:
    """The views (N, S, S, 3) of some pictures, the rows to check, and what they are, in words."""
    why = "isn't here"
    if dataset := dataset_of(run):
        why = "has no test picture of its classes"
        pictures = run_pictures(run.config, dataset)
        rows = pictures.index[pictures.split == "test"].to_numpy()
        if len(rows):
            views = {view_of(member): build_view(dataset, *member.config.sight) for member in run.members}
            return views, rows, "test pictures"
    rng = np.random.default_rng(0)
    noise = {
        view_of(member): rng.integers(0, 256, (RANDOM_PICTURES, member.config.size, member.config.size, 3), np.uint8)
        for member in run.members
    }
    return noise, np.arange(RANDOM_PICTURES), f"random pictures (the run's own dataset {why})"
