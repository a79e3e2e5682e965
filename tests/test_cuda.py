"""Training and predicting on a CUDA device, beside the CPU. Deselected by default: `pytest -m cuda` runs them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bloodcell_core import runs
from bloodcell_core.config import PLAIN, TrainConfig
from bloodcell_core.device import Device, choose_device
from bloodcell_core.inference.handed_in import files_of
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.models import MODELS
from bloodcell_core.models.forward import Tapped, predict_logits, predict_probabilities
from bloodcell_core.models.network import build_network
from bloodcell_core.training import checkpoint, jobs, worker
from bloodcell_core.training.loop import Hooks, LabelledPictures, TrainState, make_optimizer, resident, train
from bloodcell_core.training.prepare import first_state
from tests.training_fixtures import losses, tiny, train_here

pytest_plugins = ["tests.training_fixtures"]
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]
CPU = choose_device("cpu")


@pytest.fixture
def all_digits() -> Iterator[None]:
    """No TF32, which shortens float32. `monkeypatch` can't undo it: what PyTorch calls attributes here are none."""
    settings: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [each.allow_tf32 for each in settings]
    for each in settings:
        each.allow_tf32 = False
    yield
    for each, was in zip(settings, before, strict=True):
        each.allow_tf32 = was


class Steps(Hooks):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def log(self, events: list[dict[str, Any]]) -> None:
        self.losses += [event["loss"] for event in events if event["event"] == "step"]


def labelled(count: int = 32) -> LabelledPictures:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 4
    pixels = rng.integers(0, 128, (count, 32, 32, 3)) + labels[:, None, None, None] * 30
    return LabelledPictures(torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels))


def on(data: LabelledPictures, device: Device) -> LabelledPictures:
    return LabelledPictures(data.pictures.to(device.device), data.labels.to(device.device))


def in_full_precision(device: Device) -> Device:
    return device._replace(autocast=None)


def step_losses(model: str, device: Device, data: LabelledPictures) -> list[float]:
    asked = {"data": "d", "model": model, "size": 32, "batch_size": 16, "epochs": 2, "learning_rate": 1e-4}
    settings = TrainConfig(**PLAIN | asked)
    torch.manual_seed(0)
    network = build_network(model, 4, 32)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0  # each device draws its own
    network = network.to(device.device)
    steps = Steps()
    state = TrainState(network, make_optimizer(settings, network))
    assert train(settings, state, data, labelled(8), device, steps)
    return steps.losses


@pytest.mark.parametrize("model", MODELS)
def test_a_tiny_run_trains_to_the_end(model: str, lab: Path) -> None:
    run = train_here(model=model, device="cuda", epochs=2, weights="none")
    assert run.describe()["state"] == "done", run.describe()["reason"]
    assert "cuda:0" in run.describe()["device"]
    events = losses(run)
    assert all(math.isfinite(event["loss"]) for event in events if event["event"] == "step")
    assert len([event for event in events if event["event"] == "epoch"]) == 2


def test_a_run_trained_on_cuda_predicts_on_the_cpu_too(lab: Path, pictures: list[Path]) -> None:
    run = train_here(device="cuda")
    there, here = (list(Predictor(run, device).classify(files_of(pictures[:8]))) for device in ("cuda", "cpu"))
    for one, other in zip(there, here, strict=True):
        assert one.cells[0].probabilities == pytest.approx(other.cells[0].probabilities, abs=0.03)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.usefixtures("all_digits")
def test_in_full_precision_the_losses_are_the_cpus(model: str) -> None:
    device = in_full_precision(choose_device("cuda"))
    data = labelled()
    there, here = step_losses(model, device, on(data, device)), step_losses(model, CPU, data)
    assert there[0] == pytest.approx(here[0], rel=1e-3)
    # Adam's first steps go by a gradient's sign, which for the smallest is chance: of another order of sums on one CPU
    # efficientnet_lite0's third loss differs by 2%.
    assert there == pytest.approx(here, rel=0.1)


def test_half_precision_is_used_and_close(monkeypatch: pytest.MonkeyPatch) -> None:
    device = choose_device("cuda")
    if device.autocast is None:
        pytest.skip("this card has no bfloat16")
    seen: set[torch.dtype] = set()
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda layer, _, output: seen.add(output.dtype) if isinstance(layer, torch.nn.Conv2d) else None
    )
    try:
        data = labelled()
        half = step_losses("basic_cnn", device, on(data, device))
    finally:
        hook.remove()
    assert seen == {torch.bfloat16}
    assert all(map(math.isfinite, half))
    assert half == pytest.approx(step_losses("basic_cnn", CPU, data), rel=0.1)


