"""Every published figure, trained anew: `python -m benchmarks.reproduce ARCHIVE.zip [--only ROW …] [--minutes M]`.

Trains the rows of benchmarks/recipes.py one after another, hours on a CPU, and keeps the figures of each finished one
in benchmarks/results/ and in docs/results.md, which is written from those files alone (`--write` does only that). It
may be killed at any time: what is finished isn't done again, and a training goes on from its last checkpoint. Its runs
lie in the workspace like any others and are known by their settings.

The archive is imported as the dataset `archive` where the workspace has none. TEST and the cross-validation over all
photos are read once for each finished training; benchmarks/results/reads.json counts it.
"""

from __future__ import annotations

import argparse
import signal
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from benchmarks.figures import circumstances, figures_of
from benchmarks.recipes import ALL, FOLDS, ROWS, TEST, Row
from benchmarks.results_page import PAGE, RESULTS, is_current, read_results, write_page
from bloodcell_core import disk, runs, workspace
from bloodcell_core.config import TrainConfig
from bloodcell_core.data.dataset import Dataset, names
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.scoring import costs_of
from bloodcell_core.runs import ENDED, Run
from bloodcell_core.training.groups import Group

DATA = "archive"


class TimeUp(BaseException):
    """The time that was given is over: nothing may catch it, so that it ends a training as SIGKILL would."""


def end_after(minutes: float | None) -> None:
    """Raises TimeUp after so many minutes, and at SIGTERM."""

    def raise_it(signum: int, frame: FrameType | None) -> None:
        raise TimeUp

    signal.signal(signal.SIGTERM, raise_it)
    if minutes is not None:
        signal.signal(signal.SIGALRM, raise_it)
        signal.setitimer(signal.ITIMER_REAL, max(60 * minutes, 0.001))


# ---- From a row to its runs ----------------------------------------------------------------------------


def trained(config: TrainConfig, data_hash: str) -> Run:
    """The finished run of these settings; trained here, or further, where there is none."""
    from bloodcell_core.training import jobs, worker

    known = [
        run for run in runs.readable_runs()[0]
        if run.trained_here and not run.group and (run.config, run.data_hash) == (config, data_hash)
    ]  # fmt: skip
    done = [run for run in known if run.status()["state"] == "done"]
    if done:
        return done[-1]
    run = known[-1] if known else jobs.create_run(config)
    if run.status()["state"] in ENDED:  # interrupted, stopped or failed
        jobs.requeue(run)
    worker.work(run)
    return _checked(run)


def cross_validated(config: TrainConfig, over: str, data_hash: str) -> Group:
    """The finished cross-validation of these settings, as `trained`."""
    from bloodcell_core.training import groups, worker

    first = replace(config, folds=FOLDS, fold=1, fold_over=over)
    known = [
        group for group in groups.groups()
        if replace(group.config, fold=1) == first and next(iter(group.runs.values())).data_hash == data_hash
    ]  # fmt: skip
    group = known[-1] if known else groups.create_group(config, FOLDS, over)
    for run in groups.unfinished(group):
        worker.work(run)
        _checked(run)
    return groups.find(group.name)


def _checked(run: Run) -> Run:
    status = run.status()
    if status["state"] != "done":
        raise LabError(f"{run.name} is {status['state']}: {status.get('reason', '')}")
    return run


def put_together(members: list[Run]) -> Run:
    """The ensemble of these runs, made where it isn't there."""
    from bloodcell_core.training.ensembles import create_ensemble

    wanted = {member.name for member in members}
    for run in runs.readable_runs()[0]:
        if not run.group and {facts["run"] for facts in run.member_facts} == wanted:
            return run
    return create_ensemble(members)


def groups_together(members: list[Group]) -> Group:
    """The ensemble of these cross-validations, made where it isn't whole."""
    from bloodcell_core.training import groups
    from bloodcell_core.training.ensembles import create_group_ensemble

    wanted = {run.name for run in (group.runs[1] for group in members)}
    for group in groups.groups():
        first = group.runs.get(1)
        if first and {facts["run"] for facts in first.member_facts} == wanted and len(group.runs) == FOLDS:
            return group
    return create_group_ensemble(members)


# ---- Rows ----------------------------------------------------------------------------------------------


