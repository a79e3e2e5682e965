"""What is published of a finished row: its figures, and on what it was made."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bloodcell_core.data.parallel import usable_cores
from bloodcell_core.runs import Run

KEPT = ("pictures", "photos", "accuracy", "balanced_accuracy", "f1_macro", "auc_ovr", "by_photo", "confusion")
WITH_INTERVALS = ("accuracy", "balanced_accuracy", "f1_macro", "auc_ovr")


def figures_of(table: Any, classes: list[str], summary: dict[str, Any]) -> dict[str, Any]:
    """What is published of a table of predictions, with intervals by photo."""
    from bloodcell_core.evaluation.calibration import calibration
    from bloodcell_core.evaluation.scoring import score

    scores, calibrated = score(table, classes), calibration(table, classes, summary)
    told = calibrated["after"] or calibrated["before"]
    kept = {key: scores[key] for key in KEPT}
    kept["intervals"] = {key: scores["intervals"][key] for key in WITH_INTERVALS}
    kept["classes"] = classes
    kept["by_class"] = {
        name: {"pictures": one["support"], "found": one["recall"], "by_photo": one["by_photo"]}
        for name, one in scores["per_class"].items()
    }
    kept["calibration"] = {
        "temperature": calibrated["temperature"], "ece": told["ece"], "interval": told["intervals"]["ece"],
        "by_chance": told["ece_by_chance"],
    }  # fmt: skip
    return kept


def circumstances(run: Run) -> dict[str, Any]:
    """Hardware and versions; the device as the run's worker told it."""
    import torch

    root = Path(__file__).resolve().parent.parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    models = [line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    return {
        "device": run.members[0].recorded_status().get("device", ""),
        "processor": models[0] if models else platform.processor(),
        "cores": usable_cores(),
        "torch": torch.__version__, "python": platform.python_version(), "commit": commit.stdout.strip(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
