"""A network as one function of its layers: the same answers to the last bit, and what its last layer is given."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bloodcell_core.device import choose_device
from bloodcell_core.models import MODELS
from bloodcell_core.models.forward import Tapped, predict_logits
from bloodcell_core.models.network import build_network, head_of, quickest
from bloodcell_core.models.straight import straight

CPU = choose_device("cpu")


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def network_of(model: str) -> nn.Module:
    torch.manual_seed(0)
    return quickest(build_network(model, 4, 32), model).eval()


@pytest.mark.parametrize("model", [*MODELS, "timm/test_resnet.r160_in1k"])
@pytest.mark.parametrize("count", [1, 5])
@torch.inference_mode()
def test_every_network_answers_the_same_to_the_last_bit(model: str, count: int) -> None:
    network = network_of(model)
    last = head_of(network)
    assert isinstance(last, nn.Linear)
    given: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    inputs = torch.from_numpy(pictures(count)).permute(0, 3, 1, 2).float() / 255
    before = inputs.clone()
    wanted = network(inputs)
    hook.remove()
    logits, features = straight(network, last)(inputs)
    assert torch.equal(logits, wanted)
    assert torch.equal(features, given[0])
    assert torch.equal(inputs, before)


@pytest.mark.parametrize("model", ["basic_cnn", "cell_net"])  # by convolutions, sums and normalisations
@torch.inference_mode()
def test_in_half_precision_too(model: str) -> None:
    network = network_of(model)
    inputs = torch.from_numpy(pictures(2)).permute(0, 3, 1, 2).float() / 255
    with torch.autocast("cpu", torch.bfloat16):
        wanted = network(inputs)
        logits, _ = straight(network, head_of(network))(inputs)
    assert logits.dtype == torch.bfloat16
    assert torch.equal(logits, wanted)


@pytest.mark.parametrize("model", [*MODELS, "timm/test_vit.r160_in1k"])  # the last can't be followed
def test_a_tapped_network_tells_what_its_last_layer_decides_by(model: str) -> None:
    network = network_of(model)
    wanted = predict_logits(network, pictures(5), CPU)
    # in batches and by rows
    logits, features = Tapped(network).predict(pictures(9), CPU, batch_size=2, rows=np.arange(5))
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-5)
    last = head_of(network)
    assert isinstance(last, nn.Linear)
    np.testing.assert_allclose(
        features @ last.weight.detach().numpy().T + last.bias.detach().numpy(), wanted.numpy(), rtol=1e-4, atol=1e-4
    )


class Body(nn.Module):
    """A network of five layers, as `way` orders them."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.relu, self.dropout = nn.GroupNorm(2, 4), nn.ReLU(), nn.Dropout(0.5)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(4, 3)

    def forward(self, given: Tensor) -> Tensor:
        made: Tensor = self.first(given)
        match self.way:
            case "what is overwritten is wanted again":
                made = made + self.relu(made)
            case "a view of it is wanted again":
                turned = made.transpose(2, 3)
                made = self.relu(made) + turned
            case "as it is by dropout":
                made = self.relu(self.dropout(made)) + made
            case "the pictures themselves":
                made = made + self.relu(given - 0.5)[:, :1] + self.relu(given)[:, :1]
            case "one layer twice":
                made = self.second(self.relu(self.second(self.relu(made))))
            case "the layers' sum":
                made = self.relu(self.norm(self.second(made)) + made)
            case "it hangs on what was computed" if made.mean() > -100:
                made = self.relu(self.second(made))
        made = self.last(torch.flatten(self.pool(made), 1))
        return self.dropout(made) if self.way == "the last layer is followed" else made


WAYS = (
    "what is overwritten is wanted again", "a view of it is wanted again", "as it is by dropout",
    "the pictures themselves", "one layer twice", "the layers' sum", "the last layer is followed",
    "it hangs on what was computed",
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_no_order_of_layers_is_answered_wrongly(way: str) -> None:
    torch.manual_seed(0)
    network = Body(way).eval()
    wanted = predict_logits(network, pictures(4), CPU)
    logits, features = Tapped(network).predict(pictures(4), CPU)
    assert torch.equal(logits, wanted)
    assert torch.equal(network.last(torch.from_numpy(features)), wanted)


class Together(nn.Linear):
    """Answers when two threads have got here."""

    barrier = Barrier(2, timeout=30)

    def forward(self, given: Tensor) -> Tensor:
        self.barrier.wait()
        return super().forward(given)


def test_a_network_that_can_t_be_followed_answers_several_threads_each_its_own() -> None:
    torch.manual_seed(0)
    network = Body(WAYS[-1]).eval()
    with pytest.raises(torch.fx.proxy.TraceError):
        straight(network, network.last)
    network.last = Together(4, 3)
    tapped = Tapped(network)

    def right(seed: int) -> bool:
        own = np.random.default_rng(seed).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
        logits, features = tapped.predict(own, CPU)
        return torch.equal(nn.Linear.forward(network.last, torch.from_numpy(features)), logits)

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(right, range(4)))
