"""Several processes that train one run, started by torchrun as a person would: over gloo, on the CPU."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
from filelock import FileLock
from safetensors.torch import load_file
from torch import nn

from bloodcell_core import background, runs, workspace
from bloodcell_core.cli import main
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.device import choose_device
from bloodcell_core.errors import LabError
from bloodcell_core.models.network import build_network, load_network
from bloodcell_core.runs import Run
from bloodcell_core.training import jobs, worker
from bloodcell_core.training.loop import Hooks, LabelledPictures, measure, train
from bloodcell_core.training.prepare import first_state, load_pictures, split_rows
from bloodcell_core.training.team import ALONE, Team
from tests.test_architecture import ROOT
from tests.training_fixtures import TINY, losses, quiet, tiny, train_here, wait_for

pytest_plugins = ["tests.training_fixtures"]
pytestmark = pytest.mark.usefixtures("lab")

EVEN = TINY | {"epochs": 2, "pictures_per_epoch": 24}
"""Batches of four, so that two processes have equal shares of each."""


def torchrun(*arguments: str, processes: int = 2) -> subprocess.Popen[str]:
    return team_of(processes, "-m", "bloodcell_core", *arguments)


def team_of(processes: int, *program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *program],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def flags(settings: dict[str, Any]) -> list[str]:
    return [f"--set={name}={value}" for name, value in settings.items()]


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def train_together(**changes: Any) -> Run:
    process = torchrun("train", "--json", *flags(EVEN | changes))
    told, errors = finish(process)
    assert process.returncode == 0, errors
    return Run(json.loads(told)["run"])


def assert_same_course(together: Run, alone: Run) -> None:
    for ours, theirs in zip(losses(together), losses(alone), strict=True):
        assert ours.pop("event") == theirs.pop("event")
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_two_processes_end_with_the_weights_of_one() -> None:
    together, alone = train_together(), train_here(**EVEN)
    assert together.status()["device"].endswith("2 processes")
    ours, theirs = load_file(together.weights_file), load_file(alone.weights_file)
    for name, values in theirs.items():
        # By all weights of a layer: where a gradient is nearly 0, Adam makes a long step out of its last digit.
        assert (ours[name] - values).norm() <= 1e-3 * values.norm(), name
    assert_same_course(together, alone)
    assert len(together.predictions()) == len(alone.predictions())
    assert len(runs.names()) == 3  # the fixture's, and one each: only one process made a run


@pytest.mark.slow
def test_shares_that_are_not_equal_count_by_their_pictures() -> None:
    together, alone = train_together(pictures_per_epoch=23), train_here(**EVEN | {"pictures_per_epoch": 23})
    assert_same_course(together, alone)


@pytest.mark.slow
def test_a_team_stops_on_request_with_all_its_steps_told() -> None:
    settings = EVEN | {"epochs": 400}
    process = torchrun("train", "--json", *flags(settings))
    run = Run(wait_for(lambda: [name for name in runs.names() if Run(name).config.epochs == 400], "it is made")[0])
    wait_for(lambda: run.status()["state"] == "running" and run.events()[0], "it has trained a little")
    (run.folder / "stop").touch()
    _, errors = finish(process)
    assert process.returncode == 0, errors
    assert run.status()["state"] == "stopped"
    steps = [event["step"] for event in run.events()[0] if event["event"] == "step"]
    assert steps == list(range(1, len(steps) + 1))


@pytest.mark.slow
@pytest.mark.parametrize("stop", [False, True])
def test_a_team_that_cannot_begin_ends(stop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the leader fails, or is stopped while it waits, the others don't wait for ever."""
    waiting = jobs.create_run(tiny())  # an earlier run of the queue, whose worker never comes
    jobs.write_status(waiting.folder, updated=4e9)
    process = torchrun("train", *flags(EVEN | ({"epochs": 399} if stop else {"validation_fraction": 0.5, "epochs": 0})))
    if stop:
        run = Run(wait_for(lambda: [name for name in runs.names() if Run(name).config.epochs == 399], "it is made")[0])
        (run.folder / "stop").touch()
    _, errors = finish(process)
    assert process.returncode == (0 if stop else 1), errors
    assert ("stopped while it waited" if stop else "epochs must lie between 1 and 1,000, not 0") in errors


