"""How long an answer takes is measured without changing the network."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from bloodcell_core.device import Device
from bloodcell_core.models import MODELS, timing
from bloodcell_core.models.network import build_network
from bloodcell_core.models.timing import BATCH, PASSES, time_of

CPU = Device(torch.device("cpu"), None, "a test")


@pytest.mark.parametrize("model", MODELS)
def test_the_network_stays_as_it_was(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "BATCH", 1)
    monkeypatch.setattr(timing, "PASSES", 1)
    network = build_network(model, classes=4, size=96)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    told = time_of(network, 96, CPU)
    assert told["milliseconds"] > 0
    assert network.training
    assert {value.device.type for value in network.state_dict().values()} == {"cpu"}
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_time_is_that_of_the_quickest_pass_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "BATCH", BATCH)  # fewer while others train
    monkeypatch.setattr(timing, "PASSES", PASSES)
    seen: list[tuple[int, ...]] = []

    class Slow(nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(pictures.shape))
            return pictures.mean((2, 3))

    # what the clock says before and after each pass: the first is the quickest, and doesn't count
    clock = iter([0.0, 0.001, *(time for start in range(1, PASSES + 1) for time in (start, start + 0.64 / start))])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    told = time_of(Slow(), 8, CPU)
    assert told["milliseconds"] == pytest.approx(1000 * 0.64 / PASSES / BATCH)
    assert seen == [(BATCH, 3, 8, 8)] * (PASSES + 1)
    threads = torch.get_num_threads()
    assert told["milliseconds_on"] == f"cpu, {threads} thread" + ("s" if threads > 1 else "")
