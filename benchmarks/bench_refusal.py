"""What is refused: `python -m benchmarks.bench_refusal RUN [--each K] [--other DATA] [--held] [--seed S]`.

1. Pictures without a white cell, drawn by a program (benchmarks/not_cells.py), and patches of the run's own photographs
   that lie clear of every white cell: refused where no cell of them is given a class.
2. The run's own test cells, which should not be refused: by picture, and by photo (the mean over its copies). With
   `--held` its validation cells in their place: what may be looked at while something is chosen.
3. Another laboratory's cells, as many of each class as `--most` says.

"unlike" is told apart from "unsure". Intervals are at 95%: exact for drawn pictures, by photo elsewhere.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from benchmarks.not_cells import KINDS, SIZES, draw_all
from bloodcell_core import runs
from bloodcell_core.cells import search
from bloodcell_core.data.class_names import match_classes
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.pictures import encode
from bloodcell_core.data.splits import photos_first, run_pictures
from bloodcell_core.evaluation.limits import exact_binomial
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.runs import Run

PATCH = 96  # pixels of a patch without a white cell
Handed = tuple[str, Callable[[], bytes]]


def refused_line(title: str, states: Counter[str]) -> str:
    total = states.total()
    refused = total - states["ok"]
    low, high = exact_binomial(refused, total)
    unlike = states["unlike"] + states["no cell"]
    return (f"  {title:24} {total:5} pictures: {refused / total:6.1%} refused ({low:.1%} to {high:.1%}), "
            f"{unlike / total:6.1%} unlike: {states['no cell']} without a cell, {states['unlike']} far; "
            f"{states['unsure']} unsure")  # fmt: skip


def drawn(predictor: Predictor, each: int, seed: int) -> None:
    """Item 1, the drawn ones."""
    kinds: list[tuple[str, str]] = []

    def handed() -> Iterator[Handed]:
        for picture in draw_all(each, seed):
            kinds.append((picture.kind, picture.style.split()[0]))
            data = encode(picture.pixels)
            yield picture.style, lambda data=data: data

    by_kind: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    by_style: dict[str, Counter[str]] = {}
    for number, answer in enumerate(predictor.classify(handed())):
        state = state_of(answer)
        by_kind[kinds[number][0]][state] += 1
        by_style.setdefault(kinds[number][1], Counter())[state] += 1
    print(f"drawn pictures without a white cell, {each} of each style and size ({SIZES}), seed {seed}:")
    for kind, states in by_kind.items():
        print(refused_line(kind, states))
    for style, states in by_style.items():
        if states["ok"]:
            print(f"    named: {style} {states['ok']} of {states.total()}")
    print(refused_line("all", sum(by_kind.values(), Counter())))


def state_of(answer) -> str:
    """`ok` where any cell of a picture that counts is given a class; `no cell` where none was found."""
    if answer.state == "refused" or not answer.cells:
        return "no cell"
    states = {cell.state for cell in answer.counted}
    return next(state for state in ("ok", "unsure", "unlike") if state in states)


def patches(predictor: Predictor, dataset: Dataset, pictures: pd.DataFrame) -> None:
    """Item 1, the patches: of each photo's first picture, corners in which no nucleus and none of its cell lies."""
    found: list[Handed] = []
    for row in photos_first(pictures, pictures.photo.nunique()):
        pixels = dataset.read_original(row)
        height, width = pixels.shape[:2]
        nuclei = [cell.box for cell in search(pixels).cells]
        for x, y in ((0, 0), (width - PATCH, 0), (0, height - PATCH), (width - PATCH, height - PATCH)):
            patch = np.ascontiguousarray(pixels[y : y + PATCH, x : x + PATCH])
            clear = all(
                x0 - (x1 - x0) // 2 >= x + PATCH or x1 + (x1 - x0) // 2 <= x
                or y0 - (y1 - y0) // 2 >= y + PATCH or y1 + (y1 - y0) // 2 <= y
                for x0, y0, x1, y1 in nuclei
            )  # fmt: skip
            if clear and patch.min(axis=2).mean() > 100:  # not the black border of a turned copy
                found.append((f"{row} {x},{y}", lambda patch=patch: encode(patch)))
                break
    states = Counter(map(state_of, predictor.classify(found)))
    print(refused_line("photographs' red cells", states))


def cells(predictor: Predictor, dataset: Dataset, pictures: pd.DataFrame, title: str) -> pd.Series:
    """Items 2 and 3; the state of each picture."""
    rows = pictures.index.to_numpy()
    files = [dataset.folder / "originals" / dataset.pictures.stored[row] for row in rows]
    answers = predictor.classify((str(file), file.read_bytes) for file in files)
    states = pd.Series([answer.state if answer.cells else "no cell" for answer in answers], rows)
    unlike = states.isin(("unlike", "no cell"))
    words = (
        f"{title}: {len(rows):,} pictures: unlike {unlike.mean():.2%} ({(states == 'no cell').sum()} without a cell)"
    )
    if dataset.photos_known:
        by_photo = unlike.groupby(pictures.photo).mean()
        rng = np.random.default_rng(0)
        drawn = rng.choice(by_photo.to_numpy(), (4000, len(by_photo))).mean(axis=1)
        low, high = np.quantile(drawn, (0.025, 0.975))
        worst = int((by_photo > 0.5).sum())
        exact = exact_binomial(worst, len(by_photo))
        words += (f"; by photo {by_photo.mean():.2%} ({low:.2%} to {high:.2%}); {worst} of {len(by_photo)} photos are "
                  f"mostly unlike ({exact[0]:.1%} to {exact[1]:.1%})")  # fmt: skip
    print(f"{words}; unsure {(states == 'unsure').mean():.2%}")
    return states


def own(run: Run, predictor: Predictor, held: bool) -> None:
    dataset = Dataset(run.config.data)
    pictures = run_pictures(run.config, dataset)
    aside = (pictures.split == "val") | pictures.photo.isin(set(run.validation_photos))
    chosen = pictures[aside if held else pictures.split == "test"]
    patches(predictor, dataset, chosen)
    states = cells(predictor, dataset, chosen, "validation cells" if held else "test cells")
    for label, part in chosen.groupby("label"):
        unlike = states[part.index].isin(("unlike", "no cell"))
        print(f"    {label}: {unlike.mean():.2%} of {len(part):,} pictures, {part.photo.nunique()} photos")


def other(run: Run, predictor: Predictor, name: str, most: int) -> None:
    dataset = Dataset(name)
    matched = match_classes(dataset.classes, run.classes)
    for label in dataset.classes:
        part = dataset.pictures[dataset.pictures.label == label]
        part = part.sample(min(most, len(part)), random_state=0).sort_index()
        title = f"{name}, {label}" + ("" if matched[label] else " (no class of the run)")
        cells(predictor, dataset, part, f"    {title}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--each", type=int, default=10, help="drawn pictures of each style and size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held", action="store_true", help="validation cells in place of test cells")
    parser.add_argument("--other", help="a dataset of another laboratory")
    parser.add_argument("--most", type=int, default=300, help="pictures of each of its classes")
    chosen = parser.parse_args()
    run = runs.find(chosen.run)
    predictor = Predictor(run, "cpu")
    for member in run.members:
        print(f"{member.name}: {member.config.model}, {member.config.view} view of {member.config.data}")
    print(f"review threshold {predictor.threshold:g}: {predictor.threshold_words}")
    drawn(predictor, chosen.each, chosen.seed)
    own(run, predictor, chosen.held)
    if chosen.other:
        other(run, predictor, chosen.other, chosen.most)


if __name__ == "__main__":
    main()
