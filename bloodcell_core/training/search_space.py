"""Which settings a search may vary, and between which values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from bloodcell_core import config
from bloodcell_core.config import TrainConfig
from bloodcell_core.models import model_info

RATES = 10.0  # the learning rate is drawn between a tenth of and ten times what the search starts from


class Range(NamedTuple):
    """The limits between which a setting is drawn."""

    low: float
    high: float
    log: bool = False
    """Whether its logarithm is drawn evenly, and not the value itself."""


SEARCHED: dict[str, Range | None] = {
    "learning_rate": None,  # around the network's own
    "width": Range(0.5, 2, log=True),
    "dropout": Range(0, 0.6),
    "rotation": Range(0, 180),
    "zoom": Range(0, 0.3),
    "stain": Range(0, 0.4),
    "light": Range(0, 0.3),
    "flips": Range(0, 0.5),
    "shift": Range(0, 0.15),
    "blur": Range(0, 1.5),
    "erase": Range(0, 0.5),
    "mixup": Range(0, 0.5),
    "label_smoothing": Range(0, 0.2),
    "weight_decay": Range(0, 0.05),
}
"""The settings that can be searched, and the range of each."""

USUAL = ("learning_rate", "width", "dropout", "rotation", "zoom", "stain", "light")
"""What is searched by default, as far as the network has it."""


def searchable(model: str) -> list[str]:
    """The rows of SEARCHED that a network has."""
    info = model_info(model)
    lacks = {"width": not info.widens, "dropout": info.dropout is None}
    return [field for field in SEARCHED if not lacks.get(field)]


def usual(model: str) -> list[str]:
    """What is searched for a network by default."""
    return [field for field in searchable(model) if field in USUAL]


def start_values(settings: TrainConfig, fields: Iterable[str]) -> dict[str, float]:
    """The values that a search starts from: those of `settings`, or the network's own where these leave them to it."""
    info = model_info(settings.model)
    own = {"learning_rate": info.learning_rate, "dropout": info.dropout or 0.0}
    values = {field: getattr(settings, field) for field in fields}
    return {field: own[field] if value is None else value for field, value in values.items()}


def ranges(settings: TrainConfig, fields: Iterable[str]) -> dict[str, Range]:
    """The range of each field: its row of SEARCHED, widened where needed to hold its value in `settings`."""
    found = {}
    for field, start in start_values(settings, fields).items():
        limits = config.fields()[field].metadata
        low, high, log = SEARCHED[field] or Range(start / RATES, start * RATES, log=True)
        found[field] = Range(max(min(low, start), limits["low"]), min(max(high, start), limits["high"]), log)
    return found
