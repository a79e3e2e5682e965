"""What it costs to get pictures in: `python -m benchmarks.bench_import ARCHIVE.zip [--small N] [--only PHASE …]`.

Time and peak memory of importing the public archive, without and with tracing, of building its two views, of reading
the same pictures once with torchvision's ImageFolder, and of importing N small generated pictures as PNG files in a zip
and as a compressed `.npz`. Each phase is a process of its own, so that its peak is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SIZE = 96
BATCH = 64
SMALL_SIDE = 32
SMALL_CLASSES = 4


class Given(NamedTuple):
    """What a phase works on."""

    archive: Path
    small: int
    scratch: Path


def import_archive(given: Given, trace: bool) -> int:
    from bloodcell_core.data.importing import import_dataset

    name = "traced" if trace else "plain"
    return len(import_dataset(given.archive, name, trace=trace).pictures)


def view(given: Given, kind: str) -> int:
    from bloodcell_core.data.dataset import Dataset
    from bloodcell_core.data.views import build_view

    return len(build_view(Dataset("plain"), kind, SIZE))


def image_folder(given: Given, workers: int) -> int:
    """One epoch over TRAIN and TEST, as pictures of that size in batches of tensors."""
    from torch.utils.data import ConcatDataset, DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose, Resize, ToTensor

    change = Compose([Resize((SIZE, SIZE)), ToTensor()])
    folders = [next(given.scratch.glob(f"unpacked/**/images/{split}")) for split in ("TRAIN", "TEST")]
    pictures = ConcatDataset([ImageFolder(str(folder), change) for folder in folders])
    return sum(len(labels) for _, labels in DataLoader(pictures, BATCH, num_workers=workers))


def small(given: Given, kind: str) -> int:
    from bloodcell_core.data.importing import import_dataset

    return len(import_dataset(given.scratch / f"small.{kind}", f"small-{kind}", trace=False).pictures)


PHASES: dict[str, Callable[[Given], int]] = {
    "import": lambda given: import_archive(given, trace=False),
    "import-traced": lambda given: import_archive(given, trace=True),
    "frame-view": lambda given: view(given, "frame"),
    "cell-view": lambda given: view(given, "cell"),
    "image-folder-0": lambda given: image_folder(given, 0),
    "image-folder-2": lambda given: image_folder(given, 2),
    "small-zip": lambda given: small(given, "zip"),
    "small-npz": lambda given: small(given, "npz"),
}
"""In the order in which they run; the views are of what `import` made."""


def make_small(given: Given) -> None:
    """Draws the small pictures: coloured squares, each picture another one. Batches keep this process small."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    squares = rng.integers(0, 256, (given.small, 4, 4, 3), np.uint8)
    labels = (np.arange(given.small) % SMALL_CLASSES).astype(np.uint8).reshape(-1, 1)
    with zipfile.ZipFile(given.scratch / "small.zip", "w") as packed:
        for number, picture in enumerate(squares):
            pixels = cv2.resize(picture, (SMALL_SIDE, SMALL_SIDE), interpolation=cv2.INTER_NEAREST)
            packed.writestr(f"class-{labels[number, 0]}/{number:06}.png", cv2.imencode(".png", pixels)[1].tobytes())
    large = squares.repeat(SMALL_SIDE // 4, axis=1).repeat(SMALL_SIDE // 4, axis=2)
    np.savez_compressed(given.scratch / "small.npz", train_images=large, train_labels=labels)


def peak_mib(who: int) -> float:
    import resource

    return resource.getrusage(who).ru_maxrss / 1024  # Linux counts in KiB


def run_phase(name: str, given: Given) -> None:
    """In a process of its own: does one phase and prints its figures."""
    import resource

    if name == "make-small":
        make_small(given)
        return
    started = time.perf_counter()
    pictures = PHASES[name](given)
    seconds = time.perf_counter() - started
    own, worker = peak_mib(resource.RUSAGE_SELF), peak_mib(resource.RUSAGE_CHILDREN)
    print(json.dumps({"pictures": pictures, "seconds": seconds, "peak": own, "worker_peak": worker}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--small", type=int, default=100_000, help="generated pictures")
    parser.add_argument("--only", nargs="+", choices=PHASES, default=[*PHASES], metavar="PHASE")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        run_phase(chosen.run, Given(chosen.archive, chosen.small, chosen.scratch))
        return

    with tempfile.TemporaryDirectory(prefix="bench-import-") as folder:
        scratch = Path(folder)

        def in_process(phase: str) -> str:
            command = [sys.executable, "-m", "benchmarks.bench_import", str(chosen.archive), f"--small={chosen.small}"]
            command += ["--run", phase, f"--scratch={scratch}"]
            environment = os.environ | {"BLOODCELL_HOME": str(scratch / "lab")}
            return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

        if any(phase.startswith("image-folder") for phase in chosen.only):
            with zipfile.ZipFile(chosen.archive) as packed:
                packed.extractall(scratch / "unpacked")
        if any(phase.startswith("small") for phase in chosen.only):
            in_process("make-small")
        print(f"{os.cpu_count()} cores; {'phase':16} {'pictures':>9} {'seconds':>8} {'ms each':>8} {'peak MiB':>9}")
        for phase in PHASES:
            if phase in chosen.only:
                told = json.loads(in_process(phase).splitlines()[-1])
                each = 1000 * told["seconds"] / told["pictures"]
                workers = f" + {told['worker_peak']:.0f} a worker" if phase == "image-folder-2" else ""
                print(
                    f"{phase:25} {told['pictures']:9,} {told['seconds']:8.1f} {each:8.2f} {told['peak']:9.0f}{workers}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
