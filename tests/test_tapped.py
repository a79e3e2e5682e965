"""A network that also returns its features, in one thread and in several."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bloodcell_core.device import choose_device
from bloodcell_core.models import MODELS
from bloodcell_core.models.forward import Tapped, predict_logits
from bloodcell_core.models.network import build_network, head_of, quickest

CPU = choose_device("cpu")


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def network_of(model: str) -> nn.Module:
    torch.manual_seed(0)
    return quickest(build_network(model, 4, 32), model).eval()


@pytest.mark.parametrize("model", [*MODELS, "timm/test_vit.r160_in1k"])
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


class Together(nn.Linear):
    """Answers when two threads have got here."""

    barrier = Barrier(2, timeout=30)

    def forward(self, given: Tensor) -> Tensor:
        self.barrier.wait()
        return super().forward(given)


def test_two_threads_in_one_network_are_told_each_its_own() -> None:
    network = network_of("basic_cnn")
    head = head_of(network)
    assert isinstance(head, nn.Linear)
    together = Together(head.in_features, head.out_features)
    network.body.classifier = together
    tapped = Tapped(network)

    def right(seed: int) -> bool:
        own = np.random.default_rng(seed).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
        logits, features = tapped.predict(own, CPU)
        return torch.equal(nn.Linear.forward(together, torch.from_numpy(features)), logits)

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(right, range(4)))


def test_a_network_that_is_tapped_leaves_those_at_work_in_other_threads_alone() -> None:
    """`torch.fx` would follow it by changing how every module of the program is called, meanwhile."""
    call, working, done = nn.Module.__call__, network_of("basic_cnn"), Event()

    def work() -> int:
        passes = 0
        while not done.is_set() or not passes:
            predict_logits(working, pictures(1), CPU)
            passes += 1
        return passes

    with ThreadPoolExecutor(3) as pool:
        at_work = pool.submit(work)
        try:
            list(pool.map(Tapped, [network_of("resnet18") for _ in range(6)]))
        finally:
            done.set()
        assert at_work.result() > 0
    assert nn.Module.__call__ is call
