"""What the tests of models, training and the command line share: a tiny dataset and a finished run, made once.

A test module takes them with `pytest_plugins = ["tests.training_fixtures"]`. PYTEST_DONT_REWRITE: it is imported
before pytest could rewrite it, and asserts nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from bloodcell_core import cli, disk, runs, workspace
from bloodcell_core.config import PLAIN, TrainConfig
from bloodcell_core.models import MODELS
from bloodcell_core.runs import Run
from tests.conftest import write_files

if TYPE_CHECKING:
    from torch import nn

    from bloodcell_core.data.dataset import Dataset

T = TypeVar("T")

TINY: dict[str, Any] = PLAIN | {"data": "demo", "model": "basic_cnn", "size": 32, "batch_size": 4, "epochs": 3}
"""Settings of a training that takes a tenth of a second: 32 training pictures, 8 steps an epoch."""


EACH_NETWORK = [
    pytest.param(name, marks=pytest.mark.slow) if name == "efficientnet_lite0" else name for name in MODELS
]
"""For tests of a training or an export, which take ten times as long with that network's many layers."""


def quiet(line: str) -> None:
    """Hears what a worker says."""


class Killed(BaseException):
    """Stands for SIGKILL inside this process: nothing may catch it."""


def tiny(**changes: Any) -> TrainConfig:
    return TrainConfig.from_json(TINY | changes)


def wait_for(condition: Callable[[], T], what: str, seconds: float = 120.0) -> T:
    """The first true answer of `condition`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(0.02)
    return answer


def answering_otherwise(run: Run, name: str) -> Run:
    """A copy of a finished run that says another seed and answers every third picture otherwise."""
    folder = workspace.run_dir(name)
    shutil.copytree(run.folder, folder)
    recorded = disk.read_json(folder / "config.json")
    disk.write_json(folder / "config.json", recorded | {"config": recorded["config"] | {"seed": 77}})
    table = run.predictions()
    shares = [f"p_{each}" for each in run.classes]
    table.loc[::3, shares] = table.loc[::3, shares].to_numpy()[:, ::-1].copy()
    table["predicted"] = table[shares].idxmax(axis=1).str.removeprefix("p_")
    table.to_parquet(folder / "predictions.parquet")
    return Run(name)


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The command line in this process: its exit code, and what it wrote to stdout and stderr."""
    code = cli.main(arguments)
    told = capsys.readouterr()
    return code, told.out, told.err


def cost_by_pytorch(network: nn.Module, size: int) -> tuple[int, int]:
    """The weights of a network, and the flops of one picture, as PyTorch counts them."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # Attention is computed in plain steps: of its fused form on a CPU the counter sees nothing.
    with FlopCounterMode(display=False) as counter, torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        network.eval()(torch.zeros(1, 3, size, size))
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops()


def losses(run: Run) -> list[dict[str, Any]]:
    """The run's events without the one thing in them that may differ between two equal runs."""
    return [{key: value for key, value in event.items() if key != "seconds"} for event in run.events()[0]]


def train_here(**changes: Any) -> Run:
    """A new run, trained in this process."""
    from bloodcell_core.training import jobs, worker

    run = jobs.create_run(tiny(**changes))
    worker.work(run, say=quiet)
    return run


_DRAWN: dict[tuple[int, int], dict[str, bytes]] = {}
"""Path → content of each dataset that `drawn` has drawn in this process, by its pictures a class and its seed."""


def drawn(name: str = "demo", *, per_class: int, seed: int = 0) -> Dataset:
    """`make_demo` for tests of something else: the second time, the first one's files under this name."""
    from bloodcell_core.data.dataset import Dataset
    from bloodcell_core.data.importing import free_name, make_demo

    folder = workspace.dataset_dir(free_name(name))
    if (per_class, seed) not in _DRAWN:
        make_demo(name, per_class, seed)
        files = (file for file in folder.rglob("*") if file.is_file())
        _DRAWN[per_class, seed] = {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
    else:
        write_files(folder, _DRAWN[per_class, seed])
        told = disk.read_json(folder / "dataset.json")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        disk.write_json(folder / "dataset.json", told | {"name": name, "imported": now})
    return Dataset(name)


_TRAINED: dict[str, dict[str, bytes]] = {}
"""File name → content of each run that `trained` has trained in this process, by its settings and its pictures."""


def trained(**changes: Any) -> Run:
    """`train_here` for tests of what comes after a training.

    Equal settings and pictures give equal runs (test_worker.py shows it): the second time, a new run gets the first
    one's files.
    """
    from bloodcell_core.data.dataset import Dataset
    from bloodcell_core.training import jobs

    config = tiny(**changes)
    key = json.dumps([config.to_json(), Dataset(config.data).content_hash])
    if key not in _TRAINED:
        run = train_here(**changes)
        _TRAINED[key] = {file.name: file.read_bytes() for file in run.folder.iterdir()}
        return run
    files, run = dict(_TRAINED[key]), jobs.create_run(config)
    del files["config.json"]  # its own has its time
    status = json.loads(files.pop("status.json"))
    for name, data in files.items():
        (run.folder / name).write_bytes(data)
    jobs.write_status(run.folder, **{key: told for key, told in status.items() if key != "queued"})
    return run


@pytest.fixture(scope="session", autouse=True)
def _answers_are_timed_briefly() -> Iterator[None]:
    """By two pictures and not by 384, which took longer than many a training; `test_timing` tests all of it."""
    from bloodcell_core.models import timing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "BATCH", 1)
        patch.setattr(timing, "PASSES", 1)
        yield


@pytest.fixture(scope="session")
def lab_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the dataset `demo` (48 pictures, 12 a class) and one finished run; not to be written to."""
    import torch

    torch.set_num_threads(1)  # threads gain nothing here, and fight where the machine is busy
    home = tmp_path_factory.mktemp("lab") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLOODCELL_HOME", str(home))
        drawn("demo", per_class=12, seed=8)  # a seed that gives several test photos of a class
        train_here()
    return home


def linked(folder: Path, target: Path) -> None:
    """`shutil.copytree` with links, in half of its time: of folders there are as many as pictures."""
    for place, _, files in os.walk(folder):
        there = f"{target}{place.removeprefix(str(folder))}"
        os.makedirs(there)
        for file in files:
            os.link(f"{place}/{file}", f"{there}/{file}")


@pytest.fixture
def lab(lab_original: Path, lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The test's workspace, filled with that one's content; workers that the test started are ended with it."""
    from bloodcell_core import background

    linked(lab_original / "datasets", lab_home / "datasets")
    shutil.copytree(lab_original / "runs", lab_home / "runs")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # for worker processes, as set_num_threads above
    yield lab_home
    for process in background._workers.values():
        process.kill()
        process.wait()
    background._workers.clear()


@pytest.fixture
def done(lab: Path) -> Run:
    """The finished run of `lab`."""
    return runs.find("latest")


@pytest.fixture
def pictures(lab: Path) -> list[Path]:
    """The picture files of the dataset `demo`, in the order of `Dataset.pictures`."""
    from bloodcell_core.data.dataset import Dataset

    dataset = Dataset("demo")
    return [workspace.dataset_dir("demo") / "originals" / stored for stored in dataset.pictures.stored]
