"""What a spoilt picture costs: `python -m benchmarks.bench_robustness RUN [RUN …] [--split val|test] [--copies K]`.

Pictures of a run's own dataset are spoilt in seven ways at five strengths as they were taken, before the white cell is
looked for and cut out; the finder works on what it is given. Of each photo K copies are taken (3 by default; 0 for
all), the same for every run, and each is spoilt by its own seeded draw. `--split val` (the default): the TRAIN photos
that the run kept back: for choices. `--split test` is for the published table.

Told is the accuracy by picture, and what it falls by, paired, with a 95% interval by photo. The middle strength is what
a laboratory may meet; 5 points there are the most that one way should cost.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from bloodcell_core import runs
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.parallel import picture_threads
from bloodcell_core.data.views import make_view
from bloodcell_core.errors import LabError
from bloodcell_core.runs import Run

Spoil = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
"""(uint8 H×W×3 RGB, strength, draw) → uint8 RGB."""
MIDDLE = 2  # of the five strengths, from 0
MOST_LOST = 0.05


def _clip(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def restained(picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Absorbance of red, green and blue each more or less by up to `strength`: dyes, filters and cameras differ so.

    Not the stain matrix that training changes pictures by, so that a network isn't asked what it was drilled in.
    """
    factors = 1 + strength * _signs(rng, 3)
    return _clip(255 * np.exp(np.log(np.maximum(picture, 1) / 255) * factors))


def blurred(picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), strength)


