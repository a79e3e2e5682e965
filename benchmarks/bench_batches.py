"""What a CPU gains by small batches and by fused optimizers: `python -m benchmarks.bench_batches [--rounds N]`.

1. Milliseconds a picture of 96×96 for a forward pass over 256 pictures, in batches of 8 to 256.
2. Milliseconds of one optimizer step, fused (one pass over the weights) and not.

In turns and in processor time with one thread of PyTorch, so that other work on the machine hardly counts; the least
of the rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch

from bloodcell_core.device import choose_device
from bloodcell_core.models.forward import predict_logits
from bloodcell_core.models.network import build_network, quickest

NETWORKS = ("basic_cnn", "deep_cnn", "cell_net", "efficientnet_lite0", "resnet18")
BATCHES = (8, 16, 32, 64, 256)
PICTURES, SIZE, CLASSES = 256, 96, 4


def least(parts: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The least milliseconds of the processor that each part took in `rounds` turns; one before them warms up."""
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds + 1):
        for name, do in parts.items():
            started = time.process_time()
            do()
            taken[name].append(1000 * (time.process_time() - started))
    return {name: min(each[1:]) for name, each in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    device = choose_device("cpu")
    pictures = torch.randint(0, 256, (PICTURES, SIZE, SIZE, 3), dtype=torch.uint8)
    for name in NETWORKS:
        network = quickest(build_network(name, CLASSES, SIZE), name).eval()
        passes = least(
            {str(size): partial(predict_logits, network, pictures, device, size) for size in BATCHES}, rounds
        )
        print(f"{name}: ms a picture in batches of "
              + ", ".join(f"{size} {took / PICTURES:.2f}" for size, took in passes.items()), flush=True)  # fmt: skip
        for weights in network.parameters():
            weights.grad = torch.randn_like(weights)
        steps = least(
            {
                word: torch.optim.Adam(network.parameters(), lr=1e-9, fused=fused).step
                for word, fused in (("not fused", False), ("fused", True))
            },
            5 * rounds,
        )
        print(f"  ms an optimizer step: {', '.join(f'{word} {took:.2f}' for word, took in steps.items())}", flush=True)


if __name__ == "__main__":
    main()