PARTS = """
from pathlib import Path
from torch import nn
from bloodcell_core.training.team import this_process

def wrap():
    nn.parallel.DistributedDataParallel(nn.Linear(2, 2))

team = this_process()
team.assemble("cpu", "run")
wrap()
team.part()
left = [name for file in Path("/proc/self/task").glob("*/comm") if "gloo" in (name := file.read_text())]
raise SystemExit(f"left: {left}" if left else 0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux lists a process's threads in files")
def test_a_team_that_parts_leaves_no_thread_behind(tmp_path: Path) -> None:
    """One that frees its last tensor while the interpreter ends takes the process down with SIGABRT."""
    program = tmp_path / "parts.py"
    program.write_text(PARTS)
    process = team_of(2, str(program))
    _, errors = finish(process)
    assert process.returncode == 0, errors


@pytest.mark.parametrize("size", [1, 2, 3])
def test_each_row_is_one_processs_and_no_two_share_a_draw(size: int) -> None:
    rows = torch.arange(10)
    teams = [Team(rank, size) for rank in range(size)]
    assert sorted(torch.cat([team.share(rows) for team in teams]).tolist()) == rows.tolist()
    draws = [team.draw(step) for team in teams for step in range(5)]
    assert sorted(draws) == list(range(5 * size))


def test_a_team_of_one_is_left_alone() -> None:
    values = torch.tensor([1.0, 2.0])
    assert ALONE.sum(values) is values
    assert ALONE.assemble("cpu", "name") == "name"
    assert ALONE.met()
    assert ALONE.device("cuda:3") == "cuda:3"
    ALONE.part()


def test_a_team_has_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [Team(1, 2).device(wanted) for wanted in ("auto", "cuda", "cpu")] == ["cuda:1", "cuda:1", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Team(1, 2).device("auto") == "cpu"
    with pytest.raises(LabError, match="several processes can't share cuda:0"):
        Team(0, 2).device("cuda:0")


@pytest.mark.parametrize(("machine", "locked"), [("0", "device-cuda-1"), ("1", "device-lab-two-cuda-1")])
def test_a_gpu_is_its_processs_alone_until_the_team_parts(
    machine: str, locked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader's is locked by its run's turn; the others lock theirs when they have been told what they train.

    On another machine that shares the workspace it is by another name: the same number is another GPU there.
    """
    monkeypatch.setenv("GROUP_RANK", machine)
    monkeypatch.setattr(platform, "node", lambda: "Lab Two")

    def told(values: list[str | None]) -> None:
        values[0] = "a-run"

    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("bloodcell_core.device.choose_device", lambda wanted: None)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", told)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    team, lock = Team(1, 2), FileLock(workspace.lock_file(locked))
    assert team.assemble("cuda") == "a-run"
    assert background.is_held(lock)
    team.part()
    assert not background.is_held(lock)


