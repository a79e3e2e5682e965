"""`predict` and `cells`: pictures that were handed in."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bloodcell_core import disk, runs, sheets
from bloodcell_core.cli.output import print_lines, progress, say, show
from bloodcell_core.cli.parser import DEVICE_HELP, RUN_HELP, path_of, verb
from bloodcell_core.errors import LabError
from bloodcell_core.words import counted

if TYPE_CHECKING:
    from bloodcell_core.inference.answers import Answer
    from bloodcell_core.inference.handed_in import Handed
    from bloodcell_core.inference.predictor import Predictor

MANY = 64  # pictures from which on progress is told


def add(verbs: Any) -> None:
    """Adds the verbs `predict` and `cells`."""
    parser = verb(verbs, "predict", _predict, "Classify the cells of pictures, fields, folders and zips with a run.")
    parser.add_argument("run", help=f"{RUN_HELP}; or the .onnx file that `export` wrote")
    parser.add_argument("paths", nargs="+", type=path_of, metavar="PATH", help="picture files, folders and zips")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--fields", action="store_const", const="field", dest="kind", help="all are smear fields: every cell counts"
    )
    kinds.add_argument(
        "--cells", action="store_const", const="cell", dest="kind", help="all show one cell: the largest counts"
    )
    parser.add_argument("--csv", type=path_of, metavar="FILE", help="write a .csv table, one row a cell or picture")
    parser.add_argument("--report", type=path_of, metavar="FILE", help="write the slide's report, one .html file")
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="answers that are less probable are unsure; default: the run's"
    )
    parser.add_argument(
        "--average-turns",
        action="store_true",
        help="average over eight turned and mirrored views (eight times the work)",
    )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)

    parser = verb(
        verbs, "cells", _cells,
        "Find the white cells of pictures, folders and zips, as boxes around their nuclei: x0, y0, x1, y1 in pixels.",
    )  # fmt: skip
    parser.add_argument("paths", nargs="+", type=path_of, metavar="PATH", help="picture files, folders and zips")


def _predict(args: argparse.Namespace) -> int:
    from bloodcell_core.evaluation.document import check_report_file, write_report
    from bloodcell_core.inference.answers import Tally, csv_columns, csv_rows
    from bloodcell_core.inference.exported import ExportedRun
    from bloodcell_core.inference.handed_in import files_of
    from bloodcell_core.inference.predictor import Predictor
    from bloodcell_core.smear.differential import differential_lines, differential_of
    from bloodcell_core.smear.slide_report import Gathered, slide_report

    run = ExportedRun(Path(args.run)) if args.run.lower().endswith(".onnx") else runs.find(args.run)
    if args.report:
        check_report_file(args.report)
    _check_there(args.paths)
    if args.csv:
        sheets.check_file(args.csv)
    total = sum(1 for _ in files_of(args.paths))
    _check_any(total, args.paths)
    predictor = Predictor(run, args.device, args.threshold, args.average_turns)
    gathered = Gathered(run.classes) if args.report else None
    tally, repeats, states = Tally(run.classes), _Repeats(), Counter[str]()
    listed = not args.json and sys.stdout and sys.stdout.isatty()  # a count would run into the answers' lines
    tell = progress("classified") if total >= MANY and not listed else None
    with ExitStack() as opened:
        # What goes to stdout as one JSON object waits on disk until it is whole: memory stays bounded, and a failure
        # leaves stdout empty.
        spooled = opened.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) if args.json else None
        with _table(args.csv) if args.csv else nullcontext() as table:
            if table:
                table.row(csv_columns(run.classes))
            for done, (answer, read, again) in enumerate(_answers(predictor, args.paths, args.kind, repeats), 1):
                states[answer.state] += 1
                if not again:
                    tally.add(answer)
                if gathered and again:
                    gathered.add_left_out(answer.path, again)
                elif gathered:
                    gathered.add(answer, read)
                if table:
                    table.rows(csv_rows(answer, run.classes))
                if spooled:
                    spooled.write((", " if done > 1 else "") + json.dumps(answer.to_json(), allow_nan=False))
                else:
                    # One who reads the lines no longer, as `head`, still wants the files that were asked for.
                    with suppress(BrokenPipeError) if args.csv or args.report else nullcontext():
                        print_lines([_line(answer)])
                if tell:
                    tell(done, total)
        facts: dict[str, Any] = {
            "run": run.name, "threshold": predictor.threshold, "threshold_from": predictor.threshold_words,
            "likeness": predictor.why_unknown or "known", "states": dict(states), "repeated": repeats.repeated,
            "differential": differential_of(run, tally.count(), predictor.threshold, average_turns=args.average_turns)
            if tally.fields or gathered else None,
        }  # fmt: skip
        if gathered:
            title = args.paths[0].resolve().name + (f" and {len(args.paths) - 1} more" if args.paths[1:] else "")
            write_report(slide_report(title, gathered, facts["differential"], run), args.report)
        if spooled:
            _print_json(facts, spooled)
        elif facts["differential"]:
            print_lines(differential_lines(facts["differential"]))
            if repeats.repeated:
                again = counted(repeats.repeated, "picture")
                print_lines([f"  note: given more than once, and counted once: {again} beyond the first of each"])
    return _passed_over(states["refused"], states.total())


def _check_there(paths: Iterable[Path]) -> None:
    """LabError where a path is missing: better than after the work on those before it."""
    for path in paths:
        with suppress(PermissionError):  # of a file in a folder that is closed to us its own row tells
            if not path.exists():
                raise LabError(f"{path} doesn't exist")


def _check_any(files: int, paths: Iterable[Path]) -> None:
    """LabError where there is nothing to be done: a script would take that for a success."""
    if not files:
        raise LabError(f"there is no file in {', '.join(map(str, paths))}: give pictures, or a folder or zip of them")


class _Read:
    """What reads a picture, and once it has, what its bytes are known by."""

    def __init__(self, read: Callable[[], bytes]):
        self._read, self.digest = read, b""

    def __call__(self) -> bytes:
        data = self._read()
        self.digest = hashlib.sha256(data).digest()
        return data


class _Repeats:
    """Pictures that came before: they are answered, and not counted."""

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}
        self.repeated = 0
        """How many came before."""

    def of(self, answer: Answer, digest: bytes) -> str:
        """Why a picture isn't counted, where the one of that digest came before; '' where none did."""
        if answer.state == "refused" or digest not in self._first:
            self._first[digest] = answer.path
            return ""
        self.repeated += 1
        return f"the very same picture as {self._first[digest]}: it is counted once"


