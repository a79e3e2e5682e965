"""docs/results.md, written from the files of benchmarks/results alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.recipes import ALL, FOLDS, ROWS, TEST, TRAIN, Row
from bloodcell_core import disk
from bloodcell_core.config import TrainConfig
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.published import PUBLISHED

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "results.md"
NOT_YET = "not run yet"
EARLIER = "†"

Results = Mapping[tuple[str, int], dict[str, Any]]
"""(row, seed) → what is kept of it."""


def read_results(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """What is kept, by row and seed; rows that the recipes don't have any more are passed over."""
    files = [file for file in sorted(folder.glob("*.json")) if file.name != "reads.json"]
    told = [disk.read_json(file) for file in files]
    return {(one["row"], one["seed"]): one for one in told if one["row"] in ROWS}


def is_current(row: Row, kept: Mapping[str, Any]) -> bool:
    """Whether kept figures are of the settings that the row has now; an ensemble has none of its own."""
    if "figures" not in kept or row.members:
        return "figures" in kept
    try:
        config = TrainConfig.from_json(kept["config"])
    except LabError:  # a setting of another version
        return False
    return config == row.config(config.data, kept["seed"])


def write_page(results: Path, page: Path) -> None:
    file = results / "reads.json"
    reads = disk.read_json(file) if file.exists() else []
    page.parent.mkdir(parents=True, exist_ok=True)
    with disk.write_atomic(page) as temporary:
        temporary.write_text(render(read_results(results), reads), encoding="utf-8")