def test_pictures_that_stay_on_the_host_give_the_same_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    device = in_full_precision(choose_device("cuda"))
    data = labelled()
    resident_losses = step_losses("basic_cnn", device, on(data, device))
    assert step_losses("basic_cnn", device, data) == pytest.approx(resident_losses, rel=1e-3)


def test_pictures_lie_on_the_device_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    device = choose_device("cuda")
    pixels, rows, labels = np.zeros((6, 4, 4, 3), np.uint8), np.arange(6), np.zeros(6, np.int64)
    assert resident(pixels, rows, labels, device).pictures.is_cuda
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (pixels.nbytes, 1 << 40))
    data = resident(pixels, rows, labels, device)
    assert not data.pictures.is_cuda
    assert not data.labels.is_cuda


def test_predicting_gives_the_cpus_answers() -> None:
    device = choose_device("cuda")
    torch.manual_seed(0)
    network = build_network("resnet18", 4, 32)
    pictures = labelled().pictures.numpy()
    here = predict_probabilities(network, pictures, CPU)
    there = predict_probabilities(network.to(device.device), pictures, device)
    np.testing.assert_allclose(there, here, atol=0.03)
    np.testing.assert_allclose(there.sum(1), 1, atol=1e-12)
    logits: Tensor = predict_logits(network, pictures, device)
    assert logits.dtype == torch.float32
    assert logits.is_cuda


@pytest.mark.parametrize("model", MODELS)
def test_a_tapped_network_gives_its_answers(model: str) -> None:
    device = choose_device("cuda")
    torch.manual_seed(0)
    network = build_network(model, 4, 32).eval().to(device.device)
    pictures = labelled().pictures.numpy()
    logits, features = Tapped(network).predict(pictures, device, batch_size=7)
    torch.testing.assert_close(logits, predict_logits(network, pictures, device, batch_size=7), rtol=1e-2, atol=1e-2)
    assert features.shape[0] == len(pictures)
    assert features.dtype == np.float32


@pytest.mark.parametrize(("begun", "ended"), [("cuda", "cpu"), ("cpu", "cuda")])
@pytest.mark.usefixtures("all_digits")
def test_a_run_goes_on_on_another_device(begun: str, ended: str, tmp_path: Path) -> None:
    asked = PLAIN | {"data": "d", "model": "basic_cnn", "size": 32, "batch_size": 8, "learning_rate": 1e-3}
    first, both = TrainConfig(**asked | {"epochs": 1}), TrainConfig(**asked | {"epochs": 2})
    devices = [in_full_precision(choose_device(name)) for name in (begun, ended)]
    states = [first_state(both, 4, device, "none") for device in devices]
    data, told = labelled(), [Steps(), Steps()]
    assert train(first, states[0], on(data, devices[0]), labelled(8), devices[0], Hooks())
    checkpoint.save(tmp_path / "checkpoint.pt", states[0], metrics_bytes=0)
    checkpoint.load(tmp_path / "checkpoint.pt", states[1], devices[1].device)
    for device, state, steps in zip(devices, states, told, strict=True):
        assert train(both, state, on(data, device), labelled(8), device, steps)
    assert len(told[0].losses) == 4
    assert told[1].losses == pytest.approx(told[0].losses, rel=1e-3)


def test_a_batch_that_fills_the_memory_is_taken_in_parts() -> None:
    device = choose_device("cuda")
    notes: list[str] = []
    asked = {"data": "d", "model": "cell_net", "size": 64, "batch_size": 1024, "epochs": 1, "too_large": "split"}
    config, steps = TrainConfig(**PLAIN | asked), Steps()
    steps.note = notes.append  # type: ignore[method-assign]
    labels = torch.arange(1024) % 4
    data = LabelledPictures((labels * 60).to(torch.uint8)[:, None, None, None].repeat(1, 64, 64, 3), labels)
    few = LabelledPictures(data.pictures[:8], data.labels[:8])
    state = first_state(config, 4, device, "none")
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved(device.device) + 250 * 2**20  # in which the pictures fit, and their maps don't
    whole = torch.cuda.get_device_properties(device.device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, room / whole), device.device)
    try:
        assert train(config, state, data, few, device, steps)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device.device)
    assert notes[0] == "a batch of 1024 doesn't fit in the device's memory: it is taken in 2 parts"
    assert math.isfinite(*steps.losses)


def test_a_stopped_run_goes_on(lab: Path) -> None:
    run = jobs.create_run(tiny(device="cuda"))
    assert worker.work(run, lambda line: "epoch 1/3" in line and (run.folder / "stop").touch()) == "stopped"
    jobs.requeue(run)
    assert worker.work(run, lambda line: None) == "done"
    epochs = [event["epoch"] for event in run.events()[0] if event["event"] == "epoch"]
    assert epochs == [1, 2, 3]
    assert runs.find("latest").name == run.name
