"""How well white cells are found: `python -m benchmarks.bench_cells BLOOD-CELLS.zip [PBC-160.zip] [--every K]`.

1. The archive's photographs: as many cells as `labels.csv` lists classes? (It lists no places, so a find elsewhere in
   place of a missed cell would pass: the contact sheet shows that.) Then the same after shifts of stain, light,
   sharpness and scale, the time for a field on one core, and fields stitched of many photographs.
2. Drawn fields, whose boxes are known.
3. Cells of another laboratory, one centred in each picture; on platelets none is expected.

`--sheet FOLDER` writes contact sheets with the boxes drawn, for the eye.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from bloodcell_core.cells import find_cells
from bloodcell_core.data.demo import DEMO_CLASSES, draw_field
from bloodcell_core.data.pictures import decode_rgb
from bloodcell_core.data.sources import Source, open_source


def clip(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def saturated(picture: np.ndarray, by: float) -> np.ndarray:
    grey = picture.mean(axis=2, keepdims=True)
    return clip(grey + by * (picture - grey))


def compressed(picture: np.ndarray, quality: int) -> np.ndarray:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def zoomed(picture: np.ndarray, by: float) -> np.ndarray:
    return cv2.resize(picture, None, fx=by, fy=by, interpolation=cv2.INTER_AREA if by < 1 else cv2.INTER_CUBIC)


SHIFTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda picture: picture,
    "light × 0.6": lambda picture: clip(picture * 0.6),
    "light × 0.8": lambda picture: clip(picture * 0.8),
    "light × 1.2": lambda picture: clip(picture * 1.2),
    "gamma 0.7": lambda picture: clip(255 * (picture / 255) ** 0.7),
    "gamma 1.5": lambda picture: clip(255 * (picture / 255) ** 1.5),
    "redder (R + 8%, B - 8%)": lambda picture: clip(picture * (1.08, 1.0, 0.92)),
    "bluer (R - 8%, B + 8%)": lambda picture: clip(picture * (0.92, 1.0, 1.08)),
    "greener (G + 5%)": lambda picture: clip(picture * (1.0, 1.05, 1.0)),
    "stain paler (saturation × 0.6)": lambda picture: saturated(picture, 0.6),
    "stain stronger (saturation × 1.5)": lambda picture: saturated(picture, 1.5),
    "blurred (sigma 3)": lambda picture: cv2.GaussianBlur(picture, (0, 0), 3),
    "noise (sigma 10)": lambda picture: clip(picture + np.random.default_rng(0).normal(0, 10, picture.shape)),
    "JPEG 30": lambda picture: compressed(picture, 30),
    "zoom 0.4": lambda picture: zoomed(picture, 0.4),
    "zoom 2": lambda picture: zoomed(picture, 2),
    "turned by 90°": lambda picture: np.ascontiguousarray(np.rot90(picture)),
}


STITCHED = (4, 8, 12)
"""Photographs side by side, and rows of them."""


def counted(pairs: Iterable[tuple[int, int]]) -> str:
    """(cells told, cells found) of some fields, in words."""
    told, found = np.array(list(pairs)).T
    return (f"{len(told)} fields, {told.sum()} cells: recall {np.minimum(told, found).sum() / told.sum():.4f}, "
            f"{np.maximum(found - told, 0).sum() / len(told):.3f} false finds a field")  # fmt: skip


def cells_told(source: Source) -> dict[int, int]:
    """Photograph number → how many white cells `labels.csv` lists; only photographs for which it lists any."""
    file = next(file for file in source.files if file.endswith("dataset-master/labels.csv"))
    rows = csv.reader(io.StringIO(source.read(file).decode()))
    told = {int(row[1]): len([name for name in row[2].split(",") if name.strip()]) for row in rows if row[1].isdigit()}
    return {number: cells for number, cells in told.items() if cells}


def on_photographs(source: Source, every: int, sheets: Path | None) -> None:
    told = cells_told(source)
    photos = {int(PurePosixPath(f).stem.split("_")[1]): f for f in source.files if "/JPEGImages/" in f}
    numbers = sorted(told.keys() & photos.keys())[::every]
    pictures = {number: decode_rgb(source.read(photos[number])) for number in numbers}
    print(f"1. Photographs of the archive, 640×480 ({len(photos) - len(numbers)} without a label or left out)")
    for name, shift in SHIFTS.items():
        found = {number: len(find_cells(shift(pictures[number]))) for number in numbers}
        print(f"   {name:34} {counted((told[number], found[number]) for number in numbers)}")
    times = []
    for picture in list(pictures.values())[:50]:
        started = time.process_time()
        find_cells(picture)
        times.append(1000 * (time.process_time() - started))
    print(f"   one core: median {np.median(times):.1f} ms, 95% below {np.percentile(times, 95):.1f} ms a field")
    for across in STITCHED:
        if across**2 > len(numbers):
            break
        rows = np.array(numbers[: across**2]).reshape(across, across)
        field = np.vstack([np.hstack([pictures[number] for number in row]) for row in rows])
        there, found = sum(told[number] for number in rows.flat), len(find_cells(field))
        print(f"   {across}×{across} of them stitched, {field.shape[1]}×{field.shape[0]}: {found} of {there} cells")
    if sheets:
        write_sheet(sheets / "photographs.png", pictures.values())


def on_drawn_fields(count: int = 100) -> None:
    pairs, hits = [], 0
    for seed in range(count):
        rng = np.random.default_rng(seed)
        field = draw_field(rng, rng.choice(DEMO_CLASSES, 6).tolist())
        found = find_cells(field.pixels)
        pairs.append((len(field.cells), len(found)))
        for _, (x0, y0, x1, y1) in field.cells:
            middles = (((a + c) / 2, (b + d) / 2) for (a, b, c, d) in (cell.box for cell in found))
            hits += any(x0 <= x < x1 and y0 <= y < y1 for x, y in middles)
    told = sum(cells for cells, _ in pairs)
    print(f"2. Drawn: {counted(pairs)}; {hits / told:.4f} of the cells' boxes hold the middle of a find")


def on_single_cells(source: Source, every: int, sheets: Path | None) -> None:
    print("3. One centred cell a picture, another laboratory's")
    by_class: dict[str, list[str]] = defaultdict(list)
    for file in source.files:
        if file.endswith(".jpg"):
            by_class[PurePosixPath(file).parent.name].append(file)
    for name, files in sorted(by_class.items()):
        central, others = [], 0
        for file in files[::every]:
            picture = decode_rgb(source.read(file))
            height, width = picture.shape[:2]
            boxes = [cell.box for cell in find_cells(picture)]
            in_middle = [
                abs(x0 + x1 - width) < 0.4 * width and abs(y0 + y1 - height) < 0.4 * height for x0, y0, x1, y1 in boxes
            ]
            central.append(sum(in_middle))
            others += len(boxes) - sum(in_middle)
        central_finds = np.array(central)
        print(f"   {name:13} {len(central):5} pictures: in the middle none {np.mean(central_finds == 0):.4f}, "
              f"one {np.mean(central_finds == 1):.4f}, several {np.mean(central_finds > 1):.4f}; "
              f"{others / len(central):.3f} beside it")  # fmt: skip
        if sheets:
            write_sheet(sheets / f"{name}.png", (decode_rgb(source.read(file)) for file in files[:40]))


def write_sheet(file: Path, pictures: Iterable[np.ndarray], width: int = 240, columns: int = 8) -> None:
    """Pictures side by side with the boxes of the cells found."""
    tiles = []
    for picture in pictures:
        shown = picture.copy()
        for cell in find_cells(picture):
            cv2.rectangle(shown, cell.box[:2], cell.box[2:], (0, 200, 0), max(1, shown.shape[1] // 200))
        height = round(shown.shape[0] * width / shown.shape[1])
        tiles.append(cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("single_cells", type=Path, nargs="?")
    parser.add_argument("--every", type=int, default=1, help="take every K-th picture only")
    parser.add_argument("--sheet", type=Path, metavar="FOLDER")
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    on_photographs(open_source(chosen.archive), chosen.every, chosen.sheet)
    on_drawn_fields()
    if chosen.single_cells:
        on_single_cells(open_source(chosen.single_cells), chosen.every, chosen.sheet)


if __name__ == "__main__":
    main()
