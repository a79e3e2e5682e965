"""What it is worth to keep freed memory: `python -m benchmarks.bench_freed_memory [--networks …] [--rounds N]`.

Training steps of 32 pictures on a CPU, without and with `keep_freed_memory`, each measure a process of its own
(the setting can't be taken back), in turn. Told are seconds a step, and the processor's time a step for the program and
for the system: the latter is what fetching and clearing pages costs.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch.nn import functional

from bloodcell_core.models.network import build_network
from bloodcell_core.training.memory import keep_freed_memory

BATCH, CLASSES, WARM_UP = 32, 4, 3


def measure(network: str, size: int, steps: int, keep: bool) -> None:
    """In a process of its own: prints seconds a step by the clock, of the program and of the system."""
    if keep:
        keep_freed_memory()
    net = build_network(network, CLASSES, size).train()
    optimizer = torch.optim.Adam(net.parameters())
    pictures, labels = torch.rand(BATCH, 3, size, size), torch.randint(0, CLASSES, (BATCH,))
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        optimizer.zero_grad()
        functional.cross_entropy(net(pictures), labels).backward()
        optimizer.step()
    now = resource.getrusage(resource.RUSAGE_SELF)
    seconds = time.perf_counter() - began, now.ru_utime - used.ru_utime, now.ru_stime - used.ru_stime
    print(json.dumps([each / steps for each in seconds]))


def main() -> None:
    """Runs the measures in turn and prints a row a network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["cell_net", "deep_cnn", "resnet18"])
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        measure(chosen.run[0], chosen.size, chosen.steps, chosen.run[1] == "keep")
        return

    def in_process(network: str, way: str) -> list[float]:
        command = [sys.executable, "-m", "benchmarks.bench_freed_memory", *sys.argv[1:], "--run", network, way]
        told: list[float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        return told

    print(f"{torch.get_num_threads()} threads; torch {torch.__version__}; {chosen.size} px, batches of {BATCH}, "
          f"{chosen.rounds} rounds of {chosen.steps} steps; median (least to most)")  # fmt: skip
    for network in chosen.networks:
        rounds = [(in_process(network, "give back"), in_process(network, "keep")) for _ in range(chosen.rounds)]
        ratios = [given[0] / kept[0] for given, kept in rounds]
        print(f"{network}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) times as fast")
        for way, place in (("given back", 0), ("kept", 1)):
            clock, program, system = (statistics.median(each[place][part] for each in rounds) for part in range(3))
            print(f"  {way:10} {clock * 1000:6.0f} ms a step; processor: program {program * 1000:.0f} ms, "
                  f"system {system * 1000:.0f} ms", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
