"""Which memory order each network trains fastest in on this CPU: the source of `ModelInfo.channels_last_on_cpu`.

`python -m benchmarks.bench_memory_format`: seconds of one training step on 64 pictures of 96×96, the median of
several, in contiguous and in channels_last order, the two taken in turn so that a drift of the machine hits both.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch.nn import functional

from bloodcell_core.device import choose_device
from bloodcell_core.models import MODELS
from bloodcell_core.models.forward import to_input
from bloodcell_core.models.network import Network, build_network

BATCH, SIZE, WARM_UP, ROUNDS = 64, 96, 2, 7


def step_seconds(
    network: Network, pictures: torch.Tensor, labels: torch.Tensor, channels_last: bool
) -> float:
    started = time.perf_counter()
    loss = functional.cross_entropy(network(to_input(pictures, choose_device("cpu"), channels_last)), labels)
    network.zero_grad(set_to_none=True)
    loss.backward()
    return time.perf_counter() - started


def main() -> None:
    pictures = torch.randint(0, 256, (BATCH, SIZE, SIZE, 3), dtype=torch.uint8)
    labels = torch.randint(0, 4, (BATCH,))
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for name in MODELS:
        network = build_network(name, 4, SIZE)
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(WARM_UP + ROUNDS):
            for order, taken in times.items():
                taken.append(step_seconds(network, pictures, labels, order))
        plain, last = (statistics.median(taken[WARM_UP:]) for taken in times.values())
        spread = " ".join(
            f"{min(taken[WARM_UP:]):.3f}–{max(taken[WARM_UP:]):.3f}" for taken in times.values()
        )
        print(
            f"{name:12} contiguous {plain:.3f} s, channels_last {last:.3f} s, ratio {plain / last:.2f} ({spread}), "
            f"{BATCH / min(plain, last):.0f} pictures a second"
        )


if __name__ == "__main__":
    main()