def destroyed_after(failure: bool, backend: str, leads: bool, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the group was destroyed by a process whose training has ended, or broken off by `failure`."""
    destroyed: list[bool] = []

    def training(*_: Any) -> bool:
        if failure:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return False

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: backend)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: destroyed.append(True))
    monkeypatch.setattr(Team, "assemble", lambda _, wanted, name=None: "a-run")
    team = Team(0 if leads else 1, 2)
    if leads:
        monkeypatch.setattr(worker, "_train", training)
        assert worker.work(jobs.create_run(tiny()), quiet, team) == ("failed" if failure else "done")
    else:
        monkeypatch.setattr(worker, "_begin", training)
        monkeypatch.setattr(worker, "Run", lambda name: None)
        monkeypatch.setattr(Team, "assemble", lambda _, wanted, name=None: "a-run" if failure else None)
        with pytest.raises(torch.OutOfMemoryError) if failure else nullcontext():
            worker.follow(team, "cuda")
    return bool(destroyed)


@pytest.mark.parametrize("leads", [True, False])
def test_a_process_that_breaks_off_leaves_a_group_of_gpus_as_it_is(
    leads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NCCL would wait for the sums that the others are in, they for this process, and torchrun for all of them."""
    assert not destroyed_after(True, "nccl", leads, monkeypatch)
    assert destroyed_after(False, "nccl", leads, monkeypatch)
    assert destroyed_after(True, "gloo", leads, monkeypatch)


def test_a_process_without_a_gpu_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(LabError, match=r"cuda:1 isn't there: this machine has 1 CUDA device"):
        Team(1, 2).assemble("cuda")


class Told(Hooks):
    """The events of a training."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def log(self, events: list[dict[str, Any]]) -> None:
        self.events += events


def test_a_last_batch_smaller_than_the_team_is_trained_on(lab: Path) -> None:
    """The third of three processes has no picture of a batch of two: it adds nothing, and doesn't fail.

    It is alone in its group here, so what is summed over the team is its own part.
    """
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8))
    data, told = LabelledPictures(pixels, torch.arange(8) % 4), Told()
    config, device = tiny(batch_size=6, epochs=1), choose_device("cpu")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        state = first_state(config, 4, device, "none")
        assert train(config, state, data, data, device, told, Team(2, 3))
    finally:
        torch.distributed.destroy_process_group()
    whole, empty = (event["loss"] for event in told.events if event["event"] == "step")
    assert whole > 0
    assert empty == 0
    assert all(bool(weights.isfinite().all()) for weights in state.network.parameters())
    assert state.step == 2


@pytest.mark.slow
def test_a_batch_smaller_than_the_team_is_refused() -> None:
    process = torchrun("train", *flags(EVEN | {"batch_size": 1}))
    _, errors = finish(process)
    assert process.returncode == 1
    assert "2 processes can't share batches of 1: raise batch_size" in errors


@pytest.mark.parametrize("flag", ["--detach", "--estimate"])
def test_what_a_team_cannot_do_is_refused_by_each_of_it(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --detach the leader would be gone at once, and the others would wait for it."""
    before = runs.names()
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setattr(Team, "assemble", lambda *_: pytest.fail("it waits"))
        assert main(["train", *flags(EVEN), flag]) == 2
    assert runs.names() == before


def test_a_study_s_best_settings_are_trained_by_a_team_as_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from bloodcell_core.cli.runs import train_and_show

    before = runs.names()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(Team, "assemble", lambda *_: None)  # the leader trains none
    monkeypatch.setattr(Team, "part", lambda *_: None)
    assert train_and_show(tiny(), detach=False, as_json=True) == 0
    assert runs.names() == before


@pytest.mark.slow
def test_the_validation_figures_of_a_team_are_those_of_the_weights_that_are_kept() -> None:
    """On CPUs each process has statistics of its own: the leader's are kept, and by these all have to measure."""
    run = train_together(model="resnet18", weights="none", epochs=1)
    device, dataset = choose_device("cpu"), Dataset("demo")
    rows = split_rows(run.config, dataset, run.validation_photos)
    _, _, validation = load_pictures(run.config, dataset, rows, device)
    kept = load_network(run.config, len(run.classes), run.weights_file)
    [epoch] = [event for event in run.events()[0] if event["event"] == "epoch"]
    assert epoch["val_loss"] == pytest.approx(measure(kept, validation, device)[0], rel=1e-5)


def batch_norms(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


@pytest.mark.parametrize("model", ["resnet18", "efficientnet_lite0", "timm/efficientnet_lite0"])
def test_on_gpus_batch_normalisation_goes_by_the_whole_batch(model: str) -> None:
    """What can be seen without two GPUs: the layers are PyTorch's shared ones, over the same weights."""
    torch.manual_seed(0)
    network = build_network(model, 4, 32)
    pictures = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        before = network.eval()(pictures)
    weights = {name: id(weight) for name, weight in network.named_parameters()}
    buffers = set(network.state_dict())
    assert batch_norms(network)
    assert not Team(0, 2).share_statistics(network, on_cuda=True)
    assert all(isinstance(layer, nn.SyncBatchNorm) for layer in batch_norms(network))
    assert {name: id(weight) for name, weight in network.named_parameters()} == weights  # the optimizer has these
    assert set(network.state_dict()) == buffers
    with torch.inference_mode():
        assert torch.equal(network.eval()(pictures), before)


def test_on_cpus_it_is_told_that_statistics_are_each_processs_own() -> None:
    network = build_network("resnet18", 4, 32)
    assert "each process's own share" in Team(0, 2).share_statistics(network, on_cuda=False)
    assert not any(isinstance(layer, nn.SyncBatchNorm) for layer in batch_norms(network))


@pytest.mark.parametrize(("model", "team"), [("resnet18", ALONE), ("cell_net", Team(0, 2))])
@pytest.mark.parametrize("on_cuda", [False, True])
def test_without_a_team_or_without_batch_normalisation_nothing_is_told_or_changed(
    model: str, team: Team, on_cuda: bool
) -> None:
    network = build_network(model, 4, 32)
    assert not team.share_statistics(network, on_cuda)
    assert not any(isinstance(layer, nn.SyncBatchNorm) for layer in network.modules())
