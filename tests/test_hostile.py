"""Any uploaded file is answered or refused: no traceback, bounded memory, nothing outside the workspace touched."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bloodcell_core.data.pictures import SUFFIXES
from bloodcell_core.data.sources import left_by_a_system
from tests import hostile
from tests.hostile.kit import ALLOWED, EITHER, REFUSE, Hostile, snapshot
from tests.hostile.names import odd_names

ROOT = Path(__file__).resolve().parent.parent
MOST_MEMORY = 1.2e9  # bytes, without program files
LONGEST_REASON = 400
RUN = "cell-net"  # comes with the program
FOLDERS = ("files", "zips", "classes", "table", "home", "tmp", "work", "lab")

DRIVER = """
import contextlib, io, json, sys
from benchmarks.memory import most_memory
from bloodcell_core.cli import main

told = []
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code
    told.append({"code": code, "out": out.getvalue(), "err": err.getvalue(), "peak": most_memory()})  # up to here
json.dump(told, sys.__stdout__)
"""
"""Runs several verbs in one process, as the command line does, and tells the most memory that it had."""


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each verb told of the corpus: `predict` and `data import`, in one process with a home of its own."""
    place = tmp_path_factory.mktemp("hostile")
    folders = {name: place / name for name in FOLDERS}
    for folder in folders.values():
        folder.mkdir()
    written = {each.name: each.write(folders["files"]) for each in hostile.corpus()}
    odd = [written[each.name] for each in odd_names()]
    for each in hostile.packed():
        each.write(folders["zips"])
    for number, each in enumerate(importable()):
        (label := folders["classes"] / f"class {number % 2} <b>").mkdir(exist_ok=True)
        each.write(label)
    (folders["table"] / "table.csv").write_text("path,label\n../files/mode-grey.png,=1+1\n", encoding="utf-8")
    table = folders["lab"] / "answers.csv"
    verbs = {
        "predict": ["predict", RUN, str(folders["files"]), str(folders["zips"]), "--json", "--csv", str(table)],
        "predict names": ["predict", RUN, *map(str, odd)],
        "predict no files": ["predict", RUN, str(folders["files"] / "pipe.png"), "/dev/zero", "--json"],
        "import": ["data", "import", str(folders["classes"]), "--name", "odd", "--json"],
        "import table": ["data", "import", str(folders["table"]), "--json"],
        **{f"import {each.name}": ["data", "import", str(folders["zips"] / str(each.name)), "--json"]
           for each in hostile.packed()},
    }  # fmt: skip
    before = snapshot(place)
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps([*verbs.values()]),
        env=os.environ
        | {
            "BLOODCELL_HOME": str(folders["lab"]), "HOME": str(folders["home"]), "TMPDIR": str(folders["tmp"]),
            "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=folders["work"], capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    after, inside = snapshot(place), str(folders["lab"]) + os.sep
    return {
        "told": dict(zip(verbs, json.loads(done.stdout), strict=True)), "folders": folders, "table": table, "odd": odd,
        "changed": {path for path in before.keys() | after.keys()
                    if before.get(path) != after.get(path) and not path.startswith(inside)},
        "stderr": done.stderr,
    }  # fmt: skip


def importable() -> list[Hostile]:
    """The small plain files that are called pictures: a link refuses the whole folder, which test_sources shows."""
    return [
        each for each in hostile.corpus()
        if isinstance(each.make, bytes) and len(each.make) < 100_000
        and os.fsdecode(each.name).endswith(SUFFIXES) and not os.fsdecode(each.name).startswith((".", "bomb-"))
    ]  # fmt: skip


def answers(handed_in: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What `predict` said of each file, by its path."""
    return {row["path"]: row for row in json.loads(handed_in["told"]["predict"]["out"])["pictures"]}


def path_of(handed_in: dict[str, Any], folder: str, name: str | bytes) -> str:
    """As it is told: a byte that is no UTF-8 as \\udcff."""
    told = os.fsdecode(name).encode("utf-8", "backslashreplace").decode()
    return os.path.join(str(handed_in["folders"][folder]), told)


def test_the_corpus_is_large_and_tells_what_must_become_of_most() -> None:
    files = hostile.corpus()
    assert len(files) + len(hostile.packed()) >= 200
    assert len({os.fsencode(each.name) for each in files}) == len(files)
    assert sum(each.wants == EITHER for each in files) < 0.3 * len(files)


@pytest.mark.slow
def test_the_corpus_is_always_the_same() -> None:
    unlike = [
        mine.name for mine, theirs in zip(hostile.corpus(), hostile.made(), strict=True)
        if mine.name != theirs.name or (isinstance(mine.make, bytes) and mine.make != theirs.make)
    ]  # fmt: skip
    assert unlike == []


def test_every_file_has_a_row_with_a_class_or_a_clear_refusal(handed_in: dict[str, Any]) -> None:
    said = answers(handed_in)
    wrong = {}
    for each in hostile.corpus():
        if left_by_a_system(os.fsdecode(each.name)):  # passed over in a folder, answered by its name
            assert path_of(handed_in, "files", each.name) not in said
            continue
        row = said.get(path_of(handed_in, "files", each.name), {"state": "no row", "reason": ""})
        if row["state"] not in ALLOWED[each.wants]:
            wrong[each.name] = (row["state"], row["reason"])
    assert wrong == {}
    assert {row["state"] for row in said.values()} >= {"refused", "unlike"}


def test_every_zip_has_rows_and_none_is_opened_inside_another(handed_in: dict[str, Any]) -> None:
    said = answers(handed_in)
    wrong = {}
    for each in hostile.packed():
        path = path_of(handed_in, "zips", each.name)
        inside = {file.removeprefix(path): row["state"] for file, row in said.items() if file.startswith(path)}
        if not inside or ({*inside.values()} == {"refused"}) != (each.wants == REFUSE):
            wrong[each.name] = inside
        assert not any(".zip/" in file for file in inside)
    assert wrong == {}


def test_every_refusal_is_one_line_that_a_person_can_read(handed_in: dict[str, Any]) -> None:
    refused = {path: row for path, row in answers(handed_in).items() if row["state"] == "refused"}
    assert len(refused) > 100
    for path, row in refused.items():
        assert row["cells"] == []
        assert 5 < len(row["reason"]) < LONGEST_REASON, (path, row["reason"])
        assert row["reason"].isprintable(), (path, row["reason"])
        assert "Traceback" not in row["reason"]
        assert "Error" not in row["reason"].split(":")[0], (path, row["reason"])


def test_nothing_ends_in_a_traceback_and_every_verb_ends_as_it_should(handed_in: dict[str, Any]) -> None:
    for verb, told in handed_in["told"].items():
        assert told["code"] in (0, 2), (verb, told["err"])
        assert "Traceback" not in told["err"] + told["out"], verb
        if told["code"] == 2:
            assert 20 < len(told["err"].strip().splitlines()[-1]) < 600, verb
    assert "Traceback" not in handed_in["stderr"]


def test_zips_are_imported_whole_or_refused_whole(handed_in: dict[str, Any]) -> None:
    codes = {verb: told["code"] for verb, told in handed_in["told"].items() if verb.startswith("import")}
    assert {verb for verb, code in codes.items() if code == 0} == {"import", "import good.zip"}
    left = {path.name for path in (handed_in["folders"]["lab"] / "datasets").iterdir()}
    assert left == {"odd", "good"}


def test_a_table_that_leads_out_is_refused(handed_in: dict[str, Any]) -> None:
    assert "have a path that leaves the folder" in handed_in["told"]["import table"]["err"]


def test_files_that_go_into_a_dataset_are_taken_or_listed_with_their_reason(handed_in: dict[str, Any]) -> None:
    told = json.loads(handed_in["told"]["import"]["out"])
    wanted = importable()
    assert told["pictures"] + told["duplicates"] + told["unreadable"] == len(wanted) > 200
    assert told["unreadable"] > 40
    assert all(row["reason"] and row["reason"].isprintable() for row in told["unreadable_files"])


def test_memory_stays_within_bounds(handed_in: dict[str, Any]) -> None:
    peaks = {verb: told["peak"] for verb, told in handed_in["told"].items()}
    print({verb: f"{peak / 1e9:.2f} GB" for verb, peak in peaks.items()})
    assert {verb: peak for verb, peak in peaks.items() if peak >= MOST_MEMORY} == {}


def test_nothing_outside_the_workspace_is_written_changed_or_run(handed_in: dict[str, Any]) -> None:
    """The workspace's neighbours: the files themselves, a home, a folder for temporary files, the working folder."""
    assert handed_in["changed"] == set()
    assert not list(handed_in["folders"]["lab"].rglob("*pwned*"))
    for place in ("/tmp/pwned", "/tmp/pwned.png", str(ROOT / "pwned")):
        assert not os.path.lexists(place)


def test_a_name_can_neither_steer_a_terminal_nor_break_a_line(handed_in: dict[str, Any]) -> None:
    said = handed_in["told"]["predict names"]["out"]
    lines = [line for line in said.splitlines() if line.startswith(str(handed_in["folders"]["files"]) + os.sep)]
    assert len(lines) == len(handed_in["odd"]) > 30
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", said)


def test_the_table_holds_every_row(handed_in: dict[str, Any]) -> None:
    with open(handed_in["table"], newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len({row["path"] for row in rows}) == len(answers(handed_in))


def test_what_is_no_file_is_refused_and_not_waited_for(handed_in: dict[str, Any]) -> None:
    rows = json.loads(handed_in["told"]["predict no files"]["out"])["pictures"]
    assert [(row["state"], row["reason"]) for row in rows] == 2 * [("refused", "no file: a pipe, a device or the like")]