class Reproduction:
    """Goes through rows; keeps figures in the folder `results`."""

    def __init__(self, dataset: Dataset, results: Path, page: Path):
        self.dataset, self.results, self.page = dataset, results, page

    def do(self, row: Row) -> None:
        """Trains and scores what isn't there of a row; LabError where a part of it can't be."""
        for seed in row.seeds if row.judged == TEST and not row.members else row.seeds[:1]:
            kept = read_results(self.results).get((row.name, seed))
            if kept and is_current(row, kept) and "figures" in kept and self._same_members(row, kept):
                continue
            try:
                self._keep(row, seed, self._one(row, seed))
            except LabError as error:
                if row.weights_at_hand:
                    raise
                self._write(row, seed, {"not_run": "weights not at hand", "reason": str(error)})

    def _same_members(self, row: Row, kept: dict[str, Any]) -> bool:
        """Whether an ensemble's figures are of the runs that its rows have now."""
        if not row.members:
            return True
        results = read_results(self.results)
        now = [
            one["run"] for (name, _), one in results.items()
            if name in row.members and "run" in one and is_current(ROWS[name], one)
        ]  # fmt: skip
        return sorted(now) == sorted(kept["members"])

    def _one(self, row: Row, seed: int) -> Run | Group:
        if row.judged == TEST:
            return put_together(self._member_runs(row)) if row.members else self._trained(row, seed)
        if row.members:
            return groups_together([self._cross_validated(ROWS[name], seed) for name in row.members])
        return self._cross_validated(row, seed)

    def _trained(self, row: Row, seed: int) -> Run:
        return trained(row.config(self.dataset.name, seed), self.dataset.content_hash)

    def _cross_validated(self, row: Row, seed: int) -> Group:
        return cross_validated(row.config(self.dataset.name, seed), row.judged, self.dataset.content_hash)

    def _member_runs(self, row: Row) -> list[Run]:
        """The runs of a row's members; they are trained first, and read TEST in rows of their own."""
        for name in row.members:
            self.do(ROWS[name])
        return [self._trained(ROWS[name], seed) for name in row.members for seed in ROWS[name].seeds]

    def _keep(self, row: Row, seed: int, found: Run | Group) -> None:
        """Writes the figures of a finished row, counts what was read for it, and writes the page anew."""
        from bloodcell_core.training.groups import pooled_predictions

        if isinstance(found, Group):
            each = found.finished
            table, summary = pooled_predictions(found), {"temperature_reason": "each fold has its own"}
        else:
            each = [found]
            table = found.predictions().query("split == 'test'").reset_index(drop=True)
            summary = found.summary()
        self._count(row, seed, found.name)
        first = each[0]
        told = {
            "run": found.name,
            "members": sorted(facts["run"] for facts in first.member_facts)
            if isinstance(found, Run) else sorted({run.group for run in first.members if first.is_ensemble}),
            "config": None if row.members else row.config(self.dataset.name, seed).to_json(),
            "data_hash": self.dataset.content_hash,
            "pretrained": first.pretrained,
            "figures": figures_of(table, first.classes, summary),
            "cost": costs_of(first.summary())
            | {"training_seconds": round(sum(run.summary()["training_seconds"] for run in each), 1)},
            "against_base": self._against_base(row, found),
            "circumstances": circumstances(first),
        }  # fmt: skip
        self._write(row, seed, told)

    def _against_base(self, row: Row, found: Run | Group) -> dict[str, Any] | None:
        """A row that leaves a part out against its base, paired over the same photos; None without a base."""
        from bloodcell_core.evaluation.comparison import Side, compare_sides
        from bloodcell_core.training.groups import pooled_predictions

        if not row.base or not isinstance(found, Group):
            return None
        sides = [
            Side(group.name, self.dataset.name, self.dataset.content_hash, group.finished[0].classes,
                 pooled_predictions(group))
            for group in (self._cross_validated(ROWS[row.base], row.seeds[0]), found)
        ]  # fmt: skip
        told = compare_sides(*sides)
        right = {key: told["right"][key] for key in ("unit", "of", "a", "b", "difference", "interval", "p")}
        return {"accuracy": told["metrics"]["accuracy"], "right": right, "verdict": told["verdict"]}

    def _count(self, row: Row, seed: int, run: str) -> None:
        """One more reading of TEST, or of all photos; a run that is told a second time was read once."""
        if row.judged not in (TEST, ALL):
            return
        file = self.results / "reads.json"
        reads = disk.read_json(file) if file.exists() else []
        if not any(read["run"] == run for read in reads):
            when = datetime.now(UTC).isoformat(timespec="seconds")
            disk.write_json(file, [*reads, {"what": row.judged, "row": row.name, "seed": seed, "run": run,
                                                 "when": when}])  # fmt: skip

    def _write(self, row: Row, seed: int, told: dict[str, Any]) -> None:
        disk.write_json(self.results / f"{row.name}.{seed}.json", {"row": row.name, "seed": seed} | told)
        write_page(self.results, self.page)


def archive_of(source: Path | None) -> Dataset:
    """The workspace's dataset `archive`, imported where it isn't there; LabError where nothing says from what."""
    from bloodcell_core.data.importing import import_dataset

    if DATA in names():
        return Dataset(DATA)
    if source is None:
        raise LabError(f"the workspace has no dataset {DATA!r}: give the archive's zip")
    return import_dataset(source, DATA, "blood-cell-images")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, nargs="?")
    parser.add_argument("--only", nargs="+", choices=tuple(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--minutes", type=float, help="end after so long; the next call goes on")
    parser.add_argument("--write", action="store_true", help="only write docs/results.md from what is kept")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE")
    args = parser.parse_args()
    if args.write:
        write_page(args.results, args.page)
        return
    end_after(args.minutes)
    failed = []
    try:
        with FileLock(workspace.lock_file("reproduce"), timeout=0):
            work = Reproduction(archive_of(args.archive), args.results, args.page)
            for name in args.only or ROWS:
                print(f"== {name}", flush=True)
                try:
                    work.do(ROWS[name])
                except LabError as error:  # the other rows go on
                    failed.append(name)
                    print(f"{name} can't be done: {error}", flush=True)
    except TimeUp:
        print("the time is up: another call goes on", flush=True)
    except Timeout:
        parser.error("another process reproduces in this workspace already")
    except LabError as error:
        parser.error(str(error))
    if failed:
        parser.exit(1, f"not done: {', '.join(failed)}\n")


if __name__ == "__main__":
    main()
