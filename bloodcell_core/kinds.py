"""What the JSON files of a run hold, and the type of each value: whoever reads a file that was edited by hand says that
it is damaged, before a page is half drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NUMBER = int | float
WHOLE = 2**53  # a count that a table and a browser hold exactly
CENTURY = 100 * 366 * 86_400  # in seconds, more than any training takes
ROUNDING = 1e-6  # a share that was summed up may be this far beyond 1
Kinds = Mapping[str, Any]
"""Key → the type, or union of types, that its value is of."""

CONFIG: Kinds = {
    "config": dict, "classes": list, "data_hash": str, "created": str, "synthetic": bool, "pretrained": bool,
    "validation_photos": list, "group": str, "adapted": dict | None, "members": list,
}  # fmt: skip
"""What config.json must hold."""
MEMBER = {"run", "model", "view", "size"}
"""What it holds of each member of an ensemble."""
STATUS: Kinds = {"state": str, "updated": NUMBER, "queued": NUMBER, "queue": str}
"""What status.json must hold."""
PROGRESS: Kinds = {
    "reason": str, "note": str, "phase": str, "device": str, "step": int, "total_steps": int, "epoch": int,
    "pictures_per_second": NUMBER | None, "seconds_left": NUMBER | None, "memory_mb": NUMBER | None,
}  # fmt: skip
"""What it may hold besides."""
SUMMARY: Kinds = {
    "test": dict | None, "parameters": int, "training_seconds": NUMBER, "best_epoch": int | None,
    "temperature": NUMBER, "temperature_reason": str, "val_accuracy": NUMBER | None, "val_loss": NUMBER | None,
}  # fmt: skip
"""What summary.json must hold."""
TEST: Kinds = {
    "pictures": int, "photos": int | None, "unit": str, "accuracy": NUMBER, "intervals": dict,
    "by_photo": dict | None, "per_class": dict, "warnings": list, "notes": list,
} | {name: NUMBER | None for name in ("balanced_accuracy", "f1_macro", "auc_ovr")}  # fmt: skip
"""What it holds of the test split."""
BY_PHOTO: Kinds = {"photos": int, "right": int, "interval": list}
INTERVALS = ("accuracy", "balanced_accuracy", "f1_macro", "auc_ovr")
"""The figures that have one, or None."""
LIMITS = (
    dict.fromkeys(("training_seconds", "seconds_left"), (0, CENTURY))
    | dict.fromkeys(("step", "total_steps", "epoch", "parameters", "pictures", "photos", "right"), (0, WHOLE))
    | dict.fromkeys(("val_accuracy", *INTERVALS), (-ROUNDING, 1 + ROUNDING))
)
"""The lowest and highest value of a figure, both included; others may be any finite number."""


def wrong(told: Any, must: Kinds, may: Kinds | None = None) -> str:
    """The first key of a file's value that is missing, or whose value isn't of its kind; "" where all is well."""
    if not isinstance(told, dict):
        return "all of it"
    kinds = {**must, **{key: kind for key, kind in (may or {}).items() if key in told}}
    return next((key for key, kind in kinds.items() if key not in told or not _can_be(key, told[key], kind)), "")


def _can_be(key: str, value: Any, kind: Any) -> bool:
    if not isinstance(value, kind):
        return False
    low, high = LIMITS.get(key, (-math.inf, math.inf))
    return not isinstance(value, NUMBER) or (low <= value <= high and abs(value) != math.inf)  # NaN isn't between any


def wrong_in_config(config: Any) -> str:
    """As `wrong`, of the whole of config.json but for the settings, which `TrainConfig` checks."""
    if key := wrong(config, CONFIG):
        return key
    if not all(isinstance(each, dict) and each.keys() >= MEMBER for each in config["members"]):
        return "members"
    return "" if config["classes"] and all(isinstance(name, str) for name in config["classes"]) else "classes"


def wrong_in_summary(summary: Any) -> str:
    """As `wrong`, of the whole of summary.json."""
    if key := wrong(summary, SUMMARY):
        return key
    if not summary["temperature"] > 0:
        return "temperature"
    test = summary["test"]
    if test is None:
        return ""
    if key := wrong(test, TEST) or (wrong(test["by_photo"], BY_PHOTO) if test["by_photo"] is not None else ""):
        return key
    if test["by_photo"] is not None and not _interval(test["by_photo"]["interval"]):
        return "interval of photos right"
    return wrong_in_intervals(test["intervals"])


def wrong_in_intervals(intervals: dict[str, Any]) -> str:
    """As `wrong`, of the intervals of a split's figures."""
    return next((f"interval of {name}" for name in INTERVALS if not _interval(intervals.get(name, "missing"))), "")


def _interval(limits: Any) -> bool:
    return limits is None or (
        isinstance(limits, list) and len(limits) == 2 and all(_can_be("", limit, NUMBER) for limit in limits)
    )
