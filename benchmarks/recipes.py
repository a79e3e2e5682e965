"""What `benchmarks.reproduce` trains, as data: a row of docs/results.md each, with its recipe and its budget.

A row whose settings change is trained anew: its old figures are told as those of an earlier recipe until then. Nothing
here may be chosen by what a row found on TEST or on all 348 photos; docs/experiments.md tells what it was chosen by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bloodcell_core.config import PRESETS, TrainConfig

TEST, ALL, TRAIN = "test", "all", "train"
"""Where a row is judged: on the official TEST split, out of fold on all photos, or out of fold on TRAIN alone."""

SEEDS = (0, 1, 2)
FOLDS = 5

OURS: dict[str, dict[str, Any]] = {
    "basic_cnn": {"epochs": 12, "pictures_per_epoch": 4000},
    "deep_cnn": {"epochs": 12, "pictures_per_epoch": 4000},
    "cell_net": {"epochs": 20, "pictures_per_epoch": 4000},
    "efficientnet_lite0": {"epochs": 8, "pictures_per_epoch": 3000},
    "resnet18": {"epochs": 8, "pictures_per_epoch": 3000},
}
"""What two cores carry of the preset `best`, by network."""


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    judged: str
    """One of TEST, ALL and TRAIN."""
    settings: dict[str, Any]
    """Fields of TrainConfig without data, seed and folds; empty for an ensemble."""
    seeds: tuple[int, ...] = SEEDS
    members: tuple[str, ...] = ()
    """Of an ensemble the rows whose runs, of all seeds, it is made of."""
    leaves_out: str = ""
    """The part of the recipe that the row leaves out, to be set against its base."""
    base: str = ""
    weights_at_hand: bool = True
    """False where its first weights come from the network, and it can't be run without."""

    def config(self, data: str, seed: int) -> TrainConfig:
        """The settings of one of its trainings; of a cross-validation without its folds."""
        return TrainConfig(**self.settings | {"data": data, "seed": seed})

    @property
    def budget(self) -> str:
        """How much it trains, in words."""
        if self.members:
            return "none of its own"
        config = self.config("any", 0)
        each = f" of {config.pictures_per_epoch:,} pictures" if config.pictures_per_epoch else ""
        return f"{config.epochs} epochs{each}"


def _ours(model: str, **changes: Any) -> dict[str, Any]:
    return PRESETS["best"] | OURS[model] | {"model": model} | changes


def _original(model: str, **changes: Any) -> dict[str, Any]:
    return PRESETS["original"] | {"model": model} | changes


_TESTED = (
    Row("cell_net", "`cell_net`, our recipe", TEST, _ours("cell_net")),
    Row("efficientnet_lite0", "`efficientnet_lite0`, our recipe", TEST, _ours("efficientnet_lite0")),
    Row("cell_net-3", "three `cell_net`, one a seed, together", TEST, {}, members=("cell_net",)),
    Row(
        "ensemble", "all `cell_net` and `efficientnet_lite0` together", TEST, {},
        members=("cell_net", "efficientnet_lite0"),
    ),
    Row("deep_cnn-original", "`deep_cnn`, the original's recipe", TEST, _original("deep_cnn")),
    Row("basic_cnn-original", "`basic_cnn`, the original's recipe", TEST, _original("basic_cnn")),
    Row(
        "resnet18-original", "`resnet18`, pretrained, the original's recipe", TEST, _original("resnet18"),
        weights_at_hand=False,
    ),
    Row("deep_cnn", "`deep_cnn`, our recipe", TEST, _ours("deep_cnn")),
    Row("basic_cnn", "`basic_cnn`, our recipe", TEST, _ours("basic_cnn")),
    Row("resnet18", "`resnet18`, pretrained, our recipe", TEST, _ours("resnet18"), weights_at_hand=False),
    Row("cell_net-balanced", "`cell_net`, our recipe, balanced colours", TEST, _ours("cell_net", colours="balanced")),
    Row("cell_net-frame", "`cell_net`, our recipe, frame view", TEST, _ours("cell_net", view="frame"), seeds=(0,)),
    Row("deep_cnn-frame", "`deep_cnn`, our recipe, frame view", TEST, _ours("deep_cnn", view="frame"), seeds=(0,)),
    Row(
        "efficientnet_lite0-frame", "`efficientnet_lite0`, our recipe, frame view", TEST,
        _ours("efficientnet_lite0", view="frame"), seeds=(0,),
    ),
    Row(
        "resnet18-scratch", "`resnet18`, **from scratch**, the original's recipe", TEST,
        _original("resnet18", weights="none", epochs=3), seeds=(0,),
    ),
)  # fmt: skip

_CROSS_VALIDATED = (
    Row("cv-cell_net", "`cell_net`, our recipe", ALL, _ours("cell_net"), seeds=(0,)),
    Row("cv-efficientnet_lite0", "`efficientnet_lite0`, our recipe", ALL, _ours("efficientnet_lite0"), seeds=(0,)),
    Row(
        "cv-ensemble", "`cell_net` and `efficientnet_lite0` together", ALL, {}, seeds=(0,),
        members=("cv-cell_net", "cv-efficientnet_lite0"),
    ),
    Row("cv-deep_cnn-original", "`deep_cnn`, the original's recipe", ALL, _original("deep_cnn", epochs=5), seeds=(0,)),
)  # fmt: skip

_WHOLE = Row(
    "parts", "`cell_net`, our recipe, a smaller budget", TRAIN,
    _ours("cell_net", epochs=8, pictures_per_epoch=2000), seeds=(0,),
)  # fmt: skip
_PARTS: dict[str, dict[str, Any]] = {
    "the cell view": {"view": "frame"},
    "all changes of pictures": dict.fromkeys(("flips", "rotation", "zoom", "shift", "stain", "light"), 0.0),
    "flips and rotation": {"flips": 0.0, "rotation": 0.0},
    "zoom and shift": {"zoom": 0.0, "shift": 0.0},
    "stain and light": {"stain": 0.0, "light": 0.0},
    "one-cycle rate": {"schedule": "constant"},
    "mean of weights": {"averaging": 0.0},
    "label smoothing": {"label_smoothing": 0.0},
}
_LEFT_OUT = tuple(
    replace(
        _WHOLE, name=f"parts-{words.replace(' ', '-')}", title=f"without {words}",
        settings=_WHOLE.settings | changes, leaves_out=words, base=_WHOLE.name,
    )
    for words, changes in _PARTS.items()
)  # fmt: skip

ROWS: dict[str, Row] = {row.name: row for row in (*_TESTED, *_CROSS_VALIDATED, _WHOLE, *_LEFT_OUT)}
"""In the order in which they are trained."""
