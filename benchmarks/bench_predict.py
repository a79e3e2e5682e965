"""How long an answer takes: `python -m benchmarks.bench_predict RUN [--pictures N] [--rounds K] [--onnx FILE] [--cpu]
[--folder FOLDER]`.

RUN has the cell view; FILE is the same run as `export` wrote it, for ONNX Runtime's figures beside PyTorch's.

1. One 96×96 cell, JPEG, warm: the answer, and beside it the network's own forward pass and the decoding; and what
   OpenCV's own functions take of the answer, which is what no change to our code saves.
2. One 640×480 field with six white cells, JPEG.
3. Many pictures of 320×240: pictures a second, and the rate that decoding, finding and forward pass imply, each timed
   apart over the same pictures, with as many threads as the predictor has, and added.

Pictures are drawn by a program; the many may be a folder's. The parts of a row are timed in turns, so that other work
on the machine meets all of them alike; medians, with the middle half beside. With `--cpu` all is in processor time, of
all threads together, which other work hardly touches: for ratios on a machine that isn't quiet, with one thread
(OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import inspect
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np

from bloodcell_core import runs
from bloodcell_core.cells import find_place, search
from bloodcell_core.data.demo import DEMO_CLASSES, draw_field, draw_picture
from bloodcell_core.data.pictures import SUFFIXES, decode_rgb, encode
from bloodcell_core.data.views import make_view
from bloodcell_core.inference.exported import ExportedRun
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.models.forward import predict_logits
from bloodcell_core.models.network import trained_network

ROUNDS = 200


Clock = Callable[[], float]


def seconds(do: Callable[[], object], clock: Clock) -> float:
    started = clock()
    do()
    return clock() - started


def in_turns(
    parts: dict[str, Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, np.ndarray]:
    """Seconds of each part in each round; a round before them warms everything up."""
    spent: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(rounds + 1):
        for name, do in parts.items():
            took = seconds(do, clock)
            if number:
                spent[name].append(took)
    return {name: np.array(times) for name, times in spent.items()}


class InOpenCV:
    """Does something, and adds up what OpenCV's functions take of it."""

    def __init__(self, do: Callable[[], object], clock: Clock):
        self._do, self._clock, self._spent = do, clock, 0.0
        self.seconds: list[float] = []

    def __call__(self) -> None:
        self._spent = 0.0
        with ExitStack() as timed:
            for name, function in list(vars(cv2).items()):
                if inspect.isbuiltin(function):
                    timed.enter_context(patch.object(cv2, name, self._timed(function)))
            self._do()
        self.seconds.append(self._spent)

    def _timed(self, function: Callable[..., object]) -> Callable[..., object]:
        def called(*args: object, **kwargs: object) -> object:
            started = self._clock()
            try:
                return function(*args, **kwargs)
            finally:
                self._spent += self._clock() - started

        return called


