"""How well siblings are found without their photographs: `python -m benchmarks.bench_siblings WHAT PATH`.

copies ARCHIVE.zip   Copies of the archive's photographs, made by the same known transforms as in bench_tracing, are put
                     into families; 10,000 random pairs of copies of unrelated photographs are compared; then one copy
                     of each photograph, all with the same bold marks and vignette laid over them.
cells SOURCE         The same for pictures of any source, taken for photographs (1,000 of them, at `--side` pixels).
traced FOLDER        The pictures of a dataset's folder, against the source photos that its import traced.
source SOURCE        All pictures of a zip or folder; `--sheet F.png` shows the families of more than one.

Scenes count as photographs here: one cell photographed twice may be one family or two. A copy is right where its family
is the largest of its photograph and holds no other scene.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from benchmarks.bench_tracing import SIZE, copy_of
from bloodcell_core.data import photos, siblings
from bloodcell_core.data.parallel import picture_threads
from bloodcell_core.data.pictures import SUFFIXES, decode_rgb
from bloodcell_core.data.sources import open_source


def timed_families(read: Callable[[int], np.ndarray], count: int) -> np.ndarray:
    started, used = time.perf_counter(), time.process_time()
    families = np.array(siblings.find_families(read, count))
    wall, used = time.perf_counter() - started, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count} pictures in {wall:.0f} s ({1000 * used / count:.1f} ms of processor time each); the process's peak "
          f"memory is {peak:.0f} MB")  # fmt: skip
    return families


def report(families: np.ndarray, photo: np.ndarray, scene: np.ndarray) -> None:
    """Prints how families agree with the truth: int (N,) each."""
    table = pd.DataFrame({"family": families, "photo": photo, "scene": scene})
    pure = table.groupby("family").scene.transform("nunique") == 1
    largest = table.groupby("photo").family.transform(lambda of_photo: of_photo.mode()[0])
    right = int((pure & (table.family == largest)).sum())

    def pairs(by: list[str]) -> int:
        sizes = table.groupby(by).size()
        return int((sizes * (sizes - 1) // 2).sum())

    joined, kept = pairs(["family", "scene"]), pairs(["family", "photo"])
    split = table.groupby("photo").family.nunique()
    merged = table.groupby("family").scene.nunique()
    print(f"  {right} of {len(table)} copies right ({right / len(table):.4f}); pairs: precision "
          f"{joined / max(1, pairs(['family'])):.6f}, recall {kept / max(1, pairs(['photo'])):.6f}; "
          f"{table.photo.nunique()} photographs, {(split > 1).sum()} of them split; {table.family.nunique()} families, "
          f"{(merged > 1).sum()} with several scenes")  # fmt: skip


def with_marks(picture: np.ndarray) -> np.ndarray:
    """The picture under a vignette, with a scale bar, a caption and specks of dust, as all from one microscope."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    marked = np.clip(picture * np.clip(1.25 - 0.5 * (x**2 + y**2), 0, 1)[..., None], 0, 255).astype(np.uint8)
    cv2.rectangle(marked, (width * 6 // 10, height * 9 // 10), (width * 9 // 10, height * 92 // 100), (0, 0, 0), -1)
    cv2.putText(
        marked, "10 um 100x", (width // 20, height * 95 // 100), cv2.FONT_HERSHEY_SIMPLEX, width / 400, (0, 0, 0)
    )
    for place in np.random.default_rng(3).uniform(0, 1, (12, 2)):
        cv2.circle(marked, (int(place[0] * width), int(place[1] * height)), 2, (90, 80, 80), -1)
    return marked


def of_copies(originals: list[np.ndarray], scenes: list[int], size: tuple[int, int], copies: int, pairs: int) -> None:
    rng = np.random.default_rng(1)
    photo = np.repeat(np.arange(len(originals)), copies)
    scene = np.array(scenes)[photo]
    made = [copy_of(originals[number], rng, size) for number in photo]
    print(f"{copies} copies of each of {len(originals)} photographs, {size[0]}×{size[1]}:")
    report(timed_families(made.__getitem__, len(made)), photo, scene)

    drawn = rng.integers(0, len(made), (3 * pairs, 2))
    strangers = drawn[scene[drawn[:, 0]] != scene[drawn[:, 1]]][:pairs]
    with picture_threads() as pool:
        points = [*pool.map(siblings.strongest_points, made)]
        both_ways = [*pool.map(lambda pair: compared(points[pair[0]], points[pair[1]]), strangers)]
    found = [found for both in both_ways for found in both]
    close = [found for found in found if found.agreeing >= siblings.MIN_AGREEING]
    print(f"{len(strangers)} random pairs of strangers, both ways round: at most {max(m.agreeing for m in found)} "
          f"points agree; {len(close)} times {siblings.MIN_AGREEING} or more, then the greatest likeness is "
          f"{max((m.likeness for m in close), default=-1):.2f}; {sum(m.siblings for m in found)} false merges"
    )  # fmt: skip

    print("one copy of each, not turned, all with the same marks:")
    marked = [with_marks(cv2.resize(original, size, interpolation=cv2.INTER_AREA)) for original in originals]
    report(timed_families(marked.__getitem__, len(marked)), np.arange(len(marked)), np.array(scenes))


def compared(one: siblings.Points, other: siblings.Points) -> tuple[siblings.Match, siblings.Match]:
    return siblings.match(one, other), siblings.match(one, other.mirrored())


def archive_photographs(path: Path) -> tuple[list[np.ndarray], list[int]]:
    source = open_source(path)
    originals = [decode_rgb(source.read(file)) for file in source.files if "/JPEGImages/" in file]
    return originals, photos.PhotoIndex(originals.__getitem__, len(originals), SIZE[0]).scenes


def some_cells(path: Path, count: int) -> tuple[list[np.ndarray], list[int]]:
    """Other cells than the 500 on whose copies the thresholds were set; those that the search links are one scene."""
    source = open_source(path)
    files = [file for file in source.files if file.lower().endswith(SUFFIXES)]
    used = np.random.default_rng(0).choice(len(files), 500, replace=False)
    rest = np.setdiff1d(np.arange(len(files)), used)
    chosen = np.random.default_rng(1).choice(rest, count, replace=False)
    originals = [decode_rgb(source.read(files[number])) for number in chosen]
    return originals, siblings.find_families(originals.__getitem__, count)


def save_sheet(read: Callable[[int], np.ndarray], families: np.ndarray, path: Path) -> None:
    """The first 120 families of more than one, each in a row of at most 4 members, in 4 columns."""
    several = [number for number, size in enumerate(np.bincount(families)) if size > 1][:120]
    sheet = np.full((-(-len(several) // 4) * 100, 4 * 420, 3), 255, np.uint8)
    for number, family in enumerate(several):
        top, left = number // 4 * 100, number % 4 * 420
        for place, member in enumerate(np.flatnonzero(families == family)[:4]):
            shown = cv2.resize(read(int(member)), (98, 98), interpolation=cv2.INTER_AREA)
            sheet[top : top + 98, left + 100 * place : left + 100 * place + 98] = shown
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("copies", "cells", "traced", "source"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--copies", type=int, default=4, help="of each photograph")
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=160, help="of the copies of cells, in pixels")
    parser.add_argument("--width", type=int, default=SIZE[0], help="of the copies of photographs, in pixels")
    parser.add_argument("--sample", type=int, help="pictures, for a quicker run")
    parser.add_argument("--sheet", type=Path)
    chosen = parser.parse_args()

    if chosen.what == "copies":
        originals, scenes = archive_photographs(chosen.path)
        of_copies(originals, scenes, (chosen.width, chosen.width * 3 // 4), chosen.copies, chosen.pairs)
    elif chosen.what == "cells":
        originals, scenes = some_cells(chosen.path, chosen.sample or 1000)
        of_copies(originals, scenes, (chosen.side, chosen.side), chosen.copies, chosen.pairs)
    elif chosen.what == "traced":
        table = pd.read_parquet(chosen.path / "images.parquet").query("status == 'ok'")
        table = table.sample(chosen.sample, random_state=0) if chosen.sample else table
        stored = [chosen.path / "originals" / name for name in table.stored]
        families = timed_families(lambda number: decode_rgb(stored[number].read_bytes()), len(stored))
        report(families, *(pd.factorize(table[column])[0] for column in ("source_photo", "scene")))
    else:
        source = open_source(chosen.path)
        files = [file for file in source.files if file.lower().endswith(SUFFIXES)]
        files = [*np.random.default_rng(0).permutation(files)[: chosen.sample]] if chosen.sample else files
        families = timed_families(lambda number: decode_rgb(source.read(files[number])), len(files))
        sizes = np.bincount(np.bincount(families))
        print("families by size:", {size: int(many) for size, many in enumerate(sizes) if many})
        if chosen.sheet:
            save_sheet(lambda number: decode_rgb(source.read(files[number])), families, chosen.sheet)


if __name__ == "__main__":
    main()
