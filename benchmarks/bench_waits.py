"""What two waits cost that users no longer have: `python -m benchmarks.bench_waits [--rounds K]`.

1. A training of two steps in a shell, start to end, as it is, and with PyTorch's own optimizer, whose first use loads
   the compiler that a training doesn't use (`loop.without_compiler`).
2. Reading a search as the page Train does every two seconds, with the database kept open, and opened anew each time,
   as Optuna would by itself (`studies._opened`).

Both ways of a row are timed in turns, so that other work on the machine meets both alike; medians, with the middle half
beside. Datasets are drawn, in a workspace of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

from benchmarks.bench_predict import in_turns, told
from bloodcell_core.config import TrainConfig
from bloodcell_core.data.importing import make_demo
from bloodcell_core.training import studies

TRAINING = ["train", "--data=demo", "--model=cell_net", "--size=32", "--epochs=1", "--batch-size=8",
            "--pictures-per-epoch=16", "--device=cpu"]  # fmt: skip
WITH_COMPILER = "from bloodcell_core.training import loop; loop.without_compiler = lambda kind: kind; "


def train(before: str = "") -> None:
    """Trains in a process of its own, as a shell would start it; `before` is done there first."""
    program = f"{before}import sys; from bloodcell_core.cli import main; sys.exit(main(sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", program, *TRAINING], check=True, capture_output=True)


def look(name: str, anew: bool) -> None:
    """Reads a search's state and trials."""
    if anew:
        studies._opened.cache_clear()
    study = studies.Study(name)
    study.status()
    study.trials()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of the trainings; 20 times as many of a search")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["BLOODCELL_HOME"] = home
        make_demo("demo", per_class=12)
        study = studies.create(TrainConfig(data="demo", model="cell_net", device="cpu"), name="looked-at")
        rows = {
            "a training of two steps, s": (in_turns(
                {"as it is": train, "with PyTorch's own optimizer": lambda: train(WITH_COMPILER)}, chosen.rounds), 1.0),
            "a look at a search, ms": (in_turns(
                {"kept open": lambda: look(study.name, False), "opened anew": lambda: look(study.name, True)},
                20 * chosen.rounds), 1e3),
        }  # fmt: skip
    for row, (times, unit) in rows.items():
        now, before = times.values()
        print(f"{row}: " + ", ".join(f"{name} {told(spent, unit, 1)}" for name, spent in times.items())
              + f"; ratio of the two {told(before / now, 1)}")  # fmt: skip


if __name__ == "__main__":
    main()
