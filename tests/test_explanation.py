"""Heat maps: they point at what the network decides by, and leave the network as it was."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bloodcell_core.device import choose_device
from bloodcell_core.errors import LabError
from bloodcell_core.inference.explanation import Explainer, heat_of
from bloodcell_core.models import MODELS
from bloodcell_core.models.forward import to_input
from bloodcell_core.models.network import build_network
from bloodcell_core.runs import Run

pytest_plugins = ["tests.training_fixtures"]

SIZE, PATCH, STEPS = 64, 20, 30
CPU = choose_device("cpu")
NETWORKS = [*MODELS, "timm/test_resnet"]
QUICK_TO_TRAIN = ["basic_cnn", "cell_net", "timm/test_resnet"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def patched(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, int]]]:
    """Grey noise with a patch somewhere, blue or red: uint8 (N, S, S, 3), 0 or 1, and each patch's corner."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(90, 166, (count, SIZE, SIZE, 3)).astype(np.uint8)
    labels = np.arange(count) % 2
    corners = [tuple(map(int, rng.integers(0, SIZE - PATCH, 2))) for _ in range(count)]
    for picture, label, (y, x) in zip(pixels, labels, corners, strict=True):
        picture[y : y + PATCH, x : x + PATCH] = (220, 40, 40) if label else (40, 40, 220)
    return torch.from_numpy(pixels), torch.from_numpy(labels), corners


def trained(model: str) -> nn.Module:
    """A network that tells red patches from blue ones."""
    torch.manual_seed(0)
    network = build_network(model, 2, SIZE)
    pictures, labels, _ = patched(1, 32)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    network.train()
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(network(to_input(pictures, CPU)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.zero_grad()
    return network.eval()


@pytest.mark.parametrize("model", NETWORKS)
def test_a_heat_map_leaves_nothing_behind(model: str) -> None:
    network = build_network(model, 2, SIZE).eval()
    before = copy.deepcopy(network.state_dict())
    pictures, _, _ = patched(2, 1)
    heat = heat_of(network, to_input(pictures, CPU), 1).numpy()
    assert heat.shape == (SIZE, SIZE)
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max() == pytest.approx(1) or not heat.any()
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("model", QUICK_TO_TRAIN)
def test_the_heat_lies_on_what_the_class_hangs_on(model: str) -> None:
    network = trained(model)
    shares = []
    for picture, label, (y, x) in zip(*patched(2, 12), strict=True):
        heat = heat_of(network, to_input(picture[None], CPU), int(label)).numpy()
        shares.append(heat[y : y + PATCH, x : x + PATCH].sum() / heat.sum())
    share_of_area = PATCH**2 / SIZE**2
    assert np.median(shares) > 2.5 * share_of_area, shares


def test_hooks_go_also_when_the_network_fails() -> None:
    network = build_network("basic_cnn", 2, SIZE)
    with pytest.raises(RuntimeError):
        heat_of(network, torch.zeros(1, 3, SIZE // 2, SIZE // 2), 1)
    assert not any(layer._forward_hooks for layer in network.modules())


def test_a_network_without_a_map_of_features_says_so() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2))
    with pytest.raises(LabError, match="no feature map"):
        heat_of(network, torch.zeros(1, 3, SIZE, SIZE), 1)


def test_a_run_s_heat_map_is_of_the_class_that_is_asked_for(done: Run, lab: Path) -> None:
    from bloodcell_core.data.dataset import Dataset
    from bloodcell_core.data.views import build_view

    explainer = Explainer(done, "cpu")
    table = done.predictions()
    dataset = Dataset(done.config.data)
    view = build_view(dataset, done.config.view, done.config.size, done.config.crop)
    row = dataset.pictures.index[dataset.pictures.image_id == table.image_id[0]][0]
    own, *others = (explainer.heat_map(view[row], name) for name in done.classes)
    assert np.array_equal(own, explainer.heat_map(view[row], done.classes[0]))
    assert not any(np.array_equal(own, other) for other in others)


def test_an_ensemble_is_explained_by_its_members(done: Run, lab: Path) -> None:
    from bloodcell_core.training.ensembles import create_ensemble
    from tests.training_fixtures import train_here

    ensemble = create_ensemble([done, train_here(seed=1)])
    with pytest.raises(LabError, match="one of its members"):
        Explainer(ensemble)
