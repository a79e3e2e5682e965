"""How well pictures are traced to their photographs: `python -m benchmarks.bench_tracing ARCHIVE.zip [--copies K]`.

1. Copies of the archive's photographs, made by known transforms as the archive's own were (any rotation, shift, mirror,
   zoom 0.8 to 1.2, brightness ±20%, JPEG 75), are traced: the share traced right, wrong, and not at all.
2. The photographs that show a scene which another one shows too, to be looked at by eye.
3. 10,000 random pairs of a copy and a photograph of another scene: how many points agree, at most.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from bloodcell_core.data import photos
from bloodcell_core.data.parallel import picture_threads
from bloodcell_core.data.pictures import decode_rgb
from bloodcell_core.data.points import fit_points
from bloodcell_core.data.sources import open_source

SIZE = (320, 240)


def copy_of(photo: np.ndarray, rng: np.random.Generator, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A copy of a photograph by random transforms within the stated ranges; `size` is (width, height)."""
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        small = np.ascontiguousarray(small[:, ::-1])
    transform = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), rng.uniform(-180, 180), rng.uniform(0.8, 1.2))
    transform[:, 2] += rng.uniform(-0.15, 0.15, 2) * size
    copy = cv2.warpAffine(small, transform, size).astype(np.float32) * rng.uniform(0.8, 1.2)
    _, data = cv2.imencode(".jpg", np.clip(copy, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 75])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--copies", type=int, default=4, help="of each photograph")
    parser.add_argument("--pairs", type=int, default=10_000)
    chosen = parser.parse_args()
    cv2.setNumThreads(1)

    source = open_source(chosen.archive)
    files = [file for file in source.files if "/JPEGImages/" in file]
    photographs = [decode_rgb(source.read(file)) for file in files]
    names = [Path(file).stem for file in files]
    started = time.perf_counter()
    index = photos.PhotoIndex(photographs.__getitem__, len(photographs), SIZE[0])
    print(f"{len(files)} photographs indexed in {time.perf_counter() - started:.1f} s")

    rng = np.random.default_rng(0)
    truth = [i for i in range(len(files)) for _ in range(chosen.copies)]
    copies = [copy_of(photographs[i], rng) for i in truth]
    started = time.perf_counter()
    traces = photos.trace_all(index, len(copies), copies.__getitem__)
    spent = (time.perf_counter() - started) / len(copies)
    right = sum(trace.photo == i for trace, i in zip(traces, truth, strict=True))
    lost = sum(trace.photo is None for trace in traces)
    print(f"{len(copies)} copies: {right} right ({right / len(copies):.4f}), {lost} not traced, "
          f"{len(copies) - right - lost} wrong; {1000 * spent:.1f} ms each")  # fmt: skip
    wrong = {
        (names[i], names[t.photo])
        for t, i in zip(traces, truth, strict=True)
        if t.photo is not None and index.scenes[t.photo] != index.scenes[i]
    }
    print("traced to another scene:", sorted(wrong))

    scenes: dict[int, list[str]] = {}
    for name, scene in zip(names, index.scenes, strict=True):
        scenes.setdefault(scene, []).append(name)
    shared = [members for members in scenes.values() if len(members) > 1]
    print(f"{len(scenes)} scenes; photographed more than once: {shared}")

    pairs = rng.integers(0, len(copies), chosen.pairs), rng.integers(1, len(files), chosen.pairs)

    def agreeing(copy: int, step: int) -> int:
        other = (truth[copy] + step) % len(files)
        if index.scenes[truth[copy]] == index.scenes[other]:
            return 0
        points = index._points_of(copies[copy])
        as_it_is_and_mirrored = index._points[2 * other : 2 * other + 2]
        return max(fit_points(points, its).agreeing for its in as_it_is_and_mirrored)

    with picture_threads() as pool:
        counts = list(pool.map(agreeing, *pairs))
    print(f"{chosen.pairs} random pairs of a copy and another photograph: at most {max(counts)} points agree, "
          f"{sum(count >= photos.MIN_AGREEING for count in counts)} false merges")  # fmt: skip


if __name__ == "__main__":
    main()