def noisy(picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return _clip(picture + rng.normal(0, strength, picture.shape))


def compressed(picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(strength)])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def lit(picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brighter or darker by `strength`; what is brighter than white is white."""
    return _clip(picture * (1 + strength * _signs(rng, 1)))


def scaled(picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Taken at `strength` times the magnification, or a `strength`th of it."""
    by = strength ** float(_signs(rng, 1)[0])
    return cv2.resize(picture, None, fx=by, fy=by, interpolation=cv2.INTER_AREA if by < 1 else cv2.INTER_CUBIC)


def turned(picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """By `strength` degrees either way about the middle; what comes in from outside is the picture mirrored."""
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), strength * float(_signs(rng, 1)[0]), 1)
    return cv2.warpAffine(picture, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _signs(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.choice((-1.0, 1.0), count)


WAYS: dict[str, tuple[Spoil, tuple[float, ...]]] = {
    "stain": (restained, (0.05, 0.10, 0.20, 0.30, 0.40)),
    "blur": (blurred, (0.5, 1.0, 1.5, 2.5, 4.0)),
    "noise": (noisy, (3, 6, 12, 20, 30)),
    "JPEG": (compressed, (70, 50, 30, 18, 10)),
    "brightness": (lit, (0.05, 0.10, 0.20, 0.30, 0.45)),
    "scale": (scaled, (1.1, 1.25, 1.5, 2.0, 3.0)),
    "rotation": (turned, (10, 20, 45, 70, 90)),
}
"""How a picture is spoilt, from weak to strong: share of absorbance, sigma in pixels, sigma in grey levels, quality,
share of light, times the magnification, degrees."""


def chosen_pictures(run: Run, dataset: Dataset, split: str, copies: int) -> pd.DataFrame:
    """The run's pictures of that split, at most `copies` of each photo (0: all), as rows of `dataset.pictures`."""
    table = run.predictions().query("split == @split")
    pictures = dataset.pictures[dataset.pictures.image_id.isin(table.image_id)].sort_values("image_id")
    if pictures.empty:
        raise LabError(f"run {run.name!r} has no pictures in its {split} split")
    pictures = pictures.assign(split=split)
    return pictures[pictures.groupby("photo").cumcount() < copies] if copies else pictures


class Judge:
    """A run, an ensemble too, that is asked about pictures in memory."""

    def __init__(self, run: Run, device: str):
        from bloodcell_core.device import choose_device
        from bloodcell_core.models.network import trained_network

        self.run, self.device = run, choose_device(device)
        self.networks = [trained_network(member).to(self.device.device) for member in run.members]

    def views(self, picture: np.ndarray) -> list[np.ndarray]:
        """What each member sees of a picture."""
        return [make_view(picture, *member.config.sight).pixels for member in self.run.members]

    def say(self, views: Sequence[list[np.ndarray]]) -> np.ndarray:
        """(N, C) probabilities of N pictures, from their `views`."""
        from bloodcell_core.evaluation.averaging import answer_of
        from bloodcell_core.models.forward import predict_probabilities

        answers = [
            predict_probabilities(network, np.stack(seen), self.device, temperature=member.temperature)
            for network, member, seen in zip(self.networks, self.run.members, zip(*views, strict=True), strict=True)
        ]
        return answer_of(self.run, answers)


def answers(judge: Judge, dataset: Dataset, pictures: pd.DataFrame, way: str, strength: float) -> Any:
    """The `Side` of a run's answers to pictures that were spoilt one way; `way` '' leaves them as they are."""
    from bloodcell_core.evaluation.comparison import Side
    from bloodcell_core.evaluation.predictions import predictions_table

    def spoilt(row: int) -> list[np.ndarray]:
        picture = dataset.read_original(row)
        if way:
            # The draw hangs on the picture and the way alone: each strength spoils it in the same direction.
            seed = [*dataset.pictures.image_id[row].encode(), *way.encode()]
            picture = WAYS[way][0](picture, strength, np.random.default_rng(seed))
        return judge.views(picture)

    with picture_threads() as pool:
        views = list(pool.map(spoilt, pictures.index))
    table = predictions_table(pictures, judge.say(views), judge.run.classes)
    return Side(f"{way} {strength}", dataset.name, dataset.content_hash, judge.run.classes, table)


def measure(run: Run, split: str, copies: int, device: str, only: Sequence[str]) -> list[dict[str, Any]]:
    """A row for the pictures as they are, and one for each way and strength. JSON-ready."""
    from bloodcell_core.evaluation.comparison import compare_sides
    from bloodcell_core.evaluation.scoring import score

    dataset = Dataset(run.config.data)
    if dataset.content_hash != run.data_hash:
        raise LabError(f"dataset {dataset.name!r} is no longer the one that {run.name!r} was trained on")
    judge, pictures = Judge(run, device), chosen_pictures(run, dataset, split, copies)
    clean = answers(judge, dataset, pictures, "", 0)
    told = score(clean.table, run.classes)
    head = {"run": run.name, "split": split, "pictures": told["pictures"], "photos": told["photos"]}
    rows = [head | {"way": "as they are", "level": None, "strength": None, "accuracy": told["accuracy"],
                    "interval": told["intervals"]["accuracy"], "lost": None, "lost_interval": None}]  # fmt: skip
    for way in only:
        for level, strength in enumerate(WAYS[way][1]):
            spoilt = answers(judge, dataset, pictures, way, strength)
            against = compare_sides(spoilt, clean)["metrics"]["accuracy"]
            limits = score(spoilt.table, run.classes)["intervals"]["accuracy"]
            told = {"way": way, "level": level, "strength": strength, "accuracy": against["a"], "interval": limits}
            rows.append(head | told | {"lost": against["difference"], "lost_interval": against["interval"]})
            print(f"\r{run.name}: {way} {strength:g}      ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def table_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows of one run as a Markdown table: a line a way, accuracy and the points lost by strength."""
    clean = rows[0]
    limits = f", 95% {clean['interval'][0]:.3f} to {clean['interval'][1]:.3f}" if clean["interval"] else ""
    photos = f"{clean['photos']} photos" if clean["photos"] is not None else "photos not known"
    lines = [
        f"{clean['run']}, {clean['split']}: {clean['pictures']} pictures of {photos}; as they are "
        f"{clean['accuracy']:.3f}{limits}",
        "",
        "| way (strengths) | " + " | ".join(f"{level}" for level in range(1, 6)) + " | lost in the middle, points |",
        "|---" * 7 + "|",
    ]
    for way in dict.fromkeys(row["way"] for row in rows[1:]):
        of = [row for row in rows if row["way"] == way]
        middle = of[MIDDLE]
        span = "{:+.1f} to {:+.1f}".format(*(100 * limit for limit in middle["lost_interval"] or (0, 0)))
        lost = f"{100 * middle['lost']:.1f} ({span})" if middle["lost_interval"] else f"{100 * middle['lost']:.1f}"
        lost = f"**{lost}**" if middle["lost"] > MOST_LOST else lost
        strengths = ", ".join(f"{row['strength']:g}" for row in of)
        lines.append(f"| {way} ({strengths}) | " + " | ".join(f"{row['accuracy']:.3f}" for row in of) + f" | {lost} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--copies", type=int, default=3, help="of each photo; 0 for all")
    parser.add_argument("--only", nargs="+", choices=tuple(WAYS), default=list(WAYS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    try:
        for each in map(partial(measure, split=args.split, copies=args.copies, device=args.device, only=args.only),
                        map(runs.find, args.runs)):  # fmt: skip
            print("\n".join(table_of(each)) + "\n", flush=True)
            rows += each
    except LabError as error:
        parser.error(str(error))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