def render(results: Results, reads: Sequence[Mapping[str, Any]]) -> str:
    """The page, Markdown."""
    counted = {what: sum(read["what"] == what for read in reads) for what in (TEST, ALL)}
    lines = [
        "# Results",
        "",
        "Written by `python -m benchmarks.reproduce ARCHIVE.zip`, from the files in `benchmarks/results/` alone. It "
        "trains on the public archive, which takes hours on a CPU; it can be killed at any time and resumes. A row "
        "that has not been run yet says so. The recipes and budgets are data: `benchmarks/recipes.py`. Nothing was "
        "chosen on TEST or on all photos: choices are made by cross-validation inside TRAIN "
        "([experiments.md](experiments.md)).",
        "",
        f"**TEST was read {counted[TEST]} {_times(counted[TEST])}**, once for each training or ensemble of the first "
        f"table, earlier recipes included; the cross-validation over all photos {counted[ALL]} {_times(counted[ALL])}. "
        "`benchmarks/results/reads.json` lists them. The bundled model's figures, and the benchmarks that "
        "[RESULTS.md](../benchmarks/RESULTS.md) says read TEST, are not counted here. They chose nothing either, "
        "except one limit that RESULTS.md describes.",
        "",
        "Intervals are 95%, resampled by source photo: how far a figure might have been off with other photos. With "
        "several seeds, the figure is their mean, with the lowest and highest in brackets, and the interval is that "
        "of the first seed. *Photos right*: the copies of a photo are averaged to one answer. ECE is the expected "
        "calibration error. Milliseconds are the network's alone, per picture in a batch of 64. "
        f"{EARLIER} marks figures of an earlier recipe than today's.",
        "",
        *_test_table(results),
        *_views(results),
        *_cross_validations(results),
        *_parts(results),
        *_circumstances(results),
    ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def _times(count: int) -> str:
    return "time" if count == 1 else "times"


# ---- Tables --------------------------------------------------------------------------------------------


def _test_table(results: Results) -> list[str]:
    rows = [row for row in ROWS.values() if row.judged == TEST]
    lines = ["## On the official TEST split", "", *_counts(results, rows)]
    lines += _head(
        "network", "seeds", "accuracy", "95%", "photos right", "macro F1", "AUC", "ECE", "weights", "ms", "training",
        "budget",
    )  # fmt: skip
    lines += [
        f"| {row.title} (published) | 1 | {row.accuracy:.4f} | not given | not given | {row.f1_macro:.4f} | "
        f"{row.auc_ovr:.4f} | not given | | | | 10 epochs |"
        for row in PUBLISHED
    ]
    return [*lines, *(_row(row, results) for row in rows), ""]


def _row(row: Row, results: Results) -> str:
    seeds = _of(row, results)
    if not seeds:
        return f"| {row.title} | {_why_not(row, results)} |" + " |" * 9 + f" {row.budget} |"
    figures, cost = [one["figures"] for one in seeds], seeds[0]["cost"]
    right = [f"{one['by_photo']['right']}" for one in figures if one["by_photo"]]
    photos = f"{', '.join(right)} of {figures[0]['photos']}" if right else "–"
    training = _duration(statistics.fmean(one["cost"]["training_seconds"] for one in seeds))
    old = "" if all(is_current(row, one) for one in seeds) else f" {EARLIER}"
    cells = [
        row.title + old, _seeds(row, seeds), _mean(figures, "accuracy"), _interval(figures[0], "accuracy"), photos,
        _mean(figures, "f1_macro"), _mean(figures, "auc_ovr"), _mean(figures, lambda one: one["calibration"]["ece"]),
        f"{cost['parameters']:,}", _milliseconds(cost), training, row.budget,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _seeds(row: Row, seeds: Sequence[Mapping[str, Any]]) -> str:
    if row.members:
        return f"{len(seeds[0]['members'])} members"
    missing = len(row.seeds) - len(seeds)
    return f"{len(seeds)}" + (f", {missing} {NOT_YET}" if missing else "")


def _views(results: Results) -> list[str]:
    """Frame view against cell view, of the networks that were run on both."""
    pairs = [(name, f"{name}-frame") for name in ROWS if f"{name}-frame" in ROWS]
    lines = ["## Frame view against cell view", "", "The same recipe, budget and seeds; TEST.", ""]
    lines += _head("network", "frame view", "95%", "cell view", "95%", "cell minus frame, points")
    for cell, frame in pairs:
        kept = [_of(ROWS[name], results) for name in (frame, cell)]
        seeds = {one["seed"] for one in kept[0]}
        told = [[one["figures"] for one in each if not seeds or one["seed"] in seeds] for each in kept]
        cells = [f"`{cell}`"]
        for figures in told:
            cells += [_mean(figures, "accuracy"), _interval(figures[0], "accuracy")] if figures else [NOT_YET, ""]
        means = [statistics.fmean(one["accuracy"] for one in figures) for figures in told if figures]
        cells.append(f"{100 * (means[1] - means[0]):+.1f}" if len(means) == 2 else "")
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _cross_validations(results: Results) -> list[str]:
    rows = [row for row in ROWS.values() if row.judged == ALL]
    lines = [
        f"## Out of fold, {FOLDS} folds over all photos", "",
        "Each picture is judged by a network that saw no picture of its photo, nor of any photograph of the same cell. "
        "This is the main figure: TEST has few photos, and some of its cells were also photographed for TRAIN.", "",
        *_counts(results, rows),
    ]  # fmt: skip
    lines += _head(
        "network", "accuracy", "95%", "photos right", "by photo, 95%", "macro F1", "AUC", "ECE", "training", "budget"
    )
    for row in rows:
        seeds = _of(row, results)
        if not seeds:
            lines.append(f"| {row.title} | {_why_not(row, results)} |" + " |" * 7 + f" {row.budget} |")
            continue
        (one,) = (kept["figures"] for kept in seeds)
        photo, old = one["by_photo"], "" if is_current(row, seeds[0]) else f" {EARLIER}"
        right = f"{photo['right']} of {photo['photos']} ({photo['accuracy']:.4f})" if photo else "–"
        limits = f"{photo['interval'][0]:.4f} to {photo['interval'][1]:.4f}" if photo else "–"
        cells = [
            row.title + old, f"{one['accuracy']:.4f}", _interval(one, "accuracy"), right, limits,
            f"{one['f1_macro']:.4f}", f"{one['auc_ovr']:.4f}", f"{one['calibration']['ece']:.4f}",
            _duration(seeds[0]["cost"]["training_seconds"]), row.budget,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _parts(results: Results) -> list[str]:
    base = next(row for row in ROWS.values() if row.judged == TRAIN and not row.base)
    lines = [
        "## What each part is worth", "",
        f"`cell_net` with one part of the recipe left out, out of fold on TRAIN alone ({FOLDS} folds, one seed, "
        f"{base.budget}); TEST is not read. Differences are paired over the same photos.", "",
    ]  # fmt: skip
    lines += _head("left out", "accuracy", "photos right", "accuracy minus the whole recipe's", "95%", "photos, 95%")
    for row in ROWS.values():
        if row.judged != TRAIN:
            continue
        seeds = _of(row, results)
        title = f"*{row.leaves_out}*" if row.leaves_out else "nothing"
        if not seeds:
            lines.append(f"| {title} | {NOT_YET} |" + " |" * 4)
            continue
        (kept,) = seeds
        one, against = kept["figures"], kept["against_base"]
        photo, old = one["by_photo"], "" if is_current(row, kept) else f" {EARLIER}"
        cells = [title + old, f"{one['accuracy']:.4f}", f"{photo['right']} of {photo['photos']}" if photo else "–"]
        if against:
            told, right = against["accuracy"], against["right"]
            cells += [f"{told['difference']:+.4f}", _span(told["interval"], "{:+.4f}")]
            cells.append(f"{right['difference']:+d}, {_span(right['interval'], '{:+.0f}')}")
        else:
            cells += ["", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _circumstances(results: Results) -> list[str]:
    """On what machines with which versions the figures were made, and which rows on which."""
    by_machine: dict[str, list[str]] = {}
    for (name, seed), kept in results.items():
        if told := kept.get("circumstances"):
            machine = f"{told['cores']} cores of {told['processor']}; {told['device'].partition(':')[0]}; torch "
            machine += f"{told['torch']}, Python {told['python']}"
            by_machine.setdefault(machine, []).append(f"{name} seed {seed}")
    lines = ["## Made on", ""]
    lines += [f"- {machine}: {len(rows)} of {sum(map(len, by_machine.values()))} rows" for machine, rows in
              by_machine.items()]  # fmt: skip
    return [*lines, *([] if by_machine else ["Nothing has been run yet."]), ""]


# ---- Cells of the tables -------------------------------------------------------------------------------


def _of(row: Row, results: Results) -> list[dict[str, Any]]:
    """The finished results of a row, by seed."""
    seeds = row.seeds if row.judged == TEST and not row.members else row.seeds[:1]
    kept = [results.get((row.name, seed)) for seed in seeds]
    return [one for one in kept if one and "figures" in one]


def _why_not(row: Row, results: Results) -> str:
    kept = results.get((row.name, row.seeds[0]))
    return f"not run: {kept['not_run']}" if kept and "not_run" in kept else NOT_YET


def _counts(results: Results, rows: Sequence[Row]) -> list[str]:
    """How many pictures and photos a table's rows are judged on; all on the same."""
    told = {(one["figures"]["pictures"], one["figures"]["photos"]) for row in rows for one in _of(row, results)}
    return [f"n = {pictures:,} pictures of {photos} photos." for pictures, photos in sorted(told)] + [""] * bool(told)


def _head(*titles: str) -> list[str]:
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]


def _mean(figures: Sequence[Mapping[str, Any]], of: str | Callable[[Mapping[str, Any]], float]) -> str:
    values = [one[of] if isinstance(of, str) else of(one) for one in figures]
    mean = f"{statistics.fmean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.4f} to {max(values):.4f})"


def _interval(figures: Mapping[str, Any], metric: str) -> str:
    return _span(figures["intervals"][metric], "{:.4f}")


def _span(limits: Sequence[float] | None, form: str) -> str:
    return " to ".join(form.format(limit) for limit in limits) if limits else "–"


def _milliseconds(cost: Mapping[str, Any]) -> str:
    return "–" if cost["milliseconds"] is None else f"{cost['milliseconds']:.1f}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