def told(values: np.ndarray, unit: float = 1e3, digits: int = 2) -> str:
    low, middle, high = np.quantile(values * unit, (0.25, 0.5, 0.75))
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def one_cell() -> np.ndarray:
    """A picture of one cell, 96×96, cut out of a drawn smear."""
    picture = draw_picture("monocyte", np.random.default_rng(4))
    x0, y0, x1, y1 = find_place(picture).box or (0, 0, 0, 0)
    x = min(max((x0 + x1) // 2 - 48, 0), picture.shape[1] - 96)
    y = min(max((y0 + y1) // 2 - 48, 0), picture.shape[0] - 96)
    return np.ascontiguousarray(picture[y : y + 96, x : x + 96])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5, help="of the many pictures")
    parser.add_argument("--folder", type=Path, help="its pictures, by chance, as the many, and not drawn ones")
    parser.add_argument("--onnx", type=Path)
    parser.add_argument("--cpu", action="store_true", help="processor time in the place of wall clock")
    chosen = parser.parse_args()
    run = runs.find(chosen.run)
    config = run.config
    clock = time.process_time if chosen.cpu else time.perf_counter
    predictor = Predictor(run, "cpu")
    device = predictor.device
    network = trained_network(run)
    exported = ExportedRun(chosen.onnx) if chosen.onnx else None
    by_onnx = Predictor(exported, "cpu") if exported else None

    cell = one_cell()
    data = encode(cell, ".jpg")
    view = make_view(cell, *config.sight).pixels[None]
    def answer_cell() -> object:
        return list(predictor.classify([("cell.jpg", lambda: data)]))

    in_opencv = InOpenCV(answer_cell, clock)
    parts: dict[str, Callable[[], object]] = {
        "answer": answer_cell,
        "forward pass": lambda: predict_logits(network, view, device),
        "decoding": lambda: decode_rgb(data),
        "finding": lambda: search(cell),
        "answer, watched": in_opencv,
    }
    if exported and by_onnx:
        parts |= {
            "answer with ONNX Runtime": lambda: list(by_onnx.classify([("cell.jpg", lambda: data)])),
            "its forward pass": lambda: exported.loaded[0].predict(view, device),
        }
    times = in_turns(parts, ROUNDS, clock)
    del times["answer, watched"]  # watching takes time of its own
    print(f"{config.model}, {config.view} view, {config.size}×{config.size}; one 96×96 cell, "
          f"ms{' of the processor' if chosen.cpu else ''}: "
          + ", ".join(f"{name} {told(spent)}" for name, spent in times.items()))  # fmt: skip
    answer, forward, decoding, finding = (times[name] for name in ("answer", "forward pass", "decoding", "finding"))
    print(f"  (answer − decoding) / forward pass {told((answer - decoding) / forward, 1)}; "
          f"without finding {told((answer - decoding - finding) / forward, 1)}; "
          f"of it in OpenCV's own functions {told(np.array(in_opencv.seconds[1:]) / forward, 1)}")  # fmt: skip
    if exported:
        by_other, its_forward = times["answer with ONNX Runtime"], times["its forward pass"]
        print(f"  with ONNX Runtime {told((by_other - decoding) / its_forward, 1)}, "
              f"or {told((by_other - decoding) / forward, 1)} of PyTorch's forward pass")  # fmt: skip

    field = encode(
        draw_field(np.random.default_rng(4), [*DEMO_CLASSES, "neutrophil", "lymphocyte"], (640, 480)).pixels, ".jpg"
    )
    (seen,) = predictor.classify([("field.jpg", lambda: field)])
    parts = {"answer": lambda: list(predictor.classify([("field.jpg", lambda: field)]))}
    if by_onnx:
        parts["answer with ONNX Runtime"] = lambda: list(by_onnx.classify([("field.jpg", lambda: field)]))
    times = in_turns(parts, 50, clock)
    print(f"one 640×480 field, {len(seen.cells)} cells, ms: "
          + ", ".join(f"{name} {told(spent, digits=1)}" for name, spent in times.items()))  # fmt: skip

    rng = np.random.default_rng(5)
    if chosen.folder:
        held = sorted(path for path in chosen.folder.rglob("*") if path.suffix in SUFFIXES)
        files = [held[place].read_bytes() for place in rng.permutation(len(held))[: chosen.pictures].tolist()]
    else:
        files = [encode(draw_picture(DEMO_CLASSES[number % 4], rng), ".jpg") for number in range(chosen.pictures)]
    pictures = [decode_rgb(file) for file in files]
    views = np.stack([make_view(picture, *config.sight).pixels for picture in pictures])
    handed = [(str(number), lambda file=file: file) for number, file in enumerate(files)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = {
            "answers": lambda: [None for _ in predictor.classify(handed)],
            "decoding": lambda: list(pool.map(decode_rgb, files)),
            "finding": lambda: list(pool.map(search, pictures)),
            "forward pass": lambda: predict_logits(network, views, device),
        }
        if exported and by_onnx:
            parts |= {
                "answers with ONNX Runtime": lambda: [None for _ in by_onnx.classify(handed)],
                "its forward pass": lambda: exported.loaded[0].predict(views, device),
            }
        times = in_turns(parts, chosen.rounds, clock)
    implied = times["decoding"] + times["finding"] + times["forward pass"]
    print(
        f"{len(files):,} pictures of {pictures[0].shape[1]}×{pictures[0].shape[0]}, s: "
        + ", ".join(f"{name} {told(spent, 1)}" for name, spent in times.items())
    )
    print(f"  {told(len(files) / times['answers'], 1, 0)} pictures a second{' of a core' if chosen.cpu else ''}, "
          f"{told(implied / times['answers'], 1)} of the implied rate")  # fmt: skip


if __name__ == "__main__":
    main()
