"""cli.output: a count on stderr while a verb is at work, an error on a line of its own, figures in words."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bloodcell_core import cli
from bloodcell_core.cli import output
from bloodcell_core.cli.scoring import _comparison_lines
from bloodcell_core.cli.tune import _show_study
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation import report_parts
from bloodcell_core.evaluation.predictions import predictions_table
from bloodcell_core.evaluation.scoring import score

ROOT = Path(__file__).parents[1]


class Terminal(io.StringIO):
    """Stderr as a terminal has it."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """What a person sees in the end: what stands behind a return goes over what was there."""
        shown = []
        for line in self.getvalue().split("\n"):
            seen = ""
            for part in line.split("\r"):
                seen = part + seen[len(part) :]
            shown.append(seen.rstrip())
        return shown


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    now = [1000.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("pictures", "told"), [(1, "1 picture"), (2, "2 pictures")])
def test_one_picture_is_told_as_one_and_what_is_not_known_is_not_counted(pictures: int, told: str) -> None:
    table = pd.DataFrame({"image_id": [*"ab"], "split": "test", "label": "a", "source_photo": "one"})[:pictures]
    table = predictions_table(table, np.array([[0.9, 0.1]] * pictures), ["a", "b"])
    scores = score(table, ["a", "b"])
    assert output.score_lines(scores, "test split")[0] == f"test split: {told}, 1 photo"
    assert report_parts.counts(scores).startswith(f"{told} from 1 photo; ")
    unknown = report_parts.counts(score(table.assign(source_photo=None), ["a", "b"]))
    assert unknown.startswith(f"{told}, source photos not known; intervals")


def test_a_split_of_one_picture_says_so() -> None:
    split = {"pictures": 1, "photos": 1, "by_class": {"a": 1}, "photos_by_class": {"a": 1}}
    facts = {
        "name": "d", "synthetic": False, "pictures": 2, "photos": 2, "unit": "photo", "photos_origin": "told",
        "photos_unknown_because": None, "split_origin": "told", "splits": {"test": split},
    }  # fmt: skip
    assert cli.data._count_lines(facts)[-1].endswith(" 1 picture from 1 photo: a 1 from 1")


def test_a_search_on_one_validation_picture_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {
        "study": "s", "state": "done", "reason": "", "model": "m", "data": "d", "synthetic": False, "best": None,
        "config": {"view": "cell", "epochs": 1}, "trials": [], "trials_wanted": 2, "importance": {},
        "validation": {"pictures": 1, "photos": 1},
    }  # fmt: skip
    _show_study(SimpleNamespace(describe=lambda: facts), as_json=False)
    assert "compared on 1 validation picture of 1 source photo; the test split is unread" in capsys.readouterr().out


def test_on_a_terminal_the_count_leaves_nothing_of_a_longer_one(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    count = output.progress("pictures")
    for done, seconds in ((0, 0.0), (1, 1000.0), (6, 1010.0)):
        clock[0] = 1000 + seconds
        count(done, 9)
    assert "1 of 9, 2.2 h left" in terminal.getvalue()
    assert terminal.lines() == ["pictures: 6 of 9, 8 min left"]
    count(9, 9)
    output.say("done")
    assert terminal.lines() == ["pictures: 9 of 9", "done", ""]


def test_an_error_in_the_middle_of_a_count_stands_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())

    def fails(*_: object) -> None:
        output.progress("read")(3, 9)
        raise LabError("the picture is gone")

    monkeypatch.setattr("bloodcell_core.cli.data._data_import", fails)
    assert cli.main(["data", "import", "x"]) == 2
    assert terminal.lines() == ["bloodcell_core: the picture is gone", ""]


def test_what_is_said_in_the_middle_of_a_count_leaves_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    output.progress("steps, of which there are many")(3, 9)
    output.say("epoch 1/3")
    output.progress("steps")(9, 9)
    assert terminal.lines() == ["epoch 1/3", "steps: 9 of 9", ""]


def test_in_a_file_the_count_is_whole_lines_now_and_then(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    count = output.progress("pictures")
    for done in range(101):
        clock[0] += 1
        count(done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "pictures: 30 of 100, 70 s left", "pictures: 61 of 100, 39 s left", "pictures: 92 of 100, 8 s left",
        "pictures: 100 of 100",
    ]  # fmt: skip


def test_ctrl_c_while_the_libraries_load_is_told_in_one_line(tmp_path: Path) -> None:
    """The command line stands still in its first import, until it is interrupted."""
    (tmp_path / "numpy.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "bloodcell_core", "runs", "list"], cwd=ROOT, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell lets what it begins in the background ignore Ctrl-C, the tests too, and so on to their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    assert (process.communicate(timeout=60)[1], process.returncode) == ("bloodcell_core: interrupted\n", 1)


def test_thousands_of_photos_are_told_as_thousands_of_pictures_are() -> None:
    by_photo = {"right": 1400, "photos": 1523, "interval": [0.904, 0.932]}
    scores = {"pictures": 3945, "photos": 1523, "unit": "photo", "by_photo": by_photo, "warnings": [], "notes": []}
    assert output.score_lines(scores, "test") == [
        "test: 3,945 pictures, 1,523 photos",
        "  photos right       1,400 of 1,523  95% interval 0.9040 to 0.9320",
    ]  # fmt: skip


def test_figures_and_differences_have_their_intervals_where_there_are_any() -> None:
    scores = {
        "pictures": 300, "photos": 100, "unit": "group", "by_photo": None, "warnings": [], "notes": [],
        "accuracy": 0.9, "auc_ovr": 0.98765, "intervals": {"accuracy": [0.81234, 0.95678], "auc_ovr": None},
    }  # fmt: skip
    assert output.score_lines(scores, "test") == [
        "test: 300 pictures, 100 groups",
        "  accuracy           0.9000  95% interval 0.8123 to 0.9568",
        "  AUC                0.9877",
    ]
    metrics = {
        "accuracy": {"difference": -0.05, "interval": [-0.1, 0.02]}, "auc_ovr": {"difference": 0.01, "interval": None},
        "kappa": {"difference": None, "interval": None},
    }  # fmt: skip
    right = {"unit": "photos", "both": 1200, "only_a": 7, "only_b": 4, "neither": 3, "p": None}
    facts = {"a": "one", "b": "other", "verdict": "Alike.", "right": right, "metrics": metrics, "notes": ["Small."]}
    assert _comparison_lines(facts) == [
        "A is one, B is other",
        "  Alike.",
        "  photos: both right 1,200, only A 7, only B 4, neither 3",
        "  accuracy           B less A -0.0500  95% interval -0.1000 to +0.0200",
        "  AUC                B less A +0.0100",
        "  note: Small.",
    ]


def test_where_stderr_was_closed_before_we_began_nothing_of_it_comes_to_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    output.say("epoch 1 of 8")
    assert capsys.readouterr().out == ""


def test_work_goes_on_where_nobody_reads_its_progress_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `train … 2>&1 | head -1`: the training isn't lost with its reader."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stderr", stream)
    output.say("epoch 1 of 8")
    output.progress("pictures")(1, 1)
    with pytest.raises(BrokenPipeError):
        stream.close()