def _answers(
    predictor: Predictor, paths: Iterable[Path], kind: str | None, repeats: _Repeats
) -> Iterator[tuple[Answer, _Read, str]]:
    """The answer for each picture, what reads it, and why it isn't counted, which its reason then says too, or ''."""
    from bloodcell_core.inference.handed_in import files_of

    reads: deque[_Read] = deque()  # of the pictures that are being answered, in order
    for answer in predictor.classify(_remembered(files_of(paths), reads), kind):
        read = reads.popleft()
        if again := repeats.of(answer, read.digest):
            answer = replace(answer, reason="; ".join(filter(None, (answer.reason, again))))
        yield answer, read, again


def _remembered(handed: Iterable[Handed], reads: deque[_Read]) -> Iterator[Handed]:
    """What is handed in, the function that reads each picture kept until its answer is there."""
    for path, read in handed:
        reads.append(_Read(read))
        yield path, reads[-1]


def _print_json(facts: dict[str, Any], pictures: IO[str]) -> None:
    """Prints one JSON object: the facts, and the pictures that were written to a file one by one."""
    if sys.stdout:  # None where it was closed before we began
        pictures.seek(0)
        sys.stdout.write(json.dumps(facts, allow_nan=False)[:-1] + ', "pictures": [')
        shutil.copyfileobj(pictures, sys.stdout)
        print("]}")


@contextmanager
def _table(path: Path) -> Iterator[sheets.Writer]:
    """Writes a CSV file's rows aside as they come; it has its name when all are there."""
    # With a byte order mark, without which Excel assumes another encoding
    with disk.write_atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8-sig") as file:
        yield sheets.Writer(file)


def _line(answer: Answer) -> str:
    """What is said of a picture in one line."""
    said = []
    for cell in answer.counted:
        named = f"{cell.label} {cell.probabilities[cell.label]:.3f}" if cell.label else f"{cell.state} ({cell.reason})"
        said.append(named + (" at the border" if cell.at_border else ""))
    return f"{answer.path}: {', '.join(said) or answer.state}" + (f" ({answer.reason})" if answer.reason else "")


def _cells(args: argparse.Namespace) -> int:
    from bloodcell_core.cells import find_cells
    from bloodcell_core.data.pictures import decode_rgb, first_of_several
    from bloodcell_core.inference.handed_in import FIRST_PAGE, UNREADABLE, files_of, why_unreadable

    _check_there(args.paths)
    rows: list[dict[str, Any]] = []
    for path, read in files_of(args.paths):
        row: dict[str, Any] = {"path": path, "width": None, "height": None, "boxes": [], "reason": "", "note": ""}
        try:
            data = read()
            picture = decode_rgb(data)
            row["note"] = FIRST_PAGE if first_of_several(data) else ""
            row |= {"width": picture.shape[1], "height": picture.shape[0]}
            row["boxes"] = [list(cell.box) for cell in find_cells(picture)]
        except UNREADABLE as error:
            row["reason"] = why_unreadable(error)
        rows.append(row)
    _check_any(len(rows), args.paths)
    show({"pictures": rows}, args.json, [f"{row['path']}: {_boxes_words(row)}" for row in rows])
    return _passed_over(sum(bool(row["reason"]) for row in rows), len(rows))


def _passed_over(unreadable: int, files: int) -> int:
    """The exit code after all that could be read was answered; says how many files couldn't."""
    if unreadable:
        say(f"bloodcell_core: {unreadable:,} of {counted(files, 'file')} can't be read as a picture")
    return 2 if unreadable else 0


def _boxes_words(row: dict[str, Any]) -> str:
    """What is said of a picture's cells in one line."""
    if row["reason"]:
        return f"refused ({row['reason']})"
    words = f"{counted(len(row['boxes']), 'white cell')} {row['boxes'] or ''}".rstrip()
    return f"{words} ({row['note']})" if row["note"] else words
